//! What the commands that look at a mesh take: status, regions, members, topology, peers,
//! agents, ping.

use clap::Args;

use super::ClientOptions;

/// Arguments of `starling status`, `starling regions` and `starling members`.
#[derive(Args, Clone, Debug)]
#[command(
    after_long_help = "Examples:\n  starling status\n  starling regions --node 127.0.0.1:7420\n  starling members -o json"
)]
pub struct InspectArgs {
    /// How to find the mesh.
    #[command(flatten)]
    pub client: ClientOptions,
}

/// Arguments of `starling topology`.
#[derive(Args, Clone, Debug)]
#[command(
    after_long_help = "Examples:\n  starling topology --node 127.0.0.1:7425\n  starling topology -o json"
)]
pub struct TopologyArgs {
    /// How to find the mesh.
    #[command(flatten)]
    pub client: ClientOptions,
}

/// Arguments of `starling budget`.
#[derive(Args, Clone, Debug)]
#[command(
    after_long_help = "Examples:\n  starling budget\n  starling budget --node 127.0.0.1:7425\n  starling budget -o json"
)]
pub struct BudgetArgs {
    /// How to find the mesh; named nodes alone are asked.
    #[command(flatten)]
    pub client: ClientOptions,
}

/// Arguments of `starling peers`.
#[derive(Args, Clone, Debug)]
#[command(
    after_long_help = "Examples:\n  starling peers\n  starling peers --service films --count 3\n  starling peers --capability relay -o json"
)]
pub struct PeersArgs {
    /// Peers that run this service.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["capability", "blob"])]
    pub service: Option<String>,
    /// Peers that can do this.
    #[arg(long, value_name = "NAME", conflicts_with = "blob")]
    pub capability: Option<String>,
    /// Peers that have the blob of this hash, in hexadecimal.
    #[arg(long, value_name = "HASH")]
    pub blob: Option<String>,
    /// How many at the most.
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub count: u32,
    /// How to find the mesh.
    #[command(flatten)]
    pub client: ClientOptions,
}

/// Arguments of `starling agents`.
#[derive(Args, Clone, Debug)]
#[command(
    after_long_help = "Examples:\n  starling agents\n  starling agents 00112233445566778899aabbccddeeff"
)]
pub struct AgentsArgs {
    /// One agent's id, 32 hexadecimal digits: where is it? Without one: how many are where.
    pub agent_id: Option<String>,
    /// How to find the mesh.
    #[command(flatten)]
    pub client: ClientOptions,
}

/// Arguments of `starling ping`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = "Examples:\n  starling ping\n  starling ping 127.0.0.1:7420 --count 10")]
pub struct PingArgs {
    /// The node's address, host:port; without one, the node that --node or the environment names.
    pub address: Option<String>,
    /// How often.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    pub count: u32,
    /// How to find the mesh.
    #[command(flatten)]
    pub client: ClientOptions,
}
