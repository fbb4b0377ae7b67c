//! What was promised to whom, and what came of it.
//!
//! An agent publishes on one subject, so that what a subscription gets of an agent has consecutive
//! sequences. A subscription is owed everything that is published after it was confirmed, until its
//! connection ends or a gap is reported.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use starling_core::hash::HashMap;
use starling_core::interest::Pattern;
use starling_core::time::Time;

/// What a client got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// The entry of an agent with this sequence.
    Entry(u64, u64),
    /// An entry of this agent that is not what it published.
    Changed(u64),
    /// An entry of nobody.
    Stranger,
    /// An entry on this subject, which the client did not subscribe to.
    Unasked(Bytes),
}

/// Something that came and should not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Forgery {
    /// An entry of this agent that is not what it published.
    Changed(u64),
    /// An entry that this agent has not published.
    Early(u64, u64),
    /// An entry of nobody.
    Stranger,
    /// An entry that was not asked for.
    Unasked(Bytes),
}

impl std::fmt::Display for Forgery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Forgery::Changed(agent) => write!(f, "another entry of agent {agent} than it published"),
            Forgery::Early(agent, sequence) => {
                write!(f, "entry {sequence} of agent {agent}, which it has not published")
            }
            Forgery::Stranger => write!(f, "an entry of nobody"),
            Forgery::Unasked(subject) => {
                write!(f, "an entry on {}, which it did not ask for", String::from_utf8_lossy(subject))
            }
        }
    }
}

/// A promise that was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Breach {
    /// Came twice.
    Twice,
    /// Came after a later one.
    Overtaken,
    /// Did not come, and no gap was reported.
    Lost {
        /// The first that is missing.
        sequence: u64,
        /// When it was published.
        published: Option<Time>,
    },
}

#[derive(Debug, Default)]
struct Publisher {
    subject: Bytes,
    /// When each entry was published, by sequence from 1.
    times: Vec<Time>,
    /// How many entries of all agents were published before each of them.
    turns: Vec<u64>,
}

impl Publisher {
    /// The last sequence that was published before so many entries of all agents were.
    fn before(&self, turn: u64) -> u64 {
        self.turns.partition_point(|at| *at < turn) as u64
    }
}

/// Entries that did not come although later ones did.
#[derive(Clone, Copy, Debug)]
struct Hole {
    client: usize,
    agent: u64,
    first: u64,
    seen: Time,
}

#[derive(Clone, Debug, Default)]
struct Subscriber {
    /// What it wants, and how many entries had been published when that was in force.
    confirmed: Option<(Pattern, u64)>,
    /// What was published before may be missing.
    gap: Option<Time>,
}

/// Everything published, and everything owed.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    publishers: Vec<Publisher>,
    subscribers: Vec<Subscriber>,
    /// Entries of all publishers.
    entries: u64,
    /// The last sequence of an agent (second) that a client (first) got.
    last: HashMap<(u32, u32), u64>,
    holes: Vec<Hole>,
    /// Broken promises with the client and the agent, bounded.
    pub breaches: Vec<(Breach, usize, u64)>,
    /// What came and should not exist, with the client, bounded.
    pub forgeries: Vec<(Forgery, usize)>,
    pub delivered: u64,
    /// How long each of them took from its publisher's connection to its subscriber's.
    pub delays: Vec<Duration>,
    pub gaps: u64,
    /// Copies of earlier connections that a client drops.
    pub dropped: u64,
}

/// A gap that is told is told within this.
const GAP_WITHIN: Duration = Duration::from_secs(5);
/// Breaches that are kept for the report.
const BREACHES_MAX: usize = 1000;

impl Journal {
    /// `clients` clients, and agents that publish on these subjects.
    pub fn new(clients: usize, subjects: Vec<Bytes>) -> Journal {
        let publishers = subjects.into_iter().map(|subject| Publisher { subject, ..Publisher::default() });
        Journal {
            publishers: publishers.collect(),
            subscribers: vec![Subscriber::default(); clients],
            ..Journal::default()
        }
    }

    /// All subjects on which agents publish, each once.
    pub fn subjects(&self) -> BTreeSet<&str> {
        let subjects = self.publishers.iter().map(|publisher| std::str::from_utf8(&publisher.subject));
        subjects.flatten().collect()
    }

    pub fn subject_of(&self, agent: u64) -> Bytes {
        self.publishers[agent as usize].subject.clone()
    }

    /// An agent publishes; returns the sequence.
    pub fn published(&mut self, agent: u64, now: Time) -> u64 {
        let publisher = &mut self.publishers[agent as usize];
        publisher.times.push(now);
        publisher.turns.push(self.entries);
        self.entries += 1;
        publisher.times.len() as u64
    }

    /// How many entries were published.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// A client's subscription is in force.
    pub fn confirmed(&mut self, client: usize, pattern: &Pattern) {
        self.subscribers[client].confirmed = Some((pattern.clone(), self.entries));
    }

    /// A client's connection ended.
    pub fn interrupted(&mut self, client: usize) {
        self.subscribers[client].confirmed = None;
    }

    /// Entries that are missing, and of which no gap was told for too long.
    pub fn look(&mut self, now: Time) {
        let late = |hole: &Hole| now.since(hole.seen) >= GAP_WITHIN;
        for hole in self.holes.extract_if(.., |hole| late(hole)).collect::<Vec<_>>() {
            let published = self.publishers[hole.agent as usize].times.get(hole.first as usize - 1);
            if self.breaches.len() < BREACHES_MAX {
                let what = Breach::Lost { sequence: hole.first, published: published.copied() };
                self.breaches.push((what, hole.client, hole.agent));
            }
        }
    }

    /// A client was told of a gap.
    pub fn gap(&mut self, client: usize, now: Time) {
        self.gaps += 1;
        self.subscribers[client].gap = Some(now);
        self.holes.retain(|hole| hole.client != client);
    }

    fn breach(&mut self, breach: Breach, client: usize, agent: u64) {
        if self.breaches.len() < BREACHES_MAX {
            self.breaches.push((breach, client, agent));
        }
    }

    fn forged(&mut self, forgery: Forgery, client: usize) {
        if self.forgeries.len() < BREACHES_MAX {
            self.forgeries.push((forgery, client));
        }
    }

    fn newest(&self, agent: u64) -> u64 {
        self.publishers[agent as usize].times.len() as u64
    }

    /// A client got something.
    pub fn saw(&mut self, client: usize, seen: Seen, now: Time) {
        let (agent, sequence) = match seen {
            Seen::Entry(agent, sequence) if sequence <= self.newest(agent) => (agent, sequence),
            Seen::Entry(agent, sequence) => return self.forged(Forgery::Early(agent, sequence), client),
            Seen::Changed(agent) => return self.forged(Forgery::Changed(agent), client),
            Seen::Stranger => return self.forged(Forgery::Stranger, client),
            Seen::Unasked(subject) => return self.forged(Forgery::Unasked(subject), client),
        };
        let key = (client as u32, agent as u32);
        let last = self.last.get(&key).copied().unwrap_or(0);
        let subscriber = &self.subscribers[client];
        let publisher = &self.publishers[agent as usize];
        // What comes while a subscription is not confirmed yet is welcome and not owed.
        let floor = subscriber.confirmed.as_ref().map(|(_, turn)| publisher.before(*turn));
        if sequence <= last {
            match floor.is_some_and(|floor| sequence > floor) {
                // Copies that an earlier connection brought are dropped by the client.
                false => self.dropped += 1,
                true if sequence == last => self.breach(Breach::Twice, client, agent),
                true => self.breach(Breach::Overtaken, client, agent),
            }
            return;
        }
        let published = publisher.times.get(sequence as usize - 1);
        self.delays.extend(published.map(|at| now.since(*at)));
        let mut missing = last.max(floor.unwrap_or(u64::MAX)).saturating_add(1)..sequence;
        let first = missing.find(|sequence| self.is_owed(agent, *sequence, subscriber));
        self.delivered += 1;
        self.holes.extend(first.map(|first| Hole { client, agent, first, seen: now }));
        self.last.insert(key, sequence);
    }

    fn is_owed(&self, agent: u64, sequence: u64, subscriber: &Subscriber) -> bool {
        let times = &self.publishers[agent as usize].times;
        let published = usize::try_from(sequence - 1).ok().and_then(|at| times.get(at));
        published.is_some_and(|at| subscriber.gap.is_none_or(|gap| *at > gap))
    }

    /// What is owed and has not come, for all whose connection still holds.
    pub fn outstanding(&self) -> Vec<(usize, u64)> {
        let mut by_subject: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (agent, publisher) in self.publishers.iter().enumerate().filter(|(_, of)| !of.times.is_empty()) {
            let subject = std::str::from_utf8(&publisher.subject).unwrap_or_default();
            by_subject.entry(subject).or_default().push(agent);
        }
        let mut found = Vec::new();
        for (client, subscriber) in self.subscribers.iter().enumerate() {
            let Some((pattern, turn)) = &subscriber.confirmed else { continue };
            let wanted = by_subject.iter().filter(|(subject, _)| pattern.matches(subject));
            for agent in wanted.flat_map(|(_, agents)| agents) {
                let last = self.last.get(&(client as u32, *agent as u32)).copied().unwrap_or(0);
                let publisher = &self.publishers[*agent];
                let mut missing = last.max(publisher.before(*turn)) + 1..=publisher.times.len() as u64;
                if missing.any(|sequence| self.is_owed(*agent as u64, sequence, subscriber)) {
                    found.push((client, *agent as u64));
                }
            }
        }
        found.sort_unstable();
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal() -> Journal {
        let mut journal = Journal::new(1, vec![Bytes::from_static(b"a.b")]);
        journal.published(0, Time::from_millis(1));
        journal.confirmed(0, &Pattern::parse("a.>").expect("a pattern"));
        (2..6).for_each(|at| {
            journal.published(0, Time::from_millis(at));
        });
        journal
    }

    #[test]
    fn what_comes_in_order_after_the_confirmation_is_as_promised() {
        let mut journal = journal();
        (2..6).for_each(|sequence| journal.saw(0, Seen::Entry(0, sequence), Time::ZERO));
        assert_eq!(journal.breaches, vec![]);
        assert_eq!(journal.outstanding(), vec![]);
        assert_eq!((journal.delivered, journal.entries()), (4, 5));
    }

    #[test]
    fn every_breach_is_seen() {
        let mut journal = journal();
        for seen in [2, 2, 4, 3].map(|sequence| Seen::Entry(0, sequence)) {
            journal.saw(0, seen, Time::ZERO);
        }
        journal.look(Time::ZERO + GAP_WITHIN);
        journal.saw(0, Seen::Entry(0, 6), Time::ZERO);
        journal.saw(0, Seen::Changed(0), Time::ZERO);
        let lost = Breach::Lost { sequence: 3, published: Some(Time::from_millis(3)) };
        let breaches: Vec<Breach> = journal.breaches.iter().map(|(breach, ..)| *breach).collect();
        assert_eq!(breaches, vec![Breach::Twice, Breach::Overtaken, lost]);
        assert_eq!(journal.forgeries, vec![(Forgery::Early(0, 6), 0), (Forgery::Changed(0), 0)]);
        assert_eq!(journal.outstanding(), vec![(0, 0)], "the fifth");
    }

    #[test]
    fn a_gap_and_a_new_connection_excuse_what_was_before() {
        let mut journal = journal();
        journal.saw(0, Seen::Entry(0, 5), Time::ZERO);
        journal.gap(0, Time::from_millis(4));
        journal.look(Time::ZERO + GAP_WITHIN);
        assert_eq!(journal.breaches, vec![]);
        journal.interrupted(0);
        journal.published(0, Time::from_millis(9));
        assert_eq!(journal.outstanding(), vec![], "nothing is owed to who is away");
        journal.confirmed(0, &Pattern::parse("a.>").expect("a pattern"));
        journal.saw(0, Seen::Entry(0, 5), Time::ZERO);
        assert_eq!((journal.breaches.len(), journal.dropped), (0, 1));
    }
}
