//! FD: no live and reachable node is declared dead, a dead one is, and who was stopped itself accuses
//! nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use starling_core::event::Event;
use starling_core::membership::detector::{Life, Statement};
use starling_core::time::Time;

use super::{Check, Findings, Scene};
use crate::faults::Fault;

/// A node that was away or cut off so recently may be taken for dead by who has not heard better.
const GRACE: Duration = Duration::from_secs(6);
/// A dead node must be known to be dead after so long.
const LIMIT: Duration = Duration::from_secs(10);
/// A node notices a pause of so long.
const PAUSE: Duration = Duration::from_secs(2);
/// For so long after it nobody can have failed to answer it: a probe waits longer.
const AWAKE: Duration = Duration::from_millis(150);
/// Who is accused and can be reached has refuted it within this.
const REFUTED_WITHIN: Duration = Duration::from_secs(8);

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
    /// Nodes that take another for dead.
    buried: BTreeSet<(usize, usize)>,
    /// When each node was stopped last, and went on.
    pauses: BTreeMap<usize, (Time, Option<Time>)>,
    /// The latest life that each node said it is in.
    lives: BTreeMap<usize, Life>,
    /// Accusations by subject and speaker that the subject has not refuted: of which life, since when.
    accused: BTreeMap<(usize, usize), (Life, Time)>,
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

    /// Whether who says something had just been stopped, and cannot know that.
    fn is_just_awake(&self, now: Time, node: usize, said: &Statement, scene: &Scene<'_>) -> bool {
        let Some((from, Some(until))) = self.pauses.get(&node).copied() else { return false };
        let clock = scene.world.now_at(node);
        let stopped = Time(clock.wall.0.saturating_sub(now.since(from).as_nanos() as u64));
        until.since(from) >= PAUSE && now.since(until) < AWAKE && said.said > stopped.as_millis()
    }

    /// Who was accused for so long, and could have refuted it, has.
    fn look_for_refutations(&mut self, now: Time, scene: &Scene<'_>) {
        let is_calm = |node: usize| {
            self.troubles.get(&node).is_none_or(|count| *count <= 0)
                && self.troubled.get(&node).is_none_or(|at| now.since(*at) >= REFUTED_WITHIN)
        };
        let late = self.accused.iter().filter(|((subject, by), (_, since))| {
            now.since(*since) >= REFUTED_WITHIN && is_calm(*subject) && is_calm(*by)
        });
        let late: Vec<(usize, usize)> = late.map(|(who, _)| *who).collect();
        for (subject, by) in late {
            self.accused.remove(&(subject, by));
            let [who, by] = [subject, by].map(|at| scene.world.nodes[at].plan.name.as_str());
            self.findings.note(now, Some(format!("{who} does not refute that {by} accuses it")));
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
                self.buried.retain(|(by, _)| by != node);
                self.pauses.remove(node);
                self.accused.retain(|(subject, by), _| subject != node && by != node);
                self.trouble(now, &[*node], 1);
                let who = watchers(*node, scene);
                self.dead.insert(*node, (now, who));
            }
            Fault::Start(node) => {
                // What was said of it meanwhile was of a life that is over.
                self.accused.retain(|(subject, _), _| subject != node);
                self.trouble(now, &[*node], -1);
                self.dead.remove(node);
            }
            Fault::Pause(node) => {
                if scene.world.nodes[*node].is_active() {
                    self.pauses.insert(*node, (now, None));
                }
                self.trouble(now, &[*node], 1);
            }
            Fault::Resume(node) => {
                if let Some((_, until @ None)) = self.pauses.get_mut(node) {
                    *until = Some(now);
                }
                self.trouble(now, &[*node], -1);
            }
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
        if let Event::PeerUp { name, .. } = event
            && let Some(back) = scene.world.index_of(name)
        {
            self.buried.remove(&(node, back));
        }
        let Event::PeerLost { name } = event else { return };
        let Some(lost) = scene.world.index_of(name) else { return };
        // Who lies is not asked, and whoever is banned is to be lost.
        if scene.world.is_hostile(node) || scene.world.is_hostile(lost) {
            return;
        }
        self.buried.insert((node, lost));
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

    fn on_said(&mut self, now: Time, node: usize, said: &Statement, scene: &mut Scene<'_>) {
        // Who lies is not believed, so nobody need refute it.
        if scene.world.is_hostile(node) {
            return;
        }
        let nodes = &scene.world.nodes;
        if !said.kind.is_accusation() {
            self.accused.retain(|(of, _), (life, _)| *of != node || *life >= said.life);
            let life = self.lives.entry(node).or_default();
            *life = said.life.max(*life);
            return;
        }
        // Nor is a liar asked to refute anything: who bans it does not hear it.
        let subject = nodes.iter().position(|node| node.id() == said.subject);
        let subject = subject.filter(|subject| !scene.world.is_hostile(*subject));
        let is_known = |subject: &usize| self.lives.get(subject).is_some_and(|life| *life > said.life);
        let is_over = |subject: &usize| said.life.incarnation < nodes[*subject].incarnation;
        if let Some(subject) = subject.filter(|subject| !is_known(subject) && !is_over(subject)) {
            self.accused.entry((subject, node)).or_insert((said.life, now)).0 = said.life;
        }
        let wrong = self.is_just_awake(now, node, said, scene);
        let by = &nodes[node].plan.name;
        self.findings.note(now, wrong.then(|| format!("{by} was stopped, and accuses another")));
    }

    fn at_end(&mut self, now: Time, scene: &mut Scene<'_>) {
        let is_active = |at: usize| scene.world.nodes[at].is_active();
        let wrong = self.buried.iter().find(|(by, lost)| is_active(*by) && is_active(*lost));
        let name = |at: usize| &scene.world.nodes[at].plan.name;
        self.findings
            .note(now, wrong.map(|(by, lost)| format!("{} still takes {} for dead", name(*by), name(*lost))));
    }

    fn each_second(&mut self, now: Time, scene: &mut Scene<'_>) {
        self.look_for_refutations(now, scene);
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

/// Who is to know when a node dies: who has a link with it, of its own or over others, and does not lie.
fn watchers(node: usize, scene: &Scene<'_>) -> Vec<usize> {
    let nodes = &scene.world.nodes;
    let id = nodes[node].id();
    let is_to_know = |at: &usize| {
        nodes[*at].linked().contains(&node)
            || nodes[*at].record.view.as_ref().is_some_and(|view| view.links.contains_key(&id))
    };
    (0..nodes.len())
        .filter(|at| *at != node && nodes[*at].is_active() && !scene.world.is_hostile(*at) && is_to_know(at))
        .collect()
}
