//! The accusations against one member, and when they suffice.

use super::statement::{Kind, Life, Statement};
use crate::id::ShortId;
use crate::time::Time;

/// Accusations kept against one member; twice the accusers that rules may ask for fit.
pub const ACCUSATIONS_MAX: usize = 32;

#[derive(Clone, Copy, Debug)]
pub(super) struct Accusation {
    pub speaker: ShortId,
    pub kind: Kind,
    pub life: Life,
    pub said: u64,
    /// Until when it counts.
    pub until: Time,
}

#[derive(Debug, Default)]
pub(super) struct Case {
    /// One of a speaker: of two lives the later, of one life a confirmation before a suspicion.
    accusations: Vec<Accusation>,
    /// Since when at least one counts.
    pub opened: Option<Time>,
    /// When the accused was told.
    pub doubted: Option<Time>,
    /// Whether its end was put off once because this node was late.
    pub is_graced: bool,
}

impl Case {
    /// Takes an accusation; false where the same or more is known, or there is no room.
    pub fn add(&mut self, statement: &Statement, until: Time, known: Life) -> bool {
        let Statement { speaker, kind, subject: _, life, said } = *statement;
        let new = Accusation { speaker, kind, life, said, until };
        if let Some(old) = self.accusations.iter_mut().find(|old| old.speaker == speaker) {
            let is_more = (old.life, old.kind) < (life, kind);
            if is_more {
                *old = new;
            }
            return is_more;
        }
        if self.accusations.len() == ACCUSATIONS_MAX {
            // Those of a life that nobody heard of may be inventions and make room first.
            let invented = self.accusations.iter().position(|old| old.life > known);
            let Some(at) = invented.filter(|_| life == known) else { return false };
            self.accusations.swap_remove(at);
        }
        self.accusations.push(new);
        true
    }

    pub fn has(&self, statement: &Statement) -> bool {
        let is_known = |old: &&Accusation| old.speaker == statement.speaker;
        let old = self.accusations.iter().find(is_known);
        old.is_some_and(|old| (old.life, old.kind) >= (statement.life, statement.kind))
    }

    /// Drops what lapsed and what is of lives that are over.
    pub fn prune(&mut self, now: Time, life: Life) {
        self.accusations.retain(|accusation| accusation.until > now && accusation.life >= life);
    }

    pub fn of(&self, life: Life) -> impl Iterator<Item = &Accusation> {
        self.accusations.iter().filter(move |accusation| accusation.life == life)
    }

    /// Those that a life refutes: of the same incarnation and an earlier refutation. A restart does
    /// not refute those who saw the node go down.
    pub fn refuted_by(&self, life: Life) -> impl Iterator<Item = &Accusation> {
        let is_refuted = move |accusation: &&Accusation| {
            accusation.life.incarnation == life.incarnation && accusation.life < life
        };
        self.accusations.iter().filter(is_refuted)
    }

    pub fn lapses(&self) -> Option<Time> {
        self.accusations.iter().map(|accusation| accusation.until).min()
    }

    pub fn is_empty(&self) -> bool {
        self.accusations.is_empty()
    }

    pub fn len(&self) -> usize {
        self.accusations.len()
    }
}
