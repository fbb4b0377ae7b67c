//! What `starling key` takes.

use clap::{Args, Subcommand};

use super::ClientOptions;

const EXAMPLE: &str = "\
Examples:
  starling key put deploy.color blue
  starling key get deploy.color
  starling key add visits 3
  starling key get visits -o json

A key is the same at every edge: the last writer of bytes wins, counters add up, and the highest or
lowest number stays. A key keeps the type of its first value until that is deleted, and only a text can
be. Keys live in the memory of the mesh.";

/// Arguments of `starling key`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = EXAMPLE)]
pub struct KeyArgs {
    /// What to do with it.
    #[command(subcommand)]
    pub command: KeyCommand,
}

/// What to do with a replicated key.
#[derive(Clone, Debug, Subcommand)]
pub enum KeyCommand {
    /// Print the value, merged over the whole mesh; exits 6 where there is none.
    #[command(after_long_help = EXAMPLE)]
    Get(NameArgs),
    /// Set it to a text of at most 4,096 bytes; the last writer wins.
    #[command(after_long_help = EXAMPLE)]
    Put(TextArgs),
    /// Remove its text.
    #[command(after_long_help = EXAMPLE)]
    Delete(NameArgs),
    /// Count up, or down by a negative number.
    #[command(after_long_help = EXAMPLE)]
    Add(NumberArgs),
    /// Raise the highest number.
    #[command(after_long_help = EXAMPLE)]
    Max(NumberArgs),
    /// Lower the lowest number.
    #[command(after_long_help = EXAMPLE)]
    Min(NumberArgs),
}

impl KeyCommand {
    /// How to find the mesh.
    pub fn client(&self) -> &ClientOptions {
        match self {
            KeyCommand::Get(args) | KeyCommand::Delete(args) => &args.client,
            KeyCommand::Put(args) => &args.client,
            KeyCommand::Add(args) | KeyCommand::Max(args) | KeyCommand::Min(args) => &args.client,
        }
    }
}

/// A key.
#[derive(Args, Clone, Debug)]
pub struct NameArgs {
    /// The key, 1 to 256 bytes.
    pub key: String,
    /// How to find the mesh.
    #[command(flatten)]
    pub client: ClientOptions,
}

/// A key and a text.
#[derive(Args, Clone, Debug)]
pub struct TextArgs {
    /// The key, 1 to 256 bytes.
    pub key: String,
    /// The text.
    pub value: String,
    /// How to find the mesh.
    #[command(flatten)]
    pub client: ClientOptions,
}

/// A key and a number.
#[derive(Args, Clone, Debug)]
pub struct NumberArgs {
    /// The key, 1 to 256 bytes.
    pub key: String,
    /// The number.
    #[arg(allow_negative_numbers = true)]
    pub number: i64,
    /// How to find the mesh.
    #[command(flatten)]
    pub client: ClientOptions,
}
