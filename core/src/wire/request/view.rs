//! Parts of an [`Overview`](super::Overview): what a node says of its own place in the mesh.

/// How many of the nodes that count a node reaches, and what follows.
#[derive(Clone, PartialEq, prost::Message)]
pub struct QuorumView {
    /// Which nodes count: `region NAME` at edges and aggregators, `mesh` at coordinators.
    #[prost(string, tag = "1")]
    pub scope: String,
    /// `HEALTHY`, `DEGRADED`, `READ-ONLY` or `CRITICAL`.
    #[prost(string, tag = "2")]
    pub status: String,
    /// Whether this side reaches too few to agree.
    #[prost(bool, tag = "3")]
    pub is_cut_off: bool,
    /// Nodes in reach, the answering one included.
    #[prost(uint32, tag = "4")]
    pub reachable: u32,
    /// Nodes that count, the answering one included.
    #[prost(uint32, tag = "5")]
    pub roster: u32,
    /// Since when status and side are what they are, wall-clock milliseconds; 0 since the node's start.
    #[prost(uint64, tag = "6")]
    pub since_ms: u64,
    /// What is forbidden now, such as `change-configuration`.
    #[prost(string, repeated, tag = "7")]
    pub forbidden: Vec<String>,
}

/// How far a node's peers are, and which it prefers.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TopologyView {
    /// `random`, `latency`, `hybrid` or `geographic`.
    #[prost(string, tag = "1")]
    pub strategy: String,
    /// Rounds of measurements since the node's start, about one a second.
    #[prost(uint64, tag = "2")]
    pub round: u64,
    /// The round of the last rebalance; 0 before the first.
    #[prost(uint64, tag = "3")]
    pub rebalanced_round: u64,
    /// When that was, wall-clock milliseconds; 0 before the first.
    #[prost(uint64, tag = "4")]
    pub rebalanced_ms: u64,
    /// How many peers are measured.
    #[prost(uint32, tag = "5")]
    pub measured: u32,
    /// The clusters as of the last rebalance, nearest first.
    #[prost(message, repeated, tag = "6")]
    pub clusters: Vec<ClusterView>,
    /// The peers, at most 4,096.
    #[prost(message, repeated, tag = "7")]
    pub distances: Vec<DistanceView>,
}

/// Peers at about one distance.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct ClusterView {
    /// Smoothed round trip to the nearest, in microseconds.
    #[prost(uint64, tag = "1")]
    pub nearest_us: u64,
    /// That to the farthest.
    #[prost(uint64, tag = "2")]
    pub farthest_us: u64,
    /// How many there are.
    #[prost(uint32, tag = "3")]
    pub peers: u32,
}

/// A peer and how far it is.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DistanceView {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its region.
    #[prost(string, tag = "2")]
    pub region: String,
    /// Smoothed round trip in microseconds; 0 where it is not measured yet.
    #[prost(uint64, tag = "3")]
    pub rtt_us: u64,
    /// Its cluster as of the last rebalance, from 1; 0 in none.
    #[prost(uint32, tag = "4")]
    pub cluster: u32,
    /// Whether it is preferred.
    #[prost(bool, tag = "5")]
    pub is_preferred: bool,
    /// Whether it is the one that is preferred for being far.
    #[prost(bool, tag = "6")]
    pub is_far: bool,
    /// How far its replica is behind; none until it said what it has.
    #[prost(message, optional, tag = "7")]
    pub lag: Option<LagView>,
}

/// How far a peer is behind the versions that the answering node knows of, as of the peer's last word.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct LagView {
    /// How many versions it lacks.
    #[prost(uint64, tag = "1")]
    pub versions: u64,
    /// For how long it has lacked the first of them, in milliseconds.
    #[prost(uint64, tag = "2")]
    pub behind_ms: u64,
    /// How long ago it said what it has, in milliseconds.
    #[prost(uint64, tag = "3")]
    pub said_ms: u64,
}
