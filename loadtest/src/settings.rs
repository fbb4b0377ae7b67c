//! What a load test is asked to do.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

/// How traffic and arrivals are shaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// A few connections at a time attach their agents, then events flow at a steady rate.
    Steady,
    /// All connections attach at once, then events flow.
    JoinStorm,
}

/// A load test.
#[derive(Clone, Debug, Serialize)]
pub struct Settings {
    /// Agents in all, each with a key of its own.
    pub agents: u32,
    /// Edges in all.
    pub edges: u32,
    /// Regions; edges are dealt to them in turn.
    pub regions: u32,
    /// Agents that share a connection.
    pub agents_per_connection: u32,
    /// Events a second in all.
    pub rate: u32,
    /// Bytes of an event's payload.
    pub payload: u32,
    /// How long events flow.
    #[serde(serialize_with = "seconds")]
    pub duration: Duration,
    /// Shape of the run.
    pub profile: Profile,
    /// Makes keys and choices repeatable.
    pub seed: u64,
    /// Rooms that the agents of one edge choose from, one subscription each.
    pub rooms_per_edge: u32,
    /// Share of agents that change their state each second.
    pub changes_per_second: f64,
    /// Round-trip times between regions to imitate.
    pub rtt: Option<PathBuf>,
    /// Edges that are killed by signal 9 once the events have been delivered.
    pub kill_edge: u32,
    /// Whether agents of a killed edge look for another one.
    pub rehome: bool,
    /// Processes that share a region's edges.
    pub edge_processes: u32,
    /// Expressions over the report that must hold.
    pub thresholds: Vec<String>,
    /// The program that runs the mesh's nodes.
    #[serde(skip)]
    pub program: PathBuf,
}

fn seconds<S: serde::Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(duration.as_secs_f64())
}

impl Settings {
    /// Agents on edge number `edge`; the first edges take what does not divide.
    pub fn agents_on(&self, edge: u32) -> u32 {
        self.agents / self.edges + u32::from(edge < self.agents % self.edges)
    }

    /// The region of edge number `edge`.
    pub fn region_of(&self, edge: u32) -> u32 {
        edge % self.regions
    }

    /// Refuses what cannot be run.
    ///
    /// # Errors
    /// One sentence that names the flag.
    pub fn check(&self) -> Result<(), String> {
        let at_least_one = [
            (self.agents, "--agents"),
            (self.edges, "--edges"),
            (self.regions, "--regions"),
            (self.agents_per_connection, "--agents-per-connection"),
            (self.edge_processes, "--edge-processes"),
            (self.rooms_per_edge, "--rooms"),
        ];
        if let Some((_, flag)) = at_least_one.iter().find(|(value, _)| *value == 0) {
            return Err(format!("{flag} must be at least 1"));
        }
        if self.edges < self.regions {
            return Err("--edges must be at least --regions: every region needs an edge".into());
        }
        if self.agents > 10_000_000 || self.edges > 1000 || self.regions > 100 {
            return Err("at most 10,000,000 agents, 1,000 edges and 100 regions".into());
        }
        if self.agents_per_connection > 65_536 {
            return Err("--agents-per-connection is at most 65536".into());
        }
        if self.payload < crate::payload::HEAD_BYTES || self.payload > 60_000 {
            return Err(format!("--payload is {} to 60000 bytes", crate::payload::HEAD_BYTES));
        }
        if self.agents / self.edges / self.rooms_per_edge >= crate::receipts::RECEIVERS_MAX {
            return Err("at most 63 subscribers a room; use more --rooms or more --edges".into());
        }
        if self.kill_edge * 2 > self.edges {
            return Err("--kill-edge may kill at most half of the edges".into());
        }
        Ok(())
    }
}
