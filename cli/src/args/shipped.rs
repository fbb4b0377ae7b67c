//! What `starling shipped` takes.

use std::path::PathBuf;

use clap::Args;
use starling_discovery::Candidate;

const EXAMPLE: &str = "\
Example:
  starling shipped --authority my-mesh/authority --days 180 edge-1.example.org:7420 > peers.list

Nodes use the list that discovery.shipped names, as long as it lasts.";

/// Arguments of `starling shipped`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = EXAMPLE)]
pub struct ShippedArgs {
    /// The directory with the keys of the mesh.
    #[arg(long, value_name = "DIR")]
    pub authority: PathBuf,
    /// For how long nodes use it.
    #[arg(long, value_name = "N", default_value_t = 180, value_parser = clap::value_parser!(u16).range(1..=3_650))]
    pub days: u16,
    /// Peers, HOST:PORT or HOST:PORT#NODE; at most 64.
    #[arg(value_name = "PEER", required = true)]
    pub peers: Vec<Candidate>,
}
