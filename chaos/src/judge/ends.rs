//! How agents came through, and how everything was in the end.

use std::collections::{BTreeMap, BTreeSet};

use crate::faults::FaultKind;
use crate::history::{Record, What};
use crate::report::Invariant;

use super::is_down;

/// `served`, `counted` and `whole`, of what the last lines say.
pub(super) fn check(records: &[Record], agents: u32) -> Vec<Invariant> {
    let names = ["served", "counted", "whole"];
    let [mut served, mut counted, mut whole] = names.map(Invariant::new);
    let mut settled = BTreeSet::new();
    for record in records {
        match &record.what {
            What::Settled { agent, edge, is_subscribed } => {
                settled.insert(*agent);
                let wrong = match (edge, is_subscribed) {
                    (Some(_), true) => None,
                    (None, _) => Some(format!("no edge serves agent {agent}")),
                    (Some(edge), false) => Some(format!("agent {agent} at {edge} has no subscription")),
                };
                served.check(wrong);
            }
            What::Counted { agents: count } => {
                let is_right = *count == Some(u64::from(agents));
                let said = count.map_or("does not answer".to_owned(), |count| format!("counts {count}"));
                counted.check((!is_right).then(|| format!("the coordinator {said}, there are {agents}")));
            }
            What::Members { node, not_up } => whole.check(match not_up {
                None => Some(format!("{node} does not answer")),
                Some(wrong) if wrong.is_empty() => None,
                Some(wrong) => {
                    let words: Vec<String> = wrong.iter().map(|(of, is)| format!("{of} is {is}")).collect();
                    Some(format!("{node} says {}", words.join(", ")))
                }
            }),
            _ => {}
        }
    }
    if healed_us(records).is_none() {
        whole.check(Some("not everything was whole within 60 s after the faults".into()));
    }
    // Nobody said how these are, which is no better than what is wrong with others.
    for agent in (0..agents).filter(|agent| !settled.contains(agent)) {
        served.check(Some(format!("nothing is known of agent {agent}")));
    }
    for missing in [&mut counted, &mut whole].into_iter().filter(|invariant| invariant.checks == 0) {
        missing.check(Some("nobody was asked".into()));
    }
    vec![served, counted, whole]
}

/// For each agent whose edge was killed or paused, how long until an edge served it again.
pub(super) fn recoveries(records: &[Record]) -> Vec<u64> {
    let mut homes: BTreeMap<u32, &str> = BTreeMap::new();
    let mut homeless: BTreeMap<u32, u64> = BTreeMap::new();
    let mut times = Vec::new();
    for record in records {
        match &record.what {
            What::Homed { agent, edge } => {
                homes.insert(*agent, edge);
                times.extend(homeless.remove(agent).map(|since| record.at_us - since));
            }
            What::Fault { kind, target, .. } if is_down(*kind) => {
                let here = homes.iter().filter(|(_, edge)| **edge == target.as_str());
                for (agent, _) in here {
                    homeless.entry(*agent).or_insert(record.at_us);
                }
            }
            // Who did not leave was served again when its edge went on.
            What::Fault { kind: FaultKind::Resume, target, .. } => {
                let stayed = |agent: &u32| homes.get(agent).is_some_and(|edge| edge == target);
                let served = homeless.extract_if(.., |agent, _| stayed(agent));
                times.extend(served.map(|(_, since)| record.at_us - since));
            }
            _ => {}
        }
    }
    times
}

/// From the end of the faults until everything was whole.
pub(super) fn healed_us(records: &[Record]) -> Option<u64> {
    let at =
        |is: fn(&What) -> bool| records.iter().find(|record| is(&record.what)).map(|record| record.at_us);
    let ceased = at(|what| matches!(what, What::Ceased));
    let whole = at(|what| matches!(what, What::Healed));
    ceased.zip(whole).map(|(ceased, whole)| whole - ceased)
}
