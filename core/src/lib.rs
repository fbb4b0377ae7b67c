//! The pure protocol of Starling: no socket, no clock, no thread, no entropy.
//!
//! Start at [`machine`] for the contract by which drivers turn inputs into outputs, at [`wire`]
//! for what crosses a link, and at [`hot`] for the path that every message takes.

pub mod agreement;
pub mod conduct;
pub mod convergence;
pub mod event;
pub mod hash;
pub mod hlc;
pub mod hot;
pub mod id;
pub mod identity;
pub mod interest;
pub mod limits;
pub mod machine;
pub mod membership;
pub mod node;
pub mod paged;
pub mod registry;
pub mod rng;
pub mod rtt;
pub mod state;
pub mod summary;
pub mod time;
pub mod timers;
pub mod topology;
pub mod wire;
