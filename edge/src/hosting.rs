//! The agents of an edge and the connections that carry them.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use starling_core::hash::HashMap;
use starling_core::id::AgentId;
use starling_core::interest::Pattern;
use starling_core::limits;
use starling_core::machine::ConnectionSlot;
use starling_core::wire::agent::{Candidate, Change};

use crate::labels::{Label, Labels};
use starling_core::summary::{Distinct, Summary};

/// An agent hosted here.
#[derive(Debug)]
pub struct Agent {
    /// Its id.
    pub id: AgentId,
    /// The connection that carries it.
    pub connection: ConnectionSlot,
    /// Its index there.
    pub index: u32,
    /// Its session number.
    pub session: u64,
    /// What it calls itself.
    pub name: Box<str>,
    state: Label,
    tags: Box<[Label]>,
}

/// A connection that carries agents.
#[derive(Debug, Default)]
struct Connection {
    agents: Vec<Option<u32>>,
    /// Open subscriptions by number: the agent's index and the pattern.
    subscriptions: BTreeMap<u32, (u32, Pattern)>,
    /// The same by agent, so that they end with it: (index, number).
    by_agent: BTreeSet<(u32, u32)>,
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
    by_id: HashMap<AgentId, u32>,
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
        self.slots[*self.by_id.get(&id)? as usize].as_ref()
    }

    /// The session of an agent named by 16 bytes.
    pub fn session_of_bytes(&self, id: &Bytes) -> Option<u64> {
        let id = AgentId(id.as_ref().try_into().ok()?);
        self.get(id).map(|agent| agent.session)
    }

    /// Whether a connection carries an agent.
    pub fn has_agents(&self, slot: ConnectionSlot) -> bool {
        self.connections.get(&slot).is_some_and(|connection| connection.agents.iter().any(Option::is_some))
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
        self.connections.get(&connection)?.agents.get(index as usize).copied().flatten()
    }

    /// Indices of all agents, by connection.
    pub fn by_connection(&self) -> Vec<(ConnectionSlot, Vec<u32>)> {
        let indices = |connection: &Connection| {
            let taken = connection.agents.iter().enumerate().filter(|(_, slot)| slot.is_some());
            taken.map(|(index, _)| u32::try_from(index).expect("indices are bounded by 65,536")).collect()
        };
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
        let tags: Box<[Label]> = distinct(profile.tags.iter().map(|tag| self.labels.intern(tag)));
        let names = tags.iter().map(|tag| self.labels.name(*tag));
        summary.agent_joined(id, self.labels.name(state), names);
        let (index, session) = (candidate.index, candidate.claim.session);
        let name = profile.name.as_str().into();
        let agent = Agent { id, connection, index, session, name, state, tags };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = Some(agent);
                slot
            }
            None => {
                self.slots.push(Some(agent));
                u32::try_from(self.slots.len() - 1).expect("agents are bounded by a million")
            }
        };
        self.by_id.insert(id, slot);
        let agents = &mut self.connections.entry(connection).or_default().agents;
        if agents.len() <= index as usize {
            agents.resize(index as usize + 1, None);
        }
        agents[index as usize] = Some(slot);
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
        let slot = self.by_id.remove(&id)?;
        let agent = self.slots[slot as usize].take()?;
        self.free.push(slot);
        self.departures += 1;
        let tags = agent.tags.iter().map(|tag| self.labels.name(*tag));
        summary.agent_left(self.labels.name(agent.state), tags);
        if let Some(connection) = self.connections.get_mut(&agent.connection) {
            connection.agents[agent.index as usize] = None;
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
        let indices = self.connections.get(&slot).map_or(0, |connection| connection.agents.len());
        let indices = u32::try_from(indices).expect("indices are bounded by 65,536");
        let departed = (0..indices).filter_map(|index| self.detach_index(slot, index, summary)).collect();
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
            summary.state_changed(labels.name(agent.state), labels.name(state));
            agent.state = state;
        }
        if let Some(tags) = &change.tags {
            let tags = distinct(tags.iter().map(|tag| labels.intern(tag)));
            agent.tags.iter().for_each(|tag| summary.tag_removed(labels.name(*tag)));
            tags.iter().for_each(|tag| summary.tag_added(labels.name(*tag)));
            agent.tags = tags;
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
            assert_eq!(
                slot,
                self.by_id.get(&agent.id).copied(),
                "an agent that its connection does not know"
            );
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

fn distinct(labels: impl Iterator<Item = Label>) -> Box<[Label]> {
    let mut labels: Vec<Label> = labels.collect();
    labels.sort_unstable();
    labels.dedup();
    labels.into_boxed_slice()
}
