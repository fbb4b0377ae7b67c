//! What a client knows, shared by its handles, its reading task and its supervisor.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use starling_core::limits;
use starling_core::wire::agent::{Publish, SystemAcknowledge, publish_bytes};
use starling_core::wire::request::{Ask, Numbers, RefusedCode, Request, Say};
use tokio::sync::{Notify, Semaphore, TryAcquireError, oneshot, watch};
use tokio::time::{Instant, sleep, timeout_at};

use crate::agent::PublishId;
use crate::backoff::Backoff;
use crate::error::{ClientError, FailureReason};
use crate::feed::Gate;
use crate::session::{Endpoint, Session};
use crate::settings::ClientSettings;
use crate::state::{Interest, Seat, State, finish, leave, tell};
use crate::window::Outcome;

/// Requests that may wait for their answers at once.
const REQUESTS_MAX: usize = 65_536;
/// Bytes of unacknowledged publications, as permits.
pub(crate) const WINDOW_BYTES: u32 = limits::CLIENT_UNACKNOWLEDGED_BYTES_MAX as u32;
/// The first and the longest wait before a request that was refused for now is repeated.
const REPEAT_FIRST: Duration = Duration::from_millis(20);
const REPEAT_MOST: Duration = Duration::from_millis(500);

/// Whether there is an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// One is looked for.
    Connecting,
    /// The connection of this number serves.
    Up(u64),
    /// None was found for long; one is still looked for.
    Unreachable,
    /// The owner closed the client.
    Closed,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub settings: ClientSettings,
    pub endpoint: Endpoint,
    pub gate: Arc<Gate>,
    pub phase: watch::Sender<Phase>,
    /// Operations that wait for the edge.
    pub waiting: AtomicUsize,
    state: Mutex<State>,
    room: Semaphore,
    settled: Notify,
    connections: AtomicU64,
}

/// Counts an operation that waits for the edge, while it lives.
pub(crate) struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An answer to come; forgotten when nobody waits any more.
pub(crate) struct Answer {
    inner: Arc<Inner>,
    id: u64,
    pub receiver: oneshot::Receiver<Say>,
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.inner.lock().requests.remove(&self.id);
    }
}

impl Inner {
    pub fn new(settings: ClientSettings, endpoint: Endpoint) -> Inner {
        Inner {
            settings,
            endpoint,
            gate: Arc::new(Gate::default()),
            phase: watch::Sender::new(Phase::Connecting),
            waiting: AtomicUsize::new(0),
            state: Mutex::default(),
            room: Semaphore::new(WINDOW_BYTES as usize),
            settled: Notify::new(),
            connections: AtomicU64::new(0),
        }
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        // Each change below is made whole before anything that could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of a new connection.
    pub fn next_connection(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub fn waiting(&self) -> Waiting<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(&self.waiting)
    }

    fn down_error(&self, phase: Phase) -> Option<ClientError> {
        match phase {
            Phase::Unreachable => Some(ClientError::Unreachable { after: self.settings.unreachable_after }),
            Phase::Closed => Some(ClientError::Closed),
            Phase::Connecting | Phase::Up(_) => None,
        }
    }

    /// The session that serves and its number, as soon as there is one.
    pub async fn up(&self) -> Result<(Session, u64), ClientError> {
        let mut phases = self.phase.subscribe();
        loop {
            let phase = *phases.borrow_and_update();
            if let Some(error) = self.down_error(phase) {
                return Err(error);
            }
            if let Phase::Up(epoch) = phase {
                let state = self.lock();
                if let Some(session) = state.session.as_ref().filter(|_| state.epoch == epoch) {
                    return Ok((session.clone(), epoch));
                }
            }
            if phases.changed().await.is_err() {
                return Err(ClientError::Closed);
            }
        }
    }

    /// What `work` gives, unless there is no edge for long or the client is closed first.
    async fn or_down<F: Future>(&self, work: F) -> Result<F::Output, ClientError> {
        let mut phases = self.phase.subscribe();
        let down = phases.wait_for(|phase| self.down_error(*phase).is_some());
        tokio::select! {
            biased;
            done = work => Ok(done),
            phase = down => {
                let phase = phase.map_or(Phase::Closed, |phase| *phase);
                Err(self.down_error(phase).unwrap_or(ClientError::Closed))
            }
        }
    }

    /// Sends a request on the connection `epoch`; `None` if that is gone.
    pub fn request(self: &Arc<Self>, epoch: u64, ask: Ask) -> Result<Option<Answer>, ClientError> {
        self.expect_answer(epoch, |session, id| session.request(&Request { id, ask: Some(ask) }).is_ok())
    }

    /// As [`Inner::request`], for what `send` sends under the id of the answer.
    pub fn expect_answer(
        self: &Arc<Self>,
        epoch: u64,
        send: impl FnOnce(&Session, u64) -> bool,
    ) -> Result<Option<Answer>, ClientError> {
        let mut state = self.lock();
        if state.requests.len() >= REQUESTS_MAX {
            return Err(ClientError::TooLarge { what: "the number of open requests", max: REQUESTS_MAX });
        }
        let Some(session) = state.session.clone().filter(|_| state.epoch == epoch) else { return Ok(None) };
        state.last_request += 1;
        let id = state.last_request;
        if !send(&session, id) {
            return Ok(None);
        }
        let (sender, receiver) = oneshot::channel();
        state.requests.insert(id, sender);
        Ok(Some(Answer { inner: Arc::clone(self), id, receiver }))
    }

    /// Asks until there is an answer that is not "not now", or time is up. Returns the number of the
    /// connection that answered.
    pub async fn ask(
        self: &Arc<Self>,
        what: &'static str,
        ask: Ask,
        patience: Duration,
        is_repeatable: bool,
    ) -> Result<(Say, u64), ClientError> {
        let _waiting = self.waiting();
        let deadline = Instant::now() + patience;
        let mut backoff = Backoff::new(REPEAT_FIRST, REPEAT_MOST);
        loop {
            let late = || ClientError::Timeout { what, after: patience };
            let (_, epoch) = timeout_at(deadline, self.up()).await.map_err(|_| late())??;
            let Some(mut answer) = self.request(epoch, ask.clone())? else {
                sleep(backoff.next()).await;
                if Instant::now() >= deadline {
                    return Err(late());
                }
                continue;
            };
            match timeout_at(deadline, &mut answer.receiver).await {
                Ok(Ok(Say::Refused(refused))) if refused.code == RefusedCode::Unavailable as u32 => {
                    let wait = backoff.next();
                    if Instant::now() + wait >= deadline {
                        return Err(ClientError::of_refusal(what, refused));
                    }
                    sleep(wait).await;
                }
                Ok(Ok(Say::Refused(refused))) => return Err(ClientError::of_refusal(what, refused)),
                Ok(Ok(say)) => return Ok((say, epoch)),
                Ok(Err(_)) if is_repeatable => {}
                Ok(Err(_)) => return Err(ClientError::Unknown { what }),
                Err(_) => return Err(late()),
            }
        }
    }

    /// Accepts a publication of the agent at `publish.agent`, as soon as the window has room; its
    /// sequence is given here.
    pub async fn publish(
        &self,
        mut publish: Publish,
        done: Option<oneshot::Sender<Outcome>>,
    ) -> Result<PublishId, ClientError> {
        let bytes = publish_bytes(&publish.subject, &publish.extras, &publish.payload);
        // What is larger than the window travels when the window is empty.
        let wanted = u32::try_from(bytes).unwrap_or(u32::MAX).min(WINDOW_BYTES);
        if let Some(error) = self.down_error(*self.phase.borrow()) {
            return Err(error);
        }
        let permit = match self.room.try_acquire_many(wanted) {
            Ok(permit) => permit,
            Err(TryAcquireError::Closed) => return Err(ClientError::Closed),
            Err(TryAcquireError::NoPermits) => {
                let _waiting = self.waiting();
                let acquired = self.or_down(self.room.acquire_many(wanted)).await?;
                acquired.map_err(|_| ClientError::Closed)?
            }
        };
        let mut state = self.lock();
        let State { agents, window, session, is_live, .. } = &mut *state;
        let Some(seat) = agents.get_mut(&publish.agent) else { return Err(ClientError::Closed) };
        if let Some(text) = &seat.closed {
            return Err(ClientError::AgentClosed { agent: seat.id, text: text.clone() });
        }
        permit.forget();
        publish.sequence = seat.next_sequence;
        seat.next_sequence += 1;
        seat.unacknowledged += 1;
        let id = PublishId { agent: seat.id, sequence: publish.sequence };
        if let Some(session) = session.as_ref().filter(|_| *is_live)
            && session.sender().publish_reserved(&publish).is_err()
        {
            // The session has ended (its queue holds more than the window), so the next one sends it.
            *is_live = false;
        }
        window.push(publish, wanted as usize, done);
        Ok(id)
    }

    /// Waits until every publication accepted so far has an outcome; the failures since last time.
    pub async fn flush(&self) -> Result<(), ClientError> {
        let _waiting = self.waiting();
        let accepted = self.lock().window.accepted();
        loop {
            let settled = self.settled.notified();
            {
                let mut state = self.lock();
                if state.window.is_settled(accepted) {
                    let failures = std::mem::take(&mut state.failures);
                    let is_closed = *self.phase.borrow() == Phase::Closed;
                    return match (failures.is_empty(), is_closed) {
                        (true, true) => Err(ClientError::Closed),
                        (true, false) => Ok(()),
                        (false, _) => Err(ClientError::Undelivered(failures)),
                    };
                }
            }
            if let Err(error) = self.or_down(settled).await
                && !self.lock().window.is_settled(accepted)
            {
                return Err(error);
            }
        }
    }

    /// Gives publications an outcome, by their numbers on the connection.
    pub fn settle(&self, state: &mut State, ranges: &[(u64, u64)], outcome: Outcome) {
        let mut bytes = 0;
        for (from, to) in ranges {
            let State { window, agents, failures, .. } = state;
            window.settle(*from, *to, |slot| bytes += finish(slot, outcome, agents, failures));
        }
        self.after_settling(state, bytes);
    }

    /// Numbers what is unacknowledged anew; what has no agent any more has failed.
    pub fn renumber(&self, state: &mut State) {
        let State { window, agents, failures, .. } = state;
        let attached: BTreeSet<u32> = agents
            .iter()
            .filter(|(_, seat)| seat.is_registered && seat.closed.is_none())
            .map(|(index, _)| *index)
            .collect();
        let mut bytes = 0;
        let outcome = Err(FailureReason::AgentClosed);
        window.renumber(
            |publish| attached.contains(&publish.agent),
            |slot| bytes += finish(slot, outcome, agents, failures),
        );
        self.after_settling(state, bytes);
    }

    fn after_settling(&self, state: &mut State, bytes: usize) {
        if bytes == 0 {
            return;
        }
        self.room.add_permits(bytes);
        self.settled.notify_waiters();
        if state.leaving > 0 {
            let gone = |seat: &Seat| seat.is_leaving && seat.unacknowledged == 0;
            let leavers: Vec<u32> =
                state.agents.iter().filter(|(_, seat)| gone(seat)).map(|(index, _)| *index).collect();
            state.leaving -= leavers.len();
            leave(state, leavers);
        }
    }

    /// A free index for an agent.
    pub fn reserve_agent(&self, seat: Seat) -> Result<u32, ClientError> {
        let max = limits::AGENTS_PER_CONNECTION_MAX;
        let mut state = self.lock();
        if *self.phase.borrow() == Phase::Closed {
            return Err(ClientError::Closed);
        }
        if state.agents.len() >= max {
            return Err(ClientError::TooLarge { what: "the number of agents on a connection", max });
        }
        // An index rests as long as possible, since messages for its last owner may be on their way.
        let after = |index: u32| (index + 1) % u32::try_from(max).expect("a bound of 17 bits");
        let mut index = after(state.last_agent);
        while state.agents.contains_key(&index) {
            index = after(index);
        }
        state.last_agent = index;
        state.agents.insert(index, seat);
        Ok(index)
    }

    /// The last handle of an agent is gone: it leaves once its publications are acknowledged.
    pub fn release_agent(&self, index: u32) {
        let mut state = self.lock();
        let Some(seat) = state.agents.get_mut(&index) else { return };
        seat.is_leaving = true;
        seat.inbox.close();
        if seat.unacknowledged == 0 {
            leave(&mut state, vec![index]);
        } else {
            state.leaving += 1;
        }
    }

    /// Whether `index` has nothing unacknowledged.
    pub async fn agent_settled(&self, index: u32) -> Result<(), ClientError> {
        loop {
            let settled = self.settled.notified();
            if self.lock().agents.get(&index).is_none_or(|seat| seat.unacknowledged == 0) {
                return Ok(());
            }
            self.or_down(settled).await?;
        }
    }

    pub fn reserve_interest(&self, interest: Interest) -> Result<u32, ClientError> {
        let max = limits::SUBSCRIPTIONS_PER_CONNECTION_MAX;
        let mut state = self.lock();
        if state.interests.len() >= max {
            return Err(ClientError::TooLarge { what: "the number of subscriptions on a connection", max });
        }
        let mut number = state.last_interest.wrapping_add(1);
        while state.interests.contains_key(&number) {
            number = number.wrapping_add(1);
        }
        state.last_interest = number;
        state.interests.insert(number, interest);
        Ok(number)
    }

    pub fn unsubscribe(&self, number: u32) {
        let mut state = self.lock();
        if state.interests.remove(&number).is_some() {
            tell(&mut state, Ask::Unsubscribe(Numbers { numbers: vec![number] }));
        }
    }

    pub fn acknowledge_system(&self, acknowledge: SystemAcknowledge) {
        let mut state = self.lock();
        if let Some(seat) = state.agents.get_mut(&acknowledge.agent) {
            seat.system_acknowledged = seat.system_acknowledged.max(acknowledge.index);
        }
        if let Some(session) = &state.session
            && session.system_acknowledge(&acknowledge).is_err()
        {
            // The edge sends the update again on the next connection, where it is acknowledged.
        }
    }

    /// The mesh closed an agent: what is queued can still be read, nothing more will come.
    pub fn close_agent(&self, state: &mut State, index: u32, text: &str, has_gap: bool) {
        let Some(seat) = state.agents.get_mut(&index) else { return };
        seat.closed = Some(text.to_owned());
        seat.is_registered = false;
        let mut feeds = vec![&seat.inbox];
        feeds.extend(&seat.system);
        for interest in state.interests.values_mut().filter(|interest| interest.agent == index) {
            interest.is_confirmed = false;
            feeds.push(&interest.feed);
        }
        for feed in feeds {
            if has_gap {
                feed.gap(text);
            }
            feed.close();
        }
    }

    /// From now on frames of the connection `epoch` count.
    pub fn adopt(&self, session: Session, epoch: u64) {
        let mut state = self.lock();
        if *self.phase.borrow() == Phase::Closed {
            session.close();
            return;
        }
        state.epoch = epoch;
        state.session = Some(session);
        state.is_live = false;
        state.changes_sent = 0;
    }

    /// The connection is gone; whoever waits for an answer on it learns that.
    pub fn lost(&self) {
        let mut state = self.lock();
        if let Some(session) = state.session.take() {
            session.close();
        }
        state.is_live = false;
        self.phase.send_if_modified(|phase| {
            let was_up = matches!(phase, Phase::Up(_));
            if was_up {
                *phase = Phase::Connecting;
            }
            was_up
        });
        state.requests.clear();
        state.changes.clear();
    }

    /// There was no edge for too long: what waits fails, what is unacknowledged is lost.
    pub fn give_up(&self) {
        let mut state = self.lock();
        self.settle(&mut state, &[(0, u64::MAX)], Err(FailureReason::Lost));
        self.phase.send_if_modified(|phase| {
            let was_connecting = *phase == Phase::Connecting;
            if was_connecting {
                *phase = Phase::Unreachable;
            }
            was_connecting
        });
    }

    /// The end: every operation fails, every feed ends.
    pub fn shut_down(&self) {
        self.lost();
        let mut state = self.lock();
        self.phase.send_replace(Phase::Closed);
        self.settle(&mut state, &[(0, u64::MAX)], Err(FailureReason::Lost));
        self.room.close();
        for seat in state.agents.values() {
            seat.inbox.close();
            seat.system.iter().for_each(|feed| feed.close());
        }
        state.interests.values().for_each(|interest| interest.feed.close());
    }
}
