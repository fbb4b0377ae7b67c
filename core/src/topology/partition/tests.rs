use proptest::prelude::*;

use super::*;

fn sight(roster: usize, reachable: usize, agrees: bool) -> Sight {
    Sight { roster, reachable, agrees }
}

fn at(millis: u64) -> Time {
    Time::from_millis(millis)
}

#[test]
fn thresholds_are_exact() {
    // Roster, and how many of it may be missing before the side is cut off; then before it is critical.
    let exact = [
        (1, 0, 0),
        (2, 0, 0),
        (3, 0, 1),
        (4, 1, 1),
        (5, 1, 2),
        (6, 1, 2),
        (7, 2, 3),
        (10, 3, 4),
        (1_000, 333, 499),
    ];
    for (roster, missing_max, degraded_max) in exact {
        assert_eq!(faulty_max(roster), missing_max);
        for missing in 0..roster {
            let seen = sight(roster, roster - missing, true);
            assert_eq!(is_cut_off(seen), missing > missing_max, "{seen:?}");
            let status = match missing {
                0 => Status::Healthy,
                _ if missing <= degraded_max => Status::Degraded,
                _ => Status::Critical,
            };
            assert_eq!(status_of(seen), status, "{seen:?}");
            let without = if status == Status::Critical { status } else { Status::ReadOnly };
            assert_eq!(status_of(sight(roster, roster - missing, false)), without);
        }
    }
    assert!(!is_cut_off(sight(0, 0, true)) && !is_cut_off(sight(3, 9, true)));
    assert_eq!(status_of(sight(0, 5, true)), Status::Healthy);
}

#[test]
fn each_status_says_what_it_forbids() {
    assert!(Status::Healthy.forbids().is_empty() && Status::Degraded.forbids().is_empty());
    assert!(!Status::Critical.forbids().contains(&Operation::Evict));
    assert!(Status::Critical.forbids().contains(&Operation::WriteStream));
    assert!(Status::ReadOnly.forbids().contains(&Operation::Evict));
}

#[test]
fn a_partition_is_entered_after_a_second_and_left_after_one_and_a_half() {
    let mut detector = Detector::new();
    assert_eq!(detector.see(at(0), sight(10, 10, true)), None);
    assert_eq!(detector.deadline(), None);
    assert_eq!(detector.see(at(100), sight(10, 6, true)), None);
    assert_eq!((detector.deadline(), detector.wake(at(1_099))), (Some(at(1_100)), None));
    let entered = detector.wake(at(1_100)).expect("it held");
    assert_eq!((entered.from, entered.to), (Status::Healthy, Status::Degraded));
    assert!(!entered.was_cut_off && entered.is_cut_off && entered.sight.reachable == 6);
    assert_eq!((entered.at, detector.deadline()), (at(1_100), None));
    assert!(!detector.allows(Operation::WriteStream));
    assert_eq!(detector.see(at(5_000), sight(10, 7, true)), None);
    let left = detector.wake(at(6_500)).expect("it held");
    assert!(left.was_cut_off && !left.is_cut_off && left.to == Status::Degraded);
    assert!(detector.allows(Operation::WriteStream));
}

#[test]
fn worse_and_worse_is_timed_from_when_each_began() {
    let mut detector = Detector::new();
    detector.see(at(0), sight(10, 9, true));
    detector.see(at(900), sight(10, 3, true));
    assert_eq!(detector.wake(at(1_000)).map(|change| change.to), Some(Status::Degraded));
    assert_eq!(detector.wake(at(1_900)).map(|change| change.to), Some(Status::Critical));
    assert_eq!(detector.forbids(), Status::Critical.forbids());
    // Between two bad states the milder one is not waited for again.
    detector.see(at(2_000), sight(10, 8, false));
    detector.see(at(3_400), sight(10, 8, true));
    assert_eq!(detector.wake(at(3_500)).map(|change| change.to), Some(Status::ReadOnly));
    assert_eq!(detector.wake(at(4_900)).map(|change| change.to), Some(Status::Degraded));
}

#[test]
fn one_two_and_three_nodes_need_everybody() {
    for (roster, reachable, is_whole) in
        [(1, 1, true), (2, 1, false), (2, 2, true), (3, 2, false), (3, 3, true)]
    {
        let mut detector = Detector::new();
        detector.see(at(0), sight(roster, reachable, true));
        detector.wake(at(1_000));
        assert_eq!(detector.is_cut_off(), !is_whole, "{reachable} of {roster}");
    }
}

#[test]
fn a_flapping_node_does_not_flap_the_mode() {
    let mut detector = Detector::new();
    for step in 0..100 {
        let reachable = if step % 2 == 0 { 2 } else { 3 };
        assert_eq!(detector.see(at(step * 900), sight(3, reachable, true)), None);
    }
    detector.see(at(100_000), sight(3, 2, true));
    assert!(detector.wake(at(101_000)).is_some_and(|change| change.is_cut_off));
    for step in 0..100 {
        let reachable = if step % 2 == 0 { 3 } else { 2 };
        assert_eq!(detector.see(at(102_000 + step * 1_400), sight(3, reachable, true)), None);
    }
}

#[test]
fn what_was_due_before_is_reported_with_what_led_to_it() {
    let mut detector = Detector::new();
    detector.see(at(0), sight(3, 2, true));
    let late = detector.see(at(9_000), sight(3, 3, true)).expect("it held");
    assert!(late.is_cut_off && late.sight.reachable == 2);
}

proptest! {
    #[test]
    fn what_holds_takes_effect_in_time_and_wakes_are_never_missed(
        steps in prop::collection::vec((0u64..3_000, 0usize..9, 0usize..9, any::<bool>()), 1..60)
    ) {
        let mut detector = Detector::new();
        let mut now = 0;
        let mut last = None;
        for (wait, roster, reachable, agrees) in steps {
            let next = now + wait;
            while let Some(due) = detector.deadline().filter(|due| *due <= at(next)) {
                if let Some(change) = detector.wake(due) {
                    prop_assert!(last.is_none_or(|before| change.at > before || change.sight != detector.sight));
                    last = Some(change.at);
                }
                prop_assert!(detector.deadline().is_none_or(|later| later > due));
            }
            now = next;
            prop_assert_eq!(detector.see(at(now), sight(roster, reachable, agrees)), None);
            prop_assert!(detector.deadline().is_none_or(|due| due <= at(now) + LEAVE_AFTER));
            let mut rested = detector.clone();
            while let Some(due) = rested.deadline() {
                rested.wake(due);
            }
            prop_assert_eq!(rested.status(), status_of(sight(roster, reachable, agrees)));
            prop_assert_eq!(rested.is_cut_off(), is_cut_off(sight(roster, reachable, agrees)));
        }
    }
}
