//! What a figure commits to: a Merkle-sum tree over its edges.
//!
//! Every node is a hash and a number of agents, and hashes the hashes *and* the numbers of its
//! children; so whoever opens one leaf sees on the way up that all agents add up to the figure's.
//! The shape is that of RFC 6962, section 2.1, as it comes out level by level: a node without a
//! sibling rises as it is. Leaf, node and root are hashed under different first bytes, and the root
//! includes the number of leaves, which fixes the shape.

use bytes::{BufMut, BytesMut};

use super::pack::{put_count, take_count};
use super::{EDGES_MAX, EdgeVersion};
use crate::id::ShortId;
use crate::wire::codec::{DecodeError, Reader, Wire};

/// Steps from a leaf to the top of the largest tree.
const STEPS_MAX: usize = EDGES_MAX.ilog2() as usize;

/// What an edge contributes to a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaf {
    /// The edge.
    pub edge: ShortId,
    /// Its incarnation and version in the figure's cut.
    pub version: EdgeVersion,
    /// How many agents it counts.
    pub agents: u64,
    /// BLAKE3 of the encoding of its parts: [`super::Parts::digest`].
    pub digest: [u8; 32],
}

impl Leaf {
    /// The node of this leaf.
    pub(super) fn node(&self) -> Node {
        let mut bytes = [0; 65];
        bytes[1..9].copy_from_slice(&self.edge.0.to_le_bytes());
        bytes[9..17].copy_from_slice(&self.version.incarnation.to_le_bytes());
        bytes[17..25].copy_from_slice(&self.version.version.to_le_bytes());
        bytes[25..33].copy_from_slice(&self.agents.to_le_bytes());
        bytes[33..].copy_from_slice(&self.digest);
        Node { hash: *blake3::hash(&bytes).as_bytes(), agents: self.agents }
    }
}

/// A node of the tree: what is below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node {
    /// The hash of both children's hashes and numbers, or of the leaf.
    pub hash: [u8; 32],
    /// The number of agents below.
    pub agents: u64,
}

impl Node {
    /// The parent of two nodes, nothing when the sum overflows: no honest tree does.
    fn parent(left: &Node, right: &Node) -> Option<Node> {
        let mut bytes = [1; 81];
        bytes[1..33].copy_from_slice(&left.hash);
        bytes[33..41].copy_from_slice(&left.agents.to_le_bytes());
        bytes[41..73].copy_from_slice(&right.hash);
        bytes[73..].copy_from_slice(&right.agents.to_le_bytes());
        let agents = left.agents.checked_add(right.agents)?;
        Some(Node { hash: *blake3::hash(&bytes).as_bytes(), agents })
    }
}

/// The root of the tree: what a figure states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commitment {
    /// The hash of the top node's hash and sum and of the number of edges.
    pub root: [u8; 32],
    /// The sum of all leaves.
    pub agents: u64,
    /// The number of leaves.
    pub edges: u32,
}

impl Commitment {
    fn of_top(top: Option<Node>, edges: u32) -> Commitment {
        let top = top.unwrap_or(Node { hash: [0; 32], agents: 0 });
        let mut bytes = [2; 45];
        bytes[1..5].copy_from_slice(&edges.to_le_bytes());
        bytes[5..37].copy_from_slice(&top.hash);
        bytes[37..].copy_from_slice(&top.agents.to_le_bytes());
        Commitment { root: *blake3::hash(&bytes).as_bytes(), agents: top.agents, edges }
    }
}

/// The levels of the tree, from the leaves up.
#[derive(Debug)]
pub(super) struct Tree {
    levels: Vec<Vec<Node>>,
}

impl Tree {
    /// The tree over `leaves`, in the order of the edges; each counts at most 2^53 - 1 agents.
    pub(super) fn of_leaves(leaves: impl Iterator<Item = Node>) -> Tree {
        let mut levels = vec![leaves.collect::<Vec<Node>>()];
        while let Some(below) = levels.last().filter(|level| level.len() > 1) {
            let above = below.chunks(2).map(|pair| match pair {
                [left, right] => Node::parent(left, right).expect("1,024 edges of 2^53 agents fit"),
                rest => rest[0],
            });
            let above = above.collect();
            levels.push(above);
        }
        Tree { levels }
    }

    pub(super) fn commitment(&self) -> Commitment {
        let edges = u32::try_from(self.levels[0].len()).expect("a fold has at most 1,024 edges");
        let top = self.levels.last().and_then(|level| level.first().copied());
        Commitment::of_top(top, edges)
    }

    /// The siblings on the way from the leaf at `index` to the top.
    pub(super) fn siblings(&self, index: usize) -> Vec<Node> {
        let at = |(height, level): (usize, &Vec<Node>)| level.get(index >> height ^ 1).copied();
        self.levels.iter().enumerate().filter_map(at).collect()
    }
}

/// A leaf and what proves that a commitment has it at this place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// The leaf.
    pub leaf: Leaf,
    /// Its place in the order of the edges.
    pub index: u32,
    /// The siblings on the way up, at most ten.
    pub siblings: Vec<Node>,
}

impl Opening {
    /// Whether `commitment` has this leaf at this place, with all sums adding up.
    pub fn is_of(&self, commitment: &Commitment) -> bool {
        self.top(commitment.edges)
            .is_some_and(|top| Commitment::of_top(Some(top), commitment.edges) == *commitment)
    }

    /// The top node that follows from the leaf and the siblings, if there are as many as a tree of
    /// `edges` leaves asks for.
    fn top(&self, edges: u32) -> Option<Node> {
        if self.index >= edges {
            return None;
        }
        let mut node = self.leaf.node();
        let mut siblings = self.siblings.iter();
        let (mut index, mut width) = (self.index, edges);
        while width > 1 {
            if index % 2 == 1 {
                node = Node::parent(siblings.next()?, &node)?;
            } else if index + 1 < width {
                node = Node::parent(&node, siblings.next()?)?;
            }
            index /= 2;
            width = width.div_ceil(2);
        }
        siblings.next().is_none().then_some(node)
    }
}

impl Wire for Opening {
    /// Edge (8), incarnation (8), version (8), agents (8), digest (32), index (4), number of
    /// siblings (2), then hash (32) and agents (8) of each.
    fn encode(&self, out: &mut BytesMut) {
        out.put_u64_le(self.leaf.edge.0);
        out.put_u64_le(self.leaf.version.incarnation);
        out.put_u64_le(self.leaf.version.version);
        out.put_u64_le(self.leaf.agents);
        out.put_slice(&self.leaf.digest);
        out.put_u32_le(self.index);
        put_count(out, self.siblings.len());
        for node in &self.siblings {
            out.put_slice(&node.hash);
            out.put_u64_le(node.agents);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Opening, DecodeError> {
        let edge = ShortId(reader.u64()?);
        let version = EdgeVersion { incarnation: reader.u64()?, version: reader.u64()? };
        let leaf = Leaf { edge, version, agents: reader.u64()?, digest: reader.array()? };
        let index = reader.u32()?;
        let mut siblings = Vec::new();
        for _ in 0..take_count(reader, STEPS_MAX, "siblings")? {
            siblings.push(Node { hash: reader.array()?, agents: reader.u64()? });
        }
        Ok(Opening { leaf, index, siblings })
    }
}

#[cfg(test)]
mod tests;
