//! What a hostile node did to the others, and they to it.

use std::collections::{BTreeMap, BTreeSet};

use starling_hostile::Attack;

use crate::faults::FaultKind;
use crate::history::{NodeLine, Record, What};
use crate::report::{Banned, Invariant, Times, UnderAttack};

/// In which a liar that can be told is banned.
const BANNED_WITHIN_US: u64 = 30_000_000;

/// What came of an attack.
pub(super) struct Lies {
    /// `just`, `expelled`, `unhurt`.
    pub invariants: [Invariant; 3],
    /// Nothing without an attack.
    pub banned: Option<Banned>,
    /// Nothing without an attack.
    pub under_attack: Option<UnderAttack>,
}

/// When the attack was, by whom and which.
struct Span {
    from_us: u64,
    to_us: u64,
    liar: String,
    attack: Option<Attack>,
}

impl Lies {
    pub fn of(records: &[Record], nodes: &[NodeLine], attack: Option<&str>) -> Lies {
        let mut lies = Lies {
            invariants: ["just", "expelled", "unhurt"].map(Invariant::new),
            banned: None,
            under_attack: None,
        };
        let span = span(records, attack.and_then(Attack::named));
        let bans = bans(records, nodes);
        let [just, expelled, unhurt] = &mut lies.invariants;
        for (node, of, at_us) in bans.iter().filter(|(_, of, _)| nodes.iter().any(|n| n.name == **of)) {
            let at = *at_us as f64 / 1e6;
            just.check(Some(format!("{node} banned {of} at {at:.3} s, which is honest")));
        }
        let Some(span) = span else { return lies };
        let guilty: BTreeMap<&str, u64> = bans
            .iter()
            .rev()
            .filter(|(_, of, _)| **of == span.liar)
            .map(|(node, _, at_us)| (*node, at_us.saturating_sub(span.from_us)))
            .collect();
        just.check(None);
        check_expelled(expelled, &span, nodes, &guilty);
        check_unhurt(unhurt, records, nodes, &span);
        lies.under_attack = Some(under_attack(records, &span));
        lies.banned = Some(Banned {
            guilty: guilty.len() as u64,
            innocent: lies.invariants[0].violations,
            p99_ms: Times::of(guilty.into_values().collect()).map(|times| times.p99),
        });
        lies
    }
}

fn span(records: &[Record], attack: Option<Attack>) -> Option<Span> {
    let at = |kind: FaultKind| {
        records.iter().find_map(|record| match &record.what {
            What::Fault { kind: of, target, .. } if *of == kind => Some((record.at_us, target.clone())),
            _ => None,
        })
    };
    let (from_us, liar) = at(FaultKind::Attack)?;
    let to_us = at(FaultKind::Relent).map_or(u64::MAX, |(at_us, _)| at_us);
    Some(Span { from_us, to_us, liar, attack })
}

/// Who banned whom and when, by honest nodes.
fn bans<'a>(records: &'a [Record], nodes: &[NodeLine]) -> Vec<(&'a str, &'a str, u64)> {
    let found = records.iter().filter_map(|record| match &record.what {
        What::Banned { node, of, .. } => Some((node.as_str(), of.as_str(), record.at_us)),
        _ => None,
    });
    found.filter(|(node, ..)| nodes.iter().any(|known| known.name == *node)).collect()
}

/// Who can be proven to lie is banned by everybody, who sends forgeries by its region's nodes, to which it
/// sends them, and who changes what passes by some of those that get it.
fn check_expelled(expelled: &mut Invariant, span: &Span, nodes: &[NodeLine], guilty: &BTreeMap<&str, u64>) {
    let Some(attack) = span.attack else { return };
    let region = span.liar.split('-').next().unwrap_or_default();
    let must: Vec<&NodeLine> = nodes
        .iter()
        .filter(|node| attack.is_provable() || attack.is_grave() && node.region == region)
        .collect();
    let is_in_time = |node: &&NodeLine| {
        guilty.get(node.name.as_str()).is_some_and(|after_us| *after_us <= BANNED_WITHIN_US)
    };
    if attack == Attack::Tampering {
        let wrong = guilty.is_empty().then(|| format!("nobody banned {}", span.liar));
        return expelled.check(wrong);
    }
    for node in must {
        let is_missing = !is_in_time(&node);
        let wrong = format!("{} did not ban {} within 30 s of its first act", node.name, span.liar);
        expelled.check(is_missing.then_some(wrong));
    }
}

/// During the attack and after it no link between honest nodes is lost, and no agent its edge.
fn check_unhurt(unhurt: &mut Invariant, records: &[Record], nodes: &[NodeLine], span: &Span) {
    let honest: BTreeSet<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
    for record in records.iter().filter(|record| record.at_us >= span.from_us) {
        let at = record.at_us as f64 / 1e6;
        match &record.what {
            What::LinkLost { node, of } if honest.contains(of.as_str()) => {
                unhurt.check(Some(format!("{node} lost its link with {of} at {at:.3} s")));
            }
            What::Homed { agent, edge } => {
                unhurt.check(Some(format!("agent {agent} moved to {edge} at {at:.3} s")));
            }
            _ => {}
        }
    }
    unhurt.check(None);
}

/// How long deliveries took of what was published before the attack, and during it.
fn under_attack(records: &[Record], span: &Span) -> UnderAttack {
    let mut published = BTreeMap::new();
    let (mut before, mut during) = (Vec::new(), Vec::new());
    for record in records {
        match &record.what {
            What::Published { agent, number, .. } => {
                published.insert((*agent, *number), record.at_us);
            }
            What::Delivered { publisher, number, .. } => {
                let Some(since) = published.get(&(*publisher, *number)) else { continue };
                let took = record.at_us - since;
                if *since < span.from_us {
                    before.push(took);
                } else if *since < span.to_us {
                    during.push(took);
                }
            }
            _ => {}
        }
    }
    UnderAttack { before_ms: Times::of(before), during_ms: Times::of(during) }
}
