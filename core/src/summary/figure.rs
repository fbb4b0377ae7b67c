//! A region's figure: the fold of its edges' summaries over a named cut.

use std::time::Duration;

use bytes::{BufMut, BytesMut};

use super::parts::Bounds;
use super::{Commitment, Cut, Parts, Rates};
use crate::wire::codec::{DecodeError, Reader, Wire};

/// What the edges of a cut say together. Equal cuts give equal bytes, whoever folded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figure {
    /// The version of each edge that is in here.
    pub cut: Cut,
    /// The fold of what the edges say.
    pub parts: Parts,
    /// The root of the tree over the edges' parts.
    pub root: [u8; 32],
}

impl Figure {
    /// The longest encoding, in bytes: about 680 KiB, so it fits an entry. With 50 edges, 200 tags of
    /// 64 bytes and eight distributions, all of them full, it stays below 60 KiB; a figure of that
    /// size in use has 10 KiB.
    pub const BYTES_MAX: usize = Cut::BYTES_MAX + Bounds::FIGURE.bytes_max() + 32;

    /// All agents of the cut: exact.
    pub fn agents(&self) -> u64 {
        self.parts.counts.agents()
    }

    /// What an opening is checked against.
    pub fn commitment(&self) -> Commitment {
        let edges = u32::try_from(self.cut.edges.len()).unwrap_or(u32::MAX);
        Commitment { root: self.root, agents: self.agents(), edges }
    }

    /// What happened per second since `older`, which was taken `passed` earlier.
    ///
    /// Nothing unless both have the same edges in the same incarnations and this cut dominates: a
    /// total that starts anew, comes or goes with an edge is no traffic.
    pub fn rates_since(&self, older: &Figure, passed: Duration) -> Option<Rates> {
        if !self.cut.is_same_run(&older.cut) || !self.cut.dominates(&older.cut) {
            return None;
        }
        Rates::between(&older.parts.totals, &self.parts.totals, passed)
    }
}

impl Wire for Figure {
    /// Cut, parts as in an update, root (32).
    fn encode(&self, out: &mut BytesMut) {
        self.cut.encode(out);
        self.parts.encode(out);
        out.put_slice(&self.root);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Figure, DecodeError> {
        let cut = Cut::decode(reader)?;
        let parts = Parts::decode(reader, Bounds::FIGURE)?;
        Ok(Figure { cut, parts, root: reader.array()? })
    }
}

#[cfg(test)]
mod tests;
