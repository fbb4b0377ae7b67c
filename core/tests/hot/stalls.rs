//! Relays that hold back, or change, what they are to pass on: everything comes by another way.

use std::collections::BTreeMap;
use std::sync::Arc;

use starling_core::conduct::Offence;
use starling_core::hot::Pressure;
use starling_core::hot::Report;
use starling_core::id::RegionId;
use starling_core::limits::{HELD_MAX, STALL_TIMEOUT, WITHHELD_TIMEOUT};
use starling_core::machine::Destination;

use super::network::{Globe, Lane, Network, globe, publication};

const FAR: RegionId = RegionId(2);

/// Lets `node` pass over so many ways to the far region, and send again.
fn detour(network: &Network, node: usize, detour: u16) {
    let mut view = (*network.nodes[node].plane.view()).clone();
    view.detours = Arc::new(BTreeMap::from([(FAR, detour)]));
    network.nodes[node].plane.set_view(view);
    network.resend(node, Destination::Region(FAR));
}

/// Carries frames until nothing is in flight, but for bundles that `holds` sends, which are lost.
fn run_without(network: &Network, holds: &[usize]) {
    loop {
        let busy = network.in_flight();
        if busy.is_empty() {
            return;
        }
        for (node, link, lane) in busy {
            match holds.contains(&node) && lane != Lane::Control {
                true => drop(network.take(node, link, lane)),
                false => network.carry(node, link, lane),
            }
        }
    }
}

/// What a node tells of stalls in so many ticks of 100 ms.
fn stalls(network: &mut Network, node: usize, ticks: u32) -> Vec<(RegionId, u16)> {
    (0..ticks).for_each(|_| network.tick(100));
    let told = network.reports(node).into_iter();
    told.map(|report| match report {
        Report::Stalled { region, detour } => (region, detour),
        other => panic!("nothing else is wrong: {other:?}"),
    })
    .collect()
}

#[test]
fn whoever_of_the_relays_holds_back_is_passed_by() {
    for hold in 0..4 {
        let Globe { mut network, near, out, into, far } = globe();
        network.subscribe(far[0], 1, 1, "a");
        network.refresh();
        // One of this region's aggregators, one of the other's, or one of each.
        let holds = [vec![], vec![out[hold % 2]], vec![into[hold / 2]], vec![out[hold % 2], into[hold / 2]]];
        let mut sent = 0;
        for holds in holds {
            for _ in 0..3 {
                sent += 1;
                network.publish(near[0], vec![publication(1, sent, "a", b"x")]);
                run_without(&network, &holds);
            }
            let ticks = STALL_TIMEOUT.as_millis() as u32 / 100 + 12;
            for _ in 0..4 {
                for (region, present) in stalls(&mut network, near[0], ticks) {
                    assert_eq!(region, FAR);
                    detour(&network, near[0], present + 1);
                    run_without(&network, &holds);
                }
            }
            let mut told = network.published(near[0], 1);
            told.sort_unstable();
            assert!(told.into_iter().eq(1..=sent), "{holds:?} hold back");
        }
        assert!(network.sequences(far[0], 1, 1, "a").into_iter().eq(1..=sent));
        assert_eq!(stalls(&mut network, near[0], 1_000), [], "nothing is owed");
    }
}

#[test]
fn what_follows_a_changed_bundle_does_not_overtake_it() {
    let Globe { mut network, near, out, into, far } = globe();
    network.subscribe(far[0], 1, 1, "a");
    network.refresh();
    for number in 1..=3 {
        network.publish(near[0], vec![publication(1, number, "a", b"x")]);
    }
    // The relay changes the second of three.
    let (_, link, _) = network.in_flight()[0];
    let relay = network.peer(link);
    (0..3).for_each(|_| network.carry(near[0], link, Lane::Bulk));
    let (_, beyond, _) = *network.in_flight().iter().find(|(node, ..)| *node == relay).expect("passed on");
    network.carry(relay, beyond, Lane::Bulk);
    let changed = network.take(relay, beyond, Lane::Bulk).expect("the second");
    let mut bytes = changed.to_vec();
    *bytes.last_mut().expect("not empty") ^= 1;
    let (to, at) = (network.peer(beyond), network.far_end(beyond));
    network.hand(to, at, &bytes.into());
    network.run();
    assert_eq!(network.sequences(far[0], 1, 1, "a"), [1]);
    let offences: Vec<Report> = into.iter().flat_map(|node| network.reports(*node)).collect();
    assert_eq!(offences, [Report::Offence { from: at, offence: Offence::InvalidSignature }]);
    // By the same way from the beginning, and by the others.
    for other in 0..4 {
        network.publish(near[0], vec![publication(1, 4 + u64::from(other), "a", b"x")]);
        detour(&network, near[0], other);
        network.run();
        assert!(network.sequences(far[0], 1, 1, "a").into_iter().eq(1..=4 + u64::from(other)));
    }
    assert!(out.contains(&relay));
}

/// Seconds in which nodes `tell` of who acknowledges nothing, while `silent` says nothing.
fn withheld(network: &mut Network, silent: usize, seconds: u64) -> Vec<(usize, Report)> {
    let mut told = Vec::new();
    for _ in 0..seconds * 4 {
        for (node, link, lane) in network.in_flight() {
            match node == silent && lane == Lane::Control {
                true => drop(network.take(node, link, lane)),
                false => network.carry(node, link, lane),
            }
        }
        network.tick(250);
        for node in 0..network.nodes.len() {
            let reports = network.reports(node).into_iter();
            told.extend(reports.filter(|r| matches!(r, Report::Withheld { .. })).map(|r| (node, r)));
        }
    }
    told
}

#[test]
fn who_acknowledges_nothing_is_told_of_by_those_whom_it_keeps_waiting() {
    let Globe { mut network, near, into, far, .. } = globe();
    for node in [near[1], far[0], far[1]] {
        network.subscribe(node, 1, 1, "a");
    }
    network.refresh();
    let patience = WITHHELD_TIMEOUT.as_secs() + 3;
    for (silent, by) in [(near[1], vec![near[0]]), (far[0], into.to_vec())] {
        network.publish(near[0], vec![publication(1, 1 + silent as u64, "a", b"x")]);
        let node = network.id(silent);
        let told = withheld(&mut network, silent, patience);
        assert!(!told.is_empty() && told.iter().all(|(at, _)| by.contains(at)), "{told:?}");
        assert!(told.iter().all(|(_, report)| *report == Report::Withheld { node }));
        // Owed nothing any more, it keeps nobody waiting.
        by.iter().for_each(|at| network.forget_at(*at, Destination::Node(node)));
        network.run();
        assert_eq!(network.published(near[0], 1).last(), Some(&(1 + silent as u64)));
    }
}

#[test]
fn a_slow_subscriber_holds_back_for_a_while_and_its_edge_is_at_no_fault() {
    let Globe { mut network, near, .. } = globe();
    network.subscribe(near[1], 1, 1, "a");
    network.refresh();
    network.set_pressure(near[1], 1, Pressure::Slow);
    let count = 2 + WITHHELD_TIMEOUT.as_secs() / HELD_MAX.as_secs();
    for number in 1..=count {
        network.publish(near[0], vec![publication(1, number, "a", b"x")]);
    }
    let nobody = network.nodes.len();
    assert_eq!(withheld(&mut network, nobody, HELD_MAX.as_secs() - 1), []);
    assert!(network.published(near[0], 1).is_empty());
    // Longer than a node may say nothing; it says a little.
    for number in 1..count {
        assert_eq!(withheld(&mut network, nobody, HELD_MAX.as_secs()), []);
        assert!(network.published(near[0], 1).into_iter().eq(1..=number));
    }
    network.set_pressure(near[1], 1, Pressure::Fine);
    assert_eq!(withheld(&mut network, nobody, 1), []);
    assert!(network.published(near[0], 1).into_iter().eq(1..=count));
}
