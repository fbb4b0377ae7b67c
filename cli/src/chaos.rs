//! `starling chaos`: real processes, faults on purpose, and a history that is judged.

mod coordinators;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use starling_chaos::judge::INVARIANTS;
use starling_chaos::{Attack, Invariant, Report, Scenario, Settings, Times, history, judge};

use crate::args::ChaosArgs;
use crate::exit::{ExitCode, Failure};
use crate::finding::block_on;
use crate::output::named::{self, Named};
use crate::output::table::facts;
use crate::output::{Output, Render, write_json};
use crate::signals::until_stopped;
use crate::suggest::closest;

/// No run is longer: the history grows with it.
const DURATION_MAX: Duration = Duration::from_secs(3_600);

/// Runs a scenario, or judges the history of one.
///
/// # Errors
/// The scenario is unknown, the mesh did not come up or broke, a file cannot be used, or an invariant
/// does not hold.
pub fn run(args: &ChaosArgs, output: &Output) -> Result<(), Failure> {
    if args.list {
        return output.print(&List::new());
    }
    if args.scenario.as_deref() == Some(coordinators::NAME) {
        return coordinators::run(args, output);
    }
    match &args.check {
        Some(path) => conclude(args, path, output),
        None => live(args, output),
    }
}

fn live(args: &ChaosArgs, output: &Output) -> Result<(), Failure> {
    let scenario = scenario(args.scenario.as_deref().unwrap_or_default())?;
    let attack = args.attack.as_deref().map(attack).transpose()?;
    if attack.is_some() != scenario.has_liar() {
        let what = "--attack says what the hostile node of badboy does; no other scenario has one";
        return Err(Failure::new(ExitCode::Usage, what));
    }
    if args.duration.is_some_and(|duration| duration > DURATION_MAX) {
        let what = format!("--duration is at most {}", crate::duration::show_duration(DURATION_MAX));
        return Err(Failure::new(ExitCode::Usage, what));
    }
    let mut directory = tempfile::Builder::new().prefix("starling-chaos-").tempdir()?;
    if args.keep {
        directory.disable_cleanup(true);
        output.note(&format!("keys, configuration and logs stay in {}", directory.path().display()));
    }
    let mesh = directory.path().join("mesh");
    std::fs::create_dir(&mesh)?;
    let settings = Settings {
        scenario,
        attack,
        seed: args.seed,
        duration: args.duration,
        agents: args.agents,
        rate: args.rate,
        program: std::env::current_exe()?,
        history: history_path(args, directory.path())?,
    };
    let say = |line: &str| output.note(line);
    block_on(until_stopped(starling_chaos::run(&settings, &mesh, &say)))?;
    conclude(args, &settings.history, output)
}

fn history_path(args: &ChaosArgs, directory: &Path) -> Result<PathBuf, Failure> {
    let Some(path) = &args.history else { return Ok(directory.join("history.jsonl")) };
    // Before anything is started: a run whose history cannot be kept is of no use.
    std::fs::File::create(path).map_err(|error| {
        Failure::new(ExitCode::Failed, format!("cannot write the history to {}: {error}", path.display()))
    })?;
    Ok(path.clone())
}

fn scenario(name: &str) -> Result<&'static Scenario, Failure> {
    let names = || Scenario::all().iter().map(|scenario| scenario.name).chain([coordinators::NAME]);
    Scenario::named(name).ok_or_else(|| {
        let known = format!("scenarios: {}", names().collect::<Vec<_>>().join(", "));
        let meant = closest(name, names()).map(|meant| format!("did you mean {meant}? ")).unwrap_or_default();
        Failure::new(ExitCode::Usage, format!("`{name}` is no scenario")).with_help(meant + &known)
    })
}

fn attack(name: &str) -> Result<Attack, Failure> {
    Attack::named(name).ok_or_else(|| {
        let names: Vec<&str> = Attack::all().iter().map(|(name, _)| *name).collect();
        let meant = closest(name, names.iter().copied()).map(|meant| format!("did you mean {meant}? "));
        let help = meant.unwrap_or_default() + &format!("attacks: {}", names.join(", "));
        Failure::new(ExitCode::Usage, format!("`{name}` is no attack")).with_help(help)
    })
}

/// Judges a history and says what it found.
fn conclude(args: &ChaosArgs, history: &Path, output: &Output) -> Result<(), Failure> {
    let records =
        history::read(history).map_err(|error| Failure::new(ExitCode::Configuration, error.to_string()))?;
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

/// What there is to run.
#[derive(Debug, Serialize)]
struct List {
    schema: &'static str,
    scenarios: Vec<Named>,
    attacks: Vec<Named>,
    invariants: Vec<Named>,
}

impl List {
    fn new() -> List {
        let scenarios = Scenario::all().iter();
        List {
            schema: "starling.chaos-list/1",
            scenarios: scenarios
                .map(|scenario| Named::new(scenario.name, scenario.about))
                .chain([Named::new(coordinators::NAME, coordinators::ABOUT)])
                .collect(),
            attacks: Attack::all().into_iter().map(|(name, about)| Named::new(name, about)).collect(),
            invariants: INVARIANTS.iter().map(|(name, about)| Named::new(name, about)).collect(),
        }
    }
}

impl Render for List {
    fn table(&self) -> String {
        named::listing(&[
            ("scenarios", &self.scenarios),
            ("attacks of badboy", &self.attacks),
            ("invariants", &self.invariants),
        ])
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct Shown<'a>(&'a Report);

impl Render for Shown<'_> {
    fn table(&self) -> String {
        let report = self.0;
        let settings = &report.settings;
        let times = |times: &Option<Times>| match times {
            None => "-".to_string(),
            Some(Times { p50, p99, max, samples }) => {
                format!("p50 {p50:.0}, p99 {p99:.0}, max {max:.0} ms, {samples} samples")
            }
        };
        let mut lines = vec![
            ("scenario", format!("{}, seed {}", report.scenario, report.seed)),
            (
                "work",
                format!(
                    "{} agents, {} entries a second, faults for {} s",
                    settings.agents, settings.rate, settings.duration_seconds
                ),
            ),
            ("faults", report.faults.iter().filter(|fault| !fault.kind.is_end()).count().to_string()),
            (
                "entries",
                format!(
                    "{} published, {} acknowledged, {} failed, {} delivered",
                    report.published, report.acknowledged, report.failed, report.delivered
                ),
            ),
            (
                "wrong",
                format!(
                    "{} lost, {} duplicated, {} reordered",
                    report.lost, report.duplicated, report.reordered
                ),
            ),
            ("gaps", format!("{} told, {} entries missing in them", report.gaps, report.missing_in_gaps)),
            ("recovery", times(&report.recovery_ms)),
            ("acknowledged", times(&report.acknowledged_ms)),
            ("delivered", times(&report.delivered_ms)),
            ("whole after", report.healed_ms.map_or("never".into(), |time| format!("{time:.0} ms"))),
            (
                "false deaths",
                format!(
                    "{}, and {} by nodes in trouble",
                    report.false_deaths, report.false_deaths_in_trouble
                ),
            ),
        ];
        if let Some(banned) = &report.banned {
            let after = banned.p99_ms.map_or("-".into(), |time| format!("p99 {time:.0} ms"));
            let text = format!(
                "{} nodes banned the liar, {after}; {} an honest node",
                banned.guilty, banned.innocent
            );
            lines.push(("banned", text));
        }
        if let Some(cost) = &report.under_attack {
            lines.push(("before attack", times(&cost.before_ms)));
            lines.push(("during attack", times(&cost.during_ms)));
        }
        for Invariant { name, checks, violations, examples } in &report.invariants {
            let word = if *violations == 0 { "holds" } else { "BROKEN" };
            lines.push((name, format!("{word}: {violations} of {checks} checks")));
            lines.extend(examples.iter().map(|example| ("", example.clone())));
        }
        facts(&lines)
    }
}
