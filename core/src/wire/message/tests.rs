use super::*;
use crate::id::hex;
use crate::wire::frame::FRAME_HEADER_BYTES;
use proptest::prelude::*;

fn text(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

fn record() -> PeerRecord {
    PeerRecord {
        admission: text("a"),
        addresses: vec!["h:1".into()],
        incarnation: 2,
        process: 3,
        version: "v".into(),
        is_gone: false,
        has_left: false,
        signature: text("s"),
    }
}

/// One of each, in the order of their tags, with its frame in hexadecimal.
fn goldens() -> Vec<(ControlBody, &'static str)> {
    let agent = || Bytes::from_static(&[0xAA; 16]);
    let interest = Interest {
        region: 1,
        version: 2,
        whole: true,
        added: vec!["a.*".into()],
        removed: vec!["b".into()],
        more: true,
        gone: true,
    };
    vec![
        (
            ControlBody::Peers(Peers { records: vec![record()], more: true }),
            "1f00000020000a1d0a190a01611203683a3119020000000000000020032a01764201731001",
        ),
        (
            ControlBody::Interest(interest),
            "1b00000020001219090100000000000000100218012203612e2a2a016230013801",
        ),
        (
            ControlBody::InterestConfirmed(InterestConfirmed { region: 1, version: 2 }),
            "0d00000020001a0b0901000000000000001002",
        ),
        (
            ControlBody::Directory(Directory { whole: true, attached: text("in"), detached: text("out") }),
            "0d0000002000220b08011202696e1a036f7574",
        ),
        (
            ControlBody::Locate(Locate { agent: agent(), from_region: true }),
            "1600000020002a140a10aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa1001",
        ),
        (
            ControlBody::Located(Located { agent: agent(), region: 1, edge: 2, session: 3 }),
            "28000000200032260a10aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa1101000000000000001902000000000000002003",
        ),
        (
            ControlBody::Superseded(Superseded { agent: agent(), session: 3 }),
            "1600000020003a140a10aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa1003",
        ),
        (ControlBody::Summary(text("s")), "030000002000420173"),
        (ControlBody::Figure(text("f")), "0300000020004a0166"),
        (
            ControlBody::Update(Update {
                index: 1,
                decided_ms: 2,
                payload: text("p"),
                signer: 3,
                signature: text("s"),
            }),
            "1500000020005213080110021a01702103000000000000002a0173",
        ),
        (ControlBody::UpdateApplied(UpdateApplied { index: 1 }), "0400000020005a020801"),
        (ControlBody::Reroute(Reroute { region: 1 }), "0b00000020006209090100000000000000"),
        (
            ControlBody::NotHere(NotHere { origin: 1, incarnation: 2, class: 3, sequence: 4, section: 5 }),
            "1a00000020006a18090100000000000000110200000000000000180320042805",
        ),
        (ControlBody::Leaving(Leaving {}), "0200000020007200"),
        (ControlBody::Pace(Pace { milliseconds: 250 }), "0500000020007a0308fa01"),
        (ControlBody::Missed(Missed { region: 2 }), "0c0000002000820109090200000000000000"),
        (ControlBody::Compare(Compare { root: text("r") }), "0600000020008a01030a0172"),
        (
            ControlBody::Versions(Versions { from: 1, through: 2, versions: text("v"), is_answer: true }),
            "1a00000020009201170901000000000000001102000000000000001a01762001",
        ),
        (ControlBody::Probe(text("p")), "0400000020009a010170"),
        (ControlBody::Statements(Statements { signed: vec![text("s")] }), "060000002000a201030a0173"),
        (
            ControlBody::Standings(Standings { digest: text("d"), is_answer: true }),
            "080000002000aa01050a01641001",
        ),
        (
            ControlBody::RelayOpen(RelayOpen {
                session: 1,
                opener: 2,
                incarnation: 3,
                target: 4,
                target_incarnation: 5,
                attempt: 6,
                hops: 7,
                code: text("c"),
            }),
            "300000002000b2012d080111020000000000000019030000000000000021040000000000000029050000000000000030063807420163",
        ),
        (
            ControlBody::RelayAccepted(RelayAccepted { session: 1, code: text("c") }),
            "080000002000ba01050801120163",
        ),
        (ControlBody::RelayClosed(RelayClosed { session: 1 }), "050000002000c201020801"),
        (
            ControlBody::Relayed(Relayed { session: 1, number: 2, code: text("c"), message: text("m") }),
            "0d0000002000ca010a080110021a016322016d",
        ),
        (ControlBody::Proof(text("p")), "040000002000d2010170"),
        (ControlBody::PeerMessage(text("p")), "040000002000e2010170"),
        (
            ControlBody::Roster(Roster { fingerprint: 1, buckets: vec![2], is_answer: true }),
            "180000002000da0115090100000000000000120802000000000000001801",
        ),
        (
            ControlBody::CertificateAsk(CertificateAsk {
                admission: Bytes::from_static(b"a"),
                number: 2,
                request: Bytes::from_static(b"r"),
                signature: Bytes::from_static(b"s"),
            }),
            "0e00000020009a020b0a016110021a0172220173",
        ),
        (
            ControlBody::CertificateAnswer(CertificateAnswer {
                node: 1,
                number: 2,
                certificate: "c".to_owned(),
                refusal: "r".to_owned(),
            }),
            "140000002000a2021109010000000000000010021a0163220172",
        ),
        (
            ControlBody::Names(Names { offered: vec![1], incarnations: vec![2], wanted: vec![3] }),
            "210000002000ea011e0a080100000000000000120802000000000000001a080300000000000000",
        ),
        (ControlBody::Agreement(text("a")), "040000002000f2010161"),
    ]
}

#[test]
fn golden_control_messages() {
    for (body, expected) in goldens() {
        let frame = body.clone().to_frame();
        assert_eq!(hex(&frame), expected, "{body:?}");
        assert_eq!(ControlBody::decode(frame.slice(FRAME_HEADER_BYTES..)), Ok(Some(body)));
    }
}

#[test]
fn golden_hello() {
    let hello =
        Hello { version_low: 1, version_high: 2, features: 3, node: Some(record()), ..Hello::default() };
    let frame = hello.to_frame();
    assert_eq!(hex(&frame), "21000000010008011002180322190a01611203683a3119020000000000000020032a0176420173");
    assert_eq!(Hello::decode_body(frame.slice(FRAME_HEADER_BYTES..)), Ok(hello));
    let replaces = Bytes::from_static(&[7; 3]);
    let moving = Hello { version_low: 1, version_high: 1, replaces, ..Hello::default() };
    let frame = moving.to_frame();
    assert_eq!(hex(&frame), "090000000100080110012a03070707");
    assert_eq!(Hello::decode_body(frame.slice(FRAME_HEADER_BYTES..)), Ok(moving));
}

#[test]
fn what_is_newer_than_this_version_is_skipped() {
    // Field 99, two bytes: no body that we know.
    assert_eq!(ControlBody::decode(Bytes::from_static(&[0x9A, 0x06, 2, 1, 1])), Ok(None));
    let mut known = ControlBody::Reroute(Reroute { region: 1 }).to_frame()[FRAME_HEADER_BYTES..].to_vec();
    known.extend_from_slice(&[0x9A, 0x06, 2, 1, 1]);
    let expected = ControlBody::Reroute(Reroute { region: 1 });
    assert_eq!(ControlBody::decode(known.into()), Ok(Some(expected)));
}

proptest! {
    #[test]
    fn any_bytes_are_harmless(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let bytes = Bytes::from(bytes);
        let _ignored = ControlBody::decode(bytes.clone());
        let _ignored = Hello::decode_body(bytes);
    }

    #[test]
    fn damaged_messages_are_harmless(at in any::<prop::sample::Index>(), value in any::<u8>()) {
        for (body, _) in goldens() {
            let mut bytes = body.to_frame()[FRAME_HEADER_BYTES..].to_vec();
            let place = at.index(bytes.len());
            bytes[place] = value;
            let _ignored = ControlBody::decode(bytes.into());
        }
    }

    #[test]
    fn interest_round_trips(
        numbers in any::<(u64, u64, bool)>(),
        added in prop::collection::vec("\\PC{0,20}", 0..10),
        removed in prop::collection::vec("\\PC{0,20}", 0..10),
    ) {
        let (region, version, whole) = numbers;
        let mut interest = Interest { region, version, added, removed, ..Interest::default() };
        interest.whole = whole;
        let body = ControlBody::Interest(interest);
        let frame = body.clone().to_frame();
        prop_assert_eq!(ControlBody::decode(frame.slice(FRAME_HEADER_BYTES..)), Ok(Some(body)));
    }
}
