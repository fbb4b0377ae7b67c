//! How Raft reaches the other coordinators: its calls as messages that fit control frames.

use std::sync::Arc;

use openraft::SnapshotSegmentId;
use openraft::error::{
    InstallSnapshotError, NetworkError, RPCError, RaftError, RemoteError, SnapshotMismatch, Unreachable,
};
use openraft::network::{Backoff, RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use prost::Message as _;
use starling_core::limits;

use crate::calls::{CallError, Calls};
use crate::timing::{CALL, UNREACHABLE};
use crate::types::Types;
use crate::wire::{self, Append, Body, Candidacy, Chunk};

/// Entries of one message; what goes round them fits a control frame beside them.
const ENTRIES_BYTES_MAX: usize = limits::CONTROL_BYTES_MAX / 16 * 15;

type Failure<E> = RPCError<u64, (), RaftError<u64, E>>;

/// Makes connections for Raft.
pub(crate) struct Network(pub Arc<Calls>);

/// The way to one coordinator.
pub(crate) struct Way {
    calls: Arc<Calls>,
    target: u64,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Way;

    async fn new_client(&mut self, target: u64, (): &()) -> Way {
        Way { calls: Arc::clone(&self.0), target }
    }
}

fn failure<E: std::error::Error>(error: CallError) -> Failure<E> {
    match error {
        CallError::Unreachable | CallError::Busy | CallError::Failed => Unreachable::new(&error).into(),
        CallError::Late => NetworkError::new(&error).into(),
    }
}

/// An answer of another kind than was asked for.
fn unexpected<E: std::error::Error>() -> Failure<E> {
    failure(CallError::Failed)
}

/// How many entries from the front fit into one message; at least one.
fn fitting(entries: &[wire::Entry]) -> usize {
    let mut bytes = 0;
    let fits = entries.iter().take_while(|entry| {
        // Tag and length go before an entry.
        bytes += entry.encoded_len() + 8;
        bytes <= ENTRIES_BYTES_MAX
    });
    fits.count().max(1).min(entries.len())
}

impl RaftNetwork<Types> for Way {
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, Failure<openraft::error::Infallible>> {
        let mut entries: Vec<wire::Entry> = request.entries.into_iter().map(Into::into).collect();
        let count = fitting(&entries);
        let is_part = count < entries.len();
        entries.truncate(count);
        let last = entries.last().map(|entry| entry.id.into());
        let append = Append {
            vote: request.vote.into(),
            previous: request.prev_log_id.map(Into::into),
            entries,
            decided: request.leader_commit.map(Into::into),
        };
        match self.calls.ask(self.target, Body::Append(append), CALL).await.map_err(failure)? {
            Body::Appended(answer) => Ok(match (answer.higher, answer.is_conflict) {
                (Some(higher), _) => AppendEntriesResponse::HigherVote(higher.into()),
                (None, true) => AppendEntriesResponse::Conflict,
                (None, false) if is_part => AppendEntriesResponse::PartialSuccess(last),
                (None, false) => AppendEntriesResponse::Success,
            }),
            _ => Err(unexpected()),
        }
    }

    async fn install_snapshot(
        &mut self,
        request: InstallSnapshotRequest<Types>,
        _: RPCOption,
    ) -> Result<InstallSnapshotResponse<u64>, Failure<InstallSnapshotError>> {
        let chunk = Chunk {
            vote: request.vote.into(),
            meta: (&request.meta).into(),
            offset: request.offset,
            data: request.data.into(),
            is_last: request.done,
        };
        let answer = self.calls.ask(self.target, Body::Chunk(chunk), CALL).await.map_err(failure)?;
        match answer {
            Body::Took(wire::Took { vote: Some(vote), is_mismatch: false }) => {
                Ok(InstallSnapshotResponse { vote: vote.into() })
            }
            Body::Took(_) => {
                let id = request.meta.snapshot_id;
                let mismatch = InstallSnapshotError::SnapshotMismatch(SnapshotMismatch {
                    expect: SnapshotSegmentId { id: id.clone(), offset: 0 },
                    got: SnapshotSegmentId { id, offset: request.offset },
                });
                Err(RemoteError::new(self.target, RaftError::APIError(mismatch)).into())
            }
            _ => Err(unexpected()),
        }
    }

    async fn vote(
        &mut self,
        request: VoteRequest<u64>,
        _: RPCOption,
    ) -> Result<VoteResponse<u64>, Failure<openraft::error::Infallible>> {
        let candidacy = Candidacy { vote: request.vote.into(), last: request.last_log_id.map(Into::into) };
        match self.calls.ask(self.target, Body::Vote(candidacy), CALL).await.map_err(failure)? {
            Body::Voted(answer) => Ok(VoteResponse {
                vote: answer.vote.into(),
                vote_granted: answer.is_granted,
                last_log_id: answer.last.map(Into::into),
            }),
            _ => Err(unexpected()),
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(UNREACHABLE))
    }
}
