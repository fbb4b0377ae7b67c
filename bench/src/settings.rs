//! What is asked of a run.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use starling_core::limits;

use crate::receipts::HEAD_BYTES;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Work {
    /// Signed events from one edge to another over their link; publisher and subscriber are guests
    /// in the edges' own processes.
    Throughput,
    /// From an agent over one or two edges to another agent, each in a process of its own.
    Routed,
    /// Request and answer through one edge, then one message at a time.
    Latency,
    /// One publisher to many subscribers on connections of their own at one edge.
    Fanout,
    /// One origin to all other nodes of a region that is one process, then one message at a time.
    Region,
    /// What idle agents cost an edge, and how fast they come.
    Memory,
    /// The hot path alone, without a network, in one thread.
    Path,
}

impl Work {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Work::Throughput => "throughput",
            Work::Routed => "routed",
            Work::Latency => "latency",
            Work::Fanout => "fanout",
            Work::Region => "region",
            Work::Memory => "memory",
            Work::Path => "path",
        }
    }
}

/// Nodes of a region in one process at the most.
pub const NODES_MAX: u32 = 256;
/// Connections of agents that one process opens at the most.
pub const CONNECTIONS_MAX: u32 = 20_000;

/// What is asked of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Settings {
    /// What is measured.
    pub work: Work,
    /// Bytes of an entry's payload.
    pub payload: u32,
    /// How long is measured.
    #[serde(skip)]
    pub duration: Duration,
    /// How long is published before that.
    #[serde(skip)]
    pub warm_up: Duration,
    /// Edges between the agents of [`Work::Routed`]: 1 or 2.
    pub hops: u32,
    /// Nodes of [`Work::Region`].
    pub nodes: u32,
    /// Entries of [`Work::Throughput`] and [`Work::Region`] that not all receivers have yet, at the most.
    pub window: u32,
    /// Connections of [`Work::Fanout`] and [`Work::Memory`].
    pub connections: u32,
    /// Agents on each connection in the second half of [`Work::Memory`].
    pub agents_per_connection: u32,
    /// Entries in a bundle of [`Work::Path`].
    pub entries: u32,
    /// Subjects in one.
    pub subjects: u32,
    /// The program, called as `PROGRAM bench-part …`.
    #[serde(skip)]
    pub program: PathBuf,
}

impl Settings {
    /// What is wrong with them, if anything is.
    ///
    /// # Errors
    /// A sentence for people.
    pub fn check(&self) -> Result<(), String> {
        let payloads = HEAD_BYTES..=limits::BUNDLE_BYTES_MAX / 2;
        if !payloads.contains(&(self.payload as usize)) {
            return Err(format!("a payload has {} to {} bytes", payloads.start(), payloads.end()));
        }
        if self.duration < Duration::from_millis(100) || self.duration > Duration::from_secs(3600) {
            return Err("a run measures for 100ms to 1h".to_string());
        }
        if self.warm_up > Duration::from_secs(600) {
            return Err("a run warms up for 10m at the most".to_string());
        }
        let bounds = [
            ("hops", self.hops, 1, 2),
            ("nodes", self.nodes, 2, NODES_MAX),
            ("window", self.window, 1, 1 << 20),
            ("connections", self.connections, 1, CONNECTIONS_MAX),
            ("entries", self.entries, 1, 256),
            ("subjects", self.subjects, 1, self.entries.min(16)),
            ("agents per connection", self.agents_per_connection, 1, 65_536),
        ];
        match bounds.iter().find(|(_, value, least, most)| !(*least..=*most).contains(value)) {
            Some((what, value, least, most)) => {
                Err(format!("{what}: {value} is not between {least} and {most}"))
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub fn settings(work: Work) -> Settings {
        Settings {
            work,
            payload: 128,
            duration: Duration::from_secs(1),
            warm_up: Duration::ZERO,
            hops: 1,
            nodes: 3,
            window: 16,
            connections: 10,
            agents_per_connection: 10,
            entries: 8,
            subjects: 2,
            program: PathBuf::from("starling"),
        }
    }

    #[test]
    fn settings_that_cannot_be_run_are_refused() {
        assert_eq!(settings(Work::Region).check(), Ok(()));
        let refused = |change: fn(&mut Settings)| {
            let mut settings = settings(Work::Region);
            change(&mut settings);
            settings.check().unwrap_err()
        };
        assert!(refused(|s| s.payload = 8).contains("24 to 32768"));
        assert!(refused(|s| s.duration = Duration::ZERO).contains("100ms"));
        assert!(refused(|s| s.warm_up = Duration::from_secs(601)).contains("10m"));
        assert!(refused(|s| s.hops = 3).contains("hops: 3"));
        assert!(refused(|s| s.nodes = 1).contains("nodes: 1"));
        assert!(refused(|s| s.window = 0).contains("window: 0"));
        assert!(refused(|s| s.connections = 0).contains("connections: 0"));
    }
}
