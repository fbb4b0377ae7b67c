//! The peer protocol beside membership: what a node says of itself, what it knows of others, and whom it
//! names to who looks for a service, a capability or a blob.
//!
//! Membership says who is admitted, linked, alive and banned; the [`PeerExchange`] says where peers can
//! be dialled and what they offer, in their own signed words. It goes over own links alone: a message on
//! a relayed link would pass nodes that hold to nothing. What membership and the transport know of a peer,
//! its standing, conduct and round trips, is carried into the registry, so that lists begin with the best.

mod asking;
mod presence;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use crate::conduct;
use crate::id::{NodeId, RegionId, ShortId};
use crate::identity::{Context, Signature};
use crate::limits;
use crate::machine::{LinkSlot, Outbox};
use crate::membership::detector::{Counts, Standing};
use crate::membership::{Fact, Identity, Known, Neighbours, PEERS_MAX};
use crate::registry::exchange::{Config, Effect, Keys, Offence, PeerExchange, Query, Reach, Step, Vouched};
use crate::registry::{PeerInfo, PeerStatus, Reputation};
use crate::time::{Now, Time};
use crate::wire::message::ControlBody;
use crate::wire::request::Counter;

use asking::Asked;
pub use presence::Presence;

/// A node says who it is so long after its first link is up: those who hear it need its admission, and
/// news of that are on their way.
const ANNOUNCE_AFTER: Duration = Duration::from_secs(2);
/// The least time between two looks at what membership knows.
const SYNC_SPACING: Duration = Duration::from_secs(1);
/// How often it looks though nothing changed: reputations heal with time.
const SYNC_INTERVAL: Duration = Duration::from_secs(30);
/// The least time between two round trips of a peer that are taken.
const MEASURE_SPACING: Duration = Duration::from_secs(5);
/// Wakes of the exchange in one step; each prunes some peers, and there are no more than it holds.
const WAKES_MAX: usize = PEERS_MAX;

/// The peer protocol of a node.
#[derive(Debug)]
pub struct Peering {
    exchange: PeerExchange,
    region: RegionId,
    info: PeerInfo,
    announce_at: Option<Time>,
    has_announced: bool,
    /// When it was looked at membership last, and what that was then.
    synced: Option<(Time, u64, Counts)>,
    sync_at: Option<Time>,
    measured_at: Option<Time>,
    effects: Vec<Effect>,
    asked: BTreeMap<u64, Asked>,
}

/// Signs for this node, and verifies for those that membership knows.
struct NodeKeys<'a>(&'a Neighbours);

impl Keys for NodeKeys<'_> {
    fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.me().signer.sign(Context::Peer, message).0
    }

    fn verify(&self, key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> Vouched {
        let node = NodeId::of_key(key);
        let known = self.0.get(node.short()).filter(|known| known.node == node);
        let Some(known) = known.filter(|_| !self.0.is_convicted(node.short())) else {
            return Vouched::Stranger;
        };
        match known.key().verify(Context::Peer, message, &Signature(*signature)) {
            true => Vouched::Genuine,
            false => Vouched::Forged,
        }
    }
}

impl Peering {
    /// A node that nobody is linked with yet, and that broadcasts and offers nothing.
    pub fn new(me: &Identity, seed: u64) -> Peering {
        let public_key = me.admission.key.0;
        let config = Config {
            public_key,
            mesh: me.admission.mesh,
            capacity: PEERS_MAX,
            may_have_broadcast: me.incarnation > 1,
            seed: seed ^ 0x9EE8,
        };
        Peering {
            exchange: PeerExchange::new(config),
            region: me.region(),
            info: Presence::default().info(public_key, &me.version, me.region()),
            announce_at: None,
            has_announced: false,
            synced: None,
            sync_at: None,
            measured_at: None,
            effects: Vec::new(),
            asked: BTreeMap::new(),
        }
    }

    /// Says this of the node from its announcement on.
    pub fn set_presence(&mut self, presence: Presence) {
        let PeerInfo { public_key, version, region, .. } = &self.info;
        self.info = presence.info(*public_key, version, *region);
        for hash in presence.blobs {
            // Settings name fewer than may be offered.
            self.exchange.offer(Query::Blob(hash));
        }
    }

    /// Something changed about a peer.
    pub fn on_fact(&mut self, now: Now, fact: &Fact, neighbours: &Neighbours, out: &mut Outbox) {
        match *fact {
            Fact::Up(id, link) if !link.is_relayed() => {
                let Some(known) = neighbours.get(id) else { return };
                if !self.has_announced {
                    self.announce_at.get_or_insert(now.mono + ANNOUNCE_AFTER);
                }
                self.exchange.registry_mut().observe_contact(&known.node, true);
                let reach = if known.region() == self.region { Reach::Near } else { Reach::Far };
                self.step(now, neighbours, |exchange, step| {
                    // One more neighbour than there may be hears nothing, and is counted.
                    exchange.link_up(step, id, reach);
                });
                self.follow(neighbours, out);
            }
            Fact::Down(id, link) if !link.is_relayed() => self.exchange.link_down(id),
            Fact::Lost(id) => {
                if let Some(known) = neighbours.get(id) {
                    self.exchange.registry_mut().observe_contact(&known.node, false);
                }
            }
            Fact::Up(..)
            | Fact::Down(..)
            | Fact::Returned(..)
            | Fact::Back(..)
            | Fact::Met(_)
            | Fact::Apart(_)
            | Fact::Convicted(_) => {}
        }
    }

    /// A neighbour sent a message of the peer protocol.
    pub fn hear(
        &mut self,
        now: Now,
        link: LinkSlot,
        bytes: Bytes,
        neighbours: &mut Neighbours,
        out: &mut Outbox,
    ) -> Vec<Fact> {
        let Some((from, _)) = neighbours.at(link).filter(|_| !link.is_relayed()) else { return Vec::new() };
        self.step(now, neighbours, |exchange, step| exchange.hear(step, from, bytes));
        let changed = self.effects.iter().filter_map(|effect| match effect {
            Effect::Changed(node) => Some(*node),
            _ => None,
        });
        for node in changed.collect::<Vec<_>>() {
            self.sync_one(now, &node, neighbours);
        }
        let offences = self.follow(neighbours, out);
        self.answer(now, neighbours, out);
        offences.into_iter().flat_map(|kind| neighbours.offended(now, link, weighed(kind), out)).collect()
    }

    /// The transport says how long round trips over links take: who is measured answered.
    pub fn on_distances(&mut self, now: Now, distances: &[(LinkSlot, Duration)], neighbours: &Neighbours) {
        if self.measured_at.is_some_and(|at| now.mono.since(at) < MEASURE_SPACING) {
            return;
        }
        self.measured_at = Some(now.mono);
        let registry = self.exchange.registry_mut();
        for (link, rtt) in distances {
            let Some((_, known)) = neighbours.at(*link) else { continue };
            if registry.observe_rtt(&known.node, *rtt) {
                registry.observe_contact(&known.node, true);
            }
        }
    }

    /// Everything that is due: announcement, heartbeat, answers, and what membership knows.
    pub fn wake(&mut self, now: Now, neighbours: &Neighbours, out: &mut Outbox) {
        if self.announce_at.take_if(|at| *at <= now.mono).is_some() {
            self.has_announced = true;
            let info = self.info.clone();
            self.step(now, neighbours, |exchange, step| {
                exchange.announce(step, info).expect("a presence is within the bounds of a record");
            });
        }
        for _ in 0..WAKES_MAX {
            if self.exchange.deadline().is_none_or(|due| due > now.mono) {
                break;
            }
            self.step(now, neighbours, |exchange, step| exchange.wake(step));
        }
        self.follow(neighbours, out);
        self.sync(now, neighbours);
        self.answer(now, neighbours, out);
    }

    /// When [`Peering::wake`] is wanted.
    pub fn deadline(&self) -> Option<Time> {
        let asked = self.asked.values().map(|asked| asked.until).min();
        [self.announce_at, self.sync_at, asked, self.exchange.deadline()].into_iter().flatten().min()
    }

    /// What happened in the peer protocol, for people.
    pub fn counters(&self) -> impl Iterator<Item = Counter> {
        let counters = self.exchange.counters();
        let named = [
            ("known", self.exchange.registry().len() as u64),
            ("relayed", counters.relayed),
            ("duplicates", counters.duplicates),
            ("stale", counters.stale),
            ("refused", counters.refused),
            ("strangers", counters.strangers),
            ("distrusted", counters.distrusted),
            ("unasked", counters.unasked),
        ];
        named.into_iter().map(|(name, value)| Counter { name: format!("peers.{name}"), value })
    }

    /// Asserts that tables agree and are bounded.
    ///
    /// # Panics
    /// Where they are not: a fault of this module.
    pub fn check(&self) {
        self.exchange.registry().check();
        assert!(self.asked.len() <= limits::PEERS_ASKED_MAX, "more questions than may wait");
    }

    fn step(
        &mut self,
        now: Now,
        neighbours: &Neighbours,
        act: impl FnOnce(&mut PeerExchange, &mut Step<'_>),
    ) {
        let keys = NodeKeys(neighbours);
        act(&mut self.exchange, &mut Step { now, keys: &keys, effects: &mut self.effects });
    }

    /// Does what the exchange wants; returns what the neighbour that was heard did wrong.
    fn follow(&mut self, neighbours: &Neighbours, out: &mut Outbox) -> Vec<Offence> {
        let mut offences = Vec::new();
        let mut sent: Option<(Vec<LinkSlot>, Bytes)> = None;
        for effect in std::mem::take(&mut self.effects) {
            match effect {
                Effect::Send { to, message } => {
                    let link = neighbours.get(to).and_then(|known| known.link);
                    let Some(link) = link.filter(|link| !link.is_relayed()) else { continue };
                    // What goes to several at once is encoded once.
                    match &mut sent {
                        Some((links, same)) if *same == message => links.push(link),
                        other => flush(other.replace((vec![link], message)), out),
                    }
                }
                Effect::Offence { kind, .. } => offences.push(kind),
                Effect::Answer { request, records } => {
                    if let Some(asked) = self.asked.get_mut(&request) {
                        asked.found.extend(records.iter().map(PeerInfo::id));
                        asked.is_news = true;
                    }
                }
                Effect::Over(request) => {
                    if let Some(asked) = self.asked.get_mut(&request) {
                        asked.is_over = true;
                    }
                }
                // Whoever speaks no version of ours is a neighbour of whom nothing is known.
                Effect::Changed(_) | Effect::Incompatible(_) => {}
            }
        }
        flush(sent, out);
        offences
    }

    /// Carries into the registry what membership knows, where that changed or time has passed.
    fn sync(&mut self, now: Now, neighbours: &Neighbours) {
        let (changes, standings) = (neighbours.changes(), neighbours.standings());
        let is_changed = self.synced.is_none_or(|(_, links, held)| (links, held) != (changes, standings));
        let due = match self.synced {
            None => now.mono,
            Some((at, ..)) if is_changed => at + SYNC_SPACING,
            Some((at, ..)) => at + SYNC_INTERVAL,
        };
        if due > now.mono {
            self.sync_at = Some(due).filter(|_| !self.exchange.registry().is_empty());
            return;
        }
        self.synced = Some((now.mono, changes, standings));
        let known: Vec<NodeId> = self.exchange.registry().iter().map(|(_, record)| record.id).collect();
        self.sync_at = (!known.is_empty()).then_some(now.mono + SYNC_INTERVAL);
        for node in known {
            self.sync_one(now, &node, neighbours);
        }
    }

    fn sync_one(&mut self, now: Now, node: &NodeId, neighbours: &Neighbours) {
        let Some(known) = neighbours.get(node.short()) else { return };
        let standing = neighbours.standing_of(known);
        let status = match standing {
            Standing::Alive => PeerStatus::Alive,
            Standing::Suspect => PeerStatus::Suspect,
            Standing::Dead => PeerStatus::Dead,
            Standing::Left => PeerStatus::Left,
        };
        let is_trusted = !known.is_banned() && !neighbours.is_convicted(node.short());
        let millionths = neighbours.reputation(now, node.short()).millionths();
        let reputation = Reputation::from_millionths(if is_trusted { millionths } else { 0 });
        if standing == Standing::Alive && is_vouched_for(known, self.region) {
            self.exchange.alive(now.mono, node);
        }
        let registry = self.exchange.registry_mut();
        registry.set_status(node, status);
        registry.set_reputation(node, reputation);
    }
}

/// Whether membership knows that it lives: of nodes elsewhere without a link it only has heard.
fn is_vouched_for(known: &Known, region: RegionId) -> bool {
    known.link.is_some() || known.region() == region
}

fn flush(sent: Option<(Vec<LinkSlot>, Bytes)>, out: &mut Outbox) {
    if let Some((links, message)) = sent {
        out.send_to_all(&links, ControlBody::PeerMessage(message));
    }
}

/// How an offence of the peer protocol weighs. That somebody names a silent peer happens to who did not
/// hear that it withdrew; all else no honest node passes on.
fn weighed(kind: Offence) -> conduct::Offence {
    match kind {
        Offence::Malformed | Offence::Ttl | Offence::Foreign | Offence::Impostor => {
            conduct::Offence::MalformedFrame
        }
        Offence::Signature => conduct::Offence::InvalidSignature,
        Offence::SilentExposed => conduct::Offence::RefusedStatement,
    }
}

/// The name of a node of which `id` is the short one, if the mesh knows it.
fn name_of(id: ShortId, neighbours: &Neighbours) -> (String, String) {
    let me = &neighbours.me().admission;
    let admission = match neighbours.get(id) {
        Some(known) => &known.admission,
        None if id == me.node().short() => me,
        None => return (id.to_string(), String::new()),
    };
    (admission.name.to_string(), admission.region.to_string())
}

#[cfg(test)]
mod tests;
