//! Who gets what, when nothing goes wrong.

use bytes::Bytes;
use starling_core::hot::Pressure;
use starling_core::hot::own::Publication;
use starling_core::id::AgentId;
use starling_core::machine::ConnectionSlot;
use starling_core::wire::bundle::Class;

use super::network::{Globe, Lane, Network, globe, pair, publication};

#[test]
fn subscribers_of_the_same_node_have_it_at_once() {
    let (mut network, left, _, link) = pair();
    network.subscribe(left, 2, 7, "a.*");
    network.subscribe(left, 3, 1, "a.b");
    network.subscribe(left, 3, 2, "other");
    network.refresh_one(left);
    network.publish(left, vec![publication(1, 1, "a.b", b"payload")]);
    for connection in [2, 3] {
        let got = network.got(left, connection);
        assert_eq!(got.len(), 1);
        assert_eq!((got[0].agent, got[0].sequence), (AgentId([1; 16]), 1));
        assert_eq!((got[0].subject.as_ref(), got[0].payload.as_ref()), (&b"a.b"[..], &b"payload"[..]));
    }
    assert_eq!(network.published(left, 1), [1]);
    assert_eq!(network.bundle_bytes(left, link), 0);
}

#[test]
fn a_publication_without_receiver_is_acknowledged_at_once_and_goes_nowhere() {
    let (network, left, right, link) = pair();
    network.publish(left, vec![publication(1, 1, "a", b"payload"), publication(1, 2, "b", b"payload")]);
    assert_eq!(network.published(left, 1), [1, 2]);
    assert!(network.in_flight().is_empty());
    assert_eq!((network.bundle_bytes(left, link), network.counter(left, "sent_bytes")), (0, 0));
    assert_eq!(network.counter(right, "received_bytes"), 0);
}

#[test]
fn a_publication_is_acknowledged_once_its_receiver_has_it() {
    let (mut network, left, right, link) = pair();
    network.subscribe(right, 2, 1, "a");
    network.refresh();
    let payload: Vec<u8> = (0..5000u16).map(|number| number as u8).collect();
    network.publish(left, vec![publication(1, 1, "a", &payload)]);
    assert!(network.published(left, 1).is_empty());
    network.carry(left, link, Lane::Bulk);
    assert_eq!(network.got(right, 2)[0].payload, Bytes::from(payload));
    assert!(network.published(left, 1).is_empty());
    network.run();
    assert_eq!(network.published(left, 1), [1]);
    assert_eq!(network.counter(left, "completed_bundles"), 1);
}

#[test]
fn what_nobody_wants_beyond_a_point_does_not_travel_beyond_it() {
    let mut network = Network::new();
    let nodes = [(); 3].map(|()| network.add(1, false));
    let links = [network.connect(nodes[0], nodes[1]), network.connect(nodes[0], nodes[2])];
    network.subscribe(nodes[1], 2, 1, "wanted");
    network.refresh();
    let (wanted, unwanted) = ([0x11; 400], [0x22; 50_000]);
    network.publish(
        nodes[0],
        vec![publication(1, 1, "wanted", &wanted), publication(1, 2, "unwanted", &unwanted)],
    );
    assert_eq!(network.counter(nodes[0], "sealed_bundles"), 1);
    assert_eq!(network.bundle_bytes(nodes[0], links[1]), 0);
    assert!(network.bundle_bytes(nodes[0], links[0]) < 1000);
    let frame = network.take(nodes[0], links[0], Lane::Bulk).unwrap();
    assert!(frame.windows(400).any(|window| window == wanted));
    assert!(!frame.windows(16).any(|window| window == &unwanted[..16]));
}

#[test]
fn nobody_else_in_the_other_region_gets_a_section() {
    let Globe { mut network, near, into, far, .. } = globe();
    network.subscribe(far[0], 1, 1, "a");
    network.subscribe(far[1], 1, 1, "b");
    network.refresh();
    network.publish(near[0], vec![publication(1, 1, "a", &[1; 9000]), publication(1, 2, "b", &[2; 9000])]);
    network.run();
    assert_eq!(network.sequences(far[0], 1, 1, "a"), [1]);
    assert_eq!(network.sequences(far[1], 1, 1, "b"), [2]);
    for node in far {
        assert_eq!(network.counter(node, "unwanted_bytes"), 0);
        let others = into.iter().filter_map(|from| Some((*from, network.link(*from, node)?)));
        let bytes: usize = others.map(|(from, link)| network.bundle_bytes(from, link)).sum();
        assert!((9000..10_000).contains(&bytes), "{bytes}");
    }
    assert_eq!(network.published(near[0], 1), [1, 2]);
}

#[test]
fn across_regions_every_destination_must_have_it_before_the_publisher_is_told() {
    let Globe { mut network, near, far, .. } = globe();
    for node in [near[1], far[0], far[1]] {
        network.subscribe(node, 1, 1, "a.>");
    }
    network.refresh();
    network.publish(near[0], vec![publication(1, 1, "a.b", b"one"), publication(1, 2, "a.c", b"two")]);
    loop {
        let withheld = |node: usize, lane: Lane| node == far[1] && lane == Lane::Control;
        let mut busy = network.in_flight();
        busy.retain(|(node, _, lane)| !withheld(*node, *lane));
        if busy.is_empty() {
            break;
        }
        busy.into_iter().for_each(|(node, link, lane)| network.carry(node, link, lane));
    }
    assert!(network.published(near[0], 1).is_empty());
    network.run();
    assert_eq!(network.published(near[0], 1), [1, 2]);
    for node in [near[1], far[0], far[1]] {
        let got = network.got(node, 1);
        assert_eq!(got.iter().map(|got| got.payload.as_ref()).collect::<Vec<_>>(), [b"one", b"two"]);
        assert_eq!(network.counter(node, "duplicate_bundles"), 0);
    }
}

#[test]
fn order_holds_for_each_publisher_and_subject() {
    let Globe { mut network, near, far, .. } = globe();
    network.subscribe(far[0], 1, 1, "s.>");
    network.refresh();
    let subjects = ["s.a", "s.b", "s.c"];
    for number in 1..=300u64 {
        for (agent, node) in [(1, near[0]), (2, near[1])] {
            let subject = subjects[(number % 3) as usize];
            let class = if subject == "s.a" { Class::EventBulk } else { Class::EventPriority };
            network.publish(node, vec![Publication { class, ..publication(agent, number, subject, b"x") }]);
        }
        if number % 50 == 0 {
            network.tick(10);
        }
    }
    network.tick(100);
    network.run();
    for agent in [1, 2] {
        for (rest, subject) in subjects.iter().enumerate() {
            let expected: Vec<u64> = (1..=300).filter(|number| number % 3 == rest as u64).collect();
            assert_eq!(network.sequences(far[0], 1, agent, subject), expected);
        }
    }
    let mut told = network.published(near[0], 1);
    told.sort_unstable();
    assert!(told.into_iter().eq(1..=300));
}

#[test]
fn connections_are_told_of_their_own_numbers() {
    let (network, left, _, _) = pair();
    let of = |connection: u32, number| {
        let mut publication = publication(connection as u8, number, "a", b"x");
        publication.connection = ConnectionSlot(connection);
        publication
    };
    network.publish(left, vec![of(1, 5), of(2, 1), of(1, 6), of(1, 9)]);
    assert_eq!(network.published(left, 1), [5, 6, 9]);
    assert_eq!(network.published(left, 2), [1]);
}

#[test]
fn a_connection_that_is_gone_holds_nobody_up() {
    let (mut network, left, right, _) = pair();
    network.subscribe(right, 2, 1, "a");
    network.subscribe(right, 3, 1, "a");
    network.refresh();
    network.set_pressure(right, 2, Pressure::Gone);
    network.publish(left, vec![publication(1, 1, "a", b"x")]);
    network.run();
    assert_eq!(network.sequences(right, 3, 1, "a"), [1]);
    assert_eq!(network.published(left, 1), [1]);
    assert_eq!(network.counter(right, "cut_deliveries"), 1);
}
