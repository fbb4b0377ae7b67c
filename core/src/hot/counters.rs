//! Plain counters and per-stage times of the hot path. Reading them stops nobody.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The unit of the hot path's budget, in nanoseconds.
pub const TICK_NANOS: u64 = 125;
/// The budget: ticks an entry, from its bundle's bytes to its subscribers' queues, where traffic is dense.
pub const BUDGET_TICKS: u64 = 8;
/// A bundle of so many entries is dense: its signature costs each of them less than half the budget.
pub const DENSE_ENTRIES: u64 = 48;
const SUB_BITS: u32 = 3;
/// Buckets of a [`Histogram`].
pub const BUCKETS: usize = 40 << SUB_BITS;

/// Stages that are timed, amortised over the entries worked off at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Of an own agent's publication: into the bundle in the making.
    Admit,
    /// Whom a bundle is for, and by which links it goes.
    Select,
    /// Hashed and signed.
    Seal,
    /// Bytes to structure.
    Decode,
    /// Was it here before?
    Deduplicate,
    /// Signature and sections' hashes.
    Verify,
    /// Flows and state.
    Merge,
    /// Who wants it?
    Match,
    /// Into the queues of those who do.
    Enqueue,
    /// Is what another node has what this one has? Of a comparison by the machine, not of an entry.
    Converge,
}

impl Stage {
    /// All stages in the order of the path.
    pub const ALL: [Stage; 10] = [
        Stage::Admit,
        Stage::Select,
        Stage::Seal,
        Stage::Decode,
        Stage::Deduplicate,
        Stage::Verify,
        Stage::Merge,
        Stage::Match,
        Stage::Enqueue,
        Stage::Converge,
    ];

    /// The stage's name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Admit => "admit",
            Stage::Select => "select",
            Stage::Seal => "seal",
            Stage::Decode => "decode",
            Stage::Deduplicate => "deduplicate",
            Stage::Verify => "verify",
            Stage::Merge => "merge",
            Stage::Match => "match",
            Stage::Enqueue => "enqueue",
            Stage::Converge => "converge",
        }
    }
}

/// Times over several stages: of a received bundle from its bytes to the queues, amortised over its entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Total {
    /// Of all bundles.
    All,
    /// Of those with [`DENSE_ENTRIES`] or more: these are held to [`BUDGET_TICKS`].
    Dense,
    /// Of the others, which pay their signatures for few.
    Sparse,
}

impl Total {
    /// All of them.
    pub const ALL: [Total; 3] = [Total::All, Total::Dense, Total::Sparse];

    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Total::All => "total",
            Total::Dense => "dense",
            Total::Sparse => "sparse",
        }
    }
}

/// How many things are timed.
pub const TIMED: usize = Stage::ALL.len() + Total::ALL.len();

/// The names of what is timed: the stages, then the totals.
pub fn timed() -> impl Iterator<Item = &'static str> {
    Stage::ALL.into_iter().map(Stage::name).chain(Total::ALL.into_iter().map(Total::name))
}

/// A log-linear histogram of nanoseconds (eight buckets an octave, so within 12.5 %).
#[derive(Debug)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { buckets: [const { AtomicU64::new(0) }; BUCKETS] }
    }
}

fn bucket_of(value: u64) -> usize {
    let octave = (value >> SUB_BITS).checked_ilog2().map_or(0, |log| log + 1);
    let within = if octave == 0 { value } else { (value >> (octave - 1)) & ((1 << SUB_BITS) - 1) };
    ((octave as usize) << SUB_BITS | within as usize).min(BUCKETS - 1)
}

/// The least value that falls into `bucket`.
fn floor_of(bucket: usize) -> u64 {
    let octave = bucket >> SUB_BITS;
    let within = (bucket & ((1 << SUB_BITS) - 1)) as u64;
    if octave == 0 { within } else { (within | 1 << SUB_BITS) << (octave - 1) }
}

impl Histogram {
    /// Adds `count` values of `nanos`.
    pub fn record(&self, nanos: u64, count: u64) {
        self.buckets[bucket_of(nanos)].fetch_add(count, Ordering::Relaxed);
    }

    /// The buckets' counts, up to the last that is not zero.
    pub fn counts(&self) -> Vec<u64> {
        let mut counts: Vec<u64> = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect();
        let used = counts.iter().rposition(|count| *count > 0).map_or(0, |last| last + 1);
        counts.truncate(used);
        counts
    }
}

/// The least value above those that fall into `bucket`, in nanoseconds.
pub fn ceiling_nanos(bucket: usize) -> u64 {
    floor_of(bucket + 1)
}

/// The quantile `q` (0 to 1) of counts as [`Histogram::counts`] gives, in nanoseconds; the upper
/// end of its bucket. `None` without values.
pub fn quantile(counts: &[u64], q: f64) -> Option<u64> {
    let total: u64 = counts.iter().sum();
    if total == 0 {
        return None;
    }
    let rank = ((total as f64 * q).ceil() as u64).clamp(1, total);
    let mut passed = 0;
    for (bucket, count) in counts.iter().enumerate() {
        passed += count;
        if passed >= rank {
            return Some(floor_of(bucket + 1).saturating_sub(1));
        }
    }
    None
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What the hot path counts, since the node's start.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[$doc])* pub $name: AtomicU64,)*
            /// Times in the order of [`timed`].
            pub stages: [Histogram; TIMED],
        }

        impl Counters {
            /// Every counter with its name.
            pub fn list(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.load(Ordering::Relaxed)),)*]
            }
        }
    };
}

counters! {
    /// Entries admitted from own agents.
    published_entries,
    /// Bundles sealed.
    sealed_bundles,
    /// Bundles that every destination has.
    completed_bundles,
    /// Bundles sent a second time.
    resent_bundles,
    /// Bundles received and accepted.
    received_bundles,
    /// Entries in them that were present.
    received_entries,
    /// Of these, those that came in bundles of [`DENSE_ENTRIES`] or more.
    dense_entries,
    /// Of these, those that took more than [`BUDGET_TICKS`].
    overrun_entries,
    /// Payload bytes of those entries and their heads.
    received_bytes,
    /// Bytes of sections that came for nothing: no subscriber here.
    unwanted_bytes,
    /// Copies of bundles that were here before.
    duplicate_bundles,
    /// Entries that were delivered before through another origin.
    duplicate_entries,
    /// Bundles acknowledged unchecked: their origin brings much that nobody here wants.
    unchecked_bundles,
    /// Bundles refused: signature, hash, structure or mesh.
    invalid_bundles,
    /// Bundles refused because their origin is not admitted.
    unknown_origin_bundles,
    /// Bundles refused because the origin has restarted since.
    stale_bundles,
    /// Valid bundles whose clock is over 30 s ahead.
    early_bundles,
    /// Two valid headers under one sequence: proof of misbehaviour.
    equivocations,
    /// Bundles dropped because they passed too many nodes or would leave a region twice.
    looped_bundles,
    /// Bundles dropped because who brought them neither sealed them nor passes on what others sealed.
    foreign_bundles,
    /// Bundles passed on to another region or edge.
    relayed_bundles,
    /// Frames passed on between two nodes that have no link of their own.
    relayed_frames,
    /// Frames of a relayed link that is no more.
    stray_relayed_frames,
    /// Bundles that found no link to their destination; their origin sends them again.
    unroutable_bundles,
    /// Entries handed to subscribers' queues, once a subscriber.
    delivered_entries,
    /// Bytes handed to subscribers' queues.
    delivered_bytes,
    /// Bytes of bundles handed to links' queues.
    sent_bytes,
    /// Payload bytes copied on the way, other than by the transport.
    copied_bytes,
    /// Deliveries that found their connection gone or cut.
    cut_deliveries,
    /// Directed sections whose agent was not here.
    missing_agents,
    /// Frames of agents that were refused.
    refused_frames,
    /// Times that a link was not read on at once, since it had used up its share of this node.
    held_links,
    /// How long in all, in microseconds.
    held_link_micros,
    /// Times that a connection of agents was not read on at once, since the way out or a lane was full, or
    /// the client beyond its window.
    held_publishers,
    /// How long in all, in microseconds.
    held_publisher_micros,
    /// State bundles that the machine had no room for; a comparison brings them again.
    dropped_state_bundles,
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Numbers of the hot path at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Counters by name.
    pub counters: Vec<(&'static str, u64)>,
    /// Histogram counts in the order of [`timed`].
    pub stages: Vec<Vec<u64>>,
}

impl Counters {
    /// Adds to a counter.
    pub fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }

    /// Records the time of a stage that handled `entries` at once.
    pub fn time(&self, stage: Stage, nanos: u64, entries: u64) {
        self.stages[stage as usize].record(nanos / entries.max(1), entries.max(1));
    }

    /// Records the time of the whole path.
    pub fn time_total(&self, nanos: u64, entries: u64) {
        let is_dense = entries >= DENSE_ENTRIES;
        let each = nanos / entries.max(1);
        for total in [Total::All, if is_dense { Total::Dense } else { Total::Sparse }] {
            self.stages[Stage::ALL.len() + total as usize].record(each, entries.max(1));
        }
        if is_dense {
            Counters::add(&self.dense_entries, entries);
            if each > BUDGET_TICKS * TICK_NANOS {
                Counters::add(&self.overrun_entries, entries);
            }
        }
    }

    /// A link was not read for so long.
    pub fn held_link(&self, time: Duration) {
        Counters::add(&self.held_links, 1);
        Counters::add(&self.held_link_micros, micros(time));
    }

    /// A connection of agents was not read for so long.
    pub fn held_publisher(&self, time: Duration) {
        Counters::add(&self.held_publishers, 1);
        Counters::add(&self.held_publisher_micros, micros(time));
    }

    /// All numbers.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot { counters: self.list(), stages: self.stages.iter().map(Histogram::counts).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_contiguous_and_within_an_eighth() {
        for value in (0..5000).chain([1 << 20, (1 << 30) + 12345]) {
            let bucket = bucket_of(value);
            assert!(floor_of(bucket) <= value && value < floor_of(bucket + 1), "{value}");
            assert!((floor_of(bucket + 1) - floor_of(bucket)) * 8 <= floor_of(bucket).max(8));
        }
    }

    #[test]
    fn quantiles_come_from_what_was_recorded() {
        let histogram = Histogram::default();
        histogram.record(100, 90);
        histogram.record(1000, 10);
        assert_eq!(quantile(&histogram.counts(), 0.5), Some(103));
        assert_eq!(quantile(&histogram.counts(), 0.99), Some(1023));
        assert_eq!(quantile(&Histogram::default().counts(), 0.5), None);
    }

    #[test]
    fn dense_bundles_alone_are_held_to_the_budget() {
        let counters = Counters::default();
        let budget = BUDGET_TICKS * TICK_NANOS;
        counters.time_total(budget * DENSE_ENTRIES, DENSE_ENTRIES);
        counters.time_total((budget + 1) * 100, 100);
        counters.time_total(40_000, 1);
        let of = |name| counters.list().into_iter().find(|(counter, _)| *counter == name).map(|(_, n)| n);
        assert_eq!((of("dense_entries"), of("overrun_entries")), (Some(148), Some(100)));
        let sums: Vec<(&str, u64)> = timed()
            .zip(counters.snapshot().stages)
            .map(|(name, counts)| (name, counts.iter().sum()))
            .collect();
        assert_eq!(sums[Stage::ALL.len()..], [("total", 149), ("dense", 148), ("sparse", 1)]);
    }
}
