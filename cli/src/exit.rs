//! How a command ends: a stable exit code and, when it failed, what happened and what to do next.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::process;

use starling_net::trust::TrustError;

use crate::config::ConfigError;

/// The exit codes of every command; scripts rely on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// Done.
    Ok = 0,
    /// Failed for a reason without a code of its own.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// A configuration, credential or trust file is wrong.
    Configuration = 3,
    /// No node answers.
    Unreachable = 4,
    /// The mesh does not let us in or forbids what was asked.
    Auth = 5,
    /// What was asked for does not exist.
    NotFound = 6,
    /// No answer in time.
    Timeout = 7,
    /// A measurement missed its threshold.
    Threshold = 99,
    /// Stopped by Ctrl-C or SIGTERM.
    Interrupted = 130,
}

/// Why a command did not succeed, in words for the person who typed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// How the process ends.
    pub code: ExitCode,
    /// What happened, and to what; nothing is printed when it is empty.
    pub what: String,
    /// What to do next, when there is something to do.
    pub next: Option<String>,
}

impl Failure {
    /// A failure with its code and what happened.
    pub fn new(code: ExitCode, what: impl Into<String>) -> Failure {
        Failure { code, what: what.into(), next: None }
    }

    /// The same failure with what to do next.
    pub fn with_help(self, next: impl Into<String>) -> Failure {
        Failure { next: Some(next.into()), ..self }
    }

    /// Ends the process with `code` and prints nothing: what there is to say has been said.
    pub fn quiet(code: ExitCode) -> Failure {
        Failure::new(code, "")
    }

    /// Whether nothing is printed.
    pub fn is_quiet(&self) -> bool {
        self.what.is_empty()
    }

    /// The lines for stderr, `error:` and `help:` in color when `is_colored`.
    pub fn render(&self, is_colored: bool) -> String {
        if self.is_quiet() {
            return String::new();
        }
        let paint = |word: &str, color: &str| match is_colored {
            true => format!("\x1b[1;{color}m{word}\x1b[0m"),
            false => word.to_owned(),
        };
        let mut text = format!("{} {}\n", paint("error:", "31"), self.what);
        if let Some(next) = &self.next {
            text.push_str(&format!("{} {next}\n", paint("help:", "36")));
        }
        text
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what.as_str())
    }
}

impl std::error::Error for Failure {}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            // Who reads our output has seen enough, as in `starling members | head -1`.
            io::ErrorKind::BrokenPipe => Failure::quiet(ExitCode::Ok),
            io::ErrorKind::TimedOut => Failure::new(ExitCode::Timeout, error.to_string()),
            _ => Failure::new(ExitCode::Failed, error.to_string()),
        }
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Failure {
        Failure::new(ExitCode::Failed, format!("cannot write JSON: {error}"))
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Failure {
        match error {
            ConfigError::Credentials(source) => {
                Failure { code: ExitCode::Configuration, ..Failure::from(source) }
            }
            error => {
                Failure { code: ExitCode::Configuration, what: error.to_string(), next: Some(error.help()) }
            }
        }
    }
}

impl From<TrustError> for Failure {
    fn from(error: TrustError) -> Failure {
        let told = |what: String, next: &str| Failure::new(ExitCode::Configuration, what).with_help(next);
        match &error {
            TrustError::Read { path, advice, source } => {
                told(format!("cannot read {}: {source}", path.display()), advice)
            }
            TrustError::TooOpen { path, mode } => told(
                format!("{} can be read by others (mode {mode:03o})", path.display()),
                &format!("run: chmod 600 {}", path.display()),
            ),
            TrustError::Malformed { path, what, advice } => {
                told(format!("{} is not valid: {what}", path.display()), advice)
            }
            TrustError::Admission { path, source } => told(
                format!("the admission in {} does not hold: {source}", path.display()),
                "issue new credentials for this node",
            ),
            TrustError::Name { .. } | TrustError::Coordinators { .. } => {
                Failure::new(ExitCode::Usage, error.to_string())
            }
            TrustError::Tls(_) | TrustError::Certificate(_) | TrustError::CoordinatorSet(_) => {
                Failure::new(ExitCode::Auth, error.to_string())
            }
            TrustError::Write { .. }
            | TrustError::Issue(_)
            | TrustError::NoHandshake
            | TrustError::NoEntropy => Failure::new(ExitCode::Failed, error.to_string()),
        }
    }
}

impl From<anyhow::Error> for Failure {
    /// Keeps the code and the help of a failure that travels inside, and tells its whole context.
    fn from(error: anyhow::Error) -> Failure {
        let what = format!("{error:#}");
        let inner = match error.downcast::<Failure>() {
            Ok(failure) => return failure.in_context(what),
            Err(error) => error,
        };
        let inner = match inner.downcast::<ConfigError>() {
            Ok(source) => return Failure::from(source),
            Err(error) => error,
        };
        let inner = match inner.downcast::<TrustError>() {
            Ok(source) => return Failure::from(source),
            Err(error) => error,
        };
        match inner.downcast::<io::Error>() {
            Ok(source) => Failure::from(source).in_context(what),
            Err(_) => Failure::new(ExitCode::Failed, what),
        }
    }
}

impl Failure {
    fn in_context(self, what: String) -> Failure {
        if self.is_quiet() { self } else { Failure { what, ..self } }
    }
}

/// Prints a failure to stderr and gives the process its exit code.
pub fn finish(result: Result<(), Failure>) -> process::ExitCode {
    let Err(failure) = result else { return code(ExitCode::Ok) };
    say(&failure.render(is_stderr_colored()));
    code(failure.code)
}

/// Prints what clap has to say, which may be the help that was asked for.
pub fn finish_usage(error: &clap::Error) -> process::ExitCode {
    match error.print() {
        Ok(()) if !error.use_stderr() => code(ExitCode::Ok),
        Err(failed) if !error.use_stderr() => finish(Err(failed.into())),
        Ok(()) | Err(_) => code(ExitCode::Usage),
    }
}

/// Runs the program; a panic anywhere in it is told in one line, without a backtrace.
pub fn catch_panics(program: impl FnOnce() -> process::ExitCode) -> process::ExitCode {
    panic::set_hook(Box::new(|info| say(&fault(info).render(is_stderr_colored()))));
    panic::catch_unwind(AssertUnwindSafe(program)).unwrap_or_else(|_| code(ExitCode::Failed))
}

/// Whether stderr is a terminal whose owner did not ask for plain text (<https://no-color.org>).
pub fn is_stderr_colored() -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    io::stderr().is_terminal() && !is_set("NO_COLOR") && !is_dumb
}

/// Writes to stderr. When even that fails there is nobody left to tell.
pub(crate) fn say(text: &str) {
    io::stderr().lock().write_all(text.as_bytes()).unwrap_or_default();
}

fn fault(info: &PanicHookInfo<'_>) -> Failure {
    let payload = info.payload();
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("unknown");
    let place = info.location().map(|place| format!(" ({}:{})", place.file(), place.line()));
    let what = format!("a fault in starling itself: {text}{}", place.unwrap_or_default());
    Failure::new(ExitCode::Failed, what)
        .with_help("please report this line and the command that led to it; state on disk is kept")
}

fn code(code: ExitCode) -> process::ExitCode {
    process::ExitCode::from(code as u8)
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn failure_says_what_and_what_next() {
        let failure = Failure::new(ExitCode::NotFound, "no agent x").with_help("run: starling agents");
        assert_eq!(failure.render(false), "error: no agent x\nhelp: run: starling agents\n");
        assert!(failure.render(true).starts_with("\x1b[1;31merror:\x1b[0m no agent x\n"));
        assert_eq!(Failure::quiet(ExitCode::Threshold).render(true), "");
    }

    #[test]
    fn broken_pipe_is_no_failure_even_deep_inside() {
        let broken = || io::Error::from(io::ErrorKind::BrokenPipe);
        assert_eq!(Failure::from(broken()), Failure::quiet(ExitCode::Ok));
        let wrapped = anyhow::Error::from(broken()).context("writing the table");
        assert_eq!(Failure::from(wrapped), Failure::quiet(ExitCode::Ok));
    }

    #[test]
    fn context_keeps_code_and_help() {
        let inner: Result<(), Failure> = Err(Failure::new(ExitCode::Timeout, "no answer").with_help("wait"));
        let failure = Failure::from(inner.context("asking edge-1").unwrap_err());
        assert_eq!(failure.code, ExitCode::Timeout);
        assert!(failure.what.starts_with("asking edge-1"), "{}", failure.what);
        assert_eq!(failure.next.as_deref(), Some("wait"));
    }

    #[test]
    fn too_open_key_is_a_configuration_failure_with_its_cure() {
        let failure = Failure::from(TrustError::TooOpen { path: "/k".into(), mode: 0o644 });
        assert_eq!(failure.code, ExitCode::Configuration);
        assert_eq!(failure.next.as_deref(), Some("run: chmod 600 /k"));
    }
}
