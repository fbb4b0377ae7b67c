//! The signature checks that a node spends in all, and who gets them.
//!
//! Limits for each peer do not protect a small node: fifty honest-looking peers at 1,000 checks a second
//! each are more than two cores. So every check is paid from one budget, out of which each peer has a
//! share that nobody can take from it, and what is left over goes to whoever asks first.
//!
//! **Algorithm.** [`divide`] promises [`PROMISED_PERCENT`] of the budget to the peers, by weight. A
//! [`Share`] is a token bucket at the promised rate; the [`Budget`] is one at the whole rate. A check
//! within the share always passes and is charged to the whole, into debt if need be; a check beyond it
//! passes if the whole has a token left. What a peer leaves of its share thus stays in the whole, for the
//! others, without anybody counting who is active. It is weighted fair queueing's promise (Demers, Keshav
//! and Shenker, SIGCOMM 1989) kept by policing instead of queues: nothing waits here, and a refusal tells
//! the caller to stop reading that link, so that QUIC's flow control pushes back.
//!
//! **Guarantee.** (1) Who asks for no more than its share, with [`BURST`] of it at once, is never refused,
//! whatever others do. (2) In any time `t` at most `rate * (t + 2 * BURST)` checks are spent, and one for
//! each peer whose share is below one in [`BURST`]. (3) Who is alone may use all of it. What is *not*
//! promised is more than one's share while others ask too.
//!
//! **Weight.** Reputation times ([`BASE_AGENTS`] + agents), agents counted up to [`AGENTS_COUNTED_MAX`]:
//! how many agents a peer has is its own word, so lying about it must not buy more than eleven shares. Who
//! is below a reputation of 0.5 has no share and no left-overs.
//!
//! Control frames and copies of what was verified cost nothing: the caller looks for duplicates first and
//! asks here only before it verifies.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::bucket::{AtomicBucket, Rate};
use super::offence::Reputation;
use crate::time::Time;

/// Of the whole, what is promised to peers. The rest pays off what bursts borrowed, and serves peers that
/// have just come and have no share yet.
pub const PROMISED_PERCENT: u64 = 90;
/// How much time's worth of a share, or of the whole, may be spent at once.
pub const BURST: Duration = Duration::from_millis(250);
/// What a peer weighs without any agent, in agents.
pub const BASE_AGENTS: u64 = 1_000;
/// Agents beyond this number add no weight.
pub const AGENTS_COUNTED_MAX: u64 = 10_000;

/// How a request was paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spent {
    /// Out of the peer's own share.
    Own,
    /// Out of what others left.
    Spare,
    /// Not at all: it is not to be verified now.
    Refused,
}

/// What weighs for a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Agents behind it, by its own word.
    pub agents: u64,
    /// Its reputation here.
    pub reputation: Reputation,
}

/// Divides `per_second` checks among peers: their shares, in the order of the claims. The sum is at most
/// [`PROMISED_PERCENT`] of the whole; a claim's share depends on nothing but the claims.
pub fn divide(per_second: u64, claims: &[Claim]) -> Vec<u64> {
    let weights = || claims.iter().map(|claim| u128::from(claim.weight()));
    let sum = weights().sum::<u128>().max(1);
    let promised = u128::from(per_second) * u128::from(PROMISED_PERCENT) / 100;
    let share = |weight: u128| u64::try_from(promised * weight / sum).expect("a part of what fits");
    weights().map(share).collect()
}

impl Claim {
    fn weight(&self) -> u64 {
        if self.reputation < Reputation::IGNORED_BELOW {
            return 0;
        }
        (BASE_AGENTS + self.agents.min(AGENTS_COUNTED_MAX)) * u64::from(self.reputation.millionths())
    }
}

/// The share of one peer, kept with its link. Threads take from it without a lock.
#[derive(Debug)]
pub struct Share {
    per_second: AtomicU64,
    is_heard: AtomicBool,
    bucket: AtomicBucket,
}

impl Share {
    /// The share of a peer that has just come: nothing is promised to it, left-overs are open to it.
    pub fn new(now: Time) -> Share {
        Share {
            per_second: AtomicU64::new(0),
            is_heard: AtomicBool::new(true),
            bucket: AtomicBucket::full(now),
        }
    }

    /// Sets what [`divide`] worked out, and whether the peer is heard at all. Takes effect with the next
    /// request; what was spent stays spent.
    pub fn set(&self, per_second: u64, is_heard: bool) {
        self.per_second.store(per_second, Ordering::Relaxed);
        self.is_heard.store(is_heard, Ordering::Relaxed);
    }

    /// Checks a second that are promised.
    pub fn per_second(&self) -> u64 {
        self.per_second.load(Ordering::Relaxed)
    }
}

/// The checks of a node. Threads take from it without a lock.
#[derive(Debug)]
pub struct Budget {
    rate: Rate,
    whole: AtomicBucket,
    refused: AtomicU64,
}

impl Budget {
    /// A budget of `per_second` checks, at least one.
    pub fn new(per_second: u64, now: Time) -> Budget {
        let rate = rate_of(per_second);
        Budget { rate, whole: AtomicBucket::full(now), refused: AtomicU64::new(0) }
    }

    /// Checks a second in all.
    pub fn per_second(&self) -> u64 {
        self.rate.per_second()
    }

    /// Pays for `checks` signatures of a peer, all or none. At most two loops of
    /// [`super::bucket::TRIES_MAX`] exchanges; usually two exchanges.
    pub fn try_spend(&self, share: &Share, now: Time, checks: u64) -> Spent {
        let spent = self.pay(share, now, checks);
        if spent == Spent::Refused {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        spent
    }

    /// Pays for one check that is made in any case, by debt where there is nothing left: what has come
    /// cannot be unread, and who sent it may be honest. Returns when the link may be read again, if not at
    /// once.
    pub fn spend(&self, share: &Share, now: Time) -> Option<Time> {
        if self.pay(share, now, 1) != Spent::Refused {
            return None;
        }
        self.refused.fetch_add(1, Ordering::Relaxed);
        let promised = share.per_second();
        if promised > 0 {
            share.bucket.charge(&rate_of(promised), now, 1);
        }
        self.whole.charge(&self.rate, now, 1);
        self.ready_at(share, now, 1)
    }

    /// The same out of the peer's own share alone, where it has one: nothing of what others leave is lent.
    /// For who brings what is of no use.
    pub fn spend_own(&self, share: &Share, now: Time) -> Option<Time> {
        let promised = share.per_second();
        if promised == 0 {
            return self.spend(share, now);
        }
        let rate = rate_of(promised);
        let is_covered = share.bucket.take(&rate, now, 1);
        self.whole.charge(&self.rate, now, 1);
        if is_covered {
            return None;
        }
        self.refused.fetch_add(1, Ordering::Relaxed);
        share.bucket.charge(&rate, now, 1);
        share.bucket.look().ready_at(&rate, now, 1)
    }

    /// When `checks` would be paid for, if nobody else asked meanwhile: when to read the link again.
    /// `None` where that is never, as for a peer that is not heard.
    pub fn ready_at(&self, share: &Share, now: Time, checks: u64) -> Option<Time> {
        if !share.is_heard.load(Ordering::Relaxed) {
            return None;
        }
        let spare = self.whole.look().ready_at(&self.rate, now, checks);
        let own = match share.per_second() {
            0 => None,
            promised => share.bucket.look().ready_at(&rate_of(promised), now, checks),
        };
        own.into_iter().chain(spare).min()
    }

    /// Requests that were refused.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn pay(&self, share: &Share, now: Time, checks: u64) -> Spent {
        if !share.is_heard.load(Ordering::Relaxed) {
            return Spent::Refused;
        }
        let promised = share.per_second();
        if promised > 0 && share.bucket.take(&rate_of(promised), now, checks) {
            self.whole.charge(&self.rate, now, checks);
            return Spent::Own;
        }
        if self.whole.take(&self.rate, now, checks) { Spent::Spare } else { Spent::Refused }
    }
}

/// The rate with a burst of [`BURST`].
fn rate_of(per_second: u64) -> Rate {
    let burst = u128::from(per_second) * BURST.as_nanos() / 1_000_000_000;
    Rate::new(per_second, u64::try_from(burst).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
