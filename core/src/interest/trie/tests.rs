use super::*;
use proptest::prelude::*;

fn pattern(text: &str) -> Pattern {
    text.parse().unwrap()
}

fn matched(trie: &Trie<u32>, subject: &str) -> Vec<u32> {
    let mut values = Vec::new();
    trie.for_each_match(subject, |value| values.push(value));
    values.sort_unstable();
    values
}

/// The pairs themselves, searched one by one.
#[derive(Clone, Default)]
struct Model(Vec<(Pattern, u32)>);

impl Model {
    fn insert(&mut self, pattern: Pattern, value: u32) -> bool {
        let is_new = !self.0.contains(&(pattern.clone(), value));
        if is_new {
            self.0.push((pattern, value));
        }
        is_new
    }

    fn remove(&mut self, pattern: Pattern, value: u32) -> bool {
        let found = self.0.iter().position(|pair| *pair == (pattern.clone(), value));
        found.map(|index| self.0.swap_remove(index)).is_some()
    }

    fn matched(&self, subject: &str) -> Vec<u32> {
        let hits = self.0.iter().filter(|(pattern, _)| pattern.matches(subject));
        let mut values: Vec<u32> = hits.map(|(_, value)| *value).collect();
        values.sort_unstable();
        values
    }

    fn check(&self, trie: &Trie<u32>, subjects: &[String]) {
        assert_eq!(trie.len(), self.0.len());
        assert_eq!(trie.is_empty(), self.0.is_empty());
        for subject in subjects {
            assert_eq!(matched(trie, subject), self.matched(subject), "for {subject}");
        }
        let mut stored = Vec::new();
        trie.for_each(|text, value| stored.push((pattern(text), value)));
        stored.sort();
        let mut expected = self.0.clone();
        expected.sort();
        assert_eq!(stored, expected);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Insert(Pattern, u32),
    Remove(Pattern, u32),
    /// Removes a pair that is there, counted from the oldest.
    RemoveHeld(prop::sample::Index),
    Snapshot,
}

const TOKENS: &[&str] = &["a", "b", "c", "$s", "a-token-that-is-longer-than-what-fits-in-place"];

fn patterns() -> impl Strategy<Value = Pattern> {
    let tokens = [TOKENS, &["*", "*"]].concat();
    (prop::collection::vec(prop::sample::select(tokens), 0..4), any::<bool>()).prop_filter_map(
        "a pattern has a token",
        |(mut tokens, open)| {
            tokens.extend(open.then_some(">"));
            Pattern::parse(&tokens.join(".")).ok()
        },
    )
}

fn subjects() -> impl Strategy<Value = Vec<String>> {
    let subject = prop::collection::vec(prop::sample::select(TOKENS), 1..5);
    prop::collection::vec(subject.prop_map(|tokens| tokens.join(".")), 30)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (patterns(), 0..4u32).prop_map(|(pattern, value)| Step::Insert(pattern, value)),
        1 => (patterns(), 0..4u32).prop_map(|(pattern, value)| Step::Remove(pattern, value)),
        5 => any::<prop::sample::Index>().prop_map(Step::RemoveHeld),
        1 => Just(Step::Snapshot),
    ];
    prop::collection::vec(step, 0..200)
}

proptest! {
    #[test]
    fn agrees_with_a_list_of_pairs(seed: u64, steps in steps(), subjects in subjects()) {
        let mut trie = Trie::new(seed);
        let mut model = Model::default();
        let mut snapshots = Vec::new();
        for step in steps {
            match step {
                Step::Insert(pattern, value) => {
                    prop_assert_eq!(trie.insert(&pattern, value), model.insert(pattern, value));
                }
                Step::Remove(pattern, value) => {
                    prop_assert_eq!(trie.remove(&pattern, value), model.remove(pattern, value));
                }
                Step::RemoveHeld(index) => {
                    if !model.0.is_empty() {
                        let (pattern, value) = model.0.swap_remove(index.index(model.0.len()));
                        prop_assert!(trie.remove(&pattern, value));
                    }
                }
                Step::Snapshot => snapshots.push((trie.clone(), model.clone())),
            }
        }
        model.check(&trie, &subjects);
        for (pattern, value) in std::mem::take(&mut model.0) {
            prop_assert!(trie.remove(&pattern, value));
        }
        model.check(&trie, &subjects);
        prop_assert!(!trie.root.has_children(), "an emptied trie keeps nothing");
        for (trie, model) in snapshots {
            model.check(&trie, &subjects);
        }
    }

    #[test]
    fn no_subject_panics(subject in ".*") {
        let mut trie = Trie::new(1);
        for text in [">", "*", "*.*", "a.*.>"] {
            trie.insert(&pattern(text), 1);
        }
        matched(&trie, &subject);
    }
}

#[test]
fn a_value_is_passed_once_a_pattern() {
    let mut trie = Trie::new(3);
    for text in ["a.b", "a.*", "a.>", ">", "*.b", "a", "$a.b"] {
        assert!(trie.insert(&pattern(text), 7));
        assert!(!trie.insert(&pattern(text), 7));
    }
    assert_eq!(matched(&trie, "a.b"), [7; 5]);
    assert_eq!(matched(&trie, "a"), [7; 2]);
    assert_eq!(matched(&trie, "$a.b"), [7]);
}

#[test]
fn a_node_with_many_children_and_an_end_with_many_values() {
    let mut trie = Trie::new(9);
    for value in 0..20_000 {
        trie.insert(&pattern(&format!("rooms.eu.3.seat{value}")), value);
        trie.insert(&pattern("rooms.all"), value);
    }
    let snapshot = trie.clone();
    assert_eq!(matched(&trie, "rooms.eu.3.seat12345"), [12_345]);
    assert_eq!(matched(&trie, "rooms.all").len(), 20_000);
    for value in 0..20_000 {
        assert!(trie.remove(&pattern(&format!("rooms.eu.3.seat{value}")), value));
    }
    assert!(matched(&trie, "rooms.eu.3.seat12345").is_empty());
    assert_eq!(matched(&snapshot, "rooms.eu.3.seat12345"), [12_345]);
}

#[test]
fn what_is_stored_by_the_million_stays_small() {
    assert_eq!(size_of::<Child<u32>>(), 16);
    assert_eq!(size_of::<Child<u64>>(), 16);
    assert_eq!(size_of::<Option<Child<u64>>>(), 16);
}
