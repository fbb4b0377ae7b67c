//! Keeps a client connected: finds an edge, brings the agents and what they asked for, and starts
//! over when the edge is gone.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use starling_core::identity::SecretKey;
use starling_core::limits;
use starling_core::wire::agent::{Attach, Candidate, Profile};
use starling_core::wire::codec::Wire;
use starling_core::wire::request::{self, Ask, RefusedCode, Say, Subscribe};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::backoff::Backoff;
use crate::error::ClientError;
use crate::finding::{self, Found};
use crate::inner::{Answer, Inner, Phase};
use crate::session::{ConnectError, Session, wall_time};

/// The first wait between two rounds of attempts.
const BACKOFF_FIRST: Duration = Duration::from_millis(50);
/// How long an edge may take to accept our agents before another is tried.
const RESUME_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the supervisor looks whether something is due.
const TICK: Duration = Duration::from_millis(250);
/// Subscriptions in one request when they are opened again; each may have 256 bytes.
const SUBSCRIBE_CHUNK: usize = 128;
/// Bytes of an attach frame that are filled, of 64 KiB.
const ATTACH_BYTES: usize = 60 * 1024;
/// What is said where messages may be missing.
const GAP_TEXT: &str = "the edge was lost, messages before this may be missing";

/// One agent to attach.
pub(crate) struct Claimant {
    pub index: u32,
    secret: SecretKey,
    session: u64,
    profile: Profile,
}

/// Subscriptions that were asked for in one request.
struct Asked {
    numbers: Vec<u32>,
    answer: Answer,
}

/// Connects to the first edge that takes us, for a client without agents.
pub(crate) async fn connect_first(inner: &Arc<Inner>) -> Result<Supervisor, ClientError> {
    let mut edges: VecDeque<String> = inner.settings.edges.iter().cloned().collect();
    let mut refused: Option<ConnectError> = None;
    for _ in 0..edges.len() {
        match finding::attempt(inner, &edges[0]).await {
            Ok((session, epoch)) => {
                inner.adopt(session.clone(), epoch);
                go_live(inner, epoch);
                return Ok(Supervisor { inner: Arc::clone(inner), edges, current: Some((session, epoch)) });
            }
            Err(error) => {
                // That somebody refuses us says more than that somebody else is silent.
                if refused.is_none() || !matches!(error, ConnectError::Unreachable { .. }) {
                    refused = Some(error);
                }
                edges.rotate_left(1);
            }
        }
    }
    match refused {
        Some(error) => Err(error.into()),
        None => Err(ClientError::Settings("ClientSettings::edges names no edge")),
    }
}

/// Whether the agents' delegations were renewed, once that is known; for ever if nobody is at it.
async fn until_renewed(renewing: &mut Option<Pin<Box<impl Future<Output = Option<()>>>>>) -> bool {
    match renewing {
        Some(renewing) => renewing.await.is_some(),
        None => std::future::pending().await,
    }
}

/// Sends what waits, in order, and lets everybody work.
fn go_live(inner: &Inner, epoch: u64) {
    let mut state = inner.lock();
    inner.renumber(&mut state);
    let Some(session) = state.session.clone() else { return };
    if state.window.iter().all(|publish| session.sender().publish_reserved(publish).is_ok()) {
        state.is_live = true;
        inner.phase.send_if_modified(|phase| {
            let is_open = *phase != Phase::Closed;
            if is_open {
                *phase = Phase::Up(epoch);
            }
            is_open
        });
    }
    // Otherwise the session has ended already, and the next one starts over.
}

/// The task behind a client.
pub(crate) struct Supervisor {
    inner: Arc<Inner>,
    /// The edges, the one in use or tried next first.
    edges: VecDeque<String>,
    current: Option<(Session, u64)>,
}

impl Supervisor {
    /// Runs until the client is closed.
    pub async fn run(mut self) {
        let mut phases = self.inner.phase.subscribe();
        tokio::select! {
            biased;
            _ = phases.wait_for(|phase| *phase == Phase::Closed) => {}
            () = self.work() => {}
        }
    }

    async fn work(&mut self) {
        let mut asked = Vec::new();
        loop {
            let mut spare = None;
            if let Some((session, epoch)) = self.current.take() {
                spare = self.attend(&session, epoch, asked).await;
                self.inner.lost();
                self.edges.rotate_left(1);
            }
            asked = self.reconnect(spare).await;
        }
    }

    /// Finds an edge that takes all our agents, however long it takes.
    async fn reconnect(&mut self, spare: Option<Found>) -> Vec<Asked> {
        let inner = Arc::clone(&self.inner);
        let search = self.search(spare);
        tokio::pin!(search);
        tokio::select! {
            asked = &mut search => return asked,
            () = sleep(inner.settings.unreachable_after) => inner.give_up(),
        }
        search.await
    }

    async fn search(&mut self, mut spare: Option<Found>) -> Vec<Asked> {
        let inner = Arc::clone(&self.inner);
        let mut backoff = Backoff::new(BACKOFF_FIRST, inner.settings.backoff_max);
        loop {
            // Each may take the connection and then refuse the agents.
            for _ in 0..self.edges.len() {
                let found = match spare.take() {
                    Some(spare) => Some(spare),
                    None => finding::connect_any(&inner, self.edges.iter().cloned()).await,
                };
                let Some(found) = found else { break };
                self.prefer(&found.edge);
                if let Some(asked) = self.try_at(found).await {
                    return asked;
                }
                self.edges.rotate_left(1);
            }
            sleep(backoff.next()).await;
        }
    }

    /// Puts an edge first; the others stay in their order, round.
    fn prefer(&mut self, edge: &str) {
        if let Some(place) = self.edges.iter().position(|other| other == edge) {
            self.edges.rotate_left(place);
        }
    }

    /// Brings an edge everything; `None` if it does not take it.
    async fn try_at(&mut self, Found { session, epoch, .. }: Found) -> Option<Vec<Asked>> {
        let inner = Arc::clone(&self.inner);
        inner.adopt(session.clone(), epoch);
        let resumed = tokio::select! {
            resumed = timeout(RESUME_TIMEOUT, resume(&inner, &session, epoch)) => resumed.ok().flatten(),
            () = session.silent() => None,
        };
        if resumed.is_some() {
            self.current = Some((session, epoch));
        } else {
            inner.lost();
        }
        resumed
    }

    /// Serves one connection until it ends, or its edge is silent and another is at hand, which is
    /// returned.
    async fn attend(&self, session: &Session, epoch: u64, asked: Vec<Asked>) -> Option<Found> {
        let inner = &self.inner;
        let confirming = confirm(inner, epoch, asked);
        let moving = finding::another(inner, &self.edges, session);
        tokio::pin!(confirming, moving);
        let mut is_confirmed = false;
        let mut renewing = None;
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut signed = Instant::now();
        loop {
            tokio::select! {
                _ = session.closed() => return None,
                found = &mut moving => return Some(found),
                () = &mut confirming, if !is_confirmed => is_confirmed = true,
                is_renewed = until_renewed(&mut renewing) => {
                    renewing = None;
                    if !is_renewed {
                        return None;
                    }
                }
                _ = ticks.tick() => {
                    self.cut_stalled();
                    if renewing.is_none() && signed.elapsed() >= inner.settings.delegation / 2 {
                        signed = Instant::now();
                        renewing = Some(Box::pin(attach_all(inner, session, epoch)));
                    }
                }
            }
        }
    }

    /// Drops what nobody reads while somebody waits for what is behind it on the same stream.
    fn cut_stalled(&self) {
        let inner = &self.inner;
        if !inner.gate.is_shut() || inner.waiting.load(Ordering::Relaxed) == 0 {
            return;
        }
        let Some(moment) = std::time::Instant::now().checked_sub(inner.settings.stall_timeout) else {
            return;
        };
        let state = inner.lock();
        let feeds = state.agents.values().flat_map(|seat| [&seat.inbox].into_iter().chain(&seat.system));
        for feed in state.interests.values().map(|interest| &interest.feed).chain(feeds) {
            feed.cut(moment, "messages were not read in time and are gone");
        }
    }
}

/// Brings agents, subscriptions and publications to a new connection, in this order.
async fn resume(inner: &Arc<Inner>, session: &Session, epoch: u64) -> Option<Vec<Asked>> {
    interrupt(inner);
    attach_all(inner, session, epoch).await?;
    let mut asked = Vec::new();
    let mut after = None;
    loop {
        session.room().await.ok()?;
        let numbers: Vec<u32> = {
            let state = inner.lock();
            let open = state.interests.iter().filter(|(_, interest)| interest.is_confirmed);
            let next = open.map(|(number, _)| *number).filter(|number| Some(*number) > after);
            next.take(SUBSCRIBE_CHUNK).collect()
        };
        let Some(last) = numbers.last().copied() else { break };
        after = Some(last);
        let answer = subscribe(inner, epoch, &numbers)?;
        asked.push(Asked { numbers, answer });
    }
    // Below its bound the queue has room for the whole window.
    session.room().await.ok()?;
    go_live(inner, epoch);
    let state = inner.lock();
    let inboxes = state.agents.values().map(|seat| &seat.inbox);
    inboxes.filter(|inbox| inbox.has_reader()).for_each(|inbox| inbox.gap(GAP_TEXT));
    Some(asked)
}

/// What the new edge delivers before its subscriptions are in force does not continue what the old one
/// delivered.
fn interrupt(inner: &Inner) {
    let state = inner.lock();
    let open = state.interests.values().filter(|interest| interest.is_confirmed);
    open.for_each(|interest| interest.feed.interrupt(GAP_TEXT));
    let inboxes = state.agents.values().map(|seat| &seat.inbox);
    inboxes.filter(|inbox| inbox.has_reader()).for_each(|inbox| inbox.interrupt(GAP_TEXT));
}

/// Asks for those of `numbers` that are still open; `None` once the connection is gone.
fn subscribe(inner: &Arc<Inner>, epoch: u64, numbers: &[u32]) -> Option<Answer> {
    let subscriptions = {
        let state = inner.lock();
        let open = numbers.iter().filter_map(|number| Some((*number, state.interests.get(number)?)));
        open.map(|(number, interest)| request::Subscription {
            number,
            agent: interest.agent,
            pattern: interest.pattern.clone(),
        })
        .collect()
    };
    inner.request(epoch, Ask::Subscribe(Subscribe { subscriptions })).ok().flatten()
}

/// Waits until subscriptions that were opened again are in force, and marks the place.
async fn confirm(inner: &Arc<Inner>, epoch: u64, asked: Vec<Asked>) {
    let mut backoff = Backoff::new(BACKOFF_FIRST, inner.settings.backoff_max);
    let mut asked = VecDeque::from(asked);
    while let Some(Asked { numbers, mut answer }) = asked.pop_front() {
        // Without an answer the connection is gone, and the next one starts over.
        let Ok(say) = (&mut answer.receiver).await else { return };
        let again: Vec<Vec<u32>> = match say {
            Say::Refused(refused) if refused.code == RefusedCode::Unavailable as u32 => {
                sleep(backoff.next()).await;
                vec![numbers]
            }
            Say::Refused(refused) => match numbers.as_slice() {
                // All or none were opened, so each is asked for alone to find the one at fault.
                [_, _, ..] => numbers.into_iter().map(|number| vec![number]).collect(),
                _ => {
                    end_subscriptions(inner, &numbers, &refused.text);
                    Vec::new()
                }
            },
            _ => {
                let state = inner.lock();
                let open = numbers.iter().filter_map(|number| state.interests.get(number));
                open.for_each(|interest| interest.feed.gap(GAP_TEXT));
                Vec::new()
            }
        };
        for numbers in again {
            let Some(answer) = subscribe(inner, epoch, &numbers) else { return };
            asked.push_back(Asked { numbers, answer });
        }
    }
}

fn end_subscriptions(inner: &Inner, numbers: &[u32], text: &str) {
    let mut state = inner.lock();
    for interest in numbers.iter().filter_map(|number| state.interests.remove(number)) {
        interest.feed.gap(&format!("the new edge refused the subscription: {text}"));
        interest.feed.close();
    }
}

/// Attaches every registered agent; `None` once the connection is gone or the edge cannot take them.
async fn attach_all(inner: &Arc<Inner>, session: &Session, epoch: u64) -> Option<()> {
    let mut backoff = Backoff::new(BACKOFF_FIRST, inner.settings.backoff_max);
    let mut wanted: Vec<u32> = {
        let state = inner.lock();
        let registered = state.agents.iter().filter(|(_, seat)| seat.is_registered);
        registered.map(|(index, _)| *index).collect()
    };
    while !wanted.is_empty() {
        let refused = attach(inner, session, epoch, &wanted).await?;
        wanted.clear();
        for closed in refused {
            if closed.code == RefusedCode::Unavailable as u32 {
                wanted.push(closed.index);
            } else {
                inner.close_agent(&mut inner.lock(), closed.index, &closed.text, true);
            }
        }
        if !wanted.is_empty() {
            sleep(backoff.next()).await;
        }
    }
    Some(())
}

/// Attaches the agents of these indices; those that were refused. `None` once the connection is gone.
pub(crate) async fn attach(
    inner: &Arc<Inner>,
    session: &Session,
    epoch: u64,
    indices: &[u32],
) -> Option<Vec<request::Closed>> {
    let mut answers = Vec::new();
    let mut rest = indices;
    while !rest.is_empty() {
        session.room().await.ok()?;
        let (claimants, taken) = claimants(inner, rest);
        rest = &rest[taken..];
        let candidates = sign(inner, session, claimants);
        let answer = inner
            .expect_answer(epoch, |session, id| session.attach(&Attach { request: id, candidates }).is_ok())
            .ok()??;
        answers.push(answer);
    }
    let mut refused = Vec::new();
    for mut answer in answers {
        match (&mut answer.receiver).await.ok()? {
            Say::Attached(attached) => refused.extend(attached.refused),
            Say::Refused(why) => {
                let all = indices.iter().map(|index| request::Closed {
                    index: *index,
                    code: why.code,
                    text: why.text.clone(),
                });
                return Some(all.collect());
            }
            _ => return None,
        }
    }
    Some(refused)
}

/// The next agents that fit into one frame, with new session numbers, and how many indices that is.
fn claimants(inner: &Inner, indices: &[u32]) -> (Vec<Claimant>, usize) {
    let now_ms = wall_time().as_millis();
    let mut state = inner.lock();
    let (mut claimants, mut bytes, mut taken) = (Vec::new(), 0, 0);
    for index in indices.iter().take(limits::CLAIMS_PER_ATTACH_MAX) {
        let Some(seat) = state.agents.get_mut(index) else {
            taken += 1;
            continue;
        };
        bytes += 116 + seat.profile.to_bytes().len();
        if bytes > ATTACH_BYTES {
            break;
        }
        taken += 1;
        seat.session = now_ms.max(seat.session + 1);
        claimants.push(Claimant {
            index: *index,
            secret: seat.secret.clone(),
            session: seat.session,
            profile: seat.profile.clone(),
        });
    }
    (claimants, taken)
}

fn sign(inner: &Inner, session: &Session, claimants: Vec<Claimant>) -> Vec<Candidate> {
    let lifetime = u64::try_from(inner.settings.delegation.as_millis()).unwrap_or(u64::MAX);
    let expires_ms = wall_time().as_millis().saturating_add(lifetime);
    let terms = session.terms();
    let signed = claimants.into_iter().map(|claimant| Candidate {
        index: claimant.index,
        claim: terms.sign(&claimant.secret, claimant.session, expires_ms),
        profile: claimant.profile,
    });
    signed.collect()
}
