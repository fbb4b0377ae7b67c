//! Interest between regions.
//!
//! What this region's edges want is declared to every other region's aggregators; what another
//! region's aggregators say that it wants is declared to this region's edges. A declaration is
//! confirmed to whom it came from once everyone it was passed on to has confirmed it, so a
//! confirmation at the subscriber's edge means that all publishers' edges know.

use std::collections::{BTreeMap, BTreeSet};

use starling_core::id::RegionId;
use starling_core::interest::exchange::{Change, Offer};
use starling_core::limits;
use starling_core::machine::{LinkSlot, Outbox};
use starling_core::time::{Now, Time};
use starling_core::wire::message::{ControlBody, Interest, InterestConfirmed, Missed};

#[derive(Debug)]
struct Waiting {
    link: LinkSlot,
    /// As the declaration said it: 0 is an edge's own.
    region: RegionId,
    version: u64,
    /// Version of our own offer that has it; `None` until the next flush.
    behind: Option<u64>,
}

/// Declarations under way.
#[derive(Debug)]
pub struct Carrying {
    seed: u64,
    /// What this region wants, to other regions' aggregators.
    own: Offer,
    /// What each other region wants, to this region's edges.
    others: BTreeMap<RegionId, Offer>,
    /// Regions of which everything has been heard at least once: before, edges are told nothing, or
    /// they would take for unwanted what they know to be wanted.
    opened: BTreeSet<RegionId>,
    edges: Vec<LinkSlot>,
    /// Edges that have not declared yet over this link.
    undeclared: BTreeSet<LinkSlot>,
    /// Other regions' aggregators that are told nothing before this one is ready: it would be taken
    /// for a way, and would take everything for unwanted.
    held_back: Option<Vec<LinkSlot>>,
    /// Other regions' aggregators that have not declared yet.
    unheard: BTreeSet<LinkSlot>,
    /// Whether edges were told that they have heard of every region, and may take agents.
    is_settled: bool,
    waiting: Vec<Waiting>,
    /// Edges that missed something, and are told once what they want is in force elsewhere too: what is
    /// published after they were told is not to be missing.
    missed: BTreeSet<LinkSlot>,
    /// When what a region wants was last confirmed to it.
    confirmed_at: BTreeMap<RegionId, Time>,
}

impl Carrying {
    /// For the aggregator of `region`; `seed` keys its tables.
    pub fn new(region: RegionId, seed: u64) -> Carrying {
        Carrying {
            seed,
            own: Offer::new(region, seed),
            others: BTreeMap::new(),
            opened: BTreeSet::new(),
            edges: Vec::new(),
            undeclared: BTreeSet::new(),
            held_back: Some(Vec::new()),
            unheard: BTreeSet::new(),
            is_settled: false,
            waiting: Vec::new(),
            missed: BTreeSet::new(),
            confirmed_at: BTreeMap::new(),
        }
    }

    /// Whether every edge that is linked has declared.
    pub fn has_heard(&self) -> bool {
        self.undeclared.is_empty()
    }

    /// Whether other regions may be told what this one wants.
    pub fn is_ready(&self) -> bool {
        self.held_back.is_none()
    }

    /// From now on other regions are told.
    pub fn set_ready(&mut self, out: &mut Outbox) {
        for link in self.held_back.take().into_iter().flatten() {
            self.own.add_peer(link, out);
        }
    }

    /// Whether every other region's aggregator that is linked has declared.
    pub fn has_heard_regions(&self) -> bool {
        self.unheard.is_empty()
    }

    /// Whether edges may take agents.
    pub fn is_settled(&self) -> bool {
        self.is_settled
    }

    /// Edges have been told what every region wants, as far as that is known.
    pub fn settle(&mut self, out: &mut Outbox) {
        self.is_settled = true;
        out.send_to_all(&self.edges, all_said());
    }

    /// An edge of this region is linked.
    pub fn add_edge(&mut self, link: LinkSlot, out: &mut Outbox) {
        self.edges.push(link);
        self.undeclared.insert(link);
        for (_, offer) in self.others.iter_mut().filter(|(region, _)| self.opened.contains(region)) {
            offer.add_peer(link, out);
        }
        if self.is_settled {
            out.send(link, all_said());
        }
    }

    /// An aggregator of another region is linked.
    pub fn add_aggregator(&mut self, link: LinkSlot, out: &mut Outbox) {
        self.unheard.insert(link);
        match &mut self.held_back {
            Some(held_back) => held_back.push(link),
            None => self.own.add_peer(link, out),
        }
    }

    /// An aggregator of another region begins to declare for it.
    pub fn add_region(&mut self, region: RegionId) {
        self.others.entry(region).or_insert_with(|| Offer::new(region, self.seed));
    }

    /// It has said everything; this region's edges hear of it.
    pub fn open_region(&mut self, region: RegionId, out: &mut Outbox) {
        let Some(offer) = self.others.get_mut(&region) else { return };
        if self.opened.insert(region) {
            self.edges.iter().for_each(|edge| offer.add_peer(*edge, out));
        }
    }

    /// No aggregator of a region is left.
    pub fn remove_region(&mut self, region: RegionId, out: &mut Outbox) {
        if self.others.remove(&region).is_none() {
            return;
        }
        self.opened.remove(&region);
        for edge in &self.edges {
            let gone = Interest { region: region.0, gone: true, ..Interest::default() };
            out.send(*edge, ControlBody::Interest(gone));
        }
        self.waiting.retain(|waiting| waiting.region != region);
        self.confirmed_at.remove(&region);
    }

    /// Regions to which something was confirmed since then: an edge that was out of reach did not know.
    pub fn confirmed_since(&self, since: Time) -> impl Iterator<Item = RegionId> + '_ {
        self.confirmed_at.iter().filter(move |(_, at)| **at >= since).map(|(region, _)| *region)
    }

    /// An edge missed something.
    pub fn tell_missed(&mut self, link: LinkSlot, out: &mut Outbox) {
        match self.waiting.iter().any(|waiting| waiting.link == link && waiting.region == RegionId(0)) {
            true => {
                self.missed.insert(link);
            }
            false => out.send(link, ControlBody::Missed(Missed { region: 0 })),
        }
    }

    /// A link is gone; whether its edge is still to be told that it missed something.
    pub fn remove_peer(&mut self, link: LinkSlot) -> bool {
        self.own.remove_peer(link);
        self.others.values_mut().for_each(|offer| offer.remove_peer(link));
        self.edges.retain(|edge| *edge != link);
        self.undeclared.remove(&link);
        self.unheard.remove(&link);
        self.held_back.iter_mut().for_each(|held_back| held_back.retain(|held| *held != link));
        self.waiting.retain(|waiting| waiting.link != link);
        self.missed.remove(&link)
    }

    /// What a peer declared changed: an edge's own (0) or a region's.
    pub fn change(&mut self, region: RegionId, change: &Change) {
        let offer = match region {
            RegionId(0) => &mut self.own,
            region => match self.others.get_mut(&region) {
                Some(offer) => offer,
                None => return,
            },
        };
        change.removed.iter().for_each(|pattern| offer.remove(pattern));
        // Refused are system patterns above the limit, which then stay inside the region.
        change.added.iter().for_each(|pattern| {
            offer.add(pattern);
        });
    }

    /// A declaration is to be confirmed once it is in force behind us.
    pub fn confirm_later(&mut self, link: LinkSlot, region: RegionId, version: u64) {
        self.waiting.push(Waiting { link, region, version, behind: None });
    }

    /// Someone we declared to confirmed.
    pub fn confirmed(&mut self, link: LinkSlot, region: RegionId, version: u64) {
        match self.others.get_mut(&region) {
            Some(offer) => offer.confirm(link, version),
            None => self.own.confirm(link, version),
        }
    }

    /// Declares what changed; called right after a view was published.
    pub fn flush(&mut self, out: &mut Outbox) {
        let own = self.own.flush(out);
        let others: BTreeMap<RegionId, u64> =
            self.others.iter_mut().map(|(region, offer)| (*region, offer.flush(out))).collect();
        for waiting in self.waiting.iter_mut().filter(|waiting| waiting.behind.is_none()) {
            self.undeclared.remove(&waiting.link);
            self.unheard.remove(&waiting.link);
            waiting.behind = match waiting.region {
                RegionId(0) => Some(own),
                region => Some(others.get(&region).copied().unwrap_or(0)),
            };
        }
    }

    /// Who leaves what was declared to it unconfirmed for too long: edges of this region, and aggregators
    /// of others, which wait for their edges.
    pub fn overdue(&mut self, now: Time) -> Vec<LinkSlot> {
        let mut late = self.own.overdue(now, |_| 2 * limits::CONFIRM_TIMEOUT);
        for offer in self.others.values_mut() {
            late.extend(offer.overdue(now, |_| limits::CONFIRM_TIMEOUT));
        }
        late
    }

    /// When it is to be looked for them next.
    pub fn deadline(&self) -> Option<Time> {
        self.others.values().chain([&self.own]).filter_map(Offer::deadline).min()
    }

    /// Confirms what is in force behind us.
    pub fn send_confirmations(&mut self, now: Now, out: &mut Outbox) {
        let is_holding = !self.is_ready();
        let (own, others) = (&self.own, &self.others);
        let (confirmed_at, missed) = (&mut self.confirmed_at, &mut self.missed);
        self.waiting.retain(|waiting| {
            let in_force = match waiting.region {
                // Who is held back does not know, nor who is not linked yet; both will be told soon.
                RegionId(0) if is_holding => return true,
                RegionId(0) => own.in_force(),
                region => others.get(&region).map_or(u64::MAX, Offer::in_force),
            };
            let is_done = waiting.behind.is_some_and(|behind| behind <= in_force);
            if is_done {
                if others.contains_key(&waiting.region) {
                    confirmed_at.insert(waiting.region, now.mono);
                }
                let (region, version) = (waiting.region.0, waiting.version);
                let confirmed = InterestConfirmed { region, version };
                out.send(waiting.link, ControlBody::InterestConfirmed(confirmed));
                if waiting.region == RegionId(0) && missed.remove(&waiting.link) {
                    out.send(waiting.link, ControlBody::Missed(Missed { region: 0 }));
                }
            }
            !is_done
        });
    }
}

/// An edge waits for this before it takes agents: an aggregator wants nothing for itself.
fn all_said() -> ControlBody {
    ControlBody::Interest(Interest { region: 0, version: 0, whole: true, ..Interest::default() })
}
