//! Nodes that lie: each an admitted node with a key and links of its own, whose machine works as any
//! other's, and one [`Attack`] on top of that.
//!
//! What a hostile node sends on its own account is sent in `craft` and `crowd` and made by `starling_hostile`, which
//! real hostile nodes share; what it does to frames that pass it is here. It hosts no clients, so that what honest clients were promised is not in its hands.

mod craft;
mod crowd;

pub(crate) use craft::STRIKES;

use std::collections::VecDeque;

pub use starling_hostile::Attack;

use starling_core::time::Time;
use starling_core::wire::frame::FrameType;
use starling_hostile::{Fate, fate, is_said};

use crate::link::{Frame, Sent};
use crate::world::World;

/// Frames that a replaying node remembers.
const REMEMBERED_MAX: usize = 256;

/// A hostile node's own state.
#[derive(Debug)]
pub(crate) struct Hostile {
    pub attack: Attack,
    /// When it first did something.
    pub since: Option<Time>,
    sequence: u64,
    heard: VecDeque<Sent>,
    crowd: crowd::Crowd,
}

impl World {
    /// Lets a node attack from now on, whenever [`World::strike`] is called.
    pub fn make_hostile(&mut self, node: usize, attack: Attack) {
        let (heard, crowd) = (VecDeque::new(), crowd::Crowd::default());
        let hostile = Hostile { attack, since: None, sequence: 0, heard, crowd };
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

    /// What becomes of a frame that a node sends; false if it does not leave.
    pub(crate) fn twist(&mut self, node: usize, sent: &mut Sent) -> bool {
        let Some(hostile) = self.hostile.get(&node).filter(|hostile| hostile.since.is_some()) else {
            return true;
        };
        let (kind, body) = match &sent.frame {
            Frame::Bundle(body) => (FrameType::Bundle, body),
            Frame::Acknowledge(body) => (FrameType::Acknowledge, body),
            Frame::Control(body, _) => return is_said(hostile.attack, body),
            Frame::Copies(_) | Frame::Relayed(_) | Frame::Probe(_) => return true,
        };
        match fate(hostile.attack, self.nodes[node].id(), kind, body) {
            Fate::Sent => true,
            Fate::Changed(body) => {
                sent.frame = Frame::Bundle(body);
                true
            }
            Fate::Lost => false,
        }
    }
}
