//! Where the hot path's effects go: the lanes of links and of agents' connections, by slot.

use std::hash::BuildHasherDefault;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use crossbeam::queue::{ArrayQueue, SegQueue};
use quinn::Connection;
use starling_core::conduct::bucket::Bucket;
use starling_core::hash::Folded;
use starling_core::hot::own::Publication;
use starling_core::hot::{Outlet, Pressure, Report};
use starling_core::id::AgentId;
use starling_core::limits;
use starling_core::machine::{ConnectionSlot, LinkSlot};
use starling_core::paged::Paged;
use starling_core::wire::bundle::Bundle;
use starling_core::wire::frame::Parcel;
use starling_core::wire::request::{Reply, Say, Undelivered};
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::endpoint::CloseCode;
use crate::lane::Lane;
use crate::trial::Trial;
use crate::unsettled::Unsettled;

/// A link's lane may hold this much before the link is given up. Far over
/// [`limits::LANE_BYTES_MAX`], at half of which readers wait: sending again puts everything that an
/// origin retains into a lane at once, and those bytes are shared with what is retained.
const LINK_LANE_LIMIT_BYTES: usize = limits::LANE_BYTES_MAX + 2 * limits::RETAINED_BYTES_MAX;
/// A connection's lane may hold this much of what is owed whatever its state.
const OWED_LIMIT_BYTES: usize = 2 * limits::DELIVERY_CUT_BYTES;

/// Reports that wait for the machine.
const REPORTS_MAX: usize = 128;
/// State bundles that wait for the machine.
const STATE_BYTES_MAX: usize = 16 * 1024 * 1024;

fn window_bytes(publications: &[Publication]) -> usize {
    publications.iter().map(Publication::window_bytes).sum()
}

type Map<K, V> = papaya::HashMap<K, V, BuildHasherDefault<Folded>>;

/// The sending side of a link.
#[derive(Debug)]
pub(crate) struct LinkLanes {
    pub control: Lane,
    pub priority: Lane,
    pub bulk: Lane,
    /// The connection that carries the lanes now.
    connection: ArcSwap<Connection>,
    /// Milliseconds between the times at which the peer works off what comes.
    pub peer_pace: AtomicU32,
}

impl LinkLanes {
    pub fn new(connection: Connection) -> LinkLanes {
        let lane = || Lane::new(limits::LANE_BYTES_MAX);
        LinkLanes {
            control: lane(),
            priority: lane(),
            bulk: lane(),
            connection: ArcSwap::from_pointee(connection),
            peer_pace: AtomicU32::new(0),
        }
    }

    pub fn all(&self) -> [&Lane; 3] {
        [&self.control, &self.priority, &self.bulk]
    }

    /// The connection that carries the lanes now.
    pub fn connection(&self) -> arc_swap::Guard<Arc<Connection>> {
        self.connection.load()
    }

    /// Another connection carries the lanes from now on.
    pub fn move_to(&self, connection: Connection) {
        self.connection.store(Arc::new(connection));
    }

    /// Ends the link.
    pub fn close_connection(&self, code: CloseCode, reason: &str) {
        self.connection().close(code.into(), reason.as_bytes());
    }

    fn push(&self, lane: &Lane, parcel: Parcel) -> Pressure {
        self.judge(lane, lane.push(parcel, LINK_LANE_LIMIT_BYTES))
    }

    /// Queues a control frame.
    pub fn send_control(&self, parcel: Parcel) {
        self.push(&self.control, parcel);
    }

    /// Gives up a link whose lane is full.
    fn judge(&self, lane: &Lane, pressure: Pressure) -> Pressure {
        if pressure == Pressure::Gone && !lane.is_closed() {
            self.close_connection(CloseCode::TooSlow, "a lane of the link is full");
            self.all().into_iter().for_each(Lane::close);
        }
        pressure
    }
}

/// The sending side of an agents' connection, and the agents that may speak on it.
#[derive(Debug)]
pub(crate) struct AgentLane {
    pub lane: Lane,
    pub table: AgentTable,
    /// None of guests in this process.
    pub connection: Option<Connection>,
    /// What it published and has no outcome yet; of guests nothing is counted.
    pub unsettled: Unsettled,
    /// Whether it has yet to acknowledge a system update.
    pub owes: AtomicBool,
}

impl AgentLane {
    pub fn new(connection: Option<Connection>) -> AgentLane {
        AgentLane {
            lane: Lane::new(limits::DELIVERY_BYTES_MAX),
            table: AgentTable::default(),
            connection,
            unsettled: Unsettled::default(),
            owes: AtomicBool::new(false),
        }
    }

    fn push(&self, parcel: Parcel, limit_bytes: usize) -> Pressure {
        let pressure = self.lane.push(parcel, limit_bytes);
        if pressure == Pressure::Gone && !self.lane.is_closed() {
            self.cut();
        }
        pressure
    }

    /// Ends the connection of a client that does not read.
    pub fn cut(&self) {
        self.lane.close();
        self.close(CloseCode::TooSlow, b"deliveries were not read in time");
    }

    /// Takes no more for a connection that is gone; its reader waits for nothing any more.
    pub fn end(&self) {
        self.lane.close();
        self.unsettled.end();
    }

    /// Closes the connection, if there is one.
    pub fn close(&self, code: CloseCode, reason: &[u8]) {
        if let Some(connection) = &self.connection {
            connection.close(code.into(), reason);
        }
    }
}

/// Agents with a valid claim by their index on a connection. The connection's reader fills it, the
/// driver takes out whom the machine refuses; held for one batch at the most, never while waiting.
#[derive(Debug, Default)]
pub(crate) struct AgentTable(Mutex<Paged<Seat>>);

/// An agent on its connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seat {
    pub agent: AgentId,
    /// The request that brought it.
    pub request: u64,
    /// What it may publish whatever others do.
    pub promised: Bucket,
}

impl AgentTable {
    pub fn lock(&self) -> MutexGuard<'_, Paged<Seat>> {
        // Single insertions and removals leave nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes `index` out if `leaves` says so of whoever sits there.
    pub fn remove_if(&self, index: u32, leaves: impl FnOnce(&Seat) -> bool) {
        let mut seats = self.lock();
        if seats.get(index).is_some_and(leaves) {
            seats.remove(index);
        }
    }
}

/// All lanes of a node.
#[derive(Debug)]
pub(crate) struct Outlets {
    pub links: Map<LinkSlot, Arc<LinkLanes>>,
    pub connections: Map<ConnectionSlot, Arc<AgentLane>>,
    /// Signalled when there is something for the machine.
    pub came: Notify,
    /// Whether an acknowledgement may wait for a slow subscriber.
    pub may_hold: AtomicBool,
    unresolved: SegQueue<Publication>,
    unresolved_count: AtomicUsize,
    unresolved_bytes: AtomicUsize,
    state: SegQueue<(LinkSlot, Box<Bundle>)>,
    state_bytes: AtomicUsize,
    reports: ArrayQueue<Report>,
    clock: Clock,
    /// Who meddles with what goes onto links.
    pub trial: Option<Arc<dyn Trial>>,
}

impl Outlets {
    pub fn new(clock: Clock, trial: Option<Arc<dyn Trial>>) -> Outlets {
        Outlets {
            links: Map::default(),
            connections: Map::default(),
            came: Notify::new(),
            may_hold: AtomicBool::new(false),
            unresolved: SegQueue::new(),
            unresolved_count: AtomicUsize::new(0),
            unresolved_bytes: AtomicUsize::new(0),
            state: SegQueue::new(),
            state_bytes: AtomicUsize::new(0),
            reports: ArrayQueue::new(REPORTS_MAX),
            clock,
            trial,
        }
    }

    pub fn link(&self, link: LinkSlot) -> Option<Arc<LinkLanes>> {
        self.links.pin().get(&link).cloned()
    }

    pub fn connection(&self, connection: ConnectionSlot) -> Option<Arc<AgentLane>> {
        self.connections.pin().get(&connection).cloned()
    }

    pub fn all_links(&self) -> Vec<Arc<LinkLanes>> {
        self.links.pin().values().cloned().collect()
    }

    /// Round trips of all links as QUIC measures them, in the order of their slots.
    pub fn distances(&self) -> Vec<(LinkSlot, Duration)> {
        let links = self.links.pin();
        let mut distances: Vec<(LinkSlot, Duration)> =
            links.iter().map(|(link, lanes)| (*link, lanes.connection().rtt())).collect();
        distances.sort_unstable_by_key(|(link, _)| *link);
        distances
    }

    pub fn all_connections(&self) -> Vec<Arc<AgentLane>> {
        self.connections.pin().values().cloned().collect()
    }

    /// Waits until the lanes of these links have room.
    pub async fn room(&self, links: &[LinkSlot]) {
        for link in links {
            if let Some(lanes) = self.link(*link) {
                lanes.priority.room().await;
                lanes.bulk.room().await;
            }
        }
    }

    pub fn take_unresolved(&self) -> Vec<Publication> {
        let mut taken = Vec::new();
        while let Some(publication) = self.unresolved.pop() {
            taken.push(publication);
        }
        self.unresolved_count.fetch_sub(taken.len(), Ordering::AcqRel);
        self.unresolved_bytes.fetch_sub(window_bytes(&taken), Ordering::AcqRel);
        taken
    }

    /// State bundles that came since the last call, in order.
    pub fn take_state(&self) -> Vec<(LinkSlot, Box<Bundle>)> {
        let mut taken = Vec::new();
        while let Some(came) = self.state.pop() {
            taken.push(came);
        }
        let bytes = taken.iter().map(|(_, bundle)| bundle.len()).sum();
        self.state_bytes.fetch_sub(bytes, Ordering::AcqRel);
        taken
    }

    /// What the hot path saw nodes do wrong since the last call.
    pub fn take_reports(&self) -> impl Iterator<Item = Report> + '_ {
        std::iter::from_fn(|| self.reports.pop()).take(REPORTS_MAX)
    }

    /// Tells each connection which of its publications found no receiver.
    pub fn tell_undelivered(&self, mut publications: Vec<Publication>) {
        publications.sort_by_key(|publication| publication.connection);
        for group in publications.chunk_by(|left, right| left.connection == right.connection) {
            self.settled(group[0].connection, window_bytes(group));
            let numbers = group.iter().map(|publication| publication.number).collect();
            let say = Say::Undelivered(Undelivered { numbers });
            self.tell(group[0].connection, Reply { id: 0, say: Some(say) }.to_frame().into());
        }
    }

    /// So many bytes of a connection's window are free again.
    pub fn settled(&self, connection: ConnectionSlot, bytes: usize) {
        if let Some(lane) = self.connections.pin().get(&connection)
            && lane.connection.is_some()
        {
            lane.unsettled.settle(bytes);
        }
    }

    pub fn tell(&self, connection: ConnectionSlot, parcel: Parcel) {
        if let Some(lane) = self.connections.pin().get(&connection) {
            lane.push(parcel, OWED_LIMIT_BYTES);
        }
    }

    pub fn control(&self, link: LinkSlot, parcel: Parcel) {
        if let Some(lanes) = self.links.pin().get(&link) {
            lanes.push(&lanes.control, parcel);
        }
    }
}

/// What the hot path holds of [`Outlets`].
#[derive(Debug)]
pub(crate) struct Door(pub Arc<Outlets>);

impl Door {
    /// What leaves instead of a frame, in trials of hostile nodes.
    fn twisted(&self, link: LinkSlot, parcel: Parcel) -> Option<Parcel> {
        match &self.0.trial {
            Some(trial) => trial.twist(link, parcel),
            None => Some(parcel),
        }
    }
}

impl Outlet for Door {
    fn bundle(&self, link: LinkSlot, priority: bool, parcel: Parcel) -> Pressure {
        let links = self.0.links.pin();
        let Some(lanes) = links.get(&link) else { return Pressure::Gone };
        let Some(parcel) = self.twisted(link, parcel) else { return Pressure::Fine };
        lanes.push(if priority { &lanes.priority } else { &lanes.bulk }, parcel)
    }

    fn control(&self, link: LinkSlot, parcel: Parcel) {
        self.0.control(link, parcel);
    }

    fn acknowledge(&self, link: LinkSlot, parcel: Parcel) {
        let Some(parcel) = self.twisted(link, parcel) else { return };
        if let Some(lanes) = self.0.links.pin().get(&link) {
            lanes.judge(&lanes.control, lanes.control.push_lazily(parcel, LINK_LANE_LIMIT_BYTES));
        }
    }

    fn deliver(&self, connection: ConnectionSlot, parcel: Parcel) -> Pressure {
        let connections = self.0.connections.pin();
        let Some(lane) = connections.get(&connection) else { return Pressure::Gone };
        let pressure = lane.push(parcel, limits::DELIVERY_CUT_BYTES);
        if pressure == Pressure::Slow {
            self.0.may_hold.store(true, Ordering::Release);
        }
        pressure
    }

    fn tell(&self, connection: ConnectionSlot, parcel: Parcel) {
        self.0.tell(connection, parcel);
    }

    fn settled(&self, connection: ConnectionSlot, bytes: usize) {
        self.0.settled(connection, bytes);
    }

    fn has_drained(&self, connection: ConnectionSlot) -> bool {
        let drained = self.0.connections.pin().get(&connection).is_none_or(|lane| lane.lane.has_drained());
        if !drained {
            self.0.may_hold.store(true, Ordering::Release);
        }
        drained
    }

    fn state(&self, from: LinkSlot, bundle: Box<Bundle>) -> bool {
        let bytes = bundle.len();
        let before = self.0.state_bytes.fetch_add(bytes, Ordering::AcqRel);
        if before + bytes > STATE_BYTES_MAX {
            self.0.state_bytes.fetch_sub(bytes, Ordering::AcqRel);
            return false;
        }
        self.0.state.push((from, bundle));
        self.0.came.notify_one();
        true
    }

    fn unresolved(&self, publications: Vec<Publication>) {
        let (count, bytes) = (publications.len(), window_bytes(&publications));
        let waiting = self.0.unresolved_count.fetch_add(count, Ordering::AcqRel) + count;
        let waiting_bytes = self.0.unresolved_bytes.fetch_add(bytes, Ordering::AcqRel) + bytes;
        if waiting > limits::UNRESOLVED_MAX || waiting_bytes > limits::UNRESOLVED_BYTES_MAX {
            self.0.unresolved_count.fetch_sub(count, Ordering::AcqRel);
            self.0.unresolved_bytes.fetch_sub(bytes, Ordering::AcqRel);
            return self.0.tell_undelivered(publications);
        }
        publications.into_iter().for_each(|publication| self.0.unresolved.push(publication));
        self.0.came.notify_one();
    }

    fn report(&self, report: Report) -> bool {
        let has_room = self.0.reports.push(report).is_ok();
        self.0.came.notify_one();
        has_room
    }

    fn stopwatch(&self) -> u64 {
        self.0.clock.nanos()
    }
}
