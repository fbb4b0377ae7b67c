//! MEM: nothing is kept for who has been dead for long: no events are owed to it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use starling_core::machine::Destination;
use starling_core::time::Time;

use super::{Check, Findings, Scene};
use crate::faults::Fault;

/// After so long everybody who can be reached knows of a death and has forgotten what it was owed.
const WITHIN: Duration = Duration::from_secs(15);

/// The dead, and who still routes to them.
#[derive(Default)]
pub(crate) struct Forgotten {
    findings: Findings,
    dead: BTreeMap<usize, Time>,
    /// When something last went wrong, but for crashes: who is cut off need not know.
    troubled: Option<Time>,
}

impl Check for Forgotten {
    fn name(&self) -> &'static str {
        "forgotten"
    }

    fn on_fault(&mut self, now: Time, fault: &Fault, _scene: &mut Scene<'_>) {
        match fault {
            Fault::Kill(node) => {
                self.dead.insert(*node, now);
            }
            Fault::Start(node) => {
                self.dead.remove(node);
            }
            Fault::Pause(_)
            | Fault::Resume(_)
            | Fault::Cut(..)
            | Fault::CutOneWay(..)
            | Fault::Heal(..)
            | Fault::Close(..)
            | Fault::Split(..)
            | Fault::Join(..) => self.troubled = Some(now),
        }
    }

    fn each_second(&mut self, now: Time, scene: &mut Scene<'_>) {
        let is_calm = |since: Time| self.troubled.is_none_or(|at| at < since);
        let gone: BTreeSet<usize> = self
            .dead
            .iter()
            .filter(|(_, at)| now.since(**at) >= WITHIN && is_calm(**at))
            .map(|(at, _)| *at)
            .collect();
        if gone.is_empty() {
            return;
        }
        let subjects = scene.journal.subjects();
        for node in scene.world.nodes.iter().filter(|node| node.is_active()) {
            let wanting: BTreeSet<Destination> =
                subjects.iter().flat_map(|subject| node.wanting(subject)).collect();
            let kept =
                gone.iter().find(|dead| wanting.contains(&Destination::Node(scene.world.nodes[**dead].id())));
            let wrong = kept.map(|dead| {
                format!("{} still keeps events for {}", node.plan.name, scene.world.nodes[*dead].plan.name)
            });
            self.findings.note(now, wrong);
        }
    }

    fn findings(&self) -> &Findings {
        &self.findings
    }
}
