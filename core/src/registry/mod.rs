//! The peer registry: who is known, where they are, how near and how trusted.
//!
//! Announcements arrive here verified and fresh; a repeated one replaces what the peer said before
//! and nothing of what we saw ourselves. Local tables name a peer by its [`Slot`], a small number
//! that never leaves the process and is free for another peer once this one is removed.
//!
//! Questions are asked for an [`Audience`]. What is meant for others never holds a silent peer;
//! neither audience is given one that is gone or not trusted. A lookup by name finds them all, and
//! is for our own use.
//!
//! May depend on names, time and the generator. Start at [`Registry`]; [`exchange`] is the protocol
//! that fills one.

pub mod exchange;
mod index;
mod record;
mod score;
mod zones;

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::time::Duration;

use crate::id::{NodeId, ShortId};
use crate::rng::Rng;
use crate::rtt::SmoothedRtt;
use crate::time::Time;
use index::Index;
pub use record::{
    ADDRESSES_MAX, BadInfo, CAPABILITIES_BYTES_MAX, CAPABILITIES_MAX, CAPABILITY_BYTES_MAX, Capabilities,
    PeerInfo, PeerRecord, PeerStatus, RECORD_BYTES_MAX, Reputation, VERSION_BYTES_MAX,
};
pub use score::{Availability, Score};
use zones::{Standing, Zones};

/// A peer not heard of for this long may be pruned.
pub const STALE_AFTER: Duration = Duration::from_secs(2 * 60 * 60);

/// The place of a peer in local tables, below the registry's capacity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u32);

/// For whom a question is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// This node, choosing whom to contact.
    Ourselves,
    /// Anyone else: silent peers stay out.
    Others,
}

/// What a registration did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registered {
    /// Where the peer is.
    pub slot: Slot,
    /// Whether it was unknown before.
    pub is_new: bool,
}

/// Why a peer was not registered. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The announcement is out of bounds. The announcer's fault.
    #[error(transparent)]
    BadInfo(#[from] BadInfo),
    /// Another node has the same short id. Somebody looked for the collision, or the roster, where
    /// it should have been refused, did not see it.
    #[error("another node has the same short id")]
    ShortIdTaken,
    /// The registry holds as many peers as it may. Nobody's fault: prune, or configure more.
    #[error("the registry is full")]
    Full,
}

/// The known peers, at most as many as its capacity.
#[derive(Clone, Debug)]
pub struct Registry {
    capacity: usize,
    index: Index,
    /// Boxed, so that growing the table moves no record and empty slots cost eight bytes.
    slots: Vec<Option<Box<PeerRecord>>>,
    free: Vec<u32>,
    zones: Zones,
    /// Measured listable peers by round trip time in nanoseconds.
    near_listable: BTreeSet<(u64, u32)>,
    /// Measured silent peers, likewise.
    near_silent: BTreeSet<(u64, u32)>,
    by_last_seen: BTreeSet<(Time, u32)>,
}

impl Registry {
    /// An empty registry for at most `capacity` peers (held below 2^32 - 1). `seed` comes from the
    /// node's generator and protects the index from chosen names; no answer depends on it.
    pub fn new(capacity: usize, seed: u64) -> Registry {
        Registry {
            capacity: capacity.min(u32::MAX as usize - 1),
            index: Index::new(seed),
            slots: Vec::new(),
            free: Vec::new(),
            zones: Zones::default(),
            near_listable: BTreeSet::new(),
            near_silent: BTreeSet::new(),
            by_last_seen: BTreeSet::new(),
        }
    }

    /// Takes in a verified announcement heard at `now`: a new peer starts alive, fully trusted and
    /// not measured; of a known one the announcement replaces the last, and it counts as heard of.
    ///
    /// # Errors
    /// [`Refused`], and then nothing was changed.
    pub fn register(&mut self, info: PeerInfo, now: Time) -> Result<Registered, Refused> {
        info.check()?;
        let id = info.id();
        if let Some(slot) = self.index.get(id.short()) {
            if self.record_at(slot).id != id {
                return Err(Refused::ShortIdTaken);
            }
            self.update(slot, |record| {
                record.info = info;
                record.last_seen = record.last_seen.max(now);
            });
            return Ok(Registered { slot: Slot(slot), is_new: false });
        }
        if self.index.len() >= self.capacity {
            return Err(Refused::Full);
        }
        let slot = self.free.pop().unwrap_or(self.slots.len() as u32);
        if slot as usize == self.slots.len() {
            self.slots.push(None);
        }
        let (status, reputation) = (PeerStatus::Alive, Reputation::FULL);
        let availability = Availability::default();
        let record = PeerRecord { id, info, status, last_seen: now, reputation, availability, rtt: None };
        self.index.insert(id.short(), slot);
        self.zones.add(slot, standing_of(&record));
        self.by_last_seen.insert((now, slot));
        self.slots[slot as usize] = Some(Box::new(record));
        Ok(Registered { slot: Slot(slot), is_new: true })
    }

    /// Notes a heartbeat of `id` at `now`; false where it is unknown.
    pub fn heartbeat(&mut self, id: &NodeId, now: Time) -> bool {
        self.change(id, |record| record.last_seen = record.last_seen.max(now))
    }

    /// Notes what membership says of `id`; false where it is unknown.
    pub fn set_status(&mut self, id: &NodeId, status: PeerStatus) -> bool {
        self.change(id, |record| record.status = status)
    }

    /// Takes a round trip to `id` into its average; false where it is unknown.
    pub fn observe_rtt(&mut self, id: &NodeId, sample: Duration) -> bool {
        self.change(id, |record| {
            record.rtt = Some(record.rtt.map_or(SmoothedRtt::first(sample), |rtt| rtt.next(sample)));
        })
    }

    /// Sets how far `id` is trusted; false where it is unknown.
    pub fn set_reputation(&mut self, id: &NodeId, reputation: Reputation) -> bool {
        self.change(id, |record| record.reputation = reputation)
    }

    /// Notes whether `id` answered when it was contacted; false where it is unknown.
    pub fn observe_contact(&mut self, id: &NodeId, has_answered: bool) -> bool {
        self.change(id, |record| record.availability = record.availability.next(has_answered))
    }

    /// Forgets `id` and frees its slot.
    pub fn remove(&mut self, id: &NodeId) -> Option<(Slot, PeerRecord)> {
        let slot = self.slot_of(id)?;
        Some((slot, self.remove_slot(slot.0)))
    }

    /// Forgets peers whose last heartbeat is at least [`STALE_AFTER`] ago, the longest silent
    /// first, `at_most` of them so that a step stays short; fewer came back where no more are
    /// stale.
    pub fn prune_stale(&mut self, now: Time, at_most: usize) -> Vec<(Slot, PeerRecord)> {
        let mut pruned = Vec::new();
        while pruned.len() < at_most
            && let Some(&(last_seen, slot)) = self.by_last_seen.first()
            && now >= last_seen + STALE_AFTER
        {
            pruned.push((Slot(slot), self.remove_slot(slot)));
        }
        pruned
    }

    /// When the next peer becomes stale, if no heartbeat comes before.
    pub fn next_stale(&self) -> Option<Time> {
        self.by_last_seen.first().map(|(last_seen, _)| *last_seen + STALE_AFTER)
    }

    /// The slot of `id`, in O(1).
    pub fn slot_of(&self, id: &NodeId) -> Option<Slot> {
        let slot = self.index.get(id.short())?;
        (self.record_at(slot).id == *id).then_some(Slot(slot))
    }

    /// The slot of the node whose name on the wire is `id`, in O(1).
    pub fn slot_of_short(&self, id: ShortId) -> Option<Slot> {
        self.index.get(id).map(Slot)
    }

    /// What is known of `id`, in O(1).
    pub fn get(&self, id: &NodeId) -> Option<&PeerRecord> {
        self.record(self.slot_of(id)?)
    }

    /// What is known of the peer at `slot`, in O(1).
    pub fn record(&self, slot: Slot) -> Option<&PeerRecord> {
        self.slots.get(slot.0 as usize)?.as_deref()
    }

    /// `k` different usable peers in random order, each set equally likely, in O(k); all where
    /// there are fewer.
    pub fn random(&self, k: usize, audience: Audience, rng: &mut Rng) -> Vec<Slot> {
        let visible = self.zones.visible(audience);
        let chosen = rng.choose_multiple(visible.len(), k);
        chosen.into_iter().map(|position| Slot(visible[position])).collect()
    }

    /// The `k` usable peers with the lowest smoothed round trip time, nearest first, ties in order
    /// of slot; fewer where fewer were measured. Takes O(k) steps.
    pub fn nearest(&self, k: usize, audience: Audience) -> Vec<Slot> {
        let mut listable = self.near_listable.iter().peekable();
        let mut silent = match audience {
            Audience::Ourselves => self.near_silent.iter(),
            Audience::Others => Default::default(),
        }
        .peekable();
        let mut nearest = Vec::with_capacity(k.min(self.len()));
        while nearest.len() < k {
            let is_silent_nearer = match (listable.peek(), silent.peek()) {
                (Some(listable), Some(silent)) => silent < listable,
                (None, Some(_)) => true,
                (Some(_), None) => false,
                (None, None) => break,
            };
            let next = if is_silent_nearer { silent.next() } else { listable.next() };
            nearest.extend(next.map(|(_, slot)| Slot(*slot)));
        }
        nearest
    }

    /// The `k` usable peers of the highest score that pass `is_wanted`, best first, ties in order of
    /// name. Takes O(n log k) for n usable peers and memory for k.
    pub fn best(&self, k: usize, audience: Audience, is_wanted: impl Fn(&PeerRecord) -> bool) -> Vec<Slot> {
        let mut best = BTreeSet::new();
        for slot in self.zones.visible(audience) {
            let record = self.record_at(*slot);
            if !is_wanted(record) {
                continue;
            }
            best.insert((Reverse(record.score()), record.id, *slot));
            if best.len() > k {
                best.pop_last();
            }
        }
        best.into_iter().map(|(_, _, slot)| Slot(slot)).collect()
    }

    /// Every peer that others may be told of, in no order that means anything.
    pub fn listable(&self) -> impl Iterator<Item = &PeerRecord> {
        self.zones.visible(Audience::Others).iter().map(|slot| self.record_at(*slot))
    }

    /// Every known peer for our own use, silent, gone and distrusted ones included, in order of
    /// slot.
    pub fn iter(&self) -> impl Iterator<Item = (Slot, &PeerRecord)> {
        (0..).zip(&self.slots).filter_map(|(slot, record)| Some((Slot(slot), record.as_deref()?)))
    }

    /// How many peers are known.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether nobody is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The most peers it holds.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Asserts that the tables agree with the records.
    ///
    /// # Panics
    /// Where they do not: a fault of this module.
    pub fn check(&self) {
        let (mut count, mut measured) = (0, 0);
        for (Slot(slot), record) in self.iter() {
            count += 1;
            assert_eq!(record.id, record.info.id());
            assert_eq!(self.index.get(record.id.short()), Some(slot));
            assert_eq!(self.zones.standing(slot), standing_of(record));
            assert!(self.by_last_seen.contains(&(record.last_seen, slot)));
            if let Some(place) = near_place(record, slot) {
                measured += 1;
                let is_listed = self.near_listable.contains(&place);
                assert_eq!(is_listed, record.is_listable());
                assert!(is_listed || self.near_silent.contains(&place));
            }
        }
        assert!(count <= self.capacity);
        assert_eq!(self.index.len(), count);
        assert_eq!(self.zones.all().len(), count);
        assert_eq!(self.by_last_seen.len(), count);
        assert_eq!(self.near_listable.len() + self.near_silent.len(), measured);
        assert_eq!(self.slots.len(), count + self.free.len());
    }

    /// The record at a slot that one of our tables names.
    fn record_at(&self, slot: u32) -> &PeerRecord {
        self.slots[slot as usize].as_deref().expect("tables name only slots in use")
    }

    /// Changes the record of `id`; false where it is unknown.
    fn change(&mut self, id: &NodeId, change: impl FnOnce(&mut PeerRecord)) -> bool {
        let slot = self.slot_of(id);
        if let Some(Slot(slot)) = slot {
            self.update(slot, change);
        }
        slot.is_some()
    }

    /// Changes the record at a used slot, and moves it in the tables where it belongs then.
    fn update(&mut self, slot: u32, change: impl FnOnce(&mut PeerRecord)) {
        let record = self.slots[slot as usize].as_deref_mut().expect("tables name only slots in use");
        let (place_before, standing_before) = (near_place(record, slot), standing_of(record));
        let seen_before = record.last_seen;
        change(record);
        let (place, standing, seen) = (near_place(record, slot), standing_of(record), record.last_seen);
        if seen != seen_before {
            self.by_last_seen.remove(&(seen_before, slot));
            self.by_last_seen.insert((seen, slot));
        }
        if standing != standing_before {
            self.zones.move_to(slot, standing);
        }
        if (place, standing) != (place_before, standing_before) {
            self.leave_near(place_before, standing_before);
            self.enter_near(place, standing);
        }
    }

    fn remove_slot(&mut self, slot: u32) -> PeerRecord {
        let record = self.slots[slot as usize].take().expect("tables name only slots in use");
        self.index.remove(record.id.short());
        self.zones.remove(slot);
        self.by_last_seen.remove(&(record.last_seen, slot));
        self.leave_near(near_place(&record, slot), standing_of(&record));
        self.free.push(slot);
        *record
    }

    /// The set of measured peers of a standing; unusable ones are in none.
    fn near_mut(&mut self, standing: Standing) -> Option<&mut BTreeSet<(u64, u32)>> {
        match standing {
            Standing::Listable => Some(&mut self.near_listable),
            Standing::Silent => Some(&mut self.near_silent),
            Standing::Unusable => None,
        }
    }

    fn enter_near(&mut self, place: Option<(u64, u32)>, standing: Standing) {
        if let (Some(place), Some(near)) = (place, self.near_mut(standing)) {
            near.insert(place);
        }
    }

    fn leave_near(&mut self, place: Option<(u64, u32)>, standing: Standing) {
        if let (Some(place), Some(near)) = (place, self.near_mut(standing)) {
            near.remove(&place);
        }
    }
}

/// Who may hear of a peer.
fn standing_of(record: &PeerRecord) -> Standing {
    if record.is_listable() {
        Standing::Listable
    } else if record.is_usable() {
        Standing::Silent
    } else {
        Standing::Unusable
    }
}

/// The place of a usable, measured peer in the order of nearness.
fn near_place(record: &PeerRecord, slot: u32) -> Option<(u64, u32)> {
    let nanos = record.rtt.filter(|_| record.is_usable())?.average().as_nanos();
    Some((u64::try_from(nanos).expect("an average is at most a minute"), slot))
}

#[cfg(test)]
mod tests;
