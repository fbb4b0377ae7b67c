use proptest::prelude::*;

use super::*;
use crate::hlc::HlcTime;
use crate::state::crdt::{Counter, Register};
use crate::state::keyspace::tests::{hash_of, next, number};
use crate::state::keyspace::{Change, NO_HASH};
use crate::state::merkle::empty_root;
use crate::state::version::Version;

/// What an origin sealed, kept whole so that it can be given to any replica.
#[derive(Clone, Debug)]
struct Sealed {
    origin: ShortId,
    version: Version,
    previous_hash: Hash,
    hash: Hash,
    is_checkpoint: bool,
    changes: Vec<Change>,
}

impl Sealed {
    fn bundle(&self) -> StateBundle<'_> {
        let Sealed { version, previous_hash, hash, is_checkpoint, .. } = *self;
        StateBundle { version, previous_hash, hash, is_checkpoint, changes: &self.changes }
    }
}

/// Lets `origin` write into its own replica, and returns what it sealed.
fn write(replica: &mut Replica, origin: u64, changes: Vec<Change>) -> Sealed {
    let origin = ShortId(origin);
    let empty = Keyspace::new(origin);
    let keyspace = replica.keyspace(origin).unwrap_or(&empty);
    let StateBundle { version, previous_hash, hash, .. } = next(keyspace, &changes);
    let sealed = Sealed { origin, version, previous_hash, hash, is_checkpoint: false, changes };
    assert!(replica.apply(origin, &sealed.bundle()).is_ok());
    sealed
}

fn register(key: &'static str, time: u64, origin: u64, content: Option<&'static str>) -> Change {
    let (time, origin) = (HlcTime(time), ShortId(origin));
    let register = match content {
        Some(content) => Register::new(time, origin, Bytes::from_static(content.as_bytes())).unwrap(),
        None => Register::tombstone(time, origin),
    };
    Change { key: Bytes::from_static(key.as_bytes()), value: Some(Value::Register(register)) }
}

#[test]
fn reads_merge_over_origins() {
    let mut replica = Replica::new();
    for (origin, up) in [(1, 5), (2, 7)] {
        let part = Value::Counter(Counter::part(ShortId(origin), up, 1));
        write(&mut replica, origin, vec![Change { key: Bytes::from_static(b"n"), value: Some(part) }]);
    }
    write(&mut replica, 1, vec![register("r", 1, 1, Some("old")), number("only", 4)]);
    write(&mut replica, 2, vec![register("r", 2, 2, Some("new"))]);
    assert_eq!(replica.get(b"n").unwrap().as_number(), Some(10));
    assert_eq!(replica.get(b"r").unwrap().as_bytes().unwrap(), &Bytes::from_static(b"new"));
    assert_eq!(replica.get(b"nobody's"), None);
    let keys: Vec<&Bytes> = replica.iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["n", "only", "r"]);
    replica.check();
}

#[test]
fn a_tombstone_hides_all_and_a_removal_only_its_own() {
    let mut replica = Replica::new();
    write(&mut replica, 1, vec![register("r", 1, 1, Some("first"))]);
    write(&mut replica, 2, vec![register("r", 2, 2, None)]);
    assert_eq!(replica.get(b"r"), None);
    assert_eq!(replica.iter().count(), 0);
    write(&mut replica, 2, vec![Change { key: Bytes::from_static(b"r"), value: None }]);
    assert_eq!(replica.get(b"r").unwrap().as_bytes().unwrap(), &Bytes::from_static(b"first"));
    replica.check();
}

#[test]
fn a_new_incarnation_and_a_removed_origin_leave_nothing_behind() {
    let mut replica = Replica::new();
    write(&mut replica, 1, vec![number("a", 1), number("b", 1)]);
    write(&mut replica, 2, vec![number("b", 2)]);
    let only_two = {
        let mut other = Replica::new();
        write(&mut other, 2, vec![number("b", 2)]);
        other.root()
    };
    assert_ne!(replica.root(), only_two);
    let (version, changes) = (Version { incarnation: 1, sequence: 1 }, [number("c", 1)]);
    let hash = hash_of(version, &NO_HASH, &changes);
    let reborn =
        StateBundle { version, previous_hash: NO_HASH, hash, is_checkpoint: false, changes: &changes };
    assert_eq!(replica.apply(ShortId(1), &reborn), Ok(Applied::Replaced));
    assert_eq!(replica.get(b"a"), None);
    assert_eq!(replica.get(b"c"), Some(Value::Max(1)));
    replica.check();
    assert!(replica.remove(ShortId(1)) && !replica.remove(ShortId(1)));
    assert_eq!(replica.get(b"c"), None);
    assert_eq!(replica.root(), only_two);
    assert_eq!(replica.versions().len(), 1);
    replica.check();
}

#[test]
fn a_refused_first_bundle_leaves_no_origin() {
    let mut replica = Replica::new();
    let version = Version { incarnation: 1, sequence: 2 };
    let early =
        StateBundle { version, previous_hash: [1; 32], hash: [2; 32], is_checkpoint: false, changes: &[] };
    assert!(matches!(replica.apply(ShortId(1), &early), Err(Refused::Gap(_))));
    assert!(replica.versions().is_empty() && replica.keyspace(ShortId(1)).is_none());
    assert_eq!(replica.root(), empty_root());
}

#[test]
fn a_full_replica_refuses_a_new_origin() {
    let mut replica = Replica::new();
    for origin in 0..ORIGINS_MAX as u64 {
        write(&mut replica, origin, vec![number("x", 1)]);
    }
    let version = Version { incarnation: 0, sequence: 1 };
    let one_more =
        StateBundle { version, previous_hash: NO_HASH, hash: [2; 32], is_checkpoint: false, changes: &[] };
    assert_eq!(replica.apply(ShortId(u64::MAX), &one_more), Err(Refused::TooManyOrigins));
    write(&mut replica, 0, vec![number("x", 2)]);
    assert_eq!(replica.get(b"x"), Some(Value::Max(2)));
    replica.check();
}

/// Origin, key, number; `None` removes the key.
type Write = (u64, &'static str, Option<i64>);

fn any_writes() -> impl Strategy<Value = Vec<Write>> {
    let write = (0u64..5, prop::sample::select(vec!["a", "b", "c"]), prop::option::of(-5i64..5));
    prop::collection::vec(write, 1..40)
}

fn change_of((_, key, value): Write) -> Change {
    Change { key: Bytes::from_static(key.as_bytes()), value: value.map(Value::Max) }
}

proptest! {
    #[test]
    fn whatever_the_order_all_converge(
        writes in any_writes(),
        arrivals in prop::collection::vec(any::<prop::sample::Index>(), 0..80),
        ask_root_often: bool,
    ) {
        let mut source = Replica::new();
        let sealed: Vec<Sealed> =
            writes.iter().map(|w| write(&mut source, w.0, vec![change_of(*w)])).collect();
        let mut replica = Replica::new();
        for arrival in arrivals {
            let sealed = &sealed[arrival.index(sealed.len())];
            let before = replica.versions().clone();
            if let Err(refused) = replica.apply(sealed.origin, &sealed.bundle()) {
                prop_assert!(matches!(refused, Refused::Gap(_)));
                prop_assert_eq!(&before, replica.versions());
            }
            replica.check();
            if ask_root_often {
                replica.root();
            }
        }
        // Repair: what the version vectors say is missing makes the replicas equal.
        let is_behind = replica.versions() != source.versions();
        prop_assert_eq!(is_behind, replica.root() != source.root());
        for range in source.versions().missing_from(replica.versions()) {
            for sequence in range.first..=range.last {
                let is_wanted = |sealed: &&Sealed| sealed.origin == range.origin && sealed.version.sequence == sequence;
                let wanted = sealed.iter().find(is_wanted).unwrap();
                prop_assert_eq!(replica.apply(range.origin, &wanted.bundle()), Ok(Applied::Changed));
            }
        }
        prop_assert_eq!(replica.root(), source.root());
        let read = |replica: &Replica| replica.iter().map(|(k, v)| (k.clone(), v)).collect::<Vec<_>>();
        prop_assert_eq!(read(&replica), read(&source));
        replica.check();
    }

    #[test]
    fn a_checkpoint_gives_what_the_bundles_gave(writes in any_writes(), known: prop::sample::Index) {
        let mut source = Replica::new();
        // The receiver saw the first bundles, and perhaps keys that were removed since.
        let mut receiver = Replica::new();
        let known = known.index(writes.len() + 1);
        for (at, w) in writes.iter().enumerate() {
            let sealed = write(&mut source, w.0, vec![change_of(*w)]);
            if at < known {
                prop_assert_eq!(receiver.apply(sealed.origin, &sealed.bundle()), Ok(Applied::Changed));
            }
        }
        let origins: Vec<ShortId> = source.keyspaces().map(Keyspace::origin).collect();
        for origin in origins {
            let keyspace = source.keyspace(origin).unwrap();
            let content = keyspace.checkpoint();
            let checkpoint = StateBundle { is_checkpoint: true, ..next(keyspace, &content) };
            prop_assert_eq!(receiver.apply(origin, &checkpoint), Ok(Applied::Replaced));
            prop_assert_eq!(source.apply(origin, &checkpoint), Ok(Applied::Replaced));
        }
        prop_assert_eq!(receiver.root(), source.root());
        prop_assert!(receiver.iter().eq(source.iter()));
        receiver.check();
    }
}
