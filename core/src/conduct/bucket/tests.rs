use proptest::prelude::*;

use super::*;

fn at(nanos: u64) -> Time {
    Time(nanos)
}

#[test]
fn a_full_bucket_gives_its_burst_and_then_its_rate() {
    let rate = Rate::new(1_000, 5);
    let mut bucket = Bucket::full(at(0));
    assert!((0..5).all(|_| bucket.take(&rate, at(0), 1)));
    assert!(!bucket.take(&rate, at(999_999), 1));
    assert!(bucket.take(&rate, at(1_000_000), 1));
    assert!(!bucket.take(&rate, at(1_000_000), 1));
    assert_eq!(bucket.ready_at(&rate, at(1_000_000), 2), Some(at(3_000_000)));
    assert_eq!(bucket.ready_at(&rate, at(0), 6), None);
    assert!(bucket.take(&rate, at(1_000_000), 0));
    assert!(!bucket.take(&rate, at(u64::MAX / 128), 6));
    assert_eq!(bucket.tokens(&rate, at(u64::MAX / 128)), 5);
}

#[test]
fn jumps_of_the_clock_give_one_burst_at_most() {
    let rate = Rate::new(10, 10);
    let day = 86_400_000_000_000;
    let mut bucket = Bucket::full(at(0));
    for jump in 1..2_000 {
        let now = at(jump * day);
        assert_eq!((0..20).filter(|_| bucket.take(&rate, now, 1)).count(), 10);
    }
    // Threads read their clocks a little apart.
    let now = 2_000 * day;
    assert!(bucket.take(&rate, at(now), 10));
    assert!(!bucket.take(&rate, at(now - 1_000_000_000), 1));
}

#[test]
fn rates_are_as_exact_as_they_say() {
    for per_second in [1, 3, 7, 1_000, 1_001, 999_983, 1_000_000, 7_777_777, 9_999_991, 10_000_000] {
        let rate = Rate::new(per_second, 1);
        let exact = u128::from(UNITS_PER_SECOND);
        let kept = u128::from(rate.period) * u128::from(per_second);
        assert!(kept.abs_diff(exact) * 128_000_000_000 / u128::from(per_second) <= exact, "{per_second}");
        // Over a second of asking often, tokens come at that rate.
        let mut bucket = Bucket::full(at(0));
        let step = (1_000_000_000 / per_second / 4).max(1);
        let seconds = if per_second < 10 { 100 } else { 1 };
        let asked = if per_second > 1_000_000 { 100_000_000 } else { seconds * 1_000_000_000 };
        let taken = (0..=asked / step).filter(|n| bucket.take(&rate, at(n * step), 1)).count() as u64;
        let expected = per_second * asked / 1_000_000_000;
        // A burst of one loses what the steps of the asking waste.
        assert!(taken <= expected + 1 + expected / 1000, "{per_second}: {taken} of {expected}");
        assert!(taken >= expected * 3 / 4, "{per_second}: {taken} of {expected}");
    }
}

#[test]
fn a_rate_is_held_to_its_limits() {
    assert_eq!(Rate::new(0, 0), Rate::new(1, 1));
    assert_eq!(Rate::new(u64::MAX, 1), Rate::new(PER_SECOND_MAX, 1));
    assert_eq!(Rate::new(1, u64::MAX).burst(), 3600);
    let agents = Rate::new(1_000, 1_000).times(50).plus(Rate::new(100, 10));
    assert_eq!((agents.per_second(), agents.burst()), (50_100, 50_010));
    assert_eq!(Rate::new(1_000, 1).times(u64::MAX).per_second(), PER_SECOND_MAX);
}

#[test]
fn debt_is_bounded() {
    let rate = Rate::new(10, 10);
    let bucket = AtomicBucket::full(at(0));
    (0..100).for_each(|_| bucket.charge(&rate, at(0), u64::MAX));
    assert!(!bucket.take(&rate, at(1_000_000_000), 1));
    assert!(bucket.take(&rate, at(1_100_000_000), 1));
}

#[test]
fn threads_together_get_no_more_than_one_would() {
    let rate = Rate::new(1, 1_000);
    let bucket = AtomicBucket::full(at(5));
    let taken: usize = std::thread::scope(|scope| {
        let take = || (0..1_000).filter(|_| bucket.take(&rate, at(5), 1)).count();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(taken, 1_000);
}

/// Tokens as a fraction with the period's own denominator: what a bucket is by definition.
struct Model {
    filled: u128,
    at: u64,
}

impl Model {
    fn take(&mut self, rate: &Rate, now: Time, count: u64) -> bool {
        let passed = u128::from(now.0 - self.at) * u128::from(UNITS_PER_NANO);
        self.filled = (self.filled + passed).min(u128::from(rate.burst) * u128::from(rate.period));
        self.at = now.0;
        let cost = u128::from(count) * u128::from(rate.period);
        let has = self.filled >= cost;
        if has {
            self.filled -= cost;
        }
        has
    }
}

proptest! {
    #[test]
    fn a_bucket_is_its_model(
        per_second in prop_oneof![1..100u64, 1..10_000_000u64],
        burst in prop_oneof![1..10u64, 1..100_000u64],
        start in 0..u64::MAX / 2,
        steps in prop::collection::vec((
            prop_oneof![0..1_000u64, 0..1_000_000_000u64, 0..100 * 3_600_000_000_000u64],
            prop_oneof![0..4u64, 0..200_000u64],
        ), 0..200),
    ) {
        let rate = Rate::new(per_second, burst);
        let mut model = Model { filled: u128::from(rate.depth()), at: start };
        let (mut bucket, atomic) = (Bucket::full(at(start)), AtomicBucket::full(at(start)));
        let mut now = start;
        for (step, count) in steps {
            now += step;
            let ready = bucket.ready_at(&rate, at(now), count);
            let expected = model.take(&rate, at(now), count);
            prop_assert_eq!(ready.is_some_and(|ready| ready <= at(now)), expected);
            prop_assert_eq!(bucket.take(&rate, at(now), count), expected);
            prop_assert_eq!(atomic.take(&rate, at(now), count), expected);
            prop_assert_eq!(atomic.look(), bucket);
            prop_assert_eq!(u128::from(bucket.tokens(&rate, at(now))), model.filled / u128::from(rate.period));
        }
    }

    #[test]
    fn nothing_panics(numbers in any::<[u64; 6]>()) {
        let rate = Rate::new(numbers[0], numbers[1]);
        let bucket = AtomicBucket::full(at(numbers[2]));
        let _ = bucket.take(&rate, at(numbers[3]), numbers[4]);
        bucket.charge(&rate, at(numbers[3]), numbers[5]);
        let _ = bucket.look().ready_at(&rate, at(numbers[4]), numbers[5]);
        prop_assert!(bucket.look().tokens(&rate, at(numbers[5])) <= rate.burst());
    }
}
