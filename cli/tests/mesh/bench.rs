//! `starling bench`, small: each work once, every entry once, and a report that is complete.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use crate::process::{Ended, Process, private_directory, starling, turn};

/// What every report has; `null` is allowed nowhere here.
const FIELDS: [&str; 14] = [
    "schema",
    "bench",
    "settings/payload",
    "settings/bundle",
    "settings/processes",
    "settings/agent_connections",
    "settings/duration_seconds",
    "cpu_cores",
    "ticks",
    "delivered",
    "lost",
    "duplicated",
    "invalid",
    "rss_bytes",
];

/// A run of a work; its report.
fn run(work: &str) -> (Ended, Value) {
    let directory = private_directory();
    let report = directory.path().join("report.json");
    let mut command = starling(directory.path());
    // What the run leaves in its temporary directory would be seen below.
    let temporary = directory.path().join("tmp");
    fs::create_dir(&temporary).unwrap();
    command.env("TMPDIR", &temporary);
    command.arg("bench").args(work.split_whitespace());
    command.args(["--duration", "300ms", "--warm-up", "100ms", "--json"]).arg(&report);
    let ended = Process::start(command).wait(Duration::from_secs(120));
    let told = || format!("{}\n{}", ended.stderr, String::from_utf8_lossy(&ended.stdout));
    let text = fs::read_to_string(&report).unwrap_or_else(|error| panic!("no report: {error}\n{}", told()));
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0, "the run left something behind");
    println!("{:?} {}", ended.after, told());
    (ended, serde_json::from_str(&text).unwrap())
}

fn number(report: &Value, path: &str) -> f64 {
    let found = report.pointer(&format!("/{path}")).and_then(Value::as_f64);
    found.unwrap_or_else(|| panic!("{path}: {report:#}"))
}

/// The report of a run that delivered everything to each of so many receivers.
fn sound(work: &str, receivers: f64, processes: f64) -> Value {
    let _turn = turn();
    let (ended, report) = run(work);
    assert_eq!(ended.code, 0, "{}\n{report:#}", ended.stderr);
    let lacks = |field: &&&str| report.pointer(&format!("/{field}")).is_none_or(Value::is_null);
    let missing: Vec<_> = FIELDS.iter().filter(lacks).collect();
    assert!(missing.is_empty(), "{missing:?} are missing in {report:#}");
    assert_eq!(report["schema"], "starling.bench/1");
    assert_eq!(number(&report, "settings/processes"), processes);
    assert_eq!(report["cpu_cores"].as_object().unwrap().len(), processes as usize, "{report:#}");
    assert_eq!(report["rss_bytes"].as_object().unwrap().len(), processes as usize, "{report:#}");
    assert_eq!(number(&report, "delivered"), number(&report, "sent") * receivers, "{report:#}");
    for fault in ["lost", "duplicated", "invalid"] {
        assert_eq!(number(&report, fault), 0.0, "{report:#}");
    }
    report
}

/// A run that measured deliveries.
fn flowed(work: &str, receivers: f64, processes: f64) -> Value {
    let report = sound(work, receivers, processes);
    for field in
        ["sent", "per_second", "latency_us/p50", "latency_us/p99", "latency_us/p999", "udp/datagrams"]
    {
        assert!(number(&report, field) > 0.0, "{field}: {report:#}");
    }
    assert!(number(&report, "udp/syscalls") <= number(&report, "udp/datagrams"));
    report
}

#[test]
fn throughput_is_measured() {
    let report = flowed("throughput", 1.0, 2.0);
    assert!(number(&report, "ticks/verify/p50") > 0.0, "who receives verifies: {report:#}");
}

#[test]
fn agents_are_measured_over_one_edge_and_over_two() {
    flowed("routed", 1.0, 4.0);
    flowed("routed --hops 2 --payload 64", 1.0, 4.0);
}

#[test]
fn latency_is_measured() {
    let report = flowed("latency", 1.0, 4.0);
    assert!(number(&report, "alone_us/samples") >= 1.0);
}

#[test]
fn fan_out_is_measured() {
    let report = flowed("fanout --agents 20", 20.0, 4.0);
    assert_eq!(number(&report, "settings/agent_connections"), 21.0);
}

#[test]
fn a_region_is_measured() {
    let report = flowed("region --nodes 5 --window 256", 4.0, 1.0);
    assert!(number(&report, "alone_us/p50") > 0.0);
}

#[test]
fn memory_is_measured() {
    let report = sound("memory --agents 20 --agents-per-connection 30", 0.0, 4.0);
    let memory = &report["memory"];
    for field in ["alone", "together"] {
        assert!(number(memory, &format!("{field}/handshakes_per_second")) > 0.0);
        assert!(number(memory, &format!("{field}/attaches_per_second")) > 0.0);
    }
    assert!(number(memory, "bytes_per_connection") > 0.0);
}

#[test]
fn settings_that_cannot_be_run_are_refused_before_anything_starts() {
    let directory = private_directory();
    for (line, says) in [
        ("bench throughput --payload 8", "24 to 32768"),
        ("bench latency --duration 1ms", "100ms"),
        ("bench routed --hops 3", "1..=2"),
        ("bench region --nodes 1", "2..=256"),
    ] {
        let mut command = starling(directory.path());
        command.args(line.split_whitespace());
        let ended = Process::start(command).wait(Duration::from_secs(20));
        assert_eq!(ended.code, 2, "{line}: {}", ended.stderr);
        assert!(ended.stderr.contains(says), "{line}: {}", ended.stderr);
    }
}
