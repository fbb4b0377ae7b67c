//! What the peer protocol says, as protobuf: unknown fields and kinds are skipped, so neighbouring
//! versions talk.
//!
//! What an author says is signed as the bytes it wrote ([`Authored`]) and passed on as those bytes,
//! so a relay that does not know a field keeps it and the signature holds. The TTL travels outside.

use std::net::SocketAddr;

use bytes::Bytes;
use prost::Message as _;

use super::super::record::{ADDRESSES_MAX, BadInfo, CAPABILITIES_MAX, Capabilities, PeerInfo};
use crate::id::RegionId;

/// Most bytes of one message of the peer protocol.
pub const MESSAGE_BYTES_MAX: usize = 32 * 1024;
/// Most bytes of one [`Authored`]: a record at its bounds, and room for newer fields.
pub const AUTHORED_BYTES_MAX: usize = 2 * 1024;
/// Most records of one list.
pub const LIST_RECORDS_MAX: usize = 12;
/// Most bytes of the name that a request asks for.
pub const NAME_BYTES_MAX: usize = 64;
/// Most bytes of an address as text: an IPv6 address with scope and port.
const ADDRESS_BYTES_MAX: usize = 64;

const _: () = assert!(LIST_RECORDS_MAX * (AUTHORED_BYTES_MAX + 4) < MESSAGE_BYTES_MAX);

/// A message between two neighbours.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PeerMessage {
    /// Exactly one body; none when it is newer than this version.
    #[prost(oneof = "PeerBody", tags = "1, 2, 3")]
    pub body: Option<PeerBody>,
}

/// What a [`PeerMessage`] may be.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum PeerBody {
    /// First on a link, both ways.
    #[prost(message, tag = "1")]
    Hello(PeerHello),
    /// Something an author says to whom it reaches.
    #[prost(message, tag = "2")]
    Flood(Flood),
    /// The answer to a request, on its way back.
    #[prost(message, tag = "3")]
    List(PeerList),
}

/// First on a link: which versions the sender speaks, and who it is.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PeerHello {
    /// Lowest version of the peer protocol spoken.
    #[prost(uint32, tag = "1")]
    pub version_low: u32,
    /// Highest version spoken.
    #[prost(uint32, tag = "2")]
    pub version_high: u32,
    /// Feature bits.
    #[prost(uint64, tag = "3")]
    pub features: u64,
    /// The sender's own record with its capabilities; without addresses if it is silent.
    #[prost(message, optional, tag = "4")]
    pub record: Option<Authored>,
}

/// What an author says, and how much farther it goes.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Flood {
    /// What it says.
    #[prost(message, optional, tag = "1")]
    pub authored: Option<Authored>,
    /// Nodes that may still pass it on, 0 to 32.
    #[prost(uint32, tag = "2")]
    pub ttl: u32,
}

/// Bytes and who vouches for them.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Authored {
    /// An encoded [`Said`].
    #[prost(bytes = "bytes", tag = "1")]
    pub said: Bytes,
    /// By the author's identity key, 64 bytes.
    #[prost(bytes = "bytes", tag = "2")]
    pub signature: Bytes,
}

/// What is signed.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Said {
    /// The author's identity key, 32 bytes.
    #[prost(bytes = "bytes", tag = "1")]
    pub author: Bytes,
    /// The mesh it is for.
    #[prost(fixed64, tag = "2")]
    pub mesh: u64,
    /// The author's number for it; never used twice within the window.
    #[prost(fixed64, tag = "3")]
    pub id: u64,
    /// The author's wall clock in milliseconds since the Unix epoch.
    #[prost(fixed64, tag = "4")]
    pub wall_ms: u64,
    /// Exactly one kind; none when it is newer than this version.
    #[prost(oneof = "SaidKind", tags = "5, 6, 7, 8")]
    pub kind: Option<SaidKind>,
}

/// What an author may say.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum SaidKind {
    /// It is there.
    #[prost(message, tag = "5")]
    Announcement(Record),
    /// Its record changed.
    #[prost(message, tag = "6")]
    Update(Record),
    /// It is still there.
    #[prost(message, tag = "7")]
    Heartbeat(Heartbeat),
    /// It looks for peers.
    #[prost(message, tag = "8")]
    Request(Request),
}

/// What a peer says of itself.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Record {
    /// Grows with each change; the highest is valid.
    #[prost(fixed64, tag = "1")]
    pub revision: u64,
    /// Whether it may be listed.
    #[prost(bool, tag = "2")]
    pub broadcast: bool,
    /// Socket addresses; none unless it broadcasts. At most 8.
    #[prost(string, repeated, tag = "3")]
    pub addresses: Vec<String>,
    /// What it can do. At most 16 names.
    #[prost(string, repeated, tag = "4")]
    pub capabilities: Vec<String>,
    /// The version of its software.
    #[prost(string, tag = "5")]
    pub version: String,
    /// Its region.
    #[prost(fixed64, tag = "6")]
    pub region: u64,
}

/// A sign of life; it has nothing but its author.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Heartbeat {}

/// Who has this?
#[derive(Clone, PartialEq, prost::Message)]
pub struct Request {
    /// A [`super::Query`]: 1 service, 2 capability, 3 blob, 4 anybody.
    #[prost(uint32, tag = "1")]
    pub by: u32,
    /// What is looked for, at most 64 bytes.
    #[prost(string, tag = "2")]
    pub name: String,
    /// How many records at the most.
    #[prost(uint32, tag = "3")]
    pub count: u32,
}

/// Records that answer a request; each vouched for by its author.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PeerList {
    /// Short id of who asked.
    #[prost(fixed64, tag = "1")]
    pub asker: u64,
    /// The number that it gave the request.
    #[prost(fixed64, tag = "2")]
    pub request: u64,
    /// Short id of who answers; a second list of one is a duplicate.
    #[prost(fixed64, tag = "3")]
    pub answerer: u64,
    /// Its wall clock in milliseconds.
    #[prost(fixed64, tag = "4")]
    pub wall_ms: u64,
    /// At most 12; one of a silent peer is stripped on the way.
    #[prost(message, repeated, tag = "5")]
    pub records: Vec<Authored>,
}

impl PeerMessage {
    /// The bytes of a message with `body`.
    pub fn bytes_of(body: PeerBody) -> Bytes {
        PeerMessage { body: Some(body) }.encode_to_vec().into()
    }

    /// Reads a message; `None` where it is not one, or too long.
    pub fn read(bytes: Bytes) -> Option<PeerMessage> {
        if bytes.len() > MESSAGE_BYTES_MAX {
            return None;
        }
        PeerMessage::decode(bytes).ok()
    }
}

impl Said {
    /// The bytes that are signed.
    pub fn to_bytes(&self) -> Bytes {
        self.encode_to_vec().into()
    }

    /// Reads them again; `None` where they are not such a message.
    pub fn from_bytes(bytes: Bytes) -> Option<Said> {
        Said::decode(bytes).ok()
    }
}

impl Authored {
    /// What was said, if it is within its bounds, by which key, under which signature. Whether the
    /// signature holds is not known yet.
    pub(super) fn read(&self) -> Option<(Said, [u8; 32], [u8; 64])> {
        if self.said.len() + self.signature.len() > AUTHORED_BYTES_MAX {
            return None;
        }
        let said = Said::from_bytes(self.said.clone())?;
        let key = <[u8; 32]>::try_from(&said.author[..]).ok()?;
        let signature = <[u8; 64]>::try_from(&self.signature[..]).ok()?;
        Some((said, key, signature))
    }
}

impl Record {
    /// What `info` says of itself; addresses stay out where it is silent.
    pub fn of(info: &PeerInfo, revision: u64) -> Record {
        let addresses = info.addresses.iter().filter(|_| info.broadcast);
        Record {
            revision,
            broadcast: info.broadcast,
            addresses: addresses.map(ToString::to_string).collect(),
            capabilities: info.capabilities.iter().map(String::from).collect(),
            version: info.version.to_string(),
            region: info.region.0,
        }
    }

    /// Whether it shows an address that it must not show.
    pub fn is_exposed(&self) -> bool {
        !self.broadcast && !self.addresses.is_empty()
    }

    /// The same as the registry holds it.
    ///
    /// # Errors
    /// [`BadInfo`] where something is out of bounds, or an address is none.
    pub fn to_info(&self, public_key: [u8; 32]) -> Result<PeerInfo, BadInfo> {
        if self.addresses.len() > ADDRESSES_MAX {
            return Err(BadInfo::Addresses);
        }
        if self.capabilities.len() > CAPABILITIES_MAX {
            return Err(BadInfo::Capabilities);
        }
        let parse = |text: &String| -> Option<SocketAddr> {
            if text.len() > ADDRESS_BYTES_MAX { None } else { text.parse().ok() }
        };
        let addresses: Option<Box<[SocketAddr]>> = self.addresses.iter().map(parse).collect();
        let info = PeerInfo {
            public_key,
            addresses: addresses.ok_or(BadInfo::Addresses)?,
            broadcast: self.broadcast,
            capabilities: Capabilities::new(self.capabilities.iter().map(String::as_str))?,
            version: self.version.as_str().into(),
            region: RegionId(self.region),
        };
        info.check()?;
        Ok(info)
    }
}
