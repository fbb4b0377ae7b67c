//! What `starling init` makes, what it issues to a node, and what everyone may know.

use std::fmt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::BytesMut;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use starling_core::id::{MeshId, NodeId, hex, unhex};
use starling_core::identity::{
    Admission, CoordinatorSet, Coordinators, Label, PublicKey, Roles, SecretKey, Signature, VerifyKey,
};
use starling_core::time::Time;
use starling_core::wire::codec::{Reader, Wire, put_short, take_short};

use super::certificate::PeerName;
use super::files::{self, Access, malformed};
use super::{TrustError, label};

/// The public part, in the directories of the authority and of every node.
pub const TRUST_FILE: &str = "mesh.trust";

/// The mesh's coordinators, in the directory of every node.
const COORDINATORS_FILE: &str = "coordinators.bin";
/// Longest encoding of a set of coordinators.
const SET_BYTES_MAX: usize = 1024;

/// Clocks may differ by this much without a fresh certificate looking as if it began later.
const BACKDATED: Duration = Duration::from_secs(300);
/// How long the mesh's CA certificate is valid.
const CA_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);

const AUTHORITY_ADVICE: &str = "restore it from a backup, or make a new mesh with starling init";
const NODE_ADVICE: &str = "restore it, or issue new credentials for this node";
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
    /// The certificate that issues certificates.
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

    /// The CA certificate.
    pub fn ca_der(&self) -> Result<CertificateDer<'static>, TrustError> {
        CertificateDer::from_pem_slice(self.ca_pem.as_bytes())
            .map_err(|_| TrustError::Certificate("the CA certificate is not PEM"))
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
        trust.verify_key().and(trust.ca_der()).map_err(|error| error.to_string())?;
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

/// What a node asks to be.
#[derive(Clone, Debug)]
pub struct NodeRequest {
    /// What it may be; not empty.
    pub roles: Roles,
    /// The region it belongs to.
    pub region: Label,
    /// What people call it.
    pub name: Label,
    /// How long admission and certificate are valid from now; 24 hours is usual, ten years the most.
    pub lifetime: Duration,
}

impl NodeRequest {
    /// A request whose names are checked.
    pub fn new(
        roles: Roles,
        region: &str,
        name: &str,
        lifetime: Duration,
    ) -> Result<NodeRequest, TrustError> {
        Ok(NodeRequest { roles, region: label("region", region)?, name: label("node", name)?, lifetime })
    }
}

/// The root of a mesh: the key that admits nodes and the CA that issues their certificates.
///
/// Kept off the nodes; files `authority.key`, `ca.key` (private), `ca.pem` and `mesh.trust`.
#[derive(Debug)]
pub struct Authority {
    root: SecretKey,
    ca_key: KeyPair,
    trust: Trust,
}

impl Authority {
    /// A new mesh called `mesh_name`.
    pub fn create(mesh_name: &str) -> Result<Authority, TrustError> {
        let mesh_name = label("mesh", mesh_name)?;
        let root = new_secret()?;
        let ca_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut params = CertificateParams::default();
        set_validity(&mut params, since_epoch, CA_LIFETIME);
        params.distinguished_name = common_name(&mesh_name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca_pem = params.self_signed(&ca_key)?.pem();
        let authority = root.public();
        let mesh = MeshId::of_authority(&authority.0);
        Ok(Authority { root, ca_key, trust: Trust { mesh_name, mesh, authority, ca_pem } })
    }

    /// What nodes and clients must know.
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// The key that signs admissions, and lists of peers that are shipped.
    pub fn root(&self) -> &SecretKey {
        &self.root
    }

    /// Writes the files into `dir`, which is made if it is missing.
    pub fn save(&self, dir: &Path) -> Result<(), TrustError> {
        files::create_dir(dir)?;
        save_seed(&dir.join("authority.key"), &self.root)?;
        files::write(&dir.join("ca.key"), self.ca_key.serialize_pem().as_bytes(), Access::Private)?;
        files::write(&dir.join("ca.pem"), self.trust.ca_pem.as_bytes(), Access::Public)?;
        self.trust.save(&dir.join(TRUST_FILE))
    }

    /// Reads what [`Authority::save`] wrote.
    pub fn load(dir: &Path) -> Result<Authority, TrustError> {
        let trust = Trust::load(&dir.join(TRUST_FILE))?;
        let root_path = dir.join("authority.key");
        let root = load_seed(&root_path, AUTHORITY_ADVICE)?;
        if root.public() != trust.authority {
            return Err(malformed(&root_path, "it is not the key of mesh.trust", AUTHORITY_ADVICE));
        }
        let ca_path = dir.join("ca.key");
        let pem = files::read_text(&ca_path, Access::Private, AUTHORITY_ADVICE)?;
        let ca_key = KeyPair::from_pem(&pem)
            .map_err(|error| malformed(&ca_path, error.to_string(), AUTHORITY_ADVICE))?;
        if !is_certified(&trust.ca_der()?, &ca_key) {
            let what = "it is not the key of the CA certificate in mesh.trust";
            return Err(malformed(&ca_path, what, AUTHORITY_ADVICE));
        }
        Ok(Authority { root, ca_key, trust })
    }

    /// The mesh's first coordinators: the nodes that hold these identity keys, one to seven.
    pub fn appoint(&self, members: Vec<PublicKey>) -> Result<CoordinatorSet, TrustError> {
        let count = members.len();
        CoordinatorSet::first(&self.root.signer(), members).ok_or(TrustError::Coordinators { count })
    }

    /// Credentials for a new node, with a new identity key.
    pub fn issue(&self, request: &NodeRequest, wall: Time) -> Result<NodeCredentials, TrustError> {
        self.renew(request, new_secret()?, wall)
    }

    /// New credentials for the node that has `identity`.
    pub fn renew(
        &self,
        request: &NodeRequest,
        identity: SecretKey,
        wall: Time,
    ) -> Result<NodeCredentials, TrustError> {
        let since_epoch = Duration::from_nanos(wall.0);
        let lifetime = request.lifetime.min(CA_LIFETIME);
        let name = PeerName {
            mesh: self.trust.mesh_name.clone(),
            roles: request.roles,
            region: request.region.clone(),
            node: NodeId::of_key(&identity.public().0),
        };
        // Roles that are empty make a name that no node accepts, so it is refused here.
        PeerName::from_uri(&name.to_string())?;
        let admission = Admission {
            mesh: self.trust.mesh,
            key: identity.public(),
            roles: request.roles,
            region: request.region.clone(),
            name: request.name.clone(),
            not_before_seconds: since_epoch.saturating_sub(BACKDATED).as_secs(),
            not_after_seconds: since_epoch.saturating_add(lifetime).as_secs(),
            signature: Signature([0; 64]),
        };
        let tls_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        set_validity(&mut params, since_epoch, lifetime);
        params.distinguished_name = common_name(&request.name);
        params.subject_alt_names = vec![SanType::URI(name.to_string().try_into()?)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        let issuer = Issuer::from_ca_cert_der(&self.trust.ca_der()?, &self.ca_key)?;
        let certificate = params.signed_by(&tls_key, &issuer)?;
        Ok(NodeCredentials {
            admission: admission.signed_by(&self.root),
            identity,
            certificate_pem: certificate.pem(),
            tls_key_pem: tls_key.serialize_pem(),
            trust: self.trust.clone(),
            coordinators: Vec::new(),
        })
    }
}

/// All that one node needs to be itself.
///
/// Files `identity.key`, `node.key` (private), `admission.bin`, `node.pem`, `mesh.trust` and
/// `coordinators.bin`.
pub struct NodeCredentials {
    /// Signs bundles.
    pub identity: SecretKey,
    /// The authority's word on `identity`.
    pub admission: Admission,
    /// The mesh that issued these credentials.
    pub trust: Trust,
    /// The certificates for TLS, the node's own first.
    pub certificate_pem: String,
    /// The private key of the first certificate, PKCS #8.
    pub tls_key_pem: String,
    /// The mesh's sets of coordinators from the first on; empty in a mesh that has none, whose nodes
    /// believe no decision.
    pub coordinators: Vec<CoordinatorSet>,
}

impl NodeCredentials {
    /// Writes the files into `dir`, which is made if it is missing.
    pub fn save(&self, dir: &Path) -> Result<(), TrustError> {
        files::create_dir(dir)?;
        save_seed(&dir.join("identity.key"), &self.identity)?;
        files::write(&dir.join("admission.bin"), &self.admission.to_bytes(), Access::Public)?;
        files::write(&dir.join("node.pem"), self.certificate_pem.as_bytes(), Access::Public)?;
        files::write(&dir.join("node.key"), self.tls_key_pem.as_bytes(), Access::Private)?;
        save_coordinators(&dir.join(COORDINATORS_FILE), &self.coordinators)?;
        self.trust.save(&dir.join(TRUST_FILE))
    }

    /// Reads what [`NodeCredentials::save`] wrote and checks that the parts belong together.
    ///
    /// Whether they are still valid is asked when they are used: a node whose certificate ran out
    /// must start in order to ask for a new one.
    pub fn load(dir: &Path) -> Result<NodeCredentials, TrustError> {
        let trust = Trust::load(&dir.join(TRUST_FILE))?;
        let identity = load_seed(&dir.join("identity.key"), NODE_ADVICE)?;
        let admission = load_admission(&dir.join("admission.bin"), &identity, &trust)?;
        let certificate_path = dir.join("node.pem");
        let certificate_pem = files::read_text(&certificate_path, Access::Public, NODE_ADVICE)?;
        let key_path = dir.join("node.key");
        let tls_key_pem = files::read_text(&key_path, Access::Private, NODE_ADVICE)?;
        let coordinators = load_coordinators(&dir.join(COORDINATORS_FILE), &trust)?;
        let credentials =
            NodeCredentials { identity, admission, trust, certificate_pem, tls_key_pem, coordinators };
        credentials
            .check_certificate()
            .map_err(|error| malformed(&certificate_path, error.to_string(), NODE_ADVICE))?;
        let tls_key = KeyPair::from_pem(&credentials.tls_key_pem)
            .map_err(|error| malformed(&key_path, error.to_string(), NODE_ADVICE))?;
        if !credentials.certificates()?.first().is_some_and(|first| is_certified(first, &tls_key)) {
            return Err(malformed(&key_path, "it is not the key of node.pem", NODE_ADVICE));
        }
        Ok(credentials)
    }

    /// The node's name.
    pub fn node(&self) -> NodeId {
        self.admission.node()
    }

    /// The mesh's coordinators as far as these credentials know; `None` in a mesh that has none.
    pub fn coordinators(&self) -> Result<Option<Coordinators>, TrustError> {
        let believed = Coordinators::of_chain(&self.coordinators, &self.trust.verify_key()?);
        believed.map_err(TrustError::CoordinatorSet)
    }

    /// The chain for TLS, the node's own certificate first.
    pub fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TrustError> {
        CertificateDer::pem_slice_iter(self.certificate_pem.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| TrustError::Certificate("it is not PEM"))
    }

    /// The private key of the first certificate.
    pub fn tls_key(&self) -> Result<PrivateKeyDer<'static>, TrustError> {
        PrivateKeyDer::from_pem_slice(self.tls_key_pem.as_bytes())
            .map_err(|_| TrustError::Certificate("its key is not PEM"))
    }

    fn check_certificate(&self) -> Result<(), TrustError> {
        let certificates = self.certificates()?;
        let first = certificates.first().ok_or(TrustError::Certificate("there is none"))?;
        let named = PeerName::of_certificate(first)?;
        let expected = PeerName {
            mesh: self.trust.mesh_name.clone(),
            roles: self.admission.roles,
            region: self.admission.region.clone(),
            node: self.admission.node(),
        };
        if named == expected {
            Ok(())
        } else {
            Err(TrustError::Certificate("it is not for this identity key and admission"))
        }
    }
}

impl fmt::Debug for NodeCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeCredentials").field("admission", &self.admission).finish_non_exhaustive()
    }
}

fn load_admission(path: &Path, identity: &SecretKey, trust: &Trust) -> Result<Admission, TrustError> {
    let content = files::read(path, Access::Public, NODE_ADVICE)?;
    let admission =
        Admission::from_bytes(&content).map_err(|error| malformed(path, error.to_string(), NODE_ADVICE))?;
    if admission.key != identity.public() {
        return Err(malformed(path, "it is for another key than identity.key", NODE_ADVICE));
    }
    let a_valid_second = Time::from_millis(admission.not_before_seconds.saturating_mul(1_000));
    admission
        .verify(&trust.verify_key()?, a_valid_second)
        .map_err(|source| TrustError::Admission { path: path.to_owned(), source })?;
    Ok(admission)
}

/// Sets one behind the other, each with its length (2 bytes) in front.
fn save_coordinators(path: &Path, sets: &[CoordinatorSet]) -> Result<(), TrustError> {
    let mut content = BytesMut::new();
    sets.iter().for_each(|set| put_short(&mut content, &set.to_bytes()));
    files::write(path, &content, Access::Public)
}

/// Credentials from before there were sets of coordinators have no such file.
fn load_coordinators(path: &Path, trust: &Trust) -> Result<Vec<CoordinatorSet>, TrustError> {
    let content = match files::read(path, Access::Public, NODE_ADVICE) {
        Ok(content) => content,
        Err(TrustError::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    let refused = |what: String| malformed(path, what, NODE_ADVICE);
    let (mut reader, mut sets) = (Reader::new(&content), Vec::new());
    while reader.remaining() > 0 {
        let set = take_short(&mut reader, SET_BYTES_MAX, "a set of coordinators")
            .and_then(CoordinatorSet::from_bytes)
            .map_err(|error| refused(error.to_string()))?;
        sets.push(set);
    }
    Coordinators::of_chain(&sets, &trust.verify_key()?).map_err(|error| refused(error.to_string()))?;
    Ok(sets)
}

fn save_seed(path: &Path, secret: &SecretKey) -> Result<(), TrustError> {
    files::write(path, format!("{}\n", hex(secret.seed())).as_bytes(), Access::Private)
}

fn load_seed(path: &Path, advice: &'static str) -> Result<SecretKey, TrustError> {
    let text = files::read_text(path, Access::Private, advice)?;
    let seed = unhex(text.trim_end())
        .ok_or_else(|| malformed(path, "a private key is 64 hexadecimal digits", advice))?;
    Ok(SecretKey::from_seed(seed))
}

fn new_secret() -> Result<SecretKey, TrustError> {
    let mut seed = [0; 32];
    aws_lc_rs::rand::fill(&mut seed).map_err(|_| TrustError::NoEntropy)?;
    Ok(SecretKey::from_seed(seed))
}

/// Whether `certificate` is for the public half of `key`.
fn is_certified(certificate: &CertificateDer<'_>, key: &KeyPair) -> bool {
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
    params.not_before = (UNIX_EPOCH + since_epoch.saturating_sub(BACKDATED)).into();
    params.not_after = (UNIX_EPOCH + since_epoch.saturating_add(lifetime)).into();
}
