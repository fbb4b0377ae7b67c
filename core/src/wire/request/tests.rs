use super::*;
use crate::id::hex;
use crate::wire::frame::FRAME_HEADER_BYTES;
use proptest::prelude::*;

fn text(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

fn asks() -> Vec<(Ask, &'static str)> {
    let subscription = Subscription { number: 1, agent: 2, pattern: "a.>".into() };
    let set = |change| Ask::SetKey(SetKey { key: "k".into(), change: Some(change) });
    vec![
        (
            Ask::Subscribe(Subscribe { subscriptions: vec![subscription] }),
            "0f00000041000809120b0a09080110021a03612e3e",
        ),
        (Ask::Unsubscribe(Numbers { numbers: vec![1, 300] }), "09000000410008091a050a0301ac02"),
        (Ask::Detach(Numbers { numbers: vec![2] }), "070000004100080922030a0102"),
        (Ask::Overview(Empty {}), "04000000410008092a00"),
        (
            Ask::Locate(Bytes::from_static(&[0xAA; 16])),
            "14000000410008093210aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        ),
        (Ask::Update(text("u")), "05000000410008093a0175"),
        (Ask::WatchCut(Empty {}), "04000000410008094200"),
        (set(KeyChange::Put(text("v"))), "0a000000410008094a060a016b120176"),
        (set(KeyChange::Add(-3)), "09000000410008094a050a016b1805"),
        (set(KeyChange::Delete(Empty {})), "09000000410008094a050a016b3200"),
        (Ask::GetKey("k".into()), "050000004100080952016b"),
        (Ask::Peers(AskPeers { by: 1, name: "n".into(), count: 2 }), "0b000000410008095a07080112016e1802"),
        (Ask::Edges(AskEdges { after: 1, count: 2 }), "1000000041000809c2020b0901000000000000001002"),
        (
            Ask::Agents(AskAgents { cursor: 1, count: 2, tag: "t".into(), ..AskAgents::default() }),
            "0c00000041000809ca0207080110021a0174",
        ),
        (Ask::Updates(3), "0500000041000809900303"),
    ]
}

fn says() -> Vec<(Say, &'static str)> {
    let closed = || Closed { index: 1, code: 2, text: "t".into() };
    let edge = CutEdge { edge: 1, incarnation: 2, version: 3 };
    let overview = Overview { mesh: "m".into(), update_index: 4, ..Overview::default() };
    vec![
        (Say::Done(Empty {}), "04000000420008091200"),
        (RefusedCode::NotHere.because("no"), "0a000000420008091a06080512026e6f"),
        (
            Say::Attached(Attached { accepted: 3, refused: vec![closed()] }),
            "0f00000042000809220b08031207080110021a0174",
        ),
        (Say::Overview(overview), "09000000420008092a050a016d3004"),
        (
            Say::Home(Home { region: "r".into(), edge: "e".into(), edge_id: 1, session: 2 }),
            "150000004200080932110a01721201651901000000000000002002",
        ),
        (Say::Decided(5), "04000000420008093805"),
        (
            Say::Cut(Cut { edges: vec![edge] }),
            "1a0000004200080942160a140901000000000000001102000000000000001803",
        ),
        (Say::Value(text("v")), "05000000420008094a0176"),
        (
            Say::Changed(Changed { through: 1, edge: 2, incarnation: 3, version: 4 }),
            "1a00000042000809521608011102000000000000001903000000000000002004",
        ),
        (Say::Gap(Gap { text: "g".into() }), "07000000420008095a030a0167"),
        (Say::Closed(closed()), "0b000000420008096207080110021a0174"),
        (
            Say::Updates(UpdatesView {
                updates: vec![DecidedView { index: 1, decided_ms: 2, payload: text("p") }],
            }),
            "0e000000420008099203090a07080110021a0170",
        ),
        (Say::Undelivered(Undelivered { numbers: vec![7, 8] }), "08000000420008096a040a020708"),
        (
            Say::Peers(PeersView {
                mesh: "m".into(),
                node: "n".into(),
                as_of_ms: 3,
                peers: vec![PeerView { name: "p".into(), ..PeerView::default() }],
                has_asked_others: true,
            }),
            "1300000042000809720f0a016d12016e180322031201702801",
        ),
        (
            Say::Edges(EdgesView {
                edges: vec![EdgeView { id: 1, name: "e".into(), ..EdgeView::default() }],
                of: 1,
                is_more: true,
                as_of_ms: 3,
            }),
            "1900000042000809c202140a0c090100000000000000120165100118012003",
        ),
        (
            Say::Agents(AgentsView {
                agents: vec![AgentView { name: "a".into(), ..AgentView::default() }],
                hosted: 2,
                next: 3,
                as_of_ms: 4,
            }),
            "1000000042000809ca020b0a03120161100218032004",
        ),
    ]
}

#[test]
fn golden_requests() {
    for (ask, expected) in asks() {
        let request = Request { id: 9, ask: Some(ask) };
        let frame = request.to_frame();
        assert_eq!(hex(&frame), expected, "{request:?}");
        assert_eq!(Request::decode_body(frame.slice(FRAME_HEADER_BYTES..)), Ok(request));
    }
}

#[test]
fn golden_replies() {
    for (say, expected) in says() {
        let reply = Reply { id: 9, say: Some(say) };
        let frame = reply.to_frame();
        assert_eq!(hex(&frame), expected, "{reply:?}");
        assert_eq!(Reply::decode_body(frame.slice(FRAME_HEADER_BYTES..)), Ok(reply));
    }
}

#[test]
fn a_request_newer_than_this_version_keeps_its_id() {
    let newer = Bytes::from_static(&[0x08, 9, 0x9A, 0x06, 1, 1]);
    assert_eq!(Request::decode_body(newer.clone()), Ok(Request { id: 9, ask: None }));
    assert_eq!(Reply::decode_body(newer), Ok(Reply { id: 9, say: None }));
}

proptest! {
    #[test]
    fn any_bytes_are_harmless(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let bytes = Bytes::from(bytes);
        let _ignored = Request::decode_body(bytes.clone());
        let _ignored = Reply::decode_body(bytes);
    }

    #[test]
    fn damaged_messages_are_harmless(at in any::<prop::sample::Index>(), value in any::<u8>()) {
        let damage = |frame: Bytes| {
            let mut bytes = frame[FRAME_HEADER_BYTES..].to_vec();
            let place = at.index(bytes.len());
            bytes[place] = value;
            Bytes::from(bytes)
        };
        for (ask, _) in asks() {
            let _ignored = Request::decode_body(damage(Request { id: 9, ask: Some(ask) }.to_frame()));
        }
        for (say, _) in says() {
            let _ignored = Reply::decode_body(damage(Reply { id: 9, say: Some(say) }.to_frame()));
        }
    }

    #[test]
    fn subscriptions_round_trip(
        list in prop::collection::vec((any::<u32>(), any::<u32>(), "\\PC{0,30}"), 0..20),
        id in any::<u64>(),
    ) {
        let subscriptions =
            list.into_iter().map(|(number, agent, pattern)| Subscription { number, agent, pattern });
        let ask = Some(Ask::Subscribe(Subscribe { subscriptions: subscriptions.collect() }));
        let request = Request { id, ask };
        let frame = request.to_frame();
        prop_assert_eq!(Request::decode_body(frame.slice(FRAME_HEADER_BYTES..)), Ok(request));
    }
}
