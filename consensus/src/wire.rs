//! What coordinators say to one another to agree, and how the store writes the same things down.
//!
//! Protobuf, like other control messages (docs/protocol.md#agreement). A message is a question with a
//! number, the answer to it, or news that want no answer.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use prost::Message as _;
use starling_core::wire::codec::DecodeError;

use crate::types;

/// A message.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Message {
    /// The question's number at who asks; 0 for news.
    #[prost(uint64, tag = "1")]
    pub number: u64,
    /// What it says; none when it is newer than this version.
    #[prost(oneof = "Body", tags = "2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13")]
    pub body: Option<Body>,
}

/// What a [`Message`] may say.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Body {
    /// The leader's entries, or a sign of life without any.
    #[prost(message, tag = "2")]
    Append(Append),
    /// The answer.
    #[prost(message, tag = "3")]
    Appended(Appended),
    /// A candidate asks for a vote.
    #[prost(message, tag = "4")]
    Vote(Candidacy),
    /// The answer.
    #[prost(message, tag = "5")]
    Voted(Voted),
    /// A piece of the leader's snapshot.
    #[prost(message, tag = "6")]
    Chunk(Chunk),
    /// The answer.
    #[prost(message, tag = "7")]
    Took(Took),
    /// Would the receiver vote for the sender?
    #[prost(message, tag = "8")]
    Sound(Sound),
    /// The answer.
    #[prost(message, tag = "9")]
    Sounded(Sounded),
    /// Proposals for the leader.
    #[prost(message, tag = "10")]
    Forward(Forward),
    /// The answer.
    #[prost(message, tag = "11")]
    Forwarded(Forwarded),
    /// The question could not be answered.
    #[prost(message, tag = "12")]
    Failed(Failed),
    /// News: how far the sender is.
    #[prost(message, tag = "13")]
    Standing(Standing),
}

/// Place of an entry and the leader that put it there.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct LogId {
    /// The leader's term.
    #[prost(uint64, tag = "1")]
    pub term: u64,
    /// The leader.
    #[prost(fixed64, tag = "2")]
    pub node: u64,
    /// The place, from 0.
    #[prost(uint64, tag = "3")]
    pub index: u64,
}

/// A vote, or the leadership that came of it.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Vote {
    /// The term.
    #[prost(uint64, tag = "1")]
    pub term: u64,
    /// For whom.
    #[prost(fixed64, tag = "2")]
    pub node: u64,
    /// Whether a majority granted it.
    #[prost(bool, tag = "3")]
    pub is_granted: bool,
}

/// Who belongs to the group.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Membership {
    /// Voters; two sets while one replaces the other.
    #[prost(message, repeated, tag = "1")]
    pub voters: Vec<Group>,
    /// Everyone, learners too.
    #[prost(message, optional, tag = "2")]
    pub all: Option<Group>,
}

/// Nodes.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Group {
    /// Their short ids.
    #[prost(fixed64, repeated, tag = "1")]
    pub nodes: Vec<u64>,
}

/// A proposal.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Proposal {
    /// Whose it is.
    #[prost(fixed64, tag = "1")]
    pub proposer: u64,
    /// The proposer's incarnation.
    #[prost(uint64, tag = "2")]
    pub incarnation: u64,
    /// Its place among the proposals of this incarnation, from 1.
    #[prost(uint64, tag = "3")]
    pub number: u64,
    /// What is proposed.
    #[prost(bytes = "bytes", tag = "4")]
    pub entry: Bytes,
}

/// An entry of the log; one with neither proposal nor membership only begins a leader's term.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Entry {
    /// Its place.
    #[prost(message, required, tag = "1")]
    pub id: LogId,
    /// What is decided by it.
    #[prost(message, optional, tag = "2")]
    pub proposal: Option<Proposal>,
    /// Who belongs to the group from here on.
    #[prost(message, optional, tag = "3")]
    pub membership: Option<Membership>,
}

/// See [`Body::Append`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct Append {
    /// The leader's vote.
    #[prost(message, required, tag = "1")]
    pub vote: Vote,
    /// What the entries follow.
    #[prost(message, optional, tag = "2")]
    pub previous: Option<LogId>,
    /// In order, without gaps.
    #[prost(message, repeated, tag = "3")]
    pub entries: Vec<Entry>,
    /// What is decided.
    #[prost(message, optional, tag = "4")]
    pub decided: Option<LogId>,
}

/// See [`Body::Appended`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct Appended {
    /// Whether the receiver has another entry where these should follow.
    #[prost(bool, tag = "1")]
    pub is_conflict: bool,
    /// A higher vote that the receiver has seen.
    #[prost(message, optional, tag = "2")]
    pub higher: Option<Vote>,
}

/// See [`Body::Vote`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct Candidacy {
    /// The vote asked for.
    #[prost(message, required, tag = "1")]
    pub vote: Vote,
    /// The candidate's last entry.
    #[prost(message, optional, tag = "2")]
    pub last: Option<LogId>,
}

/// See [`Body::Voted`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct Voted {
    /// The receiver's vote now.
    #[prost(message, required, tag = "1")]
    pub vote: Vote,
    /// Whether it is for the candidate.
    #[prost(bool, tag = "2")]
    pub is_granted: bool,
    /// The receiver's last entry.
    #[prost(message, optional, tag = "3")]
    pub last: Option<LogId>,
}

/// What a snapshot holds.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Meta {
    /// The last entry that it covers.
    #[prost(message, optional, tag = "1")]
    pub last: Option<LogId>,
    /// Where the group was last changed.
    #[prost(message, optional, tag = "2")]
    pub changed: Option<LogId>,
    /// The group.
    #[prost(message, required, tag = "3")]
    pub membership: Membership,
    /// Tells snapshots apart.
    #[prost(string, tag = "4")]
    pub name: String,
}

/// See [`Body::Chunk`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct Chunk {
    /// The leader's vote.
    #[prost(message, required, tag = "1")]
    pub vote: Vote,
    /// Of which snapshot.
    #[prost(message, required, tag = "2")]
    pub meta: Meta,
    /// Where the piece begins.
    #[prost(uint64, tag = "3")]
    pub offset: u64,
    /// The piece.
    #[prost(bytes = "bytes", tag = "4")]
    pub data: Bytes,
    /// Whether it is the last.
    #[prost(bool, tag = "5")]
    pub is_last: bool,
}

/// See [`Body::Took`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct Took {
    /// The receiver's vote.
    #[prost(message, optional, tag = "1")]
    pub vote: Option<Vote>,
    /// Whether the pieces must come again from the first.
    #[prost(bool, tag = "2")]
    pub is_mismatch: bool,
}

/// See [`Body::Sound`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct Sound {
    /// The sender's last entry.
    #[prost(message, optional, tag = "1")]
    pub last: Option<LogId>,
}

/// See [`Body::Sounded`].
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Sounded {
    /// Whether the receiver has missed its leader too, and the sender's log is no older than its own.
    #[prost(bool, tag = "1")]
    pub would_vote: bool,
}

/// See [`Body::Forward`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct Forward {
    /// In the order of their numbers.
    #[prost(message, repeated, tag = "1")]
    pub proposals: Vec<Proposal>,
}

/// See [`Body::Forwarded`].
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Forwarded {
    /// Whether the receiver leads and put all into its log.
    #[prost(bool, tag = "1")]
    pub is_taken: bool,
}

/// See [`Body::Failed`].
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Failed {}

/// See [`Body::Standing`].
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Standing {
    /// The sender's term.
    #[prost(uint64, tag = "1")]
    pub term: u64,
    /// Whether it leads.
    #[prost(bool, tag = "2")]
    pub is_leader: bool,
    /// The last entry that it applied.
    #[prost(uint64, tag = "3")]
    pub applied: u64,
}

impl Message {
    /// The bytes of a message.
    pub fn to_bytes(number: u64, body: Body) -> Bytes {
        Message { number, body: Some(body) }.encode_to_vec().into()
    }

    /// Reads a message.
    ///
    /// # Errors
    /// The bytes are none.
    pub fn from_bytes(bytes: Bytes) -> Result<Message, DecodeError> {
        Message::decode(bytes).map_err(|_| DecodeError::Invalid("message of agreement"))
    }
}

impl From<types::LogId> for LogId {
    fn from(id: types::LogId) -> LogId {
        LogId { term: id.leader_id.term, node: id.leader_id.node_id, index: id.index }
    }
}

impl From<LogId> for types::LogId {
    fn from(id: LogId) -> types::LogId {
        types::LogId::new(openraft::CommittedLeaderId::new(id.term, id.node), id.index)
    }
}

impl From<types::Vote> for Vote {
    fn from(vote: types::Vote) -> Vote {
        Vote { term: vote.leader_id.term, node: vote.leader_id.node_id, is_granted: vote.committed }
    }
}

impl From<Vote> for types::Vote {
    fn from(vote: Vote) -> types::Vote {
        types::Vote { leader_id: openraft::LeaderId::new(vote.term, vote.node), committed: vote.is_granted }
    }
}

impl From<&types::Membership> for Membership {
    fn from(membership: &types::Membership) -> Membership {
        let group = |nodes: &BTreeSet<u64>| Group { nodes: nodes.iter().copied().collect() };
        let all = Group { nodes: membership.nodes().map(|(node, ())| *node).collect() };
        Membership { voters: membership.get_joint_config().iter().map(group).collect(), all: Some(all) }
    }
}

impl From<Membership> for types::Membership {
    fn from(membership: Membership) -> types::Membership {
        let set = |group: Group| group.nodes.into_iter().collect::<BTreeSet<u64>>();
        let all: BTreeMap<u64, ()> =
            membership.all.map(set).unwrap_or_default().into_iter().map(|node| (node, ())).collect();
        types::Membership::new(membership.voters.into_iter().map(set).collect(), all)
    }
}

impl From<types::Proposal> for Proposal {
    fn from(proposal: types::Proposal) -> Proposal {
        let types::Proposal { proposer, incarnation, number, entry } = proposal;
        Proposal { proposer, incarnation, number, entry }
    }
}

impl From<Proposal> for types::Proposal {
    fn from(proposal: Proposal) -> types::Proposal {
        let Proposal { proposer, incarnation, number, entry } = proposal;
        types::Proposal { proposer, incarnation, number, entry }
    }
}

impl From<types::Entry> for Entry {
    fn from(entry: types::Entry) -> Entry {
        let id = entry.log_id.into();
        match entry.payload {
            openraft::EntryPayload::Blank => Entry { id, proposal: None, membership: None },
            openraft::EntryPayload::Normal(proposal) => {
                Entry { id, proposal: Some(proposal.into()), membership: None }
            }
            openraft::EntryPayload::Membership(membership) => {
                Entry { id, proposal: None, membership: Some((&membership).into()) }
            }
        }
    }
}

impl From<Entry> for types::Entry {
    fn from(entry: Entry) -> types::Entry {
        let payload = match (entry.proposal, entry.membership) {
            (Some(proposal), _) => openraft::EntryPayload::Normal(proposal.into()),
            (None, Some(membership)) => openraft::EntryPayload::Membership(membership.into()),
            (None, None) => openraft::EntryPayload::Blank,
        };
        types::Entry { log_id: entry.id.into(), payload }
    }
}

impl From<&types::SnapshotMeta> for Meta {
    fn from(meta: &types::SnapshotMeta) -> Meta {
        Meta {
            last: meta.last_log_id.map(Into::into),
            changed: meta.last_membership.log_id().map(Into::into),
            membership: meta.last_membership.membership().into(),
            name: meta.snapshot_id.clone(),
        }
    }
}

impl From<Meta> for types::SnapshotMeta {
    fn from(meta: Meta) -> types::SnapshotMeta {
        types::SnapshotMeta {
            last_log_id: meta.last.map(Into::into),
            last_membership: types::StoredMembership::new(
                meta.changed.map(Into::into),
                meta.membership.into(),
            ),
            snapshot_id: meta.name,
        }
    }
}

#[cfg(test)]
mod tests;
