//! What was decided, as Raft applies it: each proposal once, numbered from 1 without gaps.
//!
//! A proposal that is in doubt is proposed again under its number, so a log may hold it twice. The state
//! remembers the last number of each proposer and takes only the one that follows: it skips repeats, and
//! what overtook another, which its proposer sends again.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use openraft::storage::{RaftStateMachine, Snapshot};
use openraft::{EntryPayload, RaftSnapshotBuilder, StorageIOError};
use prost::Message as _;
use starling_core::agreement::Agreed;
use starling_core::wire::codec::DecodeError;
use tokio::sync::mpsc;

use super::Store;
use super::writer::Write;
use crate::types::{Entry, LogId, Proposal, SnapshotMeta, StorageError, StoredMembership, Types};

/// News of the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Applied {
    /// The next entry.
    Decided { index: u64, proposal: Proposal },
    /// A snapshot took the place of everything before; `last` are the proposers' last proposals.
    Restored { index: u64, state: Bytes, last: BTreeMap<u64, (u64, u64)> },
}

/// The state, shared by Raft and whoever makes snapshots of it.
#[derive(Clone)]
pub(crate) struct State {
    inner: Arc<Mutex<Inner>>,
    store: Store,
    news: mpsc::Sender<Applied>,
}

struct Inner {
    applied: Option<LogId>,
    membership: StoredMembership,
    /// The last decided entry's index.
    decided: u64,
    /// By proposer: the incarnation and number of its last proposal that was decided.
    last: BTreeMap<u64, (u64, u64)>,
    agreed: Box<dyn Agreed>,
}

/// A snapshot's content.
#[derive(Clone, PartialEq, prost::Message)]
struct Content {
    #[prost(uint64, tag = "1")]
    decided: u64,
    #[prost(message, repeated, tag = "2")]
    last: Vec<Last>,
    #[prost(bytes = "bytes", tag = "3")]
    state: Bytes,
}

/// A proposer's last proposal.
#[derive(Clone, PartialEq, prost::Message)]
struct Last {
    #[prost(fixed64, tag = "1")]
    proposer: u64,
    #[prost(uint64, tag = "2")]
    incarnation: u64,
    #[prost(uint64, tag = "3")]
    number: u64,
}

impl Inner {
    /// Whether a proposal is its proposer's next; notes it if so.
    fn takes(&mut self, proposal: &Proposal) -> bool {
        let Proposal { proposer, incarnation, number, .. } = *proposal;
        let is_member = self.membership.membership().get_node(&proposer).is_some();
        let is_next = match self.last.get(&proposer) {
            Some((of, last)) if *of == incarnation => last.checked_add(1) == Some(number),
            Some((of, _)) => *of < incarnation && number == 1,
            None => number == 1,
        };
        if is_member && is_next {
            self.last.insert(proposer, (incarnation, number));
        }
        is_member && is_next
    }

    fn apply(&mut self, entry: Entry) -> Option<Applied> {
        self.applied = Some(entry.log_id);
        match entry.payload {
            EntryPayload::Blank => None,
            EntryPayload::Membership(membership) => {
                self.last.retain(|proposer, _| membership.get_node(proposer).is_some());
                self.membership = StoredMembership::new(self.applied, membership);
                None
            }
            EntryPayload::Normal(proposal) => {
                if !self.takes(&proposal) {
                    return None;
                }
                self.decided += 1;
                self.agreed.apply(self.decided, &proposal.entry);
                Some(Applied::Decided { index: self.decided, proposal })
            }
        }
    }

    fn content(&self) -> Content {
        let last = self.last.iter().map(|(proposer, (incarnation, number))| Last {
            proposer: *proposer,
            incarnation: *incarnation,
            number: *number,
        });
        Content { decided: self.decided, last: last.collect(), state: self.agreed.snapshot() }
    }

    fn restore(&mut self, meta: &SnapshotMeta, bytes: &[u8]) -> Result<Applied, DecodeError> {
        let content = Content::decode(bytes).map_err(|_| DecodeError::Invalid("snapshot"))?;
        self.agreed.restore(&content.state)?;
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.decided = content.decided;
        self.last =
            content.last.iter().map(|last| (last.proposer, (last.incarnation, last.number))).collect();
        Ok(Applied::Restored { index: self.decided, state: content.state, last: self.last.clone() })
    }
}

impl State {
    /// The state that the store's snapshot holds, and the news of it.
    pub fn open(
        store: Store,
        agreed: Box<dyn Agreed>,
        news: mpsc::Sender<Applied>,
    ) -> Result<(State, Option<Applied>), DecodeError> {
        let mut inner = Inner {
            applied: None,
            membership: StoredMembership::default(),
            decided: 0,
            last: BTreeMap::new(),
            agreed,
        };
        let snapshot = store.mirror().snapshot.clone();
        let restored = snapshot.map(|(meta, bytes)| inner.restore(&meta, &bytes)).transpose()?;
        Ok((State { inner: Arc::new(Mutex::new(inner)), store, news }, restored))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last decided entry's index.
    pub fn decided(&self) -> u64 {
        self.inner().decided
    }

    async fn tell(&self, news: Applied) {
        if self.news.send(news).await.is_err() {
            // The node ends: nobody is left who could want it.
        }
    }

    async fn keep(&self, meta: &SnapshotMeta, bytes: Bytes) -> Result<(), StorageError> {
        let (kept, content) = (meta.clone(), bytes.clone());
        let written = self.store.written(|done| Write::Snapshot(kept, content, done)).await;
        written.map_err(|error| StorageIOError::write_snapshot(Some(meta.signature()), &error))?;
        self.store.mirror().snapshot = Some((meta.clone(), bytes));
        Ok(())
    }
}

impl RaftSnapshotBuilder<Types> for State {
    async fn build_snapshot(&mut self) -> Result<Snapshot<Types>, StorageError> {
        let (meta, bytes) = {
            let inner = self.inner();
            let at = inner.applied.map_or_else(|| "0".to_owned(), |id| id.to_string());
            let meta = SnapshotMeta {
                last_log_id: inner.applied,
                last_membership: inner.membership.clone(),
                snapshot_id: format!("{at}-{}", inner.decided),
            };
            (meta, Bytes::from(inner.content().encode_to_vec()))
        };
        self.keep(&meta, bytes.clone()).await?;
        Ok(Snapshot { meta, snapshot: Box::new(Cursor::new(bytes.into())) })
    }
}

impl RaftStateMachine<Types> for State {
    type SnapshotBuilder = State;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), StorageError> {
        let inner = self.inner();
        Ok((inner.applied, inner.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<()>, StorageError>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        let mut count = 0;
        for entry in entries {
            let news = self.inner().apply(entry);
            if let Some(news) = news {
                self.tell(news).await;
            }
            count += 1;
        }
        Ok(vec![(); count])
    }

    async fn get_snapshot_builder(&mut self) -> State {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, StorageError> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), StorageError> {
        let bytes = Bytes::from(snapshot.into_inner());
        let restored = self.inner().restore(meta, &bytes);
        let news = restored.map_err(|error| StorageIOError::read_snapshot(Some(meta.signature()), &error))?;
        self.keep(meta, bytes).await?;
        self.tell(news).await;
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Types>>, StorageError> {
        let kept = self.store.mirror().snapshot.clone();
        Ok(kept.map(|(meta, bytes)| Snapshot { meta, snapshot: Box::new(Cursor::new(bytes.into())) }))
    }
}
