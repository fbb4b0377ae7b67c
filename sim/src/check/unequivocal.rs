//! NEQ: no node ever signs two different bundles for one number.

use std::collections::BTreeMap;

use starling_core::time::Time;

use super::{Check, Findings, Scene};
use crate::meter::{Name, Passing};

/// Bundles whose headers are remembered; as many as all windows of some hundred nodes.
const REMEMBERED_MAX: usize = 200_000;

/// What every node signed, as it goes onto links.
#[derive(Default)]
pub(crate) struct Unequivocal {
    findings: Findings,
    headers: BTreeMap<Name, u64>,
}

impl Check for Unequivocal {
    fn name(&self) -> &'static str {
        "unequivocal"
    }

    fn on_sent(&mut self, now: Time, node: usize, sent: &Passing, scene: &mut Scene<'_>) {
        if scene.world.nodes[node].id() != sent.name.origin || scene.world.is_hostile(node) {
            return;
        }
        let first = *self.headers.entry(sent.name).or_insert(sent.header);
        let wrong = first != sent.header;
        self.findings.note(
            now,
            wrong.then(|| {
                let by = &scene.world.nodes[node].plan.name;
                format!("{by} signed two bundles as {}", sent.name)
            }),
        );
        if self.headers.len() > REMEMBERED_MAX {
            self.headers.pop_first();
        }
    }

    fn findings(&self) -> &Findings {
        &self.findings
    }
}
