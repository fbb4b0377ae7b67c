//! A region of edges alone that is too large for links of all with all.

use std::sync::atomic::{AtomicU64, Ordering};

use starling_core::hot::counters::Counters;
use starling_core::topology::rings::DEGREE_MAX;
use starling_core::wire::request::{KeyChange, SetKey};
use starling_sim::{Conditions, Signatures};

use super::*;

const EDGES: usize = 100;

struct Region {
    world: World,
    edges: Vec<usize>,
}

impl Region {
    /// All start at once and know the first; links and news have settled.
    fn settled() -> Region {
        let conditions = Conditions::perfect(Duration::from_millis(1));
        let mut world = World::with(conditions, Signatures::Keyed, 1);
        world.check_every = 50;
        let name = |number: usize| format!("edge-{number}");
        let seed = |number: usize| if number == 0 { String::new() } else { name(0) };
        let edges = (0..EDGES)
            .map(|number| world.add(plan(Roles::EDGE, "east", &name(number), &seed(number))))
            .collect();
        world.run(Duration::from_secs(20));
        Region { world, edges }
    }

    /// Every edge has an agent that wants the logs, and all know.
    fn subscribed() -> Region {
        let mut region = Region::settled();
        for edge in region.edges.clone() {
            region.world.attach(edge, 1, 1, 0, &[Agent::new(edge as u64)]);
        }
        region.world.run(Duration::from_secs(1));
        for edge in region.edges.clone() {
            let logs = Subscription { number: 1, agent: 0, pattern: "logs.>".to_string() };
            region.world.ask(edge, 1, 2, Ask::Subscribe(Subscribe { subscriptions: vec![logs] }));
        }
        region.world.run(Duration::from_secs(3));
        for edge in &region.edges {
            assert!(matches!(region.world.nodes[*edge].reply(1, 2), Some(Say::Done(_))));
        }
        region
    }

    fn publish(&mut self, edge: usize, number: u64) {
        self.world.publish(edge, vec![log(edge, number)]);
    }

    /// Links of a node: its own, and those that lead over others.
    fn links(&self, edge: usize) -> (usize, usize) {
        let view = self.world.nodes[edge].view();
        let relayed = view.links.values().filter(|link| link.is_relayed()).count();
        (view.links.len() - relayed, relayed)
    }

    fn sum(&self, of: impl Fn(&Counters) -> &AtomicU64) -> u64 {
        let running = self.edges.iter().filter(|edge| self.world.nodes[**edge].is_running());
        running.map(|edge| of(&self.world.nodes[*edge].plane().counters).load(Ordering::Relaxed)).sum()
    }
}

#[test]
fn each_has_links_to_few_and_reaches_all() {
    let region = Region::settled();
    for edge in &region.edges {
        let (own, relayed) = region.links(*edge);
        assert!((12..=DEGREE_MAX).contains(&own), "{own} links of its own");
        assert_eq!(own + relayed, EDGES - 1, "and the others over them");
    }
}

#[test]
fn an_event_comes_to_each_once_and_over_few_links_from_each() {
    let mut region = Region::subscribed();
    let origin = region.edges[3];
    for number in 1..=20 {
        region.publish(origin, number);
        region.world.run(Duration::from_millis(50));
    }
    region.world.run(Duration::from_secs(1));
    let others = EDGES as u64 - 1;
    assert_eq!(region.sum(|counters| &counters.delivered_entries), 20 * (others + 1));
    assert_eq!(region.sum(|counters| &counters.received_bundles), 20 * others, "a bundle for each event");
    assert_eq!(region.sum(|counters| &counters.duplicate_bundles), 0, "and one copy of it");
    assert_eq!(region.sum(|counters| &counters.completed_bundles), 20, "and its origin knows");
    // A bundle leaves a node at most once by each of its links, with what says whom it is for.
    let sent = region.sum(|counters| &counters.sent_bytes);
    assert!(sent < 20 * others * 700, "{} bytes a copy", sent / 20 / others);
}

#[test]
fn when_nodes_die_the_others_find_other_ways() {
    let mut region = Region::subscribed();
    let origin = region.edges[3];
    let mut number = 0;
    let dead = [region.edges[10], region.edges[20], region.edges[30], region.edges[40]];
    for edge in dead {
        region.world.kill(edge);
        for _ in 0..40 {
            number += 1;
            region.publish(origin, number);
            region.world.run(Duration::from_millis(100));
        }
    }
    region.world.run(Duration::from_secs(10));
    let alive = (EDGES - dead.len()) as u64;
    for edge in region.edges.iter().filter(|edge| !dead.contains(edge)) {
        let (own, relayed) = region.links(*edge);
        assert_eq!((own + relayed) as u64, alive - 1, "edge {edge}");
    }
    let delivered = |region: &Region| {
        let alive = region.edges.iter().filter(|edge| !dead.contains(edge));
        let of = |edge: &usize| {
            let counters = &region.world.nodes[*edge].plane().counters;
            counters.delivered_entries.load(Ordering::Relaxed)
        };
        alive.map(of).collect::<Vec<u64>>()
    };
    assert_eq!(delivered(&region), vec![number; alive as usize], "everything came to everybody, once");
}

#[test]
fn keys_come_to_all() {
    let mut region = Region::subscribed();
    let change = Some(KeyChange::Put(Bytes::from_static(b"red")));
    region.world.ask(region.edges[3], 1, 3, Ask::SetKey(SetKey { key: "color".to_string(), change }));
    region.world.run(Duration::from_millis(200));
    for edge in region.edges.clone() {
        region.world.ask(edge, 1, 10, Ask::GetKey("color".to_string()));
        let said = region.world.nodes[edge].reply(1, 10);
        assert!(matches!(said, Some(Say::Value(value)) if !value.is_empty()), "edge {edge}: {said:?}");
    }
}
