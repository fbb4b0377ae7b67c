//! The aggregator: a pure machine that folds its edges' summaries into the region's figure, keeps
//! the region's directory, and tells other regions what this one wants.
//!
//! A region has two or more, all active. They do not agree with one another about anything: each
//! has all of it from the edges, so losing one loses nothing.
//!
//! Start at [`Aggregator`]; [`directory`] knows the agents' homes, [`interest`] carries
//! declarations and their confirmations between regions.

pub mod directory;
pub mod interest;
mod locate;
mod requests;
mod telling;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use directory::Directory;
use interest::Carrying;
use locate::Questions;
use std::collections::BTreeSet;

use starling_core::event::Event;
use starling_core::hot::Report;
use starling_core::hot::counters::Snapshot;
use starling_core::id::{RegionId, ShortId};
use starling_core::identity::Roles;
use starling_core::limits;
use starling_core::machine::{Input, LinkSlot, Machine, Outbox, Output};
use starling_core::membership::{Fact, Identity, Neighbours};
use starling_core::node::missed::Missed;
use starling_core::node::nearness::Nearness;
use starling_core::node::peering::{Peering, Presence};
use starling_core::node::quorum::Quorum;
use starling_core::node::replication::Replication;
use starling_core::node::routes::Routes;
use starling_core::node::updates::Updates;
use starling_core::summary::{Figure, Fold, Global, SummaryUpdate};
use starling_core::time::{Now, Time};
use starling_core::topology::Strategy;
use starling_core::wire::codec::Wire;
use starling_core::wire::message::{ControlBody, Leaving, UpdateApplied};
use starling_core::wire::request::RefusedCode;

/// How long an aggregator listens at least for who is in its region, before it tells other regions
/// what this one wants.
const LISTEN: Duration = Duration::from_millis(500);
/// How long it waits for edges that it knows of and that do not declare.
const READY_AFTER: Duration = Duration::from_secs(3);
/// Other aggregators hear the figure this often, only to show it to who asks them.
const PEERS_FIGURE_INTERVAL: Duration = Duration::from_secs(1);
/// A figure in a control frame, and what goes round it.
const FIGURE_BYTES_MAX: usize = limits::CONTROL_BYTES_MAX - 64;

/// The machine of an aggregator.
pub struct Aggregator {
    neighbours: Neighbours,
    routes: Routes,
    carrying: Carrying,
    directory: Directory,
    questions: Questions,
    fold: Fold,
    global: Global,
    figure_due: Option<Time>,
    figure_next: Time,
    peers_due: Option<Time>,
    peers_next: Time,
    updates: Updates,
    missed: Missed<RegionId>,
    /// Edges that are to hear of a gap when their link is back.
    untold: BTreeSet<ShortId>,
    replication: Replication,
    quorum: Quorum,
    nearness: Nearness,
    peering: Peering,
    measured: Box<Snapshot>,
    started: Option<Time>,
    /// When it may be ready without another input.
    ready_check: Option<Time>,
}

impl Aggregator {
    /// An aggregator that dials `seeds`; `seed` makes its choices repeatable.
    pub fn new(me: Identity, seeds: Vec<String>, seed: u64) -> Aggregator {
        let region = me.region();
        let replication = Replication::of_relay(me.short(), region, seed);
        let nearness = Nearness::new(me.short(), region, Strategy::default(), seed);
        let peering = Peering::new(&me, seed);
        Aggregator {
            neighbours: Neighbours::new(me, seeds, seed),
            routes: Routes::new(seed),
            carrying: Carrying::new(region, seed),
            directory: Directory::default(),
            questions: Questions::default(),
            fold: Fold::new(),
            global: Global::new(),
            figure_due: None,
            figure_next: Time::ZERO,
            peers_due: None,
            peers_next: Time::ZERO,
            updates: Updates::default(),
            missed: Missed::default(),
            untold: BTreeSet::new(),
            replication,
            quorum: Quorum::of_region(),
            nearness,
            peering,
            measured: Box::default(),
            started: None,
            ready_check: None,
        }
    }

    /// The same aggregator with another choice of peers.
    pub fn with_strategy(mut self, strategy: Strategy) -> Aggregator {
        self.nearness.set_strategy(strategy);
        self
    }

    /// The same aggregator, which says this of itself.
    pub fn with_presence(mut self, presence: Presence) -> Aggregator {
        self.peering.set_presence(presence);
        self
    }

    fn region(&self) -> RegionId {
        self.neighbours.me().region()
    }

    fn facts(&mut self, now: Now, facts: Vec<Fact>, out: &mut Outbox) {
        for fact in facts {
            self.peering.on_fact(now, &fact, &self.neighbours, out);
            match fact {
                Fact::Up(id, link) => self.peer_up(now, id, link, out),
                Fact::Down(id, link) => self.peer_down(now, id, link, out),
                Fact::Lost(id) => self.peer_lost(now, id, out),
                Fact::Returned(id, since) => {
                    self.routes.peer_returned(id);
                    self.edge_back(now, id, since);
                }
                Fact::Back(id, since) => self.edge_back(now, id, since),
                Fact::Apart(_) => {} // Edges see for themselves whom they do not reach.
                Fact::Met(id) => self.routes.peer_met(id),
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
        self.routes.peer_up(now, id);
        let Some(known) = self.neighbours.get(id) else { return };
        let (region, roles) = (known.region(), known.roles());
        if region == self.region() {
            if roles.has(Roles::EDGE) {
                self.carrying.add_edge(link, out);
            }
            if self.untold.remove(&id) {
                self.routes.peer_returned(id);
            }
        } else if roles.has(Roles::AGGREGATOR) {
            self.routes.add_way(now, region, id);
            self.carrying.add_aggregator(link, out);
        }
        if roles.has(Roles::COORDINATOR) {
            let index = self.updates.newest();
            out.send(link, ControlBody::UpdateApplied(UpdateApplied { index }));
        }
        if roles.has(Roles::AGGREGATOR) || roles.has(Roles::COORDINATOR) {
            self.want_figure(now);
        }
        let replicates = roles.has(Roles::AGGREGATOR) || region == self.region() && roles.has(Roles::EDGE);
        if replicates && !link.is_relayed() {
            self.replication.link_up(now, id, link);
            self.nearness.add(id, region);
        }
    }

    fn peer_down(&mut self, now: Now, id: ShortId, link: LinkSlot, out: &mut Outbox) {
        self.routes.peer_down(now, id);
        if self.carrying.remove_peer(link) {
            self.untold.insert(id);
        }
        self.updates.remove(link);
        self.replication.link_down(link);
        self.nearness.remove(id);
        let Some(known) = self.neighbours.get(id) else { return };
        let (region, roles) = (known.region(), known.roles());
        if region != self.region() && roles.has(Roles::AGGREGATOR) {
            self.reroute(region, out);
        }
        if roles.has(Roles::AGGREGATOR) {
            self.global.remove_aggregator(region, id);
        }
    }

    fn peer_lost(&mut self, now: Now, id: ShortId, out: &mut Outbox) {
        let region = self.neighbours.get(id).map(|known| known.region());
        for (of, change) in self.routes.peer_lost(now, id) {
            self.carrying.change(of, &change);
        }
        self.directory.remove_edge(id);
        self.untold.remove(&id);
        if self.fold.remove_edge(id) {
            self.want_figure(now);
        }
        if let Some(region) =
            region.filter(|region| *region != self.region() && !self.routes.has_way(*region))
        {
            self.carrying.remove_region(region, out);
        }
    }

    fn on_control(&mut self, now: Now, link: LinkSlot, body: ControlBody, out: &mut Outbox) {
        let Some((peer, known)) = self.neighbours.at(link) else { return };
        let (region, roles) = (known.region(), known.roles());
        let is_edge = region == self.region() && roles.has(Roles::EDGE);
        let is_aggregator = roles.has(Roles::AGGREGATOR);
        match body {
            ControlBody::Interest(interest) => {
                let is_own = interest.region == 0 && is_edge;
                let is_regions = interest.region == region.0 && is_aggregator && region != self.region();
                if !is_own && !is_regions {
                    out.event(Event::Refused { peer, reason: "it declared interest that is not its own" });
                    return;
                }
                if is_regions && !interest.gone {
                    self.carrying.add_region(region);
                }
                let change = self.routes.declare(now, peer, &interest);
                self.carrying.change(RegionId(interest.region), &change);
                if !interest.more {
                    self.carrying.open_region(RegionId(interest.region), out);
                    self.carrying.confirm_later(link, RegionId(interest.region), interest.version);
                }
            }
            ControlBody::InterestConfirmed(confirmed) => {
                self.carrying.confirmed(link, RegionId(confirmed.region), confirmed.version);
            }
            ControlBody::Directory(change) if is_aggregator && region != self.region() => {
                for moved in self.directory.compare(&change) {
                    self.tell_moved(moved, out);
                }
            }
            ControlBody::Directory(change) if is_edge => {
                self.tell_other_regions(&change, out);
                for moved in self.directory.apply(peer, &change) {
                    self.tell_moved(moved, out);
                }
            }
            ControlBody::Locate(locate) => self.on_locate(now, link, locate, out),
            // An aggregator of another region answers for that region alone.
            ControlBody::Located(located)
                if is_aggregator && (located.edge == 0 || located.region == region.0) =>
            {
                self.questions.answered(&located, out);
            }
            ControlBody::Summary(bytes) if is_edge => self.on_summary(now, peer, link, &bytes, out),
            ControlBody::Figure(bytes) if is_aggregator => {
                if let Ok(figure) = Figure::from_bytes(&bytes) {
                    // A mesh with more regions or aggregators than a figure takes shows the first ones.
                    if self.global.offer(region, peer, Arc::new(figure), now.wall).is_err() {
                        out.event(Event::Refused { peer, reason: "too many regions or aggregators to show" });
                    }
                }
            }
            ControlBody::Update(update) if roles.has(Roles::COORDINATOR) => {
                self.updates.push(update, out);
            }
            ControlBody::UpdateApplied(applied) if is_edge => {
                self.updates.applied(link, applied.index, out);
            }
            ControlBody::Compare(compare) => self.replication.on_compare(now, link, &compare, out),
            ControlBody::Versions(told) => self.replication.on_versions(now, link, &told, out),
            ControlBody::PeerMessage(bytes) => {
                let facts = self.peering.hear(now, link, bytes, &mut self.neighbours, out);
                self.facts(now, facts, out);
            }
            ControlBody::Missed(missed) if is_edge && self.routes.has_way(RegionId(missed.region)) => {
                self.missed.extend(now, [RegionId(missed.region)]);
            }
            ControlBody::Missed(missed) if is_aggregator && missed.region == self.region().0 => {
                self.missed.extend(now, [RegionId(0)]);
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
            | ControlBody::Superseded(_)
            | ControlBody::NotHere(_)
            | ControlBody::Pace(_)
            | ControlBody::Reroute(_)
            | ControlBody::Directory(_)
            | ControlBody::Summary(_)
            | ControlBody::Figure(_)
            | ControlBody::Located(_)
            | ControlBody::UpdateApplied(_)
            | ControlBody::Update(_) => {}
        }
    }

    fn on_summary(&mut self, now: Now, edge: ShortId, link: LinkSlot, bytes: &Bytes, out: &mut Outbox) {
        let applied = SummaryUpdate::from_bytes(bytes).ok().map(|update| self.fold.apply(edge, update));
        match applied {
            Some(Ok(_)) => self.want_figure(now),
            Some(Err(_)) => {
                out.push(Output::HangUp { link, reason: "a summary that does not follow the last" })
            }
            None => out.push(Output::HangUp { link, reason: "a malformed summary" }),
        }
    }

    fn want_figure(&mut self, now: Now) {
        self.figure_due.get_or_insert(self.figure_next.max(now.mono));
        self.peers_due.get_or_insert(self.peers_next.max(now.mono));
    }

    /// The region's figure to coordinators, and now and then to the other aggregators.
    fn flush_figure(&mut self, now: Now, out: &mut Outbox) {
        let is_due = |due: &mut Option<Time>| due.take_if(|due| *due <= now.mono).is_some();
        let (is_due, is_for_peers) = (is_due(&mut self.figure_due), is_due(&mut self.peers_due));
        if !is_due && !is_for_peers {
            return;
        }
        self.figure_due = None;
        self.figure_next = now.mono + limits::SUMMARY_INTERVAL;
        if is_for_peers {
            self.peers_next = now.mono + PEERS_FIGURE_INTERVAL;
        }
        let figure = self.fold.figure();
        let bytes = figure.to_bytes();
        let (region, me) = (self.region(), self.neighbours.me().short());
        if self.global.offer(region, me, Arc::new(figure), now.wall).is_err() {
            out.event(Event::Refused { peer: me, reason: "too many regions or aggregators to show" });
        }
        if bytes.len() > FIGURE_BYTES_MAX {
            // Worse than a figure that stands still is a link that dies of it, again and again.
            out.event(Event::Refused { peer: me, reason: "labels make its figure too large to send" });
            return;
        }
        for (_, link, known) in self.neighbours.linked() {
            let is_peer = known.roles().has(Roles::AGGREGATOR);
            if known.roles().has(Roles::COORDINATOR) || is_peer && is_for_peers {
                out.send(link, ControlBody::Figure(bytes.clone()));
            }
        }
    }

    /// Becomes ready for other regions once it knows what its own wants, and settled once it knows what
    /// the others want, or has waited for long enough.
    fn get_ready(&mut self, now: Now, out: &mut Outbox) {
        if self.carrying.is_settled() {
            return;
        }
        let started = *self.started.get_or_insert(now.mono);
        let age = now.mono.since(started);
        let is_late = age >= READY_AFTER;
        let has_listened = age >= LISTEN && !self.neighbours.awaits_links();
        if !self.carrying.is_ready() && (is_late || has_listened && self.carrying.has_heard()) {
            self.routes.speak();
            self.carrying.set_ready(out);
        }
        let is_whole = self.carrying.is_ready() && has_listened && self.carrying.has_heard_regions();
        if is_late || is_whole {
            self.ready_check = None;
            return self.carrying.settle(out);
        }
        self.ready_check = Some(started + if age < LISTEN { LISTEN } else { READY_AFTER });
    }

    fn settle(&mut self, now: Now, out: &mut Outbox) {
        let facts = self.neighbours.wake(now, out);
        self.facts(now, facts, out);
        if self.routes.flush(now, &mut self.neighbours, out) {
            self.carrying.flush(out);
            for region in self.routes.take_opened() {
                self.reroute(region, out);
            }
            self.tell_missed(out);
        }
        self.quorum.wake(now, &self.neighbours, None, out);
        self.peering.wake(now, &self.neighbours, out);
        self.spread_missed(now, out);
        self.get_ready(now, out);
        for link in self.carrying.overdue(now.mono) {
            let facts = self.neighbours.withheld(now, link, out);
            self.facts(now, facts, out);
        }
        self.carrying.send_confirmations(now, out);
        self.questions.wake(now, out);
        self.replication.wake(now, &self.neighbours, &mut self.nearness, out);
        self.flush_figure(now, out);
    }
}

impl Machine for Aggregator {
    fn handle(&mut self, now: Now, input: Input, out: &mut Outbox) {
        match input {
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
            Input::State { link, bundle } => {
                if let Some(report) = self.replication.on_bundle(now, link, bundle, &self.neighbours, out) {
                    self.reported(now, report, out);
                }
            }
            Input::Reported(report) => self.reported(now, report, out),
            Input::Request { connection, id, ask } => self.on_request(now, connection, id, ask, out),
            Input::Attach { connection, request, .. } => {
                let text = "this is an aggregator; agents attach to an edge";
                out.reply(connection, request, RefusedCode::NotHere.because(text));
            }
            Input::Wanted(wanted) => self.neighbours.on_wanted(now, wanted, out),
            Input::Distances(distances) => {
                self.neighbours.on_distances(&distances);
                self.peering.on_distances(now, &distances, &self.neighbours);
                self.nearness.on_distances(now, &distances, &self.neighbours, out);
            }
            Input::Stop => {
                self.neighbours.leave(now, out);
                self.neighbours
                    .linked()
                    .for_each(|(_, link, _)| out.send(link, ControlBody::Leaving(Leaving {})));
                out.push(Output::Stopped);
            }
            Input::Disconnected { connection } => self.peering.disconnected(connection),
            Input::Wake
            | Input::Changes { .. }
            | Input::SystemAcknowledged { .. }
            | Input::Unresolved(_)
            | Input::Committed { .. }
            | Input::Restored { .. }
            | Input::Undecided { .. }
            | Input::Standings(_) => {}
            Input::Measured(snapshot) => self.measured = snapshot,
        }
        self.settle(now, out);
        self.neighbours.wrap_relayed(out);
    }

    fn deadline(&self) -> Option<Time> {
        let own = [
            self.neighbours.deadline(),
            self.routes.deadline(),
            self.carrying.deadline(),
            self.questions.deadline(),
            self.figure_due,
            self.peers_due,
            self.ready_check,
            self.missed.deadline(),
            self.replication.deadline(),
            self.quorum.deadline(),
            self.peering.deadline(),
        ];
        own.into_iter().flatten().min()
    }

    fn check(&self) {
        self.neighbours.check();
        self.replication.check();
        self.peering.check();
    }
}
