//! Coordinators that come and go while the group runs.

use std::collections::BTreeSet;
use std::time::Duration;

use openraft::ChangeMembers;
use openraft::error::{ChangeMembershipError, ClientWriteError, RaftError};
use starling_core::id::ShortId;
use starling_core::identity::set::MEMBERS_MAX;

use crate::Consensus;
use crate::types::Raft;

/// How long a change may take: a newcomer has to be told everything first.
const CHANGED_WITHIN: Duration = Duration::from_secs(30);

/// Why the group was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MembershipError {
    /// Only the leader changes the group.
    #[error("this coordinator does not lead; ask {}", leader.map_or("again, when there is a leader".to_owned(), |id| format!("coordinator {id}")))]
    NotLeader {
        /// Who leads, if anybody.
        leader: Option<ShortId>,
    },
    /// Another change is not over.
    #[error("the group of coordinators is being changed; try again when that is over")]
    InProgress,
    /// There would be none, or too many.
    #[error("a group has 1 to {MEMBERS_MAX} coordinators, not {count}; nothing was changed")]
    Count {
        /// How many there would be.
        count: usize,
    },
    /// It is not known whether it was changed.
    #[error(
        "the change was not decided within {} s; it is not known whether it will be: look at the status before \
         you try again",
        CHANGED_WITHIN.as_secs()
    )]
    Doubtful,
    /// The service does not run.
    #[error("this coordinator does not run")]
    Ended,
}

impl Consensus {
    /// Takes a coordinator into the group: it is told everything and then has a vote. Does nothing if it
    /// has one.
    ///
    /// # Errors
    /// See [`MembershipError`].
    pub async fn admit(&self, newcomer: ShortId) -> Result<(), MembershipError> {
        let raft = self.raft()?;
        let voters = voters(raft);
        if voters.contains(&newcomer.0) {
            return Ok(());
        }
        check(voters.len() + 1)?;
        let told = within(raft.add_learner(newcomer.0, (), true));
        told.await?;
        within(raft.change_membership(ChangeMembers::AddVoterIds([newcomer.0].into()), true)).await
    }

    /// Takes a coordinator out of the group. Does nothing if it is not in it.
    ///
    /// # Errors
    /// See [`MembershipError`].
    pub async fn dismiss(&self, leaver: ShortId) -> Result<(), MembershipError> {
        let raft = self.raft()?;
        let voters = voters(raft);
        if voters.contains(&leaver.0) {
            check(voters.len() - 1)?;
            within(raft.change_membership(ChangeMembers::RemoveVoters([leaver.0].into()), false)).await?;
        }
        Ok(())
    }
}

fn voters(raft: &Raft) -> BTreeSet<u64> {
    raft.metrics().borrow().membership_config.voter_ids().collect()
}

fn check(count: usize) -> Result<(), MembershipError> {
    let is_right = (1..=MEMBERS_MAX).contains(&count);
    if is_right { Ok(()) } else { Err(MembershipError::Count { count }) }
}

/// Waits for a change.
async fn within<T>(
    change: impl Future<Output = Result<T, RaftError<u64, ClientWriteError<u64, ()>>>>,
) -> Result<(), MembershipError> {
    let Ok(changed) = tokio::time::timeout(CHANGED_WITHIN, change).await else {
        return Err(MembershipError::Doubtful);
    };
    let error = match changed {
        Ok(_) => return Ok(()),
        Err(error) => error,
    };
    Err(match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(to)) => {
            MembershipError::NotLeader { leader: to.leader_id.map(ShortId) }
        }
        RaftError::APIError(ClientWriteError::ChangeMembershipError(error)) => match error {
            ChangeMembershipError::InProgress(_) => MembershipError::InProgress,
            ChangeMembershipError::EmptyMembership(_) => MembershipError::Count { count: 0 },
            // It was made one just before; another change took it out again.
            ChangeMembershipError::LearnerNotFound(_) => MembershipError::InProgress,
        },
        RaftError::Fatal(_) => MembershipError::Ended,
    })
}
