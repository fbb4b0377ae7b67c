//! The attacks by name.

use starling_core::identity::Roles;

/// What a hostile node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Attack {
    /// Sends bundles in others' names and its own whose signatures do not hold.
    BadSignature,
    /// Signs two headers under one sequence.
    Equivocation,
    /// Sends what it heard and said before, to others.
    Replay,
    /// Sends ten times as many bundles as a node checks.
    Flood,
    /// Sends frames over the limit.
    GiantFrame,
    /// Accuses nodes that live.
    FalseAccusation,
    /// Tells of peers that there are not, and wrong things of those there are.
    PoisonedPeers,
    /// Changes what it passes on between regions.
    Tampering,
    /// Holds back what it is to pass on between regions.
    WithheldBundles,
    /// Wants everything and acknowledges nothing.
    WithheldAcknowledgements,
    /// Confirms nobody's interest.
    WithheldConfirmations,
    /// A crowd of identities that come from one liar: nodes that nobody admitted, and agents.
    Sybils,
    /// Begins many handshakes and ends none.
    SlowHandshake,
    /// Nothing: what the others are compared with.
    Idle,
}

const ATTACKS: [(Attack, &str, &str); 14] = [
    (Attack::BadSignature, "bad-signature", "bundles whose signatures do not hold"),
    (Attack::Equivocation, "equivocation", "two headers under one sequence"),
    (Attack::Replay, "replay", "what was heard before, again and to others"),
    (Attack::Flood, "flood", "ten times as many bundles as a node checks"),
    (Attack::GiantFrame, "giant-frame", "frames over the limit"),
    (Attack::FalseAccusation, "false-accusation", "accusations of nodes that live"),
    (Attack::PoisonedPeers, "poisoned-peers", "peers that there are not, and wrong things of others"),
    (Attack::Tampering, "tampering", "an aggregator that changes what it passes on"),
    (Attack::WithheldBundles, "withheld-bundles", "an aggregator that passes nothing on"),
    (
        Attack::WithheldAcknowledgements,
        "withheld-acknowledgements",
        "an edge that wants everything and acknowledges nothing",
    ),
    (Attack::WithheldConfirmations, "withheld-confirmations", "an edge that confirms nobody's interest"),
    (Attack::Sybils, "sybils", "nodes that nobody admitted, and crowds of agents"),
    (
        Attack::SlowHandshake,
        "slow-handshake",
        "many handshakes that do not end; not in the simulator, which has none",
    ),
    (Attack::Idle, "idle", "nothing, for comparison"),
];

impl Attack {
    /// The names of attacks and what they are.
    pub fn all() -> Vec<(&'static str, &'static str)> {
        ATTACKS.iter().map(|(_, name, about)| (*name, *about)).collect()
    }

    /// The attack of this name.
    pub fn named(name: &str) -> Option<Attack> {
        ATTACKS.iter().find(|(_, of, _)| *of == name).map(|(attack, ..)| *attack)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        ATTACKS.iter().find(|(attack, ..)| *attack == self).map_or("", |(_, name, _)| name)
    }

    /// Whether the simulator has what it attacks: links come up there without any handshake.
    pub fn is_simulated(self) -> bool {
        self != Attack::SlowHandshake
    }

    /// The role that it takes.
    pub fn role(self) -> Roles {
        let is_relay = matches!(self, Attack::Tampering | Attack::WithheldBundles);
        if is_relay { Roles::AGGREGATOR } else { Roles::EDGE }
    }

    /// Whether a signature of the attacker's own proves it, so that every honest node bans it.
    pub fn is_provable(self) -> bool {
        self == Attack::Equivocation
    }

    /// Whether who is attacked sees it at first hand, and bans the attacker for it.
    pub fn is_grave(self) -> bool {
        matches!(self, Attack::BadSignature | Attack::GiantFrame | Attack::Tampering)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_to_attacks_and_back() {
        for (name, _) in Attack::all() {
            assert_eq!(Attack::named(name).map(Attack::name), Some(name));
        }
        assert_eq!(Attack::named("kindness"), None);
    }
}
