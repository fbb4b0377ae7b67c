use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

type Model = BTreeMap<Vec<u8>, u32>;

fn contents(map: &Hamt<u32>) -> Model {
    let mut found = Model::new();
    map.for_each(&mut |key, value| assert!(found.insert(key.to_vec(), *value).is_none()));
    found
}

#[derive(Clone, Debug)]
enum Step {
    Insert(Vec<u8>, u32),
    Change(Vec<u8>, u32),
    Remove(Vec<u8>),
    Snapshot,
}

/// Keys of one byte meet often; long ones leave the token's own room.
fn keys() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(0..40u8, 1),
        prop::collection::vec(any::<u8>(), 0..4),
        prop::collection::vec(0..2u8, 20..26),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (keys(), any::<u32>()).prop_map(|(key, value)| Step::Insert(key, value)),
        1 => (keys(), any::<u32>()).prop_map(|(key, value)| Step::Change(key, value)),
        4 => keys().prop_map(Step::Remove),
        1 => Just(Step::Snapshot),
    ];
    prop::collection::vec(step, 0..300)
}

fn run(hasher: &KeyHasher, steps: Vec<Step>) {
    let mut map = Hamt::default();
    let mut model = Model::new();
    let mut snapshots = Vec::new();
    for step in steps {
        match step {
            Step::Insert(key, value) => {
                let stored = *map.get_or_insert(hasher, &key, || value);
                assert_eq!(stored, *model.entry(key).or_insert(value));
            }
            Step::Change(key, value) => {
                let mine = map.get_mut(hasher, &key).map(|held| std::mem::replace(held, value));
                let expected = model.get_mut(&key).map(|held| std::mem::replace(held, value));
                assert_eq!(mine, expected);
            }
            Step::Remove(key) => assert_eq!(map.remove(hasher, &key), model.remove(&key).is_some()),
            Step::Snapshot => snapshots.push((map.clone(), model.clone())),
        }
        assert_eq!(map.is_empty(), model.is_empty());
    }
    snapshots.push((map, model));
    for (map, model) in snapshots {
        assert_eq!(contents(&map), model);
        for (key, value) in &model {
            assert_eq!(map.get(hasher, key), Some(value));
        }
    }
}

proptest! {
    #[test]
    fn behaves_like_a_map(seed: u64, steps in steps()) {
        run(&KeyHasher::new(seed), steps);
    }

    #[test]
    fn behaves_like_a_map_when_hashes_collide(seed: u64, steps in steps()) {
        run(&KeyHasher::with_mask(seed, 0), steps.clone());
        // The highest bits differ: branches go to the very bottom before lists begin.
        run(&KeyHasher::with_mask(seed, 0b11 << 62), steps.clone());
        run(&KeyHasher::with_mask(seed, 0b111), steps);
    }
}

#[test]
fn removal_leaves_no_branch_behind_for_one_leaf() {
    let hasher = KeyHasher::new(1);
    let mut map = Hamt::default();
    for key in 0..1_000u32 {
        map.get_or_insert(&hasher, &key.to_le_bytes(), || key);
    }
    for key in 1..1_000u32 {
        assert!(map.remove(&hasher, &key.to_le_bytes()));
    }
    assert!(matches!(map.root, Some(Slot::Leaf(_))));
}

#[test]
fn a_change_without_a_snapshot_copies_nothing() {
    let hasher = KeyHasher::new(1);
    let mut map = Hamt::default();
    for key in 0..1_000u32 {
        map.get_or_insert(&hasher, &key.to_le_bytes(), || key);
    }
    let key = 7u32.to_le_bytes();
    let before: *const u32 = map.get(&hasher, &key).unwrap();
    assert!(std::ptr::eq(before, map.get_mut(&hasher, &key).unwrap()));
    let snapshot = map.clone();
    assert!(!std::ptr::eq(before, map.get_mut(&hasher, &key).unwrap()));
    assert!(std::ptr::eq(before, snapshot.get(&hasher, &key).unwrap()));
}

#[test]
fn seeds_and_lengths_change_the_hash() {
    assert_ne!(KeyHasher::new(1).hash(b"token"), KeyHasher::new(2).hash(b"token"));
    let hasher = KeyHasher::new(1);
    assert_ne!(hasher.hash(b"a"), hasher.hash(b"a\0"));
    assert_ne!(hasher.hash(b"12345678"), hasher.hash(b"12345678\0"));
}
