//! The frames between an agent's client and its edge that are written by hand because they carry
//! traffic (docs/protocol.md#agent-frames). Requests and replies are in [`super::message`].

use bytes::{BufMut, Bytes, BytesMut};

use super::bundle::Class;
use super::codec::{DecodeError, Reader, Wire, put_short, take_short};
use super::entry::{Entry, Extras, entry_bytes, put_entry, take_entry};
use super::frame::{FRAME_HEADER_BYTES, FrameType, frame, put_frame_header};
use crate::id::{AgentId, ShortId};
use crate::identity::AttachClaim;
use crate::limits;

/// One agent of an attach frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The index by which this connection will name the agent.
    pub index: u32,
    /// The agent's signed delegation to this edge.
    pub claim: AttachClaim,
    /// Name, state and tags to start with.
    pub profile: Profile,
}

/// What an agent says of itself; each label has at most [`limits::LABEL_BYTES_MAX`] bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// A name for people; need not be unique.
    pub name: String,
    /// The state it is in, counted in summaries.
    pub state: String,
    /// Tags, counted in summaries.
    pub tags: Vec<String>,
}

fn label(reader: &mut Reader<'_>) -> Result<String, DecodeError> {
    let bytes = take_short(reader, limits::LABEL_BYTES_MAX, "label")?;
    String::from_utf8(bytes.to_vec()).map_err(|_| DecodeError::Invalid("label"))
}

fn tags(reader: &mut Reader<'_>) -> Result<Vec<String>, DecodeError> {
    let count = usize::from(reader.u8()?);
    if count > limits::TAGS_PER_AGENT_MAX {
        return Err(DecodeError::TooLong("tags"));
    }
    (0..count).map(|_| label(reader)).collect()
}

fn put_tags(out: &mut BytesMut, tags: &[String]) {
    out.put_u8(u8::try_from(tags.len()).expect("at most 16 tags"));
    tags.iter().for_each(|tag| put_short(out, tag.as_bytes()));
}

impl Wire for Profile {
    fn encode(&self, out: &mut BytesMut) {
        put_short(out, self.name.as_bytes());
        put_short(out, self.state.as_bytes());
        put_tags(out, &self.tags);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Profile, DecodeError> {
        Ok(Profile { name: label(reader)?, state: label(reader)?, tags: tags(reader)? })
    }
}

/// Agents that ask to be hosted, answered by one reply.
#[derive(Clone, Debug, PartialEq)]
pub struct Attach {
    /// Chosen by the client, returned in the reply.
    pub request: u64,
    /// At most [`limits::CLAIMS_PER_ATTACH_MAX`].
    pub candidates: Vec<Candidate>,
}

impl Wire for Attach {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u64_le(self.request);
        out.put_u16_le(u16::try_from(self.candidates.len()).expect("at most 256 claims"));
        for candidate in &self.candidates {
            out.put_u32_le(candidate.index);
            candidate.claim.encode(out);
            candidate.profile.encode(out);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Attach, DecodeError> {
        let request = reader.u64()?;
        let count = usize::from(reader.u16()?);
        if count > limits::CLAIMS_PER_ATTACH_MAX {
            return Err(DecodeError::TooLong("claims"));
        }
        let mut candidates = Vec::with_capacity(count);
        for _ in 0..count {
            let index = reader.u32()?;
            if index as usize >= limits::AGENTS_PER_CONNECTION_MAX {
                return Err(DecodeError::TooLong("agent index"));
            }
            let claim = AttachClaim::decode(reader)?;
            candidates.push(Candidate { index, claim, profile: Profile::decode(reader)? });
        }
        Ok(Attach { request, candidates })
    }
}

/// A change of an agent's state or tags. Changes of a connection are numbered from 1 without being
/// told; a reply names the version of the edge's summary that has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The agent.
    pub index: u32,
    /// The new state, if it changed.
    pub state: Option<String>,
    /// All tags, if they changed.
    pub tags: Option<Vec<String>>,
}

impl Wire for Change {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u32_le(self.index);
        out.put_u8(u8::from(self.state.is_some()) | u8::from(self.tags.is_some()) << 1);
        if let Some(state) = &self.state {
            put_short(out, state.as_bytes());
        }
        if let Some(tags) = &self.tags {
            put_tags(out, tags);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Change, DecodeError> {
        let index = reader.u32()?;
        let flags = reader.u8()?;
        if flags > 3 {
            return Err(DecodeError::Invalid("change flags"));
        }
        let state = if flags & 1 != 0 { Some(label(reader)?) } else { None };
        let tags = if flags & 2 != 0 { Some(tags(reader)?) } else { None };
        Ok(Change { index, state, tags })
    }
}

/// A publication before it is in a bundle. Publications of a connection are numbered from 1
/// without being told; [`Published`] frames acknowledge ranges of these numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// Index of the agent on its connection.
    pub agent: u32,
    /// Event classes only.
    pub class: Class,
    /// Whether `subject` is an agent's id.
    pub directed: bool,
    /// Subject, or the 16 bytes of the receiving agent's id.
    pub subject: Bytes,
    /// The agent's sequence.
    pub sequence: u64,
    /// Optional parts of the entry.
    pub extras: Extras,
    /// The payload.
    pub payload: Bytes,
}

/// What a publication takes of its client's window, in bytes: its whole frame.
pub fn publish_bytes(subject: &Bytes, extras: &Extras, payload: &Bytes) -> usize {
    FRAME_HEADER_BYTES + 8 + subject.len() + entry_bytes(extras, payload.len())
}

impl Publish {
    /// Appends the whole frame.
    pub fn put_frame(&self, out: &mut BytesMut) {
        let whole = publish_bytes(&self.subject, &self.extras, &self.payload);
        let body = whole - FRAME_HEADER_BYTES;
        out.reserve(whole);
        put_frame_header(out, FrameType::Publish, body);
        out.put_u32_le(self.agent);
        out.put_u8(self.class as u8);
        out.put_u8(u8::from(self.directed));
        put_short(out, &self.subject);
        put_entry(out, 0, self.sequence, &self.extras, &self.payload);
    }

    /// Reads the body of a frame; subject and payload share its memory.
    pub fn decode(frame: &Bytes) -> Result<Publish, DecodeError> {
        let mut reader = Reader::new(frame);
        let agent = reader.u32()?;
        let class = Class::from_number(reader.u8()?).filter(|class| *class >= Class::EventPriority);
        let class = class.ok_or(DecodeError::Invalid("class"))?;
        let directed = match reader.u8()? {
            0 => false,
            1 => true,
            _ => return Err(DecodeError::Invalid("publish flags")),
        };
        let subject = frame.slice_ref(take_short(&mut reader, limits::SUBJECT_BYTES_MAX, "subject")?);
        if directed && subject.len() != 16 {
            return Err(DecodeError::Invalid("receiver"));
        }
        let Entry { sequence, extras, payload, .. } = take_entry(&mut reader)?;
        reader.finish()?;
        let payload = frame.slice_ref(payload);
        Ok(Publish { agent, class, directed, subject, sequence, extras, payload })
    }
}

/// Ranges of publication numbers, both ends included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Published(pub Vec<(u64, u64)>);

impl Published {
    /// The whole frame.
    pub fn to_frame(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(FRAME_HEADER_BYTES + self.0.len() * 16);
        put_frame_header(&mut out, FrameType::Published, self.0.len() * 16);
        for (from, to) in &self.0 {
            out.put_u64_le(*from);
            out.put_u64_le(*to);
        }
        out.freeze()
    }

    /// Reads the body of a frame.
    pub fn decode(body: &[u8]) -> Result<Published, DecodeError> {
        let mut reader = Reader::new(body);
        let mut ranges = Vec::with_capacity(body.len() / 16);
        while reader.remaining() > 0 {
            ranges.push((reader.u64()?, reader.u64()?));
        }
        Ok(Published(ranges))
    }
}

/// To whom on a connection a delivery goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Receivers {
    /// Subscriptions, by the numbers that the client gave them.
    Subscriptions(Vec<u32>),
    /// The inbox of the agent with this index.
    Inbox(u32),
}

/// Entries of one section for one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deliver {
    /// Who gets them.
    pub receivers: Receivers,
    /// Class of the bundle.
    pub class: Class,
    /// Subject, or the receiving agent's id.
    pub subject: Bytes,
    /// The node that sealed the bundle.
    pub origin: ShortId,
    /// The origin's hybrid logical clock.
    pub clock: u64,
    /// The agents named in the body: (index, id), ascending.
    pub agents: Vec<(u16, AgentId)>,
    /// Entries in the body.
    pub count: u16,
    /// The section's body.
    pub body: Bytes,
}

impl Deliver {
    /// Bytes of the frame before the section's body.
    fn front_bytes(&self) -> usize {
        let receivers = match &self.receivers {
            Receivers::Subscriptions(numbers) => numbers.len(),
            Receivers::Inbox(_) => 1,
        };
        3 + receivers * 4 + 1 + 2 + self.subject.len() + 16 + 2 + self.agents.len() * 18 + 2
    }

    /// Appends everything but the body.
    pub fn put_front(&self, out: &mut BytesMut) {
        put_frame_header(out, FrameType::Deliver, self.front_bytes() + self.body.len());
        let (kind, numbers) = match &self.receivers {
            Receivers::Subscriptions(numbers) => (0, numbers.as_slice()),
            Receivers::Inbox(index) => (1, std::slice::from_ref(index)),
        };
        out.put_u8(kind);
        out.put_u16_le(u16::try_from(numbers.len()).expect("the caller splits longer lists"));
        numbers.iter().for_each(|number| out.put_u32_le(*number));
        out.put_u8(self.class as u8);
        put_short(out, &self.subject);
        out.put_u64_le(self.origin.0);
        out.put_u64_le(self.clock);
        out.put_u16_le(u16::try_from(self.agents.len()).expect("at most one agent an entry"));
        for (index, agent) in &self.agents {
            out.put_u16_le(*index);
            out.put_slice(&agent.0);
        }
        out.put_u16_le(self.count);
    }

    /// Bytes of the whole frame.
    pub fn frame_bytes(&self) -> usize {
        FRAME_HEADER_BYTES + self.front_bytes() + self.body.len()
    }

    /// Reads the body of a frame; slices share its memory.
    pub fn decode(frame: &Bytes) -> Result<Deliver, DecodeError> {
        let mut reader = Reader::new(frame);
        let kind = reader.u8()?;
        let count = usize::from(reader.u16()?);
        let mut numbers = Vec::with_capacity(count.min(reader.remaining() / 4));
        for _ in 0..count {
            numbers.push(reader.u32()?);
        }
        let receivers = match (kind, numbers.as_slice()) {
            (0, _) => Receivers::Subscriptions(numbers),
            (1, [index]) => Receivers::Inbox(*index),
            _ => return Err(DecodeError::Invalid("receivers")),
        };
        let class = Class::from_number(reader.u8()?).ok_or(DecodeError::Invalid("class"))?;
        let subject = frame.slice_ref(take_short(&mut reader, limits::SUBJECT_BYTES_MAX, "subject")?);
        let origin = ShortId(reader.u64()?);
        let clock = reader.u64()?;
        let agents_count = usize::from(reader.u16()?);
        let mut agents = Vec::with_capacity(agents_count.min(reader.remaining() / 18));
        for _ in 0..agents_count {
            agents.push((reader.u16()?, AgentId(reader.array()?)));
        }
        let count = reader.u16()?;
        let body = frame.slice(reader.position()..);
        Ok(Deliver { receivers, class, subject, origin, clock, agents, count, body })
    }

    /// The agent behind `index`, if the table has it.
    pub fn agent(&self, index: u16) -> Option<AgentId> {
        let at = self.agents.binary_search_by_key(&index, |(index, _)| *index).ok()?;
        Some(self.agents[at].1)
    }
}

/// A system update for one agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct System {
    /// The agent.
    pub agent: u32,
    /// Number of the update in the coordinators' log, from 1.
    pub index: u64,
    /// What was decided.
    pub payload: Bytes,
}

impl System {
    /// Appends the whole frame.
    pub fn put_frame(&self, out: &mut BytesMut) {
        put_frame_header(out, FrameType::System, 12 + self.payload.len());
        out.put_u32_le(self.agent);
        out.put_u64_le(self.index);
        out.put_slice(&self.payload);
    }

    /// Reads the body of a frame.
    pub fn decode(frame: &Bytes) -> Result<System, DecodeError> {
        let mut reader = Reader::new(frame);
        let agent = reader.u32()?;
        let index = reader.u64()?;
        Ok(System { agent, index, payload: frame.slice(reader.position()..) })
    }
}

/// An agent has every system update up to an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SystemAcknowledge {
    /// The agent.
    pub agent: u32,
    /// The update.
    pub index: u64,
}

impl SystemAcknowledge {
    /// Appends the whole frame.
    pub fn put_frame(&self, out: &mut BytesMut) {
        put_frame_header(out, FrameType::SystemAcknowledge, 12);
        out.put_u32_le(self.agent);
        out.put_u64_le(self.index);
    }

    /// Reads the body of a frame.
    pub fn decode(body: &[u8]) -> Result<SystemAcknowledge, DecodeError> {
        let mut reader = Reader::new(body);
        let acknowledge = SystemAcknowledge { agent: reader.u32()?, index: reader.u64()? };
        reader.finish()?;
        Ok(acknowledge)
    }
}

/// A frame round a value with one encoding.
pub fn wire_frame(kind: FrameType, value: &impl Wire) -> Bytes {
    frame(kind, &value.to_bytes())
}

#[cfg(test)]
mod tests;
