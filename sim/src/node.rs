//! A simulated node: how its machine and its hot path are made, and what they put out.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use starling_aggregator::Aggregator;
use starling_coordinator::Coordinator;
use starling_core::event::Event;
use starling_core::hot::Plane;
use starling_core::hot::own::Publication;
use starling_core::hot::view::View;
use starling_core::id::{MeshId, RegionId, ShortId};
use starling_core::identity::{Admission, Coordinators, Roles, SecretKey, Signature, Signer, VerifyKey};
use starling_core::machine::{ConnectionSlot, Destination, LinkSlot, Machine, Peer};
use starling_core::membership::Identity;
use starling_core::node::peering::Presence;
use starling_core::time::{Now, Time};
use starling_core::wire::request::Say;
use starling_edge::Edge;

use crate::outlet::Effects;
use crate::processor::Processor;
use crate::world::Transit;

/// What to start: one role, as the machines have one each.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Exactly one role.
    pub roles: Roles,
    /// Name of the region.
    pub region: String,
    /// Name of the node, different from all others; it listens at this name.
    pub name: String,
    /// Names of nodes that it dials at first.
    pub seeds: Vec<String>,
}

/// How nodes sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signatures {
    /// As in a real mesh.
    Ed25519,
    /// By a keyed hash of the same size, a hundred times faster.
    Keyed,
}

impl Signatures {
    /// The key of `seed`.
    pub fn signer(self, seed: &[u8; 32]) -> Signer {
        match self {
            Signatures::Ed25519 => SecretKey::from_seed(*seed).signer(),
            Signatures::Keyed => Signer::simulated(seed),
        }
    }

    /// What verifies for `signer`.
    pub fn verify_key(self, signer: &Signer) -> VerifyKey {
        match self {
            Signatures::Ed25519 => VerifyKey::new(&signer.public()).expect("a key made from a seed is good"),
            Signatures::Keyed => VerifyKey::simulated(&signer.public()),
        }
    }
}

/// A system update as one connection got it: its index and the agents told.
pub type Told = (u64, ConnectionSlot, Vec<u32>);

/// Everything that a node put out and that does not travel to other nodes, in order.
#[derive(Debug, Default)]
pub struct Record {
    /// Replies and notices.
    pub replies: Vec<(ConnectionSlot, u64, Say)>,
    /// The newest view.
    pub view: Option<Box<View>>,
    /// Events.
    pub events: Vec<Event>,
    /// System updates.
    pub broadcasts: Vec<Told>,
    /// Destinations to send to again.
    pub resent: Vec<Destination>,
    /// Destinations forgotten.
    pub forgotten: Vec<Destination>,
    /// Publications whose receiver was found.
    pub admitted: Vec<Publication>,
    /// Publications whose receiver was not found.
    pub undeliverable: Vec<Publication>,
    /// Frames of the hot path to connections that are not those of the run's own clients.
    pub frames: Vec<(ConnectionSlot, Bytes)>,
}

/// A node, running or not.
pub struct Node {
    /// What it is.
    pub plan: Plan,
    /// Its incarnation, 1 at first; all that it keeps when it restarts.
    pub incarnation: u64,
    /// The same as it says it; another one where a planted bug wants that.
    named: u64,
    /// What it put out in this incarnation.
    pub record: Record,
    /// Whether it tells nobody where it listens.
    pub is_silent: bool,
    /// Its number in the world, of which its address is made.
    index: usize,
    /// Where it is: a row of the world's matrix.
    pub zone: usize,
    /// How far its wall clock is ahead, in nanoseconds.
    pub skew: i64,
    pub(crate) machine: Option<Box<dyn Machine>>,
    pub(crate) plane: Option<Arc<Plane>>,
    pub(crate) effects: Effects,
    /// Links with the index of the node at the other end.
    pub(crate) links: BTreeMap<LinkSlot, usize>,
    /// The same the other way round.
    pub(crate) peers: BTreeMap<usize, LinkSlot>,
    /// What came while it did not run on; `None` while it does.
    pub(crate) backlog: Option<VecDeque<Transit>>,
    /// When it is to be woken next.
    pub(crate) wake_at: Option<Time>,
    pub(crate) steps: u64,
    pub(crate) processor: Processor,
    admission: Admission,
    authority: VerifyKey,
    /// As its credentials would say.
    pub(crate) coordinators: Option<Coordinators>,
    signatures: Signatures,
    seed: [u8; 32],
}

impl Node {
    pub(crate) fn new(plan: Plan, index: usize, signatures: Signatures, authority: &Signer) -> Node {
        let seed = Node::seed_of(index);
        let label = |text: &str| text.parse().expect("plans name regions and nodes in lower case");
        let admission = Admission {
            mesh: MeshId(0),
            key: signatures.signer(&seed).public(),
            roles: plan.roles,
            region: label(&plan.region),
            name: label(&plan.name),
            not_before_seconds: 0,
            not_after_seconds: u64::MAX,
            signature: Signature([0; 64]),
        };
        Node {
            admission: admission.signed_with(authority),
            authority: signatures.verify_key(authority),
            coordinators: None,
            plan,
            incarnation: 0,
            named: 0,
            record: Record::default(),
            is_silent: false,
            index,
            zone: 0,
            skew: 0,
            machine: None,
            plane: None,
            effects: Effects::default(),
            links: BTreeMap::new(),
            peers: BTreeMap::new(),
            backlog: None,
            wake_at: None,
            steps: 0,
            processor: Processor::default(),
            signatures,
            seed,
        }
    }

    /// Of which the identity key of a world's node is made.
    pub(crate) fn seed_of(index: usize) -> [u8; 32] {
        let mut seed = [7; 32];
        seed[..8].copy_from_slice(&(index as u64 + 1).to_le_bytes());
        seed
    }

    /// Its short id.
    pub fn id(&self) -> ShortId {
        self.admission.node().short()
    }

    /// Its region.
    pub fn region(&self) -> RegionId {
        self.admission.region_id()
    }

    /// Its identity key.
    pub fn signer(&self) -> Signer {
        self.signatures.signer(&self.seed)
    }

    /// Whether it runs; a paused node does too.
    pub fn is_running(&self) -> bool {
        self.machine.is_some()
    }

    /// Whether it is paused.
    pub fn is_paused(&self) -> bool {
        self.backlog.is_some()
    }

    /// Whether it works off what comes.
    pub fn is_active(&self) -> bool {
        self.is_running() && !self.is_paused()
    }

    /// The nodes at the other ends of its links.
    pub fn linked(&self) -> Vec<usize> {
        self.links.values().copied().collect()
    }

    /// Its hot path.
    ///
    /// # Panics
    /// It does not run.
    pub fn plane(&self) -> &Plane {
        self.plane.as_ref().expect("a running node has a hot path")
    }

    /// Its newest view.
    ///
    /// # Panics
    /// Without one.
    pub fn view(&self) -> &View {
        self.record.view.as_ref().expect("a running node publishes a view in its first step")
    }

    /// Destinations that want `subject` by its newest view, in order, each once.
    pub fn wanting(&self, subject: &str) -> Vec<Destination> {
        let view = self.view();
        let mut wanting = Vec::new();
        view.remote.for_each_match(subject, |slot| wanting.push(view.destinations[slot as usize]));
        wanting.sort_unstable();
        wanting.dedup();
        wanting
    }

    /// What was answered to a request, if it was.
    pub fn reply(&self, connection: u32, id: u64) -> Option<&Say> {
        let connection = ConnectionSlot(connection);
        let found = self.record.replies.iter().find(|(to, of, _)| (*to, *of) == (connection, id));
        found.map(|(_, _, say)| say)
    }

    /// Begins its next incarnation, which it calls `named`.
    pub(crate) fn start(&mut self, now: Now, named: u64) {
        self.incarnation += 1;
        self.named = named;
        self.record = Record::default();
        let identity = self.identity();
        let (seeds, seed) = (self.plan.seeds.clone(), self.id().0 ^ self.incarnation);
        self.effects = Effects::default();
        let spreads = self.plan.roles.has(Roles::AGGREGATOR);
        let outlet = Box::new(self.effects.clone());
        self.plane = Some(Arc::new(Plane::new(identity.me(), self.signer(), spreads, seed, outlet)));
        let presence = self.presence();
        self.machine = Some(match self.plan.roles {
            Roles::EDGE => Box::new(Edge::new(identity, seeds, seed, now).with_presence(presence)),
            Roles::AGGREGATOR => Box::new(Aggregator::new(identity, seeds, seed).with_presence(presence)),
            _ => Box::new(Coordinator::new(identity, seeds, seed).with_presence(presence)),
        });
    }

    /// Where it tells its peers to dial it.
    fn told(&self) -> Vec<String> {
        Some(self.plan.name.clone()).filter(|_| !self.is_silent).into_iter().collect()
    }

    /// What it says of itself; each node has a service of its own name.
    fn presence(&self) -> Presence {
        Presence {
            is_silent: self.is_silent,
            addresses: vec![self.listed()],
            capabilities: Presence::names(&[], std::slice::from_ref(&self.plan.name))
                .expect("names are short words"),
            blobs: Vec::new(),
        }
    }

    /// Its address as records list it; nobody dials by that here.
    pub(crate) fn listed(&self) -> SocketAddr {
        let [.., high, middle, low] = (self.index as u64).to_be_bytes();
        ([10, high, middle, low], 7_420).into()
    }

    /// Forgets everything but its incarnation; returns its links.
    pub(crate) fn end(&mut self) -> Vec<LinkSlot> {
        self.machine = None;
        self.plane = None;
        self.backlog = None;
        self.wake_at = None;
        self.processor.clear();
        self.peers.clear();
        std::mem::take(&mut self.links).into_keys().collect()
    }

    /// What its peers learn when a link comes up.
    pub fn peer(&self) -> Peer {
        self.identity().peer()
    }

    fn identity(&self) -> Identity {
        Identity {
            mesh: "sim".into(),
            admission: self.admission.clone(),
            incarnation: self.named,
            addresses: self.told(),
            process: 0,
            version: "sim".to_string(),
            authority: self.authority,
            coordinators: self.coordinators.clone(),
            signer: Arc::new(self.signer()),
        }
    }
}
