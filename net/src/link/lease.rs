//! How long a connection may live by the certificates that opened it, and when a link leaves it.

use std::time::Duration;

use quinn::Connection;
use starling_core::time::Time;

use crate::clock::Clock;
use crate::trust::{self, Life};
use crate::wallet::{Shown, part};

/// Thousandths of the peer's certificate after which a dialler asks whether there is a newer one: a node
/// that renews at half of a life has one by then.
const ASKED_AT: u32 = 625;
/// Moves are spread over this part of a certificate's life, so that the links of a node, or of a mesh
/// that began at once, do not move all at once.
const SPREAD: u32 = 8;
/// An attempt that failed is repeated after about this part of what is left.
const RETRY: u32 = 8;
/// Bounds of the wait before another attempt.
const RETRY_MIN: Duration = Duration::from_millis(250);
const RETRY_MAX: Duration = Duration::from_secs(3_600);
/// The clock may be set while a sleep lasts, so it is asked this often.
const CLOCK_LOOK: Duration = Duration::from_secs(10);

/// What the certificates at both ends allow a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lease {
    ours: Life,
    theirs: Life,
    /// Which of our certificates it was.
    number: u64,
}

impl Lease {
    /// The lease of a connection that was opened with `shown`; `None` if the peer has no certificate.
    pub fn of(connection: &Connection, shown: &Shown) -> Option<Lease> {
        let theirs = trust::peer_life(connection).ok()??;
        Some(Lease { ours: shown.life, theirs, number: shown.number })
    }

    /// When the connection is closed.
    pub fn ends(&self) -> Time {
        self.ours.ends.min(self.theirs.ends)
    }

    /// Whether either end shows a certificate that it did not show in `old`.
    pub fn is_newer_than(&self, old: &Lease) -> bool {
        self.number != old.number || self.theirs != old.theirs
    }

    /// When the dialler is to try to move: soon if it shows a newer certificate by now, which has this life,
    /// else when the peer should have one.
    pub fn due(&self, (number, life): (u64, Life), wall: Time) -> Time {
        let asked = self.theirs.at(ASKED_AT) + part(self.theirs.length() / SPREAD);
        if number == self.number {
            return asked;
        }
        // Of lives that differ the shorter counts: the old one ends soon, or the new one does.
        asked.min(wall + part(self.ours.length().min(life.length()) / SPREAD))
    }

    /// When to try again after a failure.
    pub fn again(&self, wall: Time) -> Time {
        let about = self.ends().since(wall) / RETRY;
        wall + (about / 2 + part(about)).clamp(RETRY_MIN, RETRY_MAX)
    }
}

/// Waits until the wall clock shows this.
pub(super) async fn wait_until(clock: &Clock, wall: Time) {
    loop {
        let left = wall.since(clock.now().wall);
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(CLOCK_LOOK)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn life(begins: u64, ends: u64) -> Life {
        Life { begins: Time::from_millis(begins * 1_000), ends: Time::from_millis(ends * 1_000) }
    }

    #[test]
    fn the_shorter_life_ends_a_connection() {
        let lease = Lease { ours: life(0, 100), theirs: life(20, 90), number: 1 };
        assert_eq!(lease.ends(), Time::from_millis(90_000));
        let swapped = Lease { ours: lease.theirs, theirs: lease.ours, number: 1 };
        assert_eq!(swapped.ends(), lease.ends());
    }

    #[test]
    fn a_link_moves_when_either_end_has_something_newer() {
        let lease = Lease { ours: life(0, 1_000), theirs: life(0, 1_000), number: 1 };
        let now = Time::from_millis(500_000);
        for _ in 0..100 {
            let asked = lease.due((1, lease.ours), now);
            assert!(asked >= lease.theirs.at(ASKED_AT) && asked <= lease.theirs.at(ASKED_AT + 125));
            let renewed = lease.due((2, lease.ours), now);
            assert!(renewed >= now && renewed <= now + 125 * SECOND);
            let shorter = lease.due((2, life(400, 480)), now);
            assert!(shorter >= now && shorter <= now + 10 * SECOND);
            let again = lease.again(now).since(now);
            assert!(again >= 500 * SECOND / 16 && again <= 500 * SECOND * 3 / 16);
            assert_eq!(lease.again(lease.ends()).since(lease.ends()), RETRY_MIN);
        }
        assert!(!lease.is_newer_than(&lease));
        assert!(Lease { number: 2, ..lease }.is_newer_than(&lease));
        assert!(Lease { theirs: life(500, 1_500), ..lease }.is_newer_than(&lease));
    }
}
