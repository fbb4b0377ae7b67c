//! Cuts: which version of which edge a figure is made of.

use std::collections::BTreeMap;

use bytes::{BufMut, BytesMut};

use super::EDGES_MAX;
use super::pack::{VARINT_BYTES_MAX, put_count, put_varint, take_count, take_varint};
use crate::id::ShortId;
use crate::wire::codec::{DecodeError, Reader, Wire};

/// A state of an edge's summary; later incarnations come after all versions of earlier ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct EdgeVersion {
    /// The incarnation of the edge.
    pub incarnation: u64,
    /// The version within it.
    pub version: u64,
}

/// The version of each edge that a figure was folded from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cut {
    /// At most [`EDGES_MAX`] on the wire.
    pub edges: BTreeMap<ShortId, EdgeVersion>,
}

impl Cut {
    /// The longest encoding, in bytes.
    pub const BYTES_MAX: usize = 2 + EDGES_MAX * (8 + 2 * VARINT_BYTES_MAX);

    /// Whether what `edge` said at `version` is in the figure, or something later of it: then a change
    /// that has this version is visible.
    pub fn covers(&self, edge: ShortId, version: EdgeVersion) -> bool {
        self.edges.get(&edge).is_some_and(|held| *held >= version)
    }

    /// Whether this covers all that `other` has; true of equal cuts.
    pub fn dominates(&self, other: &Cut) -> bool {
        other.edges.iter().all(|(edge, version)| self.covers(*edge, *version))
    }

    /// Whether both have the same edges in the same incarnations, so that their totals compare.
    pub fn is_same_run(&self, other: &Cut) -> bool {
        let run = |cut: &Cut| -> Vec<(ShortId, u64)> {
            cut.edges.iter().map(|(edge, version)| (*edge, version.incarnation)).collect()
        };
        run(self) == run(other)
    }
}

impl Wire for Cut {
    /// Number of edges (2), then edge (8), incarnation and version (variable) of each, ascending.
    fn encode(&self, out: &mut BytesMut) {
        put_count(out, self.edges.len());
        for (edge, at) in &self.edges {
            out.put_u64_le(edge.0);
            put_varint(out, at.incarnation);
            put_varint(out, at.version);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Cut, DecodeError> {
        let mut cut = Cut::default();
        for _ in 0..take_count(reader, EDGES_MAX, "edges of a cut")? {
            let edge = ShortId(reader.u64()?);
            if cut.edges.last_key_value().is_some_and(|(last, _)| *last >= edge) {
                return Err(DecodeError::Invalid("order of edges"));
            }
            let (incarnation, version) = (take_varint(reader)?, take_varint(reader)?);
            cut.edges.insert(edge, EdgeVersion { incarnation, version });
        }
        Ok(cut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(edges: &[(u64, u64, u64)]) -> Cut {
        let edges = edges.iter().map(|(edge, incarnation, version)| {
            (ShortId(*edge), EdgeVersion { incarnation: *incarnation, version: *version })
        });
        Cut { edges: edges.collect() }
    }

    #[test]
    fn a_cut_dominates_when_it_has_all_of_the_other() {
        let base = cut(&[(1, 5, 9), (2, 5, 1)]);
        assert!(base.dominates(&base) && base.dominates(&Cut::default()));
        assert!(!Cut::default().dominates(&base));
        let restarted = cut(&[(1, 6, 0), (2, 5, 1)]);
        assert!(restarted.dominates(&base) && !base.dominates(&restarted));
        assert!(!restarted.is_same_run(&base) && cut(&[(1, 5, 0), (2, 5, 0)]).is_same_run(&base));
        let crossed = cut(&[(1, 5, 10), (2, 5, 0)]);
        assert!(!crossed.dominates(&base) && !base.dominates(&crossed));
        assert!(base.covers(ShortId(1), EdgeVersion { incarnation: 4, version: 70 }));
        assert!(!base.covers(ShortId(3), EdgeVersion::default()));
    }

    #[test]
    fn a_cut_round_trips_and_is_in_order() {
        let some = cut(&[(1, 5, 9), (2, 5, 1)]);
        assert_eq!(Cut::from_bytes(&some.to_bytes()), Ok(some));
        let backwards = [&[2, 0][..], &2_u64.to_le_bytes(), &[0, 0], &1_u64.to_le_bytes(), &[0, 0]].concat();
        assert_eq!(Cut::from_bytes(&backwards), Err(DecodeError::Invalid("order of edges")));
        assert_eq!(Cut::from_bytes(&[1, 4]), Err(DecodeError::TooLong("edges of a cut")));
    }
}
