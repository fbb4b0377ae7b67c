//! Every wait of agreement, and the settings of Raft.
//!
//! They are for a machine whose cores are busy: a leader that is late by some hundred milliseconds is not
//! replaced, and one that died is replaced within about a second.

use std::time::Duration;

use openraft::{Config, ConfigError, SnapshotPolicy};
use starling_core::limits;

/// How often a leader says that it lives.
pub(crate) const HEARTBEAT: Duration = Duration::from_millis(150);
/// Who heard the leader within this time gives its vote to nobody else.
pub(crate) const LEASE: Duration = Duration::from_millis(450);
/// The shortest time without the leader, a lease and a sign of life at least, after which a node asks whether it would be elected ...
pub(crate) const MISSED_MIN: Duration = Duration::from_millis(600);
/// ... and the longest; each node draws a time between them, so that one is first.
pub(crate) const MISSED_MAX: Duration = Duration::from_millis(1000);
/// How long after an election that brought no leader it may ask again.
pub(crate) const AGAIN_MIN: Duration = Duration::from_millis(100);
/// See [`AGAIN_MIN`].
pub(crate) const AGAIN_MAX: Duration = Duration::from_millis(400);
/// How often is looked whether the leader is missed.
pub(crate) const LOOK: Duration = Duration::from_millis(25);
/// How long an answer is waited for.
pub(crate) const CALL: Duration = Duration::from_millis(1000);
/// How long an answer to "would you vote for me" is waited for.
pub(crate) const SOUND: Duration = Duration::from_millis(600);
/// How long the other answers are waited for after a no.
pub(crate) const SOUND_REST: Duration = Duration::from_millis(50);
/// How long Raft waits before it tries again whom it could not reach.
pub(crate) const UNREACHABLE: Duration = Duration::from_millis(200);
/// A leader that no majority answered for so long takes no proposals.
pub(crate) const ALONE: Duration = Duration::from_millis(1500);
/// How long a proposal may stay without a decision before it is proposed again.
pub(crate) const PROPOSE_AGAIN: Duration = Duration::from_millis(1000);
/// How long before the leader is asked anew after it took nothing.
pub(crate) const PROPOSE_REST: Duration = Duration::from_millis(50);
/// How long a proposer is left without an answer.
pub(crate) const PROPOSER_PATIENCE: Duration = Duration::from_secs(8);
/// How often a node tells the others how far it is, where nothing changed.
pub(crate) const STANDING: Duration = Duration::from_secs(1);
/// How often it looks whether something changed.
pub(crate) const STANDING_LOOK: Duration = Duration::from_millis(100);
/// Whoever said nothing for so long is shown as not heard.
pub(crate) const STANDING_OLD: Duration = Duration::from_secs(3);

/// How long the store is waited for when the node stops.
pub(crate) const CLOSING: Duration = Duration::from_secs(2);

/// Entries between two snapshots.
pub(crate) const SNAPSHOT_EVERY: u64 = 1000;
/// Entries that are kept behind a snapshot, for who was away for a short time.
const KEPT_ENTRIES: u64 = 500;
/// Who is further behind than this is sent a snapshot.
const LAG_MAX: u64 = 2 * SNAPSHOT_EVERY;
/// Entries of one message, before their bytes are counted.
const ENTRIES_MAX: u64 = 256;

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The settings of Raft; elections are ours (`elections`).
pub(crate) fn config() -> Result<Config, Box<ConfigError>> {
    let config = Config {
        cluster_name: "coordinators".to_owned(),
        heartbeat_interval: millis(HEARTBEAT),
        // Raft's own elections are off; the longer is the lease that its voters keep.
        election_timeout_min: millis(LEASE) - 1,
        election_timeout_max: millis(LEASE),
        enable_elect: false,
        install_snapshot_timeout: millis(CALL),
        max_payload_entries: ENTRIES_MAX,
        replication_lag_threshold: LAG_MAX,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(SNAPSHOT_EVERY),
        snapshot_max_chunk_size: (limits::CONTROL_BYTES_MAX / 4 * 3) as u64,
        max_in_snapshot_log_to_keep: KEPT_ENTRIES,
        ..Config::default()
    };
    config.validate().map_err(Box::new)
}
