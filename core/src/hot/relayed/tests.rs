use super::*;
use crate::hot::{Outlet, Pressure, Report, own};
use crate::id::{MeshId, RegionId, ShortId};
use crate::identity::Signer;
use crate::machine::ConnectionSlot;
use crate::wire::bundle::{Bundle, Class};
use crate::wire::frame::frame;
use proptest::prelude::*;
use std::sync::Mutex;

/// What left a node: the link, the lane and the bytes.
type Left = Vec<(LinkSlot, Lane, Bytes)>;

#[derive(Clone, Default)]
pub struct Lanes(Arc<Mutex<Left>>, Arc<Mutex<Vec<LinkSlot>>>);

impl Lanes {
    /// The links over which state came.
    pub fn take_states(&self) -> Vec<LinkSlot> {
        std::mem::take(&mut *self.1.lock().expect("one thread"))
    }

    fn push(&self, link: LinkSlot, lane: Lane, parcel: Parcel) {
        let whole = std::iter::once(parcel.front).chain(parcel.shared).collect::<Vec<_>>().concat();
        self.0.lock().expect("one thread").push((link, lane, whole.into()));
    }

    pub fn take(&self) -> Left {
        std::mem::take(&mut *self.0.lock().expect("one thread"))
    }
}

impl Outlet for Lanes {
    fn bundle(&self, link: LinkSlot, priority: bool, parcel: Parcel) -> Pressure {
        self.push(link, if priority { Lane::Priority } else { Lane::Bulk }, parcel);
        Pressure::Fine
    }

    fn control(&self, link: LinkSlot, parcel: Parcel) {
        self.push(link, Lane::Control, parcel);
    }

    fn deliver(&self, _: ConnectionSlot, _: Parcel) -> Pressure {
        Pressure::Gone
    }

    fn tell(&self, _: ConnectionSlot, _: Parcel) {}

    fn has_drained(&self, _: ConnectionSlot) -> bool {
        true
    }

    fn state(&self, from: LinkSlot, _: Box<Bundle>) -> bool {
        self.1.lock().expect("one thread").push(from);
        true
    }

    fn unresolved(&self, _: Vec<own::Publication>) {}

    fn stopwatch(&self) -> u64 {
        0
    }

    fn report(&self, _: Report) -> bool {
        true
    }
}

pub fn node(relays: Relays) -> (Plane, Lanes) {
    let lanes = Lanes::default();
    let me = crate::hot::view::Me { mesh: MeshId(1), id: ShortId(1), region: RegionId(1), incarnation: 1 };
    let plane = Plane::new(me, Signer::simulated(&[1; 32]), false, 1, Box::new(lanes.clone()));
    plane.set_view(View { relays: Arc::new(relays), ..View::empty(1) });
    (plane, lanes)
}

const RELAYED: LinkSlot = LinkSlot::RELAYED;

fn end(is_opener: bool) -> End {
    End { via: LinkSlot(3), session: 8, key: [5; 32], is_opener }
}

/// A node where one end of a relayed link is.
fn far_end() -> (Plane, Lanes) {
    let onward = [((LinkSlot(3), 8), Onward::Here(RELAYED))].into_iter().collect();
    let ends = [(RELAYED, Arc::new(end(false)))].into_iter().collect();
    node(Relays { onward, ends })
}

/// The body of what the opener sends as `kind`.
fn said(kind: FrameType, body: &[u8]) -> Bytes {
    let parcel = end(true).wrap(frame(kind, body).into());
    parcel.front.slice(FRAME_HEADER_BYTES..)
}

fn take(plane: &Plane, lane: Lane, body: &Bytes) -> Option<(LinkSlot, Bytes)> {
    plane.relayed(Now::default(), LinkSlot(3), lane, body, &mut Touched::default())
}

fn refused(plane: &Plane) -> u64 {
    plane.counters.refused_frames.load(std::sync::atomic::Ordering::Relaxed)
}

#[test]
fn golden_relayed_frame() {
    let parcel = end(true).wrap(frame(FrameType::Control, b"ab").into());
    let digest = blake3::hash(&[2, 0, 0, 0, 0x20, 0, b'a', b'b']);
    let code = end(true).code(Word::Frame, [&digest.as_bytes()[..]]);
    let mut expected = vec![28, 0, 0, 0, 0x12, 0, 8, 0, 0, 0];
    expected.extend_from_slice(&code);
    expected.extend_from_slice(&[2, 0, 0, 0, 0x20, 0, b'a', b'b']);
    assert_eq!(parcel.front.as_ref(), expected);
    assert_eq!(parcel.len(), FRAME_HEADER_BYTES + RELAYED_BYTES + 2);
}

#[test]
fn what_its_end_said_comes_and_nothing_else() {
    let (plane, _) = far_end();
    let body = said(FrameType::Control, b"hello");
    assert_eq!(take(&plane, Lane::Control, &body), Some((RELAYED, Bytes::from_static(b"hello"))));
    assert_eq!(refused(&plane), 0);
    for at in 4..body.len() {
        let mut altered = body.to_vec();
        altered[at] ^= 1;
        assert_eq!(take(&plane, Lane::Control, &altered.into()), None, "byte {at} was altered");
    }
    assert_eq!(refused(&plane), body.len() as u64 - 4);
    assert_eq!(take(&plane, Lane::Bulk, &body), None, "it belongs on another lane");
    // What this end said itself comes back.
    let own = end(false).wrap(frame(FrameType::Control, b"hello").into()).front.slice(FRAME_HEADER_BYTES..);
    assert_eq!(take(&plane, Lane::Control, &own), None);
}

#[test]
fn what_is_for_others_is_passed_on_as_it_is() {
    let onward = [((LinkSlot(3), 8), Onward::By(LinkSlot(4), 9))].into_iter().collect();
    let (plane, lanes) = node(Relays { onward, ends: HashMap::default() });
    for lane in [Lane::Control, Lane::Priority, Lane::Bulk] {
        let body = said(FrameType::Bundle, b"whatever");
        assert_eq!(take(&plane, lane, &body), None);
        let mut expected = frame(FrameType::Relayed, &body).to_vec();
        expected[FRAME_HEADER_BYTES] = 9;
        assert_eq!(lanes.take(), vec![(LinkSlot(4), lane, expected.into())]);
    }
    let stray = Bytes::from([&7u32.to_le_bytes()[..], &[0; 30]].concat());
    assert_eq!(take(&plane, Lane::Bulk, &stray), None);
    assert_eq!(lanes.take(), vec![]);
}

#[test]
fn what_leaves_by_a_relayed_link_leaves_by_the_one_that_leads_there() {
    let (plane, lanes) = far_end();
    let mut touched = Touched::default();
    let parcel = Parcel { front: Bytes::from_static(b"fr"), shared: Box::new([Bytes::from_static(b"ame")]) };
    plane.send_bundle(RELAYED, Class::EventBulk, parcel, &mut touched);
    let left = lanes.take();
    assert_eq!(left.len(), 1);
    let (link, lane, bytes) = &left[0];
    assert_eq!((*link, *lane), (LinkSlot(3), Lane::Bulk));
    assert_eq!(bytes[4], FrameType::Relayed as u8);
    assert_eq!(&bytes[FRAME_HEADER_BYTES + FRONT_BYTES..], b"frame");
}

proptest! {
    #[test]
    fn any_bytes_are_harmless(bytes in prop::collection::vec(any::<u8>(), 0..80), session in 0u32..10) {
        let (plane, _) = far_end();
        let body = Bytes::from([&session.to_le_bytes()[..], &bytes].concat());
        for lane in [Lane::Control, Lane::Priority, Lane::Bulk] {
            prop_assert_eq!(take(&plane, lane, &body), None);
            prop_assert_eq!(take(&plane, lane, &body.slice(..bytes.len().min(4))), None);
        }
    }
}
