//! The fold: an aggregator's edges and the figure they make.

use std::collections::BTreeMap;

use super::commitment::{Node, Tree};
use super::counts::TallySum;
use super::distribution::DistributionSum;
use super::{
    Applied, Cut, Distinct, Distribution, DistributionId, EDGES_MAX, Figure, HeldSummary, Leaf, NeedWhole,
    Opening, Part, PartId, Parts, SummaryUpdate, Totals,
};
use crate::id::ShortId;

/// Why an update was not taken. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FoldError {
    /// Ask the edge for its whole summary; nobody is at fault.
    #[error(transparent)]
    NeedWhole(#[from] NeedWhole),
    /// The region has more edges than [`EDGES_MAX`]; its operator is at fault.
    #[error("more than {EDGES_MAX} edges in one region")]
    TooManyEdges,
}

/// The latest summary of each edge of a region, and their fold.
///
/// Counts and distributions are kept summed up, and the union of the distinct as long as it only
/// grows; the rest is folded for each figure. To fold everything anew would cost milliseconds at a
/// thousand edges. All of it is exact, so a figure does not show how it was come by.
#[derive(Debug, Default)]
pub struct Fold {
    edges: BTreeMap<ShortId, Edge>,
    sums: Sums,
    /// Nothing when an edge has taken back what it saw, so that the union must be made anew.
    distinct: Option<Distinct>,
}

#[derive(Debug)]
struct Edge {
    held: HeldSummary,
    /// BLAKE3 of the parts held.
    digest: [u8; 32],
    /// The node of this edge's leaf.
    node: Node,
}

/// What can be kept summed up because it can be taken away again exactly.
#[derive(Debug, Default)]
struct Sums {
    states: TallySum,
    tags: TallySum,
    distributions: BTreeMap<DistributionId, DistributionSum>,
}

impl Sums {
    /// Puts what `now` has of the part called as `before` in the place of that.
    fn exchange(&mut self, before: &Part, now: &Parts) {
        match before {
            Part::States(before) => self.states.exchange(before, &now.counts.states),
            Part::Tags(before) => self.tags.exchange(before, &now.counts.tags),
            Part::Distribution(id, before) => match now.distributions.get(id) {
                Some(now) => self.distributions.entry(*id).or_default().exchange(before, now),
                None if before.is_empty() => {}
                None => self.distributions.entry(*id).or_default().exchange(before, &Distribution::default()),
            },
            Part::Distinct(_) | Part::Totals(_) => {}
        }
    }
}

impl Fold {
    /// A fold without edges.
    pub fn new() -> Fold {
        Fold::default()
    }

    /// Takes what `edge` sent, from the wire or from a [`super::Summary`]; the caller has made sure that
    /// it was this edge.
    ///
    /// Idempotent, and at the end independent of the order of all updates that were not refused.
    pub fn apply(&mut self, edge: ShortId, update: SummaryUpdate) -> Result<Applied, FoldError> {
        let replaced = if let Some(known) = self.edges.get_mut(&edge) {
            let Some(replaced) = known.held.replace(update)? else {
                return Ok(Applied::Ignored);
            };
            replaced
        } else {
            if self.edges.len() >= EDGES_MAX {
                return Err(FoldError::TooManyEdges);
            }
            let held = HeldSummary::of_whole(update)?;
            let node = Node { hash: [0; 32], agents: 0 };
            self.edges.insert(edge, Edge { held, digest: [0; 32], node });
            PartId::all().map(Part::empty).collect()
        };
        let known = self.edges.get_mut(&edge).expect("it was found or put here above");
        known.digest = known.held.parts().digest();
        known.node = known.leaf(edge).node();
        let now = known.held.parts();
        for before in &replaced {
            self.sums.exchange(before, now);
            if let Part::Distinct(before) = before {
                if !now.distinct.covers(before) {
                    self.distinct = None;
                } else if let Some(union) = &mut self.distinct {
                    union.merge(&now.distinct);
                }
            }
        }
        Ok(Applied::Advanced)
    }

    /// Forgets an edge that has left or died; whether it was known.
    ///
    /// If it comes back it must send its whole summary.
    pub fn remove_edge(&mut self, edge: ShortId) -> bool {
        let Some(gone) = self.edges.remove(&edge) else {
            return false;
        };
        let parts = gone.held.parts();
        for id in PartId::all() {
            self.sums.exchange(&parts.part(id), &Parts::default());
        }
        if !parts.distinct.is_empty() {
            self.distinct = None;
        }
        true
    }

    /// How many edges are known.
    pub fn len(&self) -> usize {
        self.edges.len()
    }

    /// Whether no edge is known.
    pub fn is_empty(&self) -> bool {
        self.edges.is_empty()
    }

    /// What is held of an edge, to answer a question about it and to acknowledge its version.
    pub fn edge(&self, edge: ShortId) -> Option<&HeldSummary> {
        self.edges.get(&edge).map(|known| &known.held)
    }

    /// The cut of a figure made now.
    pub fn cut(&self) -> Cut {
        Cut { edges: self.edges.iter().map(|(edge, known)| (*edge, known.held.version())).collect() }
    }

    /// The figure of the region.
    pub fn figure(&mut self) -> Figure {
        let mut parts = Parts::default();
        parts.counts.states = self.sums.states.tally();
        parts.counts.tags = self.sums.tags.tally();
        parts.distinct = self.distinct.get_or_insert_with(|| union_of(&self.edges)).clone();
        parts.totals = self.edges.values().fold(Totals::default(), |mut sum, known| {
            sum.fold(&known.held.parts().totals);
            sum
        });
        parts.distributions = self.distributions();
        Figure { cut: self.cut(), parts, root: self.tree().commitment().root }
    }

    fn distributions(&self) -> BTreeMap<DistributionId, Distribution> {
        let mut ends: BTreeMap<DistributionId, (u64, u64)> = BTreeMap::new();
        for known in self.edges.values() {
            for (id, distribution) in &known.held.parts().distributions {
                let (min, max) = ends.entry(*id).or_insert((u64::MAX, 0));
                *min = distribution.min().map_or(*min, |least| least.min(*min));
                *max = distribution.max().map_or(*max, |most| most.max(*max));
            }
        }
        let union = |(id, (min, max))| Some((id, self.sums.distributions.get(&id)?.distribution(min, max)));
        ends.into_iter().filter_map(union).collect()
    }

    /// The proof that the figure made now has `edge` in it, nothing when it is not known.
    pub fn open(&self, edge: ShortId) -> Option<Opening> {
        let known = self.edges.get(&edge)?;
        let index = self.edges.range(..edge).count();
        let siblings = self.tree().siblings(index);
        let index = u32::try_from(index).expect("a fold has at most 1,024 edges");
        Some(Opening { leaf: known.leaf(edge), index, siblings })
    }

    fn tree(&self) -> Tree {
        Tree::of_leaves(self.edges.values().map(|known| known.node))
    }
}

impl Edge {
    fn leaf(&self, edge: ShortId) -> Leaf {
        let agents = self.held.parts().counts.agents();
        Leaf { edge, version: self.held.version(), agents, digest: self.digest }
    }
}

fn union_of(edges: &BTreeMap<ShortId, Edge>) -> Distinct {
    let mut union = Distinct::default();
    edges.values().for_each(|known| union.merge(&known.held.parts().distinct));
    union
}

#[cfg(test)]
mod tests;
