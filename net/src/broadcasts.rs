//! System updates on their way to every connection.
//!
//! Thousands of connections that are written to in the same moment answer in the same moment. If the
//! clients' machine cannot keep up, acknowledgements come late, QUIC sends again what is only waiting,
//! and buffers fill with copies. So only so many connections at a time owe an answer.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use crossbeam::queue::SegQueue;
use starling_core::machine::ConnectionSlot;
use starling_core::wire::agent::System;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::hub::Hub;
use crate::outlet::{AgentLane, Outlets};

/// Connections that owe an answer at a time.
const OWING_MAX: usize = 256;
/// A connection that has not answered for this long does not hold others up.
const PATIENCE: Duration = Duration::from_millis(250);
/// Connections that wait; beyond them nobody does.
const WAITING_MAX: usize = 1 << 18;
/// Frames to one connection are queued in parcels of this size.
const PARCEL_BYTES: usize = 64 * 1024;

/// An update for the agents of one connection.
#[derive(Debug)]
pub(crate) struct Broadcast {
    pub connection: ConnectionSlot,
    pub agents: Vec<u32>,
    pub index: u64,
    pub payload: Bytes,
}

impl Broadcast {
    /// Queues the frames; returns the connection if it is there.
    fn send(&self, outlets: &Outlets) -> Option<Arc<AgentLane>> {
        let lane = outlets.connection(self.connection)?;
        let frame_bytes = 18 + self.payload.len();
        for part in self.agents.chunks((PARCEL_BYTES / frame_bytes).max(1)) {
            let mut out = BytesMut::with_capacity(part.len() * frame_bytes);
            for agent in part {
                System { agent: *agent, index: self.index, payload: self.payload.clone() }
                    .put_frame(&mut out);
            }
            outlets.tell(self.connection, out.freeze().into());
        }
        lane.lane.accompany();
        Some(lane)
    }
}

/// Updates that wait for their turn, in order.
#[derive(Debug, Default)]
pub(crate) struct Broadcasts {
    waiting: SegQueue<Broadcast>,
    owing: AtomicUsize,
    /// Signalled when something waits or a connection has answered.
    changed: Notify,
}

impl Broadcasts {
    pub fn add(&self, outlets: &Outlets, broadcast: Broadcast) {
        self.waiting.push(broadcast);
        self.changed.notify_one();
        // Each connection's updates stay in order.
        while self.waiting.len() > WAITING_MAX {
            if let Some(first) = self.waiting.pop() {
                first.send(outlets);
            }
        }
    }

    /// A connection has answered, or is not waited for any more.
    pub fn answered(&self, lane: &AgentLane) {
        if lane.owes.swap(false, Ordering::AcqRel) {
            self.owing.fetch_sub(1, Ordering::AcqRel);
            self.changed.notify_one();
        }
    }
}

/// Serves what waits until the node stops.
pub(crate) async fn run(hub: Arc<Hub>) {
    let broadcasts = &hub.broadcasts;
    let mut asked: VecDeque<(Instant, Arc<AgentLane>)> = VecDeque::new();
    loop {
        let now = Instant::now();
        while let Some((_, lane)) = asked.pop_front_if(|(until, _)| *until <= now) {
            broadcasts.answered(&lane);
        }
        while broadcasts.owing.load(Ordering::Acquire) < OWING_MAX
            && let Some(broadcast) = broadcasts.waiting.pop()
        {
            if let Some(lane) = broadcast.send(&hub.outlets)
                && !lane.owes.swap(true, Ordering::AcqRel)
            {
                broadcasts.owing.fetch_add(1, Ordering::AcqRel);
                asked.push_back((now + PATIENCE, lane));
            }
        }
        let until = asked.front().map_or(now + Duration::from_secs(3600), |(until, _)| *until);
        tokio::select! {
            () = tokio::time::sleep_until(until) => {}
            () = broadcasts.changed.notified() => {}
            () = hub.stopping() => return,
        }
    }
}
