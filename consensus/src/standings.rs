//! How far each coordinator is, told among them and to the machine.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use starling_core::agreement::{Ground, Part, Standing};
use starling_core::id::ShortId;
use starling_core::machine::Input;
use tokio::time::{Instant, sleep};

use crate::calls::Calls;
use crate::store::State;
use crate::timing::{STANDING, STANDING_LOOK, STANDING_OLD};
use crate::types::Raft;
use crate::wire::{self, Body};

/// Coordinators that are remembered; one that is not in the group is not.
const SAID_MAX: usize = 64;

/// What others said last.
#[derive(Debug, Default)]
pub(crate) struct Standings(Mutex<BTreeMap<u64, (wire::Standing, Instant)>>);

impl Standings {
    /// A coordinator says how far it is.
    pub fn said(&self, peer: u64, standing: wire::Standing) {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if said.len() < SAID_MAX || said.contains_key(&peer) {
            said.insert(peer, (standing, Instant::now()));
        }
    }

    fn of(&self, peer: u64) -> Option<(wire::Standing, Instant)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&peer).copied()
    }

    /// Forgets whoever left the group.
    fn keep(&self, is_member: impl Fn(u64) -> bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|peer, _| is_member(*peer));
    }
}

/// What tells.
pub(crate) struct Teller {
    pub me: u64,
    pub raft: Raft,
    pub state: State,
    pub calls: Arc<Calls>,
    pub ground: Arc<dyn Ground>,
    pub standings: Arc<Standings>,
}

impl Teller {
    /// Runs until the node ends.
    pub async fn run(self) {
        let mut told: Option<(wire::Standing, Instant)> = None;
        let mut shown = Vec::new();
        loop {
            let mine = self.mine();
            if told.is_none_or(|(before, at)| before != mine || at.elapsed() >= STANDING) {
                for peer in self.calls.linked() {
                    if !self.calls.say(peer, 0, Body::Standing(mine)) {
                        // Its link went just now.
                    }
                }
                told = Some((mine, Instant::now()));
            }
            let all = self.all(mine);
            if all != shown {
                shown.clone_from(&all);
                self.ground.tell(Input::Standings(all)).await;
            }
            sleep(STANDING_LOOK).await;
        }
    }

    fn mine(&self) -> wire::Standing {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        wire::Standing {
            term: metrics.current_term,
            is_leader: metrics.current_leader == Some(self.me),
            applied: self.state.decided(),
        }
    }

    fn all(&self, mine: wire::Standing) -> Vec<Standing> {
        let metrics = self.raft.metrics().borrow().clone();
        let membership = metrics.membership_config.membership();
        self.standings.keep(|peer| membership.get_node(&peer).is_some());
        let standing = |id: u64| {
            let said = if id == self.me { Some((mine, Instant::now())) } else { self.standings.of(id) };
            let is_voter = membership.voter_ids().any(|voter| voter == id);
            Standing {
                id: ShortId(id),
                part: match (metrics.current_leader == Some(id), is_voter) {
                    (true, _) => Part::Leader,
                    (false, true) => Part::Follower,
                    (false, false) => Part::Learner,
                },
                term: said.map_or(0, |(said, _)| said.term),
                applied: said.map_or(0, |(said, _)| said.applied),
                is_heard: said.is_some_and(|(_, at)| at.elapsed() < STANDING_OLD),
            }
        };
        membership.nodes().map(|(id, ())| standing(*id)).collect()
    }
}
