//! Token buckets of one word.
//!
//! This is the generic cell rate algorithm (ITU-T I.371, annex A, the virtual scheduling form): the word
//! holds the time at which the bucket would be full again, so filling needs no step of its own. A
//! [`Rate`] says how fast and how deep, and is shared by all buckets of a kind; a [`Bucket`] is eight
//! bytes a peer or agent, an [`AtomicBucket`] the same for many threads.
//!
//! Time is counted in 64ths of a nanosecond, modulo 2^64 (nine years). A rate is kept as the time between
//! two tokens, rounded to that unit, so it is exact to one part in `128e9 / rate`: 1 in 128,000 at 1 M/s,
//! 1 in 12,800 at 10 M/s, and exact wherever 64e9 divides by it. The burst is exact always.
//!
//! The bucket leaves the book in one place: a word that lies further ahead than the deepest bucket and an
//! hour is taken for one that was idle for years, and thus full. A clock that goes back by less (threads
//! read theirs a little apart) finds the bucket as it was, not full.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::time::Time;

/// Tokens a second at the most; what comes faster is counted in larger units (bytes in KiB).
pub const PER_SECOND_MAX: u64 = 1_000_000_000;
/// How much time's worth of tokens a bucket may hold at the most.
pub const DEPTH_MAX: Duration = Duration::from_secs(3600);
/// Exchanges that [`AtomicBucket::take`] tries.
pub const TRIES_MAX: u32 = 64;
/// What an agent may publish at its edge, if nobody says otherwise: 1,000 messages a second, and as many
/// at once.
pub const AGENT_MESSAGES: (u64, u64) = (1_000, 1_000);

const UNITS_PER_NANO: u64 = 64;
const UNITS_PER_SECOND: u64 = 1_000_000_000 * UNITS_PER_NANO;
/// How far ahead of the present a word may lie and be believed.
const AHEAD_MAX: u64 = 2 * 3600 * UNITS_PER_SECOND;

/// How fast a bucket fills and how much it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    per_second: u64,
    burst: u64,
    /// Units of time between two tokens.
    period: u64,
}

impl Rate {
    /// `per_second` tokens, `burst` of them at once. A rate is held to 1 to [`PER_SECOND_MAX`], a burst to
    /// 1 to what comes in [`DEPTH_MAX`].
    pub fn new(per_second: u64, burst: u64) -> Rate {
        let per_second = per_second.clamp(1, PER_SECOND_MAX);
        let period = (UNITS_PER_SECOND + per_second / 2) / per_second;
        let deepest = DEPTH_MAX.as_secs() * UNITS_PER_SECOND / period;
        Rate { per_second, burst: burst.clamp(1, deepest), period }
    }

    /// Tokens that come in a second.
    pub fn per_second(&self) -> u64 {
        self.per_second
    }

    /// Tokens that a full bucket holds.
    pub fn burst(&self) -> u64 {
        self.burst
    }

    /// `count` times as fast and deep: what that many agents may.
    pub fn times(&self, count: u64) -> Rate {
        Rate::new(self.per_second.saturating_mul(count), self.burst.saturating_mul(count))
    }

    /// Both together: a peer's own base and what its agents add.
    pub fn plus(&self, other: Rate) -> Rate {
        Rate::new(self.per_second + other.per_second, self.burst.saturating_add(other.burst))
    }

    fn depth(&self) -> u64 {
        self.burst * self.period
    }

    /// The word after `count` tokens were taken at `now`, if the bucket had them.
    fn taken(&self, word: u64, now: Time, count: u64) -> Option<u64> {
        if count > self.burst {
            return None;
        }
        let owed = owed(word, now) + count * self.period;
        (owed <= self.depth()).then(|| units(now).wrapping_add(owed))
    }

    /// The word after `count` tokens were taken at `now` whether it had them or not. The debt ends at a
    /// depth below empty, so a debtor is never out for longer than filling twice takes.
    pub(super) fn charged(&self, word: u64, now: Time, count: u64) -> u64 {
        let cost = count.min(2 * self.burst) * self.period;
        let before = owed(word, now);
        let after = (before + cost).min(before.max(2 * self.depth()));
        units(now).wrapping_add(after)
    }
}

/// Time that has to pass until the bucket is full.
fn owed(word: u64, now: Time) -> u64 {
    let ahead = word.wrapping_sub(units(now));
    if ahead > AHEAD_MAX { 0 } else { ahead }
}

fn units(time: Time) -> u64 {
    time.0.wrapping_mul(UNITS_PER_NANO)
}

/// A bucket; one word. Use one rate with it, or rates that change now and then. The default is one that was
/// full at the beginning of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket(u64);

impl Bucket {
    /// A full bucket.
    pub fn full(now: Time) -> Bucket {
        Bucket(units(now))
    }

    /// Takes `count` tokens, or none where there are fewer; more than the burst are never there.
    pub fn take(&mut self, rate: &Rate, now: Time, count: u64) -> bool {
        match rate.taken(self.0, now, count) {
            Some(word) => {
                self.0 = word;
                true
            }
            None => false,
        }
    }

    /// Tokens in it.
    pub fn tokens(&self, rate: &Rate, now: Time) -> u64 {
        rate.depth().saturating_sub(owed(self.0, now)) / rate.period
    }

    /// When it will have `count` tokens if none are taken meanwhile; `None` where it never has as many.
    pub fn ready_at(&self, rate: &Rate, now: Time, count: u64) -> Option<Time> {
        if count > rate.burst {
            return None;
        }
        let missing = (owed(self.0, now) + count * rate.period).saturating_sub(rate.depth());
        Some(now + Duration::from_nanos(missing.div_ceil(UNITS_PER_NANO)))
    }
}

/// A bucket that many threads take from without a lock.
///
/// [`AtomicBucket::take`] is a loop of compare and exchange. An exchange fails only where another thread
/// took tokens in between, so somebody always gets on; and after [`TRIES_MAX`] failures the take is
/// refused, so every call ends in at most as many steps. Such a refusal is wrong only if 64 others were
/// served during it.
#[derive(Debug)]
pub struct AtomicBucket(AtomicU64);

impl AtomicBucket {
    /// A full bucket.
    pub fn full(now: Time) -> AtomicBucket {
        AtomicBucket(AtomicU64::new(units(now)))
    }

    /// See [`Bucket::take`].
    pub fn take(&self, rate: &Rate, now: Time, count: u64) -> bool {
        // Relaxed throughout: the word guards nothing but itself.
        let mut word = self.0.load(Ordering::Relaxed);
        for _ in 0..TRIES_MAX {
            let Some(next) = rate.taken(word, now, count) else { return false };
            match self.0.compare_exchange(word, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(present) => word = present,
            }
        }
        false
    }

    /// Takes `count` tokens whether they are there or not; see [`Budget`](super::budget::Budget).
    pub(super) fn charge(&self, rate: &Rate, now: Time, count: u64) {
        let mut word = self.0.load(Ordering::Relaxed);
        for _ in 0..TRIES_MAX {
            let next = rate.charged(word, now, count);
            match self.0.compare_exchange(word, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(present) => word = present,
            }
        }
    }

    /// The bucket as it is now.
    pub fn look(&self) -> Bucket {
        Bucket(self.0.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests;
