//! What a node answers to other coordinators.

use std::sync::Arc;

use openraft::error::{InstallSnapshotError, RaftError};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, VoteRequest};
use tokio::sync::{Semaphore, mpsc};

use crate::calls::Calls;
use crate::elections::{Heard, would_vote};
use crate::proposals;
use crate::standings::Standings;
use crate::store::Store;
use crate::types::{Proposal, Raft};
use crate::wire::{
    Append, Appended, Body, Candidacy, Chunk, Failed, Forward, Forwarded, Message, Sounded, Took, Voted,
};

/// Questions that are worked on at once; who brings more waits.
const SERVED_MAX: usize = 64;

/// What answers.
#[derive(Clone)]
pub(crate) struct Server {
    pub raft: Raft,
    pub store: Store,
    pub calls: Arc<Calls>,
    pub heard: Heard,
    pub standings: Arc<Standings>,
}

impl Server {
    /// Answers until nobody asks any more.
    pub async fn run(self, mut asked: mpsc::Receiver<(u64, Message)>) {
        let turns = Arc::new(Semaphore::new(SERVED_MAX));
        while let Some((peer, Message { number, body })) = asked.recv().await {
            let Some(body) = body else { continue };
            if let Body::Standing(standing) = body {
                self.standings.said(peer, standing);
                continue;
            }
            let Ok(turn) = Arc::clone(&turns).acquire_owned().await else { return };
            let server = self.clone();
            tokio::spawn(async move {
                let answer = server.answer(peer, body).await.unwrap_or(Body::Failed(Failed {}));
                if !server.calls.say(peer, number, answer) {
                    // The link is gone, and with it who asked.
                }
                drop(turn);
            });
        }
    }

    /// `None` where there is no answer: Raft has ended, or the question is not the peer's to ask.
    async fn answer(&self, peer: u64, body: Body) -> Option<Body> {
        match body {
            Body::Append(append) if append.vote.node == peer => self.append(append).await,
            Body::Vote(candidacy) if candidacy.vote.node == peer => self.vote(candidacy).await,
            Body::Chunk(chunk) if chunk.vote.node == peer => self.chunk(chunk).await,
            Body::Sound(sound) => {
                let last = sound.last.map(Into::into);
                let would_vote = would_vote(&self.raft, &self.store, &self.heard, last);
                Some(Body::Sounded(Sounded { would_vote }))
            }
            Body::Forward(Forward { proposals }) => {
                let proposals: Vec<Proposal> = proposals.into_iter().map(Into::into).collect();
                let are_its_own = proposals.iter().all(|proposal| proposal.proposer == peer);
                let is_taken = are_its_own && proposals::take(&self.raft, proposals).await;
                Some(Body::Forwarded(Forwarded { is_taken }))
            }
            Body::Append(_) | Body::Vote(_) | Body::Chunk(_) => None,
            Body::Appended(_)
            | Body::Voted(_)
            | Body::Took(_)
            | Body::Sounded(_)
            | Body::Forwarded(_)
            | Body::Failed(_)
            | Body::Standing(_) => None,
        }
    }

    async fn append(&self, append: Append) -> Option<Body> {
        let request = AppendEntriesRequest {
            vote: append.vote.into(),
            prev_log_id: append.previous.map(Into::into),
            entries: append.entries.into_iter().map(Into::into).collect(),
            leader_commit: append.decided.map(Into::into),
        };
        let response = self.raft.append_entries(request).await.ok()?;
        let (is_conflict, higher) = match response {
            AppendEntriesResponse::Success | AppendEntriesResponse::PartialSuccess(_) => (false, None),
            AppendEntriesResponse::Conflict => (true, None),
            AppendEntriesResponse::HigherVote(higher) => (false, Some(higher.into())),
        };
        if higher.is_none() {
            self.heard.now();
        }
        Some(Body::Appended(Appended { is_conflict, higher }))
    }

    async fn vote(&self, candidacy: Candidacy) -> Option<Body> {
        let request = VoteRequest::new(candidacy.vote.into(), candidacy.last.map(Into::into));
        let response = self.raft.vote(request).await.ok()?;
        if response.vote_granted {
            // It has some time to lead.
            self.heard.now();
        }
        Some(Body::Voted(Voted {
            vote: response.vote.into(),
            is_granted: response.vote_granted,
            last: response.last_log_id.map(Into::into),
        }))
    }

    async fn chunk(&self, chunk: Chunk) -> Option<Body> {
        let request = InstallSnapshotRequest {
            vote: chunk.vote.into(),
            meta: chunk.meta.into(),
            offset: chunk.offset,
            data: chunk.data.into(),
            done: chunk.is_last,
        };
        let took = match self.raft.install_snapshot(request).await {
            Ok(response) => {
                self.heard.now();
                Took { vote: Some(response.vote.into()), is_mismatch: false }
            }
            Err(RaftError::APIError(InstallSnapshotError::SnapshotMismatch(_))) => {
                Took { vote: None, is_mismatch: true }
            }
            Err(RaftError::Fatal(_)) => return None,
        };
        Some(Body::Took(took))
    }
}
