//! What a history of coordinators comes to.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{LeaderFault, Record, What};
use crate::report::{Invariant, Times};

/// The report of a run; stable, for scripts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CoordinatorsReport {
    /// `starling.chaos-coordinators/1`.
    pub schema: &'static str,
    /// What was done to leaders.
    pub fault: LeaderFault,
    /// How often.
    pub faults: u64,
    /// Updates that were issued.
    pub issued: u64,
    /// Of these, those that were decided, as their issuers were told.
    pub acknowledged: u64,
    /// Of these, those of which nothing was decided, as their issuers were told.
    pub refused: u64,
    /// Of these, those of which nobody knew.
    pub doubtful: u64,
    /// Acknowledged updates that are not decided, or at another place.
    pub lost: u64,
    /// Updates that are decided at two places.
    pub duplicated: u64,
    /// Places at which two coordinators have different updates.
    pub different: u64,
    /// The longest time without an acknowledgement after each fault; null without any.
    pub leader_gap_ms: Option<Gaps>,
    /// From issuing an update to its acknowledgement.
    pub acknowledged_ms: Option<Times>,
    /// What was checked.
    pub invariants: Vec<Invariant>,
}

impl CoordinatorsReport {
    /// How often something did not hold.
    pub fn violations(&self) -> u64 {
        self.invariants.iter().map(|invariant| invariant.violations).sum()
    }
}

/// Quantiles of silences, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Gaps {
    /// The median.
    pub p50: f64,
    /// 95 of 100 are not above it.
    pub p95: f64,
    /// The longest.
    pub max: f64,
    /// How many there are.
    pub samples: u64,
}

impl Gaps {
    /// Of times in microseconds, by the nearest rank; nothing of none.
    fn of(mut times_us: Vec<u64>) -> Option<Gaps> {
        times_us.sort_unstable();
        let at = |share: f64| {
            let rank = (times_us.len() as f64 * share).ceil() as usize;
            times_us.get(rank.saturating_sub(1)).map(|time| *time as f64 / 1000.0)
        };
        Some(Gaps { p50: at(0.5)?, p95: at(0.95)?, max: at(1.0)?, samples: times_us.len() as u64 })
    }
}

/// Notes a check of an invariant.
fn that(invariant: &mut Invariant, holds: bool, wrong: impl FnOnce() -> String) {
    invariant.check((!holds).then(wrong));
}

/// What the lines say, by update.
#[derive(Default)]
struct Facts {
    issued_us: BTreeMap<u64, u64>,
    acknowledged: BTreeMap<u64, (u64, u64)>,
    refused: BTreeSet<u64>,
    doubtful: u64,
    struck_us: Vec<u64>,
    decided: BTreeMap<u64, u64>,
    settled: Option<u64>,
}

/// Judges a history.
pub fn judge(records: &[Record]) -> CoordinatorsReport {
    let mut facts = Facts::default();
    let mut fault = LeaderFault::Kill;
    let mut order = Invariant::new("one-order");
    let mut complete = Invariant::new("no-holes");
    let mut told: BTreeMap<&str, u64> = BTreeMap::new();
    for Record { at_us, what } in records {
        match what {
            What::Begun { fault: of, .. } => fault = *of,
            What::Issued { number, .. } => {
                facts.issued_us.insert(*number, *at_us);
            }
            What::Acknowledged { number, index } => {
                facts.acknowledged.insert(*number, (*index, *at_us));
            }
            What::Refused { number, .. } => {
                facts.refused.insert(*number);
            }
            What::Doubtful { .. } => facts.doubtful += 1,
            What::Struck { .. } => facts.struck_us.push(*at_us),
            What::Back { .. } => {}
            What::Told { node, updates } => {
                let last = told.entry(node).or_default();
                for (index, number) in updates {
                    that(&mut complete, *index == *last + 1, || {
                        format!("{node} told of place {index} after {last}")
                    });
                    *last = *index;
                    let known = *facts.decided.entry(*index).or_insert(*number);
                    that(&mut order, known == *number, || {
                        format!("{node} has update {number} at place {index}, another has {known}")
                    });
                }
            }
            What::Settled { index } => facts.settled = Some(*index),
        }
    }
    let mut settled = Invariant::new("all-the-same-in-the-end");
    that(&mut settled, facts.settled.is_some(), || {
        "the coordinators did not come to the same place".to_owned()
    });
    for (node, last) in &told {
        that(&mut settled, facts.settled.is_none_or(|index| index == *last), || {
            format!("{node} told up to place {last}, not {:?}", facts.settled)
        });
    }
    conclude(&facts, fault, [order, complete, settled])
}

fn conclude(facts: &Facts, fault: LeaderFault, others: [Invariant; 3]) -> CoordinatorsReport {
    let mut durable = Invariant::new("acknowledged-is-decided");
    for (number, (index, _)) in &facts.acknowledged {
        that(&mut durable, facts.decided.get(index) == Some(number), || {
            format!(
                "update {number} was acknowledged at place {index}, where {:?} is",
                facts.decided.get(index)
            )
        });
    }
    let mut once = Invariant::new("decided-once");
    let mut places: BTreeMap<u64, u64> = BTreeMap::new();
    for (index, number) in &facts.decided {
        let before = places.insert(*number, *index);
        that(&mut once, before.is_none(), || format!("update {number} is at places {before:?} and {index}"));
    }
    let mut refused = Invariant::new("refused-is-not-decided");
    for number in &facts.refused {
        let place = places.get(number);
        that(&mut refused, place.is_none(), || {
            format!("update {number} was refused and is at place {place:?}")
        });
    }
    let mut known = Invariant::new("decided-was-issued");
    for number in places.keys() {
        that(&mut known, facts.issued_us.contains_key(number), || format!("nobody issued update {number}"));
    }
    let [order, complete, settled] = others;
    let (lost, duplicated, different) = (durable.violations, once.violations, order.violations);
    let took = facts
        .acknowledged
        .iter()
        .filter_map(|(number, (_, at))| Some(at.saturating_sub(*facts.issued_us.get(number)?)));
    CoordinatorsReport {
        schema: "starling.chaos-coordinators/1",
        fault,
        faults: facts.struck_us.len() as u64,
        issued: facts.issued_us.len() as u64,
        acknowledged: facts.acknowledged.len() as u64,
        refused: facts.refused.len() as u64,
        doubtful: facts.doubtful,
        lost,
        duplicated,
        different,
        leader_gap_ms: Gaps::of(gaps(facts)),
        acknowledged_ms: Times::of(took.collect()),
        invariants: [durable, once, order, complete, refused, known, settled].into(),
    }
}

/// For each fault the longest time between two acknowledgements that lies between it and the next, or
/// that it falls into.
fn gaps(facts: &Facts) -> Vec<u64> {
    let mut at: Vec<u64> = facts.acknowledged.values().map(|(_, at)| *at).collect();
    at.sort_unstable();
    let ends = facts.struck_us.iter().skip(1).copied().chain([u64::MAX]);
    let longest = facts.struck_us.iter().zip(ends).filter_map(|(struck, next)| {
        let between = at.windows(2).filter(|pair| pair[1] > *struck && pair[0] < next);
        between.map(|pair| pair[1] - pair[0]).max()
    });
    longest.collect()
}
