//! `starling chaos`, small: an edge is killed, nothing is lost, nothing is left; and what it refuses.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use crate::process::{Process, children_of, private_directory, run, starling, turn};

/// What every report of a run with a killed edge has; `null` is allowed nowhere here.
const FIELDS: [&str; 22] = [
    "schema",
    "scenario",
    "seed",
    "settings/agents",
    "settings/rate",
    "settings/duration_seconds",
    "faults/0/at",
    "faults/0/kind",
    "faults/0/target",
    "published",
    "acknowledged",
    "delivered",
    "lost",
    "duplicated",
    "reordered",
    "gaps",
    "recovery_ms/p50",
    "recovery_ms/p99",
    "recovery_ms/max",
    "false_deaths",
    "invariants/0/name",
    "healed_ms",
];

#[test]
fn leaders_that_are_killed_cost_no_acknowledged_update() {
    let _turn = turn();
    let directory = private_directory();
    let (report, temporary) = (directory.path().join("report.json"), directory.path().join("tmp"));
    fs::create_dir(&temporary).unwrap();
    let mut command = starling(directory.path());
    command.env("TMPDIR", &temporary).args(["chaos", "coordinators", "--kills", "2", "--json"]).arg(&report);
    let ended = Process::start(command).wait(Duration::from_secs(240));
    let told = format!("{}\n{}", ended.stderr, String::from_utf8_lossy(&ended.stdout));
    assert_eq!(ended.code, 0, "{told}");
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0, "the run left something behind");
    let report: Value = serde_json::from_str(&fs::read_to_string(&report).unwrap()).unwrap();
    assert_eq!(report["schema"], "starling.chaos-coordinators/1");
    for wrong in ["lost", "duplicated", "different"] {
        assert_eq!(report[wrong], 0, "{wrong}: {told}");
    }
    assert_eq!((&report["faults"], &report["leader_gap_ms"]["samples"]), (&2.into(), &2.into()), "{told}");
    assert!(report["acknowledged"].as_u64().unwrap() > 100, "{told}");
    for quantile in ["p50", "p95", "max"] {
        assert!(report["leader_gap_ms"][quantile].as_f64().unwrap() > 0.0, "{told}");
    }
}

#[test]
fn a_killed_edge_costs_nothing_that_was_promised() {
    let _turn = turn();
    let directory = private_directory();
    let (report, history) = (directory.path().join("report.json"), directory.path().join("history.jsonl"));
    let temporary = directory.path().join("tmp");
    fs::create_dir(&temporary).unwrap();
    let mut command = starling(directory.path());
    command.env("TMPDIR", &temporary);
    command.args(["chaos", "kill-edge", "--agents", "18", "--rate", "90"]);
    command.arg("--json").arg(&report).arg("--history").arg(&history);
    let ended = Process::start(command).wait(Duration::from_secs(150));
    let told = format!("{}\n{}", ended.stderr, String::from_utf8_lossy(&ended.stdout));
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0, "the run left something behind");

    let text = fs::read_to_string(&report).unwrap();
    let report: Value = serde_json::from_str(&text).unwrap();
    let has = |field: &&&str| report.pointer(&format!("/{field}")).is_none_or(Value::is_null);
    let missing: Vec<_> = FIELDS.iter().filter(has).collect();
    assert!(missing.is_empty(), "{missing:?} are missing in {report:#}");
    assert_eq!(report["schema"], "starling.chaos/1");
    let wrong = |invariant: &&Value| invariant["violations"] != 0;
    let broken: Vec<&Value> = report["invariants"].as_array().unwrap().iter().filter(wrong).collect();
    assert!(broken.is_empty(), "{told}");
    assert_eq!((ended.code, &report["duplicated"]), (0, &Value::from(0)), "{told}");
    let kinds: Vec<&str> =
        report["faults"].as_array().unwrap().iter().map(|fault| fault["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["kill", "restart"]);
    // Three agents have their home at each of the six edges.
    assert_eq!(report["recovery_ms"]["samples"], 3, "{report:#}");
    assert!(report["published"].as_u64().unwrap() >= 900, "{report:#}");
    assert!(report["delivered"].as_u64() > report["published"].as_u64(), "{report:#}");

    // The history alone gives the same report, and a damaged one is refused by its line.
    let again = directory.path().join("again.json");
    let mut command = starling(directory.path());
    command.arg("chaos").arg("--check").arg(&history).arg("--json").arg(&again);
    assert_eq!(run(command).code, ended.code);
    assert_eq!(fs::read_to_string(&again).unwrap(), text);
    let lines = fs::read_to_string(&history).unwrap();
    fs::write(&history, lines.replacen("\"what\":\"ceased\"", "\"what\":\"seized\"", 1)).unwrap();
    let line = lines.lines().position(|line| line.contains("\"ceased\"")).unwrap() + 1;
    let mut command = starling(directory.path());
    command.arg("chaos").arg("--check").arg(&history);
    let refused = run(command);
    assert_eq!(refused.code, 3);
    assert!(refused.stderr.contains(&format!("history.jsonl line {line}: ")), "{}", refused.stderr);
}

/// The smallest attack that is proven by signatures alone.
#[test]
fn who_signs_two_headers_is_banned_by_all_and_costs_nobody_anything() {
    let _turn = turn();
    let directory = private_directory();
    let report = directory.path().join("report.json");
    let mut command = starling(directory.path());
    command.args(["chaos", "badboy", "--attack", "equivocation", "--agents", "12", "--rate", "60"]);
    command.arg("--json").arg(&report);
    let ended = Process::start(command).wait(Duration::from_secs(150));
    let told = format!("{}\n{}", ended.stderr, String::from_utf8_lossy(&ended.stdout));
    assert_eq!(ended.code, 0, "{told}");
    let report: Value = serde_json::from_str(&fs::read_to_string(&report).unwrap()).unwrap();
    assert_eq!(
        (&report["banned"]["guilty"], &report["banned"]["innocent"]),
        (&11.into(), &0.into()),
        "{told}"
    );
    assert!(report["banned"]["p99_ms"].as_f64().unwrap() < 10_000.0, "{told}");
    for count in ["lost", "duplicated", "reordered", "missing_in_gaps", "false_deaths"] {
        assert_eq!(report[count], 0, "{count}: {told}");
    }
    assert!(report["under_attack"]["during_ms"]["samples"].as_u64().unwrap() > 500, "{report:#}");

    let mut command = starling(directory.path());
    command.args(["chaos", "badboy", "--attack", "kindness"]);
    let refused = run(command);
    assert_eq!(refused.code, 2);
    assert!(refused.stderr.contains("attacks: bad-signature"), "{}", refused.stderr);
}

#[test]
fn a_stopped_run_leaves_no_process_behind() {
    let _turn = turn();
    let directory = private_directory();
    let temporary = directory.path().join("tmp");
    fs::create_dir(&temporary).unwrap();
    let mut command = starling(directory.path());
    command.env("TMPDIR", &temporary);
    command.args(["chaos", "pause", "--agents", "6", "--rate", "30"]);
    let mut process = Process::start(command);
    let nodes = {
        process.wait_to_say("11 nodes run", Duration::from_secs(60));
        children_of(process.id())
    };
    assert_eq!(nodes.len(), 11);
    // A node that stands still must go, too.
    process.wait_to_say("pause ", Duration::from_secs(90));
    process.signal("INT");
    let ended = process.wait(Duration::from_secs(20));
    assert_eq!(ended.code, 130, "{}", ended.stderr);
    assert!(!nodes.iter().any(|node| crate::process::is_alive(*node)));
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0, "the run left something behind");
}

#[test]
fn an_unknown_scenario_is_answered_with_those_there_are() {
    let directory = private_directory();
    let mut command = starling(directory.path());
    command.args(["chaos", "kill-edges"]);
    let refused = run(command);
    assert_eq!(refused.code, 2);
    for part in ["`kill-edges` is no scenario", "did you mean kill-edge?", "kill-aggregator", "mixed"] {
        assert!(refused.stderr.contains(part), "{}", refused.stderr);
    }
    let mut command = starling(directory.path());
    command.args(["chaos", "--list", "-o", "json"]);
    let listed: Value = serde_json::from_slice(&run(command).stdout).unwrap();
    let names: Vec<&str> =
        listed["scenarios"].as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap()).collect();
    for name in
        ["kill-edge", "kill-aggregator", "pause", "one-way", "partition", "slow", "flap", "badboy", "mixed"]
    {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
}
