use proptest::prelude::*;

use super::*;
use crate::hlc::HlcTime;
use crate::id::hex;
use crate::state::crdt::{Counter, REGISTER_BYTES_MAX, Register};

const US: ShortId = ShortId(7);

/// A short change of a number.
pub(crate) fn number(key: &'static str, number: i64) -> Change {
    Change { key: Bytes::from_static(key.as_bytes()), value: Some(Value::Max(number)) }
}

fn removal(key: &'static str) -> Change {
    Change { key: Bytes::from_static(key.as_bytes()), value: None }
}

/// A stand-in for a bundle's hash: as in a real bundle it depends on all of it.
pub(crate) fn hash_of(version: Version, previous_hash: &Hash, changes: &[Change]) -> Hash {
    let mut encoded = BytesMut::new();
    encoded.put_u64_le(version.incarnation);
    encoded.put_u64_le(version.sequence);
    encoded.put_slice(previous_hash);
    changes.iter().for_each(|change| change.encode(&mut encoded));
    *blake3::hash(&encoded).as_bytes()
}

/// The bundle that comes after `keyspace`'s last.
pub(crate) fn next<'a>(keyspace: &Keyspace, changes: &'a [Change]) -> StateBundle<'a> {
    let last = keyspace.version();
    let version = Version { incarnation: last.incarnation, sequence: last.sequence + 1 };
    let previous_hash = keyspace.hash();
    let hash = hash_of(version, &previous_hash, changes);
    StateBundle { version, previous_hash, hash, is_checkpoint: false, changes }
}

fn first_of(incarnation: u64, changes: &[Change]) -> StateBundle<'_> {
    let version = Version { incarnation, sequence: 1 };
    let hash = hash_of(version, &NO_HASH, changes);
    StateBundle { version, previous_hash: NO_HASH, hash, is_checkpoint: false, changes }
}

/// A keyspace that has applied three bundles of incarnation 1.
fn three() -> Keyspace {
    let mut keyspace = Keyspace::new(US);
    keyspace.apply(&first_of(1, &[number("a", 1)])).unwrap();
    keyspace.apply(&next(&keyspace, &[number("b", 2)])).unwrap();
    keyspace.apply(&next(&keyspace, &[number("a", 3)])).unwrap();
    keyspace
}

/// Asserts that `bundle` is refused as `expected` and that nothing changes.
fn check_refused(keyspace: &Keyspace, bundle: &StateBundle<'_>, expected: Refused) {
    let mut after = keyspace.clone();
    assert_eq!(after.apply(bundle), Err(expected));
    assert_eq!(after.entries, keyspace.entries);
    assert_eq!(after.encoded_bytes, keyspace.encoded_bytes);
    assert_eq!((after.version, after.hash), (keyspace.version, keyspace.hash));
    assert_eq!(after.content_hash(), keyspace.clone().content_hash());
}

#[test]
fn applies_what_comes_next_and_knows_copies() {
    let mut keyspace = three();
    let changes = [removal("b"), number("c", 4)];
    let bundle = next(&keyspace, &changes);
    assert_eq!(keyspace.apply(&bundle), Ok(Applied::Changed));
    assert_eq!(keyspace.apply(&bundle), Ok(Applied::Duplicate));
    assert_eq!(keyspace.apply(&first_of(1, &[number("a", 1)])), Ok(Applied::Duplicate));
    assert_eq!(keyspace.version(), Version { incarnation: 1, sequence: 4 });
    assert_eq!(keyspace.get(b"a"), Some(&Value::Max(3)));
    assert_eq!((keyspace.get(b"b"), keyspace.get(b"c")), (None, Some(&Value::Max(4))));
}

#[test]
fn a_single_writer_may_lower_a_maximum() {
    let mut keyspace = three();
    keyspace.apply(&next(&keyspace, &[number("a", -9)])).unwrap();
    assert_eq!(keyspace.get(b"a"), Some(&Value::Max(-9)));
}

#[test]
fn reports_what_is_missing() {
    let keyspace = three();
    let mut bundle = next(&keyspace, &[]);
    bundle.version.sequence = 9;
    let missing = MissingRange { origin: US, incarnation: 1, first: 4, last: 8 };
    check_refused(&keyspace, &bundle, Refused::Gap(missing));
    bundle.version = Version { incarnation: 2, sequence: 3 };
    let missing = MissingRange { origin: US, incarnation: 2, first: 1, last: 2 };
    check_refused(&keyspace, &bundle, Refused::Gap(missing));
}

#[test]
fn refuses_a_fork_and_a_broken_chain() {
    let keyspace = three();
    let mut forked = next(&keyspace, &[]);
    forked.version.sequence = 3;
    check_refused(&keyspace, &forked, Refused::Forked { version: keyspace.version() });
    let mut broken = next(&keyspace, &[]);
    broken.previous_hash = [9; 32];
    check_refused(&keyspace, &broken, Refused::BrokenChain { last: keyspace.version() });
    broken.is_checkpoint = true;
    check_refused(&keyspace, &broken, Refused::BrokenChain { last: keyspace.version() });
    let mut first = first_of(2, &[]);
    first.previous_hash = keyspace.hash();
    let last = Version { incarnation: 2, sequence: 0 };
    check_refused(&keyspace, &first, Refused::BrokenChain { last });
    first.version.sequence = 0;
    check_refused(&keyspace, &first, Refused::SequenceZero);
}

#[test]
fn a_new_incarnation_replaces_everything_and_the_old_one_is_over() {
    let mut keyspace = three();
    let changes = [number("z", 1)];
    assert_eq!(keyspace.apply(&first_of(5, &changes)), Ok(Applied::Replaced));
    assert_eq!(keyspace.checkpoint(), changes);
    assert_eq!(keyspace.version(), Version { incarnation: 5, sequence: 1 });
    let late = next(&three(), &[]).version;
    let late = StateBundle { version: late, ..next(&keyspace, &[]) };
    check_refused(&keyspace, &late, Refused::OldIncarnation { current: 5 });
}

#[test]
fn a_checkpoint_needs_no_predecessor() {
    let mut ahead = three();
    let content = ahead.checkpoint();
    let checkpoint = StateBundle { is_checkpoint: true, ..next(&ahead, &content) };
    assert_eq!(ahead.apply(&checkpoint), Ok(Applied::Replaced));
    let mut newcomer = Keyspace::new(US);
    assert_eq!(newcomer.apply(&checkpoint), Ok(Applied::Replaced));
    let mut behind = Keyspace::new(US);
    behind.apply(&first_of(1, &[number("a", 1), number("gone", 1)])).unwrap();
    assert_eq!(behind.apply(&checkpoint), Ok(Applied::Replaced));
    assert_eq!(newcomer.content_hash(), ahead.content_hash());
    assert_eq!(behind.content_hash(), ahead.content_hash());
    // The chain goes on from it.
    assert_eq!(newcomer.apply(&next(&ahead, &[number("d", 1)])), Ok(Applied::Changed));
    // An old checkpoint takes nothing back.
    assert_eq!(newcomer.apply(&checkpoint), Ok(Applied::Duplicate));
}

/// A change of `4 + 256 + 22 + content` bytes or so: fills keyspaces quickly.
fn filler(index: usize, content: usize) -> Change {
    let content = Bytes::from(vec![1; content]);
    let register = Register::new(HlcTime(1), US, content).unwrap();
    Change { key: Bytes::from(format!("{index:04}")), value: Some(Value::Register(register)) }
}

#[test]
fn holds_sixty_four_kibibytes_and_not_a_byte_more() {
    let entry = filler(0, REGISTER_BYTES_MAX).to_bytes().len();
    let count = KEYSPACE_BYTES_MAX / entry;
    let mut fill: Vec<Change> = (0..count).map(|index| filler(index, REGISTER_BYTES_MAX)).collect();
    let rest = KEYSPACE_BYTES_MAX - count * entry;
    let overhead = filler(0, 0).to_bytes().len();
    fill.push(filler(count, rest - overhead));
    let mut keyspace = Keyspace::new(US);
    keyspace.apply(&first_of(1, &fill)).unwrap();
    assert_eq!(keyspace.encoded_bytes(), KEYSPACE_BYTES_MAX);
    let grown = [filler(count, rest - overhead + 1)];
    let refused = Refused::TooLarge { bytes: KEYSPACE_BYTES_MAX + 1 };
    check_refused(&keyspace, &next(&keyspace, &grown), refused);
    assert_eq!(keyspace.check_changes(&grown), Err(refused));
    assert!(refused.to_string().contains("65537 bytes, over the limit of 65536"));
    // What replaces or makes room in the same bundle fits, in whatever order it comes.
    let swapped = [number("new", 1), removal("new"), filler(0, 0), number("new", 2)];
    assert_eq!(keyspace.check_changes(&swapped), Ok(()));
    assert_eq!(keyspace.apply(&next(&keyspace, &swapped)), Ok(Applied::Changed));
}

#[test]
fn refuses_keys_out_of_bounds_and_what_others_should_have_written() {
    let keyspace = three();
    let keyed = |bytes: usize| [Change { key: Bytes::from(vec![1; bytes]), value: None }];
    check_refused(&keyspace, &next(&keyspace, &keyed(0)), Refused::KeyLength { bytes: 0 });
    check_refused(&keyspace, &next(&keyspace, &keyed(257)), Refused::KeyLength { bytes: 257 });
    assert_eq!(keyspace.check_changes(&keyed(256)), Ok(()));
    let part = Value::Counter(Counter::part(ShortId(8), 1, 0));
    let foreign = [number("x", 1), Change { key: Bytes::from_static(b"y"), value: Some(part) }];
    check_refused(&keyspace, &next(&keyspace, &foreign), Refused::ForeignPart);
}

#[test]
fn golden_bytes() {
    assert_eq!(hex(&number("ab", 5).to_bytes()), "0200616201040500000000000000");
    assert_eq!(hex(&removal("ab").to_bytes()), "0200616200");
    assert_eq!(hex(&three().content_hash()), GOLDEN_CONTENT);
    assert!(matches!(Change::from_bytes(&[0, 0, 0]), Err(DecodeError::Invalid(_))));
    assert!(matches!(Change::from_bytes(&[1, 1, 0]), Err(DecodeError::TooLong(_))));
}

const GOLDEN_CONTENT: &str = "00c6c277d6c73a5a2e0076ee336eb8f1758af639ead4639e44953b0aa49edc47";

fn any_changes() -> impl Strategy<Value = Vec<Change>> {
    let value = prop::option::of(crate::state::crdt::tests::any_value());
    let change = (prop::sample::select(vec!["a", "b", "cc", "ddd"]), value)
        .prop_map(|(key, value)| Change { key: Bytes::from_static(key.as_bytes()), value });
    prop::collection::vec(change, 0..6)
}

proptest! {
    #[test]
    fn changes_round_trip(changes in any_changes()) {
        for change in changes {
            prop_assert_eq!(Change::from_bytes(&change.to_bytes()), Ok(change));
        }
    }

    #[test]
    fn never_panics_on_bytes(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        if let Ok(change) = Change::from_bytes(&bytes) {
            prop_assert_eq!(&change.to_bytes()[..], bytes);
        }
    }

    #[test]
    fn behaves_as_a_map_and_counts_its_bytes(
        bundles in prop::collection::vec((any_changes(), any::<bool>()), 0..12)
    ) {
        let mut keyspace = Keyspace::new(US);
        let mut model: BTreeMap<Bytes, Value> = BTreeMap::new();
        for (changes, is_checkpoint) in bundles {
            let bundle = StateBundle { is_checkpoint, ..next(&keyspace, &changes) };
            let is_ours = |change: &Change| change.value.as_ref().is_none_or(|value| value.is_written_by(US));
            if !changes.iter().all(is_ours) {
                prop_assert_eq!(keyspace.apply(&bundle), Err(Refused::ForeignPart));
                continue;
            }
            prop_assert!(keyspace.apply(&bundle).is_ok());
            if is_checkpoint {
                model.clear();
            }
            for change in changes {
                match change.value {
                    Some(value) => model.insert(change.key, value),
                    None => model.remove(&change.key),
                };
            }
            prop_assert_eq!(&keyspace.entries, &model);
            let encoded: usize = keyspace.checkpoint().iter().map(|change| change.to_bytes().len()).sum();
            prop_assert_eq!(keyspace.encoded_bytes(), encoded);
        }
    }
}
