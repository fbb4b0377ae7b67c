//! What nodes tell one another of nodes.

use std::sync::Arc;
use std::time::Duration;

use super::known::{Dialling, Known, RECORDS_MAX};
use super::record::verified;
use super::telling::Given;
use super::{Changed, Neighbours, PEERS_MAX};
use crate::event::Event;
use crate::hot::view::Origin;
use crate::id::ShortId;
use crate::identity::{Admission, Roles};
use crate::machine::{LinkSlot, Outbox};
use crate::time::{Now, Time};
use crate::wire::codec::Wire;
use crate::wire::message::{PeerRecord, Peers};

/// How long news are collected before they travel on.
const NEWS_INTERVAL: Duration = Duration::from_millis(50);
const NOT_ITS_WORD: &str = "what is told of it is not signed by it, or out of bounds";

impl Neighbours {
    /// A peer told of others.
    pub fn hear(&mut self, now: Now, peers: Peers, out: &mut Outbox) {
        self.due = None;
        for record in peers.records.into_iter().take(RECORDS_MAX * 4) {
            self.learn(now, record, false, out);
        }
        self.expect_more(now, peers.more);
        // Whom of many to dial is known once the rings are.
        if !peers.more && self.is_region_large() && !self.place.has_rings() {
            self.set_watch(now);
        }
    }

    /// Takes a record up, which the node itself gives (`is_first_hand`) or another passes on. It is the
    /// node's own word; that it is gone or left is the word of who passes it on.
    pub(super) fn learn(&mut self, now: Now, record: PeerRecord, is_first_hand: bool, out: &mut Outbox) {
        let Ok(admission) = Admission::from_bytes(&record.admission) else { return };
        let node = admission.node();
        let id = node.short();
        if id == self.own.id {
            return;
        }
        self.asked.came(id);
        if let Some(known) = self.known.get_mut(&id) {
            let (has_left, incarnation) = (record.has_left, record.incarnation);
            let is_newer = match is_first_hand {
                true => record.incarnation != known.incarnation,
                false => record.incarnation > known.incarnation && known.link.is_none(),
            };
            if known.node == node && is_newer {
                let Some(signature) = verified(&record, self.own.mesh, known.key()) else {
                    return refuse(id, NOT_ITS_WORD, out);
                };
                // A node may come back with another admission, such as one that lasts longer.
                if known.admission != admission && admission.verify(&self.me.authority, now.wall).is_ok() {
                    let moved = known.region() != admission.region_id()
                        || known.origin.carries != carries(&admission);
                    if let Some(key) = self.me.authority.same_kind(&admission.key).filter(|_| moved) {
                        known.origin =
                            Arc::new(Origin::new(id, admission.region_id(), key, carries(&admission)));
                    }
                    known.admission = admission;
                }
                self.place.note(id, known.incarnation);
                self.place.note(id, record.incarnation);
                known.incarnation = record.incarnation;
                known.addresses = record.addresses;
                known.process = record.process;
                known.version = record.version;
                known.signature = signature;
                known.heard = now.mono;
                known.has_left = false;
                self.changed = Changed::Own;
                let is_watched = self.known.get(&id).is_some_and(|known| self.is_watched(known));
                if is_watched {
                    self.admit(now, id, record.incarnation);
                }
                self.spread(id, now);
            }
            if has_left {
                self.hear_left(now, id, incarnation);
            }
            return;
        }
        if admission.verify(&self.me.authority, now.wall).is_err() {
            return refuse(id, "its admission is not valid in this mesh", out);
        }
        let Some(key) = self.me.authority.same_kind(&admission.key) else { return };
        if self.known.len() >= PEERS_MAX {
            return;
        }
        let Some(signature) = verified(&record, self.own.mesh, &key) else {
            return refuse(id, NOT_ITS_WORD, out);
        };
        let is_wanted = self.wants_link(&admission);
        let next = is_wanted.then(|| now.mono + self.patience_with(node));
        let origin = Arc::new(Origin::new(id, admission.region_id(), key, carries(&admission)));
        let known = Known {
            node,
            incarnation: record.incarnation,
            addresses: record.addresses,
            process: record.process,
            version: record.version,
            signature,
            link: None,
            is_lost: record.is_gone,
            has_left: record.has_left,
            lost_as: None,
            met: None,
            away_since: None,
            apart_said: Time::ZERO,
            heard: now.mono,
            linked_at: Time::ZERO,
            close_at: None,
            told_at: None,
            given: Given::default(),
            banned_until: self.banned_until(now, id),
            dialling: Dialling { next, ..Dialling::default() },
            origin,
            admission,
        };
        let is_watched = self.is_watched(&known);
        let incarnation = known.incarnation;
        self.place.note(id, incarnation);
        self.known.insert(id, known);
        if is_watched && !record.is_gone {
            self.admit(now, id, incarnation);
        }
        self.changed = Changed::Own;
        self.spread(id, now);
    }

    pub(super) fn spread(&mut self, id: ShortId, now: Now) {
        self.news.insert(id);
        let due = *self.news_due.get_or_insert(now.mono + NEWS_INTERVAL);
        self.due_by(due);
    }

    pub(super) fn send_news(&mut self, now: Now, out: &mut Outbox) {
        if self.news_due.is_none_or(|due| due > now.mono) {
            return;
        }
        self.news_due = None;
        let news: Vec<ShortId> = std::mem::take(&mut self.news).into_iter().collect();
        let links: Vec<LinkSlot> = self.by_link.range(..LinkSlot::RELAYED).map(|(link, _)| *link).collect();
        self.tell(&links, &news, out);
    }
}

fn refuse(peer: ShortId, reason: &'static str, out: &mut Outbox) {
    out.event(Event::Refused { peer, reason });
}

/// Whether a node passes on what others sealed.
fn carries(admission: &Admission) -> bool {
    admission.roles.has(Roles::AGGREGATOR)
}
