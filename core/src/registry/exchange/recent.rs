//! Messages seen within the window: duplicates and replays are recognised exactly.
//!
//! A message is fresh for as long as its author's wall clock is within [`WINDOW`] of ours, so it
//! can come again for two windows at the most; it is remembered for as long. Nothing is forgotten
//! early: where the table is full, or an author has filled its share, what is new is refused. The
//! reference drafts use a Bloom filter, which would drop a few new messages as seen.
//!
//! Our wall clock may jump. What was forgotten stays refused: nothing at or before the latest
//! forgotten time is taken again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::id::ShortId;
use crate::time::Time;

/// How far a message's time may lie from our wall clock, either way.
pub const WINDOW: Duration = Duration::from_secs(30);
/// Most messages remembered.
pub const SEEN_MAX: usize = 65_536;
/// Most messages of one author remembered: what it may say within two windows.
pub const SEEN_PER_AUTHOR_MAX: u16 = 64;

/// What became of a message that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Freshness {
    /// It was not seen before.
    New,
    /// It was.
    Duplicate,
    /// It is too old or too far ahead.
    Stale,
    /// There is no room to remember it.
    Refused,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Recent {
    /// By time first, so that what is over lies in front.
    seen: BTreeSet<(u64, ShortId, u64)>,
    authors: BTreeMap<ShortId, u16>,
    forgotten_ms: Option<u64>,
}

impl Recent {
    /// How fresh a message is; nothing is noted, as nobody has verified it yet.
    pub(super) fn judge(&mut self, wall: Time, author: ShortId, id: u64, wall_ms: u64) -> Freshness {
        self.forget(wall);
        if !is_within_window(wall, wall_ms) || self.forgotten_ms.is_some_and(|forgotten| wall_ms <= forgotten)
        {
            return Freshness::Stale;
        }
        if self.seen.contains(&(wall_ms, author, id)) {
            return Freshness::Duplicate;
        }
        let share = self.authors.get(&author).copied().unwrap_or(0);
        if self.seen.len() >= SEEN_MAX || share >= SEEN_PER_AUTHOR_MAX {
            return Freshness::Refused;
        }
        Freshness::New
    }

    /// Notes a message that is new and verified.
    pub(super) fn note(&mut self, author: ShortId, id: u64, wall_ms: u64) {
        if self.seen.insert((wall_ms, author, id)) {
            *self.authors.entry(author).or_insert(0) += 1;
        }
    }

    fn forget(&mut self, wall: Time) {
        let is_over = |wall_ms: u64| Time::from_millis(wall_ms) + WINDOW < wall;
        while let Some(&(wall_ms, author, _)) = self.seen.first()
            && is_over(wall_ms)
        {
            self.seen.pop_first();
            self.forgotten_ms = Some(self.forgotten_ms.map_or(wall_ms, |before| before.max(wall_ms)));
            if let Some(share) = self.authors.get_mut(&author) {
                *share -= 1;
                if *share == 0 {
                    self.authors.remove(&author);
                }
            }
        }
    }
}

/// Whether a message written at `wall_ms` is within the window of our wall clock.
pub(super) fn is_within_window(wall: Time, wall_ms: u64) -> bool {
    let written = Time::from_millis(wall_ms);
    written.since(wall) <= WINDOW && wall.since(written) <= WINDOW
}

#[cfg(test)]
mod tests {
    use super::*;

    const AUTHOR: ShortId = ShortId(1);

    fn at(seconds: u64) -> Time {
        Time::from_millis(seconds * 1_000)
    }

    #[test]
    fn what_was_seen_stays_seen_for_as_long_as_it_is_fresh() {
        let mut recent = Recent::default();
        for (second, expected) in [(69, Freshness::Stale), (70, Freshness::New), (130, Freshness::New)] {
            assert_eq!(recent.judge(at(second), AUTHOR, 7, 100_000), expected, "{second}");
        }
        recent.note(AUTHOR, 7, 100_000);
        assert_eq!(recent.judge(at(130), AUTHOR, 7, 100_000), Freshness::Duplicate);
        assert_eq!(recent.judge(at(130), AUTHOR, 8, 100_000), Freshness::New);
        assert_eq!(recent.judge(at(131), AUTHOR, 7, 100_000), Freshness::Stale);
        assert_eq!(recent.seen.len(), 0);
        // The clock jumps back: what was forgotten is not new.
        assert_eq!(recent.judge(at(100), AUTHOR, 7, 100_000), Freshness::Stale);
        assert_eq!(recent.judge(at(100), AUTHOR, 9, 100_001), Freshness::New);
    }

    #[test]
    fn an_author_has_a_share_and_no_more() {
        let mut recent = Recent::default();
        for id in 0..u64::from(SEEN_PER_AUTHOR_MAX) {
            assert_eq!(recent.judge(at(100), AUTHOR, id, 100_000), Freshness::New);
            recent.note(AUTHOR, id, 100_000);
        }
        assert_eq!(recent.judge(at(100), AUTHOR, 999, 100_000), Freshness::Refused);
        assert_eq!(recent.judge(at(100), ShortId(2), 999, 100_000), Freshness::New);
        assert_eq!(recent.judge(at(140), AUTHOR, 999, 140_000), Freshness::New);
        assert!(recent.authors.is_empty());
    }
}
