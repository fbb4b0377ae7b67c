//! What `starling sim` takes.

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::duration::parse_duration;

const EXAMPLE: &str = "\
Examples:
  starling sim --seed 7
  starling sim --seeds 1..200
  starling sim --nodes 50 --regions 2 --agents 10000 --time 10m --json report.json
  starling sim --mutants
  starling sim --detector --nodes 1000 --time 10m --deaths 10s
  starling sim --detector --compare --seeds 1..4 --nodes 1000 --loss 0.2 --slow 0.05 --step 3ms

Without a size the seed draws the mesh, its network, its work and its faults.
Ends with 1 when something does not hold, and prints how to see it again.";

/// Arguments of `starling sim`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = EXAMPLE)]
pub struct SimArgs {
    /// Where all chance begins; the same seed makes the same run, byte for byte.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Many runs, one of each seed from A to B, without B.
    #[arg(long, value_name = "A..B", value_parser = parse_range, conflicts_with = "seed")]
    pub seeds: Option<Range<u64>>,
    /// Edges over all regions.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub nodes: Option<u32>,
    /// Regions; several have two aggregators each and a coordinator above them.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub regions: Option<u32>,
    /// Agents over all edges.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub agents: Option<u32>,
    /// Entries published a second, all agents together.
    #[arg(long, value_name = "N")]
    pub rate: Option<u32>,
    /// Virtual time during which there is work and faults happen.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub time: Option<Duration>,
    /// Round-trip times between regions, or within a single one, from this file.
    #[arg(long, value_name = "FILE")]
    pub rtt: Option<PathBuf>,
    /// What goes wrong: a name from --list, or a file.
    #[arg(long, value_name = "NAME|FILE")]
    pub scenario: Option<String>,
    /// What a hostile node does, with real signatures: a name from --list.
    #[arg(long, value_name = "NAME")]
    pub attack: Option<String>,
    /// How many nodes do it; held to under a third of each region.
    #[arg(long, value_name = "N", requires = "attack", default_value_t = 1)]
    pub attackers: u32,
    /// Share of packets that are lost on the way, 0.0 to 0.9.
    #[arg(long, value_name = "SHARE", value_parser = parse_share)]
    pub loss: Option<f64>,
    /// Share of nodes with a slow processor, 0.0 to 0.9: a fifth of the others' speed.
    #[arg(long, value_name = "SHARE", value_parser = parse_share, requires = "step")]
    pub slow: Option<f64>,
    /// What one input takes a node at full speed.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub step: Option<Duration>,
    /// Mean time between two edges that die for good.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub deaths: Option<Duration>,
    /// Simulate nothing but the failure detectors of one region.
    #[arg(long, conflicts_with_all = ["regions", "agents", "rate", "attack", "wire", "ed25519", "story"])]
    pub detector: bool,
    /// Let them follow the rules of plain SWIM.
    #[arg(long, requires = "detector")]
    pub plain: bool,
    /// Run each seed by both rules; ends with 1 unless the product has 50 times fewer false deaths.
    #[arg(long, requires = "detector", conflicts_with = "plain")]
    pub compare: bool,
    /// Print in how many rounds push-pull brings a write to 10 to 4,096 nodes, beside theory.
    #[arg(long, conflicts_with_all = ["seed", "seeds", "nodes", "regions", "agents", "rate", "time", "rtt",
        "scenario", "wire", "ed25519", "story", "attack", "attackers", "loss", "slow", "step", "deaths",
        "detector", "mutants", "list"])]
    pub rounds: bool,
    /// Read every control message from its encoding again.
    #[arg(long)]
    pub wire: bool,
    /// Sign with ed25519 instead of a keyed hash.
    #[arg(long)]
    pub ed25519: bool,
    /// Say on stderr what happens, line by line.
    #[arg(long, conflicts_with = "seeds")]
    pub story: bool,
    /// Write the report to this file as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Plant bugs, one after another, and see whether the invariants find them; ends with 1 if not.
    #[arg(long, conflicts_with_all = ["seed", "seeds", "nodes", "regions", "agents", "rate", "time", "rtt",
        "scenario", "wire", "ed25519", "story", "list", "attack", "attackers", "loss", "slow", "step",
        "deaths", "detector"])]
    pub mutants: bool,
    /// List scenarios, attacks, invariants and planted bugs.
    #[arg(long, conflicts_with_all = ["seed", "seeds", "nodes", "regions", "agents", "rate", "time", "rtt",
        "scenario", "wire", "ed25519", "story", "json", "attack", "attackers", "loss", "slow", "step",
        "deaths", "detector"])]
    pub list: bool,
}

/// Reads `A..B`.
fn parse_range(text: &str) -> Result<Range<u64>, String> {
    let range = text.split_once("..").and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    range.filter(|range| !range.is_empty()).ok_or_else(|| "write two numbers, as 1..200".to_string())
}

/// Reads a share, of which something is left.
fn parse_share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=0.9).contains(share));
    share.ok_or_else(|| "write a number from 0.0 to 0.9".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_two_numbers_in_order() {
        assert_eq!(parse_range("1..200"), Ok(1..200));
        for wrong in ["", "1", "1..", "..5", "5..5", "9..1", "a..b", "1...3"] {
            assert!(parse_range(wrong).is_err(), "{wrong}");
        }
    }
}
