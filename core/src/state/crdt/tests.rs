use proptest::prelude::*;

use super::*;
use crate::id::hex;

fn register(time: u64, origin: u64, content: &'static str) -> Value {
    let content = Bytes::from_static(content.as_bytes());
    Value::Register(Register::new(HlcTime(time), ShortId(origin), content).unwrap())
}

fn tombstone(time: u64, origin: u64) -> Value {
    Value::Register(Register::tombstone(HlcTime(time), ShortId(origin)))
}

fn merged(mut left: Value, right: &Value) -> Value {
    left.merge(right);
    left
}

// Small domains, so that stamps, origins and contents collide often.

fn any_register() -> impl Strategy<Value = Value> {
    let content = prop::option::of(prop::collection::vec(0u8..3, 0..3));
    (0u64..3, 0u64..3, content).prop_map(|(time, origin, content)| {
        let (time, origin) = (HlcTime(time), ShortId(origin));
        Value::Register(match content {
            Some(content) => Register::new(time, origin, content.into()).unwrap(),
            None => Register::tombstone(time, origin),
        })
    })
}

fn any_grow_counter() -> impl Strategy<Value = Value> {
    prop::collection::btree_map(0u64..4, 0u64..4, 0..4).prop_map(|parts| {
        let parts = parts.into_iter().map(|(origin, count)| (ShortId(origin), count)).collect();
        Value::GrowCounter(GrowCounter { parts })
    })
}

fn any_counter() -> impl Strategy<Value = Value> {
    prop::collection::btree_map(0u64..4, (0u64..4, 0u64..4), 0..4).prop_map(|parts| {
        let parts = parts.into_iter().map(|(origin, (up, down))| (ShortId(origin), Steps { up, down }));
        Value::Counter(Counter { parts: parts.collect() })
    })
}

/// Values of all types, small enough that two often meet.
pub(crate) fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any_register(),
        any_grow_counter(),
        any_counter(),
        (-3i64..3).prop_map(Value::Max),
        (-3i64..3).prop_map(Value::Min),
    ]
}

/// The three laws of a join semilattice.
fn check_laws(a: &Value, b: &Value, c: &Value) -> Result<(), TestCaseError> {
    let both = merged(a.clone(), b);
    prop_assert_eq!(&both, &merged(b.clone(), a), "commutative");
    prop_assert_eq!(merged(both.clone(), c), merged(a.clone(), &merged(b.clone(), c)), "associative");
    prop_assert_eq!(&merged(a.clone(), a), a, "idempotent");
    prop_assert_eq!(&merged(both.clone(), b), &both, "a copy that comes again changes nothing");
    Ok(())
}

proptest! {
    #[test]
    fn laws_of_registers(a in any_register(), b in any_register(), c in any_register()) {
        check_laws(&a, &b, &c)?;
    }

    #[test]
    fn laws_of_grow_counters(a in any_grow_counter(), b in any_grow_counter(), c in any_grow_counter()) {
        check_laws(&a, &b, &c)?;
    }

    #[test]
    fn laws_of_counters(a in any_counter(), b in any_counter(), c in any_counter()) {
        check_laws(&a, &b, &c)?;
    }

    #[test]
    fn laws_of_maxima(a: i64, b: i64, c: i64) {
        check_laws(&Value::Max(a), &Value::Max(b), &Value::Max(c))?;
    }

    #[test]
    fn laws_of_minima(a: i64, b: i64, c: i64) {
        check_laws(&Value::Min(a), &Value::Min(b), &Value::Min(c))?;
    }

    #[test]
    fn laws_across_types(a in any_value(), b in any_value(), c in any_value()) {
        check_laws(&a, &b, &c)?;
    }

    #[test]
    fn round_trips_and_knows_its_length(value in any_value()) {
        let encoded = value.to_bytes();
        prop_assert_eq!(encoded.len(), value.encoded_bytes());
        prop_assert_eq!(Value::from_bytes(&encoded), Ok(value));
    }

    #[test]
    fn never_panics_on_bytes(tag in 0u8..8, rest in prop::collection::vec(any::<u8>(), 0..80)) {
        let bytes = [&[tag][..], &rest].concat();
        if let Ok(value) = Value::from_bytes(&bytes) {
            // One value has one encoding.
            prop_assert_eq!(&value.to_bytes()[..], bytes);
        }
    }

    #[test]
    fn never_panics_on_a_damaged_value(value in any_value(), at: prop::sample::Index, byte: u8) {
        let mut bytes = value.to_bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(value) = Value::from_bytes(&bytes) {
            prop_assert_eq!(&value.to_bytes()[..], bytes);
        }
    }
}

#[test]
fn the_last_writer_wins_and_ties_go_to_the_higher_origin() {
    let early = register(1, 9, "early");
    let late = register(2, 1, "late");
    let late_too = register(2, 2, "late too");
    assert_eq!(merged(early.clone(), &late), late);
    assert_eq!(merged(late_too.clone(), &late), late_too);
    assert_eq!(merged(late, &tombstone(3, 1)).as_bytes(), None);
    assert!(merged(early, &tombstone(3, 1)).is_deleted());
    assert_eq!(merged(tombstone(3, 1), &register(4, 1, "again")), register(4, 1, "again"));
}

#[test]
fn counters_sum_over_origins() {
    let mut grow = Value::GrowCounter(GrowCounter::part(ShortId(1), u64::MAX));
    grow.merge(&Value::GrowCounter(GrowCounter::part(ShortId(2), 1)));
    assert_eq!(grow.as_number(), Some(i128::from(u64::MAX) + 1));
    let mut counter = Value::Counter(Counter::part(ShortId(1), 5, 2));
    counter.merge(&Value::Counter(Counter::part(ShortId(2), 0, 10)));
    counter.merge(&Value::Counter(Counter::part(ShortId(1), 4, 1)));
    assert_eq!(counter.as_number(), Some(5 - 2 - 10));
}

#[test]
fn of_two_types_the_higher_tag_wins_whole() {
    let rising = [
        register(9, 9, "bytes"),
        Value::GrowCounter(GrowCounter::part(ShortId(1), 1)),
        Value::Counter(Counter::part(ShortId(1), 1, 1)),
        Value::Max(1),
        Value::Min(1),
    ];
    for (at, low) in rising.iter().enumerate() {
        for high in &rising[at + 1..] {
            assert_eq!(&merged(low.clone(), high), high);
            assert_eq!(&merged(high.clone(), low), high);
        }
    }
}

#[test]
fn knows_whose_it_is() {
    let ours = ShortId(1);
    assert!(register(1, 1, "x").is_written_by(ours) && !register(1, 2, "x").is_written_by(ours));
    assert!(Value::Counter(Counter::part(ours, 1, 1)).is_written_by(ours));
    assert!(!Value::GrowCounter(GrowCounter::part(ShortId(2), 1)).is_written_by(ours));
    assert!(Value::Max(1).is_written_by(ours));
}

#[test]
fn a_register_holds_four_kibibytes() {
    let write = |bytes| Register::new(HlcTime(1), ShortId(1), Bytes::from(vec![0; bytes]));
    let full = Value::Register(write(REGISTER_BYTES_MAX).unwrap());
    assert_eq!(Value::from_bytes(&full.to_bytes()), Ok(full.clone()));
    assert_eq!(write(REGISTER_BYTES_MAX + 1), Err(RegisterTooLong { bytes: 4_097 }));
    let mut forged = full.to_bytes().to_vec();
    forged[18..20].copy_from_slice(&4_097u16.to_le_bytes());
    forged.push(0);
    assert!(matches!(Value::from_bytes(&forged), Err(DecodeError::TooLong(_))));
}

#[test]
fn a_counter_has_a_bounded_number_of_parts() {
    let forged = [&[COUNTER_TAG][..], &4_097u32.to_le_bytes()].concat();
    assert!(matches!(Value::from_bytes(&forged), Err(DecodeError::TooLong(_))));
    let truncated = [&[COUNTER_TAG][..], &4_096u32.to_le_bytes()].concat();
    assert_eq!(Value::from_bytes(&truncated), Err(DecodeError::Truncated));
}

#[test]
fn golden_bytes() {
    let shown = |value: Value| hex(&value.to_bytes());
    assert_eq!(shown(register(0x0102, 3, "hi")), "01020100000000000003000000000000000102006869");
    assert_eq!(shown(tombstone(4, 5)), "010400000000000000050000000000000000");
    assert_eq!(
        shown(Value::GrowCounter(GrowCounter::part(ShortId(6), 7))),
        "020100000006000000000000000700000000000000"
    );
    assert_eq!(
        shown(Value::Counter(Counter::part(ShortId(8), 9, 10))),
        "0301000000080000000000000009000000000000000a00000000000000"
    );
    assert_eq!(shown(Value::Max(-1)), "04ffffffffffffffff");
    assert_eq!(shown(Value::Min(2)), "050200000000000000");
}
