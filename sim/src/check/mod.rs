//! What must hold while anything goes wrong, each property in a file of its own.
//!
//! A checker looks at what just happened after every step, at the whole mesh every simulated second,
//! and at the end, when faults have ended and the mesh had time to heal. It counts how often it
//! looked, so that a check that never ran is not taken for one that held.

mod authentic;
mod behaved;
mod bounded;
mod counted;
mod delivered;
mod detected;
mod forgotten;
mod located;
mod readonly;
mod replicated;
mod silent;
mod unequivocal;

use starling_core::event::Event;
use starling_core::membership::detector::Statement;
use starling_core::time::Time;

use crate::clients::Clients;
use crate::faults::Fault;
use crate::journal::Journal;
use crate::meter::Passing;
use crate::world::World;

use authentic::Authentic;
pub(crate) use behaved::Behaved;
use bounded::Bounded;
use counted::Counted;
use delivered::Delivered;
pub(crate) use detected::Detected;
use forgotten::Forgotten;
use located::Located;
pub(crate) use readonly::ReadOnly;
use replicated::Replicated;
use silent::Silent;
use unequivocal::Unequivocal;

/// Every property with what it says; docs/simulation.md has more.
pub const INVARIANTS: [(&str, &str); 12] = [
    ("delivered", "what is published comes once and in order, or a gap is told"),
    ("authentic", "nothing comes that was not published so, and asked for"),
    ("unequivocal", "no node signs two bundles for one number"),
    ("counted", "at rest every agent is counted once"),
    ("detected", "no live and reachable node is declared dead, and a dead one is"),
    ("readonly", "a side that reaches too few of its region says so in time, and no longer than it must"),
    ("replicated", "when faults have ended, all agree about every key"),
    ("located", "at rest a region's aggregators know the home of every agent there"),
    ("bounded", "what a node keeps stays within its limits, and at rest it owes nothing"),
    ("forgotten", "nothing is kept for who has been dead for long"),
    ("silent", "nobody shows where a silent node listens, nor names it to who looks for peers"),
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
    /// A node puts a bundle on a link.
    fn on_sent(&mut self, _now: Time, _node: usize, _sent: &Passing, _scene: &mut Scene<'_>) {}
    /// A node says something of itself or of another, for the first time or again.
    fn on_said(&mut self, _now: Time, _node: usize, _said: &Statement, _scene: &mut Scene<'_>) {}
    /// Something goes wrong, or ends.
    fn on_fault(&mut self, _now: Time, _fault: &Fault, _scene: &mut Scene<'_>) {}
    /// Another second passed.
    fn each_second(&mut self, _now: Time, _scene: &mut Scene<'_>) {}
    /// Faults have ended, and the mesh has had time to heal.
    fn at_end(&mut self, _now: Time, _scene: &mut Scene<'_>) {}
    /// What was found.
    fn findings(&self) -> &Findings;
}

/// All of them, in the order of [`INVARIANTS`].
pub(crate) struct Checks {
    delivered: Delivered,
    authentic: Authentic,
    unequivocal: Unequivocal,
    counted: Counted,
    pub detected: Detected,
    pub readonly: ReadOnly,
    replicated: Replicated,
    located: Located,
    bounded: Bounded,
    forgotten: Forgotten,
    silent: Silent,
    pub behaved: Behaved,
}

impl Checks {
    /// `keys` are those that somebody writes.
    pub fn new(keys: Vec<String>, behaved: Behaved) -> Checks {
        Checks {
            delivered: Delivered::default(),
            authentic: Authentic::default(),
            unequivocal: Unequivocal::default(),
            counted: Counted::default(),
            detected: Detected::default(),
            readonly: ReadOnly::default(),
            replicated: Replicated::new(keys),
            located: Located::default(),
            bounded: Bounded::default(),
            forgotten: Forgotten::default(),
            silent: Silent::default(),
            behaved,
        }
    }

    /// Each of them.
    pub fn each(&mut self) -> [&mut dyn Check; INVARIANTS.len()] {
        [
            &mut self.delivered,
            &mut self.authentic,
            &mut self.unequivocal,
            &mut self.counted,
            &mut self.detected,
            &mut self.readonly,
            &mut self.replicated,
            &mut self.located,
            &mut self.bounded,
            &mut self.forgotten,
            &mut self.silent,
            &mut self.behaved,
        ]
    }
}
