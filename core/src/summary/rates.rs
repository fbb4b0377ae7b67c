//! Rates: summaries carry totals since the edge's start, and the reader of two figures divides.
//!
//! Totals add up in a fold whatever its order, and a lost update costs nothing: the next total has it.

use std::time::Duration;

use bytes::BytesMut;

use super::VALUE_MAX;
use super::pack::{VARINT_BYTES_MAX, put_varint, take_varint};
use crate::wire::codec::{DecodeError, Reader};

/// What is counted since an edge's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Counter {
    /// Entries that agents of the edge published.
    Published,
    /// Entries that were handed to agents of the edge.
    Delivered,
    /// Entries for agents of the edge that were dropped by a full queue or a deadline.
    Dropped,
    /// Payload bytes that agents of the edge published.
    BytesPublished,
    /// Payload bytes that were handed to agents of the edge.
    BytesDelivered,
}

impl Counter {
    /// Every counter, in the order of the wire.
    pub const ALL: [Counter; 5] = [
        Counter::Published,
        Counter::Delivered,
        Counter::Dropped,
        Counter::BytesPublished,
        Counter::BytesDelivered,
    ];
}

/// What was counted since the start of an edge, or the sum of that over the edges of a cut.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals([u64; Counter::ALL.len()]);

impl Totals {
    /// The longest encoding, in bytes.
    pub(super) const BYTES_MAX: usize = Counter::ALL.len() * VARINT_BYTES_MAX;

    /// The total of `counter`.
    pub fn get(&self, counter: Counter) -> u64 {
        self.0[counter as usize]
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        *self == Totals::default()
    }

    /// Counts `amount` more; for the edge. A total stays at 2^53 - 1 once there: nine petabytes.
    pub fn add(&mut self, counter: Counter, amount: u64) {
        let total = &mut self.0[counter as usize];
        *total = total.saturating_add(amount).min(VALUE_MAX);
    }

    /// Adds the totals of `from`, saturating at 2^64 - 1.
    pub fn fold(&mut self, from: &Totals) {
        for (mine, theirs) in self.0.iter_mut().zip(from.0) {
            *mine = mine.saturating_add(theirs);
        }
    }

    pub(super) fn encode(&self, out: &mut BytesMut) {
        self.0.iter().for_each(|total| put_varint(out, *total));
    }

    pub(super) fn decode(reader: &mut Reader<'_>, total_max: u64) -> Result<Totals, DecodeError> {
        let mut totals = Totals::default();
        for total in &mut totals.0 {
            *total = take_varint(reader)?;
            if *total > total_max {
                return Err(DecodeError::TooLong("total"));
            }
        }
        Ok(totals)
    }
}

/// What happened per second between two readings of the totals.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates([f64; Counter::ALL.len()]);

impl Rates {
    /// The rates between two readings that are `passed` apart.
    ///
    /// Nothing when no time has passed or when a total went back, as when an edge has restarted; see
    /// [`super::Figure::rates_since`], which looks at the cuts as well.
    pub fn between(older: &Totals, newer: &Totals, passed: Duration) -> Option<Rates> {
        if passed.is_zero() {
            return None;
        }
        let mut rates = Rates([0.0; Counter::ALL.len()]);
        for (rate, (older, newer)) in rates.0.iter_mut().zip(older.0.iter().zip(newer.0)) {
            *rate = newer.checked_sub(*older)? as f64 / passed.as_secs_f64();
        }
        Some(rates)
    }

    /// The rate of `counter`, per second.
    pub fn get(&self, counter: Counter) -> f64 {
        self.0[counter as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_what_two_totals_differ_by() {
        let older = Totals::default();
        let mut newer = older;
        newer.add(Counter::Published, 500);
        let rates = Rates::between(&older, &newer, Duration::from_millis(250)).expect("time has passed");
        assert_eq!(rates.get(Counter::Published), 2_000.0);
        assert_eq!(rates.get(Counter::Delivered), 0.0);
        assert_eq!(Rates::between(&newer, &older, Duration::from_secs(1)), None);
        assert_eq!(Rates::between(&older, &newer, Duration::ZERO), None);
    }

    #[test]
    fn a_total_stays_within_what_a_fold_may_add() {
        let mut totals = Totals::default();
        totals.add(Counter::BytesDelivered, u64::MAX);
        assert_eq!(totals.get(Counter::BytesDelivered), VALUE_MAX);
    }
}
