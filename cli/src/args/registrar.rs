//! What `starling registrar` takes.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;

use crate::duration::parse_duration;

const EXAMPLE: &str = "\
Examples:
  starling registrar --listen 0.0.0.0:7480 --zone mesh.example.org --serve 0.0.0.0:53
  starling registrar --listen 0.0.0.0:7480 --zone mesh.example.org --update 192.0.2.53:53

It pings a node before it lists it, asks a little work for each registration, and has no database: with
--update the zone is the state and is read back at the start; what --serve serves, nodes register again.";

/// Arguments of `starling registrar`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = EXAMPLE)]
pub struct RegistrarArgs {
    /// The TCP address of its HTTP.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:7480")]
    pub listen: SocketAddr,
    /// The domain whose peers it lists.
    #[arg(long, value_name = "DOMAIN")]
    pub zone: String,
    /// Serve the zone here, on UDP and TCP.
    #[arg(long, value_name = "IP:PORT", required_unless_present = "update", conflicts_with = "update")]
    pub serve: Option<SocketAddr>,
    /// Publish by dynamic updates to the DNS server here.
    #[arg(long, value_name = "IP:PORT")]
    pub update: Option<SocketAddr>,
    /// Leading zero bits of the work that it asks for; each more doubles it.
    #[arg(long, value_name = "BITS", default_value_t = starling_discovery::registration::DIFFICULTY, value_parser = clap::value_parser!(u8).range(0..=24))]
    pub difficulty: u8,
    /// For how long a registration holds.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = parse_duration)]
    pub ttl: Duration,
    /// How often a listed node is pinged.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = parse_duration)]
    pub ping_every: Duration,
    /// Nodes of one IPv4 address or IPv6 /64 that are listed at once.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..))]
    pub per_address: u16,
    /// List a node also at another address than the one it asks from.
    #[arg(long)]
    pub any_address: bool,
}
