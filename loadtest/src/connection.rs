//! One connection of the load generator: attach, subscribe, measure, come back elsewhere.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use starling_client::session::{CloseReason, Endpoint, Handler, Incoming, Sender, Session};
use starling_core::identity::SecretKey;
use starling_core::wire::agent::{Attach, Candidate, Change, Deliver, Publish, Receivers, SystemAcknowledge};
use starling_core::wire::bundle::Class;
use starling_core::wire::codec::Reader;
use starling_core::wire::entry::{Extras, take_entry};
use starling_core::wire::request::{Ask, RefusedCode, Reply, Request, Say, Subscribe, Subscription};
use tokio::sync::mpsc;

use crate::agents::{Placement, profile, receivers_of, room_of, room_subject};
use crate::payload::Head;
use crate::shared::Shared;

/// Agents in one attach frame.
const CLAIMS: usize = 256;
/// Subscriptions in one request.
const SUBSCRIPTIONS: usize = 512;
/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// How long an attach is good for.
const LIFETIME_MS: u64 = 24 * 60 * 60 * 1000;

/// A connection's memory, over all sessions it has.
#[derive(Debug)]
pub struct Connection {
    /// Its number.
    pub number: usize,
    /// Where it began and whom it carries.
    pub placement: Placement,
    session: Mutex<Option<Session>>,
    sender: Mutex<Option<Sender>>,
    sessions: AtomicU32,
    ledger: Mutex<Ledger>,
}

/// A session whose edge was told nothing yet.
#[derive(Debug)]
pub struct Opened {
    session: Session,
    answered: mpsc::Receiver<Reply>,
}

/// What was sent and not answered yet.
#[derive(Debug, Default)]
struct Ledger {
    /// Times at which changes were due, in the order of their numbers.
    changes: VecDeque<u64>,
    changes_answered: u64,
}

impl Connection {
    /// Not connected yet.
    pub fn new(number: usize, placement: Placement) -> Connection {
        Connection {
            number,
            placement,
            session: Mutex::default(),
            sender: Mutex::default(),
            sessions: AtomicU32::new(0),
            ledger: Mutex::default(),
        }
    }

    /// What queues frames, while connected.
    pub fn sender(&self) -> Option<Sender> {
        self.sender.lock().expect("a swap does not panic").clone()
    }

    /// Closes the session.
    pub fn close(&self) {
        self.sender.lock().expect("a swap does not panic").take();
        if let Some(session) = self.session.lock().expect("a swap does not panic").take() {
            session.close();
        }
    }

    /// Changes the state of an agent on this connection.
    pub fn change(&self, index: u32, state: &str, due: u64) {
        let Some(sender) = self.sender() else { return };
        let change = Change { index, state: Some(state.to_string()), tags: None };
        let mut ledger = self.ledger.lock().expect("bookkeeping does not panic");
        if sender.change(&change).is_ok() {
            ledger.changes.push_back(due);
        }
    }

    /// Publishes for an agent on this connection; false when it could not be queued.
    pub fn publish(&self, index: u32, subject: Bytes, sequence: u64, payload: Bytes) -> bool {
        let publish = Publish {
            agent: index,
            class: Class::EventBulk,
            directed: false,
            subject,
            sequence,
            extras: Extras::default(),
            payload,
        };
        self.sender().is_some_and(|sender| sender.publish(&publish).is_ok())
    }

    /// Connects to an edge, attaches all agents and subscribes each to its room.
    ///
    /// # Errors
    /// The edge does not answer, or refuses agents.
    pub async fn bring_up(
        self: &Arc<Connection>,
        shared: &Arc<Shared>,
        endpoint: &Endpoint,
        address: SocketAddr,
        keys: &[SecretKey],
    ) -> Result<()> {
        shared.first_attach.fetch_min(shared.now(), Ordering::Relaxed);
        let opened = self.open(shared, endpoint, address).await?;
        self.settle(shared, opened, keys).await
    }

    /// Connects to an edge and tells it nothing yet.
    ///
    /// # Errors
    /// The edge does not answer.
    pub async fn open(
        self: &Arc<Connection>,
        shared: &Arc<Shared>,
        endpoint: &Endpoint,
        address: SocketAddr,
    ) -> Result<Opened> {
        let (answers, answered) = mpsc::channel(64);
        let ears = Ears { shared: Arc::clone(shared), connection: Arc::clone(self), answers, lost: false };
        let session = Session::connect(endpoint, address, ears).await?;
        Ok(Opened { session, answered })
    }

    /// Attaches all agents and subscribes each to its room.
    ///
    /// # Errors
    /// The edge is lost, or refuses agents.
    pub async fn settle(&self, shared: &Arc<Shared>, opened: Opened, keys: &[SecretKey]) -> Result<()> {
        let Opened { session, mut answered } = opened;
        *self.ledger.lock().expect("bookkeeping does not panic") = Ledger::default();
        let begun = self.sessions.fetch_add(1, Ordering::Relaxed);
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
        let session_number = u64::try_from(wall.as_millis())? + u64::from(begun);
        let mut open = 0;
        let numbers: Vec<u32> = self.placement.agents.clone().collect();
        for (at, part) in numbers.chunks(CLAIMS).enumerate() {
            let candidates = self.candidates(&session, part, keys, session_number);
            session.attach(&Attach { request: at as u64 + 1, candidates })?;
            open += 1;
            tokio::task::yield_now().await;
        }
        while open > 0 {
            let answer = self.take_answer(shared, &session, &mut answered, keys, session_number).await?;
            open -= usize::from(answer);
        }
        shared.last_attached.fetch_max(shared.now(), Ordering::Relaxed);
        self.subscribe(shared, &session, &mut answered).await?;
        *self.sender.lock().expect("a swap does not panic") = Some(session.sender().clone());
        *self.session.lock().expect("a swap does not panic") = Some(session);
        shared.ready.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Waits until the edge is silent or the session ended, and leaves it.
    pub async fn until_lost(&self) {
        let session = self.session.lock().expect("a swap does not panic").clone();
        if let Some(session) = session {
            session.silent().await;
            session.close();
        }
        // Who listens to the session takes it off the books.
        while self.sender().is_some() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn candidates(
        &self,
        session: &Session,
        numbers: &[u32],
        keys: &[SecretKey],
        since: u64,
    ) -> Vec<Candidate> {
        let terms = session.terms();
        let candidate = |number: &u32| Candidate {
            index: number - self.placement.agents.start,
            claim: terms.sign(&keys[*number as usize], since, since + LIFETIME_MS),
            profile: profile(*number),
        };
        numbers.iter().map(candidate).collect()
    }

    /// Takes one answer to an attach frame; asks again where the edge was not ready.
    async fn take_answer(
        &self,
        shared: &Shared,
        session: &Session,
        answered: &mut mpsc::Receiver<Reply>,
        keys: &[SecretKey],
        session_number: u64,
    ) -> Result<bool> {
        let reply = next(answered).await?;
        match reply.say {
            Some(Say::Attached(attached)) => {
                shared.took(self.number, attached.accepted);
                shared.refused.fetch_add(attached.refused.len(), Ordering::Relaxed);
                attached.refused.iter().take(3).for_each(|refused| shared.complain(refused.text.clone()));
                Ok(true)
            }
            Some(Say::Refused(refused)) if refused.code == RefusedCode::Unavailable as u32 => {
                tokio::time::sleep(Duration::from_millis(100)).await;
                let at = usize::try_from(reply.id - 1)?;
                let numbers: Vec<u32> =
                    self.placement.agents.clone().skip(at * CLAIMS).take(CLAIMS).collect();
                let candidates = self.candidates(session, &numbers, keys, session_number);
                session.attach(&Attach { request: reply.id, candidates })?;
                Ok(false)
            }
            Some(Say::Refused(refused)) => bail!("the edge refused to attach: {}", refused.text),
            other => bail!("an unexpected answer to attach: {other:?}"),
        }
    }

    async fn subscribe(
        &self,
        shared: &Shared,
        session: &Session,
        answered: &mut mpsc::Receiver<Reply>,
    ) -> Result<()> {
        let settings = &shared.settings;
        let count = u32::try_from(self.placement.agents.len())?;
        let numbers: Vec<u32> = (0..count).collect();
        let mut open = 0;
        for (at, part) in numbers.chunks(SUBSCRIPTIONS).enumerate() {
            let subscription = |index: &u32| {
                let (room, _) = room_of(settings, self.placement.first_on_edge + index);
                let pattern = room_subject(settings, self.placement.edge, room);
                Subscription { number: *index, agent: *index, pattern }
            };
            let ask = Ask::Subscribe(Subscribe { subscriptions: part.iter().map(subscription).collect() });
            session.request(&Request { id: 1_000_000 + at as u64, ask: Some(ask) })?;
            open += 1;
        }
        for _ in 0..open {
            match next(answered).await?.say {
                Some(Say::Done(_)) => {}
                Some(Say::Refused(refused)) => bail!("the edge refused a subscription: {}", refused.text),
                other => bail!("an unexpected answer to subscribe: {other:?}"),
            }
        }
        Ok(())
    }
}

async fn next(answered: &mut mpsc::Receiver<Reply>) -> Result<Reply> {
    let reply = tokio::time::timeout(ANSWER_WITHIN, answered.recv()).await;
    reply.context("an edge did not answer within a minute")?.context("the connection ended while it waited")
}

/// Listens to one session.
struct Ears {
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    answers: mpsc::Sender<Reply>,
    lost: bool,
}

impl Ears {
    fn on_deliver(&self, deliver: &Deliver) {
        let now = self.shared.now();
        let settings = &self.shared.settings;
        let Receivers::Subscriptions(numbers) = &deliver.receivers else { return };
        let mut reader = Reader::new(&deliver.body);
        for _ in 0..deliver.count {
            let Ok(entry) = take_entry(&mut reader) else { return };
            let Some(head) = Head::read(entry.payload) else { continue };
            for number in numbers {
                let (_, receiver) = room_of(settings, self.connection.placement.first_on_edge + number);
                self.shared.receipts.record(head.event, receiver);
                let recorder = if head.is_global { &self.shared.global } else { &self.shared.region };
                recorder.record(self.connection.number, now.saturating_sub(head.due));
            }
        }
    }

    fn on_reply(&mut self, reply: Reply) {
        match reply.say {
            Some(Say::Changed(changed)) if reply.id == 0 => {
                let mut ledger = self.connection.ledger.lock().expect("bookkeeping does not panic");
                let answered = changed.through.saturating_sub(ledger.changes_answered);
                let answered = usize::try_from(answered).unwrap_or(usize::MAX).min(ledger.changes.len());
                ledger.changes_answered = changed.through;
                let due: Vec<u64> = ledger.changes.drain(..answered).collect();
                drop(ledger);
                self.shared.visible.changed(&changed, due);
            }
            Some(Say::Closed(closed)) if reply.id == 0 => self.shared.complain(closed.text),
            Some(Say::Gap(gap)) if reply.id == 0 => self.shared.complain(gap.text),
            _ if reply.id == 0 => {}
            // Only the task that brings the connection up listens, and it asks less than it can hold.
            _ => self.lost |= self.answers.try_send(reply).is_err(),
        }
    }
}

impl Handler for Ears {
    fn on_incoming(&mut self, incoming: Incoming) {
        match incoming {
            Incoming::Deliver(deliver) => self.on_deliver(&deliver),
            Incoming::Published(published) => {
                let count: u64 = published.0.iter().map(|(from, to)| to.saturating_sub(*from) + 1).sum();
                self.shared.acknowledged.fetch_add(count, Ordering::Relaxed);
            }
            Incoming::System(system) => {
                let acknowledge = SystemAcknowledge { agent: system.agent, index: system.index };
                let Some(sender) = self.connection.sender() else { return };
                let update = system.payload.as_ref().try_into().map(u64::from_le_bytes);
                if let (Ok(()), Ok(update)) = (sender.system_acknowledge(&acknowledge), update) {
                    let update = usize::try_from(update).unwrap_or(usize::MAX);
                    self.shared.broadcast.acknowledged(self.connection.number, update, self.shared.now());
                }
            }
            Incoming::Reply(reply) => self.on_reply(*reply),
        }
    }

    fn on_closed(&mut self, reason: &CloseReason) {
        let was_up = self.connection.sender.lock().expect("a swap does not panic").take().is_some();
        if was_up {
            self.shared.ready.fetch_sub(1, Ordering::Relaxed);
            self.shared.attached.fetch_sub(self.connection.placement.agents.len(), Ordering::Relaxed);
        }
        if *reason != CloseReason::Local {
            self.shared.complain(format!("connection {}: {reason}", self.connection.number));
        }
    }
}

/// Receivers that an event to this room of this edge has.
pub fn expected_receivers(shared: &Shared, edge: u32, room: u32) -> u8 {
    u8::try_from(receivers_of(&shared.settings, edge, room)).expect("settings bound receivers to 63")
}
