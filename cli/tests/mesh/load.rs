//! `starling loadtest`, small: nothing lost, everybody counted, a report that is complete.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use crate::process::{Ended, Process, private_directory, starling, turn};

/// What every report has; `null` is allowed nowhere here.
const FIELDS: [&str; 47] = [
    "schema",
    "settings/agents",
    "settings/seed",
    "agents/requested",
    "agents/attached",
    "agents/verified",
    "agents/failed",
    "attach/seconds",
    "attach/per_second",
    "count_at_rest",
    "visible_ms/p50",
    "visible_ms/p99",
    "visible_ms/max",
    "visible_ms/samples",
    "broadcast_ms/p50",
    "broadcast_ms/p99",
    "broadcast_ms/max",
    "broadcast_ms/reached",
    "events/published",
    "events/expected",
    "events/delivered",
    "events/duplicated",
    "events/lost",
    "events/per_second",
    "memory/mesh_pss_bytes",
    "memory/bytes_per_agent",
    "memory/bytes_per_connection",
    "memory/generator_pss_bytes",
    "cpu_seconds/mesh",
    "cpu_seconds/generator",
    "hot_path/entries",
    "hot_path/bundles",
    "hot_path/invalid",
    "hot_path/ticks/total/p50",
    "hot_path/ticks/total/p99",
    "gossip/payload_copies",
    "gossip/bytes_per_node_per_second",
    "gossip/payload_unwanted_bytes",
    "regions/0/name",
    "regions/0/edges",
    "regions/0/aggregators",
    "regions/0/agents",
    "regions/1/name",
    "kill/agents_counted",
    "thresholds/0/expression",
    "thresholds/0/value",
    "thresholds/0/ok",
];

/// A run of 400 agents, one of four edges killed; its report.
fn run(more: &[&str]) -> (Ended, Value) {
    let directory = private_directory();
    let report = directory.path().join("report.json");
    let mut command = starling(directory.path());
    // What the run leaves in its temporary directory would be seen below.
    let temporary = directory.path().join("tmp");
    fs::create_dir(&temporary).unwrap();
    command.env("TMPDIR", &temporary);
    let settings = "loadtest --agents 400 --edges 4 --regions 2 --agents-per-connection 50 --rate 500 \
                    --duration 3s --kill-edge 1";
    command.args(settings.split_whitespace()).args(more).arg("--json").arg(&report);
    let ended = Process::start(command).wait(Duration::from_secs(60));
    let told = || format!("{}\n{}", ended.stderr, String::from_utf8_lossy(&ended.stdout));
    let text = fs::read_to_string(&report).unwrap_or_else(|error| panic!("no report: {error}\n{}", told()));
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0, "the run left something behind");
    println!("{:?} {}", ended.after, told());
    (ended, serde_json::from_str(&text).unwrap())
}

fn number(report: &Value, path: &str) -> f64 {
    report
        .pointer(&format!("/{path}"))
        .and_then(Value::as_f64)
        .unwrap_or_else(|| panic!("{path}: {report:#}"))
}

#[test]
fn a_small_load_loses_nothing_and_reports_everything() {
    let _turn = turn();
    let thresholds = [
        "events.lost==0",
        "events.duplicated==0",
        "count_at_rest==400",
        "kill.agents_counted==400",
        "broadcast_ms.reached==400",
    ];
    let more: Vec<&str> = thresholds.iter().flat_map(|threshold| ["--threshold", threshold]).collect();
    let (ended, report) = run(&more);
    assert_eq!(ended.code, 0, "{}\n{report:#}", ended.stderr);
    let has = |field: &&&str| report.pointer(&format!("/{field}")).is_none_or(Value::is_null);
    let missing: Vec<_> = FIELDS.iter().filter(has).collect();
    assert!(missing.is_empty(), "{missing:?} are missing in {report:#}");
    for lane in ["region", "global"] {
        for what in ["p50", "p99", "p999", "max", "samples"] {
            assert!(number(&report, &format!("delivery_us/{lane}/{what}")) > 0.0);
        }
    }
    for stage in ["decode", "deduplicate", "verify", "merge", "match", "enqueue"] {
        assert!(number(&report, &format!("hot_path/ticks/{stage}/p99")) >= 0.0);
    }
    assert_eq!(report["schema"], "starling.loadtest/1");
    assert_eq!(report["thresholds"].as_array().unwrap().len(), thresholds.len());
    assert!(report["thresholds"].as_array().unwrap().iter().all(|threshold| threshold["ok"] == true));
    assert_eq!(number(&report, "agents/attached"), 400.0);
    assert_eq!(number(&report, "events/delivered"), number(&report, "events/expected"));
    assert!(number(&report, "events/published") >= 1_400.0);
    assert_eq!(number(&report, "hot_path/invalid"), 0.0);
}

#[test]
fn agents_that_stay_away_are_counted_off_and_a_missed_threshold_is_99() {
    let _turn = turn();
    let (ended, report) =
        run(&["--no-rehome", "--threshold", "kill.agents_counted==400", "--threshold", "events.lost==0"]);
    assert_eq!(ended.code, 99, "{}\n{report:#}", ended.stderr);
    assert_eq!(number(&report, "kill/agents_counted"), 300.0);
    assert_eq!(number(&report, "kill/agents_expected"), 300.0);
    let judged = &report["thresholds"][0];
    assert_eq!((&judged["value"], &judged["ok"]), (&300.0.into(), &false.into()), "{judged}");
    assert_eq!(report["thresholds"][1]["ok"], true);
}
