//! How often something may happen: a bucket of tokens kept as one time (GCRA, ITU-T I.371).

use std::time::Duration;

use crate::time::Time;

/// A rate with a burst.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    each: Duration,
    burst: Duration,
}

/// When a bucket will be full again.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bucket(Time);

impl Pace {
    pub fn new(per_second: u32, burst: u32) -> Pace {
        let each = Duration::from_secs(1) / per_second.max(1);
        Pace { each, burst: each.saturating_mul(burst.max(1) - 1) }
    }

    /// Takes a token; false where there is none.
    pub fn take(&self, now: Time, bucket: &mut Bucket) -> bool {
        if bucket.0 > now + self.burst {
            return false;
        }
        bucket.0 = bucket.0.max(now) + self.each;
        true
    }
}

impl Bucket {
    pub fn is_full(&self, now: Time) -> bool {
        self.0 <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_the_rate() {
        let (pace, mut bucket) = (Pace::new(5, 3), Bucket::default());
        let mut take = |millis| pace.take(Time::from_millis(millis), &mut bucket);
        let taken = [0, 0, 0, 0, 199, 200, 201, 400].map(&mut take);
        assert_eq!(taken, [true, true, true, false, false, true, false, true]);
    }
}
