//! The mesh's CA: issues the certificates that open links.
//!
//! Its key is in the directory of the authority, and in those of coordinators, which renew the
//! certificates of admitted nodes. A mesh may have several CAs while an old one is replaced: all of
//! them are believed, and each holder of a key issues with its own.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData,
    SanType,
};
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer};
use starling_core::identity::{Admission, Label};
use starling_core::time::Time;

use super::certificate::PeerName;
use super::files::{self, Access, malformed};
use super::{Trust, TrustError};

/// The file of the CA's private key.
pub const CA_KEY_FILE: &str = "ca.key";
/// How long a node's certificate is valid unless the configuration of its issuer says otherwise.
pub const CERTIFICATE_LIFETIME: Duration = Duration::from_secs(24 * 3_600);
/// The shortest life that a certificate is given: X.509 counts in seconds.
pub const CERTIFICATE_LIFETIME_MIN: Duration = Duration::from_secs(10);

/// How long the mesh's CA certificate is valid, and the most that anything is.
pub(super) const CA_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);
/// Clocks may differ by this much without a fresh certificate looking as if it began later; of a
/// short life it is a tenth, so that half of it has not passed when it begins.
pub(super) const BACKDATED: Duration = Duration::from_secs(300);

const CA_ADVICE: &str = "restore it from a backup, or make a new CA with starling ca add";

/// A key that issues certificates, and its own certificate.
#[derive(Debug)]
pub struct Ca {
    key: KeyPair,
    certificate: CertificateDer<'static>,
    mesh_name: Label,
}

impl Ca {
    /// A new CA; also its certificate as PEM, for the trust.
    pub fn create(mesh_name: &Label) -> Result<(Ca, String), TrustError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut params = CertificateParams::default();
        set_validity(&mut params, since_epoch, CA_LIFETIME);
        params.distinguished_name = common_name(mesh_name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let made = params.self_signed(&key)?;
        let (certificate, pem) = (made.der().clone(), made.pem());
        Ok((Ca { key, certificate, mesh_name: mesh_name.clone() }, pem))
    }

    /// Reads the key in `path`; its certificate is one of those in `trust`.
    pub fn load(path: &Path, trust: &Trust) -> Result<Ca, TrustError> {
        let pem = files::read_text(path, Access::Private, CA_ADVICE)?;
        let key = KeyPair::from_pem(&pem).map_err(|error| malformed(path, error.to_string(), CA_ADVICE))?;
        let Some(certificate) = trust.cas()?.into_iter().find(|ca| is_certified(ca, &key)) else {
            let what = "it is not the key of a CA certificate in mesh.trust";
            return Err(malformed(path, what, CA_ADVICE));
        };
        Ok(Ca { key, certificate, mesh_name: trust.mesh_name.clone() })
    }

    /// Writes the private key.
    pub fn save_key(&self, path: &Path) -> Result<(), TrustError> {
        files::write(path, self.key.serialize_pem().as_bytes(), Access::Private)
    }

    /// Its own certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// A certificate for who is admitted as `admission` says, over this public key, as PEM.
    pub(super) fn certify(
        &self,
        admission: &Admission,
        key: &impl PublicKeyData,
        wall: Time,
        lifetime: Duration,
    ) -> Result<String, TrustError> {
        let name = PeerName {
            mesh: self.mesh_name.clone(),
            roles: admission.roles,
            region: admission.region.clone(),
            node: admission.node(),
        };
        // Roles that are empty make a name that no node accepts, so it is refused here.
        PeerName::from_uri(&name.to_string())?;
        let mut params = CertificateParams::default();
        set_validity(&mut params, Duration::from_nanos(wall.0), lifetime.min(CA_LIFETIME));
        params.distinguished_name = common_name(&admission.name);
        params.subject_alt_names = vec![SanType::URI(name.to_string().try_into()?)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        let issuer = Issuer::from_ca_cert_der(&self.certificate, &self.key)?;
        Ok(params.signed_by(key, &issuer)?.pem())
    }

    /// Answers a request (PKCS #10, RFC 2986) of the node with this admission, which the caller has
    /// verified; the request proves that its sender has the key in it, and nothing else of it counts.
    ///
    /// # Errors
    /// The request is malformed, or not signed by its key.
    pub fn answer(
        &self,
        admission: &Admission,
        request: &[u8],
        wall: Time,
        lifetime: Duration,
    ) -> Result<String, TrustError> {
        let request =
            CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(request))?;
        // A certificate that outlived the admission would be of no use.
        let admitted = Time::from_millis(admission.not_after_seconds.saturating_mul(1_000)).since(wall);
        self.certify(admission, &request.public_key, wall, lifetime.min(admitted))
    }
}

/// A request for a certificate, and the private key that it is for.
pub struct CertificateRequest {
    key: KeyPair,
    /// The request, PKCS #10.
    pub der: Vec<u8>,
}

impl CertificateRequest {
    /// A request with a new key, which stays in this process.
    pub fn new() -> Result<CertificateRequest, TrustError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let der = CertificateParams::default().serialize_request(&key)?.der().to_vec();
        Ok(CertificateRequest { key, der })
    }

    /// The private key as PEM.
    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }
}

/// Whether `certificate` is for the public half of `key`.
pub(super) fn is_certified(certificate: &CertificateDer<'_>, key: &KeyPair) -> bool {
    use x509_parser::prelude::{FromDer, X509Certificate};
    X509Certificate::from_der(certificate)
        .is_ok_and(|(_, parsed)| *parsed.public_key().subject_public_key.data == *key.public_key_raw())
}

fn common_name(name: &Label) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name.as_str());
    distinguished
}

fn set_validity(params: &mut CertificateParams, since_epoch: Duration, lifetime: Duration) {
    let backdated = BACKDATED.min(lifetime / 10);
    params.not_before = (UNIX_EPOCH + since_epoch.saturating_sub(backdated)).into();
    params.not_after = (UNIX_EPOCH + since_epoch.saturating_add(lifetime)).into();
}
