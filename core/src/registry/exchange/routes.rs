//! The way back of answers: who handed us a request, for as long as answers may come.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::id::ShortId;
use crate::time::Time;

/// Most requests open at once, own and passed on; a further one is not taken.
pub const ROUTES_MAX: usize = 1_024;
/// How long answers to a request are passed on.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Most answers to one request that a node passes on or takes.
pub const ANSWERS_MAX: usize = 16;

/// A request: who asks, and its number.
pub(super) type Key = (ShortId, u64);

#[derive(Clone, Debug)]
struct Route {
    /// The neighbour it came from; `None` for one's own.
    back: Option<ShortId>,
    answerers: Vec<ShortId>,
}

/// Open requests. All live equally long, so the oldest is the next to end.
#[derive(Clone, Debug, Default)]
pub(super) struct Routes {
    open: BTreeMap<Key, Route>,
    order: VecDeque<(Time, Key)>,
}

impl Routes {
    /// Opens a request; false where it is open already or there is no room.
    pub(super) fn open(&mut self, key: Key, back: Option<ShortId>, now: Time) -> bool {
        if self.order.len() >= ROUTES_MAX || self.open.contains_key(&key) {
            return false;
        }
        self.open.insert(key, Route { back, answerers: Vec::new() });
        self.order.push_back((now + REQUEST_TIMEOUT, key));
        true
    }

    pub(super) fn close(&mut self, key: Key) {
        self.open.remove(&key);
        self.order.retain(|(_, open)| *open != key);
    }

    /// Where an answer goes; `None` where it is not wanted, or came before.
    pub(super) fn answer(&mut self, key: Key, answerer: ShortId) -> Answer {
        let Some(route) = self.open.get_mut(&key) else { return Answer::Unasked };
        if route.answerers.contains(&answerer) {
            return Answer::Duplicate;
        }
        if route.answerers.len() >= ANSWERS_MAX {
            return Answer::Enough;
        }
        route.answerers.push(answerer);
        route.back.map_or(Answer::ForUs, Answer::PassOn)
    }

    /// Ends what is over.
    pub(super) fn expire(&mut self, now: Time) -> Vec<Key> {
        let mut over = Vec::new();
        while let Some(&(at, key)) = self.order.front()
            && at <= now
        {
            self.order.pop_front();
            self.open.remove(&key);
            over.push(key);
        }
        over
    }

    pub(super) fn next(&self) -> Option<Time> {
        self.order.front().map(|(at, _)| *at)
    }
}

/// What to do with a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// This node asked.
    ForUs,
    /// It goes on to this neighbour.
    PassOn(ShortId),
    /// The same node answered before.
    Duplicate,
    /// There were enough answers.
    Enough,
    /// Nobody asked, or it is too late.
    Unasked,
}
