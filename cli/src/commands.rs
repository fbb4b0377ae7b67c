//! The whole command line. What a command takes is in [`crate::args`], one file a command.

use clap::{Args, Parser, Subcommand};

use crate::args::{
    AgentsArgs, BenchArgs, BenchPartArgs, BudgetArgs, CaArgs, CertArgs, ChaosArgs, ClientOptions,
    CompletionsArgs, ConfigArgs, DevArgs, HostileArgs, InitArgs, InspectArgs, KeyArgs, LoadtestArgs,
    PeersArgs, PingArgs, PublishArgs, RegistrarArgs, RunArgs, SendArgs, ShippedArgs, SimArgs, SubscribeArgs,
    TopologyArgs,
};
use crate::output::Format;

const EXIT_CODES: &str = "\
Exit codes:
  0 ok   1 failed   2 usage   3 configuration   4 unreachable   5 not allowed
  6 not found   7 timeout   99 threshold missed   130 interrupted

Example:
  starling init my-mesh
  starling config check my-mesh/nodes/edge-1/edge-1.toml";

/// A mesh for agents: edges host them, aggregators fold what they say, coordinators agree.
#[derive(Clone, Debug, Parser)]
#[command(name = "starling", version, arg_required_else_help = true, after_long_help = EXIT_CODES)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: GlobalOptions,
    /// How client commands find the mesh, when given before the command.
    #[command(flatten)]
    pub client: ClientOptions,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command, before or after its name.
#[derive(Args, Clone, Debug, Default)]
pub struct GlobalOptions {
    /// How answers look on stdout.
    #[arg(short, long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: Format,
    /// Say more on stderr; twice says most.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Say nothing on stderr but errors.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Run a whole mesh on this machine, with demo agents.
    Dev(DevArgs),
    /// Make a new mesh: its authority, and credentials and a sample configuration for each node.
    Init(InitArgs),
    /// Run nodes from configuration files, until Ctrl-C or SIGTERM.
    Run(RunArgs),
    /// Show what state the mesh is in.
    Status(InspectArgs),
    /// List regions with their agents.
    Regions(InspectArgs),
    /// List nodes.
    Members(InspectArgs),
    /// Show how far a node's peers are, and which it prefers.
    Topology(TopologyArgs),
    /// Show what each stage of the hot path takes, in ticks of 125 ns, and where it takes too long.
    Budget(BudgetArgs),
    /// List peers, the best first: all, or those with a service, a capability or a blob.
    Peers(PeersArgs),
    /// Count agents by region, state and tag, or find one.
    Agents(AgentsArgs),
    /// Publish one entry, or every line of a stream.
    Publish(PublishArgs),
    /// Print what is published.
    Subscribe(SubscribeArgs),
    /// Send to one agent, wherever it is.
    Send(SendArgs),
    /// Read or write a replicated key.
    Key(KeyArgs),
    /// Measure the round trip to a node.
    Ping(PingArgs),
    /// Load a mesh on this machine with agents, and report.
    Loadtest(Box<LoadtestArgs>),
    /// Measure how fast a mesh on this machine is.
    Bench(BenchArgs),
    /// Be one process of a measurement.
    #[command(hide = true)]
    BenchPart(BenchPartArgs),
    /// Simulate a mesh and what goes wrong in it, in virtual time.
    Sim(Box<SimArgs>),
    /// Break a mesh of real processes on purpose, and check what it promises.
    Chaos(Box<ChaosArgs>),
    /// Run a hostile node, as `chaos badboy` does.
    #[command(hide = true)]
    Hostile(Box<HostileArgs>),
    /// List live nodes in DNS, so that others find the mesh.
    Registrar(RegistrarArgs),
    /// Sign a list of peers that is shipped with a release.
    Shipped(ShippedArgs),
    /// Show certificates, or issue a new one.
    Cert(CertArgs),
    /// Replace the mesh's CA, step by step.
    Ca(CaArgs),
    /// Check or show a node's configuration.
    Config(ConfigArgs),
    /// Print the completion script for a shell.
    Completions(CompletionsArgs),
    /// Print the version.
    #[command(after_long_help = "Example:\n  starling version -o json")]
    Version,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_options_go_before_or_after_the_command() {
        for line in [["starling", "-o", "json", "version"], ["starling", "version", "-o", "json"]] {
            assert_eq!(Cli::try_parse_from(line).unwrap().global.output, Format::Json);
        }
    }

    #[test]
    fn every_command_has_an_example() {
        let mut root = Cli::command();
        root.build();
        for command in root.get_subcommands().filter(|command| command.get_name() != "help") {
            let help = command.clone().render_long_help().to_string();
            assert!(help.contains("Example"), "{help}");
        }
    }
}
