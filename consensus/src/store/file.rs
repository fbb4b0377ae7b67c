//! The file of the store: its tables, how it is opened, and what is done with a damaged one.
//!
//! A value is the first 8 bytes of BLAKE3 of table, key and content, and then the content.

use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use prost::Message as _;
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use super::{Mirror, Opened, StoreError};
use crate::types::{Entry, LogId, SnapshotMeta, Vote};
use crate::wire;

const FILE: &str = "agreement.redb";
/// What a version before this crate wrote.
const OLD_FILE: &str = "agreed.log";
/// Damaged stores that are kept beside one another.
const ASIDE_MAX: usize = 1000;
/// What redb keeps in memory; everything is in ours.
const CACHE_BYTES: usize = 1024 * 1024;

/// Entries by their place.
pub(super) const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
/// Single values by their names.
pub(super) const SINGLE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("single");

pub(super) const OWNER: &str = "owner";
pub(super) const VOTE: &str = "vote";
pub(super) const PURGED: &str = "purged";
pub(super) const META: &str = "snapshot";
pub(super) const STATE: &str = "state";

const SUM_BYTES: usize = 8;

fn sum(key: &[u8], content: &[u8]) -> [u8; SUM_BYTES] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(key.len() as u64).to_le_bytes()).update(key).update(content);
    let mut sum = [0; SUM_BYTES];
    sum.copy_from_slice(&hasher.finalize().as_bytes()[..SUM_BYTES]);
    sum
}

/// The value of `content` under `key`.
pub(super) fn sealed(key: &[u8], content: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(SUM_BYTES + content.len());
    value.extend_from_slice(&sum(key, content));
    value.extend_from_slice(content);
    value
}

/// What a value holds, if it is whole.
fn unsealed<'a>(key: &[u8], value: &'a [u8]) -> Result<&'a [u8], String> {
    let whole = value.split_at_checked(SUM_BYTES).filter(|(found, content)| *found == sum(key, content));
    whole.map(|(_, content)| content).ok_or_else(|| format!("{} does not match its hash", shown(key)))
}

fn shown(key: &[u8]) -> String {
    match <[u8; 8]>::try_from(key) {
        Ok(index) => format!("entry {}", u64::from_be_bytes(index)),
        Err(_) => String::from_utf8_lossy(key).into_owned(),
    }
}

/// The key of an entry, for its hash.
pub(super) fn key_of(index: u64) -> [u8; 8] {
    index.to_be_bytes()
}

/// What is wrong with a file.
enum Wrong {
    Damaged(String),
    Unusable(String),
    OtherNode,
}

pub(super) fn open(directory: &Path, me: u64) -> Result<Opened, StoreError> {
    let path = directory.join(FILE);
    let old = directory.join(OLD_FILE);
    if old.exists() {
        return Err(StoreError::OldLog { path: old });
    }
    let unusable = |what: String| StoreError::Unusable { path: path.clone(), what };
    if !path.exists() {
        let aside = aside_of(&path, 0);
        if aside.exists() {
            return Err(StoreError::SetAside { path, aside });
        }
        make(&path, me).map_err(unusable)?;
    }
    // The database asserts where it finds nonsense; that must not take the process down.
    let read = catch_unwind(AssertUnwindSafe(|| read(&path, me)));
    let wrong = match read.unwrap_or_else(|_| Err(Wrong::Damaged("it makes no sense".to_owned()))) {
        Ok((file, mirror)) => return Ok(Opened { path, file, mirror }),
        Err(wrong) => wrong,
    };
    match wrong {
        Wrong::Unusable(what) => Err(unusable(what)),
        Wrong::OtherNode => Err(StoreError::OtherNode { path }),
        Wrong::Damaged(what) => {
            let free = (0..ASIDE_MAX).map(|number| aside_of(&path, number)).find(|aside| !aside.exists());
            let aside = free.ok_or_else(|| unusable("too many damaged ones lie beside it".to_owned()))?;
            fs::rename(&path, &aside).map_err(|error| unusable(error.to_string()))?;
            Err(StoreError::Damaged { path, aside, what })
        }
    }
}

fn aside_of(path: &Path, number: usize) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(if number == 0 { ".damaged".to_owned() } else { format!(".damaged-{number}") });
    PathBuf::from(name)
}

/// Makes an empty store, whole or not at all: an empty file in its place is damage.
fn make(path: &Path, me: u64) -> Result<(), String> {
    let mut making = path.as_os_str().to_owned();
    making.push(".new");
    let making = PathBuf::from(making);
    let removed = match fs::remove_file(&making) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // A start before this one was interrupted; there is nothing in it yet.
        other => other,
    };
    removed.map_err(|error| error.to_string())?;
    let made = || -> Result<(), redb::Error> {
        let file = Database::builder().set_cache_size(CACHE_BYTES).create(&making)?;
        let writing = file.begin_write()?;
        writing.open_table(LOG)?;
        let owner = me.to_le_bytes();
        writing.open_table(SINGLE)?.insert(OWNER, &*sealed(OWNER.as_bytes(), &owner))?;
        writing.commit()?;
        Ok(())
    };
    made().map_err(|error| error.to_string())?;
    fs::rename(&making, path).map_err(|error| error.to_string())?;
    let directory = path.parent().unwrap_or(Path::new("."));
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(|error| error.to_string())
}

fn read(path: &Path, me: u64) -> Result<(Database, Mirror), Wrong> {
    let file = open_database(path)?;
    let damaged = |error: redb::Error| Wrong::Damaged(error.to_string());
    let reading = file.begin_read().map_err(|error| damaged(error.into()))?;
    let single = reading.open_table(SINGLE).map_err(|error| damaged(error.into()))?;
    let get = |key: &str| -> Result<Option<Bytes>, Wrong> {
        let Some(value) = single.get(key).map_err(|error| damaged(error.into()))? else { return Ok(None) };
        let content = unsealed(key.as_bytes(), value.value()).map_err(Wrong::Damaged)?;
        Ok(Some(Bytes::copy_from_slice(content)))
    };
    match get(OWNER)? {
        Some(owner) if owner[..] == me.to_le_bytes() => {}
        Some(_) => return Err(Wrong::OtherNode),
        None => return Err(Wrong::Damaged("it names no owner".to_owned())),
    }
    let nonsense = |what: &str| Wrong::Damaged(format!("{what} cannot be read"));
    let mut mirror = Mirror::default();
    if let Some(vote) = get(VOTE)? {
        mirror.vote = Some(Vote::from(wire::Vote::decode(vote).map_err(|_| nonsense(VOTE))?));
    }
    if let Some(purged) = get(PURGED)? {
        mirror.purged = Some(LogId::from(wire::LogId::decode(purged).map_err(|_| nonsense(PURGED))?));
    }
    if let (Some(meta), Some(state)) = (get(META)?, get(STATE)?) {
        let meta = wire::Meta::decode(meta).map_err(|_| nonsense(META))?;
        mirror.snapshot = Some((SnapshotMeta::from(meta), state));
    }
    let log = reading.open_table(LOG).map_err(|error| damaged(error.into()))?;
    for row in log.iter().map_err(|error| damaged(error.into()))? {
        let (index, value) = row.map_err(|error| damaged(error.into()))?;
        let index = index.value();
        let content = unsealed(&key_of(index), value.value()).map_err(Wrong::Damaged)?;
        let entry = wire::Entry::decode(content).map_err(|_| nonsense("an entry"))?;
        mirror.entries.insert(index, Entry::from(entry));
    }
    check(&mirror).map_err(Wrong::Damaged)?;
    Ok((file, mirror))
}

fn open_database(path: &Path) -> Result<Database, Wrong> {
    let length = fs::metadata(path).map_err(|error| Wrong::Unusable(error.to_string()))?.len();
    if length == 0 {
        return Err(Wrong::Damaged("it is empty".to_owned()));
    }
    let opened = Database::builder().set_cache_size(CACHE_BYTES).open(path);
    opened.map_err(|error| match error {
        redb::DatabaseError::DatabaseAlreadyOpen => Wrong::Unusable(error.to_string()),
        redb::DatabaseError::Storage(redb::StorageError::Io(ref io))
            if !matches!(io.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) =>
        {
            Wrong::Unusable(error.to_string())
        }
        other => Wrong::Damaged(other.to_string()),
    })
}

/// Whether the parts fit one another.
fn check(mirror: &Mirror) -> Result<(), String> {
    let first = mirror.purged.map_or(0, |purged| purged.index + 1);
    for (expected, (index, entry)) in (first..).zip(&mirror.entries) {
        if *index != expected || entry.log_id.index != expected {
            return Err(format!("entry {expected} is missing"));
        }
    }
    let covered = mirror.snapshot.as_ref().and_then(|(meta, _)| meta.last_log_id);
    if mirror.purged > covered {
        return Err("the snapshot is older than the log".to_owned());
    }
    Ok(())
}
