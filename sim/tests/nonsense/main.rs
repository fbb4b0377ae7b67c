//! Machines are fed anything at all: they never panic, keep their invariants, do the same on every
//! run, and never ask to be woken at a time that has passed.

#![allow(missing_docs, reason = "a test has no users")]

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use fed::run;
use made::op;

mod fed;
mod made;

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, max_shrink_iters: 4000, ..ProptestConfig::default() })]

    #[test]
    fn an_edge_stands_anything(ops in vec(op(), 1..150)) {
        prop_assert!(run(0, &ops) == run(0, &ops), "two runs differ");
    }

    #[test]
    fn an_aggregator_stands_anything(ops in vec(op(), 1..150)) {
        prop_assert!(run(1, &ops) == run(1, &ops), "two runs differ");
    }

    #[test]
    fn a_coordinator_stands_anything(ops in vec(op(), 1..150)) {
        prop_assert!(run(2, &ops) == run(2, &ops), "two runs differ");
    }
}

/// The nonsense is not all refused: it reaches what it is meant to reach.
#[test]
fn nonsense_comes_far() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let marks = [
        "Attached(Attached { accepted: 1",
        "Done(",
        "Home(Home",
        "Undeliverable",
        "Broadcast",
        "Figure(",
        "Forget",
        "Decided(",
        "Cut(Cut",
        "Superseded(",
        "InterestConfirmed",
        "Propose",
        "Changed(",
        "PeerLost",
        "Versions(",
        "State {",
        "Value(b\"\\x03",
        "two stories",
        "did not sign",
        "this very node",
    ];
    // The rarest comes once in some hundred runs.
    for _ in 0..4000 {
        if seen.len() == marks.len() {
            break;
        }
        let ops = vec(op(), 1..150).new_tree(&mut runner).expect("a value").current();
        for role in 0..3 {
            let text = run(role, &ops);
            marks
                .iter()
                .filter(|mark| text.contains(**mark))
                .for_each(|mark| *seen.entry(mark).or_default() += 1);
        }
    }
    let missing: Vec<_> = marks.iter().filter(|mark| !seen.contains_key(**mark)).collect();
    assert!(missing.is_empty(), "never seen: {missing:?}; seen: {seen:?}");
}
