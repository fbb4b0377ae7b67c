//! CONV: when faults have ended, all nodes that keep state agree about every key.

use std::collections::BTreeMap;

use bytes::Bytes;
use starling_core::identity::Roles;
use starling_core::time::Time;
use starling_core::wire::request::{Ask, Say};

use super::{Check, Findings, Scene};

/// A connection that nothing else uses.
const CONNECTION: u32 = 0xFFFF;

/// Replicas of keys.
pub(crate) struct Replicated {
    /// The keys that somebody wrote.
    pub keys: Vec<String>,
    findings: Findings,
}

impl Replicated {
    /// Looks at these keys.
    pub fn new(keys: Vec<String>) -> Replicated {
        Replicated { keys, findings: Findings::default() }
    }
}

impl Check for Replicated {
    fn name(&self) -> &'static str {
        "replicated"
    }

    fn at_end(&mut self, now: Time, scene: &mut Scene<'_>) {
        let has_replica = |roles: Roles| roles.has(Roles::EDGE) || roles.has(Roles::AGGREGATOR);
        let mut is_any = false;
        for key in &self.keys {
            let mut values: BTreeMap<Bytes, Vec<String>> = BTreeMap::new();
            let mut silent = Vec::new();
            for at in 0..scene.world.nodes.len() {
                let node = &scene.world.nodes[at];
                if !has_replica(node.plan.roles) || !node.is_active() || scene.world.is_hostile(at) {
                    continue;
                }
                scene.world.ask(at, CONNECTION, 1, Ask::GetKey(key.clone()));
                let node = &mut scene.world.nodes[at];
                match node.record.replies.pop() {
                    Some((_, _, Say::Value(value))) => {
                        values.entry(value).or_default().push(node.plan.name.clone());
                    }
                    Some(_) | None => silent.push(node.plan.name.clone()),
                }
            }
            is_any |= values.keys().any(|value| !value.is_empty());
            let wrong = match (values.len() > 1, silent.is_empty()) {
                (false, true) => None,
                (true, _) => Some(format!("key {key}: {:?}", values.values())),
                (false, false) => Some(format!("key {key}: no answer of {silent:?}")),
            };
            self.findings.note(now, wrong);
        }
        let is_lost = scene.clients.written > 0 && !is_any;
        self.findings.note(now, is_lost.then(|| "what was written is nowhere".to_string()));
    }

    fn findings(&self) -> &Findings {
        &self.findings
    }
}
