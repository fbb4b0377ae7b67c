//! How far the coordinators are, and what they decided.

use bytes::Bytes;

/// A coordinator, as the answering one heard of it last.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CoordinatorView {
    /// Its short id.
    #[prost(fixed64, tag = "1")]
    pub id: u64,
    /// Its name; its short id if the answering one never met it.
    #[prost(string, tag = "2")]
    pub name: String,
    /// `leader`, `follower` or `learner`.
    #[prost(string, tag = "3")]
    pub role: String,
    /// The term it is in.
    #[prost(uint64, tag = "4")]
    pub term: u64,
    /// The last entry that it applied.
    #[prost(uint64, tag = "5")]
    pub applied: u64,
    /// Whether it was heard of within the last seconds.
    #[prost(bool, tag = "6")]
    pub is_heard: bool,
}

/// A system update that was decided.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DecidedView {
    /// Its place among them, from 1.
    #[prost(uint64, tag = "1")]
    pub index: u64,
    /// Wall-clock milliseconds at which it was proposed.
    #[prost(uint64, tag = "2")]
    pub decided_ms: u64,
    /// What was decided.
    #[prost(bytes = "bytes", tag = "3")]
    pub payload: Bytes,
}

/// Decided updates, oldest first, as many as fit into 32 KiB; at least one if there is any. Those that
/// nobody keeps any more are left out.
#[derive(Clone, PartialEq, prost::Message)]
pub struct UpdatesView {
    /// The updates.
    #[prost(message, repeated, tag = "1")]
    pub updates: Vec<DecidedView>,
}
