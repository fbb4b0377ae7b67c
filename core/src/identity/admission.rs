//! Admission: the authority's word that a key belongs to a node of this mesh, in these roles.
//!
//! It travels with the roster, so a node can check the bundles of another that it has no link to.

use std::fmt;
use std::ops::{BitOr, Deref};
use std::str::FromStr;

use bytes::{BufMut, BytesMut};

use super::keys::{Context, PublicKey, SecretKey, Signature, Signer, VerifyKey};
use crate::id::{MeshId, NodeId, RegionId};
use crate::time::Time;
use crate::wire::codec::{DecodeError, Reader, Wire, put_short, take_short};

/// Longest name of a mesh, region or node.
pub const LABEL_BYTES_MAX: usize = 64;

/// A name of a mesh, region or node: 1 to 64 of `a-z`, `0-9` and `-`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(String);

impl Label {
    /// The text of the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for Label {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl FromStr for Label {
    type Err = BadLabel;

    fn from_str(text: &str) -> Result<Label, BadLabel> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let fits = (1..=LABEL_BYTES_MAX).contains(&text.len());
        if fits && text.bytes().all(allowed) { Ok(Label(text.to_owned())) } else { Err(BadLabel) }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// A text that cannot name a mesh, region or node; the caller is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a name has 1 to 64 characters out of a-z, 0-9 and -")]
pub struct BadLabel;

/// What a node may be: a set, never empty in an admission.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Roles(u8);

impl Roles {
    /// Hosts agents.
    pub const EDGE: Roles = Roles(1);
    /// Folds a region's summaries and carries its traffic to other regions.
    pub const AGGREGATOR: Roles = Roles(2);
    /// Takes part in agreement.
    pub const COORDINATOR: Roles = Roles(4);

    const NAMES: [(Roles, &'static str); 3] =
        [(Roles::EDGE, "edge"), (Roles::AGGREGATOR, "aggregator"), (Roles::COORDINATOR, "coordinator")];

    /// The set with these bits, unless one has no meaning.
    pub fn from_bits(bits: u8) -> Option<Roles> {
        (bits <= 7).then_some(Roles(bits))
    }

    /// One bit a role: edge 1, aggregator 2, coordinator 4.
    pub fn bits(self) -> u8 {
        self.0
    }

    /// Whether every role of `other` is in this set.
    pub fn has(self, other: Roles) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether no role is in this set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The roles' names with `separator` between them.
    pub fn join(self, separator: &str) -> String {
        let names = Roles::NAMES.iter().filter(|(role, _)| self.has(*role)).map(|(_, name)| *name);
        names.collect::<Vec<_>>().join(separator)
    }

    /// Reads what [`Roles::join`] wrote: at least one role, none twice, in any order.
    pub fn split(text: &str, separator: char) -> Result<Roles, BadRoles> {
        let mut roles = Roles::default();
        for part in text.split(separator) {
            let known = Roles::NAMES.iter().find(|(_, name)| *name == part);
            let (role, _) = known.ok_or(BadRoles)?;
            if roles.has(*role) {
                return Err(BadRoles);
            }
            roles = roles | *role;
        }
        Ok(roles)
    }
}

impl BitOr for Roles {
    type Output = Roles;

    fn bitor(self, other: Roles) -> Roles {
        Roles(self.0 | other.0)
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.join("+"))
    }
}

impl FromStr for Roles {
    type Err = BadRoles;

    fn from_str(text: &str) -> Result<Roles, BadRoles> {
        Roles::split(text, '+')
    }
}

/// A text that is no set of roles; the caller is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("roles are edge, aggregator and coordinator, joined by +, each at most once")]
pub struct BadRoles;

/// The authority's word on one node.
///
/// Bytes, little-endian: mesh 8, key 32, roles 1, region (length 2, text), name (length 2, text),
/// not before 8, not after 8, signature 64. The signature covers all that precedes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    /// The mesh that admits.
    pub mesh: MeshId,
    /// The node's identity key.
    pub key: PublicKey,
    /// What the node may be.
    pub roles: Roles,
    /// The region it belongs to.
    pub region: Label,
    /// What people call it.
    pub name: Label,
    /// First second of validity since the Unix epoch.
    pub not_before_seconds: u64,
    /// Last second of validity since the Unix epoch.
    pub not_after_seconds: u64,
    /// By the authority, under [`Context::Admission`].
    pub signature: Signature,
}

impl Admission {
    /// The same admission for the mesh of `authority` and signed by it.
    pub fn signed_by(self, authority: &SecretKey) -> Admission {
        self.signed_with(&authority.signer())
    }

    /// The same by an authority that signs often.
    pub fn signed_with(mut self, authority: &Signer) -> Admission {
        self.mesh = MeshId::of_authority(&authority.public().0);
        self.signature = authority.sign(Context::Admission, &self.signed_bytes());
        self
    }

    /// Whether the mesh of `authority` admits this node now, by the wall clock.
    pub fn verify(&self, authority: &VerifyKey, wall: Time) -> Result<(), AdmissionError> {
        if self.mesh != MeshId::of_authority(&authority.public().0) {
            return Err(AdmissionError::WrongMesh { named: self.mesh });
        }
        if !authority.verify(Context::Admission, &self.signed_bytes(), &self.signature) {
            return Err(AdmissionError::BadSignature);
        }
        if authority.same_kind(&self.key).is_none() {
            return Err(AdmissionError::WeakKey);
        }
        let wall_seconds = wall.as_millis() / 1_000;
        if wall_seconds < self.not_before_seconds {
            return Err(AdmissionError::NotYet { not_before_seconds: self.not_before_seconds });
        }
        if wall_seconds > self.not_after_seconds {
            return Err(AdmissionError::Expired { not_after_seconds: self.not_after_seconds });
        }
        Ok(())
    }

    /// The name of the admitted node.
    pub fn node(&self) -> NodeId {
        NodeId::of_key(&self.key.0)
    }

    /// The id of the region it belongs to.
    pub fn region_id(&self) -> RegionId {
        RegionId::of_name(&self.region)
    }

    fn signed_bytes(&self) -> BytesMut {
        let mut out = BytesMut::with_capacity(256);
        out.put_u64_le(self.mesh.0);
        self.key.encode(&mut out);
        out.put_u8(self.roles.bits());
        put_short(&mut out, self.region.as_bytes());
        put_short(&mut out, self.name.as_bytes());
        out.put_u64_le(self.not_before_seconds);
        out.put_u64_le(self.not_after_seconds);
        out
    }
}

impl Wire for Admission {
    fn encode(&self, out: &mut BytesMut) {
        out.put_slice(&self.signed_bytes());
        self.signature.encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Admission, DecodeError> {
        Ok(Admission {
            mesh: MeshId(reader.u64()?),
            key: PublicKey::decode(reader)?,
            roles: Roles::from_bits(reader.u8()?)
                .filter(|roles| !roles.is_empty())
                .ok_or(DecodeError::Invalid("roles"))?,
            region: take_label(reader, "region")?,
            name: take_label(reader, "name")?,
            not_before_seconds: reader.u64()?,
            not_after_seconds: reader.u64()?,
            signature: Signature::decode(reader)?,
        })
    }
}

fn take_label(reader: &mut Reader<'_>, what: &'static str) -> Result<Label, DecodeError> {
    let bytes = take_short(reader, LABEL_BYTES_MAX, what)?;
    let text = std::str::from_utf8(bytes).map_err(|_| DecodeError::Invalid(what))?;
    text.parse().map_err(|BadLabel| DecodeError::Invalid(what))
}

/// Why an admission does not admit. Nothing was changed; whoever presented it is at fault, unless
/// the clocks disagree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AdmissionError {
    /// It is for another mesh.
    #[error("admitted to mesh {named}, not to this one")]
    WrongMesh {
        /// The mesh it is for.
        named: MeshId,
    },
    /// The authority did not sign these bytes.
    #[error("not signed by this mesh's authority")]
    BadSignature,
    /// The admitted key is not one that this protocol verifies with.
    #[error("the identity key is weak or malformed")]
    WeakKey,
    /// It begins later.
    #[error("valid only from {not_before_seconds} s since 1970; is this machine's clock right?")]
    NotYet {
        /// First second of validity since the Unix epoch.
        not_before_seconds: u64,
    },
    /// It has ended.
    #[error("expired at {not_after_seconds} s since 1970; issue new credentials")]
    Expired {
        /// Last second of validity since the Unix epoch.
        not_after_seconds: u64,
    },
}

#[cfg(test)]
mod tests;
