//! The mesh of the scenario in virtual time.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use starling_core::hot::own::{Publication, Target};
use starling_core::id::{AgentId, NodeId};
use starling_core::identity::{AttachTerms, Roles};
use starling_core::interest::Pattern;
use starling_core::machine::{ConnectionSlot, Input};
use starling_core::state::crdt::Value;
use starling_core::wire::agent::{Candidate, Deliver, Profile, Published, Receivers};
use starling_core::wire::bundle::Class;
use starling_core::wire::codec::{Reader, Wire};
use starling_core::wire::entry::{Extras, take_entry};
use starling_core::wire::frame::{FRAME_HEADER_BYTES, FrameType};
use starling_core::wire::request::{Ask, KeyChange, Overview, Say, SetKey, Subscribe, Subscription};
use starling_sim::{Plan, World};

use super::{Entry, Ground, Heard, NODES, To, key_of};

/// The way between any two nodes.
const DELAY: Duration = Duration::from_millis(2);
/// Virtual time in which anything must be done.
const PATIENCE: Duration = Duration::from_secs(30);

/// One agent's connection.
struct Seat {
    node: usize,
    slot: ConnectionSlot,
    patterns: Vec<String>,
    next_number: u64,
    unacknowledged: BTreeSet<u64>,
}

/// The mesh.
pub struct Simulated {
    world: World,
    seats: Vec<Option<Seat>>,
    sequences: Vec<u64>,
    next_slot: u32,
    next_request: u64,
    heard: Vec<Heard>,
}

impl Simulated {
    /// Starts all nodes; each knows the aggregators' addresses.
    pub fn start() -> Simulated {
        let mut world = World::new(DELAY);
        world.appoint((0..NODES.len()).filter(|at| NODES[*at].1.has(Roles::COORDINATOR)));
        let is_seed = |roles: Roles| roles == Roles::AGGREGATOR;
        let seeds: Vec<String> =
            NODES.iter().filter(|(_, roles, _)| is_seed(*roles)).map(|(name, ..)| name.to_string()).collect();
        for (name, roles, region) in NODES {
            let (region, name) = (region.to_owned(), name.to_owned());
            world.add(Plan { roles, region, name, seeds: seeds.clone() });
        }
        let seats = (0..6).map(|_| None).collect();
        let (sequences, heard) = (vec![0; 6], Vec::new());
        Simulated { world, seats, sequences, next_slot: 1, next_request: 1, heard }
    }

    fn node(&self, name: &str) -> usize {
        self.world.index_of(name).expect("the scenario names nodes that there are")
    }

    fn seat(&mut self, agent: usize) -> &mut Seat {
        self.seats[agent].as_mut().expect("the scenario's agent is attached")
    }

    fn run(&mut self, time: Duration) {
        self.world.run(time);
        self.collect();
    }

    /// Takes what edges said to agents.
    fn collect(&mut self) {
        for agent in 0..self.seats.len() {
            let Some(seat) = &self.seats[agent] else { continue };
            let (node, slot) = (seat.node, seat.slot);
            let record = &mut self.world.nodes[node].record;
            let is_gap =
                |(to, _, say): &mut (ConnectionSlot, u64, Say)| *to == slot && matches!(say, Say::Gap(_));
            let gaps = record.replies.extract_if(.., is_gap).count();
            self.heard.extend((0..gaps).map(|_| Heard::Gap { by: agent }));
            let frames: Vec<_> = record.frames.extract_if(.., |(to, _)| *to == slot).collect();
            frames.into_iter().for_each(|(_, frame)| self.on_frame(agent, &frame));
        }
    }

    fn on_frame(&mut self, agent: usize, frame: &Bytes) {
        let body = frame.slice(FRAME_HEADER_BYTES..);
        match FrameType::from_number(frame[4]) {
            Some(FrameType::Published) => {
                for (from, to) in Published::decode(&body).unwrap().0 {
                    self.seat(agent).unacknowledged.retain(|number| !(from..=to).contains(number));
                }
            }
            Some(FrameType::Deliver) => self.on_deliver(agent, Deliver::decode(&body).unwrap()),
            other => panic!("a frame of type {other:?} for an agent"),
        }
    }

    fn on_deliver(&mut self, agent: usize, deliver: Deliver) {
        let patterns = self.seat(agent).patterns.clone();
        let to: Vec<Option<String>> = match &deliver.receivers {
            Receivers::Inbox(_) => vec![None],
            Receivers::Subscriptions(numbers) => {
                numbers.iter().map(|number| Some(patterns[*number as usize].clone())).collect()
            }
        };
        let subject = std::str::from_utf8(&deliver.subject).unwrap_or_default();
        let mut reader = Reader::new(&deliver.body);
        for _ in 0..deliver.count {
            let entry = take_entry(&mut reader).unwrap();
            let author = deliver.agent(entry.agent).unwrap();
            let publisher = (0..6).find(|number| id_of(*number) == author).expect("no stranger publishes");
            for pattern in &to {
                let subject = if pattern.is_some() { subject.to_owned() } else { String::new() };
                let payload = String::from_utf8(entry.payload.to_vec()).unwrap();
                let pattern = pattern.clone();
                self.heard.push(Heard::Entry { by: agent, publisher, pattern, subject, payload });
            }
        }
    }

    /// Asks until it is answered by something that `take` takes.
    fn ask<T>(&mut self, (node, slot): (usize, u32), ask: Ask, take: impl Fn(&Say) -> Option<T>) -> T {
        self.next_request += 1;
        let id = self.next_request;
        self.world.ask(node, slot, id, ask.clone());
        let until = self.world.now().mono + PATIENCE;
        loop {
            if let Some(say) = self.world.nodes[node].reply(slot, id) {
                return take(say).unwrap_or_else(|| panic!("{ask:?} is answered by {say:?}"));
            }
            assert!(self.world.now().mono < until, "{ask:?} is not answered");
            self.run(Duration::from_millis(5));
        }
    }

    fn publication(&mut self, entry: Entry) -> (usize, Publication) {
        self.sequences[entry.agent] += 1;
        let sequence = self.sequences[entry.agent];
        let seat = self.seat(entry.agent);
        seat.next_number += 1;
        seat.unacknowledged.insert(seat.next_number);
        let (target, subject) = match entry.to {
            To::Subject(subject) => (Target::Subject, Bytes::from(subject)),
            To::Agent(agent) => (Target::Agent(None), Bytes::copy_from_slice(&id_of(agent).0)),
        };
        let publication = Publication {
            connection: seat.slot,
            number: seat.next_number,
            agent: id_of(entry.agent),
            sequence,
            class: if entry.is_priority { Class::EventPriority } else { Class::EventBulk },
            target,
            subject,
            extras: Extras::default(),
            payload: entry.payload.into(),
            attempts: 0,
        };
        (seat.node, publication)
    }
}

fn id_of(agent: usize) -> AgentId {
    AgentId::of_key(&key_of(agent).public().0)
}

/// What an agent's client sends, checked as an edge's connection checks it before the machine sees it.
fn candidate(agent: usize, edge: NodeId, session: u64) -> Candidate {
    let terms = AttachTerms { edge, edge_incarnation: 1, binding: [0; 32] };
    let claim = terms.sign(&key_of(agent), session, u64::MAX);
    assert_eq!(terms.verify(&[claim]), [true]);
    let profile = Profile { name: String::new(), state: "idle".into(), tags: Vec::new() };
    Candidate { index: 0, claim, profile }
}

impl Ground for Simulated {
    fn pass(&mut self) {
        self.run(Duration::from_millis(50));
    }

    fn rest(&mut self) {
        self.run(Duration::from_secs(2));
    }

    fn attach(&mut self, agent: usize, edge: &'static str) {
        let node = self.node(edge);
        self.next_slot += 1;
        let slot = self.next_slot;
        let until = self.world.now().mono + PATIENCE;
        loop {
            self.next_request += 1;
            let request = self.next_request;
            let name = self.world.nodes[node].peer().admission.node();
            let candidates = vec![candidate(agent, name, u64::from(slot))];
            let (connection, forged) = (ConnectionSlot(slot), Vec::new());
            self.world.input(node, Input::Attach { connection, request, candidates, forged });
            self.run(Duration::from_millis(5));
            if let Some(Say::Attached(attached)) = self.world.nodes[node].reply(slot, request)
                && attached.accepted == 1
            {
                break;
            }
            assert!(self.world.now().mono < until, "{edge} does not take agent {agent}");
        }
        let (slot, patterns) = (ConnectionSlot(slot), Vec::new());
        let unacknowledged = BTreeSet::new();
        self.seats[agent] = Some(Seat { node, slot, patterns, next_number: 0, unacknowledged });
    }

    fn leave(&mut self, agent: usize) {
        self.run(Duration::from_millis(50));
        let seat = self.seats[agent].take().expect("the scenario's agent is attached");
        self.world.input(seat.node, Input::Disconnected { connection: seat.slot });
    }

    fn subscribe(&mut self, agent: usize, pattern: &'static str) {
        Pattern::parse(pattern).unwrap();
        let seat = self.seat(agent);
        let number = seat.patterns.len() as u32;
        seat.patterns.push(pattern.to_owned());
        let at = (seat.node, seat.slot.0);
        let subscriptions = vec![Subscription { number, agent: 0, pattern: pattern.to_owned() }];
        self.ask(at, Ask::Subscribe(Subscribe { subscriptions }), |say| {
            matches!(say, Say::Done(_)).then_some(())
        });
    }

    fn publish(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            let (node, publication) = self.publication(entry);
            self.world.publish(node, vec![publication]);
            self.run(Duration::from_micros(100));
        }
        let until = self.world.now().mono + PATIENCE;
        while self.seats.iter().flatten().any(|seat| !seat.unacknowledged.is_empty()) {
            assert!(self.world.now().mono < until, "entries are not acknowledged");
            self.run(Duration::from_millis(10));
        }
    }

    fn write(&mut self, agent: usize, key: &str, change: KeyChange) {
        let seat = self.seat(agent);
        let at = (seat.node, seat.slot.0);
        let set = SetKey { key: key.to_owned(), change: Some(change) };
        self.ask(at, Ask::SetKey(set), |say| matches!(say, Say::Done(_)).then_some(()));
    }

    fn read(&mut self, edge: &str, key: &str) -> Option<String> {
        let node = self.node(edge);
        let take = |say: &Say| match say {
            Say::Value(bytes) if bytes.is_empty() => Some(None),
            Say::Value(bytes) => Some(super::real::text(&Value::from_bytes(bytes).unwrap())),
            _ => None,
        };
        self.ask((node, 1), Ask::GetKey(key.to_owned()), take)
    }

    fn kill(&mut self, edge: &'static str) {
        self.run(Duration::from_millis(50));
        let node = self.node(edge);
        self.seats
            .iter_mut()
            .filter(|seat| seat.as_ref().is_some_and(|seat| seat.node == node))
            .for_each(|seat| *seat = None);
        self.world.kill(node);
    }

    fn start(&mut self, edge: &'static str) {
        let node = self.node(edge);
        self.world.start(node);
    }

    fn overview(&mut self, node: &str) -> Option<Overview> {
        let node = self.node(node);
        self.world.nodes[node].is_running().then(|| self.world.overview(node))
    }

    fn heard(&mut self) -> Vec<Heard> {
        self.run(Duration::from_secs(1));
        self.heard.clone()
    }
}
