//! Exact counts of agents by state and by tag.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use bytes::{BufMut, BytesMut};

use super::pack::{VARINT_BYTES_MAX, put_count, put_varint, take_count, take_varint};
use super::{EDGE_KEYS_MAX, FIGURE_KEYS_MAX, KEY_BYTES_MAX, VALUE_MAX};
use crate::wire::codec::{DecodeError, Reader};

/// How many agents there are of each key, with a bounded number of keys.
///
/// The total is always exact. A key's own count is exact as long as [`Tally::other`] is zero, and
/// otherwise too low by at most that.
///
/// On an edge, which is the only writer, a key that comes when [`EDGE_KEYS_MAX`] are held goes to
/// "other": first come, first kept. A fold keeps the [`FIGURE_KEYS_MAX`] lexicographically first
/// keys of the union. A key that a fold once dropped has that many keys before it and can never be
/// among the first again, so the result depends neither on the order nor on the grouping of folds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// No count is zero.
    keys: BTreeMap<Box<str>, u64>,
    other: u64,
    /// All of `keys` and `other`, saturating.
    total: u64,
}

impl Tally {
    /// The count of `key`, zero when it is not held.
    pub fn get(&self, key: &str) -> u64 {
        self.keys.get(key).copied().unwrap_or(0)
    }

    /// The count of all that is not held under its own key.
    pub fn other(&self) -> u64 {
        self.other
    }

    /// The sum over all keys and "other": exact below 2^64, where it saturates.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// How many keys are held.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether nothing is counted.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.other == 0
    }

    /// The keys and their counts in lexicographic order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.keys.iter().map(|(key, count)| (&**key, *count))
    }

    /// The at most `limit` greatest counts, greatest first, equal ones in lexicographic order.
    ///
    /// Each is too low by at most [`Tally::other`], and no key that is missing counts more than the
    /// last one listed plus that.
    pub fn top(&self, limit: usize) -> Vec<(&str, u64)> {
        let mut all: Vec<(&str, u64)> = self.iter().collect();
        all.sort_by_key(|(key, count)| (Reverse(*count), *key));
        all.truncate(limit);
        all
    }

    /// Adds `by` to the count of `key`; for the edge, the single writer.
    ///
    /// # Panics
    /// When a count would go below zero or the total above [`VALUE_MAX`]: the writer has then taken
    /// away what it never added, and an exact count that is wrong must not be published.
    pub fn change(&mut self, key: &str, by: i64) {
        let amount = by.unsigned_abs();
        if by < 0 {
            self.subtract(key, amount);
        } else {
            self.add(key, amount);
        }
    }

    fn add(&mut self, key: &str, amount: u64) {
        self.total = self.total.saturating_add(amount);
        assert!(self.total <= VALUE_MAX, "an edge counts fewer than 2^53 agents");
        if amount == 0 {
            return;
        }
        if let Some(count) = self.keys.get_mut(key) {
            *count += amount;
        } else if key.len() <= KEY_BYTES_MAX && self.keys.len() < EDGE_KEYS_MAX {
            self.keys.insert(key.into(), amount);
        } else {
            self.other += amount;
        }
    }

    /// A key may have been counted under "other" first and have had a place of its own later; its
    /// own place is emptied first, so that what is left over is always in "other".
    fn subtract(&mut self, key: &str, amount: u64) {
        let mut left = amount;
        if let Some(count) = self.keys.get_mut(key) {
            let taken = left.min(*count);
            *count -= taken;
            left -= taken;
            if *count == 0 {
                self.keys.remove(key);
            }
        }
        self.other = self.other.checked_sub(left).expect("only what was added is taken away");
        self.total -= amount;
    }

    /// Adds all counts of `from`, keeping the lexicographically first [`FIGURE_KEYS_MAX`] keys.
    /// Counts saturate at 2^64 - 1, which is also independent of the order.
    pub fn fold(&mut self, from: &Tally) {
        self.total = self.total.saturating_add(from.total);
        self.other = self.other.saturating_add(from.other);
        for (key, count) in &from.keys {
            if let Some(held) = self.keys.get_mut(key) {
                *held = held.saturating_add(*count);
                continue;
            }
            self.keys.insert(key.clone(), *count);
            if self.keys.len() > FIGURE_KEYS_MAX {
                let (_, dropped) = self.keys.pop_last().expect("it is longer than its limit");
                self.other = self.other.saturating_add(dropped);
            }
        }
    }

    /// The longest encoding of `keys` keys, in bytes.
    pub(super) const fn bytes_max(keys: usize) -> usize {
        2 + keys * (1 + KEY_BYTES_MAX + VARINT_BYTES_MAX) + VARINT_BYTES_MAX
    }

    /// Appends the keys in order, each behind its length, with its count; then "other".
    pub(super) fn encode(&self, out: &mut BytesMut) {
        put_count(out, self.keys.len());
        for (key, count) in &self.keys {
            out.put_u8(u8::try_from(key.len()).expect("keys are bounded to 64 bytes"));
            out.put_slice(key.as_bytes());
            put_varint(out, *count);
        }
        put_varint(out, self.other);
    }

    /// Reads at most `keys_max` keys whose total is at most `total_max`.
    pub(super) fn decode(
        reader: &mut Reader<'_>,
        keys_max: usize,
        total_max: u64,
    ) -> Result<Tally, DecodeError> {
        let mut rows: Vec<(Box<str>, u64)> = Vec::new();
        let mut total = 0_u64;
        for _ in 0..take_count(reader, keys_max, "keys of a count")? {
            let length = usize::from(reader.u8()?);
            if length > KEY_BYTES_MAX {
                return Err(DecodeError::TooLong("key of a count"));
            }
            let key = std::str::from_utf8(reader.take(length)?);
            let key = key.map_err(|_| DecodeError::Invalid("key of a count"))?;
            let count = take_varint(reader)?;
            if count == 0 || rows.last().is_some_and(|(last, _)| **last >= *key) {
                return Err(DecodeError::Invalid("order of counts"));
            }
            total = total.checked_add(count).ok_or(DecodeError::TooLong("count"))?;
            rows.push((key.into(), count));
        }
        let other = take_varint(reader)?;
        total = total.checked_add(other).ok_or(DecodeError::TooLong("count"))?;
        if total > total_max {
            return Err(DecodeError::TooLong("count"));
        }
        Ok(Tally { keys: rows.into_iter().collect(), other, total })
    }
}

/// The agents by state and by tag.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Every agent is in exactly one state, which may be the empty text.
    pub states: Tally,
    /// Every agent has any number of tags.
    pub tags: Tally,
}

impl Counts {
    /// All agents, whatever their state: exact.
    pub fn agents(&self) -> u64 {
        self.states.total()
    }
}

/// The sum over all edges, kept up to date as each of them changes.
///
/// Folding a thousand edges anew every 100 ms would cost milliseconds, almost all of it to look up
/// keys; most counts do not change between two figures. It keeps the whole union of keys, so that a
/// key which makes room lets the next one in. Nothing here can overflow: [`VALUE_MAX`] bounds an
/// edge's total, and [`super::EDGES_MAX`] the edges.
#[derive(Debug, Clone, Default)]
pub(super) struct TallySum {
    keys: BTreeMap<Box<str>, u64>,
    other: u64,
}

impl TallySum {
    /// Puts the counts of `new` in the place of those of `old`, which were put here before.
    pub(super) fn exchange(&mut self, old: &Tally, new: &Tally) {
        // Adding comes first, so that a key which only changes its count keeps its place.
        for (key, count) in &new.keys {
            if old.keys.get(key) == Some(count) {
                continue;
            }
            if let Some(sum) = self.keys.get_mut(key) {
                *sum += count;
            } else {
                self.keys.insert(key.clone(), *count);
            }
        }
        for (key, count) in &old.keys {
            if new.keys.get(key) == Some(count) {
                continue;
            }
            let sum = self.keys.get_mut(key).expect("what is exchanged was put here before");
            *sum -= count;
            if *sum == 0 {
                self.keys.remove(key);
            }
        }
        self.other = self.other + new.other - old.other;
    }

    /// The fold of everything put here: the same as folding the edges one by one.
    pub(super) fn tally(&self) -> Tally {
        let mut out = Tally { other: self.other, ..Tally::default() };
        let kept = self.keys.iter().take(FIGURE_KEYS_MAX);
        out.keys = kept.map(|(key, count)| (key.clone(), *count)).collect();
        out.other += self.keys.values().skip(FIGURE_KEYS_MAX).sum::<u64>();
        out.total = out.keys.values().sum::<u64>() + out.other;
        out
    }
}

#[cfg(test)]
mod tests;
