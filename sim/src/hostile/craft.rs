//! What hostile nodes send on their own account.

use std::time::Duration;

use starling_core::hash::hash_id;
use starling_core::hot::Lane;
use starling_core::limits;
use starling_core::machine::LinkSlot;
use starling_core::wire::bundle::{Bundle, Passage, SectionSet};
use starling_core::wire::message::ControlBody;
use starling_hostile::{Attack, Liar, giant_body, poisoned, wants_everything};

use crate::link::{Frame, Sent};
use crate::world::{World, end_of};

/// How often an attacker strikes.
pub(crate) const STRIKES: Duration = Duration::from_millis(100);
/// Bundles of a flood in one strike and over one link: ten times what a node checks.
const FLOOD: u64 = 10 * limits::CHECKS_PER_SECOND / 10;
/// What a receiver that does not read takes of a stream: QUIC's window.
const WINDOW_BYTES: usize = 1024 * 1024;

impl World {
    /// A hostile node does its worst, once.
    pub fn strike(&mut self, node: usize) {
        let now = self.now;
        if !self.nodes[node].is_active() {
            return;
        }
        let Some(hostile) = self.hostile.get_mut(&node) else { return };
        let is_first = hostile.since.replace(hostile.since.unwrap_or(now)).is_none();
        let attack = hostile.attack;
        let links: Vec<(LinkSlot, usize)> = self.nodes[node].links.iter().map(|(l, to)| (*l, *to)).collect();
        match attack {
            Attack::BadSignature => links.into_iter().for_each(|link| self.send_forged(node, link)),
            Attack::Equivocation => self.equivocate(node, &links),
            Attack::Replay | Attack::WithheldAcknowledgements if is_first => self.listen(&links),
            Attack::Replay => self.replay(node, &links),
            Attack::Flood => links.into_iter().for_each(|link| self.flood(node, link)),
            Attack::GiantFrame => links.into_iter().for_each(|(link, _)| self.send_giant(link)),
            Attack::FalseAccusation => self.accuse(node, &links),
            Attack::PoisonedPeers => self.poison(node, &links),
            Attack::Sybils => self.crowd(node, &links),
            // It does its worst as frames pass it.
            Attack::Tampering
            | Attack::WithheldBundles
            | Attack::WithheldAcknowledgements
            | Attack::WithheldConfirmations
            | Attack::SlowHandshake
            | Attack::Idle => {}
        }
        self.settle(node);
    }

    fn next_sequence(&mut self, node: usize) -> u64 {
        let hostile = self.hostile.get_mut(&node).expect("only hostile nodes strike");
        hostile.sequence += 1;
        hostile.sequence
    }

    /// The node as a liar, with its key and at this time.
    fn liar(&self, node: usize) -> Liar {
        Liar {
            mesh: self.nodes[node].peer().admission.mesh,
            id: self.nodes[node].id(),
            incarnation: self.nodes[node].incarnation,
            signer: self.nodes[node].signer(),
            wall: self.now_at(node).wall,
        }
    }

    fn send_made_up(&mut self, (link, to): (LinkSlot, usize), bundle: &Bundle) {
        let passage = Passage { is_first: true, region: self.nodes[to].region(), ..Passage::default() };
        self.send_frame(link, Lane::Bulk, bundle.to_parcel(&passage, &SectionSet::present_in(bundle)));
    }

    /// What somebody wants to hear, in the name of an honest node, or in its own without its signature.
    fn send_forged(&mut self, node: usize, link: (LinkSlot, usize)) {
        let sequence = self.next_sequence(node);
        let honest = self.nodes.iter().enumerate().find(|(at, _)| !self.is_hostile(*at) && *at != link.1);
        let victim = honest.map_or(self.nodes[node].id(), |(_, honest)| honest.id());
        let bundle = self.liar(node).forged(victim, "work.r0.0", sequence);
        self.send_made_up(link, &bundle);
    }

    /// One header to all, and then another one to one of them.
    fn equivocate(&mut self, node: usize, links: &[(LinkSlot, usize)]) {
        let sequence = self.next_sequence(node);
        let [one, two] = self.liar(node).pair(sequence);
        links.iter().for_each(|link| self.send_made_up(*link, &one));
        if !links.is_empty() {
            let turn = self.rng.below(links.len() as u64) as usize;
            self.send_made_up(links[turn], &two);
        }
    }

    /// Wants everything, to have something to repeat.
    fn listen(&mut self, links: &[(LinkSlot, usize)]) {
        let links: Vec<LinkSlot> = links.iter().map(|(link, _)| *link).collect();
        self.send_control(&links, ControlBody::Interest(wants_everything()));
    }

    fn replay(&mut self, node: usize, links: &[(LinkSlot, usize)]) {
        let heard: Vec<Sent> = self.hostile[&node].heard.iter().cloned().collect();
        for sent in heard {
            for (link, _) in links {
                // A receiver that does not keep up takes no more.
                if self.unread_bytes(*link) < WINDOW_BYTES {
                    self.send(*link, sent.clone());
                }
            }
        }
    }

    fn flood(&mut self, node: usize, link: (LinkSlot, usize)) {
        let liar = self.liar(node);
        for _ in 0..FLOOD {
            if self.unread_bytes(link.0) >= WINDOW_BYTES {
                return;
            }
            let sequence = self.next_sequence(node);
            self.send_made_up(link, &liar.useless(sequence));
        }
    }

    /// Bytes on their way over a link, or there and not read.
    fn unread_bytes(&self, link: LinkSlot) -> usize {
        let (id, side) = end_of(link);
        self.pairs.get(&id).map_or(0, |pair| pair.unread[side])
    }

    fn send_giant(&mut self, link: LinkSlot) {
        let body = giant_body();
        // It is refused by its head, so that the rest of it is neither waited for nor sent.
        let (bytes, content) = (0, hash_id(&body[..64]));
        self.send(link, Sent { lane: Lane::Bulk, frame: Frame::Bundle(body), bytes, content });
    }

    fn accuse(&mut self, node: usize, links: &[(LinkSlot, usize)]) {
        let region = self.nodes[node].region();
        let honest = (0..self.nodes.len()).filter(|at| *at != node && self.nodes[*at].region() == region);
        let victims = honest.map(|at| (self.nodes[at].id(), self.nodes[at].incarnation));
        let statements = self.liar(node).accusations(victims);
        let links: Vec<LinkSlot> = links.iter().map(|(link, _)| *link).collect();
        self.send_control(&links, ControlBody::Statements(statements));
    }

    /// Nodes that were never admitted, and honest ones at addresses where they are not.
    fn poison(&mut self, node: usize, links: &[(LinkSlot, usize)]) {
        let honest = (0..self.nodes.len()).filter(|at| *at != node);
        let honest = honest.map(|at| (self.nodes[at].peer().admission, self.nodes[at].incarnation));
        let poisoned = poisoned(honest);
        let links: Vec<LinkSlot> = links.iter().map(|(link, _)| *link).collect();
        for peers in poisoned {
            self.send_control(&links, ControlBody::Peers(peers));
        }
    }
}
