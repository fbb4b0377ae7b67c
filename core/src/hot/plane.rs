//! A node's hot path as its connections see it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use crossbeam::queue::SegQueue;

use super::acknowledge::{Acknowledge, Acknowledgements, Stream};
use super::counters::{Counters, Stage};
use super::flows::Flows;
use super::own::{self, OwnState, Publication, Step, Target};
use super::shard::{self, Came};
use super::turn::Turn;
use super::view::{Me, Origin, View};
use super::{Outlet, Pressure, Report};
use crate::conduct::{Budget, Offence};
use crate::hash::Folded;
use crate::id::{AgentId, RegionId, ShortId};
use crate::identity::Signer;
use crate::limits;
use crate::machine::{ConnectionSlot, Destination, LinkSlot};
use crate::time::{Now, Time};
use crate::wire::bundle::{Bundle, Class};
use crate::wire::codec::Wire;
use crate::wire::frame::Parcel;
use std::hash::BuildHasherDefault;

type Map<K, V> = papaya::HashMap<K, V, BuildHasherDefault<Folded>>;

/// Where an agent is hosted at this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its connection.
    pub connection: ConnectionSlot,
    /// Its index there.
    pub index: u32,
}

/// What a batch of work leaves for its caller to look after.
#[derive(Debug, Default)]
pub struct Touched {
    /// To be sent at the end of the batch.
    pub acknowledgements: Acknowledgements,
    /// Links whose lane is half full: the caller waits for them before it reads on.
    pub congested: Vec<LinkSlot>,
}

/// An acknowledgement that waits for a slow subscriber.
#[derive(Debug)]
pub(super) enum Held {
    Own { connection: ConnectionSlot, class: Class, sequence: u64 },
    Other { connection: ConnectionSlot, stream: Stream, sequence: u64, missing: Vec<u16> },
}

/// A node's hot path. Shared by all tasks of the node; no method waits.
pub struct Plane {
    /// Who we are.
    pub me: Me,
    /// Whether this node spreads bundles of other regions in its own (aggregators do).
    pub spreads: bool,
    /// What was counted.
    pub counters: Counters,
    /// When the way out wants a tick, in monotonic nanoseconds; `u64::MAX` for no sooner than the ticks
    /// that come a few times a second in any case.
    pub seal_at: AtomicU64,
    /// Nanoseconds that a sealing token takes to come back; whoever drives the node raises it when
    /// the machine cannot keep up, so that more entries share a signature.
    pub seal_interval: AtomicU64,
    /// Whether publishers should wait before they hand in more.
    pub own_congested: AtomicBool,
    pub(super) key: Signer,
    pub(super) flows: Flows,
    pub(super) secret: u64,
    budget: Budget,
    looked: AtomicU64,
    view: ArcSwap<View>,
    own: Turn<own::Task, OwnState>,
    hosts: Map<AgentId, Host>,
    homes: Map<AgentId, (RegionId, ShortId)>,
    held: SegQueue<Held>,
    /// The link over which each held acknowledgement of others' bundles will go: the one that the last
    /// copy came by.
    held_links: Map<(Stream, u64), LinkSlot>,
    /// When one of a stream's acknowledgements was let go last although it is held, or the first was held.
    let_go: Map<Stream, Time>,
    outlet: Box<dyn Outlet>,
}

impl std::fmt::Debug for Plane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plane").field("me", &self.me).finish_non_exhaustive()
    }
}

impl Plane {
    /// The hot path of node `me`, which signs with `key`; `secret` keys its hashes.
    pub fn new(me: Me, key: Signer, spreads: bool, secret: u64, outlet: Box<dyn Outlet>) -> Plane {
        Plane {
            me,
            spreads,
            counters: Counters::default(),
            seal_at: AtomicU64::new(u64::MAX),
            seal_interval: AtomicU64::new(crate::limits::SEAL_INTERVAL.as_nanos() as u64),
            own_congested: AtomicBool::new(false),
            key,
            flows: Flows::default(),
            secret,
            budget: Budget::new(crate::limits::CHECKS_PER_SECOND, Time::ZERO),
            looked: AtomicU64::new(0),
            view: ArcSwap::from_pointee(View::empty(secret)),
            own: Turn::new(OwnState::default()),
            hosts: Map::default(),
            homes: Map::default(),
            held: SegQueue::new(),
            held_links: Map::default(),
            let_go: Map::default(),
            outlet,
        }
    }

    /// Where effects go.
    pub fn outlet(&self) -> &dyn Outlet {
        &*self.outlet
    }

    /// The view in force.
    pub fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// From now on route by `view`.
    pub fn set_view(&self, view: View) {
        self.view.store(Arc::new(view));
    }

    /// An agent is hosted here.
    pub fn host(&self, agent: AgentId, host: Host) {
        self.hosts.pin().insert(agent, host);
    }

    /// An agent left, unless it came back by another connection meanwhile.
    pub fn unhost(&self, agent: AgentId, host: Host) {
        let hosts = self.hosts.pin();
        if hosts.get(&agent) == Some(&host) {
            hosts.remove(&agent);
        }
    }

    /// Where an agent is hosted at this node.
    pub fn host_of(&self, agent: AgentId) -> Option<Host> {
        self.hosts.pin().get(&agent).copied()
    }

    /// Remembers or forgets a remote agent's home.
    pub fn set_home(&self, agent: AgentId, home: Option<(RegionId, ShortId)>) {
        let homes = self.homes.pin();
        match home {
            Some(home) => {
                if homes.len() >= crate::limits::HOMES_CACHED_MAX {
                    homes.clear();
                }
                homes.insert(agent, home);
            }
            None => {
                homes.remove(&agent);
            }
        }
    }

    /// Takes publications of one connection, in order.
    pub fn admit(&self, now: Now, mut publications: Vec<Publication>, touched: &mut Touched) {
        let mut unresolved = Vec::new();
        for publication in &mut publications {
            if publication.target == Target::Agent(None) {
                publication.target = Target::Agent(self.find_home(&publication.subject));
            }
        }
        if publications.iter().any(|publication| publication.target == Target::Agent(None)) {
            let (lost, found) = publications.into_iter().partition(|p| p.target == Target::Agent(None));
            (unresolved, publications) = (lost, found);
        }
        if !unresolved.is_empty() {
            self.outlet.unresolved(unresolved);
        }
        if !publications.is_empty() {
            self.run_own(now, own::Task::Admit(publications), touched);
        }
    }

    fn find_home(&self, agent: &Bytes) -> Option<(RegionId, ShortId)> {
        let agent = AgentId(agent.as_ref().try_into().ok()?);
        if self.host_of(agent).is_some() {
            return Some((self.me.region, self.me.id));
        }
        self.homes.pin().get(&agent).copied()
    }

    /// The way out looks whether it may seal, and what waited for slow subscribers is acknowledged. To be
    /// called when [`Plane::seal_at`] has come, and a few times a second in any case.
    pub fn tick(&self, now: Now, touched: &mut Touched) {
        self.flows.rotate(now.mono);
        self.release_held(now, touched);
        self.run_own(now, own::Task::Tick, touched);
        self.look_at_transit(now, touched);
    }

    /// Once a second, what others of this region do not acknowledge.
    fn look_at_transit(&self, now: Now, touched: &mut Touched) {
        let looked = self.looked.load(Ordering::Relaxed);
        let is_due = now.mono.since(Time(looked)) >= Duration::from_secs(1);
        // Of several callers one looks.
        let order = Ordering::Relaxed;
        if is_due && self.looked.compare_exchange(looked, now.mono.0, order, order).is_ok() {
            self.on_every_shard(now, touched, || shard::Task::Look);
        }
    }

    /// The view is read anew for each task: one that was left by somebody else may rely on a newer
    /// view than the one in force when this caller came.
    fn run_own(&self, now: Now, task: own::Task, touched: &mut Touched) {
        let touched = std::cell::RefCell::new(touched);
        self.own.submit_and_settle(
            task,
            |state, task| {
                let view = self.view.load();
                let mut touched = touched.borrow_mut();
                state.work(&mut Step { plane: self, view: &view, now, touched: &mut touched }, task);
            },
            |state| {
                let view = self.view.load();
                let mut touched = touched.borrow_mut();
                state.settle(&mut Step { plane: self, view: &view, now, touched: &mut touched });
            },
        );
    }

    fn run_shard(&self, now: Now, origin: &Origin, task: shard::Task, touched: &mut Touched) {
        origin.shard.submit(task, |state, task| {
            let view = self.view.load();
            state.work(&mut Step { plane: self, view: &view, now, touched }, origin, task);
        });
    }

    /// Takes the body of a bundle frame from a link. Returns until when the link is not to be read, since
    /// what came over it has cost more than its share.
    pub fn receive(&self, now: Now, from: LinkSlot, frame: &Bytes, touched: &mut Touched) -> Option<Time> {
        let view = self.view.load();
        let Some(gate) = view.gates.get(&from) else {
            // The machine has yet to hear of this link.
            self.take_in(&view, now, from, frame, touched);
            return None;
        };
        gate.take_frame(now.mono, frame.len());
        self.take_in(&view, now, from, frame, touched);
        gate.ready_at(now.mono)
    }

    fn take_in(&self, view: &View, now: Now, from: LinkSlot, frame: &Bytes, touched: &mut Touched) {
        let started = self.outlet.stopwatch();
        let Ok((passage, bundle)) = Bundle::decode(frame) else {
            return self.refuse(view, now, from, Offence::MalformedFrame);
        };
        let entries = bundle.present().map(|index| u64::from(bundle.sections[index].count)).sum();
        let decoding = self.outlet.stopwatch().saturating_sub(started);
        self.counters.time(Stage::Decode, decoding, entries);
        if bundle.mesh != self.me.mesh || bundle.class == Class::System {
            return self.refuse(view, now, from, Offence::MalformedFrame);
        }
        if bundle.class == Class::State {
            // Rare, and decided by what the machine knows: it verifies what it does not have.
            self.pay_check(view, now, from);
            if !self.outlet.state(from, Box::new(bundle)) {
                Counters::add(&self.counters.dropped_state_bundles, 1);
            }
            return;
        }
        if bundle.origin == self.me.id || passage.hops > crate::limits::HOPS_MAX {
            return Counters::add(&self.counters.looped_bundles, 1);
        }
        let Some(origin) = view.origins.get(&bundle.origin) else {
            return Counters::add(&self.counters.unknown_origin_bundles, 1);
        };
        if !view.may_bring(from, bundle.origin) {
            // Or else its copies could come before the bundles that they are of, and draw to themselves
            // the acknowledgements of those.
            return Counters::add(&self.counters.foreign_bundles, 1);
        }
        let came = Came { from, passage, bundle: Box::new(bundle), decoding };
        self.run_shard(now, origin, shard::Task::Bundle(came), touched);
    }

    /// A bundle is refused that no honest peer would have sent or passed on.
    pub(super) fn refuse(&self, view: &View, now: Now, from: LinkSlot, offence: Offence) {
        Counters::add(&self.counters.invalid_bundles, 1);
        let is_news = view.gates.get(&from).is_some_and(|gate| gate.may_report(now.mono));
        if is_news && !self.outlet.report(Report::Offence { from, offence }) {
            // The machine has more reports than it can work off; the next offence is one too.
        }
    }

    /// Pays for the check of a signature that came over this link.
    pub(super) fn pay_check(&self, view: &View, now: Now, from: LinkSlot) {
        if let Some(gate) = view.gates.get(&from) {
            gate.take_check(&self.budget, now.mono);
        }
    }

    /// Pays for a bundle that is put aside.
    pub(super) fn pay_aside(&self, view: &View, now: Now, from: LinkSlot) {
        if let Some(gate) = view.gates.get(&from) {
            gate.put_aside(&self.budget, now.mono);
        }
    }

    /// Takes the body of an acknowledge frame from a link.
    pub fn acknowledge(&self, now: Now, from: LinkSlot, frame: &Bytes, touched: &mut Touched) {
        let view = self.view.load();
        let (Ok(ack), Some(peer)) = (Acknowledge::from_bytes(frame), view.peers.get(&from)) else {
            return Counters::add(&self.counters.refused_frames, 1);
        };
        let Acknowledge { stream, sequences, mut missing } = ack;
        missing.sort_unstable();
        let Stream { origin, incarnation, class, region } = stream;
        if class < Class::EventPriority {
            return Counters::add(&self.counters.refused_frames, 1);
        }
        if origin == self.me.id {
            if incarnation == self.me.incarnation {
                let by = match region == self.me.region {
                    true => Destination::Node(*peer),
                    false => Destination::Region(region),
                };
                self.run_own(now, own::Task::Acknowledged { by, class, sequences, missing }, touched);
            }
        } else if region != self.me.region {
            if let Some(link) = view.links.get(&origin) {
                let whole = crate::wire::frame::frame(crate::wire::frame::FrameType::Acknowledge, frame);
                let (link, parcel) = view.leave_by(*link, whole.into());
                self.outlet.acknowledge(link, parcel);
            }
        } else if let Some(origin) = view.origins.get(&origin) {
            let task = shard::Task::Acknowledged { by: *peer, incarnation, class, sequences, missing };
            self.run_shard(now, origin, task, touched);
        }
    }

    /// Sends again what `to` has not acknowledged.
    pub fn resend(&self, now: Now, to: Destination, touched: &mut Touched) {
        self.run_own(now, own::Task::Resend(to), touched);
        if let Destination::Node(node) = to {
            self.on_every_shard(now, touched, || shard::Task::Resend(node));
        }
    }

    /// Owes `to` nothing any more.
    pub fn forget(&self, now: Now, to: Destination, touched: &mut Touched) {
        self.run_own(now, own::Task::Forget(to), touched);
        if let Destination::Node(node) = to {
            self.on_every_shard(now, touched, || shard::Task::Forget(node));
        }
    }

    fn on_every_shard(&self, now: Now, touched: &mut Touched, task: impl Fn() -> shard::Task) {
        if !self.spreads {
            return;
        }
        let view = self.view.load();
        let mut origins: Vec<_> =
            view.origins.values().filter(|origin| origin.region != self.me.region).collect();
        origins.sort_unstable_by_key(|origin| origin.id);
        for origin in origins {
            self.run_shard(now, origin, task(), touched);
        }
    }

    /// Sends the acknowledgements that a batch of work left.
    pub fn flush(&self, touched: &mut Touched) {
        let view = self.view.load();
        for (link, frame) in touched.acknowledgements.take_frames() {
            let (link, parcel) = view.leave_by(link, frame.into());
            self.outlet.acknowledge(link, parcel);
        }
    }

    /// Queues a copy of a bundle for a link.
    pub fn send_bundle(&self, link: LinkSlot, class: Class, parcel: Parcel, touched: &mut Touched) {
        let (link, parcel) = match link.is_relayed() {
            true => self.view.load().leave_by(link, parcel),
            false => (link, parcel),
        };
        Counters::add(&self.counters.sent_bytes, parcel.len() as u64);
        self.queue_bundle(link, class != Class::EventBulk, parcel, touched);
    }

    /// Queues what belongs into a lane of bundles.
    pub(super) fn queue_bundle(&self, link: LinkSlot, priority: bool, parcel: Parcel, touched: &mut Touched) {
        match self.outlet.bundle(link, priority, parcel) {
            Pressure::Fine => {}
            Pressure::Slow if !touched.congested.contains(&link) => touched.congested.push(link),
            // Gone with its link: still owed, and sent again over the next one.
            Pressure::Slow | Pressure::Gone => {}
        }
    }

    /// Holds an acknowledgement back that would go to `to`.
    pub(super) fn hold(&self, now: Time, to: LinkSlot, held: Held) {
        if let Held::Other { stream, sequence, .. } = &held {
            self.held_links.pin().insert((*stream, *sequence), to);
            self.let_go.pin().get_or_insert(*stream, now);
        }
        self.held.push(held);
    }

    pub(super) fn hold_own(&self, connection: ConnectionSlot, class: Class, sequence: u64) {
        self.held.push(Held::Own { connection, class, sequence });
    }

    /// Whether the acknowledgement is held; from now on it will go to `to`, since the link that the
    /// first copy came by may be gone.
    pub(super) fn is_held_for(&self, stream: Stream, sequence: u64, to: LinkSlot) -> bool {
        self.held_links.pin().update((stream, sequence), |_| to).is_some()
    }

    /// Whether one is let go all the same: the oldest of its stream, and the first in a while, so that the
    /// origin sees that this node goes on and its subscriber is slow. What is acknowledged is in the
    /// subscriber's queue.
    fn may_let_go(&self, now: Time, held: &Held) -> bool {
        let Held::Other { stream, .. } = held else { return false };
        let let_go = self.let_go.pin();
        let is_due = now.since(*let_go.get_or_insert(*stream, now)) >= limits::HELD_MAX;
        if is_due {
            let_go.insert(*stream, now);
        }
        is_due
    }

    /// Acknowledges what waited for subscribers that have caught up.
    fn release_held(&self, now: Now, touched: &mut Touched) {
        for _ in 0..self.held.len() {
            let Some(held) = self.held.pop() else { return };
            let connection = match &held {
                Held::Own { connection, .. } | Held::Other { connection, .. } => *connection,
            };
            let has_drained = self.outlet.has_drained(connection);
            if !has_drained && !self.may_let_go(now.mono, &held) {
                self.held.push(held);
                continue;
            }
            match held {
                Held::Own { class, sequence, .. } => {
                    let by = Destination::Local;
                    let (sequences, missing) = (vec![sequence], Vec::new());
                    self.run_own(now, own::Task::Acknowledged { by, class, sequences, missing }, touched);
                }
                Held::Other { stream, sequence, missing, .. } => {
                    if has_drained {
                        self.let_go.pin().remove(&stream);
                    }
                    if let Some(to) = self.held_links.pin().remove(&(stream, sequence)) {
                        touched.acknowledgements.add(*to, stream, sequence, &missing);
                    }
                }
            }
        }
    }
}
