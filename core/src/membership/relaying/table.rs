//! The sessions of relayed links that end at a node or pass it.

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
    pub(super) plans: BTreeMap<ShortId, Plan>,
    /// The newest incarnation and attempt of each opener: whoever passed its words on may say them again.
    pub(super) newest: BTreeMap<ShortId, (u64, u64)>,
    /// To be sent when a view is in force that has their sessions.
    pub(super) held: Vec<(LinkSlot, ControlBody)>,
    /// To be ended with the next wake.
    pub(super) closing: BTreeSet<LinkSlot>,
    slots: u32,
    numbers: u32,
    pub(super) attempts: u64,
    pub(super) tables: Arc<Relays>,
}

impl Relaying {
    /// When something is to be done.
    pub fn deadline(&self) -> Option<Time> {
        let plans = self.plans.values().filter_map(|plan| plan.next);
        let answers = self.endings.values().filter_map(|ending| ending.until);
        let closing = (!self.closing.is_empty()).then_some(Time::ZERO);
        plans.chain(answers).chain(closing).min()
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
        self.insert((end.via, end.session), Session::Ending(slot));
        Arc::make_mut(&mut self.tables).ends.insert(slot, Arc::clone(&end));
        self.endings.insert(slot, Ending { peer, end, until, sent: 0, came: 0 });
        slot
    }

    pub(super) fn remove_ending(&mut self, slot: LinkSlot) -> Option<Ending> {
        let ending = self.endings.remove(&slot)?;
        Arc::make_mut(&mut self.tables).ends.remove(&slot);
        self.remove((ending.end.via, ending.end.session));
        Some(ending)
    }

    /// A message as it leaves by the link that leads there.
    pub(super) fn wrap(&mut self, link: LinkSlot, body: ControlBody) -> Option<Output> {
        let ending = self.endings.get_mut(&link).filter(|ending| ending.until.is_none())?;
        ending.sent += 1;
        let (number, message) = (ending.sent, body.to_body());
        let code = ending.end.code(Word::Message, [&number.to_le_bytes()[..], &message]);
        let code = Bytes::copy_from_slice(&code);
        let body = ControlBody::Relayed(Relayed { session: ending.end.session, number, code, message });
        Some(Output::Control { link: ending.end.via, body })
    }
}
