//! What is known of one peer, in at most a kilobyte.

use std::net::SocketAddr;

use super::score::{Availability, Score};
use crate::id::{NodeId, RegionId};
use crate::rtt::SmoothedRtt;
use crate::time::Time;

/// Most addresses of a peer.
pub const ADDRESSES_MAX: usize = 8;
/// Most capabilities of a peer.
pub const CAPABILITIES_MAX: usize = 16;
/// Most bytes of the name of one capability; the least is 1.
pub const CAPABILITY_BYTES_MAX: usize = 64;
/// Most bytes of all capabilities of a peer, a separator between each two included.
pub const CAPABILITIES_BYTES_MAX: usize = 320;
/// Most bytes of a version.
pub const VERSION_BYTES_MAX: usize = 32;
/// Most bytes of memory for one record, its strings, its allocations' headers and its share of the
/// registry's tables included.
pub const RECORD_BYTES_MAX: usize = 1_024;

/// What one record costs the registry beyond itself, at the least dense moment of each table:
/// index 16 bytes a cell at 3/8 full, two ordered sets of 16 bytes an element in nodes at 5/11,
/// slot and dense tables of 20 bytes at half, and the headers of four allocations.
pub(super) const BOOKKEEPING_BYTES_MAX: usize = 44 + 2 * 44 + 2 * 20 + 4 * 16;

// The limits above keep the promise.
const _: () = assert!(
    size_of::<PeerRecord>()
        + ADDRESSES_MAX * size_of::<SocketAddr>()
        + CAPABILITIES_BYTES_MAX
        + VERSION_BYTES_MAX
        + BOOKKEEPING_BYTES_MAX
        <= RECORD_BYTES_MAX
);

/// What a peer announces of itself. Its name follows from its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerInfo {
    /// Its ed25519 identity key.
    pub public_key: [u8; 32],
    /// Where it can be dialled; at most [`ADDRESSES_MAX`].
    pub addresses: Box<[SocketAddr]>,
    /// Whether it may be listed to others. A silent peer is known here and to nobody through us.
    pub broadcast: bool,
    /// What it can do.
    pub capabilities: Capabilities,
    /// The version of its software; at most [`VERSION_BYTES_MAX`] bytes.
    pub version: Box<str>,
    /// The region it is in.
    pub region: RegionId,
}

/// Why an announcement or a name in it is not accepted. Nothing was changed; whoever wrote the
/// announcement is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadInfo {
    /// More than [`ADDRESSES_MAX`] addresses.
    #[error("a peer has at most {ADDRESSES_MAX} addresses")]
    Addresses,
    /// Too many capabilities, or too many bytes of them.
    #[error("a peer has at most {CAPABILITIES_MAX} capabilities in {CAPABILITIES_BYTES_MAX} bytes")]
    Capabilities,
    /// The name of a capability is empty, too long, or holds white space or control characters.
    #[error("a capability is 1 to {CAPABILITY_BYTES_MAX} bytes without space or control characters")]
    Capability,
    /// The version is longer than [`VERSION_BYTES_MAX`].
    #[error("a version has at most {VERSION_BYTES_MAX} bytes")]
    Version,
}

impl PeerInfo {
    /// The name that belongs to the key.
    pub fn id(&self) -> NodeId {
        NodeId::of_key(&self.public_key)
    }

    /// Whether everything is within its bounds.
    ///
    /// # Errors
    /// The first bound that is exceeded.
    pub fn check(&self) -> Result<(), BadInfo> {
        if self.addresses.len() > ADDRESSES_MAX {
            return Err(BadInfo::Addresses);
        }
        if self.version.len() > VERSION_BYTES_MAX {
            return Err(BadInfo::Version);
        }
        Ok(())
    }
}

/// Names of what a peer can do: a set, packed into one string.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Names in order, a newline between each two; a name holds none.
    packed: Box<str>,
}

impl Capabilities {
    /// The set of `names`, which may come in any order and more than once.
    ///
    /// # Errors
    /// [`BadInfo::Capability`] and [`BadInfo::Capabilities`].
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Capabilities, BadInfo> {
        let mut set = std::collections::BTreeSet::new();
        let mut bytes = 0;
        for name in names {
            let is_odd = |c: char| c.is_whitespace() || c.is_control();
            if name.is_empty() || name.len() > CAPABILITY_BYTES_MAX || name.contains(is_odd) {
                return Err(BadInfo::Capability);
            }
            if !set.insert(name) {
                continue;
            }
            bytes += name.len() + 1;
            if set.len() > CAPABILITIES_MAX || bytes > CAPABILITIES_BYTES_MAX + 1 {
                return Err(BadInfo::Capabilities);
            }
        }
        let names: Vec<&str> = set.into_iter().collect();
        Ok(Capabilities { packed: names.join("\n").into() })
    }

    /// The names in order, each once.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.packed.split('\n').filter(|name| !name.is_empty())
    }

    /// Whether `name` is one of them.
    pub fn contains(&self, name: &str) -> bool {
        self.iter().any(|own| own == name)
    }
}

/// Whether a peer is there, as membership last said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PeerStatus {
    /// It answers.
    #[default]
    Alive,
    /// It may have failed, and may still refute that.
    Suspect,
    /// It failed.
    Dead,
    /// It said goodbye.
    Left,
}

/// How far a peer is trusted: 0.0 to 1.0 in steps of 1/10,000, whole numbers inside so that every
/// machine computes the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reputation(u16);

impl Reputation {
    /// 1.0, what every peer starts with.
    pub const FULL: Reputation = Reputation(10_000);
    /// 0.5; who is below is ignored.
    pub const TRUST_LEAST: Reputation = Reputation(5_000);

    /// The nearest reputation to `value`, which is held to 0.0-1.0; a NaN counts as 0.0.
    pub fn from_f64(value: f64) -> Reputation {
        // The cast turns NaN into zero.
        Reputation((value.clamp(0.0, 1.0) * 10_000.0).round() as u16)
    }

    /// From millionths, of which a hundred are one step; more than a million is full.
    pub fn from_millionths(millionths: u32) -> Reputation {
        let steps = millionths.min(1_000_000) / 100;
        Reputation(u16::try_from(steps).expect("a millionth part of 10,000 steps fits"))
    }

    /// As a number from 0.0 to 1.0.
    pub fn as_f64(self) -> f64 {
        f64::from(self.0) / 10_000.0
    }

    /// Changed by `delta`, held to 0.0-1.0; a NaN changes nothing.
    pub fn changed_by(self, delta: f64) -> Reputation {
        let steps = (delta.clamp(-1.0, 1.0) * 10_000.0).round() as i32;
        let sum = (i32::from(self.0) + steps).clamp(0, 10_000);
        Reputation(sum as u16)
    }

    /// Whether it is at least [`Reputation::TRUST_LEAST`].
    pub fn is_trusted(self) -> bool {
        self >= Reputation::TRUST_LEAST
    }
}

/// What is known of a peer: what it announced, and what we saw ourselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerRecord {
    /// BLAKE3 of its key.
    pub id: NodeId,
    /// What it announced last.
    pub info: PeerInfo,
    /// Whether it is there.
    pub status: PeerStatus,
    /// When its last heartbeat came, on the monotonic clock.
    pub last_seen: Time,
    /// How far it is trusted.
    pub reputation: Reputation,
    /// How often it answered.
    pub availability: Availability,
    /// How far away it is, once measured.
    pub rtt: Option<SmoothedRtt>,
}

impl PeerRecord {
    /// Whether it is worth contacting: trusted, and neither failed nor gone.
    pub fn is_usable(&self) -> bool {
        let is_there = match self.status {
            PeerStatus::Alive | PeerStatus::Suspect => true,
            PeerStatus::Dead | PeerStatus::Left => false,
        };
        is_there && self.reputation.is_trusted()
    }

    /// Whether others may be told of it: usable, and not silent.
    pub fn is_listable(&self) -> bool {
        self.info.broadcast && self.is_usable()
    }

    /// How good it is to have.
    pub fn score(&self) -> Score {
        Score::of(self)
    }

    /// How many bytes of memory the record and what it owns take, without the registry's tables.
    pub fn memory_bytes(&self) -> usize {
        size_of::<PeerRecord>()
            + size_of_val(&*self.info.addresses)
            + self.info.capabilities.packed.len()
            + self.info.version.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_a_bounded_set() {
        let set = Capabilities::new(["relay", "blob", "relay"]).unwrap();
        assert_eq!(set.iter().collect::<Vec<_>>(), ["blob", "relay"]);
        assert!(set.contains("blob") && !set.contains("blo") && !set.contains(""));
        assert_eq!(set, Capabilities::new(["blob", "relay"]).unwrap());
        assert_eq!(Capabilities::new([]).unwrap().iter().count(), 0);
        for bad in ["", "two words", "line\nbreak", &"x".repeat(65)] {
            assert_eq!(Capabilities::new([bad]), Err(BadInfo::Capability), "{bad:?}");
        }
        let names: Vec<String> = (0..17).map(|number| format!("c{number}")).collect();
        let names = names.iter().map(String::as_str);
        assert!(Capabilities::new(names.clone().take(16)).is_ok());
        assert_eq!(Capabilities::new(names), Err(BadInfo::Capabilities));
    }

    #[test]
    fn capabilities_fill_their_bytes_and_no_more() {
        // Five names of 63 bytes, with the four newlines between them: 319 bytes.
        let names: Vec<String> = (0..5).map(|number| number.to_string().repeat(63)).collect();
        let five = Capabilities::new(names.iter().map(String::as_str)).unwrap();
        assert_eq!(five.packed.len(), 319);
        let longer = "5".repeat(64);
        let full = names[..4].iter().map(String::as_str).chain([&longer[..]]);
        assert_eq!(Capabilities::new(full).unwrap().packed.len(), CAPABILITIES_BYTES_MAX);
        let over = names[..3].iter().map(String::as_str).chain([&longer[..], &longer[..63], "x"]);
        assert_eq!(Capabilities::new(over), Err(BadInfo::Capabilities));
    }

    #[test]
    fn reputation_stays_between_nothing_and_full() {
        assert_eq!(Reputation::FULL.changed_by(0.5), Reputation::FULL);
        assert_eq!(Reputation::FULL.changed_by(-0.3).as_f64(), 0.7);
        assert_eq!(Reputation::FULL.changed_by(-7.0).as_f64(), 0.0);
        assert_eq!(Reputation::FULL.changed_by(f64::NAN), Reputation::FULL);
        assert_eq!(Reputation::from_f64(f64::NAN).as_f64(), 0.0);
        assert_eq!(Reputation::from_f64(2.0), Reputation::FULL);
        assert_eq!(Reputation::from_millionths(u32::MAX), Reputation::FULL);
        assert_eq!(Reputation::from_millionths(499_999).as_f64(), 0.4999);
        assert!(Reputation::from_f64(0.5).is_trusted());
        assert!(!Reputation::from_f64(0.4999).is_trusted());
    }
}
