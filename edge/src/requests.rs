//! What agents and clients ask of an edge.

use std::collections::BTreeMap;

use starling_core::event::Event;
use starling_core::hot::own::{Publication, Target};
use starling_core::hot::view::subscription;
use starling_core::id::AgentId;
use starling_core::interest::Pattern;
use starling_core::limits;
use starling_core::machine::{ConnectionSlot, Outbox, Output};
use starling_core::time::Now;
use starling_core::wire::agent::{Candidate, Change};
use starling_core::wire::request::{
    Ask, Attached, Closed, Counter, Empty, Gap, Home, Overview, RefusedCode, RegionView, Say, SetKey,
    Subscribe, Subscription,
};

use crate::hosting::{Departed, Refusal};
use crate::locating::ATTEMPTS_MAX;
use crate::{Confirming, Edge};

impl Edge {
    pub(crate) fn on_attach(
        &mut self,
        now: Now,
        (connection, request): (ConnectionSlot, u64),
        candidates: Vec<Candidate>,
        forged: Vec<u32>,
        out: &mut Outbox,
    ) {
        if self.is_stopping || !self.is_ready(now) {
            let text = "this edge is not ready to take agents; try again or use another edge";
            out.reply(connection, request, RefusedCode::Unavailable.because(text));
            return;
        }
        let mut attached = Attached::default();
        for index in forged {
            let text = "the attach signature is not valid for this agent, edge and connection";
            attached.refused.push(closed(index, RefusedCode::Unauthorized, text));
        }
        for candidate in &candidates {
            match self.hosting.attach(connection, candidate, &mut self.summary) {
                Ok(departed) => {
                    attached.accepted += 1;
                    self.routes.speak();
                    if let Some(departed) = departed {
                        self.close(now, departed, "the agent attached again", out);
                    }
                    let (agent, index) = (candidate.claim.agent(), candidate.index);
                    out.push(Output::Host { agent, connection, index });
                    self.upward.attached(now, agent, candidate.claim.session);
                    self.locating.found_here(agent, candidate.claim.session, &self.neighbours, out);
                }
                Err(refusal) => attached.refused.push(refused(candidate.index, refusal)),
            }
        }
        out.reply(connection, request, Say::Attached(attached));
    }

    /// Tells an agent's connection that the agent is closed.
    fn close(&mut self, now: Now, departed: Departed, text: &str, out: &mut Outbox) {
        let Departed { id, connection, index, .. } = departed;
        for number in self.hosting.subscriptions_of(connection, index) {
            self.unsubscribe(now, connection, number);
        }
        out.push(Output::Unhost { agent: id, connection, index });
        out.reply(connection, 0, Say::Closed(closed(index, RefusedCode::Unauthorized, text)));
        self.upward.detached(now, &departed);
    }

    pub(crate) fn on_superseded(&mut self, now: Now, agent: &[u8], session: u64, out: &mut Outbox) {
        let Ok(agent) = <[u8; 16]>::try_from(agent).map(AgentId) else { return };
        if self.hosting.get(agent).is_none_or(|here| here.session >= session) {
            return;
        }
        if let Some(departed) = self.hosting.detach(agent, &mut self.summary) {
            out.event(Event::AgentSuperseded { agent });
            self.close(now, departed, "the agent attached to another edge", out);
        }
    }

    pub(crate) fn on_disconnected(&mut self, now: Now, connection: ConnectionSlot, out: &mut Outbox) {
        let (departed, subscriptions) = self.hosting.disconnect(connection, &mut self.summary);
        for departed in &departed {
            let Departed { id, connection, index, .. } = *departed;
            out.push(Output::Unhost { agent: id, connection, index });
            self.upward.detached(now, departed);
        }
        for (number, pattern) in subscriptions {
            self.withdraw(now, connection, number, &pattern);
        }
        self.reporting.disconnected(connection);
        self.peering.disconnected(connection);
        self.missed.remove(&connection);
        self.confirming.retain(|waiting| waiting.connection != connection);
    }

    fn unsubscribe(&mut self, now: Now, connection: ConnectionSlot, number: u32) {
        if let Some(pattern) = self.hosting.unsubscribe(connection, number) {
            self.withdraw(now, connection, number, &pattern);
        }
    }

    fn withdraw(&mut self, now: Now, connection: ConnectionSlot, number: u32, pattern: &Pattern) {
        self.routes.unsubscribe(now, pattern, subscription(connection.0, number));
        self.offer.remove(pattern);
        self.interest_changed(now);
    }

    pub(crate) fn on_changes(
        &mut self,
        now: Now,
        connection: ConnectionSlot,
        first: u64,
        changes: Vec<Change>,
        out: &mut Outbox,
    ) {
        if changes.is_empty() {
            return;
        }
        let through = first.saturating_add(changes.len() as u64 - 1);
        for change in &changes {
            self.hosting.change(connection, change, &mut self.summary);
        }
        let me = self.neighbours.me().short();
        self.reporting.changed(now, me, connection, through, &self.summary, out);
    }

    pub(crate) fn on_request(
        &mut self,
        now: Now,
        connection: ConnectionSlot,
        id: u64,
        ask: Ask,
        out: &mut Outbox,
    ) {
        let say = match ask {
            // Nothing is wanted, so nothing is to be waited for.
            Ask::Subscribe(subscribe) if subscribe.subscriptions.is_empty() => Say::Done(Empty {}),
            Ask::Subscribe(subscribe) => match self.on_subscribe(now, connection, subscribe) {
                Ok(count) => {
                    self.confirming.push(Confirming { connection, request: id, count, version: None });
                    return;
                }
                Err(say) => say,
            },
            Ask::Unsubscribe(numbers) => {
                for number in numbers.numbers {
                    self.unsubscribe(now, connection, number);
                }
                Say::Done(Empty {})
            }
            Ask::Detach(numbers) => {
                for index in numbers.numbers {
                    if let Some(departed) = self.hosting.detach_index(connection, index, &mut self.summary) {
                        self.close(now, departed, "the agent detached", out);
                    }
                }
                Say::Done(Empty {})
            }
            Ask::Overview(_) => Say::Overview(self.overview(now)),
            Ask::Locate(agent) => {
                let Ok(agent) = <[u8; 16]>::try_from(agent.as_ref()).map(AgentId) else {
                    return out.reply(
                        connection,
                        id,
                        RefusedCode::Invalid.because("an agent's id has 16 bytes"),
                    );
                };
                match self.home_here(agent) {
                    Some(home) => Say::Home(home),
                    None if self.locating.ask(now, agent, connection, id) => return,
                    None => RefusedCode::Unavailable.because("too many questions wait at this edge"),
                }
            }
            Ask::Update(_) | Ask::Updates(_) | Ask::WatchCut(_) => {
                RefusedCode::NotHere.because("this is an edge; ask a coordinator")
            }
            Ask::Edges(_) => RefusedCode::NotHere.because("this is an edge; ask an aggregator of its region"),
            Ask::Agents(ask) => Say::Agents(self.hosting.list(&ask, now)),
            Ask::SetKey(set) => match self.on_set_key(now, (connection, id), &set) {
                Ok(()) => return,
                Err(say) => *say,
            },
            Ask::Peers(ask) => {
                return self.peering.ask(now, (connection, id), ask, &self.neighbours, out);
            }
            Ask::GetKey(key) => {
                Say::Value(starling_core::node::replication::encoded(self.replication.read(&key)))
            }
        };
        out.reply(connection, id, say);
    }

    #[allow(clippy::result_large_err, reason = "the error is the reply itself, and rare")]
    fn on_subscribe(&mut self, now: Now, slot: ConnectionSlot, subscribe: Subscribe) -> Result<usize, Say> {
        let open = self.hosting.subscriptions(slot);
        if open + subscribe.subscriptions.len() > limits::SUBSCRIPTIONS_PER_CONNECTION_MAX {
            return Err(RefusedCode::Limit.because("too many subscriptions on this connection"));
        }
        let mut wanted = BTreeMap::new();
        for Subscription { number, agent, pattern } in &subscribe.subscriptions {
            let parsed = Pattern::parse(pattern)
                .map_err(|fault| RefusedCode::Invalid.because(format!("pattern `{pattern}`: {fault}")))?;
            if !self.hosting.has_index(slot, *agent) {
                return Err(RefusedCode::Unauthorized.because("the subscribing agent is not attached here"));
            }
            let is_taken = self.hosting.has_subscription(slot, *number);
            if is_taken || wanted.insert(*number, (*agent, parsed)).is_some() {
                return Err(RefusedCode::Invalid.because("the subscription's number is in use"));
            }
        }
        for _ in &wanted {
            if self.rush.add(now) {
                self.offer.hold();
            }
        }
        let refused = wanted.values().position(|(_, pattern)| !self.offer.add(pattern));
        if let Some(refused) = refused {
            // All or none: those before the refused one go again.
            wanted.values().take(refused).for_each(|(_, pattern)| self.offer.remove(pattern));
            return Err(RefusedCode::Limit.because("too many system patterns at this edge"));
        }
        for (number, (agent, pattern)) in wanted {
            self.routes.subscribe(now, &pattern, subscription(slot.0, number));
            self.hosting.subscribe(slot, number, agent, pattern);
        }
        self.interest_changed(now);
        Ok(subscribe.subscriptions.len())
    }

    fn on_set_key(
        &mut self,
        now: Now,
        (connection, id): (ConnectionSlot, u64),
        set: &SetKey,
    ) -> Result<(), Box<Say>> {
        if !self.hosting.has_agents(connection) {
            let text = "keys are written by agents, and none is attached on this connection";
            return Err(Box::new(RefusedCode::Unauthorized.because(text)));
        }
        let Some(change) = &set.change else {
            let text = "this edge does not know such a change; it is older than the client";
            return Err(Box::new(RefusedCode::Invalid.because(text)));
        };
        self.replication.write(now, (connection, id), &set.key, change)
    }

    /// Answers subscriptions that are in force everywhere.
    pub(crate) fn answer_confirmed(&mut self, now: Now, out: &mut Outbox) {
        let in_force = self.offer.in_force();
        self.confirming.retain(|waiting| {
            let is_done = waiting.version.is_some_and(|version| version <= in_force);
            if is_done {
                self.hosting.confirmed(now.mono, waiting.connection);
                out.reply(waiting.connection, waiting.request, Say::Done(Empty {}));
            }
            !is_done
        });
    }

    /// Connections with a subscription that is in force everywhere.
    pub(crate) fn confirmed_subscribers(&self) -> Vec<ConnectionSlot> {
        let mut waiting: BTreeMap<ConnectionSlot, usize> = BTreeMap::new();
        for confirming in &self.confirming {
            *waiting.entry(confirming.connection).or_default() += confirming.count;
        }
        let is_confirmed = |slot: &ConnectionSlot| {
            self.hosting.subscriptions(*slot) > waiting.get(slot).copied().unwrap_or_default()
        };
        self.hosting.subscribers().filter(is_confirmed).collect()
    }

    /// Tells whom it concerns that events may be missing.
    pub(crate) fn tell_gaps(&mut self, now: Now, out: &mut Outbox) {
        let text = "a part of the mesh was out of reach; what was published there meanwhile is missing";
        for connection in self.missed.take(now) {
            out.reply(connection, 0, Say::Gap(Gap { text: text.to_owned() }));
        }
    }

    pub(crate) fn on_unresolved(&mut self, now: Now, publications: Vec<Publication>, out: &mut Outbox) {
        let me = (self.neighbours.me().region(), self.neighbours.me().short());
        let mut undeliverable = Vec::new();
        for publication in publications {
            let Ok(agent) = <[u8; 16]>::try_from(publication.subject.as_ref()).map(AgentId) else {
                undeliverable.push(publication);
                continue;
            };
            if publication.attempts > 0 {
                out.push(Output::Home { agent, home: None });
            }
            if publication.attempts >= ATTEMPTS_MAX {
                undeliverable.push(publication);
            } else if self.hosting.get(agent).is_some() {
                out.push(Output::Admit(vec![Publication { target: Target::Agent(Some(me)), ..publication }]));
            } else {
                undeliverable.extend(self.locating.wait(now, agent, publication));
            }
        }
        if !undeliverable.is_empty() {
            out.push(Output::Undeliverable(undeliverable));
        }
    }

    fn home_here(&self, agent: AgentId) -> Option<Home> {
        let here = self.hosting.get(agent)?;
        let me = self.neighbours.me();
        let (region, edge) = (me.admission.region.to_string(), me.admission.name.to_string());
        Some(Home { region, edge, edge_id: me.short().0, session: here.session })
    }

    fn overview(&self, now: Now) -> Overview {
        let members = self.neighbours.members();
        let me = self.neighbours.me();
        let counts = &self.summary.parts().counts;
        let list = |tally: &starling_core::summary::Tally| {
            tally.iter().map(|(name, value)| Counter { name: name.to_string(), value }).collect()
        };
        let region = RegionView {
            name: me.admission.region.to_string(),
            edges: 1,
            agents: counts.agents(),
            states: list(&counts.states),
            tags: list(&counts.tags),
            distinct: self.summary.parts().distinct.estimate(),
            ..RegionView::default()
        };
        let lag_of = |peer| self.replication.lag_of(now, peer);
        let counters = starling_core::node::overview::counters(&self.measured);
        Overview {
            mesh: me.mesh.clone(),
            counters: counters
                .into_iter()
                .chain(self.peering.counters())
                .chain(self.replication.counters(now))
                .collect(),
            node: members.first().cloned(),
            members,
            regions: vec![region],
            as_of_ms: now.wall.as_millis(),
            update_index: self.applied,
            topology: Some(Box::new(self.nearness.view(&self.neighbours, lag_of))),
            quorum: Some(Box::new(self.quorum.view(&self.neighbours))),
            coordinators: Vec::new(),
        }
    }
}

fn closed(index: u32, code: RefusedCode, text: &str) -> Closed {
    Closed { index, code: code as u32, text: text.to_string() }
}

fn refused(index: u32, refusal: Refusal) -> Closed {
    match refusal {
        Refusal::IndexInUse => closed(index, RefusedCode::Invalid, "this index is in use on this connection"),
        Refusal::IndexTooLarge => closed(index, RefusedCode::Invalid, "this index is too large"),
        Refusal::OldSession => {
            closed(index, RefusedCode::Unauthorized, "the same or a newer session is attached")
        }
        Refusal::Full => closed(index, RefusedCode::Limit, "this edge hosts as many agents as it can"),
    }
}
