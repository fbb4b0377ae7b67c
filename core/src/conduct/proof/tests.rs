use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::id::AgentId;
use crate::identity::SecretKey;
use crate::limits;
use crate::wire::bundle::{Bundle, Section};

const MESH: MeshId = MeshId(0x11);

fn secret(seed: u8) -> SecretKey {
    SecretKey::from_seed([seed; 32])
}

fn key(seed: u8) -> VerifyKey {
    VerifyKey::new(&secret(seed).public()).unwrap()
}

fn node(seed: u8) -> ShortId {
    NodeId::of_key(&secret(seed).public().0).short()
}

/// An unsigned state bundle of the node with this seed.
fn plain(seed: u8, sequence: u64) -> Bundle {
    Bundle {
        class: Class::State,
        mesh: MESH,
        origin: node(seed),
        incarnation: 5,
        sequence,
        clock: 9,
        previous: None,
        is_checkpoint: false,
        agents: Vec::new(),
        sections: Vec::new(),
        header: Bytes::new(),
        hash: [0; 32],
    }
}

fn signed(seed: u8, bundle: Bundle) -> Bundle {
    bundle.signed_by(&secret(seed).signer())
}

fn open(seed: u8, bundle: Bundle) -> Opening {
    Opening::of(&signed(seed, bundle).header).unwrap()
}

fn pair(left: Opening, right: Opening) -> Proof {
    let is_ordered = left.signature().0 <= right.signature().0;
    let (first, second) = if is_ordered { (left, right) } else { (right, left) };
    Proof::Equivocation { first, second }
}

fn verdict(proof: &Proof) -> Result<Violation, ProofError> {
    // What is judged is what would have crossed a link.
    let bytes = proof.to_bytes();
    assert!(bytes.len() <= PROOF_BYTES_MAX);
    let copy = Proof::from_bytes(&bytes).unwrap();
    assert_eq!(&copy, proof);
    copy.verify(&key(1), MESH).map(|culprit| {
        assert_eq!((culprit.node(), culprit.proof()), (node(1), proof.id()));
        culprit.violation()
    })
}

/// A bundle whose header has many pieces.
fn large(seed: u8, sequence: u64, sections: usize) -> Bundle {
    let section = |index: usize| Section {
        tenant: 0,
        key: 0,
        codec: 0,
        directed: false,
        count: 1,
        subject: Bytes::from(format!("{index}.{}", "a".repeat(180))),
        hash: [index as u8; 32],
        length: 0,
        body: None,
    };
    Bundle { sections: (0..sections).map(section).collect(), ..plain(seed, sequence) }
}

#[test]
fn two_headers_for_one_sequence_convict() {
    let first = open(1, plain(1, 3));
    for second in [
        Bundle { clock: 10, ..plain(1, 3) },
        Bundle { previous: Some([7; 32]), ..plain(1, 3) },
        Bundle { agents: vec![AgentId([1; 16])], ..plain(1, 3) },
        large(1, 3, 200),
    ] {
        let second = open(1, second);
        let proof = Proof::of_pair(first.clone(), second.clone()).unwrap();
        assert_eq!(verdict(&proof), Ok(Violation::Equivocation));
        assert_eq!(Proof::of_pair(second, first.clone()).unwrap().id(), proof.id());
    }
}

#[test]
fn the_same_header_twice_convicts_nobody() {
    let header = open(1, plain(1, 3));
    assert_eq!(Proof::of_pair(header.clone(), header.clone()), None);
    assert_eq!(verdict(&pair(header.clone(), header)), Err(ProofError::SameHeader));
}

#[test]
fn headers_of_different_places_convict_nobody() {
    let first = open(1, plain(1, 3));
    for second in [
        plain(1, 4),
        Bundle { incarnation: 6, ..plain(1, 3) },
        Bundle { class: Class::EventBulk, ..plain(1, 3) },
    ] {
        let second = open(1, second);
        assert_eq!(Proof::of_pair(first.clone(), second.clone()), None);
        assert_eq!(verdict(&pair(first.clone(), second)), Err(ProofError::NoContradiction));
    }
}

#[test]
fn who_did_not_sign_is_not_convicted() {
    let mine = open(1, plain(1, 3));
    // Signed by another in the name of the first.
    let forged = open(2, Bundle { clock: 10, ..plain(1, 3) });
    assert_eq!(verdict(&pair(mine.clone(), forged)), Err(ProofError::BadSignature));
    // Both by another, under its own name.
    let theirs = pair(open(2, plain(2, 3)), open(2, Bundle { clock: 10, ..plain(2, 3) }));
    assert_eq!(verdict(&theirs), Err(ProofError::OtherKey));
    assert!(theirs.verify(&key(2), MESH).is_ok());
    // One of each.
    let mixed = pair(mine, open(2, plain(2, 3)));
    assert_eq!(verdict(&mixed), Err(ProofError::OtherKey));
}

#[test]
fn another_mesh_is_no_concern_of_ours() {
    let there = |clock| open(1, Bundle { mesh: MeshId(0x12), clock, ..plain(1, 3) });
    assert_eq!(verdict(&pair(there(1), there(2))), Err(ProofError::OtherMesh));
    let mixed = pair(open(1, plain(1, 3)), there(2));
    assert_eq!(verdict(&mixed), Err(ProofError::OtherMesh));
}

#[test]
fn swapped_signatures_convict_nobody() {
    let (left, right) = (signed(1, plain(1, 3)), signed(1, Bundle { clock: 10, ..plain(1, 3) }));
    let with_signature_of = |bundle: &Bundle, other: &Bundle| {
        let mut header = bundle.header.to_vec();
        let signed = header.len() - 64;
        header[signed..].copy_from_slice(&other.signature());
        Opening::of(&header).unwrap()
    };
    let proof = pair(with_signature_of(&left, &right), with_signature_of(&right, &left));
    assert_eq!(verdict(&proof), Err(ProofError::BadSignature));
}

#[test]
fn a_history_that_forks_convicts_and_one_that_goes_on_does_not() {
    let first = signed(1, plain(1, 3));
    let earlier = Opening::of(&first.header).unwrap();
    let next = |previous| open(1, Bundle { previous, ..plain(1, 4) });
    let forked = Proof::of_pair(next(Some([7; 32])), earlier.clone()).unwrap();
    assert_eq!(verdict(&forked), Ok(Violation::Fork));
    for honest in [
        next(Some(first.hash)),
        next(None),
        open(1, Bundle { previous: Some([7; 32]), ..plain(1, 5) }),
        open(1, Bundle { previous: Some([7; 32]), incarnation: 6, ..plain(1, 4) }),
    ] {
        assert_eq!(Proof::of_pair(earlier.clone(), honest.clone()), None);
        let accused = Proof::Fork { earlier: earlier.clone(), later: honest };
        assert_eq!(verdict(&accused), Err(ProofError::NoContradiction));
    }
    let event = |sequence, previous| Bundle { class: Class::EventBulk, previous, ..plain(1, sequence) };
    let events = Proof::Fork { earlier: open(1, event(3, None)), later: open(1, event(4, Some([7; 32]))) };
    assert_eq!(verdict(&events), Err(ProofError::NoContradiction));
}

#[test]
fn too_many_agents_convict_and_the_most_allowed_do_not() {
    let with = |count: usize| {
        let agents = vec![AgentId([1; 16]); count];
        Proof::Overlong { header: open(1, Bundle { agents, ..plain(1, 3) }) }
    };
    assert_eq!(verdict(&with(limits::BUNDLE_ENTRIES_MAX)), Err(ProofError::WithinLimits));
    assert_eq!(verdict(&with(limits::BUNDLE_ENTRIES_MAX + 1)), Ok(Violation::Overlong));
}

#[test]
fn openings_of_every_length_have_the_hash_of_the_whole() {
    for sections in 0..=220 {
        let bundle = signed(1, large(1, 3, sections));
        let opening = Opening::of(&bundle.header).unwrap();
        assert_eq!(opening.hash(), bundle.hash, "{sections} sections");
        assert!(opening.is_signed_by(&key(1)));
        assert!(opening.to_bytes().len() <= OPENING_BYTES_MAX);
    }
    assert!(Opening::of(&[1; limits::BUNDLE_BYTES_MAX + 1]).is_err());
    assert!(Opening::of(&[1; 63]).is_err());
}

#[test]
fn every_flipped_bit_is_refused() {
    let proof = Proof::of_pair(open(1, plain(1, 3)), open(1, large(1, 3, 12))).unwrap();
    let whole = proof.to_bytes();
    for at in 0..whole.len() {
        let mut bytes = whole.to_vec();
        bytes[at] ^= 1 << (at % 8);
        let Ok(copy) = Proof::from_bytes(&bytes) else { continue };
        assert!(copy.verify(&key(1), MESH).is_err(), "byte {at}");
        assert_ne!(copy.id(), proof.id());
    }
    assert_eq!(Proof::from_bytes(&whole[..whole.len() - 1]), Err(DecodeError::Truncated));
}

#[test]
fn a_pair_has_one_encoding() {
    let Some(Proof::Equivocation { first, second }) =
        Proof::of_pair(open(1, plain(1, 3)), open(1, Bundle { clock: 10, ..plain(1, 3) }))
    else {
        panic!("two headers for one sequence");
    };
    let turned = Proof::Equivocation { first: second, second: first };
    assert_eq!(Proof::from_bytes(&turned.to_bytes()), Err(DecodeError::Invalid("order of headers")));
}

proptest! {
    #[test]
    fn garbage_is_harmless(mut bytes in prop::collection::vec(any::<u8>(), 0..3000), kind in 0..4u8) {
        if let Some(first) = bytes.first_mut() {
            *first = kind;
        }
        if let Ok(proof) = Proof::from_bytes(&bytes) {
            prop_assert!(proof.verify(&key(1), MESH).is_err());
        }
        let _ignored = Opening::of(&bytes);
    }
}
