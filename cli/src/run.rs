//! `starling run`: nodes from configuration files, in this process, until they are asked to stop.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use starling_aggregator::Aggregator;
use starling_api::Served;
use starling_consensus::Consensus;
use starling_coordinator::{Coordinator, Newest};
use starling_core::agreement::Agreement;
use starling_core::event::Event;
use starling_core::id::{NodeId, ShortId};
use starling_core::identity::{Coordinators, Roles, SecretKey, VerifyKey};
use starling_core::machine::Machine;
use starling_core::membership::Identity;
use starling_core::node::peering::Presence;
use starling_core::topology::Strategy;
use starling_discovery::finder::Finder;
use starling_edge::Edge;
use starling_net::shaping::{Rule, Shaper, links};
use starling_net::trust::{NodeCredentials, install_crypto};
use starling_net::{Node, NodeHandle, NodeSettings, Start, StartError};
use starling_observe::story::story;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::task::JoinSet;

use crate::args::RunArgs;
use crate::config::{Config, Level};
use crate::discovery;
use crate::exit::{ExitCode, Failure};
use crate::hostile::Lie;
use crate::output::Output;
use crate::serving::Front;
use crate::signals::stop_requested;

/// Runs the nodes of all files; nothing runs unless all can.
///
/// # Errors
/// A file or credential is wrong, a port is taken, or a node failed while it ran.
pub fn run(args: &RunArgs, output: &Output) -> Result<(), Failure> {
    run_all(args, None, output)
}

/// The same, of nodes that lie.
///
/// # Errors
/// As [`run`].
pub(crate) fn run_hostile(args: &RunArgs, lie: Lie, output: &Output) -> Result<(), Failure> {
    run_all(args, Some(lie), output)
}

fn run_all(args: &RunArgs, lie: Option<Lie>, output: &Output) -> Result<(), Failure> {
    install_crypto();
    let mut configs = Vec::new();
    for file in &args.files {
        let silent = args.is_silent.then(|| "node.silent=true".to_owned());
        let overrides: Vec<String> = args.overrides.iter().cloned().chain(silent).collect();
        let (config, _) = Config::load(file, &overrides)?;
        configs.extend(config.nodes());
    }
    let links = match (&args.delays, &args.links) {
        (Some(file), _) => BadLinks::Delays(read_delays(file)?),
        (None, Some(file)) => BadLinks::File(file.clone()),
        (None, None) => BadLinks::Nothing,
    };
    let bad = Bad { links, lie };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(run_nodes(&configs, &bad, args.until_stdin_closes, output));
    runtime.shutdown_background();
    ended
}

/// Starts the nodes of these files and leaves them to the caller, who takes agents into this process.
///
/// # Errors
/// As [`run`].
pub(crate) async fn start_nodes(files: &[PathBuf]) -> Result<Vec<NodeHandle>, Failure> {
    install_crypto();
    let mut configs = Vec::new();
    for file in files {
        configs.extend(Config::load(file, &[])?.0.nodes());
    }
    start_all(&configs, &Bad { links: BadLinks::Nothing, lie: None }).await
}

async fn start_all(configs: &[Config], bad: &Bad) -> Result<Vec<NodeHandle>, Failure> {
    let credentials = check(configs)?;
    start_checked(configs, credentials, bad).await
}

async fn start_checked(
    configs: &[Config],
    credentials: Vec<NodeCredentials>,
    bad: &Bad,
) -> Result<Vec<NodeHandle>, Failure> {
    let mut handles = Vec::new();
    for (config, credentials) in configs.iter().zip(credentials) {
        handles.push(start(config, credentials, bad).await?);
    }
    Ok(handles)
}

async fn run_nodes(configs: &[Config], bad: &Bad, is_child: bool, output: &Output) -> Result<(), Failure> {
    let credentials = check(configs)?;
    let fronts: Vec<Option<Front>> = configs.iter().map(Front::prepare).collect::<Result<_, _>>()?;
    let handles = start_checked(configs, credentials, bad).await?;
    let mut served = Vec::new();
    let mut finders = Vec::new();
    for (config, handle) in configs.iter().zip(&handles) {
        finders.push(discovery::start(config, handle, output)?);
    }
    let mut stories = JoinSet::new();
    for ((config, handle), front) in configs.iter().zip(&handles).zip(fronts) {
        output.note(&format!("{} listens on {}", config.name, handle.address()));
        let front = front.map(|front| front.serve(config, handle)).transpose()?.map(Arc::new);
        if let Some(front) = &front {
            output.note(&format!("{} shows itself on http://{}", config.name, front.address()));
        }
        stories.spawn(narrate(
            config.name.to_string(),
            config.log,
            handle.events(),
            front.clone(),
            output.clone(),
        ));
        served.extend(front);
    }
    let failed = tokio::select! {
        () = stop_requested() => None,
        () = stdin_closed(), if is_child => None,
        failed = first_failure(&handles) => Some(failed),
    };
    served.iter().for_each(|served| served.stopping());
    let mut stopping: JoinSet<()> = finders.into_iter().map(Finder::stop).collect();
    while stopping.join_next().await.is_some() {}
    stop_nodes(handles).await;
    match failed {
        None => Ok(()),
        Some(why) => Err(Failure::new(ExitCode::Failed, why)),
    }
}

/// Stops nodes in order, all at once.
pub(crate) async fn stop_nodes(handles: Vec<NodeHandle>) {
    let mut stopping = JoinSet::new();
    for handle in handles {
        stopping.spawn(handle.stop());
    }
    stopping.join_all().await;
}

/// Resolves when nobody holds the other end of stdin any more.
pub(crate) async fn stdin_closed() {
    let read = tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
    // Whatever ended the reading, nobody is at the other end any more.
    read.await.ok();
}

/// Waits until a node ends by itself, which it only does when it cannot go on.
async fn first_failure(handles: &[NodeHandle]) -> String {
    let mut ends: Vec<_> = handles.iter().map(|handle| Box::pin(handle.ended())).collect();
    std::future::poll_fn(|context| {
        for end in &mut ends {
            if let std::task::Poll::Ready(why) = end.as_mut().poll(context) {
                return std::task::Poll::Ready(why.unwrap_or_else(|| "a node ended by itself".into()));
            }
        }
        std::task::Poll::Pending
    })
    .await
}

/// Every node's credentials, if all can be read and every port is free: what stops one node must not
/// leave others half-started.
fn check(configs: &[Config]) -> Result<Vec<NodeCredentials>, Failure> {
    let mut credentials = Vec::new();
    let mut held = Vec::new();
    for config in configs {
        credentials.push(NodeCredentials::load(&config.credentials)?);
        let address = config.quic;
        let socket = UdpSocket::bind(address).map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => failure(config, &StartError::AddressTaken { address }),
            _ => failure(config, &StartError::Listen { address, source }),
        })?;
        // Held until the last is checked, so that two nodes with one port are found.
        held.push(socket);
    }
    Ok(credentials)
}

async fn start(config: &Config, credentials: NodeCredentials, bad: &Bad) -> Result<NodeHandle, Failure> {
    fs::create_dir_all(&config.data).map_err(|error| {
        Failure::new(
            ExitCode::Configuration,
            format!("cannot make the directory {}: {error}", config.data.display()),
        )
        .with_help("check `data` in the configuration and the directory's owner")
    })?;
    let roles = config.roles;
    let wishes = Wishes {
        seeds: config.seeds.clone(),
        strategy: config.strategy,
        presence: Presence {
            is_silent: config.is_silent,
            addresses: Vec::new(),
            capabilities: config.capabilities.clone(),
            blobs: config.blobs.clone(),
        },
    };
    let authority = credentials.trust.verify_key()?;
    let coordinators = credentials.coordinators()?;
    let me = credentials.node().short();
    let voters = voters(coordinators.as_ref(), me);
    let key = credentials.identity.clone();
    let mesh = credentials.trust.mesh_name.to_string();
    let settings = NodeSettings {
        trust: credentials.trust.clone(),
        credentials,
        credentials_directory: Some(config.credentials.clone()),
        certificate_lifetime: config.certificate_lifetime,
        listen: config.quic,
        advertise: config.advertise.clone(),
        is_silent: config.is_silent,
        directory: config.data.clone(),
        spreads: roles.has(Roles::AGGREGATOR),
        shaper: shaper(config.quic, &bad.links)?,
        trial: bad.lie.as_ref().map(|lie| Arc::clone(&lie.tap) as _),
        version: env!("CARGO_PKG_VERSION").to_string(),
        agreement: agreement(config, me, &voters)?,
    };
    let lie = bad.lie.clone().map(|lie| lie.within(settings.trust.clone()));
    let make = move |start: Start| {
        let honest = machine(roles, start.clone(), wishes, (mesh, authority, coordinators, key.clone()));
        match lie {
            Some(lie) => lie.corrupt(&start, &key, honest),
            None => honest,
        }
    };
    Node::start(settings, make).await.map_err(|error| failure(config, &error))
}

/// The coordinators with which a new group begins: those of the mesh's first set. Who comes with a later
/// one is taken in by the group; a mesh that names none has a coordinator alone.
fn voters(coordinators: Option<&Coordinators>, me: ShortId) -> BTreeSet<ShortId> {
    let Some(coordinators) = coordinators else { return [me].into() };
    let first = Some(coordinators.set()).filter(|set| set.epoch == 1);
    let members = first.into_iter().flat_map(|set| set.members());
    members.map(|key| NodeId::of_key(&key.0).short()).collect()
}

/// Who agrees for a coordinator; `voters` begin a group that there never was.
fn agreement(
    config: &Config,
    me: ShortId,
    voters: &BTreeSet<ShortId>,
) -> Result<Option<Arc<dyn Agreement>>, Failure> {
    if !config.roles.has(Roles::COORDINATOR) {
        return Ok(None);
    }
    let consensus = Consensus::open(&config.data, me, voters, Box::new(Newest::default()));
    let consensus = consensus.map_err(|error| {
        Failure::new(ExitCode::Configuration, format!("{} does not start: {error}", config.name))
    })?;
    Ok(Some(consensus))
}

/// What a machine is told of its settings.
struct Wishes {
    seeds: Vec<String>,
    strategy: Strategy,
    presence: Presence,
}

fn machine(
    roles: Roles,
    start: Start,
    wishes: Wishes,
    (mesh, authority, coordinators, key): (String, VerifyKey, Option<Coordinators>, SecretKey),
) -> Box<dyn Machine> {
    let Wishes { mut seeds, strategy, mut presence } = wishes;
    // A silent node does not tell its peers where it listens, nor itself: it would dial itself.
    seeds.retain(|seed| seed.split('#').next() != Some(start.advertised.as_str()));
    presence.addresses.extend(start.advertised.parse::<SocketAddr>());
    let told = Some(start.advertised).filter(|_| !presence.is_silent);
    let me = Identity {
        mesh,
        admission: start.admission,
        incarnation: start.me.incarnation,
        addresses: told.into_iter().collect(),
        process: std::process::id(),
        version: env!("CARGO_PKG_VERSION").to_string(),
        authority,
        coordinators,
        signer: Arc::new(key.signer()),
    };
    if roles.has(Roles::COORDINATOR) {
        Box::new(Coordinator::new(me, seeds, start.seed).with_presence(presence))
    } else if roles.has(Roles::AGGREGATOR) {
        let aggregator = Aggregator::new(me, seeds, start.seed);
        Box::new(aggregator.with_strategy(strategy).with_presence(presence))
    } else {
        let edge = Edge::new(me, seeds, start.seed, start.now);
        Box::new(edge.with_strategy(strategy).with_presence(presence))
    }
}

fn failure(config: &Config, error: &StartError) -> Failure {
    let what = format!("{} does not start: {error}", config.name);
    match error {
        StartError::AddressTaken { .. } | StartError::Listen { .. } | StartError::Trust(_) => {
            Failure::new(ExitCode::Configuration, what)
        }
        StartError::OtherMesh { .. } | StartError::Directory { .. } => {
            Failure::new(ExitCode::Configuration, what)
        }
    }
}

/// Tells what happens at a node: on stderr as loud as is wished, and by HTTP.
async fn narrate(
    name: String,
    level: Level,
    mut events: broadcast::Receiver<Event>,
    front: Option<Arc<Served>>,
    output: Output,
) {
    loop {
        let event = match events.recv().await {
            Ok(event) => event,
            Err(RecvError::Lagged(missed)) => {
                output.warn(&format!("{name}: so much happened that {missed} events are not told"));
                continue;
            }
            Err(RecvError::Closed) => return,
        };
        if let Some(front) = &front {
            front.record(&event);
        }
        let told = story(&event);
        if told.level <= level {
            output.note(&format!("{name}: {}", told.text));
        }
    }
}

/// What is wrong with these nodes on purpose.
#[derive(Clone, Debug)]
struct Bad {
    links: BadLinks,
    lie: Option<Lie>,
}

/// What is wrong with their links.
#[derive(Clone, Debug)]
enum BadLinks {
    Nothing,
    Delays(Vec<Delay>),
    /// As this file says from time to time.
    File(PathBuf),
}

/// One line of a delays file: what one address sends to another takes this long.
#[derive(Clone, Copy, Debug)]
struct Delay {
    from: SocketAddr,
    to: SocketAddr,
    one_way: Duration,
}

/// Lines of `FROM TO MILLISECONDS`, written by the load test to imitate distances.
fn read_delays(file: &Path) -> Result<Vec<Delay>, Failure> {
    let refuse = |what: String| Failure::new(ExitCode::Configuration, format!("{}: {what}", file.display()));
    let text = fs::read_to_string(file).map_err(|error| refuse(error.to_string()))?;
    let parse = |line: &str| {
        let mut words = line.split_whitespace();
        let (from, to) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let one_way = Duration::try_from_secs_f64(words.next()?.parse::<f64>().ok()? / 1000.0).ok()?;
        Some(Delay { from, to, one_way })
    };
    text.lines()
        .enumerate()
        .map(|(at, line)| {
            parse(line).ok_or_else(|| refuse(format!("line {}: expected FROM TO MILLISECONDS", at + 1)))
        })
        .collect()
}

fn shaper(me: SocketAddr, bad: &BadLinks) -> Result<Option<Shaper>, Failure> {
    let shaper = Shaper::new(u64::from(me.port()));
    match bad {
        BadLinks::Nothing => return Ok(None),
        BadLinks::Delays(delays) => {
            let mine: Vec<&Delay> = delays.iter().filter(|delay| delay.from == me).collect();
            if mine.is_empty() {
                return Ok(None);
            }
            for delay in mine {
                shaper.set(delay.to, Rule { delay: delay.one_way, ..Rule::default() });
            }
        }
        BadLinks::File(file) => links::follow(&shaper, me, file).map_err(|error| {
            Failure::new(ExitCode::Configuration, format!("cannot use {}: {error}", file.display()))
        })?,
    }
    Ok(Some(shaper))
}
