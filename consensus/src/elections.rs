//! When a node stands for election: only if enough of the others would vote for it.
//!
//! Raft's own elections begin by a higher term, which deposes a leader that everybody else still hears;
//! so who was away, paused, or hears others without being heard would disturb the group each time. Here
//! a node that misses its leader first asks whether it would be elected (the pre-vote of Ongaro's thesis,
//! section 9.6), and stands only if a majority says so. Who says so has missed the leader too.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use openraft::ServerState;
use starling_core::rng::Rng;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::calls::Calls;
use crate::store::Store;
use crate::timing::{AGAIN_MAX, AGAIN_MIN, LEASE, LOOK, MISSED_MAX, MISSED_MIN, SOUND, SOUND_REST};
use crate::types::{LogId, Membership, Raft};
use crate::wire::{Body, Sound, Sounded};

/// When the leader was heard last.
#[derive(Clone, Debug)]
pub(crate) struct Heard(Arc<Mutex<Instant>>);

impl Heard {
    /// As if it were heard now: who starts waits for it first.
    pub fn new() -> Heard {
        Heard(Arc::new(Mutex::new(Instant::now())))
    }

    /// The leader was heard.
    pub fn now(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn at(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a node with this last entry would get the vote of this one.
pub(crate) fn would_vote(raft: &Raft, store: &Store, heard: &Heard, last: Option<LogId>) -> bool {
    let is_leader = raft.metrics().borrow().state == ServerState::Leader;
    let mine = store.mirror().last();
    !is_leader && heard.at().elapsed() >= LEASE && last >= mine
}

/// Whether these are a majority of every set of voters.
fn is_majority(membership: &Membership, who: &[u64]) -> bool {
    let sets = membership.get_joint_config();
    let has_most = |set: &std::collections::BTreeSet<u64>| {
        set.iter().filter(|voter| who.contains(voter)).count() > set.len() / 2
    };
    !sets.is_empty() && sets.iter().all(has_most)
}

/// What stands for election.
pub(crate) struct Elections {
    pub me: u64,
    pub raft: Raft,
    pub store: Store,
    pub calls: Arc<Calls>,
    pub heard: Heard,
    pub rng: Rng,
}

impl Elections {
    /// Runs until Raft ends.
    pub async fn run(mut self) {
        let mut seen = self.heard.at();
        let mut due = seen + self.between(MISSED_MIN, MISSED_MAX);
        loop {
            tokio::time::sleep(LOOK).await;
            let heard = self.heard.at();
            if heard != seen {
                seen = heard;
                due = heard + self.between(MISSED_MIN, MISSED_MAX);
            }
            let metrics = self.raft.metrics().borrow().clone();
            let membership = metrics.membership_config.membership().clone();
            if metrics.running_state.is_err() {
                return;
            }
            if metrics.state == ServerState::Leader {
                self.heard.now();
                continue;
            }
            let is_alone = is_majority(&membership, &[self.me]);
            if Instant::now() < due && !is_alone || !membership.voter_ids().any(|voter| voter == self.me) {
                continue;
            }
            if is_majority(&membership, &self.sound(&membership).await)
                && self.raft.trigger().elect().await.is_err()
            {
                return;
            }
            due = Instant::now() + self.between(AGAIN_MIN, AGAIN_MAX);
            if is_alone {
                tokio::time::sleep(AGAIN_MIN).await;
            }
        }
    }

    fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let span = u64::try_from((most - least).as_micros()).unwrap_or(u64::MAX);
        least + Duration::from_micros(self.rng.below(span + 1))
    }

    /// Who would vote for this node, itself included.
    async fn sound(&self, membership: &Membership) -> Vec<u64> {
        let last = self.store.mirror().last();
        let mut asking = JoinSet::new();
        for voter in membership.voter_ids().filter(|voter| *voter != self.me) {
            let calls = Arc::clone(&self.calls);
            let sound = Body::Sound(Sound { last: last.map(Into::into) });
            asking.spawn(async move {
                match calls.ask(voter, sound, SOUND).await {
                    Ok(Body::Sounded(Sounded { would_vote })) => (voter, Some(would_vote)),
                    Ok(_) | Err(_) => (voter, None),
                }
            });
        }
        let mut who = vec![self.me];
        let mut until = Instant::now() + SOUND;
        while let Ok(Some(answer)) = timeout_at(until, asking.join_next()).await {
            match answer {
                Ok((voter, Some(true))) => who.push(voter),
                // Who says no now may say yes soon; one that is dead is not waited for meanwhile.
                Ok((_, Some(false))) => until = until.min(Instant::now() + SOUND_REST),
                Ok((_, None)) | Err(_) => {}
            }
            if is_majority(membership, &who) {
                break;
            }
        }
        who
    }
}
