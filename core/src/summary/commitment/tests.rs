use super::*;

fn leaf(number: u64) -> Leaf {
    let version = EdgeVersion { incarnation: 5, version: number };
    Leaf { edge: ShortId(number), version, agents: 10 + number, digest: [number as u8; 32] }
}

fn opening(tree: &Tree, index: u64) -> Opening {
    Opening { leaf: leaf(index), index: index as u32, siblings: tree.siblings(index as usize) }
}

#[test]
fn every_leaf_of_every_size_opens() {
    for size in (0..40).chain([1_023, 1_024]) {
        let tree = Tree::of_leaves((0..size).map(|number| leaf(number).node()));
        let commitment = tree.commitment();
        assert_eq!(commitment.agents, (0..size).map(|number| 10 + number).sum::<u64>());
        for index in 0..size {
            let opening = opening(&tree, index);
            assert!(opening.is_of(&commitment), "{index} of {size}");
            assert_eq!(Opening::from_bytes(&opening.to_bytes()), Ok(opening));
        }
    }
}

#[test]
fn whatever_is_changed_is_found() {
    let tree = Tree::of_leaves((0..13).map(|number| leaf(number).node()));
    let commitment = tree.commitment();
    for index in 0..13 {
        let honest = opening(&tree, index);
        let bytes = honest.to_bytes();
        for at in 0..bytes.len() {
            let mut forged = bytes.to_vec();
            forged[at] ^= 1;
            if let Ok(forged) = Opening::from_bytes(&forged) {
                assert!(!forged.is_of(&commitment), "byte {at} of leaf {index}");
            }
        }
        let mut longer = honest.clone();
        longer.siblings.push(honest.siblings[0]);
        assert!(!longer.is_of(&commitment));
    }
    let honest = opening(&tree, 4);
    for forged in [
        Commitment { agents: commitment.agents + 1, ..commitment },
        Commitment { edges: commitment.edges + 1, ..commitment },
        Commitment { root: [0; 32], ..commitment },
    ] {
        assert!(!honest.is_of(&forged));
    }
}

#[test]
fn agents_moved_from_leaf_to_sibling_are_found() {
    // The total stays the same; only hashing the sums of both children finds this.
    let tree = Tree::of_leaves((0..4).map(|number| leaf(number).node()));
    let mut forged = opening(&tree, 2);
    forged.leaf.agents += 1;
    forged.siblings[0].agents -= 1;
    assert!(!forged.is_of(&tree.commitment()));
    let mut overflowing = opening(&tree, 2);
    overflowing.siblings[0].agents = u64::MAX;
    assert!(!overflowing.is_of(&tree.commitment()));
}
