//! When a subscription is in force.

use super::*;
use starling_core::interest::Pattern;
use starling_core::limits::CONFIRM_TIMEOUT;
use starling_core::machine::Destination;
use starling_core::wire::request::Numbers;
use starling_sim::Attack;

/// Destinations that must want what `edge` of the first region subscribed to, seen from `from`.
fn expected(mesh: &Mesh, edge: usize, from: usize) -> Vec<Destination> {
    let (own, other) = (&mesh.world.nodes[edge], &mesh.world.nodes[from]);
    if edge == from {
        vec![]
    } else if own.region() == other.region() {
        vec![Destination::Node(own.id())]
    } else {
        vec![Destination::Region(own.region())]
    }
}

fn unaware(mesh: &Mesh, edge: usize, subject: &str) -> Vec<usize> {
    let edges = mesh.all_edges().into_iter().filter(|from| mesh.world.nodes[*from].is_running());
    edges.filter(|from| mesh.world.nodes[*from].wanting(subject) != expected(mesh, edge, *from)).collect()
}

/// Runs event by event until the reply; at that very moment everyone must know.
fn confirm(mesh: &mut Mesh, edge: usize, id: u64, subject: &str) -> Duration {
    let start = mesh.world.now().mono;
    let until = start + Duration::from_secs(10);
    while !mesh.is_done(edge, id) {
        assert!(mesh.world.step(until), "subscription {id} was never confirmed");
    }
    assert_eq!(
        unaware(mesh, edge, subject),
        Vec::<usize>::new(),
        "edges that do not know of {subject} when it is done"
    );
    mesh.world.now().mono.since(start)
}

fn own(pattern: &str) -> Vec<String> {
    vec![pattern.to_string()]
}

#[test]
fn a_subscription_is_confirmed_once_every_edge_routes_by_it() {
    let mut mesh = Mesh::settled();
    let edge = mesh.edges[0][0];
    mesh.attach(edge, 0, 1);
    mesh.subscribe(edge, 1, 10, &own("a.*.c"));
    assert_eq!(unaware(&mesh, edge, "a.b.c").len(), 5, "nobody else knows at first");
    let took = confirm(&mut mesh, edge, 1, "a.b.c");
    // Four hops there and back, and a view at each.
    assert!(took < Duration::from_millis(100), "took {took:?}");
    // A second one to the same pattern waits for nothing that is not there already.
    mesh.subscribe(edge, 2, 11, &own("a.*.c"));
    confirm(&mut mesh, edge, 2, "a.b.c");
    mesh.world.ask(edge, 1, 3, Ask::Unsubscribe(Numbers { numbers: vec![10] }));
    mesh.world.run(Duration::from_secs(1));
    assert_eq!(unaware(&mesh, edge, "a.b.c"), Vec::<usize>::new(), "one of two subscriptions is left");
    mesh.world.ask(edge, 1, 4, Ask::Unsubscribe(Numbers { numbers: vec![11] }));
    mesh.world.run(Duration::from_secs(1));
    for from in mesh.all_edges() {
        assert_eq!(mesh.world.nodes[from].wanting("a.b.c"), vec![], "nothing is wanted any more");
    }
}

#[test]
fn an_agents_subscriptions_end_with_it() {
    let mut mesh = Mesh::settled();
    let edge = mesh.edges[0][0];
    mesh.attach(edge, 0, 2);
    mesh.subscribe(edge, 1, 10, &own("a.b"));
    confirm(&mut mesh, edge, 1, "a.b");
    mesh.world.ask(edge, 1, 2, Ask::Detach(Numbers { numbers: vec![0] }));
    mesh.world.run(Duration::from_secs(1));
    for from in mesh.all_edges() {
        assert_eq!(mesh.world.nodes[from].wanting("a.b"), vec![]);
    }
}

#[test]
fn a_request_without_subscriptions_is_answered_at_once() {
    let mut mesh = Mesh::settled();
    let edge = mesh.edges[0][0];
    mesh.attach(edge, 0, 1);
    mesh.world.run(Duration::from_secs(1));
    mesh.subscribe(edge, 1, 10, &[]);
    assert!(mesh.is_done(edge, 1));
}

#[test]
fn an_aggregators_death_and_return_lose_no_interest_and_no_confirmation() {
    let mut mesh = Mesh::settled();
    let edge = mesh.edges[0][0];
    mesh.attach(edge, 0, 1);
    for (at, victim) in [mesh.aggregators[0][0], mesh.aggregators[1][1]].into_iter().enumerate() {
        let subject = |step: usize| format!("round-{at}.step-{step}");
        let id = |step: usize| (at * 10 + step) as u64 + 1;
        mesh.subscribe(edge, id(0), id(0) as u32, &own(&subject(0)));
        confirm(&mut mesh, edge, id(0), &subject(0));
        mesh.world.kill(victim);
        // Nobody has noticed yet; the confirmation waits for the link to die at the longest.
        mesh.subscribe(edge, id(1), id(1) as u32, &own(&subject(1)));
        let took = confirm(&mut mesh, edge, id(1), &subject(1));
        assert!(took < Duration::from_millis(3500), "took {took:?}");
        mesh.world.run(Duration::from_secs(1));
        mesh.subscribe(edge, id(2), id(2) as u32, &own(&subject(2)));
        let took = confirm(&mut mesh, edge, id(2), &subject(2));
        assert!(took < Duration::from_millis(100), "took {took:?}");
        mesh.world.start(victim);
        // While it comes back nothing that was in force is missing anywhere.
        for _ in 0..40 {
            mesh.world.run(Duration::from_millis(50));
            for step in 0..3 {
                assert_eq!(unaware(&mesh, edge, &subject(step)), Vec::<usize>::new(), "{}", subject(step));
            }
        }
        mesh.world.run(Duration::from_secs(12));
        assert_eq!(mesh.wrong_links(), vec![]);
        mesh.subscribe(edge, id(3), id(3) as u32, &own(&subject(3)));
        confirm(&mut mesh, edge, id(3), &subject(3));
    }
    // Nothing is left behind when all is withdrawn, whatever died in between.
    mesh.world.ask(edge, 1, 99, Ask::Unsubscribe(Numbers { numbers: (0..100).collect() }));
    mesh.world.run(Duration::from_secs(1));
    for from in mesh.all_edges() {
        for at in 0..2 {
            for step in 0..4 {
                assert_eq!(mesh.world.nodes[from].wanting(&format!("round-{at}.step-{step}")), vec![]);
            }
        }
    }
}

#[test]
fn an_edges_death_withdraws_what_it_wanted() {
    let mut mesh = Mesh::settled();
    let edge = mesh.edges[0][0];
    mesh.attach(edge, 0, 1);
    mesh.subscribe(edge, 1, 1, &own("a.b"));
    confirm(&mut mesh, edge, 1, "a.b");
    mesh.world.kill(edge);
    mesh.world.run(Duration::from_millis(3500));
    for from in mesh.all_edges().into_iter().filter(|from| *from != edge) {
        assert_eq!(mesh.world.nodes[from].wanting("a.b"), vec![], "edge {from}");
    }
}

#[test]
fn an_edge_that_joins_later_gets_the_whole_interest() {
    let mut mesh = Mesh::settled();
    let (near, far) = (mesh.edges[0][0], mesh.edges[1][0]);
    mesh.attach(near, 0, 1);
    mesh.attach(far, 0, 1);
    mesh.subscribe(near, 1, 1, &own("near.>"));
    mesh.subscribe(far, 1, 1, &own("far.>"));
    confirm(&mut mesh, near, 1, "near.by");
    confirm(&mut mesh, far, 1, "far.off");
    let late = mesh.world.add(plan(Roles::EDGE, "east", "east-edge-late", "west-edge-1"));
    mesh.edges[0].push(late);
    // It takes no agents before it knows what the region's nodes want.
    let mut tries = 0;
    loop {
        tries += 1;
        mesh.world.attach(late, 1, tries, 0, &[Agent::new(50)]);
        match mesh.world.nodes[late].reply(1, tries) {
            Some(Say::Attached(attached)) if attached.accepted == 1 => break,
            Some(Say::Refused(_)) => assert!(tries < 400, "it never takes agents"),
            other => panic!("{other:?}"),
        }
        mesh.world.run(Duration::from_millis(10));
    }
    let (near_id, far_region) = (mesh.world.nodes[near].id(), mesh.world.nodes[far].region());
    assert_eq!(mesh.world.nodes[late].wanting("near.by"), vec![Destination::Node(near_id)], "try {tries}");
    assert_eq!(mesh.world.nodes[late].wanting("far.off"), vec![Destination::Region(far_region)]);
    mesh.world.run(Duration::from_secs(3));
    assert_eq!(mesh.wrong_links(), vec![]);
    mesh.subscribe(far, 2, 2, &own("more"));
    confirm(&mut mesh, far, 2, "more");
}

#[test]
fn ten_thousand_patterns_are_widened_and_still_covered() {
    let mut mesh = Mesh::settled();
    let edge = mesh.edges[0][0];
    mesh.attach(edge, 0, 1);
    let pattern = |number: usize| format!("tree.{}.leaf.{}", number % 100, number);
    let all: Vec<String> = (0..10_000).map(pattern).collect();
    for (at, part) in all.chunks(1000).enumerate() {
        mesh.subscribe(edge, at as u64 + 1, at as u32 * 1000, part);
    }
    while !(1..=10).all(|id| mesh.is_done(edge, id)) {
        let until = mesh.world.now().mono + Duration::from_secs(1);
        assert!(mesh.world.step(until), "never confirmed");
    }
    let widened = &starling_core::event::Event::InterestWidened;
    assert!(mesh.world.nodes[edge].record.events.contains(widened));
    let covered = |mesh: &Mesh, when: &str| {
        for from in mesh.all_edges().into_iter().filter(|from| *from != edge) {
            for subject in &all {
                let wanting = mesh.world.nodes[from].wanting(subject);
                assert_eq!(wanting, expected(mesh, edge, from), "{subject} at edge {from} {when}");
            }
            assert!(mesh.world.nodes[from].view().remote.len() <= 4096 + 1, "{when}");
        }
    };
    covered(&mesh, "when confirmed");
    // A peer whose link was away hears everything anew, in several messages; nothing is missing in
    // between.
    let (peer, aggregator) = (mesh.edges[0][1], mesh.aggregators[0][0]);
    for (left, right) in [(edge, peer), (edge, aggregator), (aggregator, mesh.aggregators[1][0])] {
        let before = mesh.world.links_made(left, right);
        mesh.world.close(left, right);
        let until = mesh.world.now().mono + Duration::from_millis(2500);
        while mesh.world.step(until) {
            for from in mesh.all_edges().into_iter().filter(|from| *from != edge) {
                let is_missing = |subject: &&String| mesh.world.nodes[from].wanting(subject).is_empty();
                assert_eq!(all.iter().step_by(331).find(is_missing), None, "missing at edge {from}");
            }
        }
        assert_eq!(mesh.world.links_made(left, right), before + 1, "the link came back");
        covered(&mesh, "after a link came back");
    }
    // Narrow again.
    mesh.world.ask(edge, 1, 50, Ask::Unsubscribe(Numbers { numbers: (10..10_000).collect() }));
    mesh.world.run(Duration::from_secs(1));
    for from in mesh.all_edges().into_iter().filter(|from| *from != edge) {
        assert_eq!(mesh.world.nodes[from].view().remote.len(), 10);
        let exact = |subject: &String| !mesh.world.nodes[from].wanting(subject).is_empty();
        assert!(all[..10].iter().all(exact));
        assert_eq!(all[10..].iter().filter(|subject| exact(subject)).count(), 0);
    }
    assert!(Pattern::parse("tree.>").expect("a pattern").matches(&all[0]));
}

#[test]
fn a_returning_aggregator_is_no_way_before_it_knows_its_edges() {
    let mut mesh = Mesh::settled();
    let edge = mesh.edges[0][1];
    mesh.attach(edge, 0, 1);
    mesh.subscribe(edge, 1, 1, &own("a.b"));
    confirm(&mut mesh, edge, 1, "a.b");
    let (east, wanted) = (mesh.world.nodes[edge].region(), Destination::Node(mesh.world.nodes[edge].id()));
    for round in 0..2 {
        let victim = mesh.aggregators[0][round];
        let id = mesh.world.nodes[victim].id();
        mesh.world.kill(victim);
        // Once before anyone noticed and once long after.
        mesh.world.run(Duration::from_millis(if round == 0 { 50 } else { 6000 }));
        mesh.world.start(victim);
        let until = mesh.world.now().mono + Duration::from_secs(15);
        let mut leads = false;
        while mesh.world.step(until) {
            let is_way = |from: &usize| {
                let ways = &mesh.world.nodes[*from].view().ways;
                ways.get(&east).is_some_and(|peers| peers.contains(&id))
            };
            let knows = mesh.world.nodes[victim].wanting("a.b").contains(&wanted);
            // A peer that has not noticed the death yet sends into a dead link, which loses nothing.
            let has_link = |from: &&usize| mesh.world.nodes[victim].linked().contains(from);
            let live = mesh.aggregators[1].iter().filter(has_link).filter(|from| is_way(from)).count();
            assert!(live == 0 || knows, "bundles would be taken for unwanted at a returning node");
            leads |= live == 2;
        }
        assert!(leads, "in the end it leads again");
        let ways = |from: usize| mesh.world.nodes[from].view().ways.get(&east).map_or(0, Vec::len);
        assert_eq!(mesh.edges[1].iter().map(|from| ways(*from)).collect::<Vec<_>>(), [2, 2, 2]);
        // What another region's nodes sent into the void they are told to send again.
        let region = Destination::Region(east);
        for from in &mesh.edges[1] {
            assert!(mesh.world.nodes[*from].record.resent.contains(&region));
        }
    }
}

/// A liar of the own region is parted with by its neighbours, and one of another region by its aggregators,
/// before whoever waits for these loses patience with them.
#[test]
fn who_confirms_no_interest_keeps_no_subscription_waiting_for_long() {
    let mut mesh = Mesh::settled();
    let liar = mesh.edges[0][2];
    mesh.world.make_hostile(liar, Attack::WithheldConfirmations);
    mesh.world.strike(liar);
    let asking = [mesh.edges[0][0], mesh.edges[1][0]];
    for edge in asking {
        mesh.attach(edge, edge as u64 * 100, edge as u64 * 100 + 1);
        let subscription =
            Subscription { number: 1, agent: edge as u32 * 100, pattern: "logs.>".to_string() };
        mesh.world.ask(edge, 1, 1, Ask::Subscribe(Subscribe { subscriptions: vec![subscription] }));
    }
    let second = Duration::from_secs(1);
    mesh.world.run(CONFIRM_TIMEOUT - second);
    asking.into_iter().for_each(|edge| assert!(!mesh.is_done(edge, 1), "nobody was kept waiting"));
    mesh.world.run(4 * second);
    asking.into_iter().for_each(|edge| assert!(mesh.is_done(edge, 1), "edge {edge} waits still"));
    // Whom it keeps waiting parts with it, and with nobody else.
    for node in [mesh.edges[0][0], mesh.aggregators[0][0], mesh.aggregators[0][1]] {
        let linked = mesh.world.nodes[node].linked();
        assert!(!linked.contains(&liar), "{node} is linked with the liar");
        assert!(linked.contains(&mesh.edges[0][1]), "{node} is linked with who is honest");
    }
}
