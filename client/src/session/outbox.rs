//! What waits to be sent: frames packed end to end, written by one task in as few pieces as possible.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use tokio::sync::Notify;

use super::SendError;

/// A bounded queue of bytes with any number of writers and one reader.
#[derive(Debug)]
pub(super) struct Outbox {
    queue: Mutex<Queue>,
    bytes_max: usize,
    /// Signalled when the queue is no longer empty or is closed.
    filled: Notify,
    /// Signalled when bytes left or the queue is closed.
    drained: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: BytesMut,
    /// Bytes that the writer took and the connection did not yet take.
    writing: usize,
    is_closed: bool,
}

impl Outbox {
    pub fn new(bytes_max: usize) -> Outbox {
        Outbox { queue: Mutex::default(), bytes_max, filled: Notify::new(), drained: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // A panic while a frame is written could at worst leave half a frame, which the edge refuses.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends what `write` writes, unless `shares` times the bound is reached already. So what must
    /// not wait behind publications has room that they cannot take.
    pub fn push(&self, shares: usize, write: impl FnOnce(&mut BytesMut)) -> Result<(), SendError> {
        let mut queue = self.lock();
        if queue.is_closed {
            return Err(SendError::Closed);
        }
        if queue.waiting.len() + queue.writing >= self.bytes_max.saturating_mul(shares) {
            return Err(SendError::Full);
        }
        let was_empty = queue.waiting.is_empty();
        write(&mut queue.waiting);
        drop(queue);
        if was_empty {
            self.filled.notify_one();
        }
        Ok(())
    }

    pub fn queued_bytes(&self) -> usize {
        let queue = self.lock();
        queue.waiting.len() + queue.writing
    }

    /// Waits until a publication would be taken.
    pub async fn room(&self) -> Result<(), SendError> {
        loop {
            let drained = self.drained.notified();
            {
                let queue = self.lock();
                if queue.is_closed {
                    return Err(SendError::Closed);
                }
                if queue.waiting.len() + queue.writing < self.bytes_max {
                    return Ok(());
                }
            }
            drained.await;
        }
    }

    /// Everything that waits, as soon as there is something; `None` once closed.
    pub async fn take(&self) -> Option<Bytes> {
        loop {
            {
                let mut queue = self.lock();
                if queue.is_closed {
                    return None;
                }
                if !queue.waiting.is_empty() {
                    // Taking the memory too keeps an idle session small.
                    let taken = std::mem::take(&mut queue.waiting).freeze();
                    queue.writing = taken.len();
                    return Some(taken);
                }
            }
            self.filled.notified().await;
        }
    }

    /// The connection took `count` bytes of what was taken here.
    pub fn written(&self, count: usize) {
        let mut queue = self.lock();
        queue.writing = queue.writing.saturating_sub(count);
        drop(queue);
        self.drained.notify_waiters();
    }

    pub fn close(&self) {
        let mut queue = self.lock();
        queue.is_closed = true;
        queue.waiting = BytesMut::new();
        drop(queue);
        self.filled.notify_one();
        self.drained.notify_waiters();
    }
}
