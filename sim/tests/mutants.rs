//! Planted bugs are found, by the property that is to find them; the pipeline plants all of them.

#![allow(missing_docs, reason = "a test has no users")]

use std::collections::BTreeSet;

use starling_sim::{INVARIANTS, Mutant};

#[test]
fn every_property_finds_something() {
    let broken: BTreeSet<&str> = Mutant::all().iter().map(|mutant| mutant.breaks).collect();
    // What becomes of liars is looked at where there are some (`hostile.rs`).
    let names = INVARIANTS.iter().map(|(name, _)| *name);
    let known: BTreeSet<&str> = names.filter(|name| *name != "behaved").collect();
    assert_eq!(broken, known);
    let names: BTreeSet<&str> = Mutant::all().iter().map(|mutant| mutant.name).collect();
    assert_eq!(names.len(), Mutant::all().len(), "no two have one name");
}

#[test]
fn some_planted_bugs_are_found() {
    for name in ["reuse-sequence", "deliver-twice", "skip-verification", "stale-figure", "stale-key"] {
        let mutant = Mutant::all().iter().find(|mutant| mutant.name == name).expect("one of the list");
        let verdict = mutant.hunt();
        assert!(verdict.is_caught, "{verdict:?}");
    }
}
