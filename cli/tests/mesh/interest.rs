//! What nobody wants does not travel: measured in bytes that each edge received.

use std::fs;

use crate::process::{PATIENCE, Process, turn};
use crate::running::Mesh;
use crate::text::text;

const TEXT_BYTES: usize = 5_000_000;
const EDGES: u16 = 6;

/// Payload bytes that came to each edge, and how many of them for nothing.
fn received(mesh: &Mesh) -> Vec<(u64, u64)> {
    let of_edge = |edge: u16| {
        let counters = mesh.json(&["status", "--node", &mesh.edge(edge)])["counters"].clone();
        let count = |name: &str| counters[name].as_u64().unwrap_or_else(|| panic!("no {name}: {counters}"));
        (count("received_bytes"), count("unwanted_bytes"))
    };
    // A node's counters are looked at four times a second.
    std::thread::sleep(std::time::Duration::from_millis(600));
    (0..EDGES).map(of_edge).collect()
}

fn subscribe(mesh: &Mesh, pattern: &str, edge: u16) -> Process {
    let arguments = ["subscribe", pattern, "--raw", "--node", &mesh.edge(edge)];
    let mut subscriber = Process::start(mesh.command(&arguments));
    subscriber.wait_to_say("ready", PATIENCE);
    subscriber
}

fn publish(mesh: &Mesh, subject: &str, file: &std::path::Path) {
    let arguments =
        ["publish", subject, "--lines", "--file", file.to_str().unwrap(), "--node", &mesh.edge(0)];
    let ended = Process::start(mesh.command(&arguments)).wait(PATIENCE * 2);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    println!("published on {subject} in {:?}", ended.after);
}

#[test]
fn an_edge_without_a_subscriber_receives_no_payload() {
    let _turn = turn();
    let mesh = Mesh::start(0);
    let text = text(TEXT_BYTES);
    let file = mesh.runtime().join("text");
    fs::write(&file, &text).unwrap();

    let idle = subscribe(&mesh, "other.>", 1);
    let before = received(&mesh);
    publish(&mesh, "nobody.wants.this", &file);
    assert_eq!(received(&mesh), before, "nobody subscribed, yet payload travelled");
    assert_eq!(idle.stdout_bytes(), 0);

    // One subscriber in each region: its edge receives the text once, and no other edge anything.
    let (near, far) = (subscribe(&mesh, "somebody.*.this", 2), subscribe(&mesh, "somebody.>", 3));
    let before = received(&mesh);
    publish(&mesh, "somebody.wants.this", &file);
    let after = received(&mesh);
    for edge in 0..EDGES {
        let (before, after) = (before[usize::from(edge)], after[usize::from(edge)]);
        let (bytes, unwanted) = (after.0 - before.0, after.1 - before.1);
        assert_eq!(unwanted, 0, "edge {edge} received bytes for nothing");
        if [2, 3].contains(&edge) {
            // Each line has a head of some bytes.
            let most = text.len() as u64 * 13 / 10;
            assert!((text.len() as u64..most).contains(&bytes), "edge {edge} received {bytes} bytes");
        } else {
            assert_eq!(bytes, 0, "edge {edge} has no subscriber");
        }
    }
    for subscriber in [near, far] {
        subscriber.signal("INT");
        let ended = subscriber.wait(PATIENCE);
        assert!(ended.stdout == text, "{} of {} bytes", ended.stdout.len(), text.len());
    }
}
