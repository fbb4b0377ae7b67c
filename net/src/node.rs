//! A running node: its settings, its start and its end.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use quinn::{Connection, Endpoint, Incoming, ServerConfig};
use starling_core::agreement::Agreement;
use starling_core::conduct::bucket::{AGENT_MESSAGES, Rate};
use starling_core::event::Event;
use starling_core::hot::Plane;
use starling_core::hot::view::Me;
use starling_core::id::NodeId;
use starling_core::identity::Admission;
use starling_core::limits;
use starling_core::machine::{Input, Machine, Outbox};
use starling_core::membership::record::signed;
use starling_core::time::Now;
use starling_core::wire::codec::Wire;
use starling_core::wire::message::PeerRecord;
use tokio::sync::{Semaphore, broadcast, mpsc, watch};

use crate::agreement::Agreeing;
use crate::broadcasts::{self, Broadcasts};
use crate::clock::Clock;
use crate::driver::{Driver, INPUTS_MAX};
use crate::endpoint::CloseCode;
use crate::execute::Executor;
use crate::guest::Guest;
use crate::handshakes::{Answer, Handshakes, Turn};
use crate::hello::hello_frame;
use crate::hub::{DIALS_MAX, Hub};
use crate::lane::Lane;
use crate::outlet::{Door, Outlets};
use crate::pace::Pace;
use crate::registry::Registry;
use crate::sealer::{self, Sealer};
use crate::shaping::Shaper;
use crate::trial::Trial;
use crate::trust::{
    CERTIFICATE_LIFETIME_MIN, NodeCredentials, Trust, TrustError, install_crypto, next_incarnation, peer_name,
};
use crate::wallet::{Shown, Wallet};
use crate::{agents, endpoint, keeper, link};

/// Events that wait for a listener; one that is slower misses the oldest.
const EVENTS_MAX: usize = 256;
/// Listeners that hear a node's events from its start: one tells people, one remembers peers.
const FIRST_LISTENERS: usize = 2;
/// How long a machine may take to say good-bye.
const GOOD_BYE: Duration = Duration::from_secs(3);
/// How long what is queued may take to arrive when a node stops, and its connections to close.
const FLUSH: Duration = Duration::from_secs(1);
/// Certificates that wait to be taken up.
const GRANTS_MAX: usize = 4;
/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// What a node needs to know before it starts.
pub struct NodeSettings {
    /// Who it is.
    pub credentials: NodeCredentials,
    /// Where they came from, if they are to be read again when the files there change.
    pub credentials_directory: Option<PathBuf>,
    /// How long certificates are valid that it issues, if it is a coordinator that holds the CA's key.
    pub certificate_lifetime: Duration,
    /// The mesh that it belongs to.
    pub trust: Trust,
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// What it tells peers to dial; the address that it listens on if there is none.
    pub advertise: Option<String>,
    /// Whether peers are told nothing to dial: the node dials them.
    pub is_silent: bool,
    /// Where its incarnation is; made if it is missing, and of no other running node.
    pub directory: PathBuf,
    /// Whether it spreads bundles of other regions in its own ([`Plane::spreads`]).
    pub spreads: bool,
    /// Makes its links bad, for trials.
    pub shaper: Option<Shaper>,
    /// Looks on at its links and meddles with them, in trials of hostile nodes.
    pub trial: Option<Arc<dyn Trial>>,
    /// The software's version, for people; at most 64 bytes.
    pub version: String,
    /// Who agrees for it; without, what its machine proposes is refused.
    pub agreement: Option<Arc<dyn Agreement>>,
}

/// What a machine is made from.
#[derive(Clone, Debug)]
pub struct Start {
    /// The node as its hot path knows it.
    pub me: Me,
    /// The authority's word on the node.
    pub admission: Admission,
    /// The node's full name.
    pub node: NodeId,
    /// Where it is dialled, by peers unless it is silent.
    pub advertised: String,
    /// Entropy for the machine's generator.
    pub seed: u64,
    /// The time of the start.
    pub now: Now,
}

/// Why a node did not start. Apart from its directory and incarnation, nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another process listens there; the operator is at fault.
    #[error(
        "udp {address} is taken by another process; stop it, or listen on another port (0 takes a free one)"
    )]
    AddressTaken {
        /// The address.
        address: SocketAddr,
    },
    /// The system does not let us listen there; the operator is at fault.
    #[error("cannot listen on udp {address}: {source}; is it an address of this machine?")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Keys, certificates or the incarnation do not serve.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The credentials are of another mesh than the trust; the operator is at fault.
    #[error("the credentials are for another mesh than {mesh}; issue credentials for this one")]
    OtherMesh {
        /// The mesh that is trusted.
        mesh: String,
    },
    /// The directory cannot be made.
    #[error("cannot make the directory {}: {source}; check the path and its owner", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A node.
#[derive(Debug)]
pub struct Node;

impl Node {
    /// Starts a node on the current tokio runtime; it runs until its handle is stopped or dropped.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(
        settings: NodeSettings,
        make_machine: impl FnOnce(Start) -> Box<dyn Machine>,
    ) -> Result<NodeHandle, StartError> {
        install_crypto();
        let clock = Clock::start();
        let now = clock.now();
        if settings.credentials.admission.mesh != settings.trust.mesh {
            return Err(StartError::OtherMesh { mesh: settings.trust.mesh_name.to_string() });
        }
        let path = &settings.directory;
        std::fs::create_dir_all(path)
            .map_err(|source| StartError::Directory { path: path.clone(), source })?;
        let wallet = Wallet::new(&settings.credentials, &settings.trust)?;
        let endpoint = endpoint::open(&settings, ServerConfig::clone(&wallet.shown().accept))?;
        let address = endpoint
            .local_addr()
            .map_err(|source| StartError::Listen { address: settings.listen, source })?;
        let incarnation = next_incarnation(path, now.wall.as_millis())?;
        let advertised = settings.advertise.clone().unwrap_or_else(|| address.to_string());
        let admission = settings.credentials.admission.clone();
        let (node, mesh, region) = (admission.node(), settings.trust.mesh, admission.region_id());
        let me = Me { mesh, id: node.short(), region, incarnation };
        let (inputs, received) = mpsc::channel(INPUTS_MAX);
        let socket = (endpoint, wallet);
        let (granted, grants) = mpsc::channel(GRANTS_MAX);
        let hub = Arc::new(make_hub(&settings, (clock, me), &advertised, socket, (inputs, granted))?);
        let seed = entropy()?;
        let machine = make_machine(Start { me, admission, node, advertised, seed, now });
        let first_listeners = Mutex::new((0..FIRST_LISTENERS).map(|_| hub.events.subscribe()).collect());
        hub.agreeing.begin(&hub, me.incarnation);
        spawn_tasks(&hub, machine, received);
        hub.spawn_vital("the task of certificates", keeper::run(Arc::clone(&hub), grants));
        Ok(NodeHandle { hub, address, first_listeners, is_stopped: AtomicBool::new(false) })
    }
}

/// Takes certificates that the machine got, by their attempts.
type Granted = mpsc::Sender<(u64, Result<String, String>)>;

fn make_hub(
    settings: &NodeSettings,
    (clock, me): (Clock, Me),
    advertised: &str,
    (endpoint, wallet): (Endpoint, Wallet),
    (inputs, granted): (mpsc::Sender<Input>, Granted),
) -> Result<Hub, StartError> {
    let NodeSettings { credentials, trust, .. } = settings;
    let node = credentials.node();
    let record = PeerRecord {
        admission: credentials.admission.to_bytes(),
        addresses: Some(advertised.to_owned()).filter(|_| !settings.is_silent).into_iter().collect(),
        incarnation: me.incarnation,
        process: std::process::id(),
        version: settings.version.clone(),
        ..PeerRecord::default()
    };
    let mesh = credentials.admission.mesh;
    let record = signed(record, mesh, &credentials.identity.signer());
    let outlets = Arc::new(Outlets::new(clock, settings.trial.clone()));
    if let Some(trial) = &settings.trial {
        trial.begun(Box::new(Door(Arc::clone(&outlets))));
    }
    let door = Box::new(Door(Arc::clone(&outlets)));
    let plane = Plane::new(me, credentials.identity.signer(), settings.spreads, entropy()?, door);
    Ok(Hub {
        clock,
        node,
        authority: trust.verify_key()?,
        hello: hello_frame(record.clone(), Bytes::new()),
        record,
        plane: Arc::new(plane),
        outlets,
        registry: Registry::new(node),
        endpoint,
        wallet,
        credentials_directory: settings.credentials_directory.clone(),
        certificate_lifetime: settings.certificate_lifetime.max(CERTIFICATE_LIFETIME_MIN),
        granted,
        inputs,
        events: broadcast::channel(EVENTS_MAX).0,
        sealer: Sealer::new(),
        broadcasts: Broadcasts::default(),
        agreeing: Agreeing::new(settings.agreement.clone()),
        promise: Rate::new(AGENT_MESSAGES.0, AGENT_MESSAGES.1),
        pace: Pace::new(limits::SEAL_INTERVAL, limits::SEAL_INTERVAL_MAX),
        dials: Semaphore::new(DIALS_MAX),
        handshakes: Arc::new(Handshakes::default()),
        refused_proposals: AtomicU64::new(0),
        failure: OnceLock::new(),
        stopped: watch::channel(false).0,
        stopping: watch::channel(false).0,
        next_link: AtomicU32::new(1),
        next_connection: AtomicU32::new(1),
    })
}

fn spawn_tasks(hub: &Arc<Hub>, machine: Box<dyn Machine>, inputs: mpsc::Receiver<Input>) {
    let executor = Executor::new(Arc::clone(hub));
    let driver = Driver { hub: Arc::clone(hub), machine, inputs, executor, outbox: Outbox::new() };
    hub.spawn_vital("the machine", driver.run());
    hub.spawn_vital("the accepting task", accept(Arc::clone(hub), hub.endpoint.clone()));
    hub.spawn_vital("the sealing task", sealer::run(Arc::clone(hub)));
    hub.spawn_vital("the task of broadcasts", broadcasts::run(Arc::clone(hub)));
}

fn entropy() -> Result<u64, StartError> {
    let mut seed = [0; 8];
    aws_lc_rs::rand::fill(&mut seed).map_err(|_| TrustError::NoEntropy)?;
    Ok(u64::from_le_bytes(seed))
}

async fn accept(hub: Arc<Hub>, endpoint: Endpoint) {
    while let Some(incoming) = endpoint.accept().await {
        match hub.handshakes.begin(incoming.remote_address(), incoming.remote_address_validated()) {
            Answer::Go(turn) => {
                tokio::spawn(greet(Arc::clone(&hub), incoming, turn));
            }
            Answer::Prove => {
                if let Err(error) = incoming.retry() {
                    // It cannot prove anything by this packet.
                    error.into_incoming().refuse();
                }
            }
            Answer::Refuse => incoming.refuse(),
        }
    }
}

/// Finishes a handshake; what comes of it is served by a task of its own, so that this one's memory
/// is given back.
async fn greet(hub: Arc<Hub>, incoming: Incoming, turn: Turn) {
    let shown = hub.wallet.shown();
    let Ok(connecting) = incoming.accept_with(Arc::clone(&shown.accept)) else { return };
    let Ok(Ok(connection)) = tokio::time::timeout(HANDSHAKE, connecting).await else { return };
    serve(hub, Greeted { connection, shown, turn });
}

/// A connection whose handshake is over; its turn ends with the hello.
pub(crate) struct Greeted {
    pub connection: Connection,
    /// What it was accepted with.
    pub shown: Arc<Shown>,
    pub turn: Turn,
}

fn serve(hub: Arc<Hub>, greeted: Greeted) {
    let connection = &greeted.connection;
    match peer_name(connection) {
        Ok(Some(peer)) => {
            tokio::spawn(link::accept(hub, greeted, peer));
        }
        Ok(None) => {
            tokio::spawn(agents::serve(hub, greeted));
        }
        Err(_) => connection.close(CloseCode::Refused.into(), b"the certificate names no node"),
    }
}

/// UDP traffic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Udp {
    /// Datagrams.
    pub datagrams: u64,
    /// Calls of the system that carried them: one carries several where the system can.
    pub syscalls: u64,
}

/// A running node. Dropping it ends the node at once, without good-bye.
#[derive(Debug)]
pub struct NodeHandle {
    pub(crate) hub: Arc<Hub>,
    address: SocketAddr,
    first_listeners: Mutex<Vec<broadcast::Receiver<Event>>>,
    is_stopped: AtomicBool,
}

impl NodeHandle {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its full name.
    pub fn node(&self) -> NodeId {
        self.hub.node
    }

    /// Its hot path, for counters and tests.
    pub fn plane(&self) -> Arc<Plane> {
        Arc::clone(&self.hub.plane)
    }

    /// Feeds its machine; waits while the machine has too many inputs, fails once the node ended.
    pub fn inputs(&self) -> mpsc::Sender<Input> {
        self.hub.inputs.clone()
    }

    /// A place for agents of this very process.
    pub fn guest(&self) -> Guest {
        Guest::enter(Arc::clone(&self.hub))
    }

    /// What its open connections have sent.
    pub fn sent(&self) -> Udp {
        let (links, connections) = (self.hub.outlets.all_links(), self.hub.outlets.all_connections());
        let of_links = links.iter().map(|link| link.connection().stats());
        let of_agents = connections.iter().filter_map(|lane| lane.connection.as_ref());
        let mut sent = Udp::default();
        for stats in of_links.chain(of_agents.map(Connection::stats)) {
            let stats = stats.udp_tx;
            sent.datagrams += stats.datagrams;
            sent.syscalls += stats.ios;
        }
        sent
    }

    /// From now on opens connections with these credentials, and believes peers by this trust; links
    /// move to such connections by and by. On failure everything stays as it is.
    ///
    /// # Errors
    /// The credentials are of another node, or do not hold.
    pub fn replace_credentials(
        &self,
        credentials: &NodeCredentials,
        trust: &Trust,
    ) -> Result<(), TrustError> {
        self.hub.wallet.replace(credentials, trust, self.hub.clock.now().wall)
    }

    /// Links that moved to another connection so far, and attempts at that which failed.
    pub fn moves(&self) -> (u64, u64) {
        let wallet = &self.hub.wallet;
        (wallet.moved.load(Ordering::Relaxed), wallet.not_moved.load(Ordering::Relaxed))
    }

    /// Its events: the first two listeners hear those since the start, others from now on. One that is
    /// slow misses the oldest of 256.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        let first = self.first_listeners.lock().unwrap_or_else(PoisonError::into_inner).pop();
        first.unwrap_or_else(|| self.hub.events.subscribe())
    }

    /// Proposals that were refused because too many waited, or nobody agrees for this node.
    pub fn refused_proposals(&self) -> u64 {
        self.hub.refused_proposals.load(Ordering::Relaxed)
    }

    /// Bytes that were written to the links so far.
    pub fn link_bytes(&self) -> u64 {
        let links = self.hub.outlets.links.pin();
        links.values().flat_map(|lanes| lanes.all().map(|lane| lane.written_bytes())).sum()
    }

    /// Waits until the machine said good-bye or the node failed; says why it failed.
    pub async fn ended(&self) -> Option<String> {
        let mut stopped = self.hub.stopped.subscribe();
        if stopped.wait_for(|stopped| *stopped).await.is_err() {
            // Cannot be: the sender is ours.
        }
        self.hub.failure.get().cloned()
    }

    /// Ends the node in order: the machine says good-bye, what is queued is sent, connections are
    /// closed. Takes five seconds at the most.
    pub async fn stop(self) {
        self.is_stopped.store(true, Ordering::Relaxed);
        let good_bye = async {
            self.hub.input(Input::Stop).await;
            self.ended().await;
        };
        if tokio::time::timeout(GOOD_BYE, good_bye).await.is_err() {
            // The machine had its time.
        }
        self.flush_lanes().await;
        self.hub.close(CloseCode::Leaving, "the node stops");
        if tokio::time::timeout(FLUSH, self.hub.endpoint.wait_idle()).await.is_err() {
            // A peer that does not answer keeps its connection for a while.
        }
    }
}

impl NodeHandle {
    /// Closes all lanes and waits until what they held has arrived.
    async fn flush_lanes(&self) {
        let (links, connections) = (self.hub.outlets.all_links(), self.hub.outlets.all_connections());
        let of_links = links.iter().flat_map(|link| link.all());
        let lanes: Vec<&Lane> =
            of_links.chain(connections.iter().map(|connection| &connection.lane)).collect();
        lanes.iter().for_each(|lane| lane.close());
        let until = tokio::time::Instant::now() + FLUSH;
        for lane in lanes {
            lane.finish(until.saturating_duration_since(tokio::time::Instant::now())).await;
        }
    }
}

impl Drop for NodeHandle {
    fn drop(&mut self) {
        if !self.is_stopped.load(Ordering::Relaxed) {
            self.hub.close(CloseCode::Leaving, "the node ends");
        }
    }
}
