//! The binary `starling`: parses the command line, runs one command, ends with its exit code.

#![forbid(unsafe_code)]

use std::process;

use clap::Parser;
use starling_cli::commands::{Cli, Command};
use starling_cli::exit::{self, Failure};
use starling_cli::output::Output;
use starling_cli::{
    bench, cert, chaos, completions, config_command, dev, hostile, init, inspect, key, loadtest, messages,
    registrar, run as nodes, shipped, sim, version,
};

fn main() -> process::ExitCode {
    exit::catch_panics(|| match Cli::try_parse() {
        Ok(cli) => exit::finish(run(cli)),
        Err(error) => exit::finish_usage(&error),
    })
}

fn run(cli: Cli) -> Result<(), Failure> {
    let output = Output::new(&cli.global);
    let client = cli.client;
    match cli.command {
        Command::Dev(args) => dev::run(&args, &output),
        Command::Init(args) => init::run(&args, &output),
        Command::Run(args) => nodes::run(&args, &output),
        Command::Status(args) => inspect::status(&args.client.resolve(&client), &output),
        Command::Regions(args) => inspect::regions(&args.client.resolve(&client), &output),
        Command::Members(args) => inspect::members(&args.client.resolve(&client), &output),
        Command::Budget(args) => inspect::budget(&args.client.resolve(&client), &output),
        Command::Topology(args) => inspect::topology(&args.client.resolve(&client), &output),
        Command::Peers(args) => inspect::peers(&args, &args.client.resolve(&client), &output),
        Command::Agents(args) => inspect::agents(&args, &args.client.resolve(&client), &output),
        Command::Publish(args) => messages::publish(&args, &args.client.resolve(&client), &output),
        Command::Subscribe(args) => messages::subscribe(&args, &args.client.resolve(&client), &output),
        Command::Send(args) => messages::send(&args, &args.client.resolve(&client), &output),
        Command::Key(args) => key::run(&args, &args.command.client().resolve(&client), &output),
        Command::Ping(args) => inspect::ping(&args, &args.client.resolve(&client), &output),
        Command::Loadtest(args) => loadtest::run(&args, &output),
        Command::Bench(args) => bench::run(&args, &output),
        Command::BenchPart(args) => bench::play(&args),
        Command::Sim(args) => sim::run(&args, &output),
        Command::Chaos(args) => chaos::run(&args, &output),
        Command::Hostile(args) => hostile::run(&args, &output),
        Command::Registrar(args) => registrar::run(&args, &output),
        Command::Shipped(args) => shipped::run(&args, &output),
        Command::Cert(args) => cert::run(&args, &output),
        Command::Ca(args) => cert::run_ca(&args, &output),
        Command::Config(args) => config_command::run(&args, &output),
        Command::Completions(args) => completions::run(&args, &output),
        Command::Version => version::run(&output),
    }
}
