//! One run from beginning to end: starts its processes, waits for them, adds up what they tell.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use starling_core::identity::Roles;
use starling_core::limits;
use starling_loadtest::mesh::{LocalMesh, Plan, PlannedNode, free_addresses};
use starling_net::trust::install_crypto;
use tokio::time::Instant;

use crate::part::{Counted, PATIENCE, Part, Task, Told};
use crate::receipts::wall_nanos;
use crate::report::{Memory, Report, SCHEMA, SetUp, join, ticks, times, udp};
use crate::samples::{Samples, resident};
use crate::settings::{Settings, Work};
use crate::works::{Role, connections, roles};

/// How often it is looked whether a process is done.
const LOOK: Duration = Duration::from_millis(10);
/// How long edges rest before their memory is read.
const SETTLE: Duration = Duration::from_secs(2);
/// How long nodes may take to stop.
const STOP: Duration = Duration::from_secs(10);

/// Called now and then with a line about what goes on.
pub type Say<'a> = &'a (dyn Fn(&str) + Sync);

/// A process of agents, which ends when our end of its stdin closes, however that comes to be.
#[derive(Debug)]
struct Agents(Child);

impl Drop for Agents {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill, and it is still to be waited for.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Everything that runs.
struct Stage {
    settings: Settings,
    mesh: LocalMesh,
    addresses: Vec<SocketAddr>,
    agents: Vec<Agents>,
    processes: Vec<(String, u32)>,
    parts: Vec<(Role, Part)>,
}

/// Runs a work in `directory`, which must exist and be empty.
///
/// # Errors
/// A process did not start, ended, or did not do its work in time.
pub async fn run(settings: Settings, directory: &Path, say: Say<'_>) -> Result<Report> {
    install_crypto();
    settings.check().map_err(anyhow::Error::msg)?;
    let roles = roles(&settings);
    let names: Vec<&str> = roles.iter().map(|role| role.name).collect();
    say(&format!("{}: {} processes: {}", settings.work.name(), names.len(), names.join(", ")));
    let mut stage = Stage::set(settings, directory, &roles)?;
    for role in roles {
        stage.start(role).await?;
    }
    let samples = Samples::start(stage.processes.clone());
    let begun = wall_nanos();
    let (mut told, memory) = match stage.settings.work {
        Work::Memory => (Told::default(), Some(stage.fill().await?)),
        Work::Throughput | Work::Routed | Work::Latency | Work::Fanout | Work::Region | Work::Path => {
            (join(&stage.play().await?), None)
        }
    };
    if told.measured == 0 {
        // Nothing was published; what was used meanwhile was used for agents that came.
        (told.begun, told.ended) = (begun, wall_nanos());
    }
    let cpu_cores = samples.cores(told.begun, told.ended);
    drop(samples);
    stage.finish(told, memory, cpu_cores).await
}

impl Stage {
    fn set(settings: Settings, directory: &Path, roles: &[Role]) -> Result<Stage> {
        let nodes = roles.iter().map(|role| role.nodes as usize).sum();
        let plan = Plan {
            mesh: "bench".into(),
            directory: directory.to_path_buf(),
            program: settings.program.clone(),
            arguments: vec!["--quiet".to_string()],
            nodes: Vec::new(),
        };
        let (mesh, addresses) = (LocalMesh::launch(plan)?, free_addresses(nodes)?);
        let (agents, processes, parts) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Stage { settings, mesh, addresses, agents, processes, parts })
    }

    /// Starts a process. Who finds its peers only when they are started is waited for later.
    async fn start(&mut self, role: Role) -> Result<()> {
        let directory = self.mesh.plan().directory.clone();
        // Who comes alone after the other has a sign of its own.
        let go = if self.settings.work == Work::Memory { role.name } else { "all" };
        let part = Part {
            task: role.task.clone(),
            trust: self.mesh.trust_path(),
            edge: role.edge.map(|edge| self.addresses[edge]),
            nodes: self.addresses.len(),
            payload: self.settings.payload,
            measure_ms: millis(self.settings.duration),
            warm_up_ms: millis(self.settings.warm_up),
            files: directory.join(format!("part-{}", role.name)),
            go: directory.join(format!("go-{go}")),
        };
        let file = part.save()?;
        if role.nodes == 0 {
            // All nodes have been started by now, and agents need them.
            self.wait_until_ready().await?;
            self.start_agents(role.name, &file)?;
        } else {
            let first = self.mesh.plan().nodes.len();
            let node = |number: usize| PlannedNode {
                name: format!("node-{number}"),
                roles: if role.aggregates { Roles::AGGREGATOR } else { Roles::EDGE },
                region: "bench".into(),
                address: self.addresses[number],
                http: None,
                process: 0,
            };
            let nodes: Vec<PlannedNode> = (first..first + role.nodes as usize).map(node).collect();
            let name = nodes.first().context("a process of nodes has some")?.name.clone();
            let file = file.to_str().context("a temporary directory has a name in UTF-8")?;
            self.mesh.join_together(nodes, &["bench-part", "--part", file])?;
            let process = self.mesh.process_of(&name).context("the process was started")?;
            self.processes.push((role.name.to_string(), process));
        }
        self.parts.push((role, part));
        Ok(())
    }

    fn start_agents(&mut self, name: &str, file: &Path) -> Result<()> {
        let log = std::fs::File::create(file.with_extension("log"))?;
        let program = &self.settings.program;
        let mut command = Command::new(program);
        command.args(["bench-part", "--quiet", "--until-stdin-closes", "--part"]).arg(file);
        command.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        self.processes.push((name.to_string(), child.id()));
        self.agents.push(Agents(child));
        Ok(())
    }

    /// Waits until all processes so far have said that others may begin.
    async fn wait_until_ready(&mut self) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            let waiting = self.parts.iter().find(|(_, part)| !part.is_ready());
            let Some(name) = waiting.map(|(role, _)| role.name) else { return Ok(()) };
            ensure!(Instant::now() < until, "the process {name} was not ready in time");
            self.check_running()?;
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Fails if a process ended, with the last that it said.
    fn check_running(&mut self) -> Result<()> {
        if let Some(ended) = self.mesh.find_ended() {
            bail!("a process ended: {ended}");
        }
        for agents in &mut self.agents {
            if let Some(status) = agents.0.try_wait()? {
                let id = agents.0.id();
                let of = |(_, process): &&(String, u32)| *process == id;
                let name = self.processes.iter().find(of).map_or("", |(name, _)| name);
                let log = self.mesh.plan().directory.join(format!("part-{name}.log"));
                bail!("{name} ended ({status}): {}", std::fs::read_to_string(log)?.trim());
            }
        }
        Ok(())
    }

    async fn wait_to_tell(&mut self, which: usize, patience: Duration) -> Result<Told> {
        let until = Instant::now() + patience;
        loop {
            let (role, part) = &self.parts[which];
            if let Some(told) = part.told()? {
                return Ok(told);
            }
            ensure!(Instant::now() < until, "{} was not done in time", role.name);
            self.check_running()?;
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Lets publishers begin, and waits until everybody is done.
    async fn play(&mut self) -> Result<Vec<Told>> {
        self.wait_until_ready().await?;
        let (_, last) = self.parts.last().context("a work has processes")?;
        std::fs::write(&last.go, b"")?;
        let patience = 2 * last.patience();
        let mut told = Vec::new();
        for which in 0..self.parts.len() {
            if self.parts[which].0.task != Task::Serve {
                told.push(self.wait_to_tell(which, patience).await?);
            }
        }
        Ok(told)
    }

    /// Lets idle agents come, those of one process after the other.
    async fn fill(&mut self) -> Result<Memory> {
        self.wait_until_ready().await?;
        let mut halves = Vec::new();
        for which in 0..self.parts.len() {
            let (role, part) = self.parts[which].clone();
            let (Task::Idles { connections, agents }, Some(edge)) = (role.task, role.edge) else { continue };
            let edge = [self.processes[edge].clone()];
            let resident = || {
                let all = resident(&edge);
                all.values().next().copied().context("an edge ended")
            };
            tokio::time::sleep(SETTLE).await;
            let before = resident()?;
            std::fs::write(&part.go, b"")?;
            let told = self.wait_to_tell(which, 2 * PATIENCE).await?;
            tokio::time::sleep(SETTLE).await;
            let grown = resident()?.saturating_sub(before) as f64;
            let joined = told.joined.context("idle agents tell how they came")?;
            halves.push((grown, f64::from(connections), f64::from(connections * agents), joined));
        }
        let [alone, together] = halves.as_slice() else { bail!("agents come in two ways") };
        Ok(Memory {
            bytes_per_connection: alone.0 / alone.1,
            bytes_per_agent: together.0 / together.2,
            alone: alone.3,
            together: together.3,
        })
    }

    /// Stops everything and makes the report.
    async fn finish(
        mut self,
        told: Told,
        memory: Option<Memory>,
        cpu_cores: BTreeMap<String, f64>,
    ) -> Result<Report> {
        let rss_bytes = resident(&self.processes);
        self.agents.clear();
        self.mesh.stop(STOP)?;
        let counted: Result<Vec<Option<Counted>>> =
            self.parts.iter().map(|(_, part)| part.counted()).collect();
        let mut counted: Vec<Counted> = counted?.into_iter().flatten().collect();
        let (invalid, stages) = (told.invalid, told.stages);
        counted.push(Counted { invalid, stages, ..Counted::default() });
        let roles: Vec<Role> = self.parts.into_iter().map(|(role, _)| role).collect();
        let expected = match self.settings.work {
            // Each question has one answer, and each message one receiver.
            Work::Latency => told.sent,
            _ => told.sent * told.receivers,
        };
        let seconds = told.ended.saturating_sub(told.begun) as f64 / 1e9;
        Ok(Report {
            schema: SCHEMA,
            bench: self.settings.work.name(),
            per_second: (told.measured > 0 && seconds > 0.0).then(|| told.measured as f64 / seconds),
            latency_us: times(&told.latency),
            alone_us: times(&told.single),
            cpu_cores,
            ticks: ticks(&counted),
            sent: told.sent,
            expected,
            delivered: told.delivered,
            lost: expected.saturating_sub(told.delivered),
            duplicated: told.duplicated,
            invalid: counted.iter().map(|counted| counted.invalid).sum(),
            rss_bytes,
            udp: (seconds > 0.0).then(|| udp(&counted, told.begun, told.ended)),
            memory,
            settings: SetUp {
                duration_seconds: self.settings.duration.as_secs_f64(),
                warm_up_seconds: self.settings.warm_up.as_secs_f64(),
                bundle: limits::BUNDLE_ENTRIES_MAX,
                processes: roles.len(),
                agent_connections: connections(&roles),
                asked: self.settings,
            },
        })
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
