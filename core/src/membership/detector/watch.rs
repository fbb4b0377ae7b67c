//! Whom this node observes, in which order, and what came of the last probe of each.

use std::collections::BTreeSet;
use std::time::Duration;

use super::rules::HELPERS_MAX;
use crate::id::ShortId;
use crate::rng::Rng;
use crate::time::Time;

/// Subjects of one node; further ones are not taken up.
pub const SUBJECTS_MAX: usize = 256;
/// Co-observers of one subject that are kept; further ones are not asked and may not accuse.
pub const OBSERVERS_MAX: usize = 256;

/// A peer to be observed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// Who is observed.
    pub subject: ShortId,
    /// The smoothed round trip of the link to it; zero where it is not known yet, or is to stay what
    /// [`Detector::measured`](super::Detector::measured) told.
    pub rtt: Duration,
    /// Who else observes it. Empty where that is not known: then nobody helps, and every member's
    /// accusation counts.
    pub co_observers: Vec<ShortId>,
}

/// How far a probe has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// A datagram to the subject.
    Direct,
    /// Helpers and the reliable stream.
    Indirect,
}

/// A probe under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    pub number: u32,
    pub stage: Stage,
    pub began: Time,
    pub helpers: [ShortId; HELPERS_MAX as usize],
    pub asked: usize,
    /// A bit for each helper that said it had no answer.
    pub nacks: u8,
    /// Whether it was given more time already because this node was late.
    pub is_graced: bool,
}

impl Attempt {
    /// The place of `id` among the helpers that were asked.
    pub fn helper(&self, id: ShortId) -> Option<usize> {
        self.helpers[..self.asked].iter().position(|helper| *helper == id)
    }
}

#[derive(Debug)]
pub(super) struct Subject {
    pub id: ShortId,
    pub rtt: Duration,
    /// Sorted.
    pub co_observers: Vec<ShortId>,
    /// When it was heard last.
    pub heard: Time,
    /// Whether it gave no answer since.
    pub is_silent: bool,
    pub attempt: Option<Attempt>,
}

#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Sorted by id.
    subjects: Vec<Subject>,
    /// Those whose turn is still to come in this round, the next one last.
    round: Vec<ShortId>,
    /// Subjects that fell silent since any was heard.
    pub silenced: usize,
}

impl Watch {
    /// Takes a new list; keeps what is known of who stays. Returns who goes.
    pub fn set(&mut self, now: Time, me: ShortId, list: Vec<Watched>, rng: &mut Rng) -> Vec<ShortId> {
        let mut seen = BTreeSet::new();
        let mut before = std::mem::take(&mut self.subjects);
        let mut subjects = Vec::with_capacity(list.len().min(SUBJECTS_MAX));
        let mut come = Vec::new();
        for watched in list {
            if seen.len() == SUBJECTS_MAX || watched.subject == me || !seen.insert(watched.subject) {
                continue;
            }
            let mut co_observers = watched.co_observers;
            co_observers.retain(|id| *id != me && *id != watched.subject);
            co_observers.sort_unstable();
            co_observers.dedup();
            co_observers.truncate(OBSERVERS_MAX);
            let found = before.binary_search_by_key(&watched.subject, |subject| subject.id);
            let (heard, is_silent, attempt, rtt) = match found.map(|at| &mut before[at]) {
                Ok(known) => (known.heard, known.is_silent, known.attempt.take(), known.rtt),
                Err(_) => {
                    come.push(watched.subject);
                    (now, false, None, Duration::ZERO)
                }
            };
            let rtt = if watched.rtt.is_zero() { rtt } else { watched.rtt };
            let id = watched.subject;
            subjects.push(Subject { id, rtt, co_observers, heard, is_silent, attempt });
        }
        subjects.sort_unstable_by_key(|subject| subject.id);
        self.subjects = subjects;
        self.round.retain(|id| seen.contains(id));
        for id in come {
            let place = rng.below(self.round.len() as u64 + 1) as usize;
            self.round.insert(place, id);
        }
        before.iter().map(|subject| subject.id).filter(|id| !seen.contains(id)).collect()
    }

    /// Whose turn it is: each once in a round, in a new order every round (SWIM, section 4.3).
    pub fn next(&mut self, rng: &mut Rng) -> Option<ShortId> {
        if self.round.is_empty() {
            self.round.extend(self.subjects.iter().map(|subject| subject.id));
            rng.shuffle(&mut self.round);
        }
        self.round.pop()
    }

    pub fn get(&self, id: ShortId) -> Option<&Subject> {
        let at = self.subjects.binary_search_by_key(&id, |subject| subject.id).ok()?;
        self.subjects.get(at)
    }

    pub fn get_mut(&mut self, id: ShortId) -> Option<&mut Subject> {
        let at = self.subjects.binary_search_by_key(&id, |subject| subject.id).ok()?;
        self.subjects.get_mut(at)
    }

    pub fn remove(&mut self, id: ShortId) {
        self.subjects.retain(|subject| subject.id != id);
        self.round.retain(|other| *other != id);
    }

    /// Notes that a subject gave an answer or sent anything else.
    pub fn heard(&mut self, now: Time, id: ShortId) {
        let Some(subject) = self.get_mut(id) else { return };
        subject.heard = subject.heard.max(now);
        subject.is_silent = false;
        self.silenced = 0;
    }

    /// Notes that a subject gave no answer.
    pub fn missed(&mut self, id: ShortId) {
        let Some(subject) = self.get_mut(id) else { return };
        if !std::mem::replace(&mut subject.is_silent, true) {
            self.silenced = self.silenced.saturating_add(1);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.subjects.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Subject> {
        self.subjects.iter()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Subject> {
        self.subjects.iter_mut()
    }

    pub fn check(&self) {
        assert!(self.subjects.is_sorted_by(|one, other| one.id < other.id), "subjects out of order");
        assert!(self.subjects.len() <= SUBJECTS_MAX, "too many subjects");
        assert!(self.round.len() <= self.subjects.len(), "a turn too many");
        assert!(self.round.iter().all(|id| self.get(*id).is_some()), "a turn of nobody");
        let is_short = |subject: &Subject| subject.co_observers.len() <= OBSERVERS_MAX;
        assert!(self.subjects.iter().all(is_short), "too many observers");
    }
}
