//! From what peers declared to the view by which the hot path routes.
//!
//! Collects changes and publishes a new [`View`] at most every [`limits::VIEW_INTERVAL`]. What must
//! come after a view (sending again, confirmations) is kept here until it is published.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::hash::HashMap;
use crate::hot::view::View;
use crate::id::{RegionId, ShortId};
use crate::interest::exchange::{Change, Wishes};
use crate::interest::{Pattern, Trie};
use crate::limits;
use crate::machine::{Destination, Outbox, Output};
use crate::membership::{Changed, Neighbours};
use crate::time::{Now, Time};
use crate::wire::message::Interest;

/// Regions of which a node knows the way; what is declared for further ones is ignored.
const REGIONS_MAX: usize = 1024;

/// How much longer a view is in force for each peer that is known: it costs as much to make.
const VIEW_COST: Duration = Duration::from_micros(20);

/// Interest of agents here and of peers, and the ways to other regions.
#[derive(Debug)]
pub struct Routes {
    local: Trie<u64>,
    remote: Trie<u32>,
    destinations: Vec<Destination>,
    wishes: BTreeMap<(ShortId, RegionId), Wishes>,
    ways: BTreeMap<RegionId, BTreeSet<ShortId>>,
    /// Ways that may be taken: the peer has said over its present link what the region wants, so it
    /// is not one that has just started and would take everything for unwanted.
    open: BTreeSet<(RegionId, ShortId)>,
    opened: BTreeSet<RegionId>,
    resend: BTreeSet<Destination>,
    /// Ways passed over toward a region ([`View::detours`]).
    detours: BTreeMap<RegionId, u16>,
    forget: BTreeSet<Destination>,
    /// Peers that may have missed something and have yet to say what they want: they were lost and
    /// are back, or were met late.
    returned: BTreeSet<ShortId>,
    /// Regions to which no way was left.
    cut_off: BTreeSet<RegionId>,
    /// Whether something may have been sent already that whoever is met now has missed.
    has_spoken: bool,
    /// Regions that were met.
    met: BTreeSet<RegionId>,
    /// What of the two is in force again with the next view: (0 or the region, who declared it).
    missed: BTreeSet<(RegionId, ShortId)>,
    last: View,
    due: Option<Time>,
    next: Time,
}

impl Routes {
    /// Nothing wanted, nobody known; `seed` keys the tries.
    pub fn new(seed: u64) -> Routes {
        Routes {
            local: Trie::new(seed),
            remote: Trie::new(seed),
            destinations: Vec::new(),
            wishes: BTreeMap::new(),
            ways: BTreeMap::new(),
            open: BTreeSet::new(),
            opened: BTreeSet::new(),
            resend: BTreeSet::new(),
            detours: BTreeMap::new(),
            forget: BTreeSet::new(),
            returned: BTreeSet::new(),
            cut_off: BTreeSet::new(),
            has_spoken: false,
            met: BTreeSet::new(),
            missed: BTreeSet::new(),
            last: View::empty(seed),
            due: None,
            next: Time::ZERO,
        }
    }

    /// A new view is wanted.
    pub fn touch(&mut self, now: Now) {
        self.due.get_or_insert(self.next.max(now.mono));
    }

    /// A subscription of an agent here.
    pub fn subscribe(&mut self, now: Now, pattern: &Pattern, subscription: u64) {
        self.local.insert(pattern, subscription);
        self.touch(now);
    }

    /// A subscription ended.
    pub fn unsubscribe(&mut self, now: Now, pattern: &Pattern, subscription: u64) {
        self.local.remove(pattern, subscription);
        self.touch(now);
    }

    /// What `peer` wants for itself (region 0) or says that `region` wants.
    pub fn declare(&mut self, now: Now, peer: ShortId, interest: &Interest) -> Change {
        let region = RegionId(interest.region);
        if interest.gone {
            let change = self.withdraw(peer, region);
            self.touch(now);
            return change;
        }
        if region != RegionId(0) && !self.ways.contains_key(&region) && self.ways.len() >= REGIONS_MAX {
            return Change::default();
        }
        let change = self.wishes.entry((peer, region)).or_default().apply(interest);
        let to = match region {
            RegionId(0) => Destination::Node(peer),
            region => {
                self.ways.entry(region).or_default().insert(peer);
                if !interest.more && self.open.insert((region, peer)) {
                    self.opened.insert(region);
                    self.resend.insert(Destination::Region(region));
                }
                Destination::Region(region)
            }
        };
        self.forget.remove(&to);
        let is_back = match region {
            RegionId(0) => !interest.more && self.returned.remove(&peer),
            region => !interest.more && self.has_missed(region),
        };
        if is_back {
            self.missed.insert((region, peer));
        }
        let slot = self.slot_of(to);
        for pattern in &change.added {
            self.remote.insert(pattern, slot);
        }
        self.drop_unwanted(&change.removed, region, peer, slot);
        self.touch(now);
        change
    }

    /// Takes patterns out of the trie unless another peer still declares them for the region.
    fn drop_unwanted(&mut self, removed: &[Pattern], region: RegionId, peer: ShortId, slot: u32) {
        for pattern in removed {
            let others = self.wishes.iter().filter(|((other, of), _)| *of == region && *other != peer);
            let is_wanted =
                region != RegionId(0) && others.into_iter().any(|(_, wishes)| wishes.has(pattern));
            if !is_wanted {
                self.remote.remove(pattern, slot);
            }
        }
    }

    fn withdraw(&mut self, peer: ShortId, region: RegionId) -> Change {
        let leads = self.ways.get(&region).is_some_and(|peers| peers.contains(&peer));
        if !leads && !self.wishes.contains_key(&(peer, region)) {
            return Change::default();
        }
        let removed: Vec<Pattern> = self
            .wishes
            .remove(&(peer, region))
            .map(|wishes| wishes.patterns().cloned().collect())
            .unwrap_or_default();
        let to = match region {
            RegionId(0) => Destination::Node(peer),
            region => Destination::Region(region),
        };
        let slot = self.slot_of(to);
        self.drop_unwanted(&removed, region, peer, slot);
        self.open.remove(&(region, peer));
        let is_cut_off = match self.ways.get_mut(&region) {
            Some(ways) => {
                ways.remove(&peer);
                ways.is_empty()
            }
            None => region == RegionId(0),
        };
        if is_cut_off {
            self.detours.remove(&region);
            if region != RegionId(0) && self.cut_off.len() < REGIONS_MAX {
                self.cut_off.insert(region);
            }
            self.ways.remove(&region);
            self.resend.remove(&to);
            self.forget.insert(to);
        } else {
            self.resend.insert(to);
        }
        Change { added: Vec::new(), removed }
    }

    /// Regions to which a way opened since the last call.
    pub fn take_opened(&mut self) -> BTreeSet<RegionId> {
        std::mem::take(&mut self.opened)
    }

    /// A peer leads to a region directly (between aggregators), once it declares for it.
    pub fn add_way(&mut self, now: Now, region: RegionId, peer: ShortId) {
        self.ways.entry(region).or_default().insert(peer);
        self.touch(now);
    }

    /// Whether some peer leads to `region`.
    pub fn has_way(&self, region: RegionId) -> bool {
        self.ways.contains_key(&region)
    }

    /// Regions with a way.
    pub fn regions(&self) -> impl Iterator<Item = RegionId> {
        self.ways.keys().copied()
    }

    /// A peer's link is up: what is owed to it goes out again.
    pub fn peer_up(&mut self, now: Now, peer: ShortId) {
        self.open.retain(|(_, of)| *of != peer);
        self.resend.insert(Destination::Node(peer));
        self.resend_by(peer);
        self.touch(now);
    }

    /// Whether a region that declares what it wants may have missed something before.
    fn has_missed(&mut self, region: RegionId) -> bool {
        let is_new = self.met.insert(region);
        self.cut_off.remove(&region) || is_new && self.has_spoken
    }

    /// From now on something may be sent, which whoever is met later has missed.
    pub fn speak(&mut self) {
        self.has_spoken = true;
    }

    /// A peer is linked for the first time. It may have had subscribers before.
    pub fn peer_met(&mut self, peer: ShortId) {
        if self.has_spoken {
            self.returned.insert(peer);
        }
    }

    /// A peer that was lost is back as it was: what came for it meanwhile was not kept.
    pub fn peer_returned(&mut self, peer: ShortId) {
        self.returned.insert(peer);
    }

    /// What was lost and is in force again since the last call, as (region, peer that declared it);
    /// region 0 stands for the peer itself. To be asked after a view was published.
    pub fn take_missed(&mut self) -> BTreeSet<(RegionId, ShortId)> {
        std::mem::take(&mut self.missed)
    }

    /// Who was to be told has no link now: with the next view, which follows every change of links, it is
    /// tried again.
    pub fn put_back_missed(&mut self, region: RegionId, peer: ShortId) {
        self.missed.insert((region, peer));
    }

    /// The peers that lead to a region.
    pub fn leading_to(&self, region: RegionId) -> impl Iterator<Item = ShortId> + '_ {
        self.ways.get(&region).into_iter().flatten().copied()
    }

    /// A peer's link is down: others may lead where it led.
    pub fn peer_down(&mut self, now: Now, peer: ShortId) {
        self.open.retain(|(_, of)| *of != peer);
        self.resend_by(peer);
        self.touch(now);
    }

    fn resend_by(&mut self, peer: ShortId) {
        let led = self.ways.iter().filter(|(_, peers)| peers.contains(&peer));
        self.resend.extend(led.map(|(region, _)| Destination::Region(*region)));
    }

    /// What is owed to a region goes out again.
    pub fn reroute(&mut self, now: Now, region: RegionId) {
        self.resend.insert(Destination::Region(region));
        self.touch(now);
    }

    /// What is owed to a region is not acknowledged by a way that passes over `detour` others: the next is
    /// taken, and kept, since it need only be one that works. A way that was left meanwhile is not meant.
    pub fn stalled(&mut self, now: Now, region: RegionId, detour: u16) {
        let present = self.detours.get(&region).copied().unwrap_or_default();
        if present == detour && self.ways.contains_key(&region) {
            self.detours.insert(region, detour.wrapping_add(1));
            self.reroute(now, region);
        }
    }

    /// A peer is lost: what it wanted and where it led. Returns what it had declared, by region.
    pub fn peer_lost(&mut self, now: Now, peer: ShortId) -> Vec<(RegionId, Change)> {
        let declared: Vec<RegionId> =
            self.wishes.keys().filter(|(of, _)| *of == peer).map(|(_, region)| *region).collect();
        let mut changes: Vec<_> =
            declared.into_iter().map(|region| (region, self.withdraw(peer, region))).collect();
        let led: Vec<RegionId> =
            self.ways.iter().filter(|(_, peers)| peers.contains(&peer)).map(|(region, _)| *region).collect();
        changes.extend(led.into_iter().map(|region| (region, self.withdraw(peer, region))));
        self.forget.insert(Destination::Node(peer));
        self.returned.remove(&peer);
        self.missed.remove(&(RegionId(0), peer));
        self.touch(now);
        changes
    }

    fn slot_of(&mut self, to: Destination) -> u32 {
        let slot = self.destinations.iter().position(|known| *known == to).unwrap_or_else(|| {
            self.destinations.push(to);
            self.destinations.len() - 1
        });
        u32::try_from(slot).expect("destinations are bounded by peers and regions")
    }

    /// Publishes a view if it is time, then what must come after it. Returns whether it did.
    pub fn flush(&mut self, now: Now, neighbours: &mut Neighbours, out: &mut Outbox) -> bool {
        match neighbours.changed() {
            Changed::Nothing => {}
            Changed::Relayed => self.touch(now),
            Changed::Own => self.due = Some(now.mono),
        }
        if self.due.is_none_or(|due| due > now.mono) {
            return false;
        }
        let changed = neighbours.take_changed();
        if changed != Changed::Nothing {
            let (origins, links, peers) = neighbours.tables();
            self.last.origins = Arc::new(origins);
            self.last.links = Arc::new(links);
            self.last.peers = Arc::new(peers);
            self.last.relays = neighbours.relays();
            self.last.gates = Arc::new(neighbours.gates(now, changed));
            self.last.banned = Arc::new(neighbours.banned());
            self.last.lost = Arc::new(neighbours.lost());
        }
        self.due = None;
        self.next = now.mono + limits::VIEW_INTERVAL.max(VIEW_COST * neighbours.count());
        self.last.local = self.local.clone();
        self.last.remote = self.remote.clone();
        self.last.destinations = Arc::new(self.destinations.clone());
        let mut ways: HashMap<RegionId, Vec<ShortId>> = HashMap::default();
        for (region, peer) in &self.open {
            ways.entry(*region).or_default().push(*peer);
        }
        self.last.ways = Arc::new(ways);
        self.last.detours = Arc::new(self.detours.clone());
        out.push(Output::View(Box::new(self.last.clone())));
        neighbours.view_published();
        for to in std::mem::take(&mut self.forget) {
            out.push(Output::Forget(to));
        }
        for to in std::mem::take(&mut self.resend) {
            out.push(Output::Resend(to));
        }
        true
    }

    /// When [`Routes::flush`] is wanted.
    pub fn deadline(&self) -> Option<Time> {
        self.due
    }
}

#[cfg(test)]
mod tests;
