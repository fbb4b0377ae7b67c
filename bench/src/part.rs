//! What one process of a run does, and how it tells.
//!
//! A part is a file that its process is given. It says by files beside that one when it is ready, and
//! what came of its work; a file appears with its whole content at once.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use starling_net::NodeHandle;
use starling_net::trust::{Trust, install_crypto};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::receipts::{Receipts, new_histogram, wall_nanos};
use crate::{agents, crowd, guests, path, region};

/// The subject that entries are published on.
pub const SUBJECT: &str = "bench.events";
/// How long nodes may take to find one another, and agents to attach.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// How often a file is looked for.
const LOOK: Duration = Duration::from_millis(5);
/// How often it is counted what nodes send, and how often at the most: an hour.
const COUNT: Duration = Duration::from_millis(200);
const COUNTS_MAX: usize = 18_000;

/// What a process does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Task {
    /// Nothing but to be nodes.
    Serve,
    /// A guest of the first node publishes.
    GuestPublishes {
        /// Entries that are not acknowledged yet, at the most.
        window: u32,
    },
    /// A guest of the first node subscribes.
    GuestSubscribes,
    /// A guest of the first node publishes to guests of all others.
    Region {
        /// Entries that not all have yet, at the most.
        window: u32,
    },
    /// An agent publishes.
    Publishes,
    /// An agent subscribes.
    Subscribes,
    /// An agent asks one question after the other, then publishes one message at a time.
    Asks,
    /// An agent answers, and subscribes to the messages.
    Answers,
    /// Agents on connections of their own subscribe.
    Crowd {
        /// Connections.
        connections: u32,
    },
    /// One thread takes in bundles that were signed before.
    Path {
        /// Entries in a bundle.
        entries: u32,
        /// Subjects in a bundle.
        subjects: u32,
    },
    /// Agents attach and stay.
    Idles {
        /// Connections.
        connections: u32,
        /// Agents on each.
        agents: u32,
    },
}

/// A process of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Part {
    /// What it does.
    pub task: Task,
    /// The mesh's trust, for agents.
    pub trust: PathBuf,
    /// The edge that its agents attach to.
    pub edge: Option<SocketAddr>,
    /// Nodes of the whole mesh.
    pub nodes: usize,
    /// Bytes of a payload.
    pub payload: u32,
    /// Milliseconds of publishing that count.
    pub measure_ms: u64,
    /// Milliseconds of publishing before.
    pub warm_up_ms: u64,
    /// Files that it makes begin with this.
    pub files: PathBuf,
    /// Publishers begin when this file is there.
    pub go: PathBuf,
}

/// What came of a part's work. Times are nanoseconds since 1970.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Told {
    /// Entries published, questions included.
    pub sent: u64,
    /// Entries that each had to reach this part's receivers, all together, by what one publisher sent.
    pub receivers: u64,
    /// See [`Receipts`].
    pub delivered: u64,
    /// See [`Receipts`].
    pub duplicated: u64,
    /// See [`Receipts`].
    pub measured: u64,
    /// The first entry that counts came.
    pub begun: u64,
    /// The last one came.
    pub ended: u64,
    /// Latencies in nanoseconds and how many there are of each.
    pub latency: Vec<(u64, u64)>,
    /// The same of entries that were alone.
    pub single: Vec<(u64, u64)>,
    /// How agents came.
    pub joined: Option<Joined>,
    /// Bundles refused, and counts of times by stage and bucket, of a hot path that is no node's.
    pub invalid: u64,
    /// See above.
    pub stages: Vec<Vec<u64>>,
}

/// How agents came.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Joined {
    /// Handshakes a second.
    pub handshakes_per_second: f64,
    /// Agents attached a second.
    pub attaches_per_second: f64,
}

impl Told {
    /// Adds counts of times by stage.
    pub fn add_stages(&mut self, stages: &[Vec<u64>]) {
        self.stages.resize(self.stages.len().max(stages.len()), Vec::new());
        for (sums, counts) in self.stages.iter_mut().zip(stages) {
            sums.resize(sums.len().max(counts.len()), 0);
            sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
    }

    /// What several receivers say together.
    pub fn of<'a>(all: impl IntoIterator<Item = &'a Receipts>) -> Told {
        let mut told = Told { begun: u64::MAX, ..Told::default() };
        let (mut latency, mut single) = (new_histogram(), new_histogram());
        for receipts in all {
            told.receivers += 1;
            told.delivered += receipts.delivered;
            told.duplicated += receipts.duplicated;
            told.measured += receipts.measured;
            if receipts.measured > 0 {
                told.begun = told.begun.min(receipts.begun);
                told.ended = told.ended.max(receipts.ended);
            }
            latency.add(&receipts.latency).expect("all histograms have the same bounds");
            single.add(&receipts.single).expect("all histograms have the same bounds");
        }
        (told.latency, told.single) = (counts(&latency), counts(&single));
        told
    }
}

/// The values of a histogram and how many there are of each.
pub fn counts(histogram: &Histogram<u64>) -> Vec<(u64, u64)> {
    histogram.iter_recorded().map(|value| (value.value_iterated_to(), value.count_at_value())).collect()
}

/// Counts what nodes send until it is dropped.
#[derive(Debug)]
pub struct Counting {
    nodes: Arc<Vec<NodeHandle>>,
    looks: Arc<Mutex<Vec<(u64, u64, u64)>>>,
    task: JoinHandle<()>,
}

impl Counting {
    /// Counts from now on.
    pub fn start(nodes: Arc<Vec<NodeHandle>>) -> Counting {
        let looks: Arc<Mutex<Vec<_>>> = Arc::default();
        let (seen, shared) = (Arc::clone(&looks), Arc::clone(&nodes));
        let task = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(COUNT);
            loop {
                ticks.tick().await;
                let sent: Vec<_> = shared.iter().map(NodeHandle::sent).collect();
                let datagrams = sent.iter().map(|sent| sent.datagrams).sum();
                let syscalls = sent.iter().map(|sent| sent.syscalls).sum();
                let mut seen = seen.lock().expect("looking does not panic");
                if seen.len() < COUNTS_MAX {
                    seen.push((wall_nanos(), datagrams, syscalls));
                }
            }
        });
        Counting { nodes, looks, task }
    }

    /// Counts no more, and lets go of the nodes.
    pub async fn stop(mut self) {
        self.task.abort();
        // Aborted as asked, or else ended by itself: either way it holds nothing any more.
        (&mut self.task).await.ok();
    }

    /// What was counted so far.
    pub fn counted(&self) -> Counted {
        let mut counted = Counted::default();
        for node in self.nodes.iter() {
            let plane = node.plane();
            counted.invalid += plane.counters.invalid_bundles.load(Ordering::Relaxed);
            counted.stages.resize(plane.counters.stages.len(), Vec::new());
            for (sums, stage) in counted.stages.iter_mut().zip(&plane.counters.stages) {
                let counts = stage.counts();
                sums.resize(sums.len().max(counts.len()), 0);
                sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
            }
        }
        counted.udp = self.looks.lock().expect("looking does not panic").clone();
        counted
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a process counted, told when it ends.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Counted {
    /// Bundles refused.
    pub invalid: u64,
    /// Counts of times by stage and bucket, as `hot::counters` keeps them.
    pub stages: Vec<Vec<u64>>,
    /// Now and then: when, datagrams and calls so far.
    pub udp: Vec<(u64, u64, u64)>,
}

impl Part {
    /// Reads a part.
    ///
    /// # Errors
    /// There is no such file, or it is none.
    pub fn load(file: &Path) -> Result<Part> {
        read(file)?.with_context(|| format!("there is no {}", file.display()))
    }

    /// Makes the file, and gives its path.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn save(&self) -> Result<PathBuf> {
        let path = self.file("part");
        write(&path, self)?;
        Ok(path)
    }

    /// A file of this part.
    pub fn file(&self, kind: &str) -> PathBuf {
        self.files.with_extension(kind)
    }

    /// What it told, once it did.
    ///
    /// # Errors
    /// What it told is not to be read.
    pub fn told(&self) -> Result<Option<Told>> {
        read(&self.file("told"))
    }

    /// What it counted, once it ended.
    ///
    /// # Errors
    /// What it counted is not to be read.
    pub fn counted(&self) -> Result<Option<Counted>> {
        read(&self.file("counted"))
    }

    /// Does the work, on these nodes if it has any, and tells.
    ///
    /// # Errors
    /// The work could not be done.
    pub async fn play(&self, nodes: &[NodeHandle]) -> Result<()> {
        install_crypto();
        self.wait_for_links(nodes).await?;
        let first = || nodes.first().context("this part needs a node");
        let told = match self.task {
            Task::Serve => return self.ready(),
            Task::GuestPublishes { window } => guests::publish(self, first()?, window).await?,
            Task::GuestSubscribes => guests::subscribe(self, first()?).await?,
            Task::Region { window } => region::play(self, nodes, window).await?,
            Task::Path { entries, subjects } => path::play(self, entries, subjects).await?,
            Task::Publishes => return agents::publish(self).await,
            Task::Subscribes => return agents::subscribe(self).await,
            Task::Asks => return agents::ask(self).await,
            Task::Answers => return agents::answer(self).await,
            Task::Crowd { connections } => return crowd::subscribe(self, connections).await,
            Task::Idles { connections, agents } => return crowd::idle(self, connections, agents).await,
        };
        self.tell(&told)
    }

    /// Waits until each node has a link with every other.
    async fn wait_for_links(&self, nodes: &[NodeHandle]) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        for node in nodes {
            while node.plane().view().links.len() + 1 < self.nodes {
                let links = node.plane().view().links.len();
                ensure!(Instant::now() < until, "a node has {links} links, not {}", self.nodes - 1);
                tokio::time::sleep(LOOK).await;
            }
        }
        Ok(())
    }

    /// Says that others may begin.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn ready(&self) -> Result<()> {
        write(&self.file("ready"), &())
    }

    /// Whether it said so.
    pub fn is_ready(&self) -> bool {
        self.file("ready").exists()
    }

    /// Says what came of the work.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn tell(&self, told: &Told) -> Result<()> {
        write(&self.file("told"), told)
    }

    /// Says what came of the work, and keeps the caller's connections until it is ended: what nodes
    /// sent over a connection is forgotten with it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub async fn tell_and_stay(&self, told: &Told) -> Result<()> {
        self.tell(told)?;
        std::future::pending().await
    }

    /// Says what was counted.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn count(&self, counted: &Counted) -> Result<()> {
        write(&self.file("counted"), counted)
    }

    /// Waits until everybody is ready.
    ///
    /// # Errors
    /// Nobody said so in time.
    pub async fn wait_for_go(&self) -> Result<()> {
        self.ready()?;
        let until = Instant::now() + PATIENCE;
        while !self.go.exists() {
            ensure!(Instant::now() < until, "nobody said that the others are ready");
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// When this publisher's warm-up ends, and when its measurement.
    pub fn schedule(&self) -> (Instant, Instant) {
        let warm = Instant::now() + Duration::from_millis(self.warm_up_ms);
        (warm, warm + Duration::from_millis(self.measure_ms))
    }

    /// Longer than this nothing is waited for once publishing has begun.
    pub fn patience(&self) -> Duration {
        Duration::from_millis(self.warm_up_ms + 2 * self.measure_ms) + PATIENCE
    }

    /// The mesh's trust.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn load_trust(&self) -> Result<Trust> {
        Ok(Trust::load(&self.trust)?)
    }

    /// The edge of its agents.
    ///
    /// # Errors
    /// It has none.
    pub fn edge(&self) -> Result<SocketAddr> {
        self.edge.context("this part needs an edge")
    }
}

fn write<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let draft = path.with_extension("draft");
    fs::write(&draft, serde_json::to_vec(value)?)?;
    fs::rename(&draft, path).with_context(|| format!("cannot write {}", path.display()))
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes).with_context(|| path.display().to_string())?)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}
