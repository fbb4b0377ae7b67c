//! The edge as its driver sees it. What needs a mesh round it is in the simulator's tests.

#![allow(missing_docs, reason = "a test has no users")]

mod support;

use bytes::Bytes;
use starling_core::id::AgentId;
use starling_core::identity::{AttachClaim, PublicKey, Roles, Signature};
use starling_core::machine::{ConnectionSlot, Input, LinkSlot, Output};
use starling_core::wire::agent::{Candidate, Change, Profile};
use starling_core::wire::message::{ControlBody, Interest, InterestConfirmed, Located, Superseded, Update};
use starling_core::wire::request::{
    AgentsView, Ask, AskAgents, Numbers, RefusedCode, Say, Subscribe, Subscription,
};
use starling_edge::Edge;
use support::*;

const ONE: ConnectionSlot = ConnectionSlot(1);

fn bench(seeds: &[&str]) -> Bench<Edge> {
    let seeds = seeds.iter().map(|seed| seed.to_string()).collect();
    let now = starling_core::time::Now::default();
    Bench::new(Edge::new(identity(Roles::EDGE), seeds, 1, now))
}

fn candidate(number: u8, index: u32, session: u64) -> Candidate {
    let claim =
        AttachClaim { key: PublicKey([number; 32]), session, expires_ms: 0, signature: Signature([0; 64]) };
    Candidate { index, claim, profile: Profile::default() }
}

fn agent(number: u8) -> AgentId {
    candidate(number, 0, 0).claim.agent()
}

fn attach(bench: &mut Bench<Edge>, candidates: Vec<Candidate>) -> Vec<Output> {
    bench.input(Input::Attach { connection: ONE, request: 5, candidates, forged: vec![] })
}

fn ask(bench: &mut Bench<Edge>, id: u64, ask: Ask) -> Vec<Output> {
    bench.input(Input::Request { connection: ONE, id, ask })
}

fn subscribe(wanted: &[(u32, u32, &str)]) -> Ask {
    let subscription = |(number, agent, pattern): &(u32, u32, &str)| Subscription {
        number: *number,
        agent: *agent,
        pattern: pattern.to_string(),
    };
    Ask::Subscribe(Subscribe { subscriptions: wanted.iter().map(subscription).collect() })
}

fn says(outputs: &[Output], request: u64) -> Option<&Say> {
    outputs.iter().find_map(|output| match output {
        Output::Reply { id, say, .. } if *id == request => Some(say),
        _ => None,
    })
}

fn is_refused(say: Option<&Say>, code: RefusedCode) -> bool {
    matches!(say, Some(Say::Refused(refused)) if refused.code == code as u32)
}

#[test]
fn indices_and_sessions_are_checked_before_anything_is_made() {
    let mut edge = bench(&[]);
    let list = vec![
        candidate(1, 0, 3),
        candidate(2, 0, 3),
        candidate(3, 65_536, 1),
        candidate(4, u32::MAX, 1),
        candidate(1, 7, 3),
        candidate(5, 65_535, 1),
    ];
    let outputs = attach(&mut edge, list);
    let Some(Say::Attached(attached)) = says(&outputs, 5) else { panic!("{outputs:?}") };
    assert_eq!(attached.accepted, 2);
    assert_eq!(
        attached.refused.iter().map(|closed| closed.index).collect::<Vec<_>>(),
        [0, 65_536, u32::MAX, 7]
    );
}

#[test]
fn an_edge_with_seeds_takes_nobody_before_it_knows_what_is_wanted() {
    let mut edge = bench(&["node-2:1"]);
    let is_taken = |edge: &mut Bench<Edge>, number| {
        let outputs = attach(edge, vec![candidate(number, number.into(), 1)]);
        matches!(says(&outputs, 5), Some(Say::Attached(_)))
    };
    assert!(!is_taken(&mut edge, 1));
    edge.link(1, 2, Roles::EDGE, "east");
    assert!(!is_taken(&mut edge, 1), "its peer has not declared");
    edge.control(1, ControlBody::Interest(Interest { whole: true, ..Interest::default() }));
    edge.pass(10);
    assert!(!is_taken(&mut edge, 1), "there may be others of whom it has not heard yet");
    edge.pass(500);
    assert!(is_taken(&mut edge, 1));
    // A peer that never declares holds it up for three seconds and not longer.
    let mut edge = bench(&["node-2:1"]);
    edge.link(1, 2, Roles::EDGE, "east");
    edge.pass(2900);
    assert!(!is_taken(&mut edge, 1));
    edge.pass(200);
    assert!(is_taken(&mut edge, 1));
}

#[test]
fn subscriptions_are_opened_all_or_none() {
    let mut edge = bench(&[]);
    attach(&mut edge, vec![candidate(1, 0, 1)]);
    edge.link(1, 2, Roles::EDGE, "east");
    edge.pass(10);
    for (wrong, code) in [
        (subscribe(&[(1, 0, "a"), (2, 0, "b..c")]), RefusedCode::Invalid),
        (subscribe(&[(1, 0, "a"), (1, 0, "b")]), RefusedCode::Invalid),
        (subscribe(&[(1, 0, "a"), (2, 1, "b")]), RefusedCode::Unauthorized),
    ] {
        let outputs = ask(&mut edge, 6, wrong);
        assert!(is_refused(says(&outputs, 6), code), "{outputs:?}");
    }
    // System patterns are never widened, so there is room for so many; the last list has one more.
    for part in 0..4_u32 {
        let names: Vec<String> = (0..1024 - part / 3).map(|at| format!("$s.{part}.{at}")).collect();
        let wanted: Vec<_> =
            names.iter().zip(part * 2000..).map(|(name, at)| (at, 0, name.as_str())).collect();
        assert_eq!(says(&ask(&mut edge, 7, subscribe(&wanted)), 7), None, "part {part} waits");
    }
    // A rush is over after a second.
    edge.pass(1100);
    let outputs = ask(&mut edge, 8, subscribe(&[(90_000, 0, "plain"), (90_001, 0, "$s.more")]));
    assert!(is_refused(says(&outputs, 8), RefusedCode::Limit));
    let outputs = edge.pass(100);
    let is_interest = |body: &&&ControlBody| matches!(body, ControlBody::Interest(_));
    assert_eq!(sent(&outputs, 1).iter().find(is_interest), None, "nothing of the refused list is declared");
    // The numbers are free.
    assert_eq!(says(&ask(&mut edge, 9, subscribe(&[(90_000, 0, "plain")])), 9), None);
}

#[test]
fn a_rush_of_subscriptions_is_declared_as_few_patterns_and_exactly_when_it_is_over() {
    let mut edge = bench(&[]);
    attach(&mut edge, vec![candidate(1, 0, 1)]);
    edge.link(1, 2, Roles::EDGE, "east");
    edge.pass(10);
    let declared = |outputs: &[Output]| {
        let mut declared = (Vec::new(), Vec::new());
        for body in sent(outputs, 1) {
            if let ControlBody::Interest(interest) = body {
                declared.0.extend(interest.added.clone());
                declared.1.extend(interest.removed.clone());
            }
        }
        declared
    };
    let names: Vec<String> = (0..1000).map(|at| format!("rooms.{at}")).collect();
    let wanted: Vec<_> = names.iter().zip(1..).map(|(name, at)| (at, 0, name.as_str())).collect();
    let mut outputs = ask(&mut edge, 6, subscribe(&wanted));
    outputs.extend(edge.pass(10));
    assert_eq!(declared(&outputs).0, ["rooms.>"], "at once, and not a thousand");
    let (added, removed) = declared(&edge.pass(1100));
    assert_eq!((added.len(), removed), (1000, vec!["rooms.>".to_string()]));

    // Fewer are declared as they are.
    let mut outputs = ask(&mut edge, 7, subscribe(&[(2000, 0, "news.a"), (2001, 0, "news.b")]));
    outputs.extend(edge.pass(10));
    assert_eq!(declared(&outputs).0, ["news.a", "news.b"]);
}

#[test]
fn a_confirmation_waits_for_peers_that_are_there_and_no_others() {
    let mut edge = bench(&[]);
    attach(&mut edge, vec![candidate(1, 0, 1)]);
    edge.link(1, 2, Roles::EDGE, "east");
    edge.link(2, 3, Roles::EDGE, "east");
    edge.link(3, 4, Roles::COORDINATOR, "east");
    edge.link(4, 5, Roles::EDGE, "west");
    edge.pass(10);
    let mut outputs = ask(&mut edge, 6, subscribe(&[(1, 0, "a")]));
    outputs.extend(edge.pass(10));
    let version = sent(&outputs, 1).iter().find_map(|body| match body {
        ControlBody::Interest(interest) => Some(interest.version),
        _ => None,
    });
    let confirmed =
        ControlBody::InterestConfirmed(InterestConfirmed { region: 0, version: version.expect("told") });
    for link in [3, 4] {
        assert!(!sent(&outputs, link).iter().any(|body| matches!(body, ControlBody::Interest(_))));
        assert_eq!(says(&edge.control(link, confirmed.clone()), 6), None);
    }
    assert_eq!(says(&edge.control(1, confirmed), 6), None);
    let outputs = edge.input(Input::LinkDown { link: LinkSlot(2), timed_out: true });
    assert!(matches!(says(&outputs, 6), Some(Say::Done(_))), "the second will never confirm");
}

#[test]
fn only_the_regions_aggregators_close_agents_and_name_homes() {
    let mut edge = bench(&[]);
    attach(&mut edge, vec![candidate(1, 0, 4)]);
    edge.link(1, 2, Roles::EDGE, "east");
    edge.link(2, 3, Roles::AGGREGATOR, "west");
    edge.link(3, 4, Roles::AGGREGATOR, "east");
    let superseded = |session| {
        let agent = Bytes::copy_from_slice(&agent(1).0);
        ControlBody::Superseded(Superseded { agent, session })
    };
    let closes = |outputs: &[Output]| outputs.iter().any(|output| matches!(output, Output::Unhost { .. }));
    assert!(!closes(&edge.control(1, superseded(9))));
    assert!(!closes(&edge.control(2, superseded(9))));
    assert!(!closes(&edge.control(3, superseded(4))), "its own session is no newer one");
    assert!(closes(&edge.control(3, superseded(5))));
    let wanted = Bytes::copy_from_slice(&agent(9).0);
    ask(&mut edge, 8, Ask::Locate(wanted.clone()));
    let located =
        |edge: u64| ControlBody::Located(Located { agent: wanted.clone(), region: 1, edge, session: 1 });
    assert_eq!(says(&edge.control(1, located(77)), 8), None, "an edge answers for itself alone");
    assert_eq!(says(&edge.control(2, located(77)), 8), None);
    assert!(matches!(says(&edge.control(3, located(77)), 8), Some(Say::Home(home)) if home.edge_id == 77));
}

#[test]
fn an_update_that_cannot_be_taken_yet_is_asked_for_again() {
    let mut edge = bench(&[]);
    edge.link(1, 4, Roles::AGGREGATOR, "east");
    edge.pass(200);
    let update = Update { index: 3, signer: 9, ..Update::default() };
    edge.control(1, ControlBody::Update(update.clone()));
    let asks = |outputs: &[Output]| {
        sent(outputs, 1).iter().filter(|body| matches!(body, ControlBody::UpdateApplied(_))).count()
    };
    assert_eq!(asks(&edge.pass(900)), 0, "not at once, or the two would answer each other without end");
    assert_eq!(asks(&edge.pass(200)), 1);
    assert_eq!(asks(&edge.pass(5000)), 0);
}

#[test]
fn late_and_empty_inputs_change_nothing() {
    let mut edge = bench(&[]);
    edge.input(Input::Changes { connection: ONE, first: 0, changes: vec![] });
    let change = Change { index: 9, state: Some("x".into()), tags: None };
    edge.input(Input::Changes { connection: ONE, first: u64::MAX, changes: vec![change.clone(), change] });
    let outputs = ask(&mut edge, 6, Ask::Unsubscribe(Numbers { numbers: vec![1, u32::MAX] }));
    assert!(matches!(says(&outputs, 6), Some(Say::Done(_))));
    let outputs = ask(&mut edge, 7, Ask::Detach(Numbers { numbers: vec![1, u32::MAX] }));
    assert!(matches!(says(&outputs, 7), Some(Say::Done(_))));
    edge.input(Input::Disconnected { connection: ONE });
    edge.pass(1000);
    assert_eq!(starling_core::machine::Machine::deadline(&edge.machine), None);
}

#[test]
fn agents_are_listed_by_pages_filters_and_id() {
    let mut bench = bench(&[]);
    let tagged = |number: u8, tags: &[&str]| {
        let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        let profile = Profile { name: format!("agent-{number}"), state: "busy".into(), tags };
        Candidate { profile, ..candidate(number, u32::from(number), 1) }
    };
    let all = (1..=9).map(|number| tagged(number, if number % 2 == 0 { &["even"] } else { &[] }));
    attach(&mut bench, all.collect());
    let mut list = |wanted: AskAgents| match says(&ask(&mut bench, 7, Ask::Agents(wanted)), 7) {
        Some(Say::Agents(view)) => view.clone(),
        other => panic!("no list: {other:?}"),
    };
    let (mut names, mut cursor) = (Vec::new(), 0);
    loop {
        let page = list(AskAgents { cursor, count: 4, ..AskAgents::default() });
        assert!(page.hosted == 9 && page.agents.len() <= 4, "{page:?}");
        names.extend(page.agents.into_iter().map(|agent| agent.name));
        cursor = page.next;
        if cursor == 0 {
            break;
        }
    }
    names.sort();
    assert_eq!(names, (1..=9).map(|number| format!("agent-{number}")).collect::<Vec<_>>());
    let count = |view: &AgentsView| view.agents.len();
    assert_eq!(count(&list(AskAgents { tag: "even".into(), ..AskAgents::default() })), 4);
    assert_eq!(count(&list(AskAgents { state: "idle".into(), ..AskAgents::default() })), 0);
    assert_eq!(count(&list(AskAgents { name: "t-7".into(), ..AskAgents::default() })), 1);
    assert_eq!(count(&list(AskAgents { cursor: u64::MAX, ..AskAgents::default() })), 0);
    let one = list(AskAgents { id: Bytes::copy_from_slice(&agent(4).0), ..AskAgents::default() });
    assert_eq!((one.agents[0].name.as_str(), &*one.agents[0].tags), ("agent-4", &["even".to_owned()][..]));
    assert_eq!(count(&list(AskAgents { id: Bytes::from_static(b"x"), ..AskAgents::default() })), 0);
}
