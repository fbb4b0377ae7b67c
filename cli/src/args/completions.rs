//! What `starling completions` takes.

use clap::Args;
use clap_complete::Shell;

/// Arguments of `starling completions`.
#[derive(Args, Clone, Debug)]
#[command(
    after_long_help = "Example:\n  starling completions bash > ~/.local/share/bash-completion/completions/starling"
)]
pub struct CompletionsArgs {
    /// The shell.
    #[arg(value_enum)]
    pub shell: Shell,
}
