//! How a node finds the mesh: four tiers that are asked at once, and the registrar that feeds one of them.
//!
//! A node's addresses to begin with come from its configuration (`mesh.seeds`, which its machine dials by
//! itself), from the peers it knew before ([`known`]), from DNS ([`dns`]), from a registrar
//! ([`registration`], the node's side) and from a list that was shipped with the release ([`shipped`]).
//! [`finder`] asks all of these at once and hands what they say to the machine as
//! [`Input::Candidates`](starling_core::machine::Input::Candidates); it also remembers peers and registers
//! the node. [`registrar`] is the service at the other end.
//!
//! Nothing that is found here is believed: a [`Candidate`] is a place to dial, and who answers there must
//! prove by its certificate that it is a node of the mesh, and which one where a name is given.
//!
//! This crate uses core and sockets; it knows no role and opens no link. Start at [`finder`].

#![forbid(unsafe_code)]

mod candidate;
pub mod dns;
pub mod finder;
pub mod known;
pub mod registrar;
pub mod registration;
pub mod shipped;

pub use candidate::{BadCandidate, Candidate};

use std::time::{SystemTime, UNIX_EPOCH};

/// Candidates that are taken from one tier at one time.
pub const CANDIDATES_MAX: usize = 64;

/// Seconds since 1970.
pub(crate) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
