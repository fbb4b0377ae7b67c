//! Coordinators agree: Raft (openraft), its store (redb), and the service that a coordinator's machine
//! speaks to.
//!
//! This crate uses core alone. It knows no link: what it says goes over the
//! [`Ground`](starling_core::agreement::Ground) that the node gives it. Start at [`Consensus`]; `store`
//! is what must outlive the process, `elections` says who leads, `proposals` how something is decided
//! once, `membership` who is in the group, and `wire` is what coordinators say to one another.

mod calls;
mod elections;
mod membership;
mod network;
mod proposals;
mod server;
mod service;
mod standings;
mod store;
mod timing;
mod types;
pub mod wire;

pub use membership::MembershipError;
pub use service::Consensus;
pub use store::StoreError;
