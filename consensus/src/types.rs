//! The types that Raft is used with.

use std::fmt;
use std::io::Cursor;

use bytes::Bytes;

openraft::declare_raft_types!(
    /// Raft of coordinators: a node's name is the number of its [`ShortId`](starling_core::id::ShortId).
    pub Types:
        D = Proposal,
        R = (),
        NodeId = u64,
        Node = (),
        Entry = openraft::Entry<Types>,
        SnapshotData = Cursor<Vec<u8>>,
        AsyncRuntime = openraft::TokioRuntime,
);

/// What is asked to be decided, with the number by which it is decided once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proposal {
    /// Whose it is.
    pub proposer: u64,
    /// The proposer's incarnation.
    pub incarnation: u64,
    /// Its place among the proposals of this incarnation, from 1.
    pub number: u64,
    /// What is proposed.
    pub entry: Bytes,
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}/{}/{}", self.proposer, self.incarnation, self.number)
    }
}

pub(crate) type Raft = openraft::Raft<Types>;
pub(crate) type Entry = openraft::Entry<Types>;
pub(crate) type LogId = openraft::LogId<u64>;
pub(crate) type Vote = openraft::Vote<u64>;
pub(crate) type Membership = openraft::Membership<u64, ()>;
pub(crate) type StoredMembership = openraft::StoredMembership<u64, ()>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<u64, ()>;
pub(crate) type StorageError = openraft::StorageError<u64>;
