//! The coordinator as its driver sees it. What needs a mesh round it is in the simulator's tests.

#![allow(missing_docs, reason = "a test has no users")]

#[path = "../../../edge/tests/machine/support.rs"]
mod support;

use bytes::Bytes;
use starling_coordinator::Coordinator;
use starling_core::id::AgentId;
use starling_core::identity::{Context, Roles, Signature, VerifyKey};
use starling_core::machine::{ConnectionSlot, Input, Output};
use starling_core::summary::{Fold, Summary};
use starling_core::wire::codec::Wire;
use starling_core::wire::message::{ControlBody, Update, UpdateApplied, update_message};
use starling_core::wire::request::{Ask, Empty, RefusedCode, Say};
use support::*;

fn bench() -> Bench<Coordinator> {
    Bench::new(Coordinator::new(identity(Roles::COORDINATOR), Vec::new(), 1))
}

fn ask(bench: &mut Bench<Coordinator>, connection: u32, id: u64, ask: Ask) -> Vec<Output> {
    bench.input(Input::Request { connection: ConnectionSlot(connection), id, ask })
}

fn propose(bench: &mut Bench<Coordinator>, id: u64, payload: &'static [u8]) -> Bytes {
    let outputs = ask(bench, 1, id, Ask::Update(Bytes::from_static(payload)));
    let proposed = outputs.into_iter().find_map(|output| match output {
        Output::Propose(entry) => Some(entry),
        _ => None,
    });
    proposed.expect("it is proposed")
}

fn replies(outputs: &[Output]) -> Vec<(u64, &Say)> {
    let reply = |output| match output {
        &Output::Reply { id, ref say, .. } => Some((id, say)),
        _ => None,
    };
    outputs.iter().filter_map(reply).collect()
}

fn updates(outputs: &[Output], link: u32) -> Vec<Update> {
    let update = |body: &&ControlBody| match body {
        ControlBody::Update(update) => Some(update.clone()),
        _ => None,
    };
    sent(outputs, link).iter().filter_map(update).collect()
}

#[test]
fn each_request_hears_of_its_own_entry_whatever_else_is_committed() {
    let mut coordinator = bench();
    let first = propose(&mut coordinator, 11, b"first");
    let second = propose(&mut coordinator, 12, b"second");
    let commit = |coordinator: &mut Bench<Coordinator>, index, entry: &Bytes| {
        coordinator.input(Input::Committed { index, entry: entry.clone() })
    };
    let foreign = Bytes::from_static(b"12345678 of another coordinator");
    assert_eq!(replies(&commit(&mut coordinator, 1, &foreign)), []);
    assert_eq!(replies(&commit(&mut coordinator, 2, &second)), [(12, &Say::Decided(2))]);
    assert_eq!(replies(&commit(&mut coordinator, 3, &first)), [(11, &Say::Decided(3))]);
    let outputs = commit(&mut coordinator, 3, &first);
    assert!(!outputs.iter().any(|output| matches!(output, Output::Event(_))), "a log told twice");
    commit(&mut coordinator, 4, &Bytes::from_static(b"short"));
}

#[test]
fn proposals_are_bounded() {
    let mut coordinator = bench();
    for id in 0..1024 {
        propose(&mut coordinator, id, b"x");
    }
    let outputs = ask(&mut coordinator, 1, 5000, Ask::Update(Bytes::new()));
    let is_refused = |outputs: &[Output], code| matches!(replies(outputs)[..], [(_, Say::Refused(refused))] if refused.code == code as u32);
    assert!(is_refused(&outputs, RefusedCode::Unavailable));
    let outputs = ask(&mut bench(), 1, 1, Ask::Update(Bytes::from(vec![0; 16 * 1024 + 1])));
    assert!(is_refused(&outputs, RefusedCode::Limit));
}

#[test]
fn aggregators_get_signed_updates_from_where_they_are_and_others_none() {
    let mut coordinator = bench();
    let entry = propose(&mut coordinator, 1, b"payload");
    coordinator.input(Input::Committed { index: 1, entry: entry.clone() });
    let outputs = coordinator.link(1, 2, Roles::AGGREGATOR, "east");
    assert_eq!(updates(&outputs, 1), [], "it has not said how far it is");
    let outputs = coordinator.link(2, 3, Roles::EDGE, "east");
    assert_eq!(updates(&outputs, 2), []);
    let applied = ControlBody::UpdateApplied(UpdateApplied { index: 0 });
    assert_eq!(updates(&coordinator.control(2, applied.clone()), 2), [], "edges ask their aggregators");
    let outputs = coordinator.control(1, applied);
    let [update] = &updates(&outputs, 1)[..] else { panic!("{outputs:?}") };
    assert_eq!((update.index, &update.payload[..]), (1, &b"payload"[..]));
    let key = VerifyKey::new(&key(1).public()).expect("a good key");
    let signature = Signature(update.signature.as_ref().try_into().expect("64 bytes"));
    assert!(key.verify(Context::Update, &update_message(update), &signature));
    let outputs = coordinator.input(Input::Committed { index: 2, entry });
    assert_eq!((updates(&outputs, 1).len(), updates(&outputs, 2).len()), (1, 0));
}

#[test]
fn a_watched_cut_grows_and_never_goes_back() {
    let mut coordinator = bench();
    coordinator.link(1, 2, Roles::AGGREGATOR, "east");
    coordinator.link(2, 3, Roles::AGGREGATOR, "east");
    let edge = admission(9, Roles::EDGE, "east").node().short();
    let figure = |version: u64| {
        let (mut fold, mut summary) = (Fold::new(), Summary::new(1));
        for number in 0..version {
            summary.agent_joined(AgentId([number as u8; 16]), "s", []);
            summary.seal();
        }
        fold.apply(edge, summary.whole()).expect("a whole summary");
        ControlBody::Figure(fold.figure().to_bytes())
    };
    let told = |outputs: &[Output]| -> Vec<u64> {
        let cut = |(_, say): (u64, &Say)| match say {
            Say::Cut(cut) => Some(cut.edges.iter().map(|at| at.version).collect::<Vec<_>>()),
            _ => None,
        };
        replies(outputs).into_iter().filter_map(cut).flatten().collect()
    };
    coordinator.control(1, figure(3));
    assert_eq!(told(&ask(&mut coordinator, 5, 1, Ask::WatchCut(Empty {}))), [3]);
    assert_eq!(told(&coordinator.control(2, figure(2))), Vec::<u64>::new(), "behind");
    assert_eq!(told(&coordinator.control(2, figure(4))), [4]);
    assert_eq!(told(&coordinator.control(1, figure(4))), Vec::<u64>::new(), "the same from another");
    assert!(coordinator.pass(60_000).len() < 20, "it is left alone when nothing happens");
    // The better one leaves, and comes back with what is known.
    let timed_out = true;
    let link = starling_core::machine::LinkSlot(2);
    coordinator.input(Input::LinkDown { link, timed_out });
    assert_eq!(told(&coordinator.control(1, figure(3))), Vec::<u64>::new());
    assert_eq!(told(&coordinator.control(1, figure(5))), [5]);
    coordinator.input(Input::Disconnected { connection: ConnectionSlot(5) });
    assert_eq!(told(&coordinator.control(1, figure(6))), Vec::<u64>::new(), "nobody watches");
}
