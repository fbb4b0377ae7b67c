//! Once, also when the client moved: copies of entries that came by an earlier connection.
//!
//! An edge delivers to its own subscribers before it acknowledges to the publisher. If it is lost in
//! between, both move, the publisher's client publishes the entry again under the same sequence, and
//! their new edge, which never had it, delivers it again (docs/protocol.md#promises). So a
//! subscription or inbox remembers what it handed on of each flow (agent, subject, class).
//!
//! Only what came by an earlier connection makes an entry a copy; within one the edge tells. On a
//! subject the newest sequence says it all, since a flow is in order. Messages to one agent may change
//! places, so of these the newest [`RECENT`] sequences are kept, as edges do.
//!
//! What came by one connection within [`GENERATION`] is forgotten together, one to two generations
//! after it came: publishers give up sending again long before.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use starling_core::hash::HashMap;
use starling_core::hot::flows::RECENT;
use starling_core::id::AgentId;
use starling_core::wire::agent::Deliver;

/// How long a flow is remembered at least.
const GENERATION: Duration = Duration::from_secs(60);
/// How many sequences one reader remembers, over all flows; beyond it the oldest generation goes.
const SEQUENCES_MAX: usize = 32 * 1024;
/// How many a generation holds before the next begins, so that not all are forgotten at once.
const GENERATION_SEQUENCES_MAX: usize = SEQUENCES_MAX / 4;

/// An agent, and a hash of subject and class under a secret of this process.
type Flow = (AgentId, u64);

/// Which connection a delivery came by, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    pub connection: u64,
    pub at: Instant,
}

/// What one subscription or inbox handed on lately.
#[derive(Debug)]
pub(crate) struct Copies {
    secret: RandomState,
    /// How many sequences of a flow are kept beside the highest of which nothing below is new.
    recent_max: usize,
    /// The oldest first.
    generations: VecDeque<Generation>,
}

#[derive(Debug)]
struct Generation {
    began: Arrival,
    flows: HashMap<Flow, Handed>,
    sequences: usize,
}

/// What was handed on of one flow.
#[derive(Debug, Default)]
struct Handed {
    /// Sequences below this are copies.
    below: u64,
    /// Those at or above it that were handed on, ascending.
    recent: Vec<u64>,
}

impl Copies {
    /// For subjects, on which each flow is in order.
    pub fn of_subjects() -> Copies {
        Copies { secret: RandomState::new(), recent_max: 0, generations: VecDeque::new() }
    }

    /// For messages to one agent, which may change places.
    pub fn of_inbox() -> Copies {
        Copies { recent_max: RECENT, ..Copies::of_subjects() }
    }

    /// What tells the subject and class of a delivery from others.
    pub fn subject_hash(&self, deliver: &Deliver) -> u64 {
        self.secret.hash_one((&deliver.subject[..], deliver.class as u8))
    }

    /// Whether an entry is to be handed on, which is remembered; `false` for a copy of one that came by
    /// an earlier connection.
    pub fn accept(&mut self, arrival: Arrival, flow: Flow, sequence: u64) -> bool {
        let is_past = |old: &Generation| arrival.at.saturating_duration_since(old.began.at) >= 2 * GENERATION;
        while self.generations.front().is_some_and(is_past) {
            self.generations.pop_front();
        }
        let mut earlier = self.generations.iter().filter(|old| old.began.connection != arrival.connection);
        if earlier.any(|old| old.flows.get(&flow).is_some_and(|handed| handed.has(sequence))) {
            return false;
        }
        let recent_max = self.recent_max;
        let generation = self.present(arrival);
        generation.sequences += generation.flows.entry(flow).or_default().add(sequence, recent_max);
        let mut sequences: usize = self.generations.iter().map(|generation| generation.sequences).sum();
        while sequences > SEQUENCES_MAX {
            sequences -= self.generations.pop_front().map_or(sequences, |oldest| oldest.sequences);
        }
        true
    }

    /// The generation that `arrival` belongs to.
    fn present(&mut self, arrival: Arrival) -> &mut Generation {
        let is_present = |newest: &Generation| {
            newest.began.connection == arrival.connection
                && arrival.at.saturating_duration_since(newest.began.at) < GENERATION
                && newest.sequences < GENERATION_SEQUENCES_MAX
        };
        if !self.generations.back().is_some_and(is_present) {
            let flows = HashMap::default();
            self.generations.push_back(Generation { began: arrival, flows, sequences: 0 });
        }
        self.generations.back_mut().expect("one was there or was just begun")
    }
}

impl Handed {
    fn has(&self, sequence: u64) -> bool {
        sequence < self.below || self.recent.binary_search(&sequence).is_ok()
    }

    /// Remembers a sequence; by how many that is more than before.
    fn add(&mut self, sequence: u64, recent_max: usize) -> usize {
        let is_first = self.below == 0 && self.recent.is_empty();
        let before = self.recent.len();
        if sequence >= self.below
            && let Err(place) = self.recent.binary_search(&sequence)
        {
            self.recent.insert(place, sequence);
            if self.recent.len() > recent_max {
                self.below = self.recent.remove(0).saturating_add(1);
            }
        }
        usize::from(is_first && self.recent.is_empty()) + self.recent.len() - before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOW: Flow = (AgentId([3; 16]), 1);

    fn by(start: Instant, connection: u64, seconds: u64) -> Arrival {
        Arrival { connection, at: start + Duration::from_secs(seconds) }
    }

    #[test]
    fn a_copy_is_what_an_earlier_connection_brought_of_the_same_flow() {
        let (mut copies, start) = (Copies::of_subjects(), Instant::now());
        for sequence in [0, 7, 9] {
            assert!(copies.accept(by(start, 1, 0), FLOW, sequence));
        }
        // Within a connection the edge is believed, also about an agent that counts anew.
        assert!(copies.accept(by(start, 1, 0), FLOW, 2));
        assert!(!copies.accept(by(start, 2, 1), FLOW, 9));
        assert!(!copies.accept(by(start, 2, 1), FLOW, 8));
        assert!(copies.accept(by(start, 2, 1), FLOW, 10));
        assert!(!copies.accept(by(start, 3, 2), FLOW, 9));
        assert!(!copies.accept(by(start, 3, 2), FLOW, 10));
        assert!(copies.accept(by(start, 3, 2), (FLOW.0, 2), 9));
        assert!(copies.accept(by(start, 3, 2), (AgentId([4; 16]), 1), 9));
    }

    #[test]
    fn messages_to_one_agent_may_change_places() {
        let (mut copies, start) = (Copies::of_inbox(), Instant::now());
        assert!(copies.accept(by(start, 1, 0), FLOW, 6));
        assert!(copies.accept(by(start, 1, 0), FLOW, 9));
        assert!(copies.accept(by(start, 2, 0), FLOW, 8));
        assert!(!copies.accept(by(start, 2, 0), FLOW, 6));
        assert!(!copies.accept(by(start, 2, 0), FLOW, 9));
        (100..100 + RECENT as u64).for_each(|next| assert!(copies.accept(by(start, 2, 0), FLOW, next)));
        assert!(copies.accept(by(start, 2, 0), FLOW, 7));
        assert!(!copies.accept(by(start, 3, 0), FLOW, 7), "older than what is remembered");
        assert!(copies.accept(by(start, 3, 0), FLOW, 99 + RECENT as u64 + 1));
    }

    #[test]
    fn a_flow_is_remembered_for_a_generation_after_its_last_entry_and_not_for_three() {
        let (mut copies, start) = (Copies::of_subjects(), Instant::now());
        assert!(copies.accept(by(start, 1, 0), FLOW, 1));
        assert!(copies.accept(by(start, 1, 59), FLOW, 2));
        assert!(!copies.accept(by(start, 2, 59 + 60), FLOW, 2));
        assert!(copies.accept(by(start, 2, 59 + 61), FLOW, 2));
    }

    #[test]
    fn beyond_the_bound_the_oldest_is_forgotten_first() {
        for (mut copies, of_a_flow) in [(Copies::of_subjects(), 1), (Copies::of_inbox(), 2)] {
            let start = Instant::now();
            let flows = (SEQUENCES_MAX / of_a_flow) as u64 + 1;
            for flow in 0..flows {
                for sequence in 0..of_a_flow as u64 {
                    assert!(copies.accept(by(start, 1, 0), (FLOW.0, flow), sequence));
                }
            }
            let sequences: usize = copies.generations.iter().map(|generation| generation.sequences).sum();
            assert!((SEQUENCES_MAX / 2..=SEQUENCES_MAX).contains(&sequences), "{sequences}");
            assert!(!copies.accept(by(start, 2, 0), (FLOW.0, flows - 1), 0));
            assert!(copies.accept(by(start, 2, 0), (FLOW.0, 0), 0));
        }
    }
}
