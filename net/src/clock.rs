//! The two clocks of a node, read together.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use starling_core::time::{Now, Time};

/// Monotonic time since its start, and the wall clock. Copies agree.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock whose monotonic time begins now.
    pub fn start() -> Clock {
        Clock { origin: Instant::now() }
    }

    /// Both readings.
    pub fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall_nanos = u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX);
        Now { mono: Time(self.nanos()), wall: Time(wall_nanos) }
    }

    /// Monotonic nanoseconds since the start.
    pub fn nanos(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// The moment of a monotonic time; at most a day ahead, so that it can be waited for.
    pub fn instant(&self, mono: Time) -> tokio::time::Instant {
        let ahead_nanos = mono.0.saturating_sub(self.nanos()).min(86_400_000_000_000);
        tokio::time::Instant::now() + std::time::Duration::from_nanos(ahead_nanos)
    }
}
