//! The question which peers there are, and its answer: those that broadcast.

use bytes::Bytes;

/// Which peers are there?
#[derive(Clone, PartialEq, prost::Message)]
pub struct AskPeers {
    /// What is looked for: 0 anybody, 1 a service, 2 a capability, 3 a blob.
    #[prost(uint32, tag = "1")]
    pub by: u32,
    /// Its name, at most 64 bytes; of a blob its hash in hexadecimal.
    #[prost(string, tag = "2")]
    pub name: String,
    /// How many peers at the most, held to 1 to 256.
    #[prost(uint32, tag = "3")]
    pub count: u32,
}

/// Peers that match, the best first.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PeersView {
    /// Name of the mesh.
    #[prost(string, tag = "1")]
    pub mesh: String,
    /// Name of the node that answers.
    #[prost(string, tag = "2")]
    pub node: String,
    /// Wall-clock milliseconds of the answer.
    #[prost(uint64, tag = "3")]
    pub as_of_ms: u64,
    /// At most 256; none of them is silent.
    #[prost(message, repeated, tag = "4")]
    pub peers: Vec<PeerView>,
    /// Whether others were asked too, as the node did not know enough itself.
    #[prost(bool, tag = "5")]
    pub has_asked_others: bool,
}

/// A peer that broadcasts.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PeerView {
    /// Node id, 32 bytes.
    #[prost(bytes = "bytes", tag = "1")]
    pub id: Bytes,
    /// Name.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Name of the region.
    #[prost(string, tag = "3")]
    pub region: String,
    /// What it can do; a service as `service:NAME`.
    #[prost(string, repeated, tag = "4")]
    pub capabilities: Vec<String>,
    /// Software version.
    #[prost(string, tag = "5")]
    pub version: String,
    /// `self`, `alive` or `suspect`.
    #[prost(string, tag = "6")]
    pub status: String,
    /// How far the answering node trusts it, 0 to 10,000.
    #[prost(uint32, tag = "7")]
    pub reputation: u32,
    /// Smoothed round trip in microseconds; 0 where it is not measured.
    #[prost(uint64, tag = "8")]
    pub rtt_us: u64,
    /// Where it can be dialled.
    #[prost(string, repeated, tag = "9")]
    pub addresses: Vec<String>,
    /// How good it is to have, 0 to 10,000.
    #[prost(uint32, tag = "10")]
    pub score: u32,
}
