//! A region in one process: what one node says reaches all others, each of which verifies it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use starling_core::limits;
use starling_net::NodeHandle;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use crate::guests::{Author, Inmate};
use crate::part::{PATIENCE, Part, SUBJECT, Told, counts};
use crate::receipts::{Phase, Receipts, new_histogram, wall_nanos};

/// Between two messages that are alone on their way.
const APART: Duration = Duration::from_millis(10);
/// How long such messages are sent at the most.
const ALONE_MAX: Duration = Duration::from_secs(5);
/// How long the region rests before them.
const QUIET: Duration = Duration::from_millis(500);

/// How many entries each receiver has.
#[derive(Debug)]
struct Reached {
    counts: Vec<AtomicU64>,
    grew: Notify,
}

impl Reached {
    fn set(&self, receiver: usize, count: u64) {
        self.counts[receiver].store(count, Ordering::Release);
        self.grew.notify_one();
    }

    /// Entries that all have.
    fn by_all(&self) -> u64 {
        self.counts.iter().map(|count| count.load(Ordering::Acquire)).min().unwrap_or(0)
    }

    /// Waits until all have `count`.
    async fn wait_for(&self, count: u64, until: Instant) -> Result<()> {
        while self.by_all() < count {
            let grew = timeout_at(until, self.grew.notified()).await;
            ensure!(grew.is_ok(), "only {} of {count} entries reached all nodes", self.by_all());
        }
        Ok(())
    }
}

/// Publishes from the first node to all others, at most `window` entries that not all have.
///
/// # Errors
/// A node does not take its agent, or entries do not come.
pub async fn play(part: &Part, nodes: &[NodeHandle], window: u32) -> Result<Told> {
    let (first, others) = nodes.split_first().context("a region has nodes")?;
    let counts = others.iter().map(|_| AtomicU64::new(0)).collect();
    let reached = Arc::new(Reached { counts, grew: Notify::new() });
    let mut receivers = JoinSet::new();
    for (number, node) in others.iter().enumerate() {
        let mut inmate = Inmate::attach(node).await?;
        inmate.subscribe(SUBJECT).await?;
        let reached = Arc::clone(&reached);
        receivers
            .spawn(async move { inmate.receive(|receipts| reached.set(number, receipts.delivered)).await });
    }
    let mut author = Inmate::attach(first).await?.author(part.payload);
    part.wait_for_go().await?;
    flood(part, &mut author, &reached, u64::from(window)).await?;
    let alone = alone(part, &mut author, &reached).await?;
    author.publish(1, Phase::Last).await;
    let all = timeout(part.patience(), receivers.join_all()).await.context("the end did not come")?;
    let all: Vec<Receipts> = all.into_iter().collect::<Result<_>>()?;
    author.settle(0, PATIENCE).await?;
    Ok(Told { sent: author.sent(), single: alone, ..Told::of(&all) })
}

/// Publishes whenever there is room in the window.
async fn flood(part: &Part, author: &mut Author, reached: &Reached, window: u64) -> Result<()> {
    let (warm, over) = part.schedule();
    loop {
        let now = Instant::now();
        if now >= over {
            return reached.wait_for(author.sent(), now + PATIENCE).await;
        }
        reached.wait_for((author.sent() + 1).saturating_sub(window), now + PATIENCE).await?;
        let room = window - (author.sent() - reached.by_all());
        let phase = if now < warm { Phase::WarmUp } else { Phase::Measured };
        author.publish((room as usize).min(limits::BUNDLE_ENTRIES_MAX), phase).await;
        tokio::task::yield_now().await;
    }
}

/// Publishes one entry after the other; the times in nanoseconds until all had each.
async fn alone(part: &Part, author: &mut Author, reached: &Reached) -> Result<Vec<(u64, u64)>> {
    tokio::time::sleep(QUIET).await;
    let mut times = new_histogram();
    let until = Instant::now() + Duration::from_millis(part.measure_ms).min(ALONE_MAX);
    while Instant::now() < until {
        let begun = wall_nanos();
        author.publish(1, Phase::Single).await;
        reached.wait_for(author.sent(), Instant::now() + PATIENCE).await?;
        times.saturating_record(wall_nanos().saturating_sub(begun).max(1));
        tokio::time::sleep(APART).await;
    }
    Ok(counts(&times))
}
