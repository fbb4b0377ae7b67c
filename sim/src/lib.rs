//! A mesh in virtual time: the same machines and the same hot path that run over QUIC, driven in one
//! thread.
//!
//! Depends on core and the roles alone. Start at [`World`]: nodes, links and faults, moved on by
//! [`World::run`]. All chance follows from one seed: two runs of a seed agree in every byte, which
//! [`World::trace_hash`] shows. [`run`] builds a mesh, lets it work while faults happen, lets it heal, and
//! reports what the checks found ([`INVARIANTS`]).
//!
//! After every input the machine's own invariants are checked, and that it does not ask to be woken
//! at a time that has passed, which would make a driver spin.

mod agents;
mod agreed;
mod carry;
mod check;
mod clients;
mod detectors;
mod faults;
mod hostile;
mod journal;
mod link;
mod mail;
mod matrix;
mod meter;
mod mutants;
mod network;
mod node;
mod outlet;
mod processor;
mod queue;
mod report;
mod rounds;
mod run;
mod scenario;
mod settings;
mod trace;
mod world;

pub use agents::Agent;
pub use check::INVARIANTS;
pub use detectors::{Compared, Comparison, DetectorReport, compare, plain, watch_region};
pub use faults::Fault;
pub use hostile::Attack;
pub use link::Conditions;
pub use matrix::{Matrix, MatrixError};
pub use mutants::{Mutant, Mutants, Verdict, hunt_all};
pub use node::{Node, Plan, Record, Signatures, Told};
pub use processor::Processors;
pub use report::{Banned, Events, Invariant, Report, Rounds, Shares, Summary};
pub use rounds::{RoundsRow, RoundsTable, SIZES, rounds_table};
pub use run::run;
pub use scenario::{Attackers, Scenario};
pub use settings::{FaultRates, Settings};
pub use world::World;
