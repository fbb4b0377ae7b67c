//! What the application reads: bounded, in order, and never silent about what is missing.
//!
//! The reading task queues whole deliveries and the application's task takes the entries out of
//! them, so what is not read costs nobody else anything. A full feed stops the reading task.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Instant;

use bytes::Bytes;
use starling_core::id::AgentId;
use starling_core::wire::agent::{Deliver, System, SystemAcknowledge};
use tokio::sync::Notify;

use crate::agent::Agent;
use crate::copies::{Arrival, Copies};
use crate::unpacker::Unpacker;

/// Bytes of directed messages that are kept for an agent before its inbox is opened.
const UNOPENED_BYTES_MAX: usize = 256 * 1024;
/// What an item costs beside its payloads.
const ITEM_BYTES: usize = 128;

/// What a subscription or inbox has next.
#[derive(Clone, Debug)]
pub enum Notice {
    /// A message.
    Event(Event),
    /// Messages before this point may be missing; those after it are promised again.
    Gap {
        /// Why, for people.
        reason: String,
    },
}

/// A message.
#[derive(Clone, Debug)]
pub struct Event {
    /// The subject; empty in an inbox.
    pub subject: String,
    /// Who published it.
    pub publisher: AgentId,
    /// The publisher's sequence: grows with each of its messages, over all subjects.
    pub sequence: u64,
    /// What it says; shares memory with what was received.
    pub payload: Bytes,
    /// The subject that an answer is asked on.
    pub reply: Option<String>,
    /// W3C trace context: trace id (16), span id (8), flags (1).
    pub trace: Option<[u8; 25]>,
    /// Wall-clock milliseconds after which it is of no use.
    pub deadline_ms: Option<u64>,
    /// The publisher's own signature, where its author asked for it.
    pub signature: Option<[u8; 64]>,
    /// Whether it goes before bulk.
    pub is_priority: bool,
    /// The hybrid logical clock of the edge that sent it.
    pub clock: u64,
}

/// What waits to be read.
#[derive(Debug)]
pub(crate) enum Item {
    Deliver(Arrival, Arc<Deliver>),
    System(System),
    Gap(String),
}

impl Item {
    fn bytes(&self) -> usize {
        ITEM_BYTES
            + match self {
                Item::Deliver(_, deliver) => deliver.body.len(),
                Item::System(system) => system.payload.len(),
                Item::Gap(_) => 0,
            }
    }
}

/// Wakes the reading task when a full feed has room again.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    waker: Mutex<Option<Waker>>,
    is_shut: AtomicBool,
}

impl Gate {
    /// Whether the reading task waits for the application.
    pub fn is_shut(&self) -> bool {
        self.is_shut.load(Ordering::Acquire)
    }

    pub fn set_shut(&self, is_shut: bool) {
        self.is_shut.store(is_shut, Ordering::Release);
    }

    /// To be called before looking whether the feeds have room, so that no wake-up is missed.
    pub fn register(&self, waker: &Waker) {
        *self.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(waker.clone());
    }

    pub fn wake(&self) {
        let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// The queue between the reading task and one reader of the application.
#[derive(Debug)]
pub(crate) struct Feed {
    queue: Mutex<Queue>,
    arrived: Notify,
    gate: Arc<Gate>,
    bytes_max: usize,
    /// What was handed on; it outlives a reader.
    copies: Mutex<Copies>,
}

#[derive(Debug)]
struct Queue {
    items: VecDeque<Item>,
    bytes: usize,
    has_reader: bool,
    is_closed: bool,
    /// Why something may be missing before the next delivery, while nobody has said so yet.
    interrupted: Option<&'static str>,
    /// When the application last took something, or the feed became full.
    moved: Instant,
}

impl Feed {
    /// A feed that is read from now on, or, as an inbox, perhaps later.
    pub fn new(gate: Arc<Gate>, bytes_max: usize, has_reader: bool) -> Arc<Feed> {
        let queue = Queue {
            items: VecDeque::new(),
            bytes: 0,
            has_reader,
            is_closed: false,
            interrupted: None,
            moved: Instant::now(),
        };
        // Only an inbox may wait for its reader.
        let copies = Mutex::new(if has_reader { Copies::of_subjects() } else { Copies::of_inbox() });
        Arc::new(Feed { queue: Mutex::new(queue), arrived: Notify::new(), gate, bytes_max, copies })
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was handed on, for the one who reads.
    pub fn copies(&self) -> MutexGuard<'_, Copies> {
        self.copies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a delivery; whether the feed is full now.
    pub fn deliver(&self, arrival: Arrival, deliver: Arc<Deliver>) -> bool {
        let interrupted = self.lock().interrupted;
        interrupted.into_iter().for_each(|reason| self.gap(reason));
        self.push(Item::Deliver(arrival, deliver))
    }

    /// Queues a system update; whether the feed is full now.
    pub fn system(&self, system: System) -> bool {
        self.push(Item::System(system))
    }

    /// Says that something is missing, unless that was just said.
    pub fn gap(&self, reason: &str) {
        let was_said = {
            let mut queue = self.lock();
            queue.interrupted = None;
            matches!(queue.items.back(), Some(Item::Gap(_)))
        };
        if !was_said {
            self.push(Item::Gap(reason.to_owned()));
        }
    }

    /// The source was lost: should a delivery of the next one come before [`Feed::gap`] is called, a gap
    /// goes before it.
    pub fn interrupt(&self, reason: &'static str) {
        self.lock().interrupted = Some(reason);
    }

    fn push(&self, item: Item) -> bool {
        let mut queue = self.lock();
        if queue.is_closed {
            return false;
        }
        queue.bytes += item.bytes();
        queue.items.push_back(item);
        if !queue.has_reader {
            queue.forget_oldest();
            return false;
        }
        let is_full = queue.bytes > self.bytes_max;
        if is_full {
            queue.moved = Instant::now();
        }
        drop(queue);
        self.arrived.notify_one();
        is_full
    }

    /// Whether the reading task need not wait for this feed (any more).
    pub fn has_room(&self) -> bool {
        let queue = self.lock();
        queue.is_closed || queue.bytes <= self.bytes_max / 2
    }

    /// Drops what waits, if nothing was taken since `moment`.
    pub fn cut(&self, moment: Instant, reason: &str) {
        let mut queue = self.lock();
        if queue.moved > moment || queue.bytes <= self.bytes_max / 2 {
            return;
        }
        queue.items = VecDeque::from([Item::Gap(reason.to_owned())]);
        queue.bytes = ITEM_BYTES;
        drop(queue);
        self.gate.wake();
    }

    /// From now on somebody reads; `false` if somebody does already.
    pub fn open(&self) -> bool {
        let mut queue = self.lock();
        let was_free = !queue.has_reader;
        queue.has_reader = true;
        was_free
    }

    /// Nobody reads any more, but somebody may later.
    pub fn abandon(&self) {
        let mut queue = self.lock();
        queue.has_reader = false;
        queue.forget_oldest();
        drop(queue);
        self.gate.wake();
    }

    pub fn has_reader(&self) -> bool {
        let queue = self.lock();
        queue.has_reader && !queue.is_closed
    }

    /// Nothing will come any more; what is queued can still be read.
    pub fn close(&self) {
        self.lock().is_closed = true;
        self.arrived.notify_one();
        self.gate.wake();
    }

    /// The newest system update that waits; nothing is left afterwards.
    fn drain_system(&self) -> Option<(u32, u64)> {
        let items = std::mem::take(&mut self.lock().items);
        let waiting = items.into_iter().filter_map(|item| match item {
            Item::System(system) => Some((system.agent, system.index)),
            Item::Deliver(..) | Item::Gap(_) => None,
        });
        waiting.last()
    }

    /// What waits longest; `None` once nothing will come.
    pub async fn next(&self) -> Option<Item> {
        loop {
            let arrived = self.arrived.notified();
            {
                let mut queue = self.lock();
                if let Some(item) = queue.items.pop_front() {
                    queue.bytes -= item.bytes();
                    queue.moved = Instant::now();
                    let has_room = queue.bytes <= self.bytes_max / 2;
                    drop(queue);
                    if has_room {
                        self.gate.wake();
                    }
                    return Some(item);
                }
                if queue.is_closed {
                    return None;
                }
            }
            arrived.await;
        }
    }
}

impl Queue {
    /// Keeps what nobody reads small, and says so to who may read it later.
    fn forget_oldest(&mut self) {
        if self.bytes <= UNOPENED_BYTES_MAX {
            return;
        }
        while self.bytes > UNOPENED_BYTES_MAX / 2 {
            let Some(item) = self.items.pop_front() else { break };
            self.bytes -= item.bytes();
        }
        self.items.push_front(Item::Gap("the inbox was not open, older messages are gone".to_owned()));
        self.bytes += ITEM_BYTES;
    }
}

/// An open subscription; dropping it ends it.
#[derive(Debug)]
pub struct Subscription {
    pub(crate) agent: Agent,
    pub(crate) number: u32,
    pub(crate) feed: Arc<Feed>,
    unpacker: Unpacker,
}

impl Subscription {
    pub(crate) fn new(agent: Agent, number: u32, feed: Arc<Feed>) -> Subscription {
        Subscription { agent, number, feed, unpacker: Unpacker::default() }
    }

    /// The next message or gap; `None` once the client or the agent is closed. A cancelled call loses
    /// nothing.
    pub async fn next(&mut self) -> Option<Notice> {
        self.unpacker.next(&self.feed).await
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.feed.close();
        self.agent.inner().unsubscribe(self.number);
    }
}

/// The messages that are sent to one agent. What arrives while no inbox is open is kept up to
/// 256 KiB; beyond that the oldest are dropped with a gap notice.
#[derive(Debug)]
pub struct Inbox {
    agent: Agent,
    feed: Arc<Feed>,
    unpacker: Unpacker,
}

impl Inbox {
    pub(crate) fn new(agent: Agent, feed: Arc<Feed>) -> Inbox {
        Inbox { agent, feed, unpacker: Unpacker::default() }
    }

    /// Whose inbox it is.
    pub fn agent(&self) -> &Agent {
        &self.agent
    }

    /// The next message or gap; `None` once the client or the agent is closed. A cancelled call loses
    /// nothing.
    pub async fn next(&mut self) -> Option<Notice> {
        self.unpacker.next(&self.feed).await
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.feed.abandon();
    }
}

/// A decision of the coordinators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemUpdate {
    /// Its place in their log, from 1.
    pub index: u64,
    /// What was decided.
    pub payload: Bytes,
}

/// The system updates of one agent, each once and in order.
///
/// An update is acknowledged to the mesh when [`SystemUpdates::next`] hands it out; while no such
/// stream is open, as soon as it arrives.
#[derive(Debug)]
pub struct SystemUpdates {
    agent: Agent,
    feed: Arc<Feed>,
}

impl SystemUpdates {
    pub(crate) fn new(agent: Agent, feed: Arc<Feed>) -> SystemUpdates {
        SystemUpdates { agent, feed }
    }

    /// The next update; `None` once the client or the agent is closed.
    pub async fn next(&mut self) -> Option<SystemUpdate> {
        loop {
            if let Item::System(System { agent, index, payload }) = self.feed.next().await? {
                self.agent.inner().acknowledge_system(SystemAcknowledge { agent, index });
                return Some(SystemUpdate { index, payload });
            }
        }
    }
}

impl Drop for SystemUpdates {
    fn drop(&mut self) {
        self.feed.close();
        if let Some((agent, index)) = self.feed.drain_system() {
            self.agent.inner().acknowledge_system(SystemAcknowledge { agent, index });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use starling_core::id::ShortId;
    use starling_core::wire::agent::Receivers;
    use starling_core::wire::bundle::Class;

    fn delivery() -> Arc<Deliver> {
        Arc::new(Deliver {
            receivers: Receivers::Subscriptions(vec![1]),
            class: Class::EventBulk,
            subject: Bytes::from_static(b"a"),
            origin: ShortId(1),
            clock: 1,
            agents: Vec::new(),
            count: 0,
            body: Bytes::new(),
        })
    }

    #[test]
    fn what_comes_of_another_edge_comes_behind_a_gap() {
        let feed = Feed::new(Arc::default(), 1024, true);
        let arrival = Arrival { connection: 1, at: Instant::now() };
        feed.deliver(arrival, delivery());
        feed.interrupt("lost");
        feed.deliver(arrival, delivery());
        feed.deliver(arrival, delivery());
        feed.gap("in force");
        // A stream that was quiet meanwhile has one gap, at the place from which it is whole.
        feed.interrupt("lost");
        feed.gap("in force again");
        feed.deliver(arrival, delivery());
        let kinds: String = feed
            .lock()
            .items
            .iter()
            .map(|item| match item {
                Item::Deliver(..) => 'd',
                Item::System(_) => 's',
                Item::Gap(_) => 'g',
            })
            .collect();
        assert_eq!(kinds, "dgddgd");
    }
}
