//! Ctrl-C and SIGTERM.

use tokio::signal::unix::{SignalKind, signal};

use crate::exit::{ExitCode, Failure};

/// Waits until the process is asked to stop. Where signals cannot be caught the system's default
/// applies, which ends the process at once.
pub async fn stop_requested() {
    match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
        (Ok(mut interrupt), Ok(mut terminate)) => {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        }
        _ => std::future::pending().await,
    }
}

/// What `work` comes to, unless the process is asked to stop first.
///
/// # Errors
/// Those of `work`; asked to stop, a quiet one.
pub async fn until_stopped<T, E: Into<Failure>>(
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, Failure> {
    tokio::select! {
        done = work => done.map_err(Into::into),
        () = stop_requested() => Err(Failure::quiet(ExitCode::Interrupted)),
    }
}
