//! Requests of clients, replies of nodes, and the notices a node sends on its own
//! (docs/protocol.md#requests).

use bytes::Bytes;
use prost::Message as _;

use super::codec::DecodeError;
use super::frame::{FrameType, frame};

mod coordinators;
mod listing;
mod peers;
mod view;

pub use coordinators::{CoordinatorView, DecidedView, UpdatesView};
pub use listing::{
    AGENTS_LISTED_MAX, AgentView, AgentsView, AskAgents, AskEdges, EDGES_LISTED_MAX, EdgeView, EdgesView,
    LABELS_LISTED_MAX,
};
pub use peers::{AskPeers, PeerView, PeersView};
pub use view::{ClusterView, DistanceView, LagView, QuorumView, TopologyView};

/// A client asks for something; the reply has the same id.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Request {
    /// Chosen by the client.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// What is asked; none when it is newer than this version.
    #[prost(oneof = "Ask", tags = "2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 40, 41, 50")]
    pub ask: Option<Ask>,
}

/// What a [`Request`] may ask.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Ask {
    /// Open subscriptions.
    #[prost(message, tag = "2")]
    Subscribe(Subscribe),
    /// Close subscriptions.
    #[prost(message, tag = "3")]
    Unsubscribe(Numbers),
    /// Agents leave.
    #[prost(message, tag = "4")]
    Detach(Numbers),
    /// What is the state of the mesh, as far as the node knows?
    #[prost(message, tag = "5")]
    Overview(Empty),
    /// Where is this agent (16 bytes)?
    #[prost(bytes = "bytes", tag = "6")]
    Locate(Bytes),
    /// Decide this system update and spread it (coordinators).
    #[prost(bytes = "bytes", tag = "7")]
    Update(Bytes),
    /// Send a [`Cut`] notice whenever the global cut grows (coordinators).
    #[prost(message, tag = "8")]
    WatchCut(Empty),
    /// Set a replicated key.
    #[prost(message, tag = "9")]
    SetKey(SetKey),
    /// Read a replicated key, merged over all nodes (encoding of `state::Value` in the reply).
    #[prost(string, tag = "10")]
    GetKey(String),
    /// Which peers are there?
    #[prost(message, tag = "11")]
    Peers(AskPeers),
    /// Which edges has the region (aggregators)?
    #[prost(message, tag = "40")]
    Edges(AskEdges),
    /// Which agents are hosted here (edges)?
    #[prost(message, tag = "41")]
    Agents(AskAgents),
    /// Which system updates were decided after this one (coordinators)?
    #[prost(uint64, tag = "50")]
    Updates(u64),
}

/// Nothing.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Empty {}

/// Numbers that the client gave out: subscriptions or agents' indices.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Numbers {
    /// At most 4,096.
    #[prost(uint32, repeated, tag = "1")]
    pub numbers: Vec<u32>,
}

/// Subscriptions to open, all or none.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Subscribe {
    /// At most 1,024.
    #[prost(message, repeated, tag = "1")]
    pub subscriptions: Vec<Subscription>,
}

/// One subscription.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Subscription {
    /// Number by which deliveries name it.
    #[prost(uint32, tag = "1")]
    pub number: u32,
    /// Index of the subscribing agent.
    #[prost(uint32, tag = "2")]
    pub agent: u32,
    /// The pattern.
    #[prost(string, tag = "3")]
    pub pattern: String,
}

/// A replicated key's new value.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SetKey {
    /// The key, at most 256 bytes.
    #[prost(string, tag = "1")]
    pub key: String,
    /// The operation.
    #[prost(oneof = "KeyChange", tags = "2, 3, 4, 5, 6")]
    pub change: Option<KeyChange>,
}

/// What happens to a replicated key.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum KeyChange {
    /// Last writer wins.
    #[prost(bytes = "bytes", tag = "2")]
    Put(Bytes),
    /// Adds to a counter, may be negative.
    #[prost(sint64, tag = "3")]
    Add(i64),
    /// Raises a maximum.
    #[prost(sint64, tag = "4")]
    Max(i64),
    /// Lowers a minimum.
    #[prost(sint64, tag = "5")]
    Min(i64),
    /// Removes a last-writer-wins value.
    #[prost(message, tag = "6")]
    Delete(Empty),
}

/// An answer or a notice.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Reply {
    /// The request's id; 0 for a notice.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// What is said; none when it is newer than this version.
    #[prost(oneof = "Say", tags = "2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 40, 41, 50")]
    pub say: Option<Say>,
}

/// What a [`Reply`] may say.
#[allow(clippy::large_enum_variant, reason = "replies are rare and moved once")]
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Say {
    /// Done.
    #[prost(message, tag = "2")]
    Done(Empty),
    /// Refused; nothing was changed, unless its code is [`RefusedCode::Doubtful`].
    #[prost(message, tag = "3")]
    Refused(Refused),
    /// The answer to an attach frame.
    #[prost(message, tag = "4")]
    Attached(Attached),
    /// The answer to [`Ask::Overview`].
    #[prost(message, tag = "5")]
    Overview(Overview),
    /// The answer to [`Ask::Locate`].
    #[prost(message, tag = "6")]
    Home(Home),
    /// The answer to [`Ask::Update`]: the index it got.
    #[prost(uint64, tag = "7")]
    Decided(u64),
    /// Notice: the global cut.
    #[prost(message, tag = "8")]
    Cut(Cut),
    /// The answer to [`Ask::GetKey`]; empty when the key is unknown.
    #[prost(bytes = "bytes", tag = "9")]
    Value(Bytes),
    /// Notice: changes up to a number are in a version of the edge's summary.
    #[prost(message, tag = "10")]
    Changed(Changed),
    /// Notice: deliveries were lost.
    #[prost(message, tag = "11")]
    Gap(Gap),
    /// Notice: an agent was closed by its edge.
    #[prost(message, tag = "12")]
    Closed(Closed),
    /// Notice: publications that found no receiver, by their numbers on the connection.
    #[prost(message, tag = "13")]
    Undelivered(Undelivered),
    /// The answer to [`Ask::Peers`].
    #[prost(message, tag = "14")]
    Peers(PeersView),
    /// The answer to [`Ask::Edges`].
    #[prost(message, tag = "40")]
    Edges(EdgesView),
    /// The answer to [`Ask::Agents`].
    #[prost(message, tag = "41")]
    Agents(AgentsView),
    /// The answer to [`Ask::Updates`].
    #[prost(message, tag = "50")]
    Updates(UpdatesView),
}

/// Why a request was refused.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Refused {
    /// A [`RefusedCode`]'s number.
    #[prost(uint32, tag = "1")]
    pub code: u32,
    /// One sentence for people.
    #[prost(string, tag = "2")]
    pub text: String,
}

/// Kinds of refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum RefusedCode {
    /// The request itself is wrong.
    Invalid = 1,
    /// A signature, session or right is missing.
    Unauthorized = 2,
    /// No such thing.
    NotFound = 3,
    /// A limit is reached.
    Limit = 4,
    /// This node does not serve that; ask another.
    NotHere = 5,
    /// Not now; try again.
    Unavailable = 6,
    /// It is not known whether it was done, or will be.
    Doubtful = 7,
}

impl RefusedCode {
    /// The refusal with one sentence of explanation.
    pub fn because(self, text: impl Into<String>) -> Say {
        Say::Refused(Refused { code: self as u32, text: text.into() })
    }
}

/// What became of an attach frame.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Attached {
    /// How many were accepted.
    #[prost(uint32, tag = "1")]
    pub accepted: u32,
    /// Those that were not.
    #[prost(message, repeated, tag = "2")]
    pub refused: Vec<Closed>,
}

/// An agent that is not, or no longer, attached here.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Closed {
    /// Index of the agent on the connection.
    #[prost(uint32, tag = "1")]
    pub index: u32,
    /// A [`RefusedCode`]'s number.
    #[prost(uint32, tag = "2")]
    pub code: u32,
    /// One sentence for people.
    #[prost(string, tag = "3")]
    pub text: String,
}

/// Where an agent is.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Home {
    /// Name of the region.
    #[prost(string, tag = "1")]
    pub region: String,
    /// Name of the edge.
    #[prost(string, tag = "2")]
    pub edge: String,
    /// Short id of the edge.
    #[prost(fixed64, tag = "3")]
    pub edge_id: u64,
    /// Session number.
    #[prost(uint64, tag = "4")]
    pub session: u64,
}

/// Versions of the edges' summaries that the global figure covers.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Cut {
    /// Edges whose entry changed since the last notice.
    #[prost(message, repeated, tag = "1")]
    pub edges: Vec<CutEdge>,
}

/// One edge in a cut.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct CutEdge {
    /// Short id.
    #[prost(fixed64, tag = "1")]
    pub edge: u64,
    /// Incarnation.
    #[prost(fixed64, tag = "2")]
    pub incarnation: u64,
    /// Version.
    #[prost(uint64, tag = "3")]
    pub version: u64,
}

/// Which version of the edge's summary has a connection's changes.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Changed {
    /// Number of the newest change.
    #[prost(uint64, tag = "1")]
    pub through: u64,
    /// Short id of the edge.
    #[prost(fixed64, tag = "2")]
    pub edge: u64,
    /// The edge's incarnation.
    #[prost(fixed64, tag = "3")]
    pub incarnation: u64,
    /// The version.
    #[prost(uint64, tag = "4")]
    pub version: u64,
}

/// Directed publications whose agent was not found anywhere.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Undelivered {
    /// Numbers of the publications on their connection.
    #[prost(uint64, repeated, tag = "1")]
    pub numbers: Vec<u64>,
}

/// Deliveries that did not happen.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Gap {
    /// Why, for people.
    #[prost(string, tag = "1")]
    pub text: String,
}

/// The mesh as one node knows it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Overview {
    /// Name of the mesh.
    #[prost(string, tag = "1")]
    pub mesh: String,
    /// The node that answers.
    #[prost(message, optional, tag = "2")]
    pub node: Option<Member>,
    /// Regions with a figure.
    #[prost(message, repeated, tag = "3")]
    pub regions: Vec<RegionView>,
    /// Nodes known.
    #[prost(message, repeated, tag = "4")]
    pub members: Vec<Member>,
    /// Wall-clock milliseconds of the answer.
    #[prost(uint64, tag = "5")]
    pub as_of_ms: u64,
    /// Newest system update.
    #[prost(uint64, tag = "6")]
    pub update_index: u64,
    /// Counters of the answering node's hot path and links.
    #[prost(message, repeated, tag = "7")]
    pub counters: Vec<Counter>,
    /// How many nodes the answering node reaches, and what follows.
    #[prost(message, optional, boxed, tag = "8")]
    pub quorum: Option<Box<QuorumView>>,
    /// How far the answering node's peers are; none from coordinators, which choose among nobody.
    #[prost(message, optional, boxed, tag = "9")]
    pub topology: Option<Box<TopologyView>>,
    /// The coordinators that agree, by id; from coordinators.
    #[prost(message, repeated, tag = "50")]
    pub coordinators: Vec<CoordinatorView>,
}

/// A named number.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Counter {
    /// Name; see `hot::Counters`.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Value since the node's start.
    #[prost(uint64, tag = "2")]
    pub value: u64,
}

/// A region's figure.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RegionView {
    /// Name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Edges in the figure's cut.
    #[prost(uint32, tag = "2")]
    pub edges: u32,
    /// Aggregators that report.
    #[prost(uint32, tag = "3")]
    pub aggregators: u32,
    /// Agents.
    #[prost(uint64, tag = "4")]
    pub agents: u64,
    /// Agents by state.
    #[prost(message, repeated, tag = "5")]
    pub states: Vec<Counter>,
    /// Agents by tag.
    #[prost(message, repeated, tag = "6")]
    pub tags: Vec<Counter>,
    /// Distinct agents, estimated (1.6 % standard error).
    #[prost(uint64, tag = "7")]
    pub distinct: u64,
    /// Cumulative totals of the edges, such as entries published.
    #[prost(message, repeated, tag = "8")]
    pub totals: Vec<Counter>,
    /// Age of the figure in milliseconds.
    #[prost(uint64, tag = "9")]
    pub age_ms: u64,
    /// Quantiles of distributions in microseconds, such as `delivery_us.p99`.
    #[prost(message, repeated, tag = "10")]
    pub quantiles: Vec<Counter>,
}

/// A node.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Member {
    /// Node id, 32 bytes.
    #[prost(bytes = "bytes", tag = "1")]
    pub id: Bytes,
    /// Name.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Roles joined by `+`.
    #[prost(string, tag = "3")]
    pub roles: String,
    /// Name of the region.
    #[prost(string, tag = "4")]
    pub region: String,
    /// Address it listens on.
    #[prost(string, tag = "5")]
    pub address: String,
    /// `up`, `suspect`, `down`, `left`, `banned` or `known` (never linked).
    #[prost(string, tag = "6")]
    pub status: String,
    /// Process id on its machine.
    #[prost(uint32, tag = "7")]
    pub process: u32,
    /// Incarnation.
    #[prost(fixed64, tag = "8")]
    pub incarnation: u64,
    /// Software version.
    #[prost(string, tag = "9")]
    pub version: String,
    /// Agents hosted, for edges whose summary the node has.
    #[prost(uint64, tag = "10")]
    pub agents: u64,
}

impl Request {
    /// The whole frame.
    pub fn to_frame(&self) -> Bytes {
        frame(FrameType::Request, &self.encode_to_vec())
    }

    /// Reads the body of a frame.
    pub fn decode_body(body: Bytes) -> Result<Request, DecodeError> {
        Request::decode(body).map_err(|_| DecodeError::Invalid("request"))
    }
}

impl Reply {
    /// The whole frame.
    pub fn to_frame(&self) -> Bytes {
        frame(FrameType::Reply, &self.encode_to_vec())
    }

    /// Reads the body of a frame.
    pub fn decode_body(body: Bytes) -> Result<Reply, DecodeError> {
        Reply::decode(body).map_err(|_| DecodeError::Invalid("reply"))
    }
}

#[cfg(test)]
mod tests;
