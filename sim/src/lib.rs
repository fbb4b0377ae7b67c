//! A mesh in virtual time: the same machines and the same hot path that run over QUIC, driven in one
//! thread.
//!
//! Depends on core and the roles alone. Start at [`World`]: nodes, links and faults, moved on by
//! [`World::run`]. All chance follows from one seed: two runs of a seed agree in every byte, which
//! [`World::trace_hash`] shows.
//!
//! After every input the machine's own invariants are checked, and that it does not ask to be woken
//! at a time that has passed, which would make a driver spin.

mod agents;
mod carry;
mod link;
mod network;
mod node;
mod outlet;
mod queue;
mod trace;
mod world;

pub use agents::Agent;
pub use link::Conditions;
pub use node::{Node, Plan, Record, Signatures, Told};
pub use world::World;
