//! What nodes tell one another of nodes.

use bytes::Bytes;

/// What nodes tell one another of a node.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PeerRecord {
    /// Encoded admission: key, roles, region, name, signed by the mesh's authority.
    #[prost(bytes = "bytes", tag = "1")]
    pub admission: Bytes,
    /// Socket addresses at which it listens; empty for a silent peer.
    #[prost(string, repeated, tag = "2")]
    pub addresses: Vec<String>,
    /// Its incarnation.
    #[prost(fixed64, tag = "3")]
    pub incarnation: u64,
    /// Process id on its machine, for people.
    #[prost(uint32, tag = "4")]
    pub process: u32,
    /// Version of its software.
    #[prost(string, tag = "5")]
    pub version: String,
    /// Whether the sender holds it for dead or gone: it is told for its key alone.
    #[prost(bool, tag = "6")]
    pub is_gone: bool,
    /// Whether it said good-bye.
    #[prost(bool, tag = "7")]
    pub has_left: bool,
    /// By the node's identity key, over what it says of itself: incarnation, addresses, process and version.
    #[prost(bytes = "bytes", tag = "8")]
    pub signature: Bytes,
}

/// Nodes known to the sender.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Peers {
    /// At most 256 a message.
    #[prost(message, repeated, tag = "1")]
    pub records: Vec<PeerRecord>,
    /// Whether more follow at once.
    #[prost(bool, tag = "2")]
    pub more: bool,
}

/// What the sender knows of nodes, itself included, to be compared.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Roster {
    /// The sum of the buckets.
    #[prost(fixed64, tag = "1")]
    pub fingerprint: u64,
    /// 64 of them, each a sum over the nodes whose id it is modulo 64; or none, to save bytes where
    /// nothing differs: who has another fingerprint answers with its own.
    #[prost(fixed64, repeated, tag = "2")]
    pub buckets: Vec<u64>,
    /// Whether the receiver need not show its own.
    #[prost(bool, tag = "3")]
    pub is_answer: bool,
}

/// Nodes by name, where whole records would be many that the receiver has.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Names {
    /// Short ids of nodes that the sender knows. At most 2,048 a message.
    #[prost(fixed64, repeated, tag = "1")]
    pub offered: Vec<u64>,
    /// Their incarnations, as many.
    #[prost(fixed64, repeated, tag = "2")]
    pub incarnations: Vec<u64>,
    /// Short ids of nodes whose records the sender wants. At most 2,048 a message.
    #[prost(fixed64, repeated, tag = "3")]
    pub wanted: Vec<u64>,
}
