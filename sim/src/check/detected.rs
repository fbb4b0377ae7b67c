//! FD: no live and reachable node is declared dead, and a dead one is.

use std::collections::BTreeMap;
use std::time::Duration;

use starling_core::event::Event;
use starling_core::time::Time;

use super::{Check, Findings, Scene};
use crate::faults::Fault;

/// A node that was away or cut off so recently may be taken for dead by who has not heard better.
const GRACE: Duration = Duration::from_secs(6);
/// A dead node must be known to be dead after so long.
const LIMIT: Duration = Duration::from_secs(10);

/// Deaths, true and false.
#[derive(Default)]
pub(crate) struct Detected {
    findings: Findings,
    /// When each node was killed that does not run.
    dead: BTreeMap<usize, (Time, Vec<usize>)>,
    /// When something last kept a node from being heard.
    troubled: BTreeMap<usize, Time>,
    /// Nodes that something keeps from being heard now, and by how many causes.
    troubles: BTreeMap<usize, i64>,
    /// How long it took one node to know of one crash.
    pub times: Vec<Duration>,
    /// Crashes that everybody had the time to notice.
    pub crashes: u64,
    /// Live nodes that were declared dead.
    pub false_deaths: u64,
}

impl Detected {
    fn trouble(&mut self, now: Time, nodes: &[usize], change: i64) {
        for node in nodes {
            *self.troubles.entry(*node).or_default() += change;
            self.troubled.insert(*node, now);
        }
    }

    fn is_excused(&self, now: Time, node: usize) -> bool {
        self.troubles.get(&node).is_some_and(|count| *count > 0)
            || self.troubled.get(&node).is_some_and(|at| now.since(*at) < GRACE)
    }
}

impl Check for Detected {
    fn name(&self) -> &'static str {
        "detected"
    }

    fn on_fault(&mut self, now: Time, fault: &Fault, scene: &mut Scene<'_>) {
        match fault {
            Fault::Kill(node) => {
                self.trouble(now, &[*node], 1);
                let who = watchers(*node, scene);
                self.dead.insert(*node, (now, who));
            }
            Fault::Start(node) => {
                self.trouble(now, &[*node], -1);
                self.dead.remove(node);
            }
            Fault::Pause(node) => self.trouble(now, &[*node], 1),
            Fault::Resume(node) => self.trouble(now, &[*node], -1),
            Fault::Cut(left, right) | Fault::CutOneWay(left, right) => {
                self.trouble(now, &[*left, *right], 1);
            }
            Fault::Heal(left, right) => self.trouble(now, &[*left, *right], -1),
            Fault::Close(left, right) => self.trouble(now, &[*left, *right], 0),
            Fault::Split(some, others) => {
                self.trouble(now, some, 1);
                self.trouble(now, others, 1);
            }
            Fault::Join(some, others) => {
                self.trouble(now, some, -1);
                self.trouble(now, others, -1);
            }
        }
    }

    fn on_event(&mut self, now: Time, node: usize, event: &Event, scene: &mut Scene<'_>) {
        let Event::PeerLost { name } = event else { return };
        let Some(lost) = scene.world.index_of(name) else { return };
        // Who lies is not asked, and whoever is banned is to be lost.
        if scene.world.is_hostile(node) || scene.world.is_hostile(lost) {
            return;
        }
        if let Some((since, who)) = self.dead.get_mut(&lost) {
            if let Some(at) = who.iter().position(|watcher| *watcher == node) {
                who.swap_remove(at);
                self.times.push(now.since(*since));
            }
            return;
        }
        let is_false = !self.is_excused(now, lost) && !self.is_excused(now, node);
        self.false_deaths += u64::from(is_false);
        let by = &scene.world.nodes[node].plan.name;
        self.findings.note(now, is_false.then(|| format!("{by} declares {name} dead, which lives")));
    }

    fn each_second(&mut self, now: Time, scene: &mut Scene<'_>) {
        for (node, (since, who)) in &mut self.dead {
            if now.since(*since) < LIMIT {
                continue;
            }
            // Who does not run, or is in trouble itself, need not know.
            let late = who.iter().find(|watcher| {
                scene.world.nodes[**watcher].is_active()
                    && self.troubles.get(*watcher).is_none_or(|count| *count <= 0)
                    && self.troubled.get(*watcher).is_none_or(|at| *at < *since)
            });
            let name = |at: usize| scene.world.nodes[at].plan.name.clone();
            let wrong =
                late.map(|watcher| format!("{} does not know that {} is dead", name(*watcher), name(*node)));
            self.findings.note(now, wrong);
            self.crashes += 1;
            who.clear();
            *since = Time(u64::MAX);
        }
    }

    fn findings(&self) -> &Findings {
        &self.findings
    }
}

/// Who has a link with a node, and must notice when it dies.
fn watchers(node: usize, scene: &Scene<'_>) -> Vec<usize> {
    let nodes = &scene.world.nodes;
    (0..nodes.len()).filter(|at| nodes[*at].is_active() && nodes[*at].linked().contains(&node)).collect()
}
