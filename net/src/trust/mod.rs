//! Who may talk to whom: the mesh's authority, a node's credentials and what TLS makes of them.
//!
//! Two keys say who a node is. The ed25519 identity key, admitted by the authority, signs bundles
//! and is checked by nodes that have no link to it; it takes no part in TLS. The X.509 certificate,
//! issued by the mesh's CA for a day, opens links. Its one URI names the identity key's hash, which
//! is what ties the two together.
//!
//! [`Authority`] makes both, [`NodeCredentials`] holds one node's, [`Trust`] is the public part that
//! everyone needs, and [`tls`] turns them into configurations for QUIC.

pub mod authority;
pub mod ca;
pub mod certificate;
pub mod files;
pub mod life;
pub mod public;
pub mod tls;

use std::io;
use std::path::PathBuf;

use starling_core::identity::set::MEMBERS_MAX;
use starling_core::identity::{AdmissionError, BadLabel, SetError};

pub use authority::{Authority, NodeCredentials, NodeRequest};
pub use ca::{CERTIFICATE_LIFETIME, CERTIFICATE_LIFETIME_MIN, Ca, CertificateRequest};
pub use certificate::PeerName;
pub use files::next_incarnation;
pub use life::{Life, RENEWED_AT_PERCENT, serial_of};
pub use public::Trust;
pub use tls::{
    SERVER_NAME, agent_client_config, channel_binding, check_chain, client_config, install_crypto,
    link_binding, peer_life, peer_name, server_config,
};

/// What went wrong with keys, certificates and the files they live in.
///
/// Except for [`TrustError::Write`], nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// A file could not be read; the operator is at fault.
    #[error("cannot read {}: {source}; {advice}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What to do.
        advice: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A file could not be written; it holds either what it held before or the whole new content.
    #[error("cannot write {}: {source}; check that the directory exists and is writable", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others than its owner can read a private key; the operator is at fault.
    #[error("{} can be read by others (mode {mode:03o}); run: chmod 600 {}", path.display(), path.display())]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file does not hold what it should; the operator is at fault.
    #[error("{} is not valid: {what}; {advice}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
        /// What to do.
        advice: &'static str,
    },
    /// A name cannot name a mesh, region or node; the caller is at fault.
    #[error("{what} {text:?}: {source}")]
    Name {
        /// What it was meant to name.
        what: &'static str,
        /// The refused text.
        text: String,
        /// The rule.
        source: BadLabel,
    },
    /// An admission does not hold; whoever issued it is at fault.
    #[error("the admission in {} does not hold: {source}; issue new credentials", path.display())]
    Admission {
        /// The file.
        path: PathBuf,
        /// Why.
        source: AdmissionError,
    },
    /// So many coordinators are no set of them; the caller is at fault.
    #[error("{count} coordinators; a mesh has 1 to {MEMBERS_MAX}, an odd number is best")]
    Coordinators {
        /// How many there were.
        count: usize,
    },
    /// The coordinators in a node's credentials are not those of its mesh; whoever issued them is at fault.
    #[error("the coordinators in these credentials are not believed: {0}; issue new credentials")]
    CoordinatorSet(SetError),
    /// A certificate could not be made: the key or a name in it does not fit X.509.
    #[error("cannot make a certificate: {0}")]
    Issue(#[from] rcgen::Error),
    /// TLS refused the keys or certificates that it was given; whoever issued them is at fault.
    #[error("TLS refuses these credentials: {0}; issue new ones")]
    Tls(#[from] rustls::Error),
    /// A certificate does not name a node of a mesh; whoever presented it is at fault.
    #[error("the certificate names no node: {0}")]
    Certificate(&'static str),
    /// The connection has no finished handshake to ask about; the caller is at fault.
    #[error("the connection's handshake is not finished")]
    NoHandshake,
    /// The system gave no random bytes; nothing can be trusted without them.
    #[error("the system gave no random bytes")]
    NoEntropy,
}

/// Reads `text` as the name of a `what`.
fn label(what: &'static str, text: &str) -> Result<starling_core::identity::Label, TrustError> {
    text.parse().map_err(|source| TrustError::Name { what, text: text.to_owned(), source })
}
