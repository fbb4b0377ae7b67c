use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use openraft::storage::{RaftLogStorage as _, RaftLogStorageExt as _, RaftStateMachine as _};
use openraft::testing::{StoreBuilder, Suite};
use openraft::{CommittedLeaderId, EntryPayload, RaftSnapshotBuilder as _};
use starling_core::agreement::Agreed;
use starling_core::wire::codec::DecodeError;

use super::*;
use crate::types::{Entry, Proposal, Vote};

struct Nothing;

impl Agreed for Nothing {
    fn apply(&mut self, _: u64, _: &[u8]) {}

    fn snapshot(&self) -> Bytes {
        Bytes::new()
    }

    fn restore(&mut self, _: &[u8]) -> Result<(), DecodeError> {
        Ok(())
    }
}

struct Builder;

impl StoreBuilder<crate::types::Types, Store, State, tempfile::TempDir> for Builder {
    async fn build(&self) -> Result<(tempfile::TempDir, Store, State), crate::types::StorageError> {
        let directory = tempfile::tempdir().unwrap();
        let (store, _) = Opened::open(directory.path(), 1).unwrap().serve();
        // Nobody listens to the news.
        let (news, _) = mpsc::channel(1);
        let (state, _) = State::open(store.clone(), Box::new(Nothing), news).unwrap();
        Ok((directory, store, state))
    }
}

#[test]
fn the_store_does_what_raft_asks_of_one() {
    Suite::test_all(Builder).unwrap();
}

fn id(index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(1, 1), index)
}

fn entry(index: u64) -> Entry {
    let proposal = Proposal { proposer: 1, incarnation: 1, number: index, entry: vec![7; 100].into() };
    Entry { log_id: id(index), payload: EntryPayload::Normal(proposal) }
}

fn open(directory: &Path) -> (Store, JoinHandle<()>) {
    Opened::open(directory, 1).expect("the store opens").serve()
}

/// All that a store holds, in words.
fn held(store: &Store) -> String {
    let mirror = store.mirror();
    let snapshot = mirror.snapshot.as_ref().map(|(meta, bytes)| (meta.to_string(), bytes.clone()));
    format!("{:?} {:?} {:?} {:?}", mirror.vote, mirror.purged, mirror.entries, snapshot)
}

/// Closes the store, opens it again and compares.
async fn reopened(
    directory: &Path,
    (store, task): (Store, JoinHandle<()>),
    after: &str,
) -> (Store, JoinHandle<()>) {
    let before = held(&store);
    drop(store);
    task.await.unwrap();
    let (store, task) = open(directory);
    assert_eq!(held(&store), before, "after {after}");
    (store, task)
}

/// A store with a bit of everything, closed.
async fn filled(directory: &Path) {
    let (mut store, task) = open(directory);
    store.blocking_append((0..50).map(entry)).await.unwrap();
    store.save_vote(&Vote::new_committed(3, 1)).await.unwrap();
    drop(store);
    task.await.unwrap();
}

#[tokio::test]
async fn whatever_was_changed_is_there_when_the_store_is_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let mut both = open(path);
    both.0.save_vote(&Vote::new(2, 1)).await.unwrap();
    both = reopened(path, both, "a vote").await;
    both.0.blocking_append((0..20).map(entry)).await.unwrap();
    both = reopened(path, both, "entries").await;
    both.0.truncate(id(15)).await.unwrap();
    both = reopened(path, both, "a truncation").await;
    assert_eq!(both.0.mirror().last(), Some(id(14)));
    let news = mpsc::channel(64).0;
    let (mut state, _) = State::open(both.0.clone(), Box::new(Nothing), news).unwrap();
    state.apply((0..10).map(entry)).await.unwrap();
    state.get_snapshot_builder().await.build_snapshot().await.unwrap();
    drop(state);
    both = reopened(path, both, "a snapshot").await;
    both.0.purge(id(8)).await.unwrap();
    both = reopened(path, both, "a purge").await;
    let mirror = both.0.mirror();
    assert_eq!((mirror.purged, mirror.entries.len()), (Some(id(8)), 6));
}

#[tokio::test]
async fn a_torn_file_is_set_aside_and_the_node_does_not_begin_with_an_empty_one() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path()).await;
    let path = directory.path().join("agreement.redb");
    let whole = fs::read(&path).unwrap();
    for length in [0, 1, 100, 4096, whole.len() / 2] {
        fs::write(&path, &whole[..length]).unwrap();
        let error = Opened::open(directory.path(), 1).unwrap_err();
        let StoreError::Damaged { aside, .. } = &error else { panic!("{length} bytes: {error}") };
        assert!(error.to_string().contains("must not vote"), "{error}");
        assert_eq!(fs::read(aside).unwrap(), &whole[..length], "nothing is lost");
        let again = Opened::open(directory.path(), 1).unwrap_err();
        assert!(matches!(again, StoreError::SetAside { .. }), "{again}");
    }
    fs::write(&path, &whole).unwrap();
    assert_eq!(Opened::open(directory.path(), 1).unwrap().mirror.entries.len(), 50, "from a backup");
}

#[tokio::test]
async fn a_flipped_bit_is_found_or_hurts_nothing() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path()).await;
    let path = directory.path().join("agreement.redb");
    let whole = fs::read(&path).unwrap();
    let sound = format!("{:?}", Opened::open(directory.path(), 1).unwrap().mirror);
    let whole_at = |needle: &[u8]| whole.windows(needle.len()).rposition(|window| window == needle);
    // Inside an entry's payload, and all over the file.
    let inside = whole_at(&[7; 100]).expect("the file holds entries");
    let step = whole.len() / 60;
    let mut found = 0;
    for at in (0..60).map(|turn| turn * step).chain([inside]) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        fs::write(&path, &damaged).unwrap();
        match Opened::open(directory.path(), 1) {
            Ok(opened) => assert_eq!(format!("{:?}", opened.mirror), sound, "byte {at}"),
            Err(StoreError::Damaged { .. }) => found += 1,
            Err(other) => panic!("byte {at}: {other}"),
        }
    }
    assert!(found > 0, "at least the entry's bit is found");
}

#[tokio::test]
async fn stores_of_others_and_logs_of_before_are_refused_untouched() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path()).await;
    let error = Opened::open(directory.path(), 2).unwrap_err();
    assert!(matches!(error, StoreError::OtherNode { .. }), "{error}");
    let held_open = Opened::open(directory.path(), 1).unwrap();
    let error = Opened::open(directory.path(), 1).unwrap_err();
    assert!(matches!(error, StoreError::Unusable { .. }), "{error}");
    drop(held_open);
    fs::write(directory.path().join("agreed.log"), b"of before").unwrap();
    let error = Opened::open(directory.path(), 1).unwrap_err();
    assert!(matches!(error, StoreError::OldLog { .. }) && error.to_string().contains("move"), "{error}");
    assert_eq!(fs::read(directory.path().join("agreed.log")).unwrap(), b"of before");
}

/// A disk whose syncs fail from some moment on.
#[derive(Debug)]
struct BadDisk {
    memory: redb::backends::InMemoryBackend,
    fails: Arc<AtomicBool>,
}

impl redb::StorageBackend for BadDisk {
    fn len(&self) -> std::io::Result<u64> {
        self.memory.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.memory.read(offset, out)
    }

    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.memory.set_len(len)
    }

    fn sync_data(&self) -> std::io::Result<()> {
        if self.fails.load(Ordering::Relaxed) {
            return Err(std::io::Error::other("the disk is broken"));
        }
        self.memory.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.memory.write(offset, data)
    }
}

#[tokio::test]
async fn after_the_first_failed_sync_nothing_is_confirmed_any_more() {
    let fails = Arc::new(AtomicBool::new(false));
    let disk = BadDisk { memory: redb::backends::InMemoryBackend::new(), fails: Arc::clone(&fails) };
    let file = redb::Database::builder().create_with_backend(disk).unwrap();
    let opened = Opened { path: PathBuf::from("here"), file, mirror: Mirror::default() };
    let (mut store, _) = opened.serve();
    store.blocking_append([entry(0)]).await.unwrap();
    fails.store(true, Ordering::Relaxed);
    store.blocking_append([entry(1)]).await.unwrap_err();
    let reason = store.failed().await;
    assert!(reason.contains("here") && reason.contains("disk is broken"), "{reason}");
    fails.store(false, Ordering::Relaxed);
    store.save_vote(&Vote::new(9, 1)).await.unwrap_err();
    assert_eq!(store.mirror().vote, None);
}

#[tokio::test]
async fn proposals_are_taken_once_and_in_the_order_of_their_numbers() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = open(directory.path());
    let (news, mut told) = mpsc::channel(64);
    let (mut state, _) = State::open(store, Box::new(Nothing), news).unwrap();
    let group = crate::types::Membership::new(vec![[1, 2].into()], ());
    let mut index = 0;
    let mut at = |payload| {
        index += 1;
        Entry { log_id: id(index), payload }
    };
    let proposal = |proposer, incarnation, number| {
        let entry = format!("{proposer}/{incarnation}/{number}").into();
        EntryPayload::Normal(Proposal { proposer, incarnation, number, entry })
    };
    let numbers = [
        (1, 5, 1),
        (1, 5, 1),
        (2, 9, 1),
        (1, 5, 3),
        (1, 5, 2),
        (1, 5, 3),
        (1, 4, 1),
        (3, 1, 1),
        (1, 6, 2),
        (1, 6, 1),
        (1, 5, 4),
    ];
    let mut entries = vec![at(EntryPayload::Membership(group))];
    entries
        .extend(numbers.map(|(proposer, incarnation, number)| at(proposal(proposer, incarnation, number))));
    state.apply(entries).await.unwrap();
    drop(state);
    let mut taken = Vec::new();
    while let Some(Applied::Decided { index, proposal }) = told.recv().await {
        taken.push((index, String::from_utf8(proposal.entry.to_vec()).unwrap()));
    }
    let expected = ["1/5/1", "2/9/1", "1/5/2", "1/5/3", "1/6/1"].map(str::to_owned);
    assert_eq!(taken, (1..).zip(expected).collect::<Vec<_>>(), "3 is no member");
}
