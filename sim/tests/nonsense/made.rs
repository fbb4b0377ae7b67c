//! Things that happen to a machine, made of small domains, so that things meet.

use std::time::Duration;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use starling_core::hlc::HlcTime;
use starling_core::hot::counters::Snapshot;
use starling_core::hot::own::{Publication, Target};
use starling_core::hot::view::Me;
use starling_core::id::{AgentId, MeshId, RegionId};
use starling_core::identity::Context;
use starling_core::machine::{ConnectionSlot, Input, LinkSlot};
use starling_core::membership::detector::digest::{Digest, Entry};
use starling_core::membership::detector::{Kind, Life, Probe, Standing, Statement};
use starling_core::membership::record;
use starling_core::node::replication::sealing::{self, Place};
use starling_core::registry::exchange::{
    Authored, Flood, Heartbeat, PeerBody, PeerHello, PeerList, PeerMessage, Record, Request, Said, SaidKind,
};
use starling_core::state::crdt::{Counter, Register, Value};
use starling_core::state::keyspace::Change as KeyspaceChange;
use starling_core::state::version::{Version, VersionVector};
use starling_core::summary::{Fold, Summary};
use starling_core::wire::agent::{Candidate, Change};
use starling_core::wire::bundle::{Bundle, Class};
use starling_core::wire::codec::Wire;
use starling_core::wire::entry::Extras;
use starling_core::wire::message::{
    Compare, ControlBody, Directory, Interest, InterestConfirmed, Leaving, Locate, Located, Missed, NotHere,
    Pace, PeerRecord, Peers, Reroute, Roster, Standings, Statements, Superseded, Update, UpdateApplied,
    Versions, update_message,
};
use starling_core::wire::request::{
    Ask, AskAgents, AskEdges, AskPeers, Empty, KeyChange, Numbers, SetKey, Subscribe, Subscription,
};
use starling_sim::Agent;

use super::fed::{CAST, address};

/// One thing that happens.
#[derive(Clone, Debug)]
pub enum Op {
    Pass(Duration),
    WakeWhenDue,
    LinkUp(u32, usize, u64, Vec<String>),
    LinkDown(u32, bool),
    DialFailed(String),
    Candidates(Vec<String>),
    Control(u32, ControlBody),
    State(u32, Bundle),
    Probe(u32, Bytes),
    Disconnected(u32),
    Attach(u32, Vec<(u32, u64, u64)>),
    Changes(u32, u64, Vec<Change>),
    Request(u32, Ask),
    Acknowledged(u32),
    Unresolved(Vec<(u64, u8, bool)>),
    Committed(u64, Vec<u8>),
    /// What the machine proposed last.
    CommitProposed(u64),
    Measured(u64),
    Stop,
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0..6_u64, Just(u64::MAX), Just(u64::MAX - 1)]
}

fn index() -> impl Strategy<Value = u32> {
    prop_oneof![0..4_u32, select(vec![65_535, 65_536, u32::MAX])]
}

fn pattern() -> impl Strategy<Value = String> {
    let known = ["a.b", "a.*", ">", "$system.a", "a.b.c", "", "a..b", "x.>", "a.>.b"];
    prop_oneof![select(known.to_vec()).prop_map(String::from), "[a-c]{1,2}(\\.[a-c*>]){0,3}"]
}

fn agent_bytes() -> impl Strategy<Value = Bytes> {
    let known = (0..5_u64).prop_map(|number| Bytes::copy_from_slice(&agent(number).0));
    prop_oneof![3 => known, 1 => vec(any::<u8>(), 0..20).prop_map(Bytes::from)]
}

fn agent(number: u64) -> AgentId {
    Agent::new(number).candidate(0).claim.agent()
}

fn region() -> impl Strategy<Value = u64> {
    let id = |node: usize| CAST.admissions[node].region_id().0;
    select(vec![0, id(0), id(6), 77])
}

fn record() -> impl Strategy<Value = PeerRecord> {
    let addresses =
        vec(prop_oneof![(0..9_usize).prop_map(address), Just(String::new()), Just("l".repeat(5000))], 0..4);
    (0..10_usize, addresses, number(), any::<bool>()).prop_map(|(node, addresses, incarnation, is_gone)| {
        let record = PeerRecord {
            admission: CAST.admissions.get(node).map_or(Bytes::from_static(b"junk"), Wire::to_bytes),
            addresses,
            incarnation,
            process: 0,
            version: String::new(),
            is_gone,
            has_left: is_gone && incarnation % 2 == 0,
            signature: Bytes::new(),
        };
        // Some say nothing that is signed.
        if incarnation % 5 == 0 { record } else { CAST.spoken(node, record) }
    })
}

/// Probes, or what is none.
pub fn probe_bytes() -> impl Strategy<Value = Bytes> {
    let ping = (any::<u32>(), any::<bool>()).prop_map(|(number, is_again)| Probe::Ping { number, is_again });
    let ping_for = (any::<u32>(), 0..9_usize)
        .prop_map(|(number, node)| Probe::PingFor { number, subject: CAST.admissions[node].node().short() });
    let doubt = (number(), any::<u32>())
        .prop_map(|(incarnation, refutation)| Probe::Doubt { life: Life { incarnation, refutation } });
    let answer = any::<u32>().prop_map(|number| Probe::Ack { number });
    let made = prop_oneof![ping, ping_for, doubt, answer].prop_map(|probe| probe.to_bytes());
    prop_oneof![6 => made, 1 => vec(any::<u8>(), 0..20).prop_map(Bytes::from)]
}

/// Statements of nodes about themselves and others; now and then signed by another, or cut.
pub fn statements() -> impl Strategy<Value = Statements> {
    let kind = select(vec![Kind::Join, Kind::Alive, Kind::Suspect, Kind::Confirm, Kind::Leave]);
    let one = (0..9_usize, 0..9_usize, kind, (number(), 0..3_u32), 0..8_usize);
    let one = one.prop_map(|(speaker, subject, kind, (incarnation, refutation), odd)| {
        let id = |node: usize| CAST.admissions[node].node().short();
        let life = Life { incarnation, refutation };
        let said = if kind.is_accusation() { 1_780_000_000_000 } else { 0 };
        let statement = Statement { speaker: id(speaker), kind, subject: id(subject), life, said };
        let signer = if odd == 0 { 0 } else { speaker };
        let signature = CAST.keys[signer].sign(Context::Membership, &statement.message());
        let mut signed = [&statement.message()[..], &signature.0[..]].concat();
        signed.truncate(if odd == 1 { 50 } else { signed.len() });
        Bytes::from(signed)
    });
    vec(one, 0..6).prop_map(|signed| Statements { signed })
}

pub fn standings() -> impl Strategy<Value = Standings> {
    let entry = (0..9_usize, number(), 0..3_u32, 0..4_usize);
    let entry = entry.prop_map(|(node, incarnation, refutation, standing)| {
        let standing = [Standing::Alive, Standing::Suspect, Standing::Dead, Standing::Left][standing];
        let (node, life) = (CAST.admissions[node].node().short(), Life { incarnation, refutation });
        Entry { node, life, standing }
    });
    let made = (any::<u64>(), vec(entry, 0..4))
        .prop_map(|(fingerprint, entries)| Digest { fingerprint, entries }.to_bytes());
    let digest = prop_oneof![4 => made, 1 => vec(any::<u8>(), 0..40).prop_map(Bytes::from)];
    (digest, any::<bool>()).prop_map(|(digest, is_answer)| Standings { digest, is_answer })
}

pub fn summary_bytes() -> impl Strategy<Value = Bytes> {
    let made = (number(), 0..4_u64, 0..3_u64).prop_map(|(incarnation, agents, since)| {
        let mut summary = Summary::new(incarnation);
        for number in 0..agents {
            summary.agent_joined(agent(number), "s", ["t"]);
            summary.seal();
        }
        summary.changed_since(since).to_bytes()
    });
    prop_oneof![3 => made, 1 => vec(any::<u8>(), 0..40).prop_map(Bytes::from)]
}

pub fn figure_bytes() -> impl Strategy<Value = Bytes> {
    let made = (0..9_usize, number()).prop_map(|(node, incarnation)| {
        let (mut fold, mut summary) = (Fold::new(), Summary::new(incarnation));
        summary.agent_joined(agent(1), "s", ["t"]);
        fold.apply(CAST.admissions[node].node().short(), summary.whole()).expect("a whole summary");
        fold.figure().to_bytes()
    });
    prop_oneof![3 => made, 1 => vec(any::<u8>(), 0..40).prop_map(Bytes::from)]
}

fn update() -> impl Strategy<Value = Update> {
    (number(), 0..9_usize, any::<bool>()).prop_map(|(index, signer, is_signed)| {
        let payload = Bytes::from_static(b"payload");
        let id = CAST.admissions[signer].node().short().0;
        let mut update = Update { index, decided_ms: 3, payload, signer: id, signature: Bytes::new() };
        if is_signed {
            let signature = CAST.keys[signer].sign(Context::Update, &update_message(&update));
            update.signature = Bytes::copy_from_slice(&signature.0);
        }
        update
    })
}

pub fn control() -> impl Strategy<Value = ControlBody> {
    let directory_bytes = || {
        let listed = vec((0..5_u64, number()), 0..3).prop_map(|list| {
            let packed = list
                .into_iter()
                .flat_map(|(of, session)| [&agent(of).0[..], &session.to_le_bytes()].concat());
            packed.collect::<Bytes>()
        });
        prop_oneof![3 => listed, 1 => vec(any::<u8>(), 0..60).prop_map(Bytes::from)]
    };
    let interest = (region(), number(), any::<[bool; 3]>(), vec(pattern(), 0..4), vec(pattern(), 0..4));
    let interest = interest.prop_map(|(region, version, [whole, more, gone], added, removed)| {
        ControlBody::Interest(Interest { region, version, whole, added, removed, more, gone: gone && !whole })
    });
    let located =
        (agent_bytes(), region(), select(vec![0, 9, CAST.admissions[3].node().short().0]), number());
    prop_oneof![
        2 => (vec(record(), 0..4), any::<bool>()).prop_map(|(records, more)| ControlBody::Peers(Peers { records, more })),
        4 => interest,
        2 => (region(), number()).prop_map(|(region, version)| ControlBody::InterestConfirmed(InterestConfirmed { region, version })),
        8 => (any::<bool>(), directory_bytes(), directory_bytes())
            .prop_map(|(whole, attached, detached)| ControlBody::Directory(Directory { whole, attached, detached })),
        2 => (agent_bytes(), any::<bool>()).prop_map(|(agent, from_region)| ControlBody::Locate(Locate { agent, from_region })),
        2 => located.prop_map(|(agent, region, edge, session)| ControlBody::Located(Located { agent, region, edge, session })),
        1 => (agent_bytes(), number()).prop_map(|(agent, session)| ControlBody::Superseded(Superseded { agent, session })),
        2 => summary_bytes().prop_map(ControlBody::Summary),
        2 => figure_bytes().prop_map(ControlBody::Figure),
        2 => update().prop_map(ControlBody::Update),
        2 => number().prop_map(|index| ControlBody::UpdateApplied(UpdateApplied { index })),
        1 => region().prop_map(|region| ControlBody::Reroute(Reroute { region })),
        1 => number().prop_map(|sequence| ControlBody::NotHere(NotHere { sequence, ..NotHere::default() })),
        1 => Just(ControlBody::Leaving(Leaving {})),
        1 => any::<u32>().prop_map(|milliseconds| ControlBody::Pace(Pace { milliseconds })),
        2 => select(vec![0, 32]).prop_map(|length| ControlBody::Compare(Compare { root: vec![3; length].into() })),
        3 => versions(),
        1 => region().prop_map(|region| ControlBody::Missed(Missed { region })),
        3 => probe_bytes().prop_map(ControlBody::Probe),
        6 => statements().prop_map(ControlBody::Statements),
        3 => standings().prop_map(ControlBody::Standings),
        2 => (any::<u64>(), prop_oneof![vec(any::<u64>(), 0..3), vec(any::<u64>(), 64)], any::<bool>()).prop_map(
            |(fingerprint, buckets, is_answer)| ControlBody::Roster(Roster { fingerprint, buckets, is_answer })
        ),
        4 => peer_message().prop_map(ControlBody::PeerMessage),
    ]
}

/// What nodes say in the peer protocol, some of it under their own signatures.
fn peer_message() -> impl Strategy<Value = Bytes> {
    let kind = prop_oneof![
        (number(), any::<bool>(), select(vec![0, 1, 9])).prop_map(|(revision, broadcast, addresses)| {
            let addresses = vec!["192.0.2.1:7420".to_string(); addresses];
            let capabilities = vec!["relay".to_string()];
            SaidKind::Announcement(Record {
                revision,
                broadcast,
                addresses,
                capabilities,
                ..Record::default()
            })
        }),
        Just(SaidKind::Heartbeat(Heartbeat {})),
        (0..6_u32, "[a-c]{0,2}", index()).prop_map(|(by, name, count)| SaidKind::Request(Request {
            by,
            name,
            count
        })),
    ];
    let authored = (0..9_usize, any::<[bool; 2]>(), number(), kind);
    let authored = authored.prop_map(|(node, [is_signed, is_ours], id, kind)| {
        let author = Bytes::copy_from_slice(&CAST.keys[node].public().0);
        let mesh = if is_ours { 0 } else { 9 };
        let said = Said { author, mesh, id, wall_ms: id, kind: Some(kind) };
        let said = said.to_bytes();
        let signature = CAST.keys[if is_signed { node } else { 0 }].sign(Context::Peer, &said);
        Authored { said, signature: Bytes::copy_from_slice(&signature.0) }
    });
    let authored = authored.boxed();
    let body = prop_oneof![
        3 => (authored.clone(), 0..40_u32)
            .prop_map(|(authored, ttl)| PeerBody::Flood(Flood { authored: Some(authored), ttl })),
        1 => proptest::option::of(authored.clone()).prop_map(|record| {
            PeerBody::Hello(PeerHello { version_low: 1, version_high: 1, features: 0, record })
        }),
        1 => (number(), vec(authored, 0..3)).prop_map(|(request, records)| {
            PeerBody::List(PeerList { request, records, ..PeerList::default() })
        }),
    ];
    prop_oneof![4 => body.prop_map(PeerMessage::bytes_of), 1 => vec(any::<u8>(), 0..40).prop_map(Bytes::from)]
}

fn set_key() -> impl Strategy<Value = SetKey> {
    let change = prop_oneof![
        4 => prop_oneof![4 => 0..50_usize, 1 => Just(4_000)].prop_map(|length| KeyChange::Put(vec![7; length].into())),
        2 => prop_oneof![-9..9_i64, any::<i64>()].prop_map(KeyChange::Add),
        1 => (-9..9_i64).prop_map(KeyChange::Max),
        1 => (-9..9_i64).prop_map(KeyChange::Min),
        2 => Just(KeyChange::Delete(Empty {})),
    ];
    let change = proptest::option::weighted(0.95, change);
    ("[a-c]{0,2}", change).prop_map(|(key, change)| SetKey { key, change })
}

/// State of nodes 0 to 8, each with two incarnations; now and then it is not theirs, or not theirs alone.
pub fn state_bundle() -> impl Strategy<Value = Bundle> {
    let change = ("[a-c]{0,2}", proptest::option::of(any::<(bool, u64)>()), any::<i64>());
    let place =
        (0..6_u64, any::<bool>(), prop_oneof![4 => Just(1_780_000_000_000_u64 << 16), 1 => any::<u64>()]);
    (0..9_usize, 0..9_usize, 4..7_u64, place, vec(change, 0..4)).prop_map(
        |(node, signer, incarnation, (sequence, is_checkpoint, clock), changes)| {
            let origin = CAST.admissions[node].node().short();
            let change = |(key, register, number): (String, Option<(bool, u64)>, i64)| KeyspaceChange {
                key: Bytes::from(key),
                value: Some(match register {
                    Some((true, time)) => Value::Register(Register::tombstone(HlcTime(time), origin)),
                    Some((false, _)) => Value::Max(number),
                    None => Value::Counter(Counter::part(origin, number.unsigned_abs(), 1)),
                }),
            };
            let changes: Vec<KeyspaceChange> = changes.into_iter().map(change).collect();
            let me = Me { mesh: MeshId(0), id: origin, region: RegionId(1), incarnation };
            let place = Place { sequence, previous: [0; 32], is_checkpoint, clock };
            let signer = if signer == 0 { 0 } else { node };
            sealing::seal(&me, &CAST.keys[signer].signer(), place, &changes)
        },
    )
}

pub fn versions() -> impl Strategy<Value = ControlBody> {
    let component = (0..9_usize, 4..7_u64, number());
    (vec(component, 0..5), any::<[bool; 3]>()).prop_map(|(list, [is_good, is_whole, is_answer])| {
        let mut versions = VersionVector::new();
        for (node, incarnation, sequence) in list {
            let origin = CAST.admissions[node].node().short();
            versions.observe(origin, Version { incarnation, sequence }).expect("a few origins");
        }
        let versions = if is_good { versions.to_bytes() } else { Bytes::from_static(b"\x09\x00abc") };
        let through = if is_whole { u64::MAX } else { 1 << 62 };
        ControlBody::Versions(Versions { from: 0, through, versions, is_answer })
    })
}

fn ask_agents() -> impl Strategy<Value = AskAgents> {
    let filters = ("[a-c]{0,2}", "[a-c]{0,2}", "[a-c]{0,2}", agent_bytes(), any::<bool>());
    (any::<u64>(), index(), filters).prop_map(|(cursor, count, (tag, state, name, id, is_by_id))| {
        let id = if is_by_id { id } else { Bytes::new() };
        AskAgents { cursor: cursor % 8, count, tag, state, name, id }
    })
}

pub fn ask() -> impl Strategy<Value = Ask> {
    let numbers = || vec(index(), 0..5).prop_map(|numbers| Numbers { numbers });
    let subscription = (index(), index(), pattern());
    let subscription =
        subscription.prop_map(|(number, agent, pattern)| Subscription { number, agent, pattern });
    prop_oneof![
        4 => vec(subscription, 0..4).prop_map(|subscriptions| Ask::Subscribe(Subscribe { subscriptions })),
        2 => numbers().prop_map(Ask::Unsubscribe),
        2 => numbers().prop_map(Ask::Detach),
        1 => Just(Ask::Overview(Empty {})),
        2 => agent_bytes().prop_map(Ask::Locate),
        2 => select(vec![0, 5, 20_000]).prop_map(|length| Ask::Update(Bytes::from(vec![1; length]))),
        1 => Just(Ask::WatchCut(Empty {})),
        1 => (0..5_u64).prop_map(Ask::Updates),
        2 => "[a-c]{0,2}".prop_map(Ask::GetKey),
        2 => (0..5_u32, "[a-c]{0,2}", index()).prop_map(|(by, name, count)| Ask::Peers(AskPeers { by, name, count })),
        6 => set_key().prop_map(Ask::SetKey),
        1 => (any::<u64>(), index()).prop_map(|(after, count)| Ask::Edges(AskEdges { after, count })),
        1 => ask_agents().prop_map(Ask::Agents),
    ]
}

pub fn op() -> impl Strategy<Value = Op> {
    let change = (index(), proptest::option::of("[a-c]"), proptest::option::of(vec("[a-c]", 0..4)));
    let change = change.prop_map(|(index, state, tags)| Change { index, state, tags });
    let addresses = vec((0..9_usize).prop_map(address), 0..3);
    prop_oneof![
        3 => (0..4000_u64).prop_map(|millis| Op::Pass(Duration::from_millis(millis))),
        1 => Just(Op::Pass(Duration::from_secs(3 * 60 * 60))),
        6 => Just(Op::WakeWhenDue),
        10 => (0..6_u32, 0..9_usize, number(), addresses).prop_map(|(l, n, i, a)| Op::LinkUp(l, n, i, a)),
        2 => (0..6_u32, any::<bool>()).prop_map(|(link, timed_out)| Op::LinkDown(link, timed_out)),
        1 => (0..10_usize).prop_map(|node| Op::DialFailed(address(node))),
        1 => vec((0..10_usize).prop_map(address), 0..4).prop_map(Op::Candidates),
        30 => (0..6_u32, control()).prop_map(|(link, body)| Op::Control(link, body)),
        4 => (0..6_u32, probe_bytes()).prop_map(|(link, body)| Op::Probe(link, body)),
        6 => (0..6_u32, state_bundle()).prop_map(|(link, bundle)| Op::State(link, bundle)),
        1 => (0..3_u32).prop_map(Op::Disconnected),
        5 => (0..3_u32, vec((index(), 0..5_u64, number()), 0..4)).prop_map(|(c, list)| Op::Attach(c, list)),
        2 => (0..3_u32, number(), vec(change, 0..3)).prop_map(|(c, first, list)| Op::Changes(c, first, list)),
        8 => (0..3_u32, ask()).prop_map(|(connection, ask)| Op::Request(connection, ask)),
        1 => (0..3_u32).prop_map(Op::Acknowledged),
        3 => vec((0..5_u64, 0..10_u8, any::<bool>()), 0..4).prop_map(Op::Unresolved),
        2 => (number(), vec(any::<u8>(), 0..20)).prop_map(|(index, entry)| Op::Committed(index, entry)),
        4 => (1..6_u64).prop_map(Op::CommitProposed),
        1 => prop_oneof![4 => number().prop_map(Op::Measured), 1 => Just(Op::Stop)],
    ]
}

impl Op {
    pub fn input(self) -> Input {
        match self {
            Op::Pass(_) | Op::WakeWhenDue | Op::CommitProposed(_) => Input::Wake,
            Op::LinkUp(link, node, incarnation, addresses) => {
                let version = "test".to_string();
                let record =
                    PeerRecord { incarnation, addresses, process: 2, version, ..PeerRecord::default() };
                let peer = record::peer(CAST.admissions[node].clone(), CAST.spoken(node, record));
                let peer = peer.expect("it is signed");
                Input::LinkUp { link: LinkSlot(link), peer: Box::new(peer) }
            }
            Op::LinkDown(link, timed_out) => Input::LinkDown { link: LinkSlot(link), timed_out },
            Op::DialFailed(address) => Input::DialFailed { address },
            Op::Candidates(addresses) => Input::Candidates { addresses },
            Op::Control(link, body) => Input::Control { link: LinkSlot(link), body },
            Op::Probe(link, body) => Input::Probe { link: LinkSlot(link), body },
            Op::State(link, bundle) => Input::State { link: LinkSlot(link), bundle: Box::new(bundle) },
            Op::Disconnected(slot) => Input::Disconnected { connection: ConnectionSlot(slot) },
            Op::Attach(slot, list) => {
                let candidate = |(index, number, session)| -> Candidate {
                    Agent { session, ..Agent::new(number) }.candidate(index)
                };
                let candidates = list.into_iter().map(candidate).collect();
                Input::Attach { connection: ConnectionSlot(slot), request: 1, candidates, forged: vec![3] }
            }
            Op::Changes(slot, first, changes) => {
                Input::Changes { connection: ConnectionSlot(slot), first, changes }
            }
            Op::Request(slot, ask) => Input::Request { connection: ConnectionSlot(slot), id: 1, ask },
            Op::Acknowledged(slot) => {
                Input::SystemAcknowledged { connection: ConnectionSlot(slot), counts: vec![(1, 1)] }
            }
            Op::Unresolved(list) => Input::Unresolved(list.into_iter().map(publication).collect()),
            Op::Committed(index, entry) => Input::Committed { index, entry: Bytes::from(entry) },
            // Some of the numbers are distances.
            Op::Measured(value) if value % 3 == 1 => {
                let link = LinkSlot(u32::try_from(value).unwrap_or(u32::MAX));
                Input::Distances(vec![(link, std::time::Duration::from_nanos(value)); 2])
            }
            Op::Measured(value) => {
                let counters = vec![("published_entries", value), ("unknown", value)];
                Input::Measured(Box::new(Snapshot { counters, stages: Vec::new() }))
            }
            Op::Stop => Input::Stop,
        }
    }
}

fn publication((to, attempts, is_whole): (u64, u8, bool)) -> Publication {
    Publication {
        connection: ConnectionSlot(1),
        number: 1,
        agent: agent(0),
        sequence: 1,
        class: Class::EventBulk,
        target: Target::Agent(None),
        subject: Bytes::copy_from_slice(&agent(to).0[..if is_whole { 16 } else { 5 }]),
        extras: Extras::default(),
        payload: Bytes::new(),
        attempts,
    }
}
