//! What an edge's count of agents commits to: a Merkle-sum tree over its agents' attaches, in the order of
//! the agents' names.
//!
//! It is the tree of [`commitment`](super::commitment) with one thing more: every node also states the least
//! and the greatest name below it, its hash covers them, and the names of a left child must lie before those
//! of its right sibling. Who opens a leaf checks that on the whole way up. So an edge that counts an agent
//! twice fails at least as many openings, in proportion, as it counts too many: of the leaves whose whole
//! way up is in order no two have one name.
//!
//! What a leaf's digest is of, the attach itself, is shown with the opening and verified by the agent's key;
//! this module knows nothing of keys.

use bytes::{BufMut, BytesMut};

use super::pack::{put_count, take_count};
use crate::id::AgentId;
use crate::wire::codec::{DecodeError, Reader, Wire};

/// Agents in one tree; an edge hosts far fewer.
pub const ATTACHES_MAX: usize = 1 << 20;
/// Steps from a leaf to the top of the largest tree.
const STEPS_MAX: usize = ATTACHES_MAX.ilog2() as usize;

/// One agent's attach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttachLeaf {
    /// The agent.
    pub agent: AgentId,
    /// Its session.
    pub session: u64,
    /// BLAKE3 of the claim by which it attached.
    pub digest: [u8; 32],
}

impl AttachLeaf {
    fn node(&self) -> AttachNode {
        let mut bytes = [0; 57];
        bytes[0] = 3;
        bytes[1..17].copy_from_slice(&self.agent.0);
        bytes[17..25].copy_from_slice(&self.session.to_le_bytes());
        bytes[25..].copy_from_slice(&self.digest);
        let hash = *blake3::hash(&bytes).as_bytes();
        AttachNode { hash, agents: 1, first: self.agent, last: self.agent }
    }
}

/// A node of the tree: what is below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttachNode {
    /// Of all that both children state, or of the leaf.
    pub hash: [u8; 32],
    /// Agents below.
    pub agents: u64,
    /// The least name below.
    pub first: AgentId,
    /// The greatest name below.
    pub last: AgentId,
}

impl AttachNode {
    /// The parent of two nodes; nothing where their names or numbers cannot be.
    fn parent(left: &AttachNode, right: &AttachNode) -> Option<AttachNode> {
        let is_in_order = left.first <= left.last && left.last < right.first && right.first <= right.last;
        let agents = left.agents.checked_add(right.agents).filter(|_| is_in_order)?;
        let mut bytes = [4; 1 + 2 * NODE_BYTES];
        left.write(&mut bytes[1..=NODE_BYTES]);
        right.write(&mut bytes[1 + NODE_BYTES..]);
        let hash = *blake3::hash(&bytes).as_bytes();
        Some(AttachNode { hash, agents, first: left.first, last: right.last })
    }

    fn write(&self, bytes: &mut [u8]) {
        bytes[..32].copy_from_slice(&self.hash);
        bytes[32..40].copy_from_slice(&self.agents.to_le_bytes());
        bytes[40..56].copy_from_slice(&self.first.0);
        bytes[56..].copy_from_slice(&self.last.0);
    }
}

const NODE_BYTES: usize = 72;

/// What an edge states of its agents: the root that an opening is checked against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttachCommitment {
    /// The hash of the top node and of the number of agents.
    pub root: [u8; 32],
    /// How many agents there are, each a leaf.
    pub agents: u64,
}

impl AttachCommitment {
    fn of_top(top: Option<&AttachNode>) -> AttachCommitment {
        let mut bytes = [5; 1 + NODE_BYTES];
        match top {
            Some(top) => top.write(&mut bytes[1..]),
            None => bytes[1..].fill(0),
        }
        let agents = top.map_or(0, |top| top.agents);
        AttachCommitment { root: *blake3::hash(&bytes).as_bytes(), agents }
    }
}

/// The agents of an edge at one moment, to be opened one by one.
#[derive(Debug)]
pub struct AttachTree {
    leaves: Vec<AttachLeaf>,
    /// From the leaves up; none is missing.
    levels: Vec<Vec<AttachNode>>,
}

/// Why there is no tree of these agents. Nothing was changed; the caller is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadAttaches {
    /// An agent is there twice.
    #[error("an agent is counted twice")]
    Twice,
    /// There are too many.
    #[error("more than {ATTACHES_MAX} agents in one tree")]
    TooMany,
}

impl AttachTree {
    /// The tree over these agents, in whatever order they come.
    ///
    /// # Errors
    /// See [`BadAttaches`].
    pub fn of(mut leaves: Vec<AttachLeaf>) -> Result<AttachTree, BadAttaches> {
        if leaves.len() > ATTACHES_MAX {
            return Err(BadAttaches::TooMany);
        }
        leaves.sort_unstable_by_key(|leaf| leaf.agent);
        let mut levels = vec![leaves.iter().map(AttachLeaf::node).collect::<Vec<_>>()];
        while let Some(below) = levels.last().filter(|level| level.len() > 1) {
            let above = below.chunks(2).map(|pair| match pair {
                [left, right] => AttachNode::parent(left, right),
                rest => Some(rest[0]),
            });
            let above = above.collect::<Option<Vec<_>>>().ok_or(BadAttaches::Twice)?;
            levels.push(above);
        }
        Ok(AttachTree { leaves, levels })
    }

    /// What is stated of it.
    pub fn commitment(&self) -> AttachCommitment {
        AttachCommitment::of_top(self.levels.last().and_then(|level| level.first()))
    }

    /// The proof of the leaf at this place.
    pub fn open(&self, index: u64) -> Option<AttachOpening> {
        let at = usize::try_from(index).ok()?;
        let leaf = *self.leaves.get(at)?;
        let sibling = |(height, level): (usize, &Vec<AttachNode>)| level.get(at >> height ^ 1).copied();
        let siblings = self.levels.iter().enumerate().filter_map(sibling).collect();
        Some(AttachOpening { leaf, index, siblings })
    }
}

/// A leaf and what proves that a commitment has it at this place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachOpening {
    /// The leaf.
    pub leaf: AttachLeaf,
    /// Its place in the order of the names.
    pub index: u64,
    /// The siblings on the way up, at most twenty.
    pub siblings: Vec<AttachNode>,
}

impl AttachOpening {
    /// Whether `commitment` has this leaf at this place, with all numbers adding up and all names in order.
    pub fn is_of(&self, commitment: &AttachCommitment) -> bool {
        self.top(commitment.agents).is_some_and(|top| AttachCommitment::of_top(Some(&top)) == *commitment)
    }

    /// The top node that follows, if there are as many siblings as a tree of so many leaves has, each with as
    /// many agents as it has leaves: an agent is one.
    fn top(&self, agents: u64) -> Option<AttachNode> {
        if self.index >= agents || agents > ATTACHES_MAX as u64 {
            return None;
        }
        let mut node = self.leaf.node();
        let mut siblings = self.siblings.iter();
        let (mut index, mut width, mut height) = (self.index, agents, 0);
        while width > 1 {
            let beside = index ^ 1;
            if beside < width {
                let sibling = siblings.next()?;
                // Leaves under a place of this level: as many as its span has, less what is beyond the end.
                let leaves = ((beside + 1) << height).min(agents) - (beside << height);
                let pair = if index % 2 == 1 { (sibling, &node) } else { (&node, sibling) };
                node = AttachNode::parent(pair.0, pair.1).filter(|_| sibling.agents == leaves)?;
            }
            (index, width, height) = (index / 2, width.div_ceil(2), height + 1);
        }
        siblings.next().is_none().then_some(node)
    }
}

impl Wire for AttachOpening {
    /// Agent (16), session (8), digest (32), index (8), number of siblings (2), then hash (32), agents (8),
    /// first (16) and last (16) of each.
    fn encode(&self, out: &mut BytesMut) {
        out.put_slice(&self.leaf.agent.0);
        out.put_u64_le(self.leaf.session);
        out.put_slice(&self.leaf.digest);
        out.put_u64_le(self.index);
        put_count(out, self.siblings.len());
        for node in &self.siblings {
            let mut bytes = [0; NODE_BYTES];
            node.write(&mut bytes);
            out.put_slice(&bytes);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<AttachOpening, DecodeError> {
        let agent = AgentId(reader.array()?);
        let leaf = AttachLeaf { agent, session: reader.u64()?, digest: reader.array()? };
        let index = reader.u64()?;
        let mut siblings = Vec::new();
        for _ in 0..take_count(reader, STEPS_MAX, "siblings")? {
            let (hash, agents) = (reader.array()?, reader.u64()?);
            let (first, last) = (AgentId(reader.array()?), AgentId(reader.array()?));
            siblings.push(AttachNode { hash, agents, first, last });
        }
        Ok(AttachOpening { leaf, index, siblings })
    }
}

#[cfg(test)]
mod tests;
