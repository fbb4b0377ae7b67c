use super::*;
use crate::id::{hex, unhex};
use crate::identity::{PublicKey, Signature};
use crate::wire::frame::FrameDecoder;
use proptest::prelude::*;

/// The only frame in `bytes`.
fn only_frame(bytes: &[u8]) -> (FrameType, Bytes) {
    let mut decoder = FrameDecoder::new();
    decoder.push(Bytes::copy_from_slice(bytes));
    let found = decoder.next_frame().unwrap().unwrap();
    assert_eq!(decoder.next_frame(), Ok(None));
    found
}

fn framed(put: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut out = BytesMut::new();
    put(&mut out);
    out.freeze()
}

fn claim() -> AttachClaim {
    AttachClaim {
        key: PublicKey([0x11; 32]),
        session: 0x22,
        expires_ms: 0x33,
        signature: Signature([0x44; 64]),
    }
}

fn profile() -> Profile {
    Profile { name: "n".into(), state: "up".into(), tags: vec!["x".into(), String::new()] }
}

#[test]
fn golden_attach() {
    let candidates = vec![Candidate { index: 5, claim: claim(), profile: profile() }];
    let attach = Attach { request: 9, candidates };
    let frame = wire_frame(FrameType::Attach, &attach);
    let expected = [
        "8b0000004000",
        "0900000000000000",
        "0100",
        "05000000",
        &"11".repeat(32),
        "2200000000000000",
        "3300000000000000",
        &"44".repeat(64),
        "01006e",
        "02007570",
        "02",
        "010078",
        "0000",
    ];
    assert_eq!(hex(&frame), expected.concat());
    assert_eq!(Attach::from_bytes(&only_frame(&frame).1), Ok(attach));
}

#[test]
fn golden_change() {
    let change = Change { index: 5, state: Some("up".into()), tags: Some(vec!["x".into()]) };
    let frame = wire_frame(FrameType::Change, &change);
    assert_eq!(hex(&frame), "0d0000004800050000000302007570010100".to_string() + "78");
    assert_eq!(Change::from_bytes(&only_frame(&frame).1), Ok(change));
    let nothing = Change { index: 1, state: None, tags: None };
    assert_eq!(hex(&nothing.to_bytes()), "0100000000");
    assert_eq!(Change::from_bytes(&[1, 0, 0, 0, 4]), Err(DecodeError::Invalid("change flags")));
}

fn publish() -> Publish {
    let reply = Some(Bytes::from_static(b"r"));
    Publish {
        agent: 6,
        class: Class::EventPriority,
        directed: false,
        subject: Bytes::from_static(b"a.b"),
        sequence: 7,
        extras: Extras { reply, deadline: Some(8), ..Extras::default() },
        payload: Bytes::from_static(b"hi"),
    }
}

#[test]
fn golden_publish() {
    let frame = framed(|out| publish().put_frame(out));
    let expected = [
        "270000004300",
        "06000000",
        "02",
        "00",
        "0300612e62",
        // The entry: reply and deadline, agent 0, sequence 7, two bytes of payload.
        "0500000700000000000000",
        "02000000",
        "010072",
        "0800000000000000",
        "6869",
    ];
    assert_eq!(hex(&frame), expected.concat());
    assert_eq!(Publish::decode(&only_frame(&frame).1), Ok(publish()));
}

#[test]
fn publish_refuses_what_agents_may_not_say() {
    let refused = |change: fn(&mut Vec<u8>)| {
        let mut body = only_frame(&framed(|out| publish().put_frame(out))).1.to_vec();
        change(&mut body);
        Publish::decode(&body.into()).unwrap_err()
    };
    assert_eq!(refused(|body| body[4] = 1), DecodeError::Invalid("class"));
    assert_eq!(refused(|body| body[4] = 4), DecodeError::Invalid("class"));
    assert_eq!(refused(|body| body[5] = 2), DecodeError::Invalid("publish flags"));
    assert_eq!(refused(|body| body[5] = 1), DecodeError::Invalid("receiver"));
    assert_eq!(refused(|body| body[6..8].copy_from_slice(&[1, 1])), DecodeError::TooLong("subject"));
    assert_eq!(refused(|body| body.push(0)), DecodeError::Trailing);
    assert_eq!(refused(|body| body[22..26].copy_from_slice(&[1, 0, 16, 0])), DecodeError::TooLong("payload"));
}

#[test]
fn golden_published() {
    let published = Published(vec![(1, 3), (9, 9)]);
    let frame = published.to_frame();
    let expected =
        "200000004400".to_string() + "01000000000000000300000000000000" + "09000000000000000900000000000000";
    assert_eq!(hex(&frame), expected);
    assert_eq!(Published::decode(&only_frame(&frame).1), Ok(published));
    assert_eq!(Published::decode(&[0; 17]), Err(DecodeError::Truncated));
}

fn deliver() -> Deliver {
    Deliver {
        receivers: Receivers::Subscriptions(vec![4, 5]),
        class: Class::EventBulk,
        subject: Bytes::from_static(b"a"),
        origin: ShortId(0x11),
        clock: 0x22,
        agents: vec![(1, AgentId([0xAA; 16]))],
        count: 1,
        body: Bytes::from_static(b"body"),
    }
}

fn deliver_frame(deliver: &Deliver) -> Bytes {
    let frame = framed(|out| {
        deliver.put_front(out);
        out.put_slice(&deliver.body);
    });
    assert_eq!(frame.len(), deliver.frame_bytes());
    frame
}

#[test]
fn golden_deliver() {
    let expected = [
        "390000004500",
        "00",
        "0200",
        "0400000005000000",
        "03",
        "010061",
        "1100000000000000",
        "2200000000000000",
        "0100",
        "0100",
        &"aa".repeat(16),
        "0100",
        "626f6479",
    ];
    let frame = deliver_frame(&deliver());
    assert_eq!(hex(&frame), expected.concat());
    let got = Deliver::decode(&only_frame(&frame).1).unwrap();
    assert_eq!(got, deliver());
    assert_eq!((got.agent(1), got.agent(0)), (Some(AgentId([0xAA; 16])), None));
    let inbox = Deliver { receivers: Receivers::Inbox(3), ..deliver() };
    assert_eq!(hex(&deliver_frame(&inbox)[6..13]), "01010003000000");
    assert_eq!(Deliver::decode(&only_frame(&deliver_frame(&inbox)).1), Ok(inbox));
}

#[test]
fn golden_system_and_its_acknowledgement() {
    let system = System { agent: 1, index: 2, payload: Bytes::from_static(b"p") };
    let frame = framed(|out| system.put_frame(out));
    assert_eq!(hex(&frame), "0d000000460001000000020000000000000070");
    assert_eq!(System::decode(&only_frame(&frame).1), Ok(system));
    let acknowledge = SystemAcknowledge { agent: 1, index: 2 };
    let frame = framed(|out| acknowledge.put_frame(out));
    assert_eq!(hex(&frame), "0c0000004700010000000200000000000000");
    assert_eq!(SystemAcknowledge::decode(&only_frame(&frame).1), Ok(acknowledge));
    assert_eq!(SystemAcknowledge::decode(&[0; 13]), Err(DecodeError::Trailing));
}

#[test]
fn limits_are_kept() {
    let long = Profile { name: "n".repeat(65), ..Profile::default() };
    assert_eq!(Profile::from_bytes(&long.to_bytes()), Err(DecodeError::TooLong("label")));
    let many = Profile { tags: vec![String::new(); 17], ..Profile::default() };
    assert_eq!(Profile::from_bytes(&many.to_bytes()), Err(DecodeError::TooLong("tags")));
    let not_text: [u8; 4] = unhex("0200c328").unwrap();
    assert_eq!(Profile::from_bytes(&not_text), Err(DecodeError::Invalid("label")));
    let candidate = Candidate { index: 0, claim: claim(), profile: profile() };
    let crowd = Attach { request: 1, candidates: vec![candidate.clone(); 257] };
    assert_eq!(Attach::from_bytes(&crowd.to_bytes()), Err(DecodeError::TooLong("claims")));
    let far = Attach { request: 1, candidates: vec![Candidate { index: 65_536, ..candidate }] };
    assert_eq!(Attach::from_bytes(&far.to_bytes()), Err(DecodeError::TooLong("agent index")));
}

fn any_profile() -> impl Strategy<Value = Profile> {
    ("[a-z]{0,64}", "\\PC{0,16}", prop::collection::vec("[a-z]{0,8}", 0..=16))
        .prop_map(|(name, state, tags)| Profile { name, state, tags })
}

fn any_candidate() -> impl Strategy<Value = Candidate> {
    let claim = (any::<[u8; 32]>(), any::<(u64, u64)>(), any::<u8>());
    let claim = claim.prop_map(|(key, (session, expires_ms), fill)| AttachClaim {
        key: PublicKey(key),
        session,
        expires_ms,
        signature: Signature([fill; 64]),
    });
    (0u32..65_536, claim, any_profile()).prop_map(|(index, claim, profile)| Candidate {
        index,
        claim,
        profile,
    })
}

fn any_bytes(max: usize) -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..max).prop_map(Bytes::from)
}

fn any_extras() -> impl Strategy<Value = Extras> {
    let optional = (prop::option::of(any_bytes(40)), prop::option::of(any::<[u8; 25]>()));
    (optional, prop::option::of(any::<u64>()), prop::option::of(any::<u8>())).prop_map(
        |((reply, trace), deadline, fill)| Extras {
            reply,
            trace,
            deadline,
            signature: fill.map(|fill| [fill; 64]),
        },
    )
}

proptest! {
    #[test]
    fn attach_and_change_round_trip(
        request in any::<u64>(),
        candidates in prop::collection::vec(any_candidate(), 0..6),
        state in prop::option::of("[a-z]{0,64}"),
        tags in prop::option::of(prop::collection::vec("[a-z]{0,8}", 0..=16)),
    ) {
        let attach = Attach { request, candidates };
        prop_assert_eq!(Attach::from_bytes(&attach.to_bytes()), Ok(attach));
        let change = Change { index: 3, state, tags };
        prop_assert_eq!(Change::from_bytes(&change.to_bytes()), Ok(change));
    }

    #[test]
    fn publish_round_trips(
        numbers in any::<(u32, u64, bool)>(),
        directed in any::<bool>(),
        subject in any_bytes(257),
        extras in any_extras(),
        payload in any_bytes(400),
    ) {
        let (agent, sequence, is_bulk) = numbers;
        let class = if is_bulk { Class::EventBulk } else { Class::EventPriority };
        let subject = if directed { Bytes::from(vec![1; 16]) } else { subject };
        let publish = Publish { agent, class, directed, subject, sequence, extras, payload };
        let (kind, body) = only_frame(&framed(|out| publish.put_frame(out)));
        prop_assert_eq!(kind, FrameType::Publish);
        prop_assert_eq!(Publish::decode(&body), Ok(publish));
    }

    #[test]
    fn deliver_round_trips(
        receivers in prop_oneof![
            prop::collection::vec(any::<u32>(), 0..40).prop_map(Receivers::Subscriptions),
            any::<u32>().prop_map(Receivers::Inbox),
        ],
        subject in any_bytes(257),
        numbers in any::<(u64, u64, u16)>(),
        agents in prop::collection::vec((any::<u16>(), any::<[u8; 16]>().prop_map(AgentId)), 0..20),
        body in any_bytes(300),
    ) {
        let (origin, clock, count) = numbers;
        let origin = ShortId(origin);
        let class = Class::State;
        let deliver = Deliver { receivers, class, subject, origin, clock, agents, count, body };
        prop_assert_eq!(Deliver::decode(&only_frame(&deliver_frame(&deliver)).1), Ok(deliver));
    }

    #[test]
    fn any_bytes_are_harmless(bytes in any_bytes(600)) {
        let _ignored = Attach::from_bytes(&bytes);
        let _ignored = Change::from_bytes(&bytes);
        let _ignored = Profile::from_bytes(&bytes);
        let _ignored = Publish::decode(&bytes);
        let _ignored = Published::decode(&bytes);
        let _ignored = Deliver::decode(&bytes);
        let _ignored = System::decode(&bytes);
        let _ignored = SystemAcknowledge::decode(&bytes);
    }

    #[test]
    fn damaged_frames_are_harmless(at in any::<prop::sample::Index>(), value in any::<u8>()) {
        let candidates = vec![Candidate { index: 5, claim: claim(), profile: profile() }];
        let mut bytes = Attach { request: 9, candidates }.to_bytes().to_vec();
        let place = at.index(bytes.len());
        bytes[place] = value;
        let _ignored = Attach::from_bytes(&bytes);
        for frame in [framed(|out| publish().put_frame(out)), deliver_frame(&deliver())] {
            let mut body = frame[FRAME_HEADER_BYTES..].to_vec();
            let place = at.index(body.len());
            body[place] = value;
            let body = Bytes::from(body);
            let _ignored = Publish::decode(&body);
            let _ignored = Deliver::decode(&body);
        }
    }
}
