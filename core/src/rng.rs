//! The one source of chance in a node: seeded, portable, the same stream on every machine.
//!
//! The generator is xoshiro256++ 1.0 (Blackman and Vigna, "Scrambled Linear Pseudorandom Number
//! Generators", ACM TOMS 2021), its state filled by SplitMix64 (Steele, Lea and Flood, "Fast
//! Splittable Pseudorandom Number Generators", OOPSLA 2014), as its authors advise. It is not
//! cryptographic: keys and tokens come from the driver.

use std::time::Duration;

/// 2^64 divided by the golden ratio: an odd constant that spreads neighbouring numbers.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// A generator; the same seed gives the same stream for ever.
#[derive(Clone, Debug)]
pub struct Rng {
    state: [u64; 4],
}

impl Rng {
    /// A generator for any `seed`, zero included.
    pub fn new(seed: u64) -> Rng {
        let mut counter = seed;
        Rng { state: std::array::from_fn(|_| split_mix(&mut counter)) }
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.state;
        let result = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }

    /// A number below `bound`, each equally likely; zero where `bound` is zero.
    ///
    /// Lemire, "Fast Random Integer Generation in an Interval" (ACM TOMACS 2019): one
    /// multiplication, and a division only where the draw could be biased.
    pub fn below(&mut self, bound: u64) -> u64 {
        let mut product = u128::from(self.next_u64()) * u128::from(bound);
        if (product as u64) < bound {
            let biased_below = bound.wrapping_neg() % bound;
            while (product as u64) < biased_below {
                product = u128::from(self.next_u64()) * u128::from(bound);
            }
        }
        (product >> 64) as u64
    }

    /// Puts `items` in an order, each equally likely (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.below(last as u64 + 1) as usize;
            items.swap(last, other);
        }
    }

    /// `k` different numbers below `count` in random order, or all of them where `count` is less.
    ///
    /// Takes O(k) time and memory, whatever `count` is: Bentley and Floyd, "A Sample of
    /// Brilliance" (CACM 1987), then a shuffle, as Floyd's order is not random.
    pub fn choose_multiple(&mut self, count: usize, k: usize) -> Vec<usize> {
        let k = k.min(count);
        let mut seen = Seen::new(k);
        let mut chosen = Vec::with_capacity(k);
        for highest in count - k..count {
            let drawn = self.below(highest as u64 + 1) as usize;
            if seen.insert(drawn) {
                chosen.push(drawn);
            } else {
                // No earlier draw reached this high, so it is still free.
                seen.insert(highest);
                chosen.push(highest);
            }
        }
        self.shuffle(&mut chosen);
        chosen
    }

    /// A duration between `base * (1 - fraction)` and `base * (1 + fraction)`, so that nodes that
    /// started together do not act together.
    ///
    /// `fraction` is held to 0.0-1.0 and a NaN counts as 0.0; a base over 292 years is held there.
    pub fn jitter(&mut self, base: Duration, fraction: f64) -> Duration {
        let base_nanos = u64::try_from(base.as_nanos()).unwrap_or(u64::MAX).min(u64::MAX / 2 - 1);
        // The cast turns NaN into zero and holds what is out of range to the range's ends.
        let spread = ((base_nanos as f64 * fraction.clamp(0.0, 1.0)) as u64).min(base_nanos);
        Duration::from_nanos(base_nanos - spread + self.below(2 * spread + 1))
    }
}

/// One step of SplitMix64.
fn split_mix(counter: &mut u64) -> u64 {
    *counter = counter.wrapping_add(GOLDEN);
    let mut mixed = *counter;
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ mixed >> 31
}

/// The numbers drawn so far: open addressing at most half full, so that a test takes O(1).
struct Seen {
    cells: Vec<usize>,
    shift: u32,
}

/// Marks a free cell. It is never drawn: a number is below a count, which is at most this.
const FREE: usize = usize::MAX;

impl Seen {
    fn new(count: usize) -> Seen {
        let size = (count.max(1) * 2).next_power_of_two();
        Seen { cells: vec![FREE; size], shift: 64 - size.trailing_zeros() }
    }

    /// Notes `number`; false where it was noted before.
    fn insert(&mut self, number: usize) -> bool {
        let mut cell = ((number as u64).wrapping_mul(GOLDEN) >> self.shift) as usize;
        while self.cells[cell] != FREE {
            if self.cells[cell] == number {
                return false;
            }
            cell = (cell + 1) & (self.cells.len() - 1);
        }
        self.cells[cell] = number;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::rng::Rng;

    #[test]
    fn matches_the_published_stream_of_xoshiro() {
        let mut rng = Rng { state: [1, 2, 3, 4] };
        let stream: Vec<u64> = (0..6).map(|_| rng.next_u64()).collect();
        assert_eq!(
            stream,
            [
                41_943_041,
                58_720_359,
                3_588_806_011_781_223,
                3_591_011_842_654_386,
                9_228_616_714_210_784_205,
                9_973_669_472_204_895_162
            ]
        );
    }

    #[test]
    fn matches_the_published_stream_of_split_mix() {
        let mut counter = 0;
        let stream: Vec<u64> = (0..3).map(|_| split_mix(&mut counter)).collect();
        assert_eq!(stream, [0xE220_A839_7B1D_CDAF, 0x6E78_9E6A_A1B9_65F4, 0x06C4_5D18_8009_454F]);
    }

    #[test]
    fn a_seed_gives_this_stream_for_ever() {
        let mut rng = Rng::new(42);
        let words: Vec<u64> = (0..3).map(|_| rng.next_u64()).collect();
        assert_eq!(words, GOLDEN_WORDS);
        assert_eq!(rng.choose_multiple(1_000_000, 5), GOLDEN_CHOICE);
        assert_eq!(rng.jitter(Duration::from_secs(1), 0.1), Duration::from_nanos(GOLDEN_JITTER));
    }

    const GOLDEN_WORDS: [u64; 3] =
        [15_021_278_609_987_233_951, 5_881_210_131_331_364_753, 18_149_643_915_985_481_100];
    const GOLDEN_CHOICE: [usize; 5] = [701_132, 588_097, 605_122, 125_352, 793_502];
    const GOLDEN_JITTER: u64 = 1_036_001_294;

    #[test]
    fn below_is_even_over_its_range() {
        let mut rng = Rng::new(1);
        assert_eq!(rng.below(0), 0);
        assert_eq!(rng.below(1), 0);
        let mut counts = [0u32; 6];
        for _ in 0..60_000 {
            counts[rng.below(6) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (9_500..10_500).contains(count)), "{counts:?}");
    }

    #[test]
    fn below_rejects_the_draws_that_would_be_biased() {
        // With a bound of three quarters of the range, plain scaling would hit one of three
        // residues twice as often as the others.
        let bound = 3 << 62;
        let mut rng = Rng::new(9);
        let mut counts = [0u32; 3];
        for _ in 0..30_000 {
            counts[(rng.below(bound) % 3) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (9_500..10_500).contains(count)), "{counts:?}");
    }

    #[test]
    fn every_place_of_a_choice_is_even() {
        let mut rng = Rng::new(2);
        let mut counts = [[0u32; 5]; 3];
        for _ in 0..50_000 {
            for (place, number) in rng.choose_multiple(5, 3).into_iter().enumerate() {
                counts[place][number] += 1;
            }
        }
        assert!(counts.iter().flatten().all(|count| (9_500..10_500).contains(count)), "{counts:?}");
    }

    #[test]
    fn every_order_of_a_shuffle_is_even() {
        let mut rng = Rng::new(3);
        let mut counts = std::collections::BTreeMap::new();
        for _ in 0..60_000 {
            let mut items = [0, 1, 2];
            rng.shuffle(&mut items);
            *counts.entry(items).or_insert(0u32) += 1;
        }
        assert_eq!(counts.len(), 6);
        assert!(counts.values().all(|count| (9_500..10_500).contains(count)), "{counts:?}");
    }

    proptest! {
        #[test]
        fn a_choice_is_distinct_in_range_and_complete(
            seed: u64, count in 0usize..5_000, k in 0usize..200
        ) {
            let chosen = Rng::new(seed).choose_multiple(count, k);
            prop_assert_eq!(chosen.len(), k.min(count));
            prop_assert!(chosen.iter().all(|number| *number < count));
            let distinct: BTreeSet<usize> = chosen.iter().copied().collect();
            prop_assert_eq!(distinct.len(), chosen.len());
        }

        #[test]
        fn a_number_is_below_its_bound(seed: u64, bound in 1u64..) {
            prop_assert!(Rng::new(seed).below(bound) < bound);
        }

        #[test]
        fn jitter_stays_in_its_band(seed: u64, nanos: u64, fraction in prop::num::f64::ANY) {
            let base = Duration::from_nanos(nanos);
            let jittered = Rng::new(seed).jitter(base, fraction);
            prop_assert!(jittered <= base.saturating_mul(2));
            if fraction.is_nan() || fraction <= 0.0 {
                prop_assert!(jittered <= base);
            } else if fraction < 0.5 && nanos < 1 << 50 {
                prop_assert!(jittered >= base / 2 && jittered <= base + base / 2);
            }
        }
    }
}
