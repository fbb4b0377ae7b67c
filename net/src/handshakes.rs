//! How many connections may be in their beginnings: from the first packet until the first frame was read.
//!
//! Whoever begins handshakes and does not end them, or sends its hello a byte at a time, costs a node memory
//! and a place for as long as it is waited for, and needs neither a key nor an admission. So there is a bound
//! on all of them, and one place has no more than two thirds: who comes from elsewhere gets in. Once so many
//! are taken, an address is to prove that it is one before it costs anything (RFC 9000, section 8.1.2), or
//! a sender of made-up addresses would be in all places at once.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use starling_core::limits::{HANDSHAKES_MAX, HANDSHAKES_OF_A_PLACE_MAX};

/// What becomes of a handshake.
#[derive(Debug)]
pub(crate) enum Answer {
    /// It may go on, as long as this is kept.
    Go(Turn),
    /// It is to come again with a proof of its address.
    Prove,
    /// There is no room for it.
    Refuse,
}

/// Beginnings under way.
#[derive(Debug, Default)]
pub(crate) struct Handshakes {
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    all: usize,
    of_place: HashMap<IpAddr, usize>,
}

/// One beginning; it is over when this is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    handshakes: Arc<Handshakes>,
    place: IpAddr,
}

impl Handshakes {
    /// Somebody begins; `is_proven` says whether the address is known to be its own.
    pub fn begin(self: &Arc<Self>, from: SocketAddr, is_proven: bool) -> Answer {
        let place = place_of(from.ip());
        let mut open = self.open();
        if !is_proven && open.all >= HANDSHAKES_OF_A_PLACE_MAX {
            return Answer::Prove;
        }
        let of_place = open.of_place.get(&place).copied().unwrap_or_default();
        if open.all >= HANDSHAKES_MAX || of_place >= HANDSHAKES_OF_A_PLACE_MAX {
            return Answer::Refuse;
        }
        open.all += 1;
        open.of_place.insert(place, of_place + 1);
        Answer::Go(Turn { handshakes: Arc::clone(self), place })
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        // Counts are changed one after the other, with nothing in between that could panic.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut open = self.handshakes.open();
        open.all -= 1;
        let left = open.of_place.get(&self.place).map_or(0, |count| count - 1);
        match left {
            0 => open.of_place.remove(&self.place),
            left => open.of_place.insert(self.place, left),
        };
    }
}

/// What one owner has at least: an IPv4 address, or an IPv6 /64.
fn place_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & !u128::from(u64::MAX)).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(text: &str) -> SocketAddr {
        SocketAddr::new(text.parse().unwrap(), 7)
    }

    fn go(handshakes: &Arc<Handshakes>, text: &str) -> Option<Turn> {
        match handshakes.begin(from(text), true) {
            Answer::Go(turn) => Some(turn),
            Answer::Prove | Answer::Refuse => None,
        }
    }

    #[test]
    fn one_place_leaves_room_to_others_and_gives_back_what_it_took() {
        let handshakes = Arc::new(Handshakes::default());
        let of = |text: String| go(&handshakes, &text);
        let greedy: Vec<Turn> = (0..).map_while(|n| of(format!("2001:db8::{:x}", n % 0xFFFF))).collect();
        assert_eq!(greedy.len(), HANDSHAKES_OF_A_PLACE_MAX);
        assert!(matches!(handshakes.begin(from("192.0.2.1"), false), Answer::Prove));
        let others: Vec<Turn> = (0..).map_while(|n| of(format!("192.0.{}.{}", n / 256, n % 256))).collect();
        assert_eq!(others.len(), HANDSHAKES_MAX - HANDSHAKES_OF_A_PLACE_MAX);
        drop(greedy);
        assert!(go(&handshakes, "::ffff:192.0.2.1").is_some() && go(&handshakes, "2001:db8::1").is_some());
        drop(others);
        let open = handshakes.open();
        assert_eq!((open.all, open.of_place.len()), (0, 0));
    }
}
