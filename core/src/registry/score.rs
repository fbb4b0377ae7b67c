//! How good a peer is to have: availability and performance, each 0.0 to 1.0 in steps of 1/10,000,
//! in whole numbers so that every machine sorts alike.

use std::time::Duration;

use super::record::PeerRecord;
use crate::rtt::SmoothedRtt;

/// One, as scores count.
const FULL: u64 = 10_000;
/// The round trip time at which performance is a half.
const RTT_HALF: Duration = Duration::from_millis(50);

/// How often a peer answered when it was contacted: an average in which each contact moves the
/// score by 1/8 of the difference. A peer starts in the middle, as nobody tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Availability(u16);

impl Default for Availability {
    fn default() -> Availability {
        Availability(5_000)
    }
}

impl Availability {
    /// After one more contact.
    pub fn next(self, has_answered: bool) -> Availability {
        let score =
            if has_answered { self.0 + (10_000 - self.0).div_ceil(8) } else { self.0 - self.0.div_ceil(8) };
        Availability(score)
    }

    /// As a number from 0.0 to 1.0.
    pub fn as_f64(self) -> f64 {
        f64::from(self.0) / 10_000.0
    }
}

/// The score of a peer, by which listings are sorted; more is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Score(u32);

impl Score {
    /// Half availability and half performance, weighted by reputation. Performance is 1.0 at no
    /// round trip time, a half at 50 ms, and a quarter where it was not measured.
    pub(super) fn of(record: &PeerRecord) -> Score {
        let availability = u64::from(record.availability.0);
        let performance = record.rtt.map_or(FULL / 4, performance);
        let reputation = (record.reputation.as_f64() * FULL as f64) as u64;
        let score = (availability + performance) / 2 * reputation / FULL;
        Score(u32::try_from(score).unwrap_or(u32::MAX))
    }

    /// As a number from 0.0 to 1.0.
    pub fn as_f64(self) -> f64 {
        f64::from(self.0) / FULL as f64
    }
}

fn performance(rtt: SmoothedRtt) -> u64 {
    let half = RTT_HALF.as_micros();
    let rtt = rtt.average().as_micros();
    u64::try_from(u128::from(FULL) * half / (half + rtt)).unwrap_or(0)
}
