//! What is not acknowledged in time: by another region over the way in force, or by a node.
//!
//! A relay may hold back what it is to pass on, or spoil it so that the next node drops it, or lead to one
//! that does; its link is as good as any other, and nothing breaks. Only the origin sees that: the oldest
//! bundle that it owes a **region** stays the oldest. It then tells the machine, which takes
//! another way (`node::routes`), and everything owed goes out again there; what had come is known for a
//! copy by who has it.
//!
//! An acknowledgement may also be held back for a slow subscriber, and no other way helps there. So the time
//! until the next way is tried doubles whenever [`limits::STALL_TRIES`] of them were, while the oldest is
//! the same.
//!
//! A **node** of the own region that wants everything and acknowledges nothing would stop all publishers once
//! the window is full. Honest ones acknowledge something every [`limits::HELD_MAX`], so one whose oldest stays
//! the same for [`limits::WITHHELD_TIMEOUT`] is at fault.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Report;
use super::own::Step;
use crate::limits;
use crate::machine::Destination;
use crate::time::Time;
use crate::wire::bundle::Class;

/// How often it is looked.
const INTERVAL: Duration = Duration::from_secs(1);

/// What a destination was owed first when it was looked at last.
#[derive(Debug)]
struct Oldest {
    sequence: u64,
    /// Since when it is the oldest, or was sent by the present way.
    since: Time,
    tries: u32,
}

/// The oldest bundle of each class that each destination is owed.
#[derive(Debug, Default)]
pub(super) struct Stalls {
    oldest: BTreeMap<(Destination, Class), Oldest>,
    next: Option<Time>,
}

impl Stalls {
    /// Tells the machine who does not acknowledge. `owed` is what is owed to whom, of each class in the order
    /// of the sequence; it is asked for once a second.
    pub fn tick(&mut self, step: &Step<'_>, owed: impl Iterator<Item = (Destination, Class, u64)>) {
        let now = step.now.mono;
        if !self.is_due(now) {
            return;
        }
        let mut oldest = BTreeMap::new();
        for (to, class, sequence) in owed.filter(|(to, ..)| *to != Destination::Local) {
            oldest.entry((to, class)).or_insert(sequence);
        }
        for to in self.look(now, &oldest) {
            let report = match to {
                Destination::Region(region) => {
                    let detour = step.view.detours.get(&region).copied().unwrap_or_default();
                    Report::Stalled { region, detour }
                }
                Destination::Node(node) => Report::Withheld { node },
                Destination::Local => continue,
            };
            // A machine that has no room for it hears of it with the next try.
            let _ = step.plane.outlet().report(report);
        }
    }

    /// Whether it is time to look. Who was stopped itself begins to count anew.
    fn is_due(&mut self, now: Time) -> bool {
        let next = self.next.unwrap_or(now);
        if now < next {
            return false;
        }
        if now.since(next) > 2 * INTERVAL {
            self.oldest.values_mut().for_each(|oldest| oldest.since = now);
        }
        self.next = Some(now + INTERVAL);
        true
    }

    /// What is owed now: the lowest sequence of each destination and class. Returns whom was waited for long
    /// enough.
    fn look(&mut self, now: Time, owed: &BTreeMap<(Destination, Class), u64>) -> Vec<Destination> {
        self.oldest.retain(|key, oldest| owed.get(key) == Some(&oldest.sequence));
        let mut stalled = Vec::new();
        for (key, sequence) in owed {
            let fresh = Oldest { sequence: *sequence, since: now, tries: 0 };
            let oldest = self.oldest.entry(*key).or_insert(fresh);
            if now.since(oldest.since) < patience(key.0, oldest.tries) {
                continue;
            }
            (oldest.since, oldest.tries) = (now, oldest.tries.saturating_add(1));
            if !stalled.contains(&key.0) {
                stalled.push(key.0);
            }
        }
        stalled
    }
}

/// How long the oldest bundle is waited for after so many tries.
fn patience(to: Destination, tries: u32) -> Duration {
    if !matches!(to, Destination::Region(_)) {
        return limits::WITHHELD_TIMEOUT;
    }
    let doubled = (tries / limits::STALL_TRIES).min(16);
    (limits::STALL_TIMEOUT * (1 << doubled)).min(limits::STALL_TIMEOUT_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{RegionId, ShortId};

    const REGION: Destination = Destination::Region(RegionId(7));
    const NODE: Destination = Destination::Node(ShortId(7));

    /// Seconds at which a stall of `to` is told of in the first `until` when `oldest` says what is owed when.
    fn told_of(to: Destination, until: u64, oldest: impl Fn(u64) -> Option<u64>) -> Vec<u64> {
        let mut stalls = Stalls::default();
        let tell = |second: &u64| {
            let now = Time::from_millis(second * 1000);
            let key = (to, Class::EventBulk);
            let owed = oldest(*second).map(|sequence| (key, sequence)).into_iter().collect();
            stalls.is_due(now) && stalls.look(now, &owed) == [to]
        };
        (0..until).filter(tell).collect()
    }

    fn told(until: u64, oldest: impl Fn(u64) -> Option<u64>) -> Vec<u64> {
        told_of(REGION, until, oldest)
    }

    #[test]
    fn who_acknowledges_is_waited_for_and_who_does_not_is_passed_by_ever_more_rarely() {
        let timeout = limits::STALL_TIMEOUT.as_secs();
        assert!(told(300, |_| None).is_empty());
        assert!(told(300, |second| Some(second / (timeout - 1))).is_empty());
        let times = told(2_000, |_| Some(1));
        let waits: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(times[0], timeout);
        let tries = limits::STALL_TRIES as usize;
        assert!(waits[..tries - 1].iter().all(|wait| *wait == timeout), "{waits:?}");
        assert_eq!(waits[tries], 2 * timeout);
        assert!(waits.is_sorted());
        assert_eq!(waits.last(), Some(&limits::STALL_TIMEOUT_MAX.as_secs()));
        // Who goes on begins anew.
        let again = told(60, |second| Some(u64::from(second >= 30)));
        let tried = again.iter().filter(|second| **second >= 30).copied().next();
        assert_eq!(tried, Some(30 + timeout));
    }

    #[test]
    fn a_node_may_hold_back_for_a_while_and_a_pause_of_ones_own_is_nobodys_fault() {
        let limit = limits::WITHHELD_TIMEOUT.as_secs();
        assert!(limit > limits::HELD_MAX.as_secs());
        assert_eq!(told_of(NODE, 2 * limit + 1, |_| Some(1)), [limit, 2 * limit]);
        assert!(told_of(NODE, 1_000, |second| Some(second / (limit - 1))).is_empty());
        let mut stalls = Stalls::default();
        let owed = BTreeMap::from([((NODE, Class::EventBulk), 1)]);
        for second in [0, 1, 2, 2 + limit, 3 + limit] {
            let now = Time::from_millis(second * 1000);
            assert!(stalls.is_due(now));
            assert_eq!(stalls.look(now, &owed), [], "after {second} s");
        }
    }
}
