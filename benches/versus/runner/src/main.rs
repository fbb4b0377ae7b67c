//! Measures Starling and its rivals in turns, so that what else the machine does falls on all alike.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

const HELP: &str = "\
benches/versus/run [--json FILE] [--rounds N] [--seconds N] [--only WORK]

Runs each work on Starling and on its rivals in turns, N rounds (3), N seconds each (5), and prints the
median of each and the median of its ratios to Starling's figure of the same round.
Works: throughput, latency, memory.";

/// Bytes of a payload, and seconds of publishing before measuring.
const PAYLOAD: &str = "128";
const WARM_UP: &str = "1";

/// One way to do a work.
struct Rival {
    work: &'static str,
    system: &'static str,
    /// The package whose version counts.
    package: &'static str,
    /// Its program and what it is told, before the seconds.
    program: &'static str,
    words: &'static [&'static str],
    /// Whether it takes seconds and bytes.
    is_timed: bool,
}

const fn rival(
    work: &'static str,
    system: &'static str,
    package: &'static str,
    program: &'static str,
    words: &'static [&'static str],
) -> Rival {
    Rival { work, system, package, program, words, is_timed: true }
}

const QUINN: (&str, &str) = ("quinn", "versus-quinn");

const RIVALS: [Rival; 3] = [
    rival("throughput", "raw quinn, buffered", QUINN.0, QUINN.1, &["throughput"]),
    rival("latency", "raw quinn", QUINN.0, QUINN.1, &["latency"]),
    Rival { is_timed: false, ..rival("memory", "raw quinn", QUINN.0, QUINN.1, &["memory"]) },
];

/// A work on Starling, and which of its figures are compared, by their paths in Starling's report and
/// in the rivals'.
struct Work {
    name: &'static str,
    words: &'static [&'static str],
    figures: &'static [(&'static str, &'static str)],
}

const RATE: &[(&str, &str)] = &[("/per_second", "/per_second")];
const MEDIAN: &[(&str, &str)] = &[("/latency_us/p50", "/latency_us/p50")];
const MEMORY: &[(&str, &str)] = &[
    ("/memory/alone/handshakes_per_second", "/handshakes_per_second"),
    ("/memory/bytes_per_connection", "/bytes_per_connection"),
];

const WORKS: [Work; 3] = [
    Work { name: "throughput", words: &["throughput"], figures: RATE },
    Work { name: "latency", words: &["latency"], figures: MEDIAN },
    Work { name: "memory", words: &["memory"], figures: MEMORY },
];

struct Asked {
    starling: PathBuf,
    programs: PathBuf,
    json: Option<PathBuf>,
    rounds: usize,
    seconds: String,
    only: Option<String>,
}

fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let mut place = || words.next().map(PathBuf::from).context("run this by benches/versus/run");
    let (starling, programs) = (place()?, place()?);
    let (json, only) = (None, None);
    let mut asked = Asked { starling, programs, json, rounds: 3, seconds: "5".into(), only };
    while let Some(word) = words.next() {
        if ["--help", "-h"].contains(&word.as_str()) {
            println!("{HELP}");
            return Ok(());
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
            _ => bail!("{word} is no option\n\n{HELP}"),
        }
    }
    ensure!((1..=100).contains(&asked.rounds), "--rounds is between 1 and 100");
    let is_wanted = |work: &&Work| asked.only.as_ref().is_none_or(|only| only == work.name);
    let works: Vec<&Work> = WORKS.iter().filter(is_wanted).collect();
    ensure!(!works.is_empty(), "there is no such work\n\n{HELP}");
    let mut results = Vec::new();
    for work in works {
        compare(&asked, work, &mut results)?;
        // What is measured already is kept, should a later work fail.
        if let Some(path) = &asked.json {
            std::fs::write(path, serde_json::to_vec_pretty(&results)?)?;
        }
    }
    Ok(())
}

/// Runs a work in turns.
fn compare(asked: &Asked, work: &Work, results: &mut Vec<Value>) -> Result<()> {
    let rivals: Vec<&Rival> = RIVALS.iter().filter(|rival| rival.work == work.name).collect();
    let mut starlings = Vec::new();
    let mut theirs = vec![Vec::new(); rivals.len()];
    for _ in 0..asked.rounds {
        starlings.push(measure_starling(asked, work)?);
        for (rival, reports) in rivals.iter().zip(&mut theirs) {
            reports.push(measure_rival(asked, rival)?);
        }
    }
    for (ours, others) in work.figures {
        let starling = figures(&starlings, ours)?;
        let settings = starlings[0]["settings"].clone();
        let version = version(include_str!("../../../../Cargo.lock"), "starling");
        results.push(entry(work.name, ("starling", version), others, (&starling, &starling), settings));
        for (rival, reports) in rivals.iter().zip(&theirs) {
            let version = version_here(rival.package);
            let settings = reports[0]["settings"].clone();
            let figures = figures(reports, others)?;
            results.push(entry(work.name, (rival.system, version), others, (&figures, &starling), settings));
        }
    }
    Ok(())
}

fn version_here(package: &str) -> String {
    version(include_str!("../../Cargo.lock"), package)
}

/// The version of a package in a lock file.
fn version(lock: &str, package: &str) -> String {
    let named = format!("name = \"{package}\"\nversion = \"");
    let found = lock.split_once(&named).and_then(|(_, rest)| rest.split('"').next());
    found.unwrap_or("unknown").to_string()
}

fn entry(
    work: &str,
    (system, version): (&str, String),
    figure: &str,
    (values, starling): (&[f64], &[f64]),
    settings: Value,
) -> Value {
    let ratios: Vec<f64> = values.iter().zip(starling).map(|(value, ours)| value / ours).collect();
    let (value, ratio) = (median(values), median(&ratios));
    let name = figure.trim_start_matches('/').replace("/p50", "_p50");
    println!("{work:12} {system:24} {version:8} {name:22} {value:14.1}   {ratio:.2} x Starling");
    json!({
        "work": work, "system": system, "version": version, "settings": settings,
        name: value, "rounds": values, "ratio_to_starling": ratio,
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
    let said = || String::from_utf8_lossy(&ended.stderr).into_owned();
    ensure!(ended.status.success(), "starling bench {}: {}", work.name, said());
    let report = serde_json::from_slice(&std::fs::read(&file)?)?;
    std::fs::remove_file(&file)?;
    Ok(report)
}

fn measure_rival(asked: &Asked, rival: &Rival) -> Result<Value> {
    let mut command = Command::new(Path::new(&asked.programs).join(rival.program));
    command.args(rival.words);
    if rival.is_timed {
        command.args([&asked.seconds, WARM_UP, PAYLOAD]);
    }
    let ended = command.output()?;
    let said = || String::from_utf8_lossy(&ended.stderr).into_owned();
    ensure!(ended.status.success(), "{}, {}: {}", rival.system, rival.work, said());
    let report: Value = serde_json::from_slice(&ended.stdout)?;
    let faults = ["lost", "duplicated"].iter().filter_map(|fault| report[fault].as_u64()).sum::<u64>();
    ensure!(faults == 0, "{} lost or repeated {faults} entries of {}", rival.system, rival.work);
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_a_lock_file() {
        let lock = "[[package]]\nname = \"a\"\nversion = \"1.2.3\"\nsource = \"x\"\n";
        assert_eq!((version(lock, "a"), version(lock, "b")), ("1.2.3".into(), "unknown".into()));
    }

    #[test]
    fn every_rival_has_a_work() {
        assert!(RIVALS.iter().all(|rival| WORKS.iter().any(|work| work.name == rival.work)));
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
    }
}
