//! Links over other nodes, for two of a region that cannot have one of their own
//! (docs/protocol.md#relayopen).
//!
//! Who misses a link that it wants asks one after the other of those it is linked with, in an order
//! that differs from pair to pair, until one leads to the peer. The two agree on a key that those
//! between them do not have (`identity::agree`), by which each knows the other's words. A session
//! lives as long as every link that it goes over: whatever may have swallowed a frame ends it, and
//! what then takes its place begins anew as any link does. Meanwhile the peer is dialled as before;
//! a link of their own takes the place of a relayed one.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

mod table;

use super::detector::Standing;
use super::known::Known;
use super::{Changed, Fact, Neighbours, PATIENCE};
use crate::event::Event;
use crate::hash::rendezvous;
use crate::hot::relayed::{End, Relays, Word};
use crate::id::ShortId;
use crate::machine::{LinkSlot, Outbox, Output, Peer};
use crate::time::Now;
use crate::wire::message::{ControlBody, RelayAccepted, RelayClosed, RelayOpen, Relayed};

pub(super) use table::Relaying;
use table::{Ending, Plan, SESSIONS_MAX, Session};

/// How long a link that is gone may take to come back by itself before others are asked to relay.
const ASK_AFTER: Duration = Duration::from_millis(100);
/// How long an answer is waited for.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// Nodes that are asked one right after the other; then it is waited, each time twice as long.
const ASKED_AT_ONCE: u32 = 4;
const WAIT_FIRST: Duration = Duration::from_secs(1);
const WAIT_MAX: Duration = Duration::from_secs(30);
/// Nodes that a relayed link may lead over: more than the ways over rings need, for when a link of those
/// is missing.
const HOPS_MAX: u32 = 8;
/// Peers that are asked for at once; the next ones a little later, so that a node that comes into a large
/// region leaves room for other words on its links.
const ASKS_AT_ONCE: usize = 64;
const ASKS_APART: Duration = Duration::from_millis(10);
/// What the keys of relayed links are derived for.
const PURPOSE: &str = "starling relayed link 1";

impl Neighbours {
    /// Relayed links for the hot path.
    pub fn relays(&self) -> Arc<Relays> {
        Arc::clone(&self.relaying.tables)
    }

    /// A view was put out that has all sessions: what waited for it may follow.
    pub fn view_published(&mut self) {
        self.relaying.is_released = true;
    }

    /// Lets what is meant for relayed links leave by the links that lead there, and what waited for a
    /// view, if there was one; to be called when a step is through.
    pub fn wrap_relayed(&mut self, out: &mut Outbox) {
        self.wrap_all(out);
        for (link, body) in self.relaying.release() {
            out.send(link, body);
        }
    }

    fn wrap_all(&mut self, out: &mut Outbox) {
        let is_relayed = |output: &Output| match output {
            Output::Control { link, .. } | Output::HangUp { link, .. } => link.is_relayed(),
            Output::ControlToAll { links, .. } => links.iter().any(|link| link.is_relayed()),
            _ => false,
        };
        if !out.outputs().iter().any(is_relayed) {
            return;
        }
        let outputs: Vec<Output> = out.drain().collect();
        for output in outputs {
            match output {
                Output::Control { link, body } if link.is_relayed() => {
                    self.relaying.wrap(link, body).into_iter().for_each(|output| out.push(output));
                }
                Output::HangUp { link, .. } if link.is_relayed() => {
                    self.relaying.closing.insert(link);
                }
                Output::ControlToAll { links, body } => {
                    let (relayed, own): (Vec<_>, Vec<_>) = links.into_iter().partition(|l| l.is_relayed());
                    let wrapped = relayed.into_iter().filter_map(|l| self.relaying.wrap(l, body.clone()));
                    wrapped.collect::<Vec<_>>().into_iter().for_each(|output| out.push(output));
                    out.send_to_all(&own, body);
                }
                other => out.push(other),
            }
        }
    }

    /// A peer of the region has no link: others are asked if it does not come about.
    pub(super) fn seek_relay(&mut self, now: Now, peer: ShortId) {
        if self.known.get(&peer).is_some_and(|known| self.may_be_relayed(known)) {
            let wait = if self.own.id < peer { ASK_AFTER } else { ASK_AFTER + PATIENCE };
            self.relaying.plan(peer, Plan { next: Some(now.mono + wait), asked: 0 });
        }
    }

    /// Of these peers some may be silent: who cannot be dialled and does not come, as it knows no better, is
    /// looked for over others.
    pub(super) fn seek_silent(&mut self, now: Now, members: &[ShortId]) {
        if self.region_links().next().is_none() {
            return;
        }
        let is_out_of_reach = |known: &Known| {
            let is_beside = self.place.is_beside(known.node.short());
            known.addresses.is_empty() && is_beside && self.may_be_relayed(known)
        };
        let is_sought = |id: &ShortId| self.known.get(id).is_some_and(is_out_of_reach);
        let silent: Vec<ShortId> = members.iter().copied().filter(is_sought).collect();
        for peer in silent {
            self.relaying.plan(peer, Plan { next: Some(now.mono + ASK_AFTER + PATIENCE), asked: 0 });
        }
    }

    /// Whether it is a peer of this region that may live, and there is no link to it.
    fn may_be_relayed(&self, known: &Known) -> bool {
        let lives = || {
            let standing = self.watching.detector.standing(known.node.short());
            standing.is_some_and(|standing| standing < Standing::Dead)
        };
        self.is_watched(known) && known.link.is_none() && (!known.is_lost || lives())
    }

    /// Does what is due for relayed links.
    pub(super) fn wake_relaying(&mut self, now: Now, out: &mut Outbox) -> Vec<Fact> {
        let mut facts = Vec::new();
        if self.relaying.deadline().is_none_or(|due| due > now.mono) {
            return facts;
        }
        for slot in std::mem::take(&mut self.relaying.closing) {
            facts.extend(self.link_down(now, slot, false, out));
        }
        let is_late = |ending: &Ending| ending.until.is_some_and(|until| until <= now.mono);
        let late = self.relaying.endings.iter().filter(|(_, ending)| is_late(ending));
        for slot in late.map(|(slot, _)| *slot).collect::<Vec<_>>() {
            self.close_ending(now, slot, out);
        }
        let due = self.relaying.due_plans(now.mono);
        for (turn, peer) in due.into_iter().enumerate() {
            match turn < ASKS_AT_ONCE {
                true => self.ask(now, peer),
                false => self.relaying.put_off(peer, now.mono + ASKS_APART),
            }
        }
        self.relaying.look();
        facts
    }

    /// Asks the next one to relay to a peer.
    fn ask(&mut self, now: Now, peer: ShortId) {
        let me = self.own.id;
        let known = self.known.get(&peer).filter(|known| self.may_be_relayed(known));
        let Some((incarnation, shared)) =
            known.and_then(|known| Some((known.incarnation, self.me.signer.agree(known.key())?)))
        else {
            return self.relaying.settled(peer);
        };
        let mut relays: Vec<(ShortId, LinkSlot)> = self.region_links().collect();
        let pair = rendezvous(me.0.min(peer.0), me.0.max(peer.0));
        let first = self.place.next_hop(peer);
        relays.sort_unstable_by_key(|(id, _)| (Some(*id) != first, rendezvous(pair, id.0), id.0));
        let Some(plan) = self.relaying.plan_mut(peer) else { return };
        let turn = plan.asked as usize;
        plan.asked += 1;
        plan.next = None;
        let Some((relay, via)) = relays.get(turn % relays.len().max(1)).copied() else {
            plan.next = Some(now.mono + WAIT_FIRST);
            return;
        };
        if !self.relaying.has_room() {
            return self.ask_later(now, peer);
        }
        self.relaying.attempts = (self.relaying.attempts + 1).max(now.mono.0);
        let mut open = RelayOpen {
            session: self.relaying.number(me, relay),
            opener: me.0,
            incarnation: self.me.incarnation,
            target: peer.0,
            target_incarnation: incarnation,
            attempt: self.relaying.attempts,
            hops: 0,
            code: Bytes::new(),
        };
        let key = shared.key(PURPOSE, &fresh_values(&open));
        let end = End { via, session: open.session, key, is_opener: true };
        open.code = Bytes::copy_from_slice(&end.code(Word::Greeting, []));
        self.relaying.add_ending(peer, end, Some(now.mono + ANSWER_WITHIN));
        self.relaying.held.push((via, ControlBody::RelayOpen(open)));
        self.changed = self.changed.max(Changed::Relayed);
    }

    /// The one that was asked does not lead there: the next one is, sooner or later.
    fn ask_later(&mut self, now: Now, peer: ShortId) {
        let relays = u32::try_from(self.region_links().count()).unwrap_or(u32::MAX);
        let Some(plan) = self.relaying.plan_mut(peer) else { return };
        let at_once = ASKED_AT_ONCE.min(relays).max(1);
        let rounds = plan.asked / at_once;
        let wait = match plan.asked.is_multiple_of(at_once) {
            true => self
                .rng
                .jitter(WAIT_FIRST.saturating_mul(1 << rounds.saturating_sub(1).min(5)).min(WAIT_MAX), 0.3),
            false => Duration::ZERO,
        };
        plan.next = Some(now.mono + wait);
    }

    /// Ends a relayed link on this side and tells the other; not yet the facts that follow.
    pub(super) fn close_ending(&mut self, now: Now, slot: LinkSlot, out: &mut Outbox) {
        let Some(ending) = self.relaying.remove_ending(slot) else { return };
        self.changed = self.changed.max(Changed::Relayed);
        if self.by_link.contains_key(&ending.end.via) {
            let session = ending.end.session;
            out.send(ending.end.via, ControlBody::RelayClosed(RelayClosed { session }));
        }
        if ending.until.is_some() {
            self.ask_later(now, ending.peer);
        }
    }

    /// A link is gone, and with it what went over it.
    pub(super) fn relays_down(&mut self, now: Now, link: LinkSlot, out: &mut Outbox) -> Vec<Fact> {
        let over = self.relaying.sessions.range((link, 0)..=(link, u32::MAX));
        let numbers: Vec<u32> = over.map(|((_, number), _)| *number).collect();
        numbers.into_iter().flat_map(|number| self.end_session(now, (link, number), out)).collect()
    }

    /// A session ends since what it goes over does.
    fn end_session(&mut self, now: Now, at: (LinkSlot, u32), out: &mut Outbox) -> Vec<Fact> {
        let facts = match self.relaying.sessions.get(&at).copied() {
            None => return Vec::new(),
            Some(Session::Passing(to)) => {
                self.relaying.remove(at);
                self.relaying.remove(to);
                out.send(to.0, ControlBody::RelayClosed(RelayClosed { session: to.1 }));
                Vec::new()
            }
            Some(Session::Ending(slot)) if self.by_link.contains_key(&slot) => {
                self.relaying.remove(at);
                self.link_down(now, slot, false, out)
            }
            Some(Session::Ending(slot)) => {
                let ending = self.relaying.remove_ending(slot);
                ending.into_iter().for_each(|ending| self.ask_later(now, ending.peer));
                Vec::new()
            }
        };
        self.changed = self.changed.max(Changed::Relayed);
        facts
    }

    /// Somebody wants a link to this node or over it.
    pub(super) fn on_relay_open(
        &mut self,
        now: Now,
        link: LinkSlot,
        mut open: RelayOpen,
        out: &mut Outbox,
    ) -> Vec<Fact> {
        let (me, session) = (self.own.id, open.session);
        let refuse = |out: &mut Outbox| out.send(link, ControlBody::RelayClosed(RelayClosed { session }));
        let Some((from, known)) = self.at(link) else { return Vec::new() };
        let is_free = !self.relaying.sessions.contains_key(&(link, session));
        let is_numbered = (session & 1 == 1) == (from > me);
        if link.is_relayed() || !self.is_watched(known) || !is_free || !is_numbered {
            out.event(Event::Refused { peer: from, reason: "it asked for a relayed link as no node does" });
            return Vec::new();
        }
        if ShortId(open.target) == me {
            return match self.accepted(now, link, &open) {
                Some(end) => self.accept(now, &open, end, out),
                None => {
                    refuse(out);
                    Vec::new()
                }
            };
        }
        let onward = self.onward_to(ShortId(open.target)).filter(|(_, to)| *to != link);
        match onward.filter(|_| open.hops < HOPS_MAX && self.relaying.has_room()) {
            None => refuse(out),
            Some((next, to)) => {
                open.hops += 1;
                open.session = self.relaying.number(me, next);
                self.relaying.insert((link, session), Session::Passing((to, open.session)));
                self.relaying.insert((to, open.session), Session::Passing((link, session)));
                self.relaying.held.push((to, ControlBody::RelayOpen(open)));
                self.changed = self.changed.max(Changed::Relayed);
            }
        }
        Vec::new()
    }

    /// The node and the link by which a relayed link to `target` goes on.
    fn onward_to(&mut self, target: ShortId) -> Option<(ShortId, LinkSlot)> {
        let hop = self.place.next_hop(target);
        let own_link = |id: ShortId| {
            let known = self.known.get(&id).filter(|known| self.is_watched(known))?;
            known.link.filter(|link| !link.is_relayed()).map(|link| (id, link))
        };
        own_link(target).or_else(|| own_link(hop?))
    }

    /// This node's end of a relayed link that a peer wants, if it is to have it.
    fn accepted(&mut self, now: Now, link: LinkSlot, open: &RelayOpen) -> Option<End> {
        let opener = ShortId(open.opener);
        let known = self.known.get(&opener).filter(|known| self.is_watched(known))?;
        // Who asks has no link to this node. If this one has, and not only since the question was on
        // its way, then nothing comes over it at the other end.
        let has_own = known.has_own_link() && now.mono.since(known.linked_at) < 2 * ANSWER_WITHIN;
        // Who restarted may come before the news of it; it asks again.
        let is_current =
            open.incarnation == known.incarnation && open.target_incarnation == self.me.incarnation;
        let at = (open.incarnation, open.attempt);
        let is_new = self.relaying.newest.get(&opener).is_none_or(|newest| at > *newest);
        if has_own || !is_current || !is_new || !self.relaying.has_room() {
            return None;
        }
        let key = self.me.signer.agree(known.key())?.key(PURPOSE, &fresh_values(open));
        let end = End { via: link, session: open.session, key, is_opener: false };
        if !end.is_said(Word::Greeting, [], &open.code) {
            return None;
        }
        self.relaying.newest.insert(opener, at);
        // Of two that ask for each other at once the smaller id goes on.
        let mine =
            self.relaying.endings.values().any(|ending| ending.peer == opener && ending.until.is_some());
        (!mine || opener < self.own.id).then_some(end)
    }

    fn accept(&mut self, now: Now, open: &RelayOpen, end: End, out: &mut Outbox) -> Vec<Fact> {
        let (opener, link) = (ShortId(open.opener), end.via);
        let is_own = |ending: &Ending| ending.peer == opener && ending.until.is_some();
        let own = self.relaying.endings.iter().filter(|(_, ending)| is_own(ending));
        for slot in own.map(|(slot, _)| *slot).collect::<Vec<_>>() {
            self.close_ending(now, slot, out);
        }
        let code = Bytes::copy_from_slice(&end.code(Word::Greeting, []));
        let accepted = RelayAccepted { session: end.session, code };
        let slot = self.relaying.add_ending(opener, end, None);
        self.relaying.hold(slot, link, ControlBody::RelayAccepted(accepted));
        self.relayed_up(now, opener, slot, out)
    }

    pub(super) fn on_relay_accepted(
        &mut self,
        now: Now,
        link: LinkSlot,
        accepted: RelayAccepted,
        out: &mut Outbox,
    ) -> Vec<Fact> {
        let at = (link, accepted.session);
        match self.relaying.sessions.get(&at).copied() {
            Some(Session::Passing((to, session))) => {
                out.send(to, ControlBody::RelayAccepted(RelayAccepted { session, ..accepted }));
                Vec::new()
            }
            Some(Session::Ending(slot)) => {
                let Some(ending) = self.relaying.endings.get_mut(&slot) else { return Vec::new() };
                let (peer, is_open) = (ending.peer, ending.until.is_some());
                if !is_open || !ending.end.is_said(Word::Greeting, [], &accepted.code) {
                    return Vec::new();
                }
                if self.known.get(&peer).is_none_or(Known::has_own_link) {
                    self.close_ending(now, slot, out);
                    return Vec::new();
                }
                ending.until = None;
                self.relayed_up(now, peer, slot, out)
            }
            None => Vec::new(),
        }
    }

    /// A relayed link is up, as any link is.
    fn relayed_up(&mut self, now: Now, peer: ShortId, slot: LinkSlot, out: &mut Outbox) -> Vec<Fact> {
        let Some(known) = self.known.get(&peer) else {
            self.close_ending(now, slot, out);
            return Vec::new();
        };
        let peer = Peer {
            admission: known.admission.clone(),
            incarnation: known.incarnation,
            addresses: known.addresses.clone(),
            process: known.process,
            version: known.version.clone(),
            signature: known.signature,
        };
        self.link_up(now, slot, peer, out)
    }

    pub(super) fn on_relay_closed(
        &mut self,
        now: Now,
        link: LinkSlot,
        closed: RelayClosed,
        out: &mut Outbox,
    ) -> Vec<Fact> {
        self.end_session(now, (link, closed.session), out)
    }

    /// A control message of a relayed link: passed on, or given back with the link that it counts for.
    pub(super) fn on_relayed(
        &mut self,
        link: LinkSlot,
        relayed: Relayed,
        out: &mut Outbox,
    ) -> Option<(LinkSlot, ControlBody)> {
        match self.relaying.sessions.get(&(link, relayed.session)).copied() {
            Some(Session::Passing((to, session))) => {
                out.send(to, ControlBody::Relayed(Relayed { session, ..relayed }));
                None
            }
            Some(Session::Ending(slot)) => {
                let ending = self.relaying.endings.get_mut(&slot)?;
                let Relayed { number, code, message, .. } = relayed;
                let is_next = number == ending.came + 1 && ending.until.is_none();
                if is_next && ending.end.is_said(Word::Message, [&number.to_le_bytes()[..], &message], &code)
                {
                    ending.came = number;
                    return ControlBody::decode(message).ok().flatten().map(|body| (slot, body));
                }
                // Held back, changed or made up by whoever is between.
                out.event(Event::Refused { peer: ending.peer, reason: "its relayed words were altered" });
                self.relaying.closing.insert(slot);
                None
            }
            None => {
                let session = relayed.session;
                out.send(link, ControlBody::RelayClosed(RelayClosed { session }));
                None
            }
        }
    }

    pub(super) fn check_relaying(&self) {
        let relaying = &self.relaying;
        assert!(relaying.sessions.len() <= SESSIONS_MAX, "more sessions than a node may have");
        for (slot, ending) in relaying.endings.iter().filter(|(slot, _)| !relaying.closing.contains(slot)) {
            assert_eq!(ending.until.is_none(), self.by_link.contains_key(slot), "a relayed link half up");
        }
        for (at, session) in &relaying.sessions {
            match session {
                Session::Passing(to) => assert!(
                    matches!(relaying.sessions.get(to), Some(Session::Passing(back)) if back == at),
                    "a session that passes comes from somewhere"
                ),
                Session::Ending(slot) => {
                    assert!(relaying.endings.contains_key(slot), "a session without its end");
                }
            }
        }
    }
}

/// What makes the key of a relayed link its own.
fn fresh_values(open: &RelayOpen) -> Vec<u8> {
    [open.opener, open.incarnation, open.target, open.target_incarnation, open.attempt]
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}
