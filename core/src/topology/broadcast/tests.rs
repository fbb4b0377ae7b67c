use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::rng::Rng;
use crate::topology::rings::tests::members;

fn all(overlay: &Arc<Overlay>, broken: &Broken) -> BTreeMap<ShortId, Broadcast> {
    let part = |id: &ShortId| (*id, Broadcast::new(*id, overlay.clone(), broken.clone(), None));
    overlay.members().iter().map(part).collect()
}

/// Hops of a message that each node passes on by what it computed itself.
fn travel(nodes: &mut BTreeMap<ShortId, Broadcast>, from: ShortId, to: ShortId) -> Option<usize> {
    let mut at = from;
    for hops in 0..=nodes.len() {
        if at == to {
            return Some(hops);
        }
        at = nodes.get_mut(&at).expect("a member").next_hop(to)?;
    }
    panic!("it goes round");
}

#[test]
fn parts_of_all_nodes_make_the_trees_with_a_pool_and_without() {
    let overlay = Arc::new(Overlay::new(1, &members(300, 1)));
    let origin = overlay.members()[17];
    let trees = Trees::new(&overlay, origin, &Broken::default()).expect("a member");
    let pool = Pool::default();
    for id in overlay.members() {
        for pool in [None, Some(pool.clone())] {
            let mut node = Broadcast::new(*id, overlay.clone(), Broken::default(), pool);
            for which in [Which::Ids, Which::Payload] {
                // Another origin before and after, so that parts are not mixed up.
                assert!(node.part(overlay.members()[3], which).is_some());
                let part = node.part(origin, which).expect("a member");
                let tree = trees.get(which);
                assert_eq!(part.parent(), tree.parent(&overlay, *id));
                assert_eq!(part.children().collect::<Vec<_>>(), tree.children(&overlay, *id));
            }
        }
    }
}

#[test]
fn strangers_have_no_part_and_no_way() {
    let overlay = Arc::new(Overlay::new(1, &members(10, 1)));
    let known = overlay.members()[0];
    let mut stranger = Broadcast::new(ShortId(0), overlay.clone(), Broken::default(), None);
    assert!(stranger.part(known, Which::Payload).is_none() && stranger.next_hop(known).is_none());
    let mut node = Broadcast::new(known, overlay, Broken::default(), None);
    assert!(node.part(ShortId(0), Which::Ids).is_none() && node.next_hop(ShortId(0)).is_none());
    assert_eq!(node.next_hop(known), None);
}

#[test]
fn a_broken_link_is_left_and_used_again() {
    let overlay = Arc::new(Overlay::new(1, &members(100, 1)));
    let me = overlay.members()[0];
    let near = overlay.neighbours(me)[0];
    let mut node = Broadcast::new(me, overlay, Broken::default(), None);
    assert_eq!(node.next_hop(near), Some(near));
    assert!(node.set_broken(near, me, true) && !node.set_broken(me, near, true));
    assert!(node.next_hop(near).is_some_and(|hop| hop != near));
    assert!(node.set_broken(me, near, false));
    assert_eq!(node.next_hop(near), Some(near));
}

#[test]
fn ways_are_short_and_spread_over_the_links() {
    let overlay = Arc::new(Overlay::new(2, &members(1_000, 2)));
    let mut nodes = all(&overlay, &Broken::default());
    let mut rng = Rng::new(2);
    for _ in 0..2_000 {
        let (from, to) =
            (overlay.members()[rng.below(1_000) as usize], overlay.members()[rng.below(1_000) as usize]);
        assert!(travel(&mut nodes, from, to).is_some_and(|hops| hops <= 4));
    }
    for from in overlay.members().iter().step_by(50) {
        let mut loads: BTreeMap<ShortId, usize> = BTreeMap::new();
        for to in overlay.members() {
            if let Some(hop) = nodes.get_mut(from).expect("a member").next_hop(*to) {
                *loads.entry(hop).or_default() += 1;
            }
        }
        // 42 destinations on the mean; ways that are the same there and back spread less evenly than
        // others, of which none had twice that.
        assert!(loads.values().all(|load| *load < 168), "{loads:?}");
    }
}

#[test]
fn a_thousand_origins_take_16_kilobytes() {
    let overlay = Arc::new(Overlay::new(2, &members(1_000, 2)));
    let mut node = Broadcast::new(overlay.members()[500], overlay.clone(), Broken::default(), None);
    for origin in overlay.members() {
        assert!(node.part(*origin, Which::Payload).is_some());
    }
    assert!(node.memory_bytes() < 32 * 1024, "{}", node.memory_bytes());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn a_message_arrives_by_whole_links_if_there_is_a_way(
        seed: u64, count in 2usize..120, share in 0u64..95
    ) {
        let overlay = Arc::new(Overlay::new(seed, &members(count, seed)));
        let mut rng = Rng::new(seed);
        let mut broken = Broken::default();
        for id in overlay.members() {
            for other in overlay.neighbours(*id) {
                if rng.below(100) < share {
                    broken.add(*id, other);
                }
            }
        }
        let mut nodes = all(&overlay, &broken);
        let from = overlay.members()[0];
        let trees = Trees::new(&overlay, from, &broken).expect("a member");
        for to in overlay.members() {
            let has_way = *to == from || trees.payload.parent(&overlay, *to).is_some();
            prop_assert_eq!(travel(&mut nodes, from, *to).is_some(), has_way);
            if let Some(hop) = nodes.get_mut(&from).and_then(|node| node.next_hop(*to)) {
                prop_assert!(overlay.is_linked(from, hop) && !broken.contains(from, hop));
            }
        }
    }
}

#[test]
fn ways_are_the_same_there_and_back_and_make_up_a_tree() {
    let overlay = Arc::new(Overlay::new(3, &members(300, 2)));
    let mut nodes = all(&overlay, &Broken::default());
    let mut way = |from: ShortId, to: ShortId| {
        let mut way = vec![from];
        while *way.last().expect("it starts with one") != to {
            let at = *way.last().expect("it starts with one");
            way.push(nodes.get_mut(&at).expect("a member").next_hop(to).expect("linked"));
        }
        way
    };
    let from = overlay.members()[5];
    let mut before: BTreeMap<ShortId, ShortId> = BTreeMap::new();
    for to in overlay.members() {
        let there = way(from, *to);
        let mut back = way(*to, from);
        back.reverse();
        assert_eq!(there, back);
        assert!(there.len() <= 4, "three hops for 300 members: {}", there.len() - 1);
        for hop in there.windows(2) {
            assert_eq!(*before.entry(hop[1]).or_insert(hop[0]), hop[0], "two ways lead to one node");
        }
    }
}
