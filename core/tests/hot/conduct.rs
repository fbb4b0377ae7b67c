//! What the hot path tells of others' conduct, and what a peer may cost.

use std::sync::Arc;

use bytes::Bytes;
use starling_core::conduct::proof::Violation;
use starling_core::conduct::{Culprit, Proof};
use starling_core::hot::Report;
use starling_core::hot::own::Publication;
use starling_core::hot::plane::Touched;
use starling_core::identity::VerifyKey;
use starling_core::limits::{CHECKS_PER_SECOND, HEADERS_KEPT_MAX, UNWANTED_CHECKS_PER_SECOND};
use starling_core::machine::LinkSlot;
use starling_core::wire::codec::Wire;
use starling_core::wire::frame::FRAME_HEADER_BYTES;

use super::network::{Lane, MESH, Network, pair, publication};

/// Two edges, of which the right one subscribed to what the left one publishes; and the links from left to
/// right as the two call them.
fn subscribed() -> (Network, usize, usize, LinkSlot, LinkSlot) {
    let (mut network, left, right, near) = pair();
    network.subscribe(right, 2, 1, ">");
    network.refresh();
    let at = network.link(right, left).expect("they are linked");
    (network, left, right, near, at)
}

fn sealed(network: &Network, at: usize, over: LinkSlot, publications: Vec<Publication>) -> Bytes {
    network.publish(at, publications);
    network.take(at, over, Lane::Bulk).expect("it was sealed")
}

/// Frames of the same number with different headers, by one key: of each of `count` numbers a pair.
fn contradictions(count: u64, entries: u64) -> Vec<(Bytes, Bytes)> {
    let ((one, left, _, near, _), (two, ..)) = (subscribed(), subscribed());
    let frame = |network: &Network, number: u64, payload: &[u8]| {
        let publications = (0..entries).map(|entry| {
            let subject = format!("subject.{entry}");
            publication(1, number * 1000 + entry, &subject, payload)
        });
        sealed(network, left, near, publications.collect())
    };
    (0..count).map(|number| (frame(&one, number, b"one"), frame(&two, number, b"two"))).collect()
}

fn verdict(network: &Network, accused: usize, proof: &Proof) -> Culprit {
    let copy = Proof::from_bytes(&proof.to_bytes()).expect("it was encoded here");
    let key = VerifyKey::new(&network.nodes[accused].key.public()).expect("a good key");
    copy.verify(&key, MESH).expect("the proof holds for who was not there")
}

fn only_proof(network: &Network, at: usize) -> Proof {
    match &network.reports(at)[..] {
        [Report::Contradiction(proof)] => Proof::clone(proof),
        other => panic!("one proof was to be reported: {other:?}"),
    }
}

#[test]
fn two_headers_for_one_number_convict_their_origin() {
    // With one section the header is short, with sixty it has four pieces.
    for entries in [1, 60] {
        let (network, left, right, _, at) = subscribed();
        for (one, two) in contradictions(3, entries) {
            network.hand(right, at, &one);
            network.hand(right, at, &two);
            network.hand(right, at, &one);
        }
        assert_eq!(network.counter(right, "equivocations"), 3);
        let culprit = verdict(&network, left, &only_proof(&network, right));
        assert_eq!((culprit.node(), culprit.violation()), (network.id(left), Violation::Equivocation));
    }
}

#[test]
fn of_old_headers_the_last_few_are_at_hand() {
    let contradictions = contradictions(2 * HEADERS_KEPT_MAX as u64, 1);
    let told = |from: usize| {
        let (network, _, right, _, at) = subscribed();
        contradictions.iter().for_each(|(one, _)| network.hand(right, at, one));
        contradictions[from..from + 1].iter().for_each(|(_, two)| network.hand(right, at, two));
        assert_eq!(network.counter(right, "equivocations"), 1);
        network.reports(right).len()
    };
    let last = contradictions.len() - 1;
    assert_eq!((told(0), told(last - 8), told(last)), (0, 1, 1));
}

#[test]
fn who_sends_more_than_can_be_checked_is_read_later_and_loses_nothing() {
    let (network, left, right, near, at) = subscribed();
    let frame = sealed(&network, left, near, vec![publication(1, 1, "a", b"x")]);
    let mut touched = Touched::default();
    // Its signature is spoiled, so that it is checked each time; the origin's own comes last.
    let mut spoiled = frame.to_vec();
    let signature_at = frame.len() - 80;
    spoiled[signature_at] ^= 1;
    let body = Bytes::from(spoiled).slice(FRAME_HEADER_BYTES..);
    let plane = Arc::clone(&network.nodes[right].plane);
    let mut taken = 0;
    let until = loop {
        taken += 1;
        if let Some(until) = plane.receive(network.now, at, &body, &mut touched) {
            break until;
        }
    };
    assert_eq!(network.counter(right, "invalid_bundles"), taken, "the last one too was worked off");
    assert_eq!(taken, CHECKS_PER_SECOND / 4 + 1, "what a quarter of a second allows, and one on credit");
    assert!(until > network.now.mono);
    assert!(network.reports(right).len() < 20, "what is told of them is bounded");
    let again = plane.receive(network.now, at, &frame.slice(FRAME_HEADER_BYTES..), &mut touched);
    assert!(again.is_some_and(|again| again > until), "{again:?} after {until:?}");
    assert_eq!(network.got(right, 2).len(), 1, "what has come is never dropped");
}

/// The left one goes on to send what the right one does not want any more; the right one wants "b".
fn unwanted() -> (Network, usize, usize, LinkSlot, LinkSlot) {
    let (mut network, left, right, near, at) = subscribed();
    network.unsubscribe(right);
    network.subscribe(right, 2, 1, "b");
    network.refresh_one(right);
    (network, left, right, near, at)
}

#[test]
fn a_flood_of_what_nobody_wants_is_acknowledged_without_checks() {
    let (mut network, left, right, ..) = unwanted();
    let count = 4 * UNWANTED_CHECKS_PER_SECOND;
    for number in 1..=count {
        network.publish(left, vec![publication(1, number, "a", b"x")]);
        network.tick(1);
        network.run();
    }
    let (checked, unchecked) =
        (network.counter(right, "received_bundles"), network.counter(right, "unchecked_bundles"));
    assert_eq!(checked + unchecked, count);
    let most = UNWANTED_CHECKS_PER_SECOND + count * UNWANTED_CHECKS_PER_SECOND / 1000 + 1;
    assert!((UNWANTED_CHECKS_PER_SECOND..=most).contains(&checked), "{checked} of {count} were checked");
    assert_eq!(network.counter(left, "completed_bundles"), count, "nothing is waited for");
    // What is wanted comes all the same, also beside what is not.
    let both = ["a", "b"].map(|subject| publication(1, count + 1, subject, b"y"));
    network.publish(left, both.to_vec());
    network.run();
    assert_eq!(network.sequences(right, 2, 1, "b"), [count + 1]);
    assert_eq!(network.counter(left, "completed_bundles"), count + 1);
}

#[test]
fn what_a_relay_brings_is_checked_however_much_of_it_is_unwanted() {
    let (mut network, left, right, near, _) = unwanted();
    let relay = network.add(1, true);
    network.connect(relay, right);
    network.refresh_one(right);
    let over = network.link(right, relay).expect("they are linked");
    let count = 2 * UNWANTED_CHECKS_PER_SECOND;
    for number in 1..=count {
        let frame = sealed(&network, left, near, vec![publication(1, number, "a", b"x")]);
        network.hand(right, over, &frame);
        network.tick(1);
    }
    let counts = ["received_bundles", "unchecked_bundles"].map(|name| network.counter(right, name));
    assert_eq!(counts, [count, 0]);
}
