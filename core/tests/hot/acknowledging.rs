//! Who is told what, and when: slow subscribers, destinations that go, answers that are not theirs to give.

use std::sync::Arc;

use bytes::Bytes;
use starling_core::hot::Pressure;
use starling_core::hot::acknowledge::{Acknowledge, Stream};
use starling_core::hot::own::{Publication, Target};
use starling_core::id::{AgentId, RegionId};
use starling_core::machine::Destination;
use starling_core::wire::agent::wire_frame;
use starling_core::wire::bundle::Class;
use starling_core::wire::frame::FrameType;

use super::network::{Globe, Lane, Network, globe, message, pair, publication};

#[test]
fn a_slow_subscriber_withholds_the_acknowledgement_of_what_it_gets() {
    let (mut network, left, right, link) = pair();
    network.subscribe(right, 2, 1, "slow");
    network.subscribe(right, 3, 1, "quick");
    network.refresh();
    network.set_pressure(right, 2, Pressure::Slow);
    network.publish(left, vec![publication(1, 1, "slow", b"x")]);
    let frame = network.take(left, link, Lane::Bulk).unwrap();
    let at = network.link(right, left).unwrap();
    network.hand(right, at, &frame);
    network.publish(left, vec![publication(2, 2, "quick", b"y")]);
    network.run();
    network.tick(10);
    network.run();
    assert_eq!(network.sequences(right, 2, 1, "slow"), [1]);
    assert_eq!(network.published(left, 1), [2], "others are not held up");
    // A copy is not an occasion to acknowledge.
    network.hand(right, at, &frame);
    network.run();
    assert_eq!(network.published(left, 1), [2]);
    network.set_pressure(right, 2, Pressure::Fine);
    network.tick(10);
    network.run();
    assert_eq!(network.published(left, 1), [2, 1]);
    assert_eq!(network.sequences(right, 2, 1, "slow"), [1]);
}

#[test]
fn a_slow_subscriber_of_the_same_node_withholds_it_too() {
    let (mut network, left, _, _) = pair();
    network.subscribe(left, 2, 1, "slow");
    network.refresh();
    network.set_pressure(left, 2, Pressure::Slow);
    network.publish(left, vec![publication(1, 1, "slow", b"x")]);
    network.publish(left, vec![publication(1, 2, "nobody", b"x")]);
    network.tick(10);
    assert_eq!(network.published(left, 1), [2]);
    network.set_pressure(left, 2, Pressure::Gone);
    network.tick(10);
    assert_eq!(network.published(left, 1), [2, 1]);
}

#[test]
fn what_was_withheld_is_answered_over_the_link_of_the_last_copy() {
    let (mut network, left, right, _) = pair();
    network.subscribe(right, 2, 1, "slow");
    network.refresh();
    network.set_pressure(right, 2, Pressure::Slow);
    network.publish(left, vec![publication(1, 1, "slow", b"x")]);
    network.run();
    network.disconnect(left, right);
    network.connect(left, right);
    network.refresh();
    network.resend(left, Destination::Node(network.id(right)));
    network.run();
    assert_eq!(network.counter(right, "duplicate_bundles"), 1);
    network.set_pressure(right, 2, Pressure::Fine);
    network.tick(10);
    network.run();
    assert_eq!(network.published(left, 1), [1]);
}

#[test]
fn what_is_withheld_of_one_life_is_not_confused_with_the_next() {
    let (mut network, left, right, link) = pair();
    network.subscribe(right, 2, 1, "a");
    network.refresh();
    network.set_pressure(right, 2, Pressure::Slow);
    network.publish(left, vec![publication(1, 1, "a", b"x")]);
    network.run();
    let (mut later, _, _, _) = pair();
    Arc::get_mut(&mut later.nodes[left].plane).unwrap().me.incarnation = 2;
    later.subscribe(right, 2, 1, "a");
    later.refresh();
    later.publish(left, vec![publication(1, 2, "a", b"y")]);
    let frame = later.take(left, link, Lane::Bulk).unwrap();
    let at = network.link(right, left).unwrap();
    network.set_pressure(right, 2, Pressure::Fine);
    for _ in 0..2 {
        network.hand(right, at, &frame);
        assert!(network.take(right, at, Lane::Control).is_some(), "of this life nothing is withheld");
    }
}

#[test]
fn nothing_is_owed_to_who_is_gone() {
    let (mut network, left, right, link) = pair();
    network.subscribe(right, 2, 1, "a");
    network.refresh();
    network.publish(left, vec![publication(1, 1, "a", b"x")]);
    network.publish(left, vec![publication(1, 2, "a", b"x")]);
    network.lose(left, link, 0);
    network.forget_at(left, Destination::Node(network.id(right)));
    assert_eq!(network.published(left, 1), [1, 2]);
}

#[test]
fn an_aggregator_waits_no_more_for_who_is_gone() {
    let Globe { mut network, near, into, far, .. } = globe();
    network.subscribe(far[0], 1, 1, "a");
    network.subscribe(far[1], 1, 1, "a");
    network.refresh();
    for from in into {
        assert!(network.disconnect(from, far[1]).is_some());
    }
    network.refresh();
    network.publish(near[0], vec![publication(1, 1, "a", b"x")]);
    network.run();
    assert_eq!(network.sequences(far[0], 1, 1, "a"), [1]);
    assert!(network.published(near[0], 1).is_empty());
    into.iter().for_each(|from| network.forget_at(*from, Destination::Node(network.id(far[1]))));
    network.run();
    assert_eq!(network.published(near[0], 1), [1]);
}

#[test]
fn a_region_that_is_gone_is_owed_nothing() {
    let Globe { mut network, near, far, .. } = globe();
    network.subscribe(far[0], 1, 1, "a");
    network.subscribe(near[1], 1, 1, "a");
    network.refresh();
    network.publish(near[0], vec![publication(1, 1, "a", b"x")]);
    network.forget_at(near[0], Destination::Region(RegionId(2)));
    assert!(network.published(near[0], 1).is_empty());
    network.run();
    assert_eq!(network.published(near[0], 1), [1]);
}

/// Three edges; the first one's bundle is for the second, and the third says it has it.
fn said_by_a_third(publication: Publication, class: Class, missing: Vec<(u64, u16)>) -> Network {
    let mut network = Network::new();
    let nodes = [(); 3].map(|()| network.add(1, false));
    network.connect(nodes[0], nodes[1]);
    network.connect(nodes[0], nodes[2]);
    network.subscribe(nodes[1], 2, 1, "a");
    network.refresh();
    network.publish(nodes[0], vec![publication]);
    let (origin, region) = (network.id(nodes[0]), RegionId(1));
    let stream = Stream { origin, incarnation: 1, class, region };
    let frame = wire_frame(FrameType::Acknowledge, &Acknowledge { stream, sequences: vec![1], missing });
    let at = network.link(nodes[0], nodes[2]).expect("they were linked");
    network.hand(nodes[0], at, &frame);
    network
}

#[test]
fn only_who_is_owed_can_acknowledge() {
    let network = said_by_a_third(publication(1, 1, "a", b"x"), Class::EventBulk, vec![(1, 0)]);
    assert!(network.published(0, 1).is_empty());
    network.run();
    assert_eq!(network.published(0, 1), [1]);
    assert!(network.take_unresolved(0).is_empty());
}

#[test]
fn only_who_is_owed_can_say_that_an_agent_is_missing() {
    let agent = AgentId([9; 16]);
    let mut network = Network::new();
    let home = network.add(1, false);
    let _ = network.add(1, false);
    let target = Target::Agent(Some((RegionId(1), {
        let other = network.add(1, false);
        assert_eq!((home, other), (0, 2));
        network.id(1)
    })));
    let directed = Publication { target, ..message(1, 1, agent, b"x") };
    let network = said_by_a_third(directed, Class::EventBulk, vec![(1, 0)]);
    network.host(1, agent, 5, 0);
    network.run();
    assert_eq!(network.published(0, 1), [1]);
    assert!(network.take_unresolved(0).is_empty());
    assert_eq!(network.got(1, 5).len(), 1);
}

#[test]
fn classes_without_bundles_of_ours_are_not_acknowledged() {
    let network = said_by_a_third(publication(1, 1, "a", b"x"), Class::System, Vec::new());
    assert_eq!(network.counter(0, "refused_frames"), 1);
}

#[test]
fn numbers_that_were_never_given_are_harmless() {
    let (mut network, left, right, _) = pair();
    network.subscribe(right, 2, 1, "a");
    network.refresh();
    network.publish(left, vec![publication(1, 1, "a", b"x")]);
    let stream = |incarnation, region| Stream {
        origin: network.id(left),
        incarnation,
        class: Class::EventBulk,
        region: RegionId(region),
    };
    let at = network.link(left, right).unwrap();
    let sequences = vec![0, 2, u64::MAX];
    let missing = vec![(0, 0), (1, u16::MAX), (u64::MAX, 3)];
    for stream in [stream(1, 1), stream(2, 1), stream(1, 9)] {
        let ack = Acknowledge { stream, sequences: sequences.clone(), missing: missing.clone() };
        network.hand(left, at, &wire_frame(FrameType::Acknowledge, &ack));
    }
    let other_life = Acknowledge { stream: stream(2, 1), sequences: vec![1], missing: Vec::new() };
    network.hand(left, at, &wire_frame(FrameType::Acknowledge, &other_life));
    assert!(network.published(left, 1).is_empty());
    network.run();
    assert_eq!(network.published(left, 1), [1]);
    assert_eq!(network.got(right, 2)[0].payload, Bytes::from_static(b"x"));
}
