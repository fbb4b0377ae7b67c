//! Modelled clients: agents that attach, subscribe, publish, and move to another edge when theirs is
//! gone. A client keeps what is not acknowledged and sends it again, and drops what it had before, as
//! the client library does.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use starling_core::hash::HashMap;
use starling_core::hot::own::{Publication, Target};
use starling_core::id::AgentId;
use starling_core::interest::Pattern;
use starling_core::limits;
use starling_core::machine::{ConnectionSlot, Input};
use starling_core::time::Time;
use starling_core::wire::agent::{Deliver, Published};
use starling_core::wire::bundle::Class;
use starling_core::wire::codec::Reader;
use starling_core::wire::entry::{Extras, take_entry};
use starling_core::wire::frame::{FRAME_HEADER_BYTES, FrameType};
use starling_core::wire::request::{Ask, Say, SetKey, Subscribe, Subscription};

use crate::agents::Agent;
use crate::journal::{Journal, Seen};
use crate::mail::{CLIENTS, Mail};
use crate::world::World;

/// How long a client waits before it asks again after it was refused, or found nobody.
const AGAIN: Duration = Duration::from_millis(250);
/// How long a client waits to be served before it tries another edge.
const PATIENCE: Duration = Duration::from_secs(12);
/// The id of a client's request to subscribe; those to attach are numbered from 1.
const SUBSCRIBE_REQUEST: u64 = 1000;
/// The id of its requests to write keys.
const WRITE_REQUEST: u64 = 1001;
/// Entries that a client has unacknowledged before it publishes no more.
const UNACKNOWLEDGED_MAX: usize = 4096;

/// How far a client has come with its present edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It has none.
    Away,
    /// It asked to attach its agents; so many answers are awaited.
    Attaching(usize),
    /// It asked to subscribe.
    Subscribing,
    /// Its subscriptions are confirmed.
    Ready,
    /// It left for good.
    Left,
}

/// One client with its agents.
#[derive(Debug)]
pub(crate) struct Client {
    /// Edges that it may use, by index of the node.
    edges: Vec<usize>,
    turn: usize,
    phase: Phase,
    slot: ConnectionSlot,
    since: Time,
    /// Number of its first agent, and how many there are.
    pub agents: std::ops::Range<u64>,
    session: u64,
    pub pattern: Option<Pattern>,
    next_number: u64,
    unacknowledged: BTreeMap<u64, Publication>,
    /// The last number that its edge has; a paused edge takes nothing.
    sent: u64,
    /// The incarnation of its edge when its connection began; with another one the connection is gone.
    incarnation: u64,
    /// Since when it has not been served, although it had been before.
    away_since: Option<Time>,
}

impl Client {
    /// The edge that it is connected to, or tries.
    pub fn edge(&self) -> usize {
        self.edges[self.turn % self.edges.len()]
    }

    /// Whether its agents are hosted and its subscriptions confirmed.
    pub fn is_ready(&self) -> bool {
        self.phase == Phase::Ready
    }

    /// Whether it left for good.
    pub fn has_left(&self) -> bool {
        self.phase == Phase::Left
    }

    /// Whether everything that it published is acknowledged.
    pub fn has_all_acknowledged(&self) -> bool {
        self.unacknowledged.is_empty()
    }
}

/// All clients.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    pub all: Vec<Client>,
    by_slot: HashMap<ConnectionSlot, usize>,
    next_slot: u32,
    numbers: HashMap<AgentId, u64>,
    /// Keys that were written, as edges confirmed.
    pub written: u64,
    /// How long clients that had been served were not.
    pub away: Vec<Duration>,
}

/// The id of the agent with this number.
pub(crate) fn id_of(number: u64) -> AgentId {
    Agent::new(number).candidate(0).claim.agent()
}

/// The payload of an agent's entry: what it is, so that a changed one shows.
fn payload_of(agent: u64, sequence: u64) -> Bytes {
    let mut payload = [0; 32];
    payload[..8].copy_from_slice(&agent.to_le_bytes());
    payload[8..16].copy_from_slice(&sequence.to_le_bytes());
    payload[16..24].copy_from_slice(&(agent ^ sequence.rotate_left(32)).to_le_bytes());
    Bytes::copy_from_slice(&payload)
}

impl Clients {
    /// Adds a client that uses the first of `edges` it can.
    pub fn add(
        &mut self,
        edges: Vec<usize>,
        turn: usize,
        agents: std::ops::Range<u64>,
        pattern: Option<Pattern>,
    ) {
        for number in agents.clone() {
            self.numbers.insert(id_of(number), number);
        }
        self.all.push(Client {
            edges,
            turn,
            phase: Phase::Away,
            slot: ConnectionSlot(CLIENTS),
            since: Time::ZERO,
            agents,
            session: 0,
            pattern,
            next_number: 1,
            unacknowledged: BTreeMap::new(),
            sent: 0,
            incarnation: 0,
            away_since: None,
        });
    }

    /// What every client does now and then: find an edge, or notice that its own is gone.
    pub fn look_after(&mut self, at: usize, world: &mut World, journal: &mut Journal) {
        let client = &mut self.all[at];
        let node = &world.nodes[client.edge()];
        let waited = world.now.since(client.since);
        match client.phase {
            Phase::Away if waited >= AGAIN => self.connect(at, world),
            Phase::Away | Phase::Left => {}
            Phase::Attaching(_) | Phase::Subscribing | Phase::Ready => {
                let is_gone = !node.is_active() || node.incarnation != client.incarnation;
                let is_stuck = client.phase != Phase::Ready && waited >= PATIENCE;
                if !is_gone && client.phase == Phase::Ready {
                    client.since = world.now;
                }
                if !is_gone {
                    self.send(at, world);
                }
                // Silence is noticed as over QUIC.
                if is_gone && waited >= limits::LINK_TIMEOUT || is_stuck {
                    self.lose(at, world, journal);
                    self.all[at].turn += 1;
                }
            }
        }
    }

    /// The client's connection ended: it looks for an edge, at first for the one whose turn it is.
    fn lose(&mut self, at: usize, world: &mut World, journal: &mut Journal) {
        let client = &mut self.all[at];
        let (slot, edge) = (client.slot, client.edge());
        self.by_slot.remove(&slot);
        world.tell(|world| format!("client {at} loses {}", world.nodes[edge].plan.name));
        journal.interrupted(at);
        if std::mem::replace(&mut client.phase, Phase::Away) == Phase::Ready {
            // It was served until its edge was last seen alive.
            client.away_since.get_or_insert(client.since);
        }
        client.since = world.now;
        if world.nodes[edge].is_running() && world.nodes[edge].incarnation == client.incarnation {
            world.input(edge, Input::Disconnected { connection: slot });
        }
    }

    /// The client leaves for good, with its agents.
    pub fn leave(&mut self, at: usize, world: &mut World, journal: &mut Journal) {
        if self.all[at].phase != Phase::Away {
            self.lose(at, world, journal);
        }
        let client = &mut self.all[at];
        client.phase = Phase::Left;
        client.unacknowledged.clear();
    }

    fn connect(&mut self, at: usize, world: &mut World) {
        self.next_slot += 1;
        let client = &mut self.all[at];
        client.since = world.now;
        let edge = client.edge();
        if !world.nodes[edge].is_active() {
            client.turn += 1;
            return;
        }
        client.slot = ConnectionSlot(CLIENTS + self.next_slot);
        client.session += 1;
        client.incarnation = world.nodes[edge].incarnation;
        (client.next_number, client.sent) = (1, 0);
        let agents: Vec<Agent> =
            client.agents.clone().map(|n| Agent { session: client.session, ..Agent::new(n) }).collect();
        let parts = agents.chunks(limits::CLAIMS_PER_ATTACH_MAX);
        client.phase = Phase::Attaching(parts.len());
        let slot = client.slot;
        self.by_slot.insert(slot, at);
        for (number, part) in parts.enumerate() {
            let first = (number * limits::CLAIMS_PER_ATTACH_MAX) as u32;
            world.attach(edge, slot.0, number as u64 + 1, first, part);
        }
    }

    /// Publishes the next entry of one of the client's agents, on that agent's subject; nothing while the
    /// client has no edge, or has too much that is not acknowledged.
    pub fn publish(&mut self, at: usize, agent: u64, world: &mut World, journal: &mut Journal) {
        let client = &mut self.all[at];
        if matches!(client.phase, Phase::Away | Phase::Left)
            || client.unacknowledged.len() >= UNACKNOWLEDGED_MAX
        {
            return;
        }
        let sequence = journal.published(agent, world.now);
        let publication = Publication {
            connection: client.slot,
            number: client.next_number,
            agent: id_of(agent),
            sequence,
            class: Class::EventBulk,
            target: Target::Subject,
            subject: journal.subject_of(agent),
            extras: Extras::default(),
            payload: payload_of(agent, sequence),
            attempts: 0,
        };
        client.next_number += 1;
        client.unacknowledged.insert(publication.number, publication);
        self.send(at, world);
    }

    /// An agent at this edge writes a key, if one is served there.
    pub fn write(&mut self, edge: usize, set: SetKey, world: &mut World) {
        let writes = |client: &&Client| client.is_ready() && client.edge() == edge;
        let Some(client) = self.all.iter().find(writes).filter(|_| world.nodes[edge].is_active()) else {
            return;
        };
        let slot = client.slot;
        if let Some(meter) = &mut world.meter {
            meter.writes(world.now, edge);
        }
        world.ask(edge, slot.0, WRITE_REQUEST, Ask::SetKey(set));
    }

    /// Hands the edge what it does not have yet.
    fn send(&mut self, at: usize, world: &mut World) {
        let client = &mut self.all[at];
        let edge = client.edge();
        let is_there = world.nodes[edge].is_active() && world.nodes[edge].incarnation == client.incarnation;
        if !is_there || !matches!(client.phase, Phase::Subscribing | Phase::Ready) {
            return;
        }
        let unsent = client.unacknowledged.range(client.sent + 1..);
        let publications: Vec<Publication> = unsent.map(|(_, publication)| publication.clone()).collect();
        let Some(last) = publications.last() else { return };
        client.sent = last.number;
        world.publish(edge, publications);
    }

    /// Takes what a node said.
    pub fn hear(&mut self, mail: Mail, world: &mut World, journal: &mut Journal) {
        match mail {
            Mail::Reply(slot, id, say) => {
                if let Some(at) = self.by_slot.get(&slot).copied() {
                    self.on_reply(at, id, *say, world, journal);
                }
            }
            Mail::Frame(slot, frame) => {
                if let Some(at) = self.by_slot.get(&slot).copied() {
                    self.on_frame(at, &frame, journal, world.now);
                }
            }
            Mail::Event(_) | Mail::Sent(_) | Mail::Said(_) => {}
        }
    }

    fn on_reply(&mut self, at: usize, id: u64, say: Say, world: &mut World, journal: &mut Journal) {
        let client = &mut self.all[at];
        match (say, client.phase) {
            (Say::Attached(attached), Phase::Attaching(left)) if attached.refused.is_empty() => {
                client.phase = Phase::Attaching(left - 1);
                if left == 1 {
                    self.attached(at, world, journal);
                }
            }
            (Say::Done(_), Phase::Subscribing) if id == SUBSCRIBE_REQUEST => self.ready(at, world, journal),
            (Say::Done(_), Phase::Ready) if id == WRITE_REQUEST => self.written += 1,
            (Say::Gap(_), _) => {
                world.tell(|_| format!("client {at} is told of a gap"));
                journal.gap(at, world.now);
            }
            (Say::Refused(_) | Say::Attached(_), Phase::Attaching(_) | Phase::Subscribing) => {
                self.lose(at, world, journal);
            }
            _ => {}
        }
    }

    fn attached(&mut self, at: usize, world: &mut World, journal: &mut Journal) {
        let client = &mut self.all[at];
        client.phase = Phase::Subscribing;
        let (edge, slot) = (client.edge(), client.slot);
        let again = std::mem::take(&mut client.unacknowledged);
        for (_, publication) in again {
            let number = client.next_number;
            client.next_number += 1;
            let publication = Publication { connection: slot, number, ..publication };
            client.unacknowledged.insert(number, publication);
        }
        match client.pattern.clone() {
            Some(pattern) => {
                let pattern = pattern.as_str().to_string();
                let subscriptions = vec![Subscription { number: 1, agent: 0, pattern }];
                world.ask(edge, slot.0, SUBSCRIBE_REQUEST, Ask::Subscribe(Subscribe { subscriptions }));
            }
            None => self.ready(at, world, journal),
        }
        self.send(at, world);
    }

    fn ready(&mut self, at: usize, world: &mut World, journal: &mut Journal) {
        let client = &mut self.all[at];
        let edge = client.edge();
        world.tell(|world| format!("client {at} is served by {}", world.nodes[edge].plan.name));
        client.phase = Phase::Ready;
        client.since = world.now;
        if let Some(since) = client.away_since.take() {
            self.away.push(world.now.since(since));
        }
        if let Some(pattern) = &client.pattern {
            journal.confirmed(at, pattern);
        }
    }

    fn on_frame(&mut self, at: usize, frame: &Bytes, journal: &mut Journal, now: Time) {
        let body = frame.slice(FRAME_HEADER_BYTES..);
        match FrameType::from_number(frame[4]) {
            Some(FrameType::Published) => {
                let published = Published::decode(&body).expect("frames of the hot path are valid");
                for (from, to) in published.0 {
                    (from..=to).for_each(|number| {
                        self.all[at].unacknowledged.remove(&number);
                    });
                }
            }
            Some(FrameType::Deliver) => self.on_deliver(at, &body, journal, now),
            _ => {}
        }
    }

    fn on_deliver(&mut self, at: usize, body: &Bytes, journal: &mut Journal, now: Time) {
        let deliver = Deliver::decode(body).expect("deliveries are valid");
        let subject = std::str::from_utf8(&deliver.subject).unwrap_or_default();
        let is_asked = self.all[at].pattern.as_ref().is_some_and(|pattern| pattern.matches(subject));
        let mut reader = Reader::new(&deliver.body);
        for _ in 0..deliver.count {
            let entry = take_entry(&mut reader).expect("entries are valid");
            let agent = deliver.agent(entry.agent).expect("the table names every agent");
            let Some(number) = self.numbers.get(&agent).copied() else {
                journal.saw(at, Seen::Stranger, now);
                continue;
            };
            let is_true = entry.payload == payload_of(number, entry.sequence)
                && deliver.subject == journal.subject_of(number);
            let seen = match (is_true, is_asked) {
                (false, _) => Seen::Changed(number),
                (true, false) => Seen::Unasked(deliver.subject.clone()),
                (true, true) => Seen::Entry(number, entry.sequence),
            };
            journal.saw(at, seen, now);
        }
    }
}
