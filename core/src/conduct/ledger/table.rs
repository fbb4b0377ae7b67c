//! Entries of parties that are no strangers, bounded, in the order in which they lose their meaning.

use std::collections::{BTreeMap, BTreeSet};

use super::Record;
use crate::time::Time;

/// At most `MAX` entries; changing one takes O(log n).
#[derive(Debug)]
pub(super) struct Table<K, const MAX: usize> {
    records: BTreeMap<K, Record>,
    /// Each entry under the time from which it is meaningless.
    order: BTreeSet<(Time, K)>,
}

impl<K: Copy + Ord, const MAX: usize> Default for Table<K, MAX> {
    fn default() -> Self {
        Table { records: BTreeMap::new(), order: BTreeSet::new() }
    }
}

impl<K: Copy + Ord, const MAX: usize> Table<K, MAX> {
    pub fn get(&self, key: K) -> Option<&Record> {
        self.records.get(&key)
    }

    pub fn iter(&self) -> impl Iterator<Item = (K, &Record)> + '_ {
        self.records.iter().map(|(key, record)| (*key, record))
    }

    /// Changes the entry of `key`, which is made where there is none.
    pub fn change<T>(
        &mut self,
        now: Time,
        key: K,
        forgotten: &mut u64,
        change: &mut impl FnMut(&mut Record) -> T,
    ) -> T {
        if !self.records.contains_key(&key) {
            self.make_room(now, forgotten);
            let record = Record::new(now);
            self.order.insert((record.meaningless_from(), key));
            self.records.insert(key, record);
        }
        let record = self.records.get_mut(&key).expect("it was there or has just been made");
        let before = record.meaningless_from();
        let result = change(record);
        let after = record.meaningless_from();
        if before != after {
            self.order.remove(&(before, key));
            self.order.insert((after, key));
        }
        result
    }

    /// Changes the entry of `key`, if it has one.
    pub fn change_known(&mut self, key: K, change: &mut impl FnMut(&mut Record)) {
        if self.records.contains_key(&key) {
            self.change(Time::ZERO, key, &mut 0, change);
        }
    }

    /// `true` where there was an entry.
    pub fn remove(&mut self, key: K) -> bool {
        let Some(record) = self.records.remove(&key) else { return false };
        self.order.remove(&(record.meaningless_from(), key))
    }

    pub fn check(&self) {
        assert!(self.records.len() <= MAX, "a table is bounded");
        assert_eq!(self.records.len(), self.order.len(), "an entry has one place in the order");
        let has_place =
            |(key, record): (&K, &Record)| self.order.contains(&(record.meaningless_from(), *key));
        assert!(self.records.iter().all(has_place), "an entry stands where its meaning ends");
    }

    /// Drops what is meaningless, and what will be next where that does not suffice.
    fn make_room(&mut self, now: Time, forgotten: &mut u64) {
        while let Some((meaningless_from, key)) = self.order.first().copied() {
            let is_meaningless = meaningless_from <= now;
            if !is_meaningless && self.records.len() < MAX {
                return;
            }
            *forgotten += u64::from(!is_meaningless);
            self.order.pop_first();
            self.records.remove(&key);
        }
    }
}
