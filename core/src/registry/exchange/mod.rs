//! The peer protocol: how nodes learn of one another, and look for who can do what.
//!
//! Hello and the sender's record on every link; announcements and updates, signed by their author,
//! flooded to [`FAN_OUT`] random neighbours of the region and as many of others at a time; heartbeats that go a few hops; requests whose
//! answers come back the way they went, so that a silent peer is answered without being found.
//!
//! **Silent peers.** A record with an address counts only where its author's own signature says that
//! it broadcasts. Every node that relays holds to that: what breaks it is neither kept nor passed
//! on, and is an offence of the neighbour who sent it, as that one had to check too. A silent peer
//! floods nothing but the withdrawal of a record that it once broadcast; its heartbeats and records
//! stay with its neighbours.
//!
//! **Flooding** after Demers et al., "Epidemic Algorithms" (PODC 1987), rumour mongering where a
//! node passes a rumour on once. With a fan-out of 3 about one node in seventeen is not reached; it
//! learns of the peer from lists. Signing, verifying and sending are the caller's ([`Keys`],
//! [`Effect`]): no key is in here. Start at [`PeerExchange`].

mod hearing;
mod listing;
mod message;
mod recent;
mod routes;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;

use super::{PeerInfo, Registry};
use crate::id::{MeshId, NodeId, ShortId};
use crate::rng::Rng;
use crate::time::{Now, Time};
use listing::{Known, Silenced};
pub use message::{
    AUTHORED_BYTES_MAX, Authored, Flood, Heartbeat, LIST_RECORDS_MAX, MESSAGE_BYTES_MAX, NAME_BYTES_MAX,
    PeerBody, PeerHello, PeerList, PeerMessage, Record, Request, Said, SaidKind,
};
use recent::Recent;
pub use recent::{SEEN_MAX, SEEN_PER_AUTHOR_MAX, WINDOW};
use routes::Routes;
pub use routes::{ANSWERS_MAX, REQUEST_TIMEOUT, ROUTES_MAX};

/// Neighbours of the own region to whom a node passes on what is flooded, and as many of other regions:
/// chosen among all alike, hardly anything would leave a region by a node with many links in it.
pub const FAN_OUT: usize = 3;
/// The highest TTL of all.
pub const TTL_MAX: u32 = 32;
/// The TTL of announcements and updates.
pub const RECORD_TTL: u32 = 32;
/// The TTL of requests.
pub const REQUEST_TTL: u32 = 16;
/// The TTL of heartbeats.
pub const HEARTBEAT_TTL: u32 = 2;
/// The time between two heartbeats, give or take a tenth.
pub const HEARTBEAT_EVERY: Duration = Duration::from_secs(30);
/// The least time between two publications of the own record.
pub const PUBLISH_EVERY: Duration = Duration::from_secs(60);
/// How long a record is believed after it was signed: a stolen old one is of no use for longer.
pub const RECORD_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
/// After which a node signs its record anew, though nothing changed; give or take a tenth.
pub const REFRESH_EVERY: Duration = Duration::from_secs(8 * 60 * 60);
/// Most neighbours; further ones hear nothing.
pub const NEIGHBOURS_MAX: usize = 256;
/// Most things that a node offers beside the capabilities of its record.
pub const OFFERS_MAX: usize = 4_096;
/// Versions of the peer protocol that are spoken, the lowest and the highest.
pub const VERSIONS: (u32, u32) = (1, 1);

/// Signs and verifies, under a context that is the peer protocol's alone.
pub trait Keys {
    /// This node's signature.
    fn sign(&self, message: &[u8]) -> [u8; 64];
    /// Whether `key` belongs to a node admitted to this mesh, and signed `message`.
    fn verify(&self, key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> Vouched;
}

/// What a signature is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vouched {
    /// An admitted node made it.
    Genuine,
    /// The node is admitted, and did not make it: whoever passes it on is at fault.
    Forged,
    /// Nobody here knows the node: news of it may be on its way, so this is nobody's fault.
    Stranger,
}

/// Where a neighbour is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// In this node's region.
    Near,
    /// In another one.
    Far,
}

/// What every step has: time, keys, and where its effects go, in order.
pub struct Step<'a> {
    /// The two clocks.
    pub now: Now,
    /// Who signs and verifies.
    pub keys: &'a dyn Keys,
    /// What is to be done.
    pub effects: &'a mut Vec<Effect>,
}

/// What the caller is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send an encoded [`PeerMessage`] to a neighbour, on its control lane.
    Send {
        /// The neighbour.
        to: ShortId,
        /// The message; the same bytes for all to whom it goes.
        message: Bytes,
    },
    /// The registry has a new record of this peer.
    Changed(NodeId),
    /// A neighbour broke the protocol; its reputation should fall.
    Offence {
        /// Who.
        neighbour: ShortId,
        /// How.
        kind: Offence,
    },
    /// No version of the protocol is spoken by both.
    Incompatible(ShortId),
    /// Records that answer a request; there may be more answers.
    Answer {
        /// What [`PeerExchange::request`] returned.
        request: u64,
        /// Peers that broadcast.
        records: Vec<PeerInfo>,
    },
    /// There will be no more answers to a request.
    Over(u64),
}

/// How a neighbour broke the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Offence {
    /// It sent what cannot be read, or is out of bounds.
    Malformed,
    /// A TTL above [`TTL_MAX`].
    Ttl,
    /// A signature that the node of that key did not make.
    Signature,
    /// Something said in another mesh.
    Foreign,
    /// A silent peer in a list, or with an address anywhere.
    SilentExposed,
    /// A hello in another's name.
    Impostor,
}

/// What somebody looks for. Service and blob are found among capabilities as `service:NAME` and
/// `blob:NAME`, and among what a node offers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Query {
    /// Who runs this service?
    Service(String),
    /// Who can do this?
    Capability(String),
    /// Who has the blob of this hash, in hexadecimal?
    Blob(String),
    /// Anybody: peers at random.
    Anybody,
}

/// Who a node is, and its bounds.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Its identity key.
    pub public_key: [u8; 32],
    /// Its mesh.
    pub mesh: MeshId,
    /// Peers that its registry holds at the most.
    pub capacity: usize,
    /// Whether an earlier life of it may have broadcast: if it is silent now, it says so to all.
    pub may_have_broadcast: bool,
    /// From the node's generator.
    pub seed: u64,
}

/// What happened and concerns nobody by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages seen before.
    pub duplicates: u64,
    /// Messages outside of the window, and records that are too old or replaced.
    pub stale: u64,
    /// What there was no room for.
    pub refused: u64,
    /// Kinds that are newer than this version.
    pub unknown: u64,
    /// Messages of authors who are not trusted.
    pub distrusted: u64,
    /// Lists that nobody waits for, any more or at all.
    pub unasked: u64,
    /// Messages passed on.
    pub relayed: u64,
    /// What authors said whom nobody here knows (yet).
    pub strangers: u64,
}

/// What a node says of itself, and when.
#[derive(Clone, Debug, Default)]
struct Own {
    /// What it would say now.
    info: Option<PeerInfo>,
    /// What it said last, and its signature.
    published: Option<(PeerInfo, Authored)>,
    revision: u64,
    published_at: Option<Time>,
    publish_at: Option<Time>,
    heartbeat_at: Option<Time>,
}

/// The peer protocol of one node, and the registry that it fills.
#[derive(Clone, Debug)]
pub struct PeerExchange {
    config: Config,
    me: ShortId,
    registry: Registry,
    /// Of each slot of the registry, the record's revision and proof.
    known: Vec<Known>,
    silenced: BTreeMap<ShortId, Silenced>,
    /// Neighbours of this region, and of others, each sorted.
    near: Vec<ShortId>,
    far: Vec<ShortId>,
    recent: Recent,
    routes: Routes,
    own: Own,
    offers: BTreeSet<Query>,
    rng: Rng,
    counters: Counters,
}

impl PeerExchange {
    /// A node that knows nobody and says nothing yet.
    pub fn new(config: Config) -> PeerExchange {
        let mut rng = Rng::new(config.seed);
        PeerExchange {
            me: NodeId::of_key(&config.public_key).short(),
            registry: Registry::new(config.capacity, rng.next_u64()),
            known: Vec::new(),
            silenced: BTreeMap::new(),
            near: Vec::new(),
            far: Vec::new(),
            recent: Recent::default(),
            routes: Routes::default(),
            own: Own::default(),
            offers: BTreeSet::new(),
            rng,
            counters: Counters::default(),
            config,
        }
    }

    /// Who is known.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// For what others saw of a peer: status, round trip times, reputation, contacts.
    pub fn registry_mut(&mut self) -> &mut Registry {
        &mut self.registry
    }

    /// What happened so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Says from now on that this node is `info`; out at once, but a minute after the last change.
    ///
    /// # Errors
    /// [`super::BadInfo`], and then nothing was changed.
    pub fn announce(&mut self, step: &mut Step<'_>, mut info: PeerInfo) -> Result<(), super::BadInfo> {
        info.public_key = self.config.public_key;
        if !info.broadcast {
            info.addresses = Box::default();
        }
        info.check()?;
        self.own.info = Some(info);
        let now = step.now.mono;
        if self.own.heartbeat_at.is_none() {
            // Anywhere in the first interval: nodes that start together do not beat together.
            let wait = self.rng.below(HEARTBEAT_EVERY.as_nanos() as u64);
            self.own.heartbeat_at = Some(now + Duration::from_nanos(wait));
        }
        let is_news = self.own.published.as_ref().map(|(said, _)| said) != self.own.info.as_ref();
        let due = self.own.published_at.map_or(now, |at| at + PUBLISH_EVERY);
        if is_news && due <= now {
            self.publish(step);
        } else if is_news {
            self.own.publish_at = Some(due);
        } else if let Some(at) = self.own.published_at {
            // It changed and changed back.
            self.own.publish_at = Some(at + self.rng.jitter(REFRESH_EVERY, 0.1));
        }
        Ok(())
    }

    /// Answers requests for `query` with this node's own record, while it broadcasts; false where it
    /// offers too much already.
    pub fn offer(&mut self, query: Query) -> bool {
        let is_known = self.offers.contains(&query);
        let has_room = self.offers.len() < OFFERS_MAX && query.is_bounded();
        is_known || (has_room && self.offers.insert(query))
    }

    /// Offers `query` no longer.
    pub fn withdraw(&mut self, query: &Query) -> bool {
        self.offers.remove(query)
    }

    /// A link to `neighbour`, whom the transport verified, is up: greets it, and asks it for peers.
    /// False where there are too many.
    pub fn link_up(&mut self, step: &mut Step<'_>, neighbour: ShortId, reach: Reach) -> bool {
        self.link_down(neighbour);
        if self.near.len() + self.far.len() >= NEIGHBOURS_MAX {
            self.counters.refused += 1;
            return false;
        }
        let side = if reach == Reach::Near { &mut self.near } else { &mut self.far };
        if let Err(place) = side.binary_search(&neighbour) {
            side.insert(place, neighbour);
        }
        let (version_low, version_high) = VERSIONS;
        let record = self.own.published.as_ref().map(|(_, authored)| authored.clone());
        let hello = PeerHello { version_low, version_high, features: 0, record };
        let message = PeerMessage::bytes_of(PeerBody::Hello(hello));
        step.effects.push(Effect::Send { to: neighbour, message });
        let request = self.rng.next_u64();
        if self.routes.open((self.me, request), None, step.now.mono) {
            let authored = self.ask(step, request, &Query::Anybody, LIST_RECORDS_MAX);
            let message = PeerMessage::bytes_of(PeerBody::Flood(Flood { authored: Some(authored), ttl: 0 }));
            step.effects.push(Effect::Send { to: neighbour, message });
        }
        true
    }

    /// The link to `neighbour` is gone.
    pub fn link_down(&mut self, neighbour: ShortId) {
        for side in [&mut self.near, &mut self.far] {
            if let Ok(place) = side.binary_search(&neighbour) {
                side.remove(place);
            }
        }
    }

    fn is_neighbour(&self, id: ShortId) -> bool {
        self.near.binary_search(&id).is_ok() || self.far.binary_search(&id).is_ok()
    }

    /// Looks for at most `count` peers (held to 1-[`LIST_RECORDS_MAX`]): in the own table first, and
    /// if there are too few, among everyone. Answers come as [`Effect::Answer`], the end as
    /// [`Effect::Over`]. `None` where too many requests are open or the name is too long.
    pub fn request(&mut self, step: &mut Step<'_>, query: &Query, count: usize) -> Option<u64> {
        let count = count.clamp(1, LIST_RECORDS_MAX);
        let request = self.rng.next_u64();
        if !query.is_bounded() || !self.routes.open((self.me, request), None, step.now.mono) {
            self.counters.refused += 1;
            return None;
        }
        let records = self.local_answer(query, count);
        let is_enough = records.len() >= count;
        if !records.is_empty() {
            step.effects.push(Effect::Answer { request, records });
        }
        if is_enough {
            self.routes.close((self.me, request));
            step.effects.push(Effect::Over(request));
        } else {
            let authored = self.ask(step, request, query, count);
            self.flood(step, authored, REQUEST_TTL, &[]);
        }
        Some(request)
    }

    /// Does what is due; a call before [`PeerExchange::deadline`] does nothing.
    pub fn wake(&mut self, step: &mut Step<'_>) {
        let now = step.now.mono;
        if self.own.publish_at.is_some_and(|at| at <= now) {
            self.publish(step);
        }
        if self.own.heartbeat_at.is_some_and(|at| at <= now) {
            self.own.heartbeat_at = Some(now + self.rng.jitter(HEARTBEAT_EVERY, 0.1));
            let is_public = self.own.info.as_ref().is_some_and(|info| info.broadcast);
            let ttl = if is_public { HEARTBEAT_TTL } else { 0 };
            let authored = self.say(step, None, SaidKind::Heartbeat(Heartbeat {}));
            self.flood(step, authored, ttl, &[]);
        }
        for (asker, request) in self.routes.expire(now) {
            if asker == self.me {
                step.effects.push(Effect::Over(request));
            }
        }
        self.prune(now);
    }

    /// When [`PeerExchange::wake`] has something to do.
    pub fn deadline(&self) -> Option<Time> {
        let own = [self.own.publish_at, self.own.heartbeat_at];
        let tables = [self.routes.next(), self.registry.next_stale()];
        own.into_iter().chain(tables).flatten().min()
    }

    /// Signs what the node is now, and tells whoever may hear of it.
    fn publish(&mut self, step: &mut Step<'_>) {
        let Some(info) = self.own.info.clone() else { return };
        let was_public = match &self.own.published {
            Some((said, _)) => said.broadcast,
            None => self.config.may_have_broadcast,
        };
        let is_first = self.own.published.is_none();
        self.own.revision = (self.own.revision + 1).max(step.now.wall.as_millis());
        let record = Record::of(&info, self.own.revision);
        let kind = if is_first { SaidKind::Announcement(record) } else { SaidKind::Update(record) };
        let authored = self.say(step, None, kind);
        if info.broadcast || was_public {
            self.flood(step, authored.clone(), RECORD_TTL, &[]);
        }
        if !info.broadcast {
            let message = Flood { authored: Some(authored.clone()), ttl: 0 };
            let message = PeerMessage::bytes_of(PeerBody::Flood(message));
            let to_all = self
                .near
                .iter()
                .chain(&self.far)
                .map(|to| Effect::Send { to: *to, message: message.clone() });
            step.effects.extend(to_all);
        }
        self.own.published = Some((info, authored));
        self.own.published_at = Some(step.now.mono);
        self.own.publish_at = Some(step.now.mono + self.rng.jitter(REFRESH_EVERY, 0.1));
    }

    /// A signed request.
    fn ask(&mut self, step: &Step<'_>, request: u64, query: &Query, count: usize) -> Authored {
        let (by, name) = query.to_wire();
        let kind = Request { by, name: name.to_string(), count: count as u32 };
        self.say(step, Some(request), SaidKind::Request(kind))
    }

    /// Signs something under a number, drawn where none is given.
    fn say(&mut self, step: &Step<'_>, id: Option<u64>, kind: SaidKind) -> Authored {
        let said = Said {
            author: Bytes::copy_from_slice(&self.config.public_key),
            mesh: self.config.mesh.0,
            id: id.unwrap_or_else(|| self.rng.next_u64()),
            wall_ms: step.now.wall.as_millis(),
            kind: Some(kind),
        };
        let said = said.to_bytes();
        let signature = Bytes::copy_from_slice(&step.keys.sign(&said));
        Authored { said, signature }
    }

    /// Sends to [`FAN_OUT`] random neighbours of each side that are not in `except`.
    fn flood(&mut self, step: &mut Step<'_>, authored: Authored, ttl: u32, except: &[ShortId]) {
        let message = PeerMessage::bytes_of(PeerBody::Flood(Flood { authored: Some(authored), ttl }));
        for side in [&self.near, &self.far] {
            // Enough draws that those left out cannot be missing.
            let drawn = self.rng.choose_multiple(side.len(), FAN_OUT + except.len());
            let to = drawn.into_iter().map(|place| side[place]);
            let to = to.filter(|to| !except.contains(to)).take(FAN_OUT);
            step.effects.extend(to.map(|to| Effect::Send { to, message: message.clone() }));
        }
    }
}

impl Query {
    fn is_bounded(&self) -> bool {
        self.to_wire().1.len() <= NAME_BYTES_MAX
    }

    fn to_wire(&self) -> (u32, &str) {
        match self {
            Query::Service(name) => (1, name),
            Query::Capability(name) => (2, name),
            Query::Blob(hash) => (3, hash),
            Query::Anybody => (4, ""),
        }
    }

    /// `None` for a kind newer than this version.
    fn from_wire(by: u32, name: String) -> Option<Query> {
        match by {
            1 => Some(Query::Service(name)),
            2 => Some(Query::Capability(name)),
            3 => Some(Query::Blob(name)),
            4 => Some(Query::Anybody),
            _ => None,
        }
    }
}
