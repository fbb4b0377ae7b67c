//! The failure detector among a node's peers: who of the own region is watched, how its probes and
//! statements travel, and what its verdicts mean for links.
//!
//! Peers of the own region are lost when the region holds them for dead, however long the link to
//! them is down: as long as others reach them, what is owed to them is kept. Peers elsewhere, of which
//! few nodes know anything first-hand, are lost with their links.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};

use super::detector::{self, Detector, Effect, Life, Probe, Standing, Statement, Verdict, Watched};
use super::known::Known;
use super::{Fact, Identity, Neighbours};
use crate::event::Event;
use crate::id::ShortId;
use crate::identity::{Context, Roles, Signature};
use crate::machine::{LinkSlot, Outbox, Output};
use crate::time::{Now, Time};
use crate::topology::rings::FULL_MESH_MAX;
use crate::wire::codec::{Reader, Wire};
use crate::wire::message::{ControlBody, Standings, Statements};

/// How often whom to watch is looked at, after a change.
const WATCH_INTERVAL: Duration = Duration::from_millis(200);
/// How often what is known of the region is compared with a neighbour.
const COMPARE_INTERVAL: Duration = Duration::from_secs(5);
/// Neighbours to which news of others is passed on where all are linked with all.
const FORWARD: usize = 4;
/// Statements in one message.
const STATEMENTS_MAX: usize = detector::digest::STATEMENTS_MAX;
/// Bytes of a signed statement.
const SIGNED_BYTES: usize = detector::STATEMENT_BYTES + 64;

/// What names a statement: of several by one speaker about one subject the newest of a kind counts.
type Name = (ShortId, ShortId, detector::Kind);

/// The detector and what travels for it.
#[derive(Debug)]
pub(super) struct Watching {
    pub detector: Detector,
    effects: Vec<Effect>,
    /// Signed statements that are in force.
    kept: BTreeMap<Name, (Statement, Bytes)>,
    /// When the watch is to be looked at.
    watch_due: Option<Time>,
    compare_due: Option<Time>,
    turn: u32,
}

impl Watching {
    pub fn new(me: &Identity, seed: u64) -> Watching {
        let life = Life::first(me.incarnation);
        let rules = detector::Rules::default();
        let detector = Detector::new(me.short(), life, rules, seed).expect("the defaults are within bounds");
        Watching {
            detector,
            effects: Vec::new(),
            kept: BTreeMap::new(),
            watch_due: None,
            compare_due: None,
            turn: 0,
        }
    }

    /// Whom to watch changed.
    pub fn watch_again(&mut self, now: Time) {
        self.watch_due.get_or_insert(now + WATCH_INTERVAL);
    }

    /// When something is to be done.
    pub fn deadline(&self) -> Option<Time> {
        [self.detector.deadline(), self.watch_due, self.compare_due].into_iter().flatten().min()
    }
}

impl Neighbours {
    /// Whether a peer is of this region's gossip, as this node is.
    pub(super) fn is_watched(&self, known: &Known) -> bool {
        let gossips = |roles: Roles| roles.has(Roles::EDGE) || roles.has(Roles::AGGREGATOR);
        let is_ours = self.own.region == known.region() && known.banned_until.is_none();
        gossips(self.me.admission.roles) && gossips(known.roles()) && is_ours
    }

    /// The detector hears of a peer of this region, or of its new life.
    pub(super) fn admit(&mut self, now: Now, id: ShortId, incarnation: u64) {
        let Watching { detector, effects, .. } = &mut self.watching;
        // A table that is full holds more peers than this node takes up.
        detector.member(now, id, Life::first(incarnation), effects);
        self.watching.watch_again(now.mono);
    }

    /// The link to a peer of this region is gone.
    pub(super) fn watching_link_down(&mut self, now: Now, id: ShortId) {
        let Watching { detector, effects, .. } = &mut self.watching;
        detector.link_down(now, id, effects);
    }

    /// Takes a control message that is about who is there; any other is given back.
    pub fn on_control(
        &mut self,
        now: Now,
        link: LinkSlot,
        body: ControlBody,
        out: &mut Outbox,
    ) -> Result<Vec<Fact>, (LinkSlot, ControlBody)> {
        self.heard(now, link);
        match body {
            ControlBody::RelayOpen(open) => return Ok(self.on_relay_open(now, link, open, out)),
            ControlBody::RelayAccepted(said) => return Ok(self.on_relay_accepted(now, link, said, out)),
            ControlBody::RelayClosed(said) => return Ok(self.on_relay_closed(now, link, said, out)),
            ControlBody::Relayed(relayed) => match self.on_relayed(link, relayed, out) {
                Some((link, body)) => return self.on_control(now, link, body, out),
                None => return Ok(Vec::new()),
            },
            ControlBody::Peers(peers) => self.hear(now, peers, out),
            ControlBody::Roster(roster) => self.on_roster(now, link, &roster, out),
            ControlBody::Names(names) => self.on_names(now, link, &names, out),
            ControlBody::Probe(probe) => return Ok(self.on_probe(now, link, &probe, out)),
            ControlBody::Statements(said) => return Ok(self.on_statements(now, link, said, out)),
            ControlBody::Standings(told) => self.on_standings(link, &told, out),
            ControlBody::Proof(bytes) => return Ok(self.on_proof(now, link, &bytes, out)),
            ControlBody::Leaving(_) => self.on_leaving(now, link),
            ControlBody::CertificateAsk(ask) => self.on_certificate_ask(now, link, ask, out),
            ControlBody::CertificateAnswer(answer) => self.on_certificate_answer(link, answer, out),
            other => return Err((link, other)),
        }
        Ok(Vec::new())
    }

    /// A control message came: its sender lives.
    fn heard(&mut self, now: Now, link: LinkSlot) {
        if let Some(id) = self.by_link.get(&link).copied() {
            let Watching { detector, effects, .. } = &mut self.watching;
            detector.heard(now, id, effects);
        }
    }

    /// A probe came over a link, as a datagram or on its control lane.
    pub fn on_probe(&mut self, now: Now, link: LinkSlot, bytes: &[u8], out: &mut Outbox) -> Vec<Fact> {
        let mut reader = Reader::new(bytes);
        let (Some(id), Ok(probe)) = (self.by_link.get(&link).copied(), Probe::decode(&mut reader)) else {
            return Vec::new();
        };
        let Watching { detector, effects, .. } = &mut self.watching;
        detector.heard(now, id, effects);
        detector.hear_probe(now, id, probe, effects);
        self.follow(now, out)
    }

    /// A peer passes statements on.
    fn on_statements(&mut self, now: Now, link: LinkSlot, said: Statements, out: &mut Outbox) -> Vec<Fact> {
        let Some(from) = self.by_link.get(&link).copied() else { return Vec::new() };
        let mut news = Vec::new();
        for signed in said.signed.into_iter().take(STATEMENTS_MAX) {
            let Some(statement) = self.verified(&signed) else { continue };
            let Watching { detector, effects, kept, .. } = &mut self.watching;
            if detector.hear(now, from, &statement, effects) == Verdict::New {
                kept.insert(
                    (statement.speaker, statement.subject, statement.kind),
                    (statement, signed.clone()),
                );
                news.push(signed);
            }
        }
        if !news.is_empty() {
            let links = self.forward_to(from);
            out.send_to_all(&links, ControlBody::Statements(Statements { signed: news }));
        }
        self.follow(now, out)
    }

    /// A statement whose speaker is of this region and signed it, unless it is known word for word.
    fn verified(&self, signed: &Bytes) -> Option<Statement> {
        if signed.len() != SIGNED_BYTES {
            return None;
        }
        let (message, signature) = signed.split_at(detector::STATEMENT_BYTES);
        let statement = Statement::decode(&mut Reader::new(message)).ok()?;
        let name = (statement.speaker, statement.subject, statement.kind);
        if self.watching.kept.get(&name).is_some_and(|(_, kept)| kept == signed) {
            return None;
        }
        let known = self.known.get(&statement.speaker).filter(|known| self.is_watched(known))?;
        let signature = Signature(signature.try_into().expect("its length was looked at"));
        known.key().verify(Context::Membership, message, &signature).then_some(statement)
    }

    /// A peer says what it knows of the region.
    fn on_standings(&mut self, link: LinkSlot, told: &Standings, out: &mut Outbox) {
        let Ok(digest) = detector::digest::Digest::from_bytes(&told.digest) else { return };
        if !self.by_link.contains_key(&link) || digest.fingerprint == self.watching.detector.fingerprint() {
            return;
        }
        let missing = self.watching.detector.missing(&digest);
        let signed: Vec<Bytes> = missing.iter().filter_map(|said| self.signed(said)).collect();
        if !signed.is_empty() {
            out.send(link, ControlBody::Statements(Statements { signed }));
        }
        if !told.is_answer {
            self.tell_standings(link, true, out);
        }
    }

    /// The signed form of a statement, if it is at hand.
    fn signed(&self, said: &Statement) -> Option<Bytes> {
        if said.speaker == self.own.id {
            return Some(self.sign(said));
        }
        let kept = self.watching.kept.get(&(said.speaker, said.subject, said.kind));
        kept.filter(|(statement, _)| statement.life == said.life).map(|(_, signed)| signed.clone())
    }

    fn sign(&self, said: &Statement) -> Bytes {
        let message = said.message();
        let mut signed = BytesMut::with_capacity(SIGNED_BYTES);
        signed.put_slice(&message);
        signed.put_slice(&self.me.signer.sign(Context::Membership, &message).0);
        signed.freeze()
    }

    /// Tells a neighbour what this node knows; from then on notes are compared now and then.
    pub(super) fn meet(&mut self, now: Now, link: LinkSlot, out: &mut Outbox) {
        self.heard(now, link);
        self.tell_standings(link, false, out);
        self.watching.compare_due.get_or_insert(now.mono + COMPARE_INTERVAL);
    }

    fn tell_standings(&mut self, link: LinkSlot, is_answer: bool, out: &mut Outbox) {
        self.watching.turn = self.watching.turn.wrapping_add(1);
        let digest = self.watching.detector.digest(self.watching.turn).to_bytes();
        out.send(link, ControlBody::Standings(Standings { digest, is_answer }));
    }

    /// The transport says how long round trips over links take.
    pub fn on_distances(&mut self, distances: &[(LinkSlot, Duration)]) {
        for (link, rtt) in distances {
            if let Some(id) = self.by_link.get(link) {
                self.watching.detector.measured(*id, *rtt);
            }
        }
    }

    /// Says good-bye: nobody is to look for this node.
    pub fn leave(&mut self, now: Now, out: &mut Outbox) {
        let Watching { detector, effects, .. } = &mut self.watching;
        detector.leave(now, effects);
        self.follow(now, out);
    }

    /// Does what the detector has due, and looks after whom it watches.
    pub(super) fn wake_watching(&mut self, now: Now, out: &mut Outbox) -> Vec<Fact> {
        let Watching { detector, effects, .. } = &mut self.watching;
        if detector.deadline().is_some_and(|due| due <= now.mono) {
            detector.wake(now, effects);
        }
        if self.watching.watch_due.is_some_and(|due| due <= now.mono) {
            self.watching.watch_due = None;
            self.set_watch(now);
        }
        if self.watching.compare_due.is_some_and(|due| due <= now.mono) {
            self.compare(now, out);
        }
        self.follow(now, out)
    }

    /// Compares notes with one neighbour, so that nothing stays unknown that a flood missed.
    fn compare(&mut self, now: Now, out: &mut Outbox) {
        let links: Vec<LinkSlot> = self.region_links().map(|(_, link)| link).collect();
        let Watching { detector, kept, compare_due, .. } = &mut self.watching;
        kept.retain(|_, (statement, _)| detector.is_in_force(statement));
        *compare_due = (!links.is_empty()).then(|| now.mono + self.rng.jitter(COMPARE_INTERVAL, 0.3));
        if !links.is_empty() {
            let turn = self.rng.below(links.len() as u64) as usize;
            self.tell_standings(links[turn], false, out);
            self.compare_roster(links[turn], out);
        }
    }

    /// Peers of this region with a link of their own.
    pub(super) fn region_links(&self) -> impl Iterator<Item = (ShortId, LinkSlot)> + '_ {
        // Relayed links have the upper slots, and there may be thousands of them.
        let own = self.by_link.range(..LinkSlot::RELAYED).map(|(link, id)| (*id, *link));
        own.filter(|(id, _)| self.known.get(id).is_some_and(|known| self.is_watched(known)))
    }

    /// Who has been linked with this node, or could not be dialled, and may be alive is watched; in a
    /// large region those beside it on the rings.
    pub(super) fn set_watch(&mut self, now: Now) {
        let members = self.living();
        self.set_place(now, &members);
        self.seek_silent(now, &members);
        // Who was never reached is asked about too: it may have died before this node came.
        let is_tried = |known: &Known| known.met.is_some() || known.dialling.attempts > 0;
        let met = |id: &ShortId| self.known.get(id).is_some_and(is_tried);
        let of = |subject: ShortId, co_observers| Watched { subject, rtt: Duration::ZERO, co_observers };
        let list = match self.place.overlay() {
            None => {
                let others = |subject| members.iter().copied().filter(|id| *id != subject).collect();
                members.iter().copied().filter(met).map(|subject| of(subject, others(subject))).collect()
            }
            Some(overlay) => {
                let others = |subject| {
                    let mut others = overlay.neighbours(subject);
                    others.retain(|id| *id != self.own.id);
                    others
                };
                let beside = self.place.beside().iter().copied().filter(met);
                beside.map(|subject| of(subject, others(subject))).collect()
            }
        };
        self.watching.detector.set_watch(now, list);
    }

    /// Whom of the region this node holds alive, sorted.
    fn living(&self) -> Vec<ShortId> {
        let may_live = |id: ShortId| {
            self.watching.detector.standing(id).is_some_and(|standing| standing < Standing::Dead)
        };
        let of_region = self.known.iter().filter(|(id, known)| self.is_watched(known) && may_live(**id));
        of_region.map(|(id, _)| *id).collect()
    }

    /// Whether more of the region are alive than are linked all with all.
    pub(super) fn is_region_large(&self) -> bool {
        let counts = self.watching.detector.counts();
        counts.alive + counts.suspect >= FULL_MESH_MAX
    }

    /// To whom news goes that came from `from`.
    fn forward_to(&mut self, from: ShortId) -> Vec<LinkSlot> {
        let links: Vec<LinkSlot> =
            self.gossip_links().filter(|(id, _)| *id != from).map(|(_, link)| link).collect();
        if self.place.has_rings() || links.len() <= FORWARD {
            return links;
        }
        self.rng.choose_multiple(links.len(), FORWARD).into_iter().map(|at| links[at]).collect()
    }

    /// Links over which statements spread.
    fn gossip_links(&self) -> impl Iterator<Item = (ShortId, LinkSlot)> + '_ {
        self.region_links().filter(|(id, _)| self.place.is_beside(*id))
    }

    /// Carries out what the detector wants, until it wants nothing.
    fn follow(&mut self, now: Now, out: &mut Outbox) -> Vec<Fact> {
        let mut facts = Vec::new();
        // A link that is hung up may let the detector want more.
        let mut next = 0;
        while let Some(effect) = self.watching.effects.get(next).copied() {
            next += 1;
            match effect {
                Effect::Probe { to, probe, is_reliable } => {
                    let link =
                        self.known.get(&to).filter(|known| known.has_own_link()).and_then(|known| known.link);
                    let Some(link) = link else { continue };
                    let body = probe.to_bytes();
                    out.push(match is_reliable {
                        true => Output::Control { link, body: ControlBody::Probe(body) },
                        false => Output::Probe { link, body },
                    });
                }
                Effect::Say(statement) => {
                    let signed = self.sign(&statement);
                    let name = (statement.speaker, statement.subject, statement.kind);
                    self.watching.kept.insert(name, (statement, signed.clone()));
                    let links: Vec<LinkSlot> = self.gossip_links().map(|(_, link)| link).collect();
                    out.send_to_all(&links, ControlBody::Statements(Statements { signed: vec![signed] }));
                }
                Effect::Standing { node, standing, .. } => {
                    facts.extend(self.on_standing(now, node, standing, out))
                }
                Effect::FalseAccusation { speaker, subject, .. } => {
                    out.event(Event::FalselyAccused { by: speaker, subject });
                }
                Effect::Forgotten { .. } => {}
            }
        }
        self.watching.effects.clear();
        facts
    }

    fn on_standing(&mut self, now: Now, id: ShortId, standing: Standing, out: &mut Outbox) -> Vec<Fact> {
        let Some(known) = self.known.get_mut(&id) else { return Vec::new() };
        let mut facts = Vec::new();
        match standing {
            Standing::Suspect => out.event(Event::PeerSuspected { name: known.admission.name.to_string() }),
            Standing::Alive if known.link.is_none() && known.is_lost => {
                if self.place.is_beside(id) {
                    known.dialling.next = Some(now.mono);
                    self.due = None;
                }
                self.watching.watch_again(now.mono);
            }
            Standing::Alive => {}
            Standing::Dead | Standing::Left => {
                // Whoever comes back begins anew, over a new link.
                if let Some(link) = known.link {
                    out.push(Output::HangUp { link, reason: "the region holds this node for dead or gone" });
                    facts.extend(self.link_down(now, link, false, out));
                }
                facts.extend(self.lose(now, id, standing == Standing::Left, out));
                if standing == Standing::Left {
                    self.note_left(now, id);
                }
                self.watching.watch_again(now.mono);
            }
        }
        facts
    }
}
