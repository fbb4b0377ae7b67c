//! One bundle for many links (docs/protocol.md#copies).
//!
//! In a large region most nodes are reached by relayed links, and many of those leave by one link. What
//! goes to several of them leaves once, with the sessions that it is for; each node on the way passes it
//! on once by each link behind which some of them are, and keeps it if it is meant too. The ways of
//! relayed links from one node make up a tree (`topology::broadcast`), so a bundle comes to everybody
//! once, and no node sends it to more than those beside it.

use bytes::{BufMut, Bytes, BytesMut};

use super::counters::Counters;
use super::plane::{Plane, Touched};
use super::relayed::{CODE_BYTES, End, Onward, digest_of};
use super::view::View;
use crate::machine::LinkSlot;
use crate::time::{Now, Time};
use crate::wire::bundle::{Bundle, Class, Passage, SectionSet};
use crate::wire::frame::{COPIES_MAX, FRAME_HEADER_BYTES, FrameDecoder, FrameType, Parcel, put_frame_header};

/// Bytes of one session with the code of its end.
const LABEL_BYTES: usize = 4 + CODE_BYTES;
/// Bytes before the labels: flags, a byte that is zero, and how many there are.
const FRONT_BYTES: usize = 4;
/// Flag: the receiver is meant too, by the link that the frame came over.
const FOR_RECEIVER: u8 = 1;
/// Kinds of copies of one bundle that are looked through for one that is alike: which sections a node
/// wants differs little or from node to node.
const ALIKE_AMONG: usize = 8;

/// What of a bundle goes where.
#[derive(Debug, Default)]
pub struct Copies {
    groups: Vec<Group>,
}

/// Links that get the same bytes.
#[derive(Debug)]
struct Group {
    passage: Passage,
    keep: SectionSet,
    links: Vec<LinkSlot>,
}

/// A session and the code of what it is for.
type Label = (u32, [u8; CODE_BYTES]);

impl Copies {
    /// One more link.
    pub fn add(&mut self, link: LinkSlot, passage: Passage, keep: &SectionSet) {
        let mut alike = self.groups.iter_mut().rev().take(ALIKE_AMONG);
        match alike.find(|group| group.keep == *keep && group.passage == passage) {
            Some(group) => group.links.push(link),
            None => self.groups.push(Group { passage, keep: *keep, links: vec![link] }),
        }
    }

    /// How many links get something.
    pub fn links(&self) -> usize {
        self.groups.iter().map(|group| group.links.len()).sum()
    }
}

/// The body of the bundle frame inside the body of a copies frame.
pub fn carried(frame: &Bytes) -> Option<Bytes> {
    let (_, _, inner) = parse(frame)?;
    (inner.len() >= FRAME_HEADER_BYTES).then(|| inner.slice(FRAME_HEADER_BYTES..))
}

impl Plane {
    /// Queues a bundle of class state, whole, for links.
    pub fn send_state(&self, bundle: &Bundle, links: Vec<LinkSlot>, touched: &mut Touched) {
        let (passage, keep) = (Passage::default(), SectionSet::present_in(bundle));
        let groups = vec![Group { passage, keep, links }];
        self.send_copies(&self.view(), bundle, Copies { groups }, touched);
    }

    /// Queues copies of a bundle for links, once for all that leave by the same.
    pub fn send_copies(&self, view: &View, bundle: &Bundle, copies: Copies, touched: &mut Touched) {
        let is_first = bundle.class != Class::EventBulk;
        for Group { passage, keep, links } in copies.groups {
            self.send_group(view, is_first, &bundle.to_parcel(&passage, &keep), &links, touched);
        }
    }

    fn send_group(
        &self,
        view: &View,
        is_first: bool,
        parcel: &Parcel,
        links: &[LinkSlot],
        touched: &mut Touched,
    ) {
        let mut ends: Vec<&End> =
            links.iter().filter_map(|link| view.relays.ends.get(link)).map(AsRef::as_ref).collect();
        ends.sort_unstable_by_key(|end| (end.via, end.session));
        let digest = if ends.is_empty() { [0; 32] } else { digest_of(parcel) };
        let own = links.iter().copied().filter(|link| !link.is_relayed());
        let alone = own.filter(|link| !ends.iter().any(|end| end.via == *link));
        for link in alone {
            self.send_counted(link, is_first, parcel.clone(), touched);
        }
        for over in ends.chunk_by(|one, other| one.via == other.via) {
            let via = over[0].via;
            let labels: Vec<Label> = over.iter().map(|end| (end.session, end.code_of(&digest))).collect();
            self.send_labelled(via, is_first, links.contains(&via), &labels, parcel, touched);
        }
    }

    /// Queues one frame for all that leave by a link.
    fn send_labelled(
        &self,
        via: LinkSlot,
        is_first: bool,
        mut is_for_receiver: bool,
        labels: &[Label],
        inner: &Parcel,
        touched: &mut Touched,
    ) {
        for labels in labels.chunks(COPIES_MAX) {
            let labelled = labelled(labels, is_for_receiver, inner);
            self.send_counted(via, is_first, labelled, touched);
            is_for_receiver = false;
        }
    }

    fn send_counted(&self, link: LinkSlot, is_first: bool, parcel: Parcel, touched: &mut Touched) {
        Counters::add(&self.counters.sent_bytes, parcel.len() as u64);
        self.queue_bundle(link, is_first, parcel, touched);
    }

    /// Takes the body of a copies frame that came on a lane of bundles: passes on what is for others and
    /// takes in what is for this node. Returns until when the link is not to be read.
    pub fn copies(
        &self,
        now: Now,
        from: LinkSlot,
        is_first: bool,
        frame: &Bytes,
        touched: &mut Touched,
    ) -> Option<Time> {
        let Some((is_for_receiver, labels, inner)) = parse(frame) else {
            Counters::add(&self.counters.refused_frames, 1);
            return None;
        };
        let view = self.view();
        let mut onward: Vec<(LinkSlot, Label)> = Vec::new();
        let mut here: Vec<(LinkSlot, [u8; CODE_BYTES])> = Vec::new();
        for (session, code) in labels {
            match view.relays.onward.get(&(from, session)) {
                Some(Onward::By(link, session)) => onward.push((*link, (*session, code))),
                Some(Onward::Here(link)) => here.push((*link, code)),
                // Its end crosses with what is still on the way.
                None => Counters::add(&self.counters.stray_relayed_frames, 1),
            }
        }
        onward.sort_unstable();
        for by in onward.chunk_by(|one, other| one.0 == other.0) {
            let labels: Vec<Label> = by.iter().map(|(_, label)| *label).collect();
            Counters::add(&self.counters.relayed_frames, 1);
            let parcel = Parcel { front: Bytes::new(), shared: Box::new([inner.clone()]) };
            self.send_labelled(by[0].0, is_first, false, &labels, &parcel, touched);
        }
        let digest = if here.is_empty() { [0; 32] } else { *blake3::hash(&inner).as_bytes() };
        for (link, code) in here {
            match view.relays.ends.get(&link) {
                Some(end) if end.is_code_of(&digest, &code) => {
                    self.take_bundle(now, link, &inner, touched);
                }
                Some(_) | None => Counters::add(&self.counters.refused_frames, 1),
            }
        }
        if is_for_receiver { self.take_bundle(now, from, &inner, touched) } else { None }
    }

    /// A bundle frame that came inside of another one.
    fn take_bundle(&self, now: Now, link: LinkSlot, inner: &Bytes, touched: &mut Touched) -> Option<Time> {
        let mut decoder = FrameDecoder::new();
        decoder.push(inner.clone());
        match decoder.next_frame() {
            Ok(Some((FrameType::Bundle, body))) => self.receive(now, link, &body, touched),
            _ => {
                Counters::add(&self.counters.refused_frames, 1);
                None
            }
        }
    }
}

fn labelled(labels: &[Label], is_for_receiver: bool, inner: &Parcel) -> Parcel {
    let body = FRONT_BYTES + labels.len() * LABEL_BYTES + inner.len();
    let own = FRAME_HEADER_BYTES + body - inner.len() + inner.front.len();
    let mut front = BytesMut::with_capacity(own);
    put_frame_header(&mut front, FrameType::Copies, body);
    front.put_u8(if is_for_receiver { FOR_RECEIVER } else { 0 });
    front.put_u8(0);
    front.put_u16_le(u16::try_from(labels.len()).expect("frames are split at 512 labels"));
    for (session, code) in labels {
        front.put_u32_le(*session);
        front.put_slice(code);
    }
    front.put_slice(&inner.front);
    Parcel { front: front.freeze(), shared: inner.shared.clone() }
}

/// Whether the receiver is meant, for whom it is besides, and the frame inside.
fn parse(frame: &Bytes) -> Option<(bool, Vec<Label>, Bytes)> {
    let [flags, 0, low, high] = *frame.first_chunk::<FRONT_BYTES>()? else { return None };
    let count = usize::from(u16::from_le_bytes([low, high]));
    let until = FRONT_BYTES + count * LABEL_BYTES;
    if flags > FOR_RECEIVER || count > COPIES_MAX || frame.len() < until {
        return None;
    }
    let labels = frame[FRONT_BYTES..until].chunks_exact(LABEL_BYTES).map(|label| {
        let (session, code) = label.split_at(4);
        let session = u32::from_le_bytes(session.try_into().expect("4 bytes"));
        (session, code.try_into().expect("16 bytes"))
    });
    Some((flags == FOR_RECEIVER, labels.collect(), frame.slice(until..)))
}

#[cfg(test)]
mod tests;
