//! One hash over the state of all origins, so that equal replicas see that they are equal.
//!
//! The tree has the shape of RFC 9162 (Certificate Transparency 2.0, section 2.1): leaves in order
//! of origin, neighbours paired, an odd one carried up as it is. We leave it in the hash: BLAKE3
//! keyed by fixed public keys, one for leaves and one for inner nodes, separates the two as the
//! RFC's prefix bytes do and hashes an inner node's 64 bytes in one block.

use std::collections::BTreeSet;

use crate::id::ShortId;
use crate::state::version::Version;

/// A BLAKE3 hash.
pub type Hash = [u8; 32];

const LEAF_KEY: &[u8; 32] = b"starling/1 state merkle leaf    ";
const NODE_KEY: &[u8; 32] = b"starling/1 state merkle node    ";
const EMPTY_KEY: &[u8; 32] = b"starling/1 state merkle empty   ";

/// The root of a tree without leaves.
pub fn empty_root() -> Hash {
    *blake3::keyed_hash(EMPTY_KEY, &[]).as_bytes()
}

/// The hash of one origin's state: who, which version, and the hash of the content.
pub fn leaf_hash(origin: ShortId, version: Version, content: &Hash) -> Hash {
    let mut input = [0; 56];
    input[..8].copy_from_slice(&origin.0.to_le_bytes());
    input[8..16].copy_from_slice(&version.incarnation.to_le_bytes());
    input[16..24].copy_from_slice(&version.sequence.to_le_bytes());
    input[24..].copy_from_slice(content);
    *blake3::keyed_hash(LEAF_KEY, &input).as_bytes()
}

/// The hash of an inner node.
fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut input = [0; 64];
    input[..32].copy_from_slice(left);
    input[32..].copy_from_slice(right);
    *blake3::keyed_hash(NODE_KEY, &input).as_bytes()
}

/// A Merkle tree over origins that remembers its inner nodes.
///
/// After changed leaves [`MerkleTree::root`] hashes only the paths above them, O(log n) each;
/// after a new or removed origin, which moves the leaves behind it, all inner nodes.
#[derive(Clone, Debug, Default)]
pub struct MerkleTree {
    /// Strictly rising.
    origins: Vec<ShortId>,
    /// `levels[0]` are the leaves, the last level is the root alone; levels above the leaves are
    /// out of date where `dirty` or `is_reshaped` says so.
    levels: Vec<Vec<Hash>>,
    /// Positions of leaves that changed since the last root.
    dirty: BTreeSet<usize>,
    is_reshaped: bool,
}

impl MerkleTree {
    /// A tree without leaves.
    pub fn new() -> MerkleTree {
        MerkleTree::default()
    }

    /// Sets the leaf of `origin`, as [`leaf_hash`] gives it.
    pub fn set(&mut self, origin: ShortId, leaf: Hash) {
        if self.levels.is_empty() {
            self.levels.push(Vec::new());
        }
        let leaves = &mut self.levels[0];
        match self.origins.binary_search(&origin) {
            Ok(at) if leaves[at] == leaf => {}
            Ok(at) => {
                leaves[at] = leaf;
                self.dirty.insert(at);
            }
            Err(at) => {
                self.origins.insert(at, origin);
                leaves.insert(at, leaf);
                self.is_reshaped = true;
            }
        }
    }

    /// Removes the leaf of `origin`; true where there was one.
    pub fn remove(&mut self, origin: ShortId) -> bool {
        let Ok(at) = self.origins.binary_search(&origin) else {
            return false;
        };
        self.origins.remove(at);
        self.levels[0].remove(at);
        self.is_reshaped = true;
        true
    }

    /// How many origins have a leaf.
    pub fn len(&self) -> usize {
        self.origins.len()
    }

    /// Whether no origin has a leaf.
    pub fn is_empty(&self) -> bool {
        self.origins.is_empty()
    }

    /// The root; [`empty_root`] without leaves.
    pub fn root(&mut self) -> Hash {
        if self.origins.is_empty() {
            self.levels.clear();
        } else if self.is_reshaped {
            self.rebuild();
        } else {
            self.refresh();
        }
        self.is_reshaped = false;
        self.dirty.clear();
        self.levels.last().and_then(|top| top.first()).copied().unwrap_or_else(empty_root)
    }

    /// Hashes all inner nodes again.
    fn rebuild(&mut self) {
        self.levels.truncate(1);
        while let Some(below) = self.levels.last().filter(|below| below.len() > 1) {
            let level = (0..below.len().div_ceil(2)).map(|at| parent(below, at)).collect();
            self.levels.push(level);
        }
    }

    /// Hashes the inner nodes above dirty leaves again.
    fn refresh(&mut self) {
        let mut changed: Vec<usize> = self.dirty.iter().copied().collect();
        for height in 1..self.levels.len() {
            for position in &mut changed {
                *position /= 2;
            }
            changed.dedup();
            let (lower, upper) = self.levels.split_at_mut(height);
            for &at in &changed {
                upper[0][at] = parent(&lower[height - 1], at);
            }
        }
    }
}

/// The node at position `at` above the level `below`: the hash of its two children, or its only
/// child unchanged.
fn parent(below: &[Hash], at: usize) -> Hash {
    match below.get(2 * at + 1) {
        Some(right) => node_hash(&below[2 * at], right),
        None => below[2 * at],
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::id::hex;

    fn leaf(origin: u64, sequence: u64) -> Hash {
        leaf_hash(ShortId(origin), Version { incarnation: 1, sequence }, &[7; 32])
    }

    /// The recursive definition of RFC 9162: split at the largest power of two below the count.
    fn root_by_definition(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => empty_root(),
            [only] => *only,
            _ => {
                let split = leaves.len().next_power_of_two() / 2;
                let (left, right) = leaves.split_at(split);
                node_hash(&root_by_definition(left), &root_by_definition(right))
            }
        }
    }

    #[test]
    fn golden_roots() {
        let mut tree = MerkleTree::new();
        assert_eq!(hex(&tree.root()), GOLDEN_EMPTY);
        for origin in 1..=3 {
            tree.set(ShortId(origin), leaf(origin, 1));
        }
        assert_eq!(hex(&tree.root()), GOLDEN_THREE);
    }

    const GOLDEN_EMPTY: &str = "8164e14405ea651fb5dcb262a1f467036f3e5aa53f38863e987839486fa926d9";
    const GOLDEN_THREE: &str = "4217fbb729dd13d43f3fedb8279ac1f20c5cd8497a119106cfc951dd3a25d00b";

    #[test]
    fn a_leaf_cannot_pose_as_an_inner_node() {
        let (left, right) = (leaf(1, 1), leaf(2, 1));
        let joined = [left, right].concat();
        assert_ne!(node_hash(&left, &right), *blake3::keyed_hash(LEAF_KEY, &joined).as_bytes());
    }

    #[test]
    fn emptied_again_it_has_the_empty_root() {
        let mut tree = MerkleTree::new();
        tree.set(ShortId(1), leaf(1, 1));
        assert_ne!(tree.root(), empty_root());
        assert!(tree.remove(ShortId(1)) && !tree.remove(ShortId(1)));
        assert_eq!(tree.root(), empty_root());
        tree.set(ShortId(2), leaf(2, 1));
        assert_eq!(tree.root(), leaf(2, 1));
    }

    proptest! {
        #[test]
        fn the_remembered_root_is_that_of_the_definition(
            steps in prop::collection::vec((0u8..8, 0u64..40, 0u64..4), 1..200)
        ) {
            let mut tree = MerkleTree::new();
            let mut model = BTreeMap::new();
            for (action, origin, sequence) in steps {
                match action {
                    0 => prop_assert_eq!(
                        tree.remove(ShortId(origin)), model.remove(&origin).is_some()
                    ),
                    1 | 2 => {
                        let leaves: Vec<Hash> = model.values().copied().collect();
                        prop_assert_eq!(tree.root(), root_by_definition(&leaves));
                    }
                    _ => {
                        tree.set(ShortId(origin), leaf(origin, sequence));
                        model.insert(origin, leaf(origin, sequence));
                    }
                }
                prop_assert_eq!(tree.len(), model.len());
            }
            let leaves: Vec<Hash> = model.values().copied().collect();
            prop_assert_eq!(tree.root(), root_by_definition(&leaves));
        }
    }
}
