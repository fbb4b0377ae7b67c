//! `starling loadtest`: a mesh of processes on this machine, agents by the hundred thousand, a report.

use serde::Serialize;
use starling_loadtest::{Profile, Report, Settings};

use crate::args::{LoadProfile, LoadtestArgs};
use crate::exit::{ExitCode, Failure};
use crate::finding::block_on;
use crate::output::table::facts;
use crate::output::{Output, Render, write_json};
use crate::signals::until_stopped;

/// Rooms that the agents of an edge choose from.
const ROOMS: u32 = 10_000;
/// Share of agents that change their state each second.
const CHANGES: f64 = 0.01;

fn settings(args: &LoadtestArgs) -> Result<Settings, Failure> {
    let settings = Settings {
        agents: args.agents,
        edges: args.edges,
        regions: args.regions,
        agents_per_connection: args.agents_per_connection,
        rate: args.rate,
        payload: args.payload,
        duration: args.duration,
        profile: match args.profile {
            LoadProfile::Steady => Profile::Steady,
            LoadProfile::JoinStorm => Profile::JoinStorm,
        },
        seed: args.seed,
        rooms_per_edge: ROOMS,
        changes_per_second: CHANGES,
        rtt: args.rtt.clone(),
        kill_edge: args.kill_edge.unwrap_or(0),
        rehome: !args.no_rehome,
        edge_processes: args.edge_processes.unwrap_or(1),
        thresholds: args.thresholds.clone(),
        program: std::env::current_exe()?,
    };
    let usage = |what: String| Failure::new(ExitCode::Usage, what).with_help("starling loadtest --help");
    settings.check().map_err(usage)?;
    for expression in &settings.thresholds {
        starling_loadtest::report::check(expression, &settings).map_err(|error| usage(error.to_string()))?;
    }
    Ok(settings)
}

/// Runs a load test.
///
/// # Errors
/// The mesh did not come up or broke, or a threshold was missed.
pub fn run(args: &LoadtestArgs, output: &Output) -> Result<(), Failure> {
    let settings = settings(args)?;
    let directory = tempfile::Builder::new().prefix("starling-loadtest-").tempdir()?;
    let say = |line: &str| output.note(line);
    let report = block_on(until_stopped(starling_loadtest::run(settings, directory.path(), &say)))?;
    if let Some(path) = &args.json {
        write_json(path, &report)?;
    }
    output.print(&Shown(&report))?;
    if report.is_ok() { Ok(()) } else { Err(Failure::quiet(ExitCode::Threshold)) }
}

#[derive(Serialize)]
#[serde(transparent)]
struct Shown<'a>(&'a Report);

impl Render for Shown<'_> {
    fn table(&self) -> String {
        let report = self.0;
        let number =
            |value: Option<f64>, unit: &str| value.map_or("-".into(), |value| format!("{value:.1} {unit}"));
        let times = |times: &Option<starling_loadtest::report::Times>, unit: &str| match times {
            None => "-".to_string(),
            Some(t) => {
                format!("p50 {:.0}, p99 {:.0}, max {:.0} {unit}, {} samples", t.p50, t.p99, t.max, t.samples)
            }
        };
        let megabytes = |bytes: Option<u64>| number(bytes.map(|bytes| bytes as f64 / 1e6), "MB");
        let events = &report.events;
        let total = report.hot_path.ticks.get("total");
        let mut lines = vec![
            (
                "agents",
                format!(
                    "{} of {} attached and verified, {} refused",
                    report.agents.attached, report.agents.requested, report.agents.failed
                ),
            ),
            (
                "attach",
                format!(
                    "{:.1} s, {:.0} a second; subscribed after {:.1} s",
                    report.attach.seconds, report.attach.per_second, report.attach.subscribed_seconds
                ),
            ),
            ("count at rest", report.count_at_rest.map_or("-".into(), |count| count.to_string())),
            ("visible", times(&report.visible_ms, "ms")),
            (
                "broadcast",
                report.broadcast_ms.as_ref().map_or("-".into(), |b| {
                    format!(
                        "p50 {:.0}, p99 {:.0}, max {:.0} ms, {} agents reached",
                        b.p50, b.p99, b.max, b.reached
                    )
                }),
            ),
            ("delivery, one region", times(&report.delivery_us.region, "us")),
            ("delivery, two regions", times(&report.delivery_us.global, "us")),
            (
                "events",
                format!(
                    "{} published ({:.0} a second), {} unsent, {} acknowledged",
                    events.published, events.per_second, events.unsent, events.acknowledged
                ),
            ),
            (
                "deliveries",
                format!(
                    "{} of {}, {} lost, {} duplicated",
                    events.delivered, events.expected, events.lost, events.duplicated
                ),
            ),
            (
                "mesh memory",
                format!(
                    "{}, {} an agent",
                    megabytes(report.memory.mesh_pss_bytes),
                    number(report.memory.bytes_per_agent, "bytes")
                ),
            ),
            ("generator memory", megabytes(report.memory.generator_pss_bytes)),
            (
                "processor",
                format!(
                    "mesh {}, generator {}",
                    number(report.cpu_seconds.mesh, "s"),
                    number(report.cpu_seconds.generator, "s")
                ),
            ),
            (
                "hot path",
                total.map_or("-".into(), |t| format!("p50 {:.1}, p99 {:.1} ticks an entry", t.p50, t.p99)),
            ),
            ("generator late", format!("at most {:.0} ms", report.schedule_late_ms)),
        ];
        if let Some(kill) = &report.kill {
            let after = kill.seconds.map_or("never".into(), |seconds| format!("after {seconds:.1} s"));
            lines.push((
                "kill",
                format!(
                    "{} edges; {} of {} counted, right {after}",
                    kill.edges, kill.agents_counted, kill.agents_expected
                ),
            ));
            lines.push(("at home again", times(&kill.rehomed_ms, "ms")));
        }
        for threshold in &report.thresholds {
            let word = if threshold.ok { "held" } else { "MISSED" };
            lines.push((
                "threshold",
                format!(
                    "{} {word} ({})",
                    threshold.expression,
                    threshold.value.map_or("null".into(), |v| v.to_string())
                ),
            ));
        }
        facts(&lines)
    }
}
