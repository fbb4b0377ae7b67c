//! Nodes whose certificates live for seconds: renewed through coordinators, and nobody notices.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::process::{Process, free_ports, private_directory, run, starling, turn, until};

/// What `starling init` makes by itself.
const NODES: [&str; 5] = ["coordinator-1", "aggregator-1", "aggregator-2", "edge-1", "edge-2"];
const LIFE: &str = "20s";

fn credentials(mesh: &Path, node: &str) -> PathBuf {
    mesh.join("nodes").join(node).join("credentials")
}

/// What `starling cert status` shows, by number of seconds since 1970.
fn ends(runtime: &Path, mesh: &Path) -> Vec<(String, u64)> {
    let mut command = starling(runtime);
    command.args(["cert", "status", "-o", "json"]).arg(mesh);
    let ended = run(command);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let shown: Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(shown["schema"], "starling.certificates/1");
    let of = |one: &Value| {
        assert!(one["serial"].as_str().unwrap().len() > 8 && one["percent_used"].as_u64().unwrap() <= 100);
        let (begin, next) = (&one["not_before_seconds"], &one["next_renewal_seconds"]);
        let end = one["not_after_seconds"].as_u64().unwrap();
        assert!(begin.as_u64() < next.as_u64() && next.as_u64().unwrap() < end, "{one}");
        (one["node"].as_str().unwrap().to_owned(), end)
    };
    shown["certificates"].as_array().unwrap().iter().map(of).collect()
}

#[test]
fn a_mesh_outlives_its_certificates() {
    let _turn = turn();
    let (directory, port) = (private_directory(), free_ports(5));
    let (runtime, mesh) = (directory.path(), directory.path().join("mesh"));
    let mut init = starling(runtime);
    init.arg("init").arg(&mesh).args(["--quic-port", &port.to_string()]);
    assert_eq!(run(init).code, 0);
    // As after a long time off: the certificates of init are a day's.
    for node in NODES {
        let mut renew = starling(runtime);
        renew.args(["cert", "renew", "--lifetime", LIFE, "--authority"]).arg(mesh.join("authority"));
        let ended = run({
            renew.arg(credentials(&mesh, node));
            renew
        });
        assert_eq!(ended.code, 0, "{}", ended.stderr);
    }
    let first = ends(runtime, &mesh);
    assert_eq!(first.len(), NODES.len());

    let mut command = starling(runtime);
    command.arg("run").arg("--config");
    command.args(NODES.map(|node| mesh.join("nodes").join(node).join(format!("{node}.toml"))));
    command.env("STARLING_NODE_CERTIFICATE_LIFETIME", LIFE).env("STARLING_LOG_LEVEL", "debug");
    let nodes = Process::start(command);
    let told = || nodes.stderr();
    // Every certificate has been replaced several times by others, and links have moved.
    until("renewals", Duration::from_secs(150), told, || {
        std::thread::sleep(Duration::from_secs(1));
        let now = ends(runtime, &mesh);
        let later =
            |(one, other): (&(String, u64), &(String, u64))| one.0 == other.0 && other.1 >= one.1 + 36;
        first.iter().zip(&now).all(later).then_some(())
    });
    let said = nodes.stderr();
    assert!(said.contains("moved to a new connection"), "{said}");
    // Before the first renewal the mesh forms, and of two nodes that dial each other at once one link is
    // closed. Later an edge leads its link with a coordinator that it does not want, and that alone, to
    // its end.
    let formed = &said[said.find("new certificate").expect("certificates were renewed")..];
    let downs: Vec<&str> = formed.lines().filter(|line| line.contains("link down")).collect();
    let is_courtesy = |line: &&str| {
        line.starts_with("edge-") && line.contains("coordinator")
            || line.starts_with("coordinator") && line.contains("edge-")
    };
    assert!(downs.iter().all(is_courtesy), "{downs:?}\n{said}");
    assert!(!said.contains("of the certificate's life is over"), "{said}");

    // Copied credentials that are broken change nothing.
    let edge = credentials(&mesh, "edge-1");
    std::fs::write(edge.join("node.pem"), "nonsense").unwrap();
    until("a complaint", Duration::from_secs(20), told, || {
        nodes.stderr().contains("new credentials are not used").then_some(())
    });
}
