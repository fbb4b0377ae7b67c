//! What everyone may know of a mesh.

use std::fmt;
use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use starling_core::id::{MeshId, unhex};
use starling_core::identity::{Label, PublicKey, VerifyKey};

use super::TrustError;
use super::files::{self, Access, malformed};

/// The public part, in the directories of the authority and of every node.
pub const TRUST_FILE: &str = "mesh.trust";

/// CA certificates that a mesh may have at once; two overlap while one replaces the other.
const CAS_MAX: usize = 8;

const TRUST_ADVICE: &str = "copy mesh.trust again from the directory of starling init";

/// What nodes and clients must know of a mesh; nothing in it is secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    /// What people call the mesh; also the trust domain in its certificates.
    pub mesh_name: Label,
    /// The mesh on the wire: the hash of `authority`.
    pub mesh: MeshId,
    /// The key that signs admissions.
    pub authority: PublicKey,
    /// The certificates whose keys issue certificates, one PEM block after the other: more than one
    /// while an old one is replaced.
    pub ca_pem: String,
}

impl Trust {
    /// Reads a `mesh.trust`.
    pub fn load(path: &Path) -> Result<Trust, TrustError> {
        let text = files::read_text(path, Access::Public, TRUST_ADVICE)?;
        Trust::from_text(&text).map_err(|what| malformed(path, what, TRUST_ADVICE))
    }

    /// Writes a `mesh.trust`.
    pub fn save(&self, path: &Path) -> Result<(), TrustError> {
        files::write(path, self.to_string().as_bytes(), Access::Public)
    }

    /// The authority's key, ready to verify admissions.
    pub fn verify_key(&self) -> Result<VerifyKey, TrustError> {
        VerifyKey::new(&self.authority).ok_or(TrustError::Certificate("the authority's key is weak"))
    }

    /// The CA certificates, in the order of the file.
    pub fn cas(&self) -> Result<Vec<CertificateDer<'static>>, TrustError> {
        let cas = CertificateDer::pem_slice_iter(self.ca_pem.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| TrustError::Certificate("a CA certificate is not PEM"))?;
        match cas.len() {
            0 => Err(TrustError::Certificate("there is no CA certificate")),
            1..=CAS_MAX => Ok(cas),
            _ => Err(TrustError::Certificate("there are more than 8 CA certificates")),
        }
    }

    fn from_text(text: &str) -> Result<Trust, String> {
        let begin = text.find("-----BEGIN CERTIFICATE-----").ok_or("it has no CA certificate")?;
        let (mut mesh_name, mut mesh, mut authority) = (None, None, None);
        for (index, line) in text[..begin].lines().enumerate() {
            let (key, value) = line.split_once(": ").unwrap_or((line, ""));
            match key {
                "mesh-name" => mesh_name = value.parse::<Label>().ok(),
                "mesh-id" => mesh = Some(value),
                "authority" => authority = unhex(value).map(PublicKey),
                _ if line.is_empty() || line.starts_with('#') => {}
                _ => return Err(format!("line {} says {line:?}", index + 1)),
            }
        }
        let mesh_name = mesh_name.ok_or("it has no valid mesh-name")?;
        let authority = authority.ok_or("it has no valid authority")?;
        let trust = Trust {
            mesh_name,
            mesh: MeshId::of_authority(&authority.0),
            authority,
            ca_pem: text[begin..].to_owned(),
        };
        if mesh != Some(trust.mesh.to_string().as_str()) {
            return Err("its mesh-id does not belong to its authority".to_owned());
        }
        trust.verify_key().and(trust.cas()).map_err(|error| error.to_string())?;
        Ok(trust)
    }
}

impl fmt::Display for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# What nodes and clients must know of this mesh. Nothing here is secret.")?;
        writeln!(f, "mesh-name: {}\nmesh-id: {}", self.mesh_name, self.mesh)?;
        write!(f, "authority: {}\n{}", self.authority, self.ca_pem)
    }
}
