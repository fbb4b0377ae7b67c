//! AUTH: nothing comes to an agent that no agent published, byte for byte, and nothing that it did not
//! ask for.

use starling_core::time::Time;

use super::{Check, Findings, Scene};

/// What came to agents, compared with what was published.
#[derive(Default)]
pub(crate) struct Authentic {
    findings: Findings,
    told: usize,
    delivered: u64,
}

impl Check for Authentic {
    fn name(&self) -> &'static str {
        "authentic"
    }

    fn each_second(&mut self, now: Time, scene: &mut Scene<'_>) {
        let forgeries = &scene.journal.forgeries;
        if scene.journal.delivered > self.delivered {
            self.findings.note(now, None);
        }
        for (forgery, client) in &forgeries[self.told.min(forgeries.len())..] {
            self.findings.note(now, Some(format!("client {client} got {forgery}")));
        }
        (self.told, self.delivered) = (forgeries.len(), scene.journal.delivered);
    }

    fn at_end(&mut self, now: Time, scene: &mut Scene<'_>) {
        self.each_second(now, scene);
    }

    fn findings(&self) -> &Findings {
        &self.findings
    }
}
