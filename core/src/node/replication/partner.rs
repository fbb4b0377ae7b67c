//! A peer that has a replica too.

use std::time::Duration;

use crate::id::ShortId;
use crate::time::{Now, Time};

/// Bytes that one peer is sent to repair its replica, a second.
const REPAIR_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A peer that has a replica too.
#[derive(Debug)]
pub(super) struct Partner {
    pub peer: ShortId,
    pub since: Time,
    /// Whether it was shown this node's root.
    pub has_seen_root: bool,
    /// The second that is counted, and what was sent in it.
    second: Time,
    sent_bytes: usize,
}

impl Partner {
    pub fn new(now: Now, peer: ShortId) -> Partner {
        Partner { peer, since: now.mono, has_seen_root: false, second: now.mono, sent_bytes: 0 }
    }

    /// Whether `bytes` more may go to this peer now.
    pub fn may_send(&mut self, now: Now, bytes: usize) -> bool {
        if now.mono.since(self.second) >= Duration::from_secs(1) {
            (self.second, self.sent_bytes) = (now.mono, 0);
        }
        self.sent_bytes += bytes;
        self.sent_bytes <= REPAIR_BYTES_MAX
    }
}
