//! The keyspaces of all nodes at every edge and aggregator.
//!
//! What a node writes leaves at once, as a signed bundle of class state: from its origin to the nodes
//! of its region, from there by the aggregators to other regions, and by theirs to their edges. What a
//! push does not reach is repaired: each node shows the root of its replica to a peer now and then, to
//! near ones oftener ([`Nearness`]), and to everyone who is linked anew. Where roots differ the two tell each other their versions
//! and send what the other lacks. Only signed bundles travel, so a node can speak for itself alone,
//! and for each origin the bundles since its last checkpoint are kept for that.
//!
//! Every replica that has the same bundles reads the same values, whatever way they came.

mod kept;
mod lags;
mod partner;
pub mod sealing;
mod writer;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::conduct::{Offence, Opening, Proof};
use crate::event::Event;
use crate::hash::rendezvous;
use crate::hlc;
use crate::hot::Report;
use crate::id::{RegionId, ShortId};
use crate::identity::{Roles, VerifyKey};
use crate::machine::{ConnectionSlot, LinkSlot, Outbox, Output};
use crate::membership::{Identity, Known, Neighbours};
use crate::node::nearness::Nearness;
use crate::rng::Rng;
use crate::state::crdt::Value;
use crate::state::keyspace::{Applied, Refused};
use crate::state::replica::Replica;
use crate::state::version::{Version, VersionVector};
use crate::time::{Now, Time};
use crate::wire::bundle::Bundle;
use crate::wire::codec::Wire;
use crate::wire::message::{Compare, ControlBody, Versions};
use crate::wire::request::{Counter, KeyChange, LagView, RefusedCode, Say};

use kept::Kept;
use lags::Lags;
use partner::Partner;
use writer::{Write, Writer};

/// How often a node compares with a peer while something changes.
const COMPARE_INTERVAL: Duration = Duration::from_millis(500);
/// The same once nothing has changed for some time.
const QUIET_INTERVAL: Duration = Duration::from_secs(4);
/// The least time between two exchanges with peers that are linked anew, or that differ.
const SPACING: Duration = Duration::from_millis(50);
/// What is younger is on its way by the push, and not repaired yet.
const SETTLE: Duration = Duration::from_secs(2);
/// Origins in one message; a message with so many has 48 KB.
const LISTED_MAX: usize = 2_000;

/// This node's replica, and what brings it to that of others.
#[derive(Debug)]
pub struct Replication {
    me: ShortId,
    region: RegionId,
    /// Whether it passes bundles on between regions.
    relays: bool,
    replica: Replica,
    kept: BTreeMap<ShortId, Kept>,
    writer: Option<Writer>,
    partners: BTreeMap<LinkSlot, Partner>,
    lags: Lags,
    /// Partners to compare with before others, one at a time: each would send the same.
    soon: BTreeSet<LinkSlot>,
    /// When versions were told last.
    told: Option<Time>,
    rng: Rng,
    interval: Duration,
    next: Time,
}

impl Replication {
    /// The replica of an edge, whose agents write: it signs with `key`.
    pub fn of_writer(identity: &Identity, seed: u64) -> Replication {
        let me = identity.me();
        let writer = Some(Writer::new(me, Arc::clone(&identity.signer)));
        Replication { writer, ..Replication::new(me.id, me.region, seed) }
    }

    /// The replica of an aggregator, which passes on what others write.
    pub fn of_relay(me: ShortId, region: RegionId, seed: u64) -> Replication {
        Replication { relays: true, ..Replication::new(me, region, seed) }
    }

    fn new(me: ShortId, region: RegionId, seed: u64) -> Replication {
        Replication {
            me,
            region,
            relays: false,
            replica: Replica::new(),
            kept: BTreeMap::new(),
            writer: None,
            partners: BTreeMap::new(),
            lags: Lags::default(),
            soon: BTreeSet::new(),
            told: None,
            rng: Rng::new(seed),
            interval: COMPARE_INTERVAL,
            next: Time::ZERO,
        }
    }

    /// The value of a key, merged over all nodes.
    pub fn read(&self, key: &str) -> Option<Value> {
        self.replica.get(key.as_bytes())
    }

    /// Writes a key for who asked by (connection, request); the answer comes with the next bundle.
    ///
    /// # Errors
    /// The refusal; nothing was changed.
    pub fn write(
        &mut self,
        now: Now,
        from: (ConnectionSlot, u64),
        key: &str,
        change: &KeyChange,
    ) -> Result<(), Box<Say>> {
        match &mut self.writer {
            Some(writer) => {
                let write = Write { from, key: key.to_owned(), change: change.clone() };
                writer.write(now, &self.replica, write)
            }
            None => Err(Box::new(RefusedCode::NotHere.because("this node hosts no agents; ask an edge"))),
        }
    }

    /// A peer that has a replica is linked. Of the two the one with the smaller id shows its root.
    pub fn link_up(&mut self, now: Now, peer: ShortId, link: LinkSlot) {
        if self.partners.is_empty() {
            self.next = now.mono + COMPARE_INTERVAL;
        }
        self.partners.insert(link, Partner::new(now, peer));
        if let Some(writer) = &mut self.writer {
            writer.link_up(now);
        }
        if self.me < peer {
            self.compare_soon(now, link);
        }
    }

    /// A link is gone.
    pub fn link_down(&mut self, link: LinkSlot) {
        if let Some(partner) = self.partners.remove(&link) {
            self.lags.forget_peer(partner.peer);
        }
        self.soon.remove(&link);
    }

    fn compare_soon(&mut self, now: Now, link: LinkSlot) {
        self.soon.insert(link);
        self.hurry(now);
        self.next = self.next.min(now.mono + SPACING);
    }

    fn heard(&mut self, version: Version) {
        if let Some(writer) = &mut self.writer {
            writer.heard(version);
        }
    }

    fn compare(&mut self, link: LinkSlot, out: &mut Outbox) {
        if let Some(partner) = self.partners.get_mut(&link) {
            partner.has_seen_root = true;
        }
        let root = Bytes::copy_from_slice(&self.replica.root());
        out.send(link, ControlBody::Compare(Compare { root }));
    }

    /// Something changes: compare often.
    fn hurry(&mut self, now: Now) {
        self.interval = COMPARE_INTERVAL;
        self.next = self.next.min(now.mono + COMPARE_INTERVAL);
    }

    /// A peer shows its root.
    pub fn on_compare(&mut self, now: Now, link: LinkSlot, compare: &Compare, out: &mut Outbox) {
        let Some(partner) = self.partners.get(&link) else { return };
        let (peer, has_seen_root) = (partner.peer, partner.has_seen_root);
        if compare.root == self.replica.root()[..] {
            self.soon.remove(&link);
            self.lags.equal(now, peer);
            self.heard(Version::default());
            if !has_seen_root {
                // It waits for a first word too.
                self.compare(link, out);
            }
            return;
        }
        if self.told.is_some_and(|told| now.mono.since(told) < SPACING) {
            return self.compare_soon(now, link);
        }
        self.told = Some(now.mono);
        self.tell_versions(link, false, out);
        self.hurry(now);
    }

    fn tell_versions(&self, link: LinkSlot, is_answer: bool, out: &mut Outbox) {
        let all: Vec<(ShortId, Version)> = self.replica.versions().iter().collect();
        let mut from = 0;
        let mut parts = all.chunks(LISTED_MAX).peekable();
        loop {
            let part = parts.next().unwrap_or_default();
            let mut versions = VersionVector::new();
            for (origin, version) in part {
                versions.observe(*origin, *version).expect("fewer than the vector they come from has");
            }
            let last = parts.peek().is_none();
            let through = part.last().filter(|_| !last).map_or(u64::MAX, |(origin, _)| origin.0);
            let versions = versions.to_bytes();
            out.send(link, ControlBody::Versions(Versions { from, through, versions, is_answer }));
            if last {
                return;
            }
            from = through + 1;
        }
    }

    /// A peer tells its versions.
    pub fn on_versions(&mut self, now: Now, link: LinkSlot, told: &Versions, out: &mut Outbox) {
        let Some(partner) = self.partners.get_mut(&link) else { return };
        let Ok(theirs) = VersionVector::from_bytes(&told.versions) else {
            out.push(Output::HangUp { link, reason: "malformed versions" });
            return;
        };
        // Of a vector in parts none is the whole, and what a part leaves out is not lacking.
        if told.from == 0 && told.through == u64::MAX {
            self.lags.told(now, partner.peer, &theirs);
        }
        // What is young is on its way to who was linked when it was pushed.
        let is_new = now.mono.since(partner.since) < SETTLE;
        let until = if is_new { now.mono } else { Time(now.mono.0.saturating_sub(SETTLE.as_nanos() as u64)) };
        let missing = self.replica.versions().missing_from(&theirs).into_iter();
        let missing = missing.filter(|range| (told.from..=told.through).contains(&range.origin.0));
        let kept = missing.filter_map(|range| Some(self.kept.get(&range.origin)?.since(range.first, until)));
        for bundle in kept.flatten().take_while(|bundle| partner.may_send(now, bundle.len())) {
            out.push(Output::State { links: vec![link], bundle: Arc::clone(bundle) });
        }
        if (told.from..=told.through).contains(&self.me.0) {
            self.heard(theirs.get(self.me).unwrap_or_default());
        }
        if told.through == u64::MAX && !told.is_answer {
            self.tell_versions(link, true, out);
        }
        self.hurry(now);
    }

    /// A bundle came: verified, applied, kept, and passed on where that is this node's part. Returns what
    /// its origin, or who sent it, did wrong.
    pub fn on_bundle(
        &mut self,
        now: Now,
        link: LinkSlot,
        bundle: Box<Bundle>,
        neighbours: &Neighbours,
        out: &mut Outbox,
    ) -> Option<Report> {
        let origin = bundle.origin;
        if self.has(&bundle) || neighbours.is_convicted(origin) {
            return None;
        }
        if origin == self.me && bundle.incarnation >= neighbours.me().incarnation {
            let reason = "state of this very node that it did not write: its key is in use elsewhere";
            out.event(Event::Refused { peer: origin, reason });
            return None;
        }
        let (key, region) = self.origin(origin, neighbours)?;
        if !bundle.is_genuine(&key) {
            let peer = neighbours.at(link).map_or(origin, |(peer, _)| peer);
            out.event(Event::Refused { peer, reason: "a state bundle that its origin did not sign" });
            return Some(Report::Offence { from: link, offence: Offence::InvalidSignature });
        }
        let ahead = Duration::from_millis((bundle.clock >> 16).saturating_sub(now.wall.as_millis()));
        if ahead > hlc::AHEAD_MAX {
            out.event(Event::Refused {
                peer: origin,
                reason: "the clock of a state bundle is over 30 s ahead",
            });
            return None;
        }
        let bundle = Arc::new(*bundle);
        match self.apply(now, &bundle) {
            Ok(true) => {
                if let Some(writer) = &mut self.writer {
                    writer.observe(now, bundle.clock);
                }
                self.relay(link, region, &bundle, neighbours, out);
                self.hurry(now);
            }
            Ok(false) => {}
            Err(reason) => {
                out.event(Event::Refused { peer: origin, reason });
                return self.contradiction(&bundle).map(|proof| Report::Contradiction(Box::new(proof)));
            }
        }
        None
    }

    /// What convicts the origin of a bundle together with one that is kept of it, if anything does.
    fn contradiction(&self, bundle: &Bundle) -> Option<Proof> {
        let opened = Opening::of(&bundle.header).ok()?;
        let kept = self.kept.get(&bundle.origin)?.since(bundle.sequence.saturating_sub(1), Time(u64::MAX));
        let kept = kept.take_while(|kept| kept.sequence <= bundle.sequence);
        kept.filter_map(|kept| Proof::of_pair(Opening::of(&kept.header).ok()?, opened.clone())).next()
    }

    /// Nothing is believed of a node that was convicted: what it wrote is gone at every honest node alike.
    pub fn forget(&mut self, now: Now, origin: ShortId) {
        self.kept.remove(&origin);
        self.lags.forget_origin(origin);
        if self.replica.remove(origin) {
            self.hurry(now);
        }
    }

    /// Who an origin is: its key and region. This node hears from others what it wrote before it
    /// restarted.
    fn origin(&self, origin: ShortId, neighbours: &Neighbours) -> Option<(VerifyKey, RegionId)> {
        if origin == self.me {
            let me = neighbours.me();
            return me.authority.same_kind(&me.admission.key).map(|key| (key, self.region));
        }
        let known = neighbours.get(origin)?;
        Some((*known.key(), known.region()))
    }

    /// Whether a bundle brings nothing new. Another one under the sequence of the last is news.
    fn has(&self, bundle: &Bundle) -> bool {
        let Some(keyspace) = self.replica.keyspace(bundle.origin) else { return false };
        let (version, ours) = (sealing::version(bundle), keyspace.version());
        version < ours || version == ours && bundle.hash == keyspace.hash()
    }

    /// Makes the changes of a verified bundle; whether there were any. Why it is refused, if that is
    /// the origin's fault.
    fn apply(&mut self, now: Now, bundle: &Arc<Bundle>) -> Result<bool, &'static str> {
        let changes = sealing::open(bundle).map_err(|_| "a malformed state bundle")?;
        let kept = self.kept.entry(bundle.origin).or_default();
        if !bundle.is_checkpoint && !kept.has_room_for(bundle) {
            return Err("its state has no checkpoint for too long");
        }
        match self.replica.apply(bundle.origin, &sealing::state_bundle(bundle, &changes)) {
            Ok(Applied::Duplicate) => Ok(false),
            Ok(applied) => {
                self.lags.applied(now, bundle.origin, sealing::version(bundle));
                kept.push(now.mono, Arc::clone(bundle), applied == Applied::Replaced);
                Ok(true)
            }
            // The next comparison brings what is missing.
            Err(Refused::Gap(_) | Refused::OldIncarnation { .. }) => Ok(false),
            Err(Refused::Forked { .. } | Refused::BrokenChain { .. }) => {
                Err("it tells two stories of its state")
            }
            Err(Refused::TooManyOrigins) => Err("this replica knows as many origins as it may"),
            Err(
                Refused::SequenceZero
                | Refused::TooLarge { .. }
                | Refused::KeyLength { .. }
                | Refused::ForeignPart,
            ) => Err("its state breaks a limit"),
        }
    }

    /// Passes on what is new here: from the own region to one aggregator of each other; and what such a
    /// one brings, to the own region.
    fn relay(
        &self,
        from: LinkSlot,
        of: RegionId,
        bundle: &Arc<Bundle>,
        neighbours: &Neighbours,
        out: &mut Outbox,
    ) {
        let came_from = neighbours.at(from).map(|(_, known)| known.region());
        if !self.relays || of != self.region && came_from == Some(self.region) {
            return;
        }
        let mut push = |links: Vec<LinkSlot>| {
            if !links.is_empty() {
                out.push(Output::State { links, bundle: Arc::clone(bundle) });
            }
        };
        if of != self.region {
            return push(self.in_region(neighbours).collect());
        }
        let mut chosen: BTreeMap<RegionId, (u64, LinkSlot)> = BTreeMap::new();
        for (id, link, known) in neighbours.linked() {
            if known.region() != self.region && known.roles().has(Roles::AGGREGATOR) {
                let weight = (rendezvous(bundle.origin.0, id.0), link);
                let best = chosen.entry(known.region()).or_insert(weight);
                *best = weight.max(*best);
            }
        }
        push(chosen.into_values().map(|(_, link)| link).filter(|link| *link != from).collect());
    }

    /// Links to the nodes of this region that have a replica; also those that lead over others, with which
    /// nothing is compared.
    fn in_region(&self, neighbours: &Neighbours) -> impl Iterator<Item = LinkSlot> {
        let has_replica = |known: &Known| {
            let roles = known.roles();
            known.region() == self.region && (roles.has(Roles::EDGE) || roles.has(Roles::AGGREGATOR))
        };
        neighbours.linked().filter(move |(_, _, known)| has_replica(known)).map(|(_, link, _)| link)
    }

    /// Everything that is due: bundles of what was written, comparisons.
    /// `nearness` says whom this node compares with when nobody else is due.
    pub fn wake(&mut self, now: Now, neighbours: &Neighbours, nearness: &mut Nearness, out: &mut Outbox) {
        if let Some(writer) = &mut self.writer {
            writer.release(now, &self.replica, out);
        }
        self.seal(now, neighbours, out);
        if now.mono < self.next || self.partners.is_empty() {
            return;
        }
        if let Some(link) = self.soon.pop_first() {
            self.compare(link, out);
            self.next = now.mono + SPACING;
            return;
        }
        let turn = nearness.turn().and_then(|id| neighbours.get(id)?.link);
        if let Some(link) = turn.filter(|link| self.partners.contains_key(link)) {
            self.compare(link, out);
        }
        self.next = now.mono + self.rng.jitter(self.interval, 0.3);
        self.interval = (self.interval * 2).min(QUIET_INTERVAL);
    }

    fn seal(&mut self, now: Now, neighbours: &Neighbours, out: &mut Outbox) {
        let Some(writer) = &mut self.writer else { return };
        let wants_checkpoint = self.kept.get(&self.me).is_some_and(Kept::wants_checkpoint);
        let Some((bundle, changes)) = writer.seal(now, &self.replica, wants_checkpoint) else { return };
        let applied = self.replica.apply(self.me, &sealing::state_bundle(&bundle, &changes));
        let applied = applied.expect("what was written was checked against the keyspace's limits");
        let bundle = Arc::new(bundle);
        self.lags.applied(now, self.me, sealing::version(&bundle));
        let kept = self.kept.entry(self.me).or_default();
        kept.push(now.mono, Arc::clone(&bundle), applied == Applied::Replaced);
        writer.answer(out);
        let links: Vec<LinkSlot> = self.in_region(neighbours).collect();
        if !links.is_empty() {
            out.push(Output::State { links, bundle });
        }
        self.hurry(now);
    }

    /// How far a peer is behind, as of its last word; nothing where it said none.
    pub fn lag_of(&self, now: Now, peer: ShortId) -> Option<LagView> {
        self.lags.of(now, peer)
    }

    /// How far all peers are behind, for people.
    pub fn counters(&self, now: Now) -> impl Iterator<Item = Counter> + use<> {
        self.lags.counters(now)
    }

    /// When [`Replication::wake`] is wanted.
    pub fn deadline(&self) -> Option<Time> {
        let compare = (!self.partners.is_empty()).then_some(self.next);
        let seal = self.writer.as_ref().and_then(Writer::deadline);
        [compare, seal].into_iter().flatten().min()
    }

    /// Asserts that what is kept makes up the replica.
    ///
    /// # Panics
    /// Where it does not: a fault of this module.
    pub fn check(&self) {
        self.replica.check();
        self.lags.check();
        for keyspace in self.replica.keyspaces() {
            let kept = self.kept.get(&keyspace.origin()).expect("a keyspace came by bundles");
            let newest = kept.since(0, Time(u64::MAX)).last().map(|bundle| sealing::version(bundle));
            assert_eq!(newest, Some(keyspace.version()), "the newest bundle is kept");
        }
    }
}

/// A value as the answer to a client has it; nothing where there is none.
pub fn encoded(value: Option<Value>) -> Bytes {
    value.map(|value| value.to_bytes()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
