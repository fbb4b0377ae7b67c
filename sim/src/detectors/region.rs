//! Time, links and processors around the detectors of a region.

use std::rc::Rc;
use std::time::Duration;

use starling_core::hash::HashMap;
use starling_core::id::ShortId;
use starling_core::membership::detector::digest::Digest;
use starling_core::membership::detector::{
    Detector, Effect, Life, Probe, Rules, STATEMENT_BYTES, Standing, Statement, Verdict,
};
use starling_core::rng::Rng;
use starling_core::time::{Now, Time};
use starling_core::wire::codec::Wire;

use super::report::Tally;
use super::spread::{Overlays, Spread, living};
use crate::link::Conditions;
use crate::matrix::Matrix;
use crate::queue::Queue;
use crate::settings::Settings;
use crate::trace::{Mark, Trace};

/// Wall-clock time at the start.
const WALL_START: Time = Time(1_780_000_000_000_000_000);
/// Nodes that were found in a region of the detector's size limit at the most.
pub const NODES_MAX: usize = starling_core::membership::detector::MEMBERS_MAX;
/// No node dies before.
const CALM: Duration = Duration::from_secs(10);
/// A death is looked at for so long before the end.
const NOTICED: Duration = Duration::from_secs(20);
/// Inputs that wait for a processor before datagrams are lost.
const WAITING_MAX: u32 = 4096;
/// How often all that must always hold is checked.
const CHECK_INTERVAL: Duration = Duration::from_secs(60);
/// Bytes of a signature.
const SIGNATURE_BYTES: usize = 64;

#[derive(Debug)]
enum Happening {
    /// A node asked to be woken at this time.
    Wake(Time),
    /// Something reaches a node's processor.
    Comes(Came),
    /// A node's processor is done with it.
    Worked(Option<Came>),
    Dies,
    Check,
}

#[derive(Debug)]
enum Came {
    Probe(ShortId, Probe),
    Statements(ShortId, Rc<[Statement]>),
    Standings(ShortId, Rc<Digest>, bool),
}

struct Node {
    id: ShortId,
    detector: Detector,
    spread: Spread,
    zone: usize,
    /// How far its wall clock is ahead, in nanoseconds.
    skew: i64,
    died: Option<Time>,
    /// What an input costs.
    cost: Duration,
    free_at: Time,
    waiting: u32,
    /// The wake that is in the queue and counts.
    wake_at: Time,
}

/// The detectors of a region.
pub(super) struct Region {
    nodes: Vec<Node>,
    now: Time,
    end: Time,
    queue: Queue<(u32, Happening)>,
    near: Conditions,
    matrix: Matrix,
    /// When the last frame of each control lane arrives, where frames may be late.
    arrivals: HashMap<(ShortId, ShortId), Time>,
    overlays: Overlays,
    effects: Vec<Effect>,
    rng: Rng,
    trace: Trace,
    pub tally: Tally,
}

fn place(id: ShortId) -> usize {
    id.0 as usize - 1
}

impl Region {
    pub fn new(settings: &Settings, rules: &Rules) -> Region {
        let count = settings.edges.clamp(2, NODES_MAX);
        let mut rng = Rng::new(settings.seed ^ 0xDE7E);
        let mut region = Region {
            nodes: Vec::with_capacity(count),
            now: Time::ZERO,
            end: Time::ZERO + settings.time,
            queue: Queue::default(),
            near: settings.near,
            matrix: settings.matrix.clone(),
            arrivals: HashMap::default(),
            overlays: Overlays::new(settings.seed),
            effects: Vec::new(),
            trace: Trace::default(),
            tally: Tally::default(),
            rng: Rng::new(settings.seed),
        };
        let zones = settings.matrix.names.len().max(1);
        let skew = settings.clock_skew.as_nanos() as u64;
        for at in 0..count {
            let id = ShortId(at as u64 + 1);
            let detector = Detector::new(id, Life::first(1), rules.clone(), rng.next_u64());
            let mut node = Node {
                id,
                detector: detector.expect("rules are checked before a run"),
                spread: Spread::new(rng.next_u64()),
                zone: at % zones,
                skew: rng.below(skew * 2 + 1) as i64 - skew as i64,
                died: None,
                cost: settings.processors.draw(&mut rng),
                free_at: Time::ZERO,
                waiting: 0,
                wake_at: Time(u64::MAX),
            };
            node.spread.watch_due = Some(Time::ZERO);
            region.nodes.push(node);
        }
        region.meet(count);
        region.plan_deaths(settings, &mut rng);
        region.queue.push(Time::ZERO + CHECK_INTERVAL, (0, Happening::Check));
        region
    }

    /// Everybody knows everybody.
    fn meet(&mut self, count: usize) {
        for at in 0..count {
            let now = self.now_at(at);
            for other in (1..=count as u64).map(ShortId) {
                self.nodes[at].detector.member(now, other, Life::first(1), &mut self.effects);
            }
            self.effects.clear();
            self.plan_wake(at);
        }
    }

    fn plan_deaths(&mut self, settings: &Settings, rng: &mut Rng) {
        let mean = settings.faults.death;
        let mut order: Vec<u32> = (0..self.nodes.len() as u32).collect();
        rng.shuffle(&mut order);
        let mut at = Time::ZERO + CALM;
        // Three quarters stay.
        for node in order.into_iter().take(if mean.is_zero() { 0 } else { self.nodes.len() / 4 }) {
            at = at + rng.jitter(mean, 0.9);
            if at + NOTICED > self.end {
                break;
            }
            self.queue.push(at, (node, Happening::Dies));
        }
    }

    /// Runs to the end.
    pub fn run(&mut self) {
        while self.queue.next_at().is_some_and(|at| at <= self.end) {
            let Some((at, (node, happening))) = self.queue.pop() else { break };
            self.now = at;
            self.happen(node as usize, happening);
        }
        self.now = self.end;
        self.check();
    }

    pub fn report(&mut self, settings: &Settings, rules: &Rules) -> super::DetectorReport {
        self.nodes.iter().for_each(|node| self.tally.add(&node.detector.counters()));
        let slow = self.nodes.iter().filter(|node| node.cost > settings.processors.step).count();
        let trace = self.trace.hash();
        self.tally.report(settings, rules, (self.nodes.len(), slow), (self.trace.steps(), trace))
    }

    fn check(&mut self) {
        let running = self.nodes.iter().filter(|node| node.died.is_none());
        running.for_each(|node| node.detector.check());
    }

    fn happen(&mut self, at: usize, happening: Happening) {
        if let Happening::Check = happening {
            self.check();
            return self.queue.push(self.now + CHECK_INTERVAL, (0, Happening::Check));
        }
        let node = &mut self.nodes[at];
        if node.died.is_some() {
            return;
        }
        match happening {
            Happening::Wake(asked) if asked != node.wake_at => {}
            Happening::Wake(_) => {
                node.wake_at = Time(u64::MAX);
                let due = node.deadline();
                match due <= self.now {
                    true => self.take_up(at, None),
                    false => self.plan_wake(at),
                }
            }
            Happening::Comes(came) => self.take_up(at, Some(came)),
            Happening::Worked(came) => {
                node.waiting -= 1;
                self.handle(at, came);
            }
            Happening::Dies => {
                node.died = Some(self.now);
                self.trace.note(self.now, at, Mark::Fault, 0);
                let alive = self.nodes.iter().filter(|node| node.died.is_none()).count();
                self.tally.died(at, alive);
            }
            Happening::Check => {}
        }
    }

    /// A node takes something up, or a wake of its own, or puts it behind what waits.
    fn take_up(&mut self, at: usize, came: Option<Came>) {
        let node = &mut self.nodes[at];
        if node.cost.is_zero() {
            return self.handle(at, came);
        }
        if node.waiting >= WAITING_MAX && matches!(came, Some(Came::Probe(..))) {
            return;
        }
        node.waiting += 1;
        node.free_at = node.free_at.max(self.now) + node.cost;
        let done = node.free_at;
        self.queue.push(done, (at as u32, Happening::Worked(came)));
    }

    fn handle(&mut self, at: usize, came: Option<Came>) {
        self.trace.step();
        let now = self.now_at(at);
        let node = &mut self.nodes[at];
        let (content, came) = match came {
            None => {
                if node.detector.deadline().is_some_and(|due| due <= now.mono) {
                    node.detector.wake(now, &mut self.effects);
                }
                (0, None)
            }
            Some(Came::Probe(from, probe)) => {
                node.detector.hear_probe(now, from, probe, &mut self.effects);
                (from.0, None)
            }
            Some(other) => (at as u64, Some(other)),
        };
        self.trace.note(self.now, at, Mark::Input, content);
        match came {
            Some(Came::Statements(from, said)) => self.on_statements(at, from, &said),
            Some(Came::Standings(from, digest, is_answer)) => self.on_standings(at, from, &digest, is_answer),
            Some(Came::Probe(..)) | None => self.look_after(at),
        }
        self.follow(at);
        self.plan_wake(at);
    }

    /// Whom to watch, and with whom to compare, where that is due.
    fn look_after(&mut self, at: usize) {
        let (now, count) = (self.now_at(at), self.nodes.len());
        let node = &mut self.nodes[at];
        if node.spread.deadline() > now.mono {
            return;
        }
        if node.spread.watch_due.is_some_and(|due| due <= now.mono) {
            node.spread.watch_due = None;
            let members = living(&node.detector, node.id, count);
            let (me, mut list) = (node.id, node.spread.lay(node.id, &members, &mut self.overlays));
            for watched in &mut list {
                let way = self.way(me, watched.subject);
                watched.rtt = way.latency * 2 + way.jitter;
            }
            self.nodes[at].detector.set_watch(now, list);
        }
        let node = &mut self.nodes[at];
        if node.spread.compare_due <= now.mono
            && let Some(other) = node.spread.compare_with(now.mono, &node.detector)
        {
            self.tell_standings(at, other, false);
        }
    }

    fn tell_standings(&mut self, at: usize, to: ShortId, is_answer: bool) {
        let node = &self.nodes[at];
        let (from, digest) = (node.id, node.detector.digest(node.spread.turn));
        let bytes = digest.entries.len() * 21 + 10;
        self.send(from, to, bytes, Came::Standings(from, Rc::new(digest), is_answer));
    }

    fn on_statements(&mut self, at: usize, from: ShortId, said: &[Statement]) {
        let now = self.now_at(at);
        let node = &mut self.nodes[at];
        node.detector.heard(now, from, &mut self.effects);
        let mut news = Vec::new();
        for said in said {
            if node.spread.has(said) {
                continue;
            }
            if node.detector.hear(now, from, said, &mut self.effects) == Verdict::New {
                node.spread.keep(*said);
                news.push(*said);
            }
        }
        if !news.is_empty() {
            let (me, to) = (node.id, node.spread.forward_to(from));
            self.flood(me, &to, news.into());
        }
    }

    fn on_standings(&mut self, at: usize, from: ShortId, digest: &Digest, is_answer: bool) {
        let now = self.now_at(at);
        let node = &mut self.nodes[at];
        node.detector.heard(now, from, &mut self.effects);
        if digest.fingerprint == node.detector.fingerprint() {
            return;
        }
        let me = node.id;
        let said = node.spread.at_hand(me, node.detector.missing(digest));
        if !said.is_empty() {
            self.flood(me, &[from], said);
        }
        if !is_answer {
            self.tell_standings(at, from, true);
        }
    }

    /// Carries out what a detector wants.
    fn follow(&mut self, at: usize) {
        let mut effects = std::mem::take(&mut self.effects);
        let me = self.nodes[at].id;
        for effect in effects.drain(..) {
            match effect {
                Effect::Probe { to, probe, is_reliable: false } => self.send_datagram(me, to, probe),
                Effect::Probe { to, probe, is_reliable: true } => {
                    self.send(me, to, probe.to_bytes().len(), Came::Probe(me, probe));
                }
                Effect::Say(said) => {
                    self.nodes[at].spread.keep(said);
                    let to = self.nodes[at].spread.neighbours.clone();
                    self.flood(me, &to, Rc::new([said]));
                }
                Effect::Standing { node, standing, .. } => self.on_standing(at, node, standing),
                // Who lives and was forgotten is admitted again, as by a new link.
                Effect::Forgotten { node } if self.nodes[place(node)].died.is_none() => {
                    let now = self.now_at(at);
                    let detector = &mut self.nodes[at].detector;
                    detector.member(now, node, Life::first(1), &mut self.effects);
                    self.effects.clear();
                    self.nodes[at].spread.watch_again(self.now);
                }
                Effect::Forgotten { .. } | Effect::FalseAccusation { .. } => {}
            }
        }
        self.effects = effects;
    }

    fn on_standing(&mut self, at: usize, node: ShortId, standing: Standing) {
        self.trace.note(self.now, at, Mark::Output, node.0 << 2 | standing as u64);
        match standing {
            Standing::Suspect => {}
            Standing::Alive => self.nodes[at].spread.watch_again(self.now),
            Standing::Dead | Standing::Left => {
                let since = self.nodes[place(node)].died.map(|died| self.now.since(died));
                self.tally.buried(place(node), since);
                self.nodes[at].spread.watch_again(self.now);
            }
        }
    }

    fn way(&self, from: ShortId, to: ShortId) -> Conditions {
        let [one, other] = [from, to].map(|id| self.nodes[place(id)].zone);
        match one == other {
            true => self.near,
            false => Conditions { latency: self.matrix.between(one, other) / 2, ..self.near },
        }
    }

    fn send_datagram(&mut self, from: ShortId, to: ShortId, probe: Probe) {
        let way = self.way(from, to);
        if way.is_lost(&mut self.rng) {
            return;
        }
        let arrives = self.now + way.latency + way.draw_jitter(&mut self.rng);
        self.queue.push(arrives, (place(to) as u32, Happening::Comes(Came::Probe(from, probe))));
    }

    fn flood(&mut self, from: ShortId, to: &[ShortId], said: Rc<[Statement]>) {
        let bytes = said.len() * (STATEMENT_BYTES + SIGNATURE_BYTES);
        for to in to {
            self.send(from, *to, bytes, Came::Statements(from, Rc::clone(&said)));
        }
    }

    /// Over the control lane: nothing is lost or overtaken.
    fn send(&mut self, from: ShortId, to: ShortId, bytes: usize, came: Came) {
        let way = self.way(from, to);
        let takes = way.latency + way.draw_jitter(&mut self.rng) + way.resending(bytes, &mut self.rng);
        let mut arrives = self.now + takes;
        if way.loss > 0.0 || !way.jitter.is_zero() {
            let last = self.arrivals.entry((from, to)).or_default();
            arrives = arrives.max(*last);
            *last = arrives;
        }
        self.queue.push(arrives, (place(to) as u32, Happening::Comes(came)));
    }

    fn plan_wake(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let due = node.deadline().max(self.now);
        if due < node.wake_at {
            node.wake_at = due;
            self.queue.push(due, (at as u32, Happening::Wake(due)));
        }
    }

    fn now_at(&self, at: usize) -> Now {
        let wall = (WALL_START.0 + self.now.0).saturating_add_signed(self.nodes[at].skew);
        Now { mono: self.now, wall: Time(wall) }
    }
}

impl Node {
    fn deadline(&self) -> Time {
        let own = self.spread.deadline();
        self.detector.deadline().map_or(own, |due| due.min(own))
    }
}
