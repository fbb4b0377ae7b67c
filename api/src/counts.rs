//! What the HTTP of a node counts.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since the start.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub requests: AtomicU64,
    pub refused_requests: AtomicU64,
    pub refused_connections: AtomicU64,
    pub connections: AtomicU64,
    pub streams: AtomicU64,
    pub resyncs: AtomicU64,
    pub questions: AtomicU64,
    pub unanswered: AtomicU64,
}

impl Counts {
    pub fn add(count: &AtomicU64) {
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// By the names that signals have as their sources.
    pub fn list(&self) -> [(&'static str, u64); 8] {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        [
            ("api.requests", read(&self.requests)),
            ("api.refused_requests", read(&self.refused_requests)),
            ("api.refused_connections", read(&self.refused_connections)),
            ("api.connections", read(&self.connections)),
            ("api.streams", read(&self.streams)),
            ("api.resyncs", read(&self.resyncs)),
            ("api.questions", read(&self.questions)),
            ("api.unanswered", read(&self.unanswered)),
        ]
    }
}
