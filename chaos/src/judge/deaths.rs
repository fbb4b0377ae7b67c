//! Who was declared dead, by whom, and whether that was so.

use std::collections::BTreeSet;

use crate::faults::FaultKind;
use crate::history::{NodeLine, Record, What};
use crate::report::Invariant;

use super::is_down;

/// How long after a fault nodes may still find out what it did, and say so: a death is decided within
/// 6 s and told to others by links that may be slow.
const AFTERMATH_US: u64 = 10_000_000;

/// A time in which something was wrong.
struct Span {
    from_us: u64,
    to_us: u64,
    /// The node that was down, or nobody's name where links were cut.
    node: String,
    links: Vec<(String, String)>,
}

/// Declared deaths.
pub(super) struct Deaths {
    pub alive: Invariant,
    /// False ones by nodes in trouble.
    pub in_trouble: u64,
}

impl Deaths {
    pub fn of(records: &[Record], nodes: &[NodeLine]) -> Deaths {
        let spans = spans(records);
        let mut deaths = Deaths { alive: Invariant::new("alive"), in_trouble: 0 };
        for record in records {
            let What::Said { node, of, word } = &record.what else { continue };
            // Nothing is promised to a node that lies.
            if !nodes.iter().any(|known| known.name == *of) {
                continue;
            }
            let mut near = Vec::new();
            near.extend(spans.iter().filter(|span| {
                span.from_us <= record.at_us && record.at_us <= span.to_us.saturating_add(AFTERMATH_US)
            }));
            let was_down = |name: &String| near.iter().any(|span| span.node == *name);
            let cuts: BTreeSet<(&str, &str)> =
                near.iter().flat_map(|span| &span.links).map(|(a, b)| (a.as_str(), b.as_str())).collect();
            let is_false = !was_down(of) && is_in_reach(nodes, &cuts, &was_down, (node, of));
            let at = record.at_us as f64 / 1e6;
            if is_false && was_down(node) {
                deaths.in_trouble += 1;
                deaths.alive.check(None);
            } else {
                let wrong = is_false.then(|| format!("{node} said at {at:.3} s that {of} is {word}"));
                deaths.alive.check(wrong);
            }
        }
        deaths
    }
}

/// When which node was down and which links were cut. What never ended lasts for ever.
fn spans(records: &[Record]) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    for record in records {
        let What::Fault { kind, target, links } = &record.what else { continue };
        match kind {
            FaultKind::Slow | FaultKind::Attack | FaultKind::Relent => {}
            FaultKind::Kill | FaultKind::Pause | FaultKind::Cut | FaultKind::OneWay => {
                let node = if is_down(*kind) { target.clone() } else { String::new() };
                spans.push(Span { from_us: record.at_us, to_us: u64::MAX, node, links: links.clone() });
            }
            FaultKind::Restart | FaultKind::Resume | FaultKind::Mend => {
                let is_its = |span: &&mut Span| {
                    span.to_us == u64::MAX
                        && if *kind == FaultKind::Mend { span.links == *links } else { span.node == *target }
                };
                if let Some(span) = spans.iter_mut().find(is_its) {
                    span.to_us = record.at_us;
                }
            }
        }
    }
    spans
}

/// Whether one node could hear of another's life: over any nodes of their region that were up, or, of
/// another region, over their own link.
fn is_in_reach(
    nodes: &[NodeLine],
    cuts: &BTreeSet<(&str, &str)>,
    was_down: &dyn Fn(&String) -> bool,
    (from, to): (&String, &String),
) -> bool {
    let is_open = |a: &str, b: &str| !cuts.contains(&(a, b)) && !cuts.contains(&(b, a));
    let region_of = |name: &str| nodes.iter().find(|node| node.name == name).map(|node| &node.region);
    if region_of(from) != region_of(to) {
        return is_open(from, to);
    }
    let inside = nodes.iter().filter(|node| Some(&node.region) == region_of(from));
    let relays: Vec<&str> = inside
        .filter(|node| node.name == *from || node.name == *to || !was_down(&node.name))
        .map(|node| node.name.as_str())
        .collect();
    let (mut reached, mut next) = (BTreeSet::from([from.as_str()]), vec![from.as_str()]);
    while let Some(at) = next.pop() {
        for relay in relays.iter().filter(|relay| is_open(at, relay)) {
            if reached.insert(relay) {
                next.push(relay);
            }
        }
    }
    reached.contains(to.as_str())
}
