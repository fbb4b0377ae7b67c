//! PRIVACY: nobody shows where a silent node listens, nor names it to who looks for peers.

use std::collections::BTreeSet;

use bytes::Bytes;
use starling_core::time::Time;
use starling_core::wire::request::{Ask, AskPeers, Empty, Say};

use super::{Check, Findings, Scene};

/// A connection that no client has.
const CONNECTION: u32 = 0xFFFB;

/// What each node answers to who asks whom it knows.
#[derive(Default)]
pub(crate) struct Silent {
    findings: Findings,
}

impl Silent {
    /// Asks a node for its table of nodes and for a list of peers.
    fn look(&mut self, now: Time, at: usize, silent: &BTreeSet<Bytes>, scene: &mut Scene<'_>) {
        let name = scene.world.nodes[at].plan.name.clone();
        let mut ask = |ask: Ask| {
            scene.world.ask(at, CONNECTION, 1, ask);
            scene.world.nodes[at].record.replies.pop().map(|(_, _, say)| say)
        };
        let shown = match ask(Ask::Overview(Empty {})) {
            Some(Say::Overview(overview)) => {
                let is_shown = |id: &Bytes, address: &str| silent.contains(id) && !address.is_empty();
                let shown = overview.members.iter().find(|member| is_shown(&member.id, &member.address));
                shown.map(|member| format!("{name} knows {} at {}", member.name, member.address))
            }
            Some(_) | None => Some(format!("{name} does not say whom it knows")),
        };
        self.findings.note(now, shown);
        let listed = match ask(Ask::Peers(AskPeers { by: 0, name: String::new(), count: 256 })) {
            Some(Say::Peers(view)) => {
                let listed = view.peers.iter().find(|peer| silent.contains(&peer.id));
                listed.map(|peer| format!("{name} lists {} at {:?}", peer.name, peer.addresses))
            }
            Some(_) | None => Some(format!("{name} lists nobody")),
        };
        self.findings.note(now, listed);
    }
}

impl Check for Silent {
    fn name(&self) -> &'static str {
        "silent"
    }

    fn each_second(&mut self, now: Time, scene: &mut Scene<'_>) {
        let nodes = &scene.world.nodes;
        let silent = nodes.iter().filter(|node| node.is_silent);
        let silent: BTreeSet<Bytes> =
            silent.map(|node| Bytes::copy_from_slice(&node.peer().admission.node().0)).collect();
        if silent.is_empty() {
            return;
        }
        for at in 0..scene.world.nodes.len() {
            // A liar may say what it likes.
            if scene.world.nodes[at].is_active() && !scene.world.is_hostile(at) {
                self.look(now, at, &silent, scene);
            }
        }
    }

    fn at_end(&mut self, now: Time, scene: &mut Scene<'_>) {
        self.each_second(now, scene);
    }

    fn findings(&self) -> &Findings {
        &self.findings
    }
}
