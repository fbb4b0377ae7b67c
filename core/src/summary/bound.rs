//! How much of a count may be made up although so many of it were opened and all were good.
//!
//! Of `population` agents `samples` different ones were drawn by chance and verified. Were `bogus` of them
//! made up, the chance that none was drawn is C(population − bogus, samples) / C(population, samples), the
//! hypergeometric distribution's. The bound is the greatest number of made-up ones for which that chance is
//! still above what is left to doubt; it is exact, and holds for any population. For a great one it
//! approaches 1 − doubt^(1/samples): 3,000 samples leave less than 0.1 % at 95 %.

/// What is left to doubt: bounds hold at 95 %.
pub const DOUBT: f64 = 0.05;

/// The greatest number of made-up agents that is not ruled out at 95 %.
///
/// Takes as many steps as the answer is great; only multiplications and divisions, which all machines round
/// alike.
pub fn bogus_max(population: u64, samples: u64) -> u64 {
    let drawn = samples.min(population);
    if drawn == 0 {
        return population;
    }
    let left = population - drawn;
    let (mut chance, mut bogus) = (1.0, 0);
    while bogus < left {
        // One more: it, too, must be among those that were not drawn.
        chance *= (left - bogus) as f64 / (population - bogus) as f64;
        if chance <= DOUBT {
            break;
        }
        bogus += 1;
    }
    bogus
}

/// The same as a share of the population, from 0 to 1; all of it where nothing was opened, also of nobody.
pub fn bogus_share_max(population: u64, samples: u64) -> f64 {
    match population {
        0 => f64::from(u8::from(samples == 0)),
        _ => bogus_max(population, samples) as f64 / population as f64,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_values_come_out() {
        // By hand: C(10-k, 5)/C(10, 5) is 0.5, 0.222, 0.083, 0.024 for k = 1 to 4.
        assert_eq!(bogus_max(10, 5), 3);
        assert_eq!((bogus_max(10, 10), bogus_max(10, 12), bogus_max(10, 0)), (0, 0, 10));
        // 19 of 20: one left is missed once in twenty, which is not above 5 %.
        assert_eq!((bogus_max(20, 19), bogus_max(20, 18)), (0, 1));
        // 1 - 0.05^(1/3000) is 0.00099808.
        let share = bogus_share_max(1_000_000, 3_000);
        assert!((0.000_99..=0.000_998).contains(&share), "{share}");
        let share = bogus_share_max(1_000_000_000, 3_000);
        assert!((share - 0.000_998_08).abs() < 1e-7, "{share}");
        // The rule of three: about 3/n.
        assert!((bogus_share_max(10_000_000, 300) - 0.009_936).abs() < 1e-5);
        assert_eq!((bogus_share_max(0, 0), bogus_share_max(0, 1)), (1.0, 0.0));
    }

    proptest! {
        #[test]
        fn more_samples_never_allow_more(population in 1..5_000_u64, samples in 0..5_000_u64) {
            let (now, more) = (bogus_max(population, samples), bogus_max(population, samples + 1));
            prop_assert!(more <= now && now <= population);
            prop_assert!(samples >= population || samples > 0 || now == population);
        }
    }
}
