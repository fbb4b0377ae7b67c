//! What waits to be sent: frames packed end to end, written by one task in as few pieces as possible.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use starling_net::pace::Pace;
use tokio::sync::Notify;

use super::SendError;

/// What waits is written without waiting for more once it is so much.
const BATCH_BYTES: usize = 32 * 1024;
/// How long an overloaded process collects what it writes.
const PAUSE_MAX: Duration = Duration::from_millis(250);
/// The same when not all of it is publications.
const PROMPT_MAX: Duration = Duration::from_millis(100);

/// A bounded queue of bytes with any number of writers and one reader.
#[derive(Debug)]
pub(super) struct Outbox {
    queue: Mutex<Queue>,
    bytes_max: usize,
    pace: Arc<Pace>,
    /// Signalled when the queue is no longer empty, has a batch, or is closed.
    filled: Notify,
    /// Signalled when bytes left or the queue is closed.
    drained: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: BytesMut,
    /// When the first of what waits came.
    since: Option<Instant>,
    /// Whether something waits that is no publication.
    is_hurried: bool,
    /// Bytes that the writer took and the connection did not yet take.
    writing: usize,
    is_closed: bool,
}

impl Outbox {
    pub fn new(bytes_max: usize, pace: Arc<Pace>) -> Outbox {
        Outbox { queue: Mutex::default(), bytes_max, pace, filled: Notify::new(), drained: Notify::new() }
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
        let before = queue.waiting.len();
        write(&mut queue.waiting);
        if before == 0 {
            queue.since = Some(Instant::now());
        }
        let has_batch = before < BATCH_BYTES && queue.waiting.len() >= BATCH_BYTES;
        let is_hurried = shares > 1 && !std::mem::replace(&mut queue.is_hurried, true);
        drop(queue);
        if before == 0 || has_batch || is_hurried {
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

    /// Everything that waits; `None` once closed. Comes at once, unless this process runs its tasks
    /// late: then what comes is collected for a while, since each write costs both sides the same.
    pub async fn take(&self) -> Option<Bytes> {
        let mut begun = None;
        loop {
            let collecting = {
                let mut queue = self.lock();
                if queue.is_closed {
                    return None;
                }
                if begun.is_none()
                    && let Some(since) = queue.since
                {
                    self.pace.note(since.elapsed());
                    begun = Some(Instant::now());
                }
                let most = if queue.is_hurried { PROMPT_MAX } else { PAUSE_MAX };
                let until = begun.map(|begun| begun + self.pace.pause(most).unwrap_or_default());
                let is_over = until.is_some_and(|until| until <= Instant::now());
                if is_over || queue.waiting.len() >= BATCH_BYTES {
                    // Taking the memory too keeps an idle session small.
                    let taken = std::mem::take(&mut queue.waiting).freeze();
                    (queue.since, queue.is_hurried) = (None, false);
                    queue.writing = taken.len();
                    return Some(taken);
                }
                until
            };
            let filled = self.filled.notified();
            match collecting {
                Some(until) => {
                    if tokio::time::timeout_at(until.into(), filled).await.is_err() {
                        // It is time.
                    }
                }
                None => filled.await,
            }
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
