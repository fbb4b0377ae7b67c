//! Waiting longer after each failure, and never in step with others.

use std::time::Duration;

use starling_core::rng::Rng;

/// How far a wait may be from its middle, as a share of it.
const JITTER: f64 = 0.5;

/// Waits that double from `first` to `most`, each spread by half of itself.
pub(crate) struct Backoff {
    next: Duration,
    most: Duration,
    rng: Rng,
}

impl Backoff {
    pub fn new(first: Duration, most: Duration) -> Backoff {
        let mut seed = [0; 8];
        if aws_lc_rs::rand::fill(&mut seed).is_err() {
            // Without entropy everybody waits alike, which is worse but still right.
            seed = [1; 8];
        }
        Backoff { next: first.min(most), most, rng: Rng::new(u64::from_le_bytes(seed)) }
    }

    /// How long to wait now.
    pub fn next(&mut self) -> Duration {
        let wait = self.rng.jitter(self.next, JITTER);
        self.next = (self.next * 2).min(self.most);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_and_are_spread() {
        let (first, most) = (Duration::from_millis(100), Duration::from_millis(400));
        let mut backoff = Backoff::new(first, most);
        for middle in [100, 200, 400, 400] {
            let wait = backoff.next();
            let middle = Duration::from_millis(middle);
            assert!(wait >= middle / 2 && wait <= middle * 3 / 2, "{wait:?} round {middle:?}");
        }
    }
}
