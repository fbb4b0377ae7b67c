//! What a node declares to its peers: its patterns exactly, or fewer and wider ones.
//!
//! Up to a limit every pattern is declared as it is. Beyond it a group, all patterns below one
//! prefix, is declared as `prefix.>`, and the patterns of the group no longer count. Which group
//! goes first is explained at `WideningOrder`; groups return to what they were, one level at a
//! time, once what is declared then still fits into half the limit, so that a set that swings
//! around the limit is not declared anew each time. While many patterns come at once, groups are
//! widened early, and return when it is over ([`Declared::hold`]). Every change costs the depth of its pattern
//! and a few ordered sets; a widening or narrowing costs its group, which many changes have paid.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::subject::Pattern;

mod prefixes;

use prefixes::{Prefixes, ROOT};

/// The patterns that a node wants, and those that it declares for them.
#[derive(Debug)]
pub struct Declared {
    /// At least 1.
    limit: usize,
    prefixes: Prefixes,
    /// System patterns with their references: declared exactly, whatever happens.
    system: BTreeMap<Pattern, u32>,
    declared: BTreeSet<Pattern>,
    /// What differs from what was last taken: true for added, false for removed.
    pending: BTreeMap<Pattern, bool>,
    /// Groups that may be widened, best last.
    candidates: BTreeSet<WideningOrder>,
    /// Groups that are widened, smallest first: how many to declare after narrowing, depth, index.
    widened: BTreeSet<(u32, usize, usize)>,
    /// While many patterns come at once: groups are widened rather than declare more than so many.
    held_at: Option<usize>,
}

/// The difference in what is declared; each list in the order of the patterns.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Changes {
    /// Declared now and not before.
    pub added: Vec<Pattern>,
    /// Declared before and not now.
    pub removed: Vec<Pattern>,
}

impl Changes {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }
}

/// A system pattern more than fits. Nothing was changed; whoever subscribed is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more than {max} system patterns, which are never declared wider than they are")]
pub struct TooManySystemPatterns {
    /// How many distinct ones fit.
    pub max: usize,
}

/// Which group is widened first: the greatest.
///
/// The whole space (`>`) comes last, for it draws every message of the mesh. Otherwise groups that
/// save more come first, compared only by their power of sixteen, and among alike ones the deepest
/// comes first: a wide prefix near the root draws much that nobody asked for. What a group saves is
/// counted as its direct members, groups below it counting once, so that a prefix does not take the
/// credit for one big group below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct WideningOrder {
    is_below_root: bool,
    magnitude: u32,
    depth: usize,
    breadth: u32,
    index: Reverse<usize>,
}

impl Declared {
    /// Nothing declared yet, and never more than `limit` patterns. A limit of 0 counts as 1. Others
    /// choose the patterns, so `seed` must be one that they cannot guess.
    pub fn new(limit: usize, seed: u64) -> Declared {
        Declared {
            limit: limit.max(1),
            prefixes: Prefixes::new(seed),
            system: BTreeMap::new(),
            declared: BTreeSet::new(),
            pending: BTreeMap::new(),
            candidates: BTreeSet::new(),
            widened: BTreeSet::new(),
            held_at: None,
        }
    }

    /// Many patterns come at once: from now on a group is widened rather than declare more than is
    /// declared now, unless only the whole space is left to widen.
    pub fn hold(&mut self) {
        self.held_at.get_or_insert(self.declared.len());
    }

    /// The many have come: everything is declared as it is again, as far as the limit has room.
    pub fn release(&mut self) {
        if self.held_at.take().is_some() {
            self.narrow_to(self.limit);
        }
    }

    /// Counts one more reference to `pattern`; it is covered by what is declared from now on.
    ///
    /// Fails only for system patterns: no wider pattern is ever declared for them, so there is
    /// room for one fewer than the limit.
    pub fn add(&mut self, pattern: &Pattern) -> Result<(), TooManySystemPatterns> {
        if pattern.is_system() {
            self.add_system(pattern)?;
        } else {
            let deepest = self.prefixes.find_deepest(pattern);
            // Only the deepest node that is there and its parent get members; the new nodes below
            // have one each, too few to be a group.
            let touched = [Some(deepest), self.prefixes.parent(deepest)];
            self.unfile(touched);
            let leaf = self.prefixes.extend(deepest, pattern);
            let is_new = self.prefixes.refer(leaf, pattern);
            self.file(touched);
            if is_new && !self.prefixes.is_covered(leaf) {
                self.declare(pattern.clone());
            }
        }
        self.widen_to_limit();
        Ok(())
    }

    /// Counts one reference fewer; false, and nothing changed, if there was none.
    pub fn remove(&mut self, pattern: &Pattern) -> bool {
        let was_there =
            if pattern.is_system() { self.remove_system(pattern) } else { self.remove_ordinary(pattern) };
        if self.held_at.is_none() {
            self.narrow_to(self.limit.div_ceil(2));
        }
        was_there
    }

    /// What changed in what is declared since the last call.
    pub fn take_changes(&mut self) -> Changes {
        let mut changes = Changes::default();
        for (pattern, is_added) in std::mem::take(&mut self.pending) {
            if is_added { changes.added.push(pattern) } else { changes.removed.push(pattern) }
        }
        changes
    }

    /// What is declared, in order: at most `limit` patterns, which cover all that were added.
    pub fn declared(&self) -> impl Iterator<Item = &Pattern> {
        self.declared.iter()
    }

    /// Whether something wider than what was added is declared, so that messages may come for
    /// nothing.
    pub fn is_widened(&self) -> bool {
        !self.widened.is_empty()
    }

    fn add_system(&mut self, pattern: &Pattern) -> Result<(), TooManySystemPatterns> {
        if let Some(references) = self.system.get_mut(pattern) {
            *references = references.saturating_add(1);
            return Ok(());
        }
        // One place is kept for `>`, to which everything else can be reduced.
        let max = self.limit - 1;
        if self.system.len() >= max {
            return Err(TooManySystemPatterns { max });
        }
        self.system.insert(pattern.clone(), 1);
        self.declare(pattern.clone());
        Ok(())
    }

    fn remove_system(&mut self, pattern: &Pattern) -> bool {
        let Some(references) = self.system.get_mut(pattern) else {
            return false;
        };
        *references -= 1;
        if *references == 0 {
            self.system.remove(pattern);
            self.retract(pattern.clone());
        }
        true
    }

    fn remove_ordinary(&mut self, pattern: &Pattern) -> bool {
        let Some(leaf) = self.prefixes.find(pattern) else {
            return false;
        };
        let Some(is_last) = self.prefixes.unrefer(leaf) else {
            return false;
        };
        if !is_last {
            return true;
        }
        if !self.prefixes.is_covered(leaf) {
            self.retract(pattern.clone());
        }
        self.unfile([Some(leaf), self.prefixes.parent(leaf)]);
        self.prefixes.disown(leaf);
        // Nodes that neither are a pattern nor lead to one go, and with them what was declared
        // for them: nothing is declared that covers nothing.
        let mut index = leaf;
        while let Some(parent) = self.prefixes.parent(index)
            && self.prefixes.is_useless(index)
        {
            self.unfile([Some(parent), self.prefixes.parent(parent)]);
            let is_emptied = self.prefixes.prune(index, parent);
            if is_emptied && self.prefixes.is_widened(parent) {
                self.prefixes.set_widened(parent, false);
                self.retract(self.prefixes.wide_pattern(parent));
            }
            self.file([self.prefixes.parent(parent), None]);
            index = parent;
        }
        self.file([Some(index), self.prefixes.parent(index)]);
        true
    }

    fn widen_to_limit(&mut self) {
        while self.declared.len() > self.limit {
            let best = self.candidates.last().expect("without a group only one pattern is not the system's");
            self.widen(best.index.0);
        }
        while self.held_at.is_some_and(|held| self.declared.len() > held)
            && let Some(best) = self.candidates.last().filter(|best| best.is_below_root)
        {
            self.widen(best.index.0);
        }
    }

    /// Declares `prefix.>` for a group instead of all that is declared within it.
    fn widen(&mut self, index: usize) {
        self.unfile([Some(index), None]);
        let mut within = self.prefixes.children(index);
        while let Some(node) = within.pop() {
            self.unfile([Some(node), None]);
            self.prefixes.set_covered(node, true);
            if let Some(own) = self.prefixes.own(node) {
                self.retract(own);
            }
            if self.prefixes.is_widened(node) {
                // All below it is covered already.
                self.prefixes.set_widened(node, false);
                self.retract(self.prefixes.wide_pattern(node));
            } else {
                within.extend(self.prefixes.children(node));
            }
        }
        self.prefixes.set_widened(index, true);
        self.file([Some(index), None]);
        self.declare(self.prefixes.wide_pattern(index));
    }

    fn narrow_to(&mut self, most: usize) {
        while let Some((breadth, _, index)) = self.widened.first().copied()
            && self.declared.len() - 1 + breadth as usize <= most
        {
            self.narrow(index);
        }
    }

    /// Declares the direct members of a widened group instead of it, groups below it widened.
    fn narrow(&mut self, index: usize) {
        self.unfile([Some(index), None]);
        self.prefixes.set_widened(index, false);
        self.retract(self.prefixes.wide_pattern(index));
        self.file([Some(index), None]);
        for child in self.prefixes.children(index) {
            self.prefixes.set_covered(child, false);
            if let Some(own) = self.prefixes.own(child) {
                self.declare(own);
            }
            if self.prefixes.breadth(child) > 0 {
                self.prefixes.set_widened(child, true);
                self.declare(self.prefixes.wide_pattern(child));
            }
            self.file([Some(child), None]);
        }
    }

    fn declare(&mut self, pattern: Pattern) {
        self.declared.insert(pattern.clone());
        self.note(pattern, true);
    }

    fn retract(&mut self, pattern: Pattern) {
        self.declared.remove(&pattern);
        self.note(pattern, false);
    }

    /// Remembers a change until it is taken; a change and its opposite are none.
    fn note(&mut self, pattern: Pattern, is_added: bool) {
        match self.pending.get(&pattern) {
            Some(earlier) if *earlier != is_added => {
                self.pending.remove(&pattern);
            }
            Some(_) | None => {
                self.pending.insert(pattern, is_added);
            }
        }
    }

    /// Takes groups out of the ordered sets before their breadth or state changes.
    fn unfile(&mut self, indexes: [Option<usize>; 2]) {
        for index in indexes.into_iter().flatten() {
            self.candidates.remove(&self.widening_order(index));
            self.widened.remove(&self.narrowing_order(index));
        }
    }

    /// Puts groups into the ordered set where they belong now.
    fn file(&mut self, indexes: [Option<usize>; 2]) {
        for index in indexes.into_iter().flatten() {
            if self.prefixes.is_covered(index) {
                continue;
            }
            if self.prefixes.is_widened(index) {
                self.widened.insert(self.narrowing_order(index));
            } else if self.prefixes.breadth(index) >= 2 {
                self.candidates.insert(self.widening_order(index));
            }
        }
    }

    fn widening_order(&self, index: usize) -> WideningOrder {
        let breadth = self.prefixes.breadth(index);
        WideningOrder {
            is_below_root: index != ROOT,
            magnitude: breadth.checked_ilog2().unwrap_or(0) / 4,
            depth: self.prefixes.depth(index),
            breadth,
            index: Reverse(index),
        }
    }

    fn narrowing_order(&self, index: usize) -> (u32, usize, usize) {
        (self.prefixes.breadth(index), self.prefixes.depth(index), index)
    }
}

#[cfg(test)]
mod tests;
