//! The shapes that scripts rely on, and the tables that people read.

use bytes::Bytes;
use serde_json::{Value, json};

use super::*;
use crate::output::{Format, render};

fn counter(name: &str, value: u64) -> Counter {
    Counter { name: name.to_owned(), value }
}

fn member(name: &str, roles: &str, status: &str) -> Member {
    Member {
        id: Bytes::from_static(&[0xab; 32]),
        name: name.to_owned(),
        roles: roles.to_owned(),
        region: "eu".to_owned(),
        address: "127.0.0.1:7421".to_owned(),
        status: status.to_owned(),
        process: 4_242,
        incarnation: 9,
        version: "0.1.0".to_owned(),
        agents: 1_500,
    }
}

fn overview() -> Overview {
    let region = |name: &str, agents| RegionView {
        name: name.to_owned(),
        edges: 2,
        aggregators: 1,
        agents,
        states: vec![counter("idle", 1_200), counter("busy", 300)],
        tags: vec![counter("demo", 5)],
        distinct: 1_490,
        totals: vec![counter("entries", 77)],
        age_ms: 120,
        quantiles: vec![counter("delivery_us.p99", 900)],
    };
    Overview {
        mesh: "flock".to_owned(),
        node: Some(member("edge-1", "edge", "up")),
        regions: vec![region("us", 10), region("eu", 1_500)],
        members: vec![member("hub", "coordinator+edge", "down"), member("edge-1", "edge", "up")],
        as_of_ms: 1_700_000_000_000,
        update_index: 3,
        counters: vec![counter("entries_in", 12_345)],
        quorum: Some(Box::new(cut_off())),
        topology: None,
        coordinators: Vec::new(),
    }
}

#[test]
fn coordinators_are_shown_with_their_parts() {
    let view = |name: &str, role: &str, is_heard| CoordinatorView {
        id: 0x0102,
        name: name.to_owned(),
        role: role.to_owned(),
        term: 4,
        applied: 17,
        is_heard,
    };
    let coordinators = vec![view("one", "leader", true), view("two", "follower", false)];
    let status = Status::of(&Overview { coordinators, ..overview() });
    let first = json!({
        "id": "0201000000000000", "name": "one", "role": "leader", "term": 4, "applied": 17, "is_heard": true,
    });
    assert_eq!(json_of(&status)["coordinators"][0], first);
    let table = status.table();
    assert!(table.contains("coordinator  one: leader in term 4, 17 applied\n"), "{table}");
    assert!(table.contains("coordinator  two: follower, not heard; 17 applied\n"), "{table}");
}

fn cut_off() -> QuorumView {
    QuorumView {
        scope: "region eu".to_owned(),
        status: "CRITICAL".to_owned(),
        is_cut_off: true,
        reachable: 2,
        roster: 6,
        since_ms: 1_699_999_988_000,
        forbidden: vec!["change-members".to_owned(), "write-stream".to_owned()],
    }
}

/// The same for people.
const CUT_OFF: &str = "CRITICAL, 2 of 6 nodes of the region eu in reach for 12 s; cut off; \
                       forbidden: change-members, write-stream\n";

fn json_of(answer: &impl Render) -> Value {
    serde_json::from_str(&render(answer, Format::Json).unwrap()).unwrap()
}

fn edge_1() -> Value {
    json!({
        "id": "ab".repeat(32), "name": "edge-1", "roles": ["edge"], "region": "eu",
        "address": "127.0.0.1:7421", "status": "up", "pid": 4242, "incarnation": 9,
        "version": "0.1.0", "agents": 1500,
    })
}

#[test]
fn members_as_json() {
    let members = json_of(&Members::of(&overview()));
    assert_eq!(members["schema"], "starling.members/1");
    assert_eq!(members["mesh"], "flock");
    assert_eq!(members["as_of_ms"], 1_700_000_000_000_u64);
    assert_eq!(members["members"][0], edge_1());
    assert_eq!(members["members"][1]["roles"], json!(["coordinator", "edge"]));
}

#[test]
fn members_as_lines_stand_alone() {
    let text = render(&Members::of(&overview()), Format::Jsonl).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut expected = edge_1();
    expected["schema"] = json!("starling.member/1");
    expected["mesh"] = json!("flock");
    expected["as_of_ms"] = json!(1_700_000_000_000_u64);
    assert_eq!(lines[0], expected);
    assert_eq!(lines.len(), 2);
}

#[test]
fn members_as_a_table() {
    let expected = "\
+--------+------------------+--------+--------+----------------+--------+------+---------+------------------+
| NAME   | ROLES            | REGION | STATUS | ADDRESS        | AGENTS |  PID | VERSION | ID               |
+===========================================================================================================+
| edge-1 | edge             | eu     | up     | 127.0.0.1:7421 |  1,500 | 4242 | 0.1.0   | abababababababab |
| hub    | coordinator+edge | eu     | down   | 127.0.0.1:7421 |  1,500 | 4242 | 0.1.0   | abababababababab |
+--------+------------------+--------+--------+----------------+--------+------+---------+------------------+
";
    assert_eq!(Members::of(&overview()).table(), expected.to_owned() + CUT_OFF);
    assert_eq!(Members::of(&Overview::default()).table(), "no nodes known\n");
}

#[test]
fn regions_in_every_format() {
    let regions = Regions::of(&overview());
    let whole = json_of(&regions);
    assert_eq!(whole["schema"], "starling.regions/1");
    let eu = json!({
        "name": "eu", "agents": 1500, "edges": 2, "aggregators": 1, "distinct": 1490, "age_ms": 120,
        "states": {"busy": 300, "idle": 1200}, "tags": {"demo": 5}, "totals": {"entries": 77},
        "quantiles": {"delivery_us.p99": 900},
    });
    assert_eq!(whole["regions"][0], eu);
    assert_eq!(render(&regions, Format::Jsonl).unwrap().lines().count(), 2);
    let table = regions.table();
    assert!(
        table
            .contains("| eu     |  1,500 |    1,490 |     2 |           1 |    120 | busy 300, idle 1,200 |")
    );
}

#[test]
fn status_sums_up() {
    let status = Status::of(&overview());
    let whole = json_of(&status);
    assert_eq!(whole["schema"], "starling.status/1");
    assert_eq!(whole["agents"], 1_510);
    assert_eq!(whole["members"], json!({"up": 1, "down": 1, "known": 0}));
    assert_eq!(whole["node"], edge_1());
    assert_eq!(whole["counters"], json!({"entries_in": 12345}));
    let quorum = json!({
        "scope": "region eu", "status": "CRITICAL", "is_cut_off": true, "reachable": 2, "roster": 6,
        "since_ms": 1_699_999_988_000_u64, "forbidden": ["change-members", "write-stream"],
    });
    assert_eq!(whole["quorum"], quorum);
    assert_eq!(json_of(&Members::of(&overview()))["quorum"], quorum);
    let expected = "\
mesh         flock
answered by  edge-1 (edge) in eu, 127.0.0.1:7421
agents       1,510
regions      2 with 4 edges
nodes        1 up, 1 down, 0 known
update       3
";
    let rest = format!("status       {CUT_OFF}entries_in   12,345\n");
    assert_eq!(status.table(), expected.to_owned() + &rest);
    assert_eq!(render(&status, Format::Jsonl).unwrap().lines().count(), 1);
}
