//! Many connections of agents in one process.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use starling_client::SecretKey;
use starling_client::new_key;
use starling_client::session::{Endpoint, EndpointSettings, Handler, Incoming, Session};
use starling_core::wire::agent::{Attach, Candidate, Profile};
use starling_core::wire::request::{Ask, RefusedCode, Reply, Request, Say, Subscribe, Subscription};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::part::{Joined, PATIENCE, Part, SUBJECT, Told};
use crate::receipts::{Receipts, wall_nanos};

/// Handshakes under way at once.
const AT_ONCE: usize = 64;
/// Agents in one attach frame.
const CLAIMS: usize = 256;
/// How long an attach is good for.
const LIFETIME_MS: u64 = 24 * 60 * 60 * 1000;
/// How long an edge that is not ready yet is left alone.
const REST: Duration = Duration::from_millis(50);
/// How often it is looked whether all have everything.
const LOOK: Duration = Duration::from_millis(10);

/// A connection and its agents.
struct Seat {
    session: Session,
    answers: mpsc::Receiver<Reply>,
    receipts: Arc<Mutex<Receipts>>,
}

struct Ears {
    answers: mpsc::Sender<Reply>,
    receipts: Arc<Mutex<Receipts>>,
}

impl Handler for Ears {
    fn on_incoming(&mut self, incoming: Incoming) {
        match incoming {
            Incoming::Deliver(deliver) => {
                self.receipts
                    .lock()
                    .expect("taking a frame does not panic")
                    .take_frame(&deliver, wall_nanos());
            }
            // More answers than questions: nobody waits for them.
            Incoming::Reply(reply) => self.answers.try_send(*reply).unwrap_or_default(),
            Incoming::Published(_) | Incoming::System(_) => {}
        }
    }
}

fn endpoint(part: &Part, connections: u32) -> Result<Endpoint> {
    let settings = EndpointSettings {
        connect_timeout: Duration::from_secs(30),
        idle_timeout: Duration::from_secs(30),
        reads_apart: connections > 2000,
        ..EndpointSettings::default()
    };
    Ok(Endpoint::new(&part.load_trust()?, &settings)?)
}

/// Opens connections, a bounded number at a time.
async fn connect(endpoint: &Endpoint, edge: SocketAddr, connections: u32) -> Result<Vec<Seat>> {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        let place = Arc::clone(&places).acquire_owned().await?;
        let endpoint = endpoint.clone();
        tasks.spawn(async move {
            let (answers, answered) = mpsc::channel(64);
            let receipts = Arc::new(Mutex::new(Receipts::default()));
            let ears = Ears { answers, receipts: Arc::clone(&receipts) };
            let session = Session::connect(&endpoint, edge, ears).await?;
            drop(place);
            anyhow::Ok(Seat { session, answers: answered, receipts })
        });
    }
    tasks.join_all().await.into_iter().collect()
}

impl Seat {
    /// Attaches one agent for each key.
    async fn attach(&mut self, keys: &[SecretKey]) -> Result<()> {
        for (at, keys) in keys.chunks(CLAIMS).enumerate() {
            let until = Instant::now() + PATIENCE;
            while !self.try_attach((at * CLAIMS) as u32, keys).await? {
                ensure!(Instant::now() < until, "the edge was not ready in time");
                tokio::time::sleep(REST).await;
            }
        }
        Ok(())
    }

    /// False if the edge is not ready yet.
    async fn try_attach(&mut self, first: u32, keys: &[SecretKey]) -> Result<bool> {
        let (terms, now) = (self.session.terms(), wall_nanos() / 1_000_000);
        let candidate = |(index, key): (u32, &SecretKey)| Candidate {
            index,
            claim: terms.sign(key, now, now + LIFETIME_MS),
            profile: Profile::default(),
        };
        let candidates = (first..).zip(keys).map(candidate).collect();
        self.session.attach(&Attach { request: 1, candidates })?;
        match self.answer().await? {
            Say::Attached(attached) if attached.accepted as usize == keys.len() => Ok(true),
            Say::Refused(refused) if refused.code == RefusedCode::Unavailable as u32 => Ok(false),
            other => bail!("an unexpected answer to attach: {other:?}"),
        }
    }

    async fn subscribe(&mut self) -> Result<()> {
        let subscription = Subscription { number: 0, agent: 0, pattern: SUBJECT.to_string() };
        let ask = Ask::Subscribe(Subscribe { subscriptions: vec![subscription] });
        self.session.request(&Request { id: 2, ask: Some(ask) })?;
        match self.answer().await? {
            Say::Done(_) => Ok(()),
            other => bail!("an unexpected answer to subscribe: {other:?}"),
        }
    }

    /// The next answer to something that was asked.
    async fn answer(&mut self) -> Result<Say> {
        loop {
            let reply = timeout(PATIENCE, self.answers.recv()).await.context("an edge does not answer")?;
            let reply = reply.context("an edge closed the connection")?;
            if reply.id > 0 {
                return reply.say.context("an edge answered with something newer than this version");
            }
        }
    }
}

/// Attaches all agents of all connections, several connections at once.
async fn attach(
    seats: Vec<Seat>,
    keys: Vec<SecretKey>,
    agents: usize,
    subscribes: bool,
) -> Result<Vec<Seat>> {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let keys = Arc::new(keys);
    let mut tasks = JoinSet::new();
    for (number, mut seat) in seats.into_iter().enumerate() {
        let place = Arc::clone(&places).acquire_owned().await?;
        let keys = Arc::clone(&keys);
        tasks.spawn(async move {
            seat.attach(&keys[number * agents..(number + 1) * agents]).await?;
            if subscribes {
                seat.subscribe().await?;
            }
            drop(place);
            anyhow::Ok(seat)
        });
    }
    tasks.join_all().await.into_iter().collect()
}

fn make_keys(count: usize) -> Result<Vec<SecretKey>> {
    (0..count).map(|_| Ok(new_key()?)).collect()
}

/// Subscribes with one agent on each of many connections, and receives until all have the last entry.
///
/// # Errors
/// The edge does not take the agents, or the last entry does not come.
pub async fn subscribe(part: &Part, connections: u32) -> Result<()> {
    let endpoint = endpoint(part, connections)?;
    let keys = make_keys(connections as usize)?;
    let seats = connect(&endpoint, part.edge()?, connections).await?;
    let seats = attach(seats, keys, 1, true).await?;
    part.ready()?;
    let until = Instant::now() + part.patience();
    let is_over = |seat: &Seat| seat.receipts.lock().expect("taking a frame does not panic").is_over;
    while !seats.iter().all(is_over) {
        ensure!(Instant::now() < until, "the end did not come to all");
        tokio::time::sleep(LOOK).await;
    }
    let receipts: Vec<Receipts> = seats
        .iter()
        .map(|seat| seat.receipts.lock().expect("taking a frame does not panic").clone())
        .collect();
    part.tell_and_stay(&Told::of(&receipts)).await
}

/// Attaches agents and stays until it is ended.
///
/// # Errors
/// The edge does not take the agents.
pub async fn idle(part: &Part, connections: u32, agents: u32) -> Result<()> {
    let endpoint = endpoint(part, connections)?;
    let count = connections as usize * agents as usize;
    let keys = make_keys(count)?;
    part.wait_for_go().await?;
    let begun = Instant::now();
    let seats = connect(&endpoint, part.edge()?, connections).await?;
    let connected = begun.elapsed().as_secs_f64();
    let begun = Instant::now();
    let _seats = attach(seats, keys, agents as usize, false).await?;
    let attached = begun.elapsed().as_secs_f64();
    let joined = Joined {
        handshakes_per_second: f64::from(connections) / connected,
        attaches_per_second: count as f64 / attached,
    };
    part.tell_and_stay(&Told { joined: Some(joined), ..Told::default() }).await
}
