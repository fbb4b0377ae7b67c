//! What a party may do wrong, how much it weighs, and what follows.
//!
//! The weights are in millionths of the whole reputation. Offences fall into two kinds. **Grave** ones
//! no honest party can be made to commit: a node verifies before it forwards, so who passes on an
//! invalid signature or a malformed frame is itself at fault. **Mild** ones happen to honest nodes:
//! while the mesh is cut, while interest changes, or because a liar arranged it (it refutes what an
//! honest node said of it in good faith, feeds a relay what the next hop will call stale, or floods
//! through it). They count once a second, and never take a *node* below
//! [`Reputation::IGNORED_BELOW`]: it loses half its share of the budget and is still heard. An agent
//! speaks on its own connection to its edge, so nobody can arrange its offences, and it has no such
//! floor.

use std::fmt;

use crate::time::Time;

/// How far a party is trusted, 0.0 to 1.0, in millionths so that all machines agree on it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reputation(u32);

impl Reputation {
    /// What everybody starts with: 1.0.
    pub const FULL: Reputation = Reputation(1_000_000);
    /// Who is below is ignored: 0.5. Also what a party has when its ban ends.
    pub const IGNORED_BELOW: Reputation = Reputation(500_000);
    /// Who falls this far is banned: 0.2.
    pub const BANNED_AT: Reputation = Reputation(200_000);
    /// No trust at all.
    pub const NONE: Reputation = Reputation(0);

    /// A reputation in millionths; more than a million is a million.
    pub fn from_millionths(millionths: u32) -> Reputation {
        Reputation(millionths.min(Reputation::FULL.0))
    }

    /// In millionths.
    pub fn millionths(self) -> u32 {
        self.0
    }

    /// Between 0.0 and 1.0, for people; nothing that decides uses it.
    pub fn as_f64(self) -> f64 {
        f64::from(self.0) / f64::from(Reputation::FULL.0)
    }

    /// More by `gain`, at most full.
    pub(super) fn raised(self, gain: u64) -> Reputation {
        let full = u64::from(Reputation::FULL.0);
        let sum = u64::from(self.0).saturating_add(gain).min(full);
        Reputation(u32::try_from(sum).expect("a million fits"))
    }

    /// Less by `weight`, but no further than `floor`; who is below the floor stays there.
    pub(super) fn lowered(self, weight: u32, floor: Reputation) -> Reputation {
        Reputation(self.0.saturating_sub(weight)).max(self.min(floor))
    }
}

impl fmt::Display for Reputation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.as_f64())
    }
}

impl fmt::Debug for Reputation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What this node saw a party do, on the link or connection of that very party.
///
/// Equivocation is not among them: it is proven ([`super::proof`]) or not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Offence {
    /// Sent something whose signature does not hold under a key that is known. (Where the key is not
    /// known there is no offence.)
    InvalidSignature,
    /// Sent bytes that no version of the protocol allows.
    MalformedFrame,
    /// Sent what is too old, or what it had sent before.
    Stale,
    /// Sent more than its rate.
    OverRate,
    /// Said something that is signed and well formed and yet refused: a clock ahead, a hop count over
    /// its bound, an update out of order.
    RefusedStatement,
    /// Accused somebody who then answered.
    FalseAccusation,
    /// Sent bundles that nobody here asked for.
    UnwantedBundle,
    /// Acknowledged nothing of what it asked for, for longer than it may hold back.
    Withheld,
}

impl Offence {
    /// All offences.
    pub const ALL: [Offence; 8] = [
        Offence::InvalidSignature,
        Offence::MalformedFrame,
        Offence::Stale,
        Offence::OverRate,
        Offence::RefusedStatement,
        Offence::FalseAccusation,
        Offence::UnwantedBundle,
        Offence::Withheld,
    ];

    /// What it takes off a reputation, in millionths.
    pub fn weight(self) -> u32 {
        match self {
            // It has cost publishers half a minute, and is not to do so again soon.
            Offence::Withheld => 600_000,
            Offence::InvalidSignature | Offence::MalformedFrame => 100_000,
            Offence::OverRate | Offence::RefusedStatement | Offence::FalseAccusation => 20_000,
            Offence::Stale => 10_000,
            Offence::UnwantedBundle => 5_000,
        }
    }

    /// Whether honest nodes never do it, whatever others do.
    pub fn is_grave(self) -> bool {
        match self {
            Offence::InvalidSignature | Offence::MalformedFrame | Offence::Withheld => true,
            Offence::Stale
            | Offence::OverRate
            | Offence::RefusedStatement
            | Offence::FalseAccusation
            | Offence::UnwantedBundle => false,
        }
    }
}

/// What follows for a party.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is heard.
    Fine,
    /// Nothing it says is taken up. A node closes the link of such a peer and takes none until its
    /// reputation is back.
    Ignore,
    /// Its link is closed and none is taken or dialled.
    Ban {
        /// When the ban ends on the monotonic clock; [`Verdict::FOREVER`] for one by proof.
        until: Time,
    },
}

impl Verdict {
    /// The end of a ban that has none.
    pub const FOREVER: Time = Time(u64::MAX);
}
