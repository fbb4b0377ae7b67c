//! A machine that lies: it hands on what it gets and is given, and strikes as often as it may.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use starling_core::hot::Pressure;
use starling_core::identity::{Admission, Roles};
use starling_core::machine::{Input, LinkSlot, Machine, Outbox, Output, Peer};
use starling_core::time::{Now, Time};
use starling_core::wire::bundle::{Bundle, Passage, SectionSet};
use starling_core::wire::frame::{FrameType, Parcel, frame};
use starling_core::wire::message::ControlBody;
use starling_hostile::{Attack, Liar, giant_body, is_said, poisoned, strangers, wants_everything};

use super::doors::Doors;
use super::{Lie, Tap};

/// How often it strikes, and looks whether it may.
const STRIKES: Duration = Duration::from_millis(100);
/// Bundles of a flood that are signed before it begins, and sent over each link.
const FLOOD_BUNDLES: u64 = 100_000;
/// Of these, how many are signed each time it looks whether it may strike.
const SIGNED_A_STRIKE: u64 = 2_000;
/// Of these in one strike over one link: ten times what a node checks.
const FLOOD_BUNDLES_A_STRIKE: usize = 32_000;
/// Nodes that nobody admitted and that are told of in one strike.
const STRANGERS: u64 = 32;
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
    /// The authority's word on it.
    admission: Admission,
    doors: Doors,
    /// What a flood is made of, and how far each link has come.
    flood: Vec<Bundle>,
    flooded: BTreeMap<LinkSlot, usize>,
    /// What the honest machine says, until it is known whether it may; empty between two steps.
    said: Outbox,
}

impl Hostile {
    /// One that waits for its sign.
    pub fn new(honest: Box<dyn Machine>, liar: Liar, admission: Admission, lie: &Lie) -> Hostile {
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
            admission,
            doors: Doors::new(lie.trust.clone()),
            flood: Vec::new(),
            flooded: BTreeMap::new(),
            said: Outbox::new(),
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
            | Input::Candidates { .. }
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
            | Input::Wanted(_)
            | Input::Committed { .. }
            | Input::Restored { .. }
            | Input::Undecided { .. }
            | Input::Standings(_)
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
            Attack::Tampering
            | Attack::WithheldBundles
            | Attack::WithheldAcknowledgements
            | Attack::WithheldConfirmations
            | Attack::Idle => {}
            Attack::Sybils => {
                let body = ControlBody::Peers(strangers(&self.admission, self.sequence, STRANGERS));
                self.sequence += STRANGERS;
                out.push(Output::ControlToAll { links, body });
                let edges = self.addresses(|roles| roles.has(Roles::EDGE));
                self.doors.crowd(edges);
            }
            Attack::SlowHandshake => {
                let everybody = self.addresses(|_| true);
                self.doors.begin_handshakes(everybody);
            }
        }
        self.is_first = false;
    }

    /// Where peers of some roles listen.
    fn addresses(&self, is_meant: impl Fn(Roles) -> bool) -> Vec<String> {
        let peers = self.links.values().filter(|peer| is_meant(peer.admission.roles));
        peers.filter_map(|peer| peer.addresses.first().cloned()).collect()
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

    /// Signs what a flood is made of, a few at a time: that takes a core for a second, and is not to be
    /// counted as what the flood does to others.
    fn prepare(&mut self) {
        let signed = self.flood.len() as u64;
        if self.attack == Attack::Flood && signed < FLOOD_BUNDLES {
            let next = signed + 1..=(signed + SIGNED_A_STRIKE).min(FLOOD_BUNDLES);
            self.flood.extend(next.map(|sequence| self.liar.useless(sequence)));
        }
    }

    fn send_flood(&mut self, links: &[LinkSlot]) {
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
        self.honest.handle(now, input, &mut self.said);
        let is_on = self.tap.is_on();
        for output in self.said.drain() {
            let is_held = matches!(&output, Output::Control { body, .. } | Output::ControlToAll { body, .. }
                if is_on && !is_said(self.attack, body));
            if !is_held {
                out.push(output);
            }
        }
        if now.mono >= self.strike_at {
            self.strike_at = now.mono + STRIKES;
            self.liar.wall = now.wall;
            let is_on = self.sign.exists();
            self.tap.set_on(is_on);
            match is_on {
                true => self.strike(out),
                false => {
                    self.doors.leave();
                    self.prepare();
                }
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
