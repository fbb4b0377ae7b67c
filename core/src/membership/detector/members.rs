//! The members of the region and what each is held for.
//!
//! A sorted vector: 24 bytes a member, found by halving. Members come and go rarely, and moving the
//! rest of a few thousand takes a few microseconds then. Beside it a sum of hashes, so that two nodes
//! find out that they know the same without looking at each member.

use super::digest::Entry;
use super::statement::{Life, Standing};
use crate::hash::grow_by_little;
use crate::id::ShortId;

/// How many members are held for what; this node itself is not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Alive, and accused by nobody.
    pub alive: usize,
    /// Accused, and still alive as far as anyone may conclude.
    pub suspect: usize,
    /// Dead and not yet forgotten.
    pub dead: usize,
    /// Left and not yet forgotten.
    pub left: usize,
}

impl Counts {
    fn of(&mut self, standing: Standing) -> &mut usize {
        match standing {
            Standing::Alive => &mut self.alive,
            Standing::Suspect => &mut self.suspect,
            Standing::Dead => &mut self.dead,
            Standing::Left => &mut self.left,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    pub id: ShortId,
    incarnation: u64,
    refutation: u32,
    pub standing: Standing,
}

impl Member {
    pub fn life(&self) -> Life {
        Life { incarnation: self.incarnation, refutation: self.refutation }
    }

    fn hash(&self) -> u64 {
        Entry { node: self.id, life: self.life(), standing: self.standing }.hash()
    }
}

#[derive(Debug, Default)]
pub(super) struct Members {
    sorted: Vec<Member>,
    counts: Counts,
    /// The sum of the members' hashes.
    sum: u64,
}

impl Members {
    pub fn get(&self, id: ShortId) -> Option<&Member> {
        let at = self.place(id).ok()?;
        self.sorted.get(at)
    }

    pub fn standing(&self, id: ShortId) -> Option<Standing> {
        self.get(id).map(|member| member.standing)
    }

    pub fn is_alive(&self, id: ShortId) -> bool {
        self.standing(id) == Some(Standing::Alive)
    }

    pub fn put(&mut self, id: ShortId, life: Life, standing: Standing) {
        let Life { incarnation, refutation } = life;
        let member = Member { id, incarnation, refutation, standing };
        match self.place(id) {
            Ok(at) => {
                let before = std::mem::replace(&mut self.sorted[at], member);
                *self.counts.of(before.standing) -= 1;
                self.sum = self.sum.wrapping_sub(before.hash());
            }
            Err(at) => {
                grow_by_little(&mut self.sorted);
                self.sorted.insert(at, member);
            }
        }
        *self.counts.of(standing) += 1;
        self.sum = self.sum.wrapping_add(member.hash());
    }

    pub fn remove(&mut self, id: ShortId) -> bool {
        let Ok(at) = self.place(id) else { return false };
        let member = self.sorted.remove(at);
        *self.counts.of(member.standing) -= 1;
        self.sum = self.sum.wrapping_sub(member.hash());
        true
    }

    /// The sum of all members' hashes, which does not depend on their order.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    pub fn len(&self) -> usize {
        self.sorted.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Member> {
        self.sorted.iter()
    }

    fn place(&self, id: ShortId) -> Result<usize, usize> {
        self.sorted.binary_search_by_key(&id, |member| member.id)
    }

    pub fn check(&self) {
        assert!(self.sorted.is_sorted_by(|one, other| one.id < other.id), "members out of order");
        let mut counts = Counts::default();
        for member in &self.sorted {
            *counts.of(member.standing) += 1;
        }
        assert_eq!(counts, self.counts, "members were miscounted");
        let sum = self.sorted.iter().fold(0, |sum: u64, member| sum.wrapping_add(member.hash()));
        assert_eq!(sum, self.sum, "the sum is not the members'");
    }
}
