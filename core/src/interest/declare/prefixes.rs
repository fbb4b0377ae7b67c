//! The tree of the patterns' tokens, with what is known of each prefix.
//!
//! A node is the prefix that leads to it; the last token of a pattern, wildcard or not, has a node
//! as well. There are about as many as patterns, so a node is small: it borrows its tokens from a
//! pattern that passes through it, is found by the hash of its parent and token, and hangs in a list
//! of its siblings.

use std::hash::{BuildHasher, Hasher};

use hashbrown::HashTable;

use crate::hash::{Keyed, grow_by_little};
use crate::interest::subject::{ANY_REST, Pattern};

/// The empty prefix.
pub(super) const ROOT: usize = 0;
/// No node.
const NONE: u32 = u32::MAX;

/// All prefixes of the patterns that were added.
#[derive(Debug)]
pub(super) struct Prefixes {
    nodes: Vec<Prefix>,
    free: Vec<u32>,
    /// Every node but the root, by its parent and token.
    index: HashTable<u32>,
    /// Keys the hashes: peers and agents choose the tokens.
    secret: u64,
}

#[derive(Debug)]
struct Prefix {
    /// A pattern that passes through here, or ends here; `None` for the root and for free places.
    text: Option<Pattern>,
    parent: u32,
    first_child: u32,
    previous: u32,
    next: u32,
    /// How often the pattern that ends here was added.
    references: u32,
    /// How many patterns declare all below, each group below widened to one: the children that
    /// are patterns plus the children that have children.
    breadth: u32,
    depth: u8,
    /// Whether `text` ends here and is one of the patterns.
    is_own: bool,
    /// `prefix.>` is declared.
    is_widened: bool,
    /// A prefix of this one is widened, so nothing at or below this node is declared by itself.
    is_covered: bool,
}

impl Prefix {
    fn empty() -> Prefix {
        Prefix {
            text: None,
            parent: NONE,
            first_child: NONE,
            previous: NONE,
            next: NONE,
            references: 0,
            breadth: 0,
            depth: 0,
            is_own: false,
            is_widened: false,
            is_covered: false,
        }
    }

    /// The last token of the prefix; empty for the root.
    fn token(&self) -> &str {
        let last = usize::from(self.depth).checked_sub(1);
        let token = self.text.as_ref().zip(last).and_then(|(text, last)| text.tokens().nth(last));
        token.unwrap_or_default()
    }
}

impl Prefixes {
    /// No patterns; `secret` keys hashes of tokens.
    pub(super) fn new(secret: u64) -> Prefixes {
        Prefixes { nodes: vec![Prefix::empty()], free: Vec::new(), index: HashTable::new(), secret }
    }

    pub(super) fn parent(&self, index: usize) -> Option<usize> {
        let parent = self.nodes[index].parent;
        (parent != NONE).then_some(parent as usize)
    }

    pub(super) fn depth(&self, index: usize) -> usize {
        usize::from(self.nodes[index].depth)
    }

    pub(super) fn breadth(&self, index: usize) -> u32 {
        self.nodes[index].breadth
    }

    /// The pattern that ends at a node, if one does.
    pub(super) fn own(&self, index: usize) -> Option<Pattern> {
        let node = &self.nodes[index];
        node.text.clone().filter(|_| node.is_own)
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
        let mut children = Vec::new();
        let mut child = self.nodes[index].first_child;
        while child != NONE {
            children.push(child as usize);
            child = self.nodes[child as usize].next;
        }
        children.sort_unstable_by_key(|child| self.nodes[*child].token());
        children
    }

    /// The pattern that matches all below a prefix.
    ///
    /// It is within the limits of a pattern, for something is below the prefix that is not shorter.
    pub(super) fn wide_pattern(&self, index: usize) -> Pattern {
        let node = &self.nodes[index];
        let tokens = node.text.iter().flat_map(Pattern::tokens).take(usize::from(node.depth));
        let tokens: Vec<&str> = tokens.chain([ANY_REST]).collect();
        Pattern::parse(&tokens.join(".")).expect("a valid pattern's prefix stays valid with '>' behind it")
    }

    fn hash(secret: u64, parent: u32, token: &str) -> u64 {
        let mut hasher = Keyed(secret).build_hasher();
        hasher.write_u32(parent);
        hasher.write(token.as_bytes());
        hasher.finish()
    }

    fn child(&self, parent: usize, token: &str) -> Option<usize> {
        let above = u32::try_from(parent).ok()?;
        let is_it = |child: &u32| {
            let node = &self.nodes[*child as usize];
            node.parent == above && node.token() == token
        };
        let found = self.index.find(Prefixes::hash(self.secret, above, token), is_it)?;
        Some(*found as usize)
    }

    /// The deepest node on the way to `pattern`.
    pub(super) fn find_deepest(&self, pattern: &Pattern) -> usize {
        let mut index = ROOT;
        for token in pattern.tokens() {
            match self.child(index, token) {
                Some(child) => index = child,
                None => break,
            }
        }
        index
    }

    /// The node of exactly `pattern`.
    pub(super) fn find(&self, pattern: &Pattern) -> Option<usize> {
        let deepest = self.find_deepest(pattern);
        (self.depth(deepest) == pattern.tokens().count()).then_some(deepest)
    }

    /// Makes the nodes for the tokens of `pattern` below `deepest`, where its way ends so far; the last
    /// of them.
    pub(super) fn extend(&mut self, deepest: usize, pattern: &Pattern) -> usize {
        let mut index = deepest;
        for token in pattern.tokens().skip(self.depth(deepest)) {
            index = self.add_child(index, token, pattern);
        }
        index
    }

    fn add_child(&mut self, parent: usize, token: &str, pattern: &Pattern) -> usize {
        let above = &self.nodes[parent];
        let place = u32::try_from(parent).expect("subscriptions are bounded far below 2^32");
        let node = Prefix {
            text: Some(pattern.clone()),
            parent: place,
            next: above.first_child,
            depth: above.depth + 1,
            is_covered: above.is_covered || above.is_widened,
            ..Prefix::empty()
        };
        if above.first_child == NONE && above.parent != NONE {
            let grandparent = above.parent as usize;
            self.nodes[grandparent].breadth += 1;
        }
        let index = match self.free.pop() {
            Some(index) => {
                self.nodes[index as usize] = node;
                index
            }
            None => {
                grow_by_little(&mut self.nodes);
                self.nodes.push(node);
                u32::try_from(self.nodes.len() - 1).expect("subscriptions are bounded far below 2^32")
            }
        };
        let second = std::mem::replace(&mut self.nodes[parent].first_child, index);
        if second != NONE {
            self.nodes[second as usize].previous = index;
        }
        let (nodes, secret) = (&self.nodes, self.secret);
        let rehash = |child: &u32| {
            let node = &nodes[*child as usize];
            Prefixes::hash(secret, node.parent, node.token())
        };
        self.index.insert_unique(Prefixes::hash(secret, place, token), index, rehash);
        index as usize
    }

    /// Counts a reference to the pattern that ends at a node; true if it is the first.
    pub(super) fn refer(&mut self, index: usize, pattern: &Pattern) -> bool {
        let node = &mut self.nodes[index];
        node.references = node.references.saturating_add(1);
        if node.is_own {
            return false;
        }
        node.is_own = true;
        node.text = Some(pattern.clone());
        if let Some(parent) = self.parent(index) {
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
        self.nodes[index].is_own = false;
        if let Some(parent) = self.parent(index) {
            self.nodes[parent].breadth -= 1;
        }
    }

    /// Whether a node is no pattern and leads to none.
    pub(super) fn is_useless(&self, index: usize) -> bool {
        let node = &self.nodes[index];
        !node.is_own && node.first_child == NONE
    }

    /// Removes a useless node from its parent; true if that was the parent's last child.
    pub(super) fn prune(&mut self, index: usize, parent: usize) -> bool {
        let place = u32::try_from(index).expect("subscriptions are bounded far below 2^32");
        let node = &self.nodes[index];
        let hash = Prefixes::hash(self.secret, node.parent, node.token());
        if let Ok(found) = self.index.find_entry(hash, |child| *child == place) {
            found.remove();
        }
        let node = std::mem::replace(&mut self.nodes[index], Prefix::empty());
        self.free.push(place);
        if node.next != NONE {
            self.nodes[node.next as usize].previous = node.previous;
        }
        match node.previous {
            NONE => self.nodes[parent].first_child = node.next,
            previous => self.nodes[previous as usize].next = node.next,
        }
        let is_emptied = self.nodes[parent].first_child == NONE;
        if is_emptied && let Some(grandparent) = self.parent(parent) {
            self.nodes[grandparent].breadth -= 1;
        }
        is_emptied
    }
}
