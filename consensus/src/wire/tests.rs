use super::*;
use proptest::prelude::*;
use starling_core::id::hex;

fn id(index: u64) -> LogId {
    LogId { term: 1, node: 2, index }
}

fn vote() -> Vote {
    Vote { term: 3, node: 4, is_granted: true }
}

fn membership() -> Membership {
    Membership { voters: vec![Group { nodes: vec![1] }], all: Some(Group { nodes: vec![1, 2] }) }
}

fn proposal() -> Proposal {
    Proposal { proposer: 1, incarnation: 2, number: 3, entry: Bytes::from_static(b"e") }
}

fn bodies() -> Vec<(Body, &'static str)> {
    let entry = |index, proposal, membership| Entry { id: id(index), proposal, membership };
    let entries =
        vec![entry(6, None, None), entry(7, Some(proposal()), None), entry(8, None, Some(membership()))];
    let meta = Meta { last: Some(id(9)), changed: Some(id(8)), membership: membership(), name: "n".into() };
    let append = Append { vote: vote(), previous: Some(id(5)), entries, decided: Some(id(6)) };
    vec![
        (
            Body::Append(append),
            "08071294010a0d08031104000000000000001801120d080111020000000000000018051a0f0a0d080111020000000000000018061a210a0d080111020000000000000018071210090100000000000000100218032201651a310a0d080111020000000000000018081a200a0a0a08010000000000000012120a1001000000000000000200000000000000220d08011102000000000000001806",
        ),
        (
            Body::Appended(Appended { is_conflict: true, higher: Some(vote()) }),
            "08071a110801120d08031104000000000000001801",
        ),
        (
            Body::Vote(Candidacy { vote: vote(), last: Some(id(5)) }),
            "0807221e0a0d08031104000000000000001801120d08011102000000000000001805",
        ),
        (
            Body::Voted(Voted { vote: vote(), is_granted: true, last: Some(id(5)) }),
            "08072a200a0d0803110400000000000000180110011a0d08011102000000000000001805",
        ),
        (
            Body::Chunk(Chunk {
                vote: vote(),
                meta,
                offset: 6,
                data: Bytes::from_static(b"d"),
                is_last: true,
            }),
            "0807325b0a0d0803110400000000000000180112430a0d08011102000000000000001809120d080111020000000000000018081a200a0a0a08010000000000000012120a100100000000000000020000000000000022016e18062201642801",
        ),
        (
            Body::Took(Took { vote: Some(vote()), is_mismatch: true }),
            "08073a110a0d080311040000000000000018011001",
        ),
        (Body::Sound(Sound { last: Some(id(5)) }), "0807420f0a0d08011102000000000000001805"),
        (Body::Sounded(Sounded { would_vote: true }), "08074a020801"),
        (
            Body::Forward(Forward { proposals: vec![proposal()] }),
            "080752120a1009010000000000000010021803220165",
        ),
        (Body::Forwarded(Forwarded { is_taken: true }), "08075a020801"),
        (Body::Failed(Failed {}), "08076200"),
        (Body::Standing(Standing { term: 1, is_leader: true, applied: 2 }), "08076a06080110011802"),
    ]
}

#[test]
fn golden_messages() {
    for (body, expected) in bodies() {
        let bytes = Message::to_bytes(7, body.clone());
        assert_eq!(hex(&bytes), expected, "{body:?}");
        assert_eq!(Message::from_bytes(bytes), Ok(Message { number: 7, body: Some(body) }));
    }
}

#[test]
fn what_raft_says_comes_back_as_it_was() {
    let group: BTreeMap<u64, ()> = [(1, ()), (2, ()), (5, ())].into();
    let joint = vec![BTreeSet::from([1, 2]), BTreeSet::from([2])];
    let membership = types::Membership::new(joint, group);
    let log_id = types::LogId::new(openraft::CommittedLeaderId::new(3, 2), 9);
    let payloads = [
        openraft::EntryPayload::Blank,
        openraft::EntryPayload::Normal(proposal().into()),
        openraft::EntryPayload::Membership(membership.clone()),
    ];
    for payload in payloads {
        let entry = types::Entry { log_id, payload };
        assert_eq!(types::Entry::from(Entry::from(entry.clone())), entry);
    }
    let meta = types::SnapshotMeta {
        last_log_id: Some(log_id),
        last_membership: types::StoredMembership::new(Some(log_id), membership),
        snapshot_id: "name".to_owned(),
    };
    assert_eq!(types::SnapshotMeta::from(Meta::from(&meta)), meta);
    for vote in [types::Vote::new(3, 4), types::Vote::new_committed(3, 4)] {
        assert_eq!(types::Vote::from(Vote::from(vote)), vote);
    }
}

proptest! {
    #[test]
    fn any_bytes_are_harmless(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(message) = Message::from_bytes(Bytes::from(bytes))
            && let Some(Body::Append(append)) = message.body
        {
            let _entries: Vec<types::Entry> = append.entries.into_iter().map(Into::into).collect();
        }
    }
}
