//! The coordinator's figure.

use super::*;
use starling_core::machine::{ConnectionSlot, Destination, Input};
use starling_core::wire::agent::Change;
use starling_core::wire::request::{Empty, Numbers};
use std::collections::BTreeMap;

/// Total, by state, by tag.
type Figures = (u64, BTreeMap<String, u64>, BTreeMap<String, u64>);

fn figures(mesh: &mut Mesh) -> Figures {
    let overview = mesh.world.overview(mesh.coordinator);
    let mut figures = Figures::default();
    for region in overview.regions {
        figures.0 += region.agents;
        region.states.into_iter().for_each(|c| *figures.1.entry(c.name).or_default() += c.value);
        region.tags.into_iter().for_each(|c| *figures.2.entry(c.name).or_default() += c.value);
    }
    figures
}

/// A thousand agents over all edges; agent n is in state n % 3 and has tags n % 2 and n % 5.
fn populate(mesh: &mut Mesh) -> Figures {
    let edges = mesh.all_edges();
    let mut expected = Figures::default();
    for (at, edge) in edges.iter().enumerate() {
        let numbers = (0..1000_u64).filter(|number| *number as usize % edges.len() == at);
        let agents: Vec<Agent> = numbers
            .map(|number| Agent {
                state: format!("state-{}", number % 3),
                tags: vec![format!("two-{}", number % 2), format!("five-{}", number % 5)],
                ..Agent::new(number)
            })
            .collect();
        mesh.world.attach(*edge, 1, 7, 0, &agents);
        for agent in agents {
            expected.0 += 1;
            *expected.1.entry(agent.state).or_default() += 1;
            agent.tags.into_iter().for_each(|tag| *expected.2.entry(tag).or_default() += 1);
        }
    }
    expected
}

#[test]
fn the_figure_is_exact_within_a_second_whatever_agents_do() {
    let mut mesh = Mesh::settled();
    let mut expected = populate(&mut mesh);
    assert_eq!(expected.0, 1000);
    mesh.world.run(Duration::from_secs(1));
    assert_eq!(figures(&mut mesh), expected, "after attach");

    // Agents 0, 6, 12 of the first edge change: state-0 to busy, tags to one new one.
    let edge = mesh.all_edges()[0];
    let change = |index| Change { index, state: Some("busy".into()), tags: Some(vec!["new".into()]) };
    let changes = vec![change(0), change(1), change(2), change(1)];
    let connection = ConnectionSlot(1);
    mesh.world.input(edge, Input::Changes { connection, first: 1, changes });
    for number in [0_u64, 6, 12] {
        *expected.1.get_mut("state-0").unwrap() -= 1;
        *expected.2.get_mut("two-0").unwrap() -= 1;
        *expected.2.get_mut(&format!("five-{}", number % 5)).unwrap() -= 1;
        *expected.1.entry("busy".into()).or_default() += 1;
        *expected.2.entry("new".into()).or_default() += 1;
    }
    mesh.world.run(Duration::from_secs(1));
    assert_eq!(figures(&mut mesh), expected, "after changes");

    // Half of the second edge's agents detach, the third edge's connection ends.
    let edges = mesh.all_edges();
    mesh.world.ask(edges[1], 1, 8, Ask::Detach(Numbers { numbers: (0..80).collect() }));
    mesh.world.input(edges[2], Input::Disconnected { connection });
    let gone = (0..1000_u64).filter(|n| n % 6 == 1 && n / 6 < 80 || n % 6 == 2);
    for number in gone {
        expected.0 -= 1;
        *expected.1.get_mut(&format!("state-{}", number % 3)).unwrap() -= 1;
        *expected.2.get_mut(&format!("two-{}", number % 2)).unwrap() -= 1;
        *expected.2.get_mut(&format!("five-{}", number % 5)).unwrap() -= 1;
    }
    expected.1.retain(|_, value| *value > 0);
    expected.2.retain(|_, value| *value > 0);
    mesh.world.run(Duration::from_secs(1));
    assert_eq!(figures(&mut mesh), expected, "after agents left");
}

#[test]
fn a_change_is_visible_when_the_watched_cut_covers_its_version() {
    let mut mesh = Mesh::settled();
    populate(&mut mesh);
    mesh.world.run(Duration::from_secs(1));
    let (coordinator, edge) = (mesh.coordinator, mesh.all_edges()[4]);
    mesh.world.ask(coordinator, 5, 1, Ask::WatchCut(Empty {}));
    assert!(matches!(mesh.world.nodes[coordinator].reply(5, 1), Some(Say::Done(_))));
    let changes = vec![Change { index: 0, state: Some("busy".into()), tags: None }];
    let input = Input::Changes { connection: ConnectionSlot(1), first: 41, changes };
    mesh.world.input(edge, input);
    let id = mesh.world.nodes[edge].id().0;
    let changed = |world: &World| {
        world.nodes[edge].record.replies.iter().find_map(|(_, _, say)| match say {
            Say::Changed(changed) if changed.through == 41 => Some(*changed),
            _ => None,
        })
    };
    let covers = |world: &World| {
        let Some(changed) = changed(world) else { return false };
        assert_eq!((changed.edge, changed.incarnation), (id, 1));
        world.nodes[coordinator].record.replies.iter().any(|(connection, _, say)| match say {
            Say::Cut(cut) if connection.0 == 5 => cut
                .edges
                .iter()
                .any(|at| at.edge == id && at.incarnation == 1 && at.version >= changed.version),
            _ => false,
        })
    };
    let took = mesh.world.run_until(Duration::from_secs(1), covers);
    assert!(took.is_some_and(|took| took <= Duration::from_millis(300)), "visible after {took:?}");
    let (_, states, _) = figures(&mut mesh);
    assert_eq!(states.get("busy"), Some(&1));
    // The cut that a watcher is told never goes back.
    let mut newest = BTreeMap::new();
    for (_, _, say) in &mesh.world.nodes[coordinator].record.replies {
        let Say::Cut(cut) = say else { continue };
        for at in &cut.edges {
            let before = newest.insert(at.edge, (at.incarnation, at.version));
            assert!(before < Some((at.incarnation, at.version)), "{at:?} after {before:?}");
        }
    }
}

#[test]
fn an_aggregators_death_and_return_change_no_count() {
    let mut mesh = Mesh::settled();
    populate(&mut mesh);
    mesh.world.run(Duration::from_secs(1));
    let (victim, coordinator) = (mesh.aggregators[0][0], mesh.coordinator);
    mesh.world.kill(victim);
    for _ in 0..80 {
        mesh.world.run(Duration::from_millis(100));
        assert_eq!(mesh.counted(), 1000, "while an aggregator is dead, {}", mesh.world.now().mono);
    }
    mesh.world.start(victim);
    for _ in 0..80 {
        mesh.world.run(Duration::from_millis(100));
        assert_eq!(mesh.counted(), 1000, "while it comes back, {}", mesh.world.now().mono);
    }
    assert_eq!(mesh.wrong_links(), vec![]);
    // It has it all again: now the other one dies.
    let other = mesh.aggregators[0][1];
    mesh.world.kill(other);
    mesh.world.run(Duration::from_secs(5));
    assert_eq!(mesh.counted(), 1000);
    let overview = mesh.world.overview(coordinator);
    let east = overview.regions.iter().find(|region| region.name == "east").expect("east is shown");
    assert_eq!((east.edges, east.aggregators), (3, 1));
}

#[test]
fn a_dead_edges_agents_leave_the_count() {
    let mut mesh = Mesh::settled();
    populate(&mut mesh);
    mesh.world.run(Duration::from_secs(1));
    let edge = mesh.edges[0][1];
    let gone = mesh.world.nodes[edge].id();
    mesh.world.kill(edge);
    mesh.world.run(Duration::from_millis(3500));
    assert_eq!(mesh.counted(), 1000 - 167, "3.5 s after an edge died");
    for peer in [mesh.edges[0][0], mesh.edges[0][2], mesh.aggregators[0][0], mesh.aggregators[0][1]] {
        let record = &mesh.world.nodes[peer].record;
        assert!(record.forgotten.contains(&Destination::Node(gone)), "node {peer} owes it nothing");
    }
}

#[test]
fn an_edge_that_restarts_at_once_has_no_agents_left() {
    let mut mesh = Mesh::settled();
    populate(&mut mesh);
    mesh.world.run(Duration::from_secs(1));
    let edge = mesh.edges[0][1];
    mesh.world.kill(edge);
    mesh.world.run(Duration::from_millis(100));
    mesh.world.start(edge);
    mesh.world.run(Duration::from_secs(2));
    assert_eq!(mesh.counted(), 1000 - 167, "agents of the edge's earlier life");
}

#[test]
fn an_edge_without_agents_is_counted_as_an_edge() {
    let mut mesh = Mesh::settled();
    let overview = mesh.world.overview(mesh.coordinator);
    assert_eq!(overview.regions.iter().map(|region| region.edges).collect::<Vec<_>>(), vec![3, 3]);
}

#[test]
fn labels_that_make_a_summary_too_large_cost_no_link() {
    let mut mesh = Mesh::settled();
    let edge = mesh.edges[0][0];
    let label = |number: u64| format!("{number:064}");
    let agents: Vec<Agent> = (0..600_u64)
        .map(|number| Agent { state: label(number), tags: vec![label(number + 1000)], ..Agent::new(number) })
        .collect();
    mesh.world.attach(edge, 1, 1, 0, &agents);
    mesh.world.run(Duration::from_secs(2));
    assert_eq!(mesh.wrong_links(), vec![]);
    let refused = |event: &starling_core::event::Event| matches!(event, starling_core::event::Event::Refused { reason, .. } if reason.contains("too large"));
    assert!(mesh.world.nodes[edge].record.events.iter().any(refused), "and somebody is told");
    // With fewer labels the figure goes on.
    mesh.world.ask(edge, 1, 2, Ask::Detach(Numbers { numbers: (0..500).collect() }));
    mesh.world.run(Duration::from_secs(1));
    assert_eq!(mesh.counted(), 100);
}
