//! Messages to one agent: where it is, where it is not, and where it moved to.

use starling_core::hot::own::{Publication, Target};
use starling_core::id::{AgentId, RegionId};
use starling_core::machine::Destination;

use super::network::{Globe, Lane, Network, globe, message, pair};

const AGENT: AgentId = AgentId([9; 16]);

/// What the machine does once it knows a home.
fn admit_again(network: &Network, node: usize, home: usize) {
    let at = network.nodes[home].me;
    let home = Some((at.region, at.id));
    let again = network.take_unresolved(node);
    network.nodes[node].plane.set_home(AGENT, home);
    let again = again.into_iter().map(|p| Publication { target: Target::Agent(home), ..p });
    network.publish(node, again.collect());
}

fn know_home(network: &Network, node: usize, home: usize) {
    let at = network.nodes[home].me;
    network.nodes[node].plane.set_home(AGENT, Some((at.region, at.id)));
}

fn payloads(network: &Network, node: usize, connection: u32) -> Vec<u8> {
    network.got(node, connection).iter().map(|got| got.payload[0]).collect()
}

#[test]
fn an_agent_of_the_same_node_needs_no_home() {
    let (network, left, _, _) = pair();
    network.host(left, AGENT, 5, 3);
    network.publish(left, vec![message(1, 1, AGENT, &[1])]);
    assert_eq!(payloads(&network, left, 5), [1]);
    assert_eq!(network.published(left, 1), [1]);
    assert!(network.in_flight().is_empty());
}

#[test]
fn a_known_home_gets_it_in_the_region_and_beyond() {
    let Globe { network, near, far, .. } = globe();
    for home in [near[1], far[1]] {
        network.host(home, AGENT, 5, 3);
        know_home(&network, near[0], home);
        let number = network.counter(near[0], "published_entries") + 1;
        network.publish(near[0], vec![message(1, number, AGENT, &[1])]);
        network.run();
        assert_eq!(payloads(&network, home, 5), [1]);
    }
    assert_eq!(network.published(near[0], 1), [1, 2]);
    assert_eq!(network.counter(far[0], "received_bundles"), 0);
}

#[test]
fn without_a_home_it_is_handed_to_the_machine() {
    let (network, left, right, _) = pair();
    network.publish(left, vec![message(1, 1, AGENT, &[1]), message(1, 2, AGENT, &[2])]);
    assert!(network.in_flight().is_empty());
    assert!(network.published(left, 1).is_empty());
    network.host(right, AGENT, 5, 0);
    admit_again(&network, left, right);
    network.run();
    assert_eq!(payloads(&network, right, 5), [1, 2]);
    assert_eq!(network.published(left, 1), [1, 2]);
}

#[test]
fn a_receiver_that_moved_is_looked_for_again() {
    let Globe { network, near, far, .. } = globe();
    for (number, (stale, home)) in
        [(near[1], far[0]), (far[0], near[1]), (far[0], far[1])].into_iter().enumerate()
    {
        let number = number as u64 + 1;
        know_home(&network, near[0], stale);
        network.publish(near[0], vec![message(1, number, AGENT, &[number as u8])]);
        network.run();
        assert!(!network.published(near[0], 1).contains(&number), "nobody has it yet");
        let agent_at = |node| network.host(node, AGENT, 5, 0);
        agent_at(home);
        let pending = network.take_unresolved(near[0]);
        assert_eq!(pending.iter().map(|p| (p.number, p.attempts)).collect::<Vec<_>>(), [(number, 1)]);
        assert_eq!(pending[0].payload.as_ref(), [number as u8]);
        let at = network.nodes[home].me;
        let target = Target::Agent(Some((at.region, at.id)));
        network.publish(near[0], pending.into_iter().map(|p| Publication { target, ..p }).collect());
        network.run();
        assert!(network.published(near[0], 1).contains(&number));
        assert_eq!(payloads(&network, home, 5).last(), Some(&(number as u8)));
        network.unhost(home, AGENT, 5, 0);
    }
    assert_eq!(network.counter(near[0], "missing_agents"), 3);
}

#[test]
fn that_an_agent_was_missing_is_said_again_to_a_copy() {
    let (network, left, right, link) = pair();
    know_home(&network, left, right);
    network.publish(left, vec![message(1, 1, AGENT, &[1])]);
    network.carry(left, link, Lane::Bulk);
    let at = network.link(right, left).unwrap();
    assert!(network.take(right, at, Lane::Control).is_some(), "the answer is lost");
    // The agent comes, but what it missed came before.
    network.host(right, AGENT, 5, 0);
    network.resend(left, Destination::Node(network.id(right)));
    network.run();
    assert!(network.published(left, 1).is_empty());
    admit_again(&network, left, right);
    network.run();
    assert_eq!((payloads(&network, right, 5), network.published(left, 1)), (vec![1], vec![1]));
}

#[test]
fn an_aggregator_says_it_again_too() {
    let Globe { network, near, out, into, far } = globe();
    know_home(&network, near[0], far[0]);
    network.publish(near[0], vec![message(1, 1, AGENT, &[1])]);
    let is_answer = |node: usize, lane: Lane| into.contains(&node) && lane == Lane::Control;
    loop {
        let busy = network.in_flight();
        if busy.is_empty() {
            break;
        }
        for (node, link, lane) in busy {
            match is_answer(node, lane) {
                true => drop(network.take(node, link, lane)),
                false => network.carry(node, link, lane),
            }
        }
    }
    network.resend(near[0], Destination::Region(RegionId(2)));
    network.run();
    assert_eq!(network.take_unresolved(near[0]).len(), 1);
    assert!(network.published(near[0], 1).is_empty());
    assert_eq!(out.iter().map(|node| network.counter(*node, "relayed_bundles")).sum::<u64>(), 2);
}

#[test]
fn a_home_that_is_no_more_is_reported_and_not_waited_for() {
    let Globe { mut network, near, far, .. } = globe();
    for gone in [near[1], far[1]] {
        network.forget(gone);
        let linked = (0..network.nodes.len()).filter(|node| network.disconnect(gone, *node).is_some());
        assert!(linked.count() > 2);
    }
    network.refresh();
    for (number, home) in [near[1], far[1]].into_iter().enumerate() {
        know_home(&network, near[0], home);
        network.publish(near[0], vec![message(1, number as u64 + 1, AGENT, &[1])]);
        network.run();
        let pending = network.take_unresolved(near[0]);
        assert_eq!(pending.iter().map(|p| p.attempts).collect::<Vec<_>>(), [1]);
    }
    assert!(network.published(near[0], 1).is_empty());
}

#[test]
fn who_is_forgotten_while_it_is_owed_a_message_is_looked_for_elsewhere() {
    let Globe { network, near, into, far, .. } = globe();
    know_home(&network, near[0], near[1]);
    network.publish(near[0], vec![message(1, 1, AGENT, &[1])]);
    network.forget_at(near[0], Destination::Node(network.id(near[1])));
    assert_eq!(network.take_unresolved(near[0]).len(), 1);
    know_home(&network, near[0], far[1]);
    network.publish(near[0], vec![message(1, 2, AGENT, &[2])]);
    while let Some((node, link, lane)) =
        network.in_flight().into_iter().find(|(node, ..)| !into.contains(node))
    {
        network.carry(node, link, lane);
    }
    into.iter().for_each(|node| network.forget_at(*node, Destination::Node(network.id(far[1]))));
    for (node, link, lane) in network.in_flight() {
        match lane {
            Lane::Control => network.carry(node, link, lane),
            Lane::Priority | Lane::Bulk => drop(network.take(node, link, lane)),
        }
    }
    network.run();
    let pending = network.take_unresolved(near[0]);
    assert_eq!(pending.iter().map(|p| p.number).collect::<Vec<_>>(), [2]);
    assert!(network.published(near[0], 1).is_empty());
}

#[test]
fn a_message_that_waited_for_a_home_is_not_lost_to_later_ones() {
    let (network, left, right, _) = pair();
    network.host(right, AGENT, 5, 0);
    network.publish(left, vec![message(1, 1, AGENT, &[1])]);
    // The home becomes known, and another task is quicker than the machine.
    know_home(&network, left, right);
    network.publish(left, vec![message(1, 2, AGENT, &[2])]);
    network.run();
    admit_again(&network, left, right);
    network.run();
    let mut got = payloads(&network, right, 5);
    got.sort_unstable();
    assert_eq!(got, [1, 2]);
}

#[test]
fn a_message_sent_again_through_another_edge_is_delivered_once() {
    let Globe { network, near, far, .. } = globe();
    network.host(far[0], AGENT, 5, 0);
    know_home(&network, near[0], far[0]);
    know_home(&network, near[1], far[0]);
    for node in near {
        network.publish(node, (1..=3).map(|number| message(1, number, AGENT, &[number as u8])).collect());
    }
    network.run();
    assert_eq!(payloads(&network, far[0], 5), [1, 2, 3]);
    assert_eq!(network.counter(far[0], "duplicate_entries"), 3);
}
