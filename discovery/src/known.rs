//! The peers that a node knew: a small file in its data directory, from which a restarted node returns to the
//! mesh without any bootstrap.
//!
//! One line a peer, the newest first: seconds since 1970 at which it was linked last, a space, and the
//! candidate. The file is replaced whole. It is a help and not a truth: what cannot be read is skipped.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::{CANDIDATES_MAX, Candidate};

/// Peers that are remembered; those that were linked longest ago make room.
pub const KNOWN_MAX: usize = 256;
/// A peer that was not linked for so long is forgotten: 30 days.
pub const FORGET_SECONDS: u64 = 30 * 24 * 3_600;
/// The file in the data directory.
const FILE: &str = "peers";
const FILE_BYTES_MAX: u64 = 256 * 1024;
const FIRST_LINE: &str = "starling-known 1";

/// Peers with when each was linked last.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct KnownPeers {
    seen: BTreeMap<Candidate, u64>,
}

impl KnownPeers {
    /// What is remembered in `directory`; also how many lines could not be read.
    ///
    /// # Errors
    /// The file is there and cannot be read; it is left as it is.
    pub fn load(directory: &Path, now: u64) -> io::Result<(KnownPeers, usize)> {
        let mut bytes = Vec::new();
        match File::open(path(directory)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Default::default()),
            Err(error) => return Err(error),
            Ok(file) => file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?,
        };
        let text = String::from_utf8_lossy(&bytes);
        let (mut known, mut bad) = (KnownPeers::default(), 0);
        let mut lines = text.lines();
        if lines.next() != Some(FIRST_LINE) {
            return Ok((known, text.lines().count().max(1)));
        }
        for line in lines {
            let read = || {
                let (seen, candidate) = line.split_once(' ')?;
                Some((seen.parse::<u64>().ok()?, candidate.parse::<Candidate>().ok()?))
            };
            match read() {
                // A clock that was set back must not make a peer last for ever.
                Some((seen, candidate)) => known.saw(candidate, seen.min(now)),
                None => bad += 1,
            }
        }
        known.forget(now);
        Ok((known, bad))
    }

    /// A peer is linked.
    pub fn saw(&mut self, candidate: Candidate, now: u64) {
        let seen = self.seen.entry(candidate).or_default();
        *seen = now.max(*seen);
        if self.seen.len() > KNOWN_MAX {
            let oldest =
                self.seen.iter().min_by_key(|(_, seen)| **seen).map(|(candidate, _)| candidate.clone());
            self.seen.remove(&oldest.expect("there are more than 256"));
        }
    }

    fn forget(&mut self, now: u64) {
        self.seen.retain(|_, seen| now.saturating_sub(*seen) < FORGET_SECONDS);
    }

    /// Who was linked last, first; so many as one tier may say.
    pub fn newest(&self) -> Vec<Candidate> {
        self.sorted().into_iter().take(CANDIDATES_MAX).map(|(candidate, _)| candidate.clone()).collect()
    }

    fn sorted(&self) -> Vec<(&Candidate, u64)> {
        let mut sorted: Vec<_> = self.seen.iter().map(|(candidate, seen)| (candidate, *seen)).collect();
        sorted.sort_by_key(|(_, seen)| std::cmp::Reverse(*seen));
        sorted
    }

    /// Replaces the file whole.
    ///
    /// # Errors
    /// What the system says; the file is then as it was.
    pub fn save(&self, directory: &Path) -> io::Result<()> {
        let mut text = format!("{FIRST_LINE}\n");
        for (candidate, seen) in self.sorted() {
            text.push_str(&format!("{seen} {candidate}\n"));
        }
        let beside = path(directory).with_extension("new");
        let mut file = File::create(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path(directory))
    }
}

fn path(directory: &Path) -> PathBuf {
    directory.join(FILE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(port: u16) -> Candidate {
        format!("192.0.2.1:{port}").parse().unwrap()
    }

    #[test]
    fn what_was_saved_is_known_again_newest_first() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(KnownPeers::load(directory.path(), 0).unwrap(), (KnownPeers::default(), 0));
        let mut known = KnownPeers::default();
        (1..=300_u16).for_each(|port| known.saw(candidate(port), u64::from(port)));
        known.saw(candidate(60), 1_000);
        assert_eq!(known.seen.len(), KNOWN_MAX);
        known.save(directory.path()).unwrap();
        let (again, bad) = KnownPeers::load(directory.path(), 1_000).unwrap();
        assert_eq!((&again, bad), (&known, 0));
        assert_eq!(again.newest()[..2], [candidate(60), candidate(300)]);
        assert_eq!(again.newest().len(), CANDIDATES_MAX);
        let (later, _) = KnownPeers::load(directory.path(), 200 + FORGET_SECONDS).unwrap();
        assert_eq!(later.seen.len(), 101, "1 to 200 but 60 are forgotten");
    }

    #[test]
    fn a_damaged_file_costs_its_bad_lines_only() {
        let directory = tempfile::tempdir().unwrap();
        let write = |bytes: &[u8]| fs::write(path(directory.path()), bytes).unwrap();
        write(b"starling-known 1\n5 192.0.2.1:1\nx 192.0.2.1:2\n\xff\n99999 192.0.2.1:3\n7");
        let (known, bad) = KnownPeers::load(directory.path(), 9).unwrap();
        assert_eq!((known.newest(), bad), (vec![candidate(3), candidate(1)], 3));
        for whole in [&b""[..], b"\0\0\0", b"another thing\n"] {
            write(whole);
            assert_eq!(KnownPeers::load(directory.path(), 9).unwrap().1, 1);
        }
    }
}
