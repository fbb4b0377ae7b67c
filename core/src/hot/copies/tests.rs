use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::hash::HashMap;
use crate::hot::relayed::tests::{Lanes, node};
use crate::hot::relayed::{Lane, Relays};
use crate::hot::view::Me;
use crate::id::{MeshId, RegionId, ShortId};
use crate::identity::Signer;
use crate::node::replication::sealing::{self, Place};

fn relayed(number: u32) -> LinkSlot {
    LinkSlot(LinkSlot::RELAYED.0 + number)
}

fn end(via: u32, session: u32, is_opener: bool) -> Arc<End> {
    Arc::new(End { via: LinkSlot(via), session, key: [session as u8; 32], is_opener })
}

fn state() -> Bundle {
    let me = Me { mesh: MeshId(1), id: ShortId(9), region: RegionId(1), incarnation: 1 };
    let place = Place { sequence: 1, previous: [0; 32], is_checkpoint: false, clock: 1 };
    sealing::seal(&me, &Signer::simulated(&[9; 32]), place, &[])
}

/// The bundle as it travels by itself.
fn alone(bundle: &Bundle) -> Bytes {
    let parcel = bundle.to_parcel(&Passage::default(), &SectionSet::present_in(bundle));
    std::iter::once(parcel.front).chain(parcel.shared).collect::<Vec<_>>().concat().into()
}

/// A copies frame for sessions, each with the code of its opener.
fn to(sessions: &[u32], is_for_receiver: bool, inner: &Bytes) -> Bytes {
    let parcel = Parcel::from(inner.clone());
    let label = |session: &u32| (*session, end(0, *session, true).code_of(&digest_of(&parcel)));
    let labels: Vec<Label> = sessions.iter().map(label).collect();
    labelled(&labels, is_for_receiver, &parcel).front
}

fn take(plane: &Plane, frame: &Bytes) {
    let body = frame.slice(FRAME_HEADER_BYTES..);
    plane.copies(Now::default(), LinkSlot(3), true, &body, &mut Touched::default());
}

/// A node through which sessions pass, and at which some end.
fn between() -> (Plane, Lanes) {
    let onward = [
        ((LinkSlot(3), 1), Onward::By(LinkSlot(4), 11)),
        ((LinkSlot(3), 2), Onward::By(LinkSlot(5), 12)),
        ((LinkSlot(3), 3), Onward::By(LinkSlot(4), 13)),
        ((LinkSlot(3), 7), Onward::Here(relayed(0))),
    ];
    let ends = [(relayed(0), end(3, 7, false))].into_iter().collect();
    node(Relays { onward: onward.into_iter().collect(), ends })
}

#[test]
fn golden_copies_frame() {
    let inner = Bytes::from_static(b"xyz");
    let mut expected = vec![47, 0, 0, 0, 0x13, 0, 1, 0, 2, 0];
    for session in [1, 2] {
        expected.extend_from_slice(&[session as u8, 0, 0, 0]);
        expected.extend_from_slice(
            &end(0, session, true)
                .code(crate::hot::relayed::Word::Frame, [&blake3::hash(b"xyz").as_bytes()[..]]),
        );
    }
    expected.extend_from_slice(b"xyz");
    assert_eq!(to(&[1, 2], true, &inner).as_ref(), expected);
}

#[test]
fn what_leaves_by_one_link_leaves_once() {
    let ends = [(0, end(1, 8, true)), (1, end(2, 4, true)), (2, end(1, 6, true))];
    let ends = ends.into_iter().map(|(number, end)| (relayed(number), end)).collect();
    let (plane, lanes) = node(Relays { onward: HashMap::default(), ends });
    let bundle = state();
    let links = vec![LinkSlot(5), relayed(0), LinkSlot(1), relayed(1), relayed(2)];
    plane.send_state(&bundle, links, &mut Touched::default());
    let inner = alone(&bundle);
    let expected = vec![
        (LinkSlot(5), Lane::Priority, inner.clone()),
        (LinkSlot(1), Lane::Priority, to(&[6, 8], true, &inner)),
        (LinkSlot(2), Lane::Priority, to(&[4], false, &inner)),
    ];
    assert_eq!(lanes.take(), expected);
    assert_eq!(carried(&to(&[4], false, &inner).slice(FRAME_HEADER_BYTES..)), Some(inner.slice(6..)));
}

#[test]
fn a_node_between_passes_on_once_a_link_and_keeps_what_is_for_it() {
    let (plane, lanes) = between();
    let inner = alone(&state());
    take(&plane, &to(&[1, 2, 3, 7, 99], true, &inner));
    let renamed = |of: &[(u32, u32)]| {
        let parcel = Parcel::from(inner.clone());
        let labels: Vec<Label> = of
            .iter()
            .map(|(session, name)| (*name, end(0, *session, true).code_of(&digest_of(&parcel))))
            .collect();
        labelled(&labels, false, &parcel).front
    };
    let expected = vec![
        (LinkSlot(4), Lane::Priority, renamed(&[(1, 11), (3, 13)])),
        (LinkSlot(5), Lane::Priority, renamed(&[(2, 12)])),
    ];
    assert_eq!(lanes.take(), expected);
    assert_eq!(lanes.take_states(), vec![relayed(0), LinkSlot(3)]);
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(count(&plane.counters.stray_relayed_frames), 1, "session 99 is not known");
}

#[test]
fn what_was_altered_on_the_way_is_refused_at_its_end() {
    let (plane, lanes) = between();
    let inner = alone(&state());
    let whole = to(&[7], false, &inner);
    for at in [FRAME_HEADER_BYTES + 8, FRAME_HEADER_BYTES + 30, whole.len() - 1] {
        let mut altered = whole.to_vec();
        altered[at] ^= 1;
        take(&plane, &altered.into());
        assert_eq!(lanes.take_states(), vec![]);
    }
    take(&plane, &whole);
    assert_eq!(lanes.take_states(), vec![relayed(0)]);
}

#[test]
fn more_sessions_than_fit_are_split() {
    let all = 0..u32::try_from(COPIES_MAX).expect("few") + 1;
    let ends = all.clone().map(|number| (relayed(number), end(1, number, true))).collect();
    let (plane, lanes) = node(Relays { onward: HashMap::default(), ends });
    plane.send_state(&state(), all.map(relayed).chain([LinkSlot(1)]).collect(), &mut Touched::default());
    let frames = lanes.take();
    let counts: Vec<(bool, usize)> = frames
        .iter()
        .map(|(_, _, frame)| parse(&frame.slice(FRAME_HEADER_BYTES..)).expect("well-formed"))
        .map(|(is_for_receiver, labels, _)| (is_for_receiver, labels.len()))
        .collect();
    assert_eq!(counts, vec![(true, COPIES_MAX), (false, 1)]);
}

proptest! {
    #[test]
    fn any_bytes_are_harmless(flags in 0u8..3, count in 0u16..4, bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        let (plane, lanes) = between();
        let body = Bytes::from([&[flags, 0][..], &count.to_le_bytes(), &bytes].concat());
        plane.copies(Now::default(), LinkSlot(3), true, &body, &mut Touched::default());
        prop_assert_eq!(lanes.take_states(), vec![]);
    }
}
