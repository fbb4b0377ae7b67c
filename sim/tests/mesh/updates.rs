//! System updates.

use super::*;
use bytes::Bytes;
use starling_core::event::Event;
use starling_core::identity::Context;
use starling_core::machine::{ConnectionSlot, Input};
use starling_core::wire::message::{ControlBody, Update, update_message};

fn decide(mesh: &mut Mesh, id: u64) {
    mesh.world.ask(mesh.coordinator, 1, id, Ask::Update(Bytes::from(format!("update {id}"))));
}

/// The updates that a connection of an edge got, which must have reached these agents.
fn got(mesh: &Mesh, edge: usize, connection: u32, agents: &[u32]) -> Vec<u64> {
    let of = ConnectionSlot(connection);
    let all = mesh.world.nodes[edge].record.broadcasts.iter().filter(|(_, to, _)| *to == of);
    all.map(|(index, _, to)| {
        assert_eq!(to, agents, "update {index}");
        *index
    })
    .collect()
}

#[test]
fn updates_reach_every_agent_once_and_in_order() {
    let mut mesh = Mesh::settled();
    for edge in mesh.all_edges() {
        mesh.attach(edge, 0, 3);
        mesh.world.attach(edge, 2, 1, 4, &[Agent::new(100)]);
    }
    for id in 1..=3 {
        decide(&mut mesh, id);
    }
    mesh.world.run(Duration::from_secs(1));
    for id in 1..=3 {
        assert_eq!(mesh.world.nodes[mesh.coordinator].reply(1, id), Some(&Say::Decided(id)));
    }
    for edge in mesh.all_edges() {
        assert_eq!(got(&mesh, edge, 1, &[0, 1, 2]), vec![1, 2, 3]);
    }
    let last = *mesh.edges[1].last().expect("three edges");
    assert_eq!(got(&mesh, last, 2, &[4]), vec![1, 2, 3]);
    assert_eq!(mesh.world.overview(last).update_index, 3);
}

#[test]
fn who_was_away_catches_up() {
    let mut mesh = Mesh::settled();
    let (edge, first, second) = (mesh.edges[0][0], mesh.aggregators[0][0], mesh.aggregators[0][1]);
    mesh.attach(edge, 0, 1);
    // Cut off before it ever had an update, and again after some.
    let mut id = 0;
    for _ in 0..2 {
        mesh.world.cut(edge, first);
        mesh.world.cut(edge, second);
        mesh.world.run(Duration::from_secs(4));
        for _ in 0..5 {
            id += 1;
            decide(&mut mesh, id);
            mesh.world.run(Duration::from_millis(100));
        }
        mesh.world.heal(edge, first);
        mesh.world.heal(edge, second);
        // One is decided whenever the links may be coming up.
        for _ in 0..150 {
            id += 1;
            decide(&mut mesh, id);
            mesh.world.run(Duration::from_millis(100));
        }
        assert_eq!(got(&mesh, edge, 1, &[0]), (1..=id).collect::<Vec<_>>());
    }
    // An aggregator that restarts gets and passes on what is missing.
    mesh.world.kill(first);
    mesh.world.kill(second);
    id += 1;
    decide(&mut mesh, id);
    mesh.world.run(Duration::from_secs(4));
    mesh.world.start(second);
    mesh.world.run(Duration::from_secs(12));
    assert_eq!(got(&mesh, edge, 1, &[0]), (1..=id).collect::<Vec<_>>());
}

#[test]
fn a_burst_of_updates_costs_one_copy_a_link() {
    let mut mesh = Mesh::settled();
    for id in 1..=200 {
        decide(&mut mesh, id);
    }
    let before = mesh.world.frames();
    mesh.world.run(Duration::from_secs(1));
    // To each aggregator, from each to three edges, and as many answers to both.
    let most = 200 * (4 + 12 + 12) + 200;
    let frames = mesh.world.frames() - before;
    assert!(frames <= most, "{frames} frames, at most {most}");
}

#[test]
fn forged_updates_are_refused() {
    let mut mesh = Mesh::settled();
    let (edge, aggregator) = (mesh.edges[0][0], mesh.aggregators[0][0]);
    mesh.attach(edge, 0, 1);
    decide(&mut mesh, 1);
    mesh.world.run(Duration::from_secs(1));
    let signed = |mesh: &Mesh, signer: usize, index: u64| {
        let node = &mesh.world.nodes[signer];
        let payload = Bytes::from_static(b"mine");
        let mut update = Update { index, decided_ms: 1, payload, signer: node.id().0, ..Update::default() };
        let signature = node.signer().sign(Context::Update, &update_message(&update));
        update.signature = Bytes::copy_from_slice(&signature.0);
        update
    };
    let good = signed(&mesh, mesh.coordinator, 2);
    let mut changed = good.clone();
    changed.payload = Bytes::from_static(b"other");
    let mut renamed = signed(&mesh, aggregator, 2);
    renamed.signer = good.signer;
    let mut stranger = good.clone();
    stranger.signer = 12345;
    let mut short = good.clone();
    short.signature = short.signature.slice(..63);
    let link = mesh.world.nodes[edge].view().links[&mesh.world.nodes[aggregator].id()];
    let by_aggregator = signed(&mesh, aggregator, 2);
    for (what, update) in [
        ("a changed payload", changed),
        ("an aggregator's signature", by_aggregator),
        ("an aggregator's signature under a coordinator's name", renamed),
        ("a stranger", stranger),
        ("half a signature", short),
    ] {
        mesh.world.nodes[edge].record.events.clear();
        mesh.world.input(edge, Input::Control { link, body: ControlBody::Update(update) });
        let events = &mesh.world.nodes[edge].record.events;
        assert!(events.iter().any(|event| matches!(event, Event::Refused { .. })), "{what}");
        assert_eq!(got(&mesh, edge, 1, &[0]), vec![1], "{what}");
    }
    for index in [0, 1, 3, u64::MAX] {
        let update = signed(&mesh, mesh.coordinator, index);
        mesh.world.input(edge, Input::Control { link, body: ControlBody::Update(update) });
        assert_eq!(got(&mesh, edge, 1, &[0]), vec![1], "index {index} does not follow 1");
    }
    // The real next one still comes through, after all that.
    decide(&mut mesh, 2);
    mesh.world.run(Duration::from_secs(3));
    assert_eq!(got(&mesh, edge, 1, &[0]), vec![1, 2]);
}
