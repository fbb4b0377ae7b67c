//! Peers of real processes: a service is found in another region, and a silent node is shown by nobody.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::process::{PATIENCE, Process, free_ports, private_directory, run, starling, turn, until};

/// The nodes in the order of their ports.
const NODES: [&str; 6] = [
    "coordinator:all:coordinator-1",
    "aggregator:eu:aggregator-eu",
    "aggregator:us:aggregator-us",
    "edge:eu:edge-eu",
    "edge:us:edge-us",
    "edge:eu:quiet",
];
const QUIET: u16 = 5;

fn nodes(directory: &Path, names: &[&str], more: &[&str]) -> Process {
    let mut command = starling(directory);
    command.arg("run").args(more).arg("--config");
    for name in names {
        command.arg(directory.join(format!("mesh/nodes/{name}/{name}.toml")));
    }
    let mut process = Process::start(command);
    process.wait_to_say(&format!("{} listens on", names[0]), PATIENCE);
    process
}

struct Asking<'a> {
    directory: &'a Path,
    first_port: u16,
}

impl Asking<'_> {
    fn node(&self, number: u16) -> String {
        format!("127.0.0.1:{}", self.first_port + number)
    }

    fn command(&self, node: u16, words: &[&str]) -> Command {
        let mut command = starling(self.directory);
        command.args(words).args(["--node", &self.node(node), "--trust"]);
        command.arg(self.directory.join("mesh/mesh.trust"));
        command
    }

    fn json(&self, node: u16, words: &[&str]) -> Value {
        let ended = run(self.command(node, &[words, &["-o", "json"]].concat()));
        assert_eq!(ended.code, 0, "{words:?} at {node}: {}", ended.stderr);
        serde_json::from_slice(&ended.stdout).unwrap()
    }

    /// Names in an answer to `starling peers`.
    fn peers(&self, node: u16, words: &[&str]) -> Vec<String> {
        let answer = self.json(node, &[&["peers"], words].concat());
        let peers = answer["peers"].as_array().unwrap().iter();
        peers.map(|peer| peer["name"].as_str().unwrap().to_owned()).collect()
    }
}

#[test]
fn a_service_is_found_across_regions_and_a_silent_node_by_nobody() {
    let _turn = turn();
    let runtime = private_directory();
    let directory = runtime.path();
    let first_port = free_ports(NODES.len() as u16);
    let mut init = starling(directory);
    init.arg("init").arg(directory.join("mesh")).args(["--quic-port", &first_port.to_string()]);
    NODES.iter().for_each(|node| {
        init.args(["--node", node]);
    });
    let made = run(init);
    assert_eq!(made.code, 0, "{}", made.stderr);

    // Without a page for people: nobody asks for one here, and its ports may be taken.
    let plain = ["--set", "listen.http="];
    let many = ["coordinator-1", "aggregator-eu", "aggregator-us", "edge-eu"];
    let mesh = nodes(directory, &many, &plain);
    let films = nodes(directory, &["edge-us"], &[&plain[..], &["--set", "node.services=films"]].concat());
    let quiet = nodes(directory, &["quiet"], &[&plain[..], &["--silent"]].concat());
    let asking = Asking { directory, first_port };
    let logs = || format!("{}\n{}\n{}", mesh.stderr(), films.stderr(), quiet.stderr());

    // All the others know one another, the silent node them, and the service is found in the other region.
    for node in [3, QUIET] {
        let found = || (asking.peers(node, &["--service", "films"]) == ["edge-us"]).then_some(());
        until("the service is found", Duration::from_secs(30), logs, found);
        let knows = || (asking.peers(node, &[]).len() == NODES.len() - 1).then_some(());
        until("all that broadcast are known", Duration::from_secs(30), logs, knows);
    }
    for node in 0..NODES.len() as u16 {
        let peers = asking.peers(node, &[]);
        assert!(!peers.contains(&"quiet".to_owned()), "{node} lists {peers:?}");
        let members = asking.json(node, &["members"]);
        let members = members["members"].as_array().unwrap();
        let shown = members.iter().find(|member| member["name"] == "quiet").unwrap_or(&Value::Null);
        assert!(shown.is_null() || shown["address"] == "", "{node} shows {shown}");
        let other = members.iter().find(|member| member["name"] == "edge-us").expect("everybody knows it");
        assert_eq!(other["address"], asking.node(4).as_str(), "{node}");
    }

    // It serves its agents all the same.
    let mut subscriber = Process::start(asking.command(3, &["subscribe", "news.>", "--raw"]));
    subscriber.wait_to_say("ready", PATIENCE);
    let published = run(asking.command(QUIET, &["publish", "news.today", "good"]));
    assert_eq!(published.code, 0, "{}\n{}", published.stderr, logs());
    until("what is published there comes", PATIENCE, logs, || (subscriber.stdout_bytes() > 0).then_some(()));
}
