//! Slots in a dense order, cut into three zones, so that a random one of a zone takes O(1).

use super::Audience;

/// Who may hear of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// We and everybody else.
    Listable,
    /// We alone.
    Silent,
    /// Nobody: it is gone, or not trusted.
    Unusable,
}

/// All slots: first the listable ones, then the silent, then the unusable.
#[derive(Clone, Debug, Default)]
pub(super) struct Zones {
    order: Vec<u32>,
    /// Of each slot, its position in `order`.
    positions: Vec<u32>,
    listable_end: usize,
    silent_end: usize,
}

impl Zones {
    /// The slots that `audience` may hear of.
    pub(super) fn visible(&self, audience: Audience) -> &[u32] {
        match audience {
            Audience::Ourselves => &self.order[..self.silent_end],
            Audience::Others => &self.order[..self.listable_end],
        }
    }

    /// All slots.
    pub(super) fn all(&self) -> &[u32] {
        &self.order
    }

    /// Where `slot`, which is in the order, stands.
    pub(super) fn standing(&self, slot: u32) -> Standing {
        let position = self.positions[slot as usize] as usize;
        if position < self.listable_end {
            Standing::Listable
        } else if position < self.silent_end {
            Standing::Silent
        } else {
            Standing::Unusable
        }
    }

    /// Adds a slot that is not in the order.
    pub(super) fn add(&mut self, slot: u32, standing: Standing) {
        if self.positions.len() <= slot as usize {
            self.positions.resize(slot as usize + 1, 0);
        }
        self.positions[slot as usize] = self.order.len() as u32;
        self.order.push(slot);
        self.move_to(slot, standing);
    }

    /// Takes a slot out of the order.
    pub(super) fn remove(&mut self, slot: u32) {
        self.move_to(slot, Standing::Unusable);
        self.swap_to(slot, self.order.len() - 1);
        self.order.pop();
    }

    /// Moves a slot to another zone, over one border at a time.
    pub(super) fn move_to(&mut self, slot: u32, standing: Standing) {
        let rank = |standing| match standing {
            Standing::Listable => 0,
            Standing::Silent => 1,
            Standing::Unusable => 2,
        };
        let (from, to) = (rank(self.standing(slot)), rank(standing));
        if from > 1 && to <= 1 {
            self.swap_to(slot, self.silent_end);
            self.silent_end += 1;
        }
        if from > 0 && to == 0 {
            self.swap_to(slot, self.listable_end);
            self.listable_end += 1;
        }
        if from == 0 && to > 0 {
            self.listable_end -= 1;
            self.swap_to(slot, self.listable_end);
        }
        if from <= 1 && to > 1 {
            self.silent_end -= 1;
            self.swap_to(slot, self.silent_end);
        }
    }

    fn swap_to(&mut self, slot: u32, position: usize) {
        let from = self.positions[slot as usize] as usize;
        let other = self.order[position];
        self.order.swap(from, position);
        self.positions[slot as usize] = position as u32;
        self.positions[other as usize] = from as u32;
    }
}
