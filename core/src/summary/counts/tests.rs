use proptest::prelude::*;

use super::*;

fn tally(rows: &[(&str, i64)]) -> Tally {
    let mut out = Tally::default();
    rows.iter().for_each(|(key, by)| out.change(key, *by));
    out
}

/// A tally with keys `from` to `to` that a fold may hold, one agent each.
fn long_tally(from: usize, to: usize) -> Tally {
    let mut out = Tally::default();
    for start in (from..to).step_by(EDGE_KEYS_MAX) {
        let mut edge = Tally::default();
        (start..to.min(start + EDGE_KEYS_MAX)).for_each(|key| edge.change(&format!("{key:06}"), 1));
        out.fold(&edge);
    }
    out
}

#[test]
fn counts_and_takes_away() {
    let some = tally(&[("idle", 3), ("busy", 2), ("idle", -1), ("busy", -2)]);
    assert_eq!((some.get("idle"), some.get("busy"), some.total(), some.len()), (2, 0, 2, 1));
    assert_eq!(tally(&[("a", 1), ("a", -1)]), Tally::default());
}

#[test]
#[should_panic(expected = "only what was added")]
fn what_was_never_added_cannot_be_taken_away() {
    tally(&[("idle", 1), ("busy", -1)]);
}

#[test]
fn an_edge_counts_under_other_what_has_no_place() {
    let mut full = Tally::default();
    (0..EDGE_KEYS_MAX).for_each(|key| full.change(&format!("{key}"), 1));
    full.change("late", 3);
    full.change(&"long".repeat(20), 1);
    assert_eq!((full.len(), full.other(), full.get("late")), (EDGE_KEYS_MAX, 4, 0));
    // A place becomes free and the late key takes it; all its agents can leave nevertheless.
    full.change("7", -1);
    full.change("late", 1);
    assert_eq!((full.get("late"), full.other()), (1, 4));
    full.change("late", -4);
    assert_eq!((full.get("late"), full.other(), full.total()), (0, 1, 1_024));
}

#[test]
fn a_fold_keeps_the_first_keys_and_all_of_the_total() {
    let mut sum = long_tally(3_000, 6_000);
    sum.fold(&long_tally(0, 3_000));
    sum.fold(&long_tally(5_000, 6_000));
    assert_eq!((sum.len(), sum.total()), (FIGURE_KEYS_MAX, 7_000));
    assert_eq!(sum.other(), 6_000 - FIGURE_KEYS_MAX as u64 + 1_000);
    assert_eq!((sum.get("000000"), sum.get("004095"), sum.get("004096")), (1, 1, 0));
}

#[test]
fn top_lists_the_greatest() {
    let some = tally(&[("c", 5), ("a", 1), ("b", 5), ("d", 9)]);
    assert_eq!(some.top(3), [("d", 9), ("b", 5), ("c", 5)]);
}

#[test]
fn the_wire_has_one_form() {
    let some = tally(&[("a", 1), ("bb", 300)]);
    let mut out = BytesMut::new();
    some.encode(&mut out);
    assert_eq!(&out[..], b"\x02\x00\x01a\x01\x02bb\xac\x02\x00");
    let decode = |bytes: &[u8]| Tally::decode(&mut Reader::new(bytes), 2, 301);
    assert_eq!(decode(&out), Ok(some));
    assert_eq!(decode(b"\x03\x00"), Err(DecodeError::TooLong("keys of a count")));
    assert_eq!(decode(b"\x01\x00\x41"), Err(DecodeError::TooLong("key of a count")));
    assert_eq!(decode(b"\x01\x00\x01\xff\x01\x00"), Err(DecodeError::Invalid("key of a count")));
    assert_eq!(decode(b"\x01\x00\x01a\x00\x00"), Err(DecodeError::Invalid("order of counts")));
    assert_eq!(decode(b"\x02\x00\x01a\x01\x01a\x01\x00"), Err(DecodeError::Invalid("order of counts")));
    assert_eq!(decode(b"\x01\x00\x01a\x01\xad\x02"), Err(DecodeError::TooLong("count")));
    assert_eq!(decode(b"\x01\x00\x01a"), Err(DecodeError::Truncated));
}

proptest! {
    #[test]
    fn sums_kept_up_to_date_equal_a_fold(
        steps in prop::collection::vec((0..4_usize, prop::collection::vec((0..9_u8, 1..5_i64), 0..6)), 0..30)
    ) {
        let mut edges = vec![Tally::default(); 4];
        let mut sum = TallySum::default();
        for (edge, rows) in steps {
            let rows: Vec<(String, i64)> = rows.iter().map(|(key, by)| (key.to_string(), *by)).collect();
            let rows: Vec<(&str, i64)> = rows.iter().map(|(key, by)| (key.as_str(), *by)).collect();
            let next = tally(&rows);
            sum.exchange(&edges[edge], &next);
            edges[edge] = next;
            let mut folded = Tally::default();
            edges.iter().for_each(|edge| folded.fold(edge));
            prop_assert_eq!(sum.tally(), folded);
        }
    }

    #[test]
    fn folding_has_no_order_even_above_the_limit(
        spans in prop::collection::vec((0..7_000_usize, 1..3_000_usize), 1..5), turn in 0..5_usize
    ) {
        let parts: Vec<Tally> = spans.iter().map(|(from, len)| long_tally(*from, from + len)).collect();
        let mut forward = Tally::default();
        parts.iter().for_each(|part| forward.fold(part));
        let mut grouped = Tally::default();
        let (first, last) = parts.split_at(turn.min(parts.len()));
        for group in [last, first] {
            let mut sum = Tally::default();
            group.iter().rev().for_each(|part| sum.fold(part));
            grouped.fold(&sum);
        }
        prop_assert_eq!(forward, grouped);
    }
}
