//! What `starling init` makes, and what it issues to a node.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use bytes::BytesMut;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use starling_core::id::{MeshId, NodeId, hex, unhex};
use starling_core::identity::{
    Admission, CoordinatorSet, Coordinators, Label, PublicKey, Roles, SecretKey, Signature,
};
use starling_core::time::Time;
use starling_core::wire::codec::{Reader, Wire, put_short, take_short};

use super::ca::{BACKDATED, CA_KEY_FILE, CA_LIFETIME, Ca, is_certified};
use super::certificate::PeerName;
use super::files::{self, Access, malformed};
use super::public::{TRUST_FILE, Trust};
use super::{TrustError, label};

/// The mesh's coordinators, in the directory of every node.
const COORDINATORS_FILE: &str = "coordinators.bin";
/// Longest encoding of a set of coordinators.
const SET_BYTES_MAX: usize = 1024;

/// A key whose certificate is being written.
const NEXT_KEY_FILE: &str = "node.next.key";
/// The key of a CA that is believed and does not issue yet.
const NEXT_CA_KEY_FILE: &str = "ca.next.key";
/// The last line of a certificate.
const PEM_END: &str = "-----END CERTIFICATE-----";

const AUTHORITY_ADVICE: &str = "restore it from a backup, or make a new mesh with starling init";
const NODE_ADVICE: &str = "restore it, or issue new credentials for this node";

/// What a node asks to be.
#[derive(Clone, Debug)]
pub struct NodeRequest {
    /// What it may be; not empty.
    pub roles: Roles,
    /// The region it belongs to.
    pub region: Label,
    /// What people call it.
    pub name: Label,
    /// How long the certificate is valid from now; 24 hours is usual, ten years the most.
    pub lifetime: Duration,
    /// How long the admission is valid, ten years the most: as long as a node may renew its certificate.
    pub admitted_for: Duration,
}

impl NodeRequest {
    /// A request whose names are checked; the admission is valid for as long as the certificate.
    pub fn new(
        roles: Roles,
        region: &str,
        name: &str,
        lifetime: Duration,
    ) -> Result<NodeRequest, TrustError> {
        let (region, name) = (label("region", region)?, label("node", name)?);
        Ok(NodeRequest { roles, region, name, lifetime, admitted_for: lifetime })
    }

    /// The same with an admission that is valid for so long.
    pub fn admitted_for(self, lifetime: Duration) -> NodeRequest {
        NodeRequest { admitted_for: lifetime, ..self }
    }
}

/// The root of a mesh: the key that admits nodes and the CA that issues their certificates.
///
/// Kept off the nodes; files `authority.key`, `ca.key` (private), `ca.pem` and `mesh.trust`.
#[derive(Debug)]
pub struct Authority {
    root: SecretKey,
    ca: Ca,
    trust: Trust,
}

impl Authority {
    /// A new mesh called `mesh_name`.
    pub fn create(mesh_name: &str) -> Result<Authority, TrustError> {
        let mesh_name = label("mesh", mesh_name)?;
        let root = new_secret()?;
        let (ca, ca_pem) = Ca::create(&mesh_name)?;
        let authority = root.public();
        let mesh = MeshId::of_authority(&authority.0);
        Ok(Authority { root, ca, trust: Trust { mesh_name, mesh, authority, ca_pem } })
    }

    /// What nodes and clients must know.
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// The key that signs admissions, and lists of peers that are shipped.
    pub fn root(&self) -> &SecretKey {
        &self.root
    }

    /// The CA that issues certificates, for coordinators.
    pub fn ca(&self) -> &Ca {
        &self.ca
    }

    /// Writes the files into `dir`, which is made if it is missing.
    pub fn save(&self, dir: &Path) -> Result<(), TrustError> {
        files::create_dir(dir)?;
        save_seed(&dir.join("authority.key"), &self.root)?;
        self.ca.save_key(&dir.join(CA_KEY_FILE))?;
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
        let ca = Ca::load(&dir.join(CA_KEY_FILE), &trust)?;
        Ok(Authority { root, ca, trust })
    }

    /// The first step of replacing the CA: another one is believed, whose key waits in `dir`.
    ///
    /// # Errors
    /// One waits already, there are too many, or a file cannot be written.
    pub fn add_ca(&self, dir: &Path) -> Result<(), TrustError> {
        let next = dir.join(NEXT_CA_KEY_FILE);
        if next.exists() {
            return Err(malformed(&next, "a new CA waits already", "run: starling ca use"));
        }
        let (ca, pem) = Ca::create(&self.trust.mesh_name)?;
        let trust =
            Trust { ca_pem: format!("{}\n{pem}", self.trust.ca_pem.trim_end()), ..self.trust.clone() };
        trust.cas()?;
        ca.save_key(&next)?;
        trust.save(&dir.join(TRUST_FILE))
    }

    /// The second step: what is issued from now on is of the new CA.
    ///
    /// # Errors
    /// None was added, or a file cannot be read or written.
    pub fn use_ca(dir: &Path) -> Result<(), TrustError> {
        let next = dir.join(NEXT_CA_KEY_FILE);
        let trust = Trust::load(&dir.join(TRUST_FILE))?;
        Ca::load(&next, &trust)?;
        files::rename(&next, &dir.join(CA_KEY_FILE))
    }

    /// The last step: no CA is believed but the one that issues.
    ///
    /// # Errors
    /// A new one waits to be used, or a file cannot be written.
    pub fn drop_cas(&self, dir: &Path) -> Result<(), TrustError> {
        let next = dir.join(NEXT_CA_KEY_FILE);
        if next.exists() {
            return Err(malformed(&next, "a new CA waits to be used", "run: starling ca use"));
        }
        let is_own = |block: &&str| {
            CertificateDer::from_pem_slice(block.as_bytes()).is_ok_and(|ca| ca == *self.ca.certificate())
        };
        let mut blocks = self.trust.ca_pem.split_inclusive(PEM_END);
        let pem = format!(
            "{}
",
            blocks.find(is_own).expect("the CA's certificate is in the trust").trim()
        );
        files::write(&dir.join("ca.pem"), pem.as_bytes(), Access::Public)?;
        Trust { ca_pem: pem, ..self.trust.clone() }.save(&dir.join(TRUST_FILE))
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
        let admitted_for = request.admitted_for.min(CA_LIFETIME);
        let admission = Admission {
            mesh: self.trust.mesh,
            key: identity.public(),
            roles: request.roles,
            region: request.region.clone(),
            name: request.name.clone(),
            not_before_seconds: since_epoch.saturating_sub(BACKDATED).as_secs(),
            not_after_seconds: since_epoch.saturating_add(admitted_for).as_secs(),
            signature: Signature([0; 64]),
        };
        let admission = admission.signed_by(&self.root);
        let tls_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate_pem = self.ca.certify(&admission, &tls_key, wall, request.lifetime)?;
        Ok(NodeCredentials {
            admission,
            identity,
            certificate_pem,
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

    /// Writes the certificate and its key over those in `dir`; after a crash either the old ones or the
    /// new ones are found there.
    pub fn save_certificate(&self, dir: &Path) -> Result<(), TrustError> {
        // The new key is there before its certificate is, beside the old one.
        let next = dir.join(NEXT_KEY_FILE);
        files::write(&next, self.tls_key_pem.as_bytes(), Access::Private)?;
        files::write(&dir.join("node.pem"), self.certificate_pem.as_bytes(), Access::Public)?;
        match files::rename(&next, &dir.join("node.key")) {
            // The running node saw the certificate and has done the last step.
            Err(TrustError::Write { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
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
        let mut credentials =
            NodeCredentials { identity, admission, trust, certificate_pem, tls_key_pem, coordinators };
        credentials
            .check_certificate()
            .map_err(|error| malformed(&certificate_path, error.to_string(), NODE_ADVICE))?;
        if credentials.has_its_key(&key_path)? {
            return Ok(credentials);
        }
        // A renewal was cut between its certificate and the last step.
        let next = dir.join(NEXT_KEY_FILE);
        if next.exists() {
            credentials.tls_key_pem = files::read_text(&next, Access::Private, NODE_ADVICE)?;
            if credentials.has_its_key(&next)? {
                files::rename(&next, &key_path)?;
                return Ok(credentials);
            }
        }
        Err(malformed(&key_path, "it is not the key of node.pem", NODE_ADVICE))
    }

    /// The same node's with another certificate and its key.
    ///
    /// # Errors
    /// The certificate is not for this node, or the key is not the certificate's.
    pub fn renewed(
        self,
        certificate_pem: String,
        tls_key_pem: String,
    ) -> Result<NodeCredentials, TrustError> {
        let renewed = NodeCredentials { certificate_pem, tls_key_pem, ..self };
        renewed.check_certificate()?;
        if !renewed.has_its_key(Path::new("the new key"))? {
            return Err(TrustError::Certificate("it is for another key than was asked for"));
        }
        Ok(renewed)
    }

    /// Whether the key, which was read from `path`, is that of the certificate.
    fn has_its_key(&self, path: &Path) -> Result<bool, TrustError> {
        let key = KeyPair::from_pem(&self.tls_key_pem)
            .map_err(|error| malformed(path, error.to_string(), NODE_ADVICE))?;
        Ok(self.certificates()?.first().is_some_and(|first| is_certified(first, &key)))
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
