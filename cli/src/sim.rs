//! `starling sim`: a mesh in virtual time, with whatever goes wrong there.

use std::path::Path;

use serde::Serialize;
use starling_sim::{Attack, Matrix, Mutant, Mutants, Report, Scenario, Settings, Shares};

mod detectors;
mod rounds;

use crate::args::SimArgs;
use crate::exit::{ExitCode, Failure};
use crate::output::named::{self, Named};
use crate::output::table::facts;
use crate::output::{Output, Render, write_json};

/// Runs one seed or many.
///
/// # Errors
/// A file cannot be read or is refused, or something did not hold.
pub fn run(args: &SimArgs, output: &Output) -> Result<(), Failure> {
    if args.list {
        return output.print(&List::new());
    }
    if args.mutants {
        return mutants(args, output);
    }
    if args.rounds {
        return rounds::run(args, output);
    }
    if args.detector {
        return detectors::run(args, output);
    }
    match args.seeds.clone() {
        None => one(args, output),
        Some(seeds) => many(args, seeds, output),
    }
}

fn one(args: &SimArgs, output: &Output) -> Result<(), Failure> {
    let report = starling_sim::run(&Settings { story: args.story, ..settings(args, args.seed)? });
    report.story.iter().for_each(|line| output.note(line));
    if let Some(path) = &args.json {
        write_json(path, &report)?;
    }
    output.print(&Shown(&report))?;
    match report.violations() {
        0 => Ok(()),
        count => Err(Failure::new(ExitCode::Failed, format!("{count} times something did not hold"))
            .with_help(format!("to see it again: {}", replay(args, args.seed)))),
    }
}

fn many(args: &SimArgs, seeds: std::ops::Range<u64>, output: &Output) -> Result<(), Failure> {
    let mut answer = Many { schema: "starling.sims/1", seeds: 0, wall_seconds: 0.0, failed: Vec::new() };
    for seed in seeds {
        let report = starling_sim::run(&settings(args, seed)?);
        answer.seeds += 1;
        answer.wall_seconds += report.wall_seconds;
        if report.violations() > 0 {
            let broken = report.invariants.iter().filter(|invariant| invariant.violations > 0);
            let examples = broken.flat_map(|invariant| {
                invariant.examples.iter().map(|example| format!("{}: {example}", invariant.name))
            });
            let failed = Failed { seed, replay: replay(args, seed), examples: examples.collect() };
            output.note(&format!("seed {seed}: {}", failed.examples.join("; ")));
            answer.failed.push(failed);
        }
    }
    if let Some(path) = &args.json {
        write_json(path, &answer)?;
    }
    output.print(&answer)?;
    match answer.failed.len() {
        0 => Ok(()),
        count => Err(Failure::new(ExitCode::Failed, format!("{count} of {} seeds failed", answer.seeds))),
    }
}

fn mutants(args: &SimArgs, output: &Output) -> Result<(), Failure> {
    let found = starling_sim::hunt_all(|verdict| {
        let word = if verdict.is_caught { "caught" } else { "MISSED" };
        output.note(&format!("{}: {word}, {:.1} s", verdict.name, verdict.wall_seconds));
    });
    if let Some(path) = &args.json {
        write_json(path, &found)?;
    }
    output.print(&Hunted(&found))?;
    match found.missed.as_slice() {
        [] => Ok(()),
        missed => Err(Failure::new(ExitCode::Failed, format!("not caught: {}", missed.join(", ")))),
    }
}

fn settings(args: &SimArgs, seed: u64) -> Result<Settings, Failure> {
    let has_size = args.nodes.is_some() || args.agents.is_some() || args.regions.is_some();
    let mut settings = match (&args.scenario, has_size) {
        (Some(name), _) => scenario(name)?.settings(seed),
        (None, true) => Settings { seed, ..Settings::default() },
        (None, false) => Settings::drawn(seed),
    };
    if let Some(regions) = args.regions {
        settings.set_regions(regions as usize);
    }
    settings.edges = args.nodes.map_or(settings.edges, |nodes| nodes as usize).max(settings.regions);
    settings.agents = args.agents.map_or(settings.agents, u64::from);
    settings.rate = args.rate.map_or(settings.rate, u64::from);
    settings.time = args.time.unwrap_or(settings.time);
    settings.near.loss = args.loss.unwrap_or(settings.near.loss);
    settings.processors.step = args.step.unwrap_or(settings.processors.step);
    settings.processors.slow_share = args.slow.unwrap_or(settings.processors.slow_share);
    settings.faults.death = args.deaths.unwrap_or(settings.faults.death);
    settings.wire |= args.wire;
    settings.ed25519 |= args.ed25519;
    if let Some(name) = &args.attack {
        settings.set_attack(attack(name)?, args.attackers as usize);
    }
    if let Some(path) = &args.rtt {
        settings.matrix = Matrix::parse(&read(path)?)
            .map_err(|error| Failure::new(ExitCode::Configuration, format!("{}: {error}", path.display())))?;
    }
    Ok(settings)
}

fn attack(name: &str) -> Result<Attack, Failure> {
    Attack::named(name).filter(|attack| attack.is_simulated()).ok_or_else(|| {
        let names: Vec<&str> = simulated().iter().map(|(name, _)| *name).collect();
        let help = format!("attacks: {}", names.join(", "));
        Failure::new(ExitCode::Usage, format!("`{name}` is no attack")).with_help(&help)
    })
}

/// Attacks on what the simulator has.
fn simulated() -> Vec<(&'static str, &'static str)> {
    let is_simulated = |name: &str| Attack::named(name).is_some_and(Attack::is_simulated);
    Attack::all().into_iter().filter(|(name, _)| is_simulated(name)).collect()
}

fn scenario(name: &str) -> Result<Scenario, Failure> {
    if let Some(scenario) = Scenario::named(name) {
        return Ok(scenario);
    }
    let path = Path::new(name);
    if !path.exists() {
        let names: Vec<&str> = Scenario::all().iter().map(|(name, _)| *name).collect();
        let what = format!("`{name}` is neither a scenario nor a file");
        let help = format!("scenarios: {}", names.join(", "));
        return Err(Failure::new(ExitCode::Usage, what).with_help(&help));
    }
    let refused = |error: toml::de::Error| Failure::new(ExitCode::Configuration, format!("{name}: {error}"));
    toml::from_str(&read(path)?).map_err(refused)
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|error| {
        Failure::new(ExitCode::Configuration, format!("cannot read {}: {error}", path.display()))
    })
}

/// The command that runs `seed` in the same way.
fn replay(args: &SimArgs, seed: u64) -> String {
    let mut line = format!("starling sim --seed {seed}");
    let mut add = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            line += &format!(" --{name} {value}");
        }
    };
    add("nodes", args.nodes.map(|count| count.to_string()));
    add("regions", args.regions.map(|count| count.to_string()));
    add("agents", args.agents.map(|count| count.to_string()));
    add("rate", args.rate.map(|count| count.to_string()));
    add("time", args.time.map(crate::duration::show_duration));
    add("rtt", args.rtt.as_ref().map(|path| path.display().to_string()));
    add("loss", args.loss.map(|share| share.to_string()));
    add("slow", args.slow.map(|share| share.to_string()));
    add("step", args.step.map(crate::duration::show_duration));
    add("deaths", args.deaths.map(crate::duration::show_duration));
    add("scenario", args.scenario.clone());
    add("attack", args.attack.clone());
    add("attackers", args.attack.as_ref().map(|_| args.attackers.to_string()));
    for (name, is_on) in [("detector", args.detector), ("wire", args.wire), ("ed25519", args.ed25519)] {
        if is_on {
            line += &format!(" --{name}");
        }
    }
    line
}

/// What there is to simulate.
#[derive(Debug, Serialize)]
struct List {
    schema: &'static str,
    scenarios: Vec<Named>,
    attacks: Vec<Named>,
    invariants: Vec<Named>,
    mutants: Vec<Named>,
}

impl List {
    fn new() -> List {
        let named = |(name, about): &(&'static str, &'static str)| Named::new(name, about);
        List {
            schema: "starling.sim-list/1",
            scenarios: Scenario::all().iter().map(named).collect(),
            attacks: simulated().iter().map(named).collect(),
            invariants: starling_sim::INVARIANTS.iter().map(named).collect(),
            mutants: Mutant::all().iter().map(|mutant| named(&(mutant.name, mutant.about))).collect(),
        }
    }
}

impl Render for List {
    fn table(&self) -> String {
        named::listing(&[
            ("scenarios", &self.scenarios),
            ("attacks", &self.attacks),
            ("invariants", &self.invariants),
            ("mutants", &self.mutants),
        ])
    }
}

/// Runs of many seeds.
#[derive(Debug, Serialize)]
struct Many {
    schema: &'static str,
    seeds: u64,
    wall_seconds: f64,
    failed: Vec<Failed>,
}

#[derive(Debug, Serialize)]
struct Failed {
    seed: u64,
    replay: String,
    examples: Vec<String>,
}

impl Render for Many {
    fn table(&self) -> String {
        let lines: String = self.failed.iter().map(|failed| format!("failed: {}\n", failed.replay)).collect();
        let (seeds, failed, wall) = (self.seeds, self.failed.len(), self.wall_seconds);
        format!("{lines}{seeds} seeds, {failed} failed, {wall:.1} s\n")
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct Hunted<'a>(&'a Mutants);

impl Render for Hunted<'_> {
    fn table(&self) -> String {
        let found = self.0;
        let mut lines = format!("{:18} {:12} {:>4}  what was seen\n", "mutant", "breaks", "seed");
        for mutant in &found.mutants {
            let seen = match (&mutant.example, mutant.broken_without.as_slice()) {
                (None, []) => "MISSED".to_string(),
                (Some(example), []) => example.clone(),
                (_, broken) => format!("MISSED: without it seeds {broken:?} do not hold either"),
            };
            let seed = mutant.seed.map_or("-".to_string(), |seed| seed.to_string());
            lines += &format!("{:18} {:12} {seed:>4}  {seen}\n", mutant.name, mutant.breaks);
        }
        let (planted, caught, wall) = (found.planted, found.caught, found.wall_seconds);
        format!("{lines}{planted} planted, {caught} caught, {wall:.1} s\n")
    }
}

fn shares(of: Shares) -> String {
    match of.count {
        0 => "-".to_string(),
        count => format!("p50 {:.0}, p99 {:.0}, max {:.0} ms, {count} samples", of.p50, of.p99, of.max),
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct Shown<'a>(&'a Report);

impl Render for Shown<'_> {
    fn table(&self) -> String {
        let report = self.0;
        let settings = &report.settings;
        let events = report.events;
        let mut lines = vec![
            ("seed", settings.seed.to_string()),
            (
                "mesh",
                format!("{} nodes, {} regions, {} agents", settings.nodes, settings.regions, settings.agents),
            ),
            (
                "time",
                format!(
                    "{:.0} s simulated in {:.1} s, {} steps",
                    report.simulated_seconds, report.wall_seconds, report.steps
                ),
            ),
            ("trace", report.trace_hash.clone()),
            ("faults", report.faults.to_string()),
            (
                "events",
                format!(
                    "{} published, {} delivered, {} gaps told",
                    events.published, events.delivered, events.gaps
                ),
            ),
            ("detection", shares(report.detection_ms)),
            ("false deaths", report.false_deaths.to_string()),
            ("delivery", shares(report.delivery_ms)),
            ("re-homed", shares(report.rehomed_ms)),
            ("banned", format!("{} guilty, {} innocent", report.banned.guilty, report.banned.innocent)),
            ("convergence", shares(report.convergence_ms)),
            (
                "traffic",
                format!(
                    "{:.0} bytes a node and second, {:.0} when idle",
                    report.bytes_per_node_per_second, report.idle_bytes_per_node_per_second
                ),
            ),
            (
                "copies",
                format!(
                    "{:.2} of a payload at each node that it comes to, {:.2} carried for each that wants it, \
                     hops p50 {}, max {}",
                    report.payload_copies, report.payload_carried, report.rounds.p50, report.rounds.max
                ),
            ),
        ];
        for invariant in &report.invariants {
            lines.push((invariant.name, format!("{} of {} checks", invariant.violations, invariant.checks)));
            lines.extend(invariant.examples.iter().map(|example| ("", example.clone())));
        }
        lines.push(("healed", if report.healed { "yes" } else { "NO" }.to_string()));
        facts(&lines)
    }
}
