//! The one task that writes: all that waits goes into one transaction, which is on disk before anybody
//! hears of it.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use openraft::storage::LogFlushed;
use prost::Message as _;
use redb::Database;
use tokio::sync::{mpsc, oneshot, watch};

use super::file::{LOG, META, PURGED, SINGLE, STATE, VOTE, key_of, sealed};
use crate::types::{Entry, LogId, SnapshotMeta, Types, Vote};
use crate::wire;

/// Writes of one transaction.
const BATCH: usize = 256;

/// Told when a write is on disk, or why it is not.
pub(super) type Done = oneshot::Sender<io::Result<()>>;

/// Something to be written.
pub(super) enum Write {
    Append(Vec<Entry>, LogFlushed<Types>),
    Vote(Vote, Done),
    /// Entries from here on are void.
    Truncate(u64, Done),
    /// Entries up to here are forgotten.
    Purge(LogId, Done),
    Snapshot(SnapshotMeta, Bytes, Done),
}

impl Write {
    fn complete(self, result: io::Result<()>) {
        let done = match self {
            Write::Append(_, flushed) => return flushed.log_io_completed(result),
            Write::Vote(_, done)
            | Write::Truncate(_, done)
            | Write::Purge(_, done)
            | Write::Snapshot(_, _, done) => done,
        };
        if done.send(result).is_err() {
            // Who asked for it is gone, and it is written all the same.
        }
    }
}

/// Writes until nobody has the store any more.
pub(super) async fn run(
    path: PathBuf,
    mut file: Database,
    mut waiting: mpsc::Receiver<Write>,
    failing: watch::Sender<Option<String>>,
) {
    let mut batch = Vec::new();
    while waiting.recv_many(&mut batch, BATCH).await > 0 {
        let taken = std::mem::take(&mut batch);
        let failed = failing.borrow().clone();
        if let Some(reason) = failed {
            taken.into_iter().for_each(|write| write.complete(Err(io::Error::other(reason.clone()))));
            continue;
        }
        let committing = tokio::task::spawn_blocking(move || {
            let result = commit(&file, &taken);
            (file, taken, result)
        });
        let Ok((returned, taken, result)) = committing.await else {
            failing.send_replace(Some(format!("the database of {} panicked", path.display())));
            return;
        };
        file = returned;
        if let Err(error) = &result {
            failing.send_replace(Some(failure(&path, error)));
        }
        for write in taken {
            write.complete(result.as_ref().map(|_| ()).map_err(|error| io::Error::other(error.to_string())));
        }
    }
}

fn failure(path: &Path, error: &redb::Error) -> String {
    format!(
        "cannot write the store of agreement {}: {error}; the node stops, for what is on disk is unknown \
         until it starts again; check the disk",
        path.display()
    )
}

fn commit(file: &Database, writes: &[Write]) -> Result<(), redb::Error> {
    let writing = file.begin_write()?;
    {
        let mut log = writing.open_table(LOG)?;
        let mut single = writing.open_table(SINGLE)?;
        let mut put = |key: &'static str, content: &[u8]| -> Result<(), redb::Error> {
            single.insert(key, &*sealed(key.as_bytes(), content))?;
            Ok(())
        };
        for write in writes {
            match write {
                Write::Append(entries, _) => {
                    for entry in entries {
                        let index = entry.log_id.index;
                        let content = wire::Entry::from(entry.clone()).encode_to_vec();
                        log.insert(index, &*sealed(&key_of(index), &content))?;
                    }
                }
                Write::Vote(vote, _) => put(VOTE, &wire::Vote::from(*vote).encode_to_vec())?,
                Write::Truncate(from, _) => log.retain_in(*from.., |_, _| false)?,
                Write::Purge(up_to, _) => {
                    log.retain_in(..=up_to.index, |_, _| false)?;
                    put(PURGED, &wire::LogId::from(*up_to).encode_to_vec())?;
                }
                Write::Snapshot(meta, state, _) => {
                    put(META, &wire::Meta::from(meta).encode_to_vec())?;
                    put(STATE, state)?;
                }
            }
        }
    }
    writing.commit()?;
    Ok(())
}
