//! What the corpus begins with: good values of every kind, from fixed seeds.

use bytes::{Bytes, BytesMut};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use starling_core::conduct::{Opening, Proof};
use starling_core::hot::acknowledge::{Acknowledge, Stream};
use starling_core::id::{AgentId, RegionId, ShortId};
use starling_core::identity::AttachTerms;
use starling_core::membership::detector::{Kind, Life, Statement};
use starling_core::registry::exchange::{PeerBody, PeerHello, PeerMessage};
use starling_core::rng::Rng;
use starling_core::state::crdt::{Counter, Value};
use starling_core::state::version::{Version, VersionVector};
use starling_core::summary::Summary;
use starling_core::wire::agent::{Attach, Change, Deliver, Publish, Published, Receivers, SystemAcknowledge};
use starling_core::wire::bundle::{Bundle, Class, Passage, SectionSet};
use starling_core::wire::codec::Wire;
use starling_core::wire::entry::{Extras, put_entry};
use starling_core::wire::frame::{FRAME_HEADER_BYTES, FrameType, frame};
use starling_core::wire::message::{ControlBody, Hello};
use starling_core::wire::request::{Reply, Request};
use starling_sim::{Agent, Matrix};

use super::targets::fed::CAST;
use super::targets::made;

/// Bytes of what becomes a machine's inputs.
const MACHINE_BYTES: usize = 1_500;
/// No file is longer: the corpus lies in the repository.
const FILE_BYTES_MAX: usize = 2_000;

type Files = Vec<Vec<u8>>;

/// Values of a strategy, the same each time.
fn drawn<T: std::fmt::Debug>(count: usize, strategy: impl Strategy<Value = T>) -> Vec<T> {
    let mut runner = TestRunner::deterministic();
    (0..count).map(|_| strategy.new_tree(&mut runner).expect("a value").current()).collect()
}

fn body(frame: &[u8]) -> Vec<u8> {
    frame[FRAME_HEADER_BYTES..].to_vec()
}

fn bundle_body(bundle: &Bundle) -> Vec<u8> {
    let parcel = bundle.to_parcel(&Passage::default(), &SectionSet::present_in(bundle));
    let mut whole = parcel.front.to_vec();
    parcel.shared.iter().for_each(|piece| whole.extend_from_slice(piece));
    body(&whole)
}

fn section_body() -> Vec<u8> {
    let mut out = BytesMut::new();
    put_entry(&mut out, 0, 7, &Extras::default(), b"plain");
    let reply = Some(Bytes::from_static(b"reply.here"));
    let extras = Extras { reply, trace: Some([1; 25]), deadline: Some(9), signature: Some([2; 64]) };
    put_entry(&mut out, 1, 8, &extras, b"with everything");
    out.to_vec()
}

fn agents() -> Files {
    let terms = AttachTerms { edge: CAST.admissions[0].node(), edge_incarnation: 5, binding: [3; 32] };
    let mut candidate = Agent { tags: vec!["a".into(), "b".into()], ..Agent::new(1) }.candidate(4);
    candidate.claim = terms.sign(&CAST.keys[3], 9, 1_780_000_000_000);
    let mut publish = BytesMut::new();
    Publish {
        agent: 1,
        class: Class::EventBulk,
        directed: false,
        subject: Bytes::from_static(b"a.b"),
        sequence: 3,
        extras: Extras::default(),
        payload: Bytes::from_static(b"payload"),
    }
    .put_frame(&mut publish);
    let deliver = Deliver {
        receivers: Receivers::Subscriptions(vec![1, 2]),
        class: Class::EventBulk,
        subject: Bytes::from_static(b"a.b"),
        origin: ShortId(7),
        clock: 8,
        agents: vec![(0, AgentId([1; 16])), (1, AgentId([2; 16]))],
        count: 2,
        body: section_body().into(),
    };
    let mut delivered = BytesMut::new();
    deliver.put_front(&mut delivered);
    delivered.extend_from_slice(&deliver.body);
    let mut acknowledged = BytesMut::new();
    SystemAcknowledge { agent: 1, index: 2 }.put_frame(&mut acknowledged);
    let change = Change { index: 1, state: Some("busy".into()), tags: Some(vec!["a".into()]) };
    vec![
        Attach { request: 9, candidates: vec![candidate.clone()] }.to_bytes().to_vec(),
        candidate.profile.to_bytes().to_vec(),
        body(&publish),
        body(&delivered),
        change.to_bytes().to_vec(),
        body(&Published(vec![(1, 4), (6, 6)]).to_frame()),
        body(&acknowledged),
    ]
}

fn proofs() -> Files {
    let bundle = drawn(1, made::state_bundle()).remove(0);
    let signer = CAST.keys.iter().zip(&CAST.admissions).find(|(_, of)| of.node().short() == bundle.origin);
    let signer = signer.expect("one of the cast").0.signer();
    let opening = |clock: u64| {
        let signed = Bundle { clock, ..bundle.clone() }.signed_by(&signer);
        Opening::of(&signed.header).expect("a header of ours")
    };
    let proof = Proof::of_pair(opening(1), opening(2)).expect("two headers under one sequence");
    vec![proof.to_bytes().to_vec(), opening(3).to_bytes().to_vec()]
}

fn detector() -> Files {
    let statement = Statement {
        speaker: ShortId(1),
        kind: Kind::Suspect,
        subject: ShortId(2),
        life: Life { incarnation: 3, refutation: 1 },
        said: 1_780_000_000_000,
    };
    let mut files = vec![statement.to_bytes().to_vec(), statement.life.to_bytes().to_vec()];
    files.extend(drawn(6, made::probe_bytes()).iter().map(|bytes| bytes.to_vec()));
    files.extend(drawn(2, made::standings()).iter().map(|standings| standings.digest.to_vec()));
    files
}

fn state() -> Files {
    let mut versions = VersionVector::new();
    for node in 0..3 {
        let version = Version { incarnation: 4, sequence: node };
        versions.observe(ShortId(node + 1), version).expect("three origins");
    }
    let values = [Value::Max(-3), Value::Min(9), Value::Counter(Counter::part(ShortId(1), 5, 2))];
    let mut files: Files = values.iter().map(|value| value.to_bytes().to_vec()).collect();
    files.push(versions.to_bytes().to_vec());
    files
}

fn streams() -> Files {
    let mut stream = vec![3];
    stream.extend_from_slice(&frame(FrameType::Control, b"one"));
    stream.extend_from_slice(&frame(FrameType::Bundle, &[0; 40]));
    // One of an unknown type, which is skipped, and one that must not be.
    stream.extend_from_slice(&[2, 0, 0, 0, 200, 0, 1, 2]);
    stream.extend_from_slice(&[0, 0, 0, 0, 201, 1]);
    vec![stream, vec![1, 0xFF, 0xFF, 0xFF, 0xFF, 1, 0]]
}

fn registry() -> Files {
    let hello = PeerHello { version_low: 1, version_high: 1, ..PeerHello::default() };
    let bytes = PeerMessage::bytes_of(PeerBody::Hello(hello)).to_vec();
    vec![bytes, vec![0x12, 0x02, 0x08, 0x01]]
}

fn machine(seed: u64) -> Files {
    let mut rng = Rng::new(seed);
    (0..3).map(|_| (0..MACHINE_BYTES).map(|_| rng.below(256) as u8).collect()).collect()
}

/// The files of each target.
pub fn all() -> Vec<(&'static str, Files)> {
    let bundles = drawn(4, made::state_bundle());
    let text = |text: &str| text.as_bytes().to_vec();
    let control = drawn(24, made::control()).into_iter().map(|body| body.to_body().to_vec());
    let control = control.filter(|bytes| bytes.len() <= FILE_BYTES_MAX);
    let hello = Hello { version_low: 1, version_high: 3, ..Hello::default() };
    let asks = drawn(12, made::ask()).into_iter();
    let asks = asks.map(|ask| body(&Request { id: 3, ask: Some(ask) }.to_frame()));
    let mut summary = Summary::new(5);
    summary.agent_joined(AgentId([1; 16]), "s", ["t"]);
    let stream = Stream { origin: ShortId(1), incarnation: 2, class: Class::EventBulk, region: RegionId(3) };
    let acknowledge = Acknowledge { stream, sequences: vec![1, 2, 5], missing: vec![(5, 0)] };
    let admission = &CAST.admissions[1];
    vec![
        ("frame", streams()),
        ("bundle", bundles.iter().map(bundle_body).collect()),
        ("entry", vec![section_body()]),
        ("agent", agents()),
        ("request", asks.filter(|bytes| bytes.len() <= FILE_BYTES_MAX).collect()),
        ("message", control.chain([body(&hello.to_frame())]).collect()),
        ("acknowledge", vec![acknowledge.to_bytes().to_vec()]),
        ("identity", vec![admission.to_bytes().to_vec(), admission.key.to_bytes().to_vec()]),
        ("interest", ["a.b", "a.*.c", "a.>", ">", "$system.a", "a..b"].map(text).to_vec()),
        ("proof", proofs()),
        ("registry", registry()),
        ("detector", detector()),
        ("summary", vec![summary.whole().to_bytes().to_vec(), drawn(3, made::figure_bytes())[0].to_vec()]),
        ("state", state()),
        ("scenario", vec![text(SCENARIO), text("{}")]),
        ("matrix", vec![text(MATRIX), text("{\"data\": {\"a\": {}}}")]),
        ("edge", machine(1)),
        ("aggregator", machine(2)),
        ("coordinator", machine(3)),
    ]
}

const SCENARIO: &str =
    r#"{"nodes":8,"regions":2,"agents":100,"network":{"latency_ms":1.5,"loss":0.1},"faults":{"crash_s":5}}"#;
const MATRIX: &str = r#"{"data":{"a":{"a":1,"b":80.5},"b":{"a":80,"b":2}}}"#;

/// Fails if a decoder refuses what is meant to be good.
pub fn assert_taken() {
    let first = |name: &str| {
        let found = all().into_iter().find(|(of, _)| *of == name);
        found.expect("a target").1.swap_remove(0)
    };
    assert!(Bundle::decode(&first("bundle").into()).is_ok());
    assert!(Attach::from_bytes(&first("agent")).is_ok());
    assert!(Request::decode_body(first("request").into()).is_ok_and(|request| request.ask.is_some()));
    assert!(Reply::decode_body(Bytes::new()).is_ok());
    assert!(ControlBody::decode(first("message").into()).is_ok_and(|body| body.is_some()));
    assert!(Acknowledge::from_bytes(&first("acknowledge")).is_ok());
    assert!(Proof::from_bytes(&first("proof")).is_ok());
    assert!(PeerMessage::read(first("registry").into()).is_some_and(|message| message.body.is_some()));
    assert!(Statement::from_bytes(&first("detector")).is_ok());
    assert!(Value::from_bytes(&first("state")).is_ok());
    assert!(starling_core::summary::SummaryUpdate::from_bytes(&first("summary")).is_ok());
    assert!(Matrix::parse(MATRIX).is_ok());
    let scenario = serde_json::from_str::<starling_sim::Scenario>(SCENARIO);
    assert!(scenario.is_ok(), "{scenario:?}");
}
