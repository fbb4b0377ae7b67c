//! Scenarios over a small mesh: two regions of two aggregators and three edges each, and one
//! coordinator.

#![allow(missing_docs, reason = "a test has no users")]

mod count;
mod directory;
mod gaps;
mod interest;
mod keys;
mod links;
mod partitions;
mod relays;
mod rings;
mod updates;

use std::time::Duration;

use bytes::Bytes;
use starling_core::hot::own::{Publication, Target};
use starling_core::id::AgentId;
use starling_core::identity::Roles;
use starling_core::machine::ConnectionSlot;
use starling_core::wire::bundle::Class;
use starling_core::wire::entry::Extras;
use starling_core::wire::request::{Ask, Say, Subscribe, Subscription};
use starling_sim::{Agent, Plan, World};

pub const DELAY: Duration = Duration::from_millis(5);

/// The mesh and who is who in it.
pub struct Mesh {
    pub world: World,
    pub coordinator: usize,
    /// By region.
    pub aggregators: [Vec<usize>; 2],
    /// By region.
    pub edges: [Vec<usize>; 2],
}

pub fn plan(roles: Roles, region: &str, name: &str, seed: &str) -> Plan {
    let seeds = if seed.is_empty() { Vec::new() } else { vec![seed.to_string()] };
    Plan { roles, region: region.to_string(), name: name.to_string(), seeds }
}

impl Mesh {
    /// Everyone starts at once and knows one address: that of the node which `seed_of` names.
    pub fn start(seed_of: impl Fn(&str) -> &'static str) -> Mesh {
        let mut world = World::new(DELAY);
        world.appoint([0]);
        let coordinator = world.add(plan(Roles::COORDINATOR, "global", "coordinator", seed_of("global")));
        let mut aggregators = [Vec::new(), Vec::new()];
        let mut edges = [Vec::new(), Vec::new()];
        for (at, region) in ["east", "west"].into_iter().enumerate() {
            for number in 0..2 {
                let name = format!("{region}-aggregator-{number}");
                aggregators[at].push(world.add(plan(Roles::AGGREGATOR, region, &name, seed_of(region))));
            }
            for number in 0..3 {
                let name = format!("{region}-edge-{number}");
                edges[at].push(world.add(plan(Roles::EDGE, region, &name, seed_of(region))));
            }
        }
        Mesh { world, coordinator, aggregators, edges }
    }

    /// A mesh in which all links are up and news have settled.
    pub fn settled() -> Mesh {
        let mut mesh = Mesh::start(|region| match region {
            "global" => "",
            _ => "coordinator",
        });
        mesh.world.run(Duration::from_secs(5));
        mesh
    }

    pub fn all_edges(&self) -> Vec<usize> {
        self.edges.concat()
    }

    /// Whether the design wants a link between two nodes.
    pub fn is_wanted(&self, left: usize, right: usize) -> bool {
        let plan = |index: usize| &self.world.nodes[index].plan;
        let climbs = |index: usize| plan(index).roles != Roles::EDGE;
        let is_below = |index: usize| plan(index).roles != Roles::COORDINATOR;
        let is_local = plan(left).region == plan(right).region && is_below(left) && is_below(right);
        left != right && (is_local || climbs(left) && climbs(right))
    }

    /// Nodes that want a link and have none, or have one that nobody wants.
    pub fn wrong_links(&self) -> Vec<(usize, usize)> {
        let nodes = &self.world.nodes;
        let mut wrong = Vec::new();
        for left in (0..nodes.len()).filter(|index| nodes[*index].is_running()) {
            for right in (0..nodes.len()).filter(|index| nodes[*index].is_running()) {
                let links = nodes[left].linked().into_iter().filter(|peer| *peer == right).count();
                if links != usize::from(self.is_wanted(left, right)) {
                    wrong.push((left, right));
                }
            }
        }
        wrong
    }

    /// Attaches agents `from..to` over connection 1 of an edge, indices as their numbers.
    pub fn attach(&mut self, edge: usize, from: u64, to: u64) {
        let agents: Vec<Agent> = (from..to).map(Agent::new).collect();
        for part in agents.chunks(256) {
            let first = part[0].number as u32;
            self.world.attach(edge, 1, u64::from(first) + 1_000_000, first, part);
            let reply = self.world.nodes[edge].reply(1, u64::from(first) + 1_000_000);
            assert!(
                matches!(reply, Some(Say::Attached(attached)) if attached.accepted as usize == part.len()),
                "{reply:?}"
            );
        }
    }

    /// Agents as the coordinator counts them.
    pub fn counted(&mut self) -> u64 {
        let overview = self.world.overview(self.coordinator);
        overview.regions.iter().map(|region| region.agents).sum()
    }

    /// Asks `edge` to subscribe its agent 0 to patterns, numbered from `first`.
    pub fn subscribe(&mut self, edge: usize, id: u64, first: u32, patterns: &[String]) {
        let subscription =
            |(pattern, number): (&String, u32)| Subscription { number, agent: 0, pattern: pattern.clone() };
        let subscriptions = patterns.iter().zip(first..).map(subscription).collect();
        self.world.ask(edge, 1, id, Ask::Subscribe(Subscribe { subscriptions }));
    }

    pub fn is_done(&self, edge: usize, id: u64) -> bool {
        matches!(self.world.nodes[edge].reply(1, id), Some(Say::Done(_)))
    }
}

/// What an agent of an edge says on `logs.x`.
pub fn log(edge: usize, number: u64) -> Publication {
    Publication {
        connection: ConnectionSlot(9),
        number,
        agent: agent_id(7_000 + edge as u64),
        sequence: number,
        class: Class::EventBulk,
        target: Target::Subject,
        subject: Bytes::from_static(b"logs.x"),
        extras: Extras::default(),
        payload: Bytes::from(vec![7; 100]),
        attempts: 0,
    }
}

pub fn agent_id(number: u64) -> AgentId {
    Agent::new(number).candidate(0).claim.agent()
}
