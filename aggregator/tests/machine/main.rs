//! The aggregator as its driver sees it. What needs a mesh round it is in the simulator's tests.

#![allow(missing_docs, reason = "a test has no users")]

#[path = "../../../edge/tests/machine/support.rs"]
mod support;

use bytes::Bytes;
use starling_aggregator::Aggregator;
use starling_core::id::RegionId;
use starling_core::identity::Roles;
use starling_core::machine::{Input, LinkSlot, Output};
use starling_core::wire::message::{
    ControlBody, Directory, Interest, InterestConfirmed, Locate, Located, Update, UpdateApplied,
};
use support::*;

const AGENT: [u8; 16] = [7; 16];

fn bench() -> Bench<Aggregator> {
    Bench::new(Aggregator::new(identity(Roles::AGGREGATOR), Vec::new(), 1))
}

fn region(name: &str) -> u64 {
    RegionId::of_name(name).0
}

fn located(outputs: &[Output], link: u32) -> Vec<(u64, u64)> {
    let answer = |body: &&ControlBody| match body {
        ControlBody::Located(located) => Some((located.region, located.edge)),
        _ => None,
    };
    sent(outputs, link).iter().filter_map(answer).collect()
}

fn answer(region: u64, edge: u64) -> ControlBody {
    ControlBody::Located(Located { agent: Bytes::copy_from_slice(&AGENT), region, edge, session: 1 })
}

fn question(from_region: bool) -> ControlBody {
    ControlBody::Locate(Locate { agent: Bytes::copy_from_slice(&AGENT), from_region })
}

#[test]
fn a_home_is_asked_of_every_region_and_each_answers_for_itself() {
    let mut aggregator = bench();
    aggregator.link(1, 2, Roles::EDGE, "east");
    aggregator.link(2, 3, Roles::AGGREGATOR, "west");
    aggregator.link(3, 4, Roles::AGGREGATOR, "west");
    aggregator.link(4, 5, Roles::AGGREGATOR, "north");
    let outputs = aggregator.control(1, question(false));
    let asked = |link| sent(&outputs, link).iter().any(|body| matches!(body, ControlBody::Locate(_)));
    assert_ne!(asked(2), asked(3), "one of the two in the west");
    assert!(asked(4) && located(&outputs, 1).is_empty());
    assert!(
        located(&aggregator.control(1, answer(region("east"), 9)), 1).is_empty(),
        "an edge cannot answer"
    );
    assert!(located(&aggregator.control(4, answer(region("west"), 9)), 1).is_empty(), "nor north for west");
    assert!(located(&aggregator.control(4, answer(0, 0)), 1).is_empty(), "one does not know, one may");
    assert_eq!(located(&aggregator.control(2, answer(region("west"), 9)), 1), [(region("west"), 9)]);
    // Nobody knows: said once all have answered.
    aggregator.control(1, question(false));
    assert!(located(&aggregator.control(4, answer(0, 0)), 1).is_empty());
    assert_eq!(located(&aggregator.control(2, answer(0, 0)), 1), [(0, 0)]);
    // One that is asked by another region asks nobody else.
    let outputs = aggregator.control(4, question(true));
    assert_eq!(located(&outputs, 4), [(0, 0)]);
    // A question that one never answers ends.
    aggregator.control(1, question(false));
    aggregator.pass(1100);
    aggregator.control(1, question(false));
    assert_eq!(located(&aggregator.control(2, answer(region("west"), 8)), 1), [(region("west"), 8)]);
}

#[test]
fn updates_go_to_who_said_how_far_it_is_in_order_from_there() {
    let mut aggregator = bench();
    let outputs = aggregator.link(9, 9, Roles::COORDINATOR, "global");
    let applied = |index| ControlBody::UpdateApplied(UpdateApplied { index });
    assert!(sent(&outputs, 9).contains(&&applied(0)), "the coordinator hears what is missing here");
    let update = |index| ControlBody::Update(Update { index, ..Update::default() });
    let indices = |outputs: &[Output], link| -> Vec<u64> {
        let index = |body: &&ControlBody| match body {
            ControlBody::Update(update) => Some(update.index),
            _ => None,
        };
        sent(outputs, link).iter().filter_map(index).collect()
    };
    aggregator.control(9, update(1));
    aggregator.control(9, update(2));
    aggregator.link(1, 2, Roles::EDGE, "east");
    // Decided while the edge's first word is on its way: it must not be the first that it gets.
    assert_eq!(indices(&aggregator.control(9, update(3)), 1), Vec::<u64>::new());
    assert_eq!(indices(&aggregator.control(1, applied(0)), 1), [1, 2, 3]);
    assert_eq!(indices(&aggregator.control(9, update(4)), 1), [4]);
    assert_eq!(indices(&aggregator.control(1, applied(1)), 1), Vec::<u64>::new());
    // The same edge over another link begins anew.
    aggregator.input(Input::LinkDown { link: LinkSlot(1), timed_out: false });
    aggregator.link(2, 2, Roles::EDGE, "east");
    assert_eq!(indices(&aggregator.control(9, update(5)), 2), Vec::<u64>::new());
    assert_eq!(indices(&aggregator.control(2, applied(4)), 2), [5]);
    assert_eq!(indices(&aggregator.control(2, update(6)), 2), Vec::<u64>::new(), "an edge decides nothing");
}

#[test]
fn a_declaration_is_confirmed_when_those_behind_confirmed_or_are_gone() {
    let mut aggregator = bench();
    aggregator.link(1, 2, Roles::EDGE, "east");
    aggregator.link(2, 3, Roles::AGGREGATOR, "west");
    aggregator.link(3, 4, Roles::AGGREGATOR, "west");
    aggregator.pass(3100);
    let interest = Interest { version: 6, added: vec!["a".into()], ..Interest::default() };
    let mut outputs = aggregator.control(1, ControlBody::Interest(interest));
    outputs.extend(aggregator.pass(10));
    let version = sent(&outputs, 2).iter().find_map(|body| match body {
        ControlBody::Interest(interest) if interest.region == region("east") => Some(interest.version),
        _ => None,
    });
    let version = version.expect("it is passed on");
    let confirmed = |region, version| ControlBody::InterestConfirmed(InterestConfirmed { region, version });
    let outputs = aggregator.control(2, confirmed(region("east"), version));
    assert!(!sent(&outputs, 1).contains(&&confirmed(0, 6)), "one of two");
    let outputs = aggregator.input(Input::LinkDown { link: LinkSlot(3), timed_out: false });
    assert!(sent(&outputs, 1).contains(&&confirmed(0, 6)), "and the other is gone");
}

#[test]
fn a_node_that_leads_nowhere_takes_no_way_with_it() {
    let mut aggregator = bench();
    aggregator.link(1, 2, Roles::EDGE, "east");
    aggregator.link(2, 3, Roles::COORDINATOR, "global");
    aggregator.pass(10);
    let mut outputs = aggregator.input(Input::LinkDown { link: LinkSlot(2), timed_out: true });
    outputs.extend(aggregator.pass(100));
    let gone = |body: &&&ControlBody| matches!(body, ControlBody::Interest(interest) if interest.gone);
    assert_eq!(sent(&outputs, 1).iter().filter(gone).count(), 0);
}

#[test]
fn malformed_records_are_ignored() {
    let mut aggregator = bench();
    aggregator.link(1, 2, Roles::EDGE, "east");
    for length in [0, 1, 15, 23, 25, 47] {
        let bytes = Bytes::from(vec![1; length]);
        let directory = Directory { whole: false, attached: bytes.clone(), detached: bytes };
        aggregator.control(1, ControlBody::Directory(directory));
    }
    let outputs = aggregator.control(1, ControlBody::Summary(Bytes::from_static(b"junk")));
    assert!(outputs.iter().any(|output| matches!(output, Output::HangUp { link: LinkSlot(1), .. })));
}
