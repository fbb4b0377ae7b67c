//! The orders that a rebalance makes of the peers, and the choice of the preferred ones.

use std::collections::BTreeMap;
use std::time::Duration;

use super::clusters::clusters;
use super::{FAR_EVERY, Manager, Peer, Slot, UNMEASURED};
use crate::id::{RegionId, ShortId};
use crate::rng::Rng;

/// Peers in an order whose first ones are alike, and those that are not.
#[derive(Clone, Debug, Default)]
pub(super) struct Order {
    pub(super) slots: Vec<Slot>,
    /// How many of the first are alike.
    alike: usize,
    others: Vec<Slot>,
}

impl Order {
    /// The first `k`, the last of them replaced by one of the others where all would be alike.
    pub(super) fn choose(&self, k: usize, rng: &mut Rng) -> impl Iterator<Item = Slot> + '_ {
        let wants_other = match k {
            0 => false,
            1 => rng.below(FAR_EVERY) == 0,
            _ => true,
        };
        let is_apart = wants_other && k <= self.alike && !self.others.is_empty();
        let other = is_apart.then(|| self.others[rng.below(self.others.len() as u64) as usize]);
        let first = k - usize::from(is_apart);
        self.slots[..first].iter().copied().chain(other)
    }

    /// Adds one behind those that are alike, or behind all.
    pub(super) fn add(&mut self, slot: Slot, is_alike: bool) {
        let place = if is_alike { self.alike } else { self.slots.len() };
        self.slots.insert(place, slot);
    }

    fn settle(&mut self, is_alike: impl Fn(Slot) -> bool) {
        self.alike = self.slots.iter().take_while(|slot| is_alike(**slot)).count();
        self.others.clear();
        self.others.extend(self.slots.iter().copied().filter(|slot| !is_alike(*slot)));
    }
}

impl Peer {
    /// Orders by distance; those not measured are last.
    fn distance(&self) -> (Duration, u32, ShortId) {
        (self.rtt.map_or(Duration::MAX, |rtt| rtt.average()), self.weight, self.id)
    }

    /// Whether it is nearer than `other` by a fifth.
    fn is_clearly_nearer(&self, other: &Peer) -> bool {
        match (self.rtt, other.rtt) {
            (Some(mine), Some(others)) => mine.average() * 5 < others.average() * 4,
            (Some(_), None) => true,
            (None, _) => false,
        }
    }
}

impl Manager {
    /// Brings what depends on the orders in line with them.
    pub(super) fn settle(&mut self) {
        for (rank, slot) in (0..).zip(&self.near.slots) {
            self.peers[usize::from(*slot)].rank = rank;
        }
        let peers = &self.peers;
        let nearest = self.near.slots.first().map(|slot| peers[usize::from(*slot)].cluster);
        self.near.settle(|slot| Some(peers[usize::from(slot)].cluster) == nearest);
        let region = self.settings.region;
        self.regional.settle(|slot| peers[usize::from(slot)].region == region);
    }

    /// Cuts the peers into clusters; their slots, nearest first.
    pub(super) fn cluster(&mut self) -> Vec<Slot> {
        let mut sorted = self.near.slots.clone();
        sorted.sort_unstable_by_key(|slot| self.peers[usize::from(*slot)].distance());
        let average = |slot: &Slot| Some(self.peers[usize::from(*slot)].rtt?.average());
        let distances: Vec<Duration> = sorted.iter().map_while(average).collect();
        self.clusters = clusters(&distances);
        let sizes = (0..).zip(&self.clusters);
        let mut numbers = sizes.flat_map(|(number, cluster)| std::iter::repeat_n(number, cluster.peers));
        for slot in &sorted {
            self.peers[usize::from(*slot)].cluster = numbers.next().unwrap_or(UNMEASURED);
        }
        sorted
    }

    /// The far peer that is kept: the one there is, or any outside the nearest cluster.
    pub(super) fn choose_far(&self, before: &[ShortId], sorted: &[Slot], rng: &mut Rng) -> Option<ShortId> {
        let nearest = self.peers[usize::from(*sorted.first()?)].cluster;
        let is_far = |peer: &Peer| peer.cluster != nearest;
        let is_kept = |id: &ShortId| before.contains(id) && self.peer(*id).is_some_and(is_far);
        if self.settings.preferred < 2 || self.far.is_some_and(|far| is_kept(&far)) {
            return self.far;
        }
        let first = sorted.iter().position(|slot| is_far(&self.peers[usize::from(*slot)]))?;
        // All behind the nearest cluster are outside of it.
        let drawn = rng.below((sorted.len() - first) as u64) as usize;
        Some(self.id(sorted[first + drawn]))
    }

    /// The far one, and of the others those preferred before, as long as none is clearly nearer.
    pub(super) fn choose_preferred(&self, before: &[ShortId], sorted: &[Slot]) -> Vec<ShortId> {
        let count = self.settings.preferred.min(sorted.len()) - usize::from(self.far.is_some());
        let peer = |slot: &Slot| &self.peers[usize::from(*slot)];
        let near: Vec<&Peer> = sorted.iter().map(peer).filter(|peer| Some(peer.id) != self.far).collect();
        let (mut kept, mut free): (Vec<&Peer>, Vec<&Peer>) =
            near.into_iter().partition(|peer| before.contains(&peer.id));
        kept.truncate(count);
        let missing = (count - kept.len()).min(free.len());
        let mut chosen: Vec<&Peer> = free.drain(..missing).collect();
        // The farthest against the nearest, the next against the next.
        for candidate in free {
            let is_worse = kept.last().is_some_and(|worst| candidate.is_clearly_nearer(worst));
            if !is_worse {
                break;
            }
            kept.pop();
            chosen.push(candidate);
        }
        chosen.extend(kept);
        chosen.extend(self.far.and_then(|far| self.peer(far)));
        chosen.sort_unstable_by_key(|peer| peer.distance());
        chosen.iter().map(|peer| peer.id).collect()
    }

    /// Preferred ones first, then by distance; and all by region.
    pub(super) fn put_in_order(&mut self, sorted: Vec<Slot>) {
        let is_preferred = |slot: &Slot| self.preferred.contains(&self.id(*slot));
        let (first, rest): (Vec<Slot>, Vec<Slot>) = sorted.iter().partition(|slot| is_preferred(slot));
        self.near.slots = first;
        self.near.slots.extend(rest);
        let mut distances: BTreeMap<RegionId, Duration> = BTreeMap::new();
        for slot in sorted.iter().rev() {
            // From the farthest on, so the nearest of a region is what stays.
            let peer = &self.peers[usize::from(*slot)];
            distances.insert(peer.region, peer.distance().0);
        }
        distances.extend(&self.distances);
        self.regional.slots = sorted;
        self.regional.slots.sort_by_cached_key(|slot| {
            let peer = &self.peers[usize::from(*slot)];
            let is_foreign = peer.region != self.settings.region;
            (is_foreign, distances.get(&peer.region).copied(), peer.region, peer.distance())
        });
        self.settle();
    }
}
