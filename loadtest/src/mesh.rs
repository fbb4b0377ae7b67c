//! A mesh of real processes on this machine: made, watched and taken down.

use std::fs;
use std::io::Read as _;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use starling_core::identity::{CoordinatorSet, PublicKey, Roles};
use starling_core::time::Time;
use starling_net::trust::ca::CA_KEY_FILE;
use starling_net::trust::{Authority, CERTIFICATE_LIFETIME, NodeCredentials, NodeRequest, Trust};

/// How long the nodes of a mesh on one machine may renew their certificates.
const ADMITTED_FOR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A node to be run.
#[derive(Clone, Debug)]
pub struct PlannedNode {
    /// Its name.
    pub name: String,
    /// One role.
    pub roles: Roles,
    /// Its region.
    pub region: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// Where it serves HTTP, if it does.
    pub http: Option<SocketAddr>,
    /// Nodes with the same number share a process.
    pub process: usize,
}

/// What a mesh shall be.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Name of the mesh.
    pub mesh: String,
    /// Directory for keys, configuration and logs; must exist and be empty.
    pub directory: PathBuf,
    /// The program, called as `PROGRAM run --config FILE…`.
    pub program: PathBuf,
    /// More arguments for every process.
    pub arguments: Vec<String>,
    /// The nodes.
    pub nodes: Vec<PlannedNode>,
}

/// A process of the mesh.
#[derive(Debug)]
struct Running {
    child: Child,
    nodes: Vec<usize>,
    is_killed: bool,
    /// Lets the process go on when its own stdin closes, also should we end before we let it.
    pause: Option<Child>,
}

/// A running mesh. Dropping it kills what still runs.
#[derive(Debug)]
pub struct LocalMesh {
    plan: Plan,
    authority: Authority,
    /// Its first and only set of them; none in a mesh without.
    coordinators: Vec<CoordinatorSet>,
    processes: Vec<Running>,
}

/// `count` different addresses of the loopback interface whose UDP ports were free a moment ago.
///
/// # Errors
/// The system has none.
pub fn free_addresses(count: usize) -> Result<Vec<SocketAddr>> {
    // Below the ports that the system gives to whoever asks for any: such a socket of the generator
    // could otherwise take a node's port before the node does. Other calls, here and in other
    // processes, begin elsewhere.
    static CALLS: AtomicU32 = AtomicU32::new(0);
    let begin = std::process::id()
        .wrapping_mul(997)
        .wrapping_add(CALLS.fetch_add(1, Ordering::Relaxed).wrapping_mul(1009));
    let ports = (0..PORTS.len() as u32)
        .map(|step| PORTS.start + (begin.wrapping_add(step) % PORTS.len() as u32) as u16);
    let free = ports.filter_map(|port| UdpSocket::bind(("127.0.0.1", port)).ok()).take(count);
    // All sockets are held until the last is bound, so that no port is given twice.
    let sockets: Vec<UdpSocket> = free.collect();
    ensure!(sockets.len() == count, "no {count} free UDP ports on 127.0.0.1 from {PORTS:?}");
    sockets.iter().map(|socket| Ok(socket.local_addr()?)).collect()
}

/// Where nodes on this machine listen.
const PORTS: std::ops::Range<u16> = 16_384..32_768;

impl LocalMesh {
    /// Makes keys and configuration, and starts the processes. They are not linked yet when this
    /// returns; ask the nodes.
    ///
    /// # Errors
    /// What could not be written or started; nothing is left running.
    pub fn launch(plan: Plan) -> Result<LocalMesh> {
        let authority = Authority::create(&plan.mesh)?;
        authority.trust().save(&plan.directory.join("mesh.trust"))?;
        let mut mesh = LocalMesh { authority, plan, coordinators: Vec::new(), processes: Vec::new() };
        let seeds = mesh.seeds();
        let issued: Result<Vec<NodeCredentials>> =
            mesh.plan.nodes.iter().map(|node| mesh.issue(node)).collect();
        let issued = issued?;
        let are_coordinators = issued.iter().filter(|of| of.admission.roles.has(Roles::COORDINATOR));
        let members: Vec<PublicKey> = are_coordinators.map(|of| of.identity.public()).collect();
        if !members.is_empty() {
            mesh.coordinators.push(mesh.authority.appoint(members)?);
        }
        for (node, credentials) in mesh.plan.nodes.iter().zip(issued) {
            mesh.write_node(node, credentials, &seeds)?;
        }
        let processes = mesh.plan.nodes.iter().map(|node| node.process + 1).max().unwrap_or(0);
        for process in 0..processes {
            let nodes: Vec<usize> = (0..mesh.plan.nodes.len())
                .filter(|index| mesh.plan.nodes[*index].process == process)
                .collect();
            if !nodes.is_empty() {
                let child = mesh.start(&["run"], process, &nodes)?;
                mesh.processes.push(Running { child, nodes, is_killed: false, pause: None });
            }
        }
        Ok(mesh)
    }

    /// Lets one more node join, in a process of its own that is called as `PROGRAM COMMAND… --config FILE…`;
    /// it cannot be started again after a kill.
    ///
    /// # Errors
    /// What could not be written or started; nothing is left running.
    pub fn join(&mut self, node: PlannedNode, command_line: &[&str]) -> Result<()> {
        self.join_together(vec![node], command_line)
    }

    /// As [`LocalMesh::join`], several nodes in one process.
    ///
    /// # Errors
    /// As there.
    pub fn join_together(&mut self, nodes: Vec<PlannedNode>, command_line: &[&str]) -> Result<()> {
        let process = self.plan.nodes.iter().map(|node| node.process + 1).max().unwrap_or(0);
        let first = self.plan.nodes.len();
        self.plan.nodes.extend(nodes.into_iter().map(|node| PlannedNode { process, ..node }));
        let seeds = self.seeds();
        for node in &self.plan.nodes[first..] {
            self.write_node(node, self.issue(node)?, &seeds)?;
        }
        let nodes: Vec<usize> = (first..self.plan.nodes.len()).collect();
        let child = self.start(command_line, process, &nodes)?;
        self.processes.push(Running { child, nodes, is_killed: false, pause: None });
        Ok(())
    }

    /// Whom nodes ask for the others: the aggregators, or the coordinators where there are none, or the
    /// first node.
    fn seeds(&self) -> Vec<SocketAddr> {
        let with = |role| {
            let nodes = self.plan.nodes.iter().filter(move |node| node.roles.has(role));
            nodes.map(|node| node.address).collect::<Vec<_>>()
        };
        let first = self.plan.nodes.first().map(|node| node.address).into_iter().collect();
        let all = [with(Roles::AGGREGATOR), with(Roles::COORDINATOR), first];
        all.into_iter().find(|seeds| !seeds.is_empty()).unwrap_or_default()
    }

    fn issue(&self, node: &PlannedNode) -> Result<NodeCredentials> {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall = Time(u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX));
        let request = NodeRequest::new(node.roles, &node.region, &node.name, CERTIFICATE_LIFETIME)?;
        Ok(self.authority.issue(&request.admitted_for(ADMITTED_FOR), wall)?)
    }

    fn write_node(
        &self,
        node: &PlannedNode,
        credentials: NodeCredentials,
        seeds: &[SocketAddr],
    ) -> Result<()> {
        let directory = self.plan.directory.join(&node.name);
        let coordinators = self.coordinators.clone();
        NodeCredentials { coordinators, ..credentials }.save(&directory)?;
        if node.roles.has(Roles::COORDINATOR) {
            self.authority.ca().save_key(&directory.join(CA_KEY_FILE))?;
        }
        let role = node.roles.to_string();
        let seeds: Vec<String> = seeds.iter().map(|seed| format!("\"{seed}\"")).collect();
        let http = node.http.map(|http| format!("http = \"{http}\"\n")).unwrap_or_default();
        let config = format!(
            "[node]\nname = \"{}\"\nregion = \"{}\"\nroles = [\"{role}\"]\ncredentials = \".\"\ndata = \"data\"\n\n\
             [listen]\nquic = \"{}\"\n{http}\n[mesh]\nseeds = [{}]\n",
            node.name,
            node.region,
            node.address,
            seeds.join(", "),
        );
        fs::create_dir_all(directory.join("data"))?;
        fs::write(self.config_of(node), config)
            .with_context(|| format!("cannot write into {}", directory.display()))
    }

    fn config_of(&self, node: &PlannedNode) -> PathBuf {
        self.plan.directory.join(&node.name).join("node.toml")
    }

    fn start(&self, command_line: &[&str], process: usize, nodes: &[usize]) -> Result<Child> {
        // A node that is started again goes on where its log ended.
        let log = fs::File::options().create(true).append(true).open(self.log_of(process))?;
        let mut command = Command::new(&self.plan.program);
        command.args(command_line);
        for node in nodes {
            command.arg("--config").arg(self.config_of(&self.plan.nodes[*node]));
        }
        // The process ends when our end of this pipe closes, so that nothing outlives us, however we end.
        command.args(&self.plan.arguments).arg("--until-stdin-closes").stdin(Stdio::piped());
        command.stdout(log.try_clone()?).stderr(log);
        command.spawn().with_context(|| format!("cannot start {}", self.plan.program.display()))
    }

    /// What a process of the mesh says, by its number in the plan.
    pub fn log_of(&self, process: usize) -> PathBuf {
        self.plan.directory.join(format!("process-{process}.log"))
    }

    /// What was planned.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What clients need to trust it.
    pub fn trust(&self) -> &Trust {
        self.authority.trust()
    }

    /// The trust file.
    pub fn trust_path(&self) -> PathBuf {
        self.plan.directory.join("mesh.trust")
    }

    /// Process ids of what runs.
    pub fn processes(&self) -> Vec<u32> {
        self.processes.iter().filter(|running| !running.is_killed).map(|running| running.child.id()).collect()
    }

    /// The process that runs a node.
    pub fn process_of(&self, name: &str) -> Option<u32> {
        let index = self.plan.nodes.iter().position(|node| node.name == name)?;
        let running = self.processes.iter().find(|running| running.nodes.contains(&index))?;
        Some(running.child.id())
    }

    fn running(&mut self, name: &str) -> Result<&mut Running> {
        let index = self.plan.nodes.iter().position(|node| node.name == name);
        let index = index.with_context(|| format!("no node is called {name}"))?;
        let running = self.processes.iter_mut().find(|running| running.nodes.contains(&index));
        running.with_context(|| format!("{name} was not started"))
    }

    /// Ends the process of a node by signal 9, with whatever else it runs.
    ///
    /// # Errors
    /// There is no such node, or the system refuses.
    pub fn kill(&mut self, name: &str) -> Result<()> {
        let running = self.running(name)?;
        running.is_killed = true;
        running.child.kill()?;
        running.child.wait()?;
        Ok(())
    }

    /// Starts the process of a killed node again.
    ///
    /// # Errors
    /// There is no such node, it was not killed, or the system refuses.
    pub fn restart(&mut self, name: &str) -> Result<()> {
        let running = self.running(name)?;
        ensure!(running.is_killed, "{name} runs already");
        let nodes = running.nodes.clone();
        let process = self.plan.nodes[nodes[0]].process;
        let child = self.start(&["run"], process, &nodes)?;
        let running = self.running(name)?;
        (running.child, running.is_killed) = (child, false);
        Ok(())
    }

    /// Stops the process of a node as if it had no processor, until [`LocalMesh::resume`] or our end.
    ///
    /// # Errors
    /// There is no such node, it does not run or is paused already, or the system refuses.
    pub fn pause(&mut self, name: &str) -> Result<()> {
        let running = self.running(name)?;
        ensure!(!running.is_killed && running.pause.is_none(), "{name} does not run");
        // Were we to end, the process could not end by itself while it is stopped, so another lets it
        // go on as soon as nobody holds the other end of that one's stdin.
        let script = "kill -STOP \"$0\" || exit 1; echo; read -r _; kill -CONT \"$0\"";
        let mut guard = Command::new("sh")
            .args(["-c", script, &running.child.id().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot run sh")?;
        let mut stopped = [0];
        let told = guard.stdout.as_mut().map(|stdout| stdout.read_exact(&mut stopped));
        running.pause = Some(guard);
        ensure!(told.is_some_and(|told| told.is_ok()), "{name} could not be stopped");
        Ok(())
    }

    /// Lets a paused process go on.
    ///
    /// # Errors
    /// There is no such node, or it is not paused.
    pub fn resume(&mut self, name: &str) -> Result<()> {
        let running = self.running(name)?;
        let mut guard = running.pause.take().with_context(|| format!("{name} is not paused"))?;
        drop(guard.stdin.take());
        guard.wait()?;
        Ok(())
    }

    /// A process that ended by itself: its nodes and the end of what it said.
    pub fn find_ended(&mut self) -> Option<String> {
        let directory = self.plan.directory.clone();
        for (process, running) in
            self.processes.iter_mut().enumerate().filter(|(_, running)| !running.is_killed)
        {
            if let Ok(Some(status)) = running.child.try_wait() {
                running.is_killed = true;
                let names: Vec<&str> =
                    running.nodes.iter().map(|node| self.plan.nodes[*node].name.as_str()).collect();
                let said = tail(&directory.join(format!("process-{process}.log")));
                return Some(format!("{} ended ({status}): {said}", names.join(", ")));
            }
        }
        None
    }

    /// Asks every process to stop, waits, and kills what does not.
    ///
    /// # Errors
    /// A process had to be killed.
    pub fn stop(mut self, patience: Duration) -> Result<()> {
        for process in self.processes() {
            terminate(process);
        }
        let until = std::time::Instant::now() + patience;
        let mut stubborn = Vec::new();
        for running in self.processes.iter_mut().filter(|running| !running.is_killed) {
            loop {
                match running.child.try_wait() {
                    Ok(Some(_)) | Err(_) => break,
                    Ok(None) if std::time::Instant::now() < until => {
                        std::thread::sleep(Duration::from_millis(20))
                    }
                    Ok(None) => {
                        stubborn.push(running.child.id().to_string());
                        break;
                    }
                }
            }
            running.is_killed = stubborn.is_empty();
        }
        if stubborn.is_empty() {
            Ok(())
        } else {
            bail!("processes {} did not stop in time", stubborn.join(", "))
        }
    }
}

impl Drop for LocalMesh {
    fn drop(&mut self) {
        for running in self.processes.iter_mut().filter(|running| !running.is_killed) {
            // It may have ended already; there is nobody left to tell.
            if running.child.kill().is_ok() {
                running.child.wait().ok();
            }
            if let Some(mut guard) = running.pause.take() {
                drop(guard.stdin.take());
                guard.wait().ok();
            }
        }
    }
}

/// Sends SIGTERM by the system's `kill`: std has no signal but 9, and unsafe code is forbidden here.
fn terminate(process: u32) {
    let sent = Command::new("kill").arg("-TERM").arg(process.to_string()).stderr(Stdio::null()).status();
    if !sent.is_ok_and(|status| status.success()) {
        eprintln!("warning: process {process} could not be asked to stop");
    }
}

fn tail(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(5).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
}
