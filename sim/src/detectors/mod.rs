//! The failure detectors of one region alone: no hot path, no agents, no signatures, so that thousands of
//! nodes for hours take minutes.
//!
//! Each node drives the product's own [`Detector`]; `spread` carries its statements as the product does,
//! over the product's rings; `region` is time, links and processors. [`watch_region`] is one run,
//! [`compare`] the same seeds by the product's rules and by plain SWIM's.
//!
//! What is simpler than in the whole mesh: a link is there as soon as the rings name it, and stays when
//! one end holds the other for dead, so a live node that was buried comes back at its next word.
//!
//! [`Detector`]: starling_core::membership::detector::Detector

mod region;
mod report;
mod spread;

use std::ops::Range;
use std::time::Instant;

use starling_core::membership::detector::Rules;

use crate::settings::Settings;
use region::Region;
pub use report::{Compared, Comparison, DetectorReport};

/// The rules of plain SWIM: what is left when everything that Lifeguard and several accusers add is off.
pub fn plain() -> Rules {
    Rules { is_lifeguard: false, ..Rules::default() }
}

/// The detectors of `settings.edges` nodes of one region, for `settings.time`.
///
/// Of the settings these count besides: the seed, `near`, the matrix, whose zones are laid out over the
/// nodes in turn, `clock_skew`, the processors, and `faults.death`.
pub fn watch_region(settings: &Settings, rules: &Rules) -> DetectorReport {
    let begun = Instant::now();
    let mut region = Region::new(settings, rules);
    region.run();
    let mut report = region.report(settings, rules);
    report.wall_seconds = begun.elapsed().as_secs_f64();
    report
}

/// Runs the product's rules and plain SWIM's on each seed; `said` hears of each when it is over.
pub fn compare(
    seeds: Range<u64>,
    settings: impl Fn(u64) -> Settings,
    mut said: impl FnMut(&Compared),
) -> Comparison {
    let mut comparison = Comparison::default();
    for seed in seeds {
        let settings = settings(seed);
        let product = watch_region(&settings, &Rules::default());
        let compared = Compared { seed, product, plain: watch_region(&settings, &plain()) };
        said(&compared);
        comparison.add(compared);
    }
    comparison
}
