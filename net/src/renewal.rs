//! Renews certificates: this node's own at half of their life, and those of others where the node holds
//! the CA's key.
//!
//! The private key is made here and never leaves; who is asked is the machine's to decide.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use starling_core::event::Event;
use starling_core::identity::Admission;
use starling_core::machine::{Input, Wanted};
use starling_core::time::Time;

use crate::hub::Hub;
use crate::trust::ca::CA_KEY_FILE;
use crate::trust::public::TRUST_FILE;
use crate::trust::{Ca, CertificateRequest, Life, NodeCredentials, RENEWED_AT_PERCENT, Trust, TrustError};
use crate::wallet::part;

/// Over how many thousandths of a certificate's life, before half of it, the nodes of a mesh that began at
/// once are spread.
const SPREAD: u32 = 30;
/// Thousandths of a certificate's life after which a newer one is asked for at the earliest.
const ASKED_AT: u32 = RENEWED_AT_PERCENT * 10 - SPREAD;
/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// After a failure it is tried again after this part of a life, within bounds.
const RETRIES: u32 = 64;
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(600);
/// What the asking node is told when its certificate could not be made; why is for this node's people.
const NOT_ISSUED: &str = "the coordinator could not issue it; its log says why";

/// The node's own renewal.
pub(crate) struct Renewal {
    /// Which certificate it is about.
    number: u64,
    due: Time,
    under_way: Option<(u64, CertificateRequest, Instant)>,
    /// What people were told of this certificate.
    told: Option<String>,
}

/// A certificate that was asked for, and its key.
pub(crate) struct Renewed {
    certificate_pem: String,
    key_pem: String,
}

impl Renewal {
    pub fn new() -> Renewal {
        Renewal { number: 0, due: Time::ZERO, under_way: None, told: None }
    }

    /// Asks if it is time.
    pub async fn look(&mut self, hub: &Hub) {
        let shown = hub.wallet.shown();
        let wall = hub.clock.now().wall;
        if self.number != shown.number {
            let life = shown.life;
            let due = life.at(ASKED_AT) + part(life.length() / 1_000 * SPREAD);
            *self = Renewal { number: shown.number, due, ..Renewal::new() };
        }
        if self.under_way.as_ref().is_some_and(|(_, _, since)| since.elapsed() >= PATIENCE) {
            self.failed(hub, "no answer came in time");
        }
        if self.under_way.is_some() || wall < self.due {
            return;
        }
        match CertificateRequest::new() {
            Ok(request) => {
                let (number, der) = (wall.as_millis(), Bytes::copy_from_slice(&request.der));
                self.under_way = Some((number, request, Instant::now()));
                hub.input(Input::Wanted(Wanted::Certificate { number, request: der })).await;
            }
            Err(error) => self.failed(hub, &error.to_string()),
        }
    }

    /// An answer came; what it brings is to be put into the node's directory.
    pub fn answered(&mut self, hub: &Hub, number: u64, result: Result<String, String>) -> Option<Renewed> {
        let (_, request, _) = self.under_way.take_if(|(asked, _, _)| *asked == number)?;
        match result {
            Ok(certificate_pem) => Some(Renewed { certificate_pem, key_pem: request.key_pem() }),
            Err(reason) => {
                self.failed(hub, &reason);
                None
            }
        }
    }

    /// Tries again later, and says once why.
    pub fn failed(&mut self, hub: &Hub, reason: &str) {
        self.under_way = None;
        let Life { begins, ends } = hub.wallet.shown().life;
        let about = (ends.since(begins) / RETRIES).clamp(RETRY_MIN, RETRY_MAX);
        self.due = hub.clock.now().wall + about / 2 + part(about);
        if self.told.as_deref() != Some(reason) {
            self.told = Some(reason.to_owned());
            hub.event(Event::RenewalFailed { reason: reason.to_owned() });
        }
    }
}

/// Checks a new certificate, shows it from now on, and writes it down.
pub(crate) fn install(hub: &Hub, directory: &Path, renewed: Renewed) -> Result<(), TrustError> {
    let credentials = NodeCredentials::load(directory)?;
    let credentials = credentials.renewed(renewed.certificate_pem, renewed.key_pem)?;
    let trust = credentials.trust.clone();
    // What cannot be used must not be written over what can.
    hub.wallet.replace(&credentials, &trust, hub.clock.now().wall)?;
    credentials.save_certificate(directory)
}

/// Issues a certificate for an admitted node, if this one holds the CA's key.
pub(crate) async fn issue(hub: Arc<Hub>, admission: Box<Admission>, number: u64, request: Bytes) {
    let node = admission.node().short();
    let (directory, lifetime) = (hub.credentials_directory.clone(), hub.certificate_lifetime);
    let wall = hub.clock.now().wall;
    let issuing =
        tokio::task::spawn_blocking(move || certify(directory, &admission, &request, (wall, lifetime)));
    let result = match issuing.await {
        Ok(Ok(certificate)) => Ok(certificate),
        Ok(Err(reason)) => {
            hub.event(Event::NotIssued { node, reason });
            Err(NOT_ISSUED.to_owned())
        }
        Err(_) => Err(NOT_ISSUED.to_owned()),
    };
    hub.input(Input::Wanted(Wanted::Answer { node, number, result })).await;
}

/// The key is read each time, so that another CA's is used as soon as it is there.
fn certify(
    directory: Option<PathBuf>,
    admission: &Admission,
    request: &[u8],
    (wall, lifetime): (Time, Duration),
) -> Result<String, String> {
    let directory = directory.ok_or("this node has no directory of credentials")?;
    let key = directory.join(CA_KEY_FILE);
    let issued = Trust::load(&directory.join(TRUST_FILE))
        .and_then(|trust| Ca::load(&key, &trust))
        .and_then(|ca| ca.answer(admission, request, wall, lifetime));
    issued.map_err(|error| error.to_string())
}
