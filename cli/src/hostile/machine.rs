//! A machine that lies: it hands on what it gets and is given, and strikes as often as it may.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use starling_core::hot::Pressure;
use starling_core::machine::{Input, LinkSlot, Machine, Outbox, Output, Peer};
use starling_core::time::{Now, Time};
use starling_core::wire::bundle::{Bundle, Passage, SectionSet};
use starling_core::wire::frame::{FrameType, Parcel, frame};
use starling_core::wire::message::ControlBody;
use starling_hostile::{Attack, Liar, giant_body, poisoned, wants_everything};

use super::{Lie, Tap};

/// How often it strikes, and looks whether it may.
const STRIKES: Duration = Duration::from_millis(100);
/// Bundles of a flood that are signed before it begins, and sent over each link.
const FLOOD_BUNDLES: u64 = 100_000;
/// Of these in one strike over one link: ten times what a node checks.
const FLOOD_BUNDLES_A_STRIKE: usize = 32_000;
/// What agents of a chaos run subscribe to.
const SUBJECT: &str = "chaos.subject-0";

/// An honest machine and what it does beside.
pub struct Hostile {
    honest: Box<dyn Machine>,
    liar: Liar,
    attack: Attack,
    sign: PathBuf,
    tap: Arc<Tap>,
    links: BTreeMap<LinkSlot, Box<Peer>>,
    strike_at: Time,
    sequence: u64,
    is_first: bool,
    /// What a flood is made of, and how far each link has come.
    flood: Vec<Bundle>,
    flooded: BTreeMap<LinkSlot, usize>,
}

impl Hostile {
    /// One that waits for its sign.
    pub fn new(honest: Box<dyn Machine>, liar: Liar, lie: &Lie) -> Hostile {
        Hostile {
            honest,
            liar,
            attack: lie.attack,
            sign: lie.sign.clone(),
            tap: Arc::clone(&lie.tap),
            links: BTreeMap::new(),
            strike_at: Time::ZERO,
            sequence: 0,
            is_first: true,
            flood: Vec::new(),
            flooded: BTreeMap::new(),
        }
    }

    fn note(&mut self, input: &Input) {
        match input {
            Input::LinkUp { link, peer } => {
                self.links.insert(*link, peer.clone());
            }
            Input::LinkDown { link, .. } => {
                self.links.remove(link);
                self.flooded.remove(link);
            }
            Input::Wake
            | Input::DialFailed { .. }
            | Input::Control { .. }
            | Input::Probe { .. }
            | Input::Disconnected { .. }
            | Input::Attach { .. }
            | Input::Changes { .. }
            | Input::Request { .. }
            | Input::State { .. }
            | Input::SystemAcknowledged { .. }
            | Input::Unresolved(_)
            | Input::Reported(_)
            | Input::Measured(_)
            | Input::Distances(_)
            | Input::Committed { .. }
            | Input::Stop => {}
        }
    }

    fn strike(&mut self, out: &mut Outbox) {
        let links: Vec<LinkSlot> = self.links.keys().copied().collect();
        match self.attack {
            Attack::BadSignature => links.iter().for_each(|link| self.send_forged(*link)),
            Attack::Equivocation => self.equivocate(&links),
            Attack::Replay | Attack::WithheldAcknowledgements if self.is_first => {
                out.push(Output::ControlToAll { links, body: ControlBody::Interest(wants_everything()) });
            }
            Attack::Replay => self.replay(&links),
            Attack::Flood => self.send_flood(&links),
            Attack::GiantFrame => {
                let giant = frame(FrameType::Bundle, &giant_body());
                links.iter().for_each(|link| self.send(*link, giant.clone().into()));
            }
            Attack::FalseAccusation => {
                let victims =
                    self.links.values().map(|peer| (peer.admission.node().short(), peer.incarnation));
                let body = ControlBody::Statements(self.liar.accusations(victims));
                out.push(Output::ControlToAll { links, body });
            }
            Attack::PoisonedPeers => {
                let honest = self.links.values().map(|peer| (peer.admission.clone(), peer.incarnation));
                for peers in poisoned(honest) {
                    let (links, body) = (links.clone(), ControlBody::Peers(peers));
                    out.push(Output::ControlToAll { links, body });
                }
            }
            // It does its worst as frames pass it.
            Attack::Tampering | Attack::WithheldBundles | Attack::WithheldAcknowledgements | Attack::Idle => {
            }
        }
        self.is_first = false;
    }

    fn send(&self, link: LinkSlot, parcel: Parcel) {
        match self.tap.send(link, parcel) {
            // Whether it arrives is not the liar's to promise.
            Pressure::Fine | Pressure::Slow | Pressure::Gone => {}
        }
    }

    /// The frame of a bundle that begins a run on this link.
    fn parcel(&self, link: LinkSlot, bundle: &Bundle) -> Parcel {
        let region = self.links.get(&link).map(|peer| peer.admission.region_id()).unwrap_or_default();
        let passage = Passage { is_first: true, region, ..Passage::default() };
        bundle.to_parcel(&passage, &SectionSet::present_in(bundle))
    }

    fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    /// In the name of a peer at another link's end, or its own.
    fn send_forged(&mut self, link: LinkSlot) {
        let sequence = self.next_sequence();
        let others = self.links.iter().filter(|(of, _)| **of != link);
        let victim = others.map(|(_, peer)| peer.admission.node().short()).next().unwrap_or(self.liar.id);
        let bundle = self.liar.forged(victim, SUBJECT, sequence);
        self.send(link, self.parcel(link, &bundle));
    }

    /// One header to all, and then another one to one of them.
    fn equivocate(&mut self, links: &[LinkSlot]) {
        let sequence = self.next_sequence();
        let [one, two] = self.liar.pair(sequence);
        links.iter().for_each(|link| self.send(*link, self.parcel(*link, &one)));
        if !links.is_empty() {
            let turn = links[sequence as usize % links.len()];
            self.send(turn, self.parcel(turn, &two));
        }
    }

    fn replay(&mut self, links: &[LinkSlot]) {
        for body in self.tap.heard() {
            let again = frame(FrameType::Bundle, &body);
            links.iter().for_each(|link| self.send(*link, again.clone().into()));
        }
    }

    fn send_flood(&mut self, links: &[LinkSlot]) {
        if self.flood.is_empty() {
            self.flood = (1..=FLOOD_BUNDLES).map(|sequence| self.liar.useless(sequence)).collect();
        }
        for link in links {
            let from = self.flooded.get(link).copied().unwrap_or_default();
            let mut sent = from;
            for bundle in self.flood[from..].iter().take(FLOOD_BUNDLES_A_STRIKE) {
                sent += 1;
                // What the link does not take now is sent when it does.
                if self.tap.send(*link, self.parcel(*link, bundle)) != Pressure::Fine {
                    break;
                }
            }
            self.flooded.insert(*link, sent);
        }
    }
}

impl Machine for Hostile {
    fn handle(&mut self, now: Now, input: Input, out: &mut Outbox) {
        self.note(&input);
        self.honest.handle(now, input, out);
        if now.mono >= self.strike_at {
            self.strike_at = now.mono + STRIKES;
            self.liar.wall = now.wall;
            let is_on = self.sign.exists();
            self.tap.set_on(is_on);
            if is_on {
                self.strike(out);
            }
        }
    }

    fn deadline(&self) -> Option<Time> {
        Some(self.honest.deadline().map_or(self.strike_at, |due| due.min(self.strike_at)))
    }

    fn check(&self) {
        self.honest.check();
    }
}
