//! Summaries: what an edge knows of its agents, in few bytes, folded to the region and the globe.
//!
//! Every edge keeps one [`Summary`]; it is the only writer and counts its versions. What changed
//! travels as a [`SummaryUpdate`]. An aggregator keeps the latest of each edge in a [`Fold`], whose
//! [`Figure`] names the [`Cut`] it was folded over and commits to its parts ([`commitment`]). A
//! coordinator keeps the figures of the aggregators in a [`Global`] and never adds two of one region.
//!
//! **Invariant:** equal cuts give equal bytes, whichever aggregator folds and in whatever order the
//! updates came. Hence everything folded is an integer, and every bounded structure drops by a rule
//! that looks at the keys alone, never at the order of arrival.
//!
//! This module depends on [`crate::id`], [`crate::time`] and [`crate::wire::codec`] only.
//! Start at [`Summary`].

pub mod attaches;
pub mod bound;
pub mod commitment;
pub mod counts;
pub mod cut;
pub mod distinct;
pub mod distribution;
pub mod figure;
pub mod fold;
pub mod global;
mod pack;
pub mod parts;
pub mod rates;
// The edge's own summary is what this module is named for.
#[allow(clippy::module_inception)]
pub mod summary;
pub mod update;

pub use attaches::{AttachCommitment, AttachLeaf, AttachOpening, AttachTree};
pub use commitment::{Commitment, Leaf, Opening};
pub use counts::{Counts, Tally};
pub use cut::{Cut, EdgeVersion};
pub use distinct::Distinct;
pub use distribution::Distribution;
pub use figure::Figure;
pub use fold::{Fold, FoldError};
pub use global::{Global, GlobalError, GlobalFigure, RegionFigure};
pub use parts::{DistributionId, Part, PartId, Parts};
pub use rates::{Counter, Rates, Totals};
pub use summary::Summary;
pub use update::{Applied, HeldSummary, NeedWhole, SummaryUpdate};

/// The longest key of a count, in bytes; a longer one is counted under "other".
pub const KEY_BYTES_MAX: usize = 64;
/// Distinct keys of one kind in an edge's summary; what comes later is counted under "other".
pub const EDGE_KEYS_MAX: usize = 1_024;
/// Distinct keys of one kind in a figure; the lexicographically first are kept, the rest is "other".
pub const FIGURE_KEYS_MAX: usize = 4_096;
/// Distributions in one summary or figure.
pub const DISTRIBUTIONS_MAX: usize = 8;
/// Edges in one fold, hence in one cut.
pub const EDGES_MAX: usize = 1_024;
/// Regions known to one coordinator.
pub const REGIONS_MAX: usize = 256;
/// Aggregators of one region known to one coordinator.
pub const AGGREGATORS_MAX: usize = 16;
/// The greatest total that one edge may state: 2^53 - 1, so that the sum over [`EDGES_MAX`] edges
/// fits 64 bits without a check and any edge's number is exact in JSON.
pub const VALUE_MAX: u64 = (1 << 53) - 1;
