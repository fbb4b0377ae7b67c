//! What all connections of a load test measure into.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use hdrhistogram::Histogram;
use starling_core::wire::request::{Changed, CutEdge};

use crate::receipts::Receipts;
use crate::settings::Settings;

/// Histograms are kept in this many parts, so that readers of different connections rarely meet.
const PARTS: usize = 16;

/// A histogram that many tasks record into.
#[derive(Debug)]
pub struct Recorder(Vec<Mutex<Histogram<u64>>>);

impl Recorder {
    /// Values from 1 to `most`, three significant digits.
    pub fn new(most: u64) -> Recorder {
        let part = || Mutex::new(Histogram::new_with_bounds(1, most, 3).expect("bounds of a constant range"));
        Recorder((0..PARTS).map(|_| part()).collect())
    }

    /// Records a value; `part` spreads tasks over locks.
    pub fn record(&self, part: usize, value: u64) {
        self.0[part % PARTS].lock().expect("recording does not panic").saturating_record(value.max(1));
    }

    /// Everything recorded since the last call of this, which forgets it.
    pub fn take(&self) -> Histogram<u64> {
        let merged = self.merged();
        self.0.iter().for_each(|part| part.lock().expect("recording does not panic").reset());
        merged
    }

    /// Everything recorded.
    pub fn merged(&self) -> Histogram<u64> {
        let mut merged = self.0[0].lock().expect("recording does not panic").clone();
        for part in &self.0[1..] {
            merged
                .add(&*part.lock().expect("recording does not panic"))
                .expect("all parts have the same bounds");
        }
        merged
    }
}

/// A minute in nanoseconds: what is slower counts as a minute.
const MOST_NANOS: u64 = 60_000_000_000;

/// Measurements of a run.
#[derive(Debug)]
pub struct Shared {
    /// What was asked.
    pub settings: Settings,
    /// When the run's clock started.
    pub started: Instant,
    /// Receipts by event.
    pub receipts: Receipts,
    /// Latencies within a region, nanoseconds.
    pub region: Recorder,
    /// Latencies to another region, nanoseconds.
    pub global: Recorder,
    /// Changes until the coordinator's cut has them, nanoseconds.
    pub visible: Visibility,
    /// System updates until an agent acknowledged, nanoseconds.
    pub broadcast: Broadcasts,
    /// When the first attach left and the last one was answered, nanoseconds since the start.
    pub first_attach: AtomicU64,
    /// See [`Shared::first_attach`].
    pub last_attached: AtomicU64,
    /// When edges were killed, nanoseconds since the start; 0 while none were.
    pub killed: AtomicU64,
    /// From the kill until an agent's attach at another edge was confirmed, nanoseconds.
    pub rehomed: Recorder,
    /// Agents attached now, as their edges said.
    pub attached: AtomicUsize,
    /// Attaches that were refused.
    pub refused: AtomicUsize,
    /// Connections with all agents attached and subscribed.
    pub ready: AtomicUsize,
    /// Publications acknowledged by the mesh.
    pub acknowledged: AtomicU64,
    /// Publications handed to a connection.
    pub published: AtomicU64,
    /// Publications that no connection took, because its queue was full or it was down.
    pub unsent: AtomicU64,
    /// Refusals and closings, a few of them kept for the report.
    pub complaints: Mutex<VecDeque<String>>,
}

impl Shared {
    /// For a run of at most `events` events.
    pub fn new(settings: Settings, events: usize) -> Shared {
        Shared {
            settings,
            started: Instant::now(),
            receipts: Receipts::new(events),
            region: Recorder::new(MOST_NANOS),
            global: Recorder::new(MOST_NANOS),
            visible: Visibility::default(),
            broadcast: Broadcasts::default(),
            first_attach: AtomicU64::new(u64::MAX),
            last_attached: AtomicU64::new(0),
            killed: AtomicU64::new(0),
            rehomed: Recorder::new(MOST_NANOS),
            attached: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
            ready: AtomicUsize::new(0),
            acknowledged: AtomicU64::new(0),
            published: AtomicU64::new(0),
            unsent: AtomicU64::new(0),
            complaints: Mutex::default(),
        }
    }

    /// Nanoseconds since the run's start.
    pub fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// An edge took so many agents of a connection; after a kill they came home by that.
    pub fn took(&self, part: usize, agents: u32) {
        self.attached.fetch_add(agents as usize, Ordering::Relaxed);
        let killed = self.killed.load(Ordering::Relaxed);
        if killed > 0 {
            let after = self.now().saturating_sub(killed);
            (0..agents).for_each(|_| self.rehomed.record(part, after));
        }
    }

    /// From a kill until `homeless` agents were at home again; who is not counts as a minute.
    pub fn rehomed(&self, homeless: u64) -> Histogram<u64> {
        let mut times = self.rehomed.merged();
        let missing = homeless.saturating_sub(times.len());
        // Recording a value no times at all would still make it the greatest.
        if missing > 0 {
            times.saturating_record_n(MOST_NANOS, missing);
        }
        times
    }

    /// Keeps a complaint for the report; the first twenty tell the story.
    pub fn complain(&self, text: String) {
        let mut complaints = self.complaints.lock().expect("keeping a text does not panic");
        if complaints.len() < 20 {
            complaints.push_back(text);
        }
    }
}

/// Cuts that are remembered of an edge: more than an edge makes between two reports to a connection.
const CUTS_KEPT: usize = 100;

/// From changes to the coordinator's cut.
#[derive(Debug)]
pub struct Visibility {
    inner: Mutex<Pending>,
    latencies: Recorder,
}

#[derive(Debug, Default)]
struct Pending {
    /// Per edge: versions that changes wait for, with the times they were due.
    waiting: HashMap<u64, VecDeque<(u64, u64, Vec<u64>)>>,
    /// Per edge: incarnations and versions that the cut had lately, with the times it had them first.
    covered: HashMap<u64, VecDeque<(u64, u64, u64)>>,
}

impl Default for Visibility {
    fn default() -> Visibility {
        Visibility { inner: Mutex::default(), latencies: Recorder::new(MOST_NANOS) }
    }
}

impl Visibility {
    /// An edge said which version of its summary has changes that were due at these times.
    pub fn changed(&self, changed: &Changed, due: Vec<u64>) {
        let mut inner = self.inner.lock().expect("bookkeeping does not panic");
        let has = (changed.incarnation, changed.version);
        // The edge tells a busy connection now and then: the cut may have had it for a while.
        let covered = inner.covered.get(&changed.edge);
        let since = covered.and_then(|all| all.iter().find(|(of, at, _)| (*of, *at) >= has));
        if let Some((_, _, since)) = since {
            return due.into_iter().for_each(|due| self.latencies.record(0, since.saturating_sub(due)));
        }
        let waiting = inner.waiting.entry(changed.edge).or_default();
        waiting.push_back((changed.incarnation, changed.version, due));
    }

    /// The coordinator's cut grew.
    pub fn covered(&self, now: u64, edges: &[CutEdge]) {
        let mut inner = self.inner.lock().expect("bookkeeping does not panic");
        for edge in edges {
            let has = (edge.incarnation, edge.version);
            let covered = inner.covered.entry(edge.edge).or_default();
            covered.push_back((has.0, has.1, now));
            if covered.len() > CUTS_KEPT {
                covered.pop_front();
            }
            let Some(waiting) = inner.waiting.get_mut(&edge.edge) else { continue };
            waiting.retain(|(incarnation, version, due)| {
                let is_covered = (*incarnation, *version) <= has;
                if is_covered {
                    due.iter().for_each(|due| self.latencies.record(1, now.saturating_sub(*due)));
                }
                !is_covered
            });
        }
    }

    /// Changes whose version no cut has covered yet.
    pub fn waiting(&self) -> usize {
        let inner = self.inner.lock().expect("bookkeeping does not panic");
        inner.waiting.values().flatten().map(|(_, _, due)| due.len()).sum()
    }

    /// All latencies in nanoseconds.
    pub fn merged(&self) -> Histogram<u64> {
        self.latencies.merged()
    }
}

/// System updates on their way to every agent.
#[derive(Debug)]
pub struct Broadcasts {
    /// When each update was due, by number of the update in this run.
    due: Vec<AtomicU64>,
    reached: Vec<AtomicU64>,
    latencies: Recorder,
}

/// Updates that one run may issue.
pub const UPDATES_MAX: usize = 64;

impl Default for Broadcasts {
    fn default() -> Broadcasts {
        let zeros = || (0..UPDATES_MAX).map(|_| AtomicU64::new(0)).collect();
        Broadcasts { due: zeros(), reached: zeros(), latencies: Recorder::new(MOST_NANOS) }
    }
}

impl Broadcasts {
    /// Update number `update` is issued at `due`.
    pub fn issue(&self, update: usize, due: u64) {
        self.due[update].store(due, Ordering::Release);
    }

    /// An agent got an update and acknowledges it.
    pub fn acknowledged(&self, part: usize, update: usize, now: u64) {
        let Some(due) = self.due.get(update) else { return };
        self.latencies.record(part, now.saturating_sub(due.load(Ordering::Acquire)));
        self.reached[update].fetch_add(1, Ordering::Relaxed);
    }

    /// Agents that acknowledged update number `update`.
    pub fn reached(&self, update: usize) -> u64 {
        self.reached[update].load(Ordering::Relaxed)
    }

    /// All latencies in nanoseconds.
    pub fn merged(&self) -> Histogram<u64> {
        self.latencies.merged()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_does_not_come_home_counts_as_a_minute() {
        let shared = Shared::new(crate::tests::settings(), 1);
        shared.took(0, 7);
        assert!(shared.rehomed.merged().is_empty(), "nobody was killed yet");
        shared.killed.store(shared.now().max(1), Ordering::Relaxed);
        shared.took(3, 9);
        assert!(shared.rehomed(9).max() < MOST_NANOS / 2, "all are at home");
        let times = shared.rehomed(10);
        assert_eq!((times.len(), times.count_between(MOST_NANOS / 2, u64::MAX)), (10, 1));
        assert_eq!(shared.attached.load(Ordering::Relaxed), 16);
    }
}
