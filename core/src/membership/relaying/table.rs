//! The sessions of relayed links that end at a node or pass it.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use crate::hot::relayed::{End, Onward, Relays, Word};
use crate::id::ShortId;
use crate::machine::{LinkSlot, Output};
use crate::time::Time;
use crate::wire::message::{ControlBody, Relayed};

/// Sessions that end at a node or pass it, a passing one counted twice.
pub(super) const SESSIONS_MAX: usize = 16_384;

/// What a session is to this node.
#[derive(Clone, Copy, Debug)]
pub(super) enum Session {
    Passing((LinkSlot, u32)),
    Ending(LinkSlot),
}

/// A relayed link of this node.
#[derive(Debug)]
pub(super) struct Ending {
    pub peer: ShortId,
    pub end: Arc<End>,
    /// Until when it is to be accepted; `None` once it is up.
    pub until: Option<Time>,
    pub sent: u64,
    pub came: u64,
    /// Whether what goes over it waits for a view, as that it was accepted does.
    pub is_held: bool,
}

/// How a peer without a link is sought.
#[derive(Debug)]
pub(super) struct Plan {
    pub next: Option<Time>,
    pub asked: u32,
}

/// Relayed links and what is known of them.
#[derive(Debug, Default)]
pub(in crate::membership) struct Relaying {
    pub(super) sessions: BTreeMap<(LinkSlot, u32), Session>,
    pub(super) endings: BTreeMap<LinkSlot, Ending>,
    plans: BTreeMap<ShortId, Plan>,
    /// The newest incarnation and attempt of each opener: whoever passed its words on may say them again.
    pub(super) newest: BTreeMap<ShortId, (u64, u64)>,
    /// To be sent when a view is in force that has their sessions.
    pub(super) held: Vec<(LinkSlot, ControlBody)>,
    /// Whether a view was put out since.
    pub(super) is_released: bool,
    /// Relayed links of which the first word is held.
    holding: Vec<LinkSlot>,
    /// To be ended with the next wake.
    pub(super) closing: BTreeSet<LinkSlot>,
    slots: u32,
    numbers: u32,
    pub(super) attempts: u64,
    pub(super) tables: Arc<Relays>,
    /// When something is to be done for plans and endings, or sooner.
    due: Option<Time>,
}

impl Relaying {
    /// When something is to be done.
    pub fn deadline(&self) -> Option<Time> {
        if self.closing.is_empty() { self.due } else { Some(Time::ZERO) }
    }

    /// Finds what is due next, after what was due was done.
    pub(super) fn look(&mut self) {
        let plans = self.plans.values().filter_map(|plan| plan.next);
        let answers = self.endings.values().filter_map(|ending| ending.until);
        self.due = plans.chain(answers).min();
    }

    fn due_by(&mut self, at: Option<Time>) {
        self.due = [self.due, at].into_iter().flatten().min();
    }

    /// A peer is sought from now on, unless it is already.
    pub(super) fn plan(&mut self, peer: ShortId, plan: Plan) {
        if let Entry::Vacant(place) = self.plans.entry(peer) {
            let next = place.insert(plan).next;
            self.due_by(next);
        }
    }

    /// How a peer is sought, to be changed: it is looked at with the next wake.
    pub(super) fn plan_mut(&mut self, peer: ShortId) -> Option<&mut Plan> {
        self.due = Some(Time::ZERO);
        self.plans.get_mut(&peer)
    }

    /// The peers to ask for now, in the order in which they came to be due.
    pub(super) fn due_plans(&self, now: Time) -> Vec<ShortId> {
        let due = |plan: &Plan| plan.next.filter(|next| *next <= now);
        let mut due: Vec<(Time, ShortId)> =
            self.plans.iter().filter_map(|(peer, plan)| Some((due(plan)?, *peer))).collect();
        due.sort_unstable();
        due.into_iter().map(|(_, peer)| peer).collect()
    }

    /// Asks for a peer later.
    pub(super) fn put_off(&mut self, peer: ShortId, until: Time) {
        if let Some(plan) = self.plans.get_mut(&peer) {
            plan.next = Some(until);
        }
    }

    /// Whether nobody has said yet that a peer cannot be reached over it.
    pub fn is_sought_first(&self, peer: ShortId) -> bool {
        self.plans.get(&peer).is_some_and(|plan| plan.asked <= 1)
    }

    /// A peer has a link again, or is not to have one.
    pub fn settled(&mut self, peer: ShortId) {
        self.plans.remove(&peer);
    }

    /// Forgets what is known of openers that are not known any more.
    pub fn forget(&mut self, is_unknown: impl Fn(ShortId) -> bool) {
        self.newest.retain(|peer, _| !is_unknown(*peer));
    }

    pub(super) fn has_room(&self) -> bool {
        self.sessions.len() + 2 <= SESSIONS_MAX
    }

    /// A number for a session on a link to `peer`: both ends choose, and never the same.
    pub(super) fn number(&mut self, me: ShortId, peer: ShortId) -> u32 {
        self.numbers = self.numbers.wrapping_add(1);
        self.numbers << 1 | u32::from(me > peer)
    }

    pub(super) fn insert(&mut self, at: (LinkSlot, u32), session: Session) {
        let onward = match session {
            Session::Passing((link, number)) => Onward::By(link, number),
            Session::Ending(slot) => Onward::Here(slot),
        };
        self.sessions.insert(at, session);
        Arc::make_mut(&mut self.tables).onward.insert(at, onward);
    }

    pub(super) fn remove(&mut self, at: (LinkSlot, u32)) -> Option<Session> {
        Arc::make_mut(&mut self.tables).onward.remove(&at);
        self.sessions.remove(&at)
    }

    pub(super) fn add_ending(&mut self, peer: ShortId, end: End, until: Option<Time>) -> LinkSlot {
        let slot = LinkSlot(LinkSlot::RELAYED.0 + self.slots);
        self.slots += 1;
        let end = Arc::new(end);
        self.due_by(until);
        self.insert((end.via, end.session), Session::Ending(slot));
        Arc::make_mut(&mut self.tables).ends.insert(slot, Arc::clone(&end));
        self.endings.insert(slot, Ending { peer, end, until, sent: 0, came: 0, is_held: false });
        slot
    }

    pub(super) fn remove_ending(&mut self, slot: LinkSlot) -> Option<Ending> {
        let ending = self.endings.remove(&slot)?;
        Arc::make_mut(&mut self.tables).ends.remove(&slot);
        self.remove((ending.end.via, ending.end.session));
        Some(ending)
    }

    /// Lets what is said first over a relayed link wait for a view that has it, and all that follows.
    pub(super) fn hold(&mut self, slot: LinkSlot, via: LinkSlot, body: ControlBody) {
        self.held.push((via, body));
        if let Some(ending) = self.endings.get_mut(&slot) {
            ending.is_held = true;
            self.holding.push(slot);
        }
    }

    /// What waited for a view, if one was put out.
    pub(super) fn release(&mut self) -> Vec<(LinkSlot, ControlBody)> {
        if !std::mem::take(&mut self.is_released) {
            return Vec::new();
        }
        for slot in self.holding.drain(..) {
            if let Some(ending) = self.endings.get_mut(&slot) {
                ending.is_held = false;
            }
        }
        std::mem::take(&mut self.held)
    }

    /// A message as it leaves by the link that leads there; nothing yet if it waits.
    pub(super) fn wrap(&mut self, link: LinkSlot, body: ControlBody) -> Option<Output> {
        let ending = self.endings.get_mut(&link).filter(|ending| ending.until.is_none())?;
        ending.sent += 1;
        let (number, message) = (ending.sent, body.to_body());
        let code = ending.end.code(Word::Message, [&number.to_le_bytes()[..], &message]);
        let code = Bytes::copy_from_slice(&code);
        let body = ControlBody::Relayed(Relayed { session: ending.end.session, number, code, message });
        match ending.is_held {
            false => Some(Output::Control { link: ending.end.via, body }),
            true => {
                self.held.push((ending.end.via, body));
                None
            }
        }
    }
}
