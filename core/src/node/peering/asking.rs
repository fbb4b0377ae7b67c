//! Questions of people for peers: answered from the table, and by others where that is not enough.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use bytes::Bytes;

use super::{Peering, name_of};
use crate::id::NodeId;
use crate::limits;
use crate::machine::{ConnectionSlot, Outbox};
use crate::membership::Neighbours;
use crate::registry::exchange::{NAME_BYTES_MAX, Query};
use crate::registry::{PeerRecord, PeerStatus};
use crate::time::{Now, Time};
use crate::wire::request::{AskPeers, PeerView, PeersView, RefusedCode, Say};

/// A question whose answer waits for others.
#[derive(Debug)]
pub(super) struct Asked {
    from: (ConnectionSlot, u64),
    query: Query,
    count: usize,
    /// Whom others named.
    pub(super) found: BTreeSet<NodeId>,
    pub(super) until: Time,
    /// Whether something came since it was looked whether this is enough.
    pub(super) is_news: bool,
    pub(super) is_over: bool,
}

impl Peering {
    /// Somebody looks for peers; the answer comes at once where this node knows enough of them, and else
    /// within [`limits::PEERS_WAIT`].
    pub fn ask(
        &mut self,
        now: Now,
        from: (ConnectionSlot, u64),
        ask: AskPeers,
        neighbours: &Neighbours,
        out: &mut Outbox,
    ) {
        let count = (ask.count as usize).clamp(1, limits::PEERS_LISTED_MAX);
        let query = match ask.by {
            _ if ask.name.len() > NAME_BYTES_MAX => {
                let text = format!("what peers are asked for has at most {NAME_BYTES_MAX} bytes");
                return out.reply(from.0, from.1, RefusedCode::Invalid.because(text));
            }
            0 => Query::Anybody,
            1 => Query::Service(ask.name),
            2 => Query::Capability(ask.name),
            3 => Query::Blob(ask.name),
            _ => {
                let text = "peers are found by service, capability or blob";
                return out.reply(from.0, from.1, RefusedCode::Invalid.because(text));
            }
        };
        let is_enough = match query {
            Query::Anybody => true,
            Query::Service(_) | Query::Capability(_) => self.knows_all(neighbours),
            // What blobs a peer has is not in its record.
            Query::Blob(_) => false,
        };
        let nobody = BTreeSet::new();
        let rows = self.rows(&query, count, &nobody, neighbours);
        if is_enough || rows.len() >= count {
            return out.reply(from.0, from.1, said(now, rows, false, neighbours));
        }
        if self.asked.len() >= limits::PEERS_ASKED_MAX {
            let text = "too many look for peers at this node just now";
            return out.reply(from.0, from.1, RefusedCode::Unavailable.because(text));
        }
        let mut request = None;
        self.step(now, neighbours, |exchange, step| request = exchange.request(step, &query, count));
        let Some(request) = request else {
            self.follow(neighbours, out);
            let text = "too many look for peers in the mesh just now";
            return out.reply(from.0, from.1, RefusedCode::Unavailable.because(text));
        };
        let until = now.mono + limits::PEERS_WAIT;
        let asked = Asked { from, query, count, found: nobody, until, is_news: false, is_over: false };
        self.asked.insert(request, asked);
        self.follow(neighbours, out);
        self.answer(now, neighbours, out);
    }

    /// Who asked over this connection is gone.
    pub fn disconnected(&mut self, connection: ConnectionSlot) {
        self.asked.retain(|_, asked| asked.from.0 != connection);
    }

    /// Answers questions of which enough is known now, or whose time is up.
    pub(super) fn answer(&mut self, now: Now, neighbours: &Neighbours, out: &mut Outbox) {
        if self.asked.is_empty() {
            return;
        }
        let mut answered = Vec::new();
        let is_due = |asked: &Asked| asked.is_over || asked.until <= now.mono;
        for (request, asked) in self.asked.iter().filter(|(_, asked)| asked.is_news || is_due(asked)) {
            let rows = self.rows(&asked.query, asked.count, &asked.found, neighbours);
            if is_due(asked) || rows.len() >= asked.count {
                out.reply(asked.from.0, asked.from.1, said(now, rows, true, neighbours));
                answered.push(*request);
            }
        }
        answered.iter().for_each(|request| drop(self.asked.remove(request)));
        self.asked.values_mut().for_each(|asked| asked.is_news = false);
    }

    /// Whether the table has everybody of whom others could tell.
    fn knows_all(&self, neighbours: &Neighbours) -> bool {
        let registry = self.exchange.registry();
        neighbours.iter().all(|(id, known)| {
            known.is_lost || known.has_left || known.is_banned() || registry.slot_of_short(id).is_some()
        })
    }

    /// Who is known to match, and who others said does; by score, the best first.
    fn rows(
        &self,
        query: &Query,
        count: usize,
        found: &BTreeSet<NodeId>,
        neighbours: &Neighbours,
    ) -> Vec<PeerView> {
        let registry = self.exchange.registry();
        let named = found.iter().filter_map(|id| registry.get(id));
        let own = self.exchange.listed(query, count).into_iter().filter_map(|slot| registry.record(slot));
        let records = named.chain(own).filter(|record| record.is_listable());
        let ordered: BTreeSet<_> = records.map(|record| (Reverse(record.score()), record.id)).collect();
        let me = self.exchange.answers(query).then(|| self.view_of_me(neighbours));
        let others = ordered.into_iter().filter_map(|(_, id)| registry.get(&id));
        me.into_iter().chain(others.map(|record| view_of(record, neighbours))).take(count).collect()
    }

    fn view_of_me(&self, neighbours: &Neighbours) -> PeerView {
        let node = self.info.id();
        let (name, region) = name_of(node.short(), neighbours);
        let listed = self.info.addresses.iter().map(ToString::to_string).collect();
        PeerView {
            id: Bytes::copy_from_slice(&node.0),
            name,
            region,
            capabilities: self.info.capabilities.iter().map(String::from).collect(),
            version: self.info.version.to_string(),
            status: "self".to_string(),
            reputation: 10_000,
            rtt_us: 0,
            addresses: or_known(listed, &neighbours.me().addresses),
            score: 10_000,
        }
    }
}

fn said(now: Now, peers: Vec<PeerView>, has_asked_others: bool, neighbours: &Neighbours) -> Say {
    let me = &neighbours.me();
    let (mesh, node) = (me.mesh.clone(), me.admission.name.to_string());
    Say::Peers(PeersView { mesh, node, as_of_ms: now.wall.as_millis(), peers, has_asked_others })
}

/// A peer for people; who calls has looked that it may be listed.
fn view_of(record: &PeerRecord, neighbours: &Neighbours) -> PeerView {
    let (name, region) = name_of(record.id.short(), neighbours);
    let listed = record.info.addresses.iter().map(ToString::to_string).collect();
    let known = neighbours.get(record.id.short()).map_or(&[][..], |known| &known.addresses);
    let steps = |share: f64| (share * 10_000.0).round() as u32;
    let micros = |rtt: crate::rtt::SmoothedRtt| u64::try_from(rtt.average().as_micros()).unwrap_or(u64::MAX);
    PeerView {
        id: Bytes::copy_from_slice(&record.id.0),
        name,
        region,
        capabilities: record.info.capabilities.iter().map(String::from).collect(),
        version: record.info.version.to_string(),
        status: match record.status {
            PeerStatus::Alive => "alive",
            PeerStatus::Suspect => "suspect",
            PeerStatus::Dead => "dead",
            PeerStatus::Left => "left",
        }
        .to_string(),
        reputation: steps(record.reputation.as_f64()),
        rtt_us: record.rtt.map_or(0, |rtt| micros(rtt).max(1)),
        addresses: or_known(listed, known),
        score: steps(record.score().as_f64()),
    }
}

/// The addresses that a record lists; where it has none, as a record takes no names of machines, those that
/// the node gives when it is linked.
fn or_known(listed: Vec<String>, known: &[String]) -> Vec<String> {
    if listed.is_empty() { known.to_vec() } else { listed }
}
