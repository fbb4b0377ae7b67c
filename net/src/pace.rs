//! How much a process should let collect before it acts, told by how late its own tasks run.
//!
//! A process that has more to do than processors to do it on runs its tasks late. What it then does
//! for each message alone (a signature, a datagram, a wake-up) is better done for several at once:
//! the interval grows until tasks run in time, and shrinks when they do. Nothing is collected while
//! there is no need to.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A task that runs later than this after it could says that the machine cannot keep up.
const LATE: Duration = Duration::from_millis(6);
/// A task that runs within this says that it can; tokio's own granularity is a millisecond.
const IN_TIME: Duration = Duration::from_millis(3);
/// Intervals below this are not worth a timer.
const PAUSE_MIN: Duration = Duration::from_millis(2);

/// An interval between `least` and `most`, shared by the tasks of a process.
#[derive(Debug)]
pub struct Pace {
    begun: Instant,
    least: u64,
    most: u64,
    interval: AtomicU64,
    /// When the interval may change next: one late moment delays many tasks, and counts once.
    next: AtomicU64,
}

impl Pace {
    /// Starts at `least`.
    pub fn new(least: Duration, most: Duration) -> Pace {
        Pace {
            begun: Instant::now(),
            least: nanos(least),
            most: nanos(most),
            interval: AtomicU64::new(nanos(least)),
            next: AtomicU64::new(0),
        }
    }

    /// A task ran so much later than it could have. Quick to slow down, slow to speed up.
    pub fn note(&self, late: Duration) {
        let now = nanos(self.begun.elapsed());
        let next = self.next.load(Ordering::Relaxed);
        let interval = self.interval.load(Ordering::Relaxed);
        let after = now.saturating_add(interval);
        let mine = now >= next
            && self.next.compare_exchange(next, after, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if !mine {
            return;
        }
        // What collects for long may also be worked on for long before it is too much.
        let late = u64::try_from(late.as_nanos()).unwrap_or(u64::MAX);
        let changed = match late {
            late if late > nanos(LATE).max(interval / 2) => interval * 3 / 2,
            late if late < nanos(IN_TIME).max(interval / 4) => interval * 9 / 10,
            _ => interval,
        };
        self.interval.store(changed.clamp(self.least, self.most), Ordering::Relaxed);
    }

    /// How long to let things collect.
    pub fn interval(&self) -> Duration {
        Duration::from_nanos(self.interval.load(Ordering::Relaxed))
    }

    /// How long a writer that has something should wait for more, at most `most`; `None` if it
    /// should not.
    pub fn pause(&self, most: Duration) -> Option<Duration> {
        worth(self.interval(), most)
    }
}

/// A pause that is worth a timer, at most `most`.
pub(crate) fn worth(pause: Duration, most: Duration) -> Option<Duration> {
    (pause >= PAUSE_MIN && !most.is_zero()).then_some(pause.min(most))
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lateness_lengthens_the_interval_and_promptness_shortens_it_within_bounds() {
        let (least, most) = (Duration::from_micros(1), Duration::from_micros(50));
        let pace = Pace::new(least, most);
        let note = |late| {
            std::thread::sleep(most);
            pace.note(late);
        };
        (0..40).for_each(|_| note(Duration::from_millis(7)));
        assert_eq!(pace.interval(), most);
        let before = pace.interval();
        note(Duration::from_millis(4));
        assert_eq!(pace.interval(), before, "neither late nor in time");
        (0..80).for_each(|_| note(Duration::ZERO));
        assert_eq!(pace.interval(), least);
        assert_eq!(pace.pause(most), None);
    }

    #[test]
    fn one_late_moment_counts_once_however_many_tasks_it_delays() {
        let pace = Pace::new(Duration::from_secs(1), Duration::from_secs(100));
        (0..1000).for_each(|_| pace.note(Duration::from_secs(2)));
        assert_eq!(pace.interval(), Duration::from_millis(1500));
        assert_eq!(pace.pause(Duration::from_millis(20)), Some(Duration::from_millis(20)));
    }
}
