//! Whole runs from seeds: they repeat, they differ, and what once went wrong in one stays right.

#![allow(missing_docs, reason = "a test has no users")]

use std::time::Duration;

use starling_sim::{Conditions, Processors, Settings, run};

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
const REGRESSIONS: [(u64, &str); 14] = [
    (9, "an aggregator that had no link to another region just then told nobody of a gap"),
    (38, "two edges forgot what they owed each other, and one died before it could say so"),
    (74, "who restarted could not accuse who had died before, so nobody was enough for a death"),
    (189, "the same after three crashes in two seconds"),
    (66, "a subscription was confirmed while a peer could not be reached, which did not know of it"),
    (319, "the same, and the peer was held for dead only later"),
    (207, "a region was not told of a gap, since its aggregator was away when it was to be told"),
    (62, "a bundle owed to a node that restarted within three seconds was waited for for ever"),
    (121, "the same between regions, for three clients"),
    (24, "two edges were apart, and one that had forgotten the other died before it could say so"),
    (242, "an aggregator declared for a region before it had heard of it, so that it seemed to want nothing"),
    (109, "an edge was told of a gap before what it wants was in force in other regions again"),
    (738, "an aggregator confirmed for a region what an edge out of reach did not know"),
    (191, "entries for a node that restarted were lost without a word"),
];

/// A seed as it was when it found something: runs had none of this then.
fn as_found(seed: u64) -> Settings {
    let drawn = Settings::drawn(seed);
    let near = Conditions { bandwidth: None, ..drawn.near };
    let (clock_skew, processors) = (Duration::ZERO, Processors::default());
    Settings { keys: false, near, clock_skew, processors, ..drawn }
}

#[test]
fn what_seeds_found_stays_found() {
    for (seed, what) in REGRESSIONS {
        let report = run(&as_found(seed));
        assert_eq!(report.violations(), 0, "seed {seed} ({what}): {:?}", report.invariants);
        assert!(report.events.delivered > 0, "seed {seed} delivers something");
    }
}
