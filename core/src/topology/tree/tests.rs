use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::rng::Rng;
use crate::topology::rings::tests::members;

/// Depth of the tree and the number of those reached; asserts that it is a tree over whole links.
fn walk(overlay: &Overlay, tree: &Tree, origin: ShortId, broken: &Broken) -> (usize, usize) {
    let mut seen = BTreeSet::from([origin]);
    let mut layer = vec![origin];
    let mut depth = 0;
    assert_eq!(tree.parent(overlay, origin), None);
    loop {
        let mut next = Vec::new();
        for id in &layer {
            for child in tree.children(overlay, *id) {
                assert_eq!(tree.parent(overlay, child), Some(*id));
                assert!(overlay.is_linked(*id, child) && !broken.contains(*id, child));
                assert!(seen.insert(child), "reached twice");
                next.push(child);
            }
        }
        if next.is_empty() {
            return (depth, seen.len());
        }
        depth += 1;
        layer = next;
    }
}

fn fanout(overlay: &Overlay, tree: &Tree) -> usize {
    overlay.members().iter().map(|id| tree.children(overlay, *id).len()).max().unwrap_or(0)
}

fn inner(overlay: &Overlay, tree: &Tree, origin: ShortId) -> BTreeSet<ShortId> {
    let is_inner = |id: &ShortId| *id != origin && !tree.children(overlay, *id).is_empty();
    overlay.members().iter().copied().filter(is_inner).collect()
}

#[test]
fn both_trees_span_a_thousand_within_bounds_and_share_hardly_any_relay() {
    let overlay = Overlay::new(1, &members(1_000, 1));
    let none = Broken::default();
    let (mut shared, mut inners, mut edges) = (0, 0, 0);
    for origin in overlay.members().iter().step_by(20) {
        let trees = Trees::new(&overlay, *origin, &none).expect("a member");
        for (tree, depth_max) in [(&trees.payload, 5), (&trees.ids, 5)] {
            let (depth, reached) = walk(&overlay, tree, *origin, &none);
            assert_eq!(reached, 1_000);
            assert!(depth <= depth_max, "{depth}");
            assert!(fanout(&overlay, tree) <= FANOUT_MAX);
        }
        let (first, second) =
            (inner(&overlay, &trees.payload, *origin), inner(&overlay, &trees.ids, *origin));
        shared += first.intersection(&second).count();
        inners += first.len();
        let has_both = |id: &&ShortId| {
            let parent = trees.payload.parent(&overlay, **id);
            parent.is_some() && parent == trees.ids.parent(&overlay, **id)
        };
        edges += overlay.members().iter().filter(has_both).count();
    }
    println!("{shared} of {inners} inner nodes, {edges} links in common over 50 origins");
    assert!(shared * 100 <= inners, "{shared} of {inners}");
    assert_eq!(edges, 0);
}

#[test]
fn small_and_middling_meshes_are_spanned_too() {
    let none = Broken::default();
    for count in [1, 2, 3, 4, 9, 10, 17, 64, 65, 200] {
        let overlay = Overlay::new(2, &members(count, 2));
        for origin in overlay.members() {
            let trees = Trees::new(&overlay, *origin, &none).expect("a member");
            for tree in [&trees.payload, &trees.ids] {
                assert_eq!(walk(&overlay, tree, *origin, &none).1, count);
                assert!(fanout(&overlay, tree) <= FANOUT_MAX, "{count}");
            }
            let is_same = |id: &&ShortId| {
                **id != *origin && trees.payload.parent(&overlay, **id) == trees.ids.parent(&overlay, **id)
            };
            let same = overlay.members().iter().filter(is_same).count();
            assert!(same <= 1, "{same} of {count}");
        }
    }
    assert_eq!(Trees::new(&Overlay::new(2, &[]), ShortId(1), &none), None);
}

#[test]
fn origins_lean_on_different_relays() {
    let overlay = Overlay::new(4, &members(500, 4));
    let mut loads = vec![0usize; 500];
    for origin in overlay.members() {
        let trees = Trees::new(&overlay, *origin, &Broken::default()).expect("a member");
        for (load, index) in loads.iter_mut().zip(0..) {
            *load += trees.payload.children_at(index).len();
        }
    }
    // 499 children on the mean.
    let most = loads.iter().max().copied().unwrap_or(0);
    assert!(most < 1_000, "{most}");
}

#[test]
fn whoever_has_a_way_is_reached_beyond_the_fanout() {
    let ids: Vec<ShortId> = (1..=20).map(ShortId).collect();
    let overlay = Overlay::new(1, &ids);
    let mut broken = Broken::default();
    // A star: only links of the first are whole, and the last has none.
    for one in 2..=20 {
        for other in one + 1..=20 {
            broken.add(ShortId(one), ShortId(other));
        }
    }
    broken.add(ShortId(1), ShortId(20));
    for origin in [ShortId(1), ShortId(2)] {
        let trees = Trees::new(&overlay, origin, &broken).expect("a member");
        for tree in [&trees.payload, &trees.ids] {
            assert_eq!(walk(&overlay, tree, origin, &broken).1, 19);
            assert_eq!(tree.parent(&overlay, ShortId(20)), None);
        }
    }
}

#[test]
fn broken_links_have_a_bound_and_no_direction() {
    let mut broken = Broken::default();
    assert!(broken.add(ShortId(2), ShortId(1)) && !broken.add(ShortId(1), ShortId(2)));
    assert!(broken.contains(ShortId(1), ShortId(2)) && broken.contains(ShortId(2), ShortId(1)));
    assert!(!broken.add(ShortId(3), ShortId(3)));
    for other in 0..BROKEN_MAX as u64 {
        broken.add(ShortId(9), ShortId(other + 10));
    }
    assert_eq!(broken.len(), BROKEN_MAX);
    broken.retain_members(&Overlay::new(1, &[ShortId(1), ShortId(2)]));
    assert!(broken.len() == 1 && broken.remove(ShortId(1), ShortId(2)) && broken.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn trees_reach_whomever_a_flood_reaches(seed: u64, count in 1usize..150, share in 0u64..95) {
        let overlay = Overlay::new(seed, &members(count, seed));
        let mut rng = Rng::new(seed);
        let mut broken = Broken::default();
        for id in overlay.members() {
            for other in overlay.neighbours(*id) {
                if rng.below(100) < share {
                    broken.add(*id, other);
                }
            }
        }
        let origin = overlay.members()[rng.below(count as u64) as usize];
        let mut flood = BTreeSet::from([origin]);
        let mut queue = vec![origin];
        while let Some(id) = queue.pop() {
            for other in overlay.neighbours(id) {
                if !broken.contains(id, other) && flood.insert(other) {
                    queue.push(other);
                }
            }
        }
        let trees = Trees::new(&overlay, origin, &broken).expect("a member");
        prop_assert_eq!(walk(&overlay, &trees.payload, origin, &broken).1, flood.len());
        prop_assert_eq!(walk(&overlay, &trees.ids, origin, &broken).1, flood.len());
        let mut shuffled = overlay.members().to_vec();
        rng.shuffle(&mut shuffled);
        let elsewhere = Overlay::new(seed, &shuffled);
        prop_assert_eq!(Some(trees), Trees::new(&elsewhere, origin, &broken));
    }
}
