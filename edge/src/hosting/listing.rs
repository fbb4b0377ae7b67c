//! Agents a page at a time, for people.

use bytes::Bytes;
use starling_core::id::AgentId;
use starling_core::time::Now;
use starling_core::wire::request::{AGENTS_LISTED_MAX, AgentView, AgentsView, AskAgents};

use super::{Agent, Hosting};

/// Places that are looked at for one answer: a machine's step is to take well under a millisecond.
const PLACES_MAX: usize = 4_096;

impl Hosting {
    /// A page of the agents here. What is asked by id is looked up, not searched.
    pub fn list(&self, ask: &AskAgents, now: Now) -> AgentsView {
        let hosted = self.len() as u64;
        let view = AgentsView { hosted, as_of_ms: now.wall.as_millis(), ..AgentsView::default() };
        if !ask.id.is_empty() {
            let id = <[u8; 16]>::try_from(ask.id.as_ref()).ok().map(AgentId);
            let found = id.and_then(|id| self.get(id)).into_iter();
            return AgentsView { agents: found.map(|agent| self.agent_view(agent)).collect(), ..view };
        }
        let max = if ask.count == 0 { AGENTS_LISTED_MAX } else { ask.count.min(AGENTS_LISTED_MAX) } as usize;
        let first = usize::try_from(ask.cursor).unwrap_or(usize::MAX).min(self.slots.len());
        let end = first.saturating_add(PLACES_MAX).min(self.slots.len());
        let (mut agents, mut next) = (Vec::new(), end);
        for place in first..end {
            if agents.len() == max {
                next = place;
                break;
            }
            let agent = self.slots[place].as_ref();
            agents
                .extend(agent.filter(|agent| self.is_wanted(agent, ask)).map(|agent| self.agent_view(agent)));
        }
        let next = if next < self.slots.len() { next as u64 } else { 0 };
        AgentsView { agents, next, ..view }
    }

    fn is_wanted(&self, agent: &Agent, ask: &AskAgents) -> bool {
        let said = &agent.said;
        (ask.state.is_empty() || self.labels.name(said.state()) == ask.state)
            && (ask.tag.is_empty() || said.tags().any(|tag| self.labels.name(tag) == ask.tag))
            && (ask.name.is_empty() || said.name().contains(&ask.name))
    }

    fn agent_view(&self, agent: &Agent) -> AgentView {
        let tags = agent.said.tags().map(|tag| self.labels.name(tag).to_owned());
        let subscriptions = self.subscriptions_of(agent.connection, agent.index).len();
        AgentView {
            id: Bytes::copy_from_slice(&agent.id.0),
            name: agent.said.name().to_owned(),
            state: self.labels.name(agent.said.state()).to_owned(),
            tags: tags.collect(),
            session: agent.session,
            subscriptions: u32::try_from(subscriptions).unwrap_or(u32::MAX),
        }
    }
}
