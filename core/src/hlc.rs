//! A hybrid logical clock: time stamps that follow the wall clock and still respect causality.
//!
//! After Kulkarni, Demirbas, Madappa, Avva and Leone, "Logical Physical Clocks and Consistent
//! Snapshots in Globally Distributed Databases" (OPODIS 2014). As their section on compact
//! representation proposes, both parts share one `u64`: 48 bits of milliseconds and 16 bits of
//! counter. We differ in one point: a full counter carries into the milliseconds, so the clock runs
//! ahead of the wall for as long as more than 65,536 stamps a millisecond are asked for, instead
//! of losing its order.

use std::time::Duration;

use bytes::{BufMut, BytesMut};

use crate::time::Now;
use crate::wire::codec::{DecodeError, Reader, Wire};

/// How far a remote stamp may be ahead of our wall clock. Beyond it, one node with a wrong clock
/// could drag the stamps of the whole mesh into the future.
pub const AHEAD_MAX: Duration = Duration::from_secs(30);

const COUNTER_BITS: u32 = 16;

/// A stamp: milliseconds since the Unix epoch in the upper 48 bits, a counter in the lower 16.
///
/// Stamps compare as their numbers do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HlcTime(pub u64);

impl HlcTime {
    /// The stamp of `millis` (lower 48 bits) and `counter`.
    pub fn from_parts(millis: u64, counter: u16) -> HlcTime {
        HlcTime(millis << COUNTER_BITS | u64::from(counter))
    }

    /// Milliseconds since the Unix epoch, 48 bits.
    pub fn millis(self) -> u64 {
        self.0 >> COUNTER_BITS
    }

    /// The counter that orders stamps of one millisecond.
    pub fn counter(self) -> u16 {
        self.0 as u16
    }
}

impl Wire for HlcTime {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u64_le(self.0);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<HlcTime, DecodeError> {
        Ok(HlcTime(reader.u64()?))
    }
}

/// A remote stamp is more than [`AHEAD_MAX`] ahead of our wall clock. Our clock did not move; the
/// sender's clock is wrong, or ours is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a time stamp is {ahead:?} ahead of our wall clock")]
pub struct TooFarAhead {
    /// How far the stamp is ahead.
    pub ahead: Duration,
}

/// The clock of one node.
#[derive(Clone, Debug, Default)]
pub struct Hlc {
    last: HlcTime,
}

impl Hlc {
    /// A clock that continues after `last`, the highest stamp this node is known to have given;
    /// [`HlcTime::default`] where none is.
    pub fn new(last: HlcTime) -> Hlc {
        Hlc { last }
    }

    /// The last stamp given or observed.
    pub fn last(&self) -> HlcTime {
        self.last
    }

    /// A stamp for a local event, above every stamp given or observed before.
    pub fn tick(&mut self, now: Now) -> HlcTime {
        let after_last = HlcTime(self.last.0.saturating_add(1));
        self.last = after_last.max(wall_stamp(now));
        self.last
    }

    /// Takes note of a remote stamp and returns one for its receipt, above both.
    ///
    /// # Errors
    /// [`TooFarAhead`] where `remote` is more than [`AHEAD_MAX`] ahead of `now.wall`, compared in
    /// milliseconds; the clock does not move.
    pub fn observe(&mut self, remote: HlcTime, now: Now) -> Result<HlcTime, TooFarAhead> {
        let ahead = Duration::from_millis(remote.millis().saturating_sub(now.wall.as_millis()));
        if ahead > AHEAD_MAX {
            return Err(TooFarAhead { ahead });
        }
        self.last = self.last.max(remote);
        Ok(self.tick(now))
    }
}

/// The lowest stamp of the wall clock's millisecond.
fn wall_stamp(now: Now) -> HlcTime {
    HlcTime::from_parts(now.wall.as_millis(), 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::time::Time;

    fn at(wall_millis: u64) -> Now {
        Now { mono: Time::ZERO, wall: Time::from_millis(wall_millis) }
    }

    #[test]
    fn follows_the_wall_and_counts_within_a_millisecond() {
        let mut clock = Hlc::default();
        assert_eq!(clock.tick(at(5)), HlcTime::from_parts(5, 0));
        assert_eq!(clock.tick(at(5)), HlcTime::from_parts(5, 1));
        assert_eq!(clock.tick(at(6)), HlcTime::from_parts(6, 0));
    }

    #[test]
    fn never_goes_back_with_the_wall() {
        let mut clock = Hlc::default();
        clock.tick(at(1_000));
        assert_eq!(clock.tick(at(10)), HlcTime::from_parts(1_000, 1));
    }

    #[test]
    fn a_full_counter_carries_into_the_milliseconds() {
        let mut clock = Hlc::new(HlcTime::from_parts(7, u16::MAX));
        assert_eq!(clock.tick(at(7)), HlcTime::from_parts(8, 0));
    }

    #[test]
    fn refuses_only_what_is_over_thirty_seconds_ahead_and_does_not_move() {
        let mut clock = Hlc::default();
        clock.tick(at(1_000));
        let before = clock.last();
        let refused = clock.observe(HlcTime::from_parts(31_001, 0), at(1_000));
        assert_eq!(refused, Err(TooFarAhead { ahead: Duration::from_millis(30_001) }));
        assert_eq!(clock.last(), before);
        let accepted = clock.observe(HlcTime::from_parts(31_000, 9), at(1_000));
        assert_eq!(accepted, Ok(HlcTime::from_parts(31_000, 10)));
    }

    #[test]
    fn golden_bytes() {
        let stamp = HlcTime::from_parts(0x0102_0304_0506, 0x0708);
        assert_eq!(&stamp.to_bytes()[..], [8, 7, 6, 5, 4, 3, 2, 1]);
        assert_eq!(HlcTime::from_bytes(&stamp.to_bytes()), Ok(stamp));
        assert_eq!((stamp.millis(), stamp.counter()), (0x0102_0304_0506, 0x0708));
    }

    proptest! {
        #[test]
        fn every_stamp_is_above_all_that_it_follows(
            steps in prop::collection::vec((0u64..100_000, prop::option::of(any::<u64>())), 1..200)
        ) {
            let mut clock = Hlc::default();
            for (wall, remote) in steps {
                let before = clock.last();
                match remote {
                    None => prop_assert!(clock.tick(at(wall)) > before),
                    Some(remote) => {
                        let remote = HlcTime(remote % HlcTime::from_parts(200_000, 0).0);
                        match clock.observe(remote, at(wall)) {
                            Ok(stamp) => prop_assert!(stamp > before && stamp > remote),
                            Err(_) => {
                                prop_assert!(remote.millis() > wall + 30_000);
                                prop_assert_eq!(clock.last(), before);
                            }
                        }
                    }
                }
                // The clock is bounded by the highest wall and what it was willing to observe.
                prop_assert!(clock.last().millis() <= 100_000 + 30_000 + 1);
            }
        }
    }
}
