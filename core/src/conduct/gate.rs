//! What one peer may cost this node: where its link meets the buckets.
//!
//! Nothing that came over a link is dropped for want of tokens. It is worked off, into debt if need be,
//! and the link is not read again before the debt is paid; QUIC's flow control then holds its sender
//! back. So a flood costs the flooder its own link, and an honest peer that is fast for a while, sends
//! again after a fault, or is slow and then catches up, loses nothing and is never at fault.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::bucket::{AtomicBucket, Rate};
use super::budget::{Budget, Share};
use crate::limits;
use crate::time::Time;

/// How much time's worth of bytes may come at once.
const BURST: Duration = Duration::from_millis(250);
/// Offences of a peer that are told of in a second; it is banned after eight.
const REPORTS: (u64, u64) = (16, 16);

/// The gate of one peer. Outlives its links, or a flooder would only have to dial again. Threads use it
/// without a lock.
#[derive(Debug)]
pub struct Gate {
    bytes: AtomicBucket,
    byte_rate: Rate,
    share: Share,
    reports: AtomicBucket,
    report_rate: Rate,
    /// Runs empty while it brings much of its own that nobody here wants.
    unwanted: AtomicBucket,
    unwanted_rate: Rate,
    /// When its link may be read again, in monotonic nanoseconds.
    ready_at: AtomicU64,
}

impl Gate {
    /// The gate of a peer that has just come.
    pub fn new(now: Time) -> Gate {
        let per_second = limits::PEER_BYTES_PER_SECOND;
        Gate {
            bytes: AtomicBucket::full(now),
            byte_rate: Rate::new(per_second, per_second * BURST.as_millis() as u64 / 1000),
            share: Share::new(now),
            reports: AtomicBucket::full(now),
            report_rate: Rate::new(REPORTS.0, REPORTS.1),
            unwanted: AtomicBucket::full(now),
            unwanted_rate: Rate::new(limits::UNWANTED_CHECKS_PER_SECOND, limits::UNWANTED_CHECKS_PER_SECOND),
            ready_at: AtomicU64::new(0),
        }
    }

    /// Sets its share of the checks.
    pub fn set(&self, checks_per_second: u64) {
        self.share.set(checks_per_second, true);
    }

    /// A frame of `length` bytes came.
    pub fn take_frame(&self, now: Time, length: usize) {
        let cost = length as u64 + limits::FRAME_COST_BYTES;
        if !self.bytes.take(&self.byte_rate, now, cost) {
            self.bytes.charge(&self.byte_rate, now, cost);
            self.wait_until(self.bytes.look().ready_at(&self.byte_rate, now, 1));
        }
    }

    /// A signature that it brought is about to be checked.
    pub fn take_check(&self, budget: &Budget, now: Time) {
        self.wait_until(budget.spend(&self.share, now));
    }

    /// A bundle of its own was checked, and nobody here wants it.
    pub fn note_unwanted(&self, now: Time) {
        // An empty bucket stays empty: what is checked all the same was wanted when it was looked at.
        self.unwanted.take(&self.unwanted_rate, now, 1);
    }

    /// Whether it brings so much that nobody here wants that it is to be looked who does before a check.
    pub fn brings_unwanted(&self, now: Time) -> bool {
        self.unwanted.look().tokens(&self.unwanted_rate, now) == 0
    }

    /// A bundle of its own is put aside unchecked. That costs it a check of its own share, so that it is
    /// not read faster for it.
    pub fn put_aside(&self, budget: &Budget, now: Time) {
        self.wait_until(budget.spend_own(&self.share, now));
    }

    /// When its link may be read again, if not now.
    pub fn ready_at(&self, now: Time) -> Option<Time> {
        let at = Time(self.ready_at.load(Ordering::Relaxed));
        (at > now).then_some(at)
    }

    /// Whether an offence of it is to be told of; the rest would not change its fate.
    pub fn may_report(&self, now: Time) -> bool {
        self.reports.take(&self.report_rate, now, 1)
    }

    fn wait_until(&self, at: Option<Time>) {
        if let Some(at) = at {
            self.ready_at.fetch_max(at.0, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conduct::Reputation;
    use crate::conduct::budget::Claim;
    use crate::conduct::budget::divide;

    /// Checks that a peer gets through in 10 s when it asks whenever it is read.
    fn flood(gate: &Gate, budget: &Budget) -> u64 {
        let mut now = Time::ZERO;
        let mut checks = 0;
        while now < Time::ZERO + Duration::from_secs(10) {
            gate.take_check(budget, now);
            checks += 1;
            now = gate.ready_at(now).unwrap_or(now);
        }
        checks
    }

    #[test]
    fn a_flood_gets_the_budget_and_no_more() {
        let budget = Budget::new(1000, Time::ZERO);
        let checks = flood(&Gate::new(Time::ZERO), &budget);
        assert!((10_000..=10_000 + 300).contains(&checks), "{checks} of 1,000 a second in 10 s");
    }

    #[test]
    fn a_flood_does_not_make_others_wait() {
        let budget = Budget::new(1000, Time::ZERO);
        let (bad, good) = (Gate::new(Time::ZERO), Gate::new(Time::ZERO));
        let share = divide(1000, &[Claim { agents: 0, reputation: Reputation::FULL }; 2])[0];
        [&bad, &good].into_iter().for_each(|gate| gate.set(share));
        for millis in 0..10_000 {
            let now = Time::from_millis(millis);
            while bad.ready_at(now).is_none() {
                bad.take_check(&budget, now);
            }
            if millis % 3 == 0 {
                good.take_check(&budget, now);
                assert_eq!(good.ready_at(now), None, "333 of its 450 a second");
            }
        }
    }

    #[test]
    fn left_overs_are_for_what_is_of_use() {
        let budget = Budget::new(1000, Time::ZERO);
        let gate = Gate::new(Time::ZERO);
        gate.set(100);
        let (mut now, mut count) = (Time::ZERO, 0);
        while now < Time::ZERO + Duration::from_secs(10) {
            gate.put_aside(&budget, now);
            count += 1;
            now = gate.ready_at(now).unwrap_or(now);
        }
        assert!((1_000..=1_000 + 30).contains(&count), "{count} of 100 a second in 10 s");
    }

    #[test]
    fn frames_of_nothing_are_not_free() {
        let gate = Gate::new(Time::ZERO);
        let burst = limits::PEER_BYTES_PER_SECOND / 4 / limits::FRAME_COST_BYTES;
        (0..burst).for_each(|_| gate.take_frame(Time::ZERO, 0));
        assert_eq!(gate.ready_at(Time::ZERO), None);
        gate.take_frame(Time::ZERO, 0);
        let at = gate.ready_at(Time::ZERO).expect("the burst is spent");
        assert!(at < Time::from_millis(1), "{at:?}");
    }

    #[test]
    fn a_large_frame_is_taken_and_paid_for_later() {
        let gate = Gate::new(Time::ZERO);
        (0..400).for_each(|_| gate.take_frame(Time::ZERO, limits::FRAME_BYTES_MAX));
        let at = gate.ready_at(Time::ZERO).expect("400 MB came at once");
        assert!((100..300).contains(&at.as_millis()), "{at:?}");
        assert_eq!(gate.ready_at(at), None);
    }
}
