//! The agents of an edge and the connections that carry them.

mod listing;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use hashbrown::HashTable;
use starling_core::hash::{grow_by_little, hash_id};
use starling_core::id::AgentId;
use starling_core::interest::Pattern;
use starling_core::limits;
use starling_core::machine::ConnectionSlot;
use starling_core::paged::Paged;
use starling_core::time::Time;
use starling_core::wire::agent::{Candidate, Change};

use crate::labels::{Label, Labels, Said};
use starling_core::summary::{Distinct, Summary};

/// An agent hosted here.
#[derive(Debug)]
pub struct Agent {
    /// Its id.
    pub id: AgentId,
    /// Its session number.
    pub session: u64,
    /// The connection that carries it.
    pub connection: ConnectionSlot,
    /// Its index there.
    pub index: u32,
    /// Its name, state and tags.
    pub said: Said,
}

/// A connection that carries agents.
#[derive(Debug, Default)]
struct Connection {
    /// Slots of agents by their index.
    agents: Paged<u32>,
    /// Open subscriptions by number: the agent's index and the pattern.
    subscriptions: BTreeMap<u32, (u32, Pattern)>,
    /// The same by agent, so that they end with it: (index, number).
    by_agent: BTreeSet<(u32, u32)>,
    /// When a subscription was confirmed last.
    confirmed: Time,
}

/// Why an agent was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The index is in use on its connection.
    IndexInUse,
    /// The index is not below [`limits::AGENTS_PER_CONNECTION_MAX`].
    IndexTooLarge,
    /// The same or a newer session is here already.
    OldSession,
    /// The edge is full.
    Full,
}

/// Someone who left: to be told, unhosted and taken from the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Departed {
    /// The agent.
    pub id: AgentId,
    /// The connection that carried it.
    pub connection: ConnectionSlot,
    /// Its index there.
    pub index: u32,
    /// The session that ended.
    pub session: u64,
}

/// All agents of an edge.
#[derive(Debug, Default)]
pub struct Hosting {
    slots: Vec<Option<Agent>>,
    free: Vec<u32>,
    /// Slots, by the id of the agent there.
    by_id: HashTable<u32>,
    connections: BTreeMap<ConnectionSlot, Connection>,
    labels: Labels,
    departures: usize,
}

impl Hosting {
    /// Agents here.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether nobody is here.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// All agents with their sessions, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = &Agent> {
        self.slots.iter().flatten()
    }

    /// An agent by id.
    pub fn get(&self, id: AgentId) -> Option<&Agent> {
        self.slots[self.slot_of(id)? as usize].as_ref()
    }

    fn slot_of(&self, id: AgentId) -> Option<u32> {
        self.by_id.find(hash_id(&id.0), |slot| is_at(&self.slots, *slot, id)).copied()
    }

    /// The session of an agent named by 16 bytes.
    pub fn session_of_bytes(&self, id: &Bytes) -> Option<u64> {
        let id = AgentId(id.as_ref().try_into().ok()?);
        self.get(id).map(|agent| agent.session)
    }

    /// Whether a connection carries an agent.
    pub fn has_agents(&self, slot: ConnectionSlot) -> bool {
        self.connections.get(&slot).is_some_and(|connection| !connection.agents.is_empty())
    }

    /// How many subscriptions are open on a connection.
    pub fn subscriptions(&self, slot: ConnectionSlot) -> usize {
        self.connections.get(&slot).map_or(0, |connection| connection.subscriptions.len())
    }

    /// Connections with an open subscription, in order.
    pub fn subscribers(&self) -> impl Iterator<Item = ConnectionSlot> {
        let open = self.connections.iter().filter(|(_, connection)| !connection.subscriptions.is_empty());
        open.map(|(slot, _)| *slot)
    }

    /// A subscription of a connection is in force everywhere.
    pub fn confirmed(&mut self, now: Time, slot: ConnectionSlot) {
        if let Some(connection) = self.connections.get_mut(&slot) {
            connection.confirmed = now;
        }
    }

    /// Connections with a subscription that was confirmed at `since` or later, in order.
    pub fn confirmed_since(&self, since: Time) -> Vec<ConnectionSlot> {
        let newer = self
            .connections
            .iter()
            .filter(|(_, connection)| !connection.subscriptions.is_empty() && connection.confirmed >= since);
        newer.map(|(slot, _)| *slot).collect()
    }

    /// Whether a subscription's number is in use on its connection.
    pub fn has_subscription(&self, slot: ConnectionSlot, number: u32) -> bool {
        self.connections.get(&slot).is_some_and(|connection| connection.subscriptions.contains_key(&number))
    }

    /// Opens a subscription of the agent at `index`, who is here.
    pub fn subscribe(&mut self, slot: ConnectionSlot, number: u32, index: u32, pattern: Pattern) {
        if let Some(connection) = self.connections.get_mut(&slot) {
            connection.by_agent.insert((index, number));
            connection.subscriptions.insert(number, (index, pattern));
        }
    }

    /// Closes a subscription and returns its pattern.
    pub fn unsubscribe(&mut self, slot: ConnectionSlot, number: u32) -> Option<Pattern> {
        let connection = self.connections.get_mut(&slot)?;
        let (index, pattern) = connection.subscriptions.remove(&number)?;
        connection.by_agent.remove(&(index, number));
        Some(pattern)
    }

    /// Numbers of the subscriptions of one agent.
    pub fn subscriptions_of(&self, slot: ConnectionSlot, index: u32) -> Vec<u32> {
        let Some(connection) = self.connections.get(&slot) else { return Vec::new() };
        let own = connection.by_agent.range((index, 0)..=(index, u32::MAX));
        own.map(|(_, number)| *number).collect()
    }

    /// Whether an index of a connection is an agent.
    pub fn has_index(&self, connection: ConnectionSlot, index: u32) -> bool {
        self.slot_at(connection, index).is_some()
    }

    fn slot_at(&self, connection: ConnectionSlot, index: u32) -> Option<u32> {
        self.connections.get(&connection)?.agents.get(index).copied()
    }

    /// Indices of all agents, by connection.
    pub fn by_connection(&self) -> Vec<(ConnectionSlot, Vec<u32>)> {
        let indices = |connection: &Connection| connection.agents.iter().map(|(index, _)| index).collect();
        let all = self.connections.iter().map(|(slot, connection)| (*slot, indices(connection)));
        all.filter(|(_, indices): &(_, Vec<u32>)| !indices.is_empty()).collect()
    }

    /// Takes an agent in. Its earlier session here, if any, departs.
    ///
    /// # Errors
    /// The agent is not taken and nothing changed.
    pub fn attach(
        &mut self,
        connection: ConnectionSlot,
        candidate: &Candidate,
        summary: &mut Summary,
    ) -> Result<Option<Departed>, Refusal> {
        let id = candidate.claim.agent();
        if candidate.index as usize >= limits::AGENTS_PER_CONNECTION_MAX {
            return Err(Refusal::IndexTooLarge);
        }
        if let Some(slot) = self.slot_at(connection, candidate.index) {
            return self.renew(slot, candidate).map(|()| None);
        }
        let before = self.get(id).map(|agent| agent.session);
        if before.is_some_and(|session| session >= candidate.claim.session) {
            return Err(Refusal::OldSession);
        }
        if before.is_none() && self.len() >= limits::AGENTS_PER_EDGE_MAX {
            return Err(Refusal::Full);
        }
        let departed = before.and_then(|_| self.detach(id, summary));
        let profile = &candidate.profile;
        let state = self.labels.intern(&profile.state);
        let tags = distinct(profile.tags.iter().map(|tag| self.labels.intern(tag)));
        let names = tags.iter().map(|tag| self.labels.name(*tag));
        summary.agent_joined(id, self.labels.name(state), names);
        let (index, session) = (candidate.index, candidate.claim.session);
        let said = Said::new(&profile.name, state, &tags);
        let agent = Agent { id, session, connection, index, said };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = Some(agent);
                slot
            }
            None => {
                grow_by_little(&mut self.slots);
                self.slots.push(Some(agent));
                u32::try_from(self.slots.len() - 1).expect("agents are bounded by a million")
            }
        };
        let slots = &self.slots;
        let rehash = |slot: &u32| slots[*slot as usize].as_ref().map_or(0, |agent| hash_id(&agent.id.0));
        self.by_id.insert_unique(hash_id(&id.0), slot, rehash);
        self.connections.entry(connection).or_default().agents.insert(index, slot);
        Ok(departed)
    }

    /// An agent signed again before its delegation expires: the same one, with a higher session.
    fn renew(&mut self, slot: u32, candidate: &Candidate) -> Result<(), Refusal> {
        match &mut self.slots[slot as usize] {
            Some(agent) if agent.id != candidate.claim.agent() => Err(Refusal::IndexInUse),
            Some(agent) if agent.session >= candidate.claim.session => Err(Refusal::OldSession),
            Some(agent) => {
                agent.session = candidate.claim.session;
                Ok(())
            }
            None => Err(Refusal::IndexInUse),
        }
    }

    /// Lets an agent go.
    pub fn detach(&mut self, id: AgentId, summary: &mut Summary) -> Option<Departed> {
        let slots = &self.slots;
        let found = self.by_id.find_entry(hash_id(&id.0), |slot| is_at(slots, *slot, id)).ok()?;
        let (slot, _) = found.remove();
        let agent = self.slots[slot as usize].take()?;
        self.free.push(slot);
        self.departures += 1;
        let tags = agent.said.tags().map(|tag| self.labels.name(tag));
        summary.agent_left(self.labels.name(agent.said.state()), tags);
        if let Some(connection) = self.connections.get_mut(&agent.connection) {
            connection.agents.remove(agent.index);
        }
        let Agent { connection, index, session, .. } = agent;
        Some(Departed { id, connection, index, session })
    }

    /// Lets the agent at an index go.
    pub fn detach_index(
        &mut self,
        connection: ConnectionSlot,
        index: u32,
        summary: &mut Summary,
    ) -> Option<Departed> {
        let slot = self.slot_at(connection, index)?;
        let id = self.slots[slot as usize].as_ref()?.id;
        self.detach(id, summary)
    }

    /// A connection is gone, with everyone on it. Returns who left and what was subscribed.
    pub fn disconnect(
        &mut self,
        slot: ConnectionSlot,
        summary: &mut Summary,
    ) -> (Vec<Departed>, Vec<(u32, Pattern)>) {
        let agents = self.connections.get(&slot).map(|connection| &connection.agents);
        let indices: Vec<u32> = agents.into_iter().flat_map(Paged::iter).map(|(index, _)| index).collect();
        let departed = indices.into_iter().filter_map(|index| self.detach_index(slot, index, summary));
        let departed = departed.collect();
        let connection = self.connections.remove(&slot).unwrap_or_default();
        let subscriptions = connection.subscriptions.into_iter();
        (departed, subscriptions.map(|(number, (_, pattern))| (number, pattern)).collect())
    }

    /// An agent changed its state or tags.
    pub fn change(&mut self, connection: ConnectionSlot, change: &Change, summary: &mut Summary) {
        let Some(slot) = self.slot_at(connection, change.index) else { return };
        let labels = &mut self.labels;
        let Some(agent) = self.slots[slot as usize].as_mut() else { return };
        if let Some(state) = &change.state {
            let state = labels.intern(state);
            summary.state_changed(labels.name(agent.said.state()), labels.name(state));
            agent.said.set_state(state);
        }
        if let Some(tags) = &change.tags {
            let tags = distinct(tags.iter().map(|tag| labels.intern(tag)));
            agent.said.tags().for_each(|tag| summary.tag_removed(labels.name(tag)));
            tags.iter().for_each(|tag| summary.tag_added(labels.name(*tag)));
            agent.said = agent.said.with_tags(&tags);
        }
    }

    /// A new estimate of distinct agents once a tenth of them has left since the last one: the
    /// estimate only ever grows.
    pub fn recount(&mut self) -> Option<Distinct> {
        if self.departures * 10 <= self.len() {
            return None;
        }
        self.departures = 0;
        let mut distinct = Distinct::default();
        for agent in self.slots.iter().flatten() {
            distinct.insert_agent(agent.id);
        }
        Some(distinct)
    }

    /// Asserts that tables agree.
    pub fn check(&self) {
        for agent in self.iter() {
            let slot = self.slot_at(agent.connection, agent.index);
            assert_eq!(slot, self.slot_of(agent.id), "an agent that its connection does not know");
        }
        for (slot, connection) in &self.connections {
            let by_number = connection.subscriptions.iter().map(|(number, (index, _))| (*index, *number));
            assert_eq!(by_number.collect::<BTreeSet<_>>(), connection.by_agent, "subscriptions by agent");
            let is_orphan = |index: &u32| !self.has_index(*slot, *index);
            let orphan = connection.by_agent.iter().find(|(index, _)| is_orphan(index));
            assert_eq!(orphan, None, "a subscription without its agent");
        }
    }
}

fn is_at(slots: &[Option<Agent>], slot: u32, id: AgentId) -> bool {
    slots[slot as usize].as_ref().is_some_and(|agent| agent.id == id)
}

fn distinct(labels: impl Iterator<Item = Label>) -> Vec<Label> {
    let mut labels: Vec<Label> = labels.collect();
    labels.sort_unstable();
    labels.dedup();
    labels
}
