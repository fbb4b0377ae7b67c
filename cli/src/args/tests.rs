//! Arguments are parsed through a command line of their own, wired to commands or not.

use std::time::Duration;

use clap::{CommandFactory, Parser, Subcommand};

use super::*;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    client: ClientOptions,
    #[command(subcommand)]
    command: Every,
}

#[derive(Debug, Subcommand)]
enum Every {
    Dev(DevArgs),
    Init(InitArgs),
    Run(RunArgs),
    Status(InspectArgs),
    Agents(AgentsArgs),
    Publish(PublishArgs),
    Subscribe(SubscribeArgs),
    Send(SendArgs),
    Ping(PingArgs),
    Loadtest(LoadtestArgs),
    Config(ConfigArgs),
    Completions(CompletionsArgs),
}

fn parse(line: &str) -> Result<Line, clap::Error> {
    Line::try_parse_from(std::iter::once("starling").chain(line.split_whitespace()))
}

#[test]
fn every_command_is_consistent_and_has_an_example() {
    Line::command().debug_assert();
    for command in Line::command().get_subcommands() {
        let help = command.clone().render_long_help().to_string();
        assert!(help.contains("Example"), "{help}");
    }
}

#[test]
fn loadtest_has_the_documented_defaults() {
    let Every::Loadtest(args) = parse("loadtest --threshold a<1 --threshold b<2").unwrap().command else {
        panic!("not a load test");
    };
    assert_eq!((args.agents, args.edges, args.regions), (10_000, 4, 2));
    assert_eq!((args.agents_per_connection, args.rate, args.payload, args.seed), (1_000, 20_000, 128, 1));
    assert_eq!((args.duration, args.profile), (Duration::from_secs(60), LoadProfile::Steady));
    assert_eq!(args.thresholds, ["a<1", "b<2"]);
    assert!(parse("loadtest --profile join-storm --kill-edge 1 --no-rehome --edge-processes 2").is_ok());
    assert!(parse("loadtest --duration 60").is_err());
}

#[test]
fn client_options_go_before_or_after_the_command() {
    let line = parse("--node a:1,b:2 --timeout 500ms status --trust t").unwrap();
    let Every::Status(args) = line.command else { panic!("not status") };
    let settings = args.client.resolve(&line.client);
    assert_eq!(settings.nodes, ["a:1", "b:2"]);
    assert_eq!(settings.timeout, Duration::from_millis(500));
    assert_eq!(settings.trust, Some("t".into()));
}

#[test]
fn nodes_of_init_are_not_nodes_to_ask() {
    let line = parse("init d --node edge:eu:a --node edge:eu:b").unwrap();
    let Every::Init(args) = line.command else { panic!("not init") };
    assert_eq!(args.nodes, ["edge:eu:a", "edge:eu:b"]);
    assert!(line.client.nodes.is_empty());
}

#[test]
fn a_payload_has_one_source() {
    assert!(parse("publish s data --lines").is_err());
    assert!(parse("publish s data --file f").is_err());
    assert!(parse("publish s --lines --file f").is_ok());
    assert!(parse("subscribe s --count 0").is_err());
    assert!(parse("run").is_err());
    let Every::Run(args) = parse("run --config a b --set log.level=debug").unwrap().command else {
        panic!("not run");
    };
    assert_eq!(args.files.len(), 2);
}
