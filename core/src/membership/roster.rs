//! Which nodes of its region a node counts, and which of them it reaches.
//!
//! Everyone counts of whom it is known that it belongs to the region's gossip, the dead too: a part of
//! the region that holds the rest for dead would otherwise take itself for whole. Who said good-bye, and
//! who is banned, does not. That a node left counts when it said so itself: over its own link, or in a
//! statement under its key. For nodes of other regions, and for those that a newcomer never met, the word
//! of a peer is enough.

use super::detector::{Counts, Standing};
use super::{Changed, Neighbours};
use crate::id::ShortId;
use crate::machine::LinkSlot;
use crate::time::Now;

impl Neighbours {
    /// Peers of this region that count, by id, and whether each is in reach: linked, if need be over a
    /// third node; or, in a region so large that not all are linked, held for alive by it.
    pub fn roster(&self) -> impl Iterator<Item = (ShortId, bool)> + '_ {
        let is_hearsay_good = self.hears_its_ring();
        let counted = self.known.iter().filter(|(_, known)| self.is_watched(known) && !known.has_left);
        counted.map(move |(id, known)| {
            let is_alive = || self.watching.detector.standing(*id) == Some(Standing::Alive);
            (*id, known.link.is_some() || is_hearsay_good && is_alive())
        })
    }

    /// How many of the region are held for what.
    pub fn standings(&self) -> Counts {
        self.watching.detector.counts()
    }

    /// Whether this node was told of others and has not met one of them.
    pub fn is_alone(&self) -> bool {
        !self.seeds.is_empty() && self.known.values().all(|known| known.met.is_none())
    }

    /// Whether a large region's word of others is worth something here: whoever has lost most of its own
    /// neighbours is cut off itself, and accuses nobody.
    fn hears_its_ring(&self) -> bool {
        let ring = self.place.beside();
        let linked = ring.iter().filter(|id| self.known.get(id).is_some_and(|known| known.link.is_some()));
        !ring.is_empty() && linked.count() * 2 >= ring.len()
    }

    /// A peer says good-bye.
    pub(super) fn on_leaving(&mut self, now: Now, link: LinkSlot) {
        if let Some(id) = self.by_link.get(&link).copied() {
            self.note_left(now, id);
        }
    }

    /// Somebody says that a node left as this incarnation.
    pub(super) fn hear_left(&mut self, now: Now, id: ShortId, incarnation: u64) {
        let Some(known) = self.known.get(&id) else { return };
        if known.link.is_none() && known.incarnation == incarnation && !self.is_watched(known) {
            self.note_left(now, id);
        }
    }

    /// A node left; those who are not linked with it are told.
    pub(super) fn note_left(&mut self, now: Now, id: ShortId) {
        let Some(known) = self.known.get_mut(&id).filter(|known| !known.has_left) else { return };
        known.has_left = true;
        self.changed = Changed::Own;
        self.due = None;
        self.spread(id, now);
    }
}
