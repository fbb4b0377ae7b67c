//! What the hidden command that runs a hostile node takes.

use std::path::PathBuf;

use clap::Args;

use super::RunArgs;

/// Arguments of `starling hostile`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = "Example:\n  starling chaos badboy --attack equivocation")]
pub struct HostileArgs {
    /// The node, as `starling run` takes it.
    #[command(flatten)]
    pub node: RunArgs,
    /// What it does: a name from `starling chaos --list`.
    #[arg(long, value_name = "NAME")]
    pub attack: String,
    /// It attacks while this file exists.
    #[arg(long, value_name = "FILE")]
    pub sign: PathBuf,
}
