//! Which receiver got which event: one bit each, so that loss and duplication are exact.

use std::sync::atomic::{AtomicU64, Ordering};

/// Receivers that an event may have.
pub const RECEIVERS_MAX: u32 = 63;

/// Receipts of all events of a run.
#[derive(Debug)]
pub struct Receipts {
    bits: Vec<AtomicU64>,
    duplicated: AtomicU64,
    foreign: AtomicU64,
}

/// What the receipts add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Deliveries, each receiver of each event once.
    pub delivered: u64,
    /// Deliveries beyond the first to the same receiver.
    pub duplicated: u64,
    /// Expected deliveries that did not come.
    pub lost: u64,
    /// Deliveries nobody expected.
    pub foreign: u64,
}

impl Receipts {
    /// For this many events.
    pub fn new(events: usize) -> Receipts {
        Receipts {
            bits: (0..events).map(|_| AtomicU64::new(0)).collect(),
            duplicated: AtomicU64::new(0),
            foreign: AtomicU64::new(0),
        }
    }

    /// A receiver got an event.
    pub fn record(&self, event: u32, receiver: u32) {
        match self.bits.get(event as usize) {
            Some(bits) if receiver < RECEIVERS_MAX => {
                let before = bits.fetch_or(1 << receiver, Ordering::Relaxed);
                if before >> receiver & 1 == 1 {
                    self.duplicated.fetch_add(1, Ordering::Relaxed);
                }
            }
            _ => {
                self.foreign.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Deliveries so far, a receiver once.
    pub fn delivered(&self, events: usize) -> u64 {
        self.bits.iter().take(events).map(|bits| u64::from(bits.load(Ordering::Relaxed).count_ones())).sum()
    }

    /// Adds up the first `expected.len()` events; `expected` has each event's number of receivers.
    pub fn tally(&self, expected: &[u8]) -> Tally {
        let mut tally = Tally {
            duplicated: self.duplicated.load(Ordering::Relaxed),
            foreign: self.foreign.load(Ordering::Relaxed),
            ..Tally::default()
        };
        for (bits, expected) in self.bits.iter().zip(expected) {
            let got = u64::from(bits.load(Ordering::Relaxed).count_ones());
            tally.delivered += got;
            tally.lost += u64::from(*expected).saturating_sub(got);
            tally.foreign += got.saturating_sub(u64::from(*expected));
        }
        tally
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_and_duplication_do_not_hide_one_another() {
        let receipts = Receipts::new(2);
        receipts.record(0, 0);
        receipts.record(0, 0);
        receipts.record(1, 5);
        receipts.record(9, 0);
        let tally = receipts.tally(&[2, 1]);
        assert_eq!(tally, Tally { delivered: 2, duplicated: 1, lost: 1, foreign: 1 });
    }
}
