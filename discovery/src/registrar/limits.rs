//! How often one place may ask: a bucket of tokens each, in a table with a bound.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Requests that a place may make at once.
pub const BURST: u32 = 20;
/// After so long it may make one more.
pub const REFILL: Duration = Duration::from_secs(3);
/// Places that are remembered; when they are all in use, a new one is refused.
pub const PLACES_MAX: usize = 65_536;

/// The buckets of all places. Each is the time at which it was or will be empty of use (GCRA).
#[derive(Debug, Default)]
pub struct Buckets {
    full_at: HashMap<IpAddr, Instant>,
}

impl Buckets {
    /// Whether a request of this place is served now.
    pub fn take(&mut self, from: IpAddr, now: Instant) -> bool {
        let place = place_of(from);
        if !self.full_at.contains_key(&place) && self.full_at.len() >= PLACES_MAX {
            self.full_at.retain(|_, full| *full > now);
            if self.full_at.len() >= PLACES_MAX {
                return false;
            }
        }
        let full = self.full_at.entry(place).or_insert(now);
        let next = (*full).max(now) + REFILL;
        if next > now + REFILL * BURST {
            return false;
        }
        *full = next;
        true
    }
}

/// What one owner has at least: an IPv4 address, or an IPv6 /64.
pub(super) fn place_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & !u128::from(u64::MAX)).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(n: u32) -> IpAddr {
        IpAddr::V4(n.into())
    }

    #[test]
    fn a_place_has_its_burst_and_then_its_rate_whoever_else_asks() {
        let (mut buckets, now) = (Buckets::default(), Instant::now());
        let served = (0..100).filter(|_| buckets.take(ip(1), now)).count();
        assert_eq!(served, BURST as usize);
        assert!(buckets.take(ip(2), now));
        assert!(!buckets.take(ip(1), now + REFILL - Duration::from_millis(1)));
        assert!(buckets.take(ip(1), now + REFILL));
        assert!(!buckets.take(ip(1), now + REFILL));
        let v6 = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(
            (0..100).filter(|n| buckets.take(v6(&format!("2001:db8::{n}")), now)).count(),
            BURST as usize
        );
        assert!(buckets.take(v6("2001:db8:0:1::1"), now));
    }

    #[test]
    fn a_crowd_of_places_fills_the_table_for_a_short_time_only() {
        let (mut buckets, now) = (Buckets::default(), Instant::now());
        let served = (0..PLACES_MAX as u32 + 100).filter(|n| buckets.take(ip(*n), now)).count();
        assert_eq!((served, buckets.full_at.len()), (PLACES_MAX, PLACES_MAX));
        assert!(buckets.take(ip(7), now), "who is known has its bucket");
        assert!(buckets.take(ip(u32::MAX), now + REFILL), "and soon there is room again");
        assert!(buckets.full_at.len() < PLACES_MAX);
    }
}
