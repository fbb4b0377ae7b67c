//! What goes wrong, when and to whom.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use starling_net::shaping::Rule;

/// What a fault is. Each but `restart`, `resume`, `mend` and `relent` begins something that one of these ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// Signal 9.
    Kill,
    /// Started again after a kill.
    Restart,
    /// SIGSTOP.
    Pause,
    /// SIGCONT.
    Resume,
    /// Nothing passes between two sides, in both directions.
    Cut,
    /// Nothing passes from one side to the other.
    OneWay,
    /// What passes is late, lossy and little.
    Slow,
    /// The links are as they were.
    Mend,
    /// A hostile node begins to lie.
    Attack,
    /// It stops.
    Relent,
}

impl FaultKind {
    /// Its name, as in the report.
    pub fn name(self) -> &'static str {
        match self {
            FaultKind::Kill => "kill",
            FaultKind::Restart => "restart",
            FaultKind::Pause => "pause",
            FaultKind::Resume => "resume",
            FaultKind::Cut => "cut",
            FaultKind::OneWay => "one-way",
            FaultKind::Slow => "slow",
            FaultKind::Mend => "mend",
            FaultKind::Attack => "attack",
            FaultKind::Relent => "relent",
        }
    }

    /// Whether it is the end of another.
    pub fn is_end(self) -> bool {
        matches!(self, FaultKind::Restart | FaultKind::Resume | FaultKind::Mend | FaultKind::Relent)
    }
}

/// One thing to do to a mesh.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// When, from the beginning of the faults.
    pub at: Duration,
    /// What.
    pub kind: FaultKind,
    /// For people and, where a process is meant, the node's name.
    pub target: String,
    /// Pairs of nodes, sender and receiver, where links are meant.
    pub links: Vec<(String, String)>,
    /// What happens on these links; the default mends them.
    pub rule: Rule,
}

impl Step {
    /// Something done to the process of a node.
    pub fn process(at: Duration, kind: FaultKind, node: &str) -> Step {
        Step { at, kind, target: node.to_owned(), links: Vec::new(), rule: Rule::default() }
    }
}

/// Every pair of one of `from` and one of `to`, in this direction.
pub fn from_to(from: &[String], to: &[String]) -> Vec<(String, String)> {
    from.iter().flat_map(|from| to.iter().map(move |to| (from.clone(), to.clone()))).collect()
}

/// Every pair of the two sides, in both directions.
pub fn between(one: &[String], other: &[String]) -> Vec<(String, String)> {
    let mut links = from_to(one, other);
    links.extend(from_to(other, one));
    links
}
