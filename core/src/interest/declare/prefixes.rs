//! The tree of the patterns' tokens, with what is known of each prefix.
//!
//! A node is the prefix that leads to it; the last token of a pattern, wildcard or not, has a node
//! as well. Nodes live in one vector and are named by their index, so that they can be listed.

use std::collections::BTreeMap;

use crate::interest::subject::{ANY_REST, Pattern};

/// The empty prefix.
pub(super) const ROOT: usize = 0;

/// All prefixes of the patterns that were added.
#[derive(Debug)]
pub(super) struct Prefixes {
    nodes: Vec<Prefix>,
    free: Vec<usize>,
}

#[derive(Debug, Default)]
struct Prefix {
    token: Box<str>,
    parent: Option<usize>,
    depth: usize,
    children: BTreeMap<Box<str>, usize>,
    /// The pattern that ends here, if one does.
    own: Option<Pattern>,
    /// How often that pattern was added.
    references: u32,
    /// How many patterns declare all below, each group below widened to one: the children that
    /// are patterns plus the children that have children.
    breadth: u32,
    /// `prefix.>` is declared.
    is_widened: bool,
    /// A prefix of this one is widened, so nothing at or below this node is declared by itself.
    is_covered: bool,
}

impl Prefixes {
    pub(super) fn new() -> Prefixes {
        Prefixes { nodes: vec![Prefix::default()], free: Vec::new() }
    }

    pub(super) fn parent(&self, index: usize) -> Option<usize> {
        self.nodes[index].parent
    }

    pub(super) fn depth(&self, index: usize) -> usize {
        self.nodes[index].depth
    }

    pub(super) fn breadth(&self, index: usize) -> u32 {
        self.nodes[index].breadth
    }

    pub(super) fn own(&self, index: usize) -> Option<Pattern> {
        self.nodes[index].own.clone()
    }

    pub(super) fn is_widened(&self, index: usize) -> bool {
        self.nodes[index].is_widened
    }

    pub(super) fn set_widened(&mut self, index: usize, is_widened: bool) {
        self.nodes[index].is_widened = is_widened;
    }

    pub(super) fn is_covered(&self, index: usize) -> bool {
        self.nodes[index].is_covered
    }

    pub(super) fn set_covered(&mut self, index: usize, is_covered: bool) {
        self.nodes[index].is_covered = is_covered;
    }

    /// The children in the order of their tokens.
    pub(super) fn children(&self, index: usize) -> Vec<usize> {
        self.nodes[index].children.values().copied().collect()
    }

    /// The pattern that matches all below a prefix.
    ///
    /// It is within the limits of a pattern, for something is below the prefix that is not shorter.
    pub(super) fn wide_pattern(&self, index: usize) -> Pattern {
        let mut tokens = vec![ANY_REST];
        let mut node = &self.nodes[index];
        while let Some(parent) = node.parent {
            tokens.push(&node.token);
            node = &self.nodes[parent];
        }
        tokens.reverse();
        Pattern::parse(&tokens.join(".")).expect("a valid pattern's prefix stays valid with '>' behind it")
    }

    /// The deepest node on the way to `pattern`, and the tokens that are missing below it.
    pub(super) fn find_deepest<'a>(&self, pattern: &'a Pattern) -> (usize, Option<&'a str>) {
        let mut index = ROOT;
        let mut rest = Some(pattern.as_str());
        while let Some(tokens) = rest {
            let (token, tail) = split(tokens);
            let Some(child) = self.nodes[index].children.get(token) else {
                break;
            };
            index = *child;
            rest = tail;
        }
        (index, rest)
    }

    /// The node of exactly `pattern`.
    pub(super) fn find(&self, pattern: &Pattern) -> Option<usize> {
        match self.find_deepest(pattern) {
            (index, None) => Some(index),
            (_, Some(_)) => None,
        }
    }

    /// Makes the nodes for `missing` tokens below `index`; the last of them.
    pub(super) fn extend(&mut self, index: usize, missing: Option<&str>) -> usize {
        let mut index = index;
        let mut rest = missing;
        while let Some(tokens) = rest {
            let (token, tail) = split(tokens);
            index = self.add_child(index, token);
            rest = tail;
        }
        index
    }

    fn add_child(&mut self, parent: usize, token: &str) -> usize {
        let above = &self.nodes[parent];
        let node = Prefix {
            token: Box::from(token),
            parent: Some(parent),
            depth: above.depth + 1,
            is_covered: above.is_covered || above.is_widened,
            ..Prefix::default()
        };
        if above.children.is_empty()
            && let Some(grandparent) = above.parent
        {
            self.nodes[grandparent].breadth += 1;
        }
        let index = match self.free.pop() {
            Some(index) => {
                self.nodes[index] = node;
                index
            }
            None => {
                self.nodes.push(node);
                self.nodes.len() - 1
            }
        };
        self.nodes[parent].children.insert(Box::from(token), index);
        index
    }

    /// Counts a reference to the pattern that ends at a node; true if it is the first.
    pub(super) fn refer(&mut self, index: usize, pattern: &Pattern) -> bool {
        let node = &mut self.nodes[index];
        node.references = node.references.saturating_add(1);
        if node.own.is_some() {
            return false;
        }
        node.own = Some(pattern.clone());
        if let Some(parent) = node.parent {
            self.nodes[parent].breadth += 1;
        }
        true
    }

    /// Counts a reference fewer: whether it was the last, or nothing if no pattern ends here.
    pub(super) fn unrefer(&mut self, index: usize) -> Option<bool> {
        let node = &mut self.nodes[index];
        node.references = node.references.checked_sub(1)?;
        Some(node.references == 0)
    }

    /// Forgets that a pattern ends at a node.
    pub(super) fn disown(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        node.own = None;
        if let Some(parent) = node.parent {
            self.nodes[parent].breadth -= 1;
        }
    }

    /// Whether a node is no pattern and leads to none.
    pub(super) fn is_useless(&self, index: usize) -> bool {
        self.nodes[index].own.is_none() && self.nodes[index].children.is_empty()
    }

    /// Removes a useless node from its parent; true if that was the parent's last child.
    pub(super) fn prune(&mut self, index: usize, parent: usize) -> bool {
        let node = std::mem::take(&mut self.nodes[index]);
        self.free.push(index);
        let above = &mut self.nodes[parent];
        above.children.remove(&node.token);
        let is_emptied = above.children.is_empty();
        if is_emptied && let Some(grandparent) = above.parent {
            self.nodes[grandparent].breadth -= 1;
        }
        is_emptied
    }
}

/// The first token, and what follows its dot.
fn split(tokens: &str) -> (&str, Option<&str>) {
    match tokens.split_once('.') {
        Some((token, tail)) => (token, Some(tail)),
        None => (tokens, None),
    }
}
