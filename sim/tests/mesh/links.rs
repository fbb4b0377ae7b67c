//! Who is linked with whom, and who knows whom.

use super::*;
use starling_core::event::Event;
use starling_core::machine::Input;
use starling_core::wire::message::{ControlBody, Interest};

fn comes_up(seed_of: impl Fn(&str) -> &'static str) {
    let mut mesh = Mesh::start(seed_of);
    mesh.world.run(Duration::from_secs(2));
    let missing: Vec<_> = mesh.wrong_links();
    let missing: Vec<_> = missing.into_iter().filter(|(left, right)| mesh.is_wanted(*left, *right)).collect();
    assert_eq!(missing, vec![], "wanted links that are not there, or there twice, after 2 s");
    mesh.world.run(Duration::from_secs(1));
    assert_eq!(mesh.wrong_links(), vec![], "links that are not as wanted after 3 s");
    let nodes = &mesh.world.nodes;
    for node in nodes {
        for other in nodes.iter().filter(|other| other.id() != node.id()) {
            let origin = node.view().origins.get(&other.id());
            let origin = origin.unwrap_or_else(|| panic!("{} knows {}", node.plan.name, other.plan.name));
            assert_eq!(origin.key.public(), other.signer().public());
            assert_eq!(origin.region, other.region());
        }
        assert_eq!(node.view().links.len(), node.linked().len(), "the view has the links");
        assert_eq!(node.view().peers.len(), node.linked().len(), "the view has the peers");
    }
    // What is up stays up: nothing is dialled twice or closed again.
    let made = |mesh: &Mesh| -> u64 {
        let pairs = (0..13).flat_map(|left| (left..13).map(move |right| (left, right)));
        pairs.map(|(left, right)| mesh.world.links_made(left, right)).sum()
    };
    let before = made(&mesh);
    mesh.world.run(Duration::from_secs(60));
    assert_eq!(made(&mesh), before, "links that came anew in a quiet minute");
    assert_eq!(mesh.wrong_links(), vec![]);
}

#[test]
fn a_mesh_comes_up_from_the_coordinators_address() {
    comes_up(|region| if region == "global" { "" } else { "coordinator" });
}

#[test]
fn a_mesh_comes_up_from_an_aggregators_address() {
    comes_up(|region| if region == "east" { "west-aggregator-0" } else { "east-aggregator-1" });
}

#[test]
fn a_mesh_comes_up_from_an_edges_address() {
    comes_up(|region| if region == "east" { "east-edge-0" } else { "east-edge-1" });
}

#[test]
fn a_day_later_everyone_still_knows_everyone() {
    let mut mesh = Mesh::settled();
    mesh.world.run(Duration::from_secs(24 * 60 * 60));
    let count = mesh.world.nodes.len() - 1;
    for index in 0..=count {
        // The driver wakes machines for numbers of the hot path several times a second.
        mesh.world.input(index, Input::Wake);
        assert_eq!(mesh.world.nodes[index].view().origins.len(), count, "keys known to node {index}");
    }
    let edge = mesh.edges[0][0];
    let aggregator = mesh.aggregators[0][0];
    mesh.world.cut(edge, aggregator);
    mesh.world.run(Duration::from_secs(4));
    mesh.world.heal(edge, aggregator);
    mesh.world.run(Duration::from_secs(15));
    assert_eq!(mesh.wrong_links(), vec![], "a link as old as a day comes back after a cut");
}

#[test]
fn cuts_heal_and_restarts_come_back() {
    let mut mesh = Mesh::settled();
    let (left, right) = (mesh.aggregators[0][0], mesh.aggregators[1][1]);
    let edge = mesh.edges[1][2];
    mesh.world.cut(left, right);
    mesh.world.kill(edge);
    mesh.world.run(Duration::from_secs(20));
    let forgotten = &mesh.world.nodes[mesh.edges[1][0]].record.forgotten;
    let gone = starling_core::machine::Destination::Node(mesh.world.nodes[edge].id());
    assert!(forgotten.contains(&gone));
    mesh.world.heal(left, right);
    mesh.world.start(edge);
    mesh.world.run(Duration::from_secs(15));
    assert_eq!(mesh.wrong_links(), vec![]);
}

#[test]
fn nobody_declares_for_others() {
    let mut mesh = Mesh::settled();
    let east = mesh.world.nodes[mesh.edges[0][0]].region().0;
    let west = mesh.world.nodes[mesh.edges[1][0]].region().0;
    let (edge, other_edge) = (mesh.edges[0][0], mesh.edges[0][1]);
    let (aggregator, other_region) = (mesh.aggregators[0][0], mesh.aggregators[1][0]);
    let coordinator = mesh.coordinator;
    let cases = [
        ("an edge for a region, to an edge", edge, other_edge, west),
        ("an edge for a region, to its aggregator", edge, aggregator, west),
        ("an edge for its own region, to its aggregator", edge, aggregator, east),
        ("an aggregator for its own region, to its edge", aggregator, edge, east),
        ("an aggregator of a region for another one, to that region", aggregator, other_region, west),
        ("an aggregator of a region for a third one", aggregator, other_region, 77),
        ("an aggregator of another region as if it were an edge", aggregator, other_region, 0),
        ("a coordinator", coordinator, aggregator, west),
        ("a coordinator as if it were an edge", coordinator, aggregator, 0),
    ];
    for (what, from, to, region) in cases {
        let link = mesh.world.nodes[to].view().links[&mesh.world.nodes[from].id()];
        let interest =
            Interest { region, version: 9, added: vec!["stolen.>".to_string()], ..Interest::default() };
        mesh.world.nodes[to].record.events.clear();
        mesh.world.input(to, Input::Control { link, body: ControlBody::Interest(interest) });
        let peer = mesh.world.nodes[from].id();
        let refused = mesh.world.nodes[to]
            .record
            .events
            .iter()
            .any(|event| matches!(event, Event::Refused { peer: of, .. } if *of == peer));
        assert!(refused, "{what} is refused with an event");
        mesh.world.run(Duration::from_millis(100));
        assert_eq!(mesh.world.nodes[to].wanting("stolen.goods"), vec![], "{what}");
    }
}

/// Links that merely led somebody in are closed; who was at their other end is not down for that.
#[test]
fn nobody_is_down_in_a_whole_mesh_and_the_dead_are() {
    let mut mesh = Mesh::settled();
    mesh.world.run(Duration::from_secs(20));
    let statuses = |mesh: &mut Mesh, node: usize| {
        let overview = mesh.world.overview(node);
        let of = |status: &str| overview.members.iter().filter(|member| member.status == status).count();
        (of("up"), of("down"), of("known"))
    };
    let (coordinator, edge) = (mesh.coordinator, mesh.edges[0][0]);
    assert_eq!(statuses(&mut mesh, coordinator), (11, 0, 0));
    assert_eq!(statuses(&mut mesh, edge).1, 0, "an edge knows of the other region what it hears");
    mesh.world.kill(mesh.edges[1][0]);
    mesh.world.kill(mesh.aggregators[1][0]);
    mesh.world.run(Duration::from_secs(10));
    assert_eq!(statuses(&mut mesh, coordinator), (9, 2, 0));
}
