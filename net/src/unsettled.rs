//! What a client published and has no outcome yet, counted at its edge.
//!
//! A client keeps at most its window unacknowledged ([`limits::CLIENT_UNACKNOWLEDGED_BYTES_MAX`]), or one
//! message that is larger. Nobody need believe that: who sends more is not read until something of it has
//! an outcome, so that a slow subscriber, or a receiver that is looked for, costs no more memory than
//! honest clients would make it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use starling_core::limits;
use starling_core::wire::frame::FRAME_HEADER_BYTES;
use tokio::sync::Notify;

/// What an honest client never exceeds: its window, or the largest frame.
pub(crate) const UNSETTLED_BYTES_MAX: usize = {
    let frame = limits::FRAME_BYTES_MAX + FRAME_HEADER_BYTES;
    let window = limits::CLIENT_UNACKNOWLEDGED_BYTES_MAX;
    if frame > window { frame } else { window }
};

/// Bytes without an outcome on one connection.
#[derive(Debug, Default)]
pub(crate) struct Unsettled {
    bytes: AtomicUsize,
    ended: AtomicBool,
    room: Notify,
}

impl Unsettled {
    /// The client published so much; to be called before the hot path has it.
    pub fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
    }

    /// So much has an outcome.
    pub fn settle(&self, bytes: usize) {
        let before = self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        debug_assert!(before >= bytes, "more has an outcome than was published");
        if before > UNSETTLED_BYTES_MAX {
            self.room.notify_waiters();
        }
    }

    /// Nobody will be told of outcomes any more.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.room.notify_waiters();
    }

    /// Whether the client is within what an honest one has, or nobody will be told of outcomes any more.
    pub fn has_room(&self) -> bool {
        self.bytes.load(Ordering::Acquire) <= UNSETTLED_BYTES_MAX || self.ended.load(Ordering::Acquire)
    }

    /// Waits while the client is beyond what an honest one has.
    pub async fn room(&self) {
        while !self.has_room() {
            let mut notified = std::pin::pin!(self.room.notified());
            notified.as_mut().enable();
            if self.has_room() {
                return;
            }
            notified.await;
        }
    }
}
