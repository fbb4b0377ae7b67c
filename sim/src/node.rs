//! A simulated node: how its machine is made, and what it put out.

use std::collections::BTreeMap;

use starling_aggregator::Aggregator;
use starling_coordinator::Coordinator;
use starling_core::event::Event;
use starling_core::hot::own::Publication;
use starling_core::hot::view::View;
use starling_core::id::{MeshId, RegionId, ShortId};
use starling_core::identity::{Admission, Roles, SecretKey, Signature, VerifyKey};
use starling_core::machine::{ConnectionSlot, Destination, LinkSlot, Machine, Peer};
use starling_core::membership::Identity;
use starling_core::time::Now;
use starling_core::wire::request::Say;
use starling_edge::Edge;

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

/// A system update as one connection got it: its index and the agents told.
pub type Told = (u64, ConnectionSlot, Vec<u32>);

/// Everything that a node's machine put out and that does not travel to other nodes, in order.
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
}

/// A node, running or not.
pub struct Node {
    /// What it is.
    pub plan: Plan,
    /// Its identity key.
    pub key: SecretKey,
    /// Its incarnation, 1 at first.
    pub incarnation: u64,
    /// What it put out in this incarnation.
    pub record: Record,
    pub(crate) machine: Option<Box<dyn Machine>>,
    /// Links with the index of the node at the other end.
    pub(crate) links: BTreeMap<LinkSlot, usize>,
    admission: Admission,
    authority: VerifyKey,
}

impl Node {
    pub(crate) fn new(plan: Plan, index: usize, authority: &SecretKey) -> Node {
        let mut seed = [7; 32];
        seed[..8].copy_from_slice(&(index as u64 + 1).to_le_bytes());
        let key = SecretKey::from_seed(seed);
        let label = |text: &str| text.parse().expect("plans name regions and nodes in lower case");
        let admission = Admission {
            mesh: MeshId(0),
            key: key.public(),
            roles: plan.roles,
            region: label(&plan.region),
            name: label(&plan.name),
            not_before_seconds: 0,
            not_after_seconds: u64::MAX,
            signature: Signature([0; 64]),
        };
        let admission = admission.signed_by(authority);
        let authority = VerifyKey::new(&authority.public()).expect("a key made from a seed is good");
        let (record, links) = (Record::default(), BTreeMap::new());
        Node { plan, key, incarnation: 0, record, machine: None, links, admission, authority }
    }

    /// Its short id.
    pub fn id(&self) -> ShortId {
        self.admission.node().short()
    }

    /// Its region.
    pub fn region(&self) -> RegionId {
        self.admission.region_id()
    }

    /// Whether it runs.
    pub fn is_running(&self) -> bool {
        self.machine.is_some()
    }

    /// The nodes at the other ends of its links.
    pub fn linked(&self) -> Vec<usize> {
        self.links.values().copied().collect()
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

    pub(crate) fn start(&mut self, now: Now) {
        self.incarnation += 1;
        self.record = Record::default();
        let me = Identity {
            mesh: "sim".into(),
            admission: self.admission.clone(),
            incarnation: self.incarnation,
            addresses: vec![self.plan.name.clone()],
            process: 0,
            version: "sim".to_string(),
            authority: self.authority,
        };
        let (seeds, seed) = (self.plan.seeds.clone(), self.id().0 ^ self.incarnation);
        self.machine = Some(match self.plan.roles {
            Roles::EDGE => Box::new(Edge::new(me, &self.key, seeds, seed, now)),
            Roles::AGGREGATOR => Box::new(Aggregator::new(me, seeds, seed)),
            _ => Box::new(Coordinator::new(me, self.key.clone(), seeds, seed)),
        });
    }

    /// What its peers learn when a link comes up.
    pub fn peer(&self) -> Peer {
        Peer {
            admission: self.admission.clone(),
            incarnation: self.incarnation,
            addresses: vec![self.plan.name.clone()],
            process: 0,
            version: "sim".to_string(),
        }
    }
}
