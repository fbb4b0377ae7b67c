mod judging;
mod relaying;
mod renewing;
mod telling;

use std::sync::Arc;

use super::dialling::{BACKOFF_MAX, SUGGESTED_MAX};
use super::*;
use crate::wire::message::Peers;
use bytes::Bytes;

use crate::id::MeshId;
use crate::identity::{Context, SecretKey, Signature, VerifyKey};
use crate::membership::detector::{Kind, Life, Probe, Statement};
use crate::wire::message::{ControlBody, Statements};

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed([seed; 32])
}

fn admission(seed: u8, roles: Roles, region: &str) -> Admission {
    let admission = Admission {
        mesh: MeshId(0),
        key: key(seed).public(),
        roles,
        region: region.parse().expect("a name"),
        name: format!("node-{seed}").parse().expect("a name"),
        not_before_seconds: 0,
        not_after_seconds: 1_000_000_000,
        signature: Signature([0; 64]),
    };
    admission.signed_by(&key(200))
}

fn mesh() -> MeshId {
    admission(1, Roles::EDGE, "east").mesh
}

fn me(roles: Roles, seeds: &[&str]) -> Neighbours {
    node(1, roles, seeds)
}

fn node(seed: u8, roles: Roles, seeds: &[&str]) -> Neighbours {
    let me = Identity {
        mesh: "test".into(),
        admission: admission(seed, roles, "east"),
        incarnation: 1,
        addresses: vec!["me:1".to_string()],
        process: 1,
        version: String::new(),
        authority: VerifyKey::new(&key(200).public()).expect("a good key"),
        coordinators: None,
        signer: Arc::new(key(seed).signer()),
    };
    Neighbours::new(me, seeds.iter().map(|seed| seed.to_string()).collect(), 1)
}

fn at(millis: u64) -> Now {
    Now { mono: Time::from_millis(millis), wall: Time::from_millis(1_000_000 + millis) }
}

fn peer(seed: u8, roles: Roles, region: &str) -> Peer {
    peer_of(seed, admission(seed, roles, region), 1)
}

/// A node with this admission in one of its lives.
fn peer_of(seed: u8, admission: Admission, incarnation: u64) -> Peer {
    record::peer(admission.clone(), record_of(seed, admission, incarnation)).expect("it is signed")
}

fn record(seed: u8, roles: Roles, region: &str) -> PeerRecord {
    record_of(seed, admission(seed, roles, region), 1)
}

fn record_of(seed: u8, admission: Admission, incarnation: u64) -> PeerRecord {
    let record = PeerRecord {
        admission: admission.to_bytes(),
        addresses: vec![format!("node-{seed}:1")],
        incarnation,
        process: 1,
        ..PeerRecord::default()
    };
    spoken(seed, record)
}

/// A record as the node itself says it.
fn spoken(seed: u8, record: PeerRecord) -> PeerRecord {
    record::signed(record, mesh(), &key(seed).signer())
}

fn id(seed: u8) -> ShortId {
    admission(seed, Roles::EDGE, "east").node().short()
}

/// A seed of a node whose id is on the wanted side of ours.
fn other(is_smaller: bool) -> u8 {
    let mine = admission(1, Roles::EDGE, "east").node();
    let is_right = |seed: &u8| (admission(*seed, Roles::EDGE, "east").node() < mine) == is_smaller;
    (2..100).find(is_right).expect("of a hundred nodes some are on either side")
}

fn dials(out: &mut Outbox) -> Vec<String> {
    let dial = |output| match output {
        Output::Dial { address } => Some(address),
        _ => None,
    };
    out.drain().filter_map(dial).collect()
}

fn hear(node: &mut Neighbours, now: Now, records: Vec<PeerRecord>, out: &mut Outbox) {
    node.hear(now, Peers { records, more: false }, out);
}

#[test]
fn of_a_pair_the_smaller_dials_and_the_other_waits() {
    for is_smaller in [false, true] {
        let (mut node, mut out) = (me(Roles::EDGE, &[]), Outbox::new());
        let seed = other(is_smaller);
        hear(&mut node, at(0), vec![record(seed, Roles::EDGE, "east")], &mut out);
        let wait = if is_smaller { PATIENCE } else { Duration::ZERO };
        let due = Time::ZERO + wait;
        assert!(node.deadline().is_some_and(|at| at <= due));
        let early = at(due.as_millis().saturating_sub(1));
        node.wake(early, &mut out);
        assert_eq!(dials(&mut out).len(), usize::from(!is_smaller));
        // The same after a link was closed: both must not dial at once.
        node.link_up(at(2000), LinkSlot(1), peer(seed, Roles::EDGE, "east"), &mut out);
        node.link_down(at(3000), LinkSlot(1), false, &mut out);
        dials(&mut out);
        node.wake(at(3100), &mut out);
        assert_eq!(dials(&mut out).len(), usize::from(!is_smaller));
        node.wake(at(3100), &mut out);
        node.wake(at(4600), &mut out);
        assert_eq!(dials(&mut out).len(), usize::from(is_smaller));
        node.check();
    }
}

#[test]
fn who_listens_nowhere_is_never_waited_for() {
    let (mut node, mut out) = (me(Roles::EDGE, &[]), Outbox::new());
    let seed = other(false);
    let silent = spoken(seed, PeerRecord { addresses: Vec::new(), ..record(seed, Roles::EDGE, "east") });
    hear(&mut node, at(0), vec![silent], &mut out);
    node.wake(at(300), &mut out);
    assert_eq!(node.deadline(), None, "nothing to do for a peer without an address");
    let later = record_of(seed, admission(seed, Roles::EDGE, "east"), 2);
    hear(&mut node, at(400), vec![later], &mut out);
    node.wake(at(400), &mut out);
    assert_eq!(dials(&mut out), vec![format!("node-{seed}:1")], "and dialled when it has one");
}

#[test]
fn addresses_of_a_peer_are_tried_in_turn_with_growing_pauses() {
    let (mut node, mut out) = (me(Roles::EDGE, &[]), Outbox::new());
    let both = vec!["left:1".to_string(), "right:1".to_string()];
    let record = PeerRecord { addresses: both, ..record(other(false), Roles::EDGE, "east") };
    hear(&mut node, at(0), vec![spoken(other(false), record)], &mut out);
    let mut tried = Vec::new();
    let mut pauses = Vec::new();
    let (mut now, mut last) = (at(50), at(50).mono);
    while tried.len() < 8 {
        node.wake(now, &mut out);
        // It may also be woken to look at whom it watches.
        if let Some(address) = dials(&mut out).pop() {
            node.dial_failed(now, &address);
            tried.push(address);
            pauses.push(now.mono.since(last));
            last = now.mono;
        }
        now.mono = node.deadline().filter(|due| *due > now.mono).expect("it is tried again");
    }
    pauses.remove(0);
    assert_eq!(tried[..4], ["left:1", "right:1", "left:1", "right:1"]);
    assert!(pauses.iter().all(|pause| *pause <= BACKOFF_MAX * 13 / 10), "{pauses:?}");
    assert!(pauses.last() > pauses.first(), "{pauses:?}");
}

#[test]
fn only_wanted_links_are_dialled_whatever_fails() {
    let (mut node, mut out) = (me(Roles::EDGE, &["node-9:1"]), Outbox::new());
    let far = [record(9, Roles::COORDINATOR, "east"), record(10, Roles::EDGE, "west")];
    hear(&mut node, at(0), far.to_vec(), &mut out);
    node.wake(at(0), &mut out);
    assert_eq!(dials(&mut out), vec!["node-9:1"], "as a seed");
    node.dial_failed(at(10), "node-9:1");
    node.wake(at(5000), &mut out);
    assert_eq!(dials(&mut out), vec!["node-9:1"], "as a seed again, not as a peer too");
    // It led in, and is closed once there is a link that is wanted.
    node.link_up(at(5100), LinkSlot(1), peer(9, Roles::COORDINATOR, "east"), &mut out);
    node.wake(at(9000), &mut out);
    let closes =
        |out: &mut Outbox| out.drain().any(|o| matches!(o, Output::HangUp { link: LinkSlot(1), .. }));
    assert!(!closes(&mut out), "as long as there is no other");
    node.link_up(at(9000), LinkSlot(2), peer(2, Roles::EDGE, "east"), &mut out);
    node.wake(at(9000), &mut out);
    assert!(closes(&mut out));
    assert!(node.deadline().is_none_or(|due| due > at(9000).mono));
    node.link_down(at(9010), LinkSlot(1), false, &mut out);
    node.wake(at(12_000), &mut out);
    node.wake(at(60_000), &mut out);
    assert_eq!(dials(&mut out), Vec::<String>::new(), "and not dialled again");
}

#[test]
fn a_peer_elsewhere_is_lost_once_after_silence_or_three_seconds() {
    let (mut node, mut out) = (me(Roles::AGGREGATOR, &[]), Outbox::new());
    let far = admission(2, Roles::AGGREGATOR, "west").node().short();
    let up = node.link_up(at(0), LinkSlot(1), peer(2, Roles::AGGREGATOR, "west"), &mut out);
    assert_eq!(up, vec![Fact::Up(far, LinkSlot(1)), Fact::Met(far)]);
    // A link far older than a peer is remembered, and a machine woken right then.
    let late = 3 * 60 * 60 * 1000;
    let down = node.link_down(at(late), LinkSlot(1), false, &mut out);
    assert_eq!(down, vec![Fact::Down(far, LinkSlot(1))]);
    assert_eq!(node.wake(at(late + 2999), &mut out), vec![]);
    assert_eq!(node.wake(at(late + 3000), &mut out), vec![Fact::Lost(far)]);
    assert_eq!(node.wake(at(late + 9000), &mut out), vec![]);
    assert!(node.get(far).is_some_and(|known| known.is_lost));
    let up = node.link_up(at(late + 9000), LinkSlot(2), peer(2, Roles::AGGREGATOR, "west"), &mut out);
    assert_eq!(up, vec![Fact::Up(far, LinkSlot(2)), Fact::Returned(far, at(late).mono)]);
    let down = node.link_down(at(late + 9001), LinkSlot(2), true, &mut out);
    assert_eq!(down, vec![Fact::Down(far, LinkSlot(2)), Fact::Lost(far)]);
    assert_eq!(node.link_down(at(late + 9002), LinkSlot(2), true, &mut out), vec![], "unknown by now");
    let restarted = peer_of(2, admission(2, Roles::AGGREGATOR, "west"), 2);
    let up = node.link_up(at(late + 9003), LinkSlot(3), restarted, &mut out);
    assert_eq!(
        up,
        vec![Fact::Up(far, LinkSlot(3)), Fact::Met(far)],
        "another incarnation has nothing to miss"
    );
}

/// Wakes a node all of whose linked peers live, but cannot reach others either.
fn answered(node: &mut Neighbours, millis: u64, out: &mut Outbox) -> Vec<Fact> {
    let mut facts = Vec::new();
    for output in out.drain().collect::<Vec<_>>() {
        let (Output::Probe { link, body } | Output::Control { link, body: ControlBody::Probe(body) }) =
            output
        else {
            continue;
        };
        let answer = match Probe::from_bytes(&body).expect("a probe") {
            Probe::Ping { number, .. } => Probe::Ack { number },
            Probe::PingFor { number, .. } => Probe::Nack { number },
            Probe::Ack { .. } | Probe::Nack { .. } | Probe::Doubt { .. } => continue,
        };
        facts.extend(node.on_probe(at(millis), link, &answer.to_bytes(), &mut Outbox::new()));
    }
    facts.extend(node.wake(at(millis), out));
    facts
}

#[test]
fn a_peer_of_the_region_is_lost_when_it_is_held_for_dead() {
    let (mut node, mut out) = (me(Roles::EDGE, &[]), Outbox::new());
    node.link_up(at(0), LinkSlot(1), peer(2, Roles::EDGE, "east"), &mut out);
    node.link_up(at(0), LinkSlot(2), peer(3, Roles::EDGE, "east"), &mut out);
    assert_eq!(node.link_down(at(1000), LinkSlot(1), true, &mut out), vec![Fact::Down(id(2), LinkSlot(1))]);
    let mut facts: Vec<Fact> =
        (1000..9000).step_by(10).flat_map(|at| answered(&mut node, at, &mut out)).collect();
    assert_eq!(facts, vec![Fact::Apart(id(2)); 2], "the word of one is not enough where two observe");
    let accusation = Statement {
        speaker: id(3),
        kind: Kind::Suspect,
        subject: id(2),
        life: Life::first(1),
        said: at(9000).wall.as_millis(),
    };
    let signature = key(3).sign(Context::Membership, &accusation.message());
    let signed = Bytes::from([&accusation.message()[..], &signature.0].concat());
    let said = ControlBody::Statements(Statements { signed: vec![signed] });
    facts.extend(node.on_control(at(9000), LinkSlot(2), said, &mut out).expect("it is about who is there"));
    facts.extend((9000..16_000).step_by(10).flat_map(|at| answered(&mut node, at, &mut out)));
    let since_lost: Vec<Fact> = facts.into_iter().skip_while(|fact| *fact != Fact::Lost(id(2))).collect();
    assert_eq!(since_lost, vec![Fact::Lost(id(2)), Fact::Apart(id(2))], "it may have forgotten this node");
}

#[test]
fn who_restarts_before_it_was_missed_was_lost_all_the_same() {
    let (mut node, mut out) = (me(Roles::EDGE, &[]), Outbox::new());
    node.link_up(at(0), LinkSlot(1), peer(2, Roles::EDGE, "east"), &mut out);
    node.link_down(at(1000), LinkSlot(1), false, &mut out);
    let restarted = peer_of(2, admission(2, Roles::EDGE, "east"), 2);
    let up = node.link_up(at(1200), LinkSlot(2), restarted, &mut out);
    assert_eq!(up, vec![Fact::Lost(id(2)), Fact::Up(id(2), LinkSlot(2)), Fact::Met(id(2))]);
}

#[test]
fn a_second_link_to_a_peer_takes_the_place_of_the_first() {
    let (mut node, mut out) = (me(Roles::EDGE, &[]), Outbox::new());
    node.link_up(at(0), LinkSlot(1), peer(2, Roles::EDGE, "east"), &mut out);
    let facts = node.link_up(at(1), LinkSlot(2), peer(2, Roles::EDGE, "east"), &mut out);
    assert_eq!(facts, vec![Fact::Down(id(2), LinkSlot(1)), Fact::Up(id(2), LinkSlot(2))]);
    node.check();
    // A slot that stands for two peers at once would be a fault of the driver's; the first goes.
    let facts = node.link_up(at(2), LinkSlot(2), peer(3, Roles::EDGE, "east"), &mut out);
    assert_eq!(facts, vec![Fact::Down(id(2), LinkSlot(2)), Fact::Up(id(3), LinkSlot(2)), Fact::Met(id(3))]);
    node.check();
    assert_eq!(node.linked().count(), 1);
}

#[test]
fn peers_out_of_reach_are_remembered_and_dead_neighbours_forgotten() {
    let (mut node, mut out) = (me(Roles::EDGE, &[]), Outbox::new());
    hear(&mut node, at(0), vec![record(7, Roles::EDGE, "west")], &mut out);
    node.link_up(at(0), LinkSlot(1), peer(2, Roles::EDGE, "east"), &mut out);
    node.link_down(at(1000), LinkSlot(1), true, &mut out);
    let hours = |count: u64| at(count * 60 * 60 * 1000);
    node.wake(hours(1), &mut out);
    assert!(node.get(id(2)).is_some(), "after an hour");
    node.wake(hours(3), &mut out);
    assert!(node.get(id(2)).is_none(), "a neighbour that is away for three hours");
    assert!(node.get(id(7)).is_some(), "a node of another region, whose key is needed for its bundles");
}

#[test]
fn news_travel_once_and_in_messages_that_fit_a_frame() {
    let (mut node, mut out) = (me(Roles::AGGREGATOR, &[]), Outbox::new());
    node.link_up(at(0), LinkSlot(1), peer(2, Roles::EDGE, "east"), &mut out);
    node.wake(at(100), &mut out);
    out.drain();
    let long = |at: usize| "h".repeat(record::ADDRESS_BYTES_MAX - at);
    let fat = |seed: u8| {
        let addresses = (0..record::ADDRESSES_MAX).map(long).collect();
        let version = "v".repeat(record::VERSION_BYTES_MAX);
        spoken(seed, PeerRecord { addresses, version, ..record(seed, Roles::EDGE, "west") })
    };
    for part in (10..70).collect::<Vec<u8>>().chunks(25) {
        hear(&mut node, at(200), part.iter().map(|seed| fat(*seed)).collect(), &mut out);
    }
    node.wake(at(300), &mut out);
    let mut told = 0;
    for output in out.drain() {
        let Output::Control { body: ControlBody::Peers(peers), .. } = output else { continue };
        told += peers.records.len();
        let bytes = ControlBody::Peers(peers).to_frame().len();
        assert!(bytes <= limits::CONTROL_BYTES_MAX, "{bytes} bytes in a frame");
    }
    assert_eq!(told, 60);
    hear(&mut node, at(400), (10..70).map(fat).collect(), &mut out);
    node.wake(at(600), &mut out);
    assert!(!out.drain().any(|output| matches!(output, Output::Control { .. })), "no news in what is known");
}

#[test]
fn records_are_believed_only_with_the_authoritys_word() {
    let (mut node, mut out) = (me(Roles::EDGE, &[]), Outbox::new());
    let forged = admission(5, Roles::COORDINATOR, "east").signed_by(&key(201));
    let mut wrong = record(5, Roles::EDGE, "east");
    wrong.admission = forged.to_bytes();
    let junk = PeerRecord { admission: Bytes::from_static(b"junk"), ..wrong.clone() };
    hear(&mut node, at(0), vec![wrong, junk], &mut out);
    assert_eq!(node.iter().count(), 0);
    // The same over a link, though the transport should have noticed.
    let peer = Peer { admission: forged, ..peer(5, Roles::EDGE, "east") };
    assert_eq!(node.link_up(at(0), LinkSlot(1), peer, &mut out), vec![]);
    assert!(out.drain().any(|output| matches!(output, Output::HangUp { .. })));
    node.check();
    // A node of the mesh comes back with another role: the newest word counts.
    hear(&mut node, at(0), vec![record(6, Roles::EDGE, "east")], &mut out);
    let promoted = record_of(6, admission(6, Roles::AGGREGATOR, "east"), 2);
    hear(&mut node, at(1), vec![promoted], &mut out);
    assert_eq!(node.get(id(6)).map(Known::roles), Some(Roles::AGGREGATOR));
}

#[test]
fn where_a_node_is_and_in_which_life_is_believed_from_itself_alone() {
    let (mut node, mut out) = (me(Roles::EDGE, &[]), Outbox::new());
    hear(&mut node, at(0), vec![record(5, Roles::EDGE, "east")], &mut out);
    let told = |changed: PeerRecord, node: &mut Neighbours, out: &mut Outbox| {
        out.drain();
        hear(node, at(1), vec![changed], out);
        out.drain().any(|output| matches!(output, Output::Event(Event::Refused { .. })))
    };
    // Another life, and the same with another address, software or process; in the word of somebody else.
    let younger = record_of(5, admission(5, Roles::EDGE, "east"), 2);
    let lies = [
        PeerRecord { incarnation: 1_001, ..younger.clone() },
        PeerRecord { addresses: vec!["nowhere:1".to_string()], ..younger.clone() },
        PeerRecord { version: "older".to_string(), ..younger.clone() },
        PeerRecord { process: 7, ..younger.clone() },
        PeerRecord { signature: Bytes::new(), ..younger.clone() },
        record::signed(younger.clone(), mesh(), &key(6).signer()),
        record::signed(younger.clone(), MeshId(0), &key(5).signer()),
    ];
    for lie in lies {
        assert!(told(lie.clone(), &mut node, &mut out), "{lie:?}");
        let known = node.get(id(5)).expect("it is known");
        assert_eq!((known.incarnation, &known.addresses[..]), (1, &["node-5:1".to_string()][..]));
        // The same of one who was not known.
        let admission = admission(7, Roles::EDGE, "east");
        assert!(told(PeerRecord { admission: admission.to_bytes(), ..lie }, &mut node, &mut out));
        assert!(node.get(id(7)).is_none());
    }
    // Its own word, but more of it than there may be.
    let wordy = PeerRecord { version: "v".repeat(60_000), ..younger.clone() };
    assert!(told(spoken(5, wordy), &mut node, &mut out));
    assert!(!told(younger, &mut node, &mut out));
    assert_eq!(node.get(id(5)).map(|known| known.incarnation), Some(2));
    // Nor does anybody get a link under a word that is not his.
    let peer = Peer { incarnation: 3, ..peer(5, Roles::EDGE, "east") };
    assert_eq!(node.link_up(at(2), LinkSlot(1), peer, &mut out), vec![]);
    assert!(out.drain().any(|output| matches!(output, Output::HangUp { .. })));
    node.check();
}

#[test]
fn suggested_addresses_are_dialled_once_bounded_and_never_instead_of_given_ones() {
    let (mut node, mut out) = (me(Roles::EDGE, &["given:1"]), Outbox::new());
    node.wake(at(0), &mut out);
    assert_eq!(dials(&mut out), ["given:1"]);
    let name = "0".repeat(64);
    let mut some = vec!["me:1".to_owned(), format!("me:1#{name}"), "given:1".to_owned()];
    some.push(format!("found:1#{name}"));
    some.push("x".repeat(400));
    node.suggest(at(10), some.clone());
    node.wake(at(10), &mut out);
    assert_eq!(dials(&mut out), [format!("found:1#{name}")]);
    node.suggest(at(20), some);
    node.wake(at(20), &mut out);
    assert!(dials(&mut out).is_empty(), "what is being dialled is not dialled again");

    // However many come, so many are kept, and the given one stays.
    for round in 0..5_u64 {
        let flood = (0..100).map(|n| format!("flood-{round}-{n}:1")).collect();
        node.suggest(at(30 + round), flood);
        node.wake(at(30 + round), &mut out);
        assert_eq!(dials(&mut out).len(), SUGGESTED_MAX);
    }
    node.wake(at(30_000), &mut out);
    let again = dials(&mut out);
    assert_eq!(again.len(), SUGGESTED_MAX + 1);
    assert!(again.contains(&"given:1".to_owned()));

    // Who is linked dials only what no known peer says is its own.
    let friend = other(false);
    node.link_up(at(40_000), LinkSlot(1), peer(friend, Roles::EDGE, "east"), &mut out);
    dials(&mut out);
    node.suggest(at(40_001), vec![format!("node-{friend}:1"), "stranger:1".to_owned()]);
    node.wake(at(40_001), &mut out);
    assert_eq!(dials(&mut out), ["stranger:1"]);
    node.check();
}
