//! How entries are packed, and what happens when too much is unacknowledged.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use starling_core::limits::{
    OPEN_BYTES_MAX, PAYLOAD_BYTES_MAX, RETAINED_BYTES_MAX, SEALS_BURST, WINDOW_BUNDLES,
};
use starling_core::machine::LinkSlot;

use super::network::{Lane, Network, bundle_in, pair, publication};

fn subscribed() -> (Network, usize, usize, LinkSlot) {
    let (mut network, left, right, link) = pair();
    network.subscribe(right, 2, 1, "a");
    network.refresh();
    (network, left, right, link)
}

fn seal_at(network: &Network, node: usize) -> u64 {
    network.nodes[node].plane.seal_at.load(Ordering::Acquire)
}

fn is_congested(network: &Network, node: usize) -> bool {
    network.nodes[node].plane.own_congested.load(Ordering::Acquire)
}

#[test]
fn one_entry_on_an_idle_node_leaves_at_once() {
    let (network, left, _, _) = subscribed();
    network.publish(left, vec![publication(1, 1, "a", b"x")]);
    assert_eq!(network.counter(left, "sealed_bundles"), 1);
    assert_eq!(network.in_flight().len(), 1);
    assert_eq!(seal_at(&network, left), u64::MAX);
}

#[test]
fn a_flood_within_an_instant_is_packed() {
    let (mut network, left, right, _) = subscribed();
    for number in 1..=SEALS_BURST + 200 {
        network.publish(left, vec![publication(1, number, "a", b"x")]);
    }
    assert_eq!(network.counter(left, "sealed_bundles"), SEALS_BURST);
    assert_eq!(seal_at(&network, left), network.now.mono.0 + 1_000_000);
    network.tick(1);
    assert_eq!(network.counter(left, "sealed_bundles"), SEALS_BURST + 1);
    assert_eq!(seal_at(&network, left), u64::MAX);
    network.run();
    assert!(network.sequences(right, 2, 1, "a").into_iter().eq(1..=SEALS_BURST + 200));
    assert!(network.published(left, 1).into_iter().eq(1..=SEALS_BURST + 200));
}

#[test]
fn a_full_bundle_does_not_wait_for_the_budget() {
    let (network, left, right, _) = subscribed();
    let all = (1..=2560).map(|number| publication(1, number, "a", b"x")).collect();
    network.publish(left, all);
    assert_eq!(network.counter(left, "sealed_bundles"), 10);
    network.run();
    assert!(network.sequences(right, 2, 1, "a").into_iter().eq(1..=2560));
}

#[test]
fn the_largest_entry_travels_alone() {
    let (network, left, right, link) = subscribed();
    let large: Vec<u8> = (0..PAYLOAD_BYTES_MAX).map(|at| (at * 7) as u8).collect();
    let payloads = [&b"before"[..], &large, b"after", b""];
    let numbered = payloads.iter().zip(1..);
    network.publish(left, numbered.map(|(payload, number)| publication(1, number, "a", payload)).collect());
    let mut counts = Vec::new();
    while let Some(frame) = network.take(left, link, Lane::Bulk) {
        counts.push(bundle_in(&frame).sections[0].count);
        network.hand(right, network.link(right, left).unwrap(), &frame);
    }
    assert_eq!(counts, [1, 1, 2]);
    let got: Vec<Bytes> = network.got(right, 2).into_iter().map(|got| got.payload).collect();
    assert!(got == payloads);
}

#[test]
fn entries_without_a_byte_are_entries() {
    let (network, left, right, _) = subscribed();
    network.publish(left, vec![publication(1, 1, "a", b""), publication(1, 2, "a", b"")]);
    network.run();
    assert_eq!(network.sequences(right, 2, 1, "a"), [1, 2]);
    assert!(network.got(right, 2).iter().all(|got| got.payload.is_empty()));
    assert_eq!(network.published(left, 1), [1, 2]);
}

/// Lets acknowledgements and the budget do their work.
fn settle(network: &mut Network) {
    for _ in 0..20 {
        network.tick(100);
        network.run();
    }
}

#[test]
fn a_full_window_backs_up_and_loses_nothing() {
    let (mut network, left, right, _) = subscribed();
    for number in 1..=WINDOW_BUNDLES {
        network.publish(left, vec![publication(1, number, "a", b"x")]);
        network.tick(1);
    }
    assert_eq!(network.counter(left, "sealed_bundles"), WINDOW_BUNDLES);
    let more = 2 * OPEN_BYTES_MAX as u64 / 3 / 32_000;
    for number in WINDOW_BUNDLES + 1..=WINDOW_BUNDLES + more {
        network.publish(left, vec![publication(1, number, "a", &[7; 32_000])]);
    }
    network.tick(1000);
    assert_eq!(network.counter(left, "sealed_bundles"), WINDOW_BUNDLES, "the window is full");
    assert!(is_congested(&network, left));
    assert!(network.published(left, 1).is_empty());
    settle(&mut network);
    assert!(!is_congested(&network, left));
    assert!(network.sequences(right, 2, 1, "a").into_iter().eq(1..=WINDOW_BUNDLES + more));
    assert!(network.published(left, 1).into_iter().eq(1..=WINDOW_BUNDLES + more));
}

#[test]
fn bytes_kept_for_sending_again_are_bounded() {
    let (mut network, left, right, link) = subscribed();
    let payload = Bytes::from(vec![9; PAYLOAD_BYTES_MAX]);
    let total = (RETAINED_BYTES_MAX / PAYLOAD_BYTES_MAX) as u64 + 8;
    for number in 1..=total {
        let mut large = publication(1, number, "a", b"");
        large.payload = payload.clone();
        network.publish(left, vec![large]);
    }
    network.tick(1000);
    let sent = network.bundle_bytes(left, link);
    assert!((RETAINED_BYTES_MAX..RETAINED_BYTES_MAX + 2 * PAYLOAD_BYTES_MAX).contains(&sent), "{sent}");
    assert!(is_congested(&network, left));
    settle(&mut network);
    assert!(!is_congested(&network, left));
    assert!(network.sequences(right, 2, 1, "a").into_iter().eq(1..=total));
    assert!(network.got(right, 2).iter().all(|got| got.payload == payload));
    assert!(network.published(left, 1).into_iter().eq(1..=total));
}
