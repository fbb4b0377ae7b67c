//! Telling of events that were not kept for somebody.
//!
//! A node that is held for dead, or of another region and out of reach for
//! [`limits::LINK_TIMEOUT`], is owed nothing, so that publishers are not held up by who may be gone for
//! good; nor is one that is yet to be met. When such a node turns out to live, or to have had subscribers before, these must hear that they may have
//! missed something. A whole region may come back at once; what is said about one and the same
//! receiver within a moment is passed on once.

use std::collections::BTreeSet;
use std::time::Duration;

#[cfg(doc)]
use crate::limits;
use crate::time::{Now, Time};

/// For how long news are collected.
const COLLECT: Duration = Duration::from_millis(100);
/// Who may have missed something and is to be told: agents' connections at an edge, regions at an
/// aggregator.
#[derive(Debug)]
pub struct Missed<T> {
    receivers: BTreeSet<T>,
    due: Option<Time>,
}

impl<T> Default for Missed<T> {
    fn default() -> Missed<T> {
        Missed { receivers: BTreeSet::new(), due: None }
    }
}

impl<T: Ord> Missed<T> {
    /// These may have missed something. The caller names only receivers that exist, so they are bounded.
    pub fn extend(&mut self, now: Now, receivers: impl IntoIterator<Item = T>) {
        self.receivers.extend(receivers);
        if !self.receivers.is_empty() {
            self.due.get_or_insert(now.mono + COLLECT);
        }
    }

    /// A receiver is gone.
    pub fn remove(&mut self, receiver: &T) {
        self.receivers.remove(receiver);
    }

    /// Whom it is time to tell.
    pub fn take(&mut self, now: Now) -> BTreeSet<T> {
        match self.due.take_if(|due| *due <= now.mono) {
            Some(_) => std::mem::take(&mut self.receivers),
            None => BTreeSet::new(),
        }
    }

    /// When [`Missed::take`] is wanted.
    pub fn deadline(&self) -> Option<Time> {
        self.due
    }
}
