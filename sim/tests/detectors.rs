//! The failure detectors of a region alone: they repeat, find who dies, and stand what plain SWIM does not.

#![allow(missing_docs, reason = "a test has no users")]

use std::time::Duration;

use starling_core::membership::detector::Rules;
use starling_sim::{Processors, Settings, compare, watch_region};

fn region(nodes: usize, seconds: u64) -> Settings {
    Settings { edges: nodes, time: Duration::from_secs(seconds), ..Settings::default() }
}

#[test]
fn plain_swim_buries_the_living_where_the_product_does_not() {
    let strained = |seed| {
        let mut settings = Settings { seed, ..region(100, 40) };
        settings.near.loss = 0.2;
        settings.processors = Processors { step: Duration::from_millis(6), slow_share: 0.05, slow_times: 5 };
        settings
    };
    let found = compare(1..2, strained, |_| {});
    let of = &found.seeds[0];
    assert!(of.product.slow > 0, "somebody is slow");
    assert!(of.plain.false_deaths >= 100, "plain SWIM has {}", of.plain.false_deaths);
    assert_eq!(of.product.false_deaths, 0);
    assert!(found.times_fewer >= 50.0, "{}", found.times_fewer);
}

#[test]
fn who_dies_is_known_to_all_and_a_seed_repeats() {
    let mut settings = region(80, 60);
    settings.faults.death = Duration::from_secs(8);
    let report = watch_region(&settings, &Rules::default());
    assert!(report.crashes >= 3, "{}", report.crashes);
    assert_eq!((report.unnoticed, report.false_deaths), (0, 0));
    // Who died first need not know of the others.
    let known: usize = (1..=report.crashes).map(|crashes| 80 - crashes).sum();
    assert_eq!(report.detection_ms.count, known);
    assert!(report.known_to_all_ms.p99 <= 3_000.0, "{:?}", report.known_to_all_ms);
    assert_eq!(watch_region(&settings, &Rules::default()).trace_hash, report.trace_hash);
    let other = Settings { seed: 2, ..settings };
    assert_ne!(watch_region(&other, &Rules::default()).trace_hash, report.trace_hash);
}
