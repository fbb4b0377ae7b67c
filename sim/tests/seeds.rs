//! Whole runs from seeds: they repeat, they differ, and what once went wrong in one stays right.

#![allow(missing_docs, reason = "a test has no users")]

use starling_sim::{Settings, run};

#[test]
fn one_seed_is_one_run_and_two_are_two() {
    let hash = |seed| run(&Settings::drawn(seed)).trace_hash;
    let (first, again, other) = (hash(5), hash(5), hash(6));
    assert_eq!(first, again);
    assert_ne!(first, other);
}

#[test]
fn reading_messages_from_their_encoding_changes_nothing() {
    let plain = run(&Settings::drawn(8));
    let wire = run(&Settings { wire: true, ..Settings::drawn(8) });
    assert_eq!(plain.trace_hash, wire.trace_hash);
}

/// Seeds that found something, and what.
const REGRESSIONS: [(u64, &str); 3] = [
    (62, "a bundle owed to a node that restarted within three seconds was waited for for ever"),
    (121, "the same between regions, for three clients"),
    (191, "entries for a node that restarted were lost without a word"),
];

#[test]
fn what_seeds_found_stays_found() {
    for (seed, what) in REGRESSIONS {
        let report = run(&Settings::drawn(seed));
        assert_eq!(report.violations(), 0, "seed {seed} ({what}): {:?}", report.invariants);
        assert!(report.events.delivered > 0, "seed {seed} delivers something");
    }
}
