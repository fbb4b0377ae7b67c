//! Asks all tiers at once, hands what they say to the machine, remembers who was linked, and registers.
//!
//! Each tier has a task of its own, so that none waits for another: the first that says something is used at
//! once, the others add to it. A tier is asked at the start, after a little jitter; again with growing pauses
//! as long as the node has no link; and now and then afterwards, so that two halves of a mesh that do not
//! know one another are joined again. An isolated node says so and goes on; its machine accepts links all the
//! while.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use starling_core::event::Event;
use starling_core::id::{MeshId, NodeId};
use starling_core::identity::{SecretKey, VerifyKey};
use starling_core::machine::Input;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::dns::Lookup;
use crate::known::KnownPeers;
use crate::registration::{RegistrarUrl, Wish};
use crate::shipped::Shipped;
use crate::{Candidate, unix_seconds};

/// Who has no link for so long says so, and again after as long.
const ALONE_SAID: Duration = Duration::from_secs(10);
/// Tiers are not asked at the very same moment by nodes that start together.
const JITTER_MAX: Duration = Duration::from_millis(100);
/// The pauses of a node that is alone.
const AGAIN_FIRST: Duration = Duration::from_secs(1);
const AGAIN_MAX: Duration = Duration::from_secs(60);
/// How often a node with links asks all the same.
const REFRESH: Duration = Duration::from_secs(200);
/// What a registrar may say of how long a registration holds.
const LASTS_MIN: Duration = Duration::from_secs(60);
const LASTS_MAX: Duration = Duration::from_secs(24 * 3_600);
/// The longest pause between two words about being alone.
const ALONE_PAUSE_MAX: Duration = Duration::from_secs(600);
/// How long after a link came up the file of known peers is written, so that a rush is one write.
const SAVE_AFTER: Duration = Duration::from_millis(500);
/// How often it is written anew for when peers were linked last.
const SAVE_EVERY: Duration = Duration::from_secs(300);
/// Addresses of one peer that are remembered.
const ADDRESSES_MAX: usize = 2;
/// How long a stopping node takes to say so to its registrar.
const GOOD_BYE: Duration = Duration::from_secs(2);

/// Where a node looks, and what it remembers.
#[derive(Debug)]
pub struct FinderSettings {
    /// DNS, if a domain is given.
    pub dns: Option<Lookup>,
    /// The registrar, if there is one.
    pub registrar: Option<RegistrarUrl>,
    /// The list that was shipped, if there is one.
    pub shipped: Option<ShippedList>,
    /// The node's data directory.
    pub data: PathBuf,
    /// What is registered; a silent node registers nothing.
    pub registered: Option<Registered>,
    /// The node itself, whose own address is not handed on.
    pub me: NodeId,
}

/// A list that was shipped, as it is to be verified.
#[derive(Debug)]
pub struct ShippedList {
    /// The file.
    pub path: PathBuf,
    /// Who may have signed it.
    pub keys: Vec<VerifyKey>,
    /// The mesh that it must be of.
    pub mesh: MeshId,
}

/// What a node registers.
pub struct Registered {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its identity key.
    pub key: SecretKey,
}

impl fmt::Debug for Registered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registered").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Where candidates come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// The peers that the node knew.
    Known,
    /// DNS.
    Dns,
    /// The registrar.
    Registrar,
    /// The list that was shipped.
    Shipped,
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Tier::Known => "the peers it knew",
            Tier::Dns => "DNS",
            Tier::Registrar => "the registrar",
            Tier::Shipped => "the shipped list",
        })
    }
}

/// Something that people may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A tier named so many places to dial.
    Found {
        /// Which.
        tier: Tier,
        /// How many.
        count: usize,
    },
    /// A tier named none.
    Failed {
        /// Which.
        tier: Tier,
        /// Why, and what to do.
        why: String,
    },
    /// The node has had no link for so long; it goes on, and accepts links.
    Alone {
        /// Since when.
        lasts: Duration,
    },
    /// The node is registered.
    Registered {
        /// For how long.
        lasts: Duration,
    },
    /// Lines of the file of known peers could not be read and were left out.
    BadLines {
        /// How many.
        count: usize,
    },
    /// The file of known peers could not be read or written.
    NotRemembered {
        /// What the system said.
        why: String,
    },
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Note::Found { tier, count } => write!(f, "{count} peers to dial from {tier}"),
            Note::Failed { tier, why } => write!(f, "no peers from {tier}: {why}"),
            Note::Alone { lasts } => {
                write!(f, "alone: no link for {} s; it goes on looking, and accepts links", lasts.as_secs())
            }
            Note::Registered { lasts } => write!(f, "registered for {} s", lasts.as_secs()),
            Note::BadLines { count } => {
                write!(f, "{count} damaged lines among the peers it knew were left out")
            }
            Note::NotRemembered { why } => write!(f, "peers are not remembered: {why}; check node.data"),
        }
    }
}

/// What all tasks share.
struct Shared {
    settings: FinderSettings,
    inputs: mpsc::Sender<Input>,
    is_alone: watch::Sender<bool>,
    known: Mutex<KnownPeers>,
    say: Box<dyn Fn(Note) + Send + Sync>,
}

/// Looks for peers until it is stopped or dropped.
pub struct Finder {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

impl fmt::Debug for Finder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Finder").field("settings", &self.shared.settings).finish_non_exhaustive()
    }
}

impl Finder {
    /// Begins on the current tokio runtime: candidates go to `inputs`, `events` say who is linked, and `say`
    /// tells people.
    pub fn start(
        settings: FinderSettings,
        inputs: mpsc::Sender<Input>,
        events: broadcast::Receiver<Event>,
        say: impl Fn(Note) + Send + Sync + 'static,
    ) -> Finder {
        let known = match KnownPeers::load(&settings.data, unix_seconds()) {
            Ok((known, 0)) => known,
            Ok((known, count)) => {
                say(Note::BadLines { count });
                known
            }
            Err(error) => {
                say(Note::NotRemembered { why: error.to_string() });
                KnownPeers::default()
            }
        };
        let tiers = tiers(&settings);
        let (is_alone, known) = (watch::channel(true).0, Mutex::new(known));
        let shared = Arc::new(Shared { settings, inputs, is_alone, known, say: Box::new(say) });
        let mut tasks = JoinSet::new();
        for tier in tiers {
            tasks.spawn(ask_again(Arc::clone(&shared), tier));
        }
        tasks.spawn(watch_links(Arc::clone(&shared), events));
        tasks.spawn(tell_alone(Arc::clone(&shared)));
        Finder { shared, tasks }
    }

    /// Remembers who is linked and takes the node off its registrar's list, within 2 s.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
        self.shared.save();
        let Shared { settings, .. } = &*self.shared;
        if let (Some(registrar), Some(registered)) = (&settings.registrar, &settings.registered) {
            let unregister = registrar.say(Wish::Unregister, registered.address, &registered.key);
            match timeout(GOOD_BYE, unregister).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => {
                    (self.shared.say)(Note::Failed { tier: Tier::Registrar, why: error.to_string() })
                }
                // It is taken off the list when it does not answer.
                Err(_) => {}
            }
        }
    }
}

fn tiers(settings: &FinderSettings) -> Vec<Tier> {
    let given = [
        (Tier::Known, true),
        (Tier::Dns, settings.dns.is_some()),
        (Tier::Registrar, settings.registrar.is_some()),
        (Tier::Shipped, settings.shipped.is_some()),
    ];
    given.into_iter().filter(|(_, is_given)| *is_given).map(|(tier, _)| tier).collect()
}

/// Asks one tier again and again.
async fn ask_again(shared: Arc<Shared>, tier: Tier) {
    let mut alone = shared.is_alone.subscribe();
    if tier != Tier::Known {
        sleep(jitter(JITTER_MAX)).await;
    }
    let mut pause = AGAIN_FIRST;
    loop {
        let lasts = shared.ask(tier).await;
        // Three times in the time that a registration holds, whatever a registrar says of that.
        let rest = lasts.map_or(REFRESH, |lasts| lasts.clamp(LASTS_MIN, LASTS_MAX) / 3);
        let until = Instant::now() + rest + jitter(rest / 10);
        // Alone, it asks again soon; with links, when its time has come or it is alone once more.
        loop {
            let is_alone = *alone.borrow_and_update();
            let next = if is_alone { Instant::now() + pause + jitter(pause / 4) } else { until };
            pause = if is_alone { (pause * 2).min(AGAIN_MAX) } else { AGAIN_FIRST };
            tokio::select! {
                () = tokio::time::sleep_until(next) => break,
                changed = alone.changed() => if changed.is_err() { return },
            }
        }
    }
}

impl Shared {
    /// Asks a tier and hands on what it says; for how long a registration holds.
    async fn ask(&self, tier: Tier) -> Option<Duration> {
        if tier == Tier::Known && !*self.is_alone.borrow() {
            // Whom it knew it knows, once it has a link.
            return None;
        }
        let (found, lasts) = match self.answer(tier).await {
            Ok(answer) => answer,
            Err(why) => {
                (self.say)(Note::Failed { tier, why });
                return None;
            }
        };
        let is_other = |candidate: &&Candidate| candidate.node() != Some(self.settings.me);
        let addresses: Vec<String> = found.iter().filter(is_other).map(Candidate::to_string).collect();
        if let Some(lasts) = lasts {
            (self.say)(Note::Registered { lasts });
        }
        if !addresses.is_empty() {
            (self.say)(Note::Found { tier, count: addresses.len() });
            if self.inputs.send(Input::Candidates { addresses }).await.is_err() {
                // The node has ended, and so will this.
            }
        }
        lasts
    }

    async fn answer(&self, tier: Tier) -> Result<(Vec<Candidate>, Option<Duration>), String> {
        let FinderSettings { dns, registrar, shipped, registered, .. } = &self.settings;
        match (tier, dns, registrar, shipped) {
            (Tier::Known, ..) => Ok((self.known().newest(), None)),
            (Tier::Dns, Some(dns), ..) => Ok((dns.peers().await.map_err(|error| error.to_string())?, None)),
            (Tier::Registrar, _, Some(registrar), _) => match registered {
                Some(Registered { address, key }) => {
                    let said = registrar.say(Wish::Register, *address, key).await;
                    said.map(|(peers, lasts)| (peers, Some(lasts))).map_err(|error| error.to_string())
                }
                None => Ok((registrar.discover().await.map_err(|error| error.to_string())?, None)),
            },
            (Tier::Shipped, _, _, Some(list)) => {
                let ShippedList { path, keys, mesh } = list;
                let read = Shipped::load(path, keys, *mesh, unix_seconds());
                Ok((read.map_err(|error| error.to_string())?.peers, None))
            }
            (Tier::Dns | Tier::Registrar | Tier::Shipped, ..) => Ok((Vec::new(), None)),
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, KnownPeers> {
        // Single changes leave nothing half done.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn save(&self) {
        let saved = self.known().save(&self.settings.data);
        if let Err(error) = saved {
            (self.say)(Note::NotRemembered { why: error.to_string() });
        }
    }
}

/// Keeps account of who is linked, and remembers them.
async fn watch_links(shared: Arc<Shared>, mut events: broadcast::Receiver<Event>) {
    let mut linked: BTreeSet<NodeId> = BTreeSet::new();
    let mut places: BTreeSet<Candidate> = BTreeSet::new();
    let mut save_at = Instant::now() + SAVE_EVERY;
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Ok(Event::PeerUp { node, addresses, .. }) => {
                    linked.insert(node);
                    for address in addresses.iter().take(ADDRESSES_MAX) {
                        if let Ok(candidate) = format!("{address}#{node}").parse::<Candidate>() {
                            shared.known().saw(candidate.clone(), unix_seconds());
                            places.insert(candidate);
                        }
                    }
                    save_at = save_at.min(Instant::now() + SAVE_AFTER);
                }
                Ok(Event::PeerDown { node, .. }) => {
                    linked.remove(&node);
                    places.retain(|place| place.node() != Some(node));
                }
                // What was missed shows when links change next.
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return,
            },
            () = tokio::time::sleep_until(save_at) => {
                let now = unix_seconds();
                places.iter().for_each(|place| shared.known().saw(place.clone(), now));
                shared.save();
                save_at = Instant::now() + SAVE_EVERY;
            }
        }
        shared.is_alone.send_if_modified(|is_alone| {
            let is_changed = *is_alone != linked.is_empty();
            *is_alone = linked.is_empty();
            is_changed
        });
    }
}

/// Says again and again that the node is alone while it is.
async fn tell_alone(shared: Arc<Shared>) {
    let mut alone = shared.is_alone.subscribe();
    loop {
        if alone.wait_for(|is_alone| *is_alone).await.is_err() {
            return;
        }
        let since = Instant::now();
        let mut pause = ALONE_SAID;
        while timeout(pause, alone.wait_for(|is_alone| !*is_alone)).await.is_err() {
            (shared.say)(Note::Alone { lasts: since.elapsed() });
            pause = (pause * 2).min(ALONE_PAUSE_MAX);
        }
    }
}

/// From nothing to `most`, by chance.
fn jitter(most: Duration) -> Duration {
    let mut bytes = [0; 4];
    // Without chance there is no jitter, which only costs evenness.
    if aws_lc_rs::rand::fill(&mut bytes).is_err() {
        return Duration::ZERO;
    }
    most.mul_f64(f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX))
}
