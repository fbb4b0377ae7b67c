//! Measures Starling and its rivals in turns, so that what else the machine does falls on all alike.

mod prepare;
mod works;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::works::{Figure, NATS, RIVALS, Rival, System, WORKS, Work};

const HELP: &str = "\
benches/versus/run [--json FILE] [--rounds N] [--seconds N] [--only WORK] [--system NAME]

Runs each work on Starling and on its rivals in turns, N rounds (3), N seconds each (5), and prints the
median of each and the median of its ratios to Starling's figure of the same round.
Works: throughput, routed, routed-2, region, fanout, latency, memory.
Systems: quinn, zenoh, nats, iroh-gossip, gossipsub, chitchat. Only those that are needed are built.
NATS needs nats-server; where none is installed, Debian's package is downloaded by apt-get.";

/// Bytes of a payload, and seconds of publishing before measuring.
const PAYLOAD: &str = "128";
const WARM_UP: &str = "1";

/// What is asked of this run.
struct Asked {
    starling: PathBuf,
    directory: PathBuf,
    json: Option<PathBuf>,
    rounds: usize,
    seconds: String,
    only: Option<String>,
    system: Option<String>,
}

impl Asked {
    /// `None` when only help is asked for.
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Option<Asked>> {
        let mut place = || words.next().map(PathBuf::from).context("run this by benches/versus/run");
        let (starling, directory) = (place()?, place()?);
        let (json, only, system) = (None, None, None);
        let mut asked = Asked { starling, directory, json, rounds: 3, seconds: "5".into(), only, system };
        while let Some(word) = words.next() {
            if ["--help", "-h"].contains(&word.as_str()) {
                return Ok(None);
            }
            let value = words.next().with_context(|| format!("{word} needs a value\n\n{HELP}"))?;
            match word.as_str() {
                "--json" => asked.json = Some(value.into()),
                "--rounds" => asked.rounds = value.parse().context("--rounds takes a number")?,
                "--seconds" => {
                    value.parse::<u32>().context("--seconds takes a whole number")?;
                    asked.seconds = value;
                }
                "--only" => asked.only = Some(value),
                "--system" => asked.system = Some(value),
                _ => bail!("{word} is no option\n\n{HELP}"),
            }
        }
        ensure!((1..=100).contains(&asked.rounds), "--rounds is between 1 and 100");
        Ok(Some(asked))
    }

    /// The rivals that are asked for.
    fn rivals(&self) -> Result<Vec<Rival>> {
        let is = |asked: &Option<String>, name| asked.as_ref().is_none_or(|asked| asked == name);
        let wanted = RIVALS.iter().copied();
        let wanted = wanted.filter(|rival| is(&self.only, rival.work) && is(&self.system, rival.system.name));
        let wanted: Vec<Rival> = wanted.collect();
        ensure!(!wanted.is_empty(), "no such system does such a work\n\n{HELP}");
        Ok(wanted)
    }
}

/// The programs of rivals by their systems' names, and what each is told first.
type Programs = BTreeMap<&'static str, (PathBuf, Vec<String>)>;

fn main() -> Result<()> {
    let Some(asked) = Asked::parse(std::env::args().skip(1))? else {
        println!("{HELP}");
        return Ok(());
    };
    let rivals = asked.rivals()?;
    let programs = programs(&asked, &rivals)?;
    println!("{:12} {:24} {:10} {:22} {:>14}   ratio", "work", "system", "version", "figure", "median");
    let (mut results, mut failed) = (Vec::new(), 0);
    for work in WORKS {
        let is_here = |rival: &&Rival| rival.work == work.name && programs.contains_key(rival.system.name);
        let rivals: Vec<&Rival> = rivals.iter().filter(is_here).collect();
        if rivals.is_empty() {
            continue;
        }
        let measured = measure(&asked, &programs, &work, &rivals);
        failed += measured.failures.len();
        measured.failures.iter().for_each(|failure| eprintln!("{failure}"));
        results.extend(measured.results()?);
        // What is measured already is kept, should a later work fail.
        if let Some(path) = &asked.json {
            std::fs::write(path, serde_json::to_vec_pretty(&results)?)?;
        }
    }
    ensure!(failed == 0, "{failed} of the measurements failed and are not in the table");
    Ok(())
}

/// Builds what is needed. A rival that cannot be had is left out, and it is said why.
fn programs(asked: &Asked, rivals: &[Rival]) -> Result<Programs> {
    let systems: BTreeMap<&str, System> =
        rivals.iter().map(|rival| (rival.system.name, rival.system)).collect();
    let mut programs = Programs::new();
    for (name, system) in systems {
        let mut first = Vec::new();
        if name == NATS.name {
            match prepare::nats_server(&asked.directory) {
                Ok(path) => first.push(path.display().to_string()),
                Err(error) => {
                    eprintln!("NATS is left out: {error}");
                    continue;
                }
            }
        }
        programs.insert(system.name, (prepare::build(&asked.directory, system)?, first));
    }
    Ok(programs)
}

/// What came of one work.
struct Measured<'a> {
    work: &'a Work,
    rivals: Vec<(&'a Rival, Vec<Value>)>,
    starlings: Vec<Value>,
    failures: Vec<String>,
}

/// Runs a work in turns. A rival that fails is left out from then on.
fn measure<'a>(asked: &Asked, programs: &Programs, work: &'a Work, rivals: &[&'a Rival]) -> Measured<'a> {
    let rivals = rivals.iter().map(|rival| (*rival, Vec::new())).collect();
    let mut measured = Measured { work, rivals, starlings: Vec::new(), failures: Vec::new() };
    for _ in 0..asked.rounds {
        match measure_starling(asked, work) {
            Ok(report) => measured.starlings.push(report),
            Err(error) => {
                // Without its figures there is nothing to compare to.
                measured.rivals.clear();
                measured.failures.push(format!("{error:#}"));
                return measured;
            }
        }
        let failures = &mut measured.failures;
        measured.rivals.retain_mut(|(rival, reports)| match measure_rival(asked, programs, rival) {
            Ok(report) => {
                reports.push(report);
                true
            }
            Err(error) => {
                failures.push(format!("{}, {}: {error:#}", work.name, rival.label));
                false
            }
        });
    }
    measured
}

impl Measured<'_> {
    /// The lines of the table and the entries of the list: for each figure Starling, then its rivals.
    fn results(&self) -> Result<Vec<Value>> {
        let mut compared: Vec<&Figure> = Vec::new();
        for figure in self.rivals.iter().flat_map(|(rival, _)| rival.figures) {
            if !compared.contains(&figure) {
                compared.push(figure);
            }
        }
        let mut results = Vec::new();
        for figure in compared {
            let starling = figures(&self.starlings, figure.ours)?;
            let version = version(include_str!("../../../../Cargo.lock"), "starling");
            let settings = self.starlings[0]["settings"].clone();
            let names = (self.work.name, "starling", figure.name);
            results.push(entry(names, version, settings, (&starling, &starling)));
            for (rival, reports) in self.rivals.iter().filter(|(rival, _)| rival.figures.contains(figure)) {
                let values = figures(reports, figure.theirs)?;
                let names = (self.work.name, rival.label, figure.name);
                let settings = reports[0]["settings"].clone();
                results.push(entry(names, version_of(rival, &reports[0]), settings, (&values, &starling)));
            }
        }
        Ok(results)
    }
}

/// What the rival says of itself, or else what its package is locked at.
fn version_of(rival: &Rival, report: &Value) -> String {
    let locked = || version(include_str!("../../Cargo.lock"), rival.system.package);
    report["version"].as_str().map_or_else(locked, ToString::to_string)
}

/// The version of a package in a lock file.
fn version(lock: &str, package: &str) -> String {
    let named = format!("name = \"{package}\"\nversion = \"");
    let found = lock.split_once(&named).and_then(|(_, rest)| rest.split('"').next());
    found.unwrap_or("unknown").to_string()
}

fn entry(
    (work, system, figure): (&str, &str, &str),
    version: String,
    settings: Value,
    (values, starling): (&[f64], &[f64]),
) -> Value {
    let ratios: Vec<f64> = values.iter().zip(starling).map(|(value, ours)| value / ours).collect();
    let (value, ratio) = (median(values), median(&ratios));
    println!("{work:12} {system:24} {version:10} {figure:22} {value:14.1}   {ratio:.2} x Starling");
    json!({
        "work": work, "system": system, "version": version, "settings": settings,
        figure: value, "rounds": values, "ratio_to_starling": ratio,
    })
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

fn figures(reports: &[Value], path: &str) -> Result<Vec<f64>> {
    let figure = |report: &Value| report.pointer(path).and_then(Value::as_f64);
    reports.iter().map(|report| figure(report).with_context(|| format!("no {path} in {report}"))).collect()
}

fn measure_starling(asked: &Asked, work: &Work) -> Result<Value> {
    let file = std::env::temp_dir().join(format!("versus-starling-{}.json", std::process::id()));
    let mut command = Command::new(&asked.starling);
    command.arg("bench").args(work.words).args(["--quiet", "--payload", PAYLOAD]);
    command.args(["--duration", &format!("{}s", asked.seconds), "--warm-up", &format!("{WARM_UP}s")]);
    command.arg("--json").arg(&file);
    let ended = command.output()?;
    let said = || String::from_utf8_lossy(&ended.stderr).trim().to_string();
    ensure!(ended.status.success(), "starling bench {}: {}", work.name, said());
    let report = serde_json::from_slice(&std::fs::read(&file)?)?;
    std::fs::remove_file(&file)?;
    Ok(report)
}

fn measure_rival(asked: &Asked, programs: &Programs, rival: &Rival) -> Result<Value> {
    let (program, first) = programs.get(rival.system.name).context("its program was built")?;
    // The work comes first, then what every work of this system needs.
    let (work, more) = rival.words.split_first().context("a rival is told its work")?;
    let mut command = Command::new(program);
    command.arg(work).args(first).args(more);
    if rival.is_timed {
        command.args([&asked.seconds, WARM_UP, PAYLOAD]);
    }
    let ended = command.output()?;
    ensure!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr).trim());
    let report: Value = serde_json::from_slice(&ended.stdout)?;
    let checked = ["lost", "duplicated", "overtaken"];
    let checked = if rival.is_ordered { &checked[..] } else { &checked[..2] };
    let faults = checked.iter().filter_map(|fault| report[*fault].as_u64()).sum::<u64>();
    ensure!(faults == 0, "{faults} entries were lost, came twice or in the wrong order");
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(words: &[&str]) -> Result<Option<Asked>> {
        Asked::parse(["starling", "."].iter().chain(words).map(ToString::to_string))
    }

    #[test]
    fn versions_are_read_from_a_lock_file() {
        let lock = "[[package]]\nname = \"a\"\nversion = \"1.2.3\"\nsource = \"x\"\n";
        assert_eq!((version(lock, "a"), version(lock, "b")), ("1.2.3".into(), "unknown".into()));
    }

    #[test]
    fn rivals_are_asked_for_by_work_and_by_system() {
        let count =
            |words: &[&str]| asked(words).map(|asked| asked.map(|asked| asked.rivals().map(|r| r.len())));
        let count = |words: &[&str]| count(words).ok().flatten().and_then(Result::ok);
        assert_eq!(count(&[]), Some(RIVALS.len()));
        assert_eq!((count(&["--only", "routed"]), count(&["--system", "chitchat"])), (Some(2), Some(1)));
        assert_eq!(count(&["--only", "routed", "--system", "quinn"]), None);
        assert!(asked(&["--rounds", "0"]).is_err() && asked(&["--help"]).is_ok_and(|asked| asked.is_none()));
    }

    #[test]
    fn a_ratio_is_that_of_one_round() {
        let entry = entry(
            ("w", "s", "per_second"),
            "1".into(),
            json!("as it comes"),
            (&[2.0, 9.0, 4.0], &[1.0, 3.0, 4.0]),
        );
        assert_eq!(
            (entry["per_second"].as_f64(), entry["ratio_to_starling"].as_f64()),
            (Some(4.0), Some(2.0))
        );
    }
}
