use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;

use super::*;
use crate::rng::Rng;

/// `count` members with random ids.
pub(in crate::topology) fn members(count: usize, seed: u64) -> Vec<ShortId> {
    let mut rng = Rng::new(seed);
    (0..count).map(|_| ShortId(rng.next_u64())).collect()
}

/// How far everyone that can be reached from `from` is, without those in `dead`.
fn distances(overlay: &Overlay, from: ShortId, dead: &BTreeSet<ShortId>) -> BTreeMap<ShortId, usize> {
    let mut distances = BTreeMap::from([(from, 0)]);
    let mut queue = VecDeque::from([from]);
    while let Some(id) = queue.pop_front() {
        let next = distances[&id] + 1;
        for other in overlay.neighbours(id) {
            if !dead.contains(&other) && !distances.contains_key(&other) {
                distances.insert(other, next);
                queue.push_back(other);
            }
        }
    }
    distances
}

#[test]
fn a_thousand_are_connected_within_four_hops() {
    for seed in 0..3 {
        let overlay = Overlay::new(seed, &members(1_000, seed));
        for from in overlay.members() {
            let distances = distances(&overlay, *from, &BTreeSet::new());
            assert_eq!(distances.len(), 1_000);
            assert!(distances.values().all(|hops| *hops <= 4));
        }
    }
}

#[test]
fn nobody_has_more_than_24_links_nor_few() {
    for count in [65, 128, 1_000, 4_096] {
        let overlay = Overlay::new(7, &members(count, 7));
        let degrees: Vec<usize> = overlay.members().iter().map(|id| overlay.neighbours(*id).len()).collect();
        assert!(degrees.iter().all(|degree| (14..=DEGREE_MAX).contains(degree)), "{count}");
        let mean = degrees.iter().sum::<usize>() as f64 / count as f64;
        assert!(count < 1_000 || mean > 23.5, "{mean} of {count}");
    }
}

#[test]
fn up_to_64_everyone_is_linked_with_everyone() {
    for count in [0, 1, 2, 63, 64] {
        let overlay = Overlay::new(1, &members(count, 1));
        for id in overlay.members() {
            assert_eq!(overlay.neighbours(*id).len(), count - 1);
        }
    }
    assert!(Overlay::new(1, &members(65, 1)).neighbours(members(1, 1)[0]).len() <= DEGREE_MAX);
}

#[test]
fn a_tenth_lost_at_random_leaves_the_rest_connected() {
    for seed in 0..20 {
        let overlay = Overlay::new(seed, &members(1_000, seed));
        let mut ids = overlay.members().to_vec();
        Rng::new(seed).shuffle(&mut ids);
        let dead: BTreeSet<ShortId> = ids.drain(..100).collect();
        assert_eq!(distances(&overlay, ids[0], &dead).len(), 900);
    }
}

#[test]
fn every_small_set_has_many_neighbours_outside() {
    let overlay = Overlay::new(3, &members(1_000, 3));
    let mut rng = Rng::new(3);
    for _ in 0..200 {
        // Not a random set, which expands in any graph, but one grown along links.
        let from = overlay.members()[rng.below(1_000) as usize];
        let mut near: Vec<(usize, ShortId)> =
            distances(&overlay, from, &BTreeSet::new()).into_iter().map(|(id, hops)| (hops, id)).collect();
        near.sort_unstable();
        let set: BTreeSet<ShortId> = near[..100].iter().map(|(_, id)| *id).collect();
        let outside: BTreeSet<ShortId> =
            set.iter().flat_map(|id| overlay.neighbours(*id)).filter(|id| !set.contains(id)).collect();
        assert!(outside.len() > 3 * set.len(), "{}", outside.len());
    }
}

#[test]
fn a_join_changes_only_its_own_links() {
    let ids = members(501, 5);
    let before = Overlay::new(5, &ids[..500]);
    let mut after = before.clone();
    assert!(after.join(ids[500]) && !after.join(ids[500]));
    let mut changed = 0;
    for id in before.members() {
        let (old, new) = (before.neighbours(*id), after.neighbours(*id));
        changed += old.iter().filter(|other| !new.contains(other)).count();
        changed += new.iter().filter(|other| !old.contains(other)).count();
    }
    // In each ring one link becomes two; seen from those who stay that is four changes.
    assert!(changed <= 4 * RINGS, "{changed}");
}

#[test]
fn positions_and_names_stay_as_they_are() {
    let overlay = Overlay::new(42, &[ShortId(3), ShortId(1), ShortId(2), ShortId(3)]);
    assert_eq!(overlay.members(), [ShortId(1), ShortId(2), ShortId(3)]);
    assert_eq!(overlay.name(), 4_163_513_704_854_067_712);
    assert_eq!(positions(42, ShortId(1))[..3], [1_920_992_188, 2_809_084_419, 1_076_634_258]);
    assert_ne!(Overlay::new(42, &[]).name(), 0);
}

#[test]
fn memory_is_56_bytes_a_member() {
    let overlay = Overlay::new(1, &members(2_000, 1));
    assert!(overlay.memory_bytes() <= 56 * 2_000 + 1_024, "{}", overlay.memory_bytes());
}

#[test]
fn more_members_than_fit_are_left_out() {
    let ids: Vec<ShortId> = (0..MEMBERS_MAX as u64 + 2).map(ShortId).collect();
    let mut overlay = Overlay::new(1, &ids);
    assert_eq!(overlay.len(), MEMBERS_MAX);
    assert!(!overlay.join(ids[MEMBERS_MAX]) && overlay.neighbours(ids[MEMBERS_MAX]).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn steps_lead_where_a_new_one_starts(
        seed: u64, steps in prop::collection::vec((any::<bool>(), 0u64..120), 0..300)
    ) {
        let mut ids: BTreeSet<ShortId> = (0..70).map(ShortId).collect();
        let start: Vec<ShortId> = ids.iter().rev().copied().collect();
        let mut overlay = Overlay::new(seed, &start);
        for (is_join, id) in steps {
            let id = ShortId(id);
            if is_join {
                prop_assert_eq!(overlay.join(id), ids.insert(id));
            } else {
                prop_assert_eq!(overlay.leave(id), ids.remove(&id));
            }
        }
        let all: Vec<ShortId> = ids.into_iter().collect();
        prop_assert_eq!(&overlay, &Overlay::new(seed, &all));
        for id in &all {
            for other in overlay.neighbours(*id) {
                prop_assert!(overlay.is_linked(other, *id) && other != *id);
            }
        }
    }
}
