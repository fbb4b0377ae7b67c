//! Hostile nodes in a mesh: the guilty are banned, nobody else is, and honest clients are served.

#![allow(missing_docs, reason = "a test has no users")]

use std::time::Duration;

use starling_core::limits::{CHECKS_PER_SECOND, STALL_TIMEOUT, WITHHELD_TIMEOUT};
use starling_sim::{Attack, Report, Settings, run};

fn settings(attack: Attack, seconds: u64) -> Settings {
    let mut settings = Settings {
        seed: 3,
        agents: 40,
        // Ten clients, so that every region has some.
        agents_per_client: 4,
        time: Duration::from_secs(seconds),
        settle: Duration::from_secs(12),
        ..Settings::default()
    };
    settings.set_attack(attack, 1);
    settings
}

/// Runs an attack; everything that must hold does.
fn held(attack: Attack, seconds: u64) -> Report {
    held_with(attack, &settings(attack, seconds))
}

fn held_with(attack: Attack, settings: &Settings) -> Report {
    let report = run(settings);
    assert_eq!(report.violations(), 0, "{}: {:#?}", attack.name(), report.invariants);
    assert_eq!(report.banned.innocent, 0);
    assert!(report.events.delivered > 100, "{} deliveries", report.events.delivered);
    report
}

#[test]
fn who_signs_two_headers_is_banned_by_all_within_seconds() {
    let report = held(Attack::Equivocation, 15);
    assert_eq!(report.banned.guilty, 1);
    assert!(report.banned.p99_ms < 1_000.0, "{:?}", report.banned);
}

#[test]
fn who_sends_forgeries_is_banned_by_whom_it_sends_them_to() {
    for attack in [Attack::BadSignature, Attack::GiantFrame] {
        assert_eq!(held(attack, 15).banned.guilty, 1);
    }
}

#[test]
fn an_aggregator_that_changes_what_it_passes_on_is_banned_and_all_of_it_comes_another_way() {
    assert_eq!(held(Attack::Tampering, 15).banned.guilty, 1);
}

#[test]
fn what_an_aggregator_holds_back_comes_by_another_way() {
    let settle = 6 * STALL_TIMEOUT;
    let settings = Settings { settle, ..settings(Attack::WithheldBundles, 15) };
    assert_eq!(held_with(Attack::WithheldBundles, &settings).banned.guilty, 0);
}

#[test]
fn who_acknowledges_nothing_keeps_nobody_waiting_for_long() {
    let settle = WITHHELD_TIMEOUT + 3 * STALL_TIMEOUT;
    let settings = Settings { settle, ..settings(Attack::WithheldAcknowledgements, 15) };
    assert_eq!(held_with(Attack::WithheldAcknowledgements, &settings).banned.guilty, 1);
}

#[test]
fn what_proves_nothing_bans_nobody_and_does_no_harm() {
    for attack in [Attack::Replay, Attack::FalseAccusation, Attack::PoisonedPeers, Attack::Sybils] {
        assert_eq!(held(attack, 10).banned.guilty, 0, "{}", attack.name());
    }
}

#[test]
fn a_flood_costs_nobody_else_anything() {
    // What is checked takes no virtual time, so keyed hashes do as well and are faster.
    let run = |attack| run(&Settings { ed25519: false, ..settings(attack, 2) });
    let (quiet, flooded) = (run(Attack::Idle), run(Attack::Flood));
    for report in [&quiet, &flooded] {
        assert_eq!((report.violations(), report.banned.innocent), (0, 0), "{:#?}", report.invariants);
    }
    let more = flooded.steps - quiet.steps;
    assert!(more > 2 * CHECKS_PER_SECOND, "{more} steps more: it was a flood");
    let (with, without) = (flooded.delivery_ms.p99, quiet.delivery_ms.p99);
    assert!(with <= 1.2 * without, "{with} ms with the flood, {without} ms without");
}

/// Seeds in which liars once did harm, and what it was.
const REGRESSIONS: [(Attack, u64, &str); 5] = [
    (Attack::Tampering, 5, "an aggregator was banned by one edge, and others led over it still"),
    (Attack::GiantFrame, 5, "a narrow link carried frames that are refused by their heads"),
    (Attack::Replay, 5, "the control lane waited behind all that a liar sends"),
    (Attack::Replay, 7, "probes waited behind one link's bundles"),
    (Attack::WithheldAcknowledgements, 7, "the same"),
];

#[test]
fn what_liars_did_once_they_do_no_more() {
    for (attack, seed, what) in REGRESSIONS {
        let mut settings = Settings::drawn(seed);
        settings.set_attack(attack, 1);
        let report = run(&settings);
        let name = attack.name();
        assert_eq!(report.violations(), 0, "{name}, seed {seed} ({what}): {:?}", report.invariants);
        assert_eq!(report.banned.innocent, 0, "{name}, seed {seed}");
        assert!(report.events.delivered > 0, "{name}, seed {seed} delivers something");
    }
}
