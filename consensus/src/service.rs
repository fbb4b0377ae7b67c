//! The service: what a node's driver holds, and the tasks behind it.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use starling_core::agreement::{Agreed, Agreement, Ground, PROPOSAL_BYTES_MAX};
use starling_core::id::ShortId;
use starling_core::machine::Input;
use starling_core::rng::Rng;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::calls::Calls;
use crate::elections::{Elections, Heard};
use crate::membership::MembershipError;
use crate::network::Network;
use crate::proposals::{Proposals, UNDECIDED_MAX};
use crate::server::Server;
use crate::standings::{Standings, Teller};
use crate::store::{Applied, Opened, State, Store, StoreError};
use crate::timing;
use crate::types::Raft;
use crate::wire::{Body, Message};

/// Messages of others that wait to be answered; more are dropped, and asked again.
const ASKED_MAX: usize = 256;
/// Decided entries that wait for the machine; Raft waits for room.
const NEWS_MAX: usize = 256;

/// One coordinator's part in the agreement.
pub struct Consensus {
    me: ShortId,
    voters: BTreeSet<u64>,
    asked: mpsc::Sender<(u64, Message)>,
    proposed: mpsc::Sender<Bytes>,
    stopping: watch::Sender<bool>,
    calls: OnceLock<Arc<Calls>>,
    raft: Arc<OnceLock<Raft>>,
    /// Taken by [`Agreement::begin`].
    start: Mutex<Option<Start>>,
    /// Changes when everything ended and the store is closed.
    ended: watch::Sender<bool>,
}

/// What is needed once.
struct Start {
    store: Opened,
    agreed: Box<dyn Agreed>,
    asked: mpsc::Receiver<(u64, Message)>,
    proposed: mpsc::Receiver<Bytes>,
}

impl fmt::Debug for Consensus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consensus")
            .field("me", &self.me)
            .field("voters", &self.voters)
            .finish_non_exhaustive()
    }
}

impl Consensus {
    /// Opens the store of the node `me` in `directory`. A new group begins with `voters`; whoever is not
    /// among them waits until the group takes it in. Where a group was before, its own log says who votes.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn open(
        directory: &Path,
        me: ShortId,
        voters: &BTreeSet<ShortId>,
        agreed: Box<dyn Agreed>,
    ) -> Result<Arc<Consensus>, StoreError> {
        let store = Opened::open(directory, me.0)?;
        let (asked, asks) = mpsc::channel(ASKED_MAX);
        let (proposed, proposals) = mpsc::channel(UNDECIDED_MAX);
        let start = Start { store, agreed, asked: asks, proposed: proposals };
        Ok(Arc::new(Consensus {
            me,
            voters: voters.iter().map(|voter| voter.0).collect(),
            asked,
            proposed,
            stopping: watch::channel(false).0,
            calls: OnceLock::new(),
            raft: Arc::default(),
            start: Mutex::new(Some(start)),
            ended: watch::channel(false).0,
        }))
    }

    /// Raft, while it runs.
    pub(crate) fn raft(&self) -> Result<&Raft, MembershipError> {
        self.raft.get().ok_or(MembershipError::Ended)
    }

    /// Resolves once everything ended and the store is closed.
    pub async fn ended(&self) {
        let mut ended = self.ended.subscribe();
        if ended.wait_for(|ended| *ended).await.is_err() {
            // Cannot be: the sender is ours.
        }
    }
}

impl Agreement for Consensus {
    fn begin(&self, me: ShortId, incarnation: u64, ground: Arc<dyn Ground>) {
        let start = self.start.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(start) = start.filter(|_| me == self.me) else {
            return ground
                .fail("agreement was begun twice, or for another node; this is a defect".to_owned());
        };
        let calls = Arc::new(Calls::new(Arc::clone(&ground)));
        if self.calls.set(Arc::clone(&calls)).is_err() {
            return ground.fail("agreement was begun twice; this is a defect".to_owned());
        }
        let service = Service {
            me: self.me.0,
            incarnation,
            voters: self.voters.clone(),
            running: Arc::clone(&self.raft),
            ground: Arc::clone(&ground),
            calls,
            stopping: self.stopping.subscribe(),
        };
        let ended = self.ended.clone();
        tokio::spawn(async move {
            if let Err(reason) = service.run(start).await {
                ground.fail(reason);
            }
            ended.send_replace(true);
        });
    }

    fn propose(&self, entry: Bytes) -> bool {
        entry.len() <= PROPOSAL_BYTES_MAX && self.proposed.try_send(entry).is_ok()
    }

    fn linked(&self, peer: ShortId, is_up: bool) {
        if let Some(calls) = self.calls.get() {
            calls.set_linked(peer.0, is_up);
        }
    }

    fn heard(&self, peer: ShortId, message: Bytes) {
        let Some(calls) = self.calls.get() else { return };
        // A newer version may say what this one cannot read.
        let Ok(Message { number, body: Some(body) }) = Message::from_bytes(message) else { return };
        match body {
            Body::Appended(_)
            | Body::Voted(_)
            | Body::Took(_)
            | Body::Sounded(_)
            | Body::Forwarded(_)
            | Body::Failed(_) => calls.answered(peer.0, number, body),
            Body::Append(_)
            | Body::Vote(_)
            | Body::Chunk(_)
            | Body::Sound(_)
            | Body::Forward(_)
            | Body::Standing(_) => {
                if self.asked.try_send((peer.0, Message { number, body: Some(body) })).is_err() {
                    // It is asked again.
                }
            }
        }
    }

    fn end(&self) {
        self.stopping.send_replace(true);
    }
}

/// A running service.
struct Service {
    me: u64,
    incarnation: u64,
    voters: BTreeSet<u64>,
    running: Arc<OnceLock<Raft>>,
    ground: Arc<dyn Ground>,
    calls: Arc<Calls>,
    stopping: watch::Receiver<bool>,
}

impl Service {
    /// Runs until the node stops; an error is why it cannot go on.
    async fn run(mut self, start: Start) -> Result<(), String> {
        let Start { store, agreed, asked, proposed } = start;
        let (store, writer) = store.serve();
        let (news, told) = mpsc::channel(NEWS_MAX);
        let (state, restored) = State::open(store.clone(), agreed, news)
            .map_err(|error| format!("the snapshot of what was agreed cannot be read: {error}"))?;
        let (decided, seen) = watch::channel(0);
        let mut tasks = JoinSet::new();
        let (me, incarnation) = (self.me, self.incarnation);
        let teller = News { me, incarnation, ground: Arc::clone(&self.ground), decided };
        tasks.spawn(teller.run(restored, told));
        let raft = self.raft(&store, &state).await?;
        self.running.get_or_init(|| raft.clone());
        self.spawn_tasks(&mut tasks, &raft, (store.clone(), state), (asked, proposed, seen));
        let mut metrics = raft.metrics();
        let ended = tokio::select! {
            _ = self.stopping.wait_for(|stopping| *stopping) => Ok(()),
            reason = store.failed() => Err(reason),
            _ = metrics.wait_for(|metrics| metrics.running_state.is_err()) => {
                let why = raft.metrics().borrow().running_state.clone();
                Err(format!("agreement ended by itself: {}", why.err().map_or_else(String::new, |why| why.to_string())))
            }
        };
        if raft.shutdown().await.is_err() {
            // It had ended.
        }
        tasks.shutdown().await;
        drop((raft, store));
        // The last who has the store is gone; what it was given is written before the file is closed.
        if tokio::time::timeout(timing::CLOSING, writer).await.is_err() {
            // A task of Raft still has it.
        }
        ended
    }

    async fn raft(&self, store: &Store, state: &State) -> Result<Raft, String> {
        let config = timing::config().map_err(|error| format!("the settings of agreement: {error}"))?;
        let network = Network(Arc::clone(&self.calls));
        let raft = Raft::new(self.me, Arc::new(config), network, store.clone(), state.clone())
            .await
            .map_err(|error| format!("agreement cannot begin: {error}"))?;
        let is_begun = raft.is_initialized().await.map_err(|error| error.to_string())?;
        if !is_begun && self.voters.contains(&self.me) {
            let begun = raft.initialize(self.voters.clone()).await;
            begun.map_err(|error| format!("the group of coordinators cannot begin: {error}"))?;
        }
        Ok(raft)
    }

    fn spawn_tasks(
        &self,
        tasks: &mut JoinSet<()>,
        raft: &Raft,
        (store, state): (Store, State),
        (asked, proposed, seen): (
            mpsc::Receiver<(u64, Message)>,
            mpsc::Receiver<Bytes>,
            watch::Receiver<u64>,
        ),
    ) {
        let heard = Heard::new();
        let standings = Arc::new(Standings::default());
        let (calls, ground) = (Arc::clone(&self.calls), Arc::clone(&self.ground));
        let server = Server {
            raft: raft.clone(),
            store: store.clone(),
            calls: Arc::clone(&calls),
            heard: heard.clone(),
            standings: Arc::clone(&standings),
        };
        tasks.spawn(server.run(asked));
        // Two incarnations of a node draw different times.
        let rng = Rng::new(self.me ^ self.incarnation.rotate_left(32));
        let elections =
            Elections { me: self.me, raft: raft.clone(), store, calls: Arc::clone(&calls), heard, rng };
        tasks.spawn(elections.run());
        let proposals =
            Proposals::new(self.me, self.incarnation, raft.clone(), Arc::clone(&calls), Arc::clone(&ground));
        tasks.spawn(proposals.run(proposed, seen));
        let teller = Teller { me: self.me, raft: raft.clone(), state, calls, ground, standings };
        tasks.spawn(teller.run());
    }
}

/// What carries decided entries to the machine.
struct News {
    me: u64,
    incarnation: u64,
    ground: Arc<dyn Ground>,
    decided: watch::Sender<u64>,
}

impl News {
    async fn run(self, restored: Option<Applied>, mut told: mpsc::Receiver<Applied>) {
        let mut next = restored;
        loop {
            let news = match next.take() {
                Some(news) => news,
                None => match told.recv().await {
                    Some(news) => news,
                    None => return,
                },
            };
            self.tell(news).await;
        }
    }

    async fn tell(&self, news: Applied) {
        let number = match news {
            Applied::Decided { index, proposal } => {
                let is_mine = (proposal.proposer, proposal.incarnation) == (self.me, self.incarnation);
                self.ground.tell(Input::Committed { index, entry: proposal.entry }).await;
                is_mine.then_some(proposal.number)
            }
            Applied::Restored { index, state, last } => {
                self.ground.tell(Input::Restored { index, state }).await;
                last.get(&self.me).filter(|(of, _)| *of == self.incarnation).map(|(_, number)| *number)
            }
        };
        if let Some(number) = number {
            self.decided.send_replace(number);
        }
    }
}
