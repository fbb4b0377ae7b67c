//! The global figure: for each region the best figure any aggregator offers, never two added.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{AGGREGATORS_MAX, Figure, Parts, REGIONS_MAX};
use crate::id::{RegionId, ShortId};
use crate::time::Time;

/// Why a figure was not taken. Nothing was changed; the operator is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GlobalError {
    /// More than [`REGIONS_MAX`] regions.
    #[error("more than {REGIONS_MAX} regions")]
    TooManyRegions,
    /// More than [`AGGREGATORS_MAX`] aggregators in one region.
    #[error("more than {AGGREGATORS_MAX} aggregators in one region")]
    TooManyAggregators,
}

/// A region's figure, who made it, and when it was last so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegionFigure {
    /// The aggregator whose figure it is.
    pub aggregator: ShortId,
    /// The wall clock of that aggregator when it last said so; the figure's age is counted from here.
    pub as_of: Time,
    /// The figure.
    pub figure: Arc<Figure>,
}

/// The fold of one figure of each region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GlobalFigure {
    /// The figure of each region.
    pub regions: BTreeMap<RegionId, RegionFigure>,
    /// The fold of them all.
    pub parts: Parts,
}

/// What a coordinator knows of all regions.
///
/// Of each region one figure is shown: one that no other dominates. If several are left, because
/// each has something the other lacks, it is the one whose cut has more edges, then the one with more
/// agents, then the one with the greater root, then that of the lower aggregator. The number of
/// edges comes first since an aggregator that is cut off loses edges, not agents of an edge.
///
/// An edge that leaves a region makes the newer cut the smaller one, and the figure that still has
/// the edge is shown until its aggregator has forgotten the edge too, or is removed here.
#[derive(Debug, Default)]
pub struct Global {
    regions: BTreeMap<RegionId, BTreeMap<ShortId, RegionFigure>>,
}

impl Global {
    /// Knows no region.
    pub fn new() -> Global {
        Global::default()
    }

    /// Takes the newest figure of an aggregator, in the place of the one before; `as_of` is the
    /// aggregator's wall clock. Figures of one aggregator are offered in the order it sent them in.
    pub fn offer(
        &mut self,
        region: RegionId,
        aggregator: ShortId,
        figure: Arc<Figure>,
        as_of: Time,
    ) -> Result<(), GlobalError> {
        if !self.regions.contains_key(&region) && self.regions.len() >= REGIONS_MAX {
            return Err(GlobalError::TooManyRegions);
        }
        let offers = self.regions.entry(region).or_default();
        if !offers.contains_key(&aggregator) && offers.len() >= AGGREGATORS_MAX {
            return Err(GlobalError::TooManyAggregators);
        }
        offers.insert(aggregator, RegionFigure { aggregator, as_of, figure });
        Ok(())
    }

    /// An aggregator says that its figure is still the one with this root; false when it is not held
    /// and must be sent. Spares the figure when nothing changed, and keeps it from ageing.
    pub fn confirm(&mut self, region: RegionId, aggregator: ShortId, root: &[u8; 32], as_of: Time) -> bool {
        let held = self.regions.get_mut(&region).and_then(|offers| offers.get_mut(&aggregator));
        let Some(held) = held.filter(|held| held.figure.root == *root) else {
            return false;
        };
        held.as_of = as_of;
        true
    }

    /// Forgets an aggregator that has left or died; whether it was known. A region without one is
    /// forgotten with it.
    pub fn remove_aggregator(&mut self, region: RegionId, aggregator: ShortId) -> bool {
        let Some(offers) = self.regions.get_mut(&region) else {
            return false;
        };
        let was_known = offers.remove(&aggregator).is_some();
        if offers.is_empty() {
            self.regions.remove(&region);
        }
        was_known
    }

    /// The figure shown for a region.
    pub fn region(&self, region: RegionId) -> Option<&RegionFigure> {
        self.regions.get(&region).and_then(best)
    }

    /// The global figure: folded in the order of the regions, though no order would change it.
    pub fn figure(&self) -> GlobalFigure {
        let shown = self.regions.iter().filter_map(|(region, offers)| Some((*region, best(offers)?.clone())));
        let regions: BTreeMap<RegionId, RegionFigure> = shown.collect();
        let mut parts = Parts::default();
        regions.values().for_each(|region| parts.fold(&region.figure.parts));
        GlobalFigure { regions, parts }
    }
}

/// The figure to show, by the rule of [`Global`].
fn best(offers: &BTreeMap<ShortId, RegionFigure>) -> Option<&RegionFigure> {
    let is_dominated = |one: &RegionFigure| {
        offers.values().any(|other| {
            other.figure.cut.dominates(&one.figure.cut) && !one.figure.cut.dominates(&other.figure.cut)
        })
    };
    let left = offers.values().filter(|one| !is_dominated(one));
    // Of equal keys the last one wins, hence from the highest aggregator to the lowest.
    left.rev().max_by_key(|one| (one.figure.cut.edges.len(), one.figure.agents(), one.figure.root))
}

#[cfg(test)]
mod tests;
