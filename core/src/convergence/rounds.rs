//! Theory: how many rounds of push-pull it takes until everybody knows.
//!
//! A model, not the protocol: rounds in step, nothing lost, everybody may call anybody. It stands
//! beside what the simulator measures, so that a report can say how far the protocol is from it.
//!
//! Demers et al., "Epidemic Algorithms for Replicated Database Maintenance" (PODC 1987); Karp,
//! Schindelhauer, Shenker and Vöcking, "Randomized Rumor Spreading" (FOCS 2000): with one call a
//! round, log3 n + O(log log n) rounds. While few know, each round multiplies them by 2k+1; once
//! most do, pulling makes those who do not their power of k+1.

use crate::rng::Rng;

/// Rounds after which everybody is taken for unreachable by the fan-out given.
pub const ROUNDS_MAX: u32 = 1_000;

/// In how many rounds one of `n` nodes reaches all, each calling `fanout` random others a round and
/// both sides of a call telling what they knew when the round began. Theory: one draw of the model.
///
/// [`ROUNDS_MAX`] where it takes as many or more, as with a fan-out of zero.
pub fn rounds_to_all(n: u32, fanout: u32, seed: u64) -> u32 {
    let n = n.max(1) as usize;
    let mut rng = Rng::new(seed);
    let mut knows = vec![false; n];
    knows[0] = true;
    let (mut count, mut rounds) = (1, 0);
    while count < n && rounds < ROUNDS_MAX {
        let before = knows.clone();
        for caller in 0..n {
            for other in rng.choose_multiple(n - 1, fanout as usize) {
                // Nobody calls itself.
                let called = other + usize::from(other >= caller);
                if before[caller] || before[called] {
                    knows[caller] = true;
                    knows[called] = true;
                }
            }
        }
        count = knows.iter().filter(|knows| **knows).count();
        rounds += 1;
    }
    rounds
}

/// The same by expectation alone (the mean field of the model): the first round after which less
/// than half a node is expected not to know.
///
/// Made of products only, so that every machine computes the same.
pub fn rounds_expected(n: u32, fanout: u32) -> u32 {
    if n <= 1 {
        return 0;
    }
    let others = f64::from(n - 1);
    let fanout = fanout.min(n - 1);
    let mut ignorant = others;
    let mut rounds = 0;
    while ignorant >= 0.5 && rounds < ROUNDS_MAX {
        let informed = f64::from(n) - ignorant;
        let not_pulled = power(((ignorant - 1.0) / others).max(0.0), u64::from(fanout));
        // Rounding the informed to a whole number costs less than one caller.
        let not_pushed = power(1.0 - f64::from(fanout) / others, informed as u64);
        ignorant *= not_pulled * not_pushed;
        rounds += 1;
    }
    rounds
}

/// `base` to the power of `exponent` by squaring.
fn power(mut base: f64, mut exponent: u64) -> f64 {
    let mut product = 1.0;
    while exponent > 0 {
        if exponent & 1 == 1 {
            product *= base;
        }
        base *= base;
        exponent >>= 1;
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rounds of the model, the mean of a few seeds.
    fn mean(n: u32, fanout: u32) -> f64 {
        let seeds = 8;
        f64::from((0..seeds).map(|seed| rounds_to_all(n, fanout, seed)).sum::<u32>()) / seeds as f64
    }

    #[test]
    fn everybody_knows_in_logarithmically_many_rounds() {
        println!("{:>6} {:>4} {:>8} {:>8} {:>8}", "n", "k", "model", "expected", "log(n)");
        for fanout in [1u32, 3, 10] {
            for n in [10u32, 32, 100, 256, 1_000, 2_048, 4_096] {
                let (model, expected) = (mean(n, fanout), f64::from(rounds_expected(n, fanout)));
                let grows = f64::from(n).ln() / f64::from(2 * fanout + 1).ln();
                let ends = f64::from(n).ln().max(1.0).ln() / f64::from(fanout + 1).ln();
                println!("{n:>6} {fanout:>4} {model:>8.2} {expected:>8} {grows:>8.2}");
                assert!((model - expected).abs() <= 1.5, "{n} {fanout}: {model} is not near {expected}");
                assert!(model <= grows + ends + 2.5, "{n} {fanout}: {model} is over {grows} + {ends}");
                assert!(model >= (grows - 1.0).max(1.0), "{n} {fanout}: {model} is under {grows}");
            }
        }
    }

    #[test]
    fn a_seed_draws_the_same_and_odd_sizes_end() {
        assert_eq!(rounds_to_all(500, 2, 7), rounds_to_all(500, 2, 7));
        for (n, fanout, rounds) in [(0, 3, 0), (1, 3, 0), (2, 1, 1), (5, 9, 1), (3, 0, ROUNDS_MAX)] {
            assert_eq!(rounds_to_all(n, fanout, 1), rounds, "{n} {fanout}");
            assert_eq!(rounds_expected(n, fanout), rounds, "{n} {fanout}");
        }
    }
}
