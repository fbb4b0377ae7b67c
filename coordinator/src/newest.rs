//! The newest decided entries: what a snapshot of the agreed log holds.

use std::collections::VecDeque;

use bytes::{BufMut, Bytes, BytesMut};
use starling_core::agreement::{Agreed, PROPOSAL_BYTES_MAX};
use starling_core::wire::codec::{DecodeError, Reader};

/// Entries that are kept; as many as updates are kept for followers that were away.
const ENTRIES_MAX: usize = 1024;
/// Bytes of them.
const BYTES_MAX: usize = 4 * 1024 * 1024;

/// The newest entries, in order.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Newest {
    entries: VecDeque<(u64, Bytes)>,
    bytes: usize,
}

impl Newest {
    /// What a snapshot holds.
    ///
    /// # Errors
    /// The bytes are no snapshot.
    pub fn from_snapshot(snapshot: &[u8]) -> Result<Newest, DecodeError> {
        let mut reader = Reader::new(snapshot);
        let mut newest = Newest::default();
        while reader.remaining() > 0 {
            let index = reader.u64()?;
            if newest.entries.back().is_some_and(|(before, _)| before.checked_add(1) != Some(index)) {
                return Err(DecodeError::Invalid("index of an entry"));
            }
            let length = reader.u32()? as usize;
            if length > PROPOSAL_BYTES_MAX || newest.entries.len() >= ENTRIES_MAX {
                return Err(DecodeError::TooLong("a snapshot of entries"));
            }
            newest.apply(index, reader.take(length)?);
        }
        Ok(newest)
    }

    /// The entries with their indices, oldest first.
    pub fn entries(&self) -> impl Iterator<Item = (u64, Bytes)> {
        self.entries.iter().cloned()
    }
}

impl Agreed for Newest {
    fn apply(&mut self, index: u64, entry: &[u8]) {
        self.entries.push_back((index, Bytes::copy_from_slice(entry)));
        self.bytes += entry.len();
        while self.entries.len() > ENTRIES_MAX || self.bytes > BYTES_MAX && self.entries.len() > 1 {
            let dropped = self.entries.pop_front().map_or(0, |(_, entry)| entry.len());
            self.bytes -= dropped;
        }
    }

    fn snapshot(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(self.bytes + 12 * self.entries.len());
        for (index, entry) in &self.entries {
            out.put_u64_le(*index);
            out.put_u32_le(u32::try_from(entry.len()).expect("proposals are far below 4 GiB"));
            out.put_slice(entry);
        }
        out.freeze()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), DecodeError> {
        *self = Newest::from_snapshot(snapshot)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_the_newest_are_kept_and_a_snapshot_gives_them_back() {
        let mut newest = Newest::default();
        for index in 1..=3000_u64 {
            newest.apply(index, &index.to_le_bytes());
        }
        let mut other = Newest::default();
        other.apply(1, b"to be replaced");
        other.restore(&newest.snapshot()).unwrap();
        assert_eq!(other, newest);
        let indices: Vec<u64> = other.entries().map(|(index, _)| index).collect();
        assert_eq!((indices.len(), indices[0], indices[1023]), (1024, 1977, 3000));
        for index in 3001..3300 {
            other.apply(index, &[0; 48 * 1024]);
        }
        assert!(other.entries().count() < 100, "bytes are bounded too");
    }

    proptest! {
        #[test]
        fn nonsense_is_refused_and_changes_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut newest = Newest::default();
            newest.apply(1, b"entry");
            if newest.restore(&bytes).is_err() {
                prop_assert_eq!(newest.entries().count(), 1);
            }
        }
    }
}
