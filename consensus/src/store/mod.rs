//! What must outlive the process: the log, the vote and the last snapshot, in one redb file.
//!
//! Everything is read when the file is opened and checked against the hash that was written with it;
//! from then on reads are served from memory and one task writes, all that waits in one transaction.
//! After the first failed write nothing is written any more: what is on disk is unknown until the file
//! is opened again.

mod file;
mod log;
mod state;
mod writer;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

pub(crate) use state::{Applied, State};

use crate::types::{Entry, LogId, SnapshotMeta, Vote};
use writer::Write;

/// Writes that wait for the disk; more wait for room.
const WRITES_MAX: usize = 1024;

/// Why a store cannot be used. Nothing was deleted.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The system refused; the operator is at fault.
    #[error(
        "cannot use the store of agreement {}: {what}; check that its directory is writable and not full, \
         and that no other process uses it",
        path.display()
    )]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What the system or the database said.
        what: String,
    },
    /// The file is torn or damaged, and was renamed.
    #[error(
        "the store of agreement {} is damaged ({what}); it was set aside as {}. A coordinator that forgot \
         its vote must not vote again: restore the file from a backup of this node's last stop, or remove \
         this coordinator from the group and let it join under a new name",
        path.display(),
        aside.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where it is now.
        aside: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A damaged store was set aside before, and there is no other.
    #[error(
        "there is no store of agreement, but a damaged one, {}; restore {} from a backup of this node's \
         last stop, or remove this coordinator from the group and let it join under a new name; where it \
         is the only one, move the damaged file away to begin with an empty log",
        aside.display(),
        path.display()
    )]
    SetAside {
        /// The file that is missing.
        path: PathBuf,
        /// What was set aside.
        aside: PathBuf,
    },
    /// The store is another node's.
    #[error(
        "the store of agreement {} belongs to another node; give each coordinator a directory of its own",
        path.display()
    )]
    OtherNode {
        /// The file.
        path: PathBuf,
    },
    /// An older version kept its log here.
    #[error(
        "{} is a log of an older version, which this one does not read; issue its updates again, and move \
         the file away to begin with an empty log",
        path.display()
    )]
    OldLog {
        /// The file.
        path: PathBuf,
    },
}

/// What the file holds, in memory.
#[derive(Debug, Default)]
pub(crate) struct Mirror {
    pub entries: BTreeMap<u64, Entry>,
    pub purged: Option<LogId>,
    pub vote: Option<Vote>,
    pub snapshot: Option<(SnapshotMeta, Bytes)>,
}

impl Mirror {
    /// The last entry, be it here or forgotten.
    pub fn last(&self) -> Option<LogId> {
        self.entries.last_key_value().map(|(_, entry)| entry.log_id).or(self.purged)
    }
}

/// The store, as everyone who reads and writes it has it.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    mirror: Arc<Mutex<Mirror>>,
    writes: mpsc::Sender<Write>,
    /// Why nothing is written any more.
    failure: watch::Receiver<Option<String>>,
}

/// An opened store.
#[derive(Debug)]
pub(crate) struct Opened {
    path: PathBuf,
    file: redb::Database,
    mirror: Mirror,
}

impl Opened {
    /// Opens the store of the node `me` in `directory`; makes one where there never was one.
    pub fn open(directory: &Path, me: u64) -> Result<Opened, StoreError> {
        file::open(directory, me)
    }

    /// Starts the task that writes, which ends when nobody has the store any more.
    pub fn serve(self) -> (Store, JoinHandle<()>) {
        let (writes, waiting) = mpsc::channel(WRITES_MAX);
        let (failing, failure) = watch::channel(None);
        let store = Store { mirror: Arc::new(Mutex::new(self.mirror)), writes, failure };
        let task = tokio::spawn(writer::run(self.path, self.file, waiting, failing));
        (store, task)
    }
}

impl Store {
    /// What is in memory; held for single looks and changes, never while waiting.
    pub fn mirror(&self) -> MutexGuard<'_, Mirror> {
        self.mirror.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resolves with the reason once a write failed.
    pub async fn failed(&self) -> String {
        let mut failure = self.failure.clone();
        let failed = failure.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
        match failed {
            Some(reason) => reason,
            // The writer ended without a failure: there is none to come.
            None => std::future::pending().await,
        }
    }

    /// Waits until a write is on disk.
    async fn written(&self, write: impl FnOnce(writer::Done) -> Write) -> std::io::Result<()> {
        let (done, result) = oneshot::channel();
        let gone = || std::io::Error::other("the store is closed");
        self.writes.send(write(done)).await.map_err(|_| gone())?;
        result.await.map_err(|_| gone())?
    }
}

#[cfg(test)]
mod tests;
