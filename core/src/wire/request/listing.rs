//! Lists that are asked for a page at a time: a region's edges, an edge's agents.

use bytes::Bytes;

use super::Counter;

/// Edges in one answer, at most.
pub const EDGES_LISTED_MAX: u32 = 256;
/// Agents in one answer, at most.
pub const AGENTS_LISTED_MAX: u32 = 256;
/// Labels of a kind that are told of one edge: those that most agents have.
pub const LABELS_LISTED_MAX: usize = 16;

/// Which edges of its region an aggregator shall list.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct AskEdges {
    /// Only edges whose short id is greater; 0 begins.
    #[prost(fixed64, tag = "1")]
    pub after: u64,
    /// How many at most; 0 for as many as go, which is [`EDGES_LISTED_MAX`].
    #[prost(uint32, tag = "2")]
    pub count: u32,
}

/// A page of a region's edges, by short id.
#[derive(Clone, PartialEq, prost::Message)]
pub struct EdgesView {
    /// The edges.
    #[prost(message, repeated, tag = "1")]
    pub edges: Vec<EdgeView>,
    /// How many the region has, those included that are down.
    #[prost(uint32, tag = "2")]
    pub of: u32,
    /// Whether others come after these.
    #[prost(bool, tag = "3")]
    pub is_more: bool,
    /// Wall-clock milliseconds of the answer.
    #[prost(uint64, tag = "4")]
    pub as_of_ms: u64,
}

/// An edge as an aggregator of its region knows it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct EdgeView {
    /// Short id.
    #[prost(fixed64, tag = "1")]
    pub id: u64,
    /// Name.
    #[prost(string, tag = "2")]
    pub name: String,
    /// As in [`Member`](super::Member).
    #[prost(string, tag = "3")]
    pub status: String,
    /// Where it listens.
    #[prost(string, tag = "4")]
    pub address: String,
    /// Agents in its summary; 0 where there is none.
    #[prost(uint64, tag = "5")]
    pub agents: u64,
    /// Agents by state, the most frequent.
    #[prost(message, repeated, tag = "6")]
    pub states: Vec<Counter>,
    /// Agents by tag, the most frequent.
    #[prost(message, repeated, tag = "7")]
    pub tags: Vec<Counter>,
    /// Totals since its start, as in [`RegionView`](super::RegionView).
    #[prost(message, repeated, tag = "8")]
    pub totals: Vec<Counter>,
    /// Quantiles in microseconds, as there.
    #[prost(message, repeated, tag = "9")]
    pub quantiles: Vec<Counter>,
    /// Version of its summary; 0 where there is none.
    #[prost(uint64, tag = "10")]
    pub version: u64,
    /// The incarnation of that summary.
    #[prost(fixed64, tag = "11")]
    pub incarnation: u64,
}

/// Which of its agents an edge shall list. What is empty filters nothing.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AskAgents {
    /// Where the page before ended; 0 begins.
    #[prost(uint64, tag = "1")]
    pub cursor: u64,
    /// How many at most; 0 for as many as go, which is [`AGENTS_LISTED_MAX`].
    #[prost(uint32, tag = "2")]
    pub count: u32,
    /// Only agents with this tag.
    #[prost(string, tag = "3")]
    pub tag: String,
    /// Only agents in this state.
    #[prost(string, tag = "4")]
    pub state: String,
    /// Only agents whose name contains this.
    #[prost(string, tag = "5")]
    pub name: String,
    /// Only the agent with this id, 16 bytes.
    #[prost(bytes = "bytes", tag = "6")]
    pub id: Bytes,
}

/// A page of an edge's agents, in the order of their places there.
///
/// An edge looks at a bounded number of places for one answer, so a page may have fewer agents than
/// were asked for, or none, and others come after it all the same.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AgentsView {
    /// The agents.
    #[prost(message, repeated, tag = "1")]
    pub agents: Vec<AgentView>,
    /// How many agents the edge hosts, whatever the filter.
    #[prost(uint64, tag = "2")]
    pub hosted: u64,
    /// Where the next page begins; 0 when this was the last.
    #[prost(uint64, tag = "3")]
    pub next: u64,
    /// Wall-clock milliseconds of the answer.
    #[prost(uint64, tag = "4")]
    pub as_of_ms: u64,
}

/// An agent as its edge knows it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AgentView {
    /// Id, 16 bytes.
    #[prost(bytes = "bytes", tag = "1")]
    pub id: Bytes,
    /// Name, as the agent says.
    #[prost(string, tag = "2")]
    pub name: String,
    /// State, as the agent says.
    #[prost(string, tag = "3")]
    pub state: String,
    /// Tags, as the agent says.
    #[prost(string, repeated, tag = "4")]
    pub tags: Vec<String>,
    /// Session number.
    #[prost(uint64, tag = "5")]
    pub session: u64,
    /// How many subscriptions it has open.
    #[prost(uint32, tag = "6")]
    pub subscriptions: u32,
}
