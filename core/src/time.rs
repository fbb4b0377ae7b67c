//! Time as the protocol sees it: two readings handed in by whoever drives a machine.
//!
//! Pure crates never ask a clock. Timers, leases and rate limits read [`Now::mono`]; the hybrid
//! logical clock, certificates and the freshness window read [`Now::wall`]. A jump of the wall
//! clock therefore hurts nothing but those three.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// A point in time in nanoseconds, since the driver's start (`mono`) or the Unix epoch (`wall`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

impl Time {
    /// The origin of the scale.
    pub const ZERO: Time = Time(0);

    /// Whole milliseconds since the origin.
    pub fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// Whole microseconds since the origin.
    pub fn as_micros(self) -> u64 {
        self.0 / 1_000
    }

    /// A time from whole milliseconds since the origin.
    pub fn from_millis(millis: u64) -> Time {
        Time(millis.saturating_mul(1_000_000))
    }

    /// The time passed since `earlier`, zero when `earlier` is later.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Time;

    fn add(self, rhs: Duration) -> Time {
        let nanos = u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX);
        Time(self.0.saturating_add(nanos))
    }
}

impl Sub<Duration> for Time {
    type Output = Time;

    fn sub(self, rhs: Duration) -> Time {
        let nanos = u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX);
        Time(self.0.saturating_sub(nanos))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000_000, self.0 / 1_000 % 1_000_000)
    }
}

/// The two clocks, read once by the driver for each step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Monotonic: never goes back, origin without meaning.
    pub mono: Time,
    /// Wall clock: nanoseconds since the Unix epoch, may jump.
    pub wall: Time,
}
