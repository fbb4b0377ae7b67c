//! The topology manager: which peers a node gossips with, by how far away they are.
//!
//! Every [`REBALANCE_ROUNDS`] rounds peers are put in order by their smoothed round trip time, cut into
//! `clusters`, and the preferred ones chosen anew. A preferred peer gives way only to one that is
//! nearer by a fifth, so that two that are equally far do not take turns. One preferred peer is always
//! outside the nearest cluster, where there is anybody: if all chose near ones alone, clusters would
//! be islands. For the same reason a selection of near peers ends with a far one.
//!
//! Between two rebalances a selection reads the orders of the last one: O(k), and nothing but the
//! result is allocated. A peer takes about 60 bytes.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::hash::rendezvous;
use crate::id::{RegionId, ShortId};
use crate::rng::Rng;
use crate::rtt::SmoothedRtt;

mod clusters;
mod orders;

pub use clusters::{CLUSTERS_MAX, Cluster, GAP_MIN};
use orders::Order;

/// Peers at the most.
pub const PEERS_MAX: usize = 16_384;
/// Regions whose distance is declared at the most.
pub const REGIONS_MAX: usize = 256;
/// Rounds between two rebalances.
pub const REBALANCE_ROUNDS: u64 = 100;
/// Preferred peers unless configured otherwise: the default fan-out.
pub const PREFERRED: usize = 10;
/// Of so many selections of a single near peer, one is of a far peer instead.
const FAR_EVERY: u64 = 8;

/// Place of a peer in the table.
type Slot = u16;

/// How peers are chosen for gossip and push-pull.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// Each equally likely.
    Random,
    /// The preferred ones and then the nearest, a far one in the last place.
    LatencyAware,
    /// As many near ones as above and a fifth, rounded up, at random among the others: 8 and 2 of 10, 1
    /// and 1 of 2, one at random where one is wanted.
    #[default]
    Hybrid,
    /// Those of the own region, then of the nearest region and so on, nearest first in each; one of
    /// another region in the last place.
    Geographic,
}

impl Strategy {
    /// The strategies by name.
    pub const NAMES: [(&'static str, Strategy); 4] = [
        ("random", Strategy::Random),
        ("latency", Strategy::LatencyAware),
        ("hybrid", Strategy::Hybrid),
        ("geographic", Strategy::Geographic),
    ];
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Strategy::NAMES.iter().find(|(_, strategy)| strategy == self);
        f.write_str(name.map_or("", |(name, _)| name))
    }
}

/// What the manager is told once.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// This node: of peers that are equally far, each node prefers others.
    pub me: ShortId,
    /// This node's region.
    pub region: RegionId,
    /// The strategy in use; part of the record of a rebalance.
    pub strategy: Strategy,
    /// How many peers are preferred.
    pub preferred: usize,
}

/// What a rebalance found and changed: for telemetry and for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rebalanced {
    /// The round after which it was.
    pub round: u64,
    /// The strategy in use.
    pub strategy: Strategy,
    /// How many peers there are.
    pub peers: usize,
    /// How many of them are measured, and so in a cluster.
    pub measured: usize,
    /// The clusters, nearest first.
    pub clusters: Vec<Cluster>,
    /// The preferred peers, nearest first.
    pub preferred: Vec<ShortId>,
    /// The one of them that is kept for being far.
    pub far: Option<ShortId>,
    /// Those that became preferred.
    pub joined: Vec<ShortId>,
    /// Those that no longer are.
    pub left: Vec<ShortId>,
}

#[derive(Clone, Copy, Debug)]
struct Peer {
    id: ShortId,
    region: RegionId,
    rtt: Option<SmoothedRtt>,
    /// Decides between those that are equally far.
    weight: u32,
    /// Its place in the order of near ones.
    rank: u16,
    /// [`UNMEASURED`] until a rebalance after the first measurement.
    cluster: u8,
}

const UNMEASURED: u8 = u8::MAX;

/// The peers of a node by distance.
#[derive(Clone, Debug)]
pub struct Manager {
    settings: Settings,
    rounds: u64,
    peers: Vec<Peer>,
    by_id: Vec<Slot>,
    /// In an order that selections stir.
    stirred: Vec<Slot>,
    near: Order,
    regional: Order,
    distances: BTreeMap<RegionId, Duration>,
    clusters: Vec<Cluster>,
    preferred: Vec<ShortId>,
    far: Option<ShortId>,
}

impl Manager {
    /// Without peers.
    pub fn new(settings: Settings) -> Manager {
        Manager {
            settings,
            rounds: 0,
            peers: Vec::new(),
            by_id: Vec::new(),
            stirred: Vec::new(),
            near: Order::default(),
            regional: Order::default(),
            distances: BTreeMap::new(),
            clusters: Vec::new(),
            preferred: Vec::new(),
            far: None,
        }
    }

    /// Adds a candidate, in O(n); false where it is one or there is no room.
    pub fn add(&mut self, id: ShortId, region: RegionId) -> bool {
        let Err(place) = self.place(id) else { return false };
        if self.peers.len() >= PEERS_MAX {
            return false;
        }
        let slot = self.peers.len() as Slot;
        let weight = rendezvous(self.settings.me.0, id.0) as u32;
        self.peers.push(Peer { id, region, rtt: None, weight, rank: slot, cluster: UNMEASURED });
        self.by_id.insert(place, slot);
        self.stirred.push(slot);
        self.near.add(slot, false);
        self.regional.add(slot, region == self.settings.region);
        self.settle();
        true
    }

    /// Takes a candidate out, in O(n); false where it is none.
    pub fn remove(&mut self, id: ShortId) -> bool {
        let Ok(place) = self.place(id) else { return false };
        let slot = self.by_id[place];
        let last = (self.peers.len() - 1) as Slot;
        self.peers.swap_remove(usize::from(slot));
        let lists = [&mut self.by_id, &mut self.stirred, &mut self.near.slots, &mut self.regional.slots];
        for list in lists {
            list.retain(|other| *other != slot);
            for other in list.iter_mut().filter(|other| **other == last) {
                *other = slot;
            }
        }
        self.settle();
        true
    }

    /// Takes a measured round trip; false where the peer is none.
    pub fn measure(&mut self, id: ShortId, sample: Duration) -> bool {
        let Ok(place) = self.place(id) else { return false };
        let rtt = &mut self.peers[usize::from(self.by_id[place])].rtt;
        *rtt = Some(rtt.map_or(SmoothedRtt::first(sample), |rtt| rtt.next(sample)));
        true
    }

    /// The smoothed round trip time of a peer, once measured.
    pub fn rtt(&self, id: ShortId) -> Option<SmoothedRtt> {
        self.peer(id)?.rtt
    }

    /// Says how far a region is; otherwise that is the distance of the nearest of its peers. False where
    /// there is no room.
    pub fn set_region_distance(&mut self, region: RegionId, distance: Duration) -> bool {
        let has_room = self.distances.len() < REGIONS_MAX || self.distances.contains_key(&region);
        if has_room {
            self.distances.insert(region, distance);
        }
        has_room
    }

    /// Counts a round; every [`REBALANCE_ROUNDS`]th rebalances.
    pub fn on_round(&mut self, rng: &mut Rng) -> Option<Rebalanced> {
        self.rounds += 1;
        self.rounds.is_multiple_of(REBALANCE_ROUNDS).then(|| self.rebalance(rng))
    }

    /// Up to `k` different peers.
    ///
    /// As long as nothing is known to be near, before the first rebalance, near ones are drawn at random.
    pub fn select(&mut self, strategy: Strategy, k: usize, rng: &mut Rng) -> Vec<ShortId> {
        let k = k.min(self.peers.len());
        let mut chosen = Vec::with_capacity(k);
        match strategy {
            Strategy::Random => self.draw(k, 0, rng, &mut chosen),
            Strategy::LatencyAware | Strategy::Hybrid if self.clusters.is_empty() => {
                self.draw(k, 0, rng, &mut chosen);
            }
            Strategy::LatencyAware => chosen.extend(self.near.choose(k, rng).map(|slot| self.id(slot))),
            Strategy::Geographic => chosen.extend(self.regional.choose(k, rng).map(|slot| self.id(slot))),
            Strategy::Hybrid => {
                let near = k - k.div_ceil(5);
                chosen.extend(self.near.slots[..near].iter().map(|slot| self.id(*slot)));
                self.draw(k - near, near, rng, &mut chosen);
            }
        }
        chosen
    }

    /// Recomputes clusters and preferred peers.
    pub fn rebalance(&mut self, rng: &mut Rng) -> Rebalanced {
        let sorted = self.cluster();
        let before = std::mem::take(&mut self.preferred);
        self.far = self.choose_far(&before, &sorted, rng);
        self.preferred = self.choose_preferred(&before, &sorted);
        self.put_in_order(sorted);
        let is_in = |list: &[ShortId], id: &ShortId| list.contains(id);
        Rebalanced {
            round: self.rounds,
            strategy: self.settings.strategy,
            peers: self.peers.len(),
            measured: self.clusters.iter().map(|cluster| cluster.peers).sum(),
            clusters: self.clusters.clone(),
            preferred: self.preferred.clone(),
            far: self.far,
            joined: self.preferred.iter().copied().filter(|id| !is_in(&before, id)).collect(),
            left: before.iter().copied().filter(|id| !is_in(&self.preferred, id)).collect(),
        }
    }

    /// The preferred peers as of the last rebalance, nearest first.
    pub fn preferred(&self) -> &[ShortId] {
        &self.preferred
    }

    /// The clusters as of the last rebalance, nearest first.
    pub fn clusters(&self) -> &[Cluster] {
        &self.clusters
    }

    /// In which of them a peer was.
    pub fn cluster_of(&self, id: ShortId) -> Option<usize> {
        self.peer(id).map(|peer| usize::from(peer.cluster)).filter(|cluster| *cluster < self.clusters.len())
    }

    /// Whether a peer is a candidate.
    pub fn has(&self, id: ShortId) -> bool {
        self.place(id).is_ok()
    }

    /// How many candidates there are.
    pub fn len(&self) -> usize {
        self.peers.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    /// The place of `id` among the sorted, or where it would be.
    fn place(&self, id: ShortId) -> Result<usize, usize> {
        self.by_id.binary_search_by_key(&id, |slot| self.id(*slot))
    }

    fn peer(&self, id: ShortId) -> Option<&Peer> {
        let place = self.place(id).ok()?;
        self.peers.get(usize::from(self.by_id[place]))
    }

    fn id(&self, slot: Slot) -> ShortId {
        self.peers[usize::from(slot)].id
    }

    /// Draws `count` more at random among those whose rank is not below `rank_min`.
    ///
    /// The first steps of a Fisher-Yates shuffle over what earlier draws left. It steps over at most
    /// `rank_min` others, which is less than five times `count` wherever it is not zero.
    fn draw(&mut self, count: usize, rank_min: usize, rng: &mut Rng, chosen: &mut Vec<ShortId>) {
        let wanted = chosen.len() + count;
        for place in 0..self.stirred.len() {
            if chosen.len() == wanted {
                return;
            }
            let other = place + rng.below((self.stirred.len() - place) as u64) as usize;
            self.stirred.swap(place, other);
            let peer = &self.peers[usize::from(self.stirred[place])];
            if usize::from(peer.rank) >= rank_min {
                chosen.push(peer.id);
            }
        }
    }
}

#[cfg(test)]
mod tests;
