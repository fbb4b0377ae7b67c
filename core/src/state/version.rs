//! Which state of which origin a node has: the version vector.
//!
//! After Parker et al., "Detection of Mutual Inconsistency in Distributed Systems" (IEEE TSE 1983).
//! We leave them in that a component is a pair: an origin that lost its memory starts a higher
//! incarnation, and that replaces all it said before.

use std::collections::BTreeMap;

use bytes::{BufMut, BytesMut};

use crate::id::ShortId;
use crate::wire::codec::{DecodeError, Reader, Wire};

/// Most origins that a vector, and so a replica, may name.
pub const ORIGINS_MAX: usize = 4_096;

/// Bytes of one component on the wire.
const COMPONENT_BYTES: usize = 24;

/// How far the state of one origin has come. Versions order by incarnation, then by sequence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// The origin's incarnation; a higher one replaces all state of lower ones.
    pub incarnation: u64,
    /// The last state bundle of that incarnation, counted from 1; 0 before the first.
    pub sequence: u64,
}

/// State bundles that are missing: `first..=last` of one incarnation of one origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MissingRange {
    /// Whose bundles.
    pub origin: ShortId,
    /// Of which incarnation.
    pub incarnation: u64,
    /// The first sequence that is missing, at least 1.
    pub first: u64,
    /// The last sequence that is missing, at least `first`.
    pub last: u64,
}

/// A vector is full: it names [`ORIGINS_MAX`] origins. Nothing was changed; whoever admits nodes
/// let too many in, or a peer speaks of nodes that nobody admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a version vector names at most {ORIGINS_MAX} origins")]
pub struct TooManyOrigins;

/// The version of every known origin.
///
/// On the wire: a count in two bytes, then for each origin in strictly rising order its short id,
/// incarnation and sequence, eight bytes each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VersionVector {
    versions: BTreeMap<ShortId, Version>,
}

impl VersionVector {
    /// A vector that knows of nobody.
    pub fn new() -> VersionVector {
        VersionVector::default()
    }

    /// Notes that `origin` has reached `version`; true where that is news. What is older than what
    /// is known changes nothing.
    ///
    /// # Errors
    /// [`TooManyOrigins`] where `origin` is new and the vector is full.
    pub fn observe(&mut self, origin: ShortId, version: Version) -> Result<bool, TooManyOrigins> {
        let is_full = self.versions.len() >= ORIGINS_MAX;
        match self.versions.get_mut(&origin) {
            Some(known) => {
                let is_news = version > *known;
                *known = version.max(*known);
                Ok(is_news)
            }
            None if is_full => Err(TooManyOrigins),
            None => {
                self.versions.insert(origin, version);
                Ok(true)
            }
        }
    }

    /// How far `origin` has come, as far as is known.
    pub fn get(&self, origin: ShortId) -> Option<Version> {
        self.versions.get(&origin).copied()
    }

    /// Forgets an origin that is no longer a member.
    pub fn forget(&mut self, origin: ShortId) -> Option<Version> {
        self.versions.remove(&origin)
    }

    /// Whether everything that `other` has is here too; equal vectors dominate each other.
    pub fn dominates(&self, other: &VersionVector) -> bool {
        other.iter().all(|(origin, version)| self.get(origin).is_some_and(|ours| ours >= version))
    }

    /// Takes the later version of each origin from both.
    ///
    /// # Errors
    /// [`TooManyOrigins`] where the union would not fit.
    pub fn merge(&mut self, other: &VersionVector) -> Result<(), TooManyOrigins> {
        let added = other.versions.keys().filter(|origin| !self.versions.contains_key(origin)).count();
        if self.versions.len() + added > ORIGINS_MAX {
            return Err(TooManyOrigins);
        }
        for (origin, version) in other.iter() {
            let known = self.versions.entry(origin).or_default();
            *known = version.max(*known);
        }
        Ok(())
    }

    /// The bundles that `self` has and `other` lacks, in order of origin: what to send to `other`.
    ///
    /// Where `self` knows a higher incarnation, that is all of it and nothing of the older one.
    pub fn missing_from(&self, other: &VersionVector) -> Vec<MissingRange> {
        let mut missing = Vec::new();
        for (origin, ours) in self.iter() {
            let theirs = other.get(origin).unwrap_or_default();
            let first = match theirs.incarnation.cmp(&ours.incarnation) {
                std::cmp::Ordering::Less => 1,
                std::cmp::Ordering::Equal => theirs.sequence.saturating_add(1),
                std::cmp::Ordering::Greater => continue,
            };
            if first <= ours.sequence {
                let Version { incarnation, sequence: last } = ours;
                missing.push(MissingRange { origin, incarnation, first, last });
            }
        }
        missing
    }

    /// All components in order of origin.
    pub fn iter(&self) -> impl Iterator<Item = (ShortId, Version)> {
        self.versions.iter().map(|(origin, version)| (*origin, *version))
    }

    /// How many origins are known, at most [`ORIGINS_MAX`].
    pub fn len(&self) -> usize {
        self.versions.len()
    }

    /// Whether nobody is known.
    pub fn is_empty(&self) -> bool {
        self.versions.is_empty()
    }
}

impl Wire for VersionVector {
    fn encode(&self, out: &mut BytesMut) {
        let count = u16::try_from(self.versions.len()).expect("ORIGINS_MAX fits two bytes");
        out.reserve(2 + self.versions.len() * COMPONENT_BYTES);
        out.put_u16_le(count);
        for (origin, version) in self.iter() {
            out.put_u64_le(origin.0);
            out.put_u64_le(version.incarnation);
            out.put_u64_le(version.sequence);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<VersionVector, DecodeError> {
        let count = usize::from(reader.u16()?);
        if count > ORIGINS_MAX {
            return Err(DecodeError::TooLong("origins of a version vector"));
        }
        if reader.remaining() < count * COMPONENT_BYTES {
            return Err(DecodeError::Truncated);
        }
        let mut versions = BTreeMap::new();
        for _ in 0..count {
            let origin = ShortId(reader.u64()?);
            let version = Version { incarnation: reader.u64()?, sequence: reader.u64()? };
            // One order, so that one vector has one encoding.
            if versions.last_key_value().is_some_and(|(last, _)| *last >= origin) {
                return Err(DecodeError::Invalid("order of origins"));
            }
            versions.insert(origin, version);
        }
        Ok(VersionVector { versions })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn version(incarnation: u64, sequence: u64) -> Version {
        Version { incarnation, sequence }
    }

    fn vector(components: &[(u64, u64, u64)]) -> VersionVector {
        let mut vector = VersionVector::new();
        for (origin, incarnation, sequence) in components {
            vector.observe(ShortId(*origin), version(*incarnation, *sequence)).unwrap();
        }
        vector
    }

    fn any_vector() -> impl Strategy<Value = VersionVector> {
        prop::collection::vec((0u64..6, 0u64..3, 0u64..5), 0..8).prop_map(|parts| vector(&parts))
    }

    #[test]
    fn a_newer_incarnation_replaces_the_older() {
        let mut vector = vector(&[(1, 1, 900)]);
        assert_eq!(vector.observe(ShortId(1), version(2, 1)), Ok(true));
        assert_eq!(vector.observe(ShortId(1), version(1, 901)), Ok(false));
        assert_eq!(vector.get(ShortId(1)), Some(version(2, 1)));
    }

    #[test]
    fn lists_what_the_other_lacks() {
        let ours = vector(&[(1, 1, 5), (2, 3, 2), (3, 1, 4), (4, 1, 9), (5, 1, 0)]);
        let theirs = vector(&[(1, 1, 3), (2, 2, 50), (4, 2, 1)]);
        let range = |origin, incarnation, first, last| MissingRange {
            origin: ShortId(origin),
            incarnation,
            first,
            last,
        };
        let expected = [range(1, 1, 4, 5), range(2, 3, 1, 2), range(3, 1, 1, 4)];
        assert_eq!(ours.missing_from(&theirs), expected);
        assert!(!ours.dominates(&theirs) && !theirs.dominates(&ours));
    }

    #[test]
    fn a_full_vector_refuses_and_stays_as_it_was() {
        let mut full = VersionVector::new();
        for origin in 0..ORIGINS_MAX as u64 {
            full.observe(ShortId(origin), version(1, 1)).unwrap();
        }
        let before = full.clone();
        assert_eq!(full.observe(ShortId(u64::MAX), version(1, 1)), Err(TooManyOrigins));
        assert_eq!(full.merge(&vector(&[(0, 9, 9), (u64::MAX, 1, 1)])), Err(TooManyOrigins));
        assert_eq!(full, before);
        assert_eq!(full.observe(ShortId(0), version(1, 2)), Ok(true));
        assert_eq!(VersionVector::from_bytes(&full.to_bytes()), Ok(full));
    }

    #[test]
    fn golden_bytes() {
        let encoded = vector(&[(0x0102, 3, 4)]).to_bytes();
        let mut expected = vec![1, 0];
        expected.extend([2, 1, 0, 0, 0, 0, 0, 0]);
        expected.extend([3, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend([4, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(&encoded[..], expected);
    }

    #[test]
    fn refuses_too_many_origins_and_a_wrong_order() {
        assert!(matches!(VersionVector::from_bytes(&[1, 16]), Err(DecodeError::TooLong(_))));
        let mut twice = vector(&[(7, 1, 1)]).to_bytes().to_vec();
        twice[0] = 2;
        twice.extend_from_within(2..);
        assert!(matches!(VersionVector::from_bytes(&twice), Err(DecodeError::Invalid(_))));
    }

    proptest! {
        #[test]
        fn round_trips(vector in any_vector()) {
            prop_assert_eq!(VersionVector::from_bytes(&vector.to_bytes()), Ok(vector));
        }

        #[test]
        fn never_panics_on_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(vector) = VersionVector::from_bytes(&bytes) {
                prop_assert_eq!(&vector.to_bytes()[..], bytes);
            }
        }

        #[test]
        fn merge_is_the_least_upper_bound(a in any_vector(), b in any_vector(), c in any_vector()) {
            let merged = |mut left: VersionVector, right: &VersionVector| {
                left.merge(right).unwrap();
                left
            };
            let both = merged(a.clone(), &b);
            prop_assert_eq!(&both, &merged(b.clone(), &a));
            prop_assert_eq!(&merged(both.clone(), &c), &merged(a.clone(), &merged(b.clone(), &c)));
            prop_assert_eq!(&merged(a.clone(), &a), &a);
            prop_assert!(both.dominates(&a) && both.dominates(&b));
            prop_assert_eq!(both == a, a.dominates(&b));
        }

        #[test]
        fn sending_what_is_missing_levels_both(a in any_vector(), b in any_vector()) {
            let mut levelled = b.clone();
            for range in a.missing_from(&b) {
                prop_assert!(1 <= range.first && range.first <= range.last);
                levelled.observe(range.origin, version(range.incarnation, range.last)).unwrap();
            }
            prop_assert!(a.missing_from(&levelled).is_empty());
        }
    }
}
