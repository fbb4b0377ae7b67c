//! One agent: what its author writes with.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use starling_core::id::{AgentId, ShortId};
use starling_core::interest::subject::{self, Pattern};
use starling_core::limits;
use starling_core::state::crdt::Value;
use starling_core::wire::agent::{Change, Publish};
use starling_core::wire::bundle::Class;
use starling_core::wire::entry::Extras;
use starling_core::wire::request::{self, Ask, Home, Numbers, Overview, Say, Subscribe};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout_at};

use crate::client::Client;
use crate::error::{ClientError, Failure, check_label, check_tags};
use crate::feed::{Feed, Inbox, Subscription, SystemUpdates};
use crate::inner::Inner;
use crate::state::Interest;
use crate::window::Outcome;

/// How long a change waits when the session that was to carry it has just ended.
const CHANGE_AGAIN: Duration = Duration::from_millis(20);

/// Names a publication for ever: an agent never uses a sequence twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublishId {
    /// Who published.
    pub agent: AgentId,
    /// The agent's sequence.
    pub sequence: u64,
}

impl fmt::Display for PublishId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.agent, self.sequence)
    }
}

/// The version of its edge's summary from which on a change is in it. The change is visible to a
/// coordinator whose cut covers this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangeReceipt {
    /// The edge.
    pub edge: ShortId,
    /// The edge's life.
    pub incarnation: u64,
    /// The version of its summary.
    pub version: u64,
}

/// A message with its optional parts.
#[derive(Clone, Debug)]
pub struct Publication {
    target: Target,
    payload: Bytes,
    reply: Option<String>,
    extras: Extras,
    is_priority: bool,
}

#[derive(Clone, Debug)]
enum Target {
    Subject(String),
    Agent(AgentId),
}

impl Publication {
    /// A message for whoever subscribed to `subject`.
    pub fn on(subject: impl Into<String>, payload: impl Into<Bytes>) -> Publication {
        Publication::new(Target::Subject(subject.into()), payload.into())
    }

    /// A message for one agent.
    pub fn to(agent: AgentId, payload: impl Into<Bytes>) -> Publication {
        Publication::new(Target::Agent(agent), payload.into())
    }

    fn new(target: Target, payload: Bytes) -> Publication {
        Publication { target, payload, reply: None, extras: Extras::default(), is_priority: false }
    }

    /// Asks for an answer on this subject.
    #[must_use]
    pub fn reply_on(mut self, subject: impl Into<String>) -> Publication {
        self.reply = Some(subject.into());
        self
    }

    /// Goes before other messages; has an order of its own.
    #[must_use]
    pub fn priority(mut self) -> Publication {
        self.is_priority = true;
        self
    }

    /// Wall-clock milliseconds after which it is of no use.
    #[must_use]
    pub fn deadline_ms(mut self, deadline_ms: u64) -> Publication {
        self.extras.deadline = Some(deadline_ms);
        self
    }

    /// W3C trace context: trace id (16), span id (8), flags (1).
    #[must_use]
    pub fn trace(mut self, trace: [u8; 25]) -> Publication {
        self.extras.trace = Some(trace);
        self
    }

    fn into_publish(mut self, agent: u32) -> Result<Publish, ClientError> {
        if self.payload.len() > limits::PAYLOAD_BYTES_MAX {
            return Err(ClientError::TooLarge { what: "a payload", max: limits::PAYLOAD_BYTES_MAX });
        }
        if let Some(reply) = self.reply {
            check_subject(&reply)?;
            self.extras.reply = Some(Bytes::from(reply));
        }
        let (directed, subject) = match self.target {
            Target::Agent(id) => (true, Bytes::copy_from_slice(&id.0)),
            Target::Subject(subject) => {
                check_subject(&subject)?;
                (false, Bytes::from(subject))
            }
        };
        let class = if self.is_priority { Class::EventPriority } else { Class::EventBulk };
        let (extras, payload) = (self.extras, self.payload);
        Ok(Publish { agent, class, directed, subject, sequence: 0, extras, payload })
    }
}

fn check_subject(text: &str) -> Result<(), ClientError> {
    subject::check_subject(text).map_err(|source| ClientError::Subject { text: shorten(text), source })
}

/// What a person needs to recognise a refused text.
fn shorten(text: &str) -> String {
    text.chars().take(64).collect()
}

/// An attached agent. A clone is the same agent; it leaves the mesh when the last of its clones,
/// subscriptions and inboxes is dropped and what it published is acknowledged.
#[derive(Clone, Debug)]
pub struct Agent(Arc<Handle>);

#[derive(Debug)]
struct Handle {
    client: Client,
    index: u32,
    id: AgentId,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.client.inner().release_agent(self.index);
    }
}

impl Agent {
    pub(crate) fn new(client: Client, index: u32, id: AgentId) -> Agent {
        Agent(Arc::new(Handle { client, index, id }))
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        self.0.client.inner()
    }

    pub(crate) fn index(&self) -> u32 {
        self.0.index
    }

    /// The agent's name in the mesh.
    pub fn id(&self) -> AgentId {
        self.0.id
    }

    /// The connection it uses.
    pub fn client(&self) -> &Client {
        &self.0.client
    }

    /// Publishes to whoever subscribed to `subject`.
    ///
    /// Returns when the message is in the window of 1 MiB of unacknowledged bytes, from where it is
    /// sent, and sent again after a loss, until every destination has it. While the window is full
    /// this waits: that is how a slow mesh slows its publishers.
    pub async fn publish(
        &self,
        subject: impl Into<String>,
        payload: impl Into<Bytes>,
    ) -> Result<PublishId, ClientError> {
        self.publish_with(Publication::on(subject, payload)).await
    }

    /// As [`Agent::publish`], with optional parts.
    pub async fn publish_with(&self, publication: Publication) -> Result<PublishId, ClientError> {
        self.inner().publish(publication.into_publish(self.0.index)?, None).await
    }

    /// Publishes and waits until every destination has it.
    pub async fn publish_acknowledged(
        &self,
        subject: impl Into<String>,
        payload: impl Into<Bytes>,
    ) -> Result<PublishId, ClientError> {
        self.acknowledged(Publication::on(subject, payload)).await
    }

    /// As [`Agent::publish_acknowledged`], with optional parts.
    pub async fn acknowledged(&self, publication: Publication) -> Result<PublishId, ClientError> {
        let (done, outcome) = oneshot::channel::<Outcome>();
        let inner = self.inner();
        let id = inner.publish(publication.into_publish(self.0.index)?, Some(done)).await?;
        let _waiting = inner.waiting();
        match outcome.await {
            Ok(Ok(())) => Ok(id),
            Ok(Err(reason)) => Err(ClientError::Undelivered(vec![Failure { id, reason }])),
            Err(_) => Err(ClientError::Closed),
        }
    }

    /// Sends to one agent, wherever it is. As [`Agent::publish`] otherwise; that the receiver is
    /// found nowhere is reported by [`Client::flush`].
    pub async fn send(&self, to: AgentId, payload: impl Into<Bytes>) -> Result<PublishId, ClientError> {
        self.publish_with(Publication::to(to, payload)).await
    }

    /// Subscribes to the subjects that `pattern` matches: `*` stands for one token, a last `>` for
    /// one or more. Returns when the interest is in force everywhere: what is published from then
    /// on is delivered.
    pub async fn subscribe(&self, pattern: &str) -> Result<Subscription, ClientError> {
        Pattern::parse(pattern).map_err(|source| ClientError::Subject { text: shorten(pattern), source })?;
        let inner = self.inner();
        let feed = Feed::new(Arc::clone(&inner.gate), inner.settings.buffer_bytes_max, true);
        let (agent, pattern) = (self.0.index, pattern.to_owned());
        let number = inner.reserve_interest(Interest {
            agent,
            pattern: pattern.clone(),
            feed: Arc::clone(&feed),
            is_confirmed: false,
        })?;
        let subscription = Subscription::new(self.clone(), number, feed);
        let wanted = request::Subscription { number, agent, pattern };
        let deadline = Instant::now() + inner.settings.unreachable_after;
        loop {
            let patience = deadline.saturating_duration_since(Instant::now());
            let ask = Ask::Subscribe(Subscribe { subscriptions: vec![wanted.clone()] });
            let (say, epoch) = inner.ask("subscribe", ask, patience, true).await?;
            if !matches!(say, Say::Done(_)) {
                return Err(ClientError::off_topic("subscribe"));
            }
            let mut state = inner.lock();
            if state.epoch == epoch && state.session.is_some() {
                if let Some(interest) = state.interests.get_mut(&number) {
                    interest.is_confirmed = true;
                }
                drop(state);
                return Ok(subscription);
            }
            // The edge that confirmed it is gone, and the next one was not asked.
        }
    }

    /// The messages that are sent to this agent; one reader at a time.
    ///
    /// # Errors
    /// There is one already.
    pub fn inbox(&self) -> Result<Inbox, ClientError> {
        let state = self.inner().lock();
        let seat = state.agents.get(&self.0.index).ok_or(ClientError::Closed)?;
        if !seat.inbox.open() {
            return Err(ClientError::Settings("the agent's inbox is open already"));
        }
        let feed = Arc::clone(&seat.inbox);
        drop(state);
        Ok(Inbox::new(self.clone(), feed))
    }

    /// The system updates that reach this agent from now on; one reader at a time.
    ///
    /// # Errors
    /// There is one already.
    pub fn system_updates(&self) -> Result<SystemUpdates, ClientError> {
        let inner = self.inner();
        let feed = Feed::new(Arc::clone(&inner.gate), inner.settings.buffer_bytes_max, true);
        {
            let mut state = inner.lock();
            let seat = state.agents.get_mut(&self.0.index).ok_or(ClientError::Closed)?;
            if seat.system.as_ref().is_some_and(|feed| feed.has_reader()) {
                return Err(ClientError::Settings("the agent's system updates are read already"));
            }
            seat.system = Some(Arc::clone(&feed));
        }
        Ok(SystemUpdates::new(self.clone(), feed))
    }

    /// Changes the state that summaries count; returns when the edge's summary has it.
    pub async fn set_state(&self, state: &str) -> Result<ChangeReceipt, ClientError> {
        check_label("a state", state)?;
        self.change(Some(state.to_owned()), None).await
    }

    /// Replaces the tags that summaries count; returns when the edge's summary has them.
    pub async fn set_tags(&self, tags: Vec<String>) -> Result<ChangeReceipt, ClientError> {
        check_tags(&tags)?;
        self.change(None, Some(tags)).await
    }

    async fn change(
        &self,
        new_state: Option<String>,
        new_tags: Option<Vec<String>>,
    ) -> Result<ChangeReceipt, ClientError> {
        let (inner, index) = (self.inner(), self.0.index);
        let (is_state, is_tags) = (new_state.is_some(), new_tags.is_some());
        if let Some(seat) = inner.lock().agents.get_mut(&index) {
            seat.profile.state = new_state.unwrap_or_else(|| seat.profile.state.clone());
            seat.profile.tags = new_tags.unwrap_or_else(|| seat.profile.tags.clone());
        }
        let _waiting = inner.waiting();
        let patience = inner.settings.request_timeout;
        let deadline = Instant::now() + patience;
        let timeout = |_| ClientError::Timeout { what: "change", after: patience };
        loop {
            let (session, epoch) = timeout_at(deadline, inner.up()).await.map_err(timeout)??;
            let changed = {
                let mut state = inner.lock();
                let seat = state.agents.get(&index).ok_or(ClientError::Closed)?;
                if let Some(text) = &seat.closed {
                    return Err(ClientError::AgentClosed { agent: seat.id, text: text.clone() });
                }
                // What holds now, which after a lost connection may be newer than what was asked.
                let change = Change {
                    index,
                    state: is_state.then(|| seat.profile.state.clone()),
                    tags: is_tags.then(|| seat.profile.tags.clone()),
                };
                if state.epoch != epoch || session.change(&change).is_err() {
                    None
                } else {
                    let (waiting, changed) = oneshot::channel();
                    state.changes_sent += 1;
                    let number = state.changes_sent;
                    state.changes.push_back((number, waiting));
                    Some(changed)
                }
            };
            let Some(changed) = changed else {
                sleep(CHANGE_AGAIN).await;
                if Instant::now() >= deadline {
                    return Err(ClientError::Timeout { what: "change", after: patience });
                }
                continue;
            };
            if let Ok(changed) = timeout_at(deadline, changed).await.map_err(timeout)? {
                return Ok(ChangeReceipt {
                    edge: ShortId(changed.edge),
                    incarnation: changed.incarnation,
                    version: changed.version,
                });
            }
        }
    }

    /// Leaves the mesh, after what it published is acknowledged. Its subscriptions and inbox end.
    pub async fn detach(&self) -> Result<(), ClientError> {
        let inner = self.inner();
        inner.agent_settled(self.0.index).await?;
        let patience = inner.settings.request_timeout;
        let ask = Ask::Detach(Numbers { numbers: vec![self.0.index] });
        inner.ask("detach", ask, patience, true).await?;
        inner.close_agent(&mut inner.lock(), self.0.index, "it was detached", false);
        Ok(())
    }

    /// As [`Client::put`].
    pub async fn put(&self, key: &str, value: impl Into<Bytes>) -> Result<(), ClientError> {
        self.0.client.put(key, value).await
    }

    /// As [`Client::add`].
    pub async fn add(&self, key: &str, amount: i64) -> Result<(), ClientError> {
        self.0.client.add(key, amount).await
    }

    /// As [`Client::max`].
    pub async fn max(&self, key: &str, number: i64) -> Result<(), ClientError> {
        self.0.client.max(key, number).await
    }

    /// As [`Client::min`].
    pub async fn min(&self, key: &str, number: i64) -> Result<(), ClientError> {
        self.0.client.min(key, number).await
    }

    /// As [`Client::delete`].
    pub async fn delete(&self, key: &str) -> Result<(), ClientError> {
        self.0.client.delete(key).await
    }

    /// As [`Client::get`].
    pub async fn get(&self, key: &str) -> Result<Option<Value>, ClientError> {
        self.0.client.get(key).await
    }

    /// As [`Client::locate`].
    pub async fn locate(&self, agent: AgentId) -> Result<Option<Home>, ClientError> {
        self.0.client.locate(agent).await
    }

    /// As [`Client::overview`].
    pub async fn overview(&self) -> Result<Overview, ClientError> {
        self.0.client.overview().await
    }

    /// As [`Client::update`].
    pub async fn update(&self, payload: impl Into<Bytes>) -> Result<u64, ClientError> {
        self.0.client.update(payload).await
    }
}
