use proptest::prelude::*;

use super::*;
use crate::rng::Rng;

const WHOLE: u64 = 10_000;

fn equal(count: usize) -> Vec<Claim> {
    vec![Claim { agents: 100, reputation: Reputation::FULL }; count]
}

/// Peers that ask for so much a second each, in random order, for 20 s: what each got of what it asked.
fn contest(claims: &[Claim], asked_per_second: &[u64], seed: u64) -> Vec<f64> {
    let mut rng = Rng::new(seed);
    let budget = Budget::new(WHOLE, Time::ZERO);
    let shares: Vec<Share> = claims.iter().map(|_| Share::new(Time::ZERO)).collect();
    for (share, promised) in shares.iter().zip(divide(WHOLE, claims)) {
        share.set(promised, promised > 0);
    }
    let (mut asked, mut got) = (vec![0u64; claims.len()], vec![0u64; claims.len()]);
    let seconds = 20;
    for millis in 0..seconds * 1000 {
        let now = Time::from_millis(millis);
        let mut requests = Vec::new();
        for (peer, rate) in asked_per_second.iter().enumerate() {
            let due = rate / 1000 + u64::from(rng.below(1000) < rate % 1000);
            requests.extend((0..due).map(|_| peer));
        }
        rng.shuffle(&mut requests);
        for peer in requests {
            asked[peer] += 1;
            got[peer] += u64::from(budget.try_spend(&shares[peer], now, 1) != Spent::Refused);
        }
    }
    let spent: u64 = got.iter().sum();
    let most = WHOLE as f64 * (seconds as f64 + 2.0 * BURST.as_secs_f64()) + claims.len() as f64;
    assert!(spent as f64 <= most, "{spent} checks were spent, {most} are allowed");
    assert_eq!(budget.refused(), asked.iter().sum::<u64>() - spent);
    asked.iter().zip(&got).map(|(asked, got)| *got as f64 / (*asked).max(1) as f64).collect()
}

#[test]
fn one_attacker_at_ten_times_its_share_costs_others_nothing() {
    let claims = equal(10);
    let share = divide(WHOLE, &claims)[0];
    assert_eq!(share, 900);
    let mut asked = vec![share * 95 / 100; 10];
    asked[0] = share * 10;
    let got = contest(&claims, &asked, 1);
    assert!(got[1..].iter().all(|part| *part == 1.0), "{got:?}");
    // And the attacker gets what they leave: 10,000 less 9 x 855, and the first burst.
    assert!((0.25..0.28).contains(&got[0]), "{got:?}");
}

#[test]
fn forty_nine_flooders_do_not_starve_the_fiftieth() {
    let claims = equal(50);
    let share = divide(WHOLE, &claims)[0];
    let mut asked = vec![1_000; 50];
    asked[7] = share * 95 / 100;
    let got = contest(&claims, &asked, 2);
    assert!(got[7] == 1.0, "{got:?}");
}

#[test]
fn who_is_alone_may_use_all_and_more_is_refused() {
    let claims = equal(50);
    let mut asked = vec![0; 50];
    asked[3] = WHOLE * 98 / 100;
    assert!(contest(&claims, &asked, 3)[3] > 0.99);
    asked[3] = WHOLE * 2;
    let got = contest(&claims, &asked, 3)[3];
    assert!((0.49..0.53).contains(&got), "{got}");
}

#[test]
fn lies_about_agents_buy_little_and_lost_trust_costs() {
    let claim = |agents, reputation| Claim { agents, reputation };
    let half = Reputation::IGNORED_BELOW;
    let below = Reputation::from_millionths(499_999);
    let full = Reputation::FULL;
    let shares = divide(
        WHOLE,
        &[claim(0, full), claim(u64::MAX, full), claim(0, half), claim(1_000, full), claim(9_999, below)],
    );
    assert_eq!(shares[1] / shares[0], 11);
    assert_eq!(shares[2], shares[0] / 2);
    assert_eq!(shares[3] / shares[0], 2);
    assert_eq!(shares[4], 0);
    assert!(divide(WHOLE, &[]).is_empty());
    assert_eq!(divide(WHOLE, &[claim(0, below)]), [0]);
}

#[test]
fn newcomers_live_on_what_is_left_and_the_ignored_on_nothing() {
    let budget = Budget::new(WHOLE, Time::ZERO);
    let newcomer = Share::new(Time::ZERO);
    assert_eq!(budget.try_spend(&newcomer, Time::ZERO, 1), Spent::Spare);
    newcomer.set(0, false);
    assert_eq!(budget.try_spend(&newcomer, Time::ZERO, 1), Spent::Refused);
    assert_eq!(budget.ready_at(&newcomer, Time::ZERO, 1), None);
    newcomer.set(100, true);
    assert_eq!(budget.try_spend(&newcomer, Time::ZERO, 1), Spent::Own);
}

#[test]
fn a_refusal_says_when_to_ask_again() {
    let budget = Budget::new(1_000, Time::ZERO);
    let share = Share::new(Time::ZERO);
    share.set(900, true);
    while budget.try_spend(&share, Time::ZERO, 1) != Spent::Refused {}
    let ready = budget.ready_at(&share, Time::ZERO, 1).unwrap();
    assert!(ready > Time::ZERO);
    assert_eq!(budget.try_spend(&share, Time(ready.0 - 1), 1), Spent::Refused);
    assert_ne!(budget.try_spend(&share, ready, 1), Spent::Refused);
}

proptest! {
    #[test]
    fn shares_never_exceed_what_is_promised(
        per_second in any::<u64>(),
        claims in prop::collection::vec((any::<u64>(), any::<u32>()), 0..200),
    ) {
        let claims: Vec<Claim> = claims
            .into_iter()
            .map(|(agents, trust)| Claim { agents, reputation: Reputation::from_millionths(trust % 1_100_000) })
            .collect();
        let sum: u128 = divide(per_second, &claims).into_iter().map(u128::from).sum();
        prop_assert!(sum <= u128::from(per_second) * 90 / 100);
    }

    /// Whatever the others ask, and whatever they weigh, who keeps to its share is served.
    #[test]
    fn who_keeps_to_its_share_is_served(
        others in prop::collection::vec((0..20_000u64, 500_000..1_000_001u32, 0..5_000u64), 1..12),
        agents in 0..20_000u64,
        seed in any::<u64>(),
    ) {
        let claim = |agents, trust| Claim { agents, reputation: Reputation::from_millionths(trust) };
        let mut claims = vec![claim(agents, 1_000_000)];
        claims.extend(others.iter().map(|(agents, trust, _)| claim(*agents, *trust)));
        let mut asked = vec![divide(WHOLE, &claims)[0] * 9 / 10];
        asked.extend(others.iter().map(|(_, _, asked)| *asked));
        let got = contest(&claims, &asked, seed);
        prop_assert!(got[0] > 0.999, "{:?}", got);
    }
}
