//! Crowds of identities at the doors of honest nodes.
//!
//! A node without an admission finds no door: the transport asks for it before the machine hears of a
//! link, and `starling chaos badboy` tries that. What it can do here is to be told of by an admitted liar.
//! Agents need no admission: any key is one. So a crowd of them attaches, is hosted and counted like
//! others, and is gone when its connections are; and agents that exist are claimed with signatures that
//! do not hold, as the driver finds out before the machine hears of them.

use starling_core::identity::Roles;
use starling_core::machine::{ConnectionSlot, Input, LinkSlot};
use starling_core::wire::message::ControlBody;
use starling_core::wire::request::{Ask, Subscribe, Subscription};
use starling_hostile::strangers;

use crate::agents::Agent;
use crate::world::World;

/// Strangers that are told of in one strike.
const STRANGERS: u64 = 32;
/// Agents that come over each connection, one connection to each honest edge a strike.
const AGENTS: u64 = 16;
/// The first of a crowd's agents; those of clients have smaller numbers.
const FIRST_AGENT: u64 = 1 << 40;
/// The first of its connections, below those of clients.
const FIRST_CONNECTION: u32 = 1 << 23;

/// A crowd that was let in somewhere.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    agents: u64,
    strangers: u64,
    connections: Vec<(usize, ConnectionSlot)>,
}

impl World {
    /// Sends a crowd to everybody's door.
    pub(super) fn crowd(&mut self, node: usize, links: &[(LinkSlot, usize)]) {
        let Some(hostile) = self.hostile.get_mut(&node) else { return };
        let first = hostile.crowd.strangers;
        hostile.crowd.strangers += STRANGERS;
        let like = self.nodes[node].peer().admission;
        let links: Vec<LinkSlot> = links.iter().map(|(link, _)| *link).collect();
        // Liars do not meet in the same strangers.
        let first = (node as u64) << 32 | first;
        self.send_control(&links, ControlBody::Peers(strangers(&like, first, STRANGERS)));
        let is_honest = |at: &usize| {
            let other = &self.nodes[*at];
            !self.is_hostile(*at) && other.is_active() && other.plan.roles == Roles::EDGE
        };
        let edges: Vec<usize> = (0..self.nodes.len()).filter(is_honest).collect();
        edges.into_iter().for_each(|edge| self.crowd_one(node, edge));
    }

    fn crowd_one(&mut self, node: usize, edge: usize) {
        let Some(hostile) = self.hostile.get_mut(&node) else { return };
        let crowd = &mut hostile.crowd;
        let number = FIRST_CONNECTION + ((node as u32) << 16) + crowd.connections.len() as u32;
        let connection = ConnectionSlot(number);
        crowd.connections.push((edge, connection));
        let first = FIRST_AGENT + ((node as u64) << 32) + crowd.agents;
        crowd.agents += AGENTS;
        let come: Vec<Agent> = (first..first + AGENTS).map(Agent::new).collect();
        let candidates = come.iter().zip(0..).map(|(agent, index)| agent.candidate(index)).collect();
        // As many others claim to be agents that they are not.
        let forged = (AGENTS as u32..2 * AGENTS as u32).collect();
        self.input(edge, Input::Attach { connection, request: 1, candidates, forged });
        let subscriptions = vec![Subscription { number: 1, agent: 0, pattern: "sybil.>".to_string() }];
        self.ask(edge, connection.0, 2, Ask::Subscribe(Subscribe { subscriptions }));
    }

    /// The crowd of a hostile node goes home.
    pub(crate) fn relent(&mut self, node: usize) {
        let Some(hostile) = self.hostile.get_mut(&node) else { return };
        for (edge, connection) in std::mem::take(&mut hostile.crowd.connections) {
            if self.nodes[edge].is_running() {
                self.input(edge, Input::Disconnected { connection });
            }
        }
    }
}
