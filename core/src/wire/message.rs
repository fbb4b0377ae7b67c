//! Control messages: rare, so written as protobuf, whose unknown fields are skipped; that is what
//! lets neighbouring versions talk (docs/protocol.md#control-messages).
//!
//! Ids of 8 bytes travel as `fixed64`; ids of agents as `bytes` of 16.

use bytes::Bytes;
use prost::Message as _;

mod certificates;
mod nodes;

use super::codec::DecodeError;
use super::frame::{FrameType, frame};
pub use certificates::{CertificateAnswer, CertificateAsk};
pub use nodes::{Names, PeerRecord, Peers, Roster};

/// First frame of a connection, both ways.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Hello {
    /// Lowest protocol version spoken.
    #[prost(uint32, tag = "1")]
    pub version_low: u32,
    /// Highest protocol version spoken.
    #[prost(uint32, tag = "2")]
    pub version_high: u32,
    /// Feature bits.
    #[prost(uint64, tag = "3")]
    pub features: u64,
    /// The sender, if it is a node.
    #[prost(message, optional, tag = "4")]
    pub node: Option<PeerRecord>,
    /// Name of the connection that this one replaces, 32 bytes; empty if it replaces none.
    #[prost(bytes = "bytes", tag = "5")]
    pub replaces: Bytes,
}

/// A message between two nodes.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Control {
    /// Exactly one body; none when it is newer than this version.
    #[prost(
        oneof = "ControlBody",
        tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24,
                25, 26, 27, 28, 29, 30, 35, 36"
    )]
    pub body: Option<ControlBody>,
}

/// What a [`Control`] may be.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum ControlBody {
    /// Nodes that the sender knows.
    #[prost(message, tag = "1")]
    Peers(Peers),
    /// What the sender, or its region, wants.
    #[prost(message, tag = "2")]
    Interest(Interest),
    /// A declared interest is in force at the sender and behind it.
    #[prost(message, tag = "3")]
    InterestConfirmed(InterestConfirmed),
    /// Agents of an edge.
    #[prost(message, tag = "4")]
    Directory(Directory),
    /// Where is an agent?
    #[prost(message, tag = "5")]
    Locate(Locate),
    /// The answer to [`Locate`].
    #[prost(message, tag = "6")]
    Located(Located),
    /// An agent has a newer home.
    #[prost(message, tag = "7")]
    Superseded(Superseded),
    /// Changed parts of an edge's summary (encoding of `summary::SummaryUpdate`).
    #[prost(bytes = "bytes", tag = "8")]
    Summary(Bytes),
    /// A region's figure (encoding of `summary::Figure`).
    #[prost(bytes = "bytes", tag = "9")]
    Figure(Bytes),
    /// A system update.
    #[prost(message, tag = "10")]
    Update(Update),
    /// How far the sender has applied system updates.
    #[prost(message, tag = "11")]
    UpdateApplied(UpdateApplied),
    /// The sender's way to a region changed: send again what is unacknowledged there.
    #[prost(message, tag = "12")]
    Reroute(Reroute),
    /// A directed section came to an edge that does not host its agent.
    #[prost(message, tag = "13")]
    NotHere(NotHere),
    /// The sender stops by intention.
    #[prost(message, tag = "14")]
    Leaving(Leaving),
    /// How often the sender works off what comes.
    #[prost(message, tag = "15")]
    Pace(Pace),
    /// Events were not kept for the receiver, or for a region.
    #[prost(message, tag = "16")]
    Missed(Missed),
    /// The root of the sender's replica.
    #[prost(message, tag = "17")]
    Compare(Compare),
    /// How far the sender has come with each origin's state.
    #[prost(message, tag = "18")]
    Versions(Versions),
    /// A probe that is not to be lost (encoding of `membership::detector::Probe`).
    #[prost(bytes = "bytes", tag = "19")]
    Probe(Bytes),
    /// What nodes of the region say of themselves and of one another.
    #[prost(message, tag = "20")]
    Statements(Statements),
    /// What the sender knows of the region.
    #[prost(message, tag = "21")]
    Standings(Standings),
    /// A link to a node that the sender cannot reach is wanted over the receiver.
    #[prost(message, tag = "22")]
    RelayOpen(RelayOpen),
    /// It is there.
    #[prost(message, tag = "23")]
    RelayAccepted(RelayAccepted),
    /// It is not, or no more.
    #[prost(message, tag = "24")]
    RelayClosed(RelayClosed),
    /// A message on its way over other nodes.
    #[prost(message, tag = "25")]
    Relayed(Relayed),
    /// A node contradicted itself under its own signature (encoding of `conduct::Proof`).
    #[prost(bytes = "bytes", tag = "26")]
    Proof(Bytes),
    /// What the sender knows of nodes, to be compared.
    #[prost(message, tag = "27")]
    Roster(Roster),
    /// A message of the peer protocol (encoding of `registry::exchange::PeerMessage`).
    #[prost(bytes = "bytes", tag = "28")]
    PeerMessage(Bytes),
    /// Nodes that the sender knows, or wants to know more of.
    #[prost(message, tag = "29")]
    Names(Names),
    /// What coordinators say to one another to agree; opaque here.
    #[prost(bytes = "bytes", tag = "30")]
    Agreement(Bytes),
    /// A node wants a new certificate.
    #[prost(message, tag = "35")]
    CertificateAsk(CertificateAsk),
    /// The answer to [`CertificateAsk`].
    #[prost(message, tag = "36")]
    CertificateAnswer(CertificateAnswer),
}

/// A change of declared interest.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Interest {
    /// The region that wants it; 0 when the sending edge itself does.
    #[prost(fixed64, tag = "1")]
    pub region: u64,
    /// Grows with each change; a change applies to the one before it.
    #[prost(uint64, tag = "2")]
    pub version: u64,
    /// Whether earlier declarations are void.
    #[prost(bool, tag = "3")]
    pub whole: bool,
    /// New patterns.
    #[prost(string, repeated, tag = "4")]
    pub added: Vec<String>,
    /// Patterns no longer wanted.
    #[prost(string, repeated, tag = "5")]
    pub removed: Vec<String>,
    /// Whether more messages of this version follow; the last one is confirmed.
    #[prost(bool, tag = "6")]
    pub more: bool,
    /// The sender no longer leads to this region (and the lists are empty).
    #[prost(bool, tag = "7")]
    pub gone: bool,
}

/// The answer to [`Interest`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct InterestConfirmed {
    /// As in the declaration.
    #[prost(fixed64, tag = "1")]
    pub region: u64,
    /// Every version up to this one is in force.
    #[prost(uint64, tag = "2")]
    pub version: u64,
}

/// Agents that came to or left an edge: 24 bytes each, id (16) and session (8, little-endian).
#[derive(Clone, PartialEq, prost::Message)]
pub struct Directory {
    /// Whether everything said before is void.
    #[prost(bool, tag = "1")]
    pub whole: bool,
    /// Agents hosted now.
    #[prost(bytes = "bytes", tag = "2")]
    pub attached: Bytes,
    /// Agents gone.
    #[prost(bytes = "bytes", tag = "3")]
    pub detached: Bytes,
}

/// A question for an agent's home.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Locate {
    /// The agent's id.
    #[prost(bytes = "bytes", tag = "1")]
    pub agent: Bytes,
    /// Whether another region's aggregator asks: answer from the own directory only.
    #[prost(bool, tag = "2")]
    pub from_region: bool,
}

/// An agent's home.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Located {
    /// The agent's id.
    #[prost(bytes = "bytes", tag = "1")]
    pub agent: Bytes,
    /// The region; 0 when unknown.
    #[prost(fixed64, tag = "2")]
    pub region: u64,
    /// The edge; 0 when unknown.
    #[prost(fixed64, tag = "3")]
    pub edge: u64,
    /// The session number there.
    #[prost(uint64, tag = "4")]
    pub session: u64,
}

/// An agent attached elsewhere with a higher session number.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Superseded {
    /// The agent's id.
    #[prost(bytes = "bytes", tag = "1")]
    pub agent: Bytes,
    /// The newest session.
    #[prost(uint64, tag = "2")]
    pub session: u64,
}

/// A system update as the coordinators decided it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Update {
    /// Place in the log, from 1, without gaps.
    #[prost(uint64, tag = "1")]
    pub index: u64,
    /// Wall-clock milliseconds at which it was decided.
    #[prost(uint64, tag = "2")]
    pub decided_ms: u64,
    /// What was decided.
    #[prost(bytes = "bytes", tag = "3")]
    pub payload: Bytes,
    /// The coordinator that signed.
    #[prost(fixed64, tag = "4")]
    pub signer: u64,
    /// Signature over index, time and payload.
    #[prost(bytes = "bytes", tag = "5")]
    pub signature: Bytes,
}

/// Progress of system updates behind a node.
#[derive(Clone, PartialEq, prost::Message)]
pub struct UpdateApplied {
    /// The newest update that every agent here acknowledged.
    #[prost(uint64, tag = "1")]
    pub index: u64,
}

/// A changed way.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Reroute {
    /// The region.
    #[prost(fixed64, tag = "1")]
    pub region: u64,
}

/// Nothing is gained by sending to the sender of this more often.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Pace {
    /// Milliseconds; 0 or 1 when it keeps up.
    #[prost(uint32, tag = "1")]
    pub milliseconds: u32,
}

/// Whom the sender took for lost, and owed nothing meanwhile, is back: its subscribers may have missed
/// events. Sent once what it wants is in force again, so that whatever comes later is not missed.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Missed {
    /// The region whose subscribers are meant; 0 for the receiver's own.
    #[prost(fixed64, tag = "1")]
    pub region: u64,
}

/// The sender's replica in 32 bytes: who has another one answers with [`Versions`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct Compare {
    /// The Merkle root.
    #[prost(bytes = "bytes", tag = "1")]
    pub root: Bytes,
}

/// The sender's state by origin. Who has more sends what is missing; who has less says so by the same
/// message, unless this one is an answer.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Versions {
    /// The lowest origin that this message speaks of: of origins from here ...
    #[prost(fixed64, tag = "1")]
    pub from: u64,
    /// ... to here that are not listed, the sender has nothing.
    #[prost(fixed64, tag = "2")]
    pub through: u64,
    /// Encoding of `state::VersionVector`.
    #[prost(bytes = "bytes", tag = "3")]
    pub versions: Bytes,
    /// Whether it answers a message of this kind.
    #[prost(bool, tag = "4")]
    pub is_answer: bool,
}

/// Signed statements about who is alive.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Statements {
    /// Encoding of `membership::detector::Statement` (37 bytes), then its speaker's signature (64);
    /// at most 256 a message.
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub signed: Vec<Bytes>,
}

/// Who is not plainly alive, for the sender; who knows more answers with [`Statements`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct Standings {
    /// Encoding of `membership::detector::digest::Digest`.
    #[prost(bytes = "bytes", tag = "1")]
    pub digest: Bytes,
    /// Whether it answers a message of this kind.
    #[prost(bool, tag = "2")]
    pub is_answer: bool,
}

/// Asks for a link to a node that the sender has none with, over the receiver.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RelayOpen {
    /// Its number on the link that this goes by; even where the sender has the smaller id.
    #[prost(uint32, tag = "1")]
    pub session: u32,
    /// Who wants it.
    #[prost(fixed64, tag = "2")]
    pub opener: u64,
    /// The opener's incarnation.
    #[prost(fixed64, tag = "3")]
    pub incarnation: u64,
    /// With whom.
    #[prost(fixed64, tag = "4")]
    pub target: u64,
    /// The target's incarnation, as the opener knows it.
    #[prost(fixed64, tag = "5")]
    pub target_incarnation: u64,
    /// Grows with each link that this incarnation of the opener asks the target for.
    #[prost(uint64, tag = "6")]
    pub attempt: u64,
    /// Nodes that it passed.
    #[prost(uint32, tag = "7")]
    pub hops: u32,
    /// The opener's code (16 bytes).
    #[prost(bytes = "bytes", tag = "8")]
    pub code: Bytes,
}

/// The target takes the link.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RelayAccepted {
    /// Its number on the link that this goes by.
    #[prost(uint32, tag = "1")]
    pub session: u32,
    /// The target's code (16 bytes).
    #[prost(bytes = "bytes", tag = "2")]
    pub code: Bytes,
}

/// The link cannot be had, or is no more.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct RelayClosed {
    /// Its number on the link that this goes by.
    #[prost(uint32, tag = "1")]
    pub session: u32,
}

/// A control message of a relayed link.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Relayed {
    /// Its number on the link that this goes by.
    #[prost(uint32, tag = "1")]
    pub session: u32,
    /// Its place among the sender's messages on this link, from 1.
    #[prost(uint64, tag = "2")]
    pub number: u64,
    /// The sender's code (16 bytes).
    #[prost(bytes = "bytes", tag = "3")]
    pub code: Bytes,
    /// The body of a control frame.
    #[prost(bytes = "bytes", tag = "4")]
    pub message: Bytes,
}

/// A directed section that found nobody.
#[derive(Clone, PartialEq, prost::Message)]
pub struct NotHere {
    /// Who sealed the bundle.
    #[prost(fixed64, tag = "1")]
    pub origin: u64,
    /// The origin's incarnation.
    #[prost(fixed64, tag = "2")]
    pub incarnation: u64,
    /// The class's number.
    #[prost(uint32, tag = "3")]
    pub class: u32,
    /// The bundle's sequence.
    #[prost(uint64, tag = "4")]
    pub sequence: u64,
    /// Index of the section.
    #[prost(uint32, tag = "5")]
    pub section: u32,
}

/// Nothing to say but the type.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Leaving {}

impl ControlBody {
    /// Whether it says what the sender's replica has.
    pub fn is_comparison(&self) -> bool {
        matches!(self, ControlBody::Compare(_) | ControlBody::Versions(_))
    }

    /// The whole frame.
    pub fn to_frame(self) -> Bytes {
        frame(FrameType::Control, &self.to_body())
    }

    /// The body of the frame.
    pub fn to_body(self) -> Bytes {
        Control { body: Some(self) }.encode_to_vec().into()
    }

    /// Reads the body of a frame; `None` for a message newer than this version.
    pub fn decode(body: Bytes) -> Result<Option<ControlBody>, DecodeError> {
        Control::decode(body).map(|control| control.body).map_err(|_| DecodeError::Invalid("control message"))
    }
}

impl Hello {
    /// The whole frame.
    pub fn to_frame(&self) -> Bytes {
        frame(FrameType::Hello, &self.encode_to_vec())
    }

    /// Reads the body of a frame.
    pub fn decode_body(body: Bytes) -> Result<Hello, DecodeError> {
        Hello::decode(body).map_err(|_| DecodeError::Invalid("hello"))
    }
}

/// The bytes of an update that its signature covers: index, time, payload.
pub fn update_message(update: &Update) -> Vec<u8> {
    let mut message = Vec::with_capacity(16 + update.payload.len());
    message.extend_from_slice(&update.index.to_le_bytes());
    message.extend_from_slice(&update.decided_ms.to_le_bytes());
    message.extend_from_slice(&update.payload);
    message
}

#[cfg(test)]
mod tests;
