//! A fixed table of named timers inside a machine.
//!
//! A timer is named by a key, so arming it again overwrites it and nothing has to be searched for
//! or cancelled twice; the table never holds more entries than there are keys. A driver re-reads
//! [`Timers::next`] after every step and may wake the machine early or late: a spurious wake
//! expires nothing.

use std::collections::{BTreeMap, BTreeSet};

use crate::time::Time;

/// Timers named by a small key: an enum, or a pair of a kind and a slot.
///
/// Every operation takes O(log n) of the armed timers.
#[derive(Clone, Debug)]
pub struct Timers<K: Copy + Ord> {
    at: BTreeMap<K, Time>,
    order: BTreeSet<(Time, K)>,
}

impl<K: Copy + Ord> Default for Timers<K> {
    fn default() -> Timers<K> {
        Timers::new()
    }
}

impl<K: Copy + Ord> Timers<K> {
    /// No timer armed.
    pub fn new() -> Timers<K> {
        Timers { at: BTreeMap::new(), order: BTreeSet::new() }
    }

    /// Lets `key` expire at `at`, in place of whatever time it had before.
    pub fn arm(&mut self, key: K, at: Time) {
        if let Some(before) = self.at.insert(key, at) {
            self.order.remove(&(before, key));
        }
        self.order.insert((at, key));
    }

    /// Disarms `key`; true where it was armed.
    pub fn cancel(&mut self, key: K) -> bool {
        match self.at.remove(&key) {
            Some(at) => self.order.remove(&(at, key)),
            None => false,
        }
    }

    /// When `key` expires, if it is armed.
    pub fn armed_at(&self, key: K) -> Option<Time> {
        self.at.get(&key).copied()
    }

    /// When the earliest timer expires.
    pub fn next(&self) -> Option<Time> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Disarms and returns one timer that is due at `now`: the earliest, and of several at one
    /// time the lowest key. Call until `None`.
    ///
    /// A handler that re-arms its timer must choose a time after `now`, else the loop never ends.
    pub fn expire(&mut self, now: Time) -> Option<K> {
        let (at, key) = *self.order.first()?;
        if at > now {
            return None;
        }
        self.cancel(key);
        Some(key)
    }

    /// How many timers are armed.
    pub fn len(&self) -> usize {
        self.at.len()
    }

    /// Whether no timer is armed.
    pub fn is_empty(&self) -> bool {
        self.at.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    enum Kind {
        Probe,
        Repair,
    }

    #[test]
    fn arming_again_overwrites() {
        let mut timers = Timers::new();
        timers.arm(Kind::Probe, Time(10));
        timers.arm(Kind::Probe, Time(20));
        assert_eq!((timers.len(), timers.next()), (1, Some(Time(20))));
        assert_eq!(timers.expire(Time(19)), None);
        assert_eq!(timers.expire(Time(20)), Some(Kind::Probe));
        assert_eq!((timers.is_empty(), timers.next()), (true, None));
    }

    #[test]
    fn expires_earliest_first_and_ties_in_key_order() {
        let mut timers = Timers::new();
        timers.arm((Kind::Repair, 1), Time(5));
        timers.arm((Kind::Probe, 2), Time(5));
        timers.arm((Kind::Probe, 1), Time(5));
        timers.arm((Kind::Repair, 0), Time(4));
        let expired: Vec<_> = std::iter::from_fn(|| timers.expire(Time(5))).collect();
        let expected = [(Kind::Repair, 0), (Kind::Probe, 1), (Kind::Probe, 2), (Kind::Repair, 1)];
        assert_eq!(expired, expected);
    }

    #[test]
    fn a_cancelled_timer_does_not_expire() {
        let mut timers = Timers::new();
        timers.arm(Kind::Repair, Time(1));
        assert!(timers.cancel(Kind::Repair));
        assert!(!timers.cancel(Kind::Repair));
        assert_eq!(timers.expire(Time(9)), None);
    }

    proptest! {
        #[test]
        fn behaves_as_a_map_searched_for_its_least(
            steps in prop::collection::vec((0u8..3, 0u8..8, 0u64..20), 0..200)
        ) {
            let mut timers = Timers::new();
            let mut model: BTreeMap<u8, u64> = BTreeMap::new();
            for (action, key, at) in steps {
                match action {
                    0 => {
                        timers.arm(key, Time(at));
                        model.insert(key, at);
                    }
                    1 => prop_assert_eq!(timers.cancel(key), model.remove(&key).is_some()),
                    _ => {
                        let due = model.iter().map(|(key, at)| (*at, *key)).min();
                        let due = due.filter(|(due_at, _)| *due_at <= at).map(|(_, key)| key);
                        prop_assert_eq!(timers.expire(Time(at)), due);
                        due.and_then(|key| model.remove(&key));
                    }
                }
                prop_assert_eq!(timers.next(), model.values().min().map(|at| Time(*at)));
                prop_assert_eq!(timers.len(), model.len());
                prop_assert_eq!(timers.armed_at(key), model.get(&key).map(|at| Time(*at)));
            }
        }
    }
}
