//! Replicated keys on a real mesh: written at one edge, read everywhere, also when its edge dies.

use std::time::{Duration, Instant};

use starling_client::{Client, Value};

use crate::agents::{attach, block_on, connect, within};
use crate::process::{PATIENCE, free_ports, turn};
use crate::running::Mesh;

/// Reads until the key is as it should be.
async fn wait_for(client: &Client, key: &str, is_right: impl Fn(Option<&Value>) -> bool) {
    let start = Instant::now();
    loop {
        let value = within("get", client.get(key)).await.unwrap();
        if is_right(value.as_ref()) {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "`{key}` stays at {value:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn wait_for_text(client: &Client, key: &str, text: &str) {
    wait_for(client, key, |value| value.and_then(Value::as_bytes).is_some_and(|bytes| bytes == text)).await;
}

async fn wait_for_number(client: &Client, key: &str, number: i128) {
    wait_for(client, key, |value| value.and_then(Value::as_number) == Some(number)).await;
}

#[test]
fn keys_are_the_same_at_every_edge_and_outlive_the_edge_they_were_written_at() {
    let _turn = turn();
    let mesh = Mesh::start(0);
    block_on(async {
        let (writer, reader) = (connect(&mesh, 0).await, connect(&mesh, 1).await);
        let refused = writer.put("color", "red").await.unwrap_err();
        assert!(refused.to_string().contains("written by agents"), "{refused}");
        let one = attach(&writer, starling_client::new_key().unwrap(), "idle").await;
        let two = attach(&reader, starling_client::new_key().unwrap(), "idle").await;
        within("put", one.put("color", "red")).await.unwrap();
        wait_for_text(&writer, "color", "red").await;
        wait_for_text(&reader, "color", "red").await;
        within("put", two.put("color", "blue")).await.unwrap();
        wait_for_text(&writer, "color", "blue").await;
        for _ in 0..20 {
            within("add", one.add("visits", 3)).await.unwrap();
            within("add", two.add("visits", -1)).await.unwrap();
        }
        wait_for_number(&writer, "visits", 40).await;
        wait_for_number(&reader, "visits", 40).await;
        within("put", one.put("kept", "yes")).await.unwrap();
        wait_for_text(&reader, "kept", "yes").await;
        within("delete", two.delete("color")).await.unwrap();
        wait_for(&writer, "color", |value| value.is_none()).await;
    });
    from_the_command_line(&mesh);
    mesh.kill("edge-0");
    block_on(async {
        let third = connect(&mesh, 2).await;
        wait_for_text(&third, "kept", "yes").await;
        wait_for_number(&third, "visits", 40).await;
    });
}

fn from_the_command_line(mesh: &Mesh) {
    let [writer, reader] = [mesh.edge(0), mesh.edge(1)];
    let key = |arguments: &[&str], node: &str| mesh.run(&[&["key"], arguments, &["--node", node]].concat());
    assert_eq!(key(&["put", "motd", "hello there"], &writer).code, 0);
    assert_eq!(key(&["add", "steps", "-7"], &writer).code, 0);
    let changed = mesh.json(&["key", "put", "said", "x", "--node", &writer]);
    let expected = serde_json::json!({"schema": "starling.change/1", "key": "said", "change": "put"});
    assert_eq!(changed, expected);
    let published = mesh.json(&["publish", "a.b", "x", "--node", &writer]);
    let expected = serde_json::json!({"schema": "starling.publish/1", "subject": "a.b", "entries": 1});
    assert_eq!(published, expected);
    let start = Instant::now();
    while key(&["get", "steps"], &reader).code == 6 {
        assert!(start.elapsed() < PATIENCE);
    }
    assert_eq!(key(&["get", "motd"], &reader).stdout, b"hello there\n");
    assert_eq!(key(&["get", "steps"], &reader).stdout, b"-7\n");
    let refused = key(&["max", "motd", "3"], &reader);
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    assert!(refused.stderr.contains("another type"), "{}", refused.stderr);
    assert_eq!(key(&["get", "nothing"], &reader).code, 6);
}

#[test]
fn a_node_that_was_named_is_not_passed_over_for_another() {
    let _turn = turn();
    let mut mesh = Mesh::start(0);
    let gone = format!("127.0.0.1:{}", free_ports(1));
    for words in [&["publish", "a.b", "x"][..], &["subscribe", "a.>"], &["key", "put", "k", "x"]] {
        let ended = mesh.run(&[words, &["--node", &gone]].concat());
        assert_eq!(ended.code, 4, "{words:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(&gone), "{words:?}: {}", ended.stderr);
    }
    assert_eq!(mesh.stop(), 0, "{}", mesh.logs());
}
