//! What each layer may say, what is refused, and that the refusal names the place and the cure.

use std::ffi::OsString;
use std::fs;

use super::*;

const WHOLE: &str = "\
[node]
name = \"a\"
region = \"eu\"
roles = [\"edge\", \"coordinator\"]

[listen]
quic = \"127.0.0.1:7420\"
advertise = \"a.example.org:9000\"
http = \"127.0.0.1:7400\"

[mesh]
seeds = [\"b.example.org:7420\", \"[::1]:7420\"]
preset = \"wan\"
";

fn load(text: &str, variables: &[(&str, &str)], flags: &[&str]) -> Result<(Config, Settings), ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.toml");
    fs::write(&file, text).unwrap();
    let variable = |name: &str| {
        variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
    };
    let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
    let settings = Settings::gather(&file, variable, &flags)?;
    Ok((settings.to_config()?, settings))
}

fn refused(text: &str, flags: &[&str]) -> (String, String) {
    let error = load(text, &[], flags).unwrap_err();
    (error.to_string(), error.help())
}

/// `WHOLE` with one line of it replaced.
fn with(line: &str, replacement: &str) -> String {
    assert!(WHOLE.contains(line), "{line}");
    WHOLE.replace(line, replacement)
}

#[test]
fn whole_file_is_read() {
    let (config, _) = load(WHOLE, &[], &[]).unwrap();
    let dir = config.file.parent().unwrap();
    assert_eq!(config.name.as_str(), "a");
    assert_eq!(config.roles, Roles::EDGE | Roles::COORDINATOR);
    assert_eq!(config.credentials, dir.join("credentials"));
    assert_eq!(config.data, dir.join("data"));
    assert_eq!(config.advertise.as_deref(), Some("a.example.org:9000"));
    assert_eq!(config.seeds, ["b.example.org:7420", "[::1]:7420"]);
    assert_eq!((config.preset, config.log), (Preset::Wan, Level::Info));
    assert_eq!(config.certificate_lifetime, Duration::from_secs(24 * 3_600));
}

#[test]
fn certificates_live_for_ten_seconds_at_least() {
    let (config, _) = load(WHOLE, &[], &["node.certificate_lifetime=10s"]).unwrap();
    assert_eq!(config.certificate_lifetime, Duration::from_secs(10));
    for bad in ["9s", "1d", "", "9000h"] {
        let (what, _) = refused(WHOLE, &[&format!("node.certificate_lifetime={bad}")]);
        assert!(what.contains("certificate_lifetime"), "{what}");
    }
}

#[test]
fn flag_before_environment_before_file_before_default() {
    let variables = [
        ("STARLING_MESH_PRESET", "machine"),
        ("STARLING_LISTEN_QUIC", "127.0.0.1:1"),
        ("STARLING_MESH_SEEDS", "x:1, y:2"),
        ("STARLING_LOG_LEVEL", ""),
        ("STARLING_NODE_DATA", "here"),
    ];
    let flags = ["listen.quic=127.0.0.1:2", "listen.http="];
    let (config, settings) = load(WHOLE, &variables, &flags).unwrap();
    assert_eq!(config.quic.port(), 2);
    assert_eq!(config.preset, Preset::Machine);
    assert_eq!(config.strategy, Strategy::Hybrid, "unless somebody says otherwise");
    assert_eq!(config.seeds, ["x:1", "y:2"]);
    assert_eq!(config.http, None);
    assert_eq!(config.data, Path::new("here"));
    let origin = |path| settings.origin(keys::find(path).unwrap());
    assert_eq!(origin("listen.quic"), Origin::Flag("listen.quic=127.0.0.1:2".to_owned()));
    assert_eq!(origin("mesh.preset"), Origin::Environment("STARLING_MESH_PRESET".to_owned()));
    assert_eq!(origin("log.level"), Origin::Default);
    let Origin::File(place) = origin("node.name") else { panic!("not from the file") };
    assert_eq!((place.line, place.column), (2, 8));
}

#[test]
fn unknown_names_come_with_a_suggestion() {
    let (what, help) = refused(&with("seeds =", "seedz ="), &[]);
    assert!(what.ends_with("a.toml:12:1: unknown key \"seedz\" in [mesh]"), "{what}");
    assert_eq!(help, "did you mean \"seeds\"? known: seeds, preset, strategy");
    let (what, help) = refused(&with("[listen]", "[lisen]"), &[]);
    assert!(what.ends_with("a.toml:6:2: unknown table or key \"lisen\""), "{what}");
    assert!(help.starts_with("did you mean [listen]?"), "{help}");
    let (_, help) = refused(&with("preset =", "http ="), &[]);
    assert!(help.starts_with("did you mean \"http\" in [listen]?"), "{help}");
    let (_, help) = refused(&with("preset =", "colour ="), &[]);
    assert_eq!(help, "known: seeds, preset, strategy");
    let (what, help) = refused(WHOLE, &["listen.quick=1"]);
    assert_eq!(what, "--set listen.quick=1: unknown key \"quick\" in [listen]");
    assert!(help.starts_with("did you mean listen.quic?"), "{help}");
}

#[test]
fn wrong_types_name_what_was_expected() {
    let cases = [
        ("name = \"a\"", "name = 7", "a.toml:2:8: node.name must be a string, but this is a number"),
        (
            "roles = [\"edge\", \"coordinator\"]",
            "roles = \"edge\"",
            "a.toml:4:9: node.roles must be a list of strings, but this is a string",
        ),
        (
            "\"[::1]:7420\"",
            "true",
            "a.toml:12:32: mesh.seeds must be a list of strings, but this is a boolean",
        ),
    ];
    for (line, replacement, expected) in cases {
        let (what, help) = refused(&with(line, replacement), &[]);
        assert!(what.ends_with(expected), "{what}");
        assert!(help.starts_with("for example: "), "{help}");
    }
    let (what, _) = refused("node = 3", &[]);
    assert!(what.ends_with("a.toml:1:8: node must be a table, but this is a number"), "{what}");
}

#[test]
fn bad_values_are_refused_where_they_stand() {
    for flag in [
        "node.name=Upper",
        "node.region=",
        "node.roles=",
        "node.roles=egde",
        "node.roles=edge,edge",
        "node.roles=edge+aggregator",
        "node.data=",
        "listen.quic=localhost:7420",
        "listen.quic=127.0.0.1",
        "listen.quic=127.0.0.1:0",
        "listen.http=127.0.0.1:70000",
        "listen.advertise=host",
        "listen.advertise=host:",
        "listen.advertise=host:0",
        "listen.advertise=ho st:1",
        "listen.advertise=::1:7",
        "mesh.seeds=a:1,b",
        "node.silent=yes",
        "node.capabilities=two words",
        "node.services=two words",
        "node.blobs=xyz",
        "mesh.preset=lann",
        "log.level=INFO",
        "listen.quic=127.0.0.1:65535",
        "listen.advertise=a:65535",
        "listen.http=127.0.0.1:65535",
    ] {
        let (what, help) = refused(WHOLE, &[flag]);
        assert!(what.starts_with(&format!("--set {flag}: ")), "{flag}: {what}");
        assert!(!help.is_empty());
    }
    let (what, _) = refused(WHOLE, &["mesh.preset=lann"]);
    assert!(what.ends_with("did you mean \"lan\"?"), "{what}");
    assert_eq!(refused(WHOLE, &["listen"]).0, "--set \"listen\" is not KEY=VALUE");
    let (what, help) = refused(&with("region = \"eu\"\n", ""), &[]);
    assert!(what.ends_with("a.toml does not set node.region"), "{what}");
    assert_eq!(help, "add to the table [node]: region = \"eu\"");
    let (what, _) = refused("[node]\nname = \n", &[]);
    assert!(what.contains("a.toml:2:"), "{what}");
}

#[test]
fn several_roles_are_several_nodes() {
    let (config, _) = load(WHOLE, &[], &[]).unwrap();
    let nodes = config.nodes();
    let edge = &nodes[0];
    let coordinator = &nodes[1];
    assert_eq!((edge.name.as_str(), coordinator.name.as_str()), ("a-edge", "a-coordinator"));
    assert_eq!((edge.roles, coordinator.roles), (Roles::EDGE, Roles::COORDINATOR));
    assert_eq!((edge.quic.port(), coordinator.quic.port()), (7_420, 7_421));
    assert_eq!(coordinator.http.map(|http| http.port()), Some(7_401));
    assert_eq!(coordinator.advertise.as_deref(), Some("a.example.org:9001"));
    assert_eq!(coordinator.credentials, config.credentials.join("coordinator"));
    assert_eq!(coordinator.data, config.data.join("coordinator"));
    assert_eq!(edge.seeds[0], "127.0.0.1:7421");
    assert_eq!(coordinator.seeds, ["127.0.0.1:7420", "b.example.org:7420", "[::1]:7420"]);
    let (open, _) = load(WHOLE, &[], &["listen.quic=[::]:7420"]).unwrap();
    assert_eq!(open.nodes()[0].seeds[0], "[::1]:7421");
    let (single, _) = load(WHOLE, &[], &["node.roles=edge"]).unwrap();
    assert_eq!(single.nodes(), [single]);
}

#[test]
fn examples_of_all_keys_make_a_configuration() {
    let mut text = String::new();
    for table in keys::tables() {
        text.push_str(&format!("[{table}]\n"));
        for key in keys::in_table(table) {
            text.push_str(&format!("{} = {}\n", key.name, key.example));
        }
    }
    let (config, settings) = load(&text, &[], &[]).unwrap();
    assert_eq!(config.nodes().len(), 1);
    assert!(KEYS.iter().all(|key| matches!(settings.origin(key), Origin::File(_))));
}

#[test]
fn presets_notice_silence_after_several_keepalives() {
    for (_, preset) in Preset::NAMES {
        let timing = preset.timing();
        assert!(timing.link_timeout >= timing.keepalive * 5, "{preset:?}");
    }
}
