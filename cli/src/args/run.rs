//! What `starling run` takes.

use std::path::PathBuf;

use clap::Args;

const EXAMPLE: &str = "\
Examples:
  starling run --config nodes/edge-1/edge-1.toml
  starling run --config nodes/*/*.toml
  starling run --config edge-1.toml --set log.level=debug

Several files are several nodes in one process. --set and STARLING_ variables apply to all of them.";

/// Arguments of `starling run`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = EXAMPLE)]
pub struct RunArgs {
    /// Configuration files, one a node.
    #[arg(long = "config", value_name = "FILE", required = true, num_args = 1..)]
    pub files: Vec<PathBuf>,
    /// Override a value, as in --set listen.quic=127.0.0.1:9000; lists are separated by commas.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// Tell nobody where these nodes listen: they dial others, and are listed nowhere.
    #[arg(long = "silent")]
    pub is_silent: bool,
    /// Stop when stdin reaches its end: whoever started this process is gone.
    #[arg(long, hide = true)]
    pub until_stdin_closes: bool,
    /// Imitate distances: lines of FROM TO MILLISECONDS, one way, between listening addresses.
    #[arg(long, value_name = "FILE", hide = true)]
    pub delays: Option<PathBuf>,
    /// Make links bad as this file says, now and whenever it changes.
    #[arg(long, value_name = "FILE", hide = true, conflicts_with = "delays")]
    pub links: Option<PathBuf>,
}
