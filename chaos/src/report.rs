//! What a run says of itself; stable, for scripts.

use serde::Serialize;

use crate::faults::FaultKind;
use crate::history::Asked;

/// The report of one run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// `starling.chaos/1`.
    pub schema: &'static str,
    /// The scenario's name.
    pub scenario: String,
    /// Where its chance began.
    pub seed: u64,
    /// What was asked.
    pub settings: Asked,
    /// What went wrong on purpose, in order of time.
    pub faults: Vec<Fault>,
    /// Entries that agents published.
    pub published: u64,
    /// Of these, those that every destination had, as their publishers were told.
    pub acknowledged: u64,
    /// Of these, those that may not have arrived, as their publishers were told.
    pub failed: u64,
    /// Entries that subscribers received.
    pub delivered: u64,
    /// Acknowledged entries that did not come to a subscription confirmed before, and no gap was told.
    pub lost: u64,
    /// The same with a gap told.
    pub missing_in_gaps: u64,
    /// Entries that came to a subscription again.
    pub duplicated: u64,
    /// Entries that came after a later one of the same publisher and subject.
    pub reordered: u64,
    /// Gaps that subscribers were told of.
    pub gaps: u64,
    /// From the loss of an agent's edge until another serves it; null if no agent lost its edge.
    pub recovery_ms: Option<Times>,
    /// From publishing an entry to its acknowledgement.
    pub acknowledged_ms: Option<Times>,
    /// From publishing an entry to each of its deliveries.
    pub delivered_ms: Option<Times>,
    /// From the end of all faults until everything is whole; null if it never was.
    pub healed_ms: Option<f64>,
    /// Live nodes in reach that were declared dead by a node in no trouble itself, each time.
    pub false_deaths: u64,
    /// The same by nodes that were paused, killed or cut off shortly before.
    pub false_deaths_in_trouble: u64,
    /// Who was banned, where a node lied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub banned: Option<Banned>,
    /// What an attack cost others, where a node lied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub under_attack: Option<UnderAttack>,
    /// What was checked.
    pub invariants: Vec<Invariant>,
}

/// Who was banned.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Banned {
    /// Honest nodes that banned the liar.
    pub guilty: u64,
    /// Times that an honest node banned another.
    pub innocent: u64,
    /// From the liar's first act until a node banned it; of a hundred, the ninety-ninth. Null if none did.
    pub p99_ms: Option<f64>,
}

/// What an attack cost honest agents.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct UnderAttack {
    /// From publishing to each delivery, of entries published before it.
    pub before_ms: Option<Times>,
    /// The same of entries published during it.
    pub during_ms: Option<Times>,
}

/// A fault that began or ended.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fault {
    /// Seconds since the run began.
    pub at: f64,
    /// Which.
    pub kind: FaultKind,
    /// A node, or what is parted from what.
    pub target: String,
}

/// What became of one property.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Invariant {
    /// Its name.
    pub name: &'static str,
    /// What was looked at.
    pub checks: u64,
    /// Where it did not hold.
    pub violations: u64,
    /// What was seen the first times.
    pub examples: Vec<String>,
}

/// Examples that are kept of each invariant.
const EXAMPLES_MAX: usize = 5;

impl Invariant {
    /// Nothing was looked at yet.
    pub fn new(name: &'static str) -> Invariant {
        Invariant { name, checks: 0, violations: 0, examples: Vec::new() }
    }

    /// Something was looked at; `wrong` says what does not hold.
    pub fn check(&mut self, wrong: Option<String>) {
        self.checks += 1;
        if let Some(wrong) = wrong {
            self.violations += 1;
            if self.examples.len() < EXAMPLES_MAX {
                self.examples.push(wrong);
            }
        }
    }
}

/// Quantiles of times, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Times {
    /// The median.
    pub p50: f64,
    /// 99 of 100 are not above it.
    pub p99: f64,
    /// The longest.
    pub max: f64,
    /// How many there are.
    pub samples: u64,
}

impl Times {
    /// Of times in microseconds, by the nearest rank; nothing of none.
    pub fn of(mut times_us: Vec<u64>) -> Option<Times> {
        times_us.sort_unstable();
        let at = |share: f64| {
            let rank = (times_us.len() as f64 * share).ceil() as usize;
            times_us.get(rank.saturating_sub(1)).map(|time| *time as f64 / 1000.0)
        };
        Some(Times { p50: at(0.5)?, p99: at(0.99)?, max: at(1.0)?, samples: times_us.len() as u64 })
    }
}

impl Report {
    /// How often something did not hold.
    pub fn violations(&self) -> u64 {
        self.invariants.iter().map(|invariant| invariant.violations).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_nearest_rank() {
        let times = Times::of((1..=200).rev().map(|n| n * 1000).collect()).unwrap();
        assert_eq!(times, Times { p50: 100.0, p99: 198.0, max: 200.0, samples: 200 });
        assert_eq!(Times::of(vec![7000]).unwrap().p99, 7.0);
        assert_eq!(Times::of(Vec::new()), None);
    }
}
