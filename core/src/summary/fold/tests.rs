use proptest::prelude::*;

use super::*;
use crate::id::AgentId;
use crate::summary::{Counter, EdgeVersion, Summary};
use crate::wire::codec::Wire;

const STATES: [&str; 3] = ["idle", "busy", ""];
const TAGS: [&str; 5] = ["eu", "gpu", "us", "v2", "x"];

/// What an agent of the model is: on which edge, in which state, with which tags.
#[derive(Clone, Debug)]
struct Agent {
    edge: usize,
    state: &'static str,
    tags: Vec<&'static str>,
}

/// Edges and, beside them, every single agent.
struct World {
    edges: Vec<Summary>,
    agents: BTreeMap<u8, Agent>,
    /// All updates made so far.
    sent: Vec<(ShortId, SummaryUpdate)>,
}

type Step = (u8, u8, usize, usize, u64);

fn name(edge: usize) -> ShortId {
    ShortId(100 - edge as u64)
}

impl World {
    fn new() -> World {
        World {
            edges: (0..4).map(|edge| Summary::new(edge + 1)).collect(),
            agents: BTreeMap::new(),
            sent: Vec::new(),
        }
    }

    fn join(&mut self, number: u8, agent: Agent) {
        let id = AgentId::of_key(&[number; 32]);
        self.edges[agent.edge].agent_joined(id, agent.state, agent.tags.iter().copied());
        self.agents.insert(number, agent);
    }

    fn leave(&mut self, number: u8) -> Option<Agent> {
        let agent = self.agents.remove(&number)?;
        self.edges[agent.edge].agent_left(agent.state, agent.tags.iter().copied());
        Some(agent)
    }

    /// One change of an agent or a measurement, or an update sent.
    fn step(&mut self, (kind, number, edge, word, value): Step) {
        let (state, tag) = (STATES[word % 3], TAGS[word % 5]);
        match kind {
            0 => {
                self.leave(number);
                self.join(number, Agent { edge, state, tags: vec![tag] });
            }
            1 => drop(self.leave(number)),
            2 => {
                // An agent moves to another edge with all it is.
                if let Some(agent) = self.leave(number) {
                    self.join(number, Agent { edge, ..agent });
                }
            }
            3 => {
                if let Some(agent) = self.agents.get_mut(&number) {
                    self.edges[agent.edge].state_changed(agent.state, state);
                    agent.state = state;
                }
            }
            4 => {
                if let Some(agent) = self.agents.get_mut(&number) {
                    if let Some(at) = agent.tags.iter().position(|held| *held == tag) {
                        agent.tags.remove(at);
                        self.edges[agent.edge].tag_removed(tag);
                    } else {
                        agent.tags.push(tag);
                        self.edges[agent.edge].tag_added(tag);
                    }
                }
            }
            5 => {
                self.edges[edge].counted(Counter::ALL[word % 5], value % 1_000);
                self.edges[edge].recorded(DistributionId::DELIVERY_MICROS, value);
            }
            6 => {
                // A new sketch of those who are present, which takes back what was seen.
                let mut present = Distinct::default();
                let here = self.agents.iter().filter(|(_, agent)| agent.edge == edge);
                for (number, _) in here {
                    present.insert_agent(AgentId::of_key(&[*number; 32]));
                }
                self.edges[edge].replace_distinct(present);
            }
            _ => {
                let from = value % (self.edges[edge].version().version + 1);
                self.sent.push((name(edge), self.edges[edge].changed_since(from)));
            }
        }
    }

    /// Sends the whole of every edge.
    fn settle(&mut self) {
        for (edge, summary) in self.edges.iter_mut().enumerate() {
            self.sent.push((name(edge), summary.whole()));
        }
    }

    fn count(&self, is_counted: impl Fn(&Agent) -> bool) -> u64 {
        self.agents.values().filter(|agent| is_counted(agent)).count() as u64
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec((0..9_u8, 0..30_u8, 0..4_usize, 0..15_usize, any::<u64>()), 0..120)
}

/// Applies updates in the given order; what asks for the whole is left out.
fn folded<'a>(updates: impl IntoIterator<Item = &'a (ShortId, SummaryUpdate)>) -> Fold {
    let mut fold = Fold::new();
    for (edge, update) in updates {
        match fold.apply(*edge, update.clone()) {
            Ok(_) | Err(FoldError::NeedWhole(_)) => {}
            Err(FoldError::TooManyEdges) => panic!("there are four edges"),
        }
    }
    fold
}

proptest! {
    #[test]
    fn counts_are_exact_at_rest(steps in steps()) {
        let mut world = World::new();
        steps.into_iter().for_each(|step| world.step(step));
        world.settle();
        let figure = folded(&world.sent).figure();
        prop_assert_eq!(figure.agents(), world.agents.len() as u64);
        for state in STATES {
            prop_assert_eq!(figure.parts.counts.states.get(state), world.count(|agent| agent.state == state));
        }
        for tag in TAGS {
            prop_assert_eq!(figure.parts.counts.tags.get(tag), world.count(|agent| agent.tags.contains(&tag)));
        }
    }

    #[test]
    fn equal_cuts_give_equal_bytes(
        steps in steps(), order in prop::collection::vec(any::<prop::sample::Index>(), 0..60), gone in 0..4_usize
    ) {
        let mut world = World::new();
        steps.into_iter().for_each(|step| world.step(step));
        world.settle();
        let mut fold = folded(&world.sent);
        let expected = fold.figure();

        // Any order with any repetition, figures made in between, an edge forgotten on the way.
        let mut other = Fold::new();
        let (first, last) = order.split_at(order.len() / 2);
        for half in [first, last] {
            for at in half {
                let (edge, update) = at.get(&world.sent);
                let result = other.apply(*edge, update.clone());
                prop_assert!(matches!(result, Ok(_) | Err(FoldError::NeedWhole(_))));
                let between = other.figure();
                prop_assert_eq!(between.agents(), other.tree().commitment().agents);
            }
            other.remove_edge(name(gone));
        }
        for (edge, update) in world.sent.iter().rev() {
            let result = other.apply(*edge, update.clone());
            prop_assert!(matches!(result, Ok(_) | Err(FoldError::NeedWhole(_))));
        }
        prop_assert_eq!(other.figure().to_bytes(), expected.to_bytes());
        prop_assert_eq!(Figure::from_bytes(&expected.to_bytes()), Ok(expected.clone()));

        // Nothing that is kept up to date differs from what is folded anew.
        let mut anew = Parts::default();
        fold.edges.values().for_each(|edge| anew.fold(edge.held.parts()));
        prop_assert_eq!(&anew, &expected.parts);
        for edge in 0..4 {
            let opening = fold.open(name(edge)).expect("known");
            prop_assert!(opening.is_of(&expected.commitment()));
            prop_assert_eq!(opening.leaf.digest, world.edges[edge].parts().digest());
        }
    }
}

#[test]
fn an_edge_that_left_is_not_counted() {
    let mut world = World::new();
    world.join(1, Agent { edge: 0, state: "idle", tags: vec!["eu"] });
    world.join(2, Agent { edge: 1, state: "idle", tags: vec!["eu", "gpu"] });
    world.settle();
    let mut fold = folded(&world.sent);
    assert_eq!((fold.figure().agents(), fold.len()), (2, 4));
    assert!(fold.remove_edge(name(1)) && !fold.remove_edge(name(1)));
    let figure = fold.figure();
    assert_eq!((figure.agents(), figure.parts.counts.tags.get("gpu")), (1, 0));
    assert_eq!(figure.parts.distinct.estimate(), 1);
    assert!(!figure.cut.covers(name(1), EdgeVersion::default()) && fold.open(name(1)).is_none());
    world.edges[1].tag_added("x");
    let update = world.edges[1].changed_since(1);
    assert_eq!(fold.apply(name(1), update), Err(FoldError::NeedWhole(NeedWhole)));
}

#[test]
fn a_region_has_a_limit() {
    let mut fold = Fold::new();
    for edge in 0..EDGES_MAX as u64 {
        assert_eq!(fold.apply(ShortId(edge), Summary::new(0).whole()), Ok(Applied::Advanced));
    }
    let refused = fold.apply(ShortId(u64::MAX), Summary::new(0).whole());
    assert_eq!(refused, Err(FoldError::TooManyEdges));
    assert_eq!(fold.apply(ShortId(3), Summary::new(0).whole()), Ok(Applied::Ignored));
    assert_eq!(fold.figure().cut.edges.len(), EDGES_MAX);
}
