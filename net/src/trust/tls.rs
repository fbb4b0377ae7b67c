//! TLS 1.3 for links: a certificate is believed for its chain and its one URI, never for a hostname.
//!
//! Nodes present certificates to each other; agents have none and prove their keys by attaching.
//! Nothing is resumed: a resumed session would outlive the certificate that opened the first, and
//! tickets would cost memory on both sides of every one of tens of thousands of connections.

use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::{self, cipher_suite};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};
use starling_core::identity::Label;
use starling_core::time::Time;

use super::{Life, NodeCredentials, PeerName, Trust, TrustError};

/// The protocol and its version, as TLS negotiates it.
pub const ALPN: &[u8] = b"starling/1";

/// What a client tells QUIC it dials. Never sent, never compared: nodes are known by their URI.
pub const SERVER_NAME: &str = "starling.invalid";

/// The exporter's label (RFC 8446, section 7.5) for [`channel_binding`].
const BINDING_LABEL: &[u8] = b"starling attach";
/// The exporter's label for [`link_binding`].
const LINK_LABEL: &[u8] = b"starling link";

/// Makes our provider the default of the process, unless there is one. Call first in every main and
/// test; calling it again does nothing.
pub fn install_crypto() {
    if CryptoProvider::get_default().is_none() && provider().install_default().is_err() {
        // Another thread installed one in between, which serves as well.
    }
}

/// For a node's incoming links: its certificate, and certificates of this mesh or none from clients.
pub fn server_config(
    credentials: &NodeCredentials,
    trust: &Trust,
) -> Result<Arc<QuicServerConfig>, TrustError> {
    let verifier = Arc::new(MeshVerifier::new(trust)?);
    let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(credentials.certificates()?, credentials.tls_key()?)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(Arc::new(QuicServerConfig::try_from(config).map_err(no_initial_suite)?))
}

/// For the links that a node opens to other nodes.
pub fn client_config(
    credentials: &NodeCredentials,
    trust: &Trust,
) -> Result<Arc<QuicClientConfig>, TrustError> {
    let builder = client_builder(trust)?;
    finish_client(builder.with_client_auth_cert(credentials.certificates()?, credentials.tls_key()?)?)
}

/// Checks that nodes which trust `trust` believe these credentials at `wall`.
///
/// # Errors
/// What TLS would say to them.
pub fn check_chain(credentials: &NodeCredentials, trust: &Trust, wall: Time) -> Result<(), TrustError> {
    let certificates = credentials.certificates()?;
    let (first, others) = certificates.split_first().ok_or(TrustError::Certificate("there is none"))?;
    let name = ServerName::try_from(SERVER_NAME).expect("it is a host name");
    let at = UnixTime::since_unix_epoch(Duration::from_nanos(wall.0));
    MeshVerifier::new(trust)?.verify_server_cert(first, others, &name, &[], at)?;
    Ok(())
}

/// For an agent's connections to an edge: no certificate of its own.
pub fn agent_client_config(trust: &Trust) -> Result<Arc<QuicClientConfig>, TrustError> {
    finish_client(client_builder(trust)?.with_no_client_auth())
}

/// Who is at the other end by its certificate, which the handshake verified; `None` for an agent.
pub fn peer_name(connection: &quinn::Connection) -> Result<Option<PeerName>, TrustError> {
    peer_certificate(connection)?.as_ref().map(PeerName::of_certificate).transpose()
}

/// How long the certificate at the other end is valid; `None` for an agent.
pub fn peer_life(connection: &quinn::Connection) -> Result<Option<Life>, TrustError> {
    peer_certificate(connection)?.as_ref().map(Life::of_certificate).transpose()
}

fn peer_certificate(connection: &quinn::Connection) -> Result<Option<CertificateDer<'static>>, TrustError> {
    let Some(identity) = connection.peer_identity() else { return Ok(None) };
    let certificates =
        identity.downcast::<Vec<CertificateDer<'static>>>().map_err(|_| TrustError::NoHandshake)?;
    Ok(certificates.into_iter().next())
}

/// 32 bytes that both ends of this connection, and nobody else, can compute.
pub fn channel_binding(connection: &quinn::Connection) -> Result<[u8; 32], TrustError> {
    exported(connection, BINDING_LABEL)
}

/// The name by which the two ends of a link, and nobody else, know this connection of theirs.
pub fn link_binding(connection: &quinn::Connection) -> Result<[u8; 32], TrustError> {
    exported(connection, LINK_LABEL)
}

fn exported(connection: &quinn::Connection, label: &[u8]) -> Result<[u8; 32], TrustError> {
    let mut binding = [0; 32];
    connection.export_keying_material(&mut binding, label, b"").map_err(|_| TrustError::NoHandshake)?;
    Ok(binding)
}

/// AWS-LC, with the cheapest suite of full strength first.
fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        ..aws_lc_rs::default_provider()
    }
}

fn client_builder(
    trust: &Trust,
) -> Result<rustls::ConfigBuilder<rustls::ClientConfig, rustls::client::WantsClientCert>, TrustError> {
    let verifier = Arc::new(MeshVerifier::new(trust)?);
    Ok(rustls::ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier))
}

fn finish_client(mut config: rustls::ClientConfig) -> Result<Arc<QuicClientConfig>, TrustError> {
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    Ok(Arc::new(QuicClientConfig::try_from(config).map_err(no_initial_suite)?))
}

fn no_initial_suite(_: quinn::crypto::rustls::NoInitialCipherSuite) -> TrustError {
    TrustError::Tls(rustls::Error::General("QUIC needs AES-128-GCM for its first packets".to_owned()))
}

/// Believes a certificate that chains to one of the mesh's CAs, is valid now, and names a node of the mesh.
///
/// Chains and handshake signatures are verified by rustls; only the comparison of a hostname is
/// replaced, by the check of the URI.
#[derive(Debug)]
struct MeshVerifier {
    roots: Arc<RootCertStore>,
    mesh_name: Label,
    provider: Arc<CryptoProvider>,
    client_chains: Arc<dyn ClientCertVerifier>,
}

impl MeshVerifier {
    fn new(trust: &Trust) -> Result<MeshVerifier, TrustError> {
        let mut roots = RootCertStore::empty();
        for ca in trust.cas()? {
            roots.add(ca)?;
        }
        let roots = Arc::new(roots);
        let provider = Arc::new(provider());
        let client_chains =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
                .allow_unauthenticated()
                .clear_root_hint_subjects()
                .build()
                .map_err(|error| rustls::Error::General(error.to_string()))?;
        Ok(MeshVerifier { roots, mesh_name: trust.mesh_name.clone(), provider, client_chains })
    }

    fn check_name(&self, certificate: &CertificateDer<'_>) -> Result<(), rustls::Error> {
        match PeerName::of_certificate(certificate) {
            Ok(name) if name.mesh == self.mesh_name => Ok(()),
            Ok(_) | Err(_) => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }
}

impl ServerCertVerifier for MeshVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        rustls::client::verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(end_entity)?,
            &self.roots,
            intermediates,
            now,
            self.provider.signature_verification_algorithms.all,
        )?;
        self.check_name(end_entity)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for MeshVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.client_chains.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.client_chains.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.client_chains.verify_client_cert(end_entity, intermediates, now)?;
        self.check_name(end_entity)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.client_chains.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.client_chains.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.client_chains.supported_verify_schemes()
    }
}
