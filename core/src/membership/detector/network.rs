//! Detectors joined by links with delay, loss, cuts and pauses, in virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::*;

const MILLI: u64 = 1_000_000;

#[derive(Clone, Copy)]
enum Event {
    Wake,
    Probe(usize, Probe),
    Statement(usize, Statement),
}

pub(super) struct Node {
    pub detector: Detector,
    pub links: Vec<usize>,
    pub is_up: bool,
    /// Asleep for so many milliseconds of each half second, from a phase of its own.
    pub sleeps: u64,
    pub paused_until: u64,
    pub heard_standing: Vec<(u64, ShortId, Standing)>,
    pub false_accusations: Vec<(ShortId, ShortId, u32)>,
    wake_at: Option<Time>,
}

pub(super) struct Network {
    pub nodes: Vec<Node>,
    pub now: u64,
    pub loss: f64,
    /// From one to another nothing arrives.
    pub cut: BTreeSet<(usize, usize)>,
    pub first_accusation: Option<u64>,
    queue: BTreeMap<(u64, u64), (usize, Event)>,
    sequence: u64,
    rng: Rng,
}

pub(super) fn id(node: usize) -> ShortId {
    ShortId(node as u64 + 1)
}

fn node_of(id: ShortId) -> usize {
    id.0 as usize - 1
}

pub(super) fn at(nanos: u64) -> Now {
    Now { mono: Time(nanos), wall: Time(1_000_000 * MILLI + nanos) }
}

impl Network {
    pub fn mesh(count: usize, rules: &Rules, seed: u64) -> Network {
        let links = (0..count).map(|one| (0..count).filter(|other| *other != one).collect()).collect();
        Network::new(links, rules, seed)
    }

    /// So many rings, each in an order of its own: of each a node is linked with two.
    pub fn rings(count: usize, rings: usize, rules: &Rules, seed: u64) -> Network {
        let mut links = vec![BTreeSet::new(); count];
        let mut rng = Rng::new(seed ^ 77);
        for _ in 0..rings {
            let mut order: Vec<usize> = (0..count).collect();
            rng.shuffle(&mut order);
            for place in 0..count {
                let (one, other) = (order[place], order[(place + 1) % count]);
                links[one].insert(other);
                links[other].insert(one);
            }
        }
        Network::new(links.into_iter().map(|links| links.into_iter().collect()).collect(), rules, seed)
    }

    fn new(links: Vec<Vec<usize>>, rules: &Rules, seed: u64) -> Network {
        let mut network = Network {
            nodes: Vec::new(),
            now: 0,
            loss: 0.0,
            cut: BTreeSet::new(),
            first_accusation: None,
            queue: BTreeMap::new(),
            sequence: 0,
            rng: Rng::new(seed),
        };
        for node in 0..links.len() {
            let mut detector =
                Detector::new(id(node), Life::first(1), rules.clone(), seed).expect("rules in range");
            for other in 0..links.len() {
                assert!(detector.member(at(0), id(other), Life::first(1), &mut Vec::new()));
            }
            let watched = |subject: &usize| Watched {
                subject: id(*subject),
                rtt: Duration::from_nanos(2 * delay(node, *subject)),
                co_observers: links[*subject].iter().map(|other| id(*other)).collect(),
            };
            detector.set_watch(at(0), links[node].iter().map(watched).collect());
            network.nodes.push(Node {
                detector,
                links: links[node].clone(),
                is_up: true,
                sleeps: 0,
                paused_until: 0,
                heard_standing: Vec::new(),
                false_accusations: Vec::new(),
                wake_at: None,
            });
        }
        (0..links.len()).for_each(|node| network.plan_wake(node));
        network
    }

    pub fn run(&mut self, millis: u64) {
        let end = self.now + millis * MILLI;
        while let Some((&(time, sequence), _)) = self.queue.first_key_value() {
            if time > end {
                break;
            }
            let (node, event) = self.queue.remove(&(time, sequence)).expect("it is there");
            let awake = self.awake_at(node, time);
            if awake > time {
                self.queue.insert((awake, sequence), (node, event));
                continue;
            }
            self.now = time;
            if self.nodes[node].is_up {
                self.handle(node, event);
            }
        }
        self.now = end;
        self.nodes.iter().for_each(|node| node.detector.check());
    }

    /// Has `node` do something, and does what comes of it.
    pub fn act<T>(&mut self, node: usize, act: impl FnOnce(&mut Detector, Now, &mut Vec<Effect>) -> T) -> T {
        let mut out = Vec::new();
        let result = act(&mut self.nodes[node].detector, at(self.now), &mut out);
        self.carry_out(node, out);
        self.plan_wake(node);
        result
    }

    pub fn flood(&mut self, from: usize, statement: Statement) {
        for link in self.nodes[from].links.clone() {
            self.send(from, link, Event::Statement(from, statement), true);
        }
    }

    /// One exchange of digests between all pairs of neighbours.
    pub fn exchange(&mut self) {
        for one in 0..self.nodes.len() {
            for other in self.nodes[one].links.clone() {
                let digest = self.nodes[one].detector.digest(0);
                for statement in self.nodes[other].detector.missing(&digest) {
                    self.send(other, one, Event::Statement(other, statement), true);
                }
            }
        }
    }

    pub fn holds(&self, node: usize, standing: Standing) -> usize {
        let is_held = |other: &&Node| other.detector.standing(id(node)) == Some(standing);
        self.nodes.iter().filter(|other| other.is_up).filter(is_held).count()
    }

    /// Milliseconds from `since` until each node held `node` for dead; of those that do.
    pub fn death_known(&self, node: usize, since: u64) -> Vec<u64> {
        let of_node = |other: &Node| {
            let found = other
                .heard_standing
                .iter()
                .find(|(time, who, held)| *time >= since && *who == id(node) && *held == Standing::Dead);
            found.map(|(time, ..)| (time - since) / MILLI)
        };
        let mut known: Vec<u64> = self.nodes.iter().filter_map(of_node).collect();
        known.sort_unstable();
        known
    }

    pub fn deaths(&self) -> BTreeMap<usize, usize> {
        let mut deaths = BTreeMap::new();
        for (_, who, held) in self.nodes.iter().flat_map(|node| &node.heard_standing) {
            if *held == Standing::Dead {
                *deaths.entry(node_of(*who)).or_insert(0) += 1;
            }
        }
        deaths
    }

    fn handle(&mut self, node: usize, event: Event) {
        match event {
            Event::Wake => {
                self.nodes[node].wake_at = None;
                self.act(node, Detector::wake);
            }
            Event::Probe(from, probe) => {
                self.act(node, |detector, now, out| detector.hear_probe(now, id(from), probe, out));
            }
            Event::Statement(from, statement) => {
                let hear =
                    |detector: &mut Detector, now, out: &mut _| detector.hear(now, id(from), &statement, out);
                if self.act(node, hear) == Verdict::New {
                    self.flood(node, statement);
                }
            }
        }
    }

    fn carry_out(&mut self, node: usize, out: Vec<Effect>) {
        for effect in out {
            match effect {
                Effect::Probe { to, probe, is_reliable } => {
                    self.send(node, node_of(to), Event::Probe(node, probe), is_reliable);
                }
                Effect::Say(statement) => {
                    if statement.kind.is_accusation() {
                        self.first_accusation.get_or_insert(self.now);
                    }
                    self.flood(node, statement);
                }
                Effect::Standing { node: who, standing, .. } => {
                    self.nodes[node].heard_standing.push((self.now, who, standing));
                }
                Effect::Forgotten { .. } => {}
                Effect::FalseAccusation { speaker, subject, companions } => {
                    self.nodes[node].false_accusations.push((speaker, subject, companions));
                }
            }
        }
    }

    fn send(&mut self, from: usize, to: usize, event: Event, is_reliable: bool) {
        let mut arrives = self.now + delay(from, to);
        while (self.rng.below(1 << 20) as f64) < self.loss * f64::from(1 << 20) {
            if !is_reliable {
                return;
            }
            arrives += 100 * MILLI;
        }
        if !self.cut.contains(&(from, to)) {
            self.put(arrives, to, event);
        }
    }

    fn put(&mut self, time: u64, node: usize, event: Event) {
        self.sequence += 1;
        self.queue.insert((time, self.sequence), (node, event));
    }

    fn plan_wake(&mut self, node: usize) {
        let deadline = self.nodes[node].detector.deadline();
        let planned = self.nodes[node].wake_at;
        if let Some(due) = deadline.filter(|due| planned.is_none_or(|planned| *due < planned)) {
            self.nodes[node].wake_at = Some(due);
            self.put(due.0.max(self.now), node, Event::Wake);
        }
    }

    fn awake_at(&self, node: usize, time: u64) -> u64 {
        let Node { sleeps, paused_until, .. } = self.nodes[node];
        let time = time.max(paused_until);
        let into = (time + node as u64 * 137 * MILLI) % (500 * MILLI);
        if into < sleeps * MILLI { time + sleeps * MILLI - into } else { time }
    }
}

/// One way between two nodes: 0.5 to 25 ms.
fn delay(one: usize, other: usize) -> u64 {
    let (low, high) = (one.min(other) as u64, one.max(other) as u64);
    MILLI / 2 + crate::hash::rendezvous(low, high) % (24 * MILLI)
}
