//! What an entry says, and what a receiver makes of what it gets: the checks of `starling bench`.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// What an entry is for: the numbers of `starling bench`.
pub const WARM_UP: u8 = 0;
/// It counts.
pub const MEASURED: u8 = 1;
/// Nothing comes after it.
pub const LAST: u8 = 2;
/// It was alone on its way.
pub const SINGLE: u8 = 3;

/// Numbers of entries that others overtook, as many as are kept.
const MISSING_MAX: usize = 65_536;

/// Nanoseconds since 1970.
pub fn wall_nanos() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Writes an entry's head: number, time of publishing and phase.
pub fn write_head(payload: &mut [u8], number: u64, sent: u64, phase: u8) {
    payload[..8].copy_from_slice(&number.to_le_bytes());
    payload[8..16].copy_from_slice(&sent.to_le_bytes());
    payload[16] = phase;
}

/// An empty histogram of nanoseconds up to a minute.
pub fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("bounds of a constant range")
}

/// Microseconds of a histogram of nanoseconds; null when it is empty.
pub fn times(histogram: &Histogram<u64>) -> Value {
    let at = |q: f64| histogram.value_at_quantile(q) as f64 / 1e3;
    match histogram.len() {
        0 => Value::Null,
        samples => json!({"p50": at(0.5), "p99": at(0.99), "p999": at(0.999), "samples": samples}),
    }
}

/// What one receiver got.
#[derive(Clone, Debug)]
pub struct Receipts {
    /// Entries that came, each once.
    pub delivered: u64,
    /// Entries that came again.
    duplicated: u64,
    /// Entries that came after a later one.
    overtaken: u64,
    measured: u64,
    begun: u64,
    ended: u64,
    next: u64,
    missing: BTreeSet<u64>,
    latency: Histogram<u64>,
    /// Whether the last entry came.
    pub is_over: bool,
}

impl Default for Receipts {
    fn default() -> Receipts {
        Receipts {
            delivered: 0,
            duplicated: 0,
            overtaken: 0,
            measured: 0,
            begun: 0,
            ended: 0,
            next: 0,
            missing: BTreeSet::new(),
            latency: new_histogram(),
            is_over: false,
        }
    }
}

impl Receipts {
    /// Takes an entry that came at `now`.
    pub fn take(&mut self, payload: &[u8], now: u64) {
        let word = |at: usize| payload[at..at + 8].try_into().map_or(0, u64::from_le_bytes);
        let (number, sent, phase) = (word(0), word(8), payload[16]);
        if number < self.next {
            if !self.missing.remove(&number) {
                self.duplicated += 1;
                return;
            }
            self.overtaken += 1;
        } else {
            let room = MISSING_MAX.saturating_sub(self.missing.len());
            self.missing.extend((self.next..number).take(room));
            self.next = number + 1;
        }
        self.delivered += 1;
        if phase == MEASURED {
            if self.measured == 0 {
                self.begun = now;
            }
            (self.measured, self.ended) = (self.measured + 1, now);
            self.latency.saturating_record(now.saturating_sub(sent).max(1));
        }
        self.is_over |= phase == LAST;
    }

    /// Whether the last entry and all before it came.
    pub fn is_complete(&self) -> bool {
        self.is_over && self.delivered == self.next
    }

    /// A result for the list of all.
    pub fn report(&self) -> Value {
        Receipts::report_all([self])
    }

    /// What several receivers of the same entries say together.
    pub fn report_all<'a>(all: impl IntoIterator<Item = &'a Receipts>) -> Value {
        let (mut measured, mut begun, mut ended) = (0, u64::MAX, 0);
        let (mut delivered, mut expected, mut duplicated, mut overtaken) = (0, 0, 0, 0);
        let mut latency = new_histogram();
        for receipts in all {
            measured += receipts.measured;
            if receipts.measured > 0 {
                (begun, ended) = (begun.min(receipts.begun), ended.max(receipts.ended));
            }
            delivered += receipts.delivered;
            expected += receipts.next;
            duplicated += receipts.duplicated;
            overtaken += receipts.overtaken;
            latency.add(&receipts.latency).expect("all histograms have the same bounds");
        }
        let seconds = ended.saturating_sub(begun).max(1) as f64 / 1e9;
        json!({
            "per_second": measured as f64 / seconds,
            "latency_us": times(&latency),
            "delivered": delivered,
            "lost": expected - delivered,
            "duplicated": duplicated,
            "overtaken": overtaken,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipts(numbers: &[u64]) -> Receipts {
        let mut receipts = Receipts::default();
        for number in numbers {
            let mut payload = [0; 24];
            write_head(&mut payload, *number, wall_nanos(), if *number == 9 { LAST } else { MEASURED });
            receipts.take(&payload, wall_nanos());
        }
        receipts
    }

    fn counts(receipts: &Receipts) -> [u64; 4] {
        let report = receipts.report();
        ["delivered", "lost", "duplicated", "overtaken"].map(|name| report[name].as_u64().unwrap_or(u64::MAX))
    }

    #[test]
    fn what_is_missing_comes_again_or_late_is_told_apart() {
        assert_eq!(counts(&receipts(&[0, 1, 2])), [3, 0, 0, 0]);
        assert_eq!(counts(&receipts(&[0, 2])), [2, 1, 0, 0]);
        assert_eq!(counts(&receipts(&[0, 1, 1])), [2, 0, 1, 0]);
        assert_eq!(counts(&receipts(&[0, 2, 1, 1])), [3, 0, 1, 1]);
        assert_eq!(counts(&receipts(&[1, 2])), [2, 1, 0, 0]);
    }

    #[test]
    fn the_end_has_come_when_nothing_before_it_is_missing() {
        let late = receipts(&[0, 1, 2, 3, 4, 5, 6, 9, 7]);
        assert!(late.is_over && !late.is_complete());
        assert!(receipts(&[0, 1, 2, 3, 4, 5, 6, 9, 7, 8]).is_complete());
    }

    #[test]
    fn several_receivers_are_added_up() {
        let (one, other) = (receipts(&[0, 1, 2]), receipts(&[0, 2, 2]));
        let report = Receipts::report_all([&one, &other]);
        let count = |name: &str| report[name].as_u64();
        assert_eq!((count("delivered"), count("lost"), count("duplicated")), (Some(5), Some(1), Some(1)));
    }
}
