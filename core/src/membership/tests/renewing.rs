//! An edge, an aggregator and a coordinator, in a row.

use super::*;
use crate::machine::{Granted, Wanted};

const DOWN: LinkSlot = LinkSlot(1);
const UP: LinkSlot = LinkSlot(2);

struct Row {
    edge: Neighbours,
    aggregator: Neighbours,
    coordinator: Neighbours,
}

impl Row {
    fn new() -> Row {
        let mut row = Row {
            edge: node(1, Roles::EDGE, &[]),
            aggregator: node(2, Roles::AGGREGATOR, &[]),
            coordinator: node(3, Roles::COORDINATOR, &[]),
        };
        let out = &mut Outbox::new();
        row.edge.link_up(at(0), DOWN, peer(2, Roles::AGGREGATOR, "east"), out);
        row.aggregator.link_up(at(0), DOWN, peer(1, Roles::EDGE, "east"), out);
        row.aggregator.link_up(at(0), UP, peer(3, Roles::COORDINATOR, "east"), out);
        row.coordinator.link_up(at(0), UP, peer(2, Roles::AGGREGATOR, "east"), out);
        row
    }

    /// What the edge asks.
    fn ask(&mut self, number: u64) -> ControlBody {
        let mut out = Outbox::new();
        let request = Bytes::from_static(b"request");
        self.edge.on_wanted(at(1_000), Wanted::Certificate { number, request }, &mut out);
        only(DOWN, out)
    }
}

/// The one message that was sent, over this link.
fn only(over: LinkSlot, mut out: Outbox) -> ControlBody {
    let sent: Vec<Output> = out.drain().collect();
    match <[Output; 1]>::try_from(sent) {
        Ok([Output::Control { link, body }]) if link == over => body,
        other => panic!("one message over {over:?}, not {other:?}"),
    }
}

fn granted(mut out: Outbox) -> Vec<Granted> {
    let granted = |output| match output {
        Output::Granted(granted) => granted,
        other => panic!("not {other:?}"),
    };
    out.drain().map(granted).collect()
}

fn hand(to: &mut Neighbours, link: LinkSlot, body: ControlBody, millis: u64) -> Outbox {
    let mut out = Outbox::new();
    to.on_control(at(millis), link, body, &mut out).expect("it is of membership");
    out
}

#[test]
fn a_question_goes_up_and_its_answer_comes_down() {
    let mut row = Row::new();
    let asked = row.ask(7);
    let passed = only(UP, hand(&mut row.aggregator, DOWN, asked.clone(), 1_000));
    assert_eq!(passed, asked, "an aggregator changes nothing");
    let issue = granted(hand(&mut row.coordinator, UP, passed.clone(), 1_000));
    let [Granted::Issue { admission, number: 7, request }] = &issue[..] else { panic!("{issue:?}") };
    assert_eq!((admission.node().short(), &request[..]), (id(1), &b"request"[..]));
    // The same again at once is not worked off twice.
    assert!(granted(hand(&mut row.coordinator, UP, passed, 1_100)).is_empty());

    let mut out = Outbox::new();
    let result = Ok("certificate".to_owned());
    let answer = Wanted::Answer { node: id(1), number: 7, result };
    row.coordinator.on_wanted(at(1_200), answer, &mut out);
    let answered = only(UP, out);
    let down = only(DOWN, hand(&mut row.aggregator, UP, answered.clone(), 1_200));
    assert!(hand(&mut row.aggregator, UP, answered, 1_200).outputs().is_empty(), "once");
    let got = granted(hand(&mut row.edge, DOWN, down, 1_200));
    assert!(
        matches!(&got[..], [Granted::Certificate { number: 7, result: Ok(pem) }] if pem == "certificate")
    );
}

#[test]
fn who_is_not_admitted_or_not_the_signer_gets_nothing() {
    let mut row = Row::new();
    let ControlBody::CertificateAsk(ask) = row.ask(7) else { panic!("a question") };
    let mut other_key = ask.clone();
    other_key.request = Bytes::from_static(b"another");
    let mut other_node = ask.clone();
    other_node.admission = admission(9, Roles::EDGE, "east").to_bytes();
    let mut unadmitted = ask.clone();
    unadmitted.admission =
        Admission { region: "west".parse().expect("a name"), ..admission(1, Roles::EDGE, "east") }.to_bytes();
    let mut too_long = ask.clone();
    too_long.request = Bytes::from(vec![0; 5_000]);
    for bad in [other_key, other_node, unadmitted, too_long] {
        let out = hand(&mut row.coordinator, UP, ControlBody::CertificateAsk(bad.clone()), 2_000);
        assert!(out.outputs().is_empty(), "{bad:?}");
    }
    // An edge asks nobody for others, and passes nothing on.
    let mut foreign = ask.clone();
    foreign.admission = admission(9, Roles::EDGE, "east").to_bytes();
    assert!(
        hand(&mut row.aggregator, DOWN, ControlBody::CertificateAsk(foreign), 2_000).outputs().is_empty()
    );
    assert!(hand(&mut row.edge, DOWN, ControlBody::CertificateAsk(ask), 2_000).outputs().is_empty());
}

#[test]
fn who_leads_nowhere_says_so() {
    let mut row = Row::new();
    let asked = row.ask(8);
    row.aggregator.link_down(at(1_000), UP, false, &mut Outbox::new());
    let refused = only(DOWN, hand(&mut row.aggregator, DOWN, asked, 1_500));
    let got = granted(hand(&mut row.edge, DOWN, refused, 1_500));
    assert!(
        matches!(&got[..], [Granted::Certificate { number: 8, result: Err(why) }] if why.contains("coordinator"))
    );
    row.edge.link_down(at(2_000), DOWN, false, &mut Outbox::new());
    let mut out = Outbox::new();
    row.edge.on_wanted(at(2_000), Wanted::Certificate { number: 9, request: Bytes::new() }, &mut out);
    assert!(matches!(&granted(out)[..], [Granted::Certificate { number: 9, result: Err(_) }]));
}

#[test]
fn a_coordinator_renews_its_own() {
    let mut row = Row::new();
    let mut out = Outbox::new();
    let request = Bytes::from_static(b"own");
    row.coordinator.on_wanted(at(1_000), Wanted::Certificate { number: 3, request }, &mut out);
    assert!(matches!(&granted(out)[..], [Granted::Issue { number: 3, .. }]));
    let mut out = Outbox::new();
    let answer = Wanted::Answer { node: id(3), number: 3, result: Ok("own".to_owned()) };
    row.coordinator.on_wanted(at(1_000), answer, &mut out);
    assert!(matches!(&granted(out)[..], [Granted::Certificate { number: 3, result: Ok(_) }]));
}
