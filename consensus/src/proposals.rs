//! The way of a node's own proposals: numbered, brought to the leader in their order, and brought again
//! until they are decided.
//!
//! What was handed to a leader may be decided however that ends, so it keeps its number and is proposed
//! again; the state takes each number once (`store`). What no leader took has no number yet, and can
//! still be refused as if it had never been.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use openraft::ServerState;
use starling_core::agreement::{Ground, PROPOSAL_BYTES_MAX};
use starling_core::limits;
use starling_core::machine::Input;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};

use crate::calls::{CallError, Calls};
use crate::timing::{ALONE, CALL, PROPOSE_AGAIN, PROPOSE_REST, PROPOSER_PATIENCE};
use crate::types::{Proposal, Raft};
use crate::wire::{Body, Forward, Forwarded};

/// Proposals of a node without a decision; more wait for room.
pub(crate) const UNDECIDED_MAX: usize = 1024;
/// Proposals that are handed over at once ...
const TOGETHER_MAX: usize = 64;
/// ... and their bytes, with what goes round each.
const TOGETHER_BYTES_MAX: usize = limits::CONTROL_BYTES_MAX / 16 * 15;
/// What goes round a proposal.
const AROUND_BYTES: usize = 64;
const _: () = assert!(PROPOSAL_BYTES_MAX + AROUND_BYTES < TOGETHER_BYTES_MAX, "one always fits");

/// What became of proposals that were handed to the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Handed {
    /// They are in its log, in their order.
    Taken,
    /// They are in no log.
    Refused,
    /// Nobody knows.
    Doubtful,
}

/// A proposal that no leader took yet.
#[derive(Debug)]
struct Waiting {
    entry: Bytes,
    since: Instant,
}

/// A proposal that may be in a log.
#[derive(Debug)]
struct Sent {
    number: u64,
    entry: Bytes,
    since: Instant,
    /// Whether its proposer was told that nobody knows.
    is_given_up: bool,
}

/// A node's own proposals.
pub(crate) struct Proposals {
    me: u64,
    incarnation: u64,
    raft: Raft,
    calls: Arc<Calls>,
    ground: Arc<dyn Ground>,
    waiting: VecDeque<Waiting>,
    sent: VecDeque<Sent>,
    next: u64,
    /// To whom and in which term the oldest of `sent` was handed, and when something was decided since.
    handed: Option<(u64, u64, Instant)>,
}

impl Proposals {
    pub fn new(
        me: u64,
        incarnation: u64,
        raft: Raft,
        calls: Arc<Calls>,
        ground: Arc<dyn Ground>,
    ) -> Proposals {
        let (waiting, sent) = (VecDeque::new(), VecDeque::new());
        Proposals { me, incarnation, raft, calls, ground, waiting, sent, next: 1, handed: None }
    }

    /// Runs until the node ends. `decided` is the number of the last own proposal that was.
    pub async fn run(mut self, mut asked: mpsc::Receiver<Bytes>, mut decided: watch::Receiver<u64>) {
        let mut metrics = self.raft.metrics();
        loop {
            let has_room = self.waiting.len() + self.sent.len() < UNDECIDED_MAX;
            let is_idle = self.waiting.is_empty() && self.sent.is_empty();
            tokio::select! {
                entry = asked.recv(), if has_room => match entry {
                    Some(entry) => self.waiting.push_back(Waiting { entry, since: Instant::now() }),
                    None => return,
                },
                changed = decided.changed() => match changed {
                    Ok(()) => self.decided(*decided.borrow_and_update()),
                    Err(_) => return,
                },
                changed = metrics.changed(), if !is_idle => if changed.is_err() {
                    return;
                },
                () = sleep(PROPOSE_REST), if !is_idle => {}
            }
            while self.waiting.len() + self.sent.len() < UNDECIDED_MAX {
                let Ok(entry) = asked.try_recv() else { break };
                self.waiting.push_back(Waiting { entry, since: Instant::now() });
            }
            self.give_up().await;
            self.hand_over().await;
        }
    }

    fn decided(&mut self, number: u64) {
        while self.sent.front().is_some_and(|sent| sent.number <= number) {
            self.sent.pop_front();
        }
        if let Some((_, _, since)) = &mut self.handed {
            *since = Instant::now();
        }
    }

    /// Tells the machine of what has waited for too long.
    async fn give_up(&mut self) {
        let is_old = |since: Instant| since.elapsed() >= PROPOSER_PATIENCE;
        for sent in self.sent.iter_mut().filter(|sent| !sent.is_given_up && is_old(sent.since)) {
            sent.is_given_up = true;
            let entry = sent.entry.clone();
            self.ground.tell(Input::Undecided { entry, is_doubtful: true }).await;
        }
        while self.waiting.front().is_some_and(|waiting| is_old(waiting.since)) {
            let Some(Waiting { entry, .. }) = self.waiting.pop_front() else { break };
            self.ground.tell(Input::Undecided { entry, is_doubtful: false }).await;
        }
    }

    /// Hands over what the leader may not have, and then what is new.
    async fn hand_over(&mut self) {
        let Some((leader, term)) = self.leader() else { return };
        let is_same = |(to, in_term, since): (u64, u64, Instant)| {
            (to, in_term) == (leader, term) && since.elapsed() < PROPOSE_AGAIN
        };
        if !self.handed.is_some_and(is_same) {
            let mut from = 0;
            while from < self.sent.len() {
                let batch = self.batch(self.sent.iter().skip(from).map(|sent| (sent.number, &sent.entry)));
                let count = batch.len();
                match self.hand(leader, batch).await {
                    Handed::Taken => from += count,
                    Handed::Refused | Handed::Doubtful => return,
                }
            }
            self.handed = Some((leader, term, Instant::now()));
        }
        while !self.waiting.is_empty() {
            let batch = self.batch((self.next..).zip(self.waiting.iter().map(|waiting| &waiting.entry)));
            let count = batch.len();
            let handed = self.hand(leader, batch).await;
            if handed == Handed::Refused {
                return;
            }
            for Waiting { entry, since } in self.waiting.drain(..count) {
                self.sent.push_back(Sent { number: self.next, entry, since, is_given_up: false });
                self.next += 1;
            }
            if handed == Handed::Doubtful {
                self.handed = None;
                return;
            }
        }
    }

    fn batch<'a>(&self, proposals: impl Iterator<Item = (u64, &'a Bytes)>) -> Vec<Proposal> {
        let mut bytes = 0;
        let fits = proposals.take(TOGETHER_MAX).take_while(|(_, entry)| {
            bytes += entry.len() + AROUND_BYTES;
            bytes <= TOGETHER_BYTES_MAX
        });
        let (proposer, incarnation) = (self.me, self.incarnation);
        let named =
            |(number, entry): (u64, &Bytes)| Proposal { proposer, incarnation, number, entry: entry.clone() };
        fits.map(named).collect()
    }

    /// Who leads, as far as this node knows, and its term.
    fn leader(&self) -> Option<(u64, u64)> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        metrics.current_leader.map(|leader| (leader, metrics.current_term))
    }

    async fn hand(&self, leader: u64, batch: Vec<Proposal>) -> Handed {
        if leader == self.me {
            return if take(&self.raft, batch).await { Handed::Taken } else { Handed::Refused };
        }
        let forward = Forward { proposals: batch.into_iter().map(Into::into).collect() };
        let mut metrics = self.raft.metrics();
        let answer = tokio::select! {
            answer = self.calls.ask(leader, Body::Forward(forward), CALL) => answer,
            // Who does not lead any more need not be waited for.
            _ = metrics.wait_for(|metrics| metrics.current_leader != Some(leader)) => Err(CallError::Late),
        };
        match answer {
            Ok(Body::Forwarded(Forwarded { is_taken: true })) => Handed::Taken,
            Ok(Body::Forwarded(Forwarded { is_taken: false })) => Handed::Refused,
            Err(CallError::Unreachable | CallError::Busy) => Handed::Refused,
            Ok(_) | Err(CallError::Late | CallError::Failed) => Handed::Doubtful,
        }
    }
}

/// Puts proposals into the log in their order, if this node leads; all, or none and false.
pub(crate) async fn take(raft: &Raft, proposals: Vec<Proposal>) -> bool {
    {
        let metrics = raft.metrics();
        let metrics = metrics.borrow();
        let is_only = metrics.membership_config.voter_ids().count() == 1;
        let age = metrics.millis_since_quorum_ack.map(u128::from);
        let is_heard = is_only || age.is_some_and(|age| age < ALONE.as_millis());
        if metrics.state != ServerState::Leader || !is_heard {
            return false;
        }
    }
    for proposal in proposals {
        // Whether it is decided is seen where it is applied; once Raft ended nothing is.
        if raft.client_write_ff(proposal).await.is_err() {
            return true;
        }
    }
    true
}
