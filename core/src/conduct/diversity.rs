//! Who may fill how much of a peer table, and which peers are kept whatever happens.
//!
//! Identities are cheap to whoever owns one token or rents one network, so a table that takes whoever
//! comes is soon full of one owner's nodes (Sybil), and a node that knows nobody else is eclipsed. Two
//! counter-measures from Bitcoin and Ethereum (Heilman et al., "Eclipse Attacks on Bitcoin's Peer-to-Peer
//! Network", USENIX Security 2015; Marcus et al., "Low-Resource Eclipse Attacks on Ethereum", 2018): no
//! owner and no address group fills more than a set share of a table, and the peers known longest as good
//! are anchors, which are dialled first after a restart and never give way to newcomers.
//!
//! We leave the papers in that tables are not bucketed by a secret hash: an owner is known here by the
//! token or issuer of its admission, which an attacker cannot choose per identity as it can addresses.
//!
//! Shares are of the table's size, not of what is in it, or the first peer would be refused.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::offence::Reputation;
use crate::id::ShortId;
use crate::time::Time;

/// Peers that are kept whatever happens.
pub const ANCHORS_MAX: usize = 8;

/// Who vouches for a node: the first eight bytes of BLAKE3 of its token's or issuer's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner(pub u64);

impl Owner {
    /// The owner called `name`.
    pub fn of(name: &str) -> Owner {
        let hash = blake3::hash(name.as_bytes());
        let first = hash.as_bytes().first_chunk().expect("a hash has 32 bytes");
        Owner(u64::from_le_bytes(*first))
    }
}

/// The network that an address belongs to: what one tenant of a provider usually gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// An IPv4 /24.
    V4([u8; 3]),
    /// An IPv6 /48.
    V6([u8; 6]),
    /// The same of a loopback, link-local or private range, where addresses cost nothing but reach
    /// nobody from outside.
    LocalV4([u8; 3]),
    /// The same of a loopback, link-local or unique local range.
    LocalV6([u8; 6]),
}

impl Group {
    /// The group of an address. An IPv4 address written as IPv6 is IPv4.
    pub fn of(address: IpAddr) -> Group {
        match address.to_canonical() {
            IpAddr::V4(v4) => {
                let [a, b, c, _] = v4.octets();
                // 100.64.0.0/10 is shared behind carriers' translators (RFC 6598).
                let is_shared = a == 100 && b & 0xC0 == 64;
                let is_local = v4.is_loopback() || v4.is_private() || v4.is_link_local() || is_shared;
                if is_local { Group::LocalV4([a, b, c]) } else { Group::V4([a, b, c]) }
            }
            IpAddr::V6(v6) => {
                let [a, b, c, d, e, f, ..] = v6.octets();
                let is_local = v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local();
                let prefix = [a, b, c, d, e, f];
                if is_local { Group::LocalV6(prefix) } else { Group::V6(prefix) }
            }
        }
    }

    /// Whether it is of a range that reaches nobody from outside.
    pub fn is_local(self) -> bool {
        match self {
            Group::LocalV4(_) | Group::LocalV6(_) => true,
            Group::V4(_) | Group::V6(_) => false,
        }
    }
}

/// How much of a table one owner or group may fill. At least one peer of each is admitted always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// Peers in the table at the most.
    pub peers_max: usize,
    /// Of these, one owner's, in percent.
    pub owner_percent: u8,
    /// Of these, one group's.
    pub group_percent: u8,
    /// Of these, one local group's: 100 for a mesh on one machine or in one private network.
    pub local_percent: u8,
}

impl Shares {
    /// An eighth to an owner and to a group, no bound on local groups.
    pub fn of_table(peers_max: usize) -> Shares {
        Shares { peers_max, owner_percent: 12, group_percent: 12, local_percent: 100 }
    }

    fn most(&self, percent: u8) -> usize {
        (self.peers_max.saturating_mul(usize::from(percent.min(100))) / 100).max(1)
    }
}

/// What is known of a peer that wants into the table. An owner or group that is not known is not counted:
/// who dials out only has no address that anybody could check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Who vouches for it.
    pub owner: Option<Owner>,
    /// The group of the address that its link uses; not of one that it claims.
    pub group: Option<Group>,
}

/// Why a peer is not let into a table. Nothing was changed; the peer need not be at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// No place is left.
    #[error("the table is full")]
    Full,
    /// Its owner has as many as it may.
    #[error("its owner has {0} peers in the table, as many as it may")]
    Owner(usize),
    /// Its group has as many as it may.
    #[error("its network has {0} peers in the table, as many as it may")]
    Group(usize),
}

/// How many of each owner and group are in a table. Sized by the table; each call takes O(log n).
#[derive(Clone, Debug)]
pub struct Diversity {
    shares: Shares,
    peers: usize,
    owners: BTreeMap<Owner, usize>,
    groups: BTreeMap<Group, usize>,
}

impl Diversity {
    /// Of an empty table.
    pub fn new(shares: Shares) -> Diversity {
        Diversity { shares, peers: 0, owners: BTreeMap::new(), groups: BTreeMap::new() }
    }

    /// Whether `candidate` may come in; changes nothing.
    pub fn admit(&self, candidate: &Place) -> Result<(), Reason> {
        if self.peers >= self.shares.peers_max {
            return Err(Reason::Full);
        }
        self.admit_in_place_of(candidate, None)
    }

    /// Whether `candidate` may come in if `leaving`, who is in the table, goes.
    pub fn admit_in_place_of(&self, candidate: &Place, leaving: Option<&Place>) -> Result<(), Reason> {
        let owner = candidate.owner.map(|owner| {
            let leaves = leaving.is_some_and(|leaving| leaving.owner == Some(owner));
            self.owners.get(&owner).copied().unwrap_or(0).saturating_sub(usize::from(leaves))
        });
        if let Some(count) = owner.filter(|count| *count >= self.shares.most(self.shares.owner_percent)) {
            return Err(Reason::Owner(count));
        }
        let Some(group) = candidate.group else { return Ok(()) };
        let leaves = leaving.is_some_and(|leaving| leaving.group == Some(group));
        let count = self.groups.get(&group).copied().unwrap_or(0).saturating_sub(usize::from(leaves));
        let percent = if group.is_local() { self.shares.local_percent } else { self.shares.group_percent };
        if count >= self.shares.most(percent) { Err(Reason::Group(count)) } else { Ok(()) }
    }

    /// A peer came in; the caller has asked before.
    pub fn insert(&mut self, peer: &Place) {
        self.peers += 1;
        if let Some(owner) = peer.owner {
            *self.owners.entry(owner).or_default() += 1;
        }
        if let Some(group) = peer.group {
            *self.groups.entry(group).or_default() += 1;
        }
    }

    /// A peer left, with the place that it came in with.
    pub fn remove(&mut self, peer: &Place) {
        self.peers = self.peers.saturating_sub(1);
        peer.owner.into_iter().for_each(|owner| lower(&mut self.owners, owner));
        peer.group.into_iter().for_each(|group| lower(&mut self.groups, group));
    }

    /// Peers in the table.
    pub fn len(&self) -> usize {
        self.peers
    }

    /// Whether the table is empty.
    pub fn is_empty(&self) -> bool {
        self.peers == 0
    }
}

fn lower<K: Ord>(counts: &mut BTreeMap<K, usize>, key: K) {
    if let Some(count) = counts.get_mut(&key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&key);
        }
    }
}

/// A peer as anchors are chosen by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The peer.
    pub node: ShortId,
    /// Since when it has been known and good.
    pub since: Time,
    /// Its reputation here.
    pub reputation: Reputation,
    /// Its owner and group.
    pub place: Place,
}

/// The anchors among `peers`: those known longest with full trust lost by less than a tenth, at most one of
/// an owner and of a group (local groups aside), at most [`ANCHORS_MAX`]; ties go to the lower id. An
/// attacker has to behave for as long as the oldest honest peer to become one.
pub fn anchors(peers: impl IntoIterator<Item = Candidate>) -> Vec<ShortId> {
    let trusted = Reputation::from_millionths(Reputation::FULL.millionths() / 10 * 9);
    let mut good: Vec<Candidate> = peers.into_iter().filter(|peer| peer.reputation >= trusted).collect();
    good.sort_unstable_by_key(|peer| (peer.since, peer.node));
    let (mut owners, mut groups) = (BTreeSet::new(), BTreeSet::new());
    let mut chosen = Vec::new();
    for peer in good {
        let group = peer.place.group.filter(|group| !group.is_local());
        let is_other = peer.place.owner.is_none_or(|owner| !owners.contains(&owner))
            && group.is_none_or(|group| !groups.contains(&group));
        if is_other && chosen.len() < ANCHORS_MAX {
            owners.extend(peer.place.owner);
            groups.extend(group);
            chosen.push(peer.node);
        }
    }
    chosen
}

/// Who gives way to `newcomer` in a full table, if anybody does: the one with the least reputation among
/// those below 0.5, and of several the youngest. Peers that behave never give way, so that newcomers,
/// however many, push nobody out.
pub fn gives_way(table: &Diversity, peers: &[Candidate], newcomer: &Place) -> Option<ShortId> {
    let may_go = |peer: &&Candidate| {
        peer.reputation < Reputation::IGNORED_BELOW
            && table.admit_in_place_of(newcomer, Some(&peer.place)).is_ok()
    };
    let last = peers.iter().filter(may_go);
    last.min_by_key(|peer| (peer.reputation, std::cmp::Reverse(peer.since), peer.node)).map(|peer| peer.node)
}

#[cfg(test)]
mod tests;
