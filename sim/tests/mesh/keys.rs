//! Keys that agents write at one edge and read at any other.

use super::*;
use bytes::Bytes;
use starling_core::state::crdt::Value;
use starling_core::wire::codec::Wire;
use starling_core::wire::request::{Empty, KeyChange, RefusedCode, SetKey};

/// A request that nothing else uses.
fn next_id(mesh: &Mesh, node: usize) -> u64 {
    10_000 + mesh.world.nodes[node].record.replies.len() as u64
}

fn set(mesh: &mut Mesh, edge: usize, key: &str, change: KeyChange) -> u64 {
    let id = next_id(mesh, edge);
    mesh.world.ask(edge, 1, id, Ask::SetKey(SetKey { key: key.to_string(), change: Some(change) }));
    id
}

fn put(mesh: &mut Mesh, edge: usize, key: &str, value: &str) {
    let id = set(mesh, edge, key, KeyChange::Put(Bytes::copy_from_slice(value.as_bytes())));
    mesh.world.run(Duration::from_millis(20));
    assert!(mesh.is_done(edge, id), "{:?}", mesh.world.nodes[edge].reply(1, id));
}

fn read(mesh: &mut Mesh, node: usize, key: &str) -> Option<Value> {
    let id = next_id(mesh, node);
    mesh.world.ask(node, 1, id, Ask::GetKey(key.to_string()));
    match mesh.world.nodes[node].reply(1, id) {
        Some(Say::Value(bytes)) if bytes.is_empty() => None,
        Some(Say::Value(bytes)) => Some(Value::from_bytes(bytes).expect("a value")),
        other => panic!("a read is answered at once, not by {other:?}"),
    }
}

fn text(mesh: &mut Mesh, node: usize, key: &str) -> Option<String> {
    let value = read(mesh, node, key)?;
    value.as_bytes().map(|bytes| String::from_utf8_lossy(bytes).into_owned())
}

fn number(mesh: &mut Mesh, node: usize, key: &str) -> Option<i128> {
    read(mesh, node, key)?.as_number()
}

/// Edges and aggregators: who has a replica.
fn replicas(mesh: &Mesh) -> Vec<usize> {
    let all = mesh.all_edges().into_iter().chain(mesh.aggregators.concat());
    all.filter(|node| mesh.world.nodes[*node].is_running()).collect()
}

fn assert_everywhere(mesh: &mut Mesh, key: &str, value: Option<&str>) {
    for node in replicas(mesh) {
        let name = mesh.world.nodes[node].plan.name.clone();
        assert_eq!(text(mesh, node, key).as_deref(), value, "`{key}` at {name}");
    }
}

/// An agent at every edge, on connection 1.
fn with_agents() -> Mesh {
    let mut mesh = Mesh::settled();
    mesh.all_edges().into_iter().for_each(|edge| mesh.attach(edge, edge as u64 * 100, edge as u64 * 100 + 1));
    mesh
}

#[test]
fn what_one_agent_writes_everyone_reads_at_once() {
    let mut mesh = with_agents();
    let edge = mesh.edges[0][0];
    put(&mut mesh, edge, "color", "red");
    assert_eq!(text(&mut mesh, edge, "color").as_deref(), Some("red"), "its own edge when it is done");
    // To the region, to the other region's aggregators, to its edges: three hops of 5 ms.
    mesh.world.run(Duration::from_millis(20));
    assert_everywhere(&mut mesh, "color", Some("red"));
    assert_everywhere(&mut mesh, "shape", None);
}

#[test]
fn the_last_writer_wins_and_deleting_is_writing() {
    let mut mesh = with_agents();
    let [one, two] = [mesh.edges[0][0], mesh.edges[1][2]];
    put(&mut mesh, one, "color", "red");
    mesh.world.run(Duration::from_millis(50));
    put(&mut mesh, two, "color", "blue");
    mesh.world.run(Duration::from_millis(50));
    assert_everywhere(&mut mesh, "color", Some("blue"));
    set(&mut mesh, one, "color", KeyChange::Delete(Empty {}));
    mesh.world.run(Duration::from_millis(50));
    assert_everywhere(&mut mesh, "color", None);
    put(&mut mesh, two, "color", "green");
    mesh.world.run(Duration::from_millis(50));
    assert_everywhere(&mut mesh, "color", Some("green"));
}

#[test]
fn counters_add_up_and_extremes_hold() {
    let mut mesh = with_agents();
    for (at, edge) in mesh.all_edges().into_iter().enumerate() {
        let at = at as i64;
        for _ in 0..3 {
            set(&mut mesh, edge, "count", KeyChange::Add(10 + at));
            set(&mut mesh, edge, "count", KeyChange::Add(-1));
        }
        set(&mut mesh, edge, "high", KeyChange::Max(at));
        set(&mut mesh, edge, "low", KeyChange::Min(at - 3));
    }
    mesh.world.run(Duration::from_millis(100));
    for node in replicas(&mesh) {
        assert_eq!(number(&mut mesh, node, "count"), Some(3 * (9 * 6 + 15)));
        assert_eq!(number(&mut mesh, node, "high"), Some(5));
        assert_eq!(number(&mut mesh, node, "low"), Some(-3));
    }
}

#[test]
fn refusals_say_why_and_change_nothing() {
    let mut mesh = with_agents();
    let (edge, aggregator) = (mesh.edges[0][0], mesh.aggregators[0][0]);
    put(&mut mesh, edge, "color", "red");
    let code = |mesh: &Mesh, node: usize, id: u64| match mesh.world.nodes[node].reply(1, id) {
        Some(Say::Refused(refused)) => refused.code,
        other => panic!("not refused but {other:?}"),
    };
    let id = set(&mut mesh, edge, "color", KeyChange::Add(1));
    assert_eq!(code(&mesh, edge, id), RefusedCode::Invalid as u32, "a register is no counter");
    let id = set(&mut mesh, edge, "", KeyChange::Add(1));
    assert_eq!(code(&mesh, edge, id), RefusedCode::Invalid as u32);
    let id = set(&mut mesh, edge, &"k".repeat(257), KeyChange::Add(1));
    assert_eq!(code(&mesh, edge, id), RefusedCode::Invalid as u32);
    let id = set(&mut mesh, edge, "big", KeyChange::Put(vec![0; 4097].into()));
    assert_eq!(code(&mesh, edge, id), RefusedCode::Invalid as u32);
    let id = set(&mut mesh, aggregator, "color", KeyChange::Add(1));
    assert_eq!(code(&mesh, aggregator, id), RefusedCode::NotHere as u32);
    let full =
        (0..20).map(|at| set(&mut mesh, edge, &format!("big-{at}"), KeyChange::Put(vec![0; 4096].into())));
    let last = full.last().expect("twenty");
    assert_eq!(code(&mesh, edge, last), RefusedCode::Limit as u32, "64 KiB take fifteen values of 4 KiB");
    mesh.world.ask(edge, 9, 1, Ask::SetKey(SetKey { key: "x".into(), change: Some(KeyChange::Add(1)) }));
    let refused = mesh.world.nodes[edge].reply(9, 1);
    assert!(
        matches!(refused, Some(Say::Refused(refused)) if refused.code == RefusedCode::Unauthorized as u32)
    );
    mesh.world.run(Duration::from_millis(100));
    assert_everywhere(&mut mesh, "color", Some("red"));
    let filled =
        replicas(&mesh).into_iter().filter(|node| read(&mut mesh, *node, "big-14").is_some()).count();
    assert_eq!(filled, 10);
}

/// Writes on both sides of a cut between the regions meet when it heals.
#[test]
fn what_a_cut_kept_apart_is_merged_when_it_heals() {
    let mut mesh = with_agents();
    let pairs: Vec<(usize, usize)> = mesh.aggregators[0]
        .iter()
        .flat_map(|one| mesh.aggregators[1].iter().map(|two| (*one, *two)))
        .collect();
    pairs.iter().for_each(|(one, two)| mesh.world.cut(*one, *two));
    mesh.world.run(Duration::from_secs(5));
    let [east, west] = [mesh.edges[0][0], mesh.edges[1][0]];
    put(&mut mesh, east, "from-east", "1");
    put(&mut mesh, west, "from-west", "2");
    for _ in 0..4 {
        set(&mut mesh, east, "count", KeyChange::Add(1));
        set(&mut mesh, west, "count", KeyChange::Add(10));
        mesh.world.run(Duration::from_millis(50));
    }
    assert_eq!(number(&mut mesh, east, "count"), Some(4));
    assert_eq!(read(&mut mesh, east, "from-west"), None);
    pairs.iter().for_each(|(one, two)| mesh.world.heal(*one, *two));
    mesh.world.run(Duration::from_secs(15));
    assert_everywhere(&mut mesh, "from-east", Some("1"));
    assert_everywhere(&mut mesh, "from-west", Some("2"));
    for node in replicas(&mesh) {
        assert_eq!(number(&mut mesh, node, "count"), Some(44));
    }
}

#[test]
fn a_newcomer_and_a_restarted_edge_hear_everything() {
    let mut mesh = with_agents();
    let [edge, other] = [mesh.edges[0][0], mesh.edges[1][1]];
    // Over a checkpoint: the first 256 bundles are forgotten by everyone.
    for at in 0..300 {
        put(&mut mesh, edge, &format!("key-{}", at % 40), &at.to_string());
    }
    put(&mut mesh, other, "kept", "yes");
    mesh.world.kill(other);
    mesh.world.run(Duration::from_secs(5));
    mesh.world.start(other);
    mesh.world.run(Duration::from_secs(3));
    assert_everywhere(&mut mesh, "key-39", Some("279"));
    assert_everywhere(&mut mesh, "key-19", Some("299"));
    assert_everywhere(&mut mesh, "kept", Some("yes"));
    // What it writes now does not replace what it wrote before it restarted.
    mesh.attach(other, 7_000, 7_001);
    put(&mut mesh, other, "new", "1");
    mesh.world.run(Duration::from_secs(1));
    assert_everywhere(&mut mesh, "kept", Some("yes"));
    assert_everywhere(&mut mesh, "new", Some("1"));
}

/// A counter's part is its edge's alone: written before the old one is known, it would count anew.
#[test]
fn a_write_right_after_a_restart_builds_on_what_was_written_before() {
    let mut mesh = with_agents();
    let edge = mesh.edges[0][0];
    set(&mut mesh, edge, "count", KeyChange::Add(5));
    mesh.world.run(Duration::from_millis(100));
    mesh.world.kill(edge);
    mesh.world.run(Duration::from_secs(5));
    mesh.world.start(edge);
    let mut request = 100;
    while !matches!(mesh.world.nodes[edge].reply(1, request), Some(Say::Attached(_))) {
        mesh.world.run(Duration::from_millis(10));
        request += 1;
        mesh.world.attach(edge, 1, request, 0, &[Agent::new(7_000)]);
    }
    let id = set(&mut mesh, edge, "count", KeyChange::Add(1));
    mesh.world.run(Duration::from_secs(2));
    assert!(mesh.is_done(edge, id));
    for node in replicas(&mesh) {
        assert_eq!(number(&mut mesh, node, "count"), Some(6));
    }
}

#[test]
fn an_idle_mesh_compares_rarely() {
    let mut mesh = with_agents();
    let edge = mesh.edges[0][0];
    put(&mut mesh, edge, "color", "red");
    mesh.world.run(Duration::from_secs(30));
    let before = mesh.world.frames();
    mesh.world.run(Duration::from_secs(40));
    let frames = mesh.world.frames() - before;
    // Ten replicas, one comparison of equal roots each 4 s (jitter of 30 %).
    assert!((70..150).contains(&frames), "{frames} frames in 40 s");
}

/// Losing the pushes loses nothing: comparisons find it.
#[test]
fn an_aggregators_death_while_keys_are_written_loses_none() {
    let mut mesh = with_agents();
    let [one, two] = [mesh.edges[0][0], mesh.edges[1][1]];
    for at in 0..200 {
        put(&mut mesh, if at % 2 == 0 { one } else { two }, &format!("key-{at}"), "x");
        if at == 50 {
            mesh.world.kill(mesh.aggregators[0][0]);
            mesh.world.kill(mesh.aggregators[1][1]);
        }
    }
    mesh.world.run(Duration::from_secs(10));
    for at in 0..200 {
        assert_everywhere(&mut mesh, &format!("key-{at}"), Some("x"));
    }
}
