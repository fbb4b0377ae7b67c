//! Frames on a stream: length, type, flags, body (docs/protocol.md#frame).

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::codec::DecodeError;
use crate::limits;

/// Bytes before a frame's body: length of the body (4), type (1), flags (1).
pub const FRAME_HEADER_BYTES: usize = 6;
/// Bytes that go round a relayed frame: its session (4) and its code (16), and its header counts as
/// part of it.
pub const RELAYED_BYTES: usize = 4 + 16 + FRAME_HEADER_BYTES;
/// Relayed links that one copies frame is for, at the most.
pub const COPIES_MAX: usize = 512;
/// Bytes that go round the bundle of a copies frame, at the most: four, and for each relayed link its session
/// (4) and a code (16); and the bundle's header counts as part of it.
pub const COPIES_BYTES: usize = 4 + 20 * COPIES_MAX + FRAME_HEADER_BYTES;
/// Flag: a receiver that does not know the type must hang up instead of skipping the frame.
pub const FLAG_CRITICAL: u8 = 1;

/// The type of a frame. Its number is the wire's; a number is never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum FrameType {
    /// First frame of every connection, both ways.
    Hello = 0x01,
    /// A signed bundle, between nodes.
    Bundle = 0x10,
    /// Bundles that every receiver behind the sender has.
    Acknowledge = 0x11,
    /// A frame on its way over other nodes.
    Relayed = 0x12,
    /// A bundle on its way to several nodes over others.
    Copies = 0x13,
    /// A message of the control plane between nodes.
    Control = 0x20,
    /// Agents attach to their edge.
    Attach = 0x40,
    /// A request of a client that is answered by a [`FrameType::Reply`].
    Request = 0x41,
    /// The answer to a request, or a notice nobody asked for.
    Reply = 0x42,
    /// An agent publishes an entry.
    Publish = 0x43,
    /// Published entries that every destination has.
    Published = 0x44,
    /// Entries for a subscription or an agent's inbox.
    Deliver = 0x45,
    /// A system update for one agent.
    System = 0x46,
    /// An agent has a system update.
    SystemAcknowledge = 0x47,
    /// An agent changed its state or tags.
    Change = 0x48,
}

impl FrameType {
    /// The type with this number, if we know it.
    pub fn from_number(number: u8) -> Option<FrameType> {
        Some(match number {
            0x01 => FrameType::Hello,
            0x10 => FrameType::Bundle,
            0x11 => FrameType::Acknowledge,
            0x12 => FrameType::Relayed,
            0x13 => FrameType::Copies,
            0x20 => FrameType::Control,
            0x40 => FrameType::Attach,
            0x41 => FrameType::Request,
            0x42 => FrameType::Reply,
            0x43 => FrameType::Publish,
            0x44 => FrameType::Published,
            0x45 => FrameType::Deliver,
            0x46 => FrameType::System,
            0x47 => FrameType::SystemAcknowledge,
            0x48 => FrameType::Change,
            _ => return None,
        })
    }

    /// The largest body that a frame of this type may have.
    pub fn body_bytes_max(self) -> usize {
        match self {
            FrameType::Bundle | FrameType::Publish | FrameType::Deliver | FrameType::Reply => {
                limits::FRAME_BYTES_MAX
            }
            FrameType::Relayed => limits::FRAME_BYTES_MAX + RELAYED_BYTES,
            FrameType::Copies => limits::FRAME_BYTES_MAX + COPIES_BYTES,
            FrameType::Hello
            | FrameType::Acknowledge
            | FrameType::Control
            | FrameType::Attach
            | FrameType::Request
            | FrameType::Published
            | FrameType::System
            | FrameType::SystemAcknowledge
            | FrameType::Change => limits::CONTROL_BYTES_MAX,
        }
    }
}

/// A frame as it leaves: contiguous front, then pieces that are shared and never copied.
#[derive(Clone, Debug, Default)]
pub struct Parcel {
    /// Frame header and everything that is this copy's own.
    pub front: Bytes,
    /// Bytes shared with other copies, in order.
    pub shared: Box<[Bytes]>,
}

impl Parcel {
    /// Bytes on the wire.
    pub fn len(&self) -> usize {
        self.front.len() + self.shared.iter().map(Bytes::len).sum::<usize>()
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<Bytes> for Parcel {
    fn from(front: Bytes) -> Parcel {
        Parcel { front, shared: Box::default() }
    }
}

/// Starts a frame whose body has `body` bytes.
pub fn put_frame_header(out: &mut BytesMut, kind: FrameType, body: usize) {
    let length = u32::try_from(body).expect("frames are bounded far below 4 GiB");
    out.put_u32_le(length);
    out.put_u8(kind as u8);
    out.put_u8(0);
}

/// A whole frame round `body`.
pub fn frame(kind: FrameType, body: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(FRAME_HEADER_BYTES + body.len());
    put_frame_header(&mut out, kind, body.len());
    out.put_slice(body);
    out.freeze()
}

/// Cuts a stream of chunks into frames; a frame inside one chunk is not copied.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    chunk: Bytes,
    partial: BytesMut,
}

impl FrameDecoder {
    /// A decoder at the start of a stream.
    pub fn new() -> FrameDecoder {
        FrameDecoder::default()
    }

    /// Adds the next bytes of the stream. Call [`FrameDecoder::next_frame`] until it has no more first.
    pub fn push(&mut self, chunk: Bytes) {
        if self.chunk.is_empty() {
            self.chunk = chunk;
        } else {
            let mut joined = BytesMut::with_capacity(self.chunk.len() + chunk.len());
            joined.put_slice(&self.chunk);
            joined.put_slice(&chunk);
            self.chunk = joined.freeze();
        }
    }

    /// Whether nothing of a frame that has begun is inside.
    pub fn is_between_frames(&self) -> bool {
        self.chunk.is_empty() && self.partial.is_empty()
    }

    /// The next whole frame. Frames of a type we do not know are skipped.
    ///
    /// # Errors
    /// The stream is not ours, a frame is over its limit, or an unknown frame is critical: hang up.
    pub fn next_frame(&mut self) -> Result<Option<(FrameType, Bytes)>, DecodeError> {
        loop {
            let Some((number, flags, body)) = self.next_raw()? else { return Ok(None) };
            match FrameType::from_number(number) {
                Some(kind) => return Ok(Some((kind, body))),
                None if flags & FLAG_CRITICAL != 0 => {
                    return Err(DecodeError::Invalid("critical frame type"));
                }
                None => {}
            }
        }
    }

    fn next_raw(&mut self) -> Result<Option<(u8, u8, Bytes)>, DecodeError> {
        if self.partial.is_empty() {
            if self.chunk.len() >= FRAME_HEADER_BYTES {
                let (length, number, flags) = parse_header(&self.chunk)?;
                if self.chunk.len() >= FRAME_HEADER_BYTES + length {
                    self.chunk.advance(FRAME_HEADER_BYTES);
                    return Ok(Some((number, flags, self.chunk.split_to(length))));
                }
                self.partial.reserve(FRAME_HEADER_BYTES + length);
            }
            self.partial.put_slice(&self.chunk);
            self.chunk = Bytes::new();
            return Ok(None);
        }
        self.fill(FRAME_HEADER_BYTES);
        if self.partial.len() < FRAME_HEADER_BYTES {
            return Ok(None);
        }
        let (length, number, flags) = parse_header(&self.partial)?;
        self.fill(FRAME_HEADER_BYTES + length);
        if self.partial.len() < FRAME_HEADER_BYTES + length {
            return Ok(None);
        }
        let mut whole = std::mem::take(&mut self.partial).freeze();
        whole.advance(FRAME_HEADER_BYTES);
        Ok(Some((number, flags, whole)))
    }

    /// Moves bytes of the chunk behind the partial frame until it has `wanted` bytes.
    fn fill(&mut self, wanted: usize) {
        let missing = wanted.saturating_sub(self.partial.len()).min(self.chunk.len());
        if missing > 0 {
            self.partial.reserve(wanted - self.partial.len());
            self.partial.put_slice(&self.chunk[..missing]);
            self.chunk.advance(missing);
        }
    }
}

fn parse_header(bytes: &[u8]) -> Result<(usize, u8, u8), DecodeError> {
    let length = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
    let max = FrameType::from_number(bytes[4]).map_or(limits::CONTROL_BYTES_MAX, FrameType::body_bytes_max);
    if length > max {
        return Err(DecodeError::TooLong("frame"));
    }
    Ok((length, bytes[4], bytes[5]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn golden_frame() {
        assert_eq!(frame(FrameType::Publish, b"ab").as_ref(), &[2, 0, 0, 0, 0x43, 0, b'a', b'b']);
    }

    #[test]
    fn an_unknown_frame_is_skipped_unless_critical() {
        let mut decoder = FrameDecoder::new();
        let mut bytes = vec![1, 0, 0, 0, 0xEE, 0, 9];
        bytes.extend_from_slice(&frame(FrameType::Reply, b"x"));
        decoder.push(bytes.into());
        assert_eq!(decoder.next_frame(), Ok(Some((FrameType::Reply, Bytes::from_static(b"x")))));
        decoder.push(vec![0, 0, 0, 0, 0xEE, FLAG_CRITICAL].into());
        assert_eq!(decoder.next_frame(), Err(DecodeError::Invalid("critical frame type")));
    }

    #[test]
    fn an_over_long_frame_is_refused_before_it_arrives() {
        let mut decoder = FrameDecoder::new();
        decoder.push(vec![0, 0, 2, 0, 0x20, 0].into());
        assert_eq!(decoder.next_frame(), Err(DecodeError::TooLong("frame")));
    }

    proptest! {
        #[test]
        fn frames_survive_any_cutting(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..20),
            cuts in prop::collection::vec(1usize..200, 1..60),
        ) {
            let mut stream = Vec::new();
            for body in &bodies {
                stream.extend_from_slice(&frame(FrameType::Deliver, body));
            }
            let mut decoder = FrameDecoder::new();
            let mut got = Vec::new();
            let mut rest = Bytes::from(stream);
            let mut sizes = cuts.iter().cycle();
            while !rest.is_empty() {
                let size = (*sizes.next().unwrap()).min(rest.len());
                decoder.push(rest.split_to(size));
                while let Some((_, body)) = decoder.next_frame().unwrap() {
                    got.push(body.to_vec());
                }
            }
            prop_assert_eq!(got, bodies);
        }

        #[test]
        fn any_bytes_are_harmless(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let mut decoder = FrameDecoder::new();
            for chunk in bytes.chunks(7) {
                decoder.push(Bytes::copy_from_slice(chunk));
                while let Ok(Some(_)) = decoder.next_frame() {}
            }
        }
    }
}
