//! How nodes come to know the same of one another.
//!
//! News travel on at once, and every few seconds two nodes compare what they know. A few records are told
//! as they are. Of many, as when a region starts or a newcomer meets one, only the names are told: a node
//! in a large region hears each of them from two dozen neighbours, and asks one of them for the record.

use std::collections::BTreeMap;
use std::time::Duration;

use super::known::{Known, RECORDS_MAX, send_records};
use super::rings::{BUCKETS, bucket_of};
use super::{Neighbours, PEERS_MAX};
use crate::id::ShortId;
use crate::machine::{LinkSlot, Outbox};
use crate::time::{Now, Time};
use crate::wire::message::{ControlBody, Names, PeerRecord, Roster};

/// Records that are told as they are; of more the names go first.
const TOLD_AT_ONCE: usize = RECORDS_MAX;
/// Names in one message.
const NAMES_MAX: usize = 2_048;
/// How long a record that was asked for is waited for before it is asked for elsewhere.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// How often a peer is told what it lacks, at the most: it is much, and little to ask for.
const TELL_INTERVAL: Duration = Duration::from_millis(500);

/// Records that were asked for, and until when they are waited for.
#[derive(Debug, Default)]
pub(super) struct Asked(BTreeMap<ShortId, Time>);

impl Asked {
    /// A record came.
    pub fn came(&mut self, id: ShortId) {
        self.0.remove(&id);
    }

    /// Forgets what nobody answers any more.
    pub fn prune(&mut self, now: Time) {
        self.0.retain(|_, until| *until > now);
    }
}

/// Records that a peer was given of late.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Given {
    since: Time,
    records: usize,
}

impl Given {
    /// How many of `wanted` records it gets: as many in a second as there may be nodes.
    fn allow(&mut self, now: Time, wanted: usize) -> usize {
        if now.since(self.since) >= Duration::from_secs(1) {
            *self = Given { since: now, records: 0 };
        }
        let allowed = wanted.min(PEERS_MAX - self.records);
        self.records += allowed;
        allowed
    }
}

impl Neighbours {
    /// Shows a peer, which is met, what is known of nodes; it does the same, and each tells the other what
    /// that one lacks.
    pub(super) fn show_roster(&self, link: LinkSlot, is_answer: bool, out: &mut Outbox) {
        let (fingerprint, buckets) = (self.place.fingerprint(), self.place.roster.to_vec());
        out.send(link, ControlBody::Roster(Roster { fingerprint, buckets, is_answer }));
    }

    /// Compares what is known of nodes with a peer, in a few bytes as long as it is the same.
    pub(super) fn compare_roster(&self, link: LinkSlot, out: &mut Outbox) {
        let fingerprint = self.place.fingerprint();
        let roster = Roster { fingerprint, buckets: Vec::new(), is_answer: false };
        out.send(link, ControlBody::Roster(roster));
    }

    /// A peer shows what it knows of nodes: it is told of those in parts that differ.
    pub(super) fn on_roster(&mut self, now: Now, link: LinkSlot, theirs: &Roster, out: &mut Outbox) {
        let Some(peer) = self.by_link.get(&link).copied() else { return };
        if theirs.fingerprint == self.place.fingerprint() {
            return;
        }
        if theirs.buckets.len() != BUCKETS {
            return self.show_roster(link, false, out);
        }
        if !theirs.is_answer {
            self.show_roster(link, true, out);
        }
        let Some(known) = self.known.get_mut(&peer) else { return };
        if known.told_at.is_some_and(|at| now.mono.since(at) < TELL_INTERVAL) {
            return;
        }
        known.told_at = Some(now.mono);
        let ours = &self.place.roster;
        let differs = |id: &ShortId| ours[bucket_of(*id)] != theirs.buckets[bucket_of(*id)];
        let ids: Vec<ShortId> = self.known.keys().copied().filter(|id| *id != peer && differs(id)).collect();
        self.tell(&[link], &ids, out);
    }

    /// Tells peers of these nodes: all of it, or that they are there to be asked for.
    pub(super) fn tell(&self, links: &[LinkSlot], ids: &[ShortId], out: &mut Outbox) {
        let nodes: Vec<&Known> = ids.iter().filter_map(|id| self.known.get(id)).collect();
        // That a node left is told whole: who knows the node does not ask for it again.
        let (whole, named): (Vec<&Known>, Vec<&Known>) =
            nodes.into_iter().partition(|known| known.has_left || ids.len() <= TOLD_AT_ONCE);
        let records: Vec<PeerRecord> = whole.into_iter().map(Known::record).collect();
        send_records(links, &records, out);
        for part in named.chunks(NAMES_MAX) {
            let offered = part.iter().map(|known| known.node.short().0).collect();
            let incarnations = part.iter().map(|known| known.incarnation).collect();
            let names = Names { offered, incarnations, wanted: Vec::new() };
            out.send_to_all(links, ControlBody::Names(names));
        }
    }

    /// A peer names nodes that it knows, or that it wants to know more of.
    pub(super) fn on_names(&mut self, now: Now, link: LinkSlot, names: &Names, out: &mut Outbox) {
        let Some(peer) = self.by_link.get(&link).copied() else { return };
        self.give(now, peer, link, &names.wanted, out);
        let offered = names.offered.iter().map(|id| ShortId(*id)).zip(&names.incarnations);
        let mut wanted = Vec::new();
        for (id, incarnation) in offered.take(NAMES_MAX) {
            let has_room = self.known.len() + self.asked.0.len() < PEERS_MAX;
            if has_room && self.lacks(id, *incarnation) && self.is_unasked(now, id) {
                self.asked.0.insert(id, now.mono + ANSWER_WITHIN);
                wanted.push(id.0);
            }
        }
        if !wanted.is_empty() {
            self.expect_more(now, true);
            out.send(link, ControlBody::Names(Names { wanted, ..Names::default() }));
        }
    }

    /// Whether a record of this incarnation would be taken up.
    fn lacks(&self, id: ShortId, incarnation: u64) -> bool {
        let is_newer = |known: &Known| incarnation > known.incarnation && known.link.is_none();
        id != self.own.id && self.known.get(&id).is_none_or(is_newer)
    }

    fn is_unasked(&self, now: Now, id: ShortId) -> bool {
        self.asked.0.get(&id).is_none_or(|until| *until <= now.mono)
    }

    /// Gives a peer the records that it asks for.
    fn give(&mut self, now: Now, peer: ShortId, link: LinkSlot, wanted: &[u64], out: &mut Outbox) {
        let Some(known) = self.known.get_mut(&peer).filter(|_| !wanted.is_empty()) else { return };
        let allowed = known.given.allow(now.mono, wanted.len().min(NAMES_MAX));
        let wanted = wanted[..allowed].iter().filter_map(|id| self.known.get(&ShortId(*id)));
        let records: Vec<PeerRecord> = wanted.map(Known::record).collect();
        send_records(&[link], &records, out);
    }
}
