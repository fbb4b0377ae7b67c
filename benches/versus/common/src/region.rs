//! A region in one process, as `starling bench region` plays it: one origin to all other nodes, at
//! most a window of entries that not all have; then one at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::Settings;
use crate::receipts::{
    LAST, MEASURED, Receipts, SINGLE, WARM_UP, new_histogram, times, wall_nanos, write_head,
};

/// Nodes.
pub const NODES: usize = 50;
/// Entries on their way that not all have, where nothing of the rival's allows less.
pub const WINDOW: u64 = 2_048;
/// Between two messages that are alone on their way.
pub const APART: Duration = Duration::from_millis(10);
/// How long such messages are sent at the most.
pub const ALONE_MAX: Duration = Duration::from_secs(5);
/// How long the region rests before them.
const QUIET: Duration = Duration::from_millis(500);
/// How long entries may take to reach all.
const PATIENCE: Duration = Duration::from_secs(120);

/// How many entries each receiver has.
#[derive(Debug)]
pub struct Reached {
    counts: Vec<AtomicU64>,
    grew: Notify,
}

impl Reached {
    /// Of so many receivers, none of which has any.
    pub fn new(receivers: usize) -> Arc<Reached> {
        Arc::new(Reached { counts: (0..receivers).map(|_| AtomicU64::new(0)).collect(), grew: Notify::new() })
    }

    /// A receiver has `count`.
    pub fn set(&self, receiver: usize, count: u64) {
        self.counts[receiver].store(count, Ordering::Release);
        self.grew.notify_one();
    }

    /// Entries that all have.
    pub fn by_all(&self) -> u64 {
        self.counts.iter().map(|count| count.load(Ordering::Acquire)).min().unwrap_or(0)
    }

    /// Waits until all have `count`.
    ///
    /// # Errors
    /// Not in time.
    pub async fn wait_for(&self, count: u64) -> Result<()> {
        if self.by_all() >= count {
            return Ok(());
        }
        let reached = async {
            while self.by_all() < count {
                self.grew.notified().await;
            }
        };
        let waited = timeout(PATIENCE, reached).await;
        waited.with_context(|| format!("only {} of {count} entries reached all nodes", self.by_all()))
    }
}

/// Who publishes.
struct Origin<P> {
    settings: Settings,
    window: u64,
    reached: Arc<Reached>,
    publish: P,
    sent: u64,
}

impl<P: AsyncFnMut(Vec<u8>) -> Result<()>> Origin<P> {
    async fn next(&mut self, phase: u8) -> Result<()> {
        let mut payload = vec![0; self.settings.payload];
        write_head(&mut payload, self.sent, wall_nanos(), phase);
        self.sent += 1;
        (self.publish)(payload).await
    }

    /// Publishes whenever there is room in the window.
    async fn flood(&mut self) -> Result<()> {
        let (warm, over) = self.settings.schedule();
        loop {
            let now = Instant::now();
            if now >= over {
                return self.reached.wait_for(self.sent).await;
            }
            self.reached.wait_for((self.sent + 1).saturating_sub(self.window)).await?;
            self.next(if now < warm { WARM_UP } else { MEASURED }).await?;
        }
    }

    /// Publishes one entry after the other; the times until all had each.
    async fn alone(&mut self) -> Result<Histogram<u64>> {
        tokio::time::sleep(QUIET).await;
        let (mut times, until) = (new_histogram(), Instant::now() + self.settings.duration.min(ALONE_MAX));
        while Instant::now() < until {
            let begun = Instant::now();
            self.next(SINGLE).await?;
            self.reached.wait_for(self.sent).await?;
            times.saturating_record(u64::try_from(begun.elapsed().as_nanos())?.max(1));
            tokio::time::sleep(APART).await;
        }
        Ok(times)
    }
}

/// Publishes by `publish` to `receivers`, each of which keeps `reached` up and ends when it has
/// everything; at most `window` entries that not all have.
///
/// # Errors
/// Entries do not come.
pub async fn play(
    settings: Settings,
    window: u64,
    reached: Arc<Reached>,
    mut receivers: JoinSet<Result<Receipts>>,
    publish: impl AsyncFnMut(Vec<u8>) -> Result<()>,
) -> Result<Value> {
    let mut origin = Origin { settings, window, reached, publish, sent: 0 };
    let publishing = async {
        origin.flood().await?;
        origin.alone().await
    };
    let alone = tokio::select! {
        alone = publishing => alone?,
        Some(ended) = receivers.join_next() => {
            ended??;
            bail!("a node had everything before the end");
        }
    };
    origin.next(LAST).await?;
    let all = timeout(PATIENCE, receivers.join_all()).await.context("the end did not come")?;
    let all: Vec<Receipts> = all.into_iter().collect::<Result<_>>()?;
    ensure!(all.iter().all(|receipts| receipts.delivered == origin.sent), "a node did not get every entry");
    let mut report = Receipts::report_all(&all);
    (report["alone_us"], report["sent"]) = (times(&alone), json!(origin.sent));
    Ok(report)
}
