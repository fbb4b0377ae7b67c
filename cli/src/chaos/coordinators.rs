//! `starling chaos coordinators`: the leader of three dies again and again, and what was acknowledged is
//! looked for afterwards.

use serde::Serialize;
use starling_chaos::Invariant;
use starling_chaos::coordinators::{
    CoordinatorsReport, CoordinatorsSettings, LeaderFault, judge, read, run as strike,
};

use super::history_path;
use crate::args::{ChaosArgs, StrikeArg};
use crate::exit::{ExitCode, Failure};
use crate::finding::block_on;
use crate::output::table::facts;
use crate::output::{Output, Render, write_json};
use crate::signals::until_stopped;

/// The scenario's name.
pub(super) const NAME: &str = "coordinators";
/// What it is, for the list.
pub(super) const ABOUT: &str =
    "the leader of three coordinators is killed again and again; no acknowledged update is lost or doubled";

/// Runs it and judges its history.
///
/// # Errors
/// The coordinators do not agree, a file cannot be used, or an invariant does not hold.
pub(super) fn run(args: &ChaosArgs, output: &Output) -> Result<(), Failure> {
    let mut directory = tempfile::Builder::new().prefix("starling-chaos-").tempdir()?;
    if args.keep {
        directory.disable_cleanup(true);
        output.note(&format!("keys, configuration and logs stay in {}", directory.path().display()));
    }
    let mesh = directory.path().join("mesh");
    std::fs::create_dir(&mesh)?;
    let settings = CoordinatorsSettings {
        fault: match args.fault {
            StrikeArg::Kill => LeaderFault::Kill,
            StrikeArg::Pause => LeaderFault::Pause,
        },
        faults: args.kills,
        program: std::env::current_exe()?,
        history: history_path(args, directory.path())?,
    };
    let say = |line: &str| output.note(line);
    block_on(until_stopped(strike(&settings, &mesh, &say)))?;
    let records =
        read(&settings.history).map_err(|error| Failure::new(ExitCode::Configuration, error.to_string()))?;
    let report = judge(&records);
    if let Some(path) = &args.json {
        write_json(path, &report)?;
    }
    output.print(&Shown(&report))?;
    match report.violations() {
        0 => Ok(()),
        count => Err(Failure::new(ExitCode::Failed, format!("{count} times something did not hold"))),
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct Shown<'a>(&'a CoordinatorsReport);

impl Render for Shown<'_> {
    fn table(&self) -> String {
        let report = self.0;
        let fault = match report.fault {
            LeaderFault::Kill => "killed",
            LeaderFault::Pause => "paused",
        };
        let gap = report.leader_gap_ms.map_or("-".to_owned(), |gap| {
            format!("p50 {:.0}, p95 {:.0}, max {:.0} ms, {} samples", gap.p50, gap.p95, gap.max, gap.samples)
        });
        let took = report.acknowledged_ms.map_or("-".to_owned(), |took| {
            format!("p50 {:.1}, p99 {:.1}, max {:.0} ms", took.p50, took.p99, took.max)
        });
        let CoordinatorsReport { faults, issued, acknowledged, refused, doubtful, .. } = report;
        let mut lines = vec![
            ("leader", format!("{fault} {faults} times")),
            (
                "updates",
                format!(
                    "{issued} issued, {acknowledged} acknowledged, {refused} refused, {doubtful} in doubt"
                ),
            ),
            (
                "wrong",
                format!(
                    "{} lost, {} doubled, {} in another order",
                    report.lost, report.duplicated, report.different
                ),
            ),
            ("without one", gap),
            ("acknowledged", took),
        ];
        for Invariant { name, checks, violations, examples } in &report.invariants {
            let word = if *violations == 0 { "holds" } else { "BROKEN" };
            lines.push((name, format!("{word}: {violations} of {checks} checks")));
            lines.extend(examples.iter().map(|example| ("", example.clone())));
        }
        facts(&lines)
    }
}
