//! M4: a side that reaches too few of its region says so in time, and no longer than it must.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use starling_core::event::Event;
use starling_core::identity::Roles;
use starling_core::time::Time;
use starling_core::topology::partition::faulty_max;
use starling_core::topology::rings::FULL_MESH_MAX;

use super::{Check, Findings, Scene};
use crate::faults::Fault;
use crate::world::World;

/// Who reaches too few says so after so long.
const SAID_WITHIN: Duration = Duration::from_secs(5);
/// Who is linked with enough again takes it back after so long.
const OVER_WITHIN: Duration = Duration::from_secs(2);

/// Nodes that count a region, and what they say.
#[derive(Default)]
pub(crate) struct ReadOnly {
    findings: Findings,
    /// When something last went wrong or ended, if nobody has looked since what that changed.
    faulted: Option<Time>,
    /// Nodes that reach too few, as the network is, and since when.
    few: BTreeMap<usize, Time>,
    /// With whom each node says that it is linked.
    linked: BTreeMap<usize, BTreeSet<usize>>,
    /// Nodes that are linked with enough, and since when.
    enough: BTreeMap<usize, Time>,
    /// Nodes that say they are cut off.
    told: BTreeSet<usize>,
    /// From when a node reached too few until it said so.
    pub said: Vec<Duration>,
    /// From when it was linked with enough again until it took that back.
    pub over: Vec<Duration>,
}

impl ReadOnly {
    /// Looks at what the last fault changed.
    fn refresh(&mut self, scene: &Scene<'_>) {
        let Some(at) = self.faulted.take() else { return };
        for node in 0..scene.world.nodes.len() {
            let reached = peers(node, scene.world).filter(|peer| is_reached(scene.world, node, *peer));
            let is_few = counts(node, scene.world) && reached.count() + 1 < needed(node, scene.world);
            if is_few && scene.world.nodes[node].is_active() {
                self.few.entry(node).or_insert(at);
            } else {
                self.few.remove(&node);
            }
        }
    }

    /// Takes note of how many a node is linked with now.
    fn recount(&mut self, now: Time, node: usize, world: &World) {
        let linked = self.linked.get(&node).map_or(0, BTreeSet::len);
        if world.nodes[node].is_active() && linked + 1 >= needed(node, world) {
            self.enough.entry(node).or_insert(now);
        } else {
            self.enough.remove(&node);
        }
    }

    fn forget(&mut self, node: usize) {
        self.linked.remove(&node);
        self.enough.remove(&node);
        self.few.remove(&node);
        self.told.remove(&node);
    }

    fn on_said(&mut self, now: Time, node: usize, is_cut_off: bool, scene: &Scene<'_>) {
        if is_cut_off == self.told.contains(&node) {
            return;
        }
        let name = &scene.world.nodes[node].plan.name;
        if is_cut_off {
            self.told.insert(node);
            let Some(since) = self.few.get(&node) else { return };
            let took = now.since(*since);
            self.said.push(took);
            let is_late = took > SAID_WITHIN && knows_all(node, scene.world);
            self.findings
                .note(now, is_late.then(|| format!("{name} says after {took:?} that it is cut off")));
        } else {
            self.told.remove(&node);
            let Some(since) = self.enough.get(&node) else { return };
            let took = now.since(*since);
            self.over.push(took);
            let is_late = took > OVER_WITHIN;
            self.findings.note(now, is_late.then(|| format!("{name} is cut off until {took:?} too late")));
        }
    }
}

/// Whether a node counts its region, which has no liars and links all with all.
fn counts(node: usize, world: &World) -> bool {
    let region = peers(node, world).count() + 1;
    let is_honest = |of: usize| !world.is_hostile(of);
    gossips(node, world) && region <= FULL_MESH_MAX && is_honest(node) && peers(node, world).all(is_honest)
}

fn gossips(node: usize, world: &World) -> bool {
    world.nodes[node].plan.roles != Roles::COORDINATOR
}

/// The others of a node's region that count, whether or not they run.
fn peers(node: usize, world: &World) -> impl Iterator<Item = usize> + '_ {
    let region = &world.nodes[node].plan.region;
    let is_peer = move |of: &usize| world.nodes[*of].plan.region == *region && gossips(*of, world);
    (0..world.nodes.len()).filter(move |of| *of != node).filter(is_peer)
}

fn needed(node: usize, world: &World) -> usize {
    let region = peers(node, world).count() + 1;
    region - faulty_max(region)
}

/// Whether two can have a link, if need be over a third.
fn is_reached(world: &World, one: usize, other: usize) -> bool {
    let between = |relay: usize| world.can_reach(one, relay) && world.can_reach(relay, other);
    world.can_reach(one, other) || peers(one, world).any(|relay| relay != other && between(relay))
}

fn knows_all(node: usize, world: &World) -> bool {
    let known = &world.nodes[node].view().origins;
    peers(node, world).all(|peer| known.contains_key(&world.nodes[peer].id()))
}

impl Check for ReadOnly {
    fn name(&self) -> &'static str {
        "readonly"
    }

    fn on_fault(&mut self, now: Time, fault: &Fault, scene: &mut Scene<'_>) {
        self.refresh(scene);
        self.faulted = Some(now);
        match fault {
            Fault::Kill(node) | Fault::Start(node) => self.forget(*node),
            // Who is stopped says nothing; when it goes on it begins to count again.
            Fault::Pause(node) | Fault::Resume(node) => {
                self.few.remove(node);
                self.enough.remove(node);
            }
            Fault::Cut(..)
            | Fault::CutOneWay(..)
            | Fault::Heal(..)
            | Fault::Close(..)
            | Fault::Split(..)
            | Fault::Join(..) => {}
        }
    }

    fn on_event(&mut self, now: Time, node: usize, event: &Event, scene: &mut Scene<'_>) {
        self.refresh(scene);
        if !counts(node, scene.world) {
            return;
        }
        match event {
            Event::PeerUp { name, .. } => {
                let peer =
                    scene.world.index_of(name).filter(|peer| peers(node, scene.world).any(|of| of == *peer));
                self.linked.entry(node).or_default().extend(peer);
                self.recount(now, node, scene.world);
            }
            Event::PeerDown { name, .. } => {
                if let Some(peer) = scene.world.index_of(name) {
                    self.linked.entry(node).or_default().remove(&peer);
                }
                self.recount(now, node, scene.world);
            }
            Event::StatusChanged { is_cut_off, .. } => self.on_said(now, node, *is_cut_off, scene),
            Event::PeerLost { .. }
            | Event::PeerSuspected { .. }
            | Event::PeerLeft { .. }
            | Event::PeerBanned { .. }
            | Event::FalselyAccused { .. }
            | Event::Refused { .. }
            | Event::AgentSuperseded { .. }
            | Event::UpdateApplied { .. }
            | Event::Rebalanced { .. }
            | Event::InterestWidened
            | Event::LinkMoved { .. }
            | Event::CertificateReplaced { .. }
            | Event::CredentialsRefused { .. }
            | Event::RenewalFailed { .. }
            | Event::NotIssued { .. }
            | Event::CertificateAges { .. } => {}
        }
    }

    fn each_second(&mut self, now: Time, scene: &mut Scene<'_>) {
        self.refresh(scene);
        let name = |node: usize| &scene.world.nodes[node].plan.name;
        for (node, since) in &mut self.few {
            // Who has not heard of everyone yet counts fewer.
            if !knows_all(*node, scene.world) {
                *since = now;
            }
            let is_late = now.since(*since) > SAID_WITHIN && !self.told.contains(node);
            let reached =
                peers(*node, scene.world).filter(|peer| is_reached(scene.world, *node, *peer)).count();
            let wrong = || format!("{} reaches {reached} others and does not say it is cut off", name(*node));
            self.findings.note(now, is_late.then(wrong));
        }
        for (node, since) in &self.enough {
            let is_late = now.since(*since) > OVER_WITHIN && self.told.contains(node);
            let linked = self.linked.get(node).map_or(0, BTreeSet::len);
            let wrong = || format!("{} is linked with {linked} others and says it is cut off", name(*node));
            self.findings.note(now, is_late.then(wrong));
        }
    }

    fn at_end(&mut self, now: Time, scene: &mut Scene<'_>) {
        let nodes = &scene.world.nodes;
        let is_wrong = |node: &&usize| nodes[**node].is_active() && !self.few.contains_key(*node);
        let wrong = self.told.iter().find(is_wrong);
        self.findings
            .note(now, wrong.map(|node| format!("{} still says it is cut off", nodes[*node].plan.name)));
    }

    fn findings(&self) -> &Findings {
        &self.findings
    }
}
