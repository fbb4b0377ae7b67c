use super::*;

fn history(lines: impl IntoIterator<Item = (u64, What)>) -> Vec<Record> {
    lines.into_iter().map(|(at_ms, what)| Record { at_us: at_ms * 1000, what }).collect()
}

fn issued(number: u64) -> What {
    What::Issued { node: "a".into(), number }
}

fn told(node: &str, updates: &[(u64, u64)]) -> What {
    What::Told { node: node.into(), updates: updates.to_vec() }
}

fn broken(lines: Vec<(u64, What)>) -> Vec<&'static str> {
    let report = judge(&history(lines));
    let broken = report.invariants.iter().filter(|invariant| invariant.violations > 0);
    broken.map(|invariant| invariant.name).collect()
}

#[test]
fn what_holds_holds_and_the_gap_is_the_longest_silence_after_a_fault() {
    let acknowledged = |number, index| What::Acknowledged { number, index };
    let lines = vec![
        (0, issued(1)),
        (10, acknowledged(1, 1)),
        (20, What::Struck { node: "a".into() }),
        (30, issued(2)),
        (40, What::Doubtful { number: 2 }),
        (50, issued(3)),
        (900, acknowledged(3, 3)),
        (910, issued(4)),
        (950, acknowledged(4, 4)),
        (960, issued(5)),
        (970, What::Refused { number: 5, text: "no majority".into() }),
        (1000, told("a", &[(1, 1), (2, 2), (3, 3), (4, 4)])),
        (1000, told("b", &[(1, 1), (2, 2)])),
        (1100, told("b", &[(3, 3), (4, 4)])),
        (1200, What::Settled { index: 4 }),
    ];
    let report = judge(&history(lines));
    assert_eq!(report.violations(), 0, "{:?}", report.invariants);
    assert_eq!((report.issued, report.acknowledged, report.refused, report.doubtful), (5, 3, 1, 1));
    let gap = report.leader_gap_ms.unwrap();
    assert_eq!((gap.p50, gap.max, gap.samples), (890.0, 890.0, 1));
}

#[test]
fn each_thing_that_does_not_hold_is_found() {
    let acknowledged = (1, What::Acknowledged { number: 1, index: 1 });
    let settled = |index| (9, What::Settled { index });
    let lost = vec![(0, issued(1)), acknowledged.clone(), settled(0)];
    assert_eq!(broken(lost), ["acknowledged-is-decided"]);
    let twice = vec![(0, issued(1)), (2, told("a", &[(1, 1), (2, 1)])), settled(2)];
    assert_eq!(broken(twice), ["decided-once"]);
    let orders = [(0, issued(1)), (0, issued(2)), (2, told("a", &[(1, 1)])), (2, told("b", &[(1, 2)]))];
    assert_eq!(broken(orders.into_iter().chain([settled(1)]).collect()), ["one-order"]);
    let hole = vec![(0, issued(1)), (2, told("a", &[(2, 1)])), settled(2)];
    assert_eq!(broken(hole), ["no-holes"]);
    let refused = What::Refused { number: 1, text: String::new() };
    let decided_all_the_same = vec![(0, issued(1)), (1, refused), (2, told("a", &[(1, 1)])), settled(1)];
    assert_eq!(broken(decided_all_the_same), ["refused-is-not-decided"]);
    let out_of_nowhere = vec![(2, told("a", &[(1, 1)])), settled(1)];
    assert_eq!(broken(out_of_nowhere), ["decided-was-issued"]);
    let behind = vec![(0, issued(1)), (2, told("a", &[(1, 1)])), (2, told("b", &[]))];
    assert_eq!(broken(behind), ["all-the-same-in-the-end"]);
}

#[test]
fn a_line_that_is_none_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history");
    fs::write(&path, "{\"at_us\":1,\"what\":\"doubtful\",\"number\":3}\n{\"at_us\":2}\n").unwrap();
    let error = read(&path).unwrap_err().to_string();
    assert!(error.contains("line 2"), "{error}");
}
