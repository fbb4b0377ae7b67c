use proptest::prelude::*;

use prost::Message as _;

use super::*;
use crate::id::RegionId;
use crate::registry::{Capabilities, Reputation, STALE_AFTER};

const MESH: MeshId = MeshId(7);
/// The key of a node that nobody was told of.
const STRANGER: [u8; 32] = [99; 32];

/// A signature is the hash of key and message: enough to tell who said what.
struct Hashing([u8; 32]);

fn hashed(key: &[u8; 32], message: &[u8]) -> [u8; 64] {
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(blake3::keyed_hash(key, message).as_bytes());
    signature
}

impl Keys for Hashing {
    fn sign(&self, message: &[u8]) -> [u8; 64] {
        hashed(&self.0, message)
    }

    fn verify(&self, key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> Vouched {
        match hashed(key, message) == *signature {
            _ if *key == STRANGER => Vouched::Stranger,
            true => Vouched::Genuine,
            false => Vouched::Forged,
        }
    }
}

fn id(key: u8) -> ShortId {
    NodeId::of_key(&[key; 32]).short()
}

fn info(key: u8, broadcast: bool) -> PeerInfo {
    PeerInfo {
        public_key: [key; 32],
        addresses: [([192, 0, 2, key], 7_420).into()].into(),
        broadcast,
        capabilities: Capabilities::new(["relay", "service:films"]).unwrap(),
        version: "0.1.0".into(),
        region: RegionId::of_name("eu"),
    }
}

fn at(seconds: u64) -> Now {
    Now { mono: Time::from_millis(seconds * 1_000), wall: Time::from_millis((1_000_000 + seconds) * 1_000) }
}

fn node(key: u8) -> PeerExchange {
    let config = Config {
        public_key: [key; 32],
        mesh: MESH,
        capacity: 100,
        may_have_broadcast: false,
        seed: u64::from(key),
    };
    PeerExchange::new(config)
}

/// Runs one step and gives back its effects.
fn step(
    node: &mut PeerExchange,
    now: Now,
    act: impl FnOnce(&mut PeerExchange, &mut Step<'_>),
) -> Vec<Effect> {
    let mut effects = Vec::new();
    let keys = Hashing(node.config.public_key);
    act(node, &mut Step { now, keys: &keys, effects: &mut effects });
    effects
}

fn hear(node: &mut PeerExchange, now: Now, from: u8, body: PeerBody) -> Vec<Effect> {
    step(node, now, |node, step| node.hear(step, id(from), PeerMessage::bytes_of(body)))
}

fn authored(key: u8, now: Now, number: u64, kind: SaidKind) -> Authored {
    let said = Said {
        author: vec![key; 32].into(),
        mesh: MESH.0,
        id: number,
        wall_ms: now.wall.as_millis(),
        kind: Some(kind),
    };
    let said: Bytes = said.encode_to_vec().into();
    let signature = hashed(&[key; 32], &said).to_vec().into();
    Authored { said, signature }
}

fn flood(authored: Authored, ttl: u32) -> PeerBody {
    PeerBody::Flood(Flood { authored: Some(authored), ttl })
}

fn record(key: u8, revision: u64, broadcast: bool) -> Record {
    Record::of(&info(key, broadcast), revision)
}

/// A record of a silent peer that shows its address all the same.
fn exposed(key: u8, revision: u64) -> Record {
    Record { broadcast: false, ..record(key, revision, true) }
}

fn offences(effects: &[Effect]) -> Vec<Offence> {
    let kind = |effect: &Effect| match effect {
        Effect::Offence { kind, .. } => Some(*kind),
        _ => None,
    };
    effects.iter().filter_map(kind).collect()
}

fn sent(effects: &[Effect]) -> Vec<(ShortId, PeerBody)> {
    let sent = |effect: &Effect| match effect {
        Effect::Send { to, message } => Some((*to, PeerMessage::read(message.clone())?.body?)),
        _ => None,
    };
    effects.iter().filter_map(sent).collect()
}

fn linked(key: u8, neighbours: std::ops::RangeInclusive<u8>) -> PeerExchange {
    let mut node = node(key);
    for neighbour in neighbours {
        step(&mut node, at(0), |node, step| assert!(node.link_up(step, id(neighbour), Reach::Near)));
    }
    node
}

#[test]
fn an_announcement_is_kept_and_passed_on_once() {
    let mut node = linked(1, 2..=9);
    let said = authored(20, at(1), 1, SaidKind::Announcement(record(20, 1, true)));
    let effects = hear(&mut node, at(1), 2, flood(said.clone(), 32));
    let relayed = sent(&effects);
    assert_eq!(relayed.len(), FAN_OUT);
    for (to, body) in relayed {
        assert!(to != id(2));
        assert_eq!(body, flood(said.clone(), 31));
    }
    assert_eq!(node.registry().len(), 1);
    assert_eq!(hear(&mut node, at(2), 3, flood(said.clone(), 32)), []);
    // Exactly as long as it is fresh, then it is too old.
    assert_eq!(hear(&mut node, at(31), 3, flood(said.clone(), 32)), []);
    assert_eq!(node.counters().duplicates, 2);
    assert_eq!(hear(&mut node, at(32), 3, flood(said, 32)), []);
    assert_eq!(node.counters().stale, 1);
}

#[test]
fn refuses_what_breaks_the_protocol() {
    let good = || authored(20, at(1), 1, SaidKind::Announcement(record(20, 1, true)));
    let mut tampered = good();
    tampered.signature = vec![0; 64].into();
    let mut foreign = Said::decode(good().said).unwrap();
    foreign.mesh = 8;
    let foreign = Authored { said: foreign.encode_to_vec().into(), ..good() };
    let many = Record { addresses: vec!["[::1]:1".into(); 9], ..record(20, 1, true) };
    let many = authored(20, at(1), 2, SaidKind::Update(many));
    let hello = PeerHello { version_low: 1, version_high: 9, features: 0, record: Some(good()) };
    for (body, kind) in [
        (flood(good(), 33), Offence::Ttl),
        (flood(tampered, 32), Offence::Signature),
        (flood(foreign, 32), Offence::Foreign),
        (flood(many, 32), Offence::Malformed),
        (PeerBody::Hello(hello), Offence::Impostor),
    ] {
        let mut node = linked(1, 2..=9);
        let effects = hear(&mut node, at(1), 2, body);
        assert_eq!(effects, [Effect::Offence { neighbour: id(2), kind }]);
        assert!(node.registry().is_empty());
    }
    let mut node = linked(1, 2..=9);
    let effects = step(&mut node, at(1), |node, step| node.hear(step, id(2), vec![0xff; 9].into()));
    assert_eq!(offences(&effects), [Offence::Malformed]);
    for second in [69, 131] {
        let said = authored(20, at(second), 1, SaidKind::Announcement(record(20, 1, true)));
        assert_eq!(hear(&mut node, at(100), 2, flood(said, 32)), []);
    }
    assert_eq!((node.counters().stale, node.registry().len()), (2, 0));
    let ahead = PeerHello { version_low: 2, version_high: 3, features: 0, record: None };
    assert_eq!(hear(&mut node, at(1), 2, PeerBody::Hello(ahead)), [Effect::Incompatible(id(2))]);
}

#[test]
fn what_a_stranger_says_is_dropped_and_nobodys_fault() {
    let mut node = linked(1, 2..=9);
    let said = || authored(99, at(1), 1, SaidKind::Announcement(record(99, 1, true)));
    assert_eq!(hear(&mut node, at(1), 2, flood(said(), 32)), []);
    let hello = PeerHello { version_low: 1, version_high: 1, features: 0, record: Some(said()) };
    let effects = step(&mut node, at(1), |node, step| {
        node.hear(step, id(99), PeerMessage::bytes_of(PeerBody::Hello(hello)));
    });
    assert_eq!(effects, []);
    assert_eq!((node.counters().strangers, node.registry().len()), (2, 0));
}

#[test]
fn a_flood_leaves_the_region_whatever_number_of_links_there_is_in_it() {
    let mut node = linked(1, 2..=60);
    step(&mut node, at(0), |node, step| assert!(node.link_up(step, id(61), Reach::Far)));
    let said = authored(20, at(1), 1, SaidKind::Announcement(record(20, 1, true)));
    let to: Vec<ShortId> =
        sent(&hear(&mut node, at(1), 2, flood(said, 32))).into_iter().map(|(to, _)| to).collect();
    assert_eq!(to.len(), FAN_OUT + 1);
    assert!(to.contains(&id(61)));
    // One that moved is on one side alone.
    step(&mut node, at(2), |node, step| assert!(node.link_up(step, id(61), Reach::Near)));
    let said = authored(20, at(2), 2, SaidKind::Update(record(20, 2, true)));
    assert_eq!(sent(&hear(&mut node, at(2), 2, flood(said, 32))).len(), FAN_OUT);
}

#[test]
fn a_silent_peer_with_an_address_is_an_offence_on_every_path() {
    let kinds = [SaidKind::Announcement, SaidKind::Update];
    for kind in kinds {
        let mut node = linked(1, 2..=9);
        let effects = hear(&mut node, at(1), 2, flood(authored(20, at(1), 1, kind(exposed(20, 1))), 32));
        assert_eq!(effects, [Effect::Offence { neighbour: id(2), kind: Offence::SilentExposed }]);
        assert!(node.registry().is_empty());
    }
    let mut node = linked(1, 2..=9);
    let said = authored(2, at(1), 1, SaidKind::Announcement(exposed(2, 1)));
    let hello = PeerHello { version_low: 1, version_high: 1, features: 0, record: Some(said) };
    assert_eq!(offences(&hear(&mut node, at(1), 2, PeerBody::Hello(hello))), [Offence::SilentExposed]);
}

#[test]
fn a_silent_neighbour_is_known_without_address_and_told_to_nobody() {
    let mut node = linked(1, 2..=9);
    let said = authored(2, at(1), 1, SaidKind::Announcement(record(2, 1, false)));
    hear(&mut node, at(1), 2, flood(said, 0));
    let slot = node.registry().slot_of_short(id(2)).unwrap();
    assert!(node.registry().record(slot).unwrap().info.addresses.is_empty());
    // Its heartbeat goes no further, whatever its TTL says.
    let beat = authored(2, at(2), 2, SaidKind::Heartbeat(Heartbeat {}));
    assert_eq!(hear(&mut node, at(2), 2, flood(beat, 2)), []);
    assert_eq!(node.registry().record(slot).unwrap().last_seen, at(2).mono);
    for by in [2, 4] {
        let request = Request { by, name: "relay".into(), count: 5 };
        let effects = hear(
            &mut node,
            at(3),
            3,
            flood(authored(3, at(3), u64::from(by), SaidKind::Request(request)), 0),
        );
        assert_eq!(sent(&effects), []);
    }
    assert_eq!(node.local_answer(&Query::Anybody, 5), []);
}

#[test]
fn a_poisoned_list_is_stripped_by_the_node_that_passes_it_on() {
    let mut node = linked(1, 2..=9);
    let request = Request { by: 2, name: "relay".into(), count: 5 };
    let asked = authored(3, at(1), 77, SaidKind::Request(request));
    assert_eq!(sent(&hear(&mut node, at(1), 3, flood(asked, 16))).len(), FAN_OUT);
    let good = authored(20, at(0), 1, SaidKind::Announcement(record(20, 1, true)));
    let poison = authored(21, at(0), 2, SaidKind::Announcement(exposed(21, 1)));
    let unlisted = authored(22, at(0), 3, SaidKind::Announcement(record(22, 1, false)));
    let list = PeerList {
        asker: id(3).0,
        request: 77,
        answerer: id(4).0,
        wall_ms: at(2).wall.as_millis(),
        records: vec![poison, good.clone(), unlisted],
    };
    let effects = hear(&mut node, at(2), 4, PeerBody::List(list.clone()));
    assert_eq!(offences(&effects), [Offence::SilentExposed, Offence::SilentExposed]);
    let expected = PeerList { records: vec![good], ..list.clone() };
    assert_eq!(sent(&effects), [(id(3), PeerBody::List(expected))]);
    assert_eq!(node.registry().len(), 1);
    // A second list of the same node is a duplicate.
    assert_eq!(hear(&mut node, at(3), 5, PeerBody::List(list)), []);
}

#[test]
fn who_withdrew_is_not_brought_back_by_an_older_record() {
    let mut node = linked(1, 2..=9);
    let old = authored(20, at(1), 1, SaidKind::Announcement(record(20, 1, true)));
    hear(&mut node, at(1), 2, flood(old.clone(), 32));
    let silent = authored(20, at(70), 2, SaidKind::Update(record(20, 2, false)));
    assert_eq!(sent(&hear(&mut node, at(70), 2, flood(silent, 32))).len(), FAN_OUT);
    assert_eq!(node.registry().listable().count(), 0);
    for (second, expected) in [(80, vec![]), (140, vec![Offence::SilentExposed])] {
        let mut request = None;
        step(&mut node, at(second), |node, step| {
            request = node.request(step, &Query::Capability("relay".into()), 3);
        });
        let list = PeerList {
            asker: id(1).0,
            request: request.unwrap(),
            answerer: second,
            wall_ms: at(second).wall.as_millis(),
            records: vec![old.clone()],
        };
        let effects = hear(&mut node, at(second), 5, PeerBody::List(list));
        assert_eq!(offences(&effects), expected);
        assert!(!effects.iter().any(|effect| matches!(effect, Effect::Answer { .. })));
        assert_eq!(node.registry().listable().count(), 0);
    }
}

#[test]
fn a_silent_node_asks_and_is_answered_and_says_no_address() {
    let (mut asker, mut other) = (linked(1, 2..=2), linked(2, 1..=1));
    step(&mut other, at(1), |node, step| node.announce(step, info(2, true)).unwrap());
    let effects = step(&mut asker, at(1), |node, step| node.announce(step, info(1, false)).unwrap());
    let said = sent(&effects);
    assert_eq!(said.len(), 1);
    for (_, body) in said {
        let PeerBody::Flood(Flood { authored: Some(authored), ttl: 0 }) = body else { panic!("{body:?}") };
        let said = authored.read().unwrap().0;
        assert!(said.record().unwrap().addresses.is_empty());
    }
    let mut effects = step(&mut asker, at(2), |node, step| {
        assert!(node.request(step, &Query::Service("films".into()), 1).is_some())
    });
    let Effect::Send { message, .. } = effects.remove(0) else { panic!("{effects:?}") };
    let mut effects = step(&mut other, at(2), |node, step| node.hear(step, id(1), message));
    let Effect::Send { to, message } = effects.remove(0) else { panic!("{effects:?}") };
    assert_eq!(to, id(1));
    let effects = step(&mut asker, at(2), |node, step| node.hear(step, id(2), message));
    assert!(effects.iter().any(|effect| matches!(
        effect,
        Effect::Answer { records, .. } if *records == [info(2, true)]
    )));
    assert_eq!(other.registry().listable().count(), 0);
}

#[test]
fn a_node_at_rest_sends_a_heartbeat_to_three_and_changes_once_a_minute() {
    let mut node = linked(1, 2..=20);
    let effects = step(&mut node, at(1), |node, step| node.announce(step, info(1, true)).unwrap());
    assert_eq!(sent(&effects).len(), FAN_OUT);
    let changed = PeerInfo { version: "0.2.0".into(), ..info(1, true) };
    for second in [2, 3] {
        let effects = step(&mut node, at(second), |node, step| node.announce(step, changed.clone()).unwrap());
        assert_eq!(effects, []);
    }
    let (mut beats, mut updates) = (0, 0);
    let until = at(601).mono;
    while let Some(due) = node.deadline().filter(|due| *due <= until) {
        let now = Now { mono: due, wall: Time(at(0).wall.0 + due.0) };
        for (_, body) in sent(&step(&mut node, now, |node, step| node.wake(step))) {
            let PeerBody::Flood(Flood { authored: Some(authored), ttl }) = body else { panic!("{body:?}") };
            match authored.read().unwrap().0.kind.unwrap() {
                SaidKind::Heartbeat(_) if ttl == HEARTBEAT_TTL => beats += 1,
                SaidKind::Update(_) if ttl == RECORD_TTL && due == at(61).mono => updates += 1,
                kind => panic!("{kind:?} at {due}"),
            }
        }
        assert!(node.deadline().is_some_and(|next| next > due));
    }
    assert_eq!(updates, FAN_OUT);
    assert!((18 * FAN_OUT..=23 * FAN_OUT).contains(&beats), "{beats}");
}

#[test]
fn the_distrusted_are_ignored_and_the_stale_forgotten() {
    let mut node = linked(1, 2..=9);
    let said = authored(20, at(1), 1, SaidKind::Announcement(record(20, 1, true)));
    hear(&mut node, at(1), 2, flood(said, 0));
    let distrusted = NodeId::of_key(&[20; 32]);
    node.registry_mut().set_reputation(&distrusted, Reputation::from_f64(0.4));
    let beat = authored(20, at(9), 2, SaidKind::Heartbeat(Heartbeat {}));
    assert_eq!(hear(&mut node, at(9), 2, flood(beat, 2)), []);
    assert_eq!(node.counters().distrusted, 1);
    let now = Now { mono: at(1).mono + STALE_AFTER, ..at(1) };
    step(&mut node, now, |node, step| node.wake(step));
    assert!(node.registry().is_empty());
}

#[test]
fn newer_fields_and_kinds_are_skipped_and_passed_on_unchanged() {
    let mut node = linked(1, 2..=9);
    let mut said = authored(20, at(1), 1, SaidKind::Announcement(record(20, 1, true))).said.to_vec();
    // Field 15, a varint.
    said.extend_from_slice(&[0x78, 0x05]);
    let signature = hashed(&[20; 32], &said).to_vec().into();
    let newer = Authored { said: said.into(), signature };
    let effects = hear(&mut node, at(1), 2, flood(newer.clone(), 9));
    assert!(sent(&effects).iter().all(|(_, body)| *body == flood(newer.clone(), 8)));
    assert_eq!(node.registry().len(), 1);
    let effects = step(&mut node, at(1), |node, step| node.hear(step, id(2), vec![0x7a, 0x01, 0x00].into()));
    assert_eq!((effects, node.counters().unknown), (vec![], 1));
}

proptest! {
    #[test]
    fn any_bytes_are_harmless(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut node = linked(1, 2..=4);
        step(&mut node, at(1), |node, step| node.hear(step, id(2), bytes.clone().into()));
        let said = Authored { signature: hashed(&[20; 32], &bytes).to_vec().into(), said: bytes.into() };
        hear(&mut node, at(1), 2, flood(said, 3));
        prop_assert!(node.registry().is_empty());
    }
}
