use proptest::prelude::*;

use super::*;
use crate::conduct::proof::Violation;

const HOUR: Duration = Duration::from_secs(3600);

fn at(seconds: u64) -> Time {
    Time::ZERO + Duration::from_secs(seconds)
}

fn node(id: u64) -> Party {
    Party::Node(ShortId(id))
}

fn agent(id: u8) -> Party {
    Party::Agent(AgentId([id; 16]))
}

fn culprit(id: u64) -> Culprit {
    Culprit { node: ShortId(id), incarnation: 1, violation: Violation::Equivocation, proof: [id as u8; 32] }
}

/// Grave offences until a verdict other than those before.
fn until_banned(ledger: &mut Ledger, now: Time, party: Party) -> (u32, Time) {
    for count in 1..100 {
        if let Verdict::Ban { until } = ledger.on_offence(now, party, Offence::InvalidSignature) {
            return (count, until);
        }
    }
    panic!("never banned");
}

#[test]
fn a_stranger_is_trusted() {
    let ledger = Ledger::new();
    assert_eq!(ledger.reputation(at(9), node(1)), Reputation::FULL);
    assert_eq!(ledger.verdict(at(9), agent(1)), Verdict::Fine);
}

#[test]
fn grave_offences_lead_from_fine_to_ignored_to_banned() {
    let mut ledger = Ledger::new();
    let verdicts: Vec<_> =
        (0..8).map(|_| ledger.on_offence(at(0), node(1), Offence::MalformedFrame)).collect();
    assert_eq!(verdicts[..5], [Verdict::Fine; 5]);
    assert_eq!(verdicts[5..7], [Verdict::Ignore; 2]);
    assert_eq!(verdicts[7], Verdict::Ban { until: Time::ZERO + BAN_FIRST });
    assert_eq!(ledger.reputation(at(0), node(1)).millionths(), 200_000);
    assert_eq!(ledger.verdict(at(0), node(2)), Verdict::Fine);
    assert_eq!(ledger.counters().bans, 1);
}

#[test]
fn a_ban_ends_on_probation_and_the_next_is_twice_as_long() {
    let mut ledger = Ledger::new();
    let mut now = at(0);
    for doubled in 0..12 {
        let (_, until) = until_banned(&mut ledger, now, node(1));
        let expected = BAN_FIRST.saturating_mul(1 << doubled).min(BAN_MAX);
        assert_eq!(until.since(now), expected);
        // What was still on its way changes nothing.
        assert_eq!(ledger.on_offence(now, node(1), Offence::MalformedFrame), Verdict::Ban { until });
        assert_eq!(ledger.verdict(until - Duration::from_nanos(1), node(1)), Verdict::Ban { until });
        assert_eq!(ledger.verdict(until, node(1)), Verdict::Fine);
        assert!(ledger.reputation(until, node(1)) >= Reputation::IGNORED_BELOW);
        now = until;
    }
    let (_, until) = until_banned(&mut ledger, now + STRIKES_KEPT, node(1));
    assert_eq!(until.since(now + STRIKES_KEPT), BAN_FIRST);
}

#[test]
fn probation_is_given_once() {
    let mut ledger = Ledger::new();
    let (_, until) = until_banned(&mut ledger, at(0), node(1));
    ledger.on_offence(until, node(1), Offence::InvalidSignature);
    assert_eq!(ledger.verdict(until, node(1)), Verdict::Ignore);
    assert_eq!(ledger.reputation(until, node(1)).millionths(), 400_000);
}

#[test]
fn what_a_liar_can_arrange_never_silences_a_node() {
    let mut ledger = Ledger::new();
    for offence in Offence::ALL.into_iter().filter(|offence| !offence.is_grave()) {
        for step in 0..10_000 {
            assert_eq!(ledger.on_offence(at(step), node(1), offence), Verdict::Fine, "{offence:?}");
        }
    }
    assert_eq!(ledger.reputation(at(0), node(1)), Reputation::IGNORED_BELOW);
    // It does not raise who is below either.
    (0..6).for_each(|_| _ = ledger.on_offence(at(0), node(2), Offence::InvalidSignature));
    assert_eq!(ledger.on_offence(at(0), node(2), Offence::Stale), Verdict::Ignore);
}

#[test]
fn an_agent_that_floods_is_banned_and_one_burst_counts_once() {
    let mut ledger = Ledger::new();
    (0..1000).for_each(|_| _ = ledger.on_offence(at(0), agent(1), Offence::OverRate));
    assert_eq!(ledger.reputation(at(0), agent(1)).millionths(), 980_000);
    let banned = (1..100).find(|second| {
        matches!(ledger.on_offence(at(*second), agent(1), Offence::OverRate), Verdict::Ban { .. })
    });
    assert_eq!(banned, Some(40));
}

#[test]
fn reputation_comes_back_with_time_and_twice_as_fast_with_good_conduct() {
    let mut ledger = Ledger::new();
    for party in [node(1), node(2)] {
        (0..6).for_each(|_| _ = ledger.on_offence(at(0), party, Offence::InvalidSignature));
    }
    // All at once earns nothing.
    ledger.on_good(at(0), node(2), u32::MAX);
    assert_eq!(ledger.reputation(at(0), node(2)).millionths(), 400_000);
    for second in 1..=100 {
        ledger.on_good(at(second), node(2), 1_000_000);
    }
    assert_eq!(ledger.reputation(at(100), node(1)).millionths(), 420_000);
    assert_eq!(ledger.reputation(at(100), node(2)).millionths(), 440_000);
    assert_eq!(ledger.reputation(at(3000), node(1)), Reputation::FULL);
}

#[test]
fn a_proof_bans_until_it_is_lifted() {
    let mut ledger = Ledger::new();
    assert!(ledger.on_proof(at(0), &culprit(1)));
    assert!(!ledger.on_proof(at(1), &culprit(1)));
    let forever = Verdict::Ban { until: Verdict::FOREVER };
    assert_eq!(ledger.verdict(Time::ZERO + HOUR * 100_000, node(1)), forever);
    assert_eq!(ledger.on_offence(at(1), node(1), Offence::Stale), forever);
    assert_eq!(ledger.reputation(at(1), node(1)), Reputation::NONE);
    ledger.on_good(at(1), node(1), 1000);
    assert_eq!(ledger.proven().collect::<Vec<_>>(), [(ShortId(1), [1; 32])]);
    assert!(ledger.lift(node(1)));
    assert!(!ledger.lift(node(1)));
    assert_eq!(ledger.verdict(at(2), node(1)), Verdict::Fine);
}

#[test]
fn a_crowd_pushes_out_nobody_proven_and_the_nearest_to_trust_first() {
    let mut ledger = Ledger::new();
    ledger.on_proof(at(0), &culprit(0));
    until_banned(&mut ledger, at(0), node(1));
    (0..3).for_each(|_| _ = ledger.on_offence(at(0), node(2), Offence::InvalidSignature));
    for id in 10..10 + 2 * NODES_MAX as u64 {
        ledger.on_offence(at(0), node(id), Offence::InvalidSignature);
    }
    ledger.check();
    assert_eq!(ledger.counters().forgotten, NODES_MAX as u64 + 2);
    assert!(matches!(ledger.verdict(at(0), node(1)), Verdict::Ban { .. }));
    assert_eq!(ledger.reputation(at(0), node(2)).millionths(), 700_000);
    assert_eq!(ledger.reputation(at(0), node(10)), Reputation::FULL);
    assert_eq!(ledger.verdict(at(0), node(0)), Verdict::Ban { until: Verdict::FOREVER });
    assert_eq!(ledger.banned(at(0)).map(|(party, _)| party).collect::<Vec<_>>(), [node(1)]);
}

#[test]
fn a_full_list_of_proofs_still_bans() {
    let mut ledger = Ledger::new();
    (0..PROVEN_MAX as u64).for_each(|id| assert!(ledger.on_proof(at(0), &culprit(id))));
    let next = culprit(PROVEN_MAX as u64);
    assert!(ledger.on_proof(at(0), &next));
    assert!(!ledger.on_proof(at(0), &next));
    assert_eq!(ledger.verdict(at(1), Party::Node(next.node())), Verdict::Ban { until: at(0) + BAN_MAX });
    ledger.check();
}

proptest! {
    /// Any history keeps the tables in order, the reputation of a node with mild offences at the floor
    /// or above, and two runs the same.
    #[test]
    fn any_history_is_bounded_and_repeats(
        steps in prop::collection::vec((0..6u64, 0..9usize, 0..1_000_000u64, any::<bool>()), 0..300),
    ) {
        let run = || {
            let (mut ledger, mut now) = (Ledger::new(), Time::ZERO);
            let mut verdicts = Vec::new();
            for (who, what, millis, is_agent) in &steps {
                now = now + Duration::from_millis(*millis);
                let party = if *is_agent { agent(*who as u8) } else { node(*who) };
                match Offence::ALL.get(*what) {
                    // Node 0 is honest: it does only what can happen to the honest.
                    Some(offence) if offence.is_grave() && party == node(0) => {}
                    Some(offence) => verdicts.push(ledger.on_offence(now, party, *offence)),
                    None => ledger.on_good(now, party, *millis as u32),
                }
                ledger.check();
                assert_eq!(ledger.verdict(now, node(0)), Verdict::Fine);
            }
            (verdicts, ledger.counters(), now, (0..6).map(|id| ledger.reputation(now, node(id))).collect::<Vec<_>>())
        };
        prop_assert_eq!(run(), run());
    }

    /// Asking changes nothing, and many small steps recover as much as one large one.
    #[test]
    fn recovery_does_not_depend_on_how_often_it_is_looked_at(steps in prop::collection::vec(1..20_000_000u64, 1..100)) {
        let (mut often, mut once) = (Ledger::new(), Ledger::new());
        for ledger in [&mut often, &mut once] {
            (0..5).for_each(|_| _ = ledger.on_offence(Time::ZERO, node(1), Offence::InvalidSignature));
        }
        let mut now = Time::ZERO;
        for step in steps {
            now = now + Duration::from_nanos(step);
            often.on_good(now, node(1), 0);
        }
        prop_assert_eq!(often.reputation(now, node(1)), once.reputation(now, node(1)));
    }
}
