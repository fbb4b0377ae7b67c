//! Overlays and trees that the nodes of one process have in common.
//!
//! In a simulator two thousand nodes each need the overlay of two thousand members and, of each origin,
//! a place in its trees: computed and kept for each node, that is hours and gigabytes. What is in here is
//! a pure function of what it is asked by, so who asked first, or whether it was dropped meanwhile,
//! changes what an answer costs and never what it is. The lock is taken when a view changes and when
//! an origin is first heard of in one, never for a message.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::rings::{Index, Overlay, name_of};
use super::tree::{Broken, Trees};
use crate::hash::rendezvous;
use crate::id::ShortId;

/// Overlays kept: nodes learn of a change one after another, so several are in use.
pub const OVERLAYS_MAX: usize = 16;
/// Pairs of trees kept: 24 MB where there are 2,000 members.
pub const TREES_MAX: usize = 1024;

/// What its nodes share; a clone is another door to the same.
#[derive(Clone, Debug, Default)]
pub struct Pool(Arc<Mutex<Shelves>>);

#[derive(Debug, Default)]
struct Shelves {
    overlays: Shelf<(u64, u64), Overlay>,
    trees: Shelf<(u64, u64, u64, Index), Trees>,
}

/// Values by key, of which the one that came first is dropped first.
#[derive(Debug)]
struct Shelf<K, V> {
    values: BTreeMap<K, Arc<V>>,
    order: VecDeque<K>,
}

impl Pool {
    /// The overlay of `members`, which are sorted and distinct: the one somebody has, or a new one.
    pub fn overlay(&self, seed: u64, members: &[ShortId]) -> Arc<Overlay> {
        let key = (seed, name_of(members));
        let found = self.shelves().overlays.get(key);
        if let Some(overlay) = found.filter(|overlay| overlay.members() == members) {
            return overlay;
        }
        let overlay = Arc::new(Overlay::new(seed, members));
        self.shelves().overlays.put(key, &overlay, OVERLAYS_MAX);
        overlay
    }

    /// The trees of `origin` in an overlay without the broken links.
    pub(super) fn trees(&self, overlay: &Overlay, broken: &Broken, origin: Index) -> Arc<Trees> {
        let name_pair = |name, (one, other): (ShortId, ShortId)| rendezvous(rendezvous(name, one.0), other.0);
        let key = (overlay.seed(), overlay.name(), broken.iter().fold(0, name_pair), origin);
        if let Some(trees) = self.shelves().trees.get(key) {
            return trees;
        }
        let trees = Arc::new(Trees::grow(overlay, origin, &broken.among(overlay)));
        self.shelves().trees.put(key, &trees, TREES_MAX);
        trees
    }

    fn shelves(&self) -> MutexGuard<'_, Shelves> {
        // Nothing that may panic runs under the lock, and the shelves are whole at every step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K, V> Default for Shelf<K, V> {
    fn default() -> Shelf<K, V> {
        Shelf { values: BTreeMap::new(), order: VecDeque::new() }
    }
}

impl<K: Copy + Ord, V> Shelf<K, V> {
    fn get(&self, key: K) -> Option<Arc<V>> {
        self.values.get(&key).cloned()
    }

    fn put(&mut self, key: K, value: &Arc<V>, count_max: usize) {
        if self.values.insert(key, value.clone()).is_some() {
            return;
        }
        self.order.push_back(key);
        if self.order.len() > count_max
            && let Some(oldest) = self.order.pop_front()
        {
            self.values.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_for_the_same_gets_the_same_and_what_is_old_goes() {
        let pool = Pool::default();
        let members: Vec<ShortId> = (1..=80).map(ShortId).collect();
        let overlay = pool.overlay(1, &members);
        assert!(Arc::ptr_eq(&overlay, &pool.clone().overlay(1, &members)));
        assert!(!Arc::ptr_eq(&overlay, &pool.overlay(2, &members)));
        assert!(!Arc::ptr_eq(&overlay, &pool.overlay(1, &members[1..])));
        let trees = pool.trees(&overlay, &Broken::default(), 3);
        assert!(Arc::ptr_eq(&trees, &pool.trees(&overlay, &Broken::default(), 3)));
        let mut broken = Broken::default();
        broken.add(members[3], overlay.neighbours(members[3])[0]);
        assert!(!Arc::ptr_eq(&trees, &pool.trees(&overlay, &broken, 3)));
        for seed in 0..OVERLAYS_MAX as u64 {
            pool.overlay(seed + 10, &members);
        }
        assert!(!Arc::ptr_eq(&overlay, &pool.overlay(1, &members)));
        assert_eq!(pool.shelves().overlays.values.len(), OVERLAYS_MAX);
    }
}
