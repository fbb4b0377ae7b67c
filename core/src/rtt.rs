//! How far away a peer is: the smoothed round trip time of RFC 6298, section 2.
//!
//! The weights are TCP's: an eighth for the average, a quarter for the variation. The retransmission
//! timeout has no floor of a second here: what waits for it chooses its own.

use std::time::Duration;

/// A longer sample counts as this: whoever takes a minute to answer is far away.
pub const SAMPLE_MAX: Duration = Duration::from_secs(60);

/// A smoothed round trip time and its variation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SmoothedRtt {
    average_nanos: u64,
    variation_nanos: u64,
}

impl SmoothedRtt {
    /// After the first sample.
    pub fn first(sample: Duration) -> SmoothedRtt {
        let average_nanos = nanos(sample);
        SmoothedRtt { average_nanos, variation_nanos: average_nanos / 2 }
    }

    /// After one more sample.
    pub fn next(self, sample: Duration) -> SmoothedRtt {
        let sample = nanos(sample);
        let difference = self.average_nanos.abs_diff(sample);
        SmoothedRtt {
            average_nanos: (self.average_nanos * 7 + sample) / 8,
            variation_nanos: (self.variation_nanos * 3 + difference) / 4,
        }
    }

    /// The smoothed round trip time, at most [`SAMPLE_MAX`].
    pub fn average(self) -> Duration {
        Duration::from_nanos(self.average_nanos)
    }

    /// The mean deviation from it.
    pub fn variation(self) -> Duration {
        Duration::from_nanos(self.variation_nanos)
    }

    /// By when an answer has come almost surely: the average and four variations.
    pub fn timeout(self) -> Duration {
        Duration::from_nanos(self.average_nanos + 4 * self.variation_nanos)
    }
}

fn nanos(sample: Duration) -> u64 {
    u64::try_from(sample.min(SAMPLE_MAX).as_nanos()).expect("a minute in nanoseconds fits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_samples_as_in_the_rfc() {
        let first = SmoothedRtt::first(Duration::from_millis(80));
        assert_eq!(
            (first.average(), first.variation()),
            (Duration::from_millis(80), Duration::from_millis(40))
        );
        assert_eq!(first.timeout(), Duration::from_millis(240));
        let next = first.next(Duration::from_millis(160));
        assert_eq!(
            (next.average(), next.variation()),
            (Duration::from_millis(90), Duration::from_millis(50))
        );
        let far = (0..100).fold(next, |rtt, _| rtt.next(Duration::MAX));
        assert!(far.average() <= SAMPLE_MAX && far.average() > SAMPLE_MAX - Duration::from_secs(1));
    }
}
