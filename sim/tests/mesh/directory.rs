//! Where agents are.

use super::*;
use bytes::Bytes;
use starling_core::hot::own::{Publication, Target};
use starling_core::limits;
use starling_core::machine::{ConnectionSlot, Input};
use starling_core::wire::bundle::Class;
use starling_core::wire::entry::Extras;
use starling_core::wire::frame::FrameType;
use starling_core::wire::request::{Home, Numbers, RefusedCode};

fn locate(mesh: &mut Mesh, at: usize, number: u64, id: u64) -> (Option<Home>, Duration) {
    mesh.world.ask(at, 90, id, Ask::Locate(Bytes::copy_from_slice(&agent_id(number).0)));
    let answered = |world: &World| world.nodes[at].reply(90, id).is_some();
    let took = mesh.world.run_until(Duration::from_secs(10), answered).expect("it is answered");
    match mesh.world.nodes[at].reply(90, id) {
        Some(Say::Home(home)) => (Some(home.clone()), took),
        Some(Say::Refused(refused)) if refused.code == RefusedCode::NotFound as u32 => (None, took),
        other => panic!("{other:?}"),
    }
}

fn name(mesh: &Mesh, node: usize) -> String {
    mesh.world.nodes[node].plan.name.clone()
}

fn publication(number: u64, to: u64) -> Publication {
    Publication {
        connection: ConnectionSlot(1),
        number,
        agent: agent_id(0),
        sequence: number,
        class: Class::EventBulk,
        target: Target::Agent(None),
        subject: Bytes::copy_from_slice(&agent_id(to).0),
        extras: Extras::default(),
        payload: Bytes::new(),
        attempts: 0,
    }
}

#[test]
fn agents_are_found_from_everywhere() {
    let mut mesh = Mesh::settled();
    let (here, near, far) = (mesh.edges[0][0], mesh.edges[0][1], mesh.edges[1][2]);
    mesh.attach(here, 0, 1);
    mesh.attach(near, 1, 2);
    mesh.attach(far, 2, 3);
    mesh.world.run(Duration::from_secs(1));
    for (number, home) in [(0, here), (1, near), (2, far)] {
        let (found, took) = locate(&mut mesh, here, number, number + 1);
        let found = found.expect("it is attached");
        assert_eq!(found.edge, name(&mesh, home));
        assert_eq!(found.edge_id, mesh.world.nodes[home].id().0);
        assert_eq!(found.region, mesh.world.nodes[home].plan.region);
        assert_eq!(found.session, 1);
        assert!(took < Duration::from_millis(50), "agent {number} took {took:?}");
    }
    let (nobody, took) = locate(&mut mesh, here, 999, 9);
    assert_eq!(nobody, None);
    assert!(took <= limits::LOCATE_TIMEOUT + Duration::from_millis(10), "took {took:?}");

    // One aggregator of each region dies: still answered, before anyone noticed and after.
    mesh.world.kill(mesh.aggregators[0][0]);
    mesh.world.kill(mesh.aggregators[1][0]);
    for round in 0..2 {
        for (number, home) in [(1, near), (2, far)] {
            let (found, took) = locate(&mut mesh, here, number, 20 + round * 2 + number);
            assert_eq!(found.expect("it is attached").edge, name(&mesh, home), "round {round}");
            assert!(took < Duration::from_millis(1500), "agent {number} took {took:?}");
        }
        mesh.world.run(Duration::from_secs(5));
    }
    // With the second ones gone only the own region's edges can be asked.
    mesh.world.start(mesh.aggregators[0][0]);
    mesh.world.run(Duration::from_secs(12));
    mesh.world.kill(mesh.aggregators[0][1]);
    mesh.world.run(Duration::from_secs(4));
    assert_eq!(
        locate(&mut mesh, here, 1, 40).0.expect("the one that came back has it").edge,
        name(&mesh, near)
    );
    mesh.world.kill(mesh.aggregators[0][0]);
    mesh.world.run(Duration::from_secs(4));
    assert_eq!(locate(&mut mesh, here, 1, 41).0.expect("the edge itself answers").edge, name(&mesh, near));
}

#[test]
fn the_highest_session_wins() {
    let mut mesh = Mesh::settled();
    let (old, new, third) = (mesh.edges[0][0], mesh.edges[0][1], mesh.edges[0][2]);
    let agent = |session| Agent { session, ..Agent::new(5) };
    let closed = |mesh: &Mesh, edge: usize| {
        let replies = &mesh.world.nodes[edge].record.replies;
        replies.iter().filter(|(_, _, say)| matches!(say, Say::Closed(closed) if closed.index == 0)).count()
    };
    mesh.world.attach(old, 1, 1, 0, &[agent(5)]);
    mesh.world.run(Duration::from_millis(500));
    mesh.world.attach(new, 1, 1, 0, &[agent(6)]);
    mesh.world.run(Duration::from_millis(500));
    assert_eq!((closed(&mesh, old), closed(&mesh, new)), (1, 0));
    let home = locate(&mut mesh, third, 5, 1).0.expect("it is attached");
    assert_eq!((home.edge, home.session), (name(&mesh, new), 6));
    assert_eq!(mesh.counted(), 1);
    // An older session comes late, at an edge that cannot know better at once.
    mesh.world.attach(third, 1, 1, 0, &[agent(4)]);
    mesh.world.run(Duration::from_millis(500));
    assert_eq!((closed(&mesh, third), closed(&mesh, new)), (1, 0));
    let home = locate(&mut mesh, old, 5, 2).0.expect("it is attached");
    assert_eq!((home.edge, home.session), (name(&mesh, new), 6));
    // At its own edge the same session is refused, a newer one taken.
    mesh.world.attach(new, 2, 7, 3, &[agent(6)]);
    let refused =
        |say: Option<&Say>| matches!(say, Some(Say::Attached(a)) if a.accepted == 0 && a.refused.len() == 1);
    assert!(refused(mesh.world.nodes[new].reply(2, 7)));
    mesh.world.attach(new, 2, 8, 3, &[agent(7)]);
    mesh.world.run(Duration::from_millis(500));
    assert_eq!(closed(&mesh, new), 1, "the earlier session here");
    assert_eq!(locate(&mut mesh, new, 5, 3).0.expect("it is attached").session, 7);
    assert_eq!(locate(&mut mesh, third, 5, 3).0.expect("it is attached").session, 7);
    mesh.world.run(Duration::from_secs(1));
    assert_eq!(mesh.counted(), 1);
}

#[test]
fn who_comes_and_goes_in_a_moment_leaves_nothing_behind() {
    let mut mesh = Mesh::settled();
    let edge = mesh.edges[0][0];
    let other = mesh.edges[0][1];
    let detach = || Ask::Detach(Numbers { numbers: vec![0] });
    mesh.attach(edge, 0, 1);
    mesh.world.ask(edge, 1, 1, detach());
    mesh.world.run(Duration::from_millis(200));
    assert_eq!(locate(&mut mesh, other, 0, 1).0, None, "came and went");
    mesh.attach(edge, 0, 1);
    mesh.world.run(Duration::from_millis(200));
    mesh.world.ask(edge, 1, 2, detach());
    mesh.world.attach(edge, 1, 3, 0, &[Agent::new(0)]);
    mesh.world.run(Duration::from_millis(200));
    assert!(locate(&mut mesh, other, 0, 2).0.is_some(), "went and came");
    let replies = &mesh.world.nodes[edge].record.replies;
    let closed = replies.iter().filter(|(_, _, say)| matches!(say, Say::Closed(_))).count();
    assert_eq!(closed, 2, "the two that left, and not the one that came back");
}

#[test]
fn publications_wait_for_their_receiver_in_order() {
    let mut mesh = Mesh::settled();
    let (here, near, far) = (mesh.edges[0][0], mesh.edges[0][1], mesh.edges[1][0]);
    mesh.attach(here, 0, 1);
    mesh.attach(near, 1, 2);
    mesh.world.run(Duration::from_secs(1));
    let numbers = |list: &[Publication]| list.iter().map(|p| p.number).collect::<Vec<_>>();
    let home = |mesh: &Mesh, edge: usize| {
        let node = &mesh.world.nodes[edge];
        Target::Agent(Some((node.region(), node.id())))
    };
    mesh.world.input(here, Input::Unresolved(vec![publication(1, 1), publication(2, 1)]));
    mesh.world.input(here, Input::Unresolved(vec![publication(3, 1)]));
    mesh.world.run(Duration::from_millis(100));
    let admitted = std::mem::take(&mut mesh.world.nodes[here].record.admitted);
    assert_eq!(numbers(&admitted), vec![1, 2, 3]);
    assert!(admitted.iter().all(|p| p.target == home(&mesh, near)));

    // Nobody has heard of agent 2 yet; it comes to a far edge while they wait.
    mesh.world.input(here, Input::Unresolved(vec![publication(4, 2), publication(5, 2)]));
    mesh.world.run(Duration::from_millis(600));
    mesh.attach(far, 2, 3);
    mesh.world.input(here, Input::Unresolved(vec![publication(6, 2)]));
    mesh.world.run(Duration::from_millis(600));
    let admitted = std::mem::take(&mut mesh.world.nodes[here].record.admitted);
    assert_eq!(numbers(&admitted), vec![4, 5, 6]);
    assert!(admitted.iter().all(|p| p.target == home(&mesh, far)));

    // Agent 3 comes to this very edge while they wait.
    mesh.world.input(here, Input::Unresolved(vec![publication(7, 3), publication(8, 3)]));
    mesh.world.run(Duration::from_millis(100));
    mesh.attach(here, 3, 4);
    mesh.world.input(here, Input::Unresolved(vec![publication(9, 3)]));
    let admitted = std::mem::take(&mut mesh.world.nodes[here].record.admitted);
    assert_eq!(numbers(&admitted), vec![7, 8, 9]);
    assert!(admitted.iter().all(|p| p.target == home(&mesh, here)));

    // Nobody ever: reported, all of them, in order.
    mesh.world.input(here, Input::Unresolved(vec![publication(10, 99), publication(11, 99)]));
    let reported = |world: &World| !world.nodes[here].record.undeliverable.is_empty();
    let took = mesh.world.run_until(Duration::from_secs(5), reported).expect("they are reported");
    assert!(took <= limits::LOCATE_TIMEOUT + Duration::from_millis(1), "took {took:?}");
    assert_eq!(numbers(&mesh.world.nodes[here].record.undeliverable), vec![10, 11]);
}

#[test]
fn what_waits_is_bounded() {
    let mut mesh = Mesh::settled();
    let here = mesh.edges[0][0];
    let many: Vec<Publication> =
        (0..limits::UNRESOLVED_MAX as u64 + 7).map(|n| publication(n, n + 10)).collect();
    mesh.world.input(here, Input::Unresolved(many));
    let record = &mesh.world.nodes[here].record;
    assert_eq!(record.undeliverable.len(), 7, "what is too much comes back at once");
    mesh.world.ask(here, 90, 1, Ask::Locate(Bytes::copy_from_slice(&agent_id(1).0)));
    assert!(matches!(
        mesh.world.nodes[here].reply(90, 1),
        Some(Say::Refused(refused)) if refused.code == RefusedCode::Unavailable as u32
    ));
}

/// Entries that reached the inboxes of an edge's agents.
fn inboxes(mesh: &Mesh, edge: usize) -> usize {
    let deliver = FrameType::Deliver as u8;
    mesh.world.nodes[edge].record.frames.iter().filter(|(_, frame)| frame[4] == deliver).count()
}

/// Who sent to an agent before remembers where it was; that edge is dead, and the agent is at another.
#[test]
fn who_came_from_a_dead_edge_is_found_by_who_knew_it_there() {
    let mut mesh = Mesh::settled();
    let (here, dead, other, far) = (mesh.edges[0][0], mesh.edges[0][1], mesh.edges[0][2], mesh.edges[1][0]);
    mesh.attach(here, 0, 1);
    mesh.attach(far, 5, 6);
    mesh.attach(dead, 1, 2);
    mesh.world.run(Duration::from_secs(1));
    let by = |agent: u64, number: u64| Publication { agent: agent_id(agent), ..publication(number, 1) };
    for (sender, agent) in [(here, 0), (far, 5)] {
        mesh.world.publish(sender, vec![by(agent, 1)]);
        mesh.world.run(Duration::from_secs(1));
    }
    assert_eq!(inboxes(&mesh, dead), 2);
    mesh.world.kill(dead);
    mesh.world.run(Duration::from_secs(15));
    let moved = Agent { session: 2, ..Agent::new(1) };
    mesh.world.attach(other, 1, 1, 1, &[moved]);
    mesh.world.run(Duration::from_secs(1));
    for (count, sender, agent) in [(1, here, 0), (2, far, 5)] {
        mesh.world.publish(sender, vec![by(agent, 2)]);
        mesh.world.run(Duration::from_secs(2));
        assert_eq!(inboxes(&mesh, other), count, "from {}", name(&mesh, sender));
    }
}
