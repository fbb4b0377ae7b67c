//! What `starling bench` takes.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, value_parser};

use crate::duration::parse_duration;

const EXAMPLE: &str = "\
Examples:
  starling bench throughput
  starling bench routed --hops 2 --json report.json
  starling bench region --nodes 50 --window 2048 --duration 20s

Each run starts the processes that it needs, and ends them. docs/performance.md says what is measured.";

/// Arguments of `starling bench`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = EXAMPLE)]
pub struct BenchArgs {
    /// What is measured.
    #[command(subcommand)]
    pub command: BenchCommand,
    /// Bytes of an entry's payload, from 24 to 32,768.
    #[arg(long, value_name = "BYTES", default_value_t = 128, global = true)]
    pub payload: u32,
    /// How long to measure, from 100ms to 1h.
    #[arg(long, default_value = "10s", value_parser = parse_duration, global = true)]
    pub duration: Duration,
    /// How long to publish before that, at most 10m.
    #[arg(long, default_value = "2s", value_parser = parse_duration, global = true)]
    pub warm_up: Duration,
    /// Write the report to this file as JSON.
    #[arg(long, value_name = "FILE", global = true)]
    pub json: Option<PathBuf>,
}

/// What is measured.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum BenchCommand {
    /// Signed events from one edge to another over one link, two processes.
    #[command(after_long_help = "Example:\n  starling bench throughput --payload 1024")]
    Throughput {
        /// Entries that are not acknowledged yet, at the most.
        #[arg(long, value_name = "N", default_value_t = 65_536, value_parser = value_parser!(u32).range(1..=1_048_576))]
        window: u32,
    },
    /// From an agent over edges to an agent, each in a process of its own.
    #[command(after_long_help = "Example:\n  starling bench routed --hops 2")]
    Routed {
        /// Edges on the way.
        #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u32).range(1..=2))]
        hops: u32,
    },
    /// Request and answer through one edge; then one message at a time.
    #[command(after_long_help = "Example:\n  starling bench latency --duration 5s")]
    Latency,
    /// One publisher to many subscribers, each on a connection of its own.
    #[command(after_long_help = "Example:\n  starling bench fanout --agents 100")]
    Fanout {
        /// Subscribers.
        #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = value_parser!(u32).range(1..=20_000))]
        agents: u32,
    },
    /// One origin to all other nodes of a region, all in one process; then one message at a time.
    #[command(after_long_help = "Example:\n  starling bench region --nodes 10")]
    Region {
        /// Nodes.
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = value_parser!(u32).range(2..=256))]
        nodes: u32,
        /// Entries on their way that not all nodes have yet, at the most.
        #[arg(long, value_name = "N", default_value_t = 2_048, value_parser = value_parser!(u32).range(1..=1_048_576))]
        window: u32,
    },
    /// The hot path alone: bundles of 64 origins, signed before, taken in by one thread with 10,000
    /// subscriptions on 1,000 subjects.
    #[command(after_long_help = "Example:\n  starling bench path --entries 48")]
    Path {
        /// Entries in a bundle.
        #[arg(long, value_name = "N", default_value_t = 256, value_parser = value_parser!(u32).range(1..=256))]
        entries: u32,
        /// Subjects in a bundle, not more than its entries.
        #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u32).range(1..=16))]
        subjects: u32,
    },
    /// What idle agents cost an edge, and how fast they come.
    #[command(after_long_help = "Example:\n  starling bench memory --agents 500")]
    Memory {
        /// Agents with a connection of their own.
        #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = value_parser!(u32).range(1..=20_000))]
        agents: u32,
        /// Agents on each of ten connections that share.
        #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = value_parser!(u32).range(1..=65_536))]
        agents_per_connection: u32,
    },
}

/// Arguments of the hidden command that is one process of a measurement.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = "Example:\n  starling bench throughput")]
pub struct BenchPartArgs {
    /// What it does.
    #[arg(long, value_name = "FILE")]
    pub part: PathBuf,
    /// Configuration files of its nodes.
    #[arg(long = "config", value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Stop when stdin reaches its end.
    #[arg(long)]
    pub until_stdin_closes: bool,
}
