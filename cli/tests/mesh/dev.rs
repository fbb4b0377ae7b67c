//! `starling dev`: comes up whole, counts right, ends without a trace.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::process::{
    Process, children_of, free_ports, is_alive, is_free, private_directory, run, starling, turn, until,
};
use crate::running::{Mesh, NODES};

/// Whether who runs the tests has SIGINT ignored, which every process inherits until it says otherwise.
fn is_interrupt_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 2 != 0)
}

fn every_port_is_free(first: u16) -> bool {
    (first..first + NODES).all(is_free)
}

#[test]
fn dev_comes_up_counts_and_leaves_nothing_behind() {
    let _turn = turn();
    let mut mesh = Mesh::start(250);
    nodes_are_processes(&mesh);
    mesh.wait_for_agents(250);
    let status = mesh.json(&["status"]);
    assert_eq!((&status["regions"], &status["edges"]), (&2.into(), &6.into()), "{status}");
    let agents = mesh.json(&["agents"]);
    assert_eq!(agents["agents"], 250, "{agents}");
    assert_eq!(agents["regions"].as_array().unwrap().len(), 2, "{agents}");
    prints_lines(&mesh);
    says_that_it_is_whole(&mesh);
    shows_distances(&mesh);
    shows_the_budget(&mesh);
    a_second_one_is_refused(&mesh);

    let nodes = children_of(mesh.dev.id());
    assert_eq!(mesh.stop(), 0, "{}", mesh.logs());
    assert!(!nodes.iter().any(|node| is_alive(*node)), "a node outlived dev: {}", mesh.logs());
    assert!(every_port_is_free(mesh.first_port), "a port is still taken");
    assert!(!mesh.context().exists() && !mesh.trust().exists(), "the context is still there");
    let ended = mesh.run(&["status"]);
    assert_eq!(ended.code, 4, "{}", ended.stderr);
    assert!(ended.stderr.contains("help: run `starling dev`"), "{}", ended.stderr);
}

/// The coordinator counts the mesh, an edge its region.
fn says_that_it_is_whole(mesh: &Mesh) {
    let edge = mesh.edge(0);
    let cases = [(mesh.coordinator(), "mesh", u64::from(NODES)), (edge, "region r0", 5)];
    for (node, scope, count) in cases {
        let quorum = || mesh.json(&["status", "--node", &node])["quorum"].clone();
        let is_whole = || {
            let quorum = quorum();
            (quorum["status"] == "HEALTHY" && quorum["reachable"] == count).then_some(quorum)
        };
        let whole =
            until("all nodes are in reach", Duration::from_secs(10), || quorum().to_string(), is_whole);
        assert_eq!((&whole["scope"], &whole["roster"]), (&scope.into(), &count.into()), "{whole}");
        assert_eq!((&whole["is_cut_off"], &whole["forbidden"]), (&false.into(), &Value::Array(Vec::new())));
    }
}

/// An edge measures the four others of its region, and rebalances after ten seconds.
fn shows_distances(mesh: &Mesh) {
    let edge = mesh.edge(0);
    let topology = || mesh.json(&["topology", "--node", &edge]);
    let is_rebalanced = || {
        let topology = topology();
        topology["rebalanced_round"].as_u64().is_some_and(|round| round >= 10).then_some(topology)
    };
    let patience = Duration::from_secs(30);
    let shown = until("a rebalance", patience, || topology().to_string(), is_rebalanced);
    assert_eq!((&shown["strategy"], &shown["measured"]), (&"hybrid".into(), &4.into()), "{shown}");
    let peers = shown["distances"].as_array().unwrap();
    assert!(peers.iter().all(|peer| peer["is_preferred"] == true && peer["rtt_us"] != 0), "{shown}");
    let ended = mesh.run(&["topology", "--node", &mesh.coordinator()]);
    assert_eq!(ended.code, 6, "{}", ended.stderr);
}

/// The demo agents talk from edge to edge, so every stage has been timed at some node.
fn shows_the_budget(mesh: &Mesh) {
    let budget = || mesh.json(&["budget"]);
    let stages = ["admit", "select", "seal", "decode", "deduplicate", "verify", "merge", "match", "enqueue"];
    let is_timed = || {
        let shown = budget();
        let timed = |stage: &&str| {
            let mut rows = shown["stages"].as_array().into_iter().flatten();
            rows.any(|row| row["stage"] == *stage && row["p99_ticks"].as_f64() > Some(0.0))
        };
        stages.iter().all(timed).then_some(shown)
    };
    let shown = until("times of all stages", Duration::from_secs(30), || budget().to_string(), is_timed);
    assert_eq!((&shown["nodes_known"], &shown["nodes_answered"]), (&10.into(), &10.into()), "{shown}");
    let ended = mesh.run(&["budget", "--node", &mesh.edge(0)]);
    assert!(ended.code == 0 && ended.stdout.starts_with(b"budget"), "{}", ended.stderr);
}

fn nodes_are_processes(mesh: &Mesh) {
    let members = mesh.json(&["members"]);
    let members = members["members"].as_array().unwrap();
    let pids: BTreeSet<u32> = members.iter().map(|m| m["pid"].as_u64().unwrap() as u32).collect();
    assert_eq!((members.len(), pids.len()), (11, 11), "{members:?}");
    let children: BTreeSet<u32> = children_of(mesh.dev.id()).into_iter().collect();
    assert_eq!(pids, children, "each node is a living child of dev");
    let count = |role: &str| members.iter().filter(|member| member["roles"][0] == role).count();
    assert_eq!((count("coordinator"), count("aggregator"), count("edge")), (1, 4, 6));
}

/// Off a terminal the live line is a line of its own, every five seconds.
fn prints_lines(mesh: &Mesh) {
    let lines = || mesh.dev.stderr().lines().filter(|line| line.contains(" agents (")).count();
    until("two live lines", Duration::from_secs(15), || mesh.logs(), || (lines() >= 2).then_some(()));
    let said = mesh.dev.stderr();
    assert!(!said.contains('\x1b') && !said.contains('\r'), "{said:?}");
    let last = said.lines().last().unwrap();
    assert!(last.starts_with("250 agents (r0 ") && last.contains("events/s published"), "{last}");
}

fn a_second_one_is_refused(mesh: &Mesh) {
    let port = mesh.first_port.to_string();
    // Of another user, as it were: only the ports are in the way.
    let elsewhere = private_directory();
    let mut command = starling(elsewhere.path());
    command.args(["dev", "--quic-port", &port]);
    let ended = run(command);
    assert_eq!(ended.code, 3, "{}", ended.stderr);
    assert!(ended.stderr.starts_with(&format!("error: cannot listen on udp 127.0.0.1:{port}: ")));
    assert!(ended.stderr.contains("\nhelp: is another `starling dev` running?"), "{}", ended.stderr);
    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0, "nothing half-started");

    // Of the same user: on other ports too, it would take the first one's directory.
    let ended = mesh.run(&["dev", "--quic-port", &port]);
    assert_eq!(ended.code, 3, "{}", ended.stderr);
    assert!(ended.stderr.contains("cannot listen on udp"), "{}", ended.stderr);
    let ended = mesh.run(&["dev", "--quic-port", &free_ports(NODES).to_string()]);
    assert_eq!(ended.code, 3, "{}", ended.stderr);
    let pid = mesh.dev.id();
    assert!(ended.stderr.contains(&format!("already runs (pid {pid})\nhelp: stop it")), "{}", ended.stderr);
    assert_eq!(mesh.json(&["status"])["agents"], 250, "the first one goes on");
}

#[test]
fn demo_agents_of_a_killed_edge_come_home() {
    let _turn = turn();
    let mut mesh = Mesh::start(250);
    mesh.wait_for_agents(250);
    mesh.kill("edge-0");
    let edges = || mesh.json(&["status"])["edges"].as_u64();
    until(
        "the edge is missed",
        Duration::from_secs(20),
        || mesh.logs(),
        || (edges() == Some(5)).then_some(()),
    );
    mesh.wait_for_agents(250);
    assert_eq!(mesh.stop(), 0, "{}", mesh.logs());
}

#[test]
fn nodes_of_a_killed_dev_end_and_the_next_dev_starts() {
    let _turn = turn();
    let (runtime, first_port) = Mesh::start(0).kill_all();
    assert!(every_port_is_free(first_port));
    let mut mesh = Mesh::start_in(runtime, first_port, 0);
    assert_eq!(mesh.json(&["status"])["agents"], 0, "no demo agents were asked for");
    assert_eq!(mesh.stop(), 0, "{}", mesh.logs());
}

#[test]
fn ctrl_c_while_dev_starts_leaves_nothing_behind() {
    if is_interrupt_ignored() {
        eprintln!("skipped: Ctrl-C is ignored here, as shells see to for what they run in the background");
        return;
    }
    let _turn = turn();
    let runtime = private_directory();
    let first = free_ports(NODES);
    for after in [0, 30, 100, 400] {
        let mut command = starling(runtime.path());
        command.args(["dev", "--quic-port", &first.to_string(), "--http-port", &first.to_string()]);
        let dev = Process::start(command);
        std::thread::sleep(Duration::from_millis(after));
        let nodes = children_of(dev.id());
        dev.signal("INT");
        let ended = dev.wait(Duration::from_secs(10));
        assert!([0, 130].contains(&ended.code), "after {after} ms: {ended:?}");
        let told = || format!("{nodes:?}");
        until("the nodes end", Duration::from_secs(10), told, || {
            (!nodes.iter().any(|node| is_alive(*node)) && every_port_is_free(first)).then_some(())
        });
    }
}
