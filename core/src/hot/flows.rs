//! Once, also when a publisher moved: duplicates among entries, across origins.
//!
//! A client whose edge died sends what was not acknowledged again through another edge, under the
//! same agent sequences. Those entries come in new bundles, so the bundles' window cannot tell.
//! For each flow (agent, subject, class) that is delivered here the newest sequence is kept; an
//! entry at or below it is a duplicate. Order within a flow makes this exact.
//!
//! Messages to one agent may change places while the agent's home is looked for, so for those flows
//! the newest [`RECENT`] sequences themselves are kept.
//!
//! A flow is remembered for one to two generations of [`GENERATION`]; clients give up sending
//! again long before.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use papaya::{Compute, Operation};

use crate::hash::Folded;
use crate::id::AgentId;
use crate::time::Time;
use crate::wire::bundle::Class;
use std::hash::{BuildHasherDefault, Hasher};

/// How long a quiet flow is remembered at least.
pub const GENERATION: Duration = Duration::from_secs(60);

/// How many sequences are remembered of a flow to one agent; whatever is older is a duplicate.
pub const RECENT: usize = 64;

type Key = (u64, u64);
type Map<V> = papaya::HashMap<Key, V, BuildHasherDefault<Folded>>;

/// The newest sequences of a flow to one agent, ascending.
#[derive(Clone, Debug, Default)]
struct Recent {
    past: u64,
    sequences: Vec<u64>,
}

impl Recent {
    /// This and `sequence`; `None` when it came before.
    fn with(&self, sequence: u64) -> Option<Recent> {
        let place = self.sequences.binary_search(&sequence).err()?;
        if sequence <= self.past {
            return None;
        }
        let mut recent = Recent { past: self.past, sequences: Vec::with_capacity(self.sequences.len() + 1) };
        recent.sequences.extend_from_slice(&self.sequences[..place]);
        recent.sequences.push(sequence);
        recent.sequences.extend_from_slice(&self.sequences[place..]);
        if recent.sequences.len() > RECENT {
            recent.past = recent.sequences.remove(0);
        }
        Some(recent)
    }
}

/// What of a run of entries is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fresh {
    /// All of it.
    All,
    /// Sequences above this one.
    Above(u64),
    /// Nothing.
    Nothing,
}

/// Two generations of flows: what is used in the present one is kept for the next.
#[derive(Debug)]
struct Generations<V> {
    current: ArcSwap<Map<V>>,
    previous: ArcSwap<Map<V>>,
}

impl<V> Default for Generations<V> {
    fn default() -> Generations<V> {
        Generations {
            current: ArcSwap::from_pointee(Map::default()),
            previous: ArcSwap::from_pointee(Map::default()),
        }
    }
}

impl<V> Generations<V> {
    /// The full map is the previous one before it stops being the present one, so that at no time a
    /// flow is in neither.
    fn rotate(&self) {
        self.previous.store(self.current.load_full());
        self.current.store(Arc::new(Map::default()));
    }
}

/// Newest sequences by flow.
#[derive(Debug)]
pub struct Flows {
    subjects: Generations<Arc<AtomicU64>>,
    inboxes: Generations<Recent>,
    rotated: AtomicU64,
}

impl Default for Flows {
    fn default() -> Flows {
        Flows {
            subjects: Generations::default(),
            inboxes: Generations::default(),
            rotated: AtomicU64::new(0),
        }
    }
}

/// A hash of a subject under a secret of this process.
pub fn subject_hash(secret: u64, class: Class, subject: &[u8]) -> u64 {
    let mut hasher = Folded::default();
    hasher.write_u64(secret ^ class as u64);
    hasher.write(subject);
    hasher.finish()
}

impl Flows {
    /// Accepts the ascending run `first..=last` of `agent` in the flow of `subject`.
    pub fn accept(&self, agent: AgentId, subject: u64, first: u64, last: u64) -> Fresh {
        let key = key_of(agent, subject);
        let current = self.subjects.current.load();
        let pinned = current.pin();
        let newest = match pinned.get(&key) {
            Some(newest) => newest,
            None => {
                // Shared with the generation before, where another thread may just be counting on.
                let before = self.subjects.previous.load().pin().get(&key).cloned();
                pinned.get_or_insert_with(key, || before.unwrap_or_default())
            }
        };
        match newest.fetch_max(last, Ordering::Relaxed) {
            before if before < first => Fresh::All,
            before if before >= last => Fresh::Nothing,
            before => Fresh::Above(before),
        }
    }

    /// Accepts one message of `agent` in the flow to the agent whose inbox hashes to `inbox`; false
    /// for a duplicate.
    pub fn accept_directed(&self, agent: AgentId, inbox: u64, sequence: u64) -> bool {
        let key = key_of(agent, inbox);
        let current = self.inboxes.current.load();
        let previous = self.inboxes.previous.load();
        let (pinned, before) = (current.pin(), previous.pin());
        let outcome = pinned.compute(key, |known| {
            let next = match known.map(|(_, recent)| recent).or_else(|| before.get(&key)) {
                Some(recent) => recent.with(sequence),
                None => Recent::default().with(sequence),
            };
            next.map_or(Operation::Abort(()), Operation::Insert)
        });
        !matches!(outcome, Compute::Aborted(()))
    }

    /// Begins a new generation when it is time; called a few times a second.
    pub fn rotate(&self, now: Time) {
        let rotated = self.rotated.load(Ordering::Relaxed);
        let is_due = now.since(Time(rotated)) >= GENERATION;
        // Of several callers one begins it; two generations at once would forget everything.
        let order = Ordering::Relaxed;
        if is_due && self.rotated.compare_exchange(rotated, now.0, order, order).is_ok() {
            self.subjects.rotate();
            self.inboxes.rotate();
        }
    }
}

fn key_of(agent: AgentId, subject: u64) -> Key {
    let (low, high) = agent.0.split_at(8);
    let word = |half: &[u8]| u64::from_le_bytes(half.try_into().expect("an agent's id has two halves of 8"));
    let mut hasher = Folded::default();
    hasher.write_u64(word(high));
    hasher.write_u64(subject);
    (word(low), hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_sent_again_is_cut_to_what_is_new_over_a_generation() {
        let flows = Flows::default();
        let agent = AgentId([3; 16]);
        assert_eq!(flows.accept(agent, 1, 10, 20), Fresh::All);
        assert_eq!(flows.accept(agent, 1, 15, 25), Fresh::Above(20));
        assert_eq!(flows.accept(agent, 1, 15, 25), Fresh::Nothing);
        assert_eq!(flows.accept(agent, 2, 15, 25), Fresh::All);
        flows.rotate(Time::from_millis(61_000));
        assert_eq!(flows.accept(agent, 1, 25, 26), Fresh::Above(25));
        flows.rotate(Time::from_millis(62_000));
        assert_eq!(flows.accept(agent, 1, 26, 26), Fresh::Nothing);
        flows.rotate(Time::from_millis(130_000));
        flows.rotate(Time::from_millis(200_000));
        assert_eq!(flows.accept(agent, 1, 1, 1), Fresh::All);
    }

    #[test]
    fn messages_to_one_agent_may_change_places_and_are_still_taken_once() {
        let flows = Flows::default();
        let agent = AgentId([3; 16]);
        assert!(flows.accept_directed(agent, 1, 9));
        assert!(flows.accept_directed(agent, 1, 4));
        assert!(!flows.accept_directed(agent, 1, 9));
        flows.rotate(Time::from_millis(61_000));
        assert!(!flows.accept_directed(agent, 1, 4));
        assert!(flows.accept_directed(agent, 1, 5));
        assert!(flows.accept_directed(agent, 2, 4));
        (100..100 + RECENT as u64).for_each(|sequence| assert!(flows.accept_directed(agent, 1, sequence)));
        assert!(!flows.accept_directed(agent, 1, 6), "older than what is remembered");
    }

    #[test]
    fn callers_that_rotate_at_once_begin_one_generation() {
        let flows = Flows::default();
        assert_eq!(flows.accept(AgentId([3; 16]), 1, 10, 20), Fresh::All);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| flows.rotate(Time::from_millis(61_000)));
            }
        });
        assert_eq!(flows.accept(AgentId([3; 16]), 1, 10, 20), Fresh::Nothing);
    }
}
