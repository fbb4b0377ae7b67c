//! One process of the binary: its output in files, every wait bounded, gone when the test is.

use std::fs::{self, File};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long any command may take that is not expected to wait for something.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// One scenario runs at a time: each has a machine's worth of processes.
pub fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    // A scenario that failed took its processes down; the next one can run.
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A directory of this user alone, as `XDG_RUNTIME_DIR` has to be.
pub fn private_directory() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700)).unwrap();
    directory
}

/// The first of `count` UDP and TCP ports in a row that were free a moment ago, below those that the system
/// gives to sockets that do not ask for one.
pub fn free_ports(count: u16) -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let begin = 12_000 + (std::process::id() % 500) as u16 * 32;
    for _ in 0..200 {
        let first = 12_000 + (begin - 12_000 + NEXT.fetch_add(count, Ordering::Relaxed)) % 18_000;
        if (first..first + count).all(is_free) {
            return first;
        }
    }
    panic!("no {count} free ports in a row");
}

pub fn is_free(port: u16) -> bool {
    UdpSocket::bind(("127.0.0.1", port)).is_ok() && TcpListener::bind(("127.0.0.1", port)).is_ok()
}

/// The binary with an environment that names no mesh but what `runtime` may hold.
pub fn starling(runtime: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_starling"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("STARLING_") {
            command.env_remove(name);
        }
    }
    command.env("XDG_RUNTIME_DIR", runtime).stdin(Stdio::null());
    command
}

/// Looks until `look` gives something; after `patience` the test fails with what `told` says.
pub fn until<T>(
    what: &str,
    patience: Duration,
    told: impl Fn() -> String,
    mut look: impl FnMut() -> Option<T>,
) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < patience, "{what}: not within {patience:?}\n{}", told());
        thread::sleep(Duration::from_millis(10));
    }
}

/// How a process ended and what it said.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: String,
    pub after: Duration,
}

/// A process that is stopped when this is dropped.
pub struct Process {
    child: Child,
    begun: Instant,
    command: String,
    directory: TempDir,
    ended: Option<i32>,
}

impl Process {
    pub fn start(mut command: Command) -> Process {
        let directory = tempfile::tempdir().unwrap();
        let file = |name| File::create(directory.path().join(name)).unwrap();
        command.stdout(file("stdout")).stderr(file("stderr"));
        let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
        let child = command.spawn().unwrap();
        let begun = Instant::now();
        Process { child, begun, command: words.join(" "), directory, ended: None }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn stdout_path(&self) -> PathBuf {
        self.directory.path().join("stdout")
    }

    pub fn stdout_bytes(&self) -> u64 {
        fs::metadata(self.stdout_path()).unwrap().len()
    }

    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.directory.path().join("stderr")).unwrap()).into_owned()
    }

    /// The exit code if it ended; 128 and the signal if one ended it.
    pub fn code(&mut self) -> Option<i32> {
        if self.ended.is_none() {
            let status = self.child.try_wait().unwrap();
            self.ended = status.map(|s| s.code().unwrap_or_else(|| 128 + s.signal().unwrap_or(0)));
        }
        self.ended
    }

    /// Waits until stderr has a line that begins with `line`.
    pub fn wait_to_say(&mut self, line: &str, patience: Duration) {
        let begun = Instant::now();
        while !self.stderr().lines().any(|said| said.starts_with(line)) {
            let code = self.code();
            let is_late = begun.elapsed() > patience;
            assert!(
                code.is_none() && !is_late,
                "`{}` did not say {line:?} within {patience:?} (exit code {code:?}):\n{}",
                self.command,
                self.stderr()
            );
            thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn signal(&self, name: &str) {
        signal(self.id(), name);
    }

    /// Waits for the end.
    pub fn wait(mut self, patience: Duration) -> Ended {
        let begun = Instant::now();
        let code = loop {
            if let Some(code) = self.code() {
                break code;
            }
            let late = begun.elapsed() > patience;
            assert!(!late, "`{}` did not end within {patience:?}:\n{}", self.command, self.stderr());
            thread::sleep(Duration::from_millis(5));
        };
        let stdout = fs::read(self.stdout_path()).unwrap();
        Ended { code, stdout, stderr: self.stderr(), after: self.begun.elapsed() }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.code().is_some() {
            return;
        }
        self.signal("TERM");
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(12) {
            if self.code().is_some() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        // It does not listen; whether the kill works is seen by the wait.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Runs a command to its end.
pub fn run(command: Command) -> Ended {
    Process::start(command).wait(PATIENCE)
}

/// Sends a signal by the system's `kill`; a process that is gone already is not an error.
pub fn signal(process: u32, name: &str) {
    let arguments = [format!("-{name}"), process.to_string()];
    Command::new("kill").args(arguments).stderr(Stdio::null()).status().unwrap();
}

/// Whether a process runs; one that only waits for its parent to notice its end does not.
pub fn is_alive(process: u32) -> bool {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let state = text.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
    state.is_some_and(|state| state != 'Z' && state != 'X')
}

/// The processes that `parent` started and that still are.
pub fn children_of(parent: u32) -> Vec<u32> {
    let is_child = |process: &u32| {
        let text = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        let fields = text.rsplit_once(')').map(|(_, rest)| rest.split_whitespace());
        fields.and_then(|mut fields| fields.nth(1)) == Some(parent.to_string().as_str())
    };
    let entries = fs::read_dir("/proc").unwrap();
    let names = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    names.filter(is_child).collect()
}
