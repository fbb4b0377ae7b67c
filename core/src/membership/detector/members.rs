//! The members of the region and what each is held for.
//!
//! A sorted vector: 24 bytes a member, found by halving. Members come and go rarely, and moving the
//! rest of a few thousand takes a few microseconds then.

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
}

#[derive(Debug, Default)]
pub(super) struct Members {
    sorted: Vec<Member>,
    counts: Counts,
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
                *self.counts.of(self.sorted[at].standing) -= 1;
                self.sorted[at] = member;
            }
            Err(at) => {
                grow_by_little(&mut self.sorted);
                self.sorted.insert(at, member);
            }
        }
        *self.counts.of(standing) += 1;
    }

    pub fn remove(&mut self, id: ShortId) -> bool {
        let Ok(at) = self.place(id) else { return false };
        let member = self.sorted.remove(at);
        *self.counts.of(member.standing) -= 1;
        true
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
    }
}
