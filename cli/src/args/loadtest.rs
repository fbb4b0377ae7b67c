//! What `starling loadtest` takes.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::duration::parse_duration;

const EXAMPLE: &str = "\
Examples:
  starling loadtest
  starling loadtest --agents 50000 --duration 2m --json report.json --threshold 'visible_ms.p99<=1000'
  starling loadtest --profile join-storm --kill-edge 2

Ends with 99 when a threshold is missed.";

/// What the agents do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LoadProfile {
    /// Join first, then publish at an even rate.
    #[default]
    Steady,
    /// Join all at once, and measure how long that takes.
    JoinStorm,
}

/// Arguments of `starling loadtest`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = EXAMPLE)]
pub struct LoadtestArgs {
    /// Agents over the whole mesh.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub agents: u32,
    /// Edges over the whole mesh, spread over the regions.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    pub edges: u32,
    /// Regions.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub regions: u32,
    /// Agents that share one connection.
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub agents_per_connection: u32,
    /// Entries published a second, all agents together.
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    pub rate: u32,
    /// Bytes of an entry's payload.
    #[arg(long, value_name = "BYTES", default_value_t = 128, value_parser = clap::value_parser!(u32).range(0..=1_048_576))]
    pub payload: u32,
    /// How long to measure.
    #[arg(long, default_value = "60s", value_parser = parse_duration)]
    pub duration: Duration,
    /// What the agents do.
    #[arg(long, value_enum, default_value_t)]
    pub profile: LoadProfile,
    /// Where chance begins; the same seed makes the same load.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Round-trip times between regions to imitate, from this file.
    #[arg(long, value_name = "FILE")]
    pub rtt: Option<PathBuf>,
    /// Kill this many edges by signal 9 once the events have been delivered.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub kill_edge: Option<u32>,
    /// Agents of a killed edge stay away instead of moving to another.
    #[arg(long)]
    pub no_rehome: bool,
    /// Write the report to this file as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// What must hold in the end, a path into the report, a comparison and a number: 'events.lost==0'; repeatable.
    #[arg(long = "threshold", value_name = "EXPR")]
    pub thresholds: Vec<String>,
    /// Processes that share a region's edges [default: 1].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub edge_processes: Option<u32>,
}
