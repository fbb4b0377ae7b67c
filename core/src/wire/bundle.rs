//! The bundle: what one node signs at once (docs/protocol.md#bundle).
//!
//! A bundle is a signed header that lists sections, and the bodies of those sections that this
//! copy carries. Hops may leave sections out; the header keeps their hashes, so the signature still
//! holds. What a hop needs to forward the copy travels in an unsigned prefix, the [`Passage`].

use bytes::{BufMut, Bytes, BytesMut};

use super::codec::{DecodeError, Reader};
use super::frame::{FRAME_HEADER_BYTES, FrameType, Parcel, put_frame_header};
use crate::id::{AgentId, MeshId, RegionId, ShortId};
use crate::identity::{Context, Signature, Signer, VerifyKey};
use crate::limits;

/// The version of the bundle format.
pub const BUNDLE_VERSION: u8 = 1;
/// Bytes of the fixed part of the header.
pub const HEADER_FIXED_BYTES: usize = 48;
/// Bytes that each section adds to the header, without its subject.
pub const SECTION_FIXED_BYTES: usize = 52;
/// Bytes of the signature behind the header.
pub const SIGNATURE_BYTES: usize = 64;
const PREFIX_FIXED_BYTES: usize = 28;
const FLAG_PREVIOUS: u16 = 1;
const FLAG_CHECKPOINT: u16 = 2;
const SECTION_DIRECTED: u8 = 1;
/// Bundles whose copy is at most this long are copied into one piece; longer ones share theirs.
const COPY_BYTES_MAX: usize = 4096;

/// What a bundle carries; each class of an origin has a sequence of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Class {
    /// Decisions of the coordinators.
    System = 0,
    /// Changes of a keyspace: contiguous and hash-chained.
    State = 1,
    /// Events and messages that go first.
    EventPriority = 2,
    /// Events and messages.
    EventBulk = 3,
}

impl Class {
    /// All classes in the order of their numbers.
    pub const ALL: [Class; 4] = [Class::System, Class::State, Class::EventPriority, Class::EventBulk];

    /// The class with this number.
    pub fn from_number(number: u8) -> Option<Class> {
        Class::ALL.get(usize::from(number)).copied()
    }
}

/// The unsigned prefix of a copy: where it goes and which sections it has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Passage {
    /// Nodes passed so far; over [`limits::HOPS_MAX`] the copy is dropped and counted.
    pub hops: u8,
    /// Whether nothing older of this class is owed to the same destination: a run begins here. Who
    /// passes bundles on drops those of a run whose beginning it did not see on the same way, since
    /// later ones must not overtake earlier ones that went another way.
    pub is_first: bool,
    /// How many ways on from the next node the origin passes over: what it sent by them was not
    /// acknowledged in time.
    pub detour: u16,
    /// The region that this copy is for.
    pub region: RegionId,
    /// The view that the sender routed by; zero where no tree is in use.
    pub view: u64,
    /// Edges that directed sections are for, by index of the section.
    pub routes: Vec<(u16, ShortId)>,
}

/// What the header says of one section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Owner of the subject; 0 is the default tenant.
    pub tenant: u32,
    /// Key that the payloads are encrypted under; 0 when they are plain.
    pub key: u32,
    /// Encoding of the payloads; 0 is plain.
    pub codec: u8,
    /// Whether the subject is the 16 bytes of an agent's id instead of a name.
    pub directed: bool,
    /// Entries in the body.
    pub count: u16,
    /// The subject's bytes.
    pub subject: Bytes,
    /// BLAKE3 of the body.
    pub hash: [u8; 32],
    /// Length of the body in bytes.
    pub length: u32,
    /// The body, if this copy carries it.
    pub body: Option<Bytes>,
}

/// A bundle as it arrived or was sealed; `header` includes the signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// What the entries are.
    pub class: Class,
    /// The mesh.
    pub mesh: MeshId,
    /// The node that signed.
    pub origin: ShortId,
    /// The origin's incarnation.
    pub incarnation: u64,
    /// Number within (origin, incarnation, class), from 1.
    pub sequence: u64,
    /// The origin's hybrid logical clock.
    pub clock: u64,
    /// Hash of the header before this one (state only).
    pub previous: Option<[u8; 32]>,
    /// Whether it has the whole state rather than what changed (state only).
    pub is_checkpoint: bool,
    /// The agents that speak in it; entries name them by index.
    pub agents: Vec<AgentId>,
    /// The sections in order.
    pub sections: Vec<Section>,
    /// Signed header and signature.
    pub header: Bytes,
    /// BLAKE3 of the signed header: what the signature covers, and this bundle's name.
    pub hash: [u8; 32],
}

impl Bundle {
    /// Writes, hashes and signs the header for the rest of the fields.
    pub fn signed_by(mut self, key: &Signer) -> Bundle {
        let mut header = encode_header(&self);
        self.hash = *blake3::hash(&header).as_bytes();
        header.extend_from_slice(&key.sign(Context::Bundle, &self.hash).0);
        self.header = header.freeze();
        self
    }

    /// Whether `key` signed it and the present bodies are those that the header names.
    pub fn is_genuine(&self, key: &VerifyKey) -> bool {
        self.bodies_match() && key.verify(Context::Bundle, &self.hash, &Signature(self.signature()))
    }

    /// The signature over [`Bundle::hash`].
    pub fn signature(&self) -> [u8; SIGNATURE_BYTES] {
        let mut signature = [0; SIGNATURE_BYTES];
        signature.copy_from_slice(&self.header[self.header.len() - SIGNATURE_BYTES..]);
        signature
    }

    /// Whether the present bodies are those that the header names.
    pub fn bodies_match(&self) -> bool {
        self.sections.iter().all(|section| {
            section.body.as_ref().is_none_or(|body| *blake3::hash(body).as_bytes() == section.hash)
        })
    }

    /// Bytes of header and present bodies.
    pub fn len(&self) -> usize {
        self.header.len()
            + self.sections.iter().filter_map(|s| s.body.as_ref()).map(Bytes::len).sum::<usize>()
    }

    /// Never true; for symmetry with [`Bundle::len`].
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The indices of the sections whose bodies are here.
    pub fn present(&self) -> impl Iterator<Item = usize> + '_ {
        self.sections.iter().enumerate().filter(|(_, s)| s.body.is_some()).map(|(index, _)| index)
    }

    /// A frame with the sections named in `keep` (all of them must be present).
    pub fn to_parcel(&self, passage: &Passage, keep: &SectionSet) -> Parcel {
        let kept = || self.sections.iter().enumerate().filter(|(index, _)| keep.has(*index));
        let bodies: usize = kept().filter_map(|(_, s)| s.body.as_ref()).map(Bytes::len).sum();
        let bitmap = self.sections.len().div_ceil(8);
        let prefix = PREFIX_FIXED_BYTES + passage.routes.len() * 10 + bitmap;
        let body_length = prefix + self.header.len() + bodies;
        let copied = body_length <= COPY_BYTES_MAX;
        let front_length = FRAME_HEADER_BYTES + if copied { body_length } else { prefix };
        let mut front = BytesMut::with_capacity(front_length);
        put_frame_header(&mut front, FrameType::Bundle, body_length);
        front.put_u8(passage.hops);
        front.put_u8(u8::from(passage.is_first));
        front.put_u16_le(u16::try_from(passage.routes.len()).expect("at most one route a section"));
        front.put_u16_le(u16::try_from(self.sections.len()).expect("at most one section an entry"));
        front.put_u16_le(passage.detour);
        front.put_u32_le(u32::try_from(self.header.len()).expect("headers are bounded by 64 KiB"));
        front.put_u64_le(passage.region.0);
        front.put_u64_le(passage.view);
        for (section, edge) in &passage.routes {
            front.put_u16_le(*section);
            front.put_u64_le(edge.0);
        }
        for byte in 0..bitmap {
            front.put_u8(keep.byte(byte));
        }
        let bodies = kept().filter_map(|(_, section)| section.body.as_ref());
        if copied {
            front.put_slice(&self.header);
            bodies.for_each(|body| front.put_slice(body));
            return front.freeze().into();
        }
        let shared = std::iter::once(&self.header).chain(bodies).cloned().collect();
        Parcel { front: front.freeze(), shared }
    }

    /// Reads the body of a [`FrameType::Bundle`]; slices share its memory. Checks structure and
    /// limits, neither hashes nor the signature.
    pub fn decode(frame: &Bytes) -> Result<(Passage, Bundle), DecodeError> {
        let mut reader = Reader::new(frame);
        let hops = reader.u8()?;
        let is_first = reader.u8()? & 1 == 1;
        let routes_count = usize::from(reader.u16()?);
        let sections_count = usize::from(reader.u16()?);
        let detour = reader.u16()?;
        let header_length = reader.u32()? as usize;
        let region = RegionId(reader.u64()?);
        let view = reader.u64()?;
        if routes_count.max(sections_count) > limits::BUNDLE_SECTIONS_MAX {
            return Err(DecodeError::TooLong("bundle prefix"));
        }
        let mut routes = Vec::with_capacity(routes_count);
        for _ in 0..routes_count {
            routes.push((reader.u16()?, ShortId(reader.u64()?)));
        }
        let bitmap = reader.take(sections_count.div_ceil(8))?;
        let header_at = reader.position();
        if !(HEADER_FIXED_BYTES + SIGNATURE_BYTES..=limits::BUNDLE_BYTES_MAX).contains(&header_length) {
            return Err(DecodeError::TooLong("header"));
        }
        reader.take(header_length)?;
        let mut bundle = decode_header(frame.slice(header_at..header_at + header_length))?;
        if bundle.sections.len() != sections_count {
            return Err(DecodeError::Invalid("section count"));
        }
        for (index, section) in bundle.sections.iter_mut().enumerate() {
            if bitmap[index / 8] >> (index % 8) & 1 == 1 {
                let at = reader.position();
                reader.take(section.length as usize)?;
                section.body = Some(frame.slice(at..at + section.length as usize));
            }
        }
        if routes.iter().any(|(section, _)| usize::from(*section) >= bundle.sections.len()) {
            return Err(DecodeError::Invalid("route"));
        }
        reader.finish()?;
        Ok((Passage { hops, is_first, detour, region, view, routes }, bundle))
    }
}

/// The front of a header, which names the bundle: its first 48 bytes, or 80 with a previous hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Front {
    /// What the entries are.
    pub class: Class,
    /// Whether it has the whole state rather than what changed.
    pub is_checkpoint: bool,
    /// Agents that the header says follow.
    pub agents: u16,
    /// Sections that the header says follow.
    pub sections: u16,
    /// The mesh.
    pub mesh: MeshId,
    /// The node that signed.
    pub origin: ShortId,
    /// The origin's incarnation.
    pub incarnation: u64,
    /// Number within (origin, incarnation, class).
    pub sequence: u64,
    /// The origin's hybrid logical clock.
    pub clock: u64,
    /// Hash of the header before this one.
    pub previous: Option<[u8; 32]>,
}

impl Front {
    /// Reads the front alone; leaves the reader behind it and checks no count.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Front, DecodeError> {
        if reader.u8()? != BUNDLE_VERSION {
            return Err(DecodeError::Invalid("bundle version"));
        }
        let class = Class::from_number(reader.u8()?).ok_or(DecodeError::Invalid("class"))?;
        let flags = reader.u16()?;
        Ok(Front {
            class,
            is_checkpoint: flags & FLAG_CHECKPOINT != 0,
            agents: reader.u16()?,
            sections: reader.u16()?,
            mesh: MeshId(reader.u64()?),
            origin: ShortId(reader.u64()?),
            incarnation: reader.u64()?,
            sequence: reader.u64()?,
            clock: reader.u64()?,
            previous: if flags & FLAG_PREVIOUS != 0 { Some(reader.array()?) } else { None },
        })
    }

    /// Whether it lists more than any bundle of this version may hold.
    pub fn is_overlong(&self) -> bool {
        usize::from(self.agents) > limits::BUNDLE_ENTRIES_MAX
            || usize::from(self.sections) > limits::BUNDLE_SECTIONS_MAX
    }
}

fn decode_header(header: Bytes) -> Result<Bundle, DecodeError> {
    let signed = header.len() - SIGNATURE_BYTES;
    let mut reader = Reader::new(&header[..signed]);
    let front = Front::decode(&mut reader)?;
    if front.is_overlong() {
        return Err(DecodeError::TooLong("bundle table"));
    }
    let (agents_count, sections_count) = (usize::from(front.agents), usize::from(front.sections));
    let mut agents = Vec::with_capacity(agents_count);
    for _ in 0..agents_count {
        agents.push(AgentId(reader.array()?));
    }
    let mut sections = Vec::with_capacity(sections_count);
    for _ in 0..sections_count {
        sections.push(decode_section(&mut reader, &header)?);
    }
    reader.finish()?;
    let hash = *blake3::hash(&header[..signed]).as_bytes();
    Ok(Bundle {
        class: front.class,
        mesh: front.mesh,
        origin: front.origin,
        incarnation: front.incarnation,
        sequence: front.sequence,
        clock: front.clock,
        previous: front.previous,
        is_checkpoint: front.is_checkpoint,
        agents,
        sections,
        header,
        hash,
    })
}

fn decode_section(reader: &mut Reader<'_>, header: &Bytes) -> Result<Section, DecodeError> {
    let tenant = reader.u32()?;
    let key = reader.u32()?;
    let codec = reader.u8()?;
    let flags = reader.u8()?;
    let count = reader.u16()?;
    let subject_length = usize::from(reader.u16()?);
    reader.u16()?;
    let length = reader.u32()?;
    let hash = reader.array()?;
    if subject_length > limits::SUBJECT_BYTES_MAX {
        return Err(DecodeError::TooLong("subject"));
    }
    if length as usize > limits::PAYLOAD_BYTES_MAX + limits::SUBJECT_BYTES_MAX * 2 {
        return Err(DecodeError::TooLong("section"));
    }
    let directed = flags & SECTION_DIRECTED != 0;
    if directed && subject_length != 16 {
        return Err(DecodeError::Invalid("directed subject"));
    }
    let at = reader.position();
    reader.take(subject_length)?;
    let subject = header.slice(at..at + subject_length);
    if !directed && std::str::from_utf8(&subject).is_err() {
        return Err(DecodeError::Invalid("subject"));
    }
    Ok(Section { tenant, key, codec, directed, count, subject, hash, length, body: None })
}

/// A set of section indices of one bundle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SectionSet([u64; limits::BUNDLE_SECTIONS_MAX / 64]);

impl SectionSet {
    /// The set with the first `count` indices.
    pub fn first(count: usize) -> SectionSet {
        let mut set = SectionSet::default();
        (0..count).for_each(|index| set.insert(index));
        set
    }

    /// The sections that `bundle` carries.
    pub fn present_in(bundle: &Bundle) -> SectionSet {
        let mut set = SectionSet::default();
        bundle.present().for_each(|index| set.insert(index));
        set
    }

    /// Adds `index`, which must be below [`limits::BUNDLE_SECTIONS_MAX`].
    pub fn insert(&mut self, index: usize) {
        self.0[index / 64] |= 1 << (index % 64);
    }

    /// Whether `index` is in the set.
    pub fn has(&self, index: usize) -> bool {
        self.0.get(index / 64).is_some_and(|word| word >> (index % 64) & 1 == 1)
    }

    /// Whether nothing is in the set.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    fn byte(&self, index: usize) -> u8 {
        self.0[index / 8].to_le_bytes()[index % 8]
    }
}

/// Writes the signed part of a header.
fn encode_header(bundle: &Bundle) -> BytesMut {
    let subjects: usize = bundle.sections.iter().map(|s| s.subject.len() + SECTION_FIXED_BYTES).sum();
    let mut out = BytesMut::with_capacity(
        HEADER_FIXED_BYTES + 32 + bundle.agents.len() * 16 + subjects + SIGNATURE_BYTES,
    );
    out.put_u8(BUNDLE_VERSION);
    out.put_u8(bundle.class as u8);
    let flag = |is_set: bool, flag: u16| if is_set { flag } else { 0 };
    out.put_u16_le(
        flag(bundle.previous.is_some(), FLAG_PREVIOUS) | flag(bundle.is_checkpoint, FLAG_CHECKPOINT),
    );
    out.put_u16_le(u16::try_from(bundle.agents.len()).expect("at most one agent an entry"));
    out.put_u16_le(u16::try_from(bundle.sections.len()).expect("at most one section an entry"));
    out.put_u64_le(bundle.mesh.0);
    out.put_u64_le(bundle.origin.0);
    out.put_u64_le(bundle.incarnation);
    out.put_u64_le(bundle.sequence);
    out.put_u64_le(bundle.clock);
    if let Some(previous) = &bundle.previous {
        out.put_slice(previous);
    }
    for agent in &bundle.agents {
        out.put_slice(&agent.0);
    }
    for section in &bundle.sections {
        out.put_u32_le(section.tenant);
        out.put_u32_le(section.key);
        out.put_u8(section.codec);
        out.put_u8(if section.directed { SECTION_DIRECTED } else { 0 });
        out.put_u16_le(section.count);
        out.put_u16_le(u16::try_from(section.subject.len()).expect("subjects have at most 256 bytes"));
        out.put_u16_le(0);
        out.put_u32_le(section.length);
        out.put_slice(&section.hash);
        out.put_slice(&section.subject);
    }
    out
}

#[cfg(test)]
mod tests;
