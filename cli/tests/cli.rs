//! The binary as users and scripts meet it: exit codes, messages, and what is on disk afterwards.

#![allow(clippy::unwrap_used, reason = "helpers of tests, too: a panic is the failure")]

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

fn starling() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_starling"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("STARLING_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

fn run(args: &[&str]) -> Output {
    starling().args(args).output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_str(&stdout(output)).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// A mesh in `mesh` of a directory that goes with the test.
fn mesh(nodes: &[&str]) -> (TempDir, PathBuf) {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("mesh");
    let mut command = starling();
    command.arg("init").arg(&dir);
    for node in nodes {
        command.args(["--node", node]);
    }
    let output = command.output().unwrap();
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    (parent, dir)
}

fn sample(dir: &Path, name: &str) -> PathBuf {
    dir.join("nodes").join(name).join(format!("{name}.toml"))
}

fn config(verb: &str, file: &Path, more: &[&str]) -> Output {
    starling().args(["config", verb]).arg(file).args(more).output().unwrap()
}

/// Replaces `from` in the sample of `edge-1` and checks the result.
fn check_changed(from: &str, to: &str) -> Output {
    let (_parent, dir) = mesh(&[]);
    let file = sample(&dir, "edge-1");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(&file, text.replace(from, to)).unwrap();
    config("check", &file, &[])
}

#[test]
fn samples_of_init_are_good_and_private() {
    let (parent, dir) = mesh(&[]);
    let names = ["coordinator-1", "aggregator-1", "aggregator-2", "edge-1", "edge-2"];
    for (port, name) in (7_420..).zip(names) {
        let file = sample(&dir, name);
        let output = config("check", &file, &[]);
        assert_eq!((code(&output), stdout(&output).as_str()), (0, "ok\n"), "{}", stderr(&output));
        assert_eq!(stderr(&output), "");
        assert!(fs::read_to_string(&file).unwrap().contains(&format!("quic = \"127.0.0.1:{port}\"")));
        assert_eq!(mode(&dir.join("nodes").join(name).join("credentials/identity.key")), 0o600);
    }
    assert_eq!(mode(&dir.join("authority")), 0o700);
    assert_eq!(mode(&dir.join("authority/authority.key")), 0o600);
    assert_eq!(mode(&dir.join("authority/ca.key")), 0o600);
    assert!(dir.join("mesh.trust").is_file());
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1, "nothing is left beside the mesh");
}

#[test]
fn nodes_of_several_roles_have_credentials_for_each() {
    let (_parent, dir) = mesh(&["coordinator+edge:eu:all", "aggregator:eu:one"]);
    for name in ["all", "one"] {
        let output = config("check", &sample(&dir, name), &["-o", "json"]);
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        assert_eq!(json(&output)["ok"], true);
    }
    assert!(dir.join("nodes/all/credentials/coordinator/identity.key").is_file());
    assert!(fs::read_to_string(sample(&dir, "one")).unwrap().contains("quic = \"127.0.0.1:7422\""));
    assert!(fs::read_to_string(sample(&dir, "one")).unwrap().contains("seeds = [\"127.0.0.1:7421\"]"));
}

#[test]
fn init_reports_as_json() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("d");
    let dir_text = dir.to_str().unwrap();
    let output = run(&["init", dir_text, "--name", "flock", "--node", "edge:eu:a", "-o", "json"]);
    let made = json(&output);
    assert_eq!((&made["schema"], &made["mesh"]), (&"starling.init/1".into(), &"flock".into()));
    assert_eq!(made["nodes"][0]["config"], sample(&dir, "a").to_str().unwrap());
}

#[test]
fn init_leaves_what_is_there_alone() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("full");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("precious"), "x").unwrap();
    let output = run(&["init", dir.to_str().unwrap()]);
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).contains("is not empty"), "{}", stderr(&output));
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);

    let empty = parent.path().join("empty");
    fs::create_dir(&empty).unwrap();
    assert_eq!(code(&run(&["init", empty.to_str().unwrap()])), 0);

    let output = run(&["init", parent.path().join("no/such").to_str().unwrap()]);
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).contains("help: run: mkdir -p "), "{}", stderr(&output));

    let output = run(&["init", parent.path().join("new").to_str().unwrap(), "--node", "egde:eu:a"]);
    assert_eq!(code(&output), 2);
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 2, "nothing half-made is left");
}

#[test]
fn unknown_key_is_named_with_line_and_suggestion() {
    let output = check_changed("seeds =", "seedz =");
    assert_eq!(code(&output), 3);
    let said = stderr(&output);
    assert!(said.contains("edge-1.toml:16:1: unknown key \"seedz\" in [mesh]"), "{said}");
    assert!(said.contains("help: did you mean \"seeds\"?"), "{said}");
    assert_eq!(stdout(&output), "");
}

#[test]
fn wrong_type_says_what_was_expected() {
    let output = check_changed("roles = [\"edge\"]", "roles = \"edge\"");
    assert_eq!(code(&output), 3);
    assert!(stderr(&output).contains("node.roles must be a list of strings"), "{}", stderr(&output));
}

#[test]
fn name_must_be_that_of_the_credentials() {
    let output = check_changed("name = \"edge-1\"", "name = \"edge-9\"");
    assert_eq!(code(&output), 3);
    let said = stderr(&output);
    assert!(said.contains("node.name is \"edge-9\", but the credentials in"), "{said}");
}

#[test]
fn files_that_cannot_be_read_are_configuration_errors() {
    let parent = tempfile::tempdir().unwrap();
    let binary = parent.path().join("binary");
    fs::write(&binary, [0xff, 0xfe, 0x00]).unwrap();
    for file in [parent.path().join("missing.toml"), parent.path().to_owned(), binary] {
        let output = config("check", &file, &[]);
        assert_eq!(code(&output), 3);
        let said = stderr(&output);
        assert!(said.starts_with("error: cannot read ") && said.contains("\nhelp: "), "{said}");
    }
}

#[test]
fn keys_that_others_can_read_are_refused_with_the_cure() {
    let (_parent, dir) = mesh(&["edge:eu:a"]);
    let key = dir.join("nodes/a/credentials/node.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let output = config("check", &sample(&dir, "a"), &[]);
    assert_eq!(code(&output), 3);
    assert!(stderr(&output).contains(&format!("help: run: chmod 600 {}", key.display())));
}

#[test]
fn missing_credentials_are_configuration_errors() {
    let output = check_changed("credentials = \"credentials\"", "credentials = \"elsewhere\"");
    assert_eq!(code(&output), 3);
    assert!(stderr(&output).contains("elsewhere"), "{}", stderr(&output));
}

#[test]
fn shown_configuration_can_be_used_again() {
    let (parent, dir) = mesh(&["edge:eu:a"]);
    let file = sample(&dir, "a");
    let shown = starling()
        .args(["config", "show", "--origin", "--set", "log.level=debug", "mesh/nodes/a/a.toml"])
        .current_dir(parent.path())
        .env("STARLING_LISTEN_QUIC", "127.0.0.1:9000")
        .output()
        .unwrap();
    let text = stdout(&shown);
    let line = |key: &str| text.lines().find(|line| line.starts_with(key)).unwrap().to_owned();
    assert!(line("name = ").ends_with("a.toml:5"), "{text}");
    assert!(line("quic = \"127.0.0.1:9000\"").ends_with("# environment STARLING_LISTEN_QUIC"), "{text}");
    assert!(line("level = ").ends_with("# --set log.level=debug"), "{text}");
    assert!(text.contains("# advertise is not set"), "{text}");

    let copy = parent.path().join("copy.toml");
    fs::write(&copy, &text).unwrap();
    assert_eq!(code(&config("check", &copy, &[])), 0);

    let whole = json(&config("show", &file, &["-o", "json", "--origin"]));
    assert_eq!(whole["schema"], "starling.config/1");
    assert_eq!(whole["config"]["node"]["roles"], serde_json::json!(["edge"]));
    assert_eq!(whole["origins"]["listen.advertise"], "default");
    assert_eq!(json(&config("show", &file, &["-o", "json"])).get("origins"), None);
}

#[test]
fn usage_errors_end_with_two_and_help_with_zero() {
    for args in [&["fly"][..], &["config", "check"], &["version", "-o", "xml"], &["version", "-q", "-v"], &[]]
    {
        let output = run(args);
        assert_eq!(code(&output), 2, "{args:?}");
        assert_eq!(stdout(&output), "", "{args:?}");
        assert!(!stderr(&output).is_empty());
    }
    for args in [&["--help"][..], &["help", "init"], &["config", "show", "--help"], &["--version"]] {
        let output = run(args);
        assert_eq!(code(&output), 0, "{args:?}");
        assert!(!stdout(&output).is_empty());
    }
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let output = run(&["completions", shell]);
        assert_eq!(code(&output), 0);
        assert!(stdout(&output).contains("starling") && stdout(&output).contains("init"));
    }
    assert_eq!(code(&run(&["completions", "cobol"])), 2);
}

#[test]
fn version_in_every_format() {
    let version = env!("CARGO_PKG_VERSION");
    assert!(stdout(&run(&["version"])).starts_with(&format!("starling {version} (protocol starling/1")));
    for format in ["json", "jsonl"] {
        let output = run(&["version", "-o", format]);
        assert_eq!(json(&output)["schema"], "starling.version/1");
        assert_eq!(json(&output)["version"], version);
    }
    assert_eq!(stdout(&run(&["version", "-o", "jsonl"])).lines().count(), 1);
}

/// Runs a failing command with stderr on a terminal and gives what the terminal saw.
fn on_a_terminal(no_color: &str) -> Option<String> {
    let command = format!("{} config check /missing", env!("CARGO_BIN_EXE_starling"));
    let terminal = Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .env("TERM", "xterm")
        .env("NO_COLOR", no_color)
        .stdin(Stdio::null())
        .output();
    terminal.ok().map(|output| stdout(&output))
}

#[test]
fn color_is_for_terminals_without_no_color() {
    let plain = starling().args(["config", "check", "/missing"]).env("TERM", "xterm").output().unwrap();
    assert!(stderr(&plain).starts_with("error: "), "{}", stderr(&plain));
    // Without script(1) there is no terminal to be had; the rule itself is then not exercised.
    let Some(colored) = on_a_terminal("") else { return };
    assert!(colored.contains("\x1b[1;31merror:\x1b[0m"), "{colored:?}");
    let plain = on_a_terminal("1").unwrap();
    assert!(plain.contains("error: ") && !plain.contains('\x1b'), "{plain:?}");
}

#[test]
fn reader_that_goes_away_ends_the_command_quietly() {
    // The reader is gone long before the child gets to writing.
    for shell in ["bash", "zsh"] {
        let mut command = starling();
        command.args(["completions", shell]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        drop(child.stdout.take());
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!((child.wait().unwrap().code(), said.as_str()), (Some(0), ""));
    }
}

#[test]
fn a_simulation_repeats_and_refuses_what_it_cannot_read() {
    let hash = |seed: &str| {
        let output = run(&["sim", "--seed", seed, "-o", "json"]);
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        let report: Value = serde_json::from_str(&stdout(&output)).unwrap();
        assert_eq!(report["schema"], "starling.sim/1");
        assert_eq!(report["healed"], true);
        report["trace_hash"].as_str().unwrap().to_string()
    };
    assert_eq!(hash("8"), hash("8"));
    assert_ne!(hash("8"), hash("35"));
    let directory = TempDir::new().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let scenario = file("s.toml", "nodes = 4\n[faults]\ncrash = 3\n");
    let output = run(&["sim", "--scenario", &scenario]);
    assert_eq!(code(&output), 3);
    assert!(stderr(&output).contains("line 3") && stderr(&output).contains("crash"), "{}", stderr(&output));
    for (key, most) in [("nodes", 10_000), ("regions", 64), ("agents", 1_000_000), ("time_s", 31_622_400)] {
        let output =
            run(&["sim", "--scenario", &file("t.toml", &format!("rate = 1\n{key} = {}\n", most + 1))]);
        assert_eq!(code(&output), 3, "{key}");
        let said = stderr(&output);
        assert!(said.contains("line 2") && said.contains(&format!("more than {most}")), "{said}");
    }
    let matrix = file("m.json", r#"{"data": {"a": {"b": -1}, "b": {"a": 1}}}"#);
    let output = run(&["sim", "--rtt", &matrix, "--nodes", "2"]);
    assert_eq!(code(&output), 3);
    assert!(stderr(&output).contains("row a, column b"), "{}", stderr(&output));
    assert_eq!(code(&run(&["sim", "--scenario", "no-such"])), 2);
}

#[test]
fn what_may_be_named_is_listed_in_every_format() {
    for command in ["sim", "chaos"] {
        let output = run(&[command, "--list", "-o", "json"]);
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        let scenarios = json(&output)["scenarios"].as_array().unwrap().clone();
        let name = scenarios[0]["name"].as_str().unwrap().to_string();
        let table = stdout(&run(&["-q", command, "--list"]));
        assert!(table.starts_with(&format!("scenarios:\n  {name}")), "{table}");
        assert_eq!(code(&run(&[command, "--list", "--json", "report.json"])), 2, "a list is no report");
    }
}
