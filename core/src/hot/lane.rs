//! The way out of one class: what is numbered, what is kept until everybody has it, and in which runs it
//! goes.

use std::collections::VecDeque;

use super::copies::Copies;
use super::counters::Counters;
use super::owed::{Owed, passage, send};
use super::own::{Publication, Step};
use super::seal::{Author, Open};
use crate::hash::HashMap;
use crate::machine::{Destination, LinkSlot};
use crate::wire::bundle::{Bundle, Class};

/// A bundle that somebody lacks.
#[derive(Debug)]
pub(super) struct Retained {
    pub bundle: Bundle,
    /// Whom to tell when everybody has it.
    pub authors: Vec<Author>,
    /// Who lacks it.
    pub owed: Vec<Owed>,
    /// Directed sections that found nobody.
    pub missing: Vec<u16>,
}

/// The way out of one class.
#[derive(Debug)]
pub(super) struct Lane {
    pub class: Class,
    /// The next bundle's sequence.
    pub next: u64,
    /// The bundle in the making.
    pub open: Open,
    /// What does not fit into it while the window is full.
    pub backlog: VecDeque<Publication>,
    pub backlog_bytes: usize,
    /// Bundles by sequence, contiguous; completed ones become `None` until the front is.
    pub retained: VecDeque<Option<Retained>>,
    /// The way that the present run to a destination takes.
    pub runs: HashMap<Destination, LinkSlot>,
}

impl Lane {
    /// An empty one.
    pub fn new(class: Class) -> Lane {
        Lane {
            class,
            next: 1,
            open: Open::default(),
            backlog: VecDeque::new(),
            backlog_bytes: 0,
            retained: VecDeque::new(),
            runs: HashMap::default(),
        }
    }

    /// The sequence of the oldest bundle that is kept.
    pub fn oldest(&self) -> u64 {
        self.next - self.retained.len() as u64
    }

    /// Sends the bundle sealed last, continuing runs or beginning new ones.
    pub fn send_newest(&mut self, step: &mut Step<'_>) {
        let Some(Some(newest)) = self.retained.back() else { return };
        let mut copies = Copies::default();
        let mut begin = Vec::new();
        for owed in &newest.owed {
            let Some(link) = step.view.link_to(step.plane.me.id, owed.to) else {
                begin.push(owed.to);
                continue;
            };
            let goes_on = self.runs.get(&owed.to) == Some(&link);
            if goes_on || self.is_all_that_is_owed(owed.to) {
                copies.add(link, passage(step, owed, !goes_on), &owed.keep);
                self.runs.insert(owed.to, link);
            } else {
                begin.push(owed.to);
            }
        }
        step.plane.send_copies(step.view, &newest.bundle, copies, step.touched);
        begin.into_iter().for_each(|to| self.begin_run(step, to));
    }

    /// Whether the bundle sealed last is the only one that a destination lacks.
    fn is_all_that_is_owed(&self, to: Destination) -> bool {
        let before = self.retained.iter().rev().skip(1).flatten();
        !before.into_iter().any(|retained| retained.owed.iter().any(|owed| owed.to == to))
    }

    /// Sends everything owed to `to`, in order, over the way in force. Without a way the run begins
    /// when there is one: with the next bundle, or when the machine asks to send again.
    pub fn begin_run(&mut self, step: &mut Step<'_>, to: Destination) {
        self.runs.remove(&to);
        let Some(link) = step.view.link_to(step.plane.me.id, to) else { return };
        let mut is_first = true;
        let newest = self.next - 1;
        for retained in self.retained.iter().flatten() {
            for owed in retained.owed.iter().filter(|owed| owed.to == to) {
                if retained.bundle.sequence != newest {
                    Counters::add(&step.plane.counters.resent_bundles, 1);
                }
                send(step, link, &retained.bundle, owed, is_first);
                is_first = false;
            }
        }
        if !is_first {
            self.runs.insert(to, link);
        }
    }

    /// Where the bundle of a sequence is kept.
    pub fn at(&mut self, sequence: u64) -> Option<&mut Option<Retained>> {
        let place = sequence.checked_sub(self.oldest())?;
        self.retained.get_mut(usize::try_from(place).ok()?)
    }
}
