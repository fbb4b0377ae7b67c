//! One load test from beginning to end.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use starling_client::session::{Endpoint, EndpointSettings};
use starling_core::hot::counters::{TICK_NANOS, quantile, timed};
use starling_core::identity::{Roles, SecretKey};
use starling_core::limits;
use starling_core::node::overview::histogram;
use starling_core::wire::request::Overview;
use starling_net::trust::install_crypto;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::agents::{make_keys, place, region_name};
use crate::connection::Connection;
use crate::distances::Distances;
use crate::mesh::{LocalMesh, Plan, PlannedNode, free_addresses};
use crate::observer::{Observer, count_agents};
use crate::report::{
    Agents, Attach, Broadcast, Cpu, Delivery, Events, Gossip, HotPath, Memory, Region, Report, SCHEMA, Ticks,
    times,
};
use crate::settings::{Profile, Settings};
use crate::shared::Shared;
use crate::traffic::{Progress, Routes, Sent, drive};
use crate::watch::{Watch, cpu_of, pss_of};

/// Aggregators of each region.
const AGGREGATORS: u32 = 2;
/// System updates issued while events flow.
const UPDATES: usize = 3;
/// Connections being brought up at once in a steady run.
const AT_ONCE: usize = 24;
/// Connections being brought up at once in a storm.
const AT_ONCE_IN_STORM: usize = 4096;
/// How often a connection is tried before the run is given up.
const ATTEMPTS: usize = 4;
/// Sockets of the generator: each has one task that reads it, and a buffer in the kernel that must
/// take what comes to all of its connections at once.
const ENDPOINTS_MIN: usize = 4;
const ENDPOINTS_MAX: usize = 64;
const CONNECTIONS_PER_ENDPOINT: usize = 1000;
/// Connections up to which each asks whether its edge lives as often as one alone would.
const LIVELY_CONNECTIONS: usize = 2000;

/// Called now and then with a line about what goes on.
pub type Say<'a> = &'a (dyn Fn(&str) + Sync);

/// The agents' side of a run.
pub(crate) struct Generator {
    pub(crate) shared: Arc<Shared>,
    pub(crate) connections: Vec<Arc<Connection>>,
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) keys: Arc<Vec<SecretKey>>,
    pub(crate) edges: Vec<SocketAddr>,
}

/// Runs a load test in `directory`, which must exist and be empty.
///
/// # Errors
/// The mesh did not come up, an edge refused agents, or a process of the mesh ended.
pub async fn run(settings: Settings, directory: &Path, say: Say<'_>) -> Result<Report> {
    install_crypto();
    settings.check().map_err(anyhow::Error::msg)?;
    for expression in &settings.thresholds {
        crate::report::check(expression, &settings)?;
    }
    say(&format!("making {} keys", settings.agents));
    let keys = Arc::new(make_keys(&settings));
    let plan = plan(&settings, directory)?;
    let processes = describe(&plan, say);
    let mut mesh = LocalMesh::launch(plan)?;
    let generator = Generator::new(&settings, &mesh, keys)?;
    let coordinator = generator.observe(&mesh, "coordinator", true).await?;
    wait_for_mesh(&coordinator, &settings, &mut mesh).await?;
    let idle = pss_of(&mesh.processes());
    let watch = Watch::start(mesh.processes());
    let mut report = generator.measure(&mut mesh, &coordinator, say).await?;
    report.processes = processes;
    report.memory.mesh_idle_pss_bytes = idle;
    report.memory.mesh_pss_bytes = watch.most();
    report.memory.bytes_per_agent = watch.most().map(|most| most as f64 / f64::from(settings.agents));
    let of_agents = watch.most().zip(idle).map(|(most, idle)| most.saturating_sub(idle) as f64);
    report.memory.bytes_per_connection = of_agents.map(|bytes| bytes / generator.connections.len() as f64);
    report.memory.generator_pss_bytes = pss_of(&[std::process::id()]);
    generator.connections.iter().for_each(|connection| connection.close());
    report.judge()?;
    mesh.stop(Duration::from_secs(10))?;
    Ok(report)
}

/// One process for the coordinator, one a region for its aggregators, the asked number a region for
/// its edges; edges that will be killed have one each.
fn plan(settings: &Settings, directory: &Path) -> Result<Plan> {
    let count = 1 + settings.regions * AGGREGATORS + settings.edges;
    let mut addresses = free_addresses(count as usize)?.into_iter();
    let mut next = || addresses.next().context("an address for each node");
    let mut nodes = Vec::new();
    let mut node = |name: String, roles, region, process, address| {
        nodes.push(PlannedNode { name, roles, region, address, http: None, process: process as usize });
    };
    node("coordinator".into(), Roles::COORDINATOR, "global".into(), 0, next()?);
    for region in 0..settings.regions {
        for number in 0..AGGREGATORS {
            let name = format!("{}-aggregator-{number}", region_name(region));
            node(name, Roles::AGGREGATOR, region_name(region), 1 + region, next()?);
        }
    }
    let shared = 1 + settings.regions;
    let alone = shared + settings.regions * settings.edge_processes;
    for edge in 0..settings.edges {
        let region = settings.region_of(edge);
        let process = match edge < settings.kill_edge {
            true => alone + edge,
            false => {
                shared + region * settings.edge_processes + edge / settings.regions % settings.edge_processes
            }
        };
        node(edge_name(edge), Roles::EDGE, region_name(region), process, next()?);
    }
    let mut arguments = vec!["--quiet".to_string()];
    if let Some(path) = &settings.rtt {
        let delays = directory.join("delays");
        std::fs::write(&delays, Distances::read(path, settings.regions)?.delays(&nodes))?;
        arguments.extend(["--delays".to_string(), delays.display().to_string()]);
    }
    let (directory, program) = (directory.to_path_buf(), settings.program.clone());
    Ok(Plan { mesh: "loadtest".into(), directory, program, arguments, nodes })
}

pub(crate) fn edge_name(edge: u32) -> String {
    format!("edge-{edge}")
}

fn describe(plan: &Plan, say: Say<'_>) -> BTreeMap<String, u32> {
    let mut groups: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
    plan.nodes.iter().for_each(|node| groups.entry(node.process).or_default().push(&node.name));
    let mut processes = BTreeMap::new();
    for names in groups.values() {
        let what = match names.as_slice() {
            [one] => (*one).to_string(),
            [first, .., last] => format!("{first}..{last}"),
            [] => continue,
        };
        processes.insert(what, u32::try_from(names.len()).unwrap_or(u32::MAX));
    }
    let list: Vec<String> = processes.iter().map(|(what, nodes)| format!("{what} ({nodes})")).collect();
    say(&format!("the mesh runs in {} processes: {}", list.len(), list.join(", ")));
    processes
}

pub(crate) async fn wait_for_mesh(
    coordinator: &Observer,
    settings: &Settings,
    mesh: &mut LocalMesh,
) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(ended) = mesh.find_ended() {
            anyhow::bail!("a process of the mesh ended: {ended}");
        }
        let overview = coordinator.overview().await?;
        let edges: u32 = overview.regions.iter().map(|region| region.edges).sum();
        if edges == settings.edges {
            return Ok(());
        }
        ensure!(Instant::now() < until, "only {edges} of {} edges joined within a minute", settings.edges);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

impl Generator {
    pub(crate) fn new(settings: &Settings, mesh: &LocalMesh, keys: Arc<Vec<SecretKey>>) -> Result<Generator> {
        let placements = place(settings);
        let scale = (placements.len() / LIVELY_CONNECTIONS).max(1);
        let factor = u32::try_from(scale).unwrap_or(u32::MAX);
        let endpoints = (placements.len() / CONNECTIONS_PER_ENDPOINT).clamp(ENDPOINTS_MIN, ENDPOINTS_MAX);
        let endpoint = EndpointSettings {
            keepalive: limits::ASK_REST * factor,
            idle_timeout: Duration::from_millis(3500) * factor,
            connect_timeout: Duration::from_secs(30),
            queue_bytes_max: 4 * 1024 * 1024,
            reads_apart: placements.len() > LIVELY_CONNECTIONS,
            ..EndpointSettings::default()
        };
        let endpoints: Result<Vec<Endpoint>, _> =
            (0..endpoints).map(|_| Endpoint::new(mesh.trust(), &endpoint)).collect();
        let events = (f64::from(settings.rate) * settings.duration.as_secs_f64()) as usize;
        let connections = placements.into_iter().enumerate();
        let edges =
            mesh.plan().nodes.iter().filter(|node| node.roles.has(Roles::EDGE)).map(|node| node.address);
        Ok(Generator {
            shared: Arc::new(Shared::new(settings.clone(), events)),
            connections: connections.map(|(number, at)| Arc::new(Connection::new(number, at))).collect(),
            endpoints: endpoints?,
            keys,
            edges: edges.collect(),
        })
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// A connection to a node by name, tried until the node is up.
    pub(crate) async fn observe(&self, mesh: &LocalMesh, name: &str, with_cut: bool) -> Result<Observer> {
        let node = mesh.plan().nodes.iter().find(|node| node.name == name);
        let address = node.with_context(|| format!("no node is called {name}"))?.address;
        let shared = with_cut.then(|| Arc::clone(&self.shared));
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            let attempt = Observer::connect(&self.endpoints[0], address, shared.clone());
            match tokio::time::timeout(Duration::from_secs(2), attempt).await {
                Ok(Ok(observer)) => return Ok(observer),
                Ok(Err(error)) if Instant::now() >= until => return Err(error),
                Err(_) if Instant::now() >= until => anyhow::bail!("{name} at {address} does not answer"),
                Ok(Err(_)) | Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    async fn measure(&self, mesh: &mut LocalMesh, coordinator: &Observer, say: Say<'_>) -> Result<Report> {
        coordinator.watch_cut().await?;
        let routes = Routes::new(self.connections.clone());
        let progress = Progress::default();
        let settings = self.settings();
        let attach = self.attach(say).await?;
        let count_at_rest = self.wait_for_count(coordinator, u64::from(settings.agents), say).await?;
        let agents = Agents {
            requested: settings.agents,
            attached: self.shared.attached.load(Ordering::Relaxed) as u64,
            verified: self.shared.attached.load(Ordering::Relaxed) as u64,
            failed: self.shared.refused.load(Ordering::Relaxed) as u64,
        };
        say(&format!(
            "{} agents attached in {:.1} s; counted {count_at_rest:?}",
            agents.attached, attach.seconds
        ));
        let begun = Instant::now();
        let (sent, updates, ()) = tokio::join!(
            drive(&self.shared, &routes, settings.duration, &progress),
            self.broadcast(coordinator),
            self.tell_progress(&progress, say),
        );
        let flowed = begun.elapsed();
        let updates = updates?;
        self.wait_for_receipts(&sent, updates, say).await;
        let overview = coordinator.overview().await?;
        let mut report = self.report(&sent, updates, flowed, &overview);
        (report.hot_path, report.gossip) = self.hot_path(mesh, flowed).await?;
        report.cpu_seconds =
            Cpu { mesh: cpu_of(&mesh.processes()), generator: cpu_of(&[std::process::id()]) };
        report.agents = agents;
        report.attach = attach;
        report.count_at_rest = count_at_rest;
        report.kill = self.kill(mesh, coordinator, say).await?;
        report.complaints =
            self.shared.complaints.lock().expect("a text does not panic").iter().cloned().collect();
        Ok(report)
    }

    /// Brings every connection up, a bounded number at a time.
    pub(crate) async fn attach(&self, say: Say<'_>) -> Result<Attach> {
        let begun = Instant::now();
        let at_once = match self.settings().profile {
            Profile::Steady => AT_ONCE,
            Profile::JoinStorm => AT_ONCE_IN_STORM,
        };
        let places = Arc::new(Semaphore::new(at_once));
        let mut tasks = JoinSet::new();
        for connection in self.connections.iter().cloned() {
            let place = Arc::clone(&places).acquire_owned().await?;
            let (shared, keys) = (Arc::clone(&self.shared), Arc::clone(&self.keys));
            let endpoint = self.endpoints[connection.number % self.endpoints.len()].clone();
            let address = self.edges[connection.placement.edge as usize];
            tasks.spawn(async move {
                let mut up = connection.bring_up(&shared, &endpoint, address, &keys).await;
                for _ in 1..ATTEMPTS {
                    if up.is_ok() {
                        break;
                    }
                    up = connection.bring_up(&shared, &endpoint, address, &keys).await;
                }
                drop(place);
                up.with_context(|| {
                    let complaints = shared.complaints.lock().expect("a text does not panic").clone();
                    format!("connection {} to {address}, after {complaints:?}", connection.number)
                })
            });
            while let Some(done) = tasks.try_join_next() {
                done??;
            }
        }
        let mut told = Instant::now();
        while let Some(done) = tasks.join_next().await {
            done??;
            if told.elapsed() > Duration::from_secs(2) {
                told = Instant::now();
                say(&format!("{} agents attached", self.shared.attached.load(Ordering::Relaxed)));
            }
        }
        let last = self.shared.last_attached.load(Ordering::Relaxed);
        let seconds = last.saturating_sub(self.shared.first_attach.load(Ordering::Relaxed)) as f64 / 1e9;
        let per_second = f64::from(self.settings().agents) / seconds;
        Ok(Attach { seconds, per_second, subscribed_seconds: begun.elapsed().as_secs_f64() })
    }

    async fn wait_for_count(
        &self,
        coordinator: &Observer,
        expected: u64,
        say: Say<'_>,
    ) -> Result<Option<u64>> {
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            let counted = count_agents(&coordinator.overview().await?);
            if counted == expected || Instant::now() >= until {
                return Ok(Some(counted));
            }
            say(&format!("the coordinator counts {counted} of {expected} agents"));
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// System updates at even distances while events flow.
    async fn broadcast(&self, coordinator: &Observer) -> Result<usize> {
        let gap = self.settings().duration / (UPDATES as u32 + 1);
        for update in 0..UPDATES {
            tokio::time::sleep(gap).await;
            self.shared.broadcast.issue(update, self.shared.now());
            coordinator.update(Bytes::copy_from_slice(&(update as u64).to_le_bytes())).await?;
        }
        Ok(UPDATES)
    }

    async fn tell_progress(&self, progress: &Progress, say: Say<'_>) {
        let begun = Instant::now();
        let mut second = tokio::time::interval(Duration::from_secs(2));
        second.tick().await;
        while begun.elapsed() < self.settings().duration {
            second.tick().await;
            let due = progress.events.load(Ordering::Relaxed);
            let shared = &self.shared;
            let p99 = shared.global.merged().value_at_quantile(0.99) as f64 / 1e6;
            let published = shared.published.load(Ordering::Relaxed);
            let acknowledged = shared.acknowledged.load(Ordering::Relaxed);
            say(&format!(
                "{:3.0} s: {due} events due, {published} published, {acknowledged} acknowledged, \
                 between regions p99 {p99:.1} ms, {} changes not visible yet",
                begun.elapsed().as_secs_f64(),
                shared.visible.waiting(),
            ));
        }
    }

    /// Waits until everything expected came, or nothing has come for three seconds.
    async fn wait_for_receipts(&self, sent: &Sent, updates: usize, say: Say<'_>) {
        let expected: u64 = sent.expected.iter().map(|count| u64::from(*count)).sum();
        let (mut before, mut since) = (0, Instant::now());
        loop {
            let told: u64 = (0..updates).map(|update| self.shared.broadcast.reached(update)).sum();
            let to_tell = (updates * self.shared.attached.load(Ordering::Relaxed)) as u64;
            let delivered = self.shared.receipts.delivered(sent.expected.len());
            let acknowledged = self.shared.acknowledged.load(Ordering::Relaxed);
            let published = self.shared.published.load(Ordering::Relaxed);
            let is_all = delivered >= expected && acknowledged >= published && told >= to_tell;
            if is_all && self.shared.visible.waiting() == 0 {
                return;
            }
            if delivered + acknowledged + told != before {
                (before, since) = (delivered + acknowledged + told, Instant::now());
            } else if since.elapsed() > Duration::from_secs(3) {
                say(&format!("{delivered} of {expected} deliveries came, and no more for three seconds"));
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn report(&self, sent: &Sent, updates: usize, flowed: Duration, overview: &Overview) -> Report {
        let shared = &self.shared;
        let tally = shared.receipts.tally(&sent.expected);
        let published = shared.published.load(Ordering::Relaxed);
        let broadcast = times(&shared.broadcast.merged(), 1e6).map(|times| Broadcast {
            p50: times.p50,
            p99: times.p99,
            max: times.max,
            reached: (0..updates).map(|update| shared.broadcast.reached(update)).min().unwrap_or(0),
            updates,
        });
        Report {
            schema: SCHEMA,
            settings: self.settings().clone(),
            processes: BTreeMap::new(),
            agents: Agents::default(),
            attach: Attach::default(),
            count_at_rest: None,
            visible_ms: times(&shared.visible.merged(), 1e6),
            broadcast_ms: broadcast,
            delivery_us: Delivery {
                region: times(&shared.region.merged(), 1e3),
                global: times(&shared.global.merged(), 1e3),
            },
            events: Events {
                published,
                unsent: shared.unsent.load(Ordering::Relaxed),
                acknowledged: shared.acknowledged.load(Ordering::Relaxed),
                expected: sent.expected.iter().map(|count| u64::from(*count)).sum(),
                delivered: tally.delivered,
                duplicated: tally.duplicated + tally.foreign,
                lost: tally.lost,
                per_second: published as f64 / flowed.as_secs_f64(),
            },
            memory: Memory::default(),
            cpu_seconds: Cpu::default(),
            hot_path: HotPath::default(),
            gossip: Gossip::default(),
            regions: overview.regions.iter().map(region).collect(),
            kill: None,
            schedule_late_ms: sent.late_most as f64 / 1e6,
            complaints: Vec::new(),
            thresholds: Vec::new(),
        }
    }

    /// Sums up what every edge and aggregator counted.
    async fn hot_path(&self, mesh: &LocalMesh, flowed: Duration) -> Result<(HotPath, Gossip)> {
        let mut sums: BTreeMap<String, u64> = BTreeMap::new();
        let nodes: Vec<&PlannedNode> =
            mesh.plan().nodes.iter().filter(|node| !node.roles.has(Roles::COORDINATOR)).collect();
        for node in &nodes {
            let overview = self.observe(mesh, &node.name, false).await?.overview().await?;
            for counter in overview.counters {
                *sums.entry(counter.name).or_default() += counter.value;
            }
        }
        let get = |name: &str| sums.get(name).copied();
        let mut ticks = BTreeMap::new();
        for name in timed() {
            let counts = histogram(sums.iter().map(|(name, count)| (name.as_str(), *count)), name);
            let at = |q| quantile(&counts, q).map(|nanos| nanos as f64 / TICK_NANOS as f64);
            if let (Some(p50), Some(p99)) = (at(0.5), at(0.99)) {
                ticks.insert(name.to_string(), Ticks { p50, p99 });
            }
        }
        let received = get("received_bundles");
        let hot_path = HotPath {
            entries: get("received_entries"),
            bundles: received,
            invalid: get("invalid_bundles"),
            ticks,
        };
        let copies = received.zip(get("duplicate_bundles")).filter(|(received, _)| *received > 0);
        let per_node =
            get("sent_bytes").map(|bytes| bytes as f64 / nodes.len() as f64 / flowed.as_secs_f64());
        let gossip = Gossip {
            payload_copies: copies.map(|(received, again)| (received + again) as f64 / received as f64),
            bytes_per_node_per_second: per_node,
            payload_unwanted_bytes: get("unwanted_bytes"),
        };
        Ok((hot_path, gossip))
    }
}

fn region(view: &starling_core::wire::request::RegionView) -> Region {
    Region { name: view.name.clone(), edges: view.edges, aggregators: view.aggregators, agents: view.agents }
}
