//! What is fuzzed: one function a target, which any bytes must leave without a panic.
//!
//! A decoder may refuse, and what it takes must come out the same when it is written and read again.
//! A machine is fed what is made of the bytes, and its invariants are checked after each input.
//! `sim/tests/corpus.rs` includes this file, so that the corpus is run with every `cargo test` too.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use starling_core::conduct::{Opening, Proof};
use starling_core::hlc::HlcTime;
use starling_core::hot::acknowledge::Acknowledge;
use starling_core::identity::{Admission, AttachClaim, PublicKey, Signature};
use starling_core::interest::Pattern;
use starling_core::membership::detector::digest::Digest;
use starling_core::membership::detector::{Life, Probe, Statement};
use starling_core::registry::exchange::PeerMessage;
use starling_core::state::crdt::Value;
use starling_core::state::keyspace::Change as KeyChange;
use starling_core::state::version::VersionVector;
use starling_core::summary::commitment::Opening as SummaryOpening;
use starling_core::summary::{Cut, Distinct, Figure, SummaryUpdate};
use starling_core::wire::agent::{
    Attach, Change, Deliver, Profile, Publish, Published, System, SystemAcknowledge,
};
use starling_core::wire::bundle::Bundle;
use starling_core::wire::codec::{Reader, Wire};
use starling_core::wire::entry::{take_entry, walk_entries};
use starling_core::wire::frame::FrameDecoder;
use starling_core::wire::message::{ControlBody, Hello};
use starling_core::wire::request::{Reply, Request};
use starling_sim::{Matrix, Scenario};

#[path = "../../sim/tests/nonsense/fed.rs"]
pub mod fed;
#[path = "../../sim/tests/nonsense/made.rs"]
pub mod made;

/// A target's body.
pub type Target = fn(&[u8]);

/// All targets by their names, which are those of the corpus's directories.
pub const TARGETS: [(&str, Target); 19] = [
    ("frame", frame),
    ("bundle", bundle),
    ("entry", entry),
    ("agent", agent),
    ("request", request),
    ("message", message),
    ("acknowledge", acknowledge),
    ("identity", identity),
    ("interest", interest),
    ("proof", proof),
    ("registry", registry),
    ("detector", detector),
    ("summary", summary),
    ("state", state),
    ("scenario", scenario),
    ("matrix", matrix),
    ("edge", edge),
    ("aggregator", aggregator),
    ("coordinator", coordinator),
];

/// No round trip of a matrix is longer.
const ROUND_TRIP_MAX: Duration = Duration::from_secs(60);
/// Bytes of what becomes one input.
const INPUT_BYTES: usize = 16;
/// Inputs of a machine in one run.
const INPUTS_MAX: usize = 100;

/// What is read is the same when it is written and read again.
fn wire<T: Wire + PartialEq + std::fmt::Debug>(data: &[u8]) {
    if let Ok(value) = T::from_bytes(data) {
        let again = T::from_bytes(&value.to_bytes());
        assert_eq!(again.as_ref(), Ok(&value));
    }
}

/// The stream in pieces: the first byte says how long they are.
pub fn frame(data: &[u8]) {
    let Some((first, stream)) = data.split_first() else { return };
    let whole = frames(&[stream]);
    let pieces: Vec<&[u8]> = stream.chunks(usize::from(*first).max(1)).collect();
    assert_eq!(frames(&pieces), whole, "frames do not depend on how the stream is cut");
}

/// The bodies of a stream's frames, and whether all of it could be read.
fn frames(pieces: &[&[u8]]) -> (Vec<Bytes>, bool) {
    let (mut decoder, mut bodies) = (FrameDecoder::new(), Vec::new());
    for piece in pieces {
        decoder.push(Bytes::copy_from_slice(piece));
        loop {
            match decoder.next_frame() {
                Ok(Some((_, body))) => bodies.push(body),
                Ok(None) => break,
                Err(_) => return (bodies, false),
            }
        }
    }
    (bodies, true)
}

pub fn bundle(data: &[u8]) {
    let Ok((_, bundle)) = Bundle::decode(&Bytes::copy_from_slice(data)) else { return };
    for index in bundle.present() {
        let section = &bundle.sections[index];
        let body = section.body.as_ref().expect("what is present has a body");
        // Entries of a body whose hash is not checked yet may be anything.
        let _ignored = walk_entries(body, section.count, |_| {});
    }
}

pub fn entry(data: &[u8]) {
    let mut reader = Reader::new(data);
    let mut count = 0;
    while take_entry(&mut reader).is_ok() {
        count += 1;
    }
    let mut walked = 0;
    let taken = data.len() - reader.remaining();
    if walk_entries(&data[..taken], count, |_| walked += 1).is_ok() {
        assert_eq!(walked, usize::from(count));
    }
}

pub fn agent(data: &[u8]) {
    wire::<Attach>(data);
    wire::<Change>(data);
    wire::<Profile>(data);
    let body = Bytes::copy_from_slice(data);
    if let Ok(publish) = Publish::decode(&body) {
        let mut again = BytesMut::new();
        publish.put_frame(&mut again);
        let again = again.freeze().slice(starling_core::wire::frame::FRAME_HEADER_BYTES..);
        assert_eq!(Publish::decode(&again).as_ref(), Ok(&publish));
    }
    if let Ok(deliver) = Deliver::decode(&body) {
        let mut reader = Reader::new(&deliver.body);
        (0..deliver.count).take_while(|_| take_entry(&mut reader).is_ok()).for_each(drop);
    }
    if System::decode(&body).is_ok()
        || Published::decode(data).is_ok()
        || SystemAcknowledge::decode(data).is_ok()
    {
        // Nothing more is promised of them.
    }
}

pub fn request(data: &[u8]) {
    let body = Bytes::copy_from_slice(data);
    if let Ok(reply) = Reply::decode_body(body.clone()) {
        drop(reply);
    }
    if let Ok(request) = Request::decode_body(body) {
        let frame = request.to_frame().slice(starling_core::wire::frame::FRAME_HEADER_BYTES..);
        assert_eq!(Request::decode_body(frame).as_ref(), Ok(&request));
    }
}

pub fn message(data: &[u8]) {
    let body = Bytes::copy_from_slice(data);
    if let Ok(Some(control)) = ControlBody::decode(body.clone()) {
        let again = ControlBody::decode(control.clone().to_body());
        assert_eq!(again, Ok(Some(control)));
    }
    if let Ok(hello) = Hello::decode_body(body) {
        drop(hello.to_frame());
    }
}

pub fn acknowledge(data: &[u8]) {
    wire::<Acknowledge>(data);
}

pub fn identity(data: &[u8]) {
    wire::<Admission>(data);
    wire::<AttachClaim>(data);
    wire::<PublicKey>(data);
    wire::<Signature>(data);
    wire::<HlcTime>(data);
}

pub fn interest(data: &[u8]) {
    if let Ok(pattern) = Pattern::from_bytes(data) {
        assert_eq!(pattern.as_str().as_bytes(), data);
        assert!(pattern.as_str().contains(['*', '>']) || pattern.matches(pattern.as_str()));
    }
}

pub fn proof(data: &[u8]) {
    wire::<Proof>(data);
    wire::<Opening>(data);
    if let Ok(proof) = Proof::from_bytes(data) {
        for (key, admission) in fed::CAST.keys.iter().zip(&fed::CAST.admissions) {
            let public = key.public();
            let key = starling_core::identity::VerifyKey::new(&public).expect("a key of ours is good");
            if let Ok(culprit) = proof.verify(&key, admission.mesh) {
                assert_eq!(culprit.node(), proof.accused());
            }
        }
    }
}

pub fn registry(data: &[u8]) {
    if let Some(message) = PeerMessage::read(Bytes::copy_from_slice(data)) {
        drop(format!("{message:?}"));
    }
}

pub fn detector(data: &[u8]) {
    wire::<Probe>(data);
    wire::<Statement>(data);
    wire::<Life>(data);
    wire::<Digest>(data);
}

pub fn summary(data: &[u8]) {
    wire::<SummaryUpdate>(data);
    wire::<Figure>(data);
    wire::<Cut>(data);
    wire::<Distinct>(data);
    wire::<SummaryOpening>(data);
}

pub fn state(data: &[u8]) {
    wire::<Value>(data);
    wire::<KeyChange>(data);
    wire::<VersionVector>(data);
}

pub fn scenario(data: &[u8]) {
    if let Ok(scenario) = serde_json::from_slice::<Scenario>(data) {
        drop(scenario.settings(1));
    }
}

pub fn matrix(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(matrix) = Matrix::parse(text) {
        assert!(matrix.between(0, 1) <= ROUND_TRIP_MAX);
    }
}

/// Each piece of the bytes is the seed of one input, so that a fuzzer can change, move and drop inputs
/// one by one.
fn machine(role: usize, data: &[u8]) {
    let strategy = made::op();
    let ops = data.chunks(INPUT_BYTES).take(INPUTS_MAX).filter_map(|piece| {
        let mut seed = [0; 32];
        seed[..piece.len()].copy_from_slice(piece);
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
        let mut runner = TestRunner::new_with_rng(Config::default(), rng);
        strategy.new_tree(&mut runner).ok().map(|tree| tree.current())
    });
    let ops: Vec<made::Op> = ops.collect();
    fed::run(role, &ops);
}

pub fn edge(data: &[u8]) {
    machine(0, data);
}

pub fn aggregator(data: &[u8]) {
    machine(1, data);
}

pub fn coordinator(data: &[u8]) {
    machine(2, data);
}
