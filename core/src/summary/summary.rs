//! The summary that an edge keeps of its agents.

use super::{Counter, Distinct, Distribution, DistributionId, EdgeVersion, PartId, Parts, SummaryUpdate};
use crate::id::AgentId;

/// An edge's summary: one writer, and a version that grows by one with each batch of changes.
///
/// Changes gather until [`Summary::seal`], or until an update is made, which seals: hence what an
/// update says is always all that its version has, and two updates to one version agree. Updates
/// should be made at most every 100 ms.
#[derive(Debug, Clone)]
pub struct Summary {
    incarnation: u64,
    version: u64,
    parts: Parts,
    /// The version that last changed each part, zero for a part never touched.
    changed: [u64; PartId::COUNT],
    /// The parts changed since `version`, one bit each.
    pending: u16,
}

impl Summary {
    /// An empty summary at version 0; `incarnation` is the edge's.
    pub fn new(incarnation: u64) -> Summary {
        Summary { incarnation, version: 0, parts: Parts::default(), changed: [0; PartId::COUNT], pending: 0 }
    }

    /// The incarnation and the version sealed last.
    pub fn version(&self) -> EdgeVersion {
        EdgeVersion { incarnation: self.incarnation, version: self.version }
    }

    /// What the summary says now, unsealed changes included.
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// Whether there are changes that no version has yet.
    pub fn is_pending(&self) -> bool {
        self.pending != 0
    }

    /// An agent has come, in `state` and with `tags`, each named once.
    pub fn agent_joined<'a>(&mut self, agent: AgentId, state: &str, tags: impl IntoIterator<Item = &'a str>) {
        if self.parts.distinct.insert_agent(agent) {
            self.touch(PartId::DISTINCT);
        }
        self.state_counted(state, 1);
        tags.into_iter().for_each(|tag| self.tag_counted(tag, 1));
    }

    /// An agent has left that was in `state` and had `tags`.
    ///
    /// # Panics
    /// As [`super::Tally::change`], when no such agent was counted; so do all changes below.
    pub fn agent_left<'a>(&mut self, state: &str, tags: impl IntoIterator<Item = &'a str>) {
        self.state_counted(state, -1);
        tags.into_iter().for_each(|tag| self.tag_counted(tag, -1));
    }

    /// An agent went from one state to another.
    pub fn state_changed(&mut self, from: &str, to: &str) {
        if from != to {
            self.state_counted(from, -1);
            self.state_counted(to, 1);
        }
    }

    /// An agent took a tag that it did not have.
    pub fn tag_added(&mut self, tag: &str) {
        self.tag_counted(tag, 1);
    }

    /// An agent dropped a tag that it had.
    pub fn tag_removed(&mut self, tag: &str) {
        self.tag_counted(tag, -1);
    }

    /// Adds `by` to the number of agents in `state`.
    pub fn state_counted(&mut self, state: &str, by: i64) {
        self.parts.counts.states.change(state, by);
        self.touch(PartId::STATES);
    }

    /// Adds `by` to the number of agents with `tag`.
    pub fn tag_counted(&mut self, tag: &str, by: i64) {
        self.parts.counts.tags.change(tag, by);
        self.touch(PartId::TAGS);
    }

    /// Adds `amount` to a total.
    pub fn counted(&mut self, counter: Counter, amount: u64) {
        if amount > 0 {
            self.parts.totals.add(counter, amount);
            self.touch(PartId::TOTALS);
        }
    }

    /// Notes one value of a distribution.
    pub fn recorded(&mut self, id: DistributionId, value: u64) {
        self.parts.distributions.entry(id).or_default().record(value);
        self.touch(PartId::distribution(id));
    }

    /// Puts a distribution in the place of the one before, as when a window has passed.
    pub fn replace_distribution(&mut self, id: DistributionId, with: Distribution) {
        self.parts.replace(super::Part::Distribution(id, with));
        self.touch(PartId::distribution(id));
    }

    /// Puts a sketch of the agents now present in the place of the one before, which also counts
    /// those that have left.
    pub fn replace_distinct(&mut self, with: Distinct) {
        self.parts.distinct = with;
        self.touch(PartId::DISTINCT);
    }

    fn touch(&mut self, part: PartId) {
        self.pending |= 1 << part.index();
    }

    /// Gives the changes since the last version a version, and returns the latest.
    pub fn seal(&mut self) -> u64 {
        if self.is_pending() {
            self.version += 1;
            for part in PartId::all().filter(|part| self.pending >> part.index() & 1 == 1) {
                self.changed[part.index()] = self.version;
            }
            self.pending = 0;
        }
        self.version
    }

    /// Seals, and says what changed after `version`, or the whole if this incarnation never had it.
    pub fn changed_since(&mut self, version: u64) -> SummaryUpdate {
        let latest = self.seal();
        let since = if version > latest { 0 } else { version };
        let changed = PartId::all().filter(|part| self.changed[part.index()] > since);
        SummaryUpdate {
            incarnation: self.incarnation,
            since,
            version: latest,
            parts: changed.map(|part| self.parts.part(part)).collect(),
        }
    }

    /// Seals, and says everything.
    pub fn whole(&mut self) -> SummaryUpdate {
        self.changed_since(0)
    }
}
