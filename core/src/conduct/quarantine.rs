//! Events that a policy put aside, until somebody decides or their time is up.
//!
//! Bounded in count, bytes and time. Room is made by dropping the oldest of the origin that holds the
//! most bytes, so that one origin's flood pushes out its own events and nobody else's. What is dropped
//! is handed back and counted.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use crate::id::ShortId;
use crate::time::Time;

/// Events held at the most.
pub const HELD_MAX: usize = 4096;
/// Bytes of events held at the most, what goes round them included.
pub const HELD_BYTES_MAX: usize = 8 * 1024 * 1024;
/// How long an event is held.
pub const HELD_TIME_MAX: Duration = Duration::from_secs(60 * 60);
/// What an event counts beside its bytes, so that empty ones are not free.
pub const HELD_OVERHEAD_BYTES: usize = 128;

/// An event that waits. Its bytes should be its own: a slice would keep the whole frame alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The node that sealed it.
    pub origin: ShortId,
    /// The rule that put it here, counted from 1; none where the default did.
    pub rule: Option<u16>,
    /// When it came.
    pub since: Time,
    /// Its subject; empty where it is for one agent.
    pub subject: Bytes,
    /// The entry.
    pub entry: Bytes,
}

impl Held {
    fn cost(&self) -> usize {
        self.subject.len().saturating_add(self.entry.len()).saturating_add(HELD_OVERHEAD_BYTES)
    }
}

/// Names a held event; rises, and is never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// The events that wait.
#[derive(Debug, Default)]
pub struct Quarantine {
    held: BTreeMap<Ticket, Held>,
    origins: BTreeMap<ShortId, Origin>,
    /// Origins by bytes, for finding the one with the most.
    heaviest: BTreeSet<(usize, ShortId)>,
    bytes: usize,
    next: u64,
    dropped: u64,
    expired: u64,
}

#[derive(Debug, Default)]
struct Origin {
    bytes: usize,
    /// Oldest first; some may have been released, and are passed over.
    tickets: VecDeque<Ticket>,
}

impl Quarantine {
    /// Nothing waits.
    pub fn new() -> Quarantine {
        Quarantine::default()
    }

    /// Keeps an event and hands back what had to go for it: usually nothing, and the event itself where
    /// it is larger than all the room there is.
    pub fn hold(&mut self, event: Held) -> Vec<Held> {
        if event.cost() > HELD_BYTES_MAX {
            self.dropped += 1;
            return vec![event];
        }
        let ticket = Ticket(self.next);
        self.next += 1;
        self.weigh(event.origin, |origin| {
            origin.bytes += event.cost();
            origin.tickets.push_back(ticket);
        });
        self.bytes += event.cost();
        self.held.insert(ticket, event);
        let mut gone = Vec::new();
        while self.held.len() > HELD_MAX || self.bytes > HELD_BYTES_MAX {
            let (_, origin) = *self.heaviest.last().expect("what is held has an origin");
            let oldest = self.origins.get(&origin).and_then(|origin| origin.tickets.front().copied());
            gone.extend(oldest.and_then(|oldest| self.release(oldest)));
        }
        self.dropped += gone.len() as u64;
        gone
    }

    /// Takes out an event that somebody decided on.
    pub fn release(&mut self, ticket: Ticket) -> Option<Held> {
        let event = self.held.remove(&ticket)?;
        self.bytes -= event.cost();
        self.weigh(event.origin, |origin| {
            origin.bytes -= event.cost();
            // Mostly the oldest goes, which is in front.
            if let Some(at) = origin.tickets.iter().position(|held| *held == ticket) {
                origin.tickets.remove(at);
            }
        });
        Some(event)
    }

    /// Hands back one event whose time is up; call until `None`.
    pub fn expire(&mut self, now: Time) -> Option<Held> {
        let due = self.deadline()? <= now;
        let ticket = self.held.first_key_value().filter(|_| due).map(|(ticket, _)| *ticket)?;
        self.expired += 1;
        self.release(ticket)
    }

    /// When the next event's time is up.
    pub fn deadline(&self) -> Option<Time> {
        self.held.first_key_value().map(|(_, oldest)| oldest.since + HELD_TIME_MAX)
    }

    /// The events that wait, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (Ticket, &Held)> + '_ {
        self.held.iter().map(|(ticket, event)| (*ticket, event))
    }

    /// Events that wait.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Bytes that they count.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Events dropped for want of room.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Events whose time was up.
    pub fn expired(&self) -> u64 {
        self.expired
    }

    /// Changes what is known of an origin and keeps the order of the heaviest.
    fn weigh(&mut self, id: ShortId, change: impl FnOnce(&mut Origin)) {
        let origin = self.origins.entry(id).or_default();
        self.heaviest.remove(&(origin.bytes, id));
        change(origin);
        if origin.tickets.is_empty() {
            self.origins.remove(&id);
        } else {
            self.heaviest.insert((origin.bytes, id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn event(origin: u64, since: u64, bytes: usize) -> Held {
        Held {
            origin: ShortId(origin),
            rule: Some(1),
            since: Time(since),
            subject: Bytes::from_static(b"a"),
            entry: Bytes::from(vec![0; bytes]),
        }
    }

    #[test]
    fn a_flood_pushes_out_its_own() {
        let mut store = Quarantine::new();
        assert!(store.hold(event(1, 0, 10)).is_empty());
        let gone: usize = (0..2 * HELD_MAX as u64)
            .map(|n| store.hold(event(2, n, 10)).iter().filter(|held| held.origin == ShortId(2)).count())
            .sum();
        assert_eq!((gone, store.len()), (HELD_MAX + 1, HELD_MAX));
        assert_eq!(store.dropped(), HELD_MAX as u64 + 1);
        assert_eq!(
            store.iter().next().map(|(ticket, held)| (ticket, held.origin)),
            Some((Ticket(0), ShortId(1)))
        );
        let huge = event(3, 0, HELD_BYTES_MAX);
        assert_eq!(store.hold(huge.clone()), [huge]);
        let large = store.hold(event(3, 0, HELD_BYTES_MAX - 1_000));
        assert!(store.bytes() <= HELD_BYTES_MAX && !large.is_empty());
    }

    #[test]
    fn time_is_bounded_too() {
        let mut store = Quarantine::new();
        (0..3).for_each(|n| assert!(store.hold(event(n, n, 1)).is_empty()));
        assert_eq!(store.deadline(), Some(Time(0) + HELD_TIME_MAX));
        let now = Time(1) + HELD_TIME_MAX;
        assert_eq!(std::iter::from_fn(|| store.expire(now)).count(), 2);
        assert_eq!((store.expired(), store.len()), (2, 1));
        assert!(store.release(Ticket(2)).is_some());
        assert!(store.release(Ticket(2)).is_none());
        assert_eq!((store.deadline(), store.bytes()), (None, 0));
    }

    proptest! {
        #[test]
        fn nothing_gets_lost_or_over_the_bounds(
            steps in prop::collection::vec((0..5u64, 0..6_000_000usize, prop::option::of(0..60u64)), 0..60),
        ) {
            let mut store = Quarantine::new();
            let (mut put, mut out) = (0, 0);
            for (now, (origin, bytes, release)) in (0..).zip(steps) {
                put += 1;
                out += store.hold(event(origin, now, bytes)).len();
                out += release.and_then(|ticket| store.release(Ticket(ticket))).iter().count();
                prop_assert_eq!(put - out, store.len());
                prop_assert!(store.bytes() <= HELD_BYTES_MAX && store.len() <= HELD_MAX);
                prop_assert_eq!(store.iter().map(|(_, held)| held.cost()).sum::<usize>(), store.bytes());
                let by_origin: usize = store.origins.values().map(|origin| origin.bytes).sum();
                prop_assert_eq!((by_origin, store.heaviest.len()), (store.bytes(), store.origins.len()));
            }
        }
    }
}
