//! A lane: parcels on their way into one stream.
//!
//! Producers push and never wait. One writer packs small parcels into one buffer and passes large
//! pieces on as they are. Bytes count as queued until the transport took them.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use crossbeam::queue::SegQueue;
use quinn::{SendStream, WriteError};
use starling_core::hot::Pressure;
use starling_core::wire::frame::Parcel;
use tokio::sync::Notify;

/// What a parcel costs beyond its bytes, so that many small ones are bounded too.
const PARCEL_COST_BYTES: usize = 64;
/// Pieces up to this size are copied together before they are written.
const COPY_BYTES_MAX: usize = 4096;
/// A writer takes about this much at once.
const BATCH_BYTES: usize = 32 * 1024;

/// Why a writer ended before its lane did.
#[derive(Debug)]
pub(crate) enum Interrupted {
    /// The stream or its connection is gone.
    Write,
    /// The other side took nothing for too long.
    Stalled,
}

impl From<WriteError> for Interrupted {
    fn from(_: WriteError) -> Interrupted {
        Interrupted::Write
    }
}

/// Why a writer left its stream in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// The lane is closed, and everything is with the other side.
    Closed,
    /// The lane goes on in another stream; this one is whole up to the end of a parcel.
    Changes,
}

/// A queue of parcels with one writer.
#[derive(Debug)]
pub(crate) struct Lane {
    queue: SegQueue<Parcel>,
    queued_bytes: AtomicUsize,
    bytes_max: usize,
    closed: AtomicBool,
    /// Whether something is queued that is not to wait for company for long.
    hurried: AtomicBool,
    /// Whether company is on its way now.
    accompanied: AtomicBool,
    /// Whether the lane is to go on in another stream.
    changes: AtomicBool,
    /// Whether everything is with the other side and the writer has ended.
    finished: AtomicBool,
    written_bytes: AtomicU64,
    filled: Notify,
    drained: Notify,
}

/// What one write takes.
struct Batch {
    pieces: Vec<Bytes>,
    cost_bytes: usize,
}

/// What a writer does next.
enum Next {
    Batch(Batch),
    Left(Left),
}

impl Lane {
    /// An empty lane; pressure is told by the share of `bytes_max` that is queued.
    pub fn new(bytes_max: usize) -> Lane {
        Lane {
            queue: SegQueue::new(),
            queued_bytes: AtomicUsize::new(0),
            bytes_max,
            closed: AtomicBool::new(false),
            hurried: AtomicBool::new(false),
            accompanied: AtomicBool::new(false),
            changes: AtomicBool::new(false),
            finished: AtomicBool::new(false),
            written_bytes: AtomicU64::new(0),
            filled: Notify::new(),
            drained: Notify::new(),
        }
    }

    /// Queues a parcel, unless the lane is closed or would hold more than `limit_bytes`.
    pub fn push(&self, parcel: Parcel, limit_bytes: usize) -> Pressure {
        let pressure = self.push_lazily(parcel, limit_bytes);
        if !self.hurried.swap(true, Ordering::AcqRel) {
            self.filled.notify_one();
        }
        pressure
    }

    /// What is queued may go now: something else is written to the same peer.
    pub fn accompany(&self) {
        if self.queued_bytes() > 0 && !self.accompanied.swap(true, Ordering::AcqRel) {
            self.filled.notify_one();
        }
    }

    /// Queues a parcel that may wait for others. See [`Lane::push`].
    pub fn push_lazily(&self, parcel: Parcel, limit_bytes: usize) -> Pressure {
        if self.is_closed() {
            return Pressure::Gone;
        }
        let cost_bytes = parcel.len() + PARCEL_COST_BYTES;
        let before = self.queued_bytes.fetch_add(cost_bytes, Ordering::AcqRel);
        if before > 0 && before + cost_bytes > limit_bytes {
            self.queued_bytes.fetch_sub(cost_bytes, Ordering::AcqRel);
            return Pressure::Gone;
        }
        self.queue.push(parcel);
        // A writer that sees a count above zero looks again by itself.
        if before == 0 || before < BATCH_BYTES && before + cost_bytes >= BATCH_BYTES {
            self.filled.notify_one();
        }
        if before + cost_bytes >= self.bytes_max / 2 { Pressure::Slow } else { Pressure::Fine }
    }

    /// Whether under a quarter is queued, or the lane is closed.
    pub fn has_drained(&self) -> bool {
        self.is_closed() || self.queued_bytes() < self.bytes_max / 4
    }

    /// Bytes queued, with what their parcels cost.
    pub fn queued_bytes(&self) -> usize {
        self.queued_bytes.load(Ordering::Acquire)
    }

    /// Bytes that the transport took so far.
    pub fn written_bytes(&self) -> u64 {
        self.written_bytes.load(Ordering::Relaxed)
    }

    /// Waits until under half is queued or the lane is closed.
    pub async fn room(&self) {
        loop {
            let mut notified = std::pin::pin!(self.drained.notified());
            notified.as_mut().enable();
            if self.is_closed() || self.queued_bytes() < self.bytes_max / 2 {
                return;
            }
            notified.await;
        }
    }

    /// Takes no more; what is queued is still written.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.filled.notify_one();
        self.drained.notify_waiters();
    }

    /// Whether nothing more is taken.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Closes the lane and waits until the other side has everything, or its writer gave up.
    pub async fn finish(&self, patience: Duration) {
        self.close();
        let until = tokio::time::Instant::now() + patience;
        while !self.finished.load(Ordering::Acquire) && tokio::time::Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Has the writer leave its stream behind the parcels that it is writing.
    pub fn change_stream(&self) {
        self.changes.store(true, Ordering::Release);
        self.filled.notify_one();
    }

    /// Writes to `stream` until the lane is closed and empty, or goes on in another stream; fails when
    /// nothing was taken for `stall`.
    /// A lane that fills after it was empty is written after `pause`, or when a batch is full;
    /// `pause` is told whether something hurries. `before` is called before each batch.
    pub async fn write_to(
        &self,
        stream: &mut SendStream,
        stall: Option<Duration>,
        pause: impl Fn(bool) -> Option<Duration>,
        before: impl Fn(),
    ) -> Result<Left, Interrupted> {
        let result = self.write_all_to(stream, stall, pause, before).await;
        if let Ok(Left::Changes) = result {
            return result;
        }
        self.close();
        self.finished.store(true, Ordering::Release);
        result
    }

    /// Takes what is queued, for who reads it in this very process; `None` once the lane is closed and
    /// empty.
    pub async fn read(&self) -> Option<Vec<Bytes>> {
        loop {
            match self.next_batch(|_| None).await {
                Next::Batch(batch) => {
                    self.settle(batch.cost_bytes);
                    return Some(batch.pieces);
                }
                // There is no stream.
                Next::Left(Left::Changes) => {}
                Next::Left(Left::Closed) => {
                    self.finished.store(true, Ordering::Release);
                    return None;
                }
            }
        }
    }

    async fn write_all_to(
        &self,
        stream: &mut SendStream,
        stall: Option<Duration>,
        pause: impl Fn(bool) -> Option<Duration>,
        before: impl Fn(),
    ) -> Result<Left, Interrupted> {
        loop {
            let mut batch = match self.next_batch(&pause).await {
                Next::Batch(batch) => batch,
                Next::Left(Left::Changes) => return Ok(Left::Changes),
                Next::Left(Left::Closed) => break,
            };
            before();
            let mut at = 0;
            while at < batch.pieces.len() {
                let step = stream.write_chunks(&mut batch.pieces[at..]);
                let written = match stall {
                    Some(limit) => {
                        tokio::time::timeout(limit, step).await.map_err(|_| Interrupted::Stalled)??
                    }
                    None => step.await?,
                };
                self.written_bytes.fetch_add(written.bytes as u64, Ordering::Relaxed);
                at += written.chunks;
            }
            self.settle(batch.cost_bytes);
        }
        if stream.finish().is_ok() {
            // Ends when the other side has everything, or with the connection.
            stream.stopped().await.map_err(|_| Interrupted::Write)?;
        }
        Ok(Left::Closed)
    }

    fn settle(&self, cost_bytes: usize) {
        let before = self.queued_bytes.fetch_sub(cost_bytes, Ordering::AcqRel);
        let half = self.bytes_max / 2;
        if before >= half && before - cost_bytes < half {
            self.drained.notify_waiters();
        }
    }

    /// Waits for parcels, or for a reason to leave the stream.
    async fn next_batch(&self, pause: impl Fn(bool) -> Option<Duration>) -> Next {
        loop {
            if self.changes.swap(false, Ordering::AcqRel) {
                return Next::Left(Left::Changes);
            }
            let is_closed = self.is_closed();
            let batch = self.take_batch();
            if batch.cost_bytes > 0 {
                return Next::Batch(batch);
            }
            if is_closed {
                return Next::Left(Left::Closed);
            }
            if self.queued_bytes() > 0 {
                // A producer has counted its parcel and is about to queue it.
                tokio::task::yield_now().await;
            } else {
                self.filled.notified().await;
                self.collect(&pause).await;
            }
        }
    }

    /// Waits for more of what began to come.
    async fn collect(&self, pause: impl Fn(bool) -> Option<Duration>) {
        let mut begun = None;
        while (1..BATCH_BYTES).contains(&self.queued_bytes()) && !self.is_closed() {
            if self.accompanied.swap(false, Ordering::AcqRel) {
                return;
            }
            let Some(pause) = pause(self.hurried.load(Ordering::Acquire)) else { return };
            let until = *begun.get_or_insert_with(tokio::time::Instant::now) + pause;
            if tokio::time::timeout_at(until, self.filled.notified()).await.is_err() {
                return;
            }
        }
    }

    fn take_batch(&self) -> Batch {
        self.hurried.store(false, Ordering::Release);
        let mut pieces = Vec::new();
        let (mut cost_bytes, mut bytes) = (0, 0);
        while bytes < BATCH_BYTES {
            let Some(parcel) = self.queue.pop() else { break };
            bytes += parcel.len();
            cost_bytes += parcel.len() + PARCEL_COST_BYTES;
            pieces.push(parcel.front);
            pieces.extend(parcel.shared);
        }
        Batch { pieces: pack(pieces), cost_bytes }
    }
}

/// Copies neighbouring small pieces together.
fn pack(pieces: Vec<Bytes>) -> Vec<Bytes> {
    let is_small = |piece: &Bytes| piece.len() <= COPY_BYTES_MAX;
    if pieces.len() <= 1 {
        return pieces;
    }
    let mut packed = Vec::new();
    for run in pieces.chunk_by(|left, right| is_small(left) && is_small(right)) {
        if let [alone] = run {
            packed.push(alone.clone());
            continue;
        }
        let mut joined = BytesMut::with_capacity(run.iter().map(Bytes::len).sum());
        run.iter().for_each(|piece| joined.extend_from_slice(piece));
        packed.push(joined.freeze());
    }
    packed.retain(|piece| !piece.is_empty());
    packed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(next: Next) -> Batch {
        match next {
            Next::Batch(batch) => batch,
            Next::Left(left) => panic!("there is something to write: {left:?}"),
        }
    }

    fn parcel(bytes: usize) -> Parcel {
        Bytes::from(vec![7; bytes]).into()
    }

    #[tokio::test]
    async fn pressure_rises_with_what_is_queued_and_falls_when_it_is_written() {
        let lane = Lane::new(10_000);
        assert_eq!(lane.push(parcel(1_000), 10_000), Pressure::Fine);
        assert_eq!(lane.push(parcel(5_000), 10_000), Pressure::Slow);
        assert_eq!(lane.push(parcel(5_000), 10_000), Pressure::Gone);
        assert_eq!(lane.push(parcel(5_000), 20_000), Pressure::Slow);
        assert!(!lane.has_drained());
        let batch = batch(lane.next_batch(|_| None).await);
        assert_eq!(batch.pieces.iter().map(Bytes::len).sum::<usize>(), 11_000);
        assert!(!lane.has_drained(), "not written yet");
        lane.settle(batch.cost_bytes);
        assert!(lane.has_drained());
        lane.room().await;
        lane.close();
        assert_eq!(lane.push(parcel(1), 10_000), Pressure::Gone);
        assert!(matches!(lane.next_batch(|_| None).await, Next::Left(Left::Closed)));
    }

    #[tokio::test]
    async fn a_writer_leaves_its_stream_once_and_loses_nothing() {
        let lane = Lane::new(10_000);
        lane.push(parcel(1), 10_000);
        lane.change_stream();
        assert!(matches!(lane.next_batch(|_| None).await, Next::Left(Left::Changes)));
        let whole = batch(lane.next_batch(|_| None).await);
        assert_eq!(whole.pieces.len(), 1, "what was queued goes into the next stream");
        lane.settle(whole.cost_bytes);
        let lane = std::sync::Arc::new(lane);
        let waiting = tokio::spawn({
            let lane = std::sync::Arc::clone(&lane);
            async move { matches!(lane.next_batch(|_| None).await, Next::Left(Left::Changes)) }
        });
        tokio::task::yield_now().await;
        lane.change_stream();
        assert!(waiting.await.unwrap(), "a writer that waits is woken");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_collects_parcels_until_it_is_over_or_a_batch_is_full() {
        let lane = std::sync::Arc::new(Lane::new(1_000_000));
        let bytes = |batch: Batch| batch.pieces.iter().map(Bytes::len).sum::<usize>();
        let pause = |is_hurried: bool| Some(Duration::from_millis(if is_hurried { 100 } else { 300 }));
        let next = || {
            let lane = std::sync::Arc::clone(&lane);
            tokio::spawn(async move {
                let batch = batch(lane.next_batch(pause).await);
                lane.settle(batch.cost_bytes);
                bytes(batch)
            })
        };
        let waiting = next();
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_millis(10)).await;
            lane.push(parcel(10), 1_000_000);
        }
        let begun = tokio::time::Instant::now();
        assert_eq!(waiting.await.unwrap(), 50);
        assert_eq!(begun.elapsed().as_millis(), 60, "the pause began with the first parcel");
        let waiting = next();
        tokio::task::yield_now().await;
        let begun = tokio::time::Instant::now();
        (0..4).for_each(|_| {
            lane.push(parcel(10_000), 1_000_000);
        });
        assert_eq!(waiting.await.unwrap(), 40_000);
        assert_eq!(begun.elapsed().as_millis(), 0);

        // What may wait does so until it is hurried, or has company.
        let waiting = next();
        tokio::task::yield_now().await;
        lane.push_lazily(parcel(1), 1_000_000);
        let begun = tokio::time::Instant::now();
        tokio::time::sleep(Duration::from_millis(40)).await;
        lane.push(parcel(1), 1_000_000);
        assert_eq!(waiting.await.unwrap(), 2);
        assert_eq!(begun.elapsed().as_millis(), 100);
        let waiting = next();
        tokio::task::yield_now().await;
        lane.push_lazily(parcel(1), 1_000_000);
        let begun = tokio::time::Instant::now();
        tokio::time::sleep(Duration::from_millis(40)).await;
        lane.accompany();
        assert_eq!(waiting.await.unwrap(), 1);
        assert_eq!(begun.elapsed().as_millis(), 40);
    }

    #[test]
    fn small_pieces_are_joined_and_large_ones_are_not_copied() {
        let large = Bytes::from(vec![1; COPY_BYTES_MAX + 1]);
        let small = Bytes::from_static(b"ab");
        let packed = pack(vec![small.clone(), small.clone(), large.clone(), small.clone()]);
        assert_eq!(packed, [Bytes::from_static(b"abab"), large.clone(), small]);
        assert_eq!(packed[1].as_ptr(), large.as_ptr());
    }
}
