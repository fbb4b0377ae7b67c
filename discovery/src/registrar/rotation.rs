//! The list: who is in DNS, who waits to be, and whose time is over.
//!
//! Up to [`LISTED_MAX`] nodes are listed. More wait, and from time to time those who were listed longest make
//! room, of whom [`LISTED_KEPT`] stay, so that all are found by somebody and DNS does not grow with the mesh.

use std::collections::BTreeMap;
use std::time::Duration;

use starling_core::id::NodeId;

use super::limits::place_of;
use crate::Candidate;

/// Nodes in DNS at once.
pub const LISTED_MAX: usize = 50;
/// Nodes that stay when others have their turn.
pub const LISTED_KEPT: usize = 30;
/// Nodes that wait for their turn.
pub const WAITING_MAX: usize = 256;
/// Pings in a row without answer after which a node is taken off.
const MISSES_MAX: u32 = 2;
/// A turn is so much of the time that a registration holds.
const TURN_DIVISOR: u64 = 6;

/// A node on the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Who and where.
    pub candidate: Candidate,
    /// When it registered last, in seconds since 1970.
    pub seen: u64,
}

/// Why a node is not listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// Its place has its share.
    #[error("so many nodes of this address are registered already; unregister one")]
    Place,
    /// There is no room at all.
    #[error("so many nodes are registered that there is no room; try again in an hour")]
    All,
}

#[derive(Clone, Debug)]
struct Entry {
    candidate: Candidate,
    seen: u64,
    is_listed: bool,
    /// When its turn began: on the list, or among those who wait.
    since: u64,
    pinged_at: u64,
    misses: u32,
}

/// Who is registered, by node.
#[derive(Debug)]
pub struct Rotation {
    entries: BTreeMap<NodeId, Entry>,
    ttl_seconds: u64,
    per_place: usize,
    turned_at: u64,
}

impl Rotation {
    /// An empty list.
    pub fn new(ttl: Duration, per_place: usize) -> Rotation {
        Rotation { entries: BTreeMap::new(), ttl_seconds: ttl.as_secs().max(1), per_place, turned_at: 0 }
    }

    /// A node that answers a ping registers, anew or again; whether the list changed.
    ///
    /// # Errors
    /// There is no room for it; nothing was changed.
    pub fn add(&mut self, candidate: Candidate, now: u64) -> Result<bool, Full> {
        self.insert(candidate, now, now)
    }

    /// What was in DNS when the registrar began: whose time is not over has its place, and is pinged at once.
    pub fn take_back(&mut self, entries: Vec<(Candidate, Option<u64>)>, now: u64) {
        for (candidate, seen) in entries {
            // An entry from the future would last for ever.
            let seen = seen.unwrap_or_default().min(now);
            if now - seen < self.ttl_seconds && self.insert(candidate, seen, 0).is_err() {
                // There were more than this registrar lists: the rest registers again.
            }
        }
    }

    fn insert(&mut self, candidate: Candidate, seen: u64, pinged_at: u64) -> Result<bool, Full> {
        let (Some(node), Some(address)) = (candidate.node(), candidate.socket()) else { return Ok(false) };
        let place = place_of(address.ip());
        let is_beside = |(other, entry): &(&NodeId, &Entry)| {
            **other != node && entry.candidate.socket().is_some_and(|at| place_of(at.ip()) == place)
        };
        if self.entries.iter().filter(is_beside).count() >= self.per_place {
            return Err(Full::Place);
        }
        let before = self.entries.get(&node);
        if before.is_none() && self.entries.len() >= LISTED_MAX + WAITING_MAX {
            return Err(Full::All);
        }
        let has_room = self.count_listed() < LISTED_MAX;
        let (is_listed, since) = before.map_or((has_room, seen), |before| (before.is_listed, before.since));
        self.entries.insert(node, Entry { candidate, seen, is_listed, since, pinged_at, misses: 0 });
        Ok(is_listed)
    }

    fn count_listed(&self) -> usize {
        self.entries.values().filter(|entry| entry.is_listed).count()
    }

    /// A node goes by itself; whether it was there.
    pub fn remove(&mut self, node: NodeId, now: u64) -> bool {
        let is_there = self.entries.remove(&node).is_some();
        self.fill(now);
        is_there
    }

    /// Who has not been pinged for so long; it is now its turn.
    pub fn due(&mut self, now: u64, every: Duration) -> Vec<Candidate> {
        let is_due = |entry: &&mut Entry| now.saturating_sub(entry.pinged_at) >= every.as_secs();
        let due = self.entries.values_mut().filter(is_due);
        due.map(|entry| {
            entry.pinged_at = now;
            entry.candidate.clone()
        })
        .collect()
    }

    /// What came of a ping; whether the node was taken off. One that did not answer is pinged again soon.
    pub fn pinged(&mut self, candidate: &Candidate, is_alive: bool, now: u64) -> bool {
        let Some(node) = candidate.node() else { return false };
        // It may have registered at another address meanwhile.
        let Some(entry) = self.entries.get_mut(&node).filter(|entry| entry.candidate == *candidate) else {
            return false;
        };
        if is_alive {
            (entry.misses, entry.pinged_at) = (0, now);
            return false;
        }
        entry.misses += 1;
        entry.pinged_at = 0;
        entry.misses >= MISSES_MAX && self.remove(node, now)
    }

    /// Takes off whose time is over, and gives those who wait their turn; who was taken off, and whether
    /// others are listed now.
    pub fn tend(&mut self, now: u64) -> (Vec<Candidate>, bool) {
        let is_over = |entry: &Entry| now.saturating_sub(entry.seen) >= self.ttl_seconds;
        let over: Vec<NodeId> =
            self.entries.iter().filter(|(_, entry)| is_over(entry)).map(|(node, _)| *node).collect();
        let expired = over.iter().filter_map(|node| self.entries.remove(node)).map(|entry| entry.candidate);
        let expired: Vec<Candidate> = expired.collect();
        let is_turn = now.saturating_sub(self.turned_at) >= self.ttl_seconds / TURN_DIVISOR;
        let waiting = self.entries.len() - self.count_listed();
        if is_turn && waiting > 0 {
            let leaving = waiting.min(LISTED_MAX - LISTED_KEPT);
            // Both are chosen before either moves: who goes now is not to come in at once.
            let gone: Vec<NodeId> = self.longest(true).take(leaving).collect();
            let coming: Vec<NodeId> = self.longest(false).take(leaving).collect();
            gone.iter().for_each(|node| self.turn(*node, false, now));
            coming.iter().for_each(|node| self.turn(*node, true, now));
        }
        if is_turn {
            self.turned_at = now;
        }
        let filled = self.fill(now);
        (expired, filled || is_turn && waiting > 0)
    }

    /// Those who are listed, or those who wait, whose turn began longest ago first.
    fn longest(&self, is_listed: bool) -> impl Iterator<Item = NodeId> {
        let those = self.entries.iter().filter(|(_, entry)| entry.is_listed == is_listed);
        let mut those: Vec<(u64, NodeId)> = those.map(|(node, entry)| (entry.since, *node)).collect();
        those.sort_unstable();
        those.into_iter().map(|(_, node)| node)
    }

    fn turn(&mut self, node: NodeId, is_listed: bool, now: u64) {
        if let Some(entry) = self.entries.get_mut(&node) {
            (entry.is_listed, entry.since) = (is_listed, now);
        }
    }

    /// Free places go to those who wait.
    fn fill(&mut self, now: u64) -> bool {
        let free = LISTED_MAX.saturating_sub(self.count_listed());
        let coming: Vec<NodeId> = self.longest(false).take(free).collect();
        coming.iter().for_each(|node| self.turn(*node, true, now));
        !coming.is_empty()
    }

    /// Who is to be in DNS.
    pub fn listed(&self) -> Vec<Listed> {
        let listed = self.entries.values().filter(|entry| entry.is_listed);
        listed.map(|entry| Listed { candidate: entry.candidate.clone(), seen: entry.seen }).collect()
    }

    /// How many are registered.
    pub fn count(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600;

    fn node(n: u32) -> Candidate {
        let mut id = [0; 32];
        id[..4].copy_from_slice(&n.to_be_bytes());
        let ip = std::net::Ipv4Addr::from(0x0a00_0000 + n);
        Candidate::at((ip, 7420).into(), Some(NodeId(id))).unwrap()
    }

    fn list() -> Rotation {
        Rotation::new(Duration::from_secs(HOUR), 2)
    }

    #[test]
    fn so_many_are_listed_and_the_others_have_their_turn() {
        let mut list = list();
        for n in 0..80 {
            list.add(node(n), 1_000 + u64::from(n)).unwrap();
        }
        assert_eq!((list.count(), list.listed().len()), (80, LISTED_MAX));
        let mut seen: std::collections::BTreeSet<String> = Default::default();
        for turn in 0..5 {
            seen.extend(list.listed().iter().map(|listed| listed.candidate.to_string()));
            list.tend(1_100 + turn * HOUR / 6);
            assert_eq!(list.listed().len(), LISTED_MAX);
        }
        assert_eq!(seen.len(), 80);
        for n in 80..LISTED_MAX as u32 + WAITING_MAX as u32 {
            list.add(node(n), 1_100).unwrap();
        }
        assert_eq!(list.add(node(9_999), 1_100), Err(Full::All));
        assert!(list.add(node(3), 1_200).is_ok(), "who is there may come again");
    }

    #[test]
    fn who_does_not_register_again_or_answer_is_taken_off() {
        let mut list = list();
        list.add(node(1), 100).unwrap();
        list.add(node(2), 100 + HOUR / 2).unwrap();
        assert_eq!(list.tend(100 + HOUR).0, [node(1)]);
        let every = Duration::from_secs(300);
        assert!(list.due(200 + HOUR / 2, every).is_empty());
        let now = 100 + HOUR;
        assert_eq!(list.due(now, every), [node(2)]);
        assert!(list.due(now, every).is_empty());
        assert!(!list.pinged(&node(2), false, now), "once may be chance");
        assert_eq!(list.due(now + 1, every), [node(2)]);
        assert!(!list.pinged(&node(2), true, now + 1));
        for last in [false, true] {
            assert_eq!(list.pinged(&node(2), false, now + 2), last);
        }
        assert_eq!(list.count(), 0);
    }

    #[test]
    fn one_place_has_its_share_and_a_node_one_entry() {
        let mut list = list();
        let at = |n: u32, port: u16| Candidate::at(([192, 0, 2, 1], port).into(), node(n).node()).unwrap();
        list.add(at(1, 1), 5).unwrap();
        list.add(at(2, 2), 5).unwrap();
        assert_eq!(list.add(at(3, 3), 5), Err(Full::Place));
        list.add(at(1, 9), 6).unwrap();
        assert_eq!(list.count(), 2);
        assert!(list.listed().iter().any(|listed| listed.candidate == at(1, 9)));
        assert!(list.remove(at(1, 9).node().unwrap(), 7) && !list.remove(at(1, 9).node().unwrap(), 7));
    }

    #[test]
    fn what_was_in_dns_is_taken_back_while_it_holds_and_pinged_at_once() {
        let mut list = list();
        let now = 100_000;
        let entries = [(1, Some(now - 10)), (2, Some(now - HOUR)), (3, None), (4, Some(now + 10 * HOUR))];
        list.take_back(entries.map(|(n, seen)| (node(n), seen)).into(), now);
        assert_eq!(list.listed().len(), 2);
        assert_eq!(list.due(now, Duration::from_secs(300)), [node(1), node(4)]);
        assert_eq!(list.tend(now + HOUR - 10).0, [node(1)]);
        assert_eq!(list.tend(now + HOUR).0, [node(4)], "not longer for saying that it is of the future");
    }
}
