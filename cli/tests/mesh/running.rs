//! A mesh of `starling dev` on ports and in a runtime directory of its own.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use starling_client::{ClientSettings, Trust};
use tempfile::TempDir;

use crate::process::{
    Ended, PATIENCE, Process, children_of, free_ports, is_alive, private_directory, run, signal, starling,
    until,
};

/// Nodes of the mesh that `dev` makes when it is not told otherwise.
pub const NODES: u16 = 11;
/// The port of edge 0 behind the first: a coordinator and four aggregators come before it.
const EDGES_FROM: u16 = 5;

/// A running `starling dev`.
pub struct Mesh {
    pub dev: Process,
    pub first_port: u16,
    runtime: Option<TempDir>,
    pids: OnceLock<BTreeMap<String, u32>>,
}

impl Mesh {
    /// Starts a mesh with so many demo agents and waits until it says that it is up.
    pub fn start(agents: u32) -> Mesh {
        Mesh::start_in(private_directory(), free_ports(NODES), agents)
    }

    pub fn start_in(runtime: TempDir, first_port: u16, agents: u32) -> Mesh {
        let mut command = starling(runtime.path());
        command.args(["dev", "--agents", &agents.to_string(), "--quic-port", &first_port.to_string()]);
        command.args(["--http-port", &first_port.to_string()]);
        let dev = Process::start(command);
        let mut mesh = Mesh { dev, first_port, runtime: Some(runtime), pids: OnceLock::new() };
        mesh.dev.wait_to_say("Ctrl-C ends it.", Duration::from_secs(60));
        mesh
    }

    pub fn runtime(&self) -> &Path {
        self.runtime.as_ref().unwrap().path()
    }

    /// The only directory in the runtime directory: that of `dev`.
    pub fn directory(&self) -> PathBuf {
        let mut entries = fs::read_dir(self.runtime()).unwrap();
        entries.next().expect("dev makes a directory").unwrap().path()
    }

    pub fn context(&self) -> PathBuf {
        self.directory().join("context.json")
    }

    pub fn trust(&self) -> PathBuf {
        self.directory().join("mesh/mesh.trust")
    }

    /// Where edge number `number` listens; even ones are in r0, odd ones in r1.
    pub fn edge(&self, number: u16) -> String {
        format!("127.0.0.1:{}", self.first_port + EDGES_FROM + number)
    }

    pub fn coordinator(&self) -> String {
        format!("127.0.0.1:{}", self.first_port)
    }

    /// The first aggregator of r1.
    pub fn aggregator(&self) -> String {
        format!("127.0.0.1:{}", self.first_port + 3)
    }

    /// The port of the coordinator's HTTP.
    pub fn http_coordinator(&self) -> u16 {
        self.first_port
    }

    /// That of the first aggregator of r0.
    pub fn http_aggregator(&self) -> u16 {
        self.first_port + 1
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = starling(self.runtime());
        command.args(arguments);
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Ended {
        run(self.command(arguments))
    }

    /// What a command that must succeed says as JSON.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let ended = self.run(&[arguments, &["-o", "json"]].concat());
        assert_eq!(ended.code, 0, "{arguments:?}: {}\n{}", ended.stderr, self.logs());
        serde_json::from_slice(&ended.stdout).unwrap()
    }

    /// A client at the named edges, the first of them preferred.
    pub fn client(&self, edges: &[u16]) -> ClientSettings {
        starling_net::trust::install_crypto();
        let trust = Trust::load(&self.trust()).unwrap();
        let mut settings = ClientSettings::new(trust, edges.iter().map(|edge| self.edge(*edge)));
        settings.coordinators.push(self.coordinator());
        settings
    }

    /// The process of a node by its name.
    pub fn pid(&self, name: &str) -> u32 {
        let pids = self.pids.get_or_init(|| {
            let members = self.json(&["members"]);
            let members = members["members"].as_array().unwrap().iter();
            let pid = |member: &Value| u32::try_from(member["pid"].as_u64().unwrap()).unwrap();
            members.map(|member| (member["name"].as_str().unwrap().to_owned(), pid(member))).collect()
        });
        pids[name]
    }

    pub fn kill(&self, name: &str) {
        signal(self.pid(name), "KILL");
    }

    /// Waits until the coordinator counts so many agents.
    pub fn wait_for_agents(&self, count: u64) {
        let patience = Duration::from_secs(15);
        until(
            &format!("{count} agents"),
            patience,
            || self.logs(),
            || (self.json(&["status"])["agents"] == count).then_some(()),
        );
    }

    /// What `dev` and its nodes said.
    pub fn logs(&self) -> String {
        let mut text = format!("--- dev\n{}", self.dev.stderr());
        for process in 0..NODES {
            let log = self.directory().join(format!("mesh/process-{process}.log"));
            let said = fs::read_to_string(log).unwrap_or_default();
            text.push_str(&format!("--- process {process}\n{said}"));
        }
        text
    }

    /// Ends it by signal 9, waits until no node runs any more, and gives what is left of it.
    pub fn kill_all(mut self) -> (TempDir, u16) {
        let nodes = children_of(self.dev.id());
        assert_eq!(nodes.len(), usize::from(NODES), "{}", self.logs());
        self.dev.signal("KILL");
        let patience = Duration::from_secs(10);
        until(
            "the nodes end with dev",
            patience,
            || self.logs(),
            || (!nodes.iter().any(|node| is_alive(*node))).then_some(()),
        );
        (self.runtime.take().unwrap(), self.first_port)
    }

    /// Ends it by Ctrl-C.
    pub fn stop(&mut self) -> i32 {
        self.dev.signal("INT");
        let begun = std::time::Instant::now();
        loop {
            if let Some(code) = self.dev.code() {
                return code;
            }
            assert!(begun.elapsed() < PATIENCE / 2, "dev does not stop on Ctrl-C:\n{}", self.logs());
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        if self.runtime.is_some() && thread::panicking() {
            eprintln!("{}", self.logs());
        }
        // Should dev have to be killed, its nodes end by themselves: their stdin closes.
    }
}
