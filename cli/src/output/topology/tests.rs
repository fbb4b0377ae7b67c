//! The shapes that scripts rely on, and the table that people read.

use serde_json::{Value, json};
use starling_core::wire::request::{LagView, TopologyView};

use super::*;
use crate::output::{Format, render};

fn overview(rebalanced_round: u64) -> Overview {
    let peer = |name: &str, rtt_us, cluster, is_preferred, is_far| DistanceView {
        name: name.to_owned(),
        region: "eu".to_owned(),
        rtt_us,
        cluster,
        is_preferred,
        is_far,
        lag: Some(LagView { versions: 3 * u64::from(is_far), behind_ms: 1_250, said_ms: 900 })
            .filter(|_| rtt_us > 0),
    };
    let view = TopologyView {
        strategy: "hybrid".to_owned(),
        round: 130,
        rebalanced_round,
        rebalanced_ms: 1_699_999_970_000,
        measured: 2,
        clusters: vec![ClusterView { nearest_us: 480, farthest_us: 480, peers: 1 }],
        distances: vec![
            peer("new", 0, 0, false, false),
            peer("far", 80_123, 2, true, true),
            peer("near", 480, 1, true, false),
        ],
    };
    Overview {
        mesh: "flock".to_owned(),
        as_of_ms: 1_700_000_000_000,
        topology: Some(Box::new(view)),
        ..Overview::default()
    }
}

#[test]
fn topology_as_json() {
    let topology = Topology::of(&overview(100)).unwrap();
    let whole: Value = serde_json::from_str(&render(&topology, Format::Json).unwrap()).unwrap();
    assert_eq!(whole["schema"], "starling.topology/1");
    assert_eq!((&whole["measured"], &whole["peers"], &whole["round"]), (&json!(2), &json!(3), &json!(130)));
    assert_eq!(whole["clusters"], json!([{"cluster": 1, "nearest_us": 480, "farthest_us": 480, "peers": 1}]));
    let near = json!({
        "name": "near", "region": "eu", "rtt_us": 480, "cluster": 1, "is_preferred": true, "is_far": false,
        "versions_behind": 0, "behind_ms": 1_250, "said_ms": 900,
    });
    assert_eq!(whole["distances"][0], near);
    assert!(Topology::of(&Overview::default()).is_none(), "a coordinator has none");
}

#[test]
fn topology_as_a_table() {
    let table = Topology::of(&overview(100)).unwrap().table();
    let head = "\
node        
strategy    hybrid
rebalanced  30 s ago, after round 100, now in 130
measured    2 of 3 peers
clusters    1: 1 at 0.48 to 0.48 ms
";
    assert!(table.starts_with(head), "{table}");
    assert!(table.contains("| near | eu     |   0.48 |       1 | yes                 |"), "{table}");
    assert!(table.contains("| far  | eu     |  80.12 |       2 | yes, as the far one |"), "{table}");
    assert!(table.contains("| new  | eu     |      - |       - |                     |"), "{table}");
    assert!(table.contains("| 3 versions, 1.2 s |"), "{table}");
    let early = Topology::of(&overview(0)).unwrap().table();
    assert!(early.contains("not yet, in round 130"), "{early}");
}
