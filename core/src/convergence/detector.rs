//! The detector itself: a scale of versions, and the place of each peer on it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::hash::HashMap;
use crate::id::ShortId;
use crate::time::Time;

/// Most peers whose place is kept; a report of a further one is not taken.
pub const PEERS_MAX: usize = 4_096;
/// Most origins that are counted; a further one is not.
pub const ORIGINS_MAX: usize = 4_096;
/// Most entries of the log of when the scale was passed.
pub const PASSED_MAX: usize = 512;

/// How far somebody is behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lag {
    /// How many versions it lacks.
    pub versions: u64,
    /// Since when it lacks any; `None` where it lacks nothing.
    pub since: Option<Time>,
}

/// All peers together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Peers that reported.
    pub peers: usize,
    /// Those of them that lack something.
    pub behind: usize,
    /// The most versions that one of them lacks.
    pub versions_max: u64,
    /// For how long at the most one of them has lacked something.
    pub age_max: Duration,
}

/// What is known of an origin: 32 bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Origin {
    incarnation: u64,
    /// The largest sequence of that incarnation that anybody has.
    best: u64,
    /// The largest that this node has applied.
    applied: u64,
    /// Versions of earlier incarnations: they keep the scale from running backwards.
    base: u64,
}

/// The place of a peer: 8 bytes, and 8 for its name.
#[derive(Clone, Copy, Debug)]
struct Place(u64);

/// The scale came to `total` at `at`.
#[derive(Clone, Copy, Debug)]
struct Passed {
    total: u64,
    at: Time,
}

/// How far every known peer is behind.
///
/// Noting a version takes O(1) amortised, a report O(1) for each origin it names, a question about
/// one peer O(log [`PASSED_MAX`]), a summary that for each peer.
#[derive(Clone, Debug, Default)]
pub struct Detector {
    origins: HashMap<ShortId, Origin>,
    peers: BTreeMap<ShortId, Place>,
    /// Versions of origins that were forgotten, on both sides of every difference.
    retired: u64,
    best: u64,
    applied: u64,
    /// Rising in both fields; an entry covers the places from the total before it up to its own.
    passed: VecDeque<Passed>,
    rounds: u64,
    rounds_behind: u32,
    rounds_last: Option<u32>,
    untracked: u64,
}

impl Detector {
    /// Nobody is known and nothing was said.
    pub fn new() -> Detector {
        Detector::default()
    }

    /// This node applied `sequence` of an incarnation of `origin`, and all before it.
    pub fn applied(&mut self, now: Time, origin: ShortId, incarnation: u64, sequence: u64) {
        self.known(now, origin, incarnation, sequence);
        let Some(known) = self.origins.get_mut(&origin) else { return };
        let sequence = sequence.min(known.best);
        if known.incarnation == incarnation && sequence > known.applied {
            self.applied += sequence - known.applied;
            known.applied = sequence;
        }
    }

    /// Somebody has `sequence` of an incarnation of `origin`.
    pub fn known(&mut self, now: Time, origin: ShortId, incarnation: u64, sequence: u64) {
        if !self.origins.contains_key(&origin) && self.origins.len() >= ORIGINS_MAX {
            self.untracked += 1;
            return;
        }
        let known = self.origins.entry(origin).or_insert(Origin { incarnation, ..Origin::default() });
        if incarnation > known.incarnation {
            // What is missing of the old incarnation is of no use to anybody any more.
            self.applied = self.applied.saturating_add(known.best - known.applied);
            let base = known.base.saturating_add(known.best);
            *known = Origin { incarnation, best: 0, applied: 0, base };
        }
        if incarnation == known.incarnation && sequence > known.best {
            let gained = (sequence - known.best).min(u64::MAX - self.best);
            known.best += gained;
            self.best += gained;
            if gained > 0 {
                self.note_passed(now);
            }
        }
    }

    /// What `peer` said it has: origin, incarnation and sequence, each origin once. An origin that
    /// is not named counts as lacking.
    ///
    /// False where the peer is new and the table is full.
    pub fn report(
        &mut self,
        now: Time,
        peer: ShortId,
        versions: impl Iterator<Item = (ShortId, u64, u64)>,
    ) -> bool {
        let mut place = self.retired;
        for (origin, incarnation, sequence) in versions.take(ORIGINS_MAX) {
            self.known(now, origin, incarnation, sequence);
            let Some(known) = self.origins.get(&origin) else { continue };
            let current = if incarnation == known.incarnation { sequence.min(known.best) } else { 0 };
            place = place.saturating_add(known.base).saturating_add(current);
        }
        self.put(peer, place)
    }

    /// `peer` has exactly what this node has: their roots are equal.
    pub fn report_equal(&mut self, peer: ShortId) -> bool {
        self.put(peer, self.applied)
    }

    /// `peer` said how many versions it has in all, and its root differs from ours. An estimate: it
    /// counts from the beginning of each incarnation that is current here.
    pub fn report_count(&mut self, peer: ShortId, versions: u64) -> bool {
        let bases: u64 = self.best - self.current();
        self.put(peer, bases.saturating_add(versions).min(self.best))
    }

    /// Forgets a peer.
    pub fn forget_peer(&mut self, peer: ShortId) -> bool {
        self.peers.remove(&peer).is_some()
    }

    /// Forgets an origin whose state is gone. Who lacked something of it is charged with that until
    /// its next report; one that names the origin again makes it known again.
    pub fn forget_origin(&mut self, origin: ShortId) -> bool {
        let Some(known) = self.origins.remove(&origin) else { return false };
        self.retired = self.retired.saturating_add(known.base).saturating_add(known.best);
        self.applied = self.applied.saturating_add(known.best - known.applied);
        true
    }

    /// How far `peer` is behind the largest known versions.
    pub fn lag(&self, peer: ShortId) -> Option<Lag> {
        self.peers.get(&peer).map(|place| self.lag_at(place.0))
    }

    /// How far this node is behind.
    pub fn lag_of_ourselves(&self) -> Lag {
        self.lag_at(self.applied)
    }

    /// Whether this node and every known peer lack nothing that is older than `within`.
    pub fn is_converged(&self, now: Time, within: Duration) -> bool {
        let is_in_time = |lag: Lag| lag.since.is_none_or(|since| now.since(since) <= within);
        is_in_time(self.lag_of_ourselves())
            && self.peers.values().all(|place| is_in_time(self.lag_at(place.0)))
    }

    /// All peers together, this node not among them.
    pub fn summary(&self, now: Time) -> Summary {
        let mut summary = Summary { peers: self.peers.len(), ..Summary::default() };
        for lag in self.peers.values().map(|place| self.lag_at(place.0)) {
            let Some(since) = lag.since else { continue };
            summary.behind += 1;
            summary.versions_max = summary.versions_max.max(lag.versions);
            summary.age_max = summary.age_max.max(now.since(since));
        }
        summary
    }

    /// Counts a round of gossip; true where nobody is behind at its end.
    pub fn round_ended(&mut self) -> bool {
        self.rounds += 1;
        let is_level = |place: &Place| place.0 >= self.best;
        if self.applied >= self.best && self.peers.values().all(is_level) {
            if self.rounds_behind > 0 {
                self.rounds_last = Some(self.rounds_behind + 1);
                self.rounds_behind = 0;
            }
            return true;
        }
        self.rounds_behind = self.rounds_behind.saturating_add(1);
        false
    }

    /// Rounds counted so far.
    pub fn rounds(&self) -> u64 {
        self.rounds
    }

    /// How many rounds the last convergence took, the one that found it included.
    pub fn rounds_last(&self) -> Option<u32> {
        self.rounds_last
    }

    /// Versions that were not counted because too many origins are known.
    pub fn untracked(&self) -> u64 {
        self.untracked
    }

    /// Asserts that the sums agree with the table.
    ///
    /// # Panics
    /// Where they do not: a fault of this module.
    pub fn check(&self) {
        let of = |part: fn(&Origin) -> u64| -> u64 { self.origins.values().map(part).sum() };
        let whole = self.retired + of(|origin| origin.base);
        assert_eq!(self.best, whole + of(|origin| origin.best));
        assert_eq!(self.applied, whole + of(|origin| origin.applied));
        assert!(self.passed.len() <= PASSED_MAX);
        assert!(self.passed.iter().zip(self.passed.iter().skip(1)).all(|(one, next)| one.total < next.total));
    }

    /// Versions of the incarnations that are current, all origins together.
    fn current(&self) -> u64 {
        // A sum does not depend on the order of the map.
        self.origins.values().map(|origin| origin.best).sum::<u64>()
    }

    fn put(&mut self, peer: ShortId, place: u64) -> bool {
        let is_full = self.peers.len() >= PEERS_MAX && !self.peers.contains_key(&peer);
        if !is_full {
            self.peers.insert(peer, Place(place));
        }
        !is_full
    }

    fn lag_at(&self, place: u64) -> Lag {
        let versions = self.best.saturating_sub(place);
        if versions == 0 {
            return Lag { versions, since: None };
        }
        let first = self.passed.partition_point(|passed| passed.total <= place);
        Lag { versions, since: self.passed.get(first).map(|passed| passed.at) }
    }

    /// Notes when the scale came to where it is.
    fn note_passed(&mut self, now: Time) {
        let total = self.best;
        match self.passed.back_mut() {
            Some(last) if last.at >= now => last.total = total,
            _ => self.passed.push_back(Passed { total, at: now }),
        }
        if self.passed.len() > PASSED_MAX {
            self.thin();
        }
    }

    /// Merges pairs in the older half of the log. A merged entry has the earlier time, so that an
    /// age is never understated.
    fn thin(&mut self) {
        let half = self.passed.len() / 4 * 2;
        let mut index = 0_usize;
        let mut earlier: Option<Time> = None;
        self.passed.retain_mut(|passed| {
            let is_kept = index >= half || index % 2 == 1;
            if is_kept {
                passed.at = earlier.take().unwrap_or(passed.at);
            } else {
                earlier = Some(passed.at);
            }
            index += 1;
            is_kept
        });
    }
}

#[cfg(test)]
mod tests;
