//! `starling completions SHELL`.

use clap::CommandFactory;

use crate::args::CompletionsArgs;
use crate::commands::Cli;
use crate::exit::Failure;
use crate::output::Output;

/// Prints the script for a shell. It is made in memory first: the generator itself cannot fail
/// politely when nobody reads on.
pub fn run(args: &CompletionsArgs, output: &Output) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "starling", &mut script);
    output.write(&script)
}
