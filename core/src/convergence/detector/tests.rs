use proptest::prelude::*;

use super::*;

fn id(number: u64) -> ShortId {
    ShortId(number)
}

fn at(seconds: u64) -> Time {
    Time::from_millis(seconds * 1_000)
}

#[test]
fn a_peer_is_behind_by_what_it_lacks_since_that_was_there() {
    let mut detector = Detector::new();
    detector.applied(at(1), id(1), 1, 10);
    assert!(detector.report(at(1), id(7), [(id(1), 1, 10)].into_iter()));
    assert_eq!(detector.lag(id(7)), Some(Lag { versions: 0, since: None }));
    detector.applied(at(5), id(1), 1, 12);
    detector.applied(at(9), id(2), 4, 1);
    assert_eq!(detector.lag(id(7)), Some(Lag { versions: 3, since: Some(at(5)) }));
    assert!(detector.report(at(9), id(7), [(id(1), 1, 12)].into_iter()));
    assert_eq!(detector.lag(id(7)), Some(Lag { versions: 1, since: Some(at(9)) }));
    let expected = Summary { peers: 1, behind: 1, versions_max: 1, age_max: Duration::from_secs(2) };
    assert_eq!(detector.summary(at(11)), expected);
    assert!(detector.is_converged(at(11), Duration::from_secs(2)));
    assert!(!detector.is_converged(at(12), Duration::from_secs(2)));
    assert!(detector.report_equal(id(7)) && detector.is_converged(at(99), Duration::ZERO));
    assert_eq!(detector.lag(id(8)), None);
}

#[test]
fn what_a_peer_has_and_we_lack_puts_ourselves_behind() {
    let mut detector = Detector::new();
    detector.report(at(3), id(7), [(id(1), 1, 5)].into_iter());
    assert_eq!(detector.lag_of_ourselves(), Lag { versions: 5, since: Some(at(3)) });
    assert!(!detector.is_converged(at(4), Duration::ZERO));
    detector.applied(at(4), id(1), 1, 5);
    assert!(detector.is_converged(at(4), Duration::ZERO));
}

#[test]
fn a_new_incarnation_replaces_what_was_lacking() {
    let mut detector = Detector::new();
    detector.applied(at(1), id(1), 1, 100);
    detector.report(at(1), id(7), [(id(1), 1, 40)].into_iter());
    detector.applied(at(2), id(1), 2, 3);
    // Charged with both until it reports again.
    assert_eq!(detector.lag(id(7)).map(|lag| lag.versions), Some(63));
    detector.report(at(3), id(7), [(id(1), 1, 100)].into_iter());
    assert_eq!(detector.lag(id(7)).map(|lag| lag.versions), Some(3));
    detector.report_count(id(8), 2);
    assert_eq!(detector.lag(id(8)).map(|lag| lag.versions), Some(1));
    detector.report(at(3), id(7), [(id(1), 2, 3)].into_iter());
    assert_eq!(
        (detector.lag(id(7)).map(|lag| lag.versions), detector.lag_of_ourselves().versions),
        (Some(0), 0)
    );
    assert!(detector.forget_origin(id(1)) && !detector.forget_origin(id(1)));
    detector.report(at(4), id(7), std::iter::empty());
    assert_eq!(detector.lag(id(7)).map(|lag| lag.versions), Some(0));
    assert!(detector.forget_peer(id(7)) && detector.lag(id(7)).is_none());
}

#[test]
fn an_age_is_never_understated_when_the_log_is_full() {
    let mut detector = Detector::new();
    let count = PASSED_MAX as u64 * 8;
    detector.report(at(0), id(0), std::iter::empty());
    for second in 1..=count {
        detector.applied(at(second), id(1), 1, second);
        assert!(detector.passed.len() <= PASSED_MAX);
    }
    for had in 0..count {
        let lag = detector.lag_at(had);
        let since = lag.since.expect("it lacks something");
        assert!(since <= at(had + 1), "{had}: {since}");
        assert_eq!(lag.versions, count - had);
    }
    assert_eq!(detector.lag(id(0)).and_then(|lag| lag.since), Some(at(1)));
    assert_eq!(detector.lag_at(count - 1).since, Some(at(count)));
}

#[test]
fn counts_rounds_until_nobody_is_behind() {
    let mut detector = Detector::new();
    detector.applied(at(1), id(1), 1, 1);
    detector.report(at(1), id(7), std::iter::empty());
    assert!(!detector.round_ended() && !detector.round_ended());
    detector.report_equal(id(7));
    assert!(detector.round_ended() && detector.round_ended());
    assert_eq!((detector.rounds(), detector.rounds_last()), (4, Some(3)));
}

#[test]
fn its_tables_are_bounded() {
    let mut detector = Detector::new();
    for number in 0..ORIGINS_MAX as u64 + 10 {
        detector.applied(at(1), id(number), 1, u64::MAX);
        detector.report_equal(id(number));
    }
    assert_eq!((detector.origins.len(), detector.peers.len()), (ORIGINS_MAX, PEERS_MAX));
    assert!(detector.untracked() > 0 && !detector.report_equal(id(1 << 40)));
    detector.applied(at(2), id(0), 2, u64::MAX);
    assert!(detector.report_count(id(0), u64::MAX));
    detector.report(at(2), id(0), [(id(0), 2, u64::MAX)].into_iter());
}

proptest! {
    /// Against the matrix that the detector does without.
    #[test]
    fn agrees_with_the_matrix(
        steps in prop::collection::vec((0u64..4, 0u64..5, 0u64..20, any::<bool>()), 0..150)
    ) {
        let mut detector = Detector::new();
        let mut matrix = [[0u64; 5]; 4];
        let mut heads = [0u64; 5];
        for (now, (peer, origin, sequence, does_report)) in (1..).zip(steps) {
            let mine = &mut matrix[peer as usize];
            mine[origin as usize] = mine[origin as usize].max(sequence);
            if does_report {
                let versions = (0..).map(id).zip(*mine).map(|(origin, sequence)| (origin, 1, sequence));
                detector.report(at(now), id(peer), versions);
                heads.iter_mut().zip(*mine).for_each(|(head, own)| *head = (*head).max(own));
                let lacks: u64 = heads.iter().zip(*mine).map(|(head, own)| head - own).sum();
                prop_assert_eq!(detector.lag(id(peer)).map(|lag| lag.versions), Some(lacks));
            } else {
                let head = &mut heads[origin as usize];
                *head = (*head).max(sequence);
                detector.applied(at(now), id(origin), 1, sequence);
                detector.check();
            }
        }
    }
}
