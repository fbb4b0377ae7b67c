//! From a short id to a slot in O(1).
//!
//! Open addressing with linear probing and backward-shift deletion (Knuth, TAOCP 3, section 6.4,
//! algorithms L and R). The standard library's hash map would do, but its order of iteration
//! differs between runs; this one has no iteration to misuse. The hash is seeded, as whoever
//! chooses keys could otherwise choose ids that all fall on one cell.

use crate::id::ShortId;

/// Marks a free cell; a registry has fewer slots.
const FREE: u32 = u32::MAX;

/// The fewest cells; a power of two.
const CELLS_LEAST: usize = 16;

#[derive(Clone, Copy, Debug)]
struct Cell {
    id: ShortId,
    slot: u32,
}

const FREE_CELL: Cell = Cell { id: ShortId(0), slot: FREE };

/// A table that is never more than 3/4 full.
#[derive(Clone, Debug)]
pub(super) struct Index {
    seed: u64,
    cells: Vec<Cell>,
    len: usize,
}

impl Index {
    pub(super) fn new(seed: u64) -> Index {
        Index { seed, cells: vec![FREE_CELL; CELLS_LEAST], len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, id: ShortId) -> Option<u32> {
        let cell = self.cells[self.find(id)];
        (cell.slot != FREE).then_some(cell.slot)
    }

    /// Adds an id that is not there yet.
    pub(super) fn insert(&mut self, id: ShortId, slot: u32) {
        assert!(slot != FREE, "a registry has fewer slots than a u32 has numbers");
        if (self.len + 1) * 4 > self.cells.len() * 3 {
            self.grow();
        }
        let cell = self.find(id);
        assert!(self.cells[cell].slot == FREE, "the caller looked first");
        self.cells[cell] = Cell { id, slot };
        self.len += 1;
    }

    pub(super) fn remove(&mut self, id: ShortId) -> Option<u32> {
        let mut hole = self.find(id);
        let slot = self.cells[hole].slot;
        if slot == FREE {
            return None;
        }
        // Move back every following entry whose way from its home leads over the hole.
        let mask = self.cells.len() - 1;
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let cell = self.cells[at];
            if cell.slot == FREE {
                break;
            }
            let way = at.wrapping_sub(self.home(cell.id)) & mask;
            if way >= at.wrapping_sub(hole) & mask {
                self.cells[hole] = cell;
                hole = at;
            }
        }
        self.cells[hole] = FREE_CELL;
        self.len -= 1;
        Some(slot)
    }

    /// The cell that holds `id`, or the free one where it would go. There is a free one, as the
    /// table is never full.
    fn find(&self, id: ShortId) -> usize {
        let mut at = self.home(id);
        while self.cells[at].slot != FREE && self.cells[at].id != id {
            at = (at + 1) & (self.cells.len() - 1);
        }
        at
    }

    /// Where the search for `id` begins.
    fn home(&self, id: ShortId) -> usize {
        // The two halves of a product by an odd constant, folded: every bit of the id reaches the
        // upper bits that choose the cell.
        let product = u128::from(id.0 ^ self.seed) * 0x9E37_79B9_7F4A_7C15;
        let folded = (product >> 64) as u64 ^ product as u64;
        (folded >> (64 - self.cells.len().trailing_zeros())) as usize
    }

    fn grow(&mut self) {
        let doubled = vec![FREE_CELL; self.cells.len() * 2];
        let before = std::mem::replace(&mut self.cells, doubled);
        for cell in before.into_iter().filter(|cell| cell.slot != FREE) {
            let at = self.find(cell.id);
            self.cells[at] = cell;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn behaves_as_a_map(
            seed: u64,
            steps in prop::collection::vec((any::<bool>(), 0u64..60, 0u32..1_000), 0..400)
        ) {
            let mut index = Index::new(seed);
            let mut model = BTreeMap::new();
            for (is_insert, id, slot) in steps {
                let id = ShortId(id);
                if !is_insert {
                    prop_assert_eq!(index.remove(id), model.remove(&id));
                } else if index.get(id).is_none() {
                    index.insert(id, slot);
                    model.insert(id, slot);
                }
                prop_assert_eq!(index.len(), model.len());
                for id in (0..60).map(ShortId) {
                    prop_assert_eq!(index.get(id), model.get(&id).copied());
                }
            }
        }
    }

    #[test]
    fn ids_chosen_for_one_seed_spread_under_another() {
        let crowded = Index { cells: vec![FREE_CELL; 1 << 16], ..Index::new(1) };
        let chosen: Vec<ShortId> = (0..).map(ShortId).filter(|id| crowded.home(*id) < 64).take(500).collect();
        let other = Index { seed: 0xDEAD_BEEF_0BAD_CAFE, ..crowded };
        let near = chosen.iter().filter(|id| other.home(**id) < 64).count();
        assert!(near < 50, "{near} of 500 still fall on the same 64 cells");
    }
}
