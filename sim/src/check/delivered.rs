//! ORD, UNIQ: what is published comes once and in order, and never silently not at all.

use starling_core::time::Time;

use super::{Check, Findings, Scene};

/// Promises of events, from the clients' point of view.
#[derive(Default)]
pub(crate) struct Delivered {
    findings: Findings,
    told: usize,
}

impl Check for Delivered {
    fn name(&self) -> &'static str {
        "delivered"
    }

    fn each_second(&mut self, now: Time, scene: &mut Scene<'_>) {
        scene.journal.look(now);
        let breaches = &scene.journal.breaches;
        self.findings.note(now, None);
        for (breach, client, agent) in &breaches[self.told.min(breaches.len())..] {
            self.findings.note(now, Some(format!("client {client}, entries of agent {agent}: {breach:?}")));
        }
        self.told = breaches.len();
    }

    fn at_end(&mut self, now: Time, scene: &mut Scene<'_>) {
        self.each_second(now, scene);
        for (client, agent) in scene.journal.outstanding() {
            let wrong = format!("client {client} lacks entries of agent {agent} and knows of no gap");
            self.findings.note(now, Some(wrong));
        }
        let staying = scene.clients.all.iter().enumerate().filter(|(_, client)| !client.has_left());
        for (at, client) in staying {
            let edge = &scene.world.nodes[client.edge()].plan.name;
            let wrong = match (client.is_ready(), client.has_all_acknowledged()) {
                (true, true) => None,
                (false, _) => Some(format!("client {at} has found no edge; it tries {edge}")),
                (true, false) => Some(format!("client {at} at {edge} waits for acknowledgements")),
            };
            self.findings.note(now, wrong);
        }
    }

    fn findings(&self) -> &Findings {
        &self.findings
    }
}
