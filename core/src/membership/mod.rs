//! Whom a node knows, whom it is linked with, and whom it dials.
//!
//! Nodes learn of one another by [`Peers`](crate::wire::message::Peers) messages, which carry
//! admissions signed by the mesh's authority, so a record is believed whoever passes it on. News
//! travels on: a node tells its other links what it did not know. Links are wanted within a region,
//! between aggregators, and between aggregators and coordinators. Of a pair the one with the smaller id
//! dials; the other steps in when no link came about.
//!
//! A peer of the own region is **lost** when the region holds it for dead (`watching`); one of another
//! when its link fell silent for [`limits::LINK_TIMEOUT`], or was closed that long ago. Nothing is owed
//! to a lost peer any more.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;

use crate::event::Event;
use crate::hot::view::Me;
use crate::id::{NodeId, ShortId};
use crate::identity::{Admission, Roles};
use crate::limits;
use crate::machine::{LinkSlot, Outbox, Output, Peer};
use crate::rng::Rng;
use crate::time::{Now, Time};
use crate::wire::codec::Wire;
use crate::wire::message::PeerRecord;

pub mod detector;
mod dialling;
mod identity;
mod judging;
mod known;
mod news;
pub mod record;
mod relaying;
mod renewing;
mod rings;
mod roster;
mod showing;
mod telling;
mod watching;

use dialling::BACKOFF_FIRST;
use dialling::Seed;
pub use identity::Identity;
use judging::Judging;
use known::Dialling;
pub use known::Known;
use relaying::Relaying;
use renewing::Renewing;
use rings::Place;
use telling::Asked;
use watching::Watching;

/// Peers known at the most; further ones are not taken up.
pub const PEERS_MAX: usize = 4096;
/// How long the node with the greater id waits for the other to dial.
const PATIENCE: Duration = Duration::from_millis(1500);
/// How long a link that is not wanted is kept, so that both sides learn what the other knows.
const COURTESY: Duration = Duration::from_secs(1);
/// Nobody is held for dead sooner than this after it was heard last.
const DEATH_AFTER: Duration = Duration::from_secs(1);
/// How long a peer is remembered whose link is wanted and does not come about.
pub const FORGET_AFTER: Duration = Duration::from_secs(2 * 60 * 60);

/// What changed about a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// Its link is up.
    Up(ShortId, LinkSlot),
    /// Its link is down.
    Down(ShortId, LinkSlot),
    /// It has been away too long.
    Lost(ShortId),
    /// Its link is up, and it is the very incarnation that had been lost, since this time.
    Returned(ShortId, Time),
    /// Its link, down since this time, is up again; it was not lost meanwhile.
    Back(ShortId, Time),
    /// Its link is up, the first with this incarnation.
    Met(ShortId),
    /// It is of this region and out of reach for a while, also over others, and not held for dead; or it
    /// is lost after having been that. It may have held this node for dead, and kept nothing for it.
    Apart(ShortId),
    /// It is convicted: nothing of it is believed any more, what it said before included.
    Convicted(ShortId),
}

/// What changed of peers and links.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Changed {
    /// Nothing.
    #[default]
    Nothing,
    /// Links over others, or what passes here on its way over them: in a large region there are many, and
    /// they change in crowds.
    Relayed,
    /// Who is known, or links of their own.
    Own,
}

impl Changed {
    fn of(link: LinkSlot) -> Changed {
        if link.is_relayed() { Changed::Relayed } else { Changed::Own }
    }
}

/// The peers of a node.
#[derive(Debug)]
pub struct Neighbours {
    me: Identity,
    /// The same in short; both ids are hashes.
    own: Me,
    known: BTreeMap<ShortId, Known>,
    by_link: BTreeMap<LinkSlot, ShortId>,
    seeds: Vec<Seed>,
    news: BTreeSet<ShortId>,
    news_due: Option<Time>,
    asked: Asked,
    prune_due: Time,
    /// What [`Neighbours::deadline`] is until something changes: every input asks for it.
    due: Option<Option<Time>>,
    rng: Rng,
    watching: Watching,
    relaying: Relaying,
    place: Place,
    judging: Judging,
    renewing: Renewing,
    changed: Changed,
    /// How often that was taken note of.
    changes: u64,
}

impl Neighbours {
    /// A node that knows nobody but the addresses of `seeds`.
    pub fn new(me: Identity, seeds: Vec<String>, seed: u64) -> Neighbours {
        let seeds = seeds.into_iter().filter(|address| !me.listens_at(address));
        let dialling = || Dialling { next: Some(Time::ZERO), ..Dialling::default() };
        Neighbours {
            seeds: seeds.map(|address| Seed { address, is_given: true, dialling: dialling() }).collect(),
            watching: Watching::new(&me, seed),
            relaying: Relaying::default(),
            place: Place::new(me.short(), me.incarnation),
            judging: Judging::default(),
            renewing: Renewing::default(),
            own: me.me(),
            me,
            known: BTreeMap::new(),
            by_link: BTreeMap::new(),
            news: BTreeSet::new(),
            news_due: None,
            asked: Asked::default(),
            prune_due: Time::ZERO,
            due: None,
            rng: Rng::new(seed),
            changed: Changed::Own,
            changes: 0,
        }
    }

    /// Who this node is.
    pub fn me(&self) -> &Identity {
        &self.me
    }

    /// A peer by id.
    pub fn get(&self, id: ShortId) -> Option<&Known> {
        self.known.get(&id)
    }

    /// The peer at the other end of a link.
    pub fn at(&self, link: LinkSlot) -> Option<(ShortId, &Known)> {
        let id = self.by_link.get(&link)?;
        Some((*id, self.known.get(id)?))
    }

    /// All peers, by id.
    pub fn iter(&self) -> impl Iterator<Item = (ShortId, &Known)> {
        self.known.iter().map(|(id, known)| (*id, known))
    }

    /// Linked peers, by id.
    pub fn linked(&self) -> impl Iterator<Item = (ShortId, LinkSlot, &Known)> {
        self.known.iter().filter_map(|(id, known)| Some((*id, known.link?, known)))
    }

    /// What changed for the hot path since it was taken.
    pub fn changed(&self) -> Changed {
        self.changed
    }

    /// The same, which is then taken.
    pub fn take_changed(&mut self) -> Changed {
        self.changes += u64::from(self.changed != Changed::Nothing);
        std::mem::take(&mut self.changed)
    }

    /// Peers that are known.
    pub fn count(&self) -> u32 {
        u32::try_from(self.known.len()).expect("peers are bounded by 4,096")
    }

    /// How often [`Neighbours::take_changed`] said so.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// A link came up; its peer was verified by the transport.
    pub fn link_up(&mut self, now: Now, link: LinkSlot, peer: Peer, out: &mut Outbox) -> Vec<Fact> {
        // That a relayed link came up makes nothing due.
        self.due = self.due.filter(|_| link.is_relayed());
        let node = peer.admission.node();
        let id = node.short();
        let is_wanted = self.wants_link(&peer.admission);
        let incarnation = peer.incarnation;
        let record = PeerRecord {
            admission: peer.admission.to_bytes(),
            addresses: peer.addresses,
            incarnation: peer.incarnation,
            process: peer.process,
            version: peer.version,
            is_gone: false,
            has_left: false,
            signature: Bytes::copy_from_slice(&peer.signature.0),
        };
        self.learn(now, record, true, out);
        let is_taken = |known: &Known| known.node == node && known.incarnation == incarnation;
        if !self.known.get(&id).is_some_and(is_taken) {
            out.push(Output::HangUp { link, reason: "this node does not take up this peer" });
            return Vec::new();
        }
        if !self.may_link(now, id) {
            out.push(Output::HangUp { link, reason: "this node is banned" });
            return Vec::new();
        }
        // A driver names every link anew and tells of the end of one before the next to the same
        // peer; one that does not must not leave a peer with two links, or a link with two peers.
        let before = self.known.get(&id).and_then(|known| known.link);
        if let Some(before) = before.filter(|before| link.is_relayed() && !before.is_relayed()) {
            out.push(Output::HangUp { link: before, reason: "the peer does not hear this link any more" });
        }
        let again = Some(link).filter(|link| self.by_link.contains_key(link));
        let stale: Vec<LinkSlot> = [before, again].into_iter().flatten().collect();
        let mut facts: Vec<Fact> =
            stale.into_iter().flat_map(|link| self.link_down(now, link, false, out)).collect();
        let is_watched = self.known.get(&id).is_some_and(|known| self.is_watched(known));
        let is_closed = !link.is_relayed() && !is_wanted && (self.is_only_edge() || is_watched);
        let close_at = is_closed.then(|| now.mono + COURTESY);
        let known = self.known.get_mut(&id).expect("it was found above, and closing links forgets nobody");
        known.link = Some(link);
        let returned = known.lost_as.take().filter(|(lost, _)| *lost == incarnation);
        let met = known.met.replace(incarnation);
        let is_met = met != Some(incarnation);
        if met.is_some() && is_met && !known.is_lost {
            // Who restarted has nothing of what it was before: neither what it wanted nor what it had.
            facts.push(Fact::Lost(id));
            let away = known.away_since.filter(|since| now.mono.since(*since) >= DEATH_AFTER);
            facts.extend(away.filter(|_| is_watched).map(|_| Fact::Apart(id)));
        }
        (known.is_lost, known.has_left) = (false, false);
        let away_since = known.away_since.take();
        known.heard = now.mono;
        known.linked_at = now.mono;
        known.close_at = close_at;
        if !link.is_relayed() {
            known.dialling = Dialling::default();
        }
        self.relaying.settled(id);
        self.by_link.insert(link, id);
        self.changed = self.changed.max(Changed::of(link));
        out.event(Event::PeerUp {
            node,
            addresses: known.addresses.clone(),
            name: known.admission.name.to_string(),
            roles: known.admission.roles.to_string(),
            region: known.admission.region.to_string(),
        });
        for seed in &mut self.seeds {
            seed.dialling.next = None;
        }
        // Over a relayed link goes what the two owe each other; what all know they hear from all.
        if !link.is_relayed() {
            self.show_roster(link, true, out);
            self.tell_proofs(link, out);
            if is_watched {
                self.admit(now, id, incarnation);
                self.meet(now, link, out);
            }
        }
        facts.push(Fact::Up(id, link));
        if let Some((_, since)) = returned {
            facts.push(Fact::Returned(id, since));
        } else if is_met {
            facts.push(Fact::Met(id));
        } else {
            let away_since = away_since.filter(|since| *since < now.mono);
            facts.extend(away_since.map(|since| Fact::Back(id, since)));
        }
        facts
    }

    /// A link is gone.
    pub fn link_down(&mut self, now: Now, link: LinkSlot, timed_out: bool, out: &mut Outbox) -> Vec<Fact> {
        if link.is_relayed() {
            self.due_by(now.mono + limits::LINK_TIMEOUT);
            // Also one that did not come up since its peer may have no link.
            self.close_ending(now, link, out);
        } else {
            self.due = None;
        }
        let Some(id) = self.by_link.remove(&link) else { return Vec::new() };
        let mut facts = match link.is_relayed() {
            true => Vec::new(),
            false => self.relays_down(now, link, out),
        };
        let Some(known) = self.known.get(&id) else { return Vec::new() };
        let is_wanted = self.wants_link(&known.admission);
        let is_watched = self.is_watched(known);
        let again = now.mono + BACKOFF_FIRST + self.patience_with(known.node);
        let known = self.known.get_mut(&id).expect("it was found above");
        known.link = None;
        known.close_at = None;
        // Nothing is to be had from a peer that merely led in, so that it cannot be lost either.
        known.away_since = (is_wanted || is_watched).then_some(now.mono);
        known.heard = now.mono;
        if !link.is_relayed() {
            known.dialling = Dialling { next: is_wanted.then_some(again), ..Dialling::default() };
        }
        self.changed = self.changed.max(Changed::of(link));
        out.event(Event::PeerDown { node: known.node, name: known.admission.name.to_string(), timed_out });
        facts.push(Fact::Down(id, link));
        if is_watched {
            if !link.is_relayed() {
                self.watching_link_down(now, id);
            }
            self.seek_relay(now, id);
        } else if timed_out && is_wanted {
            facts.extend(self.lose(now, id, false, out));
        }
        facts
    }

    fn lose(&mut self, now: Now, id: ShortId, has_left: bool, out: &mut Outbox) -> Vec<Fact> {
        let is_watched = self.known.get(&id).is_some_and(|known| self.is_watched(known));
        let Some(known) = self.known.get_mut(&id).filter(|known| !known.is_lost) else { return Vec::new() };
        known.is_lost = true;
        let since = known.away_since.take().unwrap_or(now.mono);
        known.lost_as = Some((known.incarnation, since));
        self.changed = Changed::Own;
        let name = known.admission.name.to_string();
        out.event(if has_left { Event::PeerLeft { name } } else { Event::PeerLost { name } });
        let was_apart = is_watched && !has_left && now.mono.since(since) >= DEATH_AFTER;
        [Some(Fact::Lost(id)), was_apart.then_some(Fact::Apart(id))].into_iter().flatten().collect()
    }

    /// How long to wait for the other side to dial first; a silent node cannot be dialled.
    fn patience_with(&self, node: NodeId) -> Duration {
        let is_first = self.me.addresses.is_empty() || self.me.admission.node() < node;
        if is_first { Duration::ZERO } else { PATIENCE }
    }

    fn wants_link(&self, other: &Admission) -> bool {
        let mine = &self.me.admission;
        let gossips = |roles: Roles| roles.has(Roles::EDGE) || roles.has(Roles::AGGREGATOR);
        let climbs = |roles: Roles| roles.has(Roles::AGGREGATOR) || roles.has(Roles::COORDINATOR);
        let is_ours = mine.region == other.region && gossips(mine.roles) && gossips(other.roles);
        is_ours && self.place.is_beside(other.node().short()) || climbs(mine.roles) && climbs(other.roles)
    }

    fn is_only_edge(&self) -> bool {
        self.me.admission.roles == Roles::EDGE
    }

    /// Whether some link is wanted and neither there nor was tried yet.
    pub fn awaits_links(&self) -> bool {
        let is_new = |known: &Known| {
            known.link.is_none()
                && !known.is_lost
                && known.away_since.is_none()
                && known.dialling.attempts == 0
        };
        let is_sought = |id| self.relaying.is_sought_first(id);
        self.known.iter().any(|(id, known)| is_new(known) && (known.dial_at().is_some() || is_sought(*id)))
    }

    /// Dials, passes news on, loses and forgets whom it is time for.
    pub fn wake(&mut self, now: Now, out: &mut Outbox) -> Vec<Fact> {
        let mut facts = self.wake_watching(now, out);
        facts.extend(self.wake_relaying(now, out));
        let is_quiet = self.due.is_some_and(|due| due.is_none_or(|due| due > now.mono));
        if is_quiet && now.mono < self.prune_due {
            return facts;
        }
        self.review(now);
        self.dial_due(now, out);
        self.send_news(now, out);
        self.close_unwanted(now, out);
        let away = |known: &Known| {
            known.away_since.is_some_and(|since| now.mono.since(since) >= limits::LINK_TIMEOUT)
        };
        let is_forgotten = |known: &Known| now.mono.since(known.heard) >= FORGET_AFTER;
        let is_gone = |known: &Known| away(known) && (!self.is_watched(known) || is_forgotten(known));
        let gone: Vec<ShortId> =
            self.known.iter().filter(|(_, known)| is_gone(known)).map(|(id, _)| *id).collect();
        facts.extend(gone.into_iter().flat_map(|id| self.lose(now, id, false, out)).collect::<Vec<_>>());
        facts.extend(self.say_apart(now));
        if now.mono >= self.prune_due {
            self.prune_due = now.mono + Duration::from_secs(60);
            self.prune(now);
        }
        self.due = Some(self.look());
        facts
    }

    /// Says of whom the region knows and this node does not reach, again and again while that lasts.
    fn say_apart(&mut self, now: Now) -> Vec<Fact> {
        let is_due = |known: &Known| self.apart_at(known).is_some_and(|due| due <= now.mono);
        let apart: Vec<ShortId> =
            self.known.iter().filter(|(_, known)| is_due(known)).map(|(id, _)| *id).collect();
        for id in &apart {
            self.known.get_mut(id).expect("it was found above").apart_said = now.mono;
        }
        apart.into_iter().map(Fact::Apart).collect()
    }

    /// Forgets peers whose link is wanted and has not come about for long. Of the others this node
    /// cannot know whether they live; their bundles come over links of others, and need their keys.
    fn prune(&mut self, now: Now) {
        let is_stale = |known: &Known| {
            known.link.is_none()
                && known.away_since.is_none()
                && (known.dialling.next.is_some() || known.is_lost)
                && now.mono.since(known.heard) >= FORGET_AFTER
        };
        let before = self.known.len();
        for (id, known) in self.known.iter().filter(|(_, known)| is_stale(known)) {
            self.place.note(*id, known.incarnation);
        }
        self.known.retain(|_, known| !is_stale(known));
        if self.known.len() != before {
            self.changed = Changed::Own;
        }
        self.asked.prune(now.mono);
        self.relaying.forget(|peer| !self.known.contains_key(&peer));
    }

    /// When [`Neighbours::wake`] is wanted.
    pub fn deadline(&self) -> Option<Time> {
        let own = self.due.unwrap_or_else(|| self.look());
        [own, self.watching.deadline(), self.relaying.deadline()].into_iter().flatten().min()
    }

    /// Something will be due at `at`.
    fn due_by(&mut self, at: Time) {
        if let Some(due) = &mut self.due {
            *due = Some(due.map_or(at, |due| due.min(at)));
        }
    }

    fn look(&self) -> Option<Time> {
        let dials = self.known.values().filter_map(|known| self.dial_known_at(known));
        let losses = self.known.values().filter(|known| !self.is_watched(known));
        let losses = losses.filter_map(|known| Some(known.away_since? + limits::LINK_TIMEOUT));
        let apart = self.known.values().filter_map(|known| self.apart_at(known));
        let seeds = self.seeds.iter().filter_map(|seed| seed.dialling.next);
        let closing = self.known.values().filter_map(|known| known.close_at).min();
        let closing = closing.filter(|_| self.has_wanted_link());
        dials
            .chain(losses)
            .chain(apart)
            .chain(seeds)
            .chain(self.news_due)
            .chain(closing)
            .chain(self.judging.review_due)
            .min()
    }

    /// Asserts that links and peers agree.
    pub fn check(&self) {
        self.watching.detector.check();
        self.check_roster();
        self.check_relaying();
        for (link, id) in &self.by_link {
            assert_eq!(
                self.known.get(id).and_then(|known| known.link),
                Some(*link),
                "a link without its peer"
            );
        }
        assert_eq!(self.linked().count(), self.by_link.len(), "a peer without its link");
    }
}

#[cfg(test)]
mod tests;
