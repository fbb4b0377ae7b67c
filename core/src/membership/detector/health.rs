//! How well this node itself is (Lifeguard's local health).
//!
//! Most false accusations come from accusers that are starved or cut off. So a node counts what
//! speaks against itself; the worse it stands, the more time it gives others. Beyond the paper:
//! a node that is badly off, or was just paused, or hears nobody, accuses nobody at all.

use std::time::Duration;

use crate::time::Time;

/// How long after a pause a node that still hears few of its subjects is silent about them.
const RECOVERY_MAX: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Health {
    /// From zero, which is well, to one below `max`.
    score: u32,
    max: u32,
    /// Since when it recovers from a pause.
    paused: Option<Time>,
    /// Until when what is overdue waits, so that what lies unread is read first.
    pub grace_until: Time,
    /// The deadline that was missed last, so that it is counted once.
    missed: Option<Time>,
}

/// How late a node was woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Woken {
    InTime,
    Late,
    Paused,
}

impl Health {
    /// `max` is one for a node that knows no local health.
    pub fn new(max: u32) -> Health {
        Health { score: 0, max: max.max(1), paused: None, grace_until: Time::ZERO, missed: None }
    }

    pub fn worsen(&mut self, by: u32) {
        self.score = self.score.saturating_add(by).min(self.max - 1);
    }

    pub fn improve(&mut self) {
        self.score = self.score.saturating_sub(1);
    }

    pub fn score(&self) -> u32 {
        self.score
    }

    /// `time` as long as it must be for a node as sick as this.
    pub fn scale(&self, time: Duration) -> Duration {
        time.saturating_mul(self.score + 1)
    }

    /// At three quarters of the scale a node knows too little to speak of others.
    pub fn is_sick(&self) -> bool {
        self.max > 1 && self.score * 4 >= self.max * 3
    }

    /// Compares when the machine was called with when it had asked to be.
    pub fn called(&mut self, now: Time, due: Time, late: Duration, pause: Duration) -> Woken {
        let lateness = now.since(due);
        if lateness < late || self.missed == Some(due) {
            return Woken::InTime;
        }
        self.missed = Some(due);
        self.worsen(1);
        if lateness < pause {
            return Woken::Late;
        }
        self.paused = Some(now);
        Woken::Paused
    }

    /// Since when it recovers, if it does.
    pub fn recovers_since(&mut self, now: Time) -> Option<Time> {
        self.paused = self.paused.filter(|since| now < *since + RECOVERY_MAX);
        self.paused
    }

    pub fn recovered(&mut self) {
        self.paused = None;
    }

    pub fn check(&self) {
        assert!(self.score < self.max, "a health beyond its scale");
    }
}
