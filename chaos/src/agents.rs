//! The agents of a run: each publishes at a steady rate, receives, and says which edge serves it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use anyhow::{Context, Result};
use starling_client::session::EndpointSettings;
use starling_client::{Agent, AgentId, Client, ClientSettings, Event, Notice, Publication, SecretKey};
use starling_client::{Profile, Subscription, Trust};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};

use crate::history::{What, Writer};
use crate::roster::Roster;

/// Agents that share a subject.
const AGENTS_PER_SUBJECT: u32 = 10;
/// Entries of an agent that may wait for their outcome: far less than the client's window of bytes, so
/// that an entry is on its way as soon as it is published.
const WAITING_MAX: usize = 2000;
/// How often an agent looks which edge serves it.
const LOOK: Duration = Duration::from_millis(10);
/// How long an edge may take to say that it serves an agent.
const SERVED_WITHIN: Duration = Duration::from_secs(5);

/// What all agents share.
struct Ground {
    writer: Arc<Writer>,
    ids: Vec<AgentId>,
    is_publishing: AtomicBool,
    delivered: AtomicU64,
}

/// All agents of a run.
pub(crate) struct Crowd {
    ground: Arc<Ground>,
    seats: Vec<Arc<Seat>>,
    tasks: JoinSet<()>,
}

struct Seat {
    number: u32,
    agent: Agent,
    waiting: Arc<Semaphore>,
    is_subscribed: AtomicBool,
}

/// How a run's agents are made.
pub(crate) struct CrowdSettings {
    pub agents: u32,
    /// Entries a second, all agents together.
    pub rate: u32,
    pub seed: u64,
    pub trust: Trust,
    pub addresses: BTreeMap<String, SocketAddr>,
}

impl CrowdSettings {
    /// Agents are dealt to regions, then to the edges of each; an agent knows all edges of its region.
    fn client(&self, number: u32, roster: &Roster) -> ClientSettings {
        let regions = roster.regions();
        let mut edges = roster.edges_of(number as usize % regions);
        let first = number as usize / regions % edges.len();
        edges.rotate_left(first);
        let addresses = edges.iter().filter_map(|edge| self.addresses.get(edge)).map(ToString::to_string);
        let endpoint = EndpointSettings { socket_buffer_bytes: 256 * 1024, ..EndpointSettings::default() };
        ClientSettings { endpoint, ..ClientSettings::new(self.trust.clone(), addresses) }
    }

    fn key(&self, number: u32) -> SecretKey {
        let mut input = self.seed.to_le_bytes().to_vec();
        input.extend_from_slice(&number.to_le_bytes());
        SecretKey::from_seed(blake3::derive_key("starling chaos agent's key 1", &input))
    }

    /// The subject that an agent subscribes to, and the two that it publishes on in turn. Agents of all
    /// regions share each.
    fn subjects(&self, number: u32, regions: usize) -> [String; 2] {
        let subjects = (self.agents / AGENTS_PER_SUBJECT).max(1);
        let own = number / u32::try_from(regions).unwrap_or(u32::MAX) % subjects;
        [own, (own + 1) % subjects].map(|subject| format!("chaos.subject-{subject}"))
    }
}

impl Crowd {
    /// Attaches all agents and opens their subscriptions.
    ///
    /// # Errors
    /// One was refused.
    pub async fn start(settings: &CrowdSettings, roster: &Roster, writer: &Arc<Writer>) -> Result<Crowd> {
        let keys: Vec<SecretKey> = (0..settings.agents).map(|number| settings.key(number)).collect();
        let ground = Arc::new(Ground {
            writer: Arc::clone(writer),
            ids: keys.iter().map(|key| AgentId::of_key(&key.public().0)).collect(),
            is_publishing: AtomicBool::new(false),
            delivered: AtomicU64::new(0),
        });
        let mut arriving = JoinSet::new();
        for (number, key) in (0..).zip(keys) {
            let client = settings.client(number, roster);
            let [subject, _] = settings.subjects(number, roster.regions());
            arriving.spawn(arrive(Arc::clone(&ground), number, client, key, subject));
        }
        let mut crowd = Crowd { ground, seats: Vec::new(), tasks: JoinSet::new() };
        while let Some(arrived) = arriving.join_next().await {
            let (seat, subscription, subject) = arrived??;
            let ground = || Arc::clone(&crowd.ground);
            crowd.tasks.spawn(receive(ground(), Arc::clone(&seat), subscription, subject));
            crowd.tasks.spawn(look(ground(), Arc::clone(&seat)));
            let subjects = settings.subjects(seat.number, roster.regions());
            let every = Duration::from_secs(u64::from(settings.agents)) / settings.rate.max(1);
            let first = every * seat.number / settings.agents;
            crowd.tasks.spawn(publish(ground(), Arc::clone(&seat), subjects, (first, every)));
            crowd.seats.push(seat);
        }
        crowd.seats.sort_by_key(|seat| seat.number);
        Ok(crowd)
    }

    /// From now on entries are published, or no more are.
    pub fn set_publishing(&self, is_publishing: bool) {
        self.ground.is_publishing.store(is_publishing, Ordering::Relaxed);
    }

    /// Waits until every entry has its outcome; whether that was in time.
    pub async fn wait_for_outcomes(&self, patience: Duration) -> bool {
        let all = u32::try_from(WAITING_MAX).unwrap_or(u32::MAX);
        let waiting = async {
            for seat in &self.seats {
                if seat.waiting.acquire_many(all).await.is_err() {
                    // Cannot be: nobody closes it.
                }
            }
        };
        timeout(patience, waiting).await.is_ok()
    }

    /// Waits until nothing comes any more.
    pub async fn wait_for_silence(&self, silence: Duration, patience: Duration) {
        let until = Instant::now() + patience;
        let mut seen = u64::MAX;
        while Instant::now() < until {
            let now = self.ground.delivered.load(Ordering::Relaxed);
            if now == seen {
                return;
            }
            seen = now;
            sleep(silence).await;
        }
    }

    /// Notes where each agent is, as its edge says.
    pub async fn settle(&self) {
        let mut asking = JoinSet::new();
        for seat in &self.seats {
            let (seat, ground) = (Arc::clone(seat), Arc::clone(&self.ground));
            asking.spawn(async move {
                let served = timeout(SERVED_WITHIN, seat.agent.set_state("settled")).await;
                let edge = seat.agent.client().edge().filter(|_| matches!(served, Ok(Ok(_))));
                ground.writer.note(What::Settled {
                    agent: seat.number,
                    edge: edge.map(|edge| edge.name),
                    is_subscribed: seat.is_subscribed.load(Ordering::Relaxed),
                });
            });
        }
        asking.join_all().await;
    }

    /// Ends all tasks and connections.
    pub async fn leave(mut self) {
        self.tasks.shutdown().await;
        let mut closing = JoinSet::new();
        for seat in self.seats {
            closing.spawn(async move {
                if timeout(SERVED_WITHIN, seat.agent.client().close()).await.is_err() {
                    // The mesh ends next, and the connection with it.
                }
            });
        }
        closing.join_all().await;
    }
}

async fn arrive(
    ground: Arc<Ground>,
    number: u32,
    client: ClientSettings,
    key: SecretKey,
    subject: String,
) -> Result<(Arc<Seat>, Subscription, String)> {
    let name = format!("agent-{number}");
    let client = Client::connect(client).await.with_context(|| format!("{name} cannot connect"))?;
    let profile = Profile { name: name.clone(), state: "arriving".into(), tags: Vec::new() };
    let agent = client.agent(key, profile).await.with_context(|| format!("{name} cannot attach"))?;
    let subscription = agent.subscribe(&subject).await.with_context(|| format!("{name} cannot subscribe"))?;
    ground.writer.note(What::Confirmed { agent: number, subject: subject.clone() });
    let seat = Seat {
        number,
        agent,
        waiting: Arc::new(Semaphore::new(WAITING_MAX)),
        is_subscribed: AtomicBool::new(true),
    };
    Ok((Arc::new(seat), subscription, subject))
}

/// What an entry says: who published it as which, and a word that shows whether that was changed.
fn payload(agent: u32, number: u64, subject: &str) -> String {
    let text = format!("{agent} {number} {subject}");
    let check = blake3::hash(text.as_bytes()).to_hex();
    format!("{text} {}", &check[..16])
}

fn parse_payload(payload: &[u8]) -> Option<(u32, u64)> {
    let text = std::str::from_utf8(payload).ok()?;
    let mut words = text.split(' ');
    let (agent, number, subject) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?, words.next()?);
    (self::payload(agent, number, subject) == text).then_some((agent, number))
}

async fn publish(
    ground: Arc<Ground>,
    seat: Arc<Seat>,
    subjects: [String; 2],
    (first, every): (Duration, Duration),
) {
    let mut ticks = interval_at(Instant::now() + first, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut number = 0;
    loop {
        ticks.tick().await;
        if !ground.is_publishing.load(Ordering::Relaxed) {
            continue;
        }
        let Ok(permit) = Arc::clone(&seat.waiting).acquire_owned().await else { return };
        number += 1;
        let subject = subjects[(number % 2) as usize].clone();
        let publication = Publication::on(subject.clone(), payload(seat.number, number, &subject));
        ground.writer.note(What::Published { agent: seat.number, subject, number });
        let agent = seat.agent.clone();
        let mut sending = Box::pin(async move { agent.acknowledged(publication).await.map(drop) });
        // The first step takes its place among this agent's entries; the rest only waits for the outcome.
        let outcome = std::future::poll_fn(|context| Poll::Ready(sending.as_mut().poll(context))).await;
        let (ground, agent) = (Arc::clone(&ground), seat.number);
        tokio::spawn(async move {
            let outcome = match outcome {
                Poll::Ready(outcome) => outcome,
                Poll::Pending => sending.await,
            };
            ground.writer.note(match outcome {
                Ok(()) => What::Acknowledged { agent, number },
                Err(error) => What::Failed { agent, number, why: error.to_string() },
            });
            drop(permit);
        });
    }
}

async fn receive(ground: Arc<Ground>, seat: Arc<Seat>, mut subscription: Subscription, subject: String) {
    let agent = seat.number;
    while let Some(notice) = subscription.next().await {
        ground.delivered.fetch_add(1, Ordering::Relaxed);
        ground.writer.note(match notice {
            Notice::Gap { reason } => What::Gap { agent, reason },
            Notice::Event(event) => match recognise(&ground, &event) {
                Some((publisher, number)) => {
                    What::Delivered { agent, publisher, number, subject: event.subject }
                }
                None => {
                    let why = format!("an entry on {} that nobody published, for {subject}", event.subject);
                    What::Strange { agent, why }
                }
            },
        });
    }
    seat.is_subscribed.store(false, Ordering::Relaxed);
}

/// Whose entry it is and which; nothing if it was changed or is of somebody else.
fn recognise(ground: &Ground, event: &Event) -> Option<(u32, u64)> {
    let (publisher, number) = parse_payload(&event.payload)?;
    let is_its = ground.ids.get(publisher as usize) == Some(&event.publisher);
    let is_there = event.payload == payload(publisher, number, &event.subject).as_bytes();
    (is_its && is_there).then_some((publisher, number))
}

/// Notes each edge that serves the agent: one that has taken a change of its state.
async fn look(ground: Arc<Ground>, seat: Arc<Seat>) {
    let mut home = None;
    let mut moves = 0_u64;
    loop {
        let now = seat.agent.client().edge().map(|edge| (edge.node, edge.incarnation, edge.name));
        if now != home {
            moves += 1;
            home.clone_from(&now);
            if let Some((_, _, edge)) = now {
                match seat.agent.set_state(&format!("home-{moves}")).await {
                    Ok(_) => ground.writer.note(What::Homed { agent: seat.number, edge }),
                    // Asked again, of this edge or the next.
                    Err(_) => home = None,
                }
            }
        }
        sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_says_what_it_is_and_shows_a_change() {
        let text = payload(7, 42, "a.b");
        assert_eq!(parse_payload(text.as_bytes()), Some((7, 42)));
        for changed in [text.replacen('7', "8", 1), text.replacen("a.b", "a.c", 1), String::new()] {
            assert_eq!(parse_payload(changed.as_bytes()), None, "{changed}");
        }
    }
}
