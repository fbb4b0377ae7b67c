//! The world: nodes, what is on its way between them, and the time.

use bytes::Bytes;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::Duration;

use starling_core::hot::counters::Snapshot;
use starling_core::hot::plane::Touched;
use starling_core::identity::{Coordinators, Roles, Signer};
use starling_core::limits;
use starling_core::machine::{Input, LinkSlot, Outbox, Output};
use starling_core::rng::Rng;
use starling_core::time::{Now, Time};

use crate::hostile::Hostile;
use crate::link::{Conditions, Pair, Sent, happens};
use crate::mail::Mail;
use crate::matrix::Matrix;
use crate::meter::Meter;
use crate::mutants::Bug;
use crate::network::{DIAL_AGAIN, DIAL_TIMEOUT};
use crate::node::{Node, Plan, Signatures};
use crate::outlet::Effect;
use crate::processor::Processors;
use crate::queue::Queue;
use crate::trace::{Mark, Trace};

/// Wall-clock time at the start of every world: some day in 2026.
const WALL_START: Time = Time(1_780_000_000_000_000_000);
/// How often nodes are told what their hot path counted, and clean it up.
const MEASURED: Duration = Duration::from_secs(1);

/// What is on its way.
#[derive(Debug)]
pub(crate) enum Transit {
    /// A handshake ends.
    Dial { from: usize, to: usize, address: String },
    /// The first packet of a handshake that nobody answered is sent again.
    DialAgain { from: usize, incarnation: u64, address: String },
    /// An input is handed to a machine if that still is the same incarnation.
    Input { to: usize, incarnation: u64, input: Box<Input> },
    /// A frame arrives at the end of this index.
    Frame { pair: u64, side: usize, sent: Box<Sent> },
    /// The end of this index reads on.
    Read { pair: u64, side: usize },
    /// An end notices that its link is gone.
    Down { pair: u64, side: usize, timed_out: bool },
    /// The end of this index may have heard nothing for too long.
    Silence { pair: u64, side: usize },
    /// A node is to be woken.
    Wake { node: usize },
    /// A node's processor is done with one thing.
    Worked { node: usize, incarnation: u64 },
    /// Everybody is told what was counted.
    Measured,
}

/// Lines of a story.
const STORY_LINES_MAX: usize = 100_000;
/// Nodes, what is on its way between them, and the time.
pub struct World {
    /// All nodes, by the index that [`World::add`] gave.
    pub nodes: Vec<Node>,
    /// Whether control messages are read from their encoding again.
    pub wire: bool,
    /// Every so many inputs of a node its invariants are checked.
    pub check_every: u64,
    /// How often nodes are told what their hot path counted, and clean it up.
    pub measure_every: Duration,
    /// How far wall clocks are off at the most, either way; drawn for each node that is added.
    pub clock_skew: Duration,
    /// How long nodes take for what they do; drawn for each node that is added.
    pub processors: Processors,
    /// Share of edges that tell nobody where they listen, 0.0 to 1.0; drawn for each that is added.
    pub silent: f64,
    /// Whether nodes keep in their [`Record`](crate::Record) all that they put out, for whoever looks at
    /// them; without it replies to the run's own questions and the newest view are kept alone.
    pub keeps_events: bool,
    /// What happened, for people; `None` where nobody asked.
    pub(crate) story: Option<Vec<String>>,
    /// What nodes said to modelled clients and to people since somebody took it.
    pub(crate) mail: Vec<(usize, Mail)>,
    /// Measures the whole, where somebody wants to know; then bundles are mail, too.
    pub(crate) meter: Option<Meter>,
    /// What is wrong with every node on purpose.
    pub(crate) bug: Option<Box<dyn Bug>>,
    pub(crate) now: Time,
    pub(crate) signatures: Signatures,
    pub(crate) rng: Rng,
    /// Chance of what nodes are like.
    quirks: Rng,
    /// Chance of who is silent.
    hush: Rng,
    pub(crate) trace: Trace,
    pub(crate) pairs: BTreeMap<u64, Pair>,
    pub(crate) outbox: Outbox,
    pub(crate) touched: Touched,
    pub(crate) scratch: Vec<u8>,
    pub(crate) bytes: u64,
    pub(crate) frames: u64,
    queue: Queue<Transit>,
    wakes: BinaryHeap<Reverse<(Time, usize)>>,
    pub(crate) names: BTreeMap<String, usize>,
    pub(crate) authority: Signer,
    pub(crate) coordinators: Option<Coordinators>,
    pub(crate) conditions: Conditions,
    pub(crate) matrix: Matrix,
    /// Directions that carry nothing.
    pub(crate) cuts: BTreeSet<(usize, usize)>,
    effects: Vec<Effect>,
    /// What was decided, from the first entry.
    pub(crate) decided: Vec<Bytes>,
    pub(crate) next_pair: u64,
    pub(crate) links_made: BTreeMap<(usize, usize), u64>,
    pub(crate) hostile: BTreeMap<usize, Hostile>,
}

impl World {
    /// An empty world in which everything between two nodes takes `delay`, with real signatures.
    pub fn new(delay: Duration) -> World {
        World::with(Conditions::perfect(delay), Signatures::Ed25519, 0)
    }

    /// An empty world; all chance in it follows from `seed`.
    pub fn with(conditions: Conditions, signatures: Signatures, seed: u64) -> World {
        let mut queue = Queue::default();
        queue.push(Time::ZERO + MEASURED, Transit::Measured);
        World {
            nodes: Vec::new(),
            wire: true,
            check_every: 1,
            measure_every: MEASURED,
            clock_skew: Duration::ZERO,
            processors: Processors::default(),
            silent: 0.0,
            keeps_events: true,
            story: None,
            mail: Vec::new(),
            meter: None,
            bug: None,
            now: Time::ZERO,
            signatures,
            rng: Rng::new(seed),
            quirks: Rng::new(seed ^ 0x0DD),
            hush: Rng::new(seed ^ 0x51E7),
            trace: Trace::default(),
            pairs: BTreeMap::new(),
            outbox: Outbox::new(),
            touched: Touched::default(),
            scratch: Vec::new(),
            bytes: 0,
            frames: 0,
            queue,
            wakes: BinaryHeap::new(),
            names: BTreeMap::new(),
            authority: signatures.signer(&[1; 32]),
            coordinators: None,
            conditions,
            matrix: Matrix::default(),
            cuts: BTreeSet::new(),
            effects: Vec::new(),
            decided: Vec::new(),
            next_pair: 0,
            links_made: BTreeMap::new(),
            hostile: BTreeMap::new(),
        }
    }

    /// The time.
    pub fn now(&self) -> Now {
        Now { mono: self.now, wall: Time(WALL_START.0 + self.now.0) }
    }

    /// The time as a node's clocks show it.
    pub fn now_at(&self, node: usize) -> Now {
        let now = self.now();
        Now { wall: Time(now.wall.0.saturating_add_signed(self.nodes[node].skew)), ..now }
    }

    /// Adds a line to the story, if there is one.
    pub(crate) fn tell(&mut self, line: impl FnOnce(&World) -> String) {
        if let Some(mut story) = self.story.take() {
            if story.len() < STORY_LINES_MAX {
                story.push(format!("{} {}", self.now, line(self)));
            }
            self.story = Some(story);
        }
    }

    /// The node of this name.
    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.names.get(name).copied()
    }

    /// How many frames were sent so far, but for those by which nodes find out who lives.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// How many bytes were sent so far, with what packets add to them.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many inputs were handled so far.
    pub fn steps(&self) -> u64 {
        self.trace.steps()
    }

    /// A hash over everything that happened so far.
    pub fn trace_hash(&mut self) -> [u8; 32] {
        self.trace.hash()
    }

    /// Adds a node and starts it; returns its index.
    pub fn add(&mut self, plan: Plan) -> usize {
        self.add_in(0, plan)
    }

    /// The same in a zone of the world's matrix.
    pub fn add_in(&mut self, zone: usize, plan: Plan) -> usize {
        let index = self.nodes.len();
        self.names.insert(plan.name.clone(), index);
        self.nodes.push(Node::new(plan, index, self.signatures, &self.authority));
        let skew = self.clock_skew.as_nanos() as u64;
        let node = &mut self.nodes[index];
        node.zone = zone;
        node.coordinators.clone_from(&self.coordinators);
        node.skew = self.quirks.below(skew * 2 + 1) as i64 - skew as i64;
        node.is_silent = node.plan.roles == Roles::EDGE && happens(self.silent, &mut self.hush);
        node.processor.cost = self.processors.draw(&mut self.quirks);
        self.start(index);
        index
    }

    /// Starts a node that does not run, in its next incarnation.
    pub fn start(&mut self, index: usize) {
        let (now, named) = (self.now_at(index), self.bugged_incarnation(index));
        self.nodes[index].start(now, named);
        self.replay_log(index);
        self.input(index, Input::Wake);
    }

    /// Ends a node without a word; its peers notice when it has been silent for long enough.
    pub fn kill(&mut self, index: usize) {
        self.trace.note(self.now, index, Mark::Fault, 0);
        let links = self.nodes[index].end();
        for (id, side) in links.into_iter().map(end_of) {
            let Some(pair) = self.pairs.get_mut(&id) else { continue };
            pair.is_up[side] = false;
            self.hush(id, side);
        }
    }

    /// Hands an input to a node now, or when it goes on.
    pub fn input(&mut self, index: usize, input: Input) {
        let incarnation = self.nodes[index].incarnation;
        if let Some(backlog) = self.nodes[index].backlog.as_mut() {
            return backlog.push_back(Transit::Input { to: index, incarnation, input: Box::new(input) });
        }
        self.handle(index, input);
        self.settle(index);
    }

    fn handle(&mut self, index: usize, input: Input) {
        self.hide_pause(index);
        let Some(input) = self.bugged_input(index, input) else { return };
        let now = self.now_at(index);
        self.trace_input(index, &input);
        let mut out = std::mem::take(&mut self.outbox);
        let node = &mut self.nodes[index];
        if let Some(machine) = node.machine.as_mut() {
            machine.handle(now, input, &mut out);
            if machine.deadline().is_some_and(|due| due <= now.mono) {
                machine.handle(now, Input::Wake, &mut out);
            }
            let deadline = machine.deadline();
            assert!(
                deadline.is_none_or(|due| due > now.mono),
                "{} wants to be woken at {deadline:?} after it was woken at {:?}",
                node.plan.name,
                now.mono
            );
            node.steps += 1;
            if node.steps.is_multiple_of(self.check_every) {
                machine.check();
            }
        }
        // The outbox is free again before anything is carried out: that may hand another node an input.
        let outputs: Vec<Output> = out.drain().collect();
        self.outbox = out;
        outputs.into_iter().for_each(|output| self.carry_out(index, output));
    }

    /// Works off what the hot path of a node left, until it leaves nothing.
    pub(crate) fn settle(&mut self, index: usize) {
        let mut effects = std::mem::take(&mut self.effects);
        loop {
            self.nodes[index].effects.take(&mut effects);
            if effects.is_empty() {
                break;
            }
            for effect in effects.drain(..) {
                if let Some(input) = self.carry_out_effect(index, effect) {
                    self.handle(index, input);
                }
            }
        }
        self.effects = effects;
        self.schedule(index);
    }

    /// When the machine or the hot path of a node wants to be woken.
    fn due(&self, index: usize) -> Option<Time> {
        let node = &self.nodes[index];
        let machine = node.machine.as_ref().and_then(|machine| machine.deadline());
        let seal = node.plane.as_ref().map_or(u64::MAX, |plane| plane.seal_at.load(RELAXED));
        let seal = (seal != u64::MAX).then_some(Time(seal));
        [machine, seal].into_iter().flatten().min()
    }

    fn schedule(&mut self, index: usize) {
        let Some(due) = self.due(index) else { return };
        let node = &mut self.nodes[index];
        if node.wake_at.is_none_or(|at| due < at) {
            node.wake_at = Some(due);
            self.wakes.push(Reverse((due, index)));
        }
    }

    pub(crate) fn wake_if_due(&mut self, index: usize) {
        self.nodes[index].wake_at = None;
        if !self.nodes[index].is_active() {
            return;
        }
        if self.due(index).is_some_and(|due| due <= self.now) {
            self.tick(index);
            self.handle(index, Input::Wake);
            self.settle(index);
        } else {
            self.schedule(index);
        }
    }

    /// The hot path of a node looks after what waits for its time.
    fn tick(&mut self, index: usize) {
        let now = self.now_at(index);
        let Some(plane) = self.nodes[index].plane.clone() else { return };
        plane.tick(now, &mut self.touched);
        self.flush(index);
    }

    /// Sends what a call of the hot path left.
    pub(crate) fn flush(&mut self, index: usize) {
        if let Some(plane) = &self.nodes[index].plane {
            plane.flush(&mut self.touched);
        }
        self.touched.congested.clear();
    }

    pub(crate) fn later(&mut self, after: Duration, transit: Transit) {
        self.queue.push(self.now + after, transit);
    }

    pub(crate) fn at(&mut self, at: Time, transit: Transit) {
        self.queue.push(at, transit);
    }

    pub(crate) fn input_later(&mut self, after: Duration, to: usize, input: Input) {
        let incarnation = self.nodes[to].incarnation;
        self.later(after, Transit::Input { to, incarnation, input: Box::new(input) });
    }

    /// When the next thing happens.
    pub(crate) fn next_at(&self) -> Option<Time> {
        let wake = self.wakes.peek().map(|Reverse((at, _))| *at);
        [wake, self.queue.next_at()].into_iter().flatten().min()
    }

    /// Carries out the next thing that happens, if that is not later than `until`.
    pub fn step(&mut self, until: Time) -> bool {
        let moving = self.queue.next_at();
        let wake = self.wakes.peek().map(|Reverse((at, _))| *at);
        let is_wake = wake.is_some_and(|at| moving.is_none_or(|moving| at < moving));
        let Some(at) = (if is_wake { wake } else { moving }).filter(|at| *at <= until) else {
            self.now = self.now.max(until);
            return false;
        };
        self.now = self.now.max(at);
        if is_wake {
            let Some(Reverse((at, index))) = self.wakes.pop() else { return true };
            // An earlier wake may have taken this one's place.
            if self.nodes[index].wake_at == Some(at) {
                self.take_up(index, Transit::Wake { node: index });
            }
        } else if let Some((_, transit)) = self.queue.pop() {
            self.happen(transit);
        }
        true
    }

    pub(crate) fn happen(&mut self, transit: Transit) {
        let receiver = match &transit {
            Transit::Frame { pair, side, .. }
            | Transit::Read { pair, side }
            | Transit::Down { pair, side, .. } => self.pairs.get(pair).map(|pair| pair.ends[*side].0),
            Transit::Input { to, .. } => Some(*to),
            Transit::Wake { node } => Some(*node),
            Transit::Dial { .. }
            | Transit::DialAgain { .. }
            | Transit::Silence { .. }
            | Transit::Worked { .. }
            | Transit::Measured => None,
        };
        if let Some(backlog) = receiver.and_then(|at| self.nodes[at].backlog.as_mut()) {
            return backlog.push_back(transit);
        }
        match receiver {
            Some(at) => self.take_up(at, transit),
            None => self.take_place(transit),
        }
    }

    /// What is on its way arrives, and who gets it has time for it.
    pub(crate) fn take_place(&mut self, transit: Transit) {
        match transit {
            Transit::Dial { from, to, address } => self.link(from, to, address),
            Transit::DialAgain { from, incarnation, address } => {
                let is_same = self.nodes[from].is_running() && self.nodes[from].incarnation == incarnation;
                if is_same && !self.shake_hands(from, &address) {
                    self.input_later(DIAL_TIMEOUT - DIAL_AGAIN, from, Input::DialFailed { address });
                }
            }
            Transit::Input { to, incarnation, input } => {
                if self.nodes[to].is_running() && self.nodes[to].incarnation == incarnation {
                    self.input(to, *input);
                }
            }
            Transit::Frame { pair, side, sent } => self.arrive(pair, side, *sent),
            Transit::Read { pair, side } => self.read_on(pair, side),
            Transit::Down { pair, side, timed_out } => self.down(pair, side, timed_out),
            Transit::Silence { pair, side } => {
                let since = self.pairs.get(&pair).and_then(|pair| pair.ways[1 - side].silent);
                if since.is_some_and(|since| self.now.since(since) >= limits::LINK_TIMEOUT) {
                    self.happen(Transit::Down { pair, side, timed_out: true });
                }
            }
            Transit::Wake { node } => self.wake_if_due(node),
            Transit::Worked { node, incarnation } => self.worked(node, incarnation),
            Transit::Measured => self.measure(),
        }
    }

    fn measure(&mut self) {
        for index in (0..self.nodes.len()).filter(|index| self.nodes[*index].is_active()).collect::<Vec<_>>()
        {
            self.tick(index);
            // Stages take no virtual time.
            let counters = self.nodes[index].plane().counters.list();
            let snapshot = Snapshot { counters, stages: Vec::new() };
            let incarnation = self.nodes[index].incarnation;
            for input in [Input::Measured(Box::new(snapshot)), Input::Distances(self.distances(index))] {
                self.take_up(index, Transit::Input { to: index, incarnation, input: Box::new(input) });
            }
        }
        self.later(self.measure_every, Transit::Measured);
    }

    /// Lets time pass while nobody reads the mail.
    pub fn run(&mut self, time: Duration) {
        let until = self.now + time;
        while self.step(until) {
            self.mail.clear();
        }
    }

    /// Lets time pass until `is_done`, at the longest for `time`; how long it took, if it was.
    pub fn run_until(&mut self, time: Duration, is_done: impl Fn(&World) -> bool) -> Option<Duration> {
        let (start, until) = (self.now, self.now + time);
        while !is_done(self) {
            if !self.step(until) {
                return is_done(self).then(|| self.now.since(start));
            }
            self.mail.clear();
        }
        Some(self.now.since(start))
    }
}

const RELAXED: std::sync::atomic::Ordering = std::sync::atomic::Ordering::Relaxed;

/// The pair of a link and the index of this end in it.
pub(crate) fn end_of(link: LinkSlot) -> (u64, usize) {
    (u64::from(link.0 / 2), (link.0 % 2) as usize)
}
