//! How far the peers of a node are behind, by what they said when their replicas were compared.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::convergence::Detector;
use crate::id::ShortId;
use crate::state::version::{Version, VersionVector};
use crate::time::{Now, Time};
use crate::wire::request::{Counter, LagView};

/// What peers have, as of their last word.
#[derive(Debug, Default)]
pub(super) struct Lags {
    detector: Detector,
    said: BTreeMap<ShortId, Time>,
}

impl Lags {
    /// This node has everything of `origin` up to this version.
    pub fn applied(&mut self, now: Now, origin: ShortId, version: Version) {
        self.detector.applied(now.mono, origin, version.incarnation, version.sequence);
    }

    /// A peer has what this node has.
    pub fn equal(&mut self, now: Now, peer: ShortId) {
        let is_kept = self.detector.report_equal(peer);
        self.note(now, peer, is_kept);
    }

    /// A peer said what it has of all origins.
    pub fn told(&mut self, now: Now, peer: ShortId, versions: &VersionVector) {
        let versions =
            versions.iter().map(|(origin, version)| (origin, version.incarnation, version.sequence));
        let is_kept = self.detector.report(now.mono, peer, versions);
        self.note(now, peer, is_kept);
    }

    fn note(&mut self, now: Now, peer: ShortId, is_kept: bool) {
        if is_kept {
            self.said.insert(peer, now.mono);
        }
    }

    /// A peer has no link any more: what it has is not known.
    pub fn forget_peer(&mut self, peer: ShortId) {
        self.detector.forget_peer(peer);
        self.said.remove(&peer);
    }

    /// The state of an origin is gone.
    pub fn forget_origin(&mut self, origin: ShortId) {
        self.detector.forget_origin(origin);
    }

    /// How far a peer is behind, if it said what it has.
    pub fn of(&self, now: Now, peer: ShortId) -> Option<LagView> {
        let lag = self.detector.lag(peer)?;
        let said = self.said.get(&peer)?;
        let since = lag.since.map_or(Duration::ZERO, |since| now.mono.since(since));
        Some(LagView {
            versions: lag.versions,
            behind_ms: millis(since),
            said_ms: millis(now.mono.since(*said)),
        })
    }

    /// All peers together.
    pub fn counters(&self, now: Now) -> impl Iterator<Item = Counter> + use<> {
        let summary = self.detector.summary(now.mono);
        let named = [
            ("peers", summary.peers as u64),
            ("behind", summary.behind as u64),
            ("versions_max", summary.versions_max),
            ("age_max_ms", millis(summary.age_max)),
        ];
        named.into_iter().map(|(name, value)| Counter { name: format!("convergence.{name}"), value })
    }

    pub fn check(&self) {
        self.detector.check();
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
