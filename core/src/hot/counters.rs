//! Plain counters and per-stage times of the hot path. Reading them stops nobody.

use std::sync::atomic::{AtomicU64, Ordering};

/// The unit of the hot path's budget, in nanoseconds.
pub const TICK_NANOS: u64 = 125;
const SUB_BITS: u32 = 3;
const BUCKETS: usize = 40 << SUB_BITS;

/// Stages that are timed, amortised over a bundle's entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
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
}

impl Stage {
    /// All stages in the order of the path.
    pub const ALL: [Stage; 6] =
        [Stage::Decode, Stage::Deduplicate, Stage::Verify, Stage::Merge, Stage::Match, Stage::Enqueue];

    /// The stage's name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Decode => "decode",
            Stage::Deduplicate => "deduplicate",
            Stage::Verify => "verify",
            Stage::Merge => "merge",
            Stage::Match => "match",
            Stage::Enqueue => "enqueue",
        }
    }
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

    /// The buckets' counts.
    pub fn counts(&self) -> Vec<u64> {
        self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect()
    }
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
            /// Times by stage, in the order of [`Stage::ALL`], then the total.
            pub stages: [Histogram; 7],
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
    /// Payload bytes of those entries and their heads.
    received_bytes,
    /// Bytes of sections that came for nothing: no subscriber here.
    unwanted_bytes,
    /// Copies of bundles that were here before.
    duplicate_bundles,
    /// Entries that were delivered before through another origin.
    duplicate_entries,
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
    /// State bundles that the machine had no room for; a comparison brings them again.
    dropped_state_bundles,
}

/// Numbers of the hot path at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Counters by name.
    pub counters: Vec<(&'static str, u64)>,
    /// Histogram counts by stage in the order of [`Stage::ALL`], then the total.
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
        self.stages[Stage::ALL.len()].record(nanos / entries.max(1), entries.max(1));
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
}
