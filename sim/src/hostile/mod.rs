//! Nodes that lie: each an admitted node with a key and links of its own, whose machine works as any
//! other's, and one [`Attack`] on top of that.
//!
//! What a hostile node sends on its own account is made in `craft`; what it does to frames that pass it
//! is here. It hosts no clients, so that what honest clients were promised is not in its hands.

mod craft;

pub(crate) use craft::STRIKES;

use std::collections::VecDeque;

use starling_core::identity::Roles;
use starling_core::time::Time;
use starling_core::wire::bundle::Bundle;

use crate::link::{Frame, Sent};
use crate::world::World;

/// Frames that a replaying node remembers.
const REMEMBERED_MAX: usize = 256;

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
    /// Nothing: what the others are compared with.
    Idle,
}

const ATTACKS: [(Attack, &str, &str); 9] = [
    (Attack::BadSignature, "bad-signature", "bundles whose signatures do not hold"),
    (Attack::Equivocation, "equivocation", "two headers under one sequence"),
    (Attack::Replay, "replay", "what was heard before, again and to others"),
    (Attack::Flood, "flood", "ten times as many bundles as a node checks"),
    (Attack::GiantFrame, "giant-frame", "frames over the limit"),
    (Attack::FalseAccusation, "false-accusation", "accusations of nodes that live"),
    (Attack::PoisonedPeers, "poisoned-peers", "peers that there are not, and wrong things of others"),
    (Attack::Tampering, "tampering", "an aggregator that changes what it passes on"),
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

    /// The role that it takes.
    pub fn role(self) -> Roles {
        if self == Attack::Tampering { Roles::AGGREGATOR } else { Roles::EDGE }
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

/// A hostile node's own state.
#[derive(Debug)]
pub(crate) struct Hostile {
    pub attack: Attack,
    /// When it first did something.
    pub since: Option<Time>,
    sequence: u64,
    heard: VecDeque<Sent>,
}

impl World {
    /// Lets a node attack from now on, whenever [`World::strike`] is called.
    pub(crate) fn make_hostile(&mut self, node: usize, attack: Attack) {
        let hostile = Hostile { attack, since: None, sequence: 0, heard: VecDeque::new() };
        self.hostile.insert(node, hostile);
    }

    /// Whether a node attacks.
    pub fn is_hostile(&self, node: usize) -> bool {
        self.hostile.contains_key(&node)
    }

    /// A hostile node hears something.
    pub(crate) fn remember(&mut self, node: usize, sent: &Sent) {
        let Some(hostile) = self.hostile.get_mut(&node) else { return };
        if hostile.attack == Attack::Replay && matches!(sent.frame, Frame::Bundle(_)) {
            hostile.heard.push_back(sent.clone());
            if hostile.heard.len() > REMEMBERED_MAX {
                hostile.heard.pop_front();
            }
        }
    }

    /// What becomes of a frame that a node sends.
    pub(crate) fn twist(&mut self, node: usize, sent: &mut Sent) {
        let is_on = self.hostile.get(&node).is_some_and(|hostile| hostile.since.is_some());
        let attack = self.hostile.get(&node).map(|hostile| hostile.attack);
        let (true, Some(Attack::Tampering), Frame::Bundle(body)) = (is_on, attack, &sent.frame) else {
            return;
        };
        let is_own = Bundle::decode(body).is_ok_and(|(_, bundle)| bundle.origin == self.nodes[node].id());
        let mut bytes = body.to_vec();
        if let Some(last) = bytes.last_mut().filter(|_| !is_own) {
            // The last byte of the last entry.
            *last ^= 1;
            sent.frame = Frame::Bundle(bytes.into());
        }
    }
}
