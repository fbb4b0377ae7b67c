//! `starling dev`: a whole mesh on this machine, every node a process, with demo agents at work.

use std::fs::{self, File, TryLockError};
use std::io::IsTerminal;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use starling_client::dev_context_path;
use starling_core::identity::Roles;
use starling_loadtest::demo::Demo;
use starling_loadtest::mesh::{LocalMesh, Plan, PlannedNode};
use starling_loadtest::{Profile, Settings};

use crate::args::DevArgs;
use crate::exit::{ExitCode, Failure, say};
use crate::finding::block_on;
use crate::output::Output;
use crate::signals::stop_requested;

/// How often the live line changes on a terminal, and how often a line is printed elsewhere.
const ON_TERMINAL: Duration = Duration::from_secs(1);
const ELSEWHERE: Duration = Duration::from_secs(5);

/// Removes what `dev` left on disk, however it ends.
struct Traces {
    context: PathBuf,
    directory: PathBuf,
    /// Released last, so that the next `dev` finds nothing of this one.
    _claim: File,
}

impl Drop for Traces {
    fn drop(&mut self) {
        // Nothing is left to do for what is not there any more.
        fs::remove_file(&self.context).ok();
        fs::remove_dir_all(&self.directory).ok();
    }
}

/// Runs a mesh until Ctrl-C.
///
/// # Errors
/// Another `dev` runs, a port is taken, or a node did not start.
pub fn run(args: &DevArgs, output: &Output) -> Result<(), Failure> {
    let nodes = plan_nodes(args)?;
    for node in &nodes {
        refuse_taken(node)?;
    }
    let traces = prepare()?;
    for http in nodes.iter().filter_map(|node| node.http) {
        refuse_taken_http(http)?;
    }
    let (context, directory) = (traces.context.clone(), traces.directory.clone());
    let plan = Plan {
        mesh: "dev".into(),
        directory,
        program: std::env::current_exe()?,
        arguments: Vec::new(),
        nodes,
    };
    block_on(async {
        let mut mesh = LocalMesh::launch(plan)?;
        write_context(&context, &mesh)?;
        let ended = tokio::select! {
            ended = live(args, &mut mesh, output) => ended,
            () = stop_requested() => Ok(()),
        };
        output.note("\nstopping");
        mesh.stop(Duration::from_secs(10))?;
        ended
    })
}

fn plan_nodes(args: &DevArgs) -> Result<Vec<PlannedNode>, Failure> {
    let count = args.coordinators + args.regions * (args.aggregators + args.edges);
    let last = u32::from(args.quic_port) + count - 1;
    let refuse =
        || Failure::new(ExitCode::Usage, format!("{count} nodes need UDP ports up to {last}, beyond 65535"));
    u16::try_from(last).map_err(|_| refuse())?;
    let shown = 1 + args.regions * args.aggregators;
    let last_http = u32::from(args.http_port) + shown - 1;
    let refuse = || {
        Failure::new(ExitCode::Usage, format!("{shown} nodes need TCP ports up to {last_http}, beyond 65535"))
    };
    u16::try_from(last_http).map_err(|_| refuse())?;
    let mut nodes: Vec<PlannedNode> = Vec::new();
    let mut add = |name: String, roles: Roles, region: String| {
        let process = nodes.len();
        // The coordinator and the aggregators come first, so their HTTP ports follow one another too.
        let is_shown = !roles.has(Roles::EDGE);
        let http = is_shown.then(|| args.http_port + u16::try_from(process).unwrap_or(u16::MAX));
        let http = http.map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let port = args.quic_port + u16::try_from(process).unwrap_or(u16::MAX);
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        nodes.push(PlannedNode { name, roles, region, address, http, process });
    };
    add("coordinator".into(), Roles::COORDINATOR, "global".into());
    for number in 1..args.coordinators {
        add(format!("coordinator-{number}"), Roles::COORDINATOR, "global".into());
    }
    for region in 0..args.regions {
        for number in 0..args.aggregators {
            add(format!("r{region}-aggregator-{number}"), Roles::AGGREGATOR, format!("r{region}"));
        }
    }
    // Edge number N is in region N modulo the regions, as the demo agents reckon.
    for edge in 0..args.regions * args.edges {
        add(format!("edge-{edge}"), Roles::EDGE, format!("r{}", edge % args.regions));
    }
    Ok(nodes)
}

fn refuse_taken(node: &PlannedNode) -> Result<(), Failure> {
    match UdpSocket::bind(node.address) {
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::new(
            ExitCode::Configuration,
            format!("cannot listen on udp {}: {error}", node.address),
        )
        .with_help("is another `starling dev` running? stop it, or choose other ports with --quic-port")),
    }
}

fn refuse_taken_http(address: SocketAddr) -> Result<(), Failure> {
    match TcpListener::bind(address) {
        Ok(_) => Ok(()),
        Err(error) => {
            Err(Failure::new(ExitCode::Configuration, format!("cannot listen on tcp {address}: {error}"))
                .with_help("stop what listens there, or choose other ports with --http-port"))
        }
    }
}

/// The context file's path and an empty directory beside it, both of this user and this `dev` alone.
fn prepare() -> Result<Traces, Failure> {
    let context = dev_context_path();
    let base = context.parent().map(Path::to_path_buf).unwrap_or_default();
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&base).map_err(|error| {
        Failure::new(ExitCode::Configuration, format!("cannot make {}: {error}", base.display()))
    })?;
    let mode = fs::metadata(&base)?.permissions().mode();
    if mode & 0o077 != 0 {
        let what = format!("{} can be used by others (mode {:o})", base.display(), mode & 0o777);
        return Err(
            Failure::new(ExitCode::Configuration, what).with_help(format!("chmod 700 {}", base.display()))
        );
    }
    let claim = claim(&base, &context)?;
    let directory = base.join("mesh");
    if directory.exists() {
        // Left by a `dev` that was killed: the claim shows that it does not run any more.
        fs::remove_dir_all(&directory)?;
    }
    fs::DirBuilder::new().mode(0o700).create(&directory)?;
    Ok(Traces { context, directory, _claim: claim })
}

/// A lock that ends with this process, however it ends: on other ports too, a second `dev` would take
/// the first one's directory from under it.
fn claim(base: &Path, context: &Path) -> Result<File, Failure> {
    let path = base.join("lock");
    let refuse = |what: String| Failure::new(ExitCode::Configuration, what);
    let file =
        File::create(&path).map_err(|error| refuse(format!("cannot make {}: {error}", path.display())))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let running = fs::read_to_string(context).ok();
            let running = running.and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok());
            let process = running.and_then(|context| context["process"].as_u64());
            let process = process.map_or(String::new(), |process| format!(" (pid {process})"));
            Err(refuse(format!("a `starling dev` of yours already runs{process}"))
                .with_help("stop it, or set XDG_RUNTIME_DIR to a private directory for a second one"))
        }
        Err(TryLockError::Error(error)) => Err(refuse(format!("cannot lock {}: {error}", path.display()))),
    }
}

fn write_context(path: &Path, mesh: &LocalMesh) -> Result<(), Failure> {
    let of = |role| {
        let nodes = mesh.plan().nodes.iter().filter(move |node| node.roles.has(role));
        nodes.map(|node| node.address.to_string()).collect::<Vec<_>>()
    };
    let context = serde_json::json!({
        "schema": "starling.dev/1",
        "trust": mesh.trust_path(),
        "edges": of(Roles::EDGE),
        "coordinator": of(Roles::COORDINATOR).first(),
        "process": std::process::id(),
    });
    let draft = path.with_extension("new");
    fs::write(&draft, serde_json::to_string_pretty(&context)? + "\n")?;
    fs::rename(&draft, path)?;
    Ok(())
}

fn demo_settings(args: &DevArgs) -> Settings {
    Settings {
        agents: args.agents,
        edges: args.regions * args.edges,
        regions: args.regions,
        agents_per_connection: 1000,
        rate: (args.agents / 5).clamp(1, 2000),
        payload: 128,
        duration: Duration::from_secs(60),
        profile: Profile::Steady,
        seed: 1,
        rooms_per_edge: 10_000,
        changes_per_second: 0.01,
        rtt: None,
        kill_edge: 0,
        rehome: true,
        edge_processes: 1,
        thresholds: Vec::new(),
        program: PathBuf::new(),
    }
}

/// Shows what goes on until something breaks.
async fn live(args: &DevArgs, mesh: &mut LocalMesh, output: &Output) -> Result<(), Failure> {
    let quiet = |_: &str| {};
    let mut demo = Demo::start(mesh, &demo_settings(args), &quiet).await?;
    introduce(mesh, output);
    let is_terminal = std::io::stderr().is_terminal();
    let mut ticks = tokio::time::interval(if is_terminal { ON_TERMINAL } else { ELSEWHERE });
    loop {
        ticks.tick().await;
        if let Some(ended) = mesh.find_ended() {
            // The mesh goes on without it; that is what it is for.
            output.warn(&ended);
        }
        let line = match demo.look().await {
            Ok(look) => look.line(),
            Err(error) => format!("the coordinator does not answer: {error}"),
        };
        if is_terminal && !output.is_quiet {
            say(&format!("\r\x1b[K{line}"));
        } else {
            output.note(&line);
        }
    }
}

fn introduce(mesh: &LocalMesh, output: &Output) {
    let nodes = &mesh.plan().nodes;
    output.note(&format!("{} nodes run, each a process of its own:", nodes.len()));
    for node in nodes {
        let process = mesh.process_of(&node.name).unwrap_or(0);
        let (name, roles, region) = (&node.name, node.roles.to_string(), &node.region);
        output.note(&format!("  {name:20} {roles:12} {region:8} {}  pid {process}", node.address));
    }
    output.note("\nIn a browser:");
    for node in nodes {
        if let Some(http) = node.http {
            output.note(&format!("  http://{http}/  {}", node.name));
        }
    }
    output.note("\nIn another terminal:");
    output.note("  starling status");
    output.note("  starling members");
    output.note("  starling subscribe 'news.>'");
    output.note("  starling publish news.today 'hello, agents'");
    output.note("\nCtrl-C ends it.\n");
}
