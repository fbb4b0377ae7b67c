//! Who is banned for what, and who is not.

use super::*;
use crate::conduct::{Offence, Opening, Proof};
use crate::hot::Report;
use crate::wire::bundle::{Bundle, Class};

/// A header of the node `seed` under `sequence`; `clock` makes it another.
fn opening(seed: u8, sequence: u64, clock: u64) -> Opening {
    let plain = Bundle {
        class: Class::EventBulk,
        mesh: admission(seed, Roles::EDGE, "east").mesh,
        origin: id(seed),
        incarnation: 1,
        sequence,
        clock,
        previous: None,
        is_checkpoint: false,
        agents: Vec::new(),
        sections: Vec::new(),
        header: Bytes::new(),
        hash: [0; 32],
    };
    Opening::of(&plain.signed_by(&key(seed).signer()).header).expect("it was encoded here")
}

pub(super) fn proof(seed: u8) -> Proof {
    Proof::of_pair(opening(seed, 7, 1), opening(seed, 7, 2)).expect("two headers under one number")
}

fn spoiled(seed: u8) -> Bytes {
    let mut bytes = proof(seed).to_bytes().to_vec();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    bytes.into()
}

fn linked(node: &mut Neighbours, now: Now, seeds: &[u8], out: &mut Outbox) {
    for seed in seeds {
        node.link_up(now, LinkSlot(u32::from(*seed)), peer(*seed, Roles::EDGE, "east"), out);
    }
    out.drain();
}

/// Links over which something was sent that `of` picks.
fn told(out: &mut Outbox) -> (Vec<LinkSlot>, Vec<LinkSlot>, Vec<Event>) {
    let (mut proofs, mut hung_up, mut events) = (Vec::new(), Vec::new(), Vec::new());
    for output in out.drain() {
        match output {
            Output::Control { link, body: ControlBody::Proof(_) } => proofs.push(link),
            Output::ControlToAll { links, body: ControlBody::Proof(_) } => proofs.extend(links),
            Output::HangUp { link, .. } => hung_up.push(link),
            Output::Event(event) => events.push(event),
            _ => {}
        }
    }
    (proofs, hung_up, events)
}

fn status(node: &Neighbours, seed: u8) -> String {
    let name = format!("node-{seed}");
    node.members()
        .into_iter()
        .find(|member| member.name == name)
        .map(|member| member.status)
        .unwrap_or_default()
}

#[test]
fn a_proof_bans_its_culprit_for_good_and_is_passed_on_once() {
    let (mut node, mut out) = (me(Roles::EDGE, &[]), Outbox::new());
    linked(&mut node, at(0), &[2, 3, 4], &mut out);
    let bytes = ControlBody::Proof(proof(3).to_bytes());
    let facts = node.on_control(at(10), LinkSlot(2), bytes.clone(), &mut out).expect("it is taken");
    assert_eq!(facts, [Fact::Down(id(3), LinkSlot(3)), Fact::Lost(id(3)), Fact::Convicted(id(3))]);
    let (proofs, hung_up, events) = told(&mut out);
    assert_eq!((proofs, hung_up), (vec![LinkSlot(4)], vec![LinkSlot(3)]), "not back, and not to the culprit");
    assert!(events.contains(&Event::PeerBanned {
        name: "node-3".to_string(),
        reason: "it signed two headers for one sequence"
    }));
    assert_eq!((status(&node, 3).as_str(), status(&node, 2).as_str()), ("banned", "up"));
    let (origins, links, _) = node.tables();
    assert!(!origins.contains_key(&id(3)) && !links.contains_key(&id(3)) && origins.contains_key(&id(2)));
    assert_eq!(node.banned(), BTreeSet::from([id(3)]));
    // It is not news twice, whoever brings it.
    assert_eq!(node.on_control(at(20), LinkSlot(4), bytes, &mut out), Ok(Vec::new()));
    assert_eq!(told(&mut out), (Vec::new(), Vec::new(), Vec::new()));
    // A newcomer is told; the culprit finds no door and is not looked for, however long it waits.
    let day = at(24 * 3_600_000);
    assert_eq!(node.link_up(day, LinkSlot(30), peer(3, Roles::EDGE, "east"), &mut out), []);
    assert_eq!(told(&mut out).1, [LinkSlot(30)]);
    node.link_up(day, LinkSlot(5), peer(5, Roles::EDGE, "east"), &mut out);
    assert_eq!(told(&mut out).0, [LinkSlot(5)]);
    node.wake(day, &mut out);
    assert!(!dials(&mut out).contains(&"node-3:1".to_string()));
    node.check();
}

#[test]
fn what_the_hot_path_proves_is_told_to_all_others() {
    let (mut node, mut out) = (me(Roles::EDGE, &[]), Outbox::new());
    linked(&mut node, at(0), &[2, 3, 4], &mut out);
    let facts = node.on_report(at(1), Report::Contradiction(Box::new(proof(3))), &mut out);
    assert!(facts.contains(&Fact::Convicted(id(3))), "{facts:?}");
    assert_eq!(told(&mut out).0, [LinkSlot(2), LinkSlot(4)]);
}

#[test]
fn who_brings_a_false_proof_is_at_fault_and_the_accused_is_not() {
    let (mut node, mut out) = (me(Roles::EDGE, &[]), Outbox::new());
    linked(&mut node, at(0), &[2, 3], &mut out);
    for turn in 0..6 {
        let bytes = if turn % 2 == 0 { spoiled(3) } else { Bytes::from_static(b"nonsense") };
        let facts = node.on_control(at(turn), LinkSlot(2), ControlBody::Proof(bytes), &mut out);
        assert_eq!(facts.map(|facts| facts.len()), Ok(if turn < 5 { 0 } else { 2 }), "after {turn}");
    }
    assert_eq!((status(&node, 2).as_str(), status(&node, 3).as_str()), ("banned", "up"));
    assert_eq!(told(&mut out).0, [], "nothing of it was passed on");
}

#[test]
fn forgeries_ban_for_a_time_and_then_there_is_a_second_chance() {
    // Of another region, so that nobody minds that it does not answer probes for so long.
    let (mut node, mut out) = (me(Roles::AGGREGATOR, &[]), Outbox::new());
    let west = || peer(2, Roles::AGGREGATOR, "west");
    node.link_up(at(0), LinkSlot(2), west(), &mut out);
    let report = || Report::Offence { from: LinkSlot(2), offence: Offence::InvalidSignature };
    let facts: Vec<Vec<Fact>> = (0..7).map(|_| node.on_report(at(0), report(), &mut out)).collect();
    assert_eq!(facts[5], [Fact::Down(id(2), LinkSlot(2)), Fact::Lost(id(2))]);
    assert!(facts[..5].iter().chain(&facts[6..]).all(Vec::is_empty), "{facts:?}");
    assert_eq!((told(&mut out).1, status(&node, 2).as_str()), (vec![LinkSlot(2)], "banned"));
    assert!(node.tables().0.contains_key(&id(2)), "what it signed is good where others bring it");
    // A tenth of a reputation takes 500 s to come back.
    assert_eq!(node.link_up(at(490_000), LinkSlot(20), west(), &mut out), []);
    assert_eq!(told(&mut out).1, [LinkSlot(20)]);
    let mut now = 490_000;
    while dials(&mut out).is_empty() {
        assert!(now < 520_000, "it is not dialled again");
        now = node.deadline().map_or(0, Time::as_millis).max(now + 1);
        node.wake(at(now), &mut out);
    }
    assert!(now >= 500_000, "{now}");
    assert!(!node.link_up(at(now), LinkSlot(21), west(), &mut out).is_empty());
    assert_eq!(status(&node, 2), "up");
    node.check();
}

#[test]
fn what_others_say_of_a_linked_peer_changes_nothing() {
    let (mut node, mut out) = (me(Roles::EDGE, &[]), Outbox::new());
    linked(&mut node, at(0), &[2, 3], &mut out);
    let told = PeerRecord {
        incarnation: 1 << 60,
        addresses: vec!["nowhere:1".to_string()],
        ..record(3, Roles::EDGE, "east")
    };
    hear(&mut node, at(1), vec![told], &mut out);
    let known = node.get(id(3)).expect("it is linked");
    assert_eq!((known.incarnation, &known.addresses[..]), (1, &["node-3:1".to_string()][..]));
}

#[test]
fn who_acknowledges_nothing_has_no_link_for_a_while() {
    let (mut node, mut out) = (me(Roles::EDGE, &[]), Outbox::new());
    linked(&mut node, at(0), &[2, 3], &mut out);
    let facts = node.on_report(at(1), Report::Withheld { node: id(2) }, &mut out);
    assert_eq!(facts, [Fact::Down(id(2), LinkSlot(2)), Fact::Lost(id(2))]);
    assert_eq!((told(&mut out).1, status(&node, 2).as_str()), (vec![LinkSlot(2)], "banned"));
    assert_eq!(node.on_report(at(2), Report::Withheld { node: id(2) }, &mut out), []);
    assert_eq!(status(&node, 3), "up");
    node.check();
}

#[test]
fn who_shuns_an_aggregator_of_its_region_is_apart_from_it_as_long_as_others_may_lead_over_it() {
    for (roles, region, is_apart) in [
        (Roles::AGGREGATOR, "east", true),
        // What edges seal is not wanted from who is banned, and other regions are left by other ways.
        (Roles::EDGE, "east", false),
        (Roles::AGGREGATOR, "west", false),
    ] {
        let (mut node, mut out) = (me(Roles::EDGE, &[]), Outbox::new());
        linked(&mut node, at(0), &[3], &mut out);
        node.link_up(at(0), LinkSlot(2), peer(2, roles, region), &mut out);
        let report = || Report::Offence { from: LinkSlot(2), offence: Offence::InvalidSignature };
        (0..6).for_each(|_| {
            node.on_report(at(0), report(), &mut out);
        });
        assert_eq!(status(&node, 2), "banned");
        let (mut now, mut said) = (0, Vec::new());
        while now < 10_000 {
            now = node.deadline().map_or(u64::MAX, Time::as_millis).max(now + 1);
            let facts = node.wake(at(now), &mut out);
            said.extend(facts.into_iter().filter(|fact| *fact == Fact::Apart(id(2))).map(|_| now));
        }
        let timeout = limits::LINK_TIMEOUT.as_millis() as u64;
        let expected: Vec<u64> =
            [1, 2, 3].map(|times| times * timeout).into_iter().filter(|_| is_apart).collect();
        assert_eq!(said, expected, "{roles} of {region}");
        node.check();
    }
}
