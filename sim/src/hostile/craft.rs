//! What hostile nodes make up.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use starling_core::hash::hash_id;
use starling_core::id::{AgentId, ShortId};
use starling_core::identity::Context;
use starling_core::limits;
use starling_core::machine::LinkSlot;
use starling_core::membership::detector::{Kind, Life, Statement};
use starling_core::wire::bundle::{Bundle, Class, Passage, Section, SectionSet};
use starling_core::wire::codec::Wire;
use starling_core::wire::entry::{Extras, put_entry};
use starling_core::wire::message::{ControlBody, Interest, PeerRecord, Peers, Statements};

use super::Attack;
use starling_core::hot::Lane;

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
    pub(crate) fn strike(&mut self, node: usize) {
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
            Attack::Replay if is_first => self.listen(&links),
            Attack::Replay => self.replay(node, &links),
            Attack::Flood => links.into_iter().for_each(|link| self.flood(node, link)),
            Attack::GiantFrame => links.into_iter().for_each(|(link, _)| self.send_giant(link)),
            Attack::FalseAccusation => self.accuse(node, &links),
            Attack::PoisonedPeers => self.poison(node, &links),
            // It does its worst as frames pass it.
            Attack::Tampering | Attack::Idle => {}
        }
        self.settle(node);
    }

    fn next_sequence(&mut self, node: usize) -> u64 {
        let hostile = self.hostile.get_mut(&node).expect("only hostile nodes strike");
        hostile.sequence += 1;
        hostile.sequence
    }

    /// An event of this node with what else it has to have, signed by it.
    fn made_up(&self, node: usize, origin: ShortId, subject: &str, sequence: u64, payload: &[u8]) -> Bundle {
        let mut body = BytesMut::new();
        put_entry(&mut body, 0, sequence, &Extras::default(), payload);
        let body = body.freeze();
        let section = Section {
            tenant: 0,
            key: 0,
            codec: 0,
            directed: false,
            count: 1,
            subject: Bytes::copy_from_slice(subject.as_bytes()),
            hash: *blake3::hash(&body).as_bytes(),
            length: u32::try_from(body.len()).expect("a short text"),
            body: Some(body),
        };
        let plain = Bundle {
            class: Class::EventBulk,
            mesh: self.nodes[node].peer().admission.mesh,
            origin,
            incarnation: self.nodes[node].incarnation,
            sequence,
            clock: self.now_at(node).wall.as_millis() << 16,
            previous: None,
            is_checkpoint: false,
            agents: vec![AgentId([0xBA; 16])],
            sections: vec![section],
            header: Bytes::new(),
            hash: [0; 32],
        };
        plain.signed_by(&self.nodes[node].signer())
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
        let origin = if sequence.is_multiple_of(2) { victim } else { self.nodes[node].id() };
        let mut bundle = self.made_up(node, origin, "work.r0.0", 1 << 40 | sequence, b"forged");
        if origin != victim {
            let mut header = bundle.header.to_vec();
            if let Some(last) = header.last_mut() {
                *last ^= 1;
            }
            bundle.header = header.into();
        }
        self.send_made_up(link, &bundle);
    }

    /// One header to all, and then another one to one of them.
    fn equivocate(&mut self, node: usize, links: &[(LinkSlot, usize)]) {
        let (sequence, me) = (self.next_sequence(node), self.nodes[node].id());
        let one = self.made_up(node, me, "void", sequence, b"one");
        let two = self.made_up(node, me, "void", sequence, b"two");
        links.iter().for_each(|link| self.send_made_up(*link, &one));
        if !links.is_empty() {
            let turn = self.rng.below(links.len() as u64) as usize;
            self.send_made_up(links[turn], &two);
        }
    }

    /// Wants everything, to have something to repeat.
    fn listen(&mut self, links: &[(LinkSlot, usize)]) {
        let links: Vec<LinkSlot> = links.iter().map(|(link, _)| *link).collect();
        let added = vec![">".to_string()];
        let interest = Interest { version: 1 << 40, whole: true, added, ..Interest::default() };
        self.send_control(&links, ControlBody::Interest(interest));
    }

    fn replay(&mut self, node: usize, links: &[(LinkSlot, usize)]) {
        let heard: Vec<Sent> = self.hostile[&node].heard.iter().cloned().collect();
        for sent in heard {
            links.iter().for_each(|(link, _)| self.send(*link, sent.clone()));
        }
    }

    fn flood(&mut self, node: usize, link: (LinkSlot, usize)) {
        let me = self.nodes[node].id();
        for _ in 0..FLOOD {
            if self.unread_bytes(link.0) >= WINDOW_BYTES {
                return;
            }
            let sequence = self.next_sequence(node);
            let bundle = self.made_up(node, me, "void", sequence, b"flood");
            self.send_made_up(link, &bundle);
        }
    }

    /// Bytes on their way over a link, or there and not read.
    fn unread_bytes(&self, link: LinkSlot) -> usize {
        let (id, side) = end_of(link);
        self.pairs.get(&id).map_or(0, |pair| pair.unread[side])
    }

    fn send_giant(&mut self, link: LinkSlot) {
        let body = Bytes::from(vec![0xFF; limits::FRAME_BYTES_MAX + 1]);
        let (bytes, content) = (body.len(), hash_id(&body[..64]));
        self.send(link, Sent { lane: Lane::Bulk, frame: Frame::Bundle(body), bytes, content });
    }

    fn accuse(&mut self, node: usize, links: &[(LinkSlot, usize)]) {
        let region = self.nodes[node].region();
        let honest = (0..self.nodes.len()).filter(|at| *at != node && self.nodes[*at].region() == region);
        let mut signed = Vec::new();
        for victim in honest {
            for kind in [Kind::Suspect, Kind::Confirm] {
                let statement = Statement {
                    speaker: self.nodes[node].id(),
                    kind,
                    subject: self.nodes[victim].id(),
                    life: Life::first(self.nodes[victim].incarnation),
                    said: self.now_at(node).wall.as_millis(),
                };
                let message = statement.message();
                let mut bytes = BytesMut::new();
                bytes.put_slice(&message);
                bytes.put_slice(&self.nodes[node].signer().sign(Context::Membership, &message).0);
                signed.push(bytes.freeze());
            }
        }
        let links: Vec<LinkSlot> = links.iter().map(|(link, _)| *link).collect();
        self.send_control(&links, ControlBody::Statements(Statements { signed }));
    }

    /// Nodes that were never admitted, and honest ones at addresses where they are not.
    fn poison(&mut self, node: usize, links: &[(LinkSlot, usize)]) {
        let mut records = Vec::new();
        for at in (0..self.nodes.len()).filter(|at| *at != node) {
            let mut admission = self.nodes[at].peer().admission;
            records.push(PeerRecord {
                admission: admission.to_bytes(),
                addresses: vec!["nowhere".to_string()],
                incarnation: self.nodes[at].incarnation + 1_000,
                process: 0,
                version: String::new(),
                is_gone: false,
                has_left: false,
            });
            admission.key.0[0] ^= 1;
            let last = records.last().cloned().unwrap_or_default();
            records.push(PeerRecord { admission: admission.to_bytes(), ..last });
        }
        let links: Vec<LinkSlot> = links.iter().map(|(link, _)| *link).collect();
        for part in records.chunks(32) {
            self.send_control(&links, ControlBody::Peers(Peers { records: part.to_vec(), more: false }));
        }
    }
}
