//! `starling sim --detector`: the failure detectors of one region alone.

use serde::Serialize;
use starling_core::membership::detector::Rules;
use starling_sim::{Compared, Comparison, DetectorReport, Settings};

use super::{replay, settings, shares};
use crate::args::SimArgs;
use crate::exit::{ExitCode, Failure};
use crate::output::table::facts;
use crate::output::{Output, Render, write_json};

/// How many times fewer false deaths than plain SWIM the product is to have.
const TIMES_FEWER: f64 = 50.0;
/// False deaths of plain SWIM below which seeds show nothing.
const FALSE_DEATHS_SHOWN: u64 = 100;

/// Runs one seed or many, by one set of rules or by both.
pub(super) fn run(args: &SimArgs, output: &Output) -> Result<(), Failure> {
    let seeds = args.seeds.clone().unwrap_or(args.seed..args.seed + 1);
    // A mistake in the arguments is told before anything is run.
    let common = Settings { seed: 0, ..of_region(args, seeds.start)? };
    if args.compare {
        return compare(args, seeds, &common, output);
    }
    let rules = if args.plain { starling_sim::plain() } else { Rules::default() };
    let mut runs = Runs { schema: "starling.detector-runs/1", runs: Vec::new() };
    for seed in seeds {
        let report = starling_sim::watch_region(&Settings { seed, ..common.clone() }, &rules);
        output.note(&line(&report));
        runs.runs.push(report);
    }
    if let Some(path) = &args.json {
        write_json(path, &runs)?;
    }
    output.print(&runs)?;
    let is_wrong = |report: &&DetectorReport| report.false_deaths > 0 || report.unnoticed > 0;
    match runs.runs.iter().find(is_wrong).filter(|_| !args.plain) {
        None => Ok(()),
        Some(wrong) => {
            let what = format!(
                "seed {}: {} false deaths, {} crashes that somebody does not know of",
                wrong.seed, wrong.false_deaths, wrong.unnoticed
            );
            let help = format!("to see it again: {}", replay(args, wrong.seed));
            Err(Failure::new(ExitCode::Failed, what).with_help(help))
        }
    }
}

fn compare(
    args: &SimArgs,
    seeds: std::ops::Range<u64>,
    common: &Settings,
    output: &Output,
) -> Result<(), Failure> {
    let of_seed = |seed| Settings { seed, ..common.clone() };
    let comparison = starling_sim::compare(seeds, of_seed, |compared: &Compared| {
        output.note(&line(&compared.product));
        output.note(&line(&compared.plain));
    });
    if let Some(path) = &args.json {
        write_json(path, &comparison)?;
    }
    output.print(&Shown(&comparison))?;
    let failed = |what: String| Err(Failure::new(ExitCode::Failed, what));
    if comparison.plain_false_deaths < FALSE_DEATHS_SHOWN {
        return failed(format!(
            "plain SWIM has fewer than {FALSE_DEATHS_SHOWN} false deaths: this shows nothing"
        ));
    }
    match comparison.times_fewer >= TIMES_FEWER {
        true => Ok(()),
        false => {
            failed(format!("{:.1} times fewer false deaths, not {TIMES_FEWER:.0}", comparison.times_fewer))
        }
    }
}

/// The settings, of which a region of a thousand nodes is the default.
fn of_region(args: &SimArgs, seed: u64) -> Result<Settings, Failure> {
    let sized = SimArgs { nodes: args.nodes.or(Some(1_000)), ..args.clone() };
    let args = if args.scenario.is_some() { args } else { &sized };
    Ok(Settings { regions: 1, ..settings(args, seed)? })
}

fn line(report: &DetectorReport) -> String {
    format!(
        "seed {}, {}: {} false deaths, {} crashes, {:.0} s simulated in {:.1} s",
        report.seed,
        report.rules,
        report.false_deaths,
        report.crashes,
        report.simulated_seconds,
        report.wall_seconds
    )
}

/// Runs by one set of rules.
#[derive(Debug, Serialize)]
struct Runs {
    schema: &'static str,
    runs: Vec<DetectorReport>,
}

impl Render for Runs {
    fn table(&self) -> String {
        self.runs.iter().map(table).collect()
    }

    fn json_lines(&self) -> serde_json::Result<Vec<String>> {
        self.runs.iter().map(serde_json::to_string).collect()
    }
}

fn table(report: &DetectorReport) -> String {
    let lines = [
        ("seed", format!("{}, by the rules of {}", report.seed, rules(report))),
        (
            "region",
            format!(
                "{} nodes, {} of them slow, {:.0} % lost",
                report.nodes,
                report.slow,
                report.loss * 100.0
            ),
        ),
        (
            "time",
            format!(
                "{:.0} s simulated in {:.1} s, {} steps",
                report.simulated_seconds, report.wall_seconds, report.steps
            ),
        ),
        ("trace", report.trace_hash.clone()),
        ("detection", shares(report.detection_ms)),
        ("known to all", shares(report.known_to_all_ms)),
        ("crashes", format!("{}, of which {} are not known to all", report.crashes, report.unnoticed)),
        ("false deaths", format!("{}, of {} nodes", report.false_deaths, report.falsely_dead)),
        (
            "probes",
            format!(
                "{}, {} without answer, {} accusations, {} heard to be refuted",
                report.probes, report.timeouts, report.accusations, report.refuted
            ),
        ),
    ];
    facts(&lines)
}

fn rules(report: &DetectorReport) -> &'static str {
    if report.rules == "plain" { "plain SWIM" } else { "the product" }
}

#[derive(Serialize)]
#[serde(transparent)]
struct Shown<'a>(&'a Comparison);

impl Render for Shown<'_> {
    fn table(&self) -> String {
        let seeds = self.0.seeds.iter().map(|of| {
            let (plain, product) = (of.plain.false_deaths, of.product.false_deaths);
            format!("seed {}: {plain} false deaths by plain SWIM, {product} by the product\n", of.seed)
        });
        let seeds: String = seeds.collect();
        let Comparison { plain_false_deaths, product_false_deaths, times_fewer, .. } = self.0;
        let sum = format!("{plain_false_deaths} by plain SWIM, {product_false_deaths} by the product");
        format!("{seeds}all: {sum}: {times_fewer:.0} times fewer\n")
    }
}
