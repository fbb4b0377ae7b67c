//! Two that cannot reach each other meet over a third.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use starling_core::machine::LinkSlot;

/// Agent 0 of an edge subscribes to the logs, and everyone knows.
fn subscribe(mesh: &mut Mesh, edge: usize) {
    mesh.attach(edge, 0, 1);
    mesh.subscribe(edge, 1, 1, &["logs.>".to_string()]);
    mesh.world.run(Duration::from_secs(1));
    assert!(mesh.is_done(edge, 1));
}

/// An event about `logs.x` at an edge.
fn publish(mesh: &mut Mesh, edge: usize, number: u64) {
    mesh.world.publish(edge, vec![log(edge, number)]);
}

/// The link from one node to another, as the first one's hot path sees it.
fn link(mesh: &Mesh, from: usize, to: usize) -> Option<LinkSlot> {
    let to = mesh.world.nodes[to].id();
    mesh.world.nodes[from].view().links.get(&to).copied()
}

fn is_relayed(mesh: &Mesh, one: usize, other: usize) -> bool {
    [link(mesh, one, other), link(mesh, other, one)]
        .into_iter()
        .all(|link| link.is_some_and(LinkSlot::is_relayed))
}

/// Entries that came to subscribers of an edge, and bundles of it that everybody has.
fn counts(mesh: &Mesh, edge: usize) -> (u64, u64) {
    let counters = &mesh.world.nodes[edge].plane().counters;
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    (count(&counters.delivered_entries), count(&counters.completed_bundles))
}

/// Whatever is published while the two are apart comes within a second, and is acknowledged.
fn is_served(mesh: &mut Mesh, from: usize, to: usize, number: u64) {
    let (before_to, before_from) = (counts(mesh, to).0, counts(mesh, from).1);
    publish(mesh, from, number);
    mesh.world.run(Duration::from_secs(1));
    assert_eq!(counts(mesh, to).0, before_to + 1, "the event came");
    assert!(counts(mesh, from).1 > before_from, "and its origin knows");
}

fn served_while(cut: impl Fn(&mut Mesh, usize, usize)) {
    let mut mesh = Mesh::settled();
    let [one, two] = [mesh.edges[0][0], mesh.edges[0][1]];
    [one, two].into_iter().for_each(|edge| subscribe(&mut mesh, edge));
    cut(&mut mesh, one, two);
    // The silence is noticed after 3 s.
    mesh.world.run(Duration::from_secs(6));
    assert!(is_relayed(&mesh, one, two));
    is_served(&mut mesh, one, two, 1);
    is_served(&mut mesh, two, one, 2);
    mesh.world.run(Duration::from_secs(30));
    assert!(is_relayed(&mesh, one, two), "and it stays while nothing better comes");
    is_served(&mut mesh, one, two, 3);
    mesh.world.heal(one, two);
    mesh.world.run(Duration::from_secs(20));
    assert!(link(&mesh, one, two).is_some_and(|link| !link.is_relayed()), "a link of their own is better");
    assert_eq!(mesh.wrong_links(), vec![]);
    is_served(&mut mesh, one, two, 4);
}

#[test]
fn over_a_third_while_nothing_passes_between_them() {
    served_while(|mesh, one, two| mesh.world.cut(one, two));
}

#[test]
fn over_a_third_while_one_does_not_hear_the_other() {
    served_while(|mesh, one, two| mesh.world.cut_one_way(one, two));
    served_while(|mesh, one, two| mesh.world.cut_one_way(two, one));
}

#[test]
fn over_another_when_the_one_between_them_dies() {
    let mut mesh = Mesh::settled();
    let [one, two, three] = [mesh.edges[0][0], mesh.edges[0][1], mesh.edges[0][2]];
    subscribe(&mut mesh, two);
    let aggregators = mesh.aggregators[0].clone();
    mesh.world.cut(one, two);
    mesh.world.run(Duration::from_secs(6));
    for (number, relay) in [three, aggregators[0], aggregators[1]].into_iter().enumerate() {
        mesh.world.kill(relay);
        // A crash shows after 3 s of silence.
        mesh.world.run(Duration::from_secs(8));
        assert!(is_relayed(&mesh, one, two), "over those that are left");
        is_served(&mut mesh, one, two, number as u64 + 1);
        mesh.world.start(relay);
        mesh.world.run(Duration::from_secs(8));
    }
}
