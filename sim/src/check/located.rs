//! At rest the aggregators of a region know the home of every agent there, and of nobody else.

use bytes::Bytes;
use starling_core::identity::Roles;
use starling_core::time::Time;
use starling_core::wire::request::{Ask, Say};

use super::{Check, Findings, Scene};
use crate::clients::id_of;

/// A connection that nothing else uses.
const CONNECTION: u32 = 0xFFFD;

/// Homes of agents, as aggregators say.
#[derive(Default)]
pub(crate) struct Located {
    findings: Findings,
}

impl Check for Located {
    fn name(&self) -> &'static str {
        "located"
    }

    fn at_end(&mut self, now: Time, scene: &mut Scene<'_>) {
        for at in 0..scene.world.nodes.len() {
            let node = &scene.world.nodes[at];
            if node.plan.roles != Roles::AGGREGATOR || !node.is_active() || scene.world.is_hostile(at) {
                continue;
            }
            for client in &scene.clients.all {
                let edge = &scene.world.nodes[client.edge()];
                // Of a client's agents one stands for all: they came together.
                let is_here = edge.plan.region == scene.world.nodes[at].plan.region && client.is_ready();
                let expected = is_here.then(|| edge.plan.name.clone());
                let agent = client.agents.start;
                let id = Bytes::copy_from_slice(&id_of(agent).0);
                scene.world.ask(at, CONNECTION, 1, Ask::Locate(id));
                let found = match scene.world.nodes[at].record.replies.pop() {
                    Some((_, _, Say::Home(home))) => Some(home.edge),
                    Some(_) | None => None,
                };
                let name = &scene.world.nodes[at].plan.name;
                let wrong = (found != expected)
                    .then(|| format!("{name} says that agent {agent} is at {found:?}, not {expected:?}"));
                self.findings.note(now, wrong);
            }
        }
    }

    fn findings(&self) -> &Findings {
        &self.findings
    }
}
