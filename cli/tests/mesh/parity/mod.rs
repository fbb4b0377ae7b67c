//! One scenario, in the simulator and as real processes over loopback QUIC: what was promised to agents
//! and what nodes say in the end must be the same. How long anything took is not compared.
//!
//! [`scenario`] is all that happens; it knows a mesh by [`Ground`] alone, which [`Simulated`] and [`Real`]
//! implement. Both sign with ed25519, and agents have the same keys in both.

mod real;
mod scenario;
mod simulated;

use std::collections::{BTreeMap, BTreeSet};

use starling_client::SecretKey;
use starling_core::identity::Roles;
use starling_core::wire::request::{KeyChange, Overview};

use self::real::Real;
use self::scenario::play;
use self::simulated::Simulated;
use crate::process::turn;

/// Every node: its name, role and region.
pub const NODES: [(&str, Roles, &str); 9] = [
    ("coordinator", Roles::COORDINATOR, "global"),
    ("east-aggregator", Roles::AGGREGATOR, "east"),
    ("west-aggregator", Roles::AGGREGATOR, "west"),
    ("east-0", Roles::EDGE, "east"),
    ("east-1", Roles::EDGE, "east"),
    ("east-2", Roles::EDGE, "east"),
    ("west-0", Roles::EDGE, "west"),
    ("west-1", Roles::EDGE, "west"),
    ("west-2", Roles::EDGE, "west"),
];

/// The key of an agent by its number.
pub fn key_of(agent: usize) -> SecretKey {
    SecretKey::from_seed([u8::try_from(agent + 1).expect("a handful of agents"); 32])
}

/// Where an entry goes.
#[derive(Clone, Debug)]
pub enum To {
    Subject(&'static str),
    Agent(usize),
}

/// An entry to be published.
#[derive(Clone, Debug)]
pub struct Entry {
    pub agent: usize,
    pub to: To,
    pub payload: String,
    pub is_priority: bool,
}

/// Something that an agent was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// An entry; without a pattern it came to the inbox.
    Entry { by: usize, publisher: usize, pattern: Option<String>, subject: String, payload: String },
    /// Entries may be missing.
    Gap { by: usize },
}

/// What a scenario needs of a mesh. Every call fails the test if the mesh does not do it in time.
pub trait Ground {
    /// Lets a short time pass.
    fn pass(&mut self);
    /// Lets enough time pass for everybody to hear everybody's news.
    fn rest(&mut self);
    /// Attaches an agent to an edge.
    fn attach(&mut self, agent: usize, edge: &'static str);
    /// The agent leaves its edge.
    fn leave(&mut self, agent: usize);
    /// Returns when the subscription is in force everywhere.
    fn subscribe(&mut self, agent: usize, pattern: &'static str);
    /// Publishes all of them, agents side by side, and returns when every one is acknowledged.
    fn publish(&mut self, entries: Vec<Entry>);
    /// An agent writes a key; returns when its edge confirmed it.
    fn write(&mut self, agent: usize, key: &str, change: KeyChange);
    /// A key as an edge reads it, as text.
    fn read(&mut self, edge: &str, key: &str) -> Option<String>;
    /// Ends an edge without a word; its agents are nowhere then.
    fn kill(&mut self, edge: &'static str);
    /// Starts it again.
    fn start(&mut self, edge: &'static str);
    /// What a node says of the mesh, if it answers.
    fn overview(&mut self, node: &str) -> Option<Overview>;
    /// All that agents heard so far.
    fn heard(&mut self) -> Vec<Heard>;
}

/// A node as another one shows it: role, region, status, agents.
type Shown = (String, String, String, u64);

/// What nodes say at one moment.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Edges, aggregators and agents of each region, as the coordinator counts them.
    pub regions: BTreeMap<String, (u32, u32, u64)>,
    /// Who is a member, as each node says.
    pub members: BTreeMap<String, BTreeMap<String, Shown>>,
}

/// Receiver, publisher, pattern that it came by, subject.
type Stream = (usize, usize, Option<String>, String);

/// What is compared.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// What each agent received of each publisher on each subject, in order.
    pub received: BTreeMap<Stream, Vec<String>>,
    /// Agents that were told of a gap.
    pub gaps: BTreeSet<usize>,
    /// Keys in the end, at every edge.
    pub keys: BTreeMap<String, BTreeMap<String, Option<String>>>,
    /// What nodes said at each stage of the scenario.
    pub stages: Vec<(&'static str, Figures)>,
}

#[test]
fn a_simulated_mesh_and_a_real_one_do_the_same() {
    let _turn = turn();
    let simulated = play(&mut Simulated::start());
    let real = play(&mut Real::start());
    for ((stage, simulated), (_, real)) in simulated.stages.iter().zip(&real.stages) {
        assert_eq!(simulated, real, "figures that differ: {stage}");
    }
    let streams: BTreeSet<&Stream> = simulated.received.keys().chain(real.received.keys()).collect();
    for stream in streams {
        assert_eq!(simulated.received.get(stream), real.received.get(stream), "{stream:?}");
    }
    assert_eq!(simulated, real);
}
