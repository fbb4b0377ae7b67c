use proptest::prelude::*;

use super::*;

/// Hashes without entropy: the finalizer of splitmix64 over a counter.
fn hash(number: u64) -> u64 {
    let mut mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

fn sketch(numbers: impl IntoIterator<Item = u64>) -> Distinct {
    let mut out = Distinct::default();
    for number in numbers {
        out.insert(hash(number));
    }
    out
}

#[test]
fn the_error_is_what_is_stated() {
    let standard_error = 1.04 / (REGISTERS as f64).sqrt();
    assert_eq!(Distinct::default().estimate(), 0);
    assert_eq!(sketch(0..1).estimate(), 1);
    for size in [10, 100, 1_000, 3_000, 6_000, 10_000, 20_000, 100_000, 1_000_000] {
        let estimate = sketch(size..2 * size).estimate() as f64;
        let error = (estimate - size as f64).abs() / size as f64;
        assert!(error <= 4.0 * standard_error, "{size}: {estimate}");
    }
}

#[test]
fn the_estimate_has_no_bias() {
    // The mean of 64 runs has an eighth of the error of one; four of that is 0.8 %.
    for size in [1_000, 5_000, 10_000, 15_000, 30_000] {
        let runs = (1..=64).map(|run| sketch(run * 1_000_000..run * 1_000_000 + size).estimate());
        let mean = runs.sum::<u64>() as f64 / 64.0;
        assert!((mean / size as f64 - 1.0).abs() < 0.008, "{size}: {mean}");
    }
}

#[test]
fn seeing_again_changes_nothing() {
    let mut some = sketch(0..5_000);
    let before = some.clone();
    assert!(!some.insert(hash(77)));
    some.merge(&sketch(0..2_000));
    assert_eq!(some, before);
    let mut agents = Distinct::default();
    assert!(
        agents.insert_agent(AgentId::of_key(&[1; 32])) && !agents.insert_agent(AgentId::of_key(&[1; 32]))
    );
}

#[test]
fn extreme_hashes_have_a_rank() {
    let mut some = Distinct::default();
    assert!(some.insert(0) && some.insert(u64::MAX));
    assert_eq!((some.rank(0), some.rank(4_095)), (RANK_MAX, 1));
}

#[test]
fn the_wire_has_one_form() {
    let mut small = Distinct::default();
    small.insert(0);
    small.insert(u64::MAX);
    assert_eq!(&small.to_bytes()[..], b"\x02\x00\x00\x00\x35\xff\x0f\x01");
    for size in [0, 1, 900, 1_100, 1_400, 50_000] {
        let some = sketch(0..size);
        let bytes = some.to_bytes();
        assert!(bytes.len() <= Distinct::BYTES_MAX);
        assert_eq!(Distinct::from_bytes(&bytes), Ok(some));
    }
    assert_eq!(sketch(0..50_000).to_bytes().len(), 2 + DENSE_BYTES);
    let bad = [&b"\x01\x00\x00\x10\x01"[..], b"\x01\x00\x00\x00\x00", b"\x01\x00\x00\x00\x36"];
    for bytes in bad.into_iter().chain([&b"\x02\x00\x05\x00\x01\x05\x00\x01"[..]]) {
        assert_eq!(Distinct::from_bytes(bytes), Err(DecodeError::Invalid("register")));
    }
    // All registers, but so few of them set that they had to be listed; and one above the rank.
    for filler in [0x00, 0xff] {
        let bytes = [&[0xff, 0xff][..], &[filler; DENSE_BYTES]].concat();
        assert_eq!(Distinct::from_bytes(&bytes), Err(DecodeError::Invalid("registers")));
    }
}

proptest! {
    #[test]
    fn merging_is_the_union(a in 0..3_000_u64, b in 0..3_000_u64, shift in 0..3_000_u64) {
        let (left, right) = (sketch(0..a), sketch(shift..shift + b));
        let union = sketch((0..a).chain(shift..shift + b));
        for (mut into, from) in [(left.clone(), &right), (right.clone(), &left)] {
            into.merge(from);
            prop_assert_eq!(&into, &union);
            into.merge(from);
            prop_assert_eq!(&into, &union);
            prop_assert!(union.covers(from));
        }
        prop_assert_eq!(left.covers(&right), left == union);
    }
}
