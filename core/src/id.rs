//! Names on the wire: who is who, in how many bytes.
//!
//! Nodes and agents are named by BLAKE3 of an ed25519 public key. The whole name has 32 bytes; on
//! the wire a node is named by the first 8 (a collision is refused at admission) and an agent by
//! the first 16 (agents are not admitted one by one, so their short name must resist collisions
//! that somebody looks for: 2^64 work).

use std::fmt;
use std::str::FromStr;

/// The full name of a node: BLAKE3 of its identity key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub [u8; 32]);

impl NodeId {
    /// The name that belongs to an ed25519 public key.
    pub fn of_key(public_key: &[u8; 32]) -> NodeId {
        NodeId(*blake3::hash(public_key).as_bytes())
    }

    /// The eight bytes that name this node on the wire.
    pub fn short(&self) -> ShortId {
        ShortId(first_u64(&self.0))
    }
}

/// The first eight bytes of a [`NodeId`], little-endian.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShortId(pub u64);

/// The name of an agent: the first 16 bytes of BLAKE3 of its public key.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentId(pub [u8; 16]);

impl AgentId {
    /// The name that belongs to an ed25519 public key.
    pub fn of_key(public_key: &[u8; 32]) -> AgentId {
        let hash = blake3::hash(public_key);
        let mut id = [0; 16];
        id.copy_from_slice(&hash.as_bytes()[..16]);
        AgentId(id)
    }
}

/// The name of a region on the wire: the first eight bytes of BLAKE3 of its textual name.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegionId(pub u64);

impl RegionId {
    /// The id of the region called `name`.
    pub fn of_name(name: &str) -> RegionId {
        RegionId(first_u64(blake3::hash(name.as_bytes()).as_bytes()))
    }
}

/// The name of a mesh on the wire: the first eight bytes of BLAKE3 of its authority's public key.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MeshId(pub u64);

impl MeshId {
    /// The mesh whose admissions are signed by `authority_key`.
    pub fn of_authority(authority_key: &[u8; 32]) -> MeshId {
        MeshId(first_u64(blake3::hash(authority_key).as_bytes()))
    }
}

fn first_u64(bytes: &[u8; 32]) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&bytes[..8]);
    u64::from_le_bytes(first)
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
        }
    }
    text
}

/// Exactly `N` bytes of hexadecimal, either case.
pub fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != N * 2 {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *byte = u8::try_from(high << 4 | low).ok()?;
    }
    Some(bytes)
}

/// A name that is not hexadecimal of the right length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an id is {0} hexadecimal digits")]
pub struct BadId(pub usize);

impl FromStr for AgentId {
    type Err = BadId;

    fn from_str(text: &str) -> Result<AgentId, BadId> {
        unhex(text).map(AgentId).ok_or(BadId(32))
    }
}

impl FromStr for NodeId {
    type Err = BadId;

    fn from_str(text: &str) -> Result<NodeId, BadId> {
        unhex(text).map(NodeId).ok_or(BadId(64))
    }
}

macro_rules! shown_as_hex {
    ($($name:ident => $bytes:expr),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let bytes: fn(&$name) -> Vec<u8> = $bytes;
                f.write_str(&hex(&bytes(self)))
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    )*};
}

shown_as_hex! {
    NodeId => |id| id.0.to_vec(),
    ShortId => |id| id.0.to_le_bytes().to_vec(),
    AgentId => |id| id.0.to_vec(),
    RegionId => |id| id.0.to_le_bytes().to_vec(),
    MeshId => |id| id.0.to_le_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_round_trips_and_refuses_what_is_not_hex() {
        let id = AgentId::of_key(&[7; 32]);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!("xyz".parse::<AgentId>(), Err(BadId(32)));
        assert_eq!("g".repeat(32).parse::<AgentId>(), Err(BadId(32)));
    }

    #[test]
    fn short_id_shows_the_first_bytes_of_the_whole() {
        let id = NodeId::of_key(&[1; 32]);
        assert!(id.to_string().starts_with(&id.short().to_string()));
    }
}
