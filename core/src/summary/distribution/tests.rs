use proptest::prelude::*;

use super::*;

fn sketch(values: &[u64]) -> Distribution {
    let mut out = Distribution::default();
    values.iter().for_each(|value| out.record(*value));
    out
}

fn bytes(of: &Distribution) -> BytesMut {
    let mut out = BytesMut::new();
    of.encode(&mut out);
    out
}

fn decode(bytes: &[u8]) -> Result<Distribution, DecodeError> {
    let mut reader = Reader::new(bytes);
    let value = Distribution::decode(&mut reader, VALUE_MAX)?;
    reader.finish()?;
    Ok(value)
}

#[test]
fn an_empty_sketch_answers_nothing() {
    let empty = Distribution::default();
    assert_eq!((empty.quantile(0.5), empty.min(), empty.max(), empty.mean()), (None, None, None, None));
    assert_eq!(empty.count(), 0);
    assert_eq!(decode(&bytes(&empty)), Ok(empty));
}

#[test]
fn the_ends_of_the_range_have_bins() {
    assert_eq!((index_of(1), index_of(u64::MAX)), (0, INDEX_MAX));
    let ends = sketch(&[0, 1, u64::MAX]);
    assert_eq!((ends.quantile(0.0), ends.quantile(0.5)), (Some(0.0), Some(0.99)));
    assert_eq!(ends.sum(), u128::from(u64::MAX) + 1);
}

#[test]
fn the_lowest_bins_collapse_and_the_highest_stay_accurate() {
    let values: Vec<u64> =
        (0..64).flat_map(|bit| (0..32).map(move |step| (1 << bit) + (step << bit) / 32)).collect();
    let some = sketch(&values);
    assert_eq!((some.bins.len(), some.count()), (BINS_MAX, 64 * 32));
    let mut sorted = values;
    sorted.sort_unstable();
    let expected = sorted[sorted.len() * 9 / 10] as f64;
    let got = some.quantile(0.9 + 1e-4).expect("not empty");
    assert!((got / expected - 1.0).abs() < 0.03, "{got} {expected}");
}

#[test]
fn what_would_not_fit_a_fold_is_not_noted() {
    let mut some = Distribution::default();
    some.record_many(7, VALUE_MAX);
    some.record_many(7, 1);
    some.record_many(7, u64::MAX);
    assert_eq!(some.count(), VALUE_MAX);
    assert_eq!(decode(&bytes(&some)), Ok(some));
}

#[test]
fn the_wire_has_one_form() {
    let some = sketch(&[0, 1, 1, 100]);
    let golden = b"\x01\x02\x00\x00\x02\xe6\x01\x01\x66\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x00\x64";
    assert_eq!(&bytes(&some)[..], golden);
    assert_eq!(decode(golden), Ok(some));
    let mut wrong_sum = golden.to_vec();
    wrong_sum[9] = 0xff;
    wrong_sum[10] = 0xff;
    assert_eq!(decode(&wrong_sum), Err(DecodeError::Invalid("sum of values")));
    assert_eq!(decode(b"\x00\x02\x00\x00\x01"), Err(DecodeError::Truncated));
    assert_eq!(decode(b"\x00\x01\x00\x00\x00"), Err(DecodeError::Invalid("bin")));
    assert_eq!(decode(b"\x00\x01\x00\xab\x11\x01"), Err(DecodeError::Invalid("bin")));
    assert_eq!(decode(b"\x00\x01\x02"), Err(DecodeError::TooLong("bins")));
}

fn value() -> impl Strategy<Value = u64> {
    prop_oneof![0..200_u64, 0..1_000_000_u64, any::<u64>()]
}

proptest! {
    #[test]
    fn quantiles_are_within_one_percent(
        mut values in prop::collection::vec(value(), 1..300), q in 0.0..=1.0_f64
    ) {
        let some = sketch(&values);
        values.sort_unstable();
        let expected = values[(q * (values.len() - 1) as f64) as usize] as f64;
        let got = some.quantile(q).expect("not empty");
        prop_assert!((got - expected).abs() <= expected * (ACCURACY + 1e-9), "{} {}", got, expected);
        prop_assert_eq!(some.count(), values.len() as u64);
        prop_assert_eq!(some.sum(), values.iter().map(|value| u128::from(*value)).sum::<u128>());
        prop_assert_eq!((some.min(), some.max()), (values.first().copied(), values.last().copied()));
    }

    #[test]
    fn merging_is_the_union(
        a in prop::collection::vec(any::<u64>().prop_flat_map(|top| 0..=top >> (top % 60)), 0..900),
        b in prop::collection::vec(any::<u64>().prop_flat_map(|top| 0..=top >> (top % 60)), 0..900)
    ) {
        let (left, right) = (sketch(&a), sketch(&b));
        let union = sketch(&[a, b].concat());
        for (mut into, from) in [(left.clone(), &right), (right.clone(), &left)] {
            into.merge(from);
            prop_assert_eq!(&into, &union);
        }
        prop_assert_eq!(decode(&bytes(&union)), Ok(union));
    }
}
