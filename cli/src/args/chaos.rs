//! What `starling chaos` takes.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::duration::parse_duration;

const EXAMPLE: &str = "\
Examples:
  starling chaos --list
  starling chaos kill-edge --json report.json
  starling chaos mixed --seed 7 --duration 2m --history history.jsonl
  starling chaos coordinators --kills 20 --json report.json
  starling chaos badboy --attack equivocation
  starling chaos --check history.jsonl

Ends with 1 when an invariant does not hold.";

/// What is done to a leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StrikeArg {
    /// Signal 9, and a new start.
    Kill,
    /// SIGSTOP, and after a while SIGCONT.
    Pause,
}

/// Arguments of `starling chaos`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = EXAMPLE)]
pub struct ChaosArgs {
    /// What goes wrong: a name from --list.
    #[arg(value_name = "NAME", required_unless_present_any = ["list", "check"])]
    pub scenario: Option<String>,
    /// What the hostile node does, in badboy: a name from --list.
    #[arg(long, value_name = "NAME", required_if_eq("scenario", "badboy"))]
    pub attack: Option<String>,
    /// How often the leader is struck, in coordinators.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub kills: u32,
    /// What is done to the leader, in coordinators.
    #[arg(long, value_name = "FAULT", value_enum, default_value_t = StrikeArg::Kill)]
    pub fault: StrikeArg,
    /// Where chance begins: which nodes and, in mixed, which faults.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// How long faults happen: whole rounds of the scenario, at least one [default: one; mixed: 30s].
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub duration: Option<Duration>,
    /// Agents, each with a connection of its own, a publisher and a subscriber.
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub agents: u32,
    /// Entries published a second, all agents together.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub rate: u32,
    /// Write the report to this file as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the history to this file, a JSON document a line.
    #[arg(long, value_name = "FILE", conflicts_with = "check")]
    pub history: Option<PathBuf>,
    /// Leave the nodes' directory with their logs, and say where it is.
    #[arg(long, conflicts_with = "check")]
    pub keep: bool,
    /// Run nothing; judge this history.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["scenario", "list"])]
    pub check: Option<PathBuf>,
    /// List scenarios and invariants.
    #[arg(long, conflicts_with_all = ["scenario", "duration", "json", "history", "keep"])]
    pub list: bool,
}
