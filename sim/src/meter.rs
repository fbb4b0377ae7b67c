//! What a run measures of the mesh as a whole: copies of payloads, hops, and how long state takes.
//!
//! It looks on and changes nothing: a run with a meter is the same run.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use starling_core::hash::hash_id;
use starling_core::id::ShortId;
use starling_core::time::Time;
use starling_core::wire::bundle::{Bundle, Class};

/// Bundles that are followed at one time; the oldest are taken for arrived.
const FOLLOWED_MAX: usize = 8192;
/// Hops that are told apart.
const HOPS_MAX: usize = 64;
/// Writes that are followed at one time; further ones are not measured.
const WRITES_MAX: usize = 4096;

/// What names a bundle in a whole mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    pub origin: ShortId,
    pub incarnation: u64,
    pub class: Class,
    pub sequence: u64,
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Name { incarnation, class, sequence, .. } = self;
        write!(f, "incarnation {incarnation}, {class:?} {sequence}")
    }
}

/// A bundle as it crosses a link.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Passing {
    pub name: Name,
    /// Hash of the signed header.
    pub header: u64,
    /// Bytes of the bodies in this copy.
    pub payload: u64,
}

impl Passing {
    /// What the body of a bundle frame is.
    pub fn of(body: &Bytes) -> Option<Passing> {
        let (_, bundle) = Bundle::decode(body).ok()?;
        let name = name_of(&bundle);
        let payload = bundle.present().map(|at| u64::from(bundle.sections[at].length)).sum();
        Some(Passing { name, header: hash_id(&bundle.header), payload })
    }
}

pub(crate) fn name_of(bundle: &Bundle) -> Name {
    let Bundle { origin, incarnation, class, sequence, .. } = *bundle;
    Name { origin, incarnation, class, sequence }
}

/// How far a bundle went.
#[derive(Debug, Default)]
struct Journey {
    /// Nodes that have it, with the hops that it took there.
    depths: BTreeMap<usize, usize>,
}

/// A key that somebody wrote.
#[derive(Debug)]
struct Write {
    by: usize,
    at: Time,
    /// The bundle that has it, once that was sealed.
    bundle: Option<Name>,
    /// Nodes that lack it.
    lacking: BTreeSet<usize>,
}

/// Measures a run.
#[derive(Debug)]
pub(crate) struct Meter {
    /// Payload bytes of events that came over links.
    pub copied: u64,
    /// Those of them that came with the first copy of a bundle at a node.
    pub first: u64,
    /// Those of them that were new and wanted where they came.
    pub needed: u64,
    /// How long each written key took to be at every edge and aggregator that ran.
    pub converged: Vec<Duration>,
    journeys: BTreeMap<u64, (Name, Journey)>,
    numbers: BTreeMap<Name, u64>,
    next: u64,
    hops: [u64; HOPS_MAX],
    writes: VecDeque<Write>,
}

impl Default for Meter {
    fn default() -> Meter {
        Meter {
            copied: 0,
            first: 0,
            needed: 0,
            converged: Vec::new(),
            journeys: BTreeMap::new(),
            numbers: BTreeMap::new(),
            next: 0,
            hops: [0; HOPS_MAX],
            writes: VecDeque::new(),
        }
    }
}

impl Meter {
    /// A copy of an event bundle came from one node to another, of which so many bytes were new and wanted.
    pub fn came(&mut self, copy: &Passing, from: usize, to: usize, needed: u64) {
        self.copied += copy.payload;
        self.needed += needed;
        let number = *self.numbers.entry(copy.name).or_insert_with(|| {
            self.next += 1;
            self.next
        });
        let (_, journey) = self.journeys.entry(number).or_insert_with(|| (copy.name, Journey::default()));
        let depth = journey.depths.get(&from).copied().unwrap_or(0) + 1;
        if let Entry::Vacant(place) = journey.depths.entry(to) {
            place.insert(depth);
            self.first += copy.payload;
        }
        if self.journeys.len() > FOLLOWED_MAX {
            self.end_oldest();
        }
    }

    fn end_oldest(&mut self) {
        if let Some((_, (name, journey))) = self.journeys.pop_first() {
            self.numbers.remove(&name);
            let last = journey.depths.values().max().copied().unwrap_or(0);
            self.hops[last.min(HOPS_MAX - 1)] += 1;
        }
    }

    /// Hops from the origin until the last: of the median bundle, and of the one that took most.
    pub fn hops(&mut self) -> (usize, usize) {
        while !self.journeys.is_empty() {
            self.end_oldest();
        }
        let total: u64 = self.hops.iter().sum();
        let mut passed = 0;
        let median = self.hops.iter().position(|count| {
            passed += count;
            passed * 2 >= total && total > 0
        });
        let most = self.hops.iter().rposition(|count| *count > 0);
        (median.unwrap_or(0), most.unwrap_or(0))
    }

    /// A key is about to be written at a node.
    pub fn writes(&mut self, now: Time, by: usize) {
        if self.writes.len() < WRITES_MAX {
            self.writes.push_back(Write { by, at: now, bundle: None, lacking: BTreeSet::new() });
        }
    }

    /// A node sends state of its own; `replicas` are those that are to have it.
    pub fn state_sealed(&mut self, node: usize, name: Name, replicas: impl Fn() -> BTreeSet<usize>) {
        for write in self.writes.iter_mut().filter(|write| write.by == node && write.bundle.is_none()) {
            write.bundle = Some(name);
            write.lacking = replicas();
            write.lacking.remove(&node);
        }
    }

    /// State came to a node: with a bundle it has those before it, which it had or will not need.
    pub fn state_came(&mut self, now: Time, node: usize, name: Name) {
        let has = |write: &Write| write.bundle.is_some_and(|of| of.origin == name.origin && of <= name);
        for write in self.writes.iter_mut().filter(|write| has(write)) {
            write.lacking.remove(&node);
        }
        self.end_writes(now);
    }

    /// Nodes that do not run need nothing, and what only they had is lost.
    pub fn without(&mut self, now: Time, is_running: impl Fn(usize) -> bool) {
        self.writes.retain(|write| is_running(write.by));
        for write in &mut self.writes {
            write.lacking.retain(|node| is_running(*node));
        }
        self.end_writes(now);
    }

    fn end_writes(&mut self, now: Time) {
        let converged = &mut self.converged;
        self.writes.retain(|write| {
            let is_over = write.bundle.is_some() && write.lacking.is_empty();
            if is_over {
                converged.push(now.since(write.at));
            }
            !is_over
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(sequence: u64) -> Name {
        Name { origin: ShortId(7), incarnation: 1, class: Class::EventBulk, sequence }
    }

    fn copy(sequence: u64) -> Passing {
        Passing { name: name(sequence), header: 0, payload: 100 }
    }

    #[test]
    fn hops_are_counted_to_the_last_that_gets_a_bundle() {
        let mut meter = Meter::default();
        for (sequence, from, to) in [(1, 0, 1), (1, 1, 2), (1, 0, 3), (2, 0, 1), (2, 0, 1)] {
            meter.came(&copy(sequence), from, to, 50);
        }
        assert_eq!((meter.copied, meter.needed), (500, 250));
        assert_eq!(meter.hops(), (1, 2));
    }

    #[test]
    fn a_write_has_converged_when_the_last_that_runs_has_it() {
        let mut meter = Meter::default();
        meter.writes(Time::from_millis(10), 0);
        meter.state_sealed(0, name(1), || BTreeSet::from([0, 1, 2, 3]));
        meter.state_came(Time::from_millis(11), 1, name(1));
        meter.state_came(Time::from_millis(15), 2, name(2));
        assert_eq!(meter.converged, vec![]);
        meter.without(Time::from_millis(30), |node| node != 3);
        assert_eq!(meter.converged, vec![Duration::from_millis(20)]);
    }
}
