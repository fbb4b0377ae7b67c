use super::*;
use crate::history::tests::begun;

/// A history with a line a millisecond: two agents that publish and receive on one subject.
struct Story(Vec<Record>);

impl Story {
    fn new() -> Story {
        let mut story = Story(Vec::new());
        story.then(begun());
        for agent in 0..2 {
            story.then(What::Confirmed { agent, subject: "s".into() });
            story.then(What::Homed { agent, edge: format!("edge-{agent}") });
        }
        story
    }

    fn then(&mut self, what: What) -> &mut Story {
        self.after(1, what)
    }

    fn after(&mut self, millis: u64, what: What) -> &mut Story {
        let at_us = self.0.last().map_or(0, |last| last.at_us) + millis * 1000;
        self.0.push(Record { at_us, what });
        self
    }

    fn publish(&mut self, number: u64) -> &mut Story {
        self.then(What::Published { agent: 0, subject: "s".into(), number })
    }

    fn acknowledge(&mut self, number: u64) -> &mut Story {
        self.then(What::Acknowledged { agent: 0, number })
    }

    fn deliver(&mut self, agent: u32, number: u64) -> &mut Story {
        self.then(What::Delivered { agent, publisher: 0, number, subject: "s".into() })
    }

    /// Published, delivered to both and acknowledged.
    fn well(&mut self, number: u64) -> &mut Story {
        self.publish(number).deliver(0, number).deliver(1, number).acknowledge(number)
    }

    fn gap(&mut self, agent: u32) -> &mut Story {
        self.then(What::Gap { agent, reason: "so".into() })
    }

    fn fault(&mut self, kind: FaultKind, target: &str, links: &[(&str, &str)]) -> &mut Story {
        let links = links.iter().map(|(from, to)| ((*from).into(), (*to).into())).collect();
        self.then(What::Fault { kind, target: target.into(), links })
    }

    fn said(&mut self, node: &str, of: &str) -> &mut Story {
        self.then(What::Said { node: node.into(), of: of.into(), word: "lost".into() })
    }

    /// The report when everything is well in the end.
    fn end(&mut self) -> Report {
        self.then(What::Ceased).after(30, What::Healed);
        for agent in 0..2 {
            self.then(What::Settled { agent, edge: Some("edge-1".into()), is_subscribed: true });
        }
        self.then(What::Counted { agents: Some(2) });
        self.then(What::Members { node: "coordinator".into(), not_up: Some(Vec::new()) });
        self.then(What::Ended);
        judge(&self.0)
    }
}

/// Invariants that do not hold.
fn broken(report: &Report) -> Vec<&'static str> {
    report.invariants.iter().filter(|invariant| invariant.violations > 0).map(|i| i.name).collect()
}

#[test]
fn a_clean_history_passes() {
    let report = Story::new().well(1).well(2).well(3).end();
    assert_eq!(broken(&report), [""; 0]);
    assert_eq!((report.published, report.acknowledged, report.delivered), (3, 3, 6));
    assert_eq!((report.lost, report.duplicated, report.reordered, report.gaps), (0, 0, 0, 0));
    assert_eq!(report.healed_ms, Some(30.0));
    let names: Vec<&str> = report.invariants.iter().map(|invariant| invariant.name).collect();
    assert_eq!(names, INVARIANTS.map(|(name, _)| name));
    assert_eq!(report.violations(), 0);
}

#[test]
fn a_lost_entry_is_found() {
    let mut story = Story::new();
    story.well(1).publish(2).deliver(0, 2).acknowledge(2).well(3);
    let report = story.end();
    assert_eq!((broken(&report), report.lost), (vec!["delivered"], 1));
    assert!(report.invariants[0].examples[0].starts_with("agent 1 lacks 2 of agent 0"));
}

#[test]
fn an_acknowledgement_that_is_false_is_found() {
    // The last entry came to nobody, so nothing later shows that it is missing.
    let report = Story::new().well(1).publish(2).acknowledge(2).end();
    assert_eq!((broken(&report), report.lost), (vec!["delivered"], 2));
    let report = Story::new().well(1).acknowledge(2).end();
    assert_eq!(broken(&report), ["answered"]);
    let report = Story::new().well(1).acknowledge(1).end();
    assert_eq!(broken(&report), ["answered"]);
}

#[test]
fn an_entry_without_outcome_is_found_and_a_failed_one_is_owed_to_nobody() {
    assert_eq!(broken(&Story::new().publish(1).deliver(0, 1).deliver(1, 1).end()), ["answered"]);
    let mut story = Story::new();
    story.publish(1).then(What::Failed { agent: 0, number: 1, why: "so".into() });
    let report = story.end();
    assert_eq!((broken(&report), report.failed), (vec![], 1));
}

#[test]
fn a_duplicate_is_found_even_behind_a_gap() {
    let report = Story::new().well(1).gap(1).deliver(1, 1).well(2).end();
    assert_eq!((broken(&report), report.duplicated, report.gaps), (vec!["once"], 1, 1));
}

#[test]
fn what_overtakes_is_found() {
    let mut story = Story::new();
    story.publish(1).publish(2).deliver(0, 1).deliver(0, 2).deliver(1, 2).deliver(1, 1);
    let report = story.acknowledge(1).acknowledge(2).end();
    assert_eq!((broken(&report), report.reordered, report.lost), (vec!["ordered"], 1, 0));
}

#[test]
fn what_nobody_published_is_found() {
    assert_eq!(broken(&Story::new().deliver(1, 9).end()), ["unchanged"]);
    let mut story = Story::new();
    story.well(1).then(What::Strange { agent: 0, why: "changed".into() });
    assert_eq!(broken(&story.end()), ["unchanged"]);
    let mut story = Story::new();
    story.publish(1).deliver(0, 1).acknowledge(1);
    story.then(What::Delivered { agent: 1, publisher: 0, number: 1, subject: "t".into() }).deliver(1, 1);
    assert_eq!(broken(&story.end()), ["unchanged"]);
}

#[test]
fn a_gap_excuses_what_was_published_before_it_if_it_is_told_in_time() {
    let lacking = |story: &mut Story| {
        story.well(1).publish(2).deliver(0, 2).acknowledge(2);
    };
    let mut story = Story::new();
    lacking(&mut story);
    let report = story.gap(1).well(3).end();
    assert_eq!((broken(&report), report.missing_in_gaps), (vec![], 1));
    // Later than what shows it, and still in time.
    let mut story = Story::new();
    lacking(&mut story);
    assert_eq!(broken(&story.well(3).gap(1).end()), [""; 0]);
    let mut story = Story::new();
    lacking(&mut story);
    let late = What::Gap { agent: 1, reason: "so".into() };
    assert_eq!(broken(&story.well(3).after(6000, late).end()), ["delivered"]);
    // Of somebody else, or from before it was published.
    let mut story = Story::new();
    lacking(&mut story);
    assert_eq!(broken(&story.gap(0).end()), ["delivered"]);
    let mut story = Story::new();
    story.gap(1);
    lacking(&mut story);
    assert_eq!(broken(&story.end()), ["delivered"]);
}

#[test]
fn nothing_is_owed_from_before_a_subscription() {
    let mut story = Story(Vec::new());
    story.then(begun()).publish(1).acknowledge(1);
    story.then(What::Confirmed { agent: 1, subject: "s".into() });
    assert_eq!(broken(&story.end()), [""; 0]);
}

#[test]
fn a_complete_scenario_allows_no_gap_to_excuse() {
    let told = |scenario: &str| {
        let mut story = Story::new();
        let What::Begun { scenario: name, .. } = &mut story.0[0].what else { panic!("it begins so") };
        *name = scenario.into();
        story.well(1).publish(2).deliver(0, 2).acknowledge(2).gap(1).end()
    };
    assert_eq!(broken(&told("kill-edge")), [""; 0]);
    assert_eq!(broken(&told("kill-aggregator")), ["complete"]);
}

#[test]
fn a_false_death_is_found_and_a_true_one_is_not_one() {
    assert_eq!(Story::new().said("edge-0", "edge-1").end().false_deaths, 1);
    let mut story = Story::new();
    story.fault(FaultKind::Kill, "edge-1", &[]).said("edge-0", "edge-1").said("edge-0", "edge-2");
    let report = story.end();
    assert_eq!((broken(&report), report.false_deaths), (vec!["alive"], 1));
    assert!(report.invariants[6].examples[0].contains("edge-2"));
}

#[test]
fn who_was_in_trouble_is_counted_apart() {
    let mut story = Story::new();
    story.fault(FaultKind::Pause, "edge-0", &[]).fault(FaultKind::Resume, "edge-0", &[]);
    let report = story.said("edge-0", "edge-1").end();
    assert_eq!((report.false_deaths, report.false_deaths_in_trouble), (0, 1));
    let mut story = Story::new();
    story.fault(FaultKind::Pause, "edge-0", &[]).fault(FaultKind::Resume, "edge-0", &[]);
    let long_after = What::Said { node: "edge-0".into(), of: "edge-1".into(), word: "lost".into() };
    assert_eq!(story.after(11_000, long_after).end().false_deaths, 1);
}

#[test]
fn who_cannot_be_reached_may_be_held_for_dead() {
    let one = [("edge-0", "edge-1")];
    // Over a third of the region it can be.
    let mut story = Story::new();
    story.fault(FaultKind::OneWay, "x", &one).said("edge-1", "edge-0");
    assert_eq!(story.end().false_deaths, 1);
    let both = [("edge-0", "edge-1"), ("edge-0", "edge-2")];
    let mut story = Story::new();
    story.fault(FaultKind::Cut, "x", &both).said("edge-1", "edge-0");
    assert_eq!(story.end().false_deaths, 0);
    // Between regions there is only the link of the two.
    let far = [("aggregator", "edge-0")];
    let mut story = Story::new();
    story.fault(FaultKind::Cut, "x", &far).said("edge-0", "aggregator").said("edge-2", "aggregator");
    assert_eq!(story.end().false_deaths, 1);
    let mut story = Story::new();
    story.fault(FaultKind::Slow, "x", &both).said("edge-1", "edge-0");
    assert_eq!(story.end().false_deaths, 1);
}

#[test]
fn recoveries_are_from_the_fault_to_the_next_home() {
    let mut story = Story::new();
    story.fault(FaultKind::Kill, "edge-0", &[]);
    story.after(700, What::Homed { agent: 0, edge: "edge-1".into() });
    story.after(5000, What::Homed { agent: 1, edge: "edge-2".into() });
    story.fault(FaultKind::Pause, "edge-2", &[]);
    story.after(50, What::Fault { kind: FaultKind::Resume, target: "edge-2".into(), links: Vec::new() });
    let times = story.end().recovery_ms.unwrap();
    assert_eq!((times.p50, times.max, times.samples), (50.0, 700.0, 2));
}

#[test]
fn what_is_not_well_in_the_end_is_found() {
    let ending = |served: bool, count: Option<u64>, not_up: Option<Vec<(String, String)>>| {
        let mut story = Story::new();
        story.then(What::Ceased).then(What::Healed);
        for agent in 0..2 {
            story.then(What::Settled { agent, edge: served.then(|| "e".into()), is_subscribed: true });
        }
        story.then(What::Counted { agents: count });
        story.then(What::Members { node: "edge-0".into(), not_up });
        let report = judge(&story.0);
        let broken = broken(&report);
        (broken, report.violations())
    };
    assert_eq!(ending(true, Some(2), Some(vec![])), (vec![], 0));
    assert_eq!(ending(false, Some(2), Some(vec![])), (vec!["served"], 2));
    assert_eq!(ending(true, Some(3), Some(vec![])), (vec!["counted"], 1));
    assert_eq!(ending(true, None, Some(vec![])), (vec!["counted"], 1));
    assert_eq!(ending(true, Some(2), Some(vec![("edge-1".into(), "down".into())])), (vec!["whole"], 1));
    assert_eq!(ending(true, Some(2), None), (vec!["whole"], 1));
    assert_eq!(broken(&judge(&Story::new().0)), ["served", "counted", "whole"]);
    // All is well when the run gives up, and was not before.
    let mut story = Story::new();
    story.end();
    story.0.retain(|record| record.what != What::Healed);
    assert_eq!(broken(&judge(&story.0)), ["whole"]);
}

/// A history of an attack by r0's liar: who bans it and when, in milliseconds after its first act.
fn attacked(attack: &str, bans: &[(&str, u64)]) -> Story {
    let mut story = Story::new();
    if let What::Begun { settings, .. } = &mut story.0[0].what {
        settings.attack = Some(attack.into());
    }
    story.well(1).fault(FaultKind::Attack, "r0-liar", &[]);
    for (node, after) in bans {
        let (node, of, reason) = ((*node).into(), "r0-liar".into(), "so".into());
        story.after(*after, What::Banned { node, of, reason });
    }
    story.well(2).fault(FaultKind::Relent, "r0-liar", &[]).well(3);
    story
}

const EVERYBODY: [(&str, u64); 5] =
    [("coordinator", 1), ("edge-0", 1), ("edge-1", 1), ("edge-2", 1), ("aggregator", 96)];

#[test]
fn a_liar_that_everybody_bans_is_counted_and_nobody_calls_that_a_death() {
    let report = attacked("equivocation", &EVERYBODY).said("edge-0", "r0-liar").end();
    assert_eq!(broken(&report), Vec::<&str>::new());
    let banned = report.banned.unwrap();
    assert_eq!((banned.guilty, banned.innocent, banned.p99_ms), (5, 0, Some(100.0)));
    let cost = report.under_attack.unwrap();
    assert_eq!((cost.before_ms.unwrap().samples, cost.during_ms.unwrap().samples), (2, 2));
    assert_eq!(Story::new().well(1).end().banned, None, "where nobody lies");
}

#[test]
fn a_liar_that_somebody_spares_is_found() {
    assert_eq!(broken(&attacked("equivocation", &EVERYBODY[..4]).end()), ["expelled"]);
    assert_eq!(broken(&attacked("equivocation", &[]).end()), ["expelled"]);
    let late = [("coordinator", 30_001), ("edge-0", 1), ("edge-1", 1), ("edge-2", 1), ("aggregator", 1)];
    assert_eq!(broken(&attacked("equivocation", &late).end()), ["expelled"]);
    // Forgeries are seen by those they are sent to: the liar's region.
    assert_eq!(broken(&attacked("bad-signature", &EVERYBODY[1..4]).end()), Vec::<&str>::new());
    assert_eq!(broken(&attacked("bad-signature", &EVERYBODY[2..]).end()), ["expelled"]);
    assert_eq!(broken(&attacked("replay", &[]).end()), Vec::<&str>::new());
    assert_eq!(broken(&attacked("tampering", &[]).end()), ["expelled"]);
}

#[test]
fn a_ban_of_an_honest_node_and_what_an_attack_costs_are_found() {
    let ban = What::Banned { node: "edge-0".into(), of: "edge-1".into(), reason: "so".into() };
    let report = attacked("replay", &[]).then(ban.clone()).end();
    assert_eq!((broken(&report), report.banned.unwrap().innocent), (vec!["just"], 1));
    assert_eq!(broken(&Story::new().then(ban).well(1).end()), ["just"], "also where nobody lies");
    let moved = What::Homed { agent: 0, edge: "edge-2".into() };
    assert_eq!(broken(&attacked("flood", &[]).then(moved).end()), ["unhurt"]);
    let silent = |of: &str| What::LinkLost { node: "edge-0".into(), of: of.into() };
    assert_eq!(broken(&attacked("flood", &[]).then(silent("edge-1")).end()), ["unhurt"]);
    assert_eq!(broken(&attacked("flood", &[]).then(silent("r0-liar")).end()), Vec::<&str>::new());
}
