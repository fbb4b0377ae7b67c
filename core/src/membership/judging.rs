//! How this node's peers behave, and what follows for them.
//!
//! The rules are those of [`crate::conduct`]: an offence counts against the peer at the other end of the
//! link that it came over, and against nobody else; a proof convinces every node that verifies it, so it
//! is passed on once to every link and ends in a ban at all honest nodes. Nothing else that somebody says
//! of another moves a reputation.
//!
//! A **banned** peer has no link and is not dialled: as long as its reputation is too low to be heard, or
//! until its ban ends. That its link is closed lets others lead where it led; a relay whose bundles were
//! silently dropped would be waited for. One that is **convicted**, by a proof, is banned for
//! good; it is no origin any more, so that nothing it sealed is taken from anyone, and neither its
//! statements nor its state are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::detector::Standing;
use super::{Changed, Fact, Known, Neighbours};
use crate::conduct::budget::{Claim, divide};
use crate::conduct::offence::Offence;
use crate::conduct::proof::{Culprit, Violation};
use crate::conduct::{Gate, Ledger, Party, Proof, Reputation, Verdict};
use crate::event::Event;
use crate::hash::HashMap;
use crate::hot::Report;
use crate::id::ShortId;
use crate::identity::Roles;
use crate::limits;
use crate::machine::{LinkSlot, Outbox, Output};
use crate::time::{Now, Time};
use crate::wire::codec::Wire;
use crate::wire::message::ControlBody;

/// How often it is looked at whether a peer whose reputation is too low has earned being heard again.
const REVIEW_INTERVAL: Duration = Duration::from_secs(10);

/// What this node knows of its peers' conduct.
#[derive(Debug, Default)]
pub(super) struct Judging {
    ledger: Ledger,
    /// Proofs for newcomers, by whom they convict.
    proofs: BTreeMap<ShortId, Bytes>,
    /// By peer, so that a new link is no new beginning.
    gates: BTreeMap<ShortId, Arc<Gate>>,
    /// When to look again whether who is banned for a time still is.
    pub review_due: Option<Time>,
}

impl Neighbours {
    /// Whether a node is convicted: nothing that it signs is taken from anybody.
    pub fn is_convicted(&self, id: ShortId) -> bool {
        self.judging.ledger.is_convicted(id)
    }

    /// How far a node is trusted, by what came over its own links.
    pub fn reputation(&self, now: Now, id: ShortId) -> Reputation {
        self.judging.ledger.reputation(now.mono, Party::Node(id))
    }

    /// Until when a node is banned, if it is.
    pub(super) fn banned_until(&self, now: Now, id: ShortId) -> Option<Time> {
        match self.judging.ledger.verdict(now.mono, Party::Node(id)) {
            Verdict::Ban { until } => Some(until),
            Verdict::Ignore => Some(now.mono + REVIEW_INTERVAL),
            Verdict::Fine => None,
        }
    }

    /// Nodes with which no link is taken.
    pub fn banned(&self) -> BTreeSet<ShortId> {
        self.known.iter().filter(|(_, known)| known.banned_until.is_some()).map(|(id, _)| *id).collect()
    }

    /// The gates of linked peers. Each has its share of the checks; who has come over a relayed link since
    /// they were divided last takes from what others leave, until something else changes.
    pub fn gates(&mut self, now: Now, changed: Changed) -> HashMap<LinkSlot, Arc<Gate>> {
        let linked: Vec<(ShortId, LinkSlot)> = self.by_link.iter().map(|(link, id)| (*id, *link)).collect();
        if changed >= Changed::Own {
            self.divide_checks(now, &linked);
        }
        let gates = &mut self.judging.gates;
        let mut gate = |id| Arc::clone(gates.entry(id).or_insert_with(|| Arc::new(Gate::new(now.mono))));
        linked.into_iter().map(|(id, link)| (link, gate(id))).collect()
    }

    fn divide_checks(&mut self, now: Now, linked: &[(ShortId, LinkSlot)]) {
        let Judging { ledger, gates, .. } = &mut self.judging;
        gates.retain(|id, _| self.known.contains_key(id));
        let claim = |(id, _): &(ShortId, LinkSlot)| Claim {
            // How many agents a peer has is its own word and buys nothing yet.
            agents: 0,
            reputation: ledger.reputation(now.mono, Party::Node(*id)),
        };
        let claims: Vec<Claim> = linked.iter().map(claim).collect();
        let shares = divide(limits::CHECKS_PER_SECOND, &claims);
        for ((id, _), share) in linked.iter().zip(shares) {
            gates.entry(*id).or_insert_with(|| Arc::new(Gate::new(now.mono))).set(share);
        }
    }

    /// Whether a link to a known peer may be taken.
    pub(super) fn may_link(&mut self, now: Now, id: ShortId) -> bool {
        let until = self.banned_until(now, id);
        if let Some(known) = self.known.get_mut(&id) {
            known.banned_until = until;
        }
        until.is_none()
    }

    /// The hot path saw a node do wrong.
    pub fn on_report(&mut self, now: Now, report: Report, out: &mut Outbox) -> Vec<Fact> {
        match report {
            Report::Offence { from, offence } => self.offended(now, from, offence, out),
            Report::Contradiction(proof) => self.judge(now, None, &proof, out),
            // Whoever routes takes another way.
            Report::Stalled { .. } => Vec::new(),
            Report::Withheld { node } => {
                let link = self.known.get(&node).and_then(|known| known.link);
                link.map_or_else(Vec::new, |link| self.withheld(now, link, out))
            }
        }
    }

    /// The peer at the other end of `link` did this, over that link.
    pub fn offended(&mut self, now: Now, link: LinkSlot, offence: Offence, out: &mut Outbox) -> Vec<Fact> {
        let Some(id) = self.by_link.get(&link).copied() else { return Vec::new() };
        self.judging.ledger.on_offence(now.mono, Party::Node(id), offence);
        // Its share follows its reputation.
        self.changed = Changed::Own;
        match self.banned_until(now, id) {
            Some(until) => self.expel(now, id, until, reason_of(offence), out),
            None => Vec::new(),
        }
    }

    /// The peer keeps others waiting for what it owes: acknowledgements of bundles, or of interest. Where a
    /// relay lies between it may be the relay's fault, and a new relayed link is made.
    pub fn withheld(&mut self, now: Now, link: LinkSlot, out: &mut Outbox) -> Vec<Fact> {
        if link.is_relayed() {
            return self.link_down(now, link, false, out);
        }
        self.offended(now, link, Offence::Withheld, out)
    }

    /// A peer tells of a proof.
    pub(super) fn on_proof(
        &mut self,
        now: Now,
        link: LinkSlot,
        bytes: &Bytes,
        out: &mut Outbox,
    ) -> Vec<Fact> {
        match Proof::from_bytes(bytes) {
            Ok(proof) => self.judge(now, Some(link), &proof, out),
            // Who passes a proof on has verified it.
            Err(_) => self.offended(now, link, Offence::MalformedFrame, out),
        }
    }

    /// Bans who is convicted by a proof, and passes it on, unless it is known; `from` brought it.
    pub fn judge(&mut self, now: Now, from: Option<LinkSlot>, proof: &Proof, out: &mut Outbox) -> Vec<Fact> {
        let accused = proof.accused();
        // Whose key is not known can wait: who tells of the node tells of the proof, when a link is new.
        let Some(known) = self.known.get(&accused).filter(|_| !self.is_convicted(accused)) else {
            return Vec::new();
        };
        let Ok(culprit) = proof.verify(known.key(), self.me.admission.mesh) else {
            return from
                .map_or_else(Vec::new, |link| self.offended(now, link, Offence::InvalidSignature, out));
        };
        self.convict(now, from, &culprit, proof.to_bytes(), out)
    }

    fn convict(
        &mut self,
        now: Now,
        from: Option<LinkSlot>,
        culprit: &Culprit,
        bytes: Bytes,
        out: &mut Outbox,
    ) -> Vec<Fact> {
        let id = culprit.node();
        if !self.judging.ledger.on_proof(now.mono, culprit) {
            return Vec::new();
        }
        if self.judging.proofs.len() < limits::PROOFS_KEPT_MAX {
            self.judging.proofs.insert(id, bytes.clone());
        }
        let links: Vec<LinkSlot> = self
            .by_link
            .iter()
            .filter(|(link, to)| Some(**link) != from && **to != id)
            .map(|(link, _)| *link)
            .collect();
        out.send_to_all(&links, ControlBody::Proof(bytes));
        let until = self.banned_until(now, id).unwrap_or(Verdict::FOREVER);
        let mut facts = self.expel(now, id, until, violation_text(culprit.violation()), out);
        facts.push(Fact::Convicted(id));
        facts
    }

    /// Tells a peer whose link is new whom this node convicted.
    pub(super) fn tell_proofs(&self, link: LinkSlot, out: &mut Outbox) {
        self.judging.proofs.values().for_each(|bytes| out.send(link, ControlBody::Proof(bytes.clone())));
    }

    /// Ends the link to a peer, and owes it nothing.
    fn expel(
        &mut self,
        now: Now,
        id: ShortId,
        until: Time,
        reason: &'static str,
        out: &mut Outbox,
    ) -> Vec<Fact> {
        let Some(known) = self.known.get_mut(&id) else { return Vec::new() };
        known.banned_until = Some(until);
        let (name, link) = (known.admission.name.to_string(), known.link);
        out.event(Event::PeerBanned { name, reason });
        let mut facts = Vec::new();
        if let Some(link) = link {
            out.push(Output::HangUp { link, reason: "this node is banned" });
            facts.extend(self.link_down(now, link, false, out));
        }
        if until < Verdict::FOREVER {
            let due = self.judging.review_due.map_or(until, |due| due.min(until));
            self.judging.review_due = Some(due);
        }
        self.due = None;
        self.changed = Changed::Own;
        self.watching.watch_again(now.mono);
        if let Some(known) = self.known.get_mut(&id).filter(|known| !known.is_lost) {
            known.is_lost = true;
            known.lost_as = Some((known.incarnation, known.away_since.take().unwrap_or(now.mono)));
            facts.push(Fact::Lost(id));
        }
        facts
    }

    /// When it is to be said, or said again, that a peer of this region and this node do not hear each
    /// other.
    ///
    /// Such is also an aggregator that is banned here alone. Others may lead what is for this region over
    /// it still; it has not heard what this node wants since, and so would acknowledge that for a region
    /// where everybody has it.
    pub(super) fn apart_at(&self, known: &Known) -> Option<Time> {
        if self.is_watched(known) {
            return known.apart_at();
        }
        let is_shunned = known.banned_until.is_some_and(|until| until < Verdict::FOREVER);
        let leads = known.roles().has(Roles::AGGREGATOR) && known.region() == self.own.region;
        let (_, since) = known.lost_as.filter(|_| is_shunned && leads && known.link.is_none())?;
        let id = known.node.short();
        let is_over = self.watching.detector.standing(id).is_some_and(|standing| standing >= Standing::Dead);
        (!is_over).then(|| since.max(known.apart_said) + limits::LINK_TIMEOUT)
    }

    /// Ends bans whose time is up.
    pub(super) fn review(&mut self, now: Now) {
        if self.judging.review_due.is_none_or(|due| due > now.mono) {
            return;
        }
        let mut next = Vec::new();
        for id in self.banned() {
            let until = self.banned_until(now, id);
            let Some(known) = self.known.get_mut(&id) else { continue };
            known.banned_until = until;
            if until.is_none() {
                known.dialling.next = Some(now.mono);
            }
            next.extend(until);
        }
        self.judging.review_due = next.into_iter().filter(|until| *until < Verdict::FOREVER).min();
        self.changed = Changed::Own;
    }
}

fn reason_of(offence: Offence) -> &'static str {
    match offence {
        Offence::InvalidSignature => "it sends what nobody signed",
        Offence::Withheld => "it keeps others waiting for what it owes them",
        Offence::MalformedFrame => "it sends what no version of the protocol allows",
        Offence::Stale
        | Offence::OverRate
        | Offence::RefusedStatement
        | Offence::FalseAccusation
        | Offence::UnwantedBundle => "it misbehaves",
    }
}

fn violation_text(violation: Violation) -> &'static str {
    match violation {
        Violation::Equivocation => "it signed two headers for one sequence",
        Violation::Fork => "it signed two histories of its state",
        Violation::Overlong => "it signed a header that no version of the protocol allows",
    }
}
