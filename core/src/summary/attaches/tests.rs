//! Openings prove what is there and nothing else, and who counts agents that are not there is found out.

use proptest::prelude::*;

use super::*;
use crate::rng::Rng;

fn leaf(n: u64) -> AttachLeaf {
    AttachLeaf {
        agent: AgentId::of_key(blake3::hash(&n.to_le_bytes()).as_bytes()),
        session: n,
        digest: [7; 32],
    }
}

fn tree(count: u64) -> AttachTree {
    AttachTree::of((0..count).map(leaf).collect()).expect("all differ")
}

/// The top of a tree over these nodes as a liar makes it: it hashes whatever it has, in whatever order.
fn lied(leaves: &[AttachLeaf]) -> (AttachCommitment, Vec<Vec<AttachNode>>) {
    let mut levels = vec![leaves.iter().map(AttachLeaf::node).collect::<Vec<_>>()];
    while let Some(below) = levels.last().filter(|level| level.len() > 1) {
        let above = below.chunks(2).map(|pair| match pair {
            [left, right] => {
                let mut bytes = [4; 1 + 2 * NODE_BYTES];
                left.write(&mut bytes[1..=NODE_BYTES]);
                right.write(&mut bytes[1 + NODE_BYTES..]);
                let (hash, agents) = (*blake3::hash(&bytes).as_bytes(), left.agents + right.agents);
                AttachNode { hash, agents, first: left.first, last: right.last }
            }
            rest => rest[0],
        });
        let above = above.collect();
        levels.push(above);
    }
    (AttachCommitment::of_top(levels.last().and_then(|level| level.first())), levels)
}

#[test]
fn the_root_of_three_agents_stays_what_it_is() {
    let root = tree(3).commitment();
    assert_eq!(root.agents, 3);
    assert_eq!(root, lied(&tree(3).leaves).0, "a liar who tells the truth makes the same tree");
    assert_eq!(tree(0).commitment().agents, 0);
    assert!(tree(0).open(0).is_none());
    let twice = AttachTree::of(vec![leaf(1), leaf(2), leaf(1)]);
    assert_eq!(twice.err(), Some(BadAttaches::Twice));
}

#[test]
fn who_counts_agents_twice_fails_as_many_openings_as_it_counts_too_many() {
    for kind in 0..3 {
        let mut leaves: Vec<AttachLeaf> = tree(950).leaves;
        let again: Vec<AttachLeaf> = (0..50).map(|n| leaves[n * 19]).collect();
        leaves.extend(again);
        match kind {
            // One more sorted run behind the first, side by side, or as the names fall.
            0 => {}
            1 => leaves.sort_by_key(|leaf| leaf.agent),
            _ => leaves.sort_by_key(|leaf| leaf.session.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        }
        let (commitment, levels) = lied(&leaves);
        let open = |at: usize| {
            let sibling = |(height, level): (usize, &Vec<AttachNode>)| level.get(at >> height ^ 1).copied();
            let siblings = levels.iter().enumerate().filter_map(sibling).collect();
            AttachOpening { leaf: leaves[at], index: at as u64, siblings }
        };
        let failed = (0..leaves.len()).filter(|at| !open(*at).is_of(&commitment)).count();
        assert!(failed >= 50, "kind {kind}: only {failed} of 1,000 openings fail");
    }
}

#[test]
fn a_twentieth_that_is_made_up_is_found_by_ninety_openings_in_nearly_every_run() {
    // Leaves whose digest is of no claim: what the coordinator sees when it asks for the claim.
    let mut leaves = tree(1_000).leaves;
    for n in 0..50 {
        leaves[n * 20].digest = [0; 32];
    }
    let tree = AttachTree::of(leaves).expect("all differ");
    let commitment = tree.commitment();
    let is_found = |seed: u64| {
        let mut rng = Rng::new(seed);
        (0..90).any(|_| {
            let opening = tree.open(rng.below(1_000)).expect("it is there");
            assert!(opening.is_of(&commitment), "an honest tree is never accused");
            opening.leaf.digest == [0; 32]
        })
    };
    let found = (0..200).filter(|seed| is_found(*seed)).count();
    assert!(found >= 197, "found in {found} of 200 runs");
}

proptest! {
    #[test]
    fn every_leaf_is_opened_and_no_other(count in 1..200_u64, at in any::<u64>(), bit in 0..2_000_usize) {
        let tree = tree(count);
        let commitment = tree.commitment();
        let index = at % count;
        let opening = tree.open(index).expect("it is there");
        prop_assert!(opening.is_of(&commitment));
        let bytes = opening.to_bytes();
        prop_assert_eq!(AttachOpening::from_bytes(&bytes), Ok(opening.clone()));
        // Whatever bit is changed, it is no proof any more.
        let mut changed = bytes.to_vec();
        let bit = bit % (changed.len() * 8);
        changed[bit / 8] ^= 1 << (bit % 8);
        if let Ok(changed) = AttachOpening::from_bytes(&changed) {
            prop_assert!(!changed.is_of(&commitment));
        }
        for agents in [count - 1, count + 1] {
            let other = AttachCommitment { agents, ..commitment };
            prop_assert!(!opening.is_of(&other));
        }
    }

    #[test]
    fn any_bytes_are_harmless(bytes: Vec<u8>) {
        if let Ok(opening) = AttachOpening::from_bytes(&bytes) {
            prop_assert!(!opening.is_of(&tree(5).commitment()));
        }
    }
}
