//! The name in a certificate: one SPIFFE URI that says which node of which mesh this is.
//!
//! `spiffe://MESH/role/ROLES/region/REGION/node/ID`, the roles joined by dots (SPIFFE-ID, section
//! 2.2, allows letters, digits, dots, dashes and underscores in a path) and the id 64 hexadecimal
//! digits. An X.509 SVID has exactly one URI, so a certificate with two is refused.

use std::fmt;

use rustls::pki_types::CertificateDer;
use starling_core::id::NodeId;
use starling_core::identity::{Label, Roles};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::TrustError;

/// Who a certificate says its holder is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerName {
    /// The name of the mesh.
    pub mesh: Label,
    /// What the node may be.
    pub roles: Roles,
    /// The region it belongs to.
    pub region: Label,
    /// The hash of its identity key.
    pub node: NodeId,
}

impl PeerName {
    /// Reads the URI of a certificate; refuses every other shape and every other spelling.
    pub fn from_uri(uri: &str) -> Result<PeerName, TrustError> {
        PeerName::parts(uri)
            .filter(|name| name.to_string() == uri)
            .ok_or(TrustError::Certificate("its URI is not spiffe://MESH/role/ROLES/region/REGION/node/ID"))
    }

    fn parts(uri: &str) -> Option<PeerName> {
        let mut parts = uri.strip_prefix("spiffe://")?.split('/');
        let mesh = parts.next()?.parse().ok()?;
        let mut named = |key: &str| (parts.next()? == key).then(|| parts.next()).flatten();
        let roles = Roles::split(named("role")?, '.').ok()?;
        let region = named("region")?.parse().ok()?;
        let node = named("node")?.parse().ok()?;
        parts.next().is_none().then_some(PeerName { mesh, roles, region, node })
    }

    /// The name in a certificate. Checks nothing but the name: the chain is TLS's to verify.
    pub fn of_certificate(certificate: &CertificateDer<'_>) -> Result<PeerName, TrustError> {
        let (_, parsed) = X509Certificate::from_der(certificate)
            .map_err(|_| TrustError::Certificate("it is not an X.509 certificate"))?;
        let names = parsed
            .subject_alternative_name()
            .map_err(|_| TrustError::Certificate("its alternative names cannot be read"))?
            .ok_or(TrustError::Certificate("it has no URI"))?;
        let mut uris = names.value.general_names.iter().filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        });
        match (uris.next(), uris.next()) {
            (Some(uri), None) => PeerName::from_uri(uri),
            (None, _) => Err(TrustError::Certificate("it has no URI")),
            (Some(_), Some(_)) => Err(TrustError::Certificate("it has more than one URI")),
        }
    }
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PeerName { mesh, roles, region, node } = self;
        write!(f, "spiffe://{mesh}/role/{}/region/{region}/node/{node}", roles.join("."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> PeerName {
        PeerName {
            mesh: "demo".parse().unwrap(),
            roles: Roles::EDGE | Roles::COORDINATOR,
            region: "eu".parse().unwrap(),
            node: NodeId([0xab; 32]),
        }
    }

    #[test]
    fn uri_round_trips() {
        let uri = sample().to_string();
        assert!(uri.starts_with("spiffe://demo/role/edge.coordinator/region/eu/node/abab"));
        assert_eq!(PeerName::from_uri(&uri).unwrap(), sample());
    }

    #[test]
    fn every_other_spelling_is_refused() {
        let good = sample().to_string();
        for bad in [
            String::new(),
            good.to_uppercase(),
            good.replace("spiffe", "https"),
            good.replace("edge.coordinator", "coordinator.edge"),
            good.replace("edge.coordinator", "edge.edge"),
            good.replace("edge.coordinator", ""),
            good.replace("region/eu", "region/"),
            good.replace("/role", "//role"),
            good.replace("ab", "AB"),
            good.clone() + "/",
            good.clone() + "?a",
            good[..good.len() - 1].to_owned(),
            good.replace("demo", "demo:80"),
            good.replace("demo", "user@demo"),
        ] {
            assert!(PeerName::from_uri(&bad).is_err(), "{bad}");
        }
    }
}
