//! What every role is put together from: the place where core's components meet.
//!
//! Components of core do not import one another; what one learns and another needs is carried here.

pub mod audit;
#[cfg(test)]
mod cast;
pub mod missed;
pub mod nearness;
pub mod overview;
pub mod peering;
pub mod quorum;
pub mod replication;
pub mod routes;
pub mod updates;
