//! What neighbours say: checked in the order of cost, taken in, and passed on.

use bytes::Bytes;

use super::listing::Source;
use super::message::{Authored, Flood, PeerBody, PeerHello, PeerMessage, Request, Said, SaidKind};
use super::recent::Freshness;
use super::routes::Answer;
use super::{
    Effect, HEARTBEAT_TTL, LIST_RECORDS_MAX, NAME_BYTES_MAX, Offence, PeerExchange, PeerList, Query,
    RECORD_TTL, REQUEST_TTL, Step, TTL_MAX, VERSIONS, Vouched,
};
use crate::id::{NodeId, ShortId};

impl PeerExchange {
    /// Takes in what `from` sent, whom the transport verified: one encoded [`PeerMessage`].
    pub fn hear(&mut self, step: &mut Step<'_>, from: ShortId, bytes: Bytes) {
        let Some(message) = PeerMessage::read(bytes) else {
            return offend(step, from, Offence::Malformed);
        };
        let heard = match message.body {
            Some(PeerBody::Hello(hello)) => self.on_hello(step, from, hello),
            Some(PeerBody::Flood(flood)) => self.on_flood(step, from, flood),
            Some(PeerBody::List(list)) => self.on_list(step, from, list),
            None => {
                self.counters.unknown += 1;
                Ok(())
            }
        };
        if let Err(kind) = heard {
            offend(step, from, kind);
        }
    }

    fn on_hello(&mut self, step: &mut Step<'_>, from: ShortId, hello: PeerHello) -> Result<(), Offence> {
        if hello.version_low > VERSIONS.1 || hello.version_high < VERSIONS.0 {
            step.effects.push(Effect::Incompatible(from));
            return Ok(());
        }
        let Some(authored) = hello.record else { return Ok(()) };
        let (said, key, _) = authored.read().ok_or(Offence::Malformed)?;
        if NodeId::of_key(&key).short() != from {
            return Err(Offence::Impostor);
        }
        self.vouch(step, &authored, &said, Source { from, is_live: true }).map(drop)
    }

    fn on_flood(&mut self, step: &mut Step<'_>, from: ShortId, flood: Flood) -> Result<(), Offence> {
        if flood.ttl > TTL_MAX {
            return Err(Offence::Ttl);
        }
        let authored = flood.authored.ok_or(Offence::Malformed)?;
        let (said, key, signature) = authored.read().ok_or(Offence::Malformed)?;
        if said.mesh != self.config.mesh.0 {
            return Err(Offence::Foreign);
        }
        let node = NodeId::of_key(&key);
        let author = node.short();
        if !self.is_welcome(step, author, &node, &said) {
            return Ok(());
        }
        match step.keys.verify(&key, &authored.said, &signature) {
            Vouched::Genuine => {}
            Vouched::Forged => return Err(Offence::Signature),
            Vouched::Stranger => {
                self.counters.strangers += 1;
                return Ok(());
            }
        }
        self.recent.note(author, said.id, said.wall_ms);
        let source = Source { from, is_live: true };
        let ttl_max = match said.kind {
            Some(SaidKind::Announcement(record) | SaidKind::Update(record)) => {
                self.learn(step, &authored, (key, said.wall_ms), &record, source)?;
                RECORD_TTL
            }
            Some(SaidKind::Heartbeat(_)) => self.on_heartbeat(step, &node),
            Some(SaidKind::Request(request)) => self.on_request(step, from, (author, said.id), request)?,
            None => 0,
        };
        // Whoever raised the TTL on the way does not get what he asked for.
        let ttl = flood.ttl.min(ttl_max);
        if ttl > 0 {
            self.counters.relayed += 1;
            self.flood(step, authored, ttl - 1, &[from, author]);
        }
        Ok(())
    }

    /// Whether a message is worth a verification.
    fn is_welcome(&mut self, step: &Step<'_>, author: ShortId, node: &NodeId, said: &Said) -> bool {
        if author == self.me {
            self.counters.duplicates += 1;
            return false;
        }
        if said.kind.is_none() {
            self.counters.unknown += 1;
            return false;
        }
        if self.registry.get(node).is_some_and(|record| !record.reputation.is_trusted()) {
            self.counters.distrusted += 1;
            return false;
        }
        match self.recent.judge(step.now.wall, author, said.id, said.wall_ms) {
            Freshness::New => return true,
            Freshness::Duplicate => self.counters.duplicates += 1,
            Freshness::Stale => self.counters.stale += 1,
            Freshness::Refused => self.counters.refused += 1,
        }
        false
    }

    /// Notes a sign of life; it goes on only for a peer that is known to broadcast.
    fn on_heartbeat(&mut self, step: &Step<'_>, node: &NodeId) -> u32 {
        self.alive(step.now.mono, node);
        let is_public = self.registry.get(node).is_some_and(|record| record.info.broadcast);
        if is_public { HEARTBEAT_TTL } else { 0 }
    }

    /// Answers, and says how far the request goes on: not at all once it is answered in full.
    fn on_request(
        &mut self,
        step: &mut Step<'_>,
        from: ShortId,
        key: (ShortId, u64),
        request: Request,
    ) -> Result<u32, Offence> {
        if request.name.len() > NAME_BYTES_MAX {
            return Err(Offence::Malformed);
        }
        let Some(query) = Query::from_wire(request.by, request.name) else {
            self.counters.unknown += 1;
            return Ok(0);
        };
        if !self.routes.open(key, Some(from), step.now.mono) {
            self.counters.refused += 1;
            return Ok(0);
        }
        let count = (request.count as usize).clamp(1, LIST_RECORDS_MAX);
        let records = self.answer_for_others(&query, count, key.0);
        let is_enough = records.len() >= count;
        if !records.is_empty() {
            let (asker, request) = (key.0.0, key.1);
            let wall_ms = step.now.wall.as_millis();
            let list = PeerList { asker, request, answerer: self.me.0, wall_ms, records };
            let message = PeerMessage::bytes_of(PeerBody::List(list));
            step.effects.push(Effect::Send { to: from, message });
        }
        Ok(if is_enough { 0 } else { REQUEST_TTL })
    }

    fn on_list(&mut self, step: &mut Step<'_>, from: ShortId, list: PeerList) -> Result<(), Offence> {
        if list.records.len() > LIST_RECORDS_MAX {
            return Err(Offence::Malformed);
        }
        if !super::recent::is_within_window(step.now.wall, list.wall_ms) {
            self.counters.stale += 1;
            return Ok(());
        }
        let answer = self.routes.answer((ShortId(list.asker), list.request), ShortId(list.answerer));
        let to = match answer {
            Answer::ForUs => None,
            Answer::PassOn(to) => Some(to),
            Answer::Duplicate => {
                self.counters.duplicates += 1;
                return Ok(());
            }
            Answer::Enough => {
                self.counters.refused += 1;
                return Ok(());
            }
            Answer::Unasked => {
                self.counters.unasked += 1;
                return Ok(());
            }
        };
        let (mut kept, mut infos) = (Vec::new(), Vec::new());
        for authored in list.records {
            match self.check_listed(step, from, &authored) {
                Ok(Some(info)) => {
                    kept.push(authored);
                    infos.push(info);
                }
                Ok(None) => {}
                // One bad record strips itself alone.
                Err(kind) => offend(step, from, kind),
            }
        }
        if kept.is_empty() {
            return Ok(());
        }
        match to {
            None => step.effects.push(Effect::Answer { request: list.request, records: infos }),
            Some(to) if self.is_neighbour(to) => {
                let message = PeerMessage::bytes_of(PeerBody::List(PeerList { records: kept, ..list }));
                self.counters.relayed += 1;
                step.effects.push(Effect::Send { to, message });
            }
            Some(_) => self.counters.unasked += 1,
        }
        Ok(())
    }

    /// A record in a list: of whom it is, if it may be there.
    fn check_listed(
        &mut self,
        step: &mut Step<'_>,
        from: ShortId,
        authored: &Authored,
    ) -> Result<Option<super::PeerInfo>, Offence> {
        let (said, key, _) = authored.read().ok_or(Offence::Malformed)?;
        if key == self.config.public_key {
            // Nobody lists us while we are silent; what we broadcast ourselves needs no check.
            let own = self.own.published.as_ref().filter(|(info, _)| info.broadcast);
            let is_ours = own.is_some_and(|(_, ours)| ours == authored);
            return Ok(own.filter(|_| is_ours).map(|(info, _)| info.clone()));
        }
        let record = said.record().ok_or(Offence::Malformed)?;
        if !record.broadcast {
            return Err(Offence::SilentExposed);
        }
        self.vouch(step, authored, &said, Source { from, is_live: false })
    }
}

fn offend(step: &mut Step<'_>, neighbour: ShortId, kind: Offence) {
    step.effects.push(Effect::Offence { neighbour, kind });
}
