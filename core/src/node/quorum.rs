//! How many of the nodes that count a node reaches, and what it may not do when they are too few.
//!
//! Edges and aggregators count the nodes of their region, coordinators those of the whole mesh; what
//! follows from the numbers is decided by [`partition`](crate::topology::partition). Who cannot be reached
//! counts until it has been away for as long as peers are remembered ([`FORGET_AFTER`]), has left or is
//! banned (docs/decisions/0026-who-counts.md).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::event::Event;
use crate::id::{RegionId, ShortId};
use crate::identity::Roles;
use crate::machine::Outbox;
use crate::membership::detector::Counts;
use crate::membership::{FORGET_AFTER, Known, Neighbours};
use crate::summary::Global;
use crate::time::{Now, Time};
use crate::topology::partition::{Detector, Operation, Sight, Transition, faulty_max};
use crate::wire::request::{QuorumView, RefusedCode, Say};

/// The least time between two counts.
const SPACING: Duration = Duration::from_millis(100);
/// A machine that is woken counts again after so long, whether or not it noticed a change: who is away
/// counts only for so long.
const COUNT_AGAIN: Duration = Duration::from_secs(10);

/// Which nodes count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    Region,
    Mesh,
}

/// Whether this node is on a side that may agree.
#[derive(Debug)]
pub struct Quorum {
    scope: Scope,
    detector: Detector,
    sight: Sight,
    /// Peers out of reach, and since when.
    away: BTreeMap<ShortId, Time>,
    /// When it was counted last, and what [`Neighbours::changes`] and [`Neighbours::standings`] were then.
    counted: Option<(Time, u64, Counts)>,
    /// Whether there is something to count that was not counted.
    is_stale: bool,
    /// When what is in effect took effect, on the wall clock; zero for the node's start.
    since: Time,
}

impl Quorum {
    /// That of an edge or an aggregator, which counts its region.
    pub fn of_region() -> Quorum {
        Quorum::new(Scope::Region)
    }

    /// That of a coordinator, which counts the mesh.
    pub fn of_mesh() -> Quorum {
        Quorum::new(Scope::Mesh)
    }

    fn new(scope: Scope) -> Quorum {
        Quorum {
            scope,
            detector: Detector::new(),
            sight: Sight { roster: 1, reachable: 1, agrees: true },
            away: BTreeMap::new(),
            counted: None,
            is_stale: true,
            since: Time::ZERO,
        }
    }

    /// Something changed that `neighbours` does not know of: a figure.
    pub fn count_again(&mut self) {
        self.is_stale = true;
    }

    /// Counts where there is reason to, and lets take effect what has held for long enough. `figures`
    /// say which edges the regions have, where this node counts the mesh.
    pub fn wake(&mut self, now: Now, neighbours: &Neighbours, figures: Option<&Global>, out: &mut Outbox) {
        let (changes, standings) = (neighbours.changes(), neighbours.standings());
        self.is_stale |= self.counted.is_none_or(|(_, links, held)| (links, held) != (changes, standings));
        let age = self.counted.map_or(COUNT_AGAIN, |(at, ..)| now.mono.since(at));
        if age >= COUNT_AGAIN || self.is_stale && age >= SPACING {
            self.counted = Some((now.mono, changes, standings));
            self.is_stale = false;
            self.sight = self.count(now, neighbours, figures);
            let transition = self.detector.see(now.mono, self.sight);
            self.tell(now, transition, out);
        }
        if self.detector.deadline().is_some_and(|due| due <= now.mono) {
            let transition = self.detector.wake(now.mono);
            self.tell(now, transition, out);
        }
    }

    /// When [`Quorum::wake`] is wanted.
    pub fn deadline(&self) -> Option<Time> {
        let count = self.counted.filter(|_| self.is_stale).map(|(at, ..)| at + SPACING);
        [self.detector.deadline(), count].into_iter().flatten().min()
    }

    /// Whether this side reaches too few to agree.
    pub fn is_cut_off(&self) -> bool {
        self.detector.is_cut_off()
    }

    /// The refusal of an operation that may not be done now: why, and since when.
    pub fn refusal(&self, now: Now, operation: Operation) -> Option<Say> {
        if self.detector.allows(operation) {
            return None;
        }
        let Sight { roster, reachable, .. } = self.sight;
        let (needed, seconds) = (roster - faulty_max(roster), now.wall.since(self.since).as_secs());
        let status = self.detector.status();
        let text = format!(
            "{operation} is forbidden while the mesh is {status} or this side of it is cut off: this node \
             reaches {reachable} of {roster} nodes and needs {needed}, for {seconds} s now"
        );
        Some(RefusedCode::Unavailable.because(text))
    }

    /// What is in effect, for people.
    pub fn view(&self, neighbours: &Neighbours) -> QuorumView {
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        QuorumView {
            scope: match self.scope {
                Scope::Region => format!("region {}", neighbours.me().admission.region),
                Scope::Mesh => "mesh".to_owned(),
            },
            status: self.detector.status().to_string(),
            is_cut_off: self.detector.is_cut_off(),
            reachable: number(self.sight.reachable),
            roster: number(self.sight.roster),
            since_ms: self.since.as_millis(),
            forbidden: self.detector.forbids().iter().map(Operation::to_string).collect(),
        }
    }

    fn tell(&mut self, now: Now, transition: Option<Transition>, out: &mut Outbox) {
        let Some(Transition { to, is_cut_off, sight, .. }) = transition else { return };
        self.since = now.wall;
        let Sight { roster, reachable, .. } = sight;
        out.event(Event::StatusChanged { status: to, is_cut_off, reachable, roster });
    }

    fn count(&mut self, now: Now, neighbours: &Neighbours, figures: Option<&Global>) -> Sight {
        let peers: Vec<(ShortId, bool)> = match (self.scope, figures) {
            (Scope::Region, _) => neighbours.roster().collect(),
            (Scope::Mesh, Some(figures)) => of_mesh(neighbours, figures),
            (Scope::Mesh, None) => Vec::new(),
        };
        let before = std::mem::take(&mut self.away);
        let (mut roster, mut reachable) = (1, 1);
        for (id, is_reached) in peers {
            if is_reached {
                (roster, reachable) = (roster + 1, reachable + 1);
                continue;
            }
            let since = before.get(&id).copied().unwrap_or(now.mono);
            self.away.insert(id, since);
            roster += usize::from(now.mono.since(since) < FORGET_AFTER);
        }
        // Whoever answers at the addresses that this node was given is one whom it does not reach.
        roster += usize::from(neighbours.is_alone());
        Sight { roster, reachable, agrees: agrees(neighbours) }
    }
}

/// Everyone of the mesh that counts, and whether it is in reach: coordinators and aggregators by their
/// links, edges by the figures of their regions. A region without an aggregator has nobody to say.
fn of_mesh(neighbours: &Neighbours, figures: &Global) -> Vec<(ShortId, bool)> {
    let counts = |known: &Known| !known.has_left && !known.is_banned();
    let counted = || neighbours.iter().filter(|(_, known)| counts(known));
    let is_aggregator = |known: &Known| known.roles().has(Roles::AGGREGATOR);
    let folded: BTreeSet<RegionId> =
        counted().filter(|(_, known)| is_aggregator(known)).map(|(_, known)| known.region()).collect();
    let shown: BTreeMap<RegionId, _> =
        folded.iter().filter_map(|region| Some((*region, figures.region(*region)?))).collect();
    let edges_of = |region| shown.get(&region).map(|shown| &shown.figure.cut.edges);
    let seen = counted().filter_map(|(id, known)| {
        let (region, is_linked) = (known.region(), known.link.is_some());
        if !known.roles().has(Roles::EDGE) {
            return Some((id, is_linked));
        }
        let is_shown = || edges_of(region).is_some_and(|edges| edges.contains_key(&id));
        folded.contains(&region).then(|| (id, is_linked || is_shown()))
    });
    seen.collect()
}

/// Whether the way to agreement is open as far as this node knows: an aggregator has a coordinator, if
/// there is one; an edge an aggregator, if its region has one.
fn agrees(neighbours: &Neighbours) -> bool {
    let me = &neighbours.me().admission;
    let is_above = |known: &Known| match me.roles {
        roles if roles.has(Roles::COORDINATOR) => false,
        roles if roles.has(Roles::AGGREGATOR) => known.roles().has(Roles::COORDINATOR),
        _ => known.roles().has(Roles::AGGREGATOR) && known.region() == me.region_id(),
    };
    let above = neighbours.iter().filter(|(_, known)| is_above(known) && !known.has_left);
    let mut above = above.filter(|(_, known)| !known.is_banned()).peekable();
    above.peek().is_none() || above.any(|(_, known)| known.link.is_some())
}

#[cfg(test)]
mod tests;
