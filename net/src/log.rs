//! A log agreed by one node alone: entries in a file, on disk before anybody hears of them.
//!
//! An entry is its length (4, little-endian), the first 4 bytes of BLAKE3 of index and length, the
//! first 8 bytes of BLAKE3 of index and content, and the content. The index, from 1, is not written.
//! What a crash left of a last entry is cut off at the next start; damage before the end is not
//! touched, for nothing is deleted on doubt.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use starling_core::limits;

/// The file in the node's directory.
const LOG_FILE: &str = "agreed.log";
const HEAD_BYTES: usize = 16;

/// Why a log cannot be used. Nothing was changed, except by a failed [`LogError::Io`].
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The system refused; the operator is at fault.
    #[error("cannot use the log {}: {source}; check that its directory is writable and not full", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An entry before the end is damaged.
    #[error(
        "the log {} is damaged at byte {offset} (entry {index}); restore it from a backup, or move it \
         away and let this node start with an empty log",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the entry begins.
        offset: u64,
        /// Its place in the log.
        index: u64,
    },
}

/// The open log.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    file: Option<File>,
    next: u64,
}

/// What was in a log when it was opened.
#[derive(Debug)]
pub(crate) struct Opened {
    pub log: Log,
    pub entries: Vec<Bytes>,
    /// Bytes of a torn last entry that were cut off.
    pub cut_bytes: u64,
}

enum Next {
    Entry(Bytes),
    End,
    Torn,
    Damaged,
}

impl Log {
    /// Opens the log in `directory`; there need not be one.
    pub fn open(directory: &Path) -> Result<Opened, LogError> {
        let path = directory.join(LOG_FILE);
        let failed = |source| LogError::Io { path: path.clone(), source };
        let mut file = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let log = Log { path, file: None, next: 1 };
                return Ok(Opened { log, entries: Vec::new(), cut_bytes: 0 });
            }
            Err(error) => return Err(failed(error)),
        };
        let length = file.metadata().map_err(failed)?.len();
        let mut reader = io::BufReader::new(&mut file);
        let (mut offset, mut entries) = (0, Vec::new());
        loop {
            let index = entries.len() as u64 + 1;
            match read_entry(&mut reader, index, length - offset).map_err(failed)? {
                Next::Entry(entry) => {
                    offset += (HEAD_BYTES + entry.len()) as u64;
                    entries.push(entry);
                }
                Next::End | Next::Torn => break,
                Next::Damaged => return Err(LogError::Damaged { path, offset, index }),
            }
        }
        if offset < length {
            file.set_len(offset).and_then(|()| file.sync_all()).map_err(failed)?;
        }
        file.seek(SeekFrom::Start(offset)).map_err(failed)?;
        let log = Log { path, file: Some(file), next: entries.len() as u64 + 1 };
        Ok(Opened { log, entries, cut_bytes: length - offset })
    }

    /// Appends entries; returns the first one's index once all are on disk. After an error the node
    /// must stop: what is on disk is unknown until the log is opened again.
    pub fn append(&mut self, entries: &[Bytes]) -> Result<u64, LogError> {
        let first = self.next;
        let mut bytes = Vec::new();
        for entry in entries {
            bytes.extend_from_slice(&head(self.next, entry));
            bytes.extend_from_slice(entry);
            self.next += 1;
        }
        self.write(&bytes).map_err(|source| LogError::Io { path: self.path.clone(), source })?;
        Ok(first)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let file = OpenOptions::new().write(true).create_new(true).open(&self.path)?;
                let directory = self.path.parent().unwrap_or(Path::new("."));
                File::open(directory)?.sync_all()?;
                self.file.insert(file)
            }
        };
        file.write_all(bytes)?;
        file.sync_data()
    }
}

fn head(index: u64, entry: &[u8]) -> [u8; HEAD_BYTES] {
    let length = u32::try_from(entry.len()).expect("entries are bounded far below 4 GiB").to_le_bytes();
    let mut head = [0; HEAD_BYTES];
    head[..4].copy_from_slice(&length);
    head[4..8].copy_from_slice(&checksum(index, &length)[..4]);
    head[8..].copy_from_slice(&checksum(index, entry));
    head
}

fn checksum(index: u64, bytes: &[u8]) -> [u8; 8] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&index.to_le_bytes()).update(bytes);
    let mut checksum = [0; 8];
    checksum.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    checksum
}

/// Reads the entry at `index`, with `left` bytes up to the end of the file.
fn read_entry(reader: &mut impl Read, index: u64, left: u64) -> io::Result<Next> {
    if left == 0 {
        return Ok(Next::End);
    }
    if left < HEAD_BYTES as u64 {
        return Ok(Next::Torn);
    }
    let mut found = [0; HEAD_BYTES];
    reader.read_exact(&mut found)?;
    let length = [found[0], found[1], found[2], found[3]];
    let left = left - HEAD_BYTES as u64;
    let bytes = u32::from_le_bytes(length);
    let is_head = found[4..8] == checksum(index, &length)[..4] && bytes as usize <= limits::FRAME_BYTES_MAX;
    if !is_head {
        // A file system may have made the file longer before it had the content.
        let is_blank = found == [0; HEAD_BYTES] && is_blank(reader)?;
        return Ok(if is_blank { Next::Torn } else { Next::Damaged });
    }
    if u64::from(bytes) > left {
        return Ok(Next::Torn);
    }
    let mut entry = vec![0; bytes as usize];
    reader.read_exact(&mut entry)?;
    if found[8..] == checksum(index, &entry) {
        return Ok(Next::Entry(entry.into()));
    }
    Ok(if u64::from(bytes) == left { Next::Torn } else { Next::Damaged })
}

fn is_blank(reader: &mut impl Read) -> io::Result<bool> {
    let mut buffer = [0; 4096];
    loop {
        let read = reader.read(&mut buffer)?;
        if read == 0 {
            return Ok(true);
        }
        if buffer[..read].iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::open(dir.path()).unwrap().log;
        assert_eq!(log.append(&[Bytes::from_static(b"one"), Bytes::from_static(b"two")]).unwrap(), 1);
        assert_eq!(log.append(&[Bytes::from_static(b"three")]).unwrap(), 3);
        let path = dir.path().join(LOG_FILE);
        (dir, path)
    }

    #[test]
    fn a_log_gives_back_what_was_appended_and_goes_on() {
        let (dir, _) = filled();
        let mut opened = Log::open(dir.path()).unwrap();
        assert_eq!(opened.entries, ["one", "two", "three"]);
        assert_eq!(opened.cut_bytes, 0);
        assert_eq!(opened.log.append(&[Bytes::from_static(b"four")]).unwrap(), 4);
        assert_eq!(Log::open(dir.path()).unwrap().entries, ["one", "two", "three", "four"]);
    }

    #[test]
    fn a_torn_last_entry_is_cut_off_wherever_it_was_torn() {
        let (dir, path) = filled();
        let whole = std::fs::read(&path).unwrap();
        let second_ends = 2 * HEAD_BYTES + 6;
        for length in second_ends + 1..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            let mut opened = Log::open(dir.path()).unwrap();
            assert_eq!(opened.entries, ["one", "two"]);
            assert_eq!(opened.cut_bytes, (length - second_ends) as u64);
            assert_eq!(opened.log.append(&[Bytes::from_static(b"new")]).unwrap(), 3);
            assert_eq!(Log::open(dir.path()).unwrap().entries, ["one", "two", "new"]);
        }
        let mut blank = whole[..second_ends].to_vec();
        blank.extend_from_slice(&[0; 100]);
        std::fs::write(&path, &blank).unwrap();
        assert_eq!(Log::open(dir.path()).unwrap().cut_bytes, 100);
    }

    #[test]
    fn damage_before_the_end_is_an_error_that_says_where_and_changes_nothing() {
        let (dir, path) = filled();
        let whole = std::fs::read(&path).unwrap();
        for at in 0..2 * HEAD_BYTES + 6 {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x40;
            std::fs::write(&path, &damaged).unwrap();
            let error = Log::open(dir.path()).unwrap_err().to_string();
            assert!(error.contains("agreed.log") && error.contains("backup"), "{at}: {error}");
            assert_eq!(std::fs::read(&path).unwrap(), damaged);
        }
    }
}
