//! System updates on their way down: kept in order, and told to every follower once.
//!
//! A follower first says how far it is and gets what it lacks; from then on it gets what is new. So
//! a link carries updates in their order and without a gap, whenever it came up. Saying the same
//! twice means that something was not taken, and brings it again.

use std::collections::{BTreeMap, VecDeque};

use crate::machine::{LinkSlot, Outbox};
use crate::wire::message::{ControlBody, Update};

/// Updates kept for followers that were away.
const UPDATES_MAX: usize = 1024;
/// Bytes of payloads kept for them.
const UPDATES_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The newest updates, and who is told of them.
#[derive(Debug, Default)]
pub struct Updates {
    kept: VecDeque<Update>,
    bytes: usize,
    followers: BTreeMap<LinkSlot, u64>,
}

impl Updates {
    /// Index of the newest update; 0 without any.
    pub fn newest(&self) -> u64 {
        self.kept.back().map_or(0, |update| update.index)
    }

    /// The updates after `index` that are still kept, oldest first.
    pub fn after(&self, index: u64) -> impl Iterator<Item = &Update> {
        self.kept.iter().filter(move |update| update.index > index)
    }

    /// Takes the next update and passes it on; false, and nothing done, if it is not the next.
    pub fn push(&mut self, update: Update, out: &mut Outbox) -> bool {
        let follows = self.kept.is_empty() || self.newest().checked_add(1) == Some(update.index);
        if !follows || update.index == 0 {
            return false;
        }
        let followers: Vec<LinkSlot> = self.followers.keys().copied().collect();
        out.send_to_all(&followers, ControlBody::Update(update.clone()));
        self.bytes += update.payload.len();
        self.kept.push_back(update);
        while self.kept.len() > UPDATES_MAX || self.bytes > UPDATES_BYTES_MAX && self.kept.len() > 1 {
            let dropped = self.kept.pop_front().expect("it is longer than a limit");
            self.bytes -= dropped.payload.len();
        }
        true
    }

    /// What comes next need not follow: what lies between is known to nobody any more.
    pub fn begin_anew(&mut self) {
        self.kept.clear();
        self.bytes = 0;
    }

    /// A follower has every update up to `index`.
    pub fn applied(&mut self, link: LinkSlot, index: u64, out: &mut Outbox) {
        let before = self.followers.insert(link, index);
        if before.is_none_or(|before| before == index) {
            let missing = self.kept.iter().filter(|update| update.index > index);
            missing.for_each(|update| out.send(link, ControlBody::Update(update.clone())));
        }
    }

    /// A link is gone.
    pub fn remove(&mut self, link: LinkSlot) {
        self.followers.remove(&link);
    }
}

#[cfg(test)]
mod tests;
