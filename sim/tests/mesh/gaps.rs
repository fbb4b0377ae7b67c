//! Whoever was taken for lost and lives hears that events may be missing; nobody else does.

use super::*;

/// Agent 0 of an edge subscribes, and everyone knows.
fn subscribe(mesh: &mut Mesh, edge: usize) {
    mesh.attach(edge, edge as u64 * 100, edge as u64 * 100 + 1);
    let subscription = Subscription { number: 1, agent: edge as u32 * 100, pattern: "logs.>".to_string() };
    mesh.world.ask(edge, 1, 1, Ask::Subscribe(Subscribe { subscriptions: vec![subscription] }));
    mesh.world.run(Duration::from_secs(1));
    assert!(mesh.is_done(edge, 1));
}

/// Edges whose subscribers were told of a gap, and how often.
fn gaps(mesh: &Mesh) -> Vec<(usize, usize)> {
    let told = |edge: &usize| {
        let replies = &mesh.world.nodes[*edge].record.replies;
        replies.iter().filter(|(_, _, say)| matches!(say, Say::Gap(_))).count()
    };
    mesh.all_edges().into_iter().map(|edge| (edge, told(&edge))).filter(|(_, count)| *count > 0).collect()
}

fn with_subscribers() -> Mesh {
    let mut mesh = Mesh::settled();
    mesh.all_edges().into_iter().for_each(|edge| subscribe(&mut mesh, edge));
    mesh
}

fn cut(mesh: &mut Mesh, pairs: &[(usize, usize)], time: Duration) {
    pairs.iter().for_each(|(left, right)| mesh.world.cut(*left, *right));
    mesh.world.run(time);
    pairs.iter().for_each(|(left, right)| mesh.world.heal(*left, *right));
    mesh.world.run(Duration::from_secs(20));
}

/// A node and each other of its region.
fn around(mesh: &Mesh, node: usize) -> Vec<(usize, usize)> {
    let region = [mesh.edges[0].clone(), mesh.aggregators[0].clone()].concat();
    region.into_iter().filter(|other| *other != node).map(|other| (node, other)).collect()
}

/// Others forget what they owe to whom they hold for dead; it forgets nothing, since it knows that it is
/// the one that is cut off.
#[test]
fn who_was_held_for_dead_is_told_and_nobody_else() {
    let mut mesh = with_subscribers();
    let one = mesh.edges[0][0];
    let pairs = around(&mesh, one);
    cut(&mut mesh, &pairs, Duration::from_secs(8));
    let told: Vec<usize> = gaps(&mesh).into_iter().map(|(edge, _)| edge).collect();
    assert_eq!(told, vec![one]);
    assert_eq!(mesh.wrong_links(), vec![], "and everybody is linked again");
}

/// Whom others reach is alive, and what is owed to it is kept.
#[test]
fn two_that_cannot_reach_each_other_forget_nothing() {
    let mut mesh = with_subscribers();
    let [one, two, aggregator] = [mesh.edges[0][0], mesh.edges[0][1], mesh.aggregators[0][0]];
    cut(&mut mesh, &[(one, two), (one, aggregator)], Duration::from_secs(20));
    assert_eq!(gaps(&mesh), vec![]);
    assert_eq!(mesh.wrong_links(), vec![], "and they are linked again");
}

#[test]
fn a_short_silence_is_no_gap() {
    let mut mesh = with_subscribers();
    let [one, two] = [mesh.edges[0][0], mesh.edges[0][1]];
    cut(&mut mesh, &[(one, two)], Duration::from_secs(2));
    assert_eq!(gaps(&mesh), vec![]);
    mesh.world.close(one, two);
    mesh.world.run(Duration::from_secs(20));
    assert_eq!(gaps(&mesh), vec![], "a link that is closed comes back within its time");
}

#[test]
fn a_restarted_edge_has_no_old_subscribers_to_tell() {
    let mut mesh = with_subscribers();
    let edge = mesh.edges[0][0];
    mesh.world.kill(edge);
    mesh.world.run(Duration::from_secs(5));
    mesh.world.start(edge);
    mesh.world.run(Duration::from_secs(20));
    assert_eq!(gaps(&mesh), vec![]);
}

#[test]
fn regions_that_lost_one_another_tell_their_subscribers() {
    let mut mesh = with_subscribers();
    let pairs: Vec<(usize, usize)> = mesh.aggregators[0]
        .iter()
        .flat_map(|one| mesh.aggregators[1].iter().map(|two| (*one, *two)))
        .collect();
    cut(&mut mesh, &pairs[..3], Duration::from_secs(4));
    assert_eq!(gaps(&mesh), vec![], "one way was left");
    cut(&mut mesh, &pairs, Duration::from_secs(5));
    let told: Vec<usize> = gaps(&mesh).into_iter().map(|(edge, _)| edge).collect();
    assert_eq!(told, mesh.all_edges());
}

/// What is published once a gap is told is not missed: the interest is in force again by then.
#[test]
fn a_gap_is_told_once_the_interest_is_in_force() {
    let mut mesh = with_subscribers();
    let [one, two] = [mesh.edges[0][0], mesh.edges[0][1]];
    let pairs = around(&mesh, two);
    pairs.iter().for_each(|(left, right)| mesh.world.cut(*left, *right));
    mesh.world.run(Duration::from_secs(8));
    pairs.iter().for_each(|(left, right)| mesh.world.heal(*left, *right));
    let until = mesh.world.now().mono + Duration::from_secs(20);
    let to = starling_core::machine::Destination::Node(mesh.world.nodes[two].id());
    while !mesh.world.nodes[one].wanting("logs.app").contains(&to) {
        assert!(mesh.world.step(until), "the interest never came into force");
    }
    // It was told before too, as long as it was apart.
    let told = |mesh: &Mesh| gaps(mesh).into_iter().find(|(edge, _)| *edge == two);
    let before = told(&mesh);
    while told(&mesh) == before {
        assert!(mesh.world.step(until), "the gap was never told");
    }
}

/// Nodes that have yet to meet, and are both linked with a third, have met over it.
#[test]
fn who_meets_over_a_third_misses_nothing() {
    let mut mesh = Mesh::start(|region| if region == "global" { "" } else { "coordinator" });
    let [edge, other, aggregator] = [mesh.edges[0][0], mesh.edges[0][1], mesh.aggregators[0][1]];
    mesh.world.cut(edge, other);
    mesh.world.cut(edge, aggregator);
    mesh.world.run(Duration::from_secs(8));
    mesh.all_edges().into_iter().for_each(|edge| subscribe(&mut mesh, edge));
    for node in [other, aggregator] {
        mesh.world.heal(edge, node);
        mesh.world.run(Duration::from_secs(20));
        assert_eq!(gaps(&mesh), vec![]);
    }
    assert_eq!(mesh.wrong_links(), vec![]);
}

#[test]
fn regions_that_meet_late_may_have_missed_something() {
    let mut mesh = Mesh::start(|region| if region == "global" { "" } else { "coordinator" });
    let [east, west] = mesh.aggregators.clone();
    let pairs = || east.iter().flat_map(|one| west.iter().map(|two| (*one, *two)));
    pairs().for_each(|(one, two)| mesh.world.cut(one, two));
    mesh.world.run(Duration::from_secs(8));
    mesh.all_edges().into_iter().for_each(|edge| subscribe(&mut mesh, edge));
    pairs().for_each(|(one, two)| mesh.world.heal(one, two));
    mesh.world.run(Duration::from_secs(20));
    let told: Vec<usize> = gaps(&mesh).into_iter().map(|(edge, _)| edge).collect();
    assert_eq!(told, mesh.all_edges());
}

#[test]
fn a_newcomer_brings_no_gap_and_has_none() {
    let mut mesh = with_subscribers();
    let edge = mesh.world.add(plan(Roles::EDGE, "east", "east-edge-9", "coordinator"));
    mesh.edges[0].push(edge);
    mesh.world.add(plan(Roles::AGGREGATOR, "east", "east-aggregator-9", "coordinator"));
    mesh.world.run(Duration::from_secs(10));
    subscribe(&mut mesh, edge);
    mesh.world.run(Duration::from_secs(10));
    assert_eq!(gaps(&mesh), vec![]);
}

/// The first subscriptions of a mesh that starts come while nodes still meet.
#[test]
fn a_mesh_that_starts_has_no_gaps() {
    let mut mesh = Mesh::start(|region| if region == "global" { "" } else { "coordinator" });
    let until = mesh.world.now().mono + Duration::from_secs(10);
    let mut waiting = mesh.all_edges();
    while !waiting.is_empty() {
        assert!(mesh.world.now().mono < until, "{waiting:?} take no agents");
        mesh.world.run(Duration::from_millis(5));
        waiting.retain(|edge| {
            let request = mesh.world.now().mono.as_millis();
            let agent = starling_sim::Agent::new(*edge as u64 * 100);
            mesh.world.attach(*edge, 1, request, *edge as u32 * 100, &[agent]);
            let reply = mesh.world.nodes[*edge].reply(1, request);
            let is_attached = matches!(reply, Some(Say::Attached(_)));
            if is_attached {
                let (number, agent, pattern) = (1, *edge as u32 * 100, "logs.>".to_string());
                let subscriptions = vec![Subscription { number, agent, pattern }];
                mesh.world.ask(*edge, 1, 1, Ask::Subscribe(Subscribe { subscriptions }));
            }
            !is_attached
        });
    }
    mesh.world.run(Duration::from_secs(10));
    assert!(mesh.all_edges().into_iter().all(|edge| mesh.is_done(edge, 1)));
    assert_eq!(gaps(&mesh), vec![]);
}
