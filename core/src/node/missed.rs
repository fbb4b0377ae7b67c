//! Telling of events that were not kept for somebody.
//!
//! Nodes that could not reach one another for [`limits::LINK_TIMEOUT`] owe each other nothing, so that
//! publishers are not held up by who may be gone for good; nor do nodes that have yet to meet. When one
//! of them turns out to live, or to have had subscribers before, these must hear that they may have
//! missed something. A whole region may come back at once; what is said about one and the same
//! receiver within a moment is passed on once.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::id::RegionId;
#[cfg(doc)]
use crate::limits;
use crate::time::{Now, Time};

/// For how long news are collected.
const COLLECT: Duration = Duration::from_millis(100);
/// Regions that are remembered at the most.
const REGIONS_MAX: usize = 1024;

/// Regions whose subscribers have missed something, 0 for who keeps this.
#[derive(Debug, Default)]
pub struct Missed {
    regions: BTreeSet<RegionId>,
    due: Option<Time>,
}

impl Missed {
    /// Subscribers of `region` may have missed something.
    pub fn add(&mut self, now: Now, region: RegionId) {
        if self.regions.len() < REGIONS_MAX {
            self.regions.insert(region);
            self.due.get_or_insert(now.mono + COLLECT);
        }
    }

    /// Whom it is time to tell.
    pub fn take(&mut self, now: Now) -> BTreeSet<RegionId> {
        match self.due.take_if(|due| *due <= now.mono) {
            Some(_) => std::mem::take(&mut self.regions),
            None => BTreeSet::new(),
        }
    }

    /// When [`Missed::take`] is wanted.
    pub fn deadline(&self) -> Option<Time> {
        self.due
    }
}
