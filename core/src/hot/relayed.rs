//! Links that lead over other nodes (docs/protocol.md#relayed).
//!
//! Two nodes without a link of their own have a **relayed link**: a session through one node or more
//! that lie between them, which pass its frames on as they are, lane by lane and in order. Its ends
//! check what comes by a key that only they have, so a relay can hold back what it passes on, and no
//! more. Everything above takes a relayed link for a link: it has a slot, and whatever happens on
//! the way ends it.
//!
//! Control messages of a relayed link are the machines' (`membership::relaying`); here are the other
//! frames, by the tables of the view.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use super::counters::Counters;
use super::plane::{Plane, Touched};
use super::view::View;
use crate::hash::HashMap;
use crate::machine::LinkSlot;
use crate::time::Now;
use crate::wire::frame::{
    FRAME_HEADER_BYTES, FrameDecoder, FrameType, Parcel, RELAYED_BYTES, put_frame_header,
};

/// Bytes of the code by which an end knows the other's words.
pub const CODE_BYTES: usize = 16;
/// Bytes before the frame that is relayed.
const FRONT_BYTES: usize = 4 + CODE_BYTES;

/// A lane of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Control messages and acknowledgements.
    Control,
    /// Bundles that go first.
    Priority,
    /// Bundles.
    Bulk,
}

/// An end of a relayed link.
#[derive(Clone, PartialEq, Eq)]
pub struct End {
    /// The link that it leaves by.
    pub via: LinkSlot,
    /// Its number there.
    pub session: u32,
    /// What only its two ends know.
    pub key: [u8; 32],
    /// Whether this is the end that opened it: a word of one end is none of the other.
    pub is_opener: bool,
}

impl std::fmt::Debug for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("End").field("via", &self.via).field("session", &self.session).finish_non_exhaustive()
    }
}

/// What a code is for, by its first byte; the second says which end speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Word {
    /// A relayed link is opened, or accepted.
    Greeting = 0,
    /// A control message.
    Message = 1,
    /// Another frame.
    Frame = 2,
}

impl End {
    /// The code of what this end says, in pieces.
    pub fn code<'a>(&self, word: Word, pieces: impl IntoIterator<Item = &'a [u8]>) -> [u8; CODE_BYTES] {
        code(&self.key, word, self.is_opener, pieces)
    }

    /// Whether the other end said this.
    pub fn is_said<'a>(
        &self,
        word: Word,
        pieces: impl IntoIterator<Item = &'a [u8]>,
        claimed: &[u8],
    ) -> bool {
        // Compared as hashes compare: without a hint at how much of it was right.
        blake3::Hash::from_bytes(widened(&code(&self.key, word, !self.is_opener, pieces)))
            == blake3::Hash::from_bytes(widened(claimed))
            && claimed.len() == CODE_BYTES
    }

    /// The code of a frame that this end sends: over its hash, so that what goes to many is hashed once.
    pub(super) fn code_of(&self, digest: &[u8; 32]) -> [u8; CODE_BYTES] {
        self.code(Word::Frame, [&digest[..]])
    }

    /// Whether the other end sent the frame with this hash.
    pub(super) fn is_code_of(&self, digest: &[u8; 32], claimed: &[u8]) -> bool {
        self.is_said(Word::Frame, [&digest[..]], claimed)
    }

    /// A frame as it leaves by the link that leads there.
    fn wrap(&self, parcel: Parcel) -> Parcel {
        let code = self.code_of(&digest_of(&parcel));
        let mut front = BytesMut::with_capacity(FRAME_HEADER_BYTES + RELAYED_BYTES + parcel.front.len());
        put_frame_header(&mut front, FrameType::Relayed, FRONT_BYTES + parcel.len());
        front.put_u32_le(self.session);
        front.put_slice(&code);
        front.put_slice(&parcel.front);
        Parcel { front: front.freeze(), shared: parcel.shared }
    }
}

/// The hash of a frame.
pub(super) fn digest_of(parcel: &Parcel) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&parcel.front);
    parcel.shared.iter().for_each(|piece| {
        hasher.update(piece);
    });
    *hasher.finalize().as_bytes()
}

fn code<'a>(
    key: &[u8; 32],
    word: Word,
    is_openers: bool,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> [u8; CODE_BYTES] {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(&[word as u8, u8::from(is_openers)]);
    pieces.into_iter().for_each(|piece| {
        hasher.update(piece);
    });
    let mut code = [0; CODE_BYTES];
    hasher.finalize_xof().fill(&mut code);
    code
}

fn widened(code: &[u8]) -> [u8; 32] {
    let mut wide = [0; 32];
    let length = code.len().min(CODE_BYTES);
    wide[..length].copy_from_slice(&code[..length]);
    wide
}

/// Where frames of a session go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Onward {
    /// On by this link, under this number.
    By(LinkSlot, u32),
    /// They are for this node, over this relayed link.
    Here(LinkSlot),
}

/// Relayed links that end here or pass here.
#[derive(Clone, Debug, Default)]
pub struct Relays {
    /// Where what comes by a link in a session goes.
    pub onward: HashMap<(LinkSlot, u32), Onward>,
    /// Relayed links of this node.
    pub ends: HashMap<LinkSlot, Arc<End>>,
}

impl View {
    /// The link by which something leaves, and what leaves: both change on a relayed link.
    pub(super) fn leave_by(&self, link: LinkSlot, parcel: Parcel) -> (LinkSlot, Parcel) {
        match self.relays.ends.get(&link) {
            Some(end) => (end.via, end.wrap(parcel)),
            None => (link, parcel),
        }
    }
}

impl Plane {
    /// Takes the body of a relayed frame that came on a lane of a link: passes it on, or does what it
    /// says. Returns the body of a control frame for the machine, with the link that it counts for.
    pub fn relayed(
        &self,
        now: Now,
        from: LinkSlot,
        lane: Lane,
        frame: &Bytes,
        touched: &mut Touched,
    ) -> Option<(LinkSlot, Bytes)> {
        let view = self.view();
        let session = frame.get(..4).map(|bytes| u32::from_le_bytes(bytes.try_into().expect("4 bytes")));
        let onward = session.and_then(|session| view.relays.onward.get(&(from, session)));
        let (Some(onward), true) = (onward, frame.len() >= RELAYED_BYTES) else {
            // Its end crosses with what is still on the way.
            Counters::add(&self.counters.stray_relayed_frames, 1);
            return None;
        };
        match *onward {
            Onward::By(link, session) => {
                self.pass_relayed(link, session, lane, frame, touched);
                None
            }
            Onward::Here(link) => {
                let end = view.relays.ends.get(&link)?;
                self.take_relayed(now, (link, end), lane, frame, touched)
            }
        }
    }

    fn pass_relayed(&self, link: LinkSlot, session: u32, lane: Lane, frame: &Bytes, touched: &mut Touched) {
        let mut front = BytesMut::with_capacity(FRAME_HEADER_BYTES + 4);
        put_frame_header(&mut front, FrameType::Relayed, frame.len());
        front.put_u32_le(session);
        let parcel = Parcel { front: front.freeze(), shared: Box::new([frame.slice(4..)]) };
        Counters::add(&self.counters.relayed_frames, 1);
        match lane {
            Lane::Control => self.outlet().acknowledge(link, parcel),
            Lane::Priority | Lane::Bulk => self.queue_bundle(link, lane == Lane::Priority, parcel, touched),
        }
    }

    fn take_relayed(
        &self,
        now: Now,
        (link, end): (LinkSlot, &End),
        lane: Lane,
        frame: &Bytes,
        touched: &mut Touched,
    ) -> Option<(LinkSlot, Bytes)> {
        let inner = frame.slice(FRONT_BYTES..);
        if !end.is_code_of(blake3::hash(&inner).as_bytes(), &frame[4..FRONT_BYTES]) {
            Counters::add(&self.counters.refused_frames, 1);
            return None;
        }
        let mut decoder = FrameDecoder::new();
        decoder.push(inner);
        match (lane, decoder.next_frame()) {
            (Lane::Control, Ok(Some((FrameType::Acknowledge, body)))) => {
                self.acknowledge(now, link, &body, touched);
            }
            (Lane::Control, Ok(Some((FrameType::Control, body)))) => return Some((link, body)),
            (Lane::Priority | Lane::Bulk, Ok(Some((FrameType::Bundle, body)))) => {
                self.receive(now, link, &body, touched);
            }
            _ => Counters::add(&self.counters.refused_frames, 1),
        }
        None
    }
}

#[cfg(test)]
pub(super) mod tests;
