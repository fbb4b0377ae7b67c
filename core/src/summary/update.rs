//! What an edge sends of its summary, and how the other end takes it.

use bytes::{BufMut, BytesMut};

use super::pack::{VARINT_BYTES_MAX, put_varint, take_varint};
use super::parts::{Bounds, decode_list, encode_list};
use super::{EdgeVersion, Part, PartId, Parts};
use crate::wire::codec::{DecodeError, Reader, Wire};

/// The parts of an edge's summary that changed after version `since`, as they are at `version`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SummaryUpdate {
    /// The incarnation of the edge.
    pub incarnation: u64,
    /// The version from which this leads; 0 means that it is whole: what is missing is empty.
    pub since: u64,
    /// The version to which this leads.
    pub version: u64,
    /// Ascending by name, each at most once; only this module makes them, so that this holds.
    pub(super) parts: Vec<Part>,
}

impl SummaryUpdate {
    /// The longest encoding, in bytes: about 204 KiB.
    pub const BYTES_MAX: usize = 8 + 2 * VARINT_BYTES_MAX + Bounds::EDGE.bytes_max();

    /// The parts that changed, ascending by name.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Whether this needs nothing before it.
    pub fn is_whole(&self) -> bool {
        self.since == 0
    }

    /// The incarnation and version that this leads to.
    pub fn reaches(&self) -> EdgeVersion {
        EdgeVersion { incarnation: self.incarnation, version: self.version }
    }
}

impl Wire for SummaryUpdate {
    /// Incarnation (8), since and version (variable), number of parts (1), parts.
    fn encode(&self, out: &mut BytesMut) {
        out.put_u64_le(self.incarnation);
        put_varint(out, self.since);
        put_varint(out, self.version);
        encode_list(&self.parts, out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<SummaryUpdate, DecodeError> {
        let incarnation = reader.u64()?;
        let (since, version) = (take_varint(reader)?, take_varint(reader)?);
        if since > version {
            return Err(DecodeError::Invalid("version"));
        }
        let parts = decode_list(reader, Bounds::EDGE)?;
        Ok(SummaryUpdate { incarnation, since, version, parts })
    }
}

/// The update starts behind what is held, or belongs to a new incarnation, and is not whole: ask for
/// the whole summary. Nothing was changed; nobody is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the update leads from a version that is not held")]
pub struct NeedWhole;

/// What an update did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// It led on: another version is held now.
    Advanced,
    /// It was known already, or older; nothing was changed.
    Ignored,
}

/// An edge's summary as another node holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldSummary {
    version: EdgeVersion,
    parts: Parts,
}

impl HeldSummary {
    /// What a whole update says.
    pub fn of_whole(update: SummaryUpdate) -> Result<HeldSummary, NeedWhole> {
        if !update.is_whole() {
            return Err(NeedWhole);
        }
        let mut held = HeldSummary { version: update.reaches(), parts: Parts::default() };
        for part in update.parts {
            held.parts.replace(part);
        }
        Ok(held)
    }

    /// The incarnation and version that are held.
    pub fn version(&self) -> EdgeVersion {
        self.version
    }

    /// What the edge says.
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// Takes an update: idempotent, and in any order as far as it does not ask for the whole.
    pub fn apply(&mut self, update: SummaryUpdate) -> Result<Applied, NeedWhole> {
        let replaced = self.replace(update)?;
        Ok(if replaced.is_some() { Applied::Advanced } else { Applied::Ignored })
    }

    /// Takes an update and returns the parts that it replaced, or nothing when it was ignored.
    pub(super) fn replace(&mut self, update: SummaryUpdate) -> Result<Option<Vec<Part>>, NeedWhole> {
        if update.reaches() <= self.version {
            return Ok(None);
        }
        let is_gap = update.incarnation != self.version.incarnation || update.since > self.version.version;
        if is_gap && !update.is_whole() {
            return Err(NeedWhole);
        }
        self.version = update.reaches();
        let mut replaced = Vec::new();
        if update.is_whole() {
            for id in PartId::all() {
                if update.parts.iter().all(|part| part.id() != id) {
                    replaced.push(self.parts.replace(Part::empty(id)));
                }
            }
        }
        replaced.extend(update.parts.into_iter().map(|part| self.parts.replace(part)));
        Ok(Some(replaced))
    }
}

#[cfg(test)]
mod tests;
