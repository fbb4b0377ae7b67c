//! What was promised and not kept, from a history alone: one file for each kind of promise.

use crate::faults::FaultKind;
use crate::history::{Record, What};
use crate::report::{Fault, Invariant, Report, Times};
use crate::scenario::Scenario;

mod deaths;
mod deliveries;
mod ends;
mod lies;

use deaths::Deaths;
use deliveries::Deliveries;
use lies::Lies;

/// The invariants, each with a sentence.
pub const INVARIANTS: [(&str, &str); 13] = [
    (
        "delivered",
        "an acknowledged entry came to every subscription confirmed before it, or a gap was told within 5 s",
    ),
    ("complete", "where the scenario promises it, nothing is missing even where a gap was told"),
    ("once", "no entry came to a subscription twice"),
    ("ordered", "entries of one publisher and subject came in the order in which they were published"),
    ("unchanged", "what came was published, by whom and where it said"),
    ("answered", "every entry has one outcome in the end, and none had one before it was published"),
    ("alive", "no node that lives and can be reached was declared dead by one in no trouble itself"),
    ("served", "every agent has an edge and its subscription in the end"),
    ("counted", "the coordinator counts every agent once in the end"),
    ("whole", "every node takes every other for alive in the end"),
    ("just", "nobody banned an honest node"),
    ("expelled", "who can be told to lie was banned within 30 s, by everybody or by those it lied to"),
    ("unhurt", "an attack cost no link between honest nodes, and no agent its edge"),
];

/// Judges a history that [`crate::history::read`] accepted.
///
/// # Panics
/// The history does not begin with [`What::Begun`], which reading refuses.
pub fn judge(records: &[Record]) -> Report {
    let Some(Record { what: What::Begun { scenario, seed, settings, nodes, .. }, .. }) = records.first()
    else {
        panic!("a history that was read begins with `begun`");
    };
    let is_complete = Scenario::named(scenario).is_some_and(|scenario| scenario.is_complete);
    let deliveries = Deliveries::of(records, is_complete);
    let deaths = Deaths::of(records, nodes);
    let faults: Vec<Fault> = records.iter().filter_map(fault).collect();
    let mut invariants = deliveries.invariants.to_vec();
    invariants.push(deaths.alive.clone());
    invariants.extend(ends::check(records, settings.agents));
    let lies = Lies::of(records, nodes, settings.attack.as_deref());
    invariants.extend(lies.invariants);
    debug_assert!(invariants.iter().map(|i| i.name).eq(INVARIANTS.iter().map(|(name, _)| *name)));
    Report {
        schema: "starling.chaos/1",
        scenario: scenario.clone(),
        seed: *seed,
        settings: settings.clone(),
        faults,
        published: deliveries.published,
        acknowledged: deliveries.acknowledged_us.len() as u64,
        failed: deliveries.failed,
        delivered: deliveries.delivered_us.len() as u64,
        lost: deliveries.lost,
        missing_in_gaps: deliveries.missing_in_gaps,
        duplicated: violations(&invariants, "once"),
        reordered: violations(&invariants, "ordered"),
        gaps: deliveries.gaps,
        recovery_ms: Times::of(ends::recoveries(records)),
        acknowledged_ms: Times::of(deliveries.acknowledged_us),
        delivered_ms: Times::of(deliveries.delivered_us),
        healed_ms: ends::healed_us(records).map(|time| time as f64 / 1000.0),
        false_deaths: deaths.alive.violations,
        false_deaths_in_trouble: deaths.in_trouble,
        banned: lies.banned,
        under_attack: lies.under_attack,
        invariants,
    }
}

fn violations(invariants: &[Invariant], name: &str) -> u64 {
    invariants.iter().filter(|invariant| invariant.name == name).map(|invariant| invariant.violations).sum()
}

fn fault(record: &Record) -> Option<Fault> {
    let What::Fault { kind, target, .. } = &record.what else { return None };
    Some(Fault { at: record.at_us as f64 / 1e6, kind: *kind, target: target.clone() })
}

/// Whether a fault takes the process of a node away.
fn is_down(kind: FaultKind) -> bool {
    matches!(kind, FaultKind::Kill | FaultKind::Pause)
}

#[cfg(test)]
mod tests;
