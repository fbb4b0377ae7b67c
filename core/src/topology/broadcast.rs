//! One node's part in the broadcast trees of a view, and its way to every other node.
//!
//! Of a tree a node needs to know its parent and its children alone. They are computed on the first use
//! of an origin and kept until view or broken links change, at about 16 bytes an origin: 16 KB for a
//! thousand origins, at most 0.4 MB for [`super::rings::MEMBERS_MAX`] of them. The next hops of all
//! destinations come from one search, at 2 bytes each.
//!
//! Nodes compute alike what they know alike: a link that only some know as broken leads to trees that
//! differ until the news has spread, which the second tree and repair make good.

use std::sync::Arc;

use super::pool::Pool;
use super::rings::{Index, Overlay};
use super::tree::{Broken, Cut, NOBODY, Trees, Which};
use crate::hash::rendezvous;
use crate::id::ShortId;

/// An origin whose part is not computed yet.
const UNKNOWN: u32 = u32::MAX;
/// What stands before the children of a part: a parent and a number of children for either tree.
const HEAD: usize = 4;

/// What a node does with messages in one view.
#[derive(Debug)]
pub struct Broadcast {
    overlay: Arc<Overlay>,
    me: ShortId,
    broken: Broken,
    cut: Cut,
    pool: Option<Pool>,
    /// Of each origin where in `cells` its part starts; empty until the first is asked for.
    starts: Vec<u32>,
    cells: Vec<Index>,
    /// Of each destination the next hop; empty until one is asked for.
    hops: Vec<Index>,
}

/// A node's part in one tree of one origin.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    overlay: &'a Overlay,
    parent: Index,
    children: &'a [Index],
}

impl Broadcast {
    /// The part of `me` in a view; `pool` where other nodes of the process compute the same.
    pub fn new(me: ShortId, overlay: Arc<Overlay>, broken: Broken, pool: Option<Pool>) -> Broadcast {
        let cut = broken.among(&overlay);
        let (starts, cells, hops) = (Vec::new(), Vec::new(), Vec::new());
        Broadcast { overlay, me, broken, cut, pool, starts, cells, hops }
    }

    /// The view's overlay.
    pub fn overlay(&self) -> &Arc<Overlay> {
        &self.overlay
    }

    /// The links known to be broken.
    pub fn broken(&self) -> &Broken {
        &self.broken
    }

    /// Notes that a link broke or is whole again; what was computed is forgotten where that is new.
    /// Whoever learns of several links at once had better use [`Broadcast::set_all_broken`].
    pub fn set_broken(&mut self, one: ShortId, other: ShortId, is_broken: bool) -> bool {
        let is_new = match is_broken {
            true => self.broken.add(one, other),
            false => self.broken.remove(one, other),
        };
        if is_new {
            self.forget();
        }
        is_new
    }

    /// Replaces the links known to be broken.
    pub fn set_all_broken(&mut self, broken: Broken) {
        if self.broken != broken {
            self.broken = broken;
            self.forget();
        }
    }

    /// What this node does in a tree of `origin`; none where either is no member.
    pub fn part(&mut self, origin: ShortId, which: Which) -> Option<Part<'_>> {
        let (origin, me) = (self.overlay.index(origin)?, self.overlay.index(self.me)?);
        if self.starts.is_empty() {
            self.starts = vec![UNKNOWN; self.overlay.len()];
        }
        if self.starts[usize::from(origin)] == UNKNOWN {
            self.starts[usize::from(origin)] = self.cells.len() as u32;
            self.compute(origin, me);
        }
        let cells = &self.cells[self.starts[usize::from(origin)] as usize..];
        let (head, children) = cells.split_at(HEAD);
        let (first, second) = (usize::from(head[1]), usize::from(head[3]));
        Some(match which {
            Which::Payload => Part { overlay: &self.overlay, parent: head[0], children: &children[..first] },
            Which::Ids => {
                let children = &children[first..first + second];
                Part { overlay: &self.overlay, parent: head[2], children }
            }
        })
    }

    /// The neighbour over which a message to `to` goes; none where there is no way, or it is this node.
    pub fn next_hop(&mut self, to: ShortId) -> Option<ShortId> {
        let (to, me) = (self.overlay.index(to)?, self.overlay.index(self.me)?);
        if self.hops.is_empty() {
            self.hops = next_hops(&self.overlay, me, &self.cut);
        }
        let hop = self.hops[usize::from(to)];
        (hop != NOBODY && to != me).then(|| self.overlay.id(hop))
    }

    /// How many bytes of memory it takes, without the overlay and the broken links.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Broadcast>()
            + self.starts.capacity() * size_of::<u32>()
            + (self.cells.capacity() + self.hops.capacity()) * size_of::<Index>()
    }

    fn compute(&mut self, origin: Index, me: Index) {
        let trees = match &self.pool {
            Some(pool) => pool.trees(&self.overlay, &self.broken, origin),
            None => Arc::new(Trees::grow(&self.overlay, origin, &self.cut)),
        };
        let (first, second) = (trees.payload.children_at(me), trees.ids.children_at(me));
        // A member has fewer children than there are members, whose number fits.
        let counts = (first.len() as Index, second.len() as Index);
        self.cells.extend([trees.payload.parent_at(me), counts.0, trees.ids.parent_at(me), counts.1]);
        self.cells.extend(first.iter().chain(second));
    }

    fn forget(&mut self) {
        self.cut = self.broken.among(&self.overlay);
        self.starts = Vec::new();
        self.cells = Vec::new();
        self.hops = Vec::new();
    }
}

impl<'a> Part<'a> {
    /// From whom messages come; nobody at the origin and where no way leads here.
    pub fn parent(&self) -> Option<ShortId> {
        (self.parent != NOBODY).then(|| self.overlay.id(self.parent))
    }

    /// To whom they are passed on.
    pub fn children(&self) -> impl ExactSizeIterator<Item = ShortId> + 'a {
        let overlay = self.overlay;
        self.children.iter().map(move |child| overlay.id(*child))
    }
}

/// Of each member the first hop of the shortest way from `me`.
///
/// Of several ways with as few hops the one with the least sum of weights is taken, and a link weighs the
/// same from either side. So a way is the same there and back, and every part of it is the shortest way
/// between its ends: the ways from one node to all others make up a tree, and a copy that follows several
/// of them comes to each node once.
fn next_hops(overlay: &Overlay, me: Index, cut: &Cut) -> Vec<Index> {
    let mut hops = vec![NOBODY; overlay.len()];
    // Of each member depth, sum of weights and node before it, in this order of importance.
    let mut best = vec![(u16::MAX, u64::MAX, NOBODY); overlay.len()];
    let mut reached = Vec::with_capacity(overlay.len());
    reached.push(me);
    best[usize::from(me)] = (0, 0, NOBODY);
    let mut head = 0;
    while head < reached.len() {
        let node = reached[head];
        // All nodes one nearer have had their turn, so what is before this one is settled.
        let (depth, sum, before) = best[usize::from(node)];
        hops[usize::from(node)] = if depth <= 1 { node } else { hops[usize::from(before)] };
        overlay.for_neighbours(node, |other| {
            if cut.contains(node, other) {
                return;
            }
            let least = &mut best[usize::from(other)];
            if least.0 == u16::MAX {
                reached.push(other);
            }
            if depth < least.0 {
                *least = (depth + 1, sum + weight(overlay.id(node), overlay.id(other)), node).min(*least);
            }
        });
        head += 1;
    }
    hops
}

/// What a link adds to a way; of two ways with the same sum, which is next to impossible, each end may
/// take another. Squares, since a link that is much lighter than others would draw too many ways.
fn weight(one: ShortId, other: ShortId) -> u64 {
    (rendezvous(one.0.min(other.0), one.0.max(other.0)) >> 34).pow(2)
}

#[cfg(test)]
mod tests;
