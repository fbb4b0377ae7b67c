//! The registrar: who registers is pinged, listed for an hour at the most, and published in DNS.
//!
//! [`Registrar::start`] runs it. `http` is its door, `limits` holds back who asks too often, `ping` looks
//! whether a QUIC endpoint answers, `rotation` is the list, `publish` brings it into DNS: by dynamic updates
//! of a server (RFC 2136), or by serving the zone itself (`zone`). There is no database: with a server the
//! zone is the state, and is read back at the start; what the registrar serves itself, nodes register again.

mod http;
mod limits;
mod ping;
mod publish;
mod rotation;
mod zone;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hickory_proto::rr::Name;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::dns::{DnsError, zone_name};
use crate::unix_seconds;
pub use limits::Buckets;
pub use publish::UpdateError;
pub use rotation::{Full, LISTED_MAX, Listed, Rotation};
use zone::Zone;

/// For how long a registration holds: an hour.
pub const TTL: Duration = Duration::from_secs(3_600);
/// How often a listed node is pinged again.
pub const PING_EVERY: Duration = Duration::from_secs(300);
/// Nodes of one place (an IPv4 address, an IPv6 /64) that are listed.
pub const PER_PLACE: usize = 8;
/// Pings under way at once.
const PINGS_MAX: usize = 64;
/// How soon after another the zone is published.
const PUBLISH_PAUSE: Duration = Duration::from_secs(1);

/// What a registrar needs to know.
#[derive(Clone, Debug)]
pub struct RegistrarSettings {
    /// Where its HTTP is; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The domain whose peers it lists.
    pub zone: String,
    /// How the list comes into DNS.
    pub publish: Publish,
    /// Leading zero bits of the work that it asks for.
    pub difficulty: u8,
    /// For how long a registration holds.
    pub ttl: Duration,
    /// How often a listed node is pinged.
    pub ping_every: Duration,
    /// Nodes of one place that are listed at once.
    pub per_place: usize,
    /// Whether a node may register another address than the one it asks from.
    pub any_address: bool,
}

/// How the list comes into DNS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Publish {
    /// The registrar serves the zone here, on UDP and TCP; port 0 takes a free one.
    Serve(SocketAddr),
    /// The server here takes dynamic updates (RFC 2136).
    Update(SocketAddr),
}

/// Why a registrar did not start. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The system does not let it listen there.
    #[error("cannot listen on {what} {address}: {source}; is it free, and an address of this machine?")]
    Listen {
        /// TCP or UDP.
        what: &'static str,
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The zone is no domain.
    #[error(transparent)]
    Zone(#[from] DnsError),
    /// What the DNS server has of the zone could not be read, and is not overwritten.
    #[error("the zone {zone} cannot be read at {server}: {source}; is that its primary server?")]
    ReadBack {
        /// The zone.
        zone: String,
        /// The server.
        server: SocketAddr,
        /// What went wrong.
        source: UpdateError,
    },
}

/// Something that people may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegistrarNote {
    /// So many entries were read back from DNS, to be pinged.
    ReadBack {
        /// How many.
        count: usize,
    },
    /// A node was listed.
    Listed {
        /// The node, and where it is.
        candidate: String,
    },
    /// A node was taken off the list.
    Removed {
        /// The node, and where it is.
        candidate: String,
        /// Why.
        why: &'static str,
    },
    /// The list could not be published; it is tried again.
    NotPublished {
        /// Why.
        why: String,
    },
}

impl fmt::Display for RegistrarNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RegistrarNote::ReadBack { count } => write!(f, "{count} entries read back from DNS"),
            RegistrarNote::Listed { candidate } => write!(f, "listed {candidate}"),
            RegistrarNote::Removed { candidate, why } => write!(f, "removed {candidate}: {why}"),
            RegistrarNote::NotPublished { why } => write!(f, "not published: {why}; it is tried again"),
        }
    }
}

/// What its tasks share.
struct Shared {
    settings: RegistrarSettings,
    zone: Name,
    rotation: Mutex<Rotation>,
    buckets: Mutex<Buckets>,
    pings: Semaphore,
    changed: Notify,
    served: Zone,
    say: Box<dyn Fn(RegistrarNote) + Send + Sync>,
}

impl Shared {
    fn rotation(&self) -> MutexGuard<'_, Rotation> {
        // Each change of the list is made whole before anything in it could panic.
        self.rotation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn buckets(&self) -> MutexGuard<'_, Buckets> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running registrar; it ends when this is dropped.
pub struct Registrar {
    http: SocketAddr,
    dns: Option<SocketAddr>,
    tasks: JoinSet<()>,
    _server: Option<hickory_server::Server<Zone>>,
}

impl fmt::Debug for Registrar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registrar").field("http", &self.http).field("dns", &self.dns).finish_non_exhaustive()
    }
}

impl Registrar {
    /// Starts it on the current tokio runtime.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(
        settings: RegistrarSettings,
        say: impl Fn(RegistrarNote) + Send + Sync + 'static,
    ) -> Result<Registrar, StartError> {
        let zone = zone_name(&settings.zone)?;
        let refused = |what, address| move |source| StartError::Listen { what, address, source };
        let listener = TcpListener::bind(settings.listen).await.map_err(refused("tcp", settings.listen))?;
        let http = listener.local_addr().map_err(refused("tcp", settings.listen))?;
        let mut rotation = Rotation::new(settings.ttl, settings.per_place);
        let served = Zone::new(zone.clone());
        let mut server = None;
        let mut dns = None;
        match settings.publish {
            Publish::Serve(address) => {
                let (running, at) = serve(served.clone(), address).await?;
                (server, dns) = (Some(running), Some(at));
            }
            Publish::Update(address) => {
                let read = publish::read_back(address, &zone).await;
                let entries = read.map_err(|source| StartError::ReadBack {
                    zone: zone.to_string(),
                    server: address,
                    source,
                })?;
                say(RegistrarNote::ReadBack { count: entries.len() });
                rotation.take_back(entries, unix_seconds());
            }
        }
        let shared = Arc::new(Shared {
            zone,
            rotation: Mutex::new(rotation),
            buckets: Mutex::default(),
            pings: Semaphore::new(PINGS_MAX),
            changed: Notify::new(),
            served,
            say: Box::new(say),
            settings,
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(http::accept(Arc::clone(&shared), listener));
        tasks.spawn(keep_alive(Arc::clone(&shared)));
        tasks.spawn(keep_published(Arc::clone(&shared)));
        Ok(Registrar { http, dns, tasks, _server: server })
    }

    /// Where its HTTP is.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// Where it serves the zone, if it does.
    pub fn dns(&self) -> Option<SocketAddr> {
        self.dns
    }

    /// Waits for an end that should not come: of a task that runs as long as the registrar.
    pub async fn ended(&mut self) {
        self.tasks.join_next().await;
    }
}

async fn serve(
    zone: Zone,
    address: SocketAddr,
) -> Result<(hickory_server::Server<Zone>, SocketAddr), StartError> {
    let refused = |what| move |source| StartError::Listen { what, address, source };
    let udp = UdpSocket::bind(address).await.map_err(refused("udp"))?;
    let at = udp.local_addr().map_err(refused("udp"))?;
    let tcp = TcpListener::bind(at).await.map_err(refused("tcp"))?;
    let mut server = hickory_server::Server::new(zone);
    server.register_socket(udp);
    server.register_listener(tcp, zone::TCP_IDLE, zone::TCP_ANSWERS_MAX);
    Ok((server, at))
}

/// Pings those whose turn it is, and takes off the list who does not answer.
async fn keep_alive(shared: Arc<Shared>) {
    // Often enough that a node is pinged within a fifth more than its time.
    let mut ticks = interval((shared.settings.ping_every / 5).max(Duration::from_millis(20)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let due = shared.rotation().due(unix_seconds(), shared.settings.ping_every);
        let mut pinging = JoinSet::new();
        for candidate in due {
            let shared = Arc::clone(&shared);
            pinging.spawn(async move {
                let Ok(_turn) = shared.pings.acquire().await else { return };
                let Some(address) = candidate.socket() else { return };
                let is_alive = ping::answers(address).await;
                let gone = shared.rotation().pinged(&candidate, is_alive, unix_seconds());
                if gone {
                    let why = "it does not answer any more";
                    (shared.say)(RegistrarNote::Removed { candidate: candidate.to_string(), why });
                    shared.changed.notify_one();
                }
            });
        }
        pinging.join_all().await;
        let (expired, rotated) = shared.rotation().tend(unix_seconds());
        for candidate in &expired {
            let why = "its registration ran out";
            (shared.say)(RegistrarNote::Removed { candidate: candidate.to_string(), why });
        }
        if rotated || !expired.is_empty() {
            shared.changed.notify_one();
        }
    }
}

/// Publishes the list whenever it changed, and again until that works.
async fn keep_published(shared: Arc<Shared>) {
    loop {
        let listed = shared.rotation().listed();
        let published = match shared.settings.publish {
            Publish::Serve(_) => {
                shared.served.set(&listed);
                Ok(())
            }
            Publish::Update(server) => publish::update(server, &shared.zone, &listed).await,
        };
        match published {
            Ok(()) => shared.changed.notified().await,
            Err(error) => {
                (shared.say)(RegistrarNote::NotPublished { why: error.to_string() });
                tokio::time::sleep(PUBLISH_PAUSE * 4).await;
                continue;
            }
        }
        if matches!(shared.settings.publish, Publish::Update(_)) {
            tokio::time::sleep(PUBLISH_PAUSE).await;
        }
    }
}
