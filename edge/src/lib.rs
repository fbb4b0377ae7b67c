//! The edge: a pure machine that hosts agents and speaks for them.
//!
//! It keeps their sessions, subscriptions, states and tags; declares what they want to the region;
//! tells the aggregators who is here and what the summary says; finds the homes of receivers; and
//! hands system updates to every agent. Traffic itself takes the hot path and never comes here.
//!
//! Start at [`Edge`]; [`hosting`] keeps the agents, [`locating`] what waits for a receiver's home.

pub mod hosting;
pub mod labels;
pub mod locating;
mod reporting;
mod requests;
mod updates;
mod upward;

use std::collections::BTreeMap;

use hosting::Hosting;
use locating::Locating;
use reporting::Reporting;
use starling_core::event::Event;
use starling_core::hot::Report;
use starling_core::hot::counters::Snapshot;
use starling_core::id::{RegionId, ShortId};
use starling_core::identity::Roles;
use starling_core::interest::exchange::Offer;
use starling_core::limits;
use starling_core::machine::{ConnectionSlot, Input, LinkSlot, Machine, Outbox, Output};
use starling_core::membership::{Fact, Identity, Neighbours};
use starling_core::node::missed::Missed;
use starling_core::node::nearness::Nearness;
use starling_core::node::peering::{Peering, Presence};
use starling_core::node::quorum::Quorum;
use starling_core::node::replication::Replication;
use starling_core::node::routes::Routes;
use starling_core::summary::Summary;
use starling_core::time::{Now, Time};
use starling_core::topology::Strategy;
use starling_core::wire::message::{self, ControlBody, Located, UpdateApplied};
use std::time::Duration;
use upward::Upward;

/// How long an edge listens at least for who is in its region, before it takes agents.
const LISTEN: Duration = Duration::from_millis(500);
/// How long an edge waits for its peers' interest before it takes agents all the same.
const READY_AFTER: Duration = Duration::from_secs(3);
/// More new subscriptions than this within [`RUSH_WINDOW`] are a rush. What thousands of arriving
/// agents want ends in a few wider patterns, so these are declared at once; declaring all of the
/// exact ones first would cost every peer to learn and forget them.
const RUSH_SUBSCRIPTIONS: usize = 256;
const RUSH_WINDOW: Duration = Duration::from_millis(500);
/// Exact patterns are declared again, where they fit, once no window was a rush for this long.
const RUSH_OVER_AFTER: Duration = Duration::from_secs(1);

/// What waits until the region knows a subscription.
#[derive(Debug)]
struct Confirming {
    connection: ConnectionSlot,
    request: u64,
    /// How many subscriptions.
    count: usize,
    version: Option<u64>,
}

/// Watches how fast subscriptions come.
#[derive(Debug, Default)]
struct Rush {
    window: Time,
    count: usize,
    over_at: Option<Time>,
}

impl Rush {
    /// Takes note of a new subscription; true when a rush begins with it.
    fn add(&mut self, now: Now) -> bool {
        if now.mono.since(self.window) >= RUSH_WINDOW {
            (self.window, self.count) = (now.mono, 0);
        }
        self.count += 1;
        self.count > RUSH_SUBSCRIPTIONS && self.over_at.replace(now.mono + RUSH_OVER_AFTER).is_none()
    }

    /// Whether a rush has ended since the last call.
    fn ends(&mut self, now: Now) -> bool {
        self.over_at.take_if(|over| *over <= now.mono).is_some()
    }
}

/// The machine of an edge.
pub struct Edge {
    neighbours: Neighbours,
    routes: Routes,
    offer: Offer,
    hosting: Hosting,
    locating: Locating,
    upward: Upward,
    reporting: Reporting,
    summary: Summary,
    confirming: Vec<Confirming>,
    /// Links whose peers' first declarations are not in the view yet; empty or timed out means ready.
    undeclared: BTreeMap<LinkSlot, Time>,
    confirmations: Vec<(LinkSlot, u64, u64)>,
    is_ready: bool,
    is_widened: bool,
    started: Time,
    first_linked: Option<Time>,
    applied: u64,
    ask_updates_at: Option<Time>,
    rush: Rush,
    /// Whether interest changed since it was last declared.
    is_undeclared: bool,
    missed: Missed<ConnectionSlot>,
    replication: Replication,
    quorum: Quorum,
    nearness: Nearness,
    peering: Peering,
    is_stopping: bool,
    measured: Box<Snapshot>,
}

impl Edge {
    /// An edge that dials `seeds`; `seed` makes its choices repeatable.
    pub fn new(me: Identity, seeds: Vec<String>, seed: u64, now: Now) -> Edge {
        let incarnation = me.incarnation;
        let replication = Replication::of_writer(&me, seed);
        let nearness = Nearness::new(me.short(), me.region(), Strategy::default(), seed);
        let peering = Peering::new(&me, seed);
        let has_seeds = !seeds.is_empty();
        Edge {
            neighbours: Neighbours::new(me, seeds, seed),
            routes: Routes::new(seed),
            offer: Offer::new(RegionId(0), seed),
            hosting: Hosting::default(),
            locating: Locating::default(),
            upward: Upward::default(),
            reporting: Reporting::default(),
            summary: Summary::new(incarnation),
            confirming: Vec::new(),
            undeclared: BTreeMap::new(),
            confirmations: Vec::new(),
            is_ready: !has_seeds,
            is_widened: false,
            started: now.mono,
            first_linked: None,
            applied: 0,
            ask_updates_at: None,
            rush: Rush::default(),
            is_undeclared: false,
            missed: Missed::default(),
            replication,
            quorum: Quorum::of_region(),
            nearness,
            peering,
            is_stopping: false,
            measured: Box::default(),
        }
    }

    /// The same edge with another choice of peers.
    pub fn with_strategy(mut self, strategy: Strategy) -> Edge {
        self.nearness.set_strategy(strategy);
        self
    }

    /// The same edge, which says this of itself.
    pub fn with_presence(mut self, presence: Presence) -> Edge {
        self.peering.set_presence(presence);
        self
    }

    fn facts(&mut self, now: Now, facts: Vec<Fact>, out: &mut Outbox) {
        for fact in facts {
            self.peering.on_fact(now, &fact, &self.neighbours, out);
            match fact {
                Fact::Up(id, link) => self.peer_up(now, id, link, out),
                Fact::Down(id, link) => {
                    self.offer.remove_peer(link);
                    self.upward.remove(link);
                    self.replication.link_down(link);
                    self.nearness.remove(id);
                    self.undeclared.remove(&link);
                    self.routes.peer_down(now, id);
                }
                Fact::Lost(id) => {
                    self.routes.peer_lost(now, id);
                }
                Fact::Returned(id, since) => {
                    self.routes.peer_returned(id);
                    self.missed.extend(now, self.hosting.confirmed_since(since));
                }
                // These were confirmed without it, and it did not know of them.
                Fact::Back(_, since) => self.missed.extend(now, self.hosting.confirmed_since(since)),
                Fact::Met(id) => self.routes.peer_met(id),
                Fact::Apart(_) => self.missed.extend(now, self.confirmed_subscribers()),
                Fact::Convicted(id) => self.replication.forget(now, id),
            }
        }
    }

    fn reported(&mut self, now: Now, report: Report, out: &mut Outbox) {
        if let Report::Stalled { region, detour } = report {
            return self.routes.stalled(now, region, detour);
        }
        let facts = self.neighbours.on_report(now, report, out);
        self.facts(now, facts, out);
    }

    fn peer_up(&mut self, now: Now, id: ShortId, link: LinkSlot, out: &mut Outbox) {
        self.first_linked.get_or_insert(now.mono);
        self.routes.peer_up(now, id);
        let Some(known) = self.neighbours.get(id) else { return };
        let roles = known.roles();
        let declares = roles.has(Roles::EDGE) || roles.has(Roles::AGGREGATOR);
        // A coordinator may be in the region too, but routes nothing and would never confirm.
        if known.region() != self.neighbours.me().region() || !declares {
            return;
        }
        self.undeclared.insert(link, now.mono + READY_AFTER);
        if !link.is_relayed() {
            self.replication.link_up(now, id, link);
            self.nearness.add(id, known.region());
        }
        if roles.has(Roles::AGGREGATOR) {
            out.send(link, ControlBody::UpdateApplied(UpdateApplied { index: self.applied }));
            self.upward.add(link, &self.hosting, out);
        }
        self.offer.add_peer(link, out);
    }

    fn on_control(&mut self, now: Now, link: LinkSlot, body: ControlBody, out: &mut Outbox) {
        let Some((peer, known)) = self.neighbours.at(link) else { return };
        let roles = known.roles();
        let mine = self.neighbours.me().region();
        let is_ours = known.region() == mine;
        let is_aggregator = is_ours && roles.has(Roles::AGGREGATOR);
        match body {
            ControlBody::Interest(interest) => {
                let is_own = interest.region == 0 && is_ours;
                let is_carried = is_aggregator && interest.region != 0 && interest.region != mine.0;
                if !is_own && !is_carried {
                    out.event(Event::Refused { peer, reason: "it declared interest that is not its own" });
                    return;
                }
                self.routes.declare(now, peer, &interest);
                if !interest.more {
                    self.confirmations.push((link, interest.region, interest.version));
                }
            }
            ControlBody::InterestConfirmed(confirmed) => self.offer.confirm(link, confirmed.version),
            // Without an aggregator edges are asked, and each answers for itself alone.
            ControlBody::Located(located) if is_aggregator || is_ours && located.edge == peer.0 => {
                self.locating.found(&located, &self.neighbours, out);
            }
            ControlBody::Locate(locate) => {
                let here = self.hosting.session_of_bytes(&locate.agent);
                let me = self.neighbours.me();
                let (region, edge) = if here.is_some() { (me.region().0, me.short().0) } else { (0, 0) };
                let session = here.unwrap_or(0);
                out.send(link, ControlBody::Located(Located { agent: locate.agent, region, edge, session }));
            }
            ControlBody::Superseded(superseded) if is_aggregator => {
                self.on_superseded(now, &superseded.agent, superseded.session, out);
            }
            ControlBody::Update(update) => self.on_update(now, update, out),
            ControlBody::Reroute(reroute) if is_aggregator => {
                self.routes.reroute(now, RegionId(reroute.region))
            }
            ControlBody::Compare(compare) => self.replication.on_compare(now, link, &compare, out),
            ControlBody::Versions(told) => self.replication.on_versions(now, link, &told, out),
            ControlBody::PeerMessage(bytes) => {
                let facts = self.peering.hear(now, link, bytes, &mut self.neighbours, out);
                self.facts(now, facts, out);
            }
            ControlBody::Missed(missed) if is_ours && missed.region == 0 => {
                // Whatever is confirmed later misses nothing of it.
                self.missed.extend(now, self.confirmed_subscribers());
            }
            ControlBody::Peers(_)
            | ControlBody::Probe(_)
            | ControlBody::Statements(_)
            | ControlBody::Standings(_)
            | ControlBody::Roster(_)
            | ControlBody::Names(_)
            | ControlBody::CertificateAsk(_)
            | ControlBody::CertificateAnswer(_)
            | ControlBody::Agreement(_)
            | ControlBody::RelayOpen(_)
            | ControlBody::RelayAccepted(_)
            | ControlBody::RelayClosed(_)
            | ControlBody::Relayed(_)
            | ControlBody::Proof(_)
            | ControlBody::Leaving(_)
            | ControlBody::Missed(_)
            | ControlBody::Located(_)
            | ControlBody::Superseded(_)
            | ControlBody::Pace(_)
            | ControlBody::Reroute(_)
            | ControlBody::Directory(_)
            | ControlBody::Summary(_)
            | ControlBody::Figure(_)
            | ControlBody::NotHere(_)
            | ControlBody::UpdateApplied(_) => {}
        }
    }

    fn is_ready(&mut self, now: Now) -> bool {
        if !self.is_ready {
            let has_listened = self.first_linked.is_some_and(|since| now.mono.since(since) >= LISTEN);
            let has_heard = self.undeclared.values().all(|until| *until <= now.mono);
            let is_late = now.mono.since(self.started) >= READY_AFTER;
            self.is_ready = has_listened && has_heard && (is_late || !self.neighbours.awaits_links());
        }
        self.is_ready
    }

    /// Interest is declared with the next view.
    fn interest_changed(&mut self, now: Now) {
        self.is_undeclared = true;
        self.routes.touch(now);
    }

    /// Declares what changed and lets subscriptions wait for it.
    fn declare(&mut self, out: &mut Outbox) {
        self.is_undeclared = false;
        let version = self.offer.flush(out);
        let was_widened = std::mem::replace(&mut self.is_widened, self.offer.is_widened());
        if self.is_widened && !was_widened {
            out.event(Event::InterestWidened);
        }
        self.confirming.iter_mut().for_each(|waiting| {
            waiting.version.get_or_insert(version);
        });
    }

    /// Tells those whose interest is in force again, after this edge had taken them for lost, that it
    /// kept nothing for them meanwhile.
    fn tell_missed(&mut self, out: &mut Outbox) {
        for (region, peer) in self.routes.take_missed() {
            let link_to = |peer| self.neighbours.get(peer)?.link;
            let link = link_to(peer).or_else(|| self.routes.leading_to(region).find_map(link_to));
            match link {
                Some(link) => out.send(link, ControlBody::Missed(message::Missed { region: region.0 })),
                None => self.routes.put_back_missed(region, peer),
            }
        }
    }

    /// Who leaves a declared interest unconfirmed keeps every new subscription waiting.
    fn part_with_withholding(&mut self, now: Now, out: &mut Outbox) {
        let neighbours = &self.neighbours;
        let within = |link| match neighbours.at(link) {
            Some((_, known)) if known.roles().has(Roles::AGGREGATOR) => 3 * limits::CONFIRM_TIMEOUT,
            Some(_) | None => limits::CONFIRM_TIMEOUT,
        };
        for link in self.offer.overdue(now.mono, within) {
            let facts = self.neighbours.withheld(now, link, out);
            self.facts(now, facts, out);
        }
    }

    /// Everything that is due: dials, views, declarations, confirmations, summaries.
    fn settle(&mut self, now: Now, out: &mut Outbox) {
        let facts = self.neighbours.wake(now, out);
        self.facts(now, facts, out);
        if self.rush.ends(now) {
            self.offer.release();
            self.interest_changed(now);
        }
        if self.routes.flush(now, &mut self.neighbours, out) {
            if self.is_undeclared {
                self.declare(out);
            }
            for (link, region, version) in self.confirmations.drain(..) {
                if region == 0 {
                    // An aggregator says this last, after what other regions want.
                    self.undeclared.remove(&link);
                }
                let confirmed = starling_core::wire::message::InterestConfirmed { region, version };
                out.send(link, ControlBody::InterestConfirmed(confirmed));
            }
            self.tell_missed(out);
        }
        self.part_with_withholding(now, out);
        self.quorum.wake(now, &self.neighbours, None, out);
        self.peering.wake(now, &self.neighbours, out);
        self.tell_gaps(now, out);
        self.answer_confirmed(now, out);
        if self.ask_updates_at.is_some_and(|at| at <= now.mono) {
            self.ask_updates_at = None;
            self.tell_applied(out);
        }
        self.locating.wake(now, &self.neighbours, out);
        self.replication.wake(now, &self.neighbours, &mut self.nearness, out);
        let me = self.neighbours.me().short();
        self.reporting.wake(now, me, &self.summary, out);
        self.upward.flush(now, me, &mut self.summary, &mut self.hosting, out);
    }
}

impl Machine for Edge {
    fn handle(&mut self, now: Now, input: Input, out: &mut Outbox) {
        match input {
            Input::Wake => {}
            Input::LinkUp { link, peer } => {
                let facts = self.neighbours.link_up(now, link, *peer, out);
                self.facts(now, facts, out);
            }
            Input::LinkDown { link, timed_out } => {
                let facts = self.neighbours.link_down(now, link, timed_out, out);
                self.facts(now, facts, out);
            }
            Input::DialFailed { address } => self.neighbours.dial_failed(now, &address),
            Input::Candidates { addresses } => self.neighbours.suggest(now, addresses),
            Input::Probe { link, body } => {
                let facts = self.neighbours.on_probe(now, link, &body, out);
                self.facts(now, facts, out);
            }
            Input::Control { link, body } => match self.neighbours.on_control(now, link, body, out) {
                Ok(facts) => self.facts(now, facts, out),
                Err((link, body)) => self.on_control(now, link, body, out),
            },
            Input::Disconnected { connection } => self.on_disconnected(now, connection, out),
            Input::Attach { connection, request, candidates, forged } => {
                self.on_attach(now, (connection, request), candidates, forged, out);
            }
            Input::Changes { connection, first, changes } => {
                self.on_changes(now, connection, first, changes, out);
            }
            Input::State { link, bundle } => {
                if let Some(report) = self.replication.on_bundle(now, link, bundle, &self.neighbours, out) {
                    self.reported(now, report, out);
                }
            }
            Input::Reported(report) => self.reported(now, report, out),
            Input::Request { connection, id, ask } => self.on_request(now, connection, id, ask, out),
            Input::Unresolved(publications) => self.on_unresolved(now, publications, out),
            Input::Measured(snapshot) => {
                self.upward.measured(&snapshot, &mut self.summary);
                self.measured = snapshot;
            }
            Input::Wanted(wanted) => self.neighbours.on_wanted(now, wanted, out),
            Input::Distances(distances) => {
                self.neighbours.on_distances(&distances);
                self.peering.on_distances(now, &distances, &self.neighbours);
                self.nearness.on_distances(now, &distances, &self.neighbours, out);
            }
            Input::Stop => {
                self.is_stopping = true;
                self.neighbours.leave(now, out);
                for (_, link, _) in self.neighbours.linked() {
                    out.send(link, ControlBody::Leaving(starling_core::wire::message::Leaving {}));
                }
                out.push(Output::Stopped);
            }
            Input::SystemAcknowledged { .. }
            | Input::Committed { .. }
            | Input::Restored { .. }
            | Input::Undecided { .. }
            | Input::Standings(_) => {}
        }
        self.settle(now, out);
        self.neighbours.wrap_relayed(out);
    }

    fn deadline(&self) -> Option<Time> {
        let own = [
            self.neighbours.deadline(),
            self.routes.deadline(),
            self.offer.deadline(),
            self.locating.deadline(),
            self.upward.deadline(),
            self.reporting.deadline(),
            self.missed.deadline(),
            self.replication.deadline(),
            self.quorum.deadline(),
            self.peering.deadline(),
            self.ask_updates_at,
            self.rush.over_at,
        ];
        own.into_iter().flatten().min()
    }

    fn check(&self) {
        self.neighbours.check();
        self.hosting.check();
        self.locating.check();
        self.replication.check();
        self.peering.check();
        let counted = self.summary.parts().counts.agents();
        assert_eq!(counted, self.hosting.len() as u64, "the summary counts the agents that are here");
        assert!(self.hosting.len() <= limits::AGENTS_PER_EDGE_MAX, "more agents than an edge may host");
    }
}
