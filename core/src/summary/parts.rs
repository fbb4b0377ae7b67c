//! The parts of a summary, each of which travels by itself when it has changed.

use std::collections::BTreeMap;

use bytes::{BufMut, BytesMut};

use super::{
    Counts, DISTRIBUTIONS_MAX, Distinct, Distribution, EDGE_KEYS_MAX, FIGURE_KEYS_MAX, Tally, Totals,
    VALUE_MAX,
};
use crate::wire::codec::{DecodeError, Reader, Wire};

/// Which quantity a distribution is of: 0 to 7.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DistributionId(u8);

impl DistributionId {
    /// From publish to delivery at an agent, in microseconds.
    pub const DELIVERY_MICROS: DistributionId = DistributionId(0);
    /// Payload of a published entry, in bytes.
    pub const PAYLOAD_BYTES: DistributionId = DistributionId(1);

    /// The distribution numbered `id`, nothing from 8 on. From 2 on they belong to the mesh's users.
    pub fn new(id: u8) -> Option<DistributionId> {
        (usize::from(id) < DISTRIBUTIONS_MAX).then_some(DistributionId(id))
    }

    /// The number.
    pub fn get(self) -> u8 {
        self.0
    }
}

/// The name of a part: 0 states, 1 tags, 2 distinct, 3 totals, from 4 on the distributions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PartId(u8);

impl PartId {
    /// The agents by state.
    pub const STATES: PartId = PartId(0);
    /// The agents by tag.
    pub const TAGS: PartId = PartId(1);
    /// The estimate of distinct agents.
    pub const DISTINCT: PartId = PartId(2);
    /// The totals since the edge's start.
    pub const TOTALS: PartId = PartId(3);
    /// How many names there are.
    pub const COUNT: usize = 4 + DISTRIBUTIONS_MAX;

    /// The name of a distribution.
    pub fn distribution(id: DistributionId) -> PartId {
        PartId(4 + id.0)
    }

    /// Every name, ascending.
    pub fn all() -> impl Iterator<Item = PartId> {
        (0..PartId::COUNT as u8).map(PartId)
    }

    /// The name as a number below [`PartId::COUNT`].
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    fn as_distribution(self) -> Option<DistributionId> {
        self.0.checked_sub(4).and_then(DistributionId::new)
    }
}

/// One part and its contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// The agents by state.
    States(Tally),
    /// The agents by tag.
    Tags(Tally),
    /// The estimate of distinct agents.
    Distinct(Distinct),
    /// The totals since the edge's start.
    Totals(Totals),
    /// One distribution.
    Distribution(DistributionId, Distribution),
}

impl Part {
    /// The name of this part.
    pub fn id(&self) -> PartId {
        match self {
            Part::States(_) => PartId::STATES,
            Part::Tags(_) => PartId::TAGS,
            Part::Distinct(_) => PartId::DISTINCT,
            Part::Totals(_) => PartId::TOTALS,
            Part::Distribution(id, _) => PartId::distribution(*id),
        }
    }

    /// The part called `id` with nothing in it.
    pub(super) fn empty(id: PartId) -> Part {
        match id {
            PartId::STATES => Part::States(Tally::default()),
            PartId::TAGS => Part::Tags(Tally::default()),
            PartId::DISTINCT => Part::Distinct(Distinct::default()),
            PartId::TOTALS => Part::Totals(Totals::default()),
            _ => {
                let id = id.as_distribution().expect("the names from 4 on are distributions");
                Part::Distribution(id, Distribution::default())
            }
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Part::States(tally) | Part::Tags(tally) => tally.is_empty(),
            Part::Distinct(distinct) => distinct.is_empty(),
            Part::Totals(totals) => totals.is_empty(),
            Part::Distribution(_, distribution) => distribution.is_empty(),
        }
    }

    /// Appends the name (1 byte) and the contents.
    pub(super) fn encode(&self, out: &mut BytesMut) {
        out.put_u8(self.id().0);
        match self {
            Part::States(tally) | Part::Tags(tally) => tally.encode(out),
            Part::Distinct(distinct) => distinct.encode(out),
            Part::Totals(totals) => totals.encode(out),
            Part::Distribution(_, distribution) => distribution.encode(out),
        }
    }

    fn decode(reader: &mut Reader<'_>, bounds: Bounds) -> Result<Part, DecodeError> {
        let id = PartId(reader.u8()?);
        Ok(match id {
            PartId::STATES => Part::States(Tally::decode(reader, bounds.keys_max, bounds.value_max)?),
            PartId::TAGS => Part::Tags(Tally::decode(reader, bounds.keys_max, bounds.value_max)?),
            PartId::DISTINCT => Part::Distinct(Distinct::decode(reader)?),
            PartId::TOTALS => Part::Totals(Totals::decode(reader, bounds.value_max)?),
            _ => {
                let name = id.as_distribution().ok_or(DecodeError::Invalid("part"))?;
                Part::Distribution(name, Distribution::decode(reader, bounds.value_max)?)
            }
        })
    }
}

/// What is accepted of an edge, and of a figure.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    keys_max: usize,
    value_max: u64,
}

impl Bounds {
    /// One edge.
    pub(super) const EDGE: Bounds = Bounds { keys_max: EDGE_KEYS_MAX, value_max: VALUE_MAX };
    /// A fold of edges.
    pub(super) const FIGURE: Bounds = Bounds { keys_max: FIGURE_KEYS_MAX, value_max: u64::MAX };

    /// The longest encoding of all parts within these bounds, in bytes.
    pub(super) const fn bytes_max(self) -> usize {
        1 + PartId::COUNT
            + 2 * Tally::bytes_max(self.keys_max)
            + Distinct::BYTES_MAX
            + Totals::BYTES_MAX
            + DISTRIBUTIONS_MAX * Distribution::BYTES_MAX
    }
}

/// Appends how many parts there are (1 byte), then the parts.
pub(super) fn encode_list(parts: &[Part], out: &mut BytesMut) {
    out.put_u8(u8::try_from(parts.len()).expect("there are twelve names, each at most once"));
    parts.iter().for_each(|part| part.encode(out));
}

/// Reads parts in ascending order of their names, each at most once.
pub(super) fn decode_list(reader: &mut Reader<'_>, bounds: Bounds) -> Result<Vec<Part>, DecodeError> {
    let mut parts: Vec<Part> = Vec::new();
    for _ in 0..reader.u8()? {
        let part = Part::decode(reader, bounds)?;
        if parts.last().is_some_and(|last| last.id() >= part.id()) {
            return Err(DecodeError::Invalid("order of parts"));
        }
        parts.push(part);
    }
    Ok(parts)
}

/// All that a summary or a figure says, without who says it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parts {
    /// The agents by state and by tag: exact.
    pub counts: Counts,
    /// The different agents seen: an estimate, standard error 1.6 %.
    pub distinct: Distinct,
    /// What was counted since the edges' starts: exact.
    pub totals: Totals,
    /// Distributions, to 1 %; none of them is empty.
    pub distributions: BTreeMap<DistributionId, Distribution>,
}

impl Parts {
    /// A copy of one part.
    pub fn part(&self, id: PartId) -> Part {
        match id {
            PartId::STATES => Part::States(self.counts.states.clone()),
            PartId::TAGS => Part::Tags(self.counts.tags.clone()),
            PartId::DISTINCT => Part::Distinct(self.distinct.clone()),
            PartId::TOTALS => Part::Totals(self.totals),
            _ => {
                let id = id.as_distribution().expect("the names from 4 on are distributions");
                Part::Distribution(id, self.distributions.get(&id).cloned().unwrap_or_default())
            }
        }
    }

    /// Puts `part` in its place and returns what was there.
    pub(super) fn replace(&mut self, part: Part) -> Part {
        use std::mem::replace;
        match part {
            Part::States(tally) => Part::States(replace(&mut self.counts.states, tally)),
            Part::Tags(tally) => Part::Tags(replace(&mut self.counts.tags, tally)),
            Part::Distinct(distinct) => Part::Distinct(replace(&mut self.distinct, distinct)),
            Part::Totals(totals) => Part::Totals(replace(&mut self.totals, totals)),
            Part::Distribution(id, distribution) => {
                let before = if distribution.is_empty() {
                    self.distributions.remove(&id)
                } else {
                    self.distributions.insert(id, distribution)
                };
                Part::Distribution(id, before.unwrap_or_default())
            }
        }
    }

    /// Adds all that `from` says.
    pub fn fold(&mut self, from: &Parts) {
        self.counts.states.fold(&from.counts.states);
        self.counts.tags.fold(&from.counts.tags);
        self.distinct.merge(&from.distinct);
        self.totals.fold(&from.totals);
        for (id, distribution) in &from.distributions {
            self.distributions.entry(*id).or_default().merge(distribution);
        }
    }

    /// Appends the parts that are not empty, as `encode_list` would.
    pub(super) fn encode(&self, out: &mut BytesMut) {
        let at = out.len();
        out.put_u8(0);
        let Counts { states, tags } = &self.counts;
        for (id, tally) in [(PartId::STATES, states), (PartId::TAGS, tags)] {
            if !tally.is_empty() {
                out[at] += 1;
                out.put_u8(id.0);
                tally.encode(out);
            }
        }
        if !self.distinct.is_empty() {
            out[at] += 1;
            out.put_u8(PartId::DISTINCT.0);
            self.distinct.encode(out);
        }
        if !self.totals.is_empty() {
            out[at] += 1;
            out.put_u8(PartId::TOTALS.0);
            self.totals.encode(out);
        }
        for (id, distribution) in &self.distributions {
            out[at] += 1;
            out.put_u8(PartId::distribution(*id).0);
            distribution.encode(out);
        }
    }

    /// Reads what `encode` wrote; no part may be empty, so that equal parts have equal bytes.
    pub(super) fn decode(reader: &mut Reader<'_>, bounds: Bounds) -> Result<Parts, DecodeError> {
        let mut parts = Parts::default();
        for part in decode_list(reader, bounds)? {
            if part.is_empty() {
                return Err(DecodeError::Invalid("empty part"));
            }
            parts.replace(part);
        }
        Ok(parts)
    }

    /// BLAKE3 of the encoding: what an edge's leaf of the commitment holds.
    pub fn digest(&self) -> [u8; 32] {
        let mut bytes = BytesMut::with_capacity(4_096);
        self.encode(&mut bytes);
        *blake3::hash(&bytes).as_bytes()
    }
}
