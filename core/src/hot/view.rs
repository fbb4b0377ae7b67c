//! What the machine decided, as the hot path reads it: immutable, replaced as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::conduct::Gate;
use crate::hash::{HashMap, rendezvous};
use crate::id::{MeshId, RegionId, ShortId};
use crate::identity::VerifyKey;
use crate::interest::Trie;
use crate::machine::{Destination, LinkSlot};

use super::relayed::Relays;
use super::shard::Shard;

/// A node that may speak, with the shard of the hot path that keeps its order.
#[derive(Debug)]
pub struct Origin {
    /// Who.
    pub id: ShortId,
    /// Its region.
    pub region: RegionId,
    /// Its identity key.
    pub key: VerifyKey,
    /// Whether it passes on what others sealed, as aggregators do.
    pub carries: bool,
    /// Its shard; outlives every view.
    pub shard: Shard,
}

impl Origin {
    /// An origin of which nothing came yet.
    pub fn new(id: ShortId, region: RegionId, key: VerifyKey, carries: bool) -> Origin {
        Origin { id, region, key, carries, shard: Shard::default() }
    }
}

/// Who this node is; never changes while it runs.
#[derive(Clone, Copy, Debug)]
pub struct Me {
    /// The mesh.
    pub mesh: MeshId,
    /// This node.
    pub id: ShortId,
    /// Its region.
    pub region: RegionId,
    /// Its incarnation.
    pub incarnation: u64,
}

/// A subscription as the trie keeps it: connection in the high half, number in the low.
pub fn subscription(connection: u32, number: u32) -> u64 {
    u64::from(connection) << 32 | u64::from(number)
}

/// Interest, links and keys at one time. A clone costs a few reference counts.
#[derive(Clone, Debug)]
pub struct View {
    /// Nodes that may speak. A node that was convicted is not here, and what it seals is dropped.
    pub origins: Arc<HashMap<ShortId, Arc<Origin>>>,
    /// Nodes at the other end of a link.
    pub links: Arc<HashMap<ShortId, LinkSlot>>,
    /// The same the other way round.
    pub peers: Arc<HashMap<LinkSlot, ShortId>>,
    /// Links that lead over other nodes, and what passes here on its way over them.
    pub relays: Arc<Relays>,
    /// What each peer may cost.
    pub gates: Arc<HashMap<LinkSlot, Arc<Gate>>>,
    /// Nodes with which no link is taken.
    pub banned: Arc<BTreeSet<ShortId>>,
    /// Nodes that are held for dead, or left: nothing is owed to them.
    pub lost: Arc<BTreeSet<ShortId>>,
    /// For each other region the peers that lead there.
    pub ways: Arc<HashMap<RegionId, Vec<ShortId>>>,
    /// How many ways this node passes over toward a region, since what it sent by them was not acknowledged
    /// in time; a region that is not here is reached by the best.
    pub detours: Arc<BTreeMap<RegionId, u16>>,
    /// Subscriptions of agents here ([`subscription`]).
    pub local: Trie<u64>,
    /// What others want: indices into `destinations`.
    pub remote: Trie<u32>,
    /// Whom the remote trie speaks of.
    pub destinations: Arc<Vec<Destination>>,
}

impl View {
    /// The view of a node without peers; `seed` keys the tries.
    pub fn empty(seed: u64) -> View {
        View {
            origins: Arc::default(),
            links: Arc::default(),
            peers: Arc::default(),
            relays: Arc::default(),
            gates: Arc::default(),
            banned: Arc::default(),
            lost: Arc::default(),
            ways: Arc::default(),
            detours: Arc::default(),
            local: Trie::new(seed),
            remote: Trie::new(seed),
            destinations: Arc::default(),
        }
    }

    /// The link over which bundles of `origin` leave for `region`: rendezvous hashing over the peers
    /// that lead there, so that all of an origin's bundles take one way, and only those of a lost
    /// peer move. Passes over `detour` of them, beginning again behind the last.
    pub fn way(&self, origin: ShortId, region: RegionId, detour: u16) -> Option<LinkSlot> {
        let rank = |peer: ShortId| (rendezvous(origin.0, peer.0), peer.0);
        if detour == 0 {
            return self.linked_ways(region).max_by_key(|(peer, _)| rank(*peer)).map(|(_, link)| link);
        }
        let mut ways: Vec<_> = self.linked_ways(region).map(|(peer, link)| (rank(peer), link)).collect();
        ways.sort_unstable_by_key(|(rank, _)| std::cmp::Reverse(*rank));
        let place = usize::from(detour).checked_rem(ways.len())?;
        Some(ways[place].1)
    }

    fn linked_ways(&self, region: RegionId) -> impl Iterator<Item = (ShortId, LinkSlot)> + '_ {
        let peers = self.ways.get(&region).into_iter().flatten();
        peers.filter_map(|peer| self.links.get(peer).map(|link| (*peer, *link)))
    }

    /// How many ways this node passes over toward a region, and how many the node after it is to: first all
    /// ways from here are tried, then all of these with the next ways from there.
    pub fn detour(&self, region: RegionId) -> (u16, u16) {
        let Some(detour) = self.detours.get(&region) else { return (0, 0) };
        let ways = u16::try_from(self.linked_ways(region).count()).unwrap_or(u16::MAX).max(1);
        (detour % ways, detour / ways)
    }

    /// Whether bundles of `origin` may come over a link: from itself, or from who passes on what others
    /// sealed. Of a link that the view does not have yet nobody knows.
    pub fn may_bring(&self, from: LinkSlot, origin: ShortId) -> bool {
        let Some(peer) = self.peers.get(&from) else { return true };
        *peer == origin || self.origins.get(peer).is_none_or(|peer| peer.carries)
    }

    /// Whether `node` is one of `region` to which something may be owed.
    pub fn is_neighbour(&self, node: ShortId, region: RegionId) -> bool {
        !self.lost.contains(&node) && self.origins.get(&node).is_some_and(|origin| origin.region == region)
    }

    /// The link over which `destination` is reached now.
    pub fn link_to(&self, origin: ShortId, destination: Destination) -> Option<LinkSlot> {
        match destination {
            Destination::Node(node) => self.links.get(&node).copied(),
            Destination::Region(region) => self.way(origin, region, self.detour(region).0),
            Destination::Local => None,
        }
    }
}
