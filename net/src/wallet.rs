//! What a node shows its peers, and what it believes of theirs: replaced while the node runs.
//!
//! A connection is opened with what the wallet holds at that moment, and knows which that was; a
//! link moves to a new connection when the wallet has something newer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::rand;
use quinn::{ClientConfig, ServerConfig};
use starling_core::identity::Admission;
use starling_core::time::Time;
use tokio::sync::watch;

use crate::endpoint;
use crate::trust::{self, Life, NodeCredentials, Trust, TrustError};

/// One certificate with all that is needed to open connections with it.
#[derive(Debug)]
pub(crate) struct Shown {
    /// Grows with each certificate.
    pub number: u64,
    pub life: Life,
    pub dial: ClientConfig,
    pub accept: Arc<ServerConfig>,
}

/// The certificate that new connections are opened with.
#[derive(Debug)]
pub(crate) struct Wallet {
    shown: ArcSwap<Shown>,
    admission: Admission,
    /// Held while a certificate is put in.
    replacing: Mutex<()>,
    changed: watch::Sender<u64>,
    /// Links that moved to another connection.
    pub moved: AtomicU64,
    /// Attempts at that which failed.
    pub not_moved: AtomicU64,
}

impl Wallet {
    /// A wallet with the first certificate.
    pub fn new(credentials: &NodeCredentials, trust: &Trust) -> Result<Wallet, TrustError> {
        let accept = endpoint::accepting(trust::server_config(credentials, trust)?);
        let shown = shown(1, credentials, trust, accept)?;
        Ok(Wallet {
            shown: ArcSwap::from_pointee(shown),
            admission: credentials.admission.clone(),
            replacing: Mutex::new(()),
            changed: watch::channel(1).0,
            moved: AtomicU64::new(0),
            not_moved: AtomicU64::new(0),
        })
    }

    /// What is shown now.
    pub fn shown(&self) -> Arc<Shown> {
        self.shown.load_full()
    }

    /// Number and life of the certificate that is shown now.
    pub fn certificate(&self) -> (u64, Life) {
        let shown = self.shown.load();
        (shown.number, shown.life)
    }

    /// Told of each new number of [`Shown`].
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// From now on shows these credentials and believes this trust; what is shown stays as it is on
    /// failure.
    pub fn replace(
        &self,
        credentials: &NodeCredentials,
        trust: &Trust,
        wall: Time,
    ) -> Result<(), TrustError> {
        if trust.mesh != self.admission.mesh {
            return Err(TrustError::Certificate("it is for another mesh"));
        }
        if credentials.admission.key != self.admission.key {
            return Err(TrustError::Certificate("it is for another identity key than the running node's"));
        }
        // Nothing is left half done: what is shown is stored whole.
        let _replacing = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.shown();
        // What proves the addresses of diallers stays, so that proofs under way hold.
        let mut accept = ServerConfig::clone(&old.accept);
        accept.crypto = trust::server_config(credentials, trust)?;
        let new = shown(old.number + 1, credentials, trust, accept)?;
        if !new.life.holds(wall) {
            return Err(TrustError::Certificate("it is not valid now"));
        }
        trust::check_chain(credentials, trust, wall)?;
        let number = new.number;
        self.shown.store(Arc::new(new));
        self.changed.send_replace(number);
        Ok(())
    }

    pub fn count_moved(&self) {
        self.moved.fetch_add(1, Ordering::Relaxed);
    }

    pub fn count_not_moved(&self) {
        self.not_moved.fetch_add(1, Ordering::Relaxed);
    }
}

fn shown(
    number: u64,
    credentials: &NodeCredentials,
    trust: &Trust,
    accept: ServerConfig,
) -> Result<Shown, TrustError> {
    let certificates = credentials.certificates()?;
    let first = certificates.first().ok_or(TrustError::Certificate("there is none"))?;
    let life = Life::of_certificate(first)?;
    let dial = endpoint::dialling(trust::client_config(credentials, trust)?);
    Ok(Shown { number, life, dial, accept: Arc::new(accept) })
}

/// A part of `whole` by chance.
pub(crate) fn part(whole: Duration) -> Duration {
    let mut chance = [0; 2];
    if rand::fill(&mut chance).is_err() {
        // Without chance all go at the end, which is late and no harm.
        return whole;
    }
    whole / (1 << 16) * u32::from(u16::from_le_bytes(chance))
}
