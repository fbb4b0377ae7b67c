//! What an entry says, and what a receiver makes of what it gets.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use hdrhistogram::Histogram;
use starling_core::wire::agent::Deliver;
use starling_core::wire::codec::Reader;
use starling_core::wire::entry::take_entry;

/// Bytes that every payload begins with.
pub const HEAD_BYTES: usize = 24;
/// What is slower counts as a minute.
const NANOS_MAX: u64 = 60_000_000_000;

/// What an entry is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Brings everything into motion.
    WarmUp = 0,
    /// Counts.
    Measured = 1,
    /// Nothing comes after it.
    Last = 2,
    /// Alone on its way.
    Single = 3,
}

/// The beginning of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its number in the run, from 0.
    pub number: u64,
    /// When it was published, in nanoseconds since 1970.
    pub sent: u64,
    /// What it is for.
    pub phase: Phase,
}

impl Head {
    /// Writes the head into the front of `payload`.
    pub fn write(&self, payload: &mut [u8]) {
        payload[..8].copy_from_slice(&self.number.to_le_bytes());
        payload[8..16].copy_from_slice(&self.sent.to_le_bytes());
        payload[16] = self.phase as u8;
    }

    /// Reads the head; `None` when the payload is not ours.
    pub fn read(payload: &[u8]) -> Option<Head> {
        let word = |at: usize| payload.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
        let phase = match *payload.get(16)? {
            0 => Phase::WarmUp,
            1 => Phase::Measured,
            2 => Phase::Last,
            3 => Phase::Single,
            _ => return None,
        };
        Some(Head { number: word(0)?, sent: word(8)?, phase })
    }

    /// A payload of `bytes` that begins with this head.
    pub fn payload(&self, bytes: u32) -> Bytes {
        let mut payload = BytesMut::zeroed(bytes as usize);
        self.write(&mut payload);
        payload.freeze()
    }
}

/// Nanoseconds since 1970, the one clock that processes of a machine share.
pub fn wall_nanos() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// An empty histogram of nanoseconds.
pub fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, NANOS_MAX, 3).expect("bounds of a constant range")
}

/// What one receiver got.
#[derive(Clone, Debug)]
pub struct Receipts {
    /// Entries that came as the next of all, each once.
    pub delivered: u64,
    /// Entries that came again, or after a later one.
    pub duplicated: u64,
    /// Entries that count, and when the first and the last of them came.
    pub measured: u64,
    /// See [`Receipts::measured`]; nanoseconds since 1970.
    pub begun: u64,
    /// See [`Receipts::measured`].
    pub ended: u64,
    /// From publishing to here, of entries that count: one in each frame, the oldest.
    pub latency: Histogram<u64>,
    /// The same of entries that were alone on their way.
    pub single: Histogram<u64>,
    /// Whether the last entry came.
    pub is_over: bool,
    next: u64,
}

impl Default for Receipts {
    fn default() -> Receipts {
        Receipts {
            delivered: 0,
            duplicated: 0,
            measured: 0,
            begun: 0,
            ended: 0,
            latency: new_histogram(),
            single: new_histogram(),
            is_over: false,
            next: 0,
        }
    }
}

impl Receipts {
    /// Takes the entries of a frame that came at `now`.
    pub fn take_frame(&mut self, deliver: &Deliver, now: u64) {
        let mut reader = Reader::new(&deliver.body);
        for place in 0..deliver.count {
            let Ok(entry) = take_entry(&mut reader) else { return };
            self.take(entry.payload, now, place == 0);
        }
    }

    /// Takes an entry that came at `now`; `is_timed` if its latency counts.
    pub fn take(&mut self, payload: &[u8], now: u64, is_timed: bool) {
        let Some(head) = Head::read(payload) else { return };
        if head.number < self.next {
            self.duplicated += 1;
            return;
        }
        // What was left out is missing from the sum in the end.
        self.next = head.number + 1;
        self.delivered += 1;
        match head.phase {
            Phase::WarmUp => {}
            Phase::Measured => {
                if self.measured == 0 {
                    self.begun = now;
                }
                self.measured += 1;
                self.ended = now;
                if is_timed {
                    self.latency.saturating_record(now.saturating_sub(head.sent).max(1));
                }
            }
            Phase::Single => self.single.saturating_record(now.saturating_sub(head.sent).max(1)),
            Phase::Last => self.is_over = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(number: u64, phase: Phase) -> Bytes {
        Head { number, sent: 10, phase }.payload(32)
    }

    #[test]
    fn a_head_survives_its_payload() {
        let head = Head { number: 5, sent: 6, phase: Phase::Single };
        assert_eq!(Head::read(&head.payload(24)), Some(head));
        assert_eq!(Head::read(&head.payload(24)[..16]), None);
        assert_eq!(Head::read(&[9; 24]), None);
    }

    #[test]
    fn what_is_missing_or_comes_again_is_seen() {
        let mut receipts = Receipts::default();
        let phases = [(0, Phase::WarmUp), (1, Phase::Measured), (1, Phase::Measured), (3, Phase::Measured)];
        for (at, (number, phase)) in phases.into_iter().enumerate() {
            receipts.take(&payload(number, phase), 100 + at as u64, true);
        }
        // Number 2 comes late: it overtook nobody, so it is as wrong as one that comes twice.
        receipts.take(&payload(2, Phase::Measured), 110, true);
        assert_eq!((receipts.delivered, receipts.duplicated, receipts.measured), (3, 2, 2));
        assert_eq!((receipts.begun, receipts.ended, receipts.is_over), (101, 103, false));
        receipts.take(&payload(4, Phase::Last), 120, true);
        assert!(receipts.is_over);
        assert_eq!(receipts.latency.len(), 2);
    }
}
