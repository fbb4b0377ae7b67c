//! Whom of its region a node is linked with, and how it reaches the others.
//!
//! Up to [`FULL_MESH_MAX`] all are linked with all. In a larger region a node keeps links to those
//! beside it on the rings (`topology::rings`), which all compute alike from whom they hold alive; with
//! every other node it has a relayed link over them. Relayed links take the shortest way, the same there
//! and back, so the ways from one node to all others make up a tree, and a bundle for many of them goes
//! over each link once (`hot::copies`).

use std::sync::Arc;
use std::time::Duration;

use super::known::Known;
use super::{Neighbours, PATIENCE};
use crate::id::ShortId;
use crate::time::{Now, Time};
use crate::topology::rings::{FULL_MESH_MAX, Overlay};
use crate::topology::{Broadcast, tree::Broken};

/// How long a link is kept that the rings do not want any more: they may want it again, as when the
/// region is at the size from which on there are rings and one node comes and goes.
const UNWANTED_FOR: Duration = Duration::from_secs(10);
/// How long the rest of what a peer knows of others is waited for.
const MORE_WITHIN: Duration = Duration::from_secs(1);
/// Parts into which what is known of nodes is divided to be compared.
pub(super) const BUCKETS: usize = 64;

/// This node's place in its region.
#[derive(Debug)]
pub(super) struct Place {
    /// None where all are linked with all.
    ways: Option<Broadcast>,
    /// The nodes beside this one, sorted; nobody where all are linked with all.
    beside: Vec<ShortId>,
    /// Until when nobody is dialled, since a peer is telling of more nodes.
    pub more_until: Option<Time>,
    /// What is known of nodes, of this one too, in parts that are the same where it is the same.
    pub roster: [u64; BUCKETS],
}

impl Place {
    /// A node that knows nobody yet.
    pub fn new(me: ShortId, incarnation: u64) -> Place {
        let mut place = Place { ways: None, beside: Vec::new(), more_until: None, roster: [0; BUCKETS] };
        place.note(me, incarnation);
        place
    }

    /// A node with this incarnation is known from now on, or not any more.
    pub fn note(&mut self, id: ShortId, incarnation: u64) {
        let mut words = [0; 16];
        words[..8].copy_from_slice(&id.0.to_le_bytes());
        words[8..].copy_from_slice(&incarnation.to_le_bytes());
        let mut first = [0; 8];
        first.copy_from_slice(&blake3::hash(&words).as_bytes()[..8]);
        self.roster[bucket_of(id)] ^= u64::from_le_bytes(first);
    }

    /// All parts in one.
    pub fn fingerprint(&self) -> u64 {
        self.roster.iter().fold(0, |sum, bucket| sum ^ bucket)
    }

    /// Whether the region has rings.
    pub fn has_rings(&self) -> bool {
        self.ways.is_some()
    }

    /// Whether a node of the region is to be linked with, as far as is known.
    pub fn is_beside(&self, id: ShortId) -> bool {
        self.ways.is_none() || self.beside.binary_search(&id).is_ok()
    }

    /// Nodes beside this one, sorted; none where all are linked with all.
    pub fn beside(&self) -> &[ShortId] {
        &self.beside
    }

    /// The overlay, where there are rings.
    pub fn overlay(&self) -> Option<&Arc<Overlay>> {
        self.ways.as_ref().map(Broadcast::overlay)
    }

    /// The node over which the way to `to` begins.
    pub fn next_hop(&mut self, to: ShortId) -> Option<ShortId> {
        self.ways.as_mut()?.next_hop(to)
    }

    /// `others` are alive. Whether the rings changed.
    fn set(&mut self, seed: u64, me: ShortId, mut others: Vec<ShortId>) -> bool {
        if others.len() < FULL_MESH_MAX {
            self.beside.clear();
            return self.ways.take().is_some();
        }
        let place = others.partition_point(|id| *id < me);
        others.insert(place, me);
        if self.overlay().is_some_and(|overlay| overlay.members() == others) {
            return false;
        }
        let overlay = match self.ways.take() {
            Some(ways) => moved(Arc::clone(ways.overlay()), &others),
            None => Overlay::new(seed, &others),
        };
        self.beside = overlay.neighbours(me);
        self.ways = Some(Broadcast::new(me, Arc::new(overlay), Broken::default(), None));
        true
    }
}

/// The overlay of `members`, sorted, from one of before: a change moves few of it.
fn moved(before: Arc<Overlay>, members: &[ShortId]) -> Overlay {
    let gone: Vec<ShortId> =
        before.members().iter().copied().filter(|id| members.binary_search(id).is_err()).collect();
    let come: Vec<ShortId> = members.iter().copied().filter(|id| !before.contains(*id)).collect();
    if gone.len() + come.len() > members.len() / 32 {
        return Overlay::new(before.seed(), members);
    }
    let mut overlay = Arc::unwrap_or_clone(before);
    for id in come {
        overlay.join(id);
    }
    for id in gone {
        overlay.leave(id);
    }
    overlay
}

impl Neighbours {
    /// Takes the rings of whom is alive; `members` are sorted and without this node.
    pub(super) fn set_place(&mut self, now: Now, members: &[ShortId]) {
        let seed = self.me.admission.mesh.0;
        if !self.place.set(seed, self.own.id, members.to_vec()) {
            self.seek_unlinked(now, members);
            return;
        }
        self.due = None;
        let me = self.me.admission.node();
        for id in members {
            let is_wanted = self.known.get(id).is_some_and(|known| self.wants_link(&known.admission));
            let Some(known) = self.known.get_mut(id) else { continue };
            match (known.has_own_link(), is_wanted) {
                (true, true) => known.close_at = None,
                (true, false) => {
                    known.close_at.get_or_insert(now.mono + UNWANTED_FOR);
                }
                (false, true) => {
                    let wait = if me < known.node { Duration::ZERO } else { PATIENCE };
                    known.dialling.next.get_or_insert(now.mono + wait);
                }
                (false, false) => known.dialling.next = None,
            }
        }
        self.seek_unlinked(now, members);
    }

    /// Nodes without a link that is theirs to have by dialling are reached over others.
    fn seek_unlinked(&mut self, now: Now, members: &[ShortId]) {
        if self.place.has_rings() {
            for id in members {
                if !self.place.is_beside(*id) {
                    self.seek_relay(now, *id);
                }
            }
        }
    }

    /// A peer tells of others in several messages: whom of them to dial is known at the end.
    pub(super) fn expect_more(&mut self, now: Now, has_more: bool) {
        // Nobody puts it off for longer by saying so again and again.
        let until = self.place.more_until.filter(|until| *until > now.mono);
        self.place.more_until = has_more.then(|| until.unwrap_or(now.mono + MORE_WITHIN));
    }

    /// When a node is to be dialled; not before those who tell of nodes are through.
    pub(super) fn dial_known_at(&self, known: &Known) -> Option<Time> {
        let at = known.dial_at()?;
        Some(self.place.more_until.map_or(at, |until| at.max(until)))
    }

    pub(super) fn check_roster(&self) {
        let mut place = Place::new(self.own.id, self.me.incarnation);
        self.known.iter().for_each(|(id, known)| place.note(*id, known.incarnation));
        assert_eq!(place.roster, self.place.roster, "what is compared is what is known");
    }
}

/// The part that a node belongs to.
pub(super) fn bucket_of(id: ShortId) -> usize {
    (id.0 % BUCKETS as u64) as usize
}

#[cfg(test)]
mod tests;
