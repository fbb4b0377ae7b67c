//! `starling bench`: one work in processes of its own, measured; and what such a process does.

use std::sync::Arc;

use serde::Serialize;
use starling_bench::part::Counting;
use starling_bench::{Part, Report, Settings, Work};
use starling_core::hot::counters::Stage;

use crate::args::{BenchArgs, BenchCommand, BenchPartArgs};
use crate::exit::{ExitCode, Failure};
use crate::finding::block_on;
use crate::output::table::facts;
use crate::output::{Output, Render, write_json};
use crate::run::{start_nodes, stdin_closed, stop_nodes};
use crate::signals::{stop_requested, until_stopped};

fn settings(args: &BenchArgs) -> Result<Settings, Failure> {
    let mut settings = Settings {
        work: Work::Throughput,
        payload: args.payload,
        duration: args.duration,
        warm_up: args.warm_up,
        hops: 1,
        nodes: 2,
        window: 1,
        connections: 1,
        agents_per_connection: 1,
        entries: 1,
        subjects: 1,
        program: std::env::current_exe()?,
    };
    match args.command {
        BenchCommand::Throughput { window } => settings.window = window,
        BenchCommand::Routed { hops } => (settings.work, settings.hops) = (Work::Routed, hops),
        BenchCommand::Latency => settings.work = Work::Latency,
        BenchCommand::Fanout { agents } => (settings.work, settings.connections) = (Work::Fanout, agents),
        BenchCommand::Region { nodes, window } => {
            (settings.work, settings.nodes, settings.window) = (Work::Region, nodes, window);
        }
        BenchCommand::Path { entries, subjects } => {
            (settings.work, settings.entries, settings.subjects) = (Work::Path, entries, subjects);
        }
        BenchCommand::Memory { agents, agents_per_connection } => {
            (settings.work, settings.connections) = (Work::Memory, agents);
            settings.agents_per_connection = agents_per_connection;
        }
    }
    settings.check().map_err(|what| {
        Failure::new(ExitCode::Usage, what)
            .with_help(format!("starling bench {} --help", settings.work.name()))
    })?;
    Ok(settings)
}

/// Measures one work.
///
/// # Errors
/// A process did not do its part, or an entry was lost, came twice or was not what its node signed.
pub fn run(args: &BenchArgs, output: &Output) -> Result<(), Failure> {
    let settings = settings(args)?;
    let directory = tempfile::Builder::new().prefix("starling-bench-").tempdir()?;
    let say = |line: &str| output.note(line);
    let report = block_on(until_stopped(starling_bench::run(settings, directory.path(), &say)))?;
    if let Some(path) = &args.json {
        write_json(path, &report)?;
    }
    output.print(&Shown(&report))?;
    match report.lost + report.duplicated + report.invalid {
        0 => Ok(()),
        _ => Err(Failure::new(ExitCode::Failed, "not every entry came once, in order and verified")),
    }
}

/// Does the part of one process, and stays until it is ended.
///
/// # Errors
/// The part could not be done.
pub fn play(args: &BenchPartArgs) -> Result<(), Failure> {
    let part = Part::load(&args.part)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(async {
        let nodes = Arc::new(start_nodes(&args.files).await?);
        let counting = Counting::start(Arc::clone(&nodes));
        let stop = async {
            tokio::select! {
                () = stop_requested() => {}
                () = stdin_closed(), if args.until_stdin_closes => {}
            }
        };
        tokio::pin!(stop);
        let played = tokio::select! {
            played = part.play(&nodes) => Some(played),
            () = &mut stop => None,
        };
        match played {
            Some(Ok(())) => stop.await,
            Some(Err(error)) => return Err(error.into()),
            None => {}
        }
        part.count(&counting.counted())?;
        counting.stop().await;
        if let Ok(nodes) = Arc::try_unwrap(nodes) {
            stop_nodes(nodes).await;
        }
        Ok(())
    });
    runtime.shutdown_background();
    ended
}

#[derive(Serialize)]
#[serde(transparent)]
struct Shown<'a>(&'a Report);

impl Render for Shown<'_> {
    fn table(&self) -> String {
        let report = self.0;
        let times = |times: &Option<starling_bench::report::Times>| match times {
            None => "-".to_string(),
            Some(t) => {
                format!("p50 {:.0}, p99 {:.0}, p99.9 {:.0} us, {} samples", t.p50, t.p99, t.p999, t.samples)
            }
        };
        let each = |list: Vec<String>| if list.is_empty() { "-".to_string() } else { list.join(", ") };
        let cores = report.cpu_cores.iter().map(|(name, cores)| format!("{name} {cores:.2}")).collect();
        let rss = report.rss_bytes.iter();
        let rss = rss.map(|(name, bytes)| format!("{name} {:.1} MB", *bytes as f64 / 1e6)).collect();
        let mut lines = vec![
            ("work", report.bench.to_string()),
            ("deliveries a second", report.per_second.map_or("-".into(), |rate| format!("{rate:.0}"))),
            ("latency", times(&report.latency_us)),
            ("one at a time", times(&report.alone_us)),
            (
                "deliveries",
                format!(
                    "{} of {}, {} lost, {} duplicated, {} bundles invalid",
                    report.delivered, report.expected, report.lost, report.duplicated, report.invalid
                ),
            ),
            ("cores", each(cores)),
            ("memory", each(rss)),
        ];
        if let Some(total) = report.ticks.get("total") {
            lines.push(("hot path", format!("p50 {:.1}, p99 {:.1} ticks an entry", total.p50, total.p99)));
            let stages = report.ticks.iter().filter(|(name, _)| Stage::ALL.iter().any(|s| s.name() == *name));
            lines.push(("stages", each(stages.map(|(name, t)| format!("{name} {:.2}", t.p50)).collect())));
        }
        if let Some(udp) = report.udp {
            lines.push(("nodes sent", format!("{} datagrams in {} calls", udp.datagrams, udp.syscalls)));
        }
        if let Some(memory) = report.memory {
            lines.push((
                "idle agents",
                format!(
                    "{:.1} KB a connection, {:.0} bytes an agent on a shared one",
                    memory.bytes_per_connection / 1e3,
                    memory.bytes_per_agent
                ),
            ));
            lines.push((
                "arrival",
                format!(
                    "{:.0} handshakes a second; {:.0} attaches a second, {:.0} on shared connections",
                    memory.alone.handshakes_per_second,
                    memory.alone.attaches_per_second,
                    memory.together.attaches_per_second
                ),
            ));
        }
        facts(&lines)
    }
}
