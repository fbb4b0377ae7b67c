//! What must hold while anything goes wrong, each property in a file of its own.
//!
//! A checker looks at what just happened after every step, at the whole mesh every simulated second,
//! and at the end, when faults have ended and the mesh had time to heal. It counts how often it
//! looked, so that a check that never ran is not taken for one that held.

mod behaved;
mod counted;
mod delivered;
mod detected;
mod replicated;

use starling_core::event::Event;
use starling_core::time::Time;

use crate::clients::Clients;
use crate::faults::Fault;
use crate::journal::Journal;
use crate::world::World;

pub(crate) use behaved::Behaved;
pub(crate) use counted::Counted;
pub(crate) use delivered::Delivered;
pub(crate) use detected::Detected;
pub(crate) use replicated::Replicated;

/// Every property with what it says; docs/simulation.md has more.
pub const INVARIANTS: [(&str, &str); 5] = [
    ("delivered", "what is published comes once, in order, unchanged, or a gap is told"),
    ("counted", "at rest every agent is counted once"),
    ("detected", "no live and reachable node is declared dead, and a dead one is"),
    ("replicated", "when faults have ended, all agree about every key"),
    ("behaved", "who provably lies is banned by all honest nodes, and no honest node ever is"),
];

/// What checkers look at.
pub(crate) struct Scene<'a> {
    /// The mesh.
    pub world: &'a mut World,
    /// Its clients.
    pub clients: &'a Clients,
    /// What they were promised.
    pub journal: &'a mut Journal,
}

/// How often a property was looked at, and when it did not hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct Findings {
    /// Times that it was looked at.
    pub checks: u64,
    /// Times that it did not hold.
    pub violations: u64,
    /// What was seen at the first of them.
    pub examples: Vec<String>,
}

/// Examples that are kept of a property's violations.
const EXAMPLES_MAX: usize = 5;

impl Findings {
    /// Looked once; `wrong` says what is not as it must be.
    pub fn note(&mut self, now: Time, wrong: Option<String>) {
        self.checks += 1;
        if let Some(wrong) = wrong {
            self.violations += 1;
            if self.examples.len() < EXAMPLES_MAX {
                self.examples.push(format!("at {now} s: {wrong}"));
            }
        }
    }
}

/// One property.
pub(crate) trait Check {
    /// Its name, as docs/simulation.md explains it.
    fn name(&self) -> &'static str;
    /// A node said something.
    fn on_event(&mut self, _now: Time, _node: usize, _event: &Event, _scene: &mut Scene<'_>) {}
    /// Something goes wrong, or ends.
    fn on_fault(&mut self, _now: Time, _fault: &Fault, _scene: &mut Scene<'_>) {}
    /// Another second passed.
    fn each_second(&mut self, _now: Time, _scene: &mut Scene<'_>) {}
    /// Faults have ended, and the mesh has had time to heal.
    fn at_end(&mut self, _now: Time, _scene: &mut Scene<'_>) {}
    /// What was found.
    fn findings(&self) -> &Findings;
}
