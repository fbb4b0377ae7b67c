//! What holds for any input.

use proptest::prelude::*;

use super::*;
use crate::membership::detector::digest::{Digest, Entry};
use crate::rng::Rng;
use crate::wire::codec::Wire;

fn lives() -> impl Strategy<Value = Life> {
    let numbers = (prop_oneof![0..3u64, Just(u64::MAX)], prop_oneof![0..3u32, Just(u32::MAX)]);
    numbers.prop_map(|(incarnation, refutation)| Life { incarnation, refutation })
}

fn statements() -> impl Strategy<Value = Statement> {
    let kinds = [Kind::Join, Kind::Alive, Kind::Suspect, Kind::Confirm, Kind::Leave];
    let parts = (0..8usize, 0..8usize, prop::sample::select(kinds.to_vec()), lives(), 999_000..1_030_000u64);
    parts.prop_map(|(speaker, subject, kind, life, said)| {
        let is_accusation = kind.is_accusation();
        let subject = id(if is_accusation { subject } else { speaker });
        Statement { speaker: id(speaker), kind, subject, life, said: if is_accusation { said } else { 0 } }
    })
}

fn probes() -> impl Strategy<Value = Probe> {
    prop_oneof![
        (any::<u32>(), any::<bool>()).prop_map(|(number, is_again)| Probe::Ping { number, is_again }),
        any::<u32>().prop_map(|number| Probe::Ack { number }),
        (any::<u32>(), 0..9usize)
            .prop_map(|(number, subject)| Probe::PingFor { number, subject: id(subject) }),
        any::<u32>().prop_map(|number| Probe::Nack { number }),
        lives().prop_map(doubt),
    ]
}

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Say(usize, Statement),
    Probe(usize, Probe),
    AnswerLast(usize),
    Watch(Vec<usize>),
    Member(usize, Life),
    Forget(usize),
    Down(usize),
    Leave,
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..3_000u64).prop_map(Step::Wait),
        6 => (0..9usize, statements()).prop_map(|(from, said)| Step::Say(from, said)),
        3 => (0..9usize, probes()).prop_map(|(from, probe)| Step::Probe(from, probe)),
        3 => (0..9usize).prop_map(Step::AnswerLast),
        1 => prop::collection::vec(0..9usize, 0..9).prop_map(Step::Watch),
        1 => (0..9usize, lives()).prop_map(|(node, life)| Step::Member(node, life)),
        1 => (0..9usize).prop_map(Step::Forget),
        1 => (0..9usize).prop_map(Step::Down),
        1 => Just(Step::Leave),
    ]
}

fn fresh(is_lifeguard: bool) -> Detector {
    let rules = Rules { is_lifeguard, ..Rules::default() };
    let mut node = Detector::new(id(0), Life::first(1), rules, 1).expect("rules in range");
    (1..8).for_each(|other| assert!(node.member(at(0), id(other), Life::first(1), &mut Vec::new())));
    node
}

fn watch(node: &mut Detector, now: u64, subjects: &[usize]) {
    let watched = |subject: &usize| Watched {
        subject: id(*subject),
        rtt: Duration::from_millis(*subject as u64 * 40),
        co_observers: if subject.is_multiple_of(2) { (0..8).map(id).collect() } else { Vec::new() },
    };
    node.set_watch(at(now), subjects.iter().map(watched).collect());
}

proptest! {
    #[test]
    fn any_input_keeps_the_invariants(
        is_lifeguard: bool,
        steps in prop::collection::vec(steps(), 0..120),
    ) {
        let (mut node, mut now, mut last) = (fresh(is_lifeguard), 0, 0);
        watch(&mut node, now, &[1, 2, 3, 4]);
        for step in steps {
            let mut out = Vec::new();
            match step {
                Step::Wait(millis) => {
                    now += millis * 1_000_000;
                    node.wake(at(now), &mut out);
                    prop_assert!(node.deadline().is_none_or(|due| due > Time(now)));
                }
                Step::Say(from, said) => {
                    node.hear(at(now), id(from), &said, &mut out);
                }
                Step::Probe(from, probe) => node.hear_probe(at(now), id(from), probe, &mut out),
                Step::AnswerLast(from) => {
                    node.hear_probe(at(now), id(from), Probe::Ack { number: last }, &mut out);
                }
                Step::Watch(subjects) => watch(&mut node, now, &subjects),
                Step::Member(other, life) => {
                    node.member(at(now), id(other), life, &mut out);
                }
                Step::Forget(other) => node.forget(id(other)),
                Step::Down(other) => node.link_down(at(now), id(other), &mut out),
                Step::Leave => node.leave(at(now), &mut out),
            }
            for effect in out {
                match effect {
                    Effect::Probe { probe: Probe::Ping { number, .. }, .. } => last = number,
                    Effect::Say(said) => prop_assert!(said.speaker == id(0) && said.is_proper()),
                    Effect::Standing { node, .. } => prop_assert_ne!(node, id(0)),
                    Effect::Probe { .. } | Effect::Forgotten { .. } | Effect::FalseAccusation { .. } => {}
                }
            }
            node.check();
        }
    }

    // Holds as long as no time passes and nobody's word is refused for its rate or its speaker's end.
    #[test]
    fn the_order_and_number_of_statements_do_not_matter(
        said in prop::collection::vec(statements(), 0..16).prop_map(|said| {
            let is_plain = |one: &Statement| one.kind != Kind::Leave && one.speaker != id(0);
            said.into_iter().filter(is_plain).collect::<Vec<_>>()
        }),
        seed: u64,
    ) {
        let hear = |said: &[Statement]| {
            let mut node = fresh(true);
            for said in said {
                node.hear(at(0), id(1), said, &mut Vec::new());
            }
            let held = (1..8).map(|other| (node.standing(id(other)), node.life_of(id(other))));
            held.collect::<Vec<_>>()
        };
        let mut shuffled = [said.clone(), said.clone()].concat();
        Rng::new(seed).shuffle(&mut shuffled);
        prop_assert_eq!(hear(&said), hear(&shuffled));
    }

    #[test]
    fn encoding_and_decoding_is_identity(
        probe in probes(), said in statements(), fingerprint: u64,
        entries in prop::collection::vec((any::<u64>(), lives(), 0..4usize), 0..20),
    ) {
        prop_assert!(probe.to_bytes().len() <= 13);
        prop_assert_eq!(Probe::from_bytes(&probe.to_bytes()), Ok(probe));
        if said.is_proper() {
            prop_assert_eq!(said.to_bytes().to_vec(), said.message().to_vec());
            prop_assert_eq!(Statement::from_bytes(&said.to_bytes()), Ok(said));
        } else {
            prop_assert!(Statement::from_bytes(&said.to_bytes()).is_err());
        }
        let standings = [Standing::Alive, Standing::Suspect, Standing::Dead, Standing::Left];
        let entry = |(node, life, standing)| Entry { node: ShortId(node), life, standing: standings[standing] };
        let digest = Digest { fingerprint, entries: entries.into_iter().map(entry).collect() };
        prop_assert_eq!(Digest::from_bytes(&digest.to_bytes()), Ok(digest));
    }

    #[test]
    fn decoding_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let is_probe = Probe::from_bytes(&bytes).is_ok();
        let is_statement = Statement::from_bytes(&bytes).is_ok();
        let is_digest = Digest::from_bytes(&bytes).is_ok();
        prop_assert!(!is_probe || !is_statement || !is_digest, "of different lengths");
    }
}
