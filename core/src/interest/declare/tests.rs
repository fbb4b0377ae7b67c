use super::*;
use proptest::prelude::*;

fn pattern(text: &str) -> Pattern {
    text.parse().unwrap()
}

fn shown(declared: &Declared) -> Vec<&str> {
    declared.declared().map(Pattern::as_str).collect()
}

fn add_all(declared: &mut Declared, texts: &[&str]) {
    for text in texts {
        declared.add(&pattern(text)).unwrap();
    }
}

impl Declared {
    /// Asserts that the counted and filed agrees with what the tree says.
    fn check(&self) {
        let mut candidates = BTreeSet::new();
        let mut widened = BTreeSet::new();
        let mut declared: BTreeSet<Pattern> = self.system.keys().cloned().collect();
        let mut within = vec![(ROOT, false)];
        while let Some((index, is_covered)) = within.pop() {
            let children = self.prefixes.children(index);
            let own = children.iter().filter(|child| self.prefixes.own(**child).is_some()).count();
            let groups = children.iter().filter(|child| !self.prefixes.children(**child).is_empty()).count();
            assert_eq!(self.prefixes.breadth(index) as usize, own + groups);
            assert_eq!(self.prefixes.is_covered(index), is_covered);
            let is_widened = self.prefixes.is_widened(index);
            assert!(!(is_covered && is_widened));
            assert!(index == ROOT || !self.prefixes.is_useless(index));
            if !is_covered {
                declared.extend(self.prefixes.own(index));
                if is_widened {
                    widened.insert(self.narrowing_order(index));
                    declared.insert(self.prefixes.wide_pattern(index));
                } else if self.prefixes.breadth(index) >= 2 {
                    candidates.insert(self.widening_order(index));
                }
            }
            within.extend(children.into_iter().map(|child| (child, is_covered || is_widened)));
        }
        assert_eq!(self.candidates, candidates);
        assert_eq!(self.widened, widened);
        assert_eq!(self.declared, declared);
    }
}

#[test]
fn up_to_the_limit_all_is_exact_and_counted() {
    let mut declared = Declared::new(4, 7);
    add_all(&mut declared, &["a.b", "a.b", "a.>", "*.c", "$sys.x"]);
    assert_eq!(shown(&declared), ["$sys.x", "*.c", "a.>", "a.b"]);
    assert!(!declared.is_widened());
    assert_eq!(declared.take_changes().added.len(), 4);
    assert!(declared.remove(&pattern("a.b")));
    assert!(declared.take_changes().is_empty());
    assert!(declared.remove(&pattern("a.b")));
    assert!(!declared.remove(&pattern("a.b")));
    assert!(!declared.remove(&pattern("a")));
    assert!(!declared.remove(&pattern("$sys.y")));
    assert_eq!(declared.take_changes().removed, [pattern("a.b")]);
}

#[test]
fn the_group_that_saves_most_goes_first_and_among_alike_the_deepest() {
    let mut declared = Declared::new(40, 7);
    for seat in 0..30 {
        add_all(&mut declared, &[&format!("rooms.eu.{seat}")]);
    }
    add_all(&mut declared, &["deep.a.b.c.d.1", "deep.a.b.c.d.2", "x", "y", "z", "deep.a", "deep.b"]);
    assert!(!declared.is_widened());
    for more in 0..4 {
        add_all(&mut declared, &[&format!("w{more}")]);
    }
    // Thirty save more than two, and the pair at the bottom stays as it is.
    assert_eq!(
        shown(&declared),
        [
            "deep.a",
            "deep.a.b.c.d.1",
            "deep.a.b.c.d.2",
            "deep.b",
            "rooms.eu.>",
            "w0",
            "w1",
            "w2",
            "w3",
            "x",
            "y",
            "z"
        ]
    );

    let mut declared = Declared::new(5, 7);
    add_all(&mut declared, &["a.1", "a.2", "a.3", "a.b.1", "a.b.2", "c"]);
    assert_eq!(shown(&declared), ["a.1", "a.2", "a.3", "a.b.>", "c"]);
}

#[test]
fn everything_is_asked_for_only_when_nothing_else_suffices() {
    let mut declared = Declared::new(100, 7);
    for number in 0..90 {
        add_all(&mut declared, &[&format!("top{number}")]);
    }
    for number in 0..11 {
        add_all(&mut declared, &[&format!("rooms.{number}")]);
    }
    assert_eq!(declared.declared().count(), 91);
    for number in 90..200 {
        add_all(&mut declared, &[&format!("top{number}")]);
    }
    assert_eq!(shown(&declared), [">"]);
}

#[test]
fn system_patterns_are_never_widened_and_refused_beyond_the_limit() {
    let mut declared = Declared::new(4, 7);
    add_all(&mut declared, &["$sys.a.1", "$sys.a.2", "$sys.a.3"]);
    assert_eq!(declared.add(&pattern("$sys.a.4")), Err(TooManySystemPatterns { max: 3 }));
    assert_eq!(declared.add(&pattern("$sys.a.3")), Ok(()));
    add_all(&mut declared, &["a", "b"]);
    assert_eq!(shown(&declared), ["$sys.a.1", "$sys.a.2", "$sys.a.3", ">"]);
}

#[test]
fn narrows_below_half_the_limit_and_not_before() {
    let mut declared = Declared::new(10, 7);
    let texts: Vec<String> = (0..11).map(|number| format!("a.{number}")).collect();
    add_all(&mut declared, &texts.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(shown(&declared), ["a.>"]);
    declared.take_changes();
    for text in &texts[5..10] {
        declared.remove(&pattern(text));
    }
    assert!(declared.is_widened() && declared.take_changes().is_empty());
    declared.remove(&pattern("a.10"));
    assert!(!declared.is_widened());
    let changes = declared.take_changes();
    assert_eq!(changes.added.len(), 5);
    assert_eq!(changes.removed, [pattern("a.>")]);
}

#[test]
fn while_many_come_groups_are_widened_early_and_return_afterwards() {
    let mut declared = Declared::new(100, 7);
    add_all(&mut declared, &["old.1", "old.2", "alone"]);
    declared.hold();
    let rooms: Vec<String> = (0..50).map(|number| format!("rooms.{number}")).collect();
    add_all(&mut declared, &rooms.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(shown(&declared), ["alone", "old.>", "rooms.>"]);
    // Removing does not narrow what will be wanted again in a moment.
    declared.remove(&pattern("rooms.7"));
    assert_eq!(shown(&declared), ["alone", "old.>", "rooms.>"]);
    declared.release();
    assert_eq!(declared.declared().count(), 52);
    assert!(!declared.is_widened());

    // The whole mesh's traffic is worse than some patterns more.
    let mut declared = Declared::new(100, 7);
    declared.hold();
    add_all(&mut declared, &["a", "b", "c"]);
    assert_eq!(shown(&declared), ["a", "b", "c"]);

    // What does not fit stays wide.
    let mut declared = Declared::new(10, 7);
    declared.hold();
    add_all(&mut declared, &rooms.iter().map(String::as_str).collect::<Vec<_>>());
    declared.release();
    assert_eq!(shown(&declared), ["rooms.>"]);
}

#[derive(Clone, Debug)]
enum Step {
    Add(Pattern),
    RemoveHeld(prop::sample::Index),
    Remove(Pattern),
    Take,
    Hold,
    Release,
}

fn patterns() -> impl Strategy<Value = Pattern> {
    let tokens = &["a", "b", "c", "d", "$s", "*", ">"];
    prop::collection::vec(prop::sample::select(tokens), 1..5)
        .prop_filter_map("valid", |tokens| Pattern::parse(&tokens.join(".")).ok())
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        10 => patterns().prop_map(Step::Add),
        8 => any::<prop::sample::Index>().prop_map(Step::RemoveHeld),
        1 => patterns().prop_map(Step::Remove),
        1 => Just(Step::Take),
        1 => Just(Step::Hold),
        1 => Just(Step::Release),
    ];
    prop::collection::vec(step, 0..200)
}

/// Every promise of the documentation, against the list of all references.
fn check_promises(declared: &Declared, held: &[Pattern], limit: usize) {
    declared.check();
    assert!(declared.declared().count() <= limit);
    for pattern in held {
        assert!(declared.declared().any(|wide| wide.covers(pattern)), "{pattern} is not covered");
    }
    for wide in declared.declared() {
        assert!(held.iter().any(|pattern| wide.covers(pattern)), "{wide} covers nothing");
        assert!(!wide.is_system() || held.contains(wide), "{wide} was widened");
    }
    let distinct: BTreeSet<&Pattern> = held.iter().collect();
    if !declared.is_widened() {
        assert!(declared.declared().eq(distinct.iter().copied()));
    }
}

fn run(limit: usize, steps: Vec<Step>) -> Vec<Changes> {
    let mut declared = Declared::new(limit, 7);
    let mut held: Vec<Pattern> = Vec::new();
    let mut told = BTreeSet::new();
    let mut all_changes = Vec::new();
    for step in steps.into_iter().chain([Step::Take]) {
        let is_take = matches!(step, Step::Take);
        match step {
            Step::Add(pattern) => {
                if declared.add(&pattern).is_ok() {
                    held.push(pattern);
                } else {
                    assert!(pattern.is_system());
                }
            }
            Step::RemoveHeld(index) => {
                if !held.is_empty() {
                    assert!(declared.remove(&held.swap_remove(index.index(held.len()))));
                }
            }
            Step::Remove(pattern) => {
                let found = held.iter().position(|other| *other == pattern);
                assert_eq!(declared.remove(&pattern), found.is_some());
                found.map(|index| held.swap_remove(index));
            }
            Step::Take => {}
            Step::Hold => declared.hold(),
            Step::Release => declared.release(),
        }
        check_promises(&declared, &held, limit);
        if is_take {
            let changes = declared.take_changes();
            assert!(changes.removed.iter().all(|pattern| told.remove(pattern)));
            assert!(changes.added.iter().all(|pattern| told.insert(pattern.clone())));
            assert!(told.iter().eq(declared.declared()));
            all_changes.push(changes);
        }
    }
    for pattern in &held {
        assert!(declared.remove(pattern));
    }
    assert_eq!(declared.declared().count(), 0);
    assert!(!declared.is_widened());
    all_changes
}

proptest! {
    #[test]
    fn covers_all_and_nothing_for_nothing(limit in 1..40usize, steps in steps()) {
        prop_assert_eq!(run(limit, steps.clone()), run(limit, steps));
    }
}
