//! What the commands that send and receive take: publish, subscribe, send.

use std::path::PathBuf;

use clap::Args;

use super::ClientOptions;

const PUBLISH: &str = "\
Examples:
  starling publish news.weather 'rain at noon'
  journalctl -f | starling publish logs.web --lines
  starling publish maps.berlin --file berlin.bin

With --lines an entry is the bytes up to and including the newline; empty lines are kept, and a last
line without newline stays without. Exits 0 only when every entry is acknowledged.";

const SUBSCRIBE: &str = "\
Examples:
  starling subscribe 'news.>'
  starling subscribe 'logs.*' --raw > logs.txt
  starling subscribe 'news.>' --count 1 -o json

Says ready on stderr once its interest is confirmed everywhere; a gap is reported there and makes the
exit code 1.";

/// Arguments of `starling publish`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = PUBLISH)]
pub struct PublishArgs {
    /// The subject, such as news.weather.
    pub subject: String,
    /// The payload of one entry; without it and without --lines and --file, all of stdin.
    #[arg(conflicts_with_all = ["lines", "file"])]
    pub data: Option<String>,
    /// Publish every line of stdin, or of --file, as an entry.
    #[arg(long)]
    pub lines: bool,
    /// Read from this file instead of stdin.
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// How to find the mesh.
    #[command(flatten)]
    pub client: ClientOptions,
}

/// Arguments of `starling subscribe`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = SUBSCRIBE)]
pub struct SubscribeArgs {
    /// The pattern: * stands for one part of a subject, > for all the rest.
    pub pattern: String,
    /// Write payloads as they are and add nothing.
    #[arg(long)]
    pub raw: bool,
    /// End after this many entries.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// How to find the mesh.
    #[command(flatten)]
    pub client: ClientOptions,
}

/// Arguments of `starling send`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = "Example:\n  starling send 00112233445566778899aabbccddeeff 'come home'")]
pub struct SendArgs {
    /// The agent's id, 32 hexadecimal digits.
    pub agent: String,
    /// The payload; without it, all of stdin.
    pub data: Option<String>,
    /// How to find the mesh.
    #[command(flatten)]
    pub client: ClientOptions,
}
