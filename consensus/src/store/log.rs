//! The log and the vote, as Raft asks for them.

use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;

use openraft::storage::{LogFlushed, LogState, RaftLogStorage};
use openraft::{RaftLogReader, StorageIOError};

use super::Store;
use super::writer::Write;
use crate::types::{Entry, LogId, StorageError, Types, Vote};

impl RaftLogReader<Types> for Store {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: R,
    ) -> Result<Vec<Entry>, StorageError> {
        Ok(self.mirror().entries.range(range).map(|(_, entry)| entry.clone()).collect())
    }
}

impl RaftLogStorage<Types> for Store {
    type LogReader = Store;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, StorageError> {
        let mirror = self.mirror();
        Ok(LogState { last_purged_log_id: mirror.purged, last_log_id: mirror.last() })
    }

    async fn get_log_reader(&mut self) -> Store {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        let vote = *vote;
        let written = self.written(|done| Write::Vote(vote, done)).await;
        written.map_err(|error| StorageIOError::write_vote(&error))?;
        self.mirror().vote = Some(vote);
        Ok(())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        Ok(self.mirror().vote)
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<Types>) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        {
            let mut mirror = self.mirror();
            mirror.entries.extend(entries.iter().map(|entry| (entry.log_id.index, entry.clone())));
        }
        if let Err(unsent) = self.writes.send(Write::Append(entries, callback)).await
            && let Write::Append(_, callback) = unsent.0
        {
            callback.log_io_completed(Err(io::Error::other("the store is closed")));
        }
        Ok(())
    }

    async fn truncate(&mut self, from: LogId) -> Result<(), StorageError> {
        drop(self.mirror().entries.split_off(&from.index));
        let written = self.written(|done| Write::Truncate(from.index, done)).await;
        Ok(written.map_err(|error| StorageIOError::write_logs(&error))?)
    }

    async fn purge(&mut self, up_to: LogId) -> Result<(), StorageError> {
        {
            let mut mirror = self.mirror();
            mirror.entries = mirror.entries.split_off(&(up_to.index + 1));
            mirror.purged = Some(up_to);
        }
        let written = self.written(|done| Write::Purge(up_to, done)).await;
        Ok(written.map_err(|error| StorageIOError::write_logs(&error))?)
    }
}
