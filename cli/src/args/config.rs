//! What `starling config` takes.

use std::path::PathBuf;

use clap::{Args, Subcommand};

const EXAMPLE: &str = "\
Examples:
  starling config check nodes/edge-1/edge-1.toml
  STARLING_LISTEN_QUIC=127.0.0.1:9000 starling config show --origin nodes/edge-1/edge-1.toml

A value comes from --set, else from the environment (listen.quic from STARLING_LISTEN_QUIC, lists
separated by commas), else from the file, else it is the default.";

/// Arguments of `starling config`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = EXAMPLE)]
pub struct ConfigArgs {
    /// What to do with it.
    #[command(subcommand)]
    pub command: ConfigCommand,
}

/// What to do with a configuration.
#[derive(Clone, Debug, Subcommand)]
pub enum ConfigCommand {
    /// Check that a node could start with this file: keys, values, addresses and credentials.
    #[command(after_long_help = EXAMPLE)]
    Check(ConfigFileArgs),
    /// Print the configuration as it takes effect.
    #[command(after_long_help = EXAMPLE)]
    Show {
        /// The file and what overrides it.
        #[command(flatten)]
        file: ConfigFileArgs,
        /// Say for each value where it came from.
        #[arg(long)]
        origin: bool,
    },
}

/// A configuration file and what overrides it.
#[derive(Args, Clone, Debug)]
pub struct ConfigFileArgs {
    /// The node's configuration file.
    pub file: PathBuf,
    /// Override a value, as in --set listen.quic=127.0.0.1:9000; lists are separated by commas.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
}
