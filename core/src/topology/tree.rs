//! The two broadcast trees of an origin: one carries payloads, the other ids alone.
//!
//! Both are breadth-first over the overlay's links from the origin, each node taking at most
//! [`FANOUT_MAX`] children; with that bound the depth is about log8 of the members and one. They are pure
//! functions of view, origin and broken links, so there is no graft or prune state to agree on. That
//! is where we leave Plumtree (Leitao, Pereira and Rodrigues, "Epidemic Broadcast Trees", SRDS 2007),
//! whose lazy links our second tree replaces.
//!
//! The second tree lets those relay who are leaves of the first, and takes no link in the direction in
//! which the first does, as far as that reaches everybody (SplitStream's idea: Castro et al., SOSP 2003).
//! So whom the first fails, the second tells of what is missing. The origin alone relays in both.
//!
//! Fan-out gives way before reach does: where broken links leave somebody linked only with nodes that
//! are full, one of those takes more than its share.

use std::collections::BTreeSet;

use super::rings::{FULL_MESH_MAX, Index, Overlay};
use crate::hash::rendezvous;
use crate::id::ShortId;

/// Children of a node in a tree, except where somebody could not be reached otherwise.
pub const FANOUT_MAX: usize = 8;
/// Broken links known at the most; of more, the later ones are not noted, and messages over them are lost
/// and repaired.
pub const BROKEN_MAX: usize = 4096;

/// No member.
pub(super) const NOBODY: Index = Index::MAX;

/// One of an origin's two trees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The one that carries payloads.
    Payload,
    /// The one that carries ids.
    Ids,
}

/// Links known to be broken, in both directions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Broken(BTreeSet<(ShortId, ShortId)>);

/// The broken links among the members of one overlay.
#[derive(Clone, Debug, Default)]
pub(super) struct Cut {
    /// Of each member whether a link of it is broken; empty where no link is.
    is_hurt: Vec<bool>,
    pairs: Vec<(Index, Index)>,
}

/// A tree over an overlay; all that it says is in the overlay's indices, so it is asked together with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    /// Of each member its parent; nobody's at the origin and at those out of reach.
    parents: Vec<Index>,
    /// Where the children of each member start; one more for the end.
    starts: Vec<Index>,
    children: Vec<Index>,
}

/// Both trees of an origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trees {
    /// Carries payloads.
    pub payload: Tree,
    /// Carries ids.
    pub ids: Tree,
}

impl Broken {
    /// Notes a link as broken; false where it was, or where there is no room.
    pub fn add(&mut self, one: ShortId, other: ShortId) -> bool {
        self.0.len() < BROKEN_MAX && one != other && self.0.insert(pair(one, other))
    }

    /// Notes a link as whole; false where it was.
    pub fn remove(&mut self, one: ShortId, other: ShortId) -> bool {
        self.0.remove(&pair(one, other))
    }

    /// Whether a link is broken.
    pub fn contains(&self, one: ShortId, other: ShortId) -> bool {
        self.0.contains(&pair(one, other))
    }

    /// Forgets the links of those who are no members.
    pub fn retain_members(&mut self, overlay: &Overlay) {
        self.0.retain(|(one, other)| overlay.contains(*one) && overlay.contains(*other));
    }

    /// How many are broken.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The pairs, sorted, each with its lesser id first.
    pub fn iter(&self) -> impl Iterator<Item = (ShortId, ShortId)> + '_ {
        self.0.iter().copied()
    }

    pub(super) fn among(&self, overlay: &Overlay) -> Cut {
        let indices =
            |(one, other): &(ShortId, ShortId)| Some((overlay.index(*one)?, overlay.index(*other)?));
        // Indices are in the order of ids, so these pairs are sorted as those are.
        let pairs: Vec<(Index, Index)> = self.0.iter().filter_map(indices).collect();
        let mut is_hurt = Vec::new();
        if !pairs.is_empty() {
            is_hurt.resize(overlay.len(), false);
            for (one, other) in &pairs {
                is_hurt[usize::from(*one)] = true;
                is_hurt[usize::from(*other)] = true;
            }
        }
        Cut { is_hurt, pairs }
    }
}

fn pair(one: ShortId, other: ShortId) -> (ShortId, ShortId) {
    (one.min(other), one.max(other))
}

impl Cut {
    /// Whether the link between two members is broken.
    pub(super) fn contains(&self, one: Index, other: Index) -> bool {
        let is_hurt = |index: Index| self.is_hurt.get(usize::from(index)).is_some_and(|is_hurt| *is_hurt);
        is_hurt(one) && is_hurt(other) && self.pairs.binary_search(&(one.min(other), one.max(other))).is_ok()
    }
}

impl Trees {
    /// The trees of `origin`; none where it is no member.
    pub fn new(overlay: &Overlay, origin: ShortId, broken: &Broken) -> Option<Trees> {
        Some(Trees::grow(overlay, overlay.index(origin)?, &broken.among(overlay)))
    }

    pub(super) fn grow(overlay: &Overlay, origin: Index, cut: &Cut) -> Trees {
        let payload = Growth::new(overlay, cut, origin).first();
        let ids = Growth::new(overlay, cut, origin).second(&payload);
        Trees { payload, ids }
    }

    /// One of the two.
    pub fn get(&self, which: Which) -> &Tree {
        match which {
            Which::Payload => &self.payload,
            Which::Ids => &self.ids,
        }
    }
}

impl Tree {
    /// From whom `id` gets what goes down the tree; nobody for the origin and those out of reach.
    pub fn parent(&self, overlay: &Overlay, id: ShortId) -> Option<ShortId> {
        let parent = self.parents[usize::from(overlay.index(id)?)];
        (parent != NOBODY).then(|| overlay.id(parent))
    }

    /// To whom `id` passes on what goes down the tree.
    pub fn children(&self, overlay: &Overlay, id: ShortId) -> Vec<ShortId> {
        let children = overlay.index(id).map_or(&[][..], |index| self.children_at(index));
        children.iter().map(|child| overlay.id(*child)).collect()
    }

    pub(super) fn parent_at(&self, index: Index) -> Index {
        self.parents[usize::from(index)]
    }

    pub(super) fn children_at(&self, index: Index) -> &[Index] {
        let index = usize::from(index);
        &self.children[usize::from(self.starts[index])..usize::from(self.starts[index + 1])]
    }

    /// From parents in the order in which they were found.
    fn of_growth(parents: Vec<Index>, counts: &[Index], reached: &[Index]) -> Tree {
        let mut starts = Vec::with_capacity(counts.len() + 1);
        let mut end = 0;
        starts.push(0);
        for count in counts {
            end += count;
            starts.push(end);
        }
        let mut next = starts.clone();
        let mut children = vec![NOBODY; usize::from(end)];
        for child in reached.iter().skip(1) {
            let place = &mut next[usize::from(parents[usize::from(*child)])];
            children[usize::from(*place)] = *child;
            *place += 1;
        }
        Tree { parents, starts, children }
    }
}

/// A tree that grows from its origin.
struct Growth<'a> {
    overlay: &'a Overlay,
    cut: &'a Cut,
    parents: Vec<Index>,
    counts: Vec<Index>,
    /// Those reached, in order; the origin first.
    reached: Vec<Index>,
}

/// What a pass over those reached may do to reach more.
#[derive(Clone, Copy)]
struct Pass<'a> {
    /// Children of a node.
    fanout: usize,
    /// Who relays in this tree relays in no other but its own.
    spared: Option<&'a Tree>,
    /// Links, in their direction, that are not taken.
    unused: Option<&'a Tree>,
}

impl<'a> Growth<'a> {
    fn new(overlay: &'a Overlay, cut: &'a Cut, origin: Index) -> Growth<'a> {
        let mut reached = Vec::with_capacity(overlay.len());
        reached.push(origin);
        let parents = vec![NOBODY; overlay.len()];
        Growth { overlay, cut, parents, counts: vec![0; overlay.len()], reached }
    }

    fn first(mut self) -> Tree {
        self.pass(Pass { fanout: FANOUT_MAX, spared: None, unused: None });
        self.pass(Pass { fanout: usize::MAX, spared: None, unused: None });
        self.finish()
    }

    /// The tree that has as little as possible in common with `first`, giving up one wish after another.
    fn second(mut self, first: &Tree) -> Tree {
        let apart = Pass { fanout: FANOUT_MAX, spared: Some(first), unused: Some(first) };
        self.pass(apart);
        if self.counts[usize::from(self.reached[0])] == 0 {
            // All neighbours of the origin are its children in the first tree: one of them must do.
            self.adopt(self.reached[0], Pass { fanout: 1, spared: Some(first), unused: None });
            self.pass(apart);
        }
        self.pass(Pass { spared: None, ..apart });
        self.pass(Pass { spared: None, unused: None, ..apart });
        self.pass(Pass { fanout: usize::MAX, spared: None, unused: None });
        self.finish()
    }

    fn finish(self) -> Tree {
        Tree::of_growth(self.parents, &self.counts, &self.reached)
    }

    /// Lets those reached, and those they reach, take children in turn.
    fn pass(&mut self, pass: Pass) {
        let mut head = 0;
        while head < self.reached.len() && self.reached.len() < self.parents.len() {
            let node = self.reached[head];
            let relays = |tree: &Tree| !tree.children_at(node).is_empty();
            if head == 0 || !pass.spared.is_some_and(relays) {
                self.adopt(node, pass);
            }
            head += 1;
        }
    }

    fn adopt(&mut self, node: Index, pass: Pass) {
        let room = pass.fanout.saturating_sub(usize::from(self.counts[usize::from(node)]));
        if room == 0 {
            return;
        }
        let mut free = [NOBODY; FULL_MESH_MAX];
        let mut count = 0;
        let overlay = self.overlay;
        overlay.for_neighbours(node, |other| {
            let is_unused = pass.unused.is_some_and(|tree| tree.parent_at(other) == node);
            if !self.is_reached(other) && !is_unused && !self.cut.contains(node, other) {
                free[count] = other;
                count += 1;
            }
        });
        self.take(node, room, &free[..count], pass.spared);
    }

    /// Makes up to `room` of `free` children of `node`, those first that may relay; from where on
    /// differs by origin and node, so that origins' trees lean on different nodes.
    fn take(&mut self, node: Index, room: usize, free: &[Index], spared: Option<&Tree>) {
        if free.is_empty() {
            return;
        }
        let turn = rendezvous(u64::from(self.reached[0]), u64::from(node)) as usize % free.len();
        let (before, behind) = free.split_at(turn);
        let mut room = room;
        for are_spared in [false, true] {
            for other in behind.iter().chain(before) {
                let is_spared = spared.is_some_and(|tree| !tree.children_at(*other).is_empty());
                // Two rings may have the same neighbour.
                if room == 0 || is_spared != are_spared || self.is_reached(*other) {
                    continue;
                }
                self.parents[usize::from(*other)] = node;
                self.counts[usize::from(node)] += 1;
                self.reached.push(*other);
                room -= 1;
            }
            if spared.is_none() {
                return;
            }
        }
    }

    fn is_reached(&self, index: Index) -> bool {
        self.parents[usize::from(index)] != NOBODY || index == self.reached[0]
    }
}

#[cfg(test)]
mod tests;
