//! Records: which are believed, kept, and told to others.
//!
//! Beside the registry's record a node keeps the author's own words, as only they may be told to
//! others. Who is known from a list alone is told to nobody before it was heard of directly;
//! otherwise lists would keep the dead alive among themselves.

use std::time::Duration;

use super::message::{Authored, Record, Said, SaidKind};
use super::{Effect, Offence, PeerExchange, Query, RECORD_LIFETIME, Step, Vouched, WINDOW};
use crate::id::{NodeId, ShortId};
use crate::registry::{Audience, PeerInfo, PeerRecord, STALE_AFTER, Slot};
use crate::time::{Now, Time};

/// Most silent peers remembered as such, so that an older record does not expose them.
pub const SILENCED_MAX: usize = 4_096;
/// How long a neighbour may still list a peer that withdrew: the withdrawal is under way.
pub const WITHDRAWAL_GRACE: Duration = Duration::from_secs(60);
/// How long a peer that was only listed is kept unless it is heard of.
pub const HEARSAY_KEPT: Duration = Duration::from_secs(10 * 60);
/// Peers pruned in one wake at the most; if more are due, the next wake is at once.
const PRUNED_AT_ONCE: usize = 64;

/// What is kept beside the registry's record.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    revision: u64,
    /// The author's words, where it broadcasts.
    authored: Option<Authored>,
    /// Whether the peer was heard of directly.
    is_heard: bool,
}

/// A peer that says it is silent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Silenced {
    revision: u64,
    wall_ms: u64,
}

/// How a record came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source {
    pub(super) from: ShortId,
    /// Whether it proves that the author is there now.
    pub(super) is_live: bool,
}

impl Said {
    pub(super) fn record(&self) -> Option<&Record> {
        match &self.kind {
            Some(SaidKind::Announcement(record) | SaidKind::Update(record)) => Some(record),
            Some(SaidKind::Heartbeat(_) | SaidKind::Request(_)) | None => None,
        }
    }
}

impl PeerExchange {
    /// `node` is there: a heartbeat, or membership says so.
    pub fn alive(&mut self, now: Time, node: &NodeId) -> bool {
        let Some(slot) = self.registry.slot_of(node) else { return false };
        if let Some(known) = self.known.get_mut(slot.0 as usize) {
            known.is_heard = true;
        }
        self.registry.heartbeat(node, now)
    }

    /// Checks a record that was signed some time ago, and takes it in where it is newer than what is
    /// known. `None` where it is too old or replaced.
    pub(super) fn vouch(
        &mut self,
        step: &mut Step<'_>,
        authored: &Authored,
        said: &Said,
        source: Source,
    ) -> Result<Option<PeerInfo>, Offence> {
        if said.mesh != self.config.mesh.0 {
            return Err(Offence::Foreign);
        }
        let (_, key, signature) = authored.read().ok_or(Offence::Malformed)?;
        let record = said.record().ok_or(Offence::Malformed)?;
        if record.is_exposed() {
            return Err(Offence::SilentExposed);
        }
        let author = NodeId::of_key(&key);
        if self.is_withdrawn(step.now, author.short(), record) && !source.is_live {
            return Err(Offence::SilentExposed);
        }
        let slot = self.registry.slot_of(&author);
        let is_same = slot.is_some_and(|slot| {
            self.known.get(slot.0 as usize).is_some_and(|known| known.authored.as_ref() == Some(authored))
        });
        if is_same {
            if source.is_live {
                self.alive(step.now.mono, &author);
            }
            return Ok(self.registry.get(&author).map(|record| record.info.clone()));
        }
        let is_current = is_in_lifetime(step.now, said.wall_ms);
        if !is_current || record.revision < self.revision_of(author.short(), slot) {
            self.counters.stale += 1;
            return Ok(None);
        }
        match step.keys.verify(&key, &authored.said, &signature) {
            Vouched::Genuine => {}
            Vouched::Forged => return Err(Offence::Signature),
            Vouched::Stranger => {
                self.counters.strangers += 1;
                return Ok(None);
            }
        }
        self.learn(step, authored, (key, said.wall_ms), record, source)
    }

    /// Takes in a verified record, if it is newer than what is known, and gives it back if it is not
    /// older. `author` is its key and the time of signing.
    pub(super) fn learn(
        &mut self,
        step: &mut Step<'_>,
        authored: &Authored,
        author: ([u8; 32], u64),
        record: &Record,
        source: Source,
    ) -> Result<Option<PeerInfo>, Offence> {
        if record.is_exposed() {
            return Err(Offence::SilentExposed);
        }
        let info = record.to_info(author.0).map_err(|_| Offence::Malformed)?;
        let node = info.id();
        let slot = self.registry.slot_of(&node);
        let known = self.revision_of(node.short(), slot);
        if record.revision <= known && known > 0 {
            if source.is_live {
                self.alive(step.now.mono, &node);
            }
            if record.revision < known {
                self.counters.stale += 1;
                return Ok(None);
            }
            return Ok(Some(info));
        }
        if record.broadcast {
            self.silenced.remove(&node.short());
        } else {
            self.silence(node.short(), Silenced { revision: record.revision, wall_ms: author.1 });
            if slot.is_none() && node.short() != source.from {
                // A silent peer is known to its neighbours alone.
                return Ok(Some(info));
            }
        }
        self.register(step, authored, record.revision, info.clone(), source);
        Ok(Some(info))
    }

    /// The authors' words that answer `query`, the best first, for somebody else.
    pub(super) fn answer_for_others(&mut self, query: &Query, count: usize, asker: ShortId) -> Vec<Authored> {
        let own = self
            .own
            .published
            .as_ref()
            .filter(|(info, _)| info.broadcast && (query.matches(info) || self.offers.contains(query)));
        let mut answer: Vec<Authored> = own.map(|(_, authored)| authored.clone()).into_iter().collect();
        for slot in self.best(query, count + 1) {
            let is_asker = self.registry.record(slot).is_none_or(|record| record.id.short() == asker);
            let known = self.known.get(slot.0 as usize).filter(|known| known.is_heard && !is_asker);
            answer.extend(known.and_then(|known| known.authored.clone()));
        }
        answer.truncate(count);
        answer
    }

    /// Peers that others may be told of and that match, the best first, at most `count`.
    pub fn listed(&self, query: &Query, count: usize) -> Vec<Slot> {
        self.registry.best(count, Audience::Others, |record| query.matches(&record.info))
    }

    /// Whether this node broadcasts and has itself what is looked for.
    pub fn answers(&self, query: &Query) -> bool {
        let own = self.own.info.as_ref().filter(|info| info.broadcast);
        own.is_some_and(|info| query.matches(info) || self.offers.contains(query))
    }

    /// Peers that this node knows itself, best first; they broadcast.
    pub(super) fn local_answer(&mut self, query: &Query, count: usize) -> Vec<PeerInfo> {
        let best = self.best(query, count);
        best.into_iter().filter_map(|slot| Some(self.registry.record(slot)?.info.clone())).collect()
    }

    /// Forgets whom nobody heard of, records that are over, and silences that are no longer needed.
    pub(super) fn prune(&mut self, now: Time) {
        for (slot, _) in self.registry.prune_stale(now, PRUNED_AT_ONCE) {
            if let Some(known) = self.known.get_mut(slot.0 as usize) {
                *known = Known::default();
            }
        }
    }

    /// The best of the listable peers that match, by score; for [`Query::Anybody`] random ones.
    fn best(&mut self, query: &Query, count: usize) -> Vec<Slot> {
        match query {
            Query::Anybody => self.registry.random(count, Audience::Others, &mut self.rng),
            Query::Service(_) | Query::Capability(_) | Query::Blob(_) => {
                let is_match = |record: &PeerRecord| query.matches(&record.info);
                self.registry.best(count, Audience::Others, is_match)
            }
        }
    }

    fn register(
        &mut self,
        step: &mut Step<'_>,
        authored: &Authored,
        revision: u64,
        info: PeerInfo,
        source: Source,
    ) {
        let (node, broadcast) = (info.id(), info.broadcast);
        let now = step.now.mono;
        let seen = if source.is_live { now } else { now - (STALE_AFTER - HEARSAY_KEPT) };
        let Ok(registered) = self.registry.register(info, seen) else {
            self.counters.refused += 1;
            return;
        };
        let place = registered.slot.0 as usize;
        if self.known.len() <= place {
            self.known.resize(place + 1, Known::default());
        }
        let known = &mut self.known[place];
        let is_heard = source.is_live || (known.is_heard && !registered.is_new);
        *known = Known { revision, authored: broadcast.then(|| authored.clone()), is_heard };
        step.effects.push(Effect::Changed(node));
    }

    /// The highest revision known of a peer; 0 where there is none.
    fn revision_of(&self, id: ShortId, slot: Option<Slot>) -> u64 {
        let known = slot.and_then(|slot| self.known.get(slot.0 as usize)).map_or(0, |known| known.revision);
        known.max(self.silenced.get(&id).map_or(0, |silenced| silenced.revision))
    }

    /// Whether `record` shows a peer that withdrew long enough ago for everybody to know.
    fn is_withdrawn(&self, now: Now, id: ShortId, record: &Record) -> bool {
        self.silenced.get(&id).is_some_and(|silenced| {
            let since = now.wall.since(Time::from_millis(silenced.wall_ms));
            record.broadcast && record.revision < silenced.revision && since > WITHDRAWAL_GRACE
        })
    }

    /// Remembers a silent peer; where there is no room, in place of the one that said so first, whose
    /// older records are the next to be over.
    fn silence(&mut self, id: ShortId, silenced: Silenced) {
        if self.silenced.len() >= SILENCED_MAX && !self.silenced.contains_key(&id) {
            let first = self.silenced.iter().min_by_key(|(id, silenced)| (silenced.wall_ms, **id));
            if let Some(first) = first.map(|(id, _)| *id) {
                self.silenced.remove(&first);
            }
        }
        self.silenced.insert(id, silenced);
    }
}

impl Query {
    /// Whether a record has what is looked for.
    pub(super) fn matches(&self, info: &PeerInfo) -> bool {
        let has = |prefix: &str, name: &str| {
            info.capabilities.iter().any(|own| own.strip_prefix(prefix) == Some(name))
        };
        match self {
            Query::Service(name) => has("service:", name),
            Query::Capability(name) => has("", name),
            Query::Blob(hash) => has("blob:", hash),
            Query::Anybody => true,
        }
    }
}

/// Whether a record signed at `wall_ms` is still believed.
fn is_in_lifetime(now: Now, wall_ms: u64) -> bool {
    let signed = Time::from_millis(wall_ms);
    now.wall.since(signed) <= RECORD_LIFETIME && signed.since(now.wall) <= WINDOW
}
