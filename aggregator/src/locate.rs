//! Questions for agents' homes: from the own directory, else from the other regions in parallel.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use starling_core::id::{AgentId, RegionId};
use starling_core::identity::Roles;
use starling_core::machine::{LinkSlot, Outbox};
use starling_core::time::{Now, Time};
use starling_core::wire::message::{ControlBody, Locate, Located};

use crate::Aggregator;

/// How long other regions may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// Questions under way at once; further ones are answered with "unknown" and asked again.
const QUESTIONS_MAX: usize = 16_384;

#[derive(Debug)]
struct Question {
    askers: Vec<LinkSlot>,
    outstanding: usize,
    until: Time,
}

/// Questions under way to other regions.
#[derive(Debug, Default)]
pub struct Questions {
    open: BTreeMap<AgentId, Question>,
}

impl Questions {
    /// Another region answered; the first home found is passed on, or that nobody knows.
    pub fn answered(&mut self, located: &Located, out: &mut Outbox) {
        let Ok(agent) = <[u8; 16]>::try_from(located.agent.as_ref()).map(AgentId) else { return };
        let Some(question) = self.open.get_mut(&agent) else { return };
        question.outstanding = question.outstanding.saturating_sub(1);
        if located.edge == 0 && question.outstanding > 0 {
            return;
        }
        for link in &question.askers {
            out.send(*link, ControlBody::Located(located.clone()));
        }
        self.open.remove(&agent);
    }

    /// Drops questions that nobody answered; edges ask again by themselves.
    pub fn wake(&mut self, now: Now, _out: &mut Outbox) {
        self.open.retain(|_, question| question.until > now.mono);
    }

    /// When [`Questions::wake`] is wanted.
    pub fn deadline(&self) -> Option<Time> {
        self.open.values().map(|question| question.until).min()
    }
}

impl Aggregator {
    pub(crate) fn on_locate(&mut self, now: Now, link: LinkSlot, locate: Locate, out: &mut Outbox) {
        let Ok(agent) = <[u8; 16]>::try_from(locate.agent.as_ref()).map(AgentId) else { return };
        let region = self.region().0;
        let answer = |region, edge, session| {
            let agent = Bytes::copy_from_slice(&agent.0);
            ControlBody::Located(Located { agent, region, edge, session })
        };
        if let Some((edge, session)) = self.directory.find(agent) {
            return out.send(link, answer(region, edge.0, session));
        }
        let asked = if locate.from_region { Vec::new() } else { self.one_of_each_region() };
        if asked.is_empty() || self.questions.open.len() >= QUESTIONS_MAX {
            return out.send(link, answer(0, 0, 0));
        }
        if let Some(question) = self.questions.open.get_mut(&agent) {
            if !question.askers.contains(&link) {
                question.askers.push(link);
            }
            return;
        }
        let question =
            Question { askers: vec![link], outstanding: asked.len(), until: now.mono + ANSWER_WITHIN };
        self.questions.open.insert(agent, question);
        for link in asked {
            let agent = Bytes::copy_from_slice(&agent.0);
            out.send(link, ControlBody::Locate(Locate { agent, from_region: true }));
        }
    }

    pub(crate) fn one_of_each_region(&self) -> Vec<LinkSlot> {
        let mut links: BTreeMap<RegionId, LinkSlot> = BTreeMap::new();
        for (_, link, known) in self.neighbours.linked() {
            if known.region() != self.region() && known.roles().has(Roles::AGGREGATOR) {
                links.entry(known.region()).or_insert(link);
            }
        }
        links.into_values().collect()
    }
}
