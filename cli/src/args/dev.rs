//! What `starling dev` takes.

use clap::Args;

const EXAMPLE: &str = "\
Example:
  starling dev --agents 5000
  starling status          (in another terminal: finds the running dev by itself)";

/// Arguments of `starling dev`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = EXAMPLE)]
pub struct DevArgs {
    /// Demo agents over the whole mesh; 0 for a mesh without any.
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub agents: u32,
    /// Regions.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub regions: u32,
    /// Edges in each region.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub edges: u32,
    /// Aggregators in each region.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=16))]
    pub aggregators: u32,
    /// Coordinators, which agree; an odd number, for a majority of them decides.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=7))]
    pub coordinators: u32,
    /// First HTTP port on 127.0.0.1: the coordinator's; the regions' follow.
    #[arg(long, value_name = "PORT", default_value_t = 7_400, value_parser = clap::value_parser!(u16).range(1..))]
    pub http_port: u16,
    /// First QUIC port on 127.0.0.1; every node takes the next one.
    #[arg(long, value_name = "PORT", default_value_t = 7_420, value_parser = clap::value_parser!(u16).range(1..))]
    pub quic_port: u16,
}
