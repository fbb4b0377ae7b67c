//! MEM: what a node keeps stays within its limits, and at rest it keeps nothing for anybody.

use std::sync::atomic::{AtomicU64, Ordering};

use starling_core::limits;
use starling_core::membership::PEERS_MAX;
use starling_core::time::Time;

use super::{Check, Findings, Scene};
use crate::node::Node;

/// Classes of events, each with a window of its own.
const EVENT_CLASSES: u64 = 2;

/// Tables and queues, as far as nodes show them.
#[derive(Default)]
pub(crate) struct Bounded {
    findings: Findings,
}

/// Bundles that a node sealed and that not every destination has.
fn retained(node: &Node) -> u64 {
    let counters = &node.plane().counters;
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    read(&counters.sealed_bundles).saturating_sub(read(&counters.completed_bundles))
}

/// What a node has too much of.
fn excess(node: &Node) -> Option<String> {
    let view = node.plane().view();
    let counts = [
        ("peers", view.origins.len() as u64, PEERS_MAX as u64),
        ("links", view.links.len() as u64, view.origins.len() as u64),
        ("bundles retained", retained(node), limits::WINDOW_BUNDLES * EVENT_CLASSES),
    ];
    let (what, count, most) = counts.into_iter().find(|(_, count, most)| count > most)?;
    Some(format!("{} has {count} {what}, at most {most}", node.plan.name))
}

impl Check for Bounded {
    fn name(&self) -> &'static str {
        "bounded"
    }

    fn each_second(&mut self, now: Time, scene: &mut Scene<'_>) {
        for node in scene.world.nodes.iter().filter(|node| node.is_active()) {
            self.findings.note(now, excess(node));
        }
    }

    fn at_end(&mut self, now: Time, scene: &mut Scene<'_>) {
        self.each_second(now, scene);
        for node in scene.world.nodes.iter().filter(|node| node.is_active()) {
            let left = retained(node);
            let wrong = (left > 0).then(|| format!("{} still retains {left} bundles", node.plan.name));
            self.findings.note(now, wrong);
        }
    }

    fn findings(&self) -> &Findings {
        &self.findings
    }
}
