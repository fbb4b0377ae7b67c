//! Planted bugs: a checker that finds nothing proves nothing until it has found what is there.
//!
//! A mutant is a bug that sits between the world and every node's machine and hot path and breaks one
//! promise; the product has no switch for it. Each is planted into a small run of its own, which
//! must break the property that is to catch it; the same run without it must hold, or the catch would
//! prove nothing. `plant` is where the world lets a bug in, `list` names them all; the bugs are in `hot`
//! (what the hot path puts out), `links` (what crosses links), `machine` (what the machine is told and
//! says) and `silent` (what a silent node says of itself).

mod hot;
mod links;
mod list;
mod machine;
mod plant;
mod silent;

use std::ops::Range;
use std::time::Instant;

use serde::Serialize;

use crate::report::Report;
use crate::run::run_with;
use crate::settings::Settings;

pub(crate) use plant::{Aside, At, Bug};

/// A planted bug, and what is to find it.
pub struct Mutant {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub about: &'static str,
    /// The property that it must break, of [`INVARIANTS`](crate::INVARIANTS).
    pub breaks: &'static str,
    seeds: Range<u64>,
    settings: fn() -> Settings,
    bug: fn() -> Box<dyn Bug>,
}

impl std::fmt::Debug for Mutant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mutant").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What became of a mutant.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// The mutant.
    pub name: &'static str,
    /// What it does.
    pub about: &'static str,
    /// What was to catch it.
    pub breaks: &'static str,
    /// Whether it did, and the same runs without the bug held.
    pub is_caught: bool,
    /// The first seed whose run it broke.
    pub seed: Option<u64>,
    /// What was seen there.
    pub example: Option<String>,
    /// Everything else that broke in that run.
    pub also: Vec<&'static str>,
    /// Seeds whose run did not hold without the bug.
    pub broken_without: Vec<u64>,
    /// Real time of all its runs.
    pub wall_seconds: f64,
}

/// What became of all of them, schema `starling.sim-mutants/1`.
#[derive(Clone, Debug, Serialize)]
pub struct Mutants {
    /// `starling.sim-mutants/1`.
    pub schema: &'static str,
    /// How many were planted.
    pub planted: usize,
    /// How many were caught.
    pub caught: usize,
    /// The names of the others.
    pub missed: Vec<&'static str>,
    /// Real time of all runs.
    pub wall_seconds: f64,
    /// Each of them.
    pub mutants: Vec<Verdict>,
}

impl Mutant {
    /// All of them.
    pub fn all() -> &'static [Mutant] {
        list::ALL
    }

    /// Plants it into its runs, one seed after another until one breaks.
    pub fn hunt(&self) -> Verdict {
        let begun = Instant::now();
        let mut verdict = Verdict {
            name: self.name,
            about: self.about,
            breaks: self.breaks,
            is_caught: false,
            seed: None,
            example: None,
            also: Vec::new(),
            broken_without: Vec::new(),
            wall_seconds: 0.0,
        };
        for seed in self.seeds.clone() {
            let settings = Settings { seed, ..(self.settings)() };
            if run_with(&settings, None).violations() > 0 {
                verdict.broken_without.push(seed);
            }
            let report = run_with(&settings, Some((self.bug)()));
            if let Some(example) = example_of(&report, self.breaks) {
                verdict.seed = Some(seed);
                verdict.example = Some(example);
                let others = report.invariants.iter().filter(|found| found.violations > 0);
                verdict.also = others.map(|found| found.name).filter(|name| *name != self.breaks).collect();
                break;
            }
        }
        verdict.is_caught = verdict.seed.is_some() && verdict.broken_without.is_empty();
        verdict.wall_seconds = begun.elapsed().as_secs_f64();
        verdict
    }
}

/// Hunts all mutants; `after_each` hears of each verdict.
pub fn hunt_all(mut after_each: impl FnMut(&Verdict)) -> Mutants {
    let begun = Instant::now();
    let mut verdicts = Vec::new();
    for mutant in Mutant::all() {
        let verdict = mutant.hunt();
        after_each(&verdict);
        verdicts.push(verdict);
    }
    let missed: Vec<&str> =
        verdicts.iter().filter(|verdict| !verdict.is_caught).map(|one| one.name).collect();
    Mutants {
        schema: "starling.sim-mutants/1",
        planted: verdicts.len(),
        caught: verdicts.len() - missed.len(),
        missed,
        wall_seconds: begun.elapsed().as_secs_f64(),
        mutants: verdicts,
    }
}

fn example_of(report: &Report, name: &str) -> Option<String> {
    let found = report.invariants.iter().find(|found| found.name == name && found.violations > 0)?;
    Some(found.examples.first().cloned().unwrap_or_default())
}
