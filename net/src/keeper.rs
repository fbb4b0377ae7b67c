//! Looks after a node's certificate: takes up what is put into its directory, and says when a
//! certificate grows old.
//!
//! Whoever renews a certificate, an operator, another CA or this node itself, writes the files; they
//! are read here, checked whole, and shown to peers from then on. What cannot be used changes nothing.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use starling_core::event::Event;
use starling_core::time::Time;
use tokio::sync::mpsc;

use crate::hub::Hub;
use crate::renewal::{self, Renewal, Renewed};
use crate::trust::public::TRUST_FILE;
use crate::trust::{Life, NodeCredentials, TrustError};

/// How often the files are looked at, at the least.
const LOOK: Duration = Duration::from_secs(2);
/// Of a short life, a look comes after this part.
const LOOKS: u32 = 64;
const LOOK_MIN: Duration = Duration::from_millis(50);
/// Hundredths of a certificate's life at which people are told, if there is no newer one. A node renews at
/// half of it, so what has come by then is waited for a little.
const ALARMS: [(u64, u8); 3] = [(90, 90), (75, 75), (52, 50)];
/// Files that credentials are renewed by; those of the identity never change.
const WATCHED: [&str; 3] = ["node.pem", "node.key", TRUST_FILE];
/// No watched file is larger; of a larger one the beginning is compared.
const WATCHED_BYTES_MAX: u64 = 256 * 1024;

/// What the watched files hold.
type Content = [u8; 32];

/// Files that could not be used.
#[derive(Debug, Default, PartialEq, Eq)]
enum Doubt {
    #[default]
    None,
    /// They may be half written.
    Seen(Content),
    /// They stayed as they are, and people were told.
    Told(Content),
}

/// Looks until the node stops; `grants` are certificates that the machine got.
pub(crate) async fn run(hub: Arc<Hub>, mut grants: mpsc::Receiver<(u64, Result<String, String>)>) {
    let directory = hub.credentials_directory.clone();
    let mut known = directory.as_deref().map(content);
    let mut doubt = Doubt::default();
    let mut told = (0, 0);
    let mut renewal = Renewal::new();
    loop {
        let shown = hub.wallet.shown();
        let rest = LOOK.min(shown.life.length() / LOOKS).max(LOOK_MIN);
        tokio::select! {
            () = tokio::time::sleep(rest) => {}
            Some((number, result)) = grants.recv() => {
                let renewed = renewal.answered(&hub, number, result);
                if let (Some(directory), Some(renewed)) = (&directory, renewed) {
                    match install(&hub, directory, renewed).await {
                        Ok(()) => (known, doubt) = (Some(content(directory)), Doubt::None),
                        Err(error) => renewal.failed(&hub, &error.to_string()),
                    }
                }
            }
            () = hub.stopping() => return,
        }
        if let Some(directory) = &directory {
            let found = content(directory);
            if known != Some(found) && doubt != Doubt::Told(found) {
                match take_up(&hub, directory) {
                    Ok(()) => (known, doubt) = (Some(found), Doubt::None),
                    Err(_) if doubt != Doubt::Seen(found) => doubt = Doubt::Seen(found),
                    Err(error) => {
                        hub.event(Event::CredentialsRefused { reason: error.to_string() });
                        doubt = Doubt::Told(found);
                    }
                }
            }
            renewal.look(&hub).await;
        }
        alarm_once(&hub, &mut told);
    }
}

/// Tells people that the certificate is old, once for each alarm.
fn alarm_once(hub: &Hub, told: &mut (u64, u8)) {
    let shown = hub.wallet.shown();
    let wall = hub.clock.now().wall;
    let percent = alarm(&shown.life, wall);
    if percent > 0 && (shown.number, percent) != *told {
        *told = (shown.number, percent);
        let seconds_left = shown.life.left(wall).as_secs();
        hub.event(Event::CertificateAges { percent, seconds_left });
    }
}

/// Takes up a certificate that was asked for; the disk is waited for elsewhere.
async fn install(hub: &Arc<Hub>, directory: &Path, renewed: Renewed) -> Result<(), TrustError> {
    let (to, directory) = (Arc::clone(hub), directory.to_owned());
    let installing = tokio::task::spawn_blocking(move || renewal::install(&to, &directory, renewed));
    let installed =
        installing.await.unwrap_or(Err(TrustError::Certificate("the task that takes it up panicked")));
    installed.map(|()| replaced(hub))
}

fn replaced(hub: &Hub) {
    let ends_seconds = hub.wallet.shown().life.ends.as_millis() / 1_000;
    hub.event(Event::CertificateReplaced { ends_seconds });
}

/// The highest alarm that this certificate has reached; 0 for none.
fn alarm(life: &Life, wall: Time) -> u8 {
    let used = life.percent_used(wall);
    ALARMS.iter().find(|(at, _)| used >= *at).map_or(0, |(_, percent)| *percent)
}

fn take_up(hub: &Hub, directory: &Path) -> Result<(), TrustError> {
    let credentials = NodeCredentials::load(directory)?;
    let trust = credentials.trust.clone();
    hub.wallet.replace(&credentials, &trust, hub.clock.now().wall)?;
    replaced(hub);
    Ok(())
}

/// A hash of the watched files; one that cannot be read counts as empty.
fn content(directory: &Path) -> Content {
    use std::io::Read;
    let mut hasher = blake3::Hasher::new();
    for name in WATCHED {
        let mut bytes = Vec::new();
        let read = std::fs::File::open(directory.join(name))
            .and_then(|file| file.take(WATCHED_BYTES_MAX).read_to_end(&mut bytes));
        hasher.update(&(read.unwrap_or(0) as u64).to_le_bytes());
        hasher.update(&bytes);
    }
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alarms_come_at_half_three_quarters_and_nine_tenths() {
        let life = Life { begins: Time::ZERO, ends: Time::from_millis(100_000) };
        let at = |percent: u64| alarm(&life, Time::from_millis(percent * 1_000));
        assert_eq!([0, 51, 52, 74, 75, 89, 90, 100, 500].map(at), [0, 0, 50, 50, 75, 75, 90, 90, 90]);
    }

    #[test]
    fn a_change_of_any_watched_file_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let mut seen = vec![content(directory.path())];
        for name in WATCHED {
            std::fs::write(directory.path().join(name), "one").unwrap();
            seen.push(content(directory.path()));
            std::fs::write(directory.path().join(name), "two").unwrap();
            seen.push(content(directory.path()));
        }
        let different: std::collections::BTreeSet<Content> = seen.iter().copied().collect();
        assert_eq!(different.len(), seen.len());
    }
}
