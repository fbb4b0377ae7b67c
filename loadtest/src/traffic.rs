//! The open model: events and changes leave on schedule, whatever the mesh does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use starling_core::rng::Rng;

use crate::agents::{STATES, first_of_edge, room_of, room_subject};
use crate::connection::{Connection, expected_receivers};
use crate::payload::Head;
use crate::shared::Shared;

/// How often the schedule is looked at.
const STEP: Duration = Duration::from_millis(1);

/// What the schedule did.
#[derive(Debug, Default)]
pub struct Sent {
    /// Receivers of each event, in the order of the events.
    pub expected: Vec<u8>,
    /// Changes handed to connections.
    pub changes: u64,
    /// The longest that the schedule itself was late, in nanoseconds.
    pub late_most: u64,
}

/// Which connection carries an agent.
#[derive(Debug)]
pub struct Routes {
    connections: Vec<Arc<Connection>>,
}

impl Routes {
    /// Connections in the order of their agents.
    pub fn new(connections: Vec<Arc<Connection>>) -> Routes {
        Routes { connections }
    }

    /// The connection of an agent and its index there.
    fn find(&self, agent: u32) -> (&Arc<Connection>, u32) {
        let at = self.connections.partition_point(|connection| connection.placement.agents.end <= agent);
        let connection = &self.connections[at];
        (connection, agent - connection.placement.agents.start)
    }
}

/// Progress that others may read.
#[derive(Debug, Default)]
pub struct Progress {
    /// Events due so far.
    pub events: AtomicUsize,
    /// Ends the schedule early.
    pub stop: AtomicBool,
}

/// Publishes and changes from now on for `duration`.
pub async fn drive(shared: &Arc<Shared>, routes: &Routes, duration: Duration, progress: &Progress) -> Sent {
    let settings = &shared.settings;
    let mut rng = Rng::new(settings.seed ^ 0x7261_7465);
    let begin = shared.now();
    let total = (f64::from(settings.rate) * duration.as_secs_f64()) as u64;
    let changes_rate = f64::from(settings.agents) * settings.changes_per_second;
    let changes_total = (changes_rate * duration.as_secs_f64()) as u64;
    let mut sent =
        Sent { expected: Vec::with_capacity(usize::try_from(total).unwrap_or(0)), ..Sent::default() };
    let (mut events, mut changes) = (0, 0);
    let due_at = |count: u64, of: u64| {
        begin + (u128::from(count) * duration.as_nanos() / u128::from(of.max(1))) as u64
    };
    let mut ticks = tokio::time::interval(STEP);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    while (events < total || changes < changes_total) && !progress.stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        let now = shared.now();
        while events < total && due_at(events, total) <= now {
            let due = due_at(events, total);
            sent.late_most = sent.late_most.max(now - due);
            let expected = publish(shared, routes, &mut rng, u32::try_from(events).unwrap_or(u32::MAX), due);
            sent.expected.push(expected);
            events += 1;
        }
        progress.events.store(sent.expected.len(), Ordering::Relaxed);
        while changes < changes_total && due_at(changes, changes_total) <= now {
            change(settings.agents, routes, &mut rng, due_at(changes, changes_total));
            changes += 1;
        }
    }
    sent.changes = changes;
    sent
}

/// One event from a random agent to the room of a random other one, every second to another region.
fn publish(shared: &Shared, routes: &Routes, rng: &mut Rng, event: u32, due: u64) -> u8 {
    let settings = &shared.settings;
    let publisher = rng.below(u64::from(settings.agents)) as u32;
    let (connection, index) = routes.find(publisher);
    let home = settings.region_of(connection.placement.edge);
    let is_global = settings.regions > 1 && event % 2 == 1;
    let edge = loop {
        let edge = rng.below(u64::from(settings.edges)) as u32;
        if (settings.region_of(edge) != home) == is_global && settings.agents_on(edge) > 0 {
            break edge;
        }
    };
    let receiver = rng.below(u64::from(settings.agents_on(edge))) as u32;
    let (room, _) = room_of(settings, receiver);
    let mut payload = BytesMut::zeroed(settings.payload as usize);
    Head { due, event, publisher, is_global }.write(&mut payload);
    let subject = Bytes::from(room_subject(settings, edge, room));
    // An agent's sequence grows with the run: the event's number does.
    if connection.publish(index, subject, u64::from(event) + 1, payload.freeze()) {
        shared.published.fetch_add(1, Ordering::Relaxed);
        expected_receivers(shared, edge, room)
    } else {
        shared.unsent.fetch_add(1, Ordering::Relaxed);
        0
    }
}

fn change(agents: u32, routes: &Routes, rng: &mut Rng, due: u64) {
    let agent = rng.below(u64::from(agents)) as u32;
    let (connection, index) = routes.find(agent);
    let state = STATES[rng.below(STATES.len() as u64) as usize];
    connection.change(index, state, due);
}

/// The first agent of each edge, for who wants to count by edge.
pub fn first_agents(shared: &Shared) -> Vec<u32> {
    (0..shared.settings.edges).map(|edge| first_of_edge(&shared.settings, edge)).collect()
}
