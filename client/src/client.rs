//! One connection to the mesh, kept alive, for any number of agents.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use starling_core::id::AgentId;
use starling_core::identity::SecretKey;
use starling_core::limits;
use starling_core::state::crdt::Value;
use starling_core::wire::agent::Profile;
use starling_core::wire::codec::Wire;
use starling_core::wire::request::{
    Ask, Empty, Home, KeyChange, Overview, RefusedCode, Request, Say, SetKey,
};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use crate::agent::Agent;
use crate::backoff::Backoff;
use crate::error::{ClientError, check_label, check_tags};
use crate::feed::Feed;
use crate::finding;
use crate::inner::Inner;
use crate::session::{ConnectError, EdgeInfo, Endpoint, Handler, Incoming, Session, wall_time};
use crate::settings::ClientSettings;
use crate::state::Seat;
use crate::supervisor::{self, connect_first};

/// Bits of an agent's sequence that count within the life of a client; the session is above them, so
/// that a sequence is never used twice.
const SEQUENCE_BITS: u32 = 22;
/// The longest name of a replicated key.
const KEY_BYTES_MAX: usize = 256;
/// The largest system update or value of a replicated key, with what goes round it in a frame.
const REQUEST_BYTES_MAX: usize = limits::CONTROL_BYTES_MAX - 1024;
/// Waits between repetitions of what an edge or coordinator refused for now.
const REPEAT_FIRST: Duration = Duration::from_millis(20);
const REPEAT_MOST: Duration = Duration::from_millis(500);

/// A connection to the mesh. It finds another edge when its own dies, attaches the agents there,
/// opens their subscriptions again and sends again what was not acknowledged.
///
/// A clone shares the connection. When the last of the clones, agents, subscriptions and inboxes is
/// dropped the connection closes at once; call [`Client::close`] to be sure that all was delivered.
#[derive(Clone, Debug)]
pub struct Client(Arc<Guard>);

#[derive(Debug)]
struct Guard(Arc<Inner>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.shut_down();
    }
}

impl Client {
    /// Connects to the first of the edges that takes the connection. Needs a tokio runtime, in which
    /// the client's tasks will live.
    ///
    /// # Errors
    /// No edge did, each within [`crate::session::EndpointSettings::connect_timeout`]; or the
    /// settings make no sense.
    pub async fn connect(settings: ClientSettings) -> Result<Client, ClientError> {
        // Publications may fill the window, and the queue must always hold them.
        let mut endpoint = settings.endpoint.clone();
        endpoint.queue_bytes_max = endpoint.queue_bytes_max.max(2 * limits::CLIENT_UNACKNOWLEDGED_BYTES_MAX);
        let endpoint = Endpoint::new(&settings.trust, &endpoint)?;
        let inner = Arc::new(Inner::new(settings, endpoint));
        let supervisor = connect_first(&inner).await?;
        tokio::spawn(supervisor.run());
        Ok(Client(Arc::new(Guard(inner))))
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.0.0
    }

    /// Attaches one agent; returns when an edge has accepted it.
    pub async fn agent(&self, secret: SecretKey, profile: Profile) -> Result<Agent, ClientError> {
        let mut agents = self.agents(vec![(secret, profile)]).await?;
        agents.pop().ok_or(ClientError::off_topic("attach"))
    }

    /// Attaches many agents at once, all or none.
    pub async fn agents(&self, list: Vec<(SecretKey, Profile)>) -> Result<Vec<Agent>, ClientError> {
        for (_, profile) in &list {
            check_label("an agent's name", &profile.name)?;
            check_label("a state", &profile.state)?;
            check_tags(&profile.tags)?;
        }
        // Dropping the handles takes back what was attached, should a later one be refused.
        let agents: Vec<Agent> =
            list.into_iter().map(|(secret, profile)| self.seat(secret, profile)).collect::<Result<_, _>>()?;
        self.attach(&agents).await?;
        Ok(agents)
    }

    fn seat(&self, secret: SecretKey, profile: Profile) -> Result<Agent, ClientError> {
        let inner = self.inner();
        let id = AgentId::of_key(&secret.public().0);
        let session = wall_time().as_millis();
        let inbox = Feed::new(Arc::clone(&inner.gate), inner.settings.buffer_bytes_max, false);
        let index = inner.reserve_agent(Seat {
            id,
            secret,
            profile,
            session: session.saturating_sub(1),
            next_sequence: session << SEQUENCE_BITS,
            is_registered: false,
            closed: None,
            unacknowledged: 0,
            is_leaving: false,
            inbox,
            system: None,
            system_seen: 0,
            system_acknowledged: 0,
        })?;
        Ok(Agent::new(self.clone(), index, id))
    }

    async fn attach(&self, agents: &[Agent]) -> Result<(), ClientError> {
        let inner = self.inner();
        let _waiting = inner.waiting();
        let patience = inner.settings.unreachable_after;
        let deadline = Instant::now() + patience;
        let mut backoff = Backoff::new(REPEAT_FIRST, REPEAT_MOST);
        let mut wanted: Vec<u32> = agents.iter().map(Agent::index).collect();
        let timeout = |_| ClientError::Timeout { what: "attach", after: patience };
        loop {
            let (session, epoch) = tokio::time::timeout_at(deadline, inner.up()).await.map_err(timeout)??;
            let attaching = supervisor::attach(inner, &session, epoch, &wanted);
            let Some(refused) = tokio::time::timeout_at(deadline, attaching).await.map_err(timeout)? else {
                sleep(backoff.next()).await;
                continue;
            };
            let mut again = Vec::new();
            let mut last_text = String::new();
            for closed in refused {
                if closed.code != RefusedCode::Unavailable as u32 {
                    return Err(ClientError::Refused { what: "attach", text: closed.text });
                }
                again.push(closed.index);
                last_text = closed.text;
            }
            {
                let mut state = inner.lock();
                if state.epoch != epoch || state.session.is_none() {
                    // The edge that accepted them is gone, and the next one was not told of them.
                    continue;
                }
                for index in wanted.iter().filter(|index| !again.contains(index)) {
                    if let Some(seat) = state.agents.get_mut(index) {
                        seat.is_registered = true;
                    }
                }
            }
            if again.is_empty() {
                return Ok(());
            }
            wanted = again;
            let wait = backoff.next();
            if Instant::now() + wait >= deadline {
                return Err(ClientError::Unavailable { what: "attach", text: last_text });
            }
            sleep(wait).await;
        }
    }

    /// The edge that serves this client now; `None` while another is looked for.
    pub fn edge(&self) -> Option<EdgeInfo> {
        self.inner().lock().session.as_ref().map(|session| session.edge().clone())
    }

    /// The time that a probe takes to the edge's process and back.
    pub async fn ping(&self) -> Result<Duration, ClientError> {
        let (session, _) = self.inner().up().await?;
        session.ping().await.map_err(|_| ClientError::Unknown { what: "ping" })
    }

    /// Waits until every destination has everything that was published so far.
    ///
    /// # Errors
    /// [`ClientError::Undelivered`] lists the publications that failed since the last flush, except
    /// those whose failure was reported to who published them.
    pub async fn flush(&self) -> Result<(), ClientError> {
        self.inner().flush().await
    }

    /// Flushes, then closes the connection; every later operation fails and every feed ends.
    pub async fn close(&self) -> Result<(), ClientError> {
        let flushed = self.inner().flush().await;
        self.inner().shut_down();
        // The edge learns at once that we are gone, instead of after a silence.
        if tokio::time::timeout(Duration::from_secs(1), self.inner().endpoint.wait_idle()).await.is_err() {
            // It does not answer; its timeout will tell it.
        }
        flushed
    }

    /// Sets a replicated key to bytes, at most 4,096; the last writer wins. Done once the edge has
    /// sealed it; others read it a few hops later. Keys are written by agents: one must be attached
    /// by this client. A key keeps the type of its first value.
    pub async fn put(&self, key: &str, value: impl Into<Bytes>) -> Result<(), ClientError> {
        let value = value.into();
        if value.len() > REQUEST_BYTES_MAX {
            return Err(ClientError::TooLarge { what: "a value", max: REQUEST_BYTES_MAX });
        }
        self.set("put", key, KeyChange::Put(value)).await
    }

    /// Adds to a replicated counter. Not repeated when the connection is lost before the answer.
    pub async fn add(&self, key: &str, amount: i64) -> Result<(), ClientError> {
        self.set("add", key, KeyChange::Add(amount)).await
    }

    /// Raises a replicated maximum.
    pub async fn max(&self, key: &str, number: i64) -> Result<(), ClientError> {
        self.set("max", key, KeyChange::Max(number)).await
    }

    /// Lowers a replicated minimum.
    pub async fn min(&self, key: &str, number: i64) -> Result<(), ClientError> {
        self.set("min", key, KeyChange::Min(number)).await
    }

    /// Removes the bytes of a replicated key.
    pub async fn delete(&self, key: &str) -> Result<(), ClientError> {
        self.set("delete", key, KeyChange::Delete(Empty {})).await
    }

    async fn set(&self, what: &'static str, key: &str, change: KeyChange) -> Result<(), ClientError> {
        check_key(key)?;
        let is_repeatable = !matches!(change, KeyChange::Add(_));
        let ask = Ask::SetKey(SetKey { key: key.to_owned(), change: Some(change) });
        match self.ask(what, ask, is_repeatable).await? {
            Say::Done(_) => Ok(()),
            _ => Err(ClientError::off_topic(what)),
        }
    }

    /// The value of a replicated key, merged over what the edge knows; `None` if nobody set it or it
    /// was deleted.
    pub async fn get(&self, key: &str) -> Result<Option<Value>, ClientError> {
        check_key(key)?;
        match self.ask("get", Ask::GetKey(key.to_owned()), true).await? {
            Say::Value(bytes) if bytes.is_empty() => Ok(None),
            Say::Value(bytes) => Value::from_bytes(&bytes)
                .map(Some)
                .map_err(|source| ClientError::Malformed { what: "get", source }),
            _ => Err(ClientError::off_topic("get")),
        }
    }

    /// Where an agent is; `None` if nobody knows it.
    pub async fn locate(&self, agent: AgentId) -> Result<Option<Home>, ClientError> {
        let ask = Ask::Locate(Bytes::copy_from_slice(&agent.0));
        let answered = self.inner().ask("locate", ask, self.inner().settings.request_timeout, true).await;
        match answered {
            Ok((Say::Home(home), _)) => Ok(Some(home)),
            Ok(_) => Err(ClientError::off_topic("locate")),
            Err(ClientError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The mesh as a coordinator knows it; without one in the settings, as the edge does.
    pub async fn overview(&self) -> Result<Overview, ClientError> {
        match self.ask_coordinator("overview", Ask::Overview(Empty {}), true).await? {
            Say::Overview(overview) => Ok(overview),
            _ => Err(ClientError::off_topic("overview")),
        }
    }

    /// Lets the coordinators decide a system update and spread it to every agent; its index in their
    /// log. Not repeated when the connection is lost before the answer.
    pub async fn update(&self, payload: impl Into<Bytes>) -> Result<u64, ClientError> {
        let payload = payload.into();
        if payload.len() > REQUEST_BYTES_MAX {
            return Err(ClientError::TooLarge { what: "a system update", max: REQUEST_BYTES_MAX });
        }
        match self.ask_coordinator("update", Ask::Update(payload), false).await? {
            Say::Decided(index) => Ok(index),
            _ => Err(ClientError::off_topic("update")),
        }
    }

    async fn ask(&self, what: &'static str, ask: Ask, is_repeatable: bool) -> Result<Say, ClientError> {
        let patience = self.inner().settings.request_timeout;
        Ok(self.inner().ask(what, ask, patience, is_repeatable).await?.0)
    }

    /// Asks the coordinators of the settings one after the other, or the edge if none are named.
    async fn ask_coordinator(
        &self,
        what: &'static str,
        ask: Ask,
        is_repeatable: bool,
    ) -> Result<Say, ClientError> {
        let settings = &self.inner().settings;
        if settings.coordinators.is_empty() {
            return self.ask(what, ask, is_repeatable).await;
        }
        let deadline = Instant::now() + settings.request_timeout;
        let timeout = |_| ClientError::Timeout { what, after: settings.request_timeout };
        let mut backoff = Backoff::new(REPEAT_FIRST, REPEAT_MOST);
        loop {
            let mut failed = ClientError::Unknown { what };
            for coordinator in &settings.coordinators {
                let asking = self.ask_once(what, coordinator, ask.clone());
                match tokio::time::timeout_at(deadline, asking).await.map_err(timeout)? {
                    Err(error @ ClientError::Unknown { .. }) if !is_repeatable => return Err(error),
                    Err(
                        error @ (ClientError::Connect(_)
                        | ClientError::Unavailable { .. }
                        | ClientError::Unknown { .. }
                        | ClientError::NotHere { .. }),
                    ) => failed = error,
                    answered => return answered,
                }
            }
            let wait = backoff.next();
            if Instant::now() + wait >= deadline || matches!(failed, ClientError::NotHere { .. }) {
                return Err(failed);
            }
            sleep(wait).await;
        }
    }

    /// Asks one node over a connection of its own: such questions are rare.
    async fn ask_once(&self, what: &'static str, node: &str, ask: Ask) -> Result<Say, ClientError> {
        let (answer, answered) = oneshot::channel();
        let address = finding::resolve(node).await?;
        let session = Session::connect(&self.inner().endpoint, address, Once(Some(answer))).await?;
        if session.request(&Request { id: 1, ask: Some(ask) }).is_err() {
            return Err(ConnectError::Unreachable { address }.into());
        }
        match answered.await {
            Ok(Say::Refused(refused)) => Err(ClientError::of_refusal(what, refused)),
            Ok(say) => Ok(say),
            Err(_) => Err(ClientError::Unknown { what }),
        }
    }
}

/// Waits for one answer.
struct Once(Option<oneshot::Sender<Say>>);

impl Handler for Once {
    fn on_incoming(&mut self, incoming: Incoming) {
        if let Incoming::Reply(reply) = incoming
            && reply.id == 1
            && let (Some(answer), Some(say)) = (self.0.take(), reply.say)
            && answer.send(say).is_err()
        {
            // Who asked no longer waits.
        }
    }
}

fn check_key(key: &str) -> Result<(), ClientError> {
    if key.len() > KEY_BYTES_MAX {
        return Err(ClientError::TooLarge { what: "a key", max: KEY_BYTES_MAX });
    }
    Ok(())
}
