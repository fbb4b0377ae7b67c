//! What is refused, and that nothing refused stands in the way of what is true.

use std::sync::Arc;

use bytes::Bytes;
use starling_core::conduct::Offence;
use starling_core::hot::Report;
use starling_core::hot::own::Publication;
use starling_core::id::{MeshId, RegionId};
use starling_core::limits::{HOPS_MAX, PAYLOAD_BYTES_MAX, WINDOW_BUNDLES};
use starling_core::machine::{Destination, LinkSlot};
use starling_core::time::Time;
use starling_core::wire::bundle::{Bundle, SIGNATURE_BYTES};
use starling_core::wire::frame::{FRAME_HEADER_BYTES, FrameType, frame};

use super::network::{Globe, Lane, Network, bundle_in, globe, pair, publication};

/// Where the signed header begins in a frame without routes and with at most eight sections.
const HEADER_AT: usize = FRAME_HEADER_BYTES + 29;
const SEQUENCE_AT: usize = HEADER_AT + 32;

/// A pair of edges whose right one subscribed, with the frame of a first publication.
struct Scene {
    network: Network,
    left: usize,
    right: usize,
    near: LinkSlot,
    at: LinkSlot,
}

fn scene() -> Scene {
    let (mut network, left, right, near) = pair();
    network.subscribe(right, 2, 1, "a");
    network.refresh();
    let at = network.link(right, left).expect("they are linked");
    Scene { network, left, right, near, at }
}

impl Scene {
    /// A frame that the left node sends, not carried.
    fn sealed(&self, payload: &[u8]) -> Bytes {
        self.network.publish(self.left, vec![publication(1, 1, "a", payload)]);
        self.network.take(self.left, self.near, Lane::Bulk).expect("it was sealed")
    }

    fn hand(&self, frame: &Bytes) {
        self.network.hand(self.right, self.at, frame);
    }

    fn payloads(&self) -> Vec<Bytes> {
        self.network.got(self.right, 2).into_iter().map(|got| got.payload).collect()
    }

    fn reports(&self) -> Vec<Report> {
        self.network.reports(self.right)
    }

    fn count(&self, counter: &str) -> u64 {
        self.network.counter(self.right, counter)
    }

    /// How many acknowledgements the right node has under way.
    fn acknowledgements(&self) -> usize {
        std::iter::from_fn(|| self.network.take(self.right, self.at, Lane::Control)).count()
    }
}

/// The same nodes with something else about the left one.
fn twin(change: impl FnOnce(&mut Scene)) -> Scene {
    let mut scene = scene();
    change(&mut scene);
    scene
}

fn set_incarnation(scene: &mut Scene, incarnation: u64) {
    let plane = Arc::get_mut(&mut scene.network.nodes[0].plane);
    plane.expect("nobody else has it").me.incarnation = incarnation;
}

fn changed(frame: &Bytes, at: usize, change: impl FnOnce(&mut u8)) -> Bytes {
    let mut bytes = frame.to_vec();
    change(&mut bytes[at]);
    bytes.into()
}

#[test]
fn a_duplicate_is_dropped_and_acknowledged_again() {
    let scene = scene();
    let frame = scene.sealed(b"x");
    for round in 0..4 {
        scene.hand(&frame);
        assert_eq!(scene.payloads(), [Bytes::from_static(b"x")]);
        assert_eq!(scene.acknowledgements(), 1);
        assert_eq!(scene.count("duplicate_bundles"), round);
    }
    assert_eq!(scene.count("received_bundles"), 1);
    assert_eq!(scene.reports(), [], "honest nodes send again too");
}

#[test]
fn a_forgery_that_comes_first_does_not_displace_the_truth() {
    let scene = scene();
    let frame = scene.sealed(b"true");
    let body_at = frame.len() - 1;
    let signature_at = HEADER_AT + bundle_in(&frame).header.len() - SIGNATURE_BYTES;
    let forgeries = [
        changed(&frame, signature_at, |byte| *byte ^= 1),
        changed(&frame, body_at, |byte| *byte ^= 1),
        // Another header under the same number: the clock is a byte off.
        changed(&frame, SEQUENCE_AT + 8, |byte| *byte ^= 1),
    ];
    for (refused, forgery) in forgeries.iter().enumerate() {
        scene.hand(forgery);
        assert_eq!(scene.count("invalid_bundles"), refused as u64 + 1);
        assert!(scene.payloads().is_empty());
        assert_eq!(scene.acknowledgements(), 0);
    }
    scene.hand(&frame);
    assert_eq!(scene.payloads(), [Bytes::from_static(b"true")]);
    assert_eq!(scene.acknowledgements(), 1);
    scene.hand(&forgeries[2]);
    assert_eq!((scene.count("invalid_bundles"), scene.count("equivocations")), (4, 0));
    let fault = Report::Offence { from: scene.at, offence: Offence::InvalidSignature };
    assert_eq!(scene.reports(), vec![fault; 4], "each is the fault of who sent it, and nobody else's");
}

#[test]
fn numbers_at_the_end_of_their_range_are_no_way_in() {
    let scene = scene();
    scene.hand(&scene.sealed(b"x"));
    scene.acknowledgements();
    scene.network.publish(scene.left, vec![publication(1, 2, "a", b"y")]);
    let frame = scene.network.take(scene.left, scene.near, Lane::Bulk).unwrap();
    for sequence in [0, u64::MAX, u64::MAX - 1, u64::MAX - WINDOW_BUNDLES, u64::MAX - WINDOW_BUNDLES + 1] {
        let mut bytes = frame.to_vec();
        bytes[SEQUENCE_AT..SEQUENCE_AT + 8].copy_from_slice(&sequence.to_le_bytes());
        scene.hand(&bytes.into());
    }
    assert_eq!((scene.count("invalid_bundles"), scene.acknowledgements()), (5, 0));
    scene.hand(&frame);
    assert_eq!(scene.payloads().len(), 2);
}

#[test]
fn what_a_third_brings_is_neither_taken_nor_acknowledged() {
    let mut scene = scene();
    let third = scene.network.add(1, false);
    scene.network.connect(third, scene.right);
    scene.network.refresh();
    let aside = scene.network.link(scene.right, third).expect("they are linked");
    let first = scene.sealed(b"first");
    scene.network.publish(scene.left, vec![publication(1, 2, "a", b"second")]);
    let second = scene.network.take(scene.left, scene.near, Lane::Bulk).expect("it was sealed");
    // It would come before the first, and later draw the acknowledgement of the second to itself.
    scene.network.hand(scene.right, aside, &second);
    assert_eq!((scene.payloads().len(), scene.count("foreign_bundles")), (0, 1));
    scene.hand(&first);
    scene.hand(&second);
    scene.network.hand(scene.right, aside, &second);
    assert_eq!(scene.payloads(), ["first", "second"]);
    assert!(scene.network.take(scene.right, aside, Lane::Control).is_none());
    assert_eq!(scene.count("foreign_bundles"), 2);
}

#[test]
fn another_mesh_is_refused() {
    let scene = scene();
    let other = twin(|twin| {
        Arc::get_mut(&mut twin.network.nodes[0].plane).unwrap().me.mesh = MeshId(1);
    });
    scene.hand(&other.sealed(b"x"));
    assert_eq!((scene.count("invalid_bundles"), scene.payloads().len()), (1, 0));
}

#[test]
fn a_stranger_is_refused() {
    let mut scene = scene();
    let frame = scene.sealed(b"x");
    scene.network.forget(scene.left);
    scene.network.refresh_one(scene.right);
    scene.hand(&frame);
    assert_eq!((scene.count("unknown_origin_bundles"), scene.payloads().len()), (1, 0));
}

#[test]
fn an_earlier_life_is_refused_and_a_later_one_starts_over() {
    let scene = scene();
    let later = twin(|twin| set_incarnation(twin, 2));
    let first = scene.sealed(b"first life");
    scene.hand(&first);
    scene.hand(&later.sealed(b"second life"));
    assert_eq!(scene.payloads().len(), 1, "the agent's number is the same, so the entry is one");
    assert_eq!((scene.count("received_bundles"), scene.count("duplicate_entries")), (2, 1));
    scene.hand(&first);
    assert_eq!(scene.count("stale_bundles"), 1);
    assert_eq!(scene.reports(), [], "who restarts does no wrong, nor does what was still on its way");
    later.network.publish(later.left, vec![publication(1, 2, "a", b"more")]);
    scene.hand(&later.network.take(later.left, later.near, Lane::Bulk).unwrap());
    assert_eq!(scene.payloads().len(), 2);
}

#[test]
fn a_forged_later_life_does_not_end_the_present_one() {
    let scene = scene();
    let frame = scene.sealed(b"x");
    scene.hand(&changed(&frame, SEQUENCE_AT - 8, |byte| *byte = 9));
    assert_eq!(scene.count("invalid_bundles"), 1);
    scene.hand(&frame);
    assert_eq!((scene.payloads().len(), scene.count("stale_bundles")), (1, 0));
}

#[test]
fn two_headers_for_one_number_are_counted_as_proof() {
    let scene = scene();
    let other = twin(|_| {});
    scene.hand(&scene.sealed(b"one"));
    scene.acknowledgements();
    scene.hand(&other.sealed(b"two"));
    assert_eq!(scene.count("equivocations"), 1);
    assert_eq!(scene.payloads(), [Bytes::from_static(b"one")]);
    assert_eq!(scene.acknowledgements(), 0);
}

#[test]
fn a_clock_over_thirty_seconds_ahead_is_refused_until_time_catches_up() {
    let at = |scene: &mut Scene, millis: u64| {
        scene.network.now.wall = Time(scene.network.now.wall.0 + millis * 1_000_000);
    };
    let mut scene = scene();
    let frame = twin(|twin| at(twin, 30_001)).sealed(b"x");
    scene.hand(&frame);
    assert_eq!((scene.count("early_bundles"), scene.payloads().len()), (1, 0));
    assert_eq!(scene.acknowledgements(), 0);
    at(&mut scene, 1);
    scene.hand(&frame);
    assert_eq!((scene.count("early_bundles"), scene.payloads().len()), (1, 1));
}

#[test]
fn a_copy_that_passed_too_many_nodes_is_dropped() {
    let scene = scene();
    let frame = scene.sealed(b"x");
    scene.hand(&changed(&frame, FRAME_HEADER_BYTES, |hops| *hops = HOPS_MAX + 1));
    assert_eq!((scene.count("looped_bundles"), scene.payloads().len()), (1, 0));
    scene.hand(&changed(&frame, FRAME_HEADER_BYTES, |hops| *hops = HOPS_MAX));
    assert_eq!(scene.payloads().len(), 1);
}

#[test]
fn who_passes_on_ends_loops_and_exports_nothing_twice() {
    let Globe { mut network, near, out, into, far } = globe();
    network.subscribe(far[0], 1, 1, "a");
    network.refresh();
    network.publish(near[0], vec![publication(1, 1, "a", b"x")]);
    let (_, link, lane) = network.in_flight()[0];
    let frame = network.take(near[0], link, lane).unwrap();
    let at = network.link(out[0], near[0]).unwrap();
    network.hand(out[0], at, &changed(&frame, FRAME_HEADER_BYTES, |hops| *hops = HOPS_MAX));
    network.hand(out[0], at, &changed(&frame, FRAME_HEADER_BYTES, |hops| *hops = u8::MAX));
    assert_eq!(network.counter(out[0], "looped_bundles"), 2);
    // In the other region: one that claims to go on to a third one.
    let mut elsewhere = frame.to_vec();
    elsewhere[FRAME_HEADER_BYTES + 12..FRAME_HEADER_BYTES + 20].copy_from_slice(&9u64.to_le_bytes());
    network.hand(into[0], network.link(into[0], out[0]).unwrap(), &elsewhere.into());
    assert_eq!(network.counter(into[0], "looped_bundles"), 1);
    assert!(network.in_flight().is_empty());
    // And one that comes back to where it was sealed.
    network.hand(near[0], link, &frame);
    assert_eq!(network.counter(near[0], "looped_bundles"), 1);
    assert_eq!(Bundle::decode(&frame.slice(FRAME_HEADER_BYTES..)).unwrap().0.region, RegionId(2));
}

#[test]
fn what_is_older_than_the_window_is_a_duplicate() {
    let mut scene = scene();
    let first = scene.sealed(b"first");
    scene.hand(&first);
    scene.network.run();
    for number in 2..=WINDOW_BUNDLES + 1 {
        scene.network.publish(scene.left, vec![publication(1, number, "a", b"x")]);
        scene.network.tick(1);
        scene.network.run();
    }
    assert_eq!(scene.count("received_bundles"), WINDOW_BUNDLES + 1);
    assert!(scene.network.published(scene.left, 1).into_iter().eq(1..=WINDOW_BUNDLES + 1));
    let before = scene.payloads().len();
    scene.hand(&first);
    assert_eq!((scene.count("duplicate_bundles"), scene.payloads().len()), (1, before));
    assert_eq!(scene.acknowledgements(), 1);
    // Another header that old changes nothing either.
    scene.hand(&changed(&first, SEQUENCE_AT + 8, |byte| *byte ^= 1));
    assert_eq!(scene.payloads().len(), before);
}

#[test]
fn frames_that_make_no_sense_are_counted() {
    let scene = scene();
    for body in [&[][..], &[0; 10], &[0xFF; 300]] {
        scene.hand(&frame(FrameType::Bundle, body));
        scene.hand(&frame(FrameType::Acknowledge, body));
    }
    assert_eq!((scene.count("invalid_bundles"), scene.count("refused_frames")), (3, 3));
}

#[test]
fn an_origin_that_ignores_its_own_bound_is_not_kept_for() {
    let Globe { mut network, near, out, into, far } = globe();
    network.subscribe(far[0], 1, 1, "a");
    network.refresh();
    let payload = Bytes::from(vec![5; PAYLOAD_BYTES_MAX]);
    for number in 1..=80 {
        let large = Publication { payload: payload.clone(), ..publication(1, number, "a", b"") };
        network.publish(near[0], vec![large]);
        if number == 40 {
            // It takes everything for acknowledged, which it is not.
            network.forget_at(near[0], Destination::Region(RegionId(2)));
        }
    }
    let onward = |node: usize| near.contains(&node) || out.contains(&node);
    while let Some((node, link, lane)) = network.in_flight().into_iter().find(|(node, ..)| onward(*node)) {
        network.carry(node, link, lane);
    }
    let kept: u64 = into.iter().map(|node| network.counter(*node, "received_bundles")).sum();
    let refused: u64 = into.iter().map(|node| network.counter(*node, "invalid_bundles")).sum();
    assert!((64..66).contains(&kept), "{kept}");
    assert_eq!(kept + refused, 80);
}
