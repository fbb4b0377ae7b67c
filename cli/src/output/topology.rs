//! How far the peers of a node are, and which it prefers.

use serde::Serialize;
use starling_core::wire::request::{ClusterView, DistanceView, Overview};

use super::Render;
use super::table::{Side, facts, table};

/// The answer to `starling topology`.
#[derive(Debug, Serialize)]
pub struct Topology {
    schema: &'static str,
    mesh: String,
    as_of_ms: u64,
    node: String,
    strategy: String,
    round: u64,
    rebalanced_round: u64,
    rebalanced_ms: u64,
    measured: u32,
    peers: u64,
    clusters: Vec<ClusterRow>,
    distances: Vec<DistanceRow>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct ClusterRow {
    cluster: usize,
    nearest_us: u64,
    farthest_us: u64,
    peers: u32,
}

/// One peer; a round trip of 0 is none yet, and so is a cluster of 0. How far its replica is behind is as of
/// its last word, and null before that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct DistanceRow {
    name: String,
    region: String,
    rtt_us: u64,
    cluster: u32,
    is_preferred: bool,
    is_far: bool,
    versions_behind: Option<u64>,
    behind_ms: Option<u64>,
    said_ms: Option<u64>,
}

impl From<(usize, &ClusterView)> for ClusterRow {
    fn from((number, view): (usize, &ClusterView)) -> ClusterRow {
        let ClusterView { nearest_us, farthest_us, peers } = *view;
        ClusterRow { cluster: number, nearest_us, farthest_us, peers }
    }
}

impl From<&DistanceView> for DistanceRow {
    fn from(view: &DistanceView) -> DistanceRow {
        DistanceRow {
            name: view.name.clone(),
            region: view.region.clone(),
            rtt_us: view.rtt_us,
            cluster: view.cluster,
            is_preferred: view.is_preferred,
            is_far: view.is_far,
            versions_behind: view.lag.map(|lag| lag.versions),
            behind_ms: view.lag.map(|lag| lag.behind_ms),
            said_ms: view.lag.map(|lag| lag.said_ms),
        }
    }
}

impl DistanceRow {
    fn behind(&self) -> String {
        match (self.versions_behind, self.behind_ms) {
            (None, _) => "-".to_owned(),
            (Some(0), _) => "0".to_owned(),
            (Some(versions), behind) => {
                let tenths = behind.unwrap_or(0) / 100;
                format!("{versions} versions, {}.{} s", tenths / 10, tenths % 10)
            }
        }
    }
}

impl Topology {
    /// What the overview says of the answering node, if it chooses among anybody; nearest first.
    pub fn of(overview: &Overview) -> Option<Topology> {
        let view = overview.topology.as_deref()?;
        let mut distances: Vec<DistanceRow> = view.distances.iter().map(DistanceRow::from).collect();
        let place = |row: &DistanceRow| (row.rtt_us == 0, row.rtt_us, row.name.clone());
        distances.sort_by_key(place);
        Some(Topology {
            schema: "starling.topology/1",
            mesh: overview.mesh.clone(),
            as_of_ms: overview.as_of_ms,
            node: overview.node.as_ref().map_or_else(String::new, |node| node.name.clone()),
            strategy: view.strategy.clone(),
            round: view.round,
            rebalanced_round: view.rebalanced_round,
            rebalanced_ms: view.rebalanced_ms,
            measured: view.measured,
            peers: distances.len() as u64,
            clusters: (1..).zip(&view.clusters).map(ClusterRow::from).collect(),
            distances,
        })
    }

    fn rebalanced(&self) -> String {
        if self.rebalanced_round == 0 {
            return format!("not yet, in round {}", self.round);
        }
        let seconds = self.as_of_ms.saturating_sub(self.rebalanced_ms) / 1000;
        format!("{seconds} s ago, after round {}, now in {}", self.rebalanced_round, self.round)
    }
}

impl Render for Topology {
    fn table(&self) -> String {
        let clusters = self.clusters.iter().map(|row| {
            let ClusterRow { cluster, nearest_us, farthest_us, peers } = row;
            format!("{cluster}: {peers} at {} to {} ms", millis(*nearest_us), millis(*farthest_us))
        });
        let clusters: Vec<String> = clusters.collect();
        let head = facts(&[
            ("node", self.node.clone()),
            ("strategy", self.strategy.clone()),
            ("rebalanced", self.rebalanced()),
            ("measured", format!("{} of {} peers", self.measured, self.peers)),
            ("clusters", if clusters.is_empty() { "none yet".to_owned() } else { clusters.join(", ") }),
        ]);
        let columns = [
            ("PEER", Side::Left),
            ("REGION", Side::Left),
            ("RTT MS", Side::Right),
            ("CLUSTER", Side::Right),
            ("PREFERRED", Side::Left),
            ("BEHIND", Side::Left),
        ];
        let rows = self.distances.iter().map(|row| {
            let preferred = match (row.is_preferred, row.is_far) {
                (true, true) => "yes, as the far one",
                (true, false) => "yes",
                (false, _) => "",
            };
            let shown = |is_known: bool, text: String| if is_known { text } else { "-".to_owned() };
            vec![
                row.name.clone(),
                row.region.clone(),
                shown(row.rtt_us > 0, millis(row.rtt_us)),
                shown(row.cluster > 0, row.cluster.to_string()),
                preferred.to_owned(),
                row.behind(),
            ]
        });
        head + &table(&columns, rows.collect(), "no peers linked")
    }
}

/// Microseconds as milliseconds with two digits.
fn millis(micros: u64) -> String {
    format!("{}.{:02}", micros / 1000, micros % 1000 / 10)
}

#[cfg(test)]
mod tests;
