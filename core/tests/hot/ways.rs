//! Ways that change while bundles are on them: everything arrives exactly once and in order.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;
use starling_core::hot::own::Publication;
use starling_core::id::RegionId;
use starling_core::machine::{ConnectionSlot, Destination};

use super::network::{Globe, Lane, globe, pair, publication};

#[test]
fn what_was_lost_with_a_link_comes_over_the_next_before_anything_newer() {
    let (mut network, left, right, link) = pair();
    network.subscribe(right, 2, 1, "a");
    network.refresh();
    for number in 1..=6 {
        network.publish(left, vec![publication(1, number, "a", b"x")]);
    }
    network.carry(left, link, Lane::Bulk);
    network.carry(left, link, Lane::Bulk);
    network.disconnect(left, right);
    network.lose(left, link, 1);
    let next = network.connect(left, right);
    network.refresh();
    // Before the machine asks to send again, something newer is published.
    network.publish(left, vec![publication(1, 7, "a", b"x")]);
    network.carry(left, next, Lane::Bulk);
    network.carry(left, link, Lane::Bulk);
    network.run();
    network.resend(left, Destination::Node(network.id(right)));
    network.run();
    assert!(network.sequences(right, 2, 1, "a").into_iter().eq(1..=7));
    let mut told = network.published(left, 1);
    told.sort_unstable();
    assert!(told.into_iter().eq(1..=7));
}

#[test]
fn a_relay_whose_way_was_away_asks_for_the_beginning() {
    let Globe { mut network, near, out, into, far } = globe();
    network.subscribe(far[0], 1, 1, "a");
    network.refresh();
    for number in 1..=3 {
        if number == 2 {
            for relay in out {
                let mut view = (*network.nodes[relay].plane.view()).clone();
                view.ways = Arc::default();
                network.nodes[relay].plane.set_view(view);
            }
        }
        network.publish(near[0], vec![publication(1, number, "a", b"x")]);
        network.run();
        network.refresh();
    }
    assert!(network.sequences(far[0], 1, 1, "a").into_iter().eq(1..=3));
    let mut told = network.published(near[0], 1);
    told.sort_unstable();
    assert_eq!(told, [1, 2, 3]);
    assert_eq!(into.iter().map(|node| network.counter(*node, "invalid_bundles")).sum::<u64>(), 0);
}

/// A relay takes another way for a moment and cannot pass on what came meanwhile.
#[test]
fn a_way_that_comes_back_does_not_go_on_where_it_was_left() {
    for passing in 0..2 {
        let Globe { mut network, near, out, into, far } = globe();
        network.subscribe(far[0], 1, 1, "a");
        let passing = into[passing];
        for relay in out {
            let link = network.disconnect(relay, passing).unwrap();
            network.lose(relay, link, 0);
        }
        network.refresh();
        network.publish(near[0], vec![publication(1, 1, "a", b"x")]);
        let (_, link, _) = network.in_flight()[0];
        let relay = network.peer(link);
        network.carry(near[0], link, Lane::Bulk);
        network.connect(relay, passing);
        network.refresh_one(relay);
        network.publish(near[0], vec![publication(1, 2, "a", b"x")]);
        network.carry(near[0], link, Lane::Bulk);
        let gone = network.disconnect(relay, passing).unwrap();
        network.lose(relay, gone, 0);
        network.refresh_one(relay);
        network.publish(near[0], vec![publication(1, 3, "a", b"x")]);
        network.carry(near[0], link, Lane::Bulk);
        network.run();
        assert!(network.sequences(far[0], 1, 1, "a").into_iter().eq(1..=3), "over {relay}, past {passing}");
    }
}

#[test]
fn what_comes_late_over_an_old_link_is_not_taken_into_the_new_run() {
    let Globe { mut network, near, into, far, .. } = globe();
    network.subscribe(far[0], 1, 1, "a");
    network.refresh();
    for number in 1..=4 {
        network.publish(near[0], vec![publication(1, number, "a", b"x")]);
    }
    let (_, old, _) = network.in_flight()[0];
    let relay = network.peer(old);
    network.carry(near[0], old, Lane::Bulk);
    network.carry(near[0], old, Lane::Bulk);
    // Both links of the relay break: the one loses everything, the other delivers late.
    for node in into {
        let beyond = network.disconnect(relay, node).unwrap();
        network.lose(relay, beyond, 0);
        network.connect(relay, node);
    }
    network.disconnect(relay, near[0]);
    let new = network.connect(near[0], relay);
    network.refresh();
    network.publish(near[0], vec![publication(1, 5, "a", b"x")]);
    network.carry(near[0], new, Lane::Bulk);
    network.carry(near[0], old, Lane::Bulk);
    network.carry(near[0], old, Lane::Bulk);
    network.run();
    assert!(network.sequences(far[0], 1, 1, "a").into_iter().eq(1..=5));
}

#[test]
fn a_dead_aggregator_is_replaced_without_loss() {
    for dead_side in 0..2 {
        for lost in 0..8 {
            let Globe { mut network, near, out, into, far } = globe();
            network.subscribe(far[0], 1, 1, "a");
            network.refresh();
            for number in 1..=4 {
                network.publish(near[0], vec![publication(1, number, "a", b"x")]);
            }
            for _ in 0..lost {
                let busy = network.in_flight();
                busy.into_iter().take(1).for_each(|(node, link, lane)| network.carry(node, link, lane));
            }
            // The aggregator that carries the bundles dies with everything on its links.
            let used = |node: &usize| network.counter(*node, "relayed_bundles");
            let candidates = if dead_side == 0 { out } else { into };
            let dead = candidates.into_iter().max_by_key(used).unwrap();
            for node in 0..network.nodes.len() {
                if let Some(link) = network.disconnect(dead, node) {
                    network.lose(dead, link, 0);
                }
            }
            network.refresh();
            for number in 5..=6 {
                network.publish(near[0], vec![publication(1, number, "a", b"x")]);
            }
            network.resend(near[0], Destination::Region(RegionId(2)));
            network.run();
            assert!(network.sequences(far[0], 1, 1, "a").into_iter().eq(1..=6), "{dead_side} {lost}");
            let mut told = network.published(near[0], 1);
            told.sort_unstable();
            assert!(told.into_iter().eq(1..=6), "{dead_side} {lost}");
        }
    }
}

const SUBJECTS: [&str; 3] = ["s.a", "s.b", "s.c"];

#[derive(Clone, Debug)]
enum Act {
    Publish(usize, usize),
    /// Carries so many frames of a lane chosen among the busy ones.
    Carry(prop::sample::Index, usize),
    /// Breaks a link; so many frames of each of its lanes are still to arrive.
    Break(prop::sample::Index, usize),
    /// Links what is not linked.
    Mend,
    /// A node learns what changed.
    Learn(prop::sample::Index),
    /// A machine asks to send again.
    Resend(prop::sample::Index),
    Tick(u64),
    /// A publisher loses its edge and goes to the other one.
    Move(usize),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0..2usize, 0..3usize).prop_map(|(publisher, subject)| Act::Publish(publisher, subject)),
        12 => (any::<prop::sample::Index>(), 1..6usize).prop_map(|(lane, count)| Act::Carry(lane, count)),
        2 => (any::<prop::sample::Index>(), 0..4usize).prop_map(|(link, keep)| Act::Break(link, keep)),
        1 => Just(Act::Mend),
        4 => any::<prop::sample::Index>().prop_map(Act::Learn),
        1 => any::<prop::sample::Index>().prop_map(Act::Resend),
        1 => (0..3u64).prop_map(Act::Tick),
        1 => (0..2usize).prop_map(Act::Move),
    ]
}

/// A client that keeps what it was not told about.
struct Publisher {
    agent: u8,
    at: usize,
    connection: u32,
    next: u64,
    unacknowledged: Vec<(u64, usize)>,
}

struct World {
    globe: Globe,
    pairs: Vec<(usize, usize)>,
    publishers: [Publisher; 2],
    sent: Vec<(u8, u64, usize)>,
}

impl World {
    fn new() -> World {
        let mut globe = globe();
        let Globe { network, near, far, .. } = &mut globe;
        network.subscribe(far[0], 1, 1, "s.>");
        network.subscribe(far[1], 1, 1, "s.a");
        network.subscribe(far[1], 2, 1, "s.b");
        network.subscribe(near[1], 9, 1, "s.>");
        network.refresh();
        let publisher =
            |agent: u8, at| Publisher { agent, at, connection: 10, next: 1, unacknowledged: Vec::new() };
        let publishers = [publisher(1, near[0]), publisher(2, near[1])];
        let count = network.nodes.len();
        let all = (0..count).flat_map(|left| (0..left).map(move |right| (left, right)));
        let pairs = all.filter(|(left, right)| network.link(*left, *right).is_some()).collect();
        World { globe, pairs, publishers, sent: Vec::new() }
    }

    fn publish(&self, publisher: &Publisher, list: &[(u64, usize)]) {
        let connection = ConnectionSlot(publisher.connection + u32::from(publisher.agent));
        let publications = list.iter().map(|(sequence, subject)| Publication {
            connection,
            ..publication(publisher.agent, *sequence, SUBJECTS[*subject], &sequence.to_le_bytes())
        });
        self.globe.network.publish(publisher.at, publications.collect());
    }

    fn hear(&mut self, publisher: usize) {
        let publisher = &mut self.publishers[publisher];
        let connection = publisher.connection + u32::from(publisher.agent);
        let told: BTreeSet<u64> =
            self.globe.network.published(publisher.at, connection).into_iter().collect();
        publisher.unacknowledged.retain(|(sequence, _)| !told.contains(sequence));
    }

    fn act(&mut self, act: &Act) {
        let network = &mut self.globe.network;
        match act {
            Act::Publish(publisher, subject) => {
                let of = &mut self.publishers[*publisher];
                let entry = (of.next, *subject);
                of.next += 1;
                of.unacknowledged.push(entry);
                self.sent.push((of.agent, entry.0, *subject));
                self.publish(&self.publishers[*publisher], &[entry]);
            }
            Act::Carry(lane, count) => {
                let busy = network.in_flight();
                if !busy.is_empty() {
                    let (node, link, lane) = busy[lane.index(busy.len())];
                    (0..*count).for_each(|_| network.carry(node, link, lane));
                }
            }
            Act::Break(link, keep) => {
                let (left, right) = self.pairs[link.index(self.pairs.len())];
                if let Some(link) = network.disconnect(left, right) {
                    network.lose(left, link, *keep);
                }
            }
            Act::Mend => self.mend(),
            Act::Learn(node) => network.refresh_one(node.index(network.nodes.len())),
            Act::Resend(node) => self.resend(node.index(self.globe.network.nodes.len())),
            Act::Tick(millis) => network.tick(*millis),
            Act::Move(publisher) => {
                self.hear(*publisher);
                let near = self.globe.near;
                let of = &mut self.publishers[*publisher];
                of.at = if of.at == near[0] { near[1] } else { near[0] };
                of.connection += 10;
                let again = of.unacknowledged.clone();
                self.publish(&self.publishers[*publisher], &again);
            }
        }
    }

    fn mend(&mut self) {
        for (left, right) in self.pairs.clone() {
            if self.globe.network.link(left, right).is_none() {
                self.globe.network.connect(left, right);
            }
        }
    }

    fn resend(&self, node: usize) {
        let network = &self.globe.network;
        network.resend(node, Destination::Region(RegionId(2)));
        for other in 0..network.nodes.len() {
            network.resend(node, Destination::Node(network.id(other)));
        }
    }

    /// Faults end; what is owed must arrive.
    fn heal(&mut self) {
        self.mend();
        self.globe.network.refresh();
        for _ in 0..3 {
            (0..self.globe.network.nodes.len()).for_each(|node| self.resend(node));
            self.globe.network.tick(100);
            self.globe.network.run();
        }
    }

    fn check(&mut self) {
        let Globe { near, far, .. } = self.globe;
        let subscribers: [(usize, u32, &[usize]); 4] =
            [(far[0], 1, &[0, 1, 2]), (far[1], 1, &[0]), (far[1], 2, &[1]), (near[1], 9, &[0, 1, 2])];
        for (node, connection, subjects) in subscribers {
            for agent in [1, 2] {
                for (subject, name) in SUBJECTS.iter().enumerate() {
                    let of = |(by, _, on): &&(u8, u64, usize)| *by == agent && *on == subject;
                    let sent = self.sent.iter().filter(of).map(|(_, sequence, _)| *sequence);
                    let wanted = if subjects.contains(&subject) { sent.collect() } else { Vec::new() };
                    let got = self.globe.network.sequences(node, connection, agent, name);
                    assert_eq!(got, wanted, "agent {agent} on {name} at node {node}");
                }
            }
        }
        for publisher in 0..2 {
            self.hear(publisher);
            assert_eq!(self.publishers[publisher].unacknowledged, [], "every publication is acknowledged");
        }
    }
}

proptest! {
    #[test]
    fn everything_arrives_once_and_in_order(acts in prop::collection::vec(act(), 1..120)) {
        let mut world = World::new();
        acts.iter().for_each(|act| world.act(act));
        world.heal();
        world.check();
    }
}
