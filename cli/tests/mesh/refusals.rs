//! Bad input: one clear error, its exit code, and nothing half-started.

use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;

use crate::process::{Ended, Process, free_ports, is_free, private_directory, run, starling, turn};
use crate::running::Mesh;

/// Two nodes from `starling init`.
struct Files {
    directory: TempDir,
    first_port: u16,
}

impl Files {
    fn make() -> Files {
        let (directory, first_port) = (private_directory(), free_ports(2));
        let mut command = starling(directory.path());
        command.arg("init").arg(directory.path().join("mesh"));
        command.args(["--node", "aggregator:eu:one", "--node", "edge:eu:two"]);
        let port = first_port.to_string();
        command.args(["--quic-port", &port, "--http-port", &port]);
        let ended = run(command);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        Files { directory, first_port }
    }

    fn node(&self, name: &str) -> PathBuf {
        self.directory.path().join("mesh/nodes").join(name)
    }

    fn trust(&self) -> String {
        self.directory.path().join("mesh/mesh.trust").display().to_string()
    }

    /// Both nodes in one process.
    fn run(&self) -> Ended {
        let mut command = starling(self.directory.path());
        command.arg("run").arg("--config");
        command.args(["one", "two"].map(|name| self.node(name).join(format!("{name}.toml"))));
        run(command)
    }

    fn assert_refused(&self, said: &[&str]) {
        let ended = self.run();
        assert_fails(&ended, 3, said);
        assert!(!ended.stderr.contains("listens on"), "a node was started: {}", ended.stderr);
        let data = fs::read_dir(self.node("one").join("data")).unwrap().count();
        assert_eq!(data, 0, "a node left something behind: {}", ended.stderr);
    }
}

/// One error, without a backtrace or a second one.
fn assert_fails(ended: &Ended, code: i32, said: &[&str]) {
    assert_eq!(ended.code, code, "{}", ended.stderr);
    assert_eq!(ended.stderr.matches("error: ").count(), 1, "{}", ended.stderr);
    for words in said {
        assert!(ended.stderr.contains(words), "no {words:?} in: {}", ended.stderr);
    }
    assert!(!ended.stderr.contains("panicked") && !ended.stderr.contains("a fault in starling"));
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn nodes_that_cannot_all_run_do_not_run_at_all() {
    let _turn = turn();
    let files = Files::make();
    let config = files.node("two").join("two.toml");
    let good = fs::read_to_string(&config).unwrap();
    fs::write(&config, good.replace("seeds =", "seedz =")).unwrap();
    files.assert_refused(&["two.toml:16:1: unknown key \"seedz\"", "help: did you mean \"seeds\"?"]);
    fs::write(&config, &good).unwrap();

    let key = files.node("two").join("credentials/identity.key");
    set_mode(&key, 0o644);
    files.assert_refused(&[&format!("{} can be read by others", key.display()), "help: run: chmod 600 "]);
    set_mode(&key, 0o600);

    let aside = key.with_extension("aside");
    fs::rename(&key, &aside).unwrap();
    files.assert_refused(&[&format!("cannot read {}", key.display())]);
    fs::create_dir(&key).unwrap();
    files.assert_refused(&[&key.display().to_string()]);
    fs::remove_dir(&key).unwrap();
    fs::write(&key, "no key\n").unwrap();
    set_mode(&key, 0o600);
    files.assert_refused(&[&format!("{} is not valid", key.display())]);
    fs::rename(&aside, &key).unwrap();

    let port = files.first_port + 1;
    let taken = UdpSocket::bind(("127.0.0.1", port)).unwrap();
    files.assert_refused(&[&format!("udp 127.0.0.1:{port} is taken by another process")]);
    drop(taken);
    assert!(is_free(files.first_port), "a node still runs");
}

#[test]
fn commands_without_a_mesh_say_what_is_wrong() {
    let _turn = turn();
    let (mine, other) = (Files::make(), Files::make());
    let command = |arguments: &[&str]| {
        let mut command = starling(mine.directory.path());
        command.args(arguments);
        run(command)
    };
    let nobody = format!("127.0.0.1:{}", free_ports(1));
    let trust = mine.trust();
    for words in [&["status"][..], &["ping"], &["publish", "a.b", "x"], &["subscribe", "a.>"]] {
        let ended = command(&[words, &["--node", &nobody, "--trust", &trust, "--timeout", "300ms"]].concat());
        assert_fails(&ended, 4, &[&nobody]);
        assert!(ended.after < Duration::from_secs(3), "{words:?} took {:?}", ended.after);
        assert_fails(
            &command(&[words, &["--node", "127.0.0.1:7", "--trust", "/nowhere"]].concat()),
            3,
            &["/nowhere"],
        );
    }
    assert_fails(&command(&["status"]), 4, &["no mesh was found", "help: run `starling dev`"]);
    assert_fails(&command(&["status", "--node", &nobody]), 2, &["--trust FILE"]);

    let nodes = ["one", "two"].map(|name| mine.node(name).join(format!("{name}.toml")));
    let mut running = starling(mine.directory.path());
    running.arg("run").arg("--config").args(nodes);
    let mut running = Process::start(running);
    let two = format!("127.0.0.1:{}", mine.first_port + 1);
    running.wait_to_say(&format!("two listens on {two}"), Duration::from_secs(10));
    let foreign = other.trust();
    for words in [&["status"][..], &["ping"], &["publish", "a.b", "x"], &["subscribe", "a.>"]] {
        let ended = command(&[words, &["--node", &two, "--trust", &foreign]].concat());
        assert_fails(&ended, 5, &[&two]);
    }
    let ended = command(&["ping", &two, "--trust", &trust, "--count", "1"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    running.signal("TERM");
    let ended = running.wait(Duration::from_secs(10));
    assert_eq!(ended.code, 0, "{}", ended.stderr);
}

#[test]
fn wrong_words_are_usage_errors() {
    let _turn = turn();
    let runtime = private_directory();
    let refused = |arguments: &[&str], said: &str| {
        let mut command = starling(runtime.path());
        command.args(arguments);
        let ended = run(command);
        assert_fails(&ended, 2, &[said]);
        assert!(ended.stdout.is_empty() && ended.after < Duration::from_secs(5), "{arguments:?}");
    };
    // No mesh runs: what is wrong with the words is told before one is looked for.
    for subject in ["", "a..b", ".a", "a.", "a.*", "a.>", "a b"] {
        refused(&["publish", subject, "x"], "subject");
    }
    for pattern in ["", "a..b", ">.a", "a.", "a.>.b", "a b"] {
        refused(&["subscribe", pattern], "pattern");
    }
    refused(&["send", "nobody", "x"], "`nobody` is not an agent's id");
    refused(&["agents", "00"], "`00` is not an agent's id");
    refused(&["status", "--timeout", "5"], "--timeout");
    refused(&["status", "-o", "xml"], "xml");
    refused(&["dev", "--regions", "0"], "--regions");
    refused(&["dev", "--quic-port", "65530"], "beyond 65535");
    refused(&["loadtest", "--agents", "0"], "--agents");
    refused(&["loadtest", "--kill-edge", "3"], "--kill-edge");
    refused(&["loadtest", "--duration", "soon"], "--duration");
    refused(&["loadtest", "--threshold", "events.lost"], "`events.lost` is no threshold");
    refused(&["loadtest", "--threshold", "events.lost<few"], "`few`");
    refused(&["loadtest", "--threshold", "events.lots==0"], "the report has no `events.lots`");
    refused(&["loadtest", "--threshold", "schema==1"], "`schema`");
    assert_eq!(fs::read_dir(runtime.path()).unwrap().count(), 0, "something was left behind");
}

#[test]
fn a_line_over_the_limit_fails_after_those_before_it() {
    let _turn = turn();
    let mesh = Mesh::start(0);
    let arguments = ["subscribe", "logs.>", "--raw", "--node", &mesh.edge(1)];
    let mut subscriber = Process::start(mesh.command(&arguments));
    subscriber.wait_to_say("ready", Duration::from_secs(15));
    let most = 1024 * 1024;
    let mut text = b"one\n\n".to_vec();
    text.extend(std::iter::repeat_n(b'x', most - 1));
    text.push(b'\n');
    let before = text.len();
    text.extend(std::iter::repeat_n(b'y', most));
    text.extend_from_slice(b"\nnever\n");
    let file = mesh.runtime().join("text");
    fs::write(&file, &text).unwrap();
    let mut command = mesh.command(&["publish", "logs.app", "--lines"]);
    command.stdin(Stdio::from(fs::File::open(&file).unwrap()));
    assert_fails(&run(command), 1, &["line 4 is over 1 MiB", "the lines before it were published"]);
    // It was acknowledged, so it is at the subscriber's edge and comes at once.
    std::thread::sleep(Duration::from_secs(1));
    subscriber.signal("INT");
    let ended = subscriber.wait(Duration::from_secs(10));
    assert!(ended.stdout == text[..before], "{} bytes of {before} came", ended.stdout.len());

    let whole = run(mesh.command(&["publish", "logs.app", "--file", file.to_str().unwrap()]));
    assert_fails(&whole, 1, &["over 1 MiB", "help: publish lines with --lines"]);
}
