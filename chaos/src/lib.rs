//! Chaos on real processes: a mesh of `starling run`, agents of the client library, faults on purpose,
//! and a history that is judged afterwards.
//!
//! [`run()`] starts the mesh of a [`Roster`], lets agents publish and receive, does what a [`Scenario`]
//! says, waits until everything is whole again and leaves a [`history`]. [`judge()`] reads nothing but
//! that: it says what was promised and not kept, in a [`Report`]. Processes are killed and paused by
//! signals; links are cut and slowed by the file that nodes follow (`starling_net::shaping::links`).

#![forbid(unsafe_code)]

mod agents;
pub mod coordinators;
mod faults;
pub mod history;
mod inject;
pub mod judge;
mod report;
mod roster;
mod run;
mod scenario;
mod watch;

pub use faults::FaultKind;
pub use judge::judge;
pub use report::{Banned, Fault, Invariant, Report, Times, UnderAttack};
pub use roster::Roster;
pub use run::{Say, Settings, run};
pub use scenario::Scenario;
pub use starling_hostile::Attack;
