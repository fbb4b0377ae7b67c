//! Agents in the processes of nodes, so that nothing but the link between the nodes is measured.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::{Bytes, BytesMut};
use starling_client::new_key;
use starling_core::hot::own::{Publication, Target};
use starling_core::id::AgentId;
use starling_core::limits;
use starling_core::machine::ConnectionSlot;
use starling_core::wire::agent::{Attach, Candidate, Deliver, Profile, Published};
use starling_core::wire::bundle::Class;
use starling_core::wire::entry::Extras;
use starling_core::wire::frame::{FrameDecoder, FrameType};
use starling_core::wire::request::{Ask, RefusedCode, Reply, Request, Say, Subscribe, Subscription};
use starling_net::{Guest, NodeHandle};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use crate::part::{PATIENCE, Part, SUBJECT, Told};
use crate::receipts::{Head, Phase, Receipts, wall_nanos};

/// How long an edge that is not ready yet is left alone.
const REST: Duration = Duration::from_millis(50);
/// How long an attach is good for.
const LIFETIME_MS: u64 = 24 * 60 * 60 * 1000;

/// An agent in the process of its node.
#[derive(Debug)]
pub struct Inmate {
    guest: Arc<Guest>,
    decoder: FrameDecoder,
    id: AgentId,
}

impl Inmate {
    /// Attaches.
    ///
    /// # Errors
    /// The node refuses, or is not ready in time.
    pub async fn attach(node: &NodeHandle) -> Result<Inmate> {
        let key = new_key()?;
        let id = AgentId::of_key(&key.public().0);
        let mut inmate = Inmate { guest: Arc::new(node.guest()), decoder: FrameDecoder::new(), id };
        let until = Instant::now() + PATIENCE;
        loop {
            let now = wall_nanos() / 1_000_000;
            let claim = inmate.guest.terms().sign(&key, now, now + LIFETIME_MS);
            let candidate = Candidate { index: 0, claim, profile: Profile::default() };
            inmate.guest.attach(Attach { request: 1, candidates: vec![candidate] }).await;
            match timeout_at(until, inmate.answer(1)).await.context("an edge does not answer")?? {
                Say::Attached(attached) if attached.accepted == 1 => return Ok(inmate),
                Say::Refused(refused) if refused.code == RefusedCode::Unavailable as u32 => {
                    ensure!(Instant::now() < until, "an edge is not ready: {}", refused.text);
                    tokio::time::sleep(REST).await;
                }
                other => bail!("an unexpected answer to attach: {other:?}"),
            }
        }
    }

    /// Subscribes; done when the interest is in force everywhere.
    ///
    /// # Errors
    /// The node refuses or does not answer.
    pub async fn subscribe(&mut self, pattern: &str) -> Result<()> {
        let subscription = Subscription { number: 0, agent: 0, pattern: pattern.to_string() };
        let ask = Ask::Subscribe(Subscribe { subscriptions: vec![subscription] });
        self.guest.request(Request { id: 2, ask: Some(ask) }).await;
        match timeout(PATIENCE, self.answer(2)).await.context("an edge does not answer")?? {
            Say::Done(_) => Ok(()),
            other => bail!("an unexpected answer to subscribe: {other:?}"),
        }
    }

    async fn answer(&mut self, id: u64) -> Result<Say> {
        loop {
            for (kind, body) in self.frames().await?.context("the node ended")? {
                if kind != FrameType::Reply {
                    continue;
                }
                let reply = Reply::decode_body(body)?;
                if reply.id == id {
                    return reply.say.context("a node answered with something newer than this version");
                }
            }
        }
    }

    /// The next frames; `None` once the node has ended.
    async fn frames(&mut self) -> Result<Option<Vec<(FrameType, Bytes)>>> {
        let Some(pieces) = self.guest.read().await else { return Ok(None) };
        let mut frames = Vec::new();
        for piece in pieces {
            self.decoder.push(piece);
            while let Some(frame) = self.decoder.next_frame()? {
                frames.push(frame);
            }
        }
        Ok(Some(frames))
    }

    /// Receives until the last entry came, or the node ended; `each` is called after every batch.
    ///
    /// # Errors
    /// A frame that is none.
    pub async fn receive(&mut self, mut each: impl FnMut(&Receipts)) -> Result<Receipts> {
        let mut receipts = Receipts::default();
        while !receipts.is_over {
            let Some(frames) = self.frames().await? else { return Ok(receipts) };
            let now = wall_nanos();
            for (kind, body) in frames {
                if kind == FrameType::Deliver {
                    receipts.take_frame(&Deliver::decode(&body)?, now);
                }
            }
            each(&receipts);
        }
        Ok(receipts)
    }

    /// Becomes a publisher of payloads of `payload` bytes, whose acknowledgements are counted aside.
    pub fn author(mut self, payload: u32) -> Author {
        let (guest, id) = (Arc::clone(&self.guest), self.id);
        let acknowledged = Arc::new(Acknowledged::default());
        let count = Arc::clone(&acknowledged);
        let listening = tokio::spawn(async move {
            while let Ok(Some(frames)) = self.frames().await {
                for (kind, body) in frames {
                    let ranges = (kind == FrameType::Published).then(|| Published::decode(&body));
                    if let Some(Ok(Published(ranges))) = ranges {
                        count.add(ranges.iter().map(|(from, to)| to.saturating_sub(*from) + 1).sum());
                    }
                }
            }
        });
        let subject = Bytes::from_static(SUBJECT.as_bytes());
        Author { guest, id, subject, payload: payload as usize, sent: 0, acknowledged, listening }
    }
}

#[derive(Debug, Default)]
struct Acknowledged {
    count: AtomicU64,
    grew: Notify,
}

impl Acknowledged {
    fn add(&self, more: u64) {
        self.count.fetch_add(more, Ordering::Relaxed);
        self.grew.notify_one();
    }
}

/// An agent in the process of its node that publishes.
#[derive(Debug)]
pub struct Author {
    guest: Arc<Guest>,
    id: AgentId,
    subject: Bytes,
    payload: usize,
    sent: u64,
    acknowledged: Arc<Acknowledged>,
    listening: JoinHandle<()>,
}

impl Drop for Author {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl Author {
    /// Entries published so far.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Publishes `count` entries, and waits while the node has too many.
    pub async fn publish(&mut self, count: usize, phase: Phase) {
        let mut room = BytesMut::zeroed(count * self.payload);
        let now = wall_nanos();
        let mut publications = Vec::with_capacity(count);
        for _ in 0..count {
            let mut payload = room.split_to(self.payload);
            Head { number: self.sent, sent: now, phase }.write(&mut payload);
            self.sent += 1;
            publications.push(Publication {
                // The guest's own.
                connection: ConnectionSlot(0),
                number: self.sent,
                agent: self.id,
                sequence: self.sent,
                class: Class::EventBulk,
                target: Target::Subject,
                subject: self.subject.clone(),
                extras: Extras::default(),
                payload: payload.freeze(),
                attempts: 0,
            });
        }
        self.guest.admit(publications).await;
    }

    /// Waits until every destination has all entries but `behind`.
    ///
    /// # Errors
    /// Not in time.
    pub async fn settle(&self, behind: u64, patience: Duration) -> Result<()> {
        let until = Instant::now() + patience;
        loop {
            let count = self.acknowledged.count.load(Ordering::Relaxed);
            if count + behind >= self.sent {
                return Ok(());
            }
            let grew = timeout_at(until, self.acknowledged.grew.notified()).await;
            ensure!(grew.is_ok(), "only {count} of {} entries were acknowledged", self.sent);
        }
    }
}

/// Publishes as fast as the node takes it, with at most `window` entries that are not acknowledged.
///
/// # Errors
/// The node does not take its agent, or entries are not acknowledged.
pub async fn publish(part: &Part, node: &NodeHandle, window: u32) -> Result<Told> {
    let batch = (window as usize).min(limits::BUNDLE_ENTRIES_MAX);
    let behind = u64::from(window) - batch as u64;
    let mut author = Inmate::attach(node).await?.author(part.payload);
    part.wait_for_go().await?;
    let (warm, over) = part.schedule();
    loop {
        let now = Instant::now();
        if now >= over {
            break;
        }
        let phase = if now < warm { Phase::WarmUp } else { Phase::Measured };
        author.settle(behind, PATIENCE).await?;
        author.publish(batch, phase).await;
        tokio::task::yield_now().await;
    }
    author.publish(1, Phase::Last).await;
    author.settle(0, PATIENCE).await?;
    Ok(Told { sent: author.sent(), ..Told::default() })
}

/// Receives until the last entry came.
///
/// # Errors
/// The node does not take its agent, or the last entry does not come.
pub async fn subscribe(part: &Part, node: &NodeHandle) -> Result<Told> {
    let mut inmate = Inmate::attach(node).await?;
    inmate.subscribe(SUBJECT).await?;
    part.ready()?;
    let receipts =
        timeout(part.patience(), inmate.receive(|_| {})).await.context("the end did not come")??;
    Ok(Told::of([&receipts]))
}
