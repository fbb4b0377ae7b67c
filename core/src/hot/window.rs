//! Exact recognition of duplicates among an origin's bundles of one class.
//!
//! An origin never has more than [`WINDOW_BUNDLES`] sequences open, so whatever is that much older
//! than the newest was acknowledged by us, or never for us. Within the window each sequence that
//! came is kept with eight bytes of its header's hash: a copy is dropped unverified only if the
//! same header was verified before; another header under the same sequence is not a copy.

use std::collections::VecDeque;

use crate::limits::WINDOW_BUNDLES;

/// What is known of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Not yet.
    New,
    /// The same header was accepted.
    Same,
    /// Another header was accepted under this sequence.
    Other,
    /// Older than the window.
    Older,
}

/// Sequences of one (origin, incarnation, class); sparse, since a receiver gets what it wants only.
#[derive(Debug, Default)]
pub struct Window {
    /// Ascending by sequence.
    seen: VecDeque<(u64, u64)>,
    newest: u64,
}

impl Window {
    /// What is known of this sequence and header (the first eight bytes of its hash).
    pub fn look(&self, sequence: u64, header: u64) -> Seen {
        if is_past(sequence, self.newest) {
            return Seen::Older;
        }
        match self.seen.binary_search_by_key(&sequence, |(sequence, _)| *sequence) {
            Ok(at) if self.seen[at].1 == header => Seen::Same,
            Ok(_) => Seen::Other,
            Err(_) => Seen::New,
        }
    }

    /// Remembers a verified header.
    pub fn accept(&mut self, sequence: u64, header: u64) {
        self.newest = self.newest.max(sequence);
        while self.seen.front().is_some_and(|(oldest, _)| is_past(*oldest, self.newest)) {
            self.seen.pop_front();
        }
        match self.seen.back() {
            Some((last, _)) if *last >= sequence => {
                if let Err(at) = self.seen.binary_search_by_key(&sequence, |(sequence, _)| *sequence) {
                    self.seen.insert(at, (sequence, header));
                }
            }
            _ => self.seen.push_back((sequence, header)),
        }
    }
}

/// Whether the window up to `newest` has left `sequence` behind. Sequences come from outside and may be
/// as large as their type.
fn is_past(sequence: u64, newest: u64) -> bool {
    newest.saturating_sub(sequence) >= WINDOW_BUNDLES
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn the_largest_sequences_are_numbers_like_others() {
        let mut window = Window::default();
        assert_eq!(window.look(u64::MAX, 1), Seen::New);
        window.accept(7, 1);
        window.accept(u64::MAX, 1);
        assert_eq!(window.look(u64::MAX, 1), Seen::Same);
        assert_eq!(window.look(u64::MAX - WINDOW_BUNDLES, 1), Seen::Older);
        assert_eq!(window.look(u64::MAX - WINDOW_BUNDLES + 1, 1), Seen::New);
        assert_eq!(window.seen.len(), 1);
    }

    proptest! {
        #[test]
        fn agrees_with_a_map(steps in prop::collection::vec((1u64..9000, 0u64..3), 1..400)) {
            let mut window = Window::default();
            let mut model: BTreeMap<u64, u64> = BTreeMap::new();
            let mut newest = 0;
            for (sequence, header) in steps {
                let expected = if sequence + WINDOW_BUNDLES <= newest {
                    Seen::Older
                } else {
                    match model.get(&sequence) {
                        None => Seen::New,
                        Some(known) if *known == header => Seen::Same,
                        Some(_) => Seen::Other,
                    }
                };
                prop_assert_eq!(window.look(sequence, header), expected);
                if expected == Seen::New {
                    window.accept(sequence, header);
                    model.insert(sequence, header);
                    newest = newest.max(sequence);
                }
            }
        }
    }
}
