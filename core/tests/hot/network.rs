//! Planes with links that carry parcels only when a test says so.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use starling_core::conduct::Gate;
use starling_core::hot::own::{Publication, Target};
use starling_core::hot::plane::{Host, Touched};
use starling_core::hot::view::{Me, Origin, View, subscription};
use starling_core::hot::{Plane, Pressure, Report};
use starling_core::id::{AgentId, MeshId, NodeId, RegionId, ShortId};
use starling_core::identity::{SecretKey, VerifyKey};
use starling_core::interest::Pattern;
use starling_core::machine::{ConnectionSlot, Destination, LinkSlot};
use starling_core::time::{Now, Time};
use starling_core::wire::agent::{Deliver, Published};
use starling_core::wire::bundle::{Bundle, Class};
use starling_core::wire::codec::Reader;
use starling_core::wire::entry::{Extras, take_entry};
use starling_core::wire::frame::{FRAME_HEADER_BYTES, FrameType};
use starling_core::wire::message::ControlBody;

use super::recorder::Recorder;
pub use super::recorder::{LANES, Lane};

pub const MESH: MeshId = MeshId(0x3E5);
pub const WALL: Time = Time(1_800_000_000_000_000_000);

/// An entry as a subscriber got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Got {
    pub agent: AgentId,
    pub subject: Bytes,
    pub sequence: u64,
    pub payload: Bytes,
}

/// One node of the network.
pub struct Node {
    pub plane: Arc<Plane>,
    pub key: SecretKey,
    pub me: Me,
    effects: Recorder,
    subscriptions: Vec<(Pattern, u64)>,
    /// Slot and peer of each link that is up.
    links: BTreeMap<LinkSlot, usize>,
    origins: BTreeMap<usize, Arc<Origin>>,
    gates: BTreeMap<usize, Arc<Gate>>,
}

/// Nodes and the wires between them.
pub struct Network {
    pub nodes: Vec<Node>,
    pub now: Now,
    /// The other end of each end of a link, also of links that the nodes take for broken.
    wires: BTreeMap<LinkSlot, (usize, LinkSlot)>,
    /// Destinations that are in no node's view any more.
    gone: Vec<usize>,
    next_slot: u32,
}

/// A publication of connection 1 to whom it may interest.
pub fn publication(agent: u8, number: u64, subject: &str, payload: &[u8]) -> Publication {
    Publication {
        connection: ConnectionSlot(1),
        number,
        agent: AgentId([agent; 16]),
        sequence: number,
        class: Class::EventBulk,
        target: Target::Subject,
        subject: Bytes::copy_from_slice(subject.as_bytes()),
        extras: Extras::default(),
        payload: Bytes::copy_from_slice(payload),
        attempts: 0,
    }
}

/// A publication of connection 1 to one agent.
pub fn message(agent: u8, number: u64, to: AgentId, payload: &[u8]) -> Publication {
    let subject = Bytes::copy_from_slice(&to.0);
    Publication { target: Target::Agent(None), subject, ..publication(agent, number, "", payload) }
}

impl Network {
    pub fn new() -> Network {
        let now = Now { mono: Time::from_millis(1_000_000), wall: WALL };
        Network { nodes: Vec::new(), now, wires: BTreeMap::new(), gone: Vec::new(), next_slot: 0 }
    }

    /// A node of region `region`, an aggregator or an edge.
    pub fn add(&mut self, region: u64, is_aggregator: bool) -> usize {
        let seed = u8::try_from(self.nodes.len() + 1).expect("tests have few nodes");
        self.add_life(seed, region, is_aggregator, 1)
    }

    /// A node with the identity `seed` in its life `incarnation`.
    pub fn add_life(&mut self, seed: u8, region: u64, is_aggregator: bool, incarnation: u64) -> usize {
        let key = SecretKey::from_seed([seed; 32]);
        let id = NodeId::of_key(&key.public().0).short();
        let me = Me { mesh: MESH, id, region: RegionId(region), incarnation };
        let effects = Recorder::default();
        let plane = Arc::new(Plane::new(me, key.signer(), is_aggregator, 99, Box::new(effects.clone())));
        self.nodes.push(Node {
            plane,
            key,
            me,
            effects,
            subscriptions: Vec::new(),
            links: BTreeMap::new(),
            origins: BTreeMap::new(),
            gates: BTreeMap::new(),
        });
        self.nodes.len() - 1
    }

    pub fn id(&self, node: usize) -> ShortId {
        self.nodes[node].me.id
    }

    /// Links two nodes; the end at `left` is returned.
    pub fn connect(&mut self, left: usize, right: usize) -> LinkSlot {
        let (near, far) = (LinkSlot(self.next_slot), LinkSlot(self.next_slot + 1));
        self.next_slot += 2;
        self.wires.insert(near, (right, far));
        self.wires.insert(far, (left, near));
        self.nodes[left].links.insert(near, right);
        self.nodes[right].links.insert(far, left);
        near
    }

    /// The link between two nodes takes no more frames; what is in flight stays in flight. Whether
    /// there was a link.
    pub fn disconnect(&mut self, left: usize, right: usize) -> Option<LinkSlot> {
        let link = self.link(left, right)?;
        let (_, far) = self.wires[&link];
        for (node, link) in [(left, link), (right, far)] {
            self.nodes[node].links.remove(&link);
            self.nodes[node].effects.with(|effects| effects.dead.insert(link));
        }
        Some(link)
    }

    /// The node at the other end.
    pub fn peer(&self, link: LinkSlot) -> usize {
        self.wires[&link].0
    }

    /// The other end of an end of a link.
    pub fn far_end(&self, link: LinkSlot) -> LinkSlot {
        self.wires[&link].1
    }

    /// The end at `left` of the link between two nodes.
    pub fn link(&self, left: usize, right: usize) -> Option<LinkSlot> {
        self.nodes[left].links.iter().find(|(_, peer)| **peer == right).map(|(link, _)| *link)
    }

    pub fn forget(&mut self, node: usize) {
        self.gone.push(node);
    }

    pub fn unsubscribe(&mut self, node: usize) {
        self.nodes[node].subscriptions.clear();
    }

    pub fn subscribe(&mut self, node: usize, connection: u32, number: u32, pattern: &str) {
        let pattern = Pattern::parse(pattern).expect("tests use valid patterns");
        self.nodes[node].subscriptions.push((pattern, subscription(connection, number)));
    }

    /// Gives every node the view that its links and everybody's interest call for.
    pub fn refresh(&mut self) {
        (0..self.nodes.len()).for_each(|node| self.refresh_one(node));
    }

    pub fn refresh_one(&mut self, at: usize) {
        let mut view = View::empty(99);
        let me = self.nodes[at].me;
        for other in 0..self.nodes.len() {
            if self.nodes[other].me.id == me.id || self.gone.contains(&other) {
                continue;
            }
            let (of, key) = (self.nodes[other].me, self.nodes[other].key.public());
            let known = self.nodes[at].origins.values().find(|origin| origin.id == of.id).cloned();
            let key = VerifyKey::new(&key).expect("keys of tests are valid");
            let carries = self.nodes[other].plane.spreads;
            let origin = known.unwrap_or_else(|| Arc::new(Origin::new(of.id, of.region, key, carries)));
            self.nodes[at].origins.insert(other, Arc::clone(&origin));
            Arc::make_mut(&mut view.origins).insert(of.id, origin);
            self.add_interest(&mut view, at, other);
        }
        for (slot, peer) in self.nodes[at].links.clone() {
            let mono = self.now.mono;
            let gate = self.nodes[at].gates.entry(peer).or_insert_with(|| Arc::new(Gate::new(mono)));
            Arc::make_mut(&mut view.gates).insert(slot, Arc::clone(gate));
            let peer = &self.nodes[peer];
            Arc::make_mut(&mut view.links).insert(peer.me.id, slot);
            Arc::make_mut(&mut view.peers).insert(slot, peer.me.id);
            for region in self.reached_by(at, peer) {
                Arc::make_mut(&mut view.ways).entry(region).or_default().push(peer.me.id);
            }
        }
        for (pattern, number) in &self.nodes[at].subscriptions {
            view.local.insert(pattern, *number);
        }
        self.nodes[at].plane.set_view(view);
    }

    /// Regions to which `peer` leads from `at`.
    fn reached_by(&self, at: usize, peer: &Node) -> Vec<RegionId> {
        let region = self.nodes[at].me.region;
        if peer.me.region != region {
            return vec![peer.me.region];
        }
        let is_uplink = peer.plane.spreads && !self.nodes[at].plane.spreads;
        let beyond = peer.links.values().map(|far| self.nodes[*far].me.region);
        let mut regions: Vec<_> = beyond.filter(|far| is_uplink && *far != region).collect();
        regions.sort_unstable();
        regions.dedup();
        regions
    }

    fn add_interest(&self, view: &mut View, at: usize, other: usize) {
        let (me, of) = (self.nodes[at].me, self.nodes[other].me);
        let to = match of.region == me.region {
            true => Destination::Node(of.id),
            false if self.nodes[at].plane.spreads => return,
            false => Destination::Region(of.region),
        };
        let known = view.destinations.iter().position(|destination| *destination == to);
        let index = known.unwrap_or_else(|| {
            Arc::make_mut(&mut view.destinations).push(to);
            view.destinations.len() - 1
        });
        let index = u32::try_from(index).expect("tests have few nodes");
        for (pattern, _) in &self.nodes[other].subscriptions {
            view.remote.insert(pattern, index);
        }
    }

    pub fn publish(&self, node: usize, publications: Vec<Publication>) {
        let mut touched = Touched::default();
        self.nodes[node].plane.admit(self.now, publications, &mut touched);
        self.nodes[node].plane.flush(&mut touched);
    }

    pub fn tick(&mut self, millis: u64) {
        self.now.mono = self.now.mono + std::time::Duration::from_millis(millis);
        self.now.wall = self.now.wall + std::time::Duration::from_millis(millis);
        self.tick_all(self.now);
    }

    pub fn tick_all(&self, now: Now) {
        for node in &self.nodes {
            let mut touched = Touched::default();
            node.plane.tick(now, &mut touched);
            node.plane.flush(&mut touched);
        }
    }

    pub fn resend(&self, node: usize, to: Destination) {
        let mut touched = Touched::default();
        self.nodes[node].plane.resend(self.now, to, &mut touched);
        self.nodes[node].plane.flush(&mut touched);
    }

    pub fn forget_at(&self, node: usize, to: Destination) {
        let mut touched = Touched::default();
        self.nodes[node].plane.forget(self.now, to, &mut touched);
        self.nodes[node].plane.flush(&mut touched);
    }

    /// What the hot path of a node told its machine of others since the last call.
    pub fn reports(&self, node: usize) -> Vec<Report> {
        self.nodes[node].effects.with(|effects| std::mem::take(&mut effects.reports))
    }

    /// Frames on their way, by lane, in the order of the lanes.
    pub fn in_flight(&self) -> Vec<(usize, LinkSlot, Lane)> {
        let mut found = Vec::new();
        for (at, node) in self.nodes.iter().enumerate() {
            node.effects.with(|effects| {
                let busy = effects.lanes.iter().filter(|(_, frames)| !frames.is_empty());
                found.extend(busy.map(|((link, lane), _)| (at, *link, *lane)));
            });
        }
        found
    }

    /// Takes a lane's oldest frame off the wire.
    pub fn take(&self, node: usize, link: LinkSlot, lane: Lane) -> Option<Bytes> {
        self.nodes[node].effects.with(|effects| effects.lanes.get_mut(&(link, lane))?.pop_front())
    }

    /// Loses everything in flight over a link, both ways, from the `keep`th frame of a lane on.
    pub fn lose(&self, node: usize, link: LinkSlot, keep: usize) {
        let (far_node, far) = self.wires[&link];
        for (node, link) in [(node, link), (far_node, far)] {
            self.nodes[node].effects.with(|effects| {
                for lane in LANES {
                    if let Some(frames) = effects.lanes.get_mut(&(link, lane)) {
                        frames.truncate(keep);
                    }
                }
            });
        }
    }

    /// Hands the oldest frame of a lane to the other end, if that still has the link.
    pub fn carry(&self, node: usize, link: LinkSlot, lane: Lane) {
        let Some(frame) = self.take(node, link, lane) else { return };
        let (to, at) = self.wires[&link];
        self.hand(to, at, &frame);
    }

    /// Gives a whole frame to a node as if it had come over `link`.
    pub fn hand(&self, node: usize, link: LinkSlot, frame: &Bytes) {
        let plane = &self.nodes[node].plane;
        let body = frame.slice(FRAME_HEADER_BYTES..);
        let mut touched = Touched::default();
        match FrameType::from_number(frame[4]) {
            Some(FrameType::Bundle) => {
                // Tests of budgets call the plane themselves; others carry frames whenever they like.
                let _until = plane.receive(self.now, link, &body, &mut touched);
            }
            Some(FrameType::Acknowledge) => plane.acknowledge(self.now, link, &body, &mut touched),
            Some(FrameType::Control) => match ControlBody::decode(body) {
                Ok(Some(ControlBody::Reroute(reroute))) => {
                    plane.resend(self.now, Destination::Region(RegionId(reroute.region)), &mut touched);
                }
                other => panic!("the hot path sent {other:?}"),
            },
            other => panic!("the hot path sent a frame of type {other:?}"),
        }
        plane.flush(&mut touched);
    }

    /// Carries frames until nothing is in flight.
    pub fn run(&self) {
        for _ in 0..100_000 {
            let busy = self.in_flight();
            if busy.is_empty() {
                return;
            }
            busy.into_iter().for_each(|(node, link, lane)| self.carry(node, link, lane));
        }
        panic!("the network does not come to rest");
    }

    /// Every entry that a connection got, in order.
    pub fn got(&self, node: usize, connection: u32) -> Vec<Got> {
        let frames = self.nodes[node]
            .effects
            .with(|effects| effects.delivered.get(&ConnectionSlot(connection)).cloned().unwrap_or_default());
        frames.iter().flat_map(entries_of).collect()
    }

    /// The sequences that a connection got on `subject` of `agent`, in order.
    pub fn sequences(&self, node: usize, connection: u32, agent: u8, subject: &str) -> Vec<u64> {
        let of = |got: &Got| got.agent == AgentId([agent; 16]) && got.subject == subject.as_bytes();
        self.got(node, connection).iter().filter(|got| of(got)).map(|got| got.sequence).collect()
    }

    /// Numbers that a connection was told are published, in the order of telling.
    pub fn published(&self, node: usize, connection: u32) -> Vec<u64> {
        let frames = self.nodes[node]
            .effects
            .with(|effects| effects.told.get(&ConnectionSlot(connection)).cloned().unwrap_or_default());
        let ranges = frames.iter().flat_map(|frame| {
            Published::decode(&frame[FRAME_HEADER_BYTES..]).expect("frames of the hot path are valid").0
        });
        ranges.flat_map(|(from, to)| from..=to).collect()
    }

    pub fn set_pressure(&self, node: usize, connection: u32, pressure: Pressure) {
        self.nodes[node].effects.with(|effects| {
            effects.pressures.insert(ConnectionSlot(connection), pressure);
        });
    }

    pub fn take_unresolved(&self, node: usize) -> Vec<Publication> {
        self.nodes[node].effects.with(|effects| std::mem::take(&mut effects.unresolved))
    }

    /// Bytes of bundles that left over a link.
    pub fn bundle_bytes(&self, node: usize, link: LinkSlot) -> usize {
        self.nodes[node].effects.with(|effects| effects.bundle_bytes.get(&link).copied().unwrap_or(0))
    }

    pub fn counter(&self, node: usize, name: &str) -> u64 {
        let counters = self.nodes[node].plane.counters.list();
        counters.into_iter().find(|(of, _)| *of == name).expect("there is such a counter").1
    }

    pub fn host(&self, node: usize, agent: AgentId, connection: u32, index: u32) {
        self.nodes[node].plane.host(agent, Host { connection: ConnectionSlot(connection), index });
    }

    pub fn unhost(&self, node: usize, agent: AgentId, connection: u32, index: u32) {
        self.nodes[node].plane.unhost(agent, Host { connection: ConnectionSlot(connection), index });
    }
}

fn entries_of(frame: &Bytes) -> Vec<Got> {
    let deliver = Deliver::decode(&frame.slice(FRAME_HEADER_BYTES..)).expect("deliveries are valid");
    let mut reader = Reader::new(&deliver.body);
    let entries = (0..deliver.count).map(|_| {
        let entry = take_entry(&mut reader).expect("entries are valid");
        Got {
            agent: deliver.agent(entry.agent).expect("the table names every agent"),
            subject: deliver.subject.clone(),
            sequence: entry.sequence,
            payload: Bytes::copy_from_slice(entry.payload),
        }
    });
    let entries = entries.collect();
    reader.finish().expect("nothing is behind the entries");
    entries
}

/// The bundle in a frame.
pub fn bundle_in(frame: &Bytes) -> Bundle {
    Bundle::decode(&frame.slice(FRAME_HEADER_BYTES..)).expect("frames of tests are valid").1
}

/// Two edges of one region with a link; the publisher is at the first.
pub fn pair() -> (Network, usize, usize, LinkSlot) {
    let mut network = Network::new();
    let (left, right) = (network.add(1, false), network.add(1, false));
    let link = network.connect(left, right);
    network.refresh();
    (network, left, right, link)
}

/// Two regions with two aggregators and edges each.
pub struct Globe {
    pub network: Network,
    /// Two edges of region 1.
    pub near: [usize; 2],
    /// Aggregators of region 1.
    pub out: [usize; 2],
    /// Aggregators of region 2.
    pub into: [usize; 2],
    /// Two edges of region 2.
    pub far: [usize; 2],
}

pub fn globe() -> Globe {
    let mut network = Network::new();
    let mut add = |region, is_aggregator| [(); 2].map(|()| network.add(region, is_aggregator));
    let (near, out, into, far) = (add(1, false), add(1, true), add(2, true), add(2, false));
    network.connect(near[0], near[1]);
    network.connect(far[0], far[1]);
    for one in 0..2 {
        for other in 0..2 {
            network.connect(near[one], out[other]);
            network.connect(out[one], into[other]);
            network.connect(into[one], far[other]);
        }
    }
    network.refresh();
    Globe { network, near, out, into, far }
}
