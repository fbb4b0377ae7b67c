//! The persistent trie from patterns to the values that want them.
//!
//! One level a token: a node holds its literal children in a [`Hamt`], the child for `*`, and the
//! values that end in `>`. A change copies the way from the root to its node as far as snapshots
//! share it, and writes in place what they do not.

use std::sync::Arc;

use super::hamt::{Hamt, KeyHasher};
use super::subject::{ANY_ONE, ANY_REST, Pattern, is_system};

/// A set of (pattern, value) pairs, asked for the values whose patterns match a subject.
///
/// A clone is one reference count and stays as it is whatever happens to the original: it is the
/// snapshot that readers use without a lock. Values are slots of subscribers or destinations.
#[derive(Clone, Debug)]
pub struct Trie<V> {
    root: Arc<Node<V>>,
    hasher: KeyHasher,
    len: usize,
}

#[derive(Clone, Debug)]
struct Node<V> {
    /// Of patterns that end at this node.
    here: Values<V>,
    /// Of patterns that end in `>` below this node.
    rest: Values<V>,
    any_one: Option<Child<V>>,
    literals: Hamt<Child<V>>,
}

/// What stands behind a token. Most tokens are the last of their patterns, and these need no node.
#[derive(Clone, Debug)]
enum Child<V> {
    End(Values<V>),
    Node(Arc<Node<V>>),
}

/// A set of values: mostly one, otherwise sorted and behind a reference count.
#[derive(Clone, Debug)]
enum Values<V> {
    None,
    One(V),
    Many(Arc<Vec<V>>),
}

impl<V: Copy + Ord> Trie<V> {
    /// An empty trie. Peers choose the tokens, so `seed` must be one that they cannot guess.
    pub fn new(seed: u64) -> Trie<V> {
        Trie { root: Arc::new(Node::empty()), hasher: KeyHasher::new(seed), len: 0 }
    }

    /// How many (pattern, value) pairs are stored.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no pair is stored.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a pair; false, and nothing changed or copied, if it is there already.
    pub fn insert(&mut self, pattern: &Pattern, value: V) -> bool {
        if self.contains(pattern, value) {
            return false;
        }
        Arc::make_mut(&mut self.root).values_mut(&self.hasher, pattern).insert(value);
        self.len += 1;
        true
    }

    /// Removes a pair; false, and nothing changed or copied, if it is not there.
    pub fn remove(&mut self, pattern: &Pattern, value: V) -> bool {
        if !self.contains(pattern, value) {
            return false;
        }
        Arc::make_mut(&mut self.root).remove(&self.hasher, Some(pattern.as_str()), value);
        self.len -= 1;
        true
    }

    /// Whether a pair is stored.
    pub fn contains(&self, pattern: &Pattern, value: V) -> bool {
        self.root
            .values(&self.hasher, pattern)
            .is_some_and(|values| values.as_slice().binary_search(&value).is_ok())
    }

    /// Calls `f` with the value of each pair whose pattern matches `subject`, allocating nothing.
    ///
    /// A value that is stored under several matching patterns is passed several times: the caller
    /// deduplicates. The order is fixed by the trie's content but means nothing. A `subject` that
    /// [`check_subject`](super::subject::check_subject) refuses never panics, but what it matches
    /// is not specified.
    pub fn for_each_match(&self, subject: &str, mut f: impl FnMut(V)) {
        if is_system(subject) {
            // Leading wildcards do not see system subjects, so only the literal way is left.
            let (token, tail) = split(subject.as_bytes());
            if let Some(child) = self.root.literals.get(&self.hasher, token) {
                child.for_each_match(&self.hasher, tail, &mut f);
            }
        } else {
            self.root.for_each_match(&self.hasher, subject.as_bytes(), &mut f);
        }
    }

    /// Calls `f` with every pair, the pattern as text, in no useful order.
    pub fn for_each(&self, mut f: impl FnMut(&str, V)) {
        self.root.for_each("", &mut f);
    }
}

impl<V: Copy + Ord> Node<V> {
    fn empty() -> Node<V> {
        Node { here: Values::None, rest: Values::None, any_one: None, literals: Hamt::default() }
    }

    fn has_children(&self) -> bool {
        !self.rest.is_empty() || self.any_one.is_some() || !self.literals.is_empty()
    }

    /// The values of exactly `pattern`, if its way exists.
    fn values(&self, hasher: &KeyHasher, pattern: &Pattern) -> Option<&Values<V>> {
        let mut node = self;
        let mut tokens = pattern.tokens().peekable();
        while let Some(token) = tokens.next() {
            let child = match token {
                ANY_REST => return Some(&node.rest),
                ANY_ONE => node.any_one.as_ref()?,
                literal => node.literals.get(hasher, literal.as_bytes())?,
            };
            match (child, tokens.peek()) {
                (Child::End(values), None) => return Some(values),
                (Child::End(_), Some(_)) => return None,
                (Child::Node(next), _) => node = next,
            }
        }
        Some(&node.here)
    }

    /// The values of exactly `pattern`, its way made where it does not exist.
    fn values_mut(&mut self, hasher: &KeyHasher, pattern: &Pattern) -> &mut Values<V> {
        let mut node = self;
        let mut tokens = pattern.tokens().peekable();
        while let Some(token) = tokens.next() {
            let child = match token {
                ANY_REST => return &mut node.rest,
                ANY_ONE => node.any_one.get_or_insert(Child::End(Values::None)),
                literal => {
                    node.literals.get_or_insert(hasher, literal.as_bytes(), || Child::End(Values::None))
                }
            };
            if tokens.peek().is_none() {
                return child.values_mut();
            }
            node = child.node_mut();
        }
        &mut node.here
    }

    /// Removes a pair that is there, and the way to it as far as nothing else needs it.
    fn remove(&mut self, hasher: &KeyHasher, rest: Option<&str>, value: V) {
        let Some(rest) = rest else {
            self.here.remove(value);
            return;
        };
        let (token, tail) = match rest.split_once('.') {
            Some((token, tail)) => (token, Some(tail)),
            None => (rest, None),
        };
        match token {
            ANY_REST => self.rest.remove(value),
            ANY_ONE => {
                if self.any_one.as_mut().is_some_and(|child| child.remove(hasher, tail, value)) {
                    self.any_one = None;
                }
            }
            literal => {
                let key = literal.as_bytes();
                if self.literals.get_mut(hasher, key).is_some_and(|child| child.remove(hasher, tail, value)) {
                    self.literals.remove(hasher, key);
                }
            }
        }
    }

    /// Recursion is bounded by the longest pattern, 16 tokens.
    fn for_each_match(&self, hasher: &KeyHasher, subject: &[u8], f: &mut impl FnMut(V)) {
        let (token, tail) = split(subject);
        self.rest.as_slice().iter().copied().for_each(&mut *f);
        if let Some(child) = &self.any_one {
            child.for_each_match(hasher, tail, f);
        }
        if let Some(child) = self.literals.get(hasher, token) {
            child.for_each_match(hasher, tail, f);
        }
    }

    fn for_each(&self, prefix: &str, f: &mut impl FnMut(&str, V)) {
        let below = |token: &str| {
            if prefix.is_empty() { token.to_owned() } else { format!("{prefix}.{token}") }
        };
        self.here.as_slice().iter().for_each(|value| f(prefix, *value));
        if !self.rest.is_empty() {
            let text = below(ANY_REST);
            self.rest.as_slice().iter().for_each(|value| f(&text, *value));
        }
        if let Some(child) = &self.any_one {
            child.for_each(&below(ANY_ONE), f);
        }
        self.literals.for_each(&mut |key, child| {
            let token = std::str::from_utf8(key).expect("keys are whole tokens of valid patterns");
            child.for_each(&below(token), f);
        });
    }
}

impl<V: Copy + Ord> Child<V> {
    fn values_mut(&mut self) -> &mut Values<V> {
        match self {
            Child::End(values) => values,
            Child::Node(node) => &mut Arc::make_mut(node).here,
        }
    }

    /// The node behind the token, made if only values were there.
    fn node_mut(&mut self) -> &mut Node<V> {
        if let Child::End(values) = self {
            let here = std::mem::replace(values, Values::None);
            *self = Child::Node(Arc::new(Node { here, ..Node::empty() }));
        }
        match self {
            Child::Node(node) => Arc::make_mut(node),
            Child::End(_) => unreachable!("an end was turned into a node just now"),
        }
    }

    /// Removes a pair that is there; true if nothing is left behind the token.
    fn remove(&mut self, hasher: &KeyHasher, rest: Option<&str>, value: V) -> bool {
        match self {
            Child::End(values) => {
                values.remove(value);
                values.is_empty()
            }
            Child::Node(node) => {
                let node = Arc::make_mut(node);
                node.remove(hasher, rest, value);
                if node.has_children() {
                    return false;
                }
                let here = std::mem::replace(&mut node.here, Values::None);
                let is_empty = here.is_empty();
                *self = Child::End(here);
                is_empty
            }
        }
    }

    fn for_each_match(&self, hasher: &KeyHasher, tail: Option<&[u8]>, f: &mut impl FnMut(V)) {
        match (self, tail) {
            (Child::End(values), None) => values.as_slice().iter().copied().for_each(f),
            (Child::End(_), Some(_)) => {}
            (Child::Node(node), None) => node.here.as_slice().iter().copied().for_each(f),
            (Child::Node(node), Some(tail)) => node.for_each_match(hasher, tail, f),
        }
    }

    fn for_each(&self, prefix: &str, f: &mut impl FnMut(&str, V)) {
        match self {
            Child::End(values) => values.as_slice().iter().for_each(|value| f(prefix, *value)),
            Child::Node(node) => node.for_each(prefix, f),
        }
    }
}

impl<V: Copy + Ord> Values<V> {
    fn as_slice(&self) -> &[V] {
        match self {
            Values::None => &[],
            Values::One(value) => std::slice::from_ref(value),
            Values::Many(values) => values,
        }
    }

    fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    fn insert(&mut self, value: V) {
        match self {
            Values::None => *self = Values::One(value),
            Values::One(first) if *first == value => {}
            Values::One(first) => {
                let first = *first;
                *self = Values::Many(Arc::new(vec![first.min(value), first.max(value)]));
            }
            Values::Many(values) => {
                if let Err(index) = values.binary_search(&value) {
                    Arc::make_mut(values).insert(index, value);
                }
            }
        }
    }

    fn remove(&mut self, value: V) {
        match self {
            Values::None => {}
            Values::One(held) => {
                if *held == value {
                    *self = Values::None;
                }
            }
            Values::Many(values) => {
                if let Ok(index) = values.binary_search(&value) {
                    Arc::make_mut(values).remove(index);
                }
                if let [last] = values.as_slice() {
                    *self = Values::One(*last);
                }
            }
        }
    }
}

/// The first token, and what follows its dot.
fn split(subject: &[u8]) -> (&[u8], Option<&[u8]>) {
    match subject.iter().position(|byte| *byte == b'.') {
        Some(dot) => (&subject[..dot], Some(&subject[dot + 1..])),
        None => (subject, None),
    }
}

#[cfg(test)]
mod tests;
