//! What `starling init` takes.

use std::path::PathBuf;

use clap::Args;

const EXAMPLE: &str = "\
Examples:
  starling init my-mesh
  starling init my-mesh --name flock --node coordinator:eu:hub --node edge:eu:berlin --node edge+aggregator:us:dallas

DIR/authority holds the keys of the mesh: keep it off the nodes. DIR/nodes/NAME is all that the node
NAME needs; its sample configuration runs on loopback as it is. Credentials made here are valid for
365 days; they are not renewed by themselves yet.

A node of several roles is run as one node per role, called NAME-ROLE, on consecutive ports.";

/// Arguments of `starling init`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = EXAMPLE)]
pub struct InitArgs {
    /// The directory to make; it must not exist or be empty.
    pub dir: PathBuf,
    /// What people call the mesh: 1 to 64 of a-z, 0-9 and - [default: the directory's name].
    #[arg(long)]
    pub name: Option<String>,
    /// A node to make, repeatable; roles are edge, aggregator and coordinator, joined by +
    /// [default: one coordinator, two aggregators and two edges in the region local].
    #[arg(long = "node", value_name = "ROLE:REGION:NAME")]
    pub nodes: Vec<String>,
    /// First QUIC port of the sample configurations; every role takes the next one.
    #[arg(long, value_name = "PORT", default_value_t = 7_420, value_parser = clap::value_parser!(u16).range(1..))]
    pub quic_port: u16,
    /// First HTTP port of the sample configurations; every role takes the next one.
    #[arg(long, value_name = "PORT", default_value_t = 7_400, value_parser = clap::value_parser!(u16).range(1..))]
    pub http_port: u16,
}
