//! SUM: at rest every agent is counted once, at whoever shows the whole.

use starling_core::identity::Roles;
use starling_core::time::Time;

use super::{Check, Findings, Scene};

/// Counts of agents by regions.
#[derive(Default)]
pub(crate) struct Counted {
    findings: Findings,
}

impl Check for Counted {
    fn name(&self) -> &'static str {
        "counted"
    }

    fn at_end(&mut self, now: Time, scene: &mut Scene<'_>) {
        let staying = scene.clients.all.iter().filter(|client| !client.has_left());
        let agents: u64 = staying.map(|client| client.agents.end - client.agents.start).sum();
        for at in 0..scene.world.nodes.len() {
            if scene.world.nodes[at].plan.roles != Roles::COORDINATOR || !scene.world.nodes[at].is_active() {
                continue;
            }
            let counted: u64 = scene.world.overview(at).regions.iter().map(|region| region.agents).sum();
            let name = &scene.world.nodes[at].plan.name;
            let wrong = (counted != agents).then(|| format!("{name} counts {counted} agents of {agents}"));
            self.findings.note(now, wrong);
        }
    }

    fn findings(&self) -> &Findings {
        &self.findings
    }
}
