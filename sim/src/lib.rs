//! A mesh in virtual time: the same machines that run over QUIC, driven in one thread.
//!
//! Depends on core and the roles alone. Start at [`World`]: nodes, links with one constant delay,
//! a log that always agrees, and faults that a test asks for. There is no hot path in it yet.
//!
//! After every input the machine's own invariants are checked, and that it does not ask to be woken
//! at a time that has passed, which would make a driver spin.

mod node;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use starling_core::identity::{AttachClaim, PublicKey, SecretKey, Signature};
use starling_core::limits;
use starling_core::machine::{ConnectionSlot, Input, LinkSlot, Outbox, Output};
use starling_core::time::{Now, Time};
use starling_core::wire::agent::{Candidate, Profile};
use starling_core::wire::bundle::{Bundle, Passage, SectionSet};
use starling_core::wire::frame::{FRAME_HEADER_BYTES, FrameDecoder, FrameType};
use starling_core::wire::message::ControlBody;
use starling_core::wire::request::{Ask, Overview, Say};

pub use node::{Node, Plan, Record, Told};

/// Wall-clock time at the start of every world: some day in 2026.
const WALL_START: Time = Time(1_780_000_000_000_000_000);
/// How long a dial to nobody takes to fail.
const DIAL_TIMEOUT: Duration = Duration::from_secs(1);

/// What is on its way.
#[derive(Debug)]
enum Transit {
    /// A dial arrives.
    Dial { from: usize, to: usize },
    /// An input is handed to a machine if that still is the same incarnation.
    Input { to: usize, incarnation: u64, input: Box<Input> },
    /// A frame arrives over a link.
    Frame { from: usize, to: usize, pair: u64, frame: Bytes },
    /// The end of a link is noticed.
    Down { at: usize, link: LinkSlot, timed_out: bool },
}

/// One link between two nodes, as both ends call it.
#[derive(Debug)]
struct Pair {
    ends: [(usize, LinkSlot); 2],
    /// Frames that a cut holds back, with their receiver.
    held: Vec<(usize, Bytes)>,
}

/// Nodes, what is on its way between them, and the time.
pub struct World {
    /// All nodes, by the index that [`World::add`] gave.
    pub nodes: Vec<Node>,
    now: Time,
    delay: Duration,
    authority: SecretKey,
    transit: BTreeMap<(Time, u64), Transit>,
    next: u64,
    pairs: BTreeMap<u64, Pair>,
    cuts: BTreeSet<(usize, usize)>,
    committed: u64,
    frames: u64,
    links_made: BTreeMap<(usize, usize), u64>,
}

impl World {
    /// An empty world in which everything between two nodes takes `delay`.
    pub fn new(delay: Duration) -> World {
        World {
            nodes: Vec::new(),
            now: Time::ZERO,
            delay,
            authority: SecretKey::from_seed([1; 32]),
            transit: BTreeMap::new(),
            next: 0,
            pairs: BTreeMap::new(),
            cuts: BTreeSet::new(),
            committed: 0,
            frames: 0,
            links_made: BTreeMap::new(),
        }
    }

    /// The time.
    pub fn now(&self) -> Now {
        Now { mono: self.now, wall: Time(WALL_START.0 + self.now.0) }
    }

    /// How many frames were sent so far.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// How many links came up between two nodes so far.
    pub fn links_made(&self, left: usize, right: usize) -> u64 {
        self.links_made.get(&ordered(left, right)).copied().unwrap_or(0)
    }

    /// Adds a node and starts it; returns its index.
    pub fn add(&mut self, plan: Plan) -> usize {
        let index = self.nodes.len();
        self.nodes.push(Node::new(plan, index, &self.authority));
        self.start(index);
        index
    }

    /// Starts a node that does not run, in its next incarnation.
    pub fn start(&mut self, index: usize) {
        let now = self.now();
        self.nodes[index].start(now);
        self.input(index, Input::Wake);
    }

    /// Ends a node without a word; its peers notice when it has been silent for long enough.
    pub fn kill(&mut self, index: usize) {
        self.nodes[index].machine = None;
        for pair in std::mem::take(&mut self.nodes[index].links).into_keys().map(pair_of) {
            let ends = self.pairs.get(&pair).map(|pair| pair.ends).unwrap_or_default();
            for (at, link) in ends.into_iter().filter(|(at, _)| *at != index) {
                self.later(limits::LINK_TIMEOUT, Transit::Down { at, link, timed_out: true });
            }
        }
    }

    /// Closes the link between two nodes, if there is one; both ends notice at once.
    pub fn close(&mut self, left: usize, right: usize) {
        let found = self.pairs.values().find(|pair| pair.is_between(left, right));
        for (at, link) in found.map(|pair| pair.ends).into_iter().flatten() {
            self.later(Duration::ZERO, Transit::Down { at, link, timed_out: false });
        }
    }

    /// Holds back everything between two nodes; a link between them dies if that lasts.
    pub fn cut(&mut self, left: usize, right: usize) {
        self.cuts.insert(ordered(left, right));
        let found = self.pairs.values().find(|pair| pair.is_between(left, right));
        for (at, link) in found.map(|pair| pair.ends).into_iter().flatten() {
            self.later(limits::LINK_TIMEOUT, Transit::Down { at, link, timed_out: true });
        }
    }

    /// Ends a cut; what was held back arrives.
    pub fn heal(&mut self, left: usize, right: usize) {
        self.cuts.remove(&ordered(left, right));
        let found = self.pairs.iter_mut().find(|(_, pair)| pair.is_between(left, right));
        let Some((id, held)) = found.map(|(id, pair)| (*id, std::mem::take(&mut pair.held))) else { return };
        let links: Vec<LinkSlot> = self.pairs[&id].ends.iter().map(|(_, link)| *link).collect();
        let is_its = |transit: &Transit| matches!(transit, Transit::Down { link, timed_out: true, .. } if links.contains(link));
        self.transit.retain(|_, transit| !is_its(transit));
        for (to, frame) in held {
            self.deliver(id, to, frame);
        }
    }

    /// Hands an input to a node now.
    pub fn input(&mut self, index: usize, input: Input) {
        let now = self.now();
        let Some(machine) = self.nodes[index].machine.as_mut() else { return };
        let mut out = Outbox::new();
        machine.handle(now, input, &mut out);
        if machine.deadline().is_some_and(|due| due <= now.mono) {
            machine.handle(now, Input::Wake, &mut out);
        }
        let deadline = machine.deadline();
        assert!(
            deadline.is_none_or(|due| due > now.mono),
            "{} wants to be woken at {deadline:?} after it was woken at {:?}",
            self.nodes[index].plan.name,
            now.mono
        );
        machine.check();
        let outputs: Vec<Output> = out.drain().collect();
        outputs.into_iter().for_each(|output| self.carry_out(index, output));
    }

    fn carry_out(&mut self, from: usize, output: Output) {
        let record = &mut self.nodes[from].record;
        match output {
            Output::Dial { address } => self.dial(from, address),
            Output::HangUp { link, .. } => self.hang_up(from, link),
            Output::Control { link, body } => self.send_control(from, link, body),
            Output::ControlToAll { links, body } => {
                links.into_iter().for_each(|link| self.send_control(from, link, body.clone()));
            }
            Output::State { link, bundle } => self.send_state(from, link, &bundle),
            Output::Reply { connection, id, say } => record.replies.push((connection, id, say)),
            Output::Broadcast { connection, agents, index, .. } => {
                record.broadcasts.push((index, connection, agents));
            }
            Output::View(view) => record.view = Some(view),
            Output::Admit(publications) => record.admitted.extend(publications),
            Output::Undeliverable(publications) => record.undeliverable.extend(publications),
            Output::Resend(to) => record.resent.push(to),
            Output::Forget(to) => record.forgotten.push(to),
            Output::Event(event) => record.events.push(event),
            Output::Propose(entry) => self.commit(entry),
            Output::Host { .. } | Output::Unhost { .. } | Output::Home { .. } | Output::Stopped => {}
        }
    }

    /// The log takes what is proposed and tells every coordinator, in one order.
    fn commit(&mut self, entry: Bytes) {
        self.committed += 1;
        for to in 0..self.nodes.len() {
            let input = Input::Committed { index: self.committed, entry: entry.clone() };
            let is_coordinator = self.nodes[to].plan.roles.has(starling_core::identity::Roles::COORDINATOR);
            if is_coordinator {
                self.input_later(self.delay, to, input);
            }
        }
    }

    fn later(&mut self, after: Duration, transit: Transit) {
        self.next += 1;
        self.transit.insert((self.now + after, self.next), transit);
    }

    fn input_later(&mut self, after: Duration, to: usize, input: Input) {
        let incarnation = self.nodes[to].incarnation;
        self.later(after, Transit::Input { to, incarnation, input: Box::new(input) });
    }

    fn dial(&mut self, from: usize, address: String) {
        let to = self.nodes.iter().position(|node| node.plan.name == address);
        match to.filter(|to| *to != from && self.can_reach(from, *to)) {
            Some(to) => self.later(self.delay, Transit::Dial { from, to }),
            None => self.input_later(DIAL_TIMEOUT, from, Input::DialFailed { address }),
        }
    }

    fn can_reach(&self, left: usize, right: usize) -> bool {
        let is_running = |index: usize| self.nodes[index].is_running();
        is_running(left) && is_running(right) && !self.cuts.contains(&ordered(left, right))
    }

    /// One link a pair: a second one fails, unless one end restarted and knows nothing of the first.
    fn link(&mut self, from: usize, to: usize) {
        let knows = |world: &World, at: usize, other: usize| {
            world.nodes[at].links.iter().find(|(_, peer)| **peer == other).map(|(link, _)| *link)
        };
        let (here, there) = (knows(self, from, to), knows(self, to, from));
        if !self.can_reach(from, to) || here.is_some() && there.is_some() {
            let address = self.nodes[to].plan.name.clone();
            return self.input_later(self.delay, from, Input::DialFailed { address });
        }
        for (at, stale) in [(from, here), (to, there)] {
            if let Some(link) = stale {
                self.down(at, link, false);
            }
        }
        self.next += 1;
        let pair = self.next;
        let slots = [LinkSlot(pair as u32 * 2), LinkSlot(pair as u32 * 2 + 1)];
        self.pairs.insert(pair, Pair { ends: [(from, slots[0]), (to, slots[1])], held: Vec::new() });
        *self.links_made.entry(ordered(from, to)).or_default() += 1;
        self.nodes[from].links.insert(slots[0], to);
        self.nodes[to].links.insert(slots[1], from);
        let (dialler, acceptor) = (Box::new(self.nodes[from].peer()), Box::new(self.nodes[to].peer()));
        self.input(to, Input::LinkUp { link: slots[1], peer: dialler });
        self.input(from, Input::LinkUp { link: slots[0], peer: acceptor });
    }

    fn hang_up(&mut self, from: usize, link: LinkSlot) {
        let Some(pair) = self.pairs.get(&pair_of(link)) else { return };
        for (at, link) in pair.ends {
            let after = if at == from { Duration::ZERO } else { self.delay };
            self.later(after, Transit::Down { at, link, timed_out: false });
        }
    }

    fn down(&mut self, at: usize, link: LinkSlot, timed_out: bool) {
        if self.nodes[at].links.remove(&link).is_some() {
            self.input(at, Input::LinkDown { link, timed_out });
        }
        let knows = |(at, link): &(usize, LinkSlot)| self.nodes[*at].links.contains_key(link);
        if self.pairs.get(&pair_of(link)).is_some_and(|pair| !pair.ends.iter().any(knows)) {
            self.pairs.remove(&pair_of(link));
        }
    }

    /// Frames are written and read again, so that limits and encodings count here too.
    fn send_control(&mut self, from: usize, link: LinkSlot, body: ControlBody) {
        let frame = body.to_frame();
        let bytes = frame.len() - FRAME_HEADER_BYTES;
        assert!(bytes <= limits::CONTROL_BYTES_MAX, "a control frame of {bytes} bytes is refused");
        self.send(from, link, frame);
    }

    fn send_state(&mut self, from: usize, link: LinkSlot, bundle: &Bundle) {
        let parcel = bundle.to_parcel(&Passage::default(), &SectionSet::present_in(bundle));
        let mut frame = BytesMut::from(parcel.front.as_ref());
        parcel.shared.iter().for_each(|piece| frame.extend_from_slice(piece));
        self.send(from, link, frame.freeze());
    }

    fn send(&mut self, from: usize, link: LinkSlot, frame: Bytes) {
        let Some(to) = self.nodes[from].links.get(&link).copied() else { return };
        self.frames += 1;
        self.later(self.delay, Transit::Frame { from, to, pair: pair_of(link), frame });
    }

    fn deliver(&mut self, pair: u64, to: usize, frame: Bytes) {
        let Some(ends) = self.pairs.get(&pair).map(|pair| pair.ends) else { return };
        let link = ends.into_iter().find(|(at, _)| *at == to).map(|(_, link)| link);
        let Some(link) = link.filter(|link| self.nodes[to].links.contains_key(link)) else { return };
        let mut decoder = FrameDecoder::new();
        decoder.push(frame);
        let (kind, body) = decoder.next_frame().expect("it was encoded here").expect("and is whole");
        if kind == FrameType::Bundle {
            let (_, bundle) = Bundle::decode(&body).expect("it was encoded here");
            return self.input(to, Input::State { link, bundle: Box::new(bundle) });
        }
        let body = ControlBody::decode(body).expect("it was encoded here");
        self.input(to, Input::Control { link, body: body.expect("both ends have the same version") });
    }

    /// Carries out the next thing that happens, if that is not later than `until`.
    pub fn step(&mut self, until: Time) -> bool {
        let due = |node: &Node| node.machine.as_ref().and_then(|machine| machine.deadline());
        let wake = (0..self.nodes.len()).filter_map(|index| Some((due(&self.nodes[index])?, index))).min();
        let moving = self.transit.first_key_value().map(|((at, _), _)| *at);
        let is_wake = wake.is_some_and(|(at, _)| moving.is_none_or(|moving| at < moving));
        let Some(at) = wake.filter(|_| is_wake).map(|(at, _)| at).or(moving).filter(|at| *at <= until) else {
            self.now = self.now.max(until);
            return false;
        };
        self.now = self.now.max(at);
        match wake.filter(|_| is_wake) {
            Some((_, index)) => self.input(index, Input::Wake),
            None => {
                let (_, transit) = self.transit.pop_first().expect("it is the next to happen");
                self.arrive(transit);
            }
        }
        true
    }

    fn arrive(&mut self, transit: Transit) {
        match transit {
            Transit::Dial { from, to } => self.link(from, to),
            Transit::Input { to, incarnation, input } => {
                if self.nodes[to].incarnation == incarnation {
                    self.input(to, *input);
                }
            }
            Transit::Frame { from, to, pair, frame } => {
                if !self.cuts.contains(&ordered(from, to)) {
                    self.deliver(pair, to, frame);
                } else if let Some(pair) = self.pairs.get_mut(&pair) {
                    pair.held.push((to, frame));
                }
            }
            Transit::Down { at, link, timed_out } => self.down(at, link, timed_out),
        }
    }

    /// Lets time pass.
    pub fn run(&mut self, time: Duration) {
        let until = self.now + time;
        while self.step(until) {}
    }

    /// Lets time pass until `is_done`, at the longest for `time`; how long it took, if it was.
    pub fn run_until(&mut self, time: Duration, is_done: impl Fn(&World) -> bool) -> Option<Duration> {
        let (start, until) = (self.now, self.now + time);
        while !is_done(self) {
            if !self.step(until) {
                return is_done(self).then(|| self.now.since(start));
            }
        }
        Some(self.now.since(start))
    }

    /// A client asks a node.
    pub fn ask(&mut self, node: usize, connection: u32, id: u64, ask: Ask) {
        self.input(node, Input::Request { connection: ConnectionSlot(connection), id, ask });
    }

    /// Agents attach over a connection; their indices are counted from `first_index`.
    pub fn attach(&mut self, node: usize, connection: u32, request: u64, first_index: u32, agents: &[Agent]) {
        let candidates = agents.iter().zip(first_index..).map(|(agent, index)| agent.candidate(index));
        let (candidates, forged) = (candidates.collect(), Vec::new());
        let connection = ConnectionSlot(connection);
        self.input(node, Input::Attach { connection, request, candidates, forged });
    }

    /// What a node answers to an overview.
    pub fn overview(&mut self, node: usize) -> Overview {
        let connection = ConnectionSlot(u32::MAX);
        self.input(node, Input::Request { connection, id: 0, ask: Ask::Overview(Default::default()) });
        match self.nodes[node].record.replies.pop() {
            Some((_, _, Say::Overview(overview))) => overview,
            other => panic!("an overview is answered at once, not by {other:?}"),
        }
    }
}

impl Pair {
    fn is_between(&self, left: usize, right: usize) -> bool {
        ordered(self.ends[0].0, self.ends[1].0) == ordered(left, right)
    }
}

fn pair_of(link: LinkSlot) -> u64 {
    u64::from(link.0 / 2)
}

fn ordered(left: usize, right: usize) -> (usize, usize) {
    (left.min(right), left.max(right))
}

/// An agent to attach.
#[derive(Clone, Debug)]
pub struct Agent {
    /// Names the agent: all that its key is made of.
    pub number: u64,
    /// Its session.
    pub session: u64,
    /// Its state.
    pub state: String,
    /// Its tags.
    pub tags: Vec<String>,
}

impl Agent {
    /// An idle agent without tags in its first session.
    pub fn new(number: u64) -> Agent {
        Agent { number, session: 1, state: "idle".to_string(), tags: Vec::new() }
    }

    /// As it attaches; machines never see a claim whose signature does not hold.
    pub fn candidate(&self, index: u32) -> Candidate {
        let mut key = [9; 32];
        key[..8].copy_from_slice(&self.number.to_le_bytes());
        let (session, signature) = (self.session, Signature([0; 64]));
        let claim = AttachClaim { key: PublicKey(key), session, expires_ms: u64::MAX, signature };
        let (state, tags) = (self.state.clone(), self.tags.clone());
        Candidate { index, claim, profile: Profile { name: String::new(), state, tags } }
    }
}
