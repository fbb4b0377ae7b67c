use std::collections::VecDeque;

use super::sealing::{Place, seal};
use super::*;
use crate::conduct::proof::Violation;
use crate::hot::view::Me;
use crate::membership::Fact;
use crate::node::cast::{self, key};
use crate::state::crdt::Register;
use crate::state::keyspace::{Change, NO_HASH};
use crate::topology::Strategy;
use crate::wire::request::{Empty, RefusedCode};

const WALL: u64 = 1_780_000_000_000;

fn me_of(seed: u8, incarnation: u64) -> Me {
    cast::identity(seed, Roles::EDGE, incarnation).me()
}

/// An edge's replica with the links that its test made.
struct Bench {
    replication: Replication,
    nearness: Nearness,
    neighbours: Neighbours,
    now: Now,
    out: Outbox,
}

impl Bench {
    fn new(seed: u8) -> Bench {
        let identity = cast::identity(seed, Roles::EDGE, 5);
        Bench {
            replication: Replication::of_writer(&identity, 1),
            nearness: Nearness::new(identity.short(), identity.region(), Strategy::Random, 1),
            neighbours: Neighbours::new(identity, Vec::new(), 1),
            now: Now { mono: Time::ZERO, wall: Time::from_millis(WALL) },
            out: Outbox::new(),
        }
    }

    fn link(&mut self, link: u32, seed: u8) {
        let peer = cast::peer(seed, Roles::EDGE, 5);
        self.neighbours.link_up(self.now, LinkSlot(link), peer, &mut Outbox::new());
        self.replication.link_up(self.now, me_of(seed, 5).id, LinkSlot(link));
        self.nearness.add(me_of(seed, 5).id, me_of(seed, 5).region);
    }

    fn pass(&mut self, millis: u64) {
        let until = self.now.mono + Duration::from_millis(millis);
        while let Some(due) = self.replication.deadline().filter(|due| *due <= until) {
            self.advance(due.max(self.now.mono));
            self.replication.wake(self.now, &self.neighbours, &mut self.nearness, &mut self.out);
            self.replication.check();
        }
        self.advance(until);
    }

    fn advance(&mut self, to: Time) {
        let step = to.since(self.now.mono);
        self.now = Now { mono: to, wall: self.now.wall + step };
    }

    fn write(&mut self, id: u64, key: &str, change: KeyChange) -> Result<(), Box<Say>> {
        self.replication.write(self.now, (ConnectionSlot(1), id), key, &change)
    }

    /// Writes and seals; the writer must be recovered.
    fn put(&mut self, key: &str, value: &[u8]) {
        self.write(1, key, KeyChange::Put(Bytes::copy_from_slice(value))).expect("a good write");
        self.pass(10);
    }

    fn receive(&mut self, link: u32, bundle: &Bundle) -> Vec<Output> {
        let bundle = Box::new(bundle.clone());
        self.replication.on_bundle(self.now, LinkSlot(link), bundle, &self.neighbours, &mut self.out);
        self.replication.check();
        self.outputs()
    }

    fn outputs(&mut self) -> Vec<Output> {
        self.out.drain().collect()
    }

    /// State bundles that were sent since the last call.
    fn sent(&mut self) -> Vec<Arc<Bundle>> {
        let sent = self.outputs().into_iter().filter_map(|output| match output {
            Output::State { bundle, .. } => Some(bundle),
            _ => None,
        });
        sent.collect()
    }

    fn versions_told(&mut self, versions: &VersionVector, is_answer: bool) {
        let versions = versions.to_bytes();
        let told = Versions { from: 0, through: u64::MAX, versions, is_answer };
        self.replication.on_versions(self.now, LinkSlot(1), &told, &mut self.out);
    }
}

fn refusals(outputs: &[Output]) -> Vec<&'static str> {
    let reason = |output: &Output| match output {
        Output::Event(Event::Refused { reason, .. }) => Some(*reason),
        _ => None,
    };
    outputs.iter().filter_map(reason).collect()
}

/// A bundle of node `seed` that sets `key` to `value`.
fn bundle(seed: u8, sequence: u64, previous: [u8; 32], key_text: &str, value: Value) -> Bundle {
    let place = Place { sequence, previous, is_checkpoint: sequence == 1, clock: (WALL + sequence) << 16 };
    let change = Change { key: Bytes::copy_from_slice(key_text.as_bytes()), value: Some(value) };
    seal(&me_of(seed, 5), &key(seed).signer(), place, &[change])
}

#[test]
fn only_what_its_origin_signed_is_applied() {
    let mut bench = Bench::new(1);
    bench.link(1, 2);
    let good = bundle(2, 1, NO_HASH, "a", Value::Max(7));
    let mut forged = good.clone();
    forged.origin = me_of(3, 5).id;
    assert_eq!(bench.receive(1, &forged).len(), 0, "an origin that nobody knows");
    bench.link(3, 3);
    bench.outputs();
    assert_eq!(refusals(&bench.receive(1, &forged)), ["a state bundle that its origin did not sign"]);
    let mut tampered = good.clone();
    tampered.sections[0].body = Some(Bytes::from_static(b"\x01\x00b\x01\x04aaaaaaaa"));
    assert_eq!(refusals(&bench.receive(1, &tampered)).len(), 1);
    assert_eq!(bench.replication.read("a"), None);
    assert_eq!(refusals(&bench.receive(1, &good)).len(), 0);
    assert_eq!(bench.replication.read("a"), Some(Value::Max(7)), "the forged copies did not displace it");
    let own = bundle(1, 1, NO_HASH, "a", Value::Max(9));
    assert_eq!(refusals(&bench.receive(1, &own)).len(), 1, "this very incarnation wrote no such thing");
}

#[test]
fn two_stories_convict_and_what_was_told_before_is_forgotten() {
    let first = bundle(2, 1, NO_HASH, "a", Value::Max(7));
    let lies = [bundle(2, 1, NO_HASH, "a", Value::Max(8)), bundle(2, 2, [9; 32], "a", Value::Max(9))];
    for (lie, violation) in lies.iter().zip([Violation::Equivocation, Violation::Fork]) {
        let mut bench = Bench::new(1);
        bench.link(1, 2);
        bench.receive(1, &first);
        let (now, link) = (bench.now, LinkSlot(1));
        let report =
            bench.replication.on_bundle(now, link, Box::new(lie.clone()), &bench.neighbours, &mut bench.out);
        let Some(Report::Contradiction(proof)) = report else { panic!("nothing was proven: {report:?}") };
        let known = VerifyKey::new(&key(2).public()).expect("a good key");
        assert_eq!(proof.verify(&known, me_of(2, 5).mesh).map(|culprit| culprit.violation()), Ok(violation));
        let facts = bench.neighbours.on_report(now, Report::Contradiction(proof), &mut bench.out);
        let culprit = me_of(2, 5).id;
        assert!(facts.contains(&Fact::Convicted(culprit)));
        bench.replication.forget(now, culprit);
        assert_eq!(bench.replication.read("a"), None);
        bench.receive(1, &first);
        assert_eq!(bench.replication.read("a"), None, "it is not believed again, whoever brings it");
    }
}

#[test]
fn lies_about_time_and_history_are_refused() {
    let mut bench = Bench::new(1);
    bench.link(1, 2);
    bench.receive(1, &bundle(2, 1, NO_HASH, "a", Value::Max(7)));
    let other = bundle(2, 1, NO_HASH, "a", Value::Max(8));
    assert_eq!(refusals(&bench.receive(1, &other)), ["it tells two stories of its state"]);
    let early = hlc::HlcTime::from_parts(WALL + 10_000, 0);
    let register = Register::new(early, me_of(2, 5).id, Bytes::new()).expect("an empty register");
    let early = bundle(2, 2, NO_HASH, "b", Value::Register(register));
    assert_eq!(refusals(&bench.receive(1, &early)), ["a malformed state bundle"], "newer than its bundle");
    let place = Place { sequence: 2, previous: NO_HASH, is_checkpoint: true, clock: (WALL + 31_000) << 16 };
    let ahead = seal(&me_of(2, 5), &key(2).signer(), place, &[]);
    assert_eq!(refusals(&bench.receive(1, &ahead)), ["the clock of a state bundle is over 30 s ahead"]);
    assert_eq!(bench.replication.read("a"), Some(Value::Max(7)));
}

#[test]
fn an_origin_without_checkpoints_is_cut_off_before_it_fills_the_memory() {
    let mut bench = Bench::new(1);
    bench.link(1, 2);
    let (mut previous, mut applied) = (NO_HASH, 0);
    for sequence in 1..400 {
        let next = bundle(2, sequence, previous, "a", Value::Max(sequence as i64));
        previous = next.hash;
        if refusals(&bench.receive(1, &next)).is_empty() {
            applied += 1;
        }
    }
    assert_eq!(applied, kept::CHECKPOINT_AFTER_BUNDLES + 1);
    let place = Place { sequence: 400, previous, is_checkpoint: true, clock: (WALL + 400) << 16 };
    let checkpoint = seal(&me_of(2, 5), &key(2).signer(), place, &[]);
    assert_eq!(
        refusals(&bench.receive(1, &checkpoint)),
        Vec::<&str>::new(),
        "a checkpoint is always welcome"
    );
    assert_eq!(bench.replication.read("a"), None);
}

#[test]
fn writes_wait_until_this_node_knows_what_it_wrote_before() {
    let mut bench = Bench::new(1);
    bench.link(1, 2);
    bench.write(7, "count", KeyChange::Add(1)).expect("it waits");
    bench.pass(900);
    assert!(bench.sent().is_empty());
    let mut theirs = VersionVector::new();
    theirs.observe(me_of(1, 3).id, Version { incarnation: 3, sequence: 1 }).expect("one origin");
    bench.versions_told(&theirs, true);
    bench.pass(1_000);
    assert!(bench.sent().is_empty(), "somebody has state of this node that it lacks");
    let counted = crate::state::crdt::Counter::part(me_of(1, 3).id, 41, 0);
    let place = Place { sequence: 1, previous: NO_HASH, is_checkpoint: true, clock: WALL << 16 };
    let change = Change { key: Bytes::from_static(b"count"), value: Some(Value::Counter(counted)) };
    let before = seal(&me_of(1, 3), &key(1).signer(), place, &[change]);
    assert_eq!(refusals(&bench.receive(1, &before)).len(), 0);
    bench.pass(200);
    assert_eq!(bench.sent().len(), 1);
    assert_eq!(bench.replication.read("count").and_then(|value| value.as_number()), Some(42));
}

#[test]
fn nobody_waits_for_ever() {
    let mut bench = Bench::new(1);
    bench.link(1, 2);
    let mut theirs = VersionVector::new();
    theirs.observe(me_of(1, 3).id, Version { incarnation: 3, sequence: 1 }).expect("one origin");
    bench.versions_told(&theirs, true);
    bench.write(7, "count", KeyChange::Add(1)).expect("it waits");
    bench.pass(10_200);
    assert_eq!(bench.sent().len(), 1, "who claims to have state and does not send it holds up nobody");
}

#[test]
fn what_is_written_together_shares_a_bundle() {
    let mut bench = Bench::new(1);
    bench.link(1, 2);
    bench.versions_told(&VersionVector::new(), true);
    bench.pass(2_000);
    bench.outputs();
    for at in 0..50 {
        bench.write(at, &format!("key-{at}"), KeyChange::Max(1)).expect("a good write");
    }
    bench.pass(50);
    let outputs = bench.outputs();
    let done =
        outputs.iter().filter(|output| matches!(output, Output::Reply { say: Say::Done(_), .. })).count();
    let sent = outputs.iter().filter(|output| matches!(output, Output::State { .. })).count();
    assert_eq!((done, sent), (50, 1));
}

/// Keys that were deleted long ago give their room back.
#[test]
fn tombstones_are_forgotten_with_a_later_checkpoint() {
    let mut bench = Bench::new(1);
    for round in 0..40 {
        for at in 0..100 {
            let name = format!("a-key-of-some-length-{round}-{at}");
            bench.write(1, &name, KeyChange::Put(Bytes::from_static(b"value"))).expect("room for a key");
            bench.write(1, &name, KeyChange::Delete(Empty {})).expect("room for a tombstone");
        }
        bench.pass(60_000);
        // Some traffic, so that there are checkpoints.
        (0..kept::CHECKPOINT_AFTER_BUNDLES).for_each(|at| bench.put("tick", &[at as u8]));
    }
    assert!(bench.replication.replica.keyspace(me_of(1, 5).id).expect("it wrote").encoded_bytes() < 60_000);
}

/// Two replicas that exchange what they send each other end alike, over any losses before.
#[test]
fn comparing_levels_two_replicas() {
    let (mut one, mut two) = (Bench::new(1), Bench::new(2));
    for at in 0..300 {
        one.put(&format!("one-{}", at % 50), &[at as u8; 100]);
        two.put(&format!("two-{}", at % 30), &[at as u8; 100]);
    }
    one.link(1, 2);
    two.link(1, 1);
    one.outputs();
    two.outputs();
    let mut frames = 0;
    for _ in 0..60 {
        one.pass(100);
        two.pass(100);
        let mut moving: VecDeque<(usize, Output)> = VecDeque::new();
        moving.extend(one.outputs().into_iter().map(|output| (1, output)));
        moving.extend(two.outputs().into_iter().map(|output| (0, output)));
        while let Some((to, output)) = moving.pop_front() {
            frames += 1;
            let bench = if to == 0 { &mut one } else { &mut two };
            let (link, now) = (LinkSlot(1), bench.now);
            match output {
                Output::State { bundle, .. } => {
                    let answers = bench.receive(1, &bundle);
                    moving.extend(answers.into_iter().map(|output| (1 - to, output)));
                    continue;
                }
                Output::Control { body: ControlBody::Compare(compare), .. } => {
                    bench.replication.on_compare(now, link, &compare, &mut bench.out);
                }
                Output::Control { body: ControlBody::Versions(told), .. } => {
                    bench.replication.on_versions(now, link, &told, &mut bench.out);
                }
                other => panic!("nothing else is said, not {other:?}"),
            }
            moving.extend(bench.outputs().into_iter().map(|output| (1 - to, output)));
        }
    }
    assert_eq!(one.replication.replica.root(), two.replication.replica.root());
    assert_eq!(
        two.replication.read("one-49").and_then(|value| value.as_bytes().cloned()),
        Some(vec![43; 100].into())
    );
    // 44 bundles since the checkpoint from each, and a comparison now and then.
    assert!(frames < 110, "{frames} frames");
}

#[test]
fn versions_of_thousands_of_origins_go_in_parts_that_fit() {
    let mut bench = Bench::new(1);
    let mut replica = Replica::new();
    for origin in 0..4_000_u64 {
        let version = Version { incarnation: 1, sequence: 1 };
        let state = crate::state::keyspace::StateBundle {
            version,
            previous_hash: NO_HASH,
            hash: [1; 32],
            is_checkpoint: true,
            changes: &[],
        };
        replica.apply(ShortId(origin * 3), &state).expect("fewer origins than the limit");
    }
    bench.replication.replica = replica;
    bench.replication.tell_versions(LinkSlot(1), false, &mut bench.out);
    let mut listed = 0;
    let mut from = 0;
    for output in bench.outputs() {
        let Output::Control { body: ControlBody::Versions(told), .. } = output else { panic!("{output:?}") };
        let frame = ControlBody::Versions(told.clone()).to_frame();
        assert!(frame.len() <= crate::limits::CONTROL_BYTES_MAX);
        assert_eq!(told.from, from);
        from = told.through.wrapping_add(1);
        listed += VersionVector::from_bytes(&told.versions).expect("it was encoded here").len();
    }
    assert_eq!((listed, from), (4_000, 0));
}

#[test]
fn a_relay_reads_and_does_not_write() {
    let mut relay = Replication::of_relay(me_of(9, 1).id, RegionId(1), 1);
    assert_eq!(encoded(relay.read("x")), Bytes::new());
    let now = Now { mono: Time::ZERO, wall: Time::from_millis(WALL) };
    let refused = relay.write(now, (ConnectionSlot(1), 1), "x", &KeyChange::Add(1));
    assert!(
        matches!(refused, Err(say) if matches!(&*say, Say::Refused(r) if r.code == RefusedCode::NotHere as u32))
    );
}

#[test]
fn a_peer_is_behind_by_what_it_said_it_lacks() {
    let mut bench = Bench::new(1);
    bench.link(1, 2);
    let peer = me_of(2, 5).id;
    bench.receive(1, &bundle(2, 1, NO_HASH, "a", Value::Max(7)));
    assert_eq!(bench.replication.lag_of(bench.now, peer), None, "it said nothing yet");
    bench.versions_told(&VersionVector::new(), true);
    bench.pass(1_500);
    let lag = LagView { versions: 1, behind_ms: 1_500, said_ms: 1_500 };
    assert_eq!(bench.replication.lag_of(bench.now, peer), Some(lag));
    let counted: Vec<u64> = bench.replication.counters(bench.now).map(|counter| counter.value).collect();
    assert_eq!(counted, [1, 1, 1, 1_500]);
    let root = Bytes::copy_from_slice(&bench.replication.replica.root());
    bench.replication.on_compare(bench.now, LinkSlot(1), &Compare { root }, &mut bench.out);
    assert_eq!(bench.replication.lag_of(bench.now, peer), Some(LagView::default()));
    bench.replication.link_down(LinkSlot(1));
    assert_eq!(bench.replication.lag_of(bench.now, peer), None);
}
