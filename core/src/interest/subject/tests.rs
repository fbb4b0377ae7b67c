use super::*;
use proptest::prelude::*;

fn pattern(text: &str) -> Pattern {
    text.parse().unwrap()
}

#[test]
fn refusals_say_what_is_wrong_and_where() {
    let said = |text: &str| Pattern::parse(text).unwrap_err().to_string();
    assert_eq!(said(""), "the subject is empty");
    assert_eq!(said("a.b."), "token 3 is empty");
    assert_eq!(said(".a"), "token 1 is empty");
    assert_eq!(said("a.b c"), "token 2 contains ' ', which no subject may contain");
    assert_eq!(said("a.\u{a0}"), "token 2 contains '\\u{a0}', which no subject may contain");
    assert_eq!(said("a\u{7f}"), "token 1 contains '\\u{7f}', which no subject may contain");
    assert_eq!(said("a.>.b"), "token 2 is '>', which may only be the last token");
    assert_eq!(said("a.b*"), "token 2 contains '*' beside other characters; a wildcard is a whole token");
    assert_eq!(said(&"a".repeat(257)), "the subject has 257 bytes, the limit is 256");
    assert_eq!(said(&["a"; 17].join(".")), "the subject has 17 tokens, the limit is 16");
    assert_eq!(
        check_subject("a.*").unwrap_err().to_string(),
        "token 2 contains the wildcard '*', which only a pattern may contain"
    );
    assert_eq!(subject_from_bytes(b"a.\xff"), Err(SubjectError::NotUtf8 { byte: 2 }));
    assert_eq!(subject_from_bytes(&[0xff; 300]), Err(SubjectError::TooLong { bytes: 300 }));
}

#[test]
fn the_limits_themselves_are_allowed() {
    assert_eq!(check_subject(&"a".repeat(256)), Ok(()));
    assert_eq!(check_subject(&["a"; 16].join(".")), Ok(()));
    assert_eq!(check_subject("räume.größe.東京"), Ok(()));
}

#[test]
fn system_subjects_are_hidden_from_leading_wildcards_only() {
    assert!(!pattern(">").matches("$sys.a"));
    assert!(!pattern("*.a").matches("$sys.a"));
    assert!(pattern("$sys.>").matches("$sys.a"));
    assert!(pattern("a.*").matches("a.$b"));
    assert!(!pattern(">").covers(&pattern("$sys.a")));
    assert!(pattern("$sys.*").covers(&pattern("$sys.a")));
}

#[test]
fn matching_and_covering_by_example() {
    assert!(!pattern("a.>").matches("a"));
    assert!(pattern("a.>").matches("a.b.c"));
    assert!(!pattern("a.*").matches("a.b.c"));
    assert!(pattern("a.>").covers(&pattern("a.*.>")));
    assert!(!pattern("a.*.>").covers(&pattern("a.>")));
    assert!(!pattern("a.*").covers(&pattern("a.>")));
    let full = |last: &str| pattern(&[&["a"; 15][..], &[last]].concat().join("."));
    assert!(full("*").covers(&full(">")));
}

/// Few tokens, so that patterns and subjects often meet.
fn few(tokens: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(tokens), 1..5).prop_map(|tokens| tokens.join("."))
}

proptest! {
    #[test]
    fn parsing_never_panics(text in ".*", bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let from_text = Pattern::parse(&text);
        prop_assert_eq!(Pattern::from_bytes(text.as_bytes()), from_text);
        prop_assert!(subject_from_bytes(&bytes).is_err() || std::str::from_utf8(&bytes).is_ok());
    }

    #[test]
    fn a_subject_is_a_literal_pattern(text in "[a-c*>. ]{0,12}") {
        let is_subject = check_subject(&text).is_ok();
        let literal = Pattern::parse(&text).is_ok_and(|pattern| pattern.is_literal());
        prop_assert_eq!(is_subject, literal);
        if is_subject {
            prop_assert!(pattern(&text).matches(&text));
        }
    }

    #[test]
    fn covering_agrees_with_matching(
        wide in few(&["a", "b", "$c", "*", ">"]).prop_filter_map("valid", |text| text.parse::<Pattern>().ok()),
        narrow in few(&["a", "b", "$c", "*", ">"]).prop_filter_map("valid", |text| text.parse::<Pattern>().ok()),
    ) {
        // Every subject over an alphabet with one token more than the patterns use, up to one
        // token longer than any pattern: enough to tell any two of them apart.
        let mut subjects = vec![String::new()];
        let mut uncovered = false;
        for _ in 0..5 {
            subjects = subjects
                .iter()
                .flat_map(|head| ["a", "b", "$c", "d"].map(|token| {
                    if head.is_empty() { token.to_owned() } else { format!("{head}.{token}") }
                }))
                .collect();
            uncovered |= subjects.iter().any(|subject| narrow.matches(subject) && !wide.matches(subject));
        }
        prop_assert_eq!(wide.covers(&narrow), !uncovered);
    }
}
