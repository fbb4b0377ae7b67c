//! The keyspaces of all origins, read as one.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::id::ShortId;
use crate::state::crdt::Value;
use crate::state::keyspace::{Applied, Keyspace, Refused, StateBundle};
use crate::state::merkle::{Hash, MerkleTree, leaf_hash};
use crate::state::version::{ORIGINS_MAX, VersionVector};

/// What one node has of everybody's state: at most [`ORIGINS_MAX`] keyspaces.
#[derive(Clone, Debug, Default)]
pub struct Replica {
    keyspaces: BTreeMap<ShortId, Keyspace>,
    /// Which origins have an entry under a key, so that reading a key asks only those.
    writers: BTreeMap<Bytes, BTreeSet<ShortId>>,
    versions: VersionVector,
    tree: MerkleTree,
    /// Origins whose leaf is out of date.
    stale_leaves: BTreeSet<ShortId>,
}

impl Replica {
    /// A replica that knows of nobody.
    pub fn new() -> Replica {
        Replica::default()
    }

    /// Makes the changes of a verified bundle of `origin`.
    ///
    /// # Errors
    /// [`Refused`], and then nothing was changed.
    pub fn apply(&mut self, origin: ShortId, bundle: &StateBundle<'_>) -> Result<Applied, Refused> {
        let is_full = self.keyspaces.len() >= ORIGINS_MAX;
        let (applied, replaced_keys) = match self.keyspaces.get_mut(&origin) {
            Some(keyspace) => {
                let may_replace =
                    bundle.is_checkpoint || bundle.version.incarnation > keyspace.version().incarnation;
                let keys: Vec<Bytes> = if may_replace {
                    keyspace.iter().map(|(key, _)| key.clone()).collect()
                } else {
                    Vec::new()
                };
                (keyspace.apply(bundle)?, keys)
            }
            None if is_full => return Err(Refused::TooManyOrigins),
            None => {
                let mut keyspace = Keyspace::new(origin);
                let applied = keyspace.apply(bundle)?;
                self.keyspaces.insert(origin, keyspace);
                (applied, Vec::new())
            }
        };
        if applied != Applied::Duplicate {
            let changed_keys = bundle.changes.iter().map(|change| &change.key);
            for key in replaced_keys.iter().chain(changed_keys) {
                self.note_writer(origin, key);
            }
            self.versions
                .observe(origin, bundle.version)
                .expect("the vector names the origins of the keyspaces, which were counted above");
            self.stale_leaves.insert(origin);
        }
        Ok(applied)
    }

    /// Forgets the state of a node that is no longer a member; true where there was any. The
    /// caller keeps its old bundles out from then on, by the roster.
    pub fn remove(&mut self, origin: ShortId) -> bool {
        let Some(keyspace) = self.keyspaces.remove(&origin) else {
            return false;
        };
        for (key, _) in keyspace.iter() {
            self.note_writer(origin, key);
        }
        self.versions.forget(origin);
        self.stale_leaves.remove(&origin);
        self.tree.remove(origin);
        true
    }

    /// The value of `key`, merged over all origins; `None` where nobody wrote it or the last
    /// writer deleted it.
    pub fn get(&self, key: &[u8]) -> Option<Value> {
        let writers = self.writers.get(key)?;
        self.merged(key, writers).filter(|value| !value.is_deleted())
    }

    /// All merged values that are not deleted, in order of key.
    pub fn iter(&self) -> impl Iterator<Item = (&Bytes, Value)> {
        self.writers.iter().filter_map(|(key, writers)| {
            let value = self.merged(key, writers)?;
            (!value.is_deleted()).then_some((key, value))
        })
    }

    /// The state of one origin.
    pub fn keyspace(&self, origin: ShortId) -> Option<&Keyspace> {
        self.keyspaces.get(&origin)
    }

    /// The state of every origin, in order of origin.
    pub fn keyspaces(&self) -> impl Iterator<Item = &Keyspace> {
        self.keyspaces.values()
    }

    /// How far each origin has come.
    pub fn versions(&self) -> &VersionVector {
        &self.versions
    }

    /// The Merkle root over origin, version and content of every keyspace: equal for equal
    /// replicas. Hashes only what changed since it was last asked.
    pub fn root(&mut self) -> Hash {
        for origin in std::mem::take(&mut self.stale_leaves) {
            if let Some(keyspace) = self.keyspaces.get_mut(&origin) {
                let content = keyspace.content_hash();
                self.tree.set(origin, leaf_hash(origin, keyspace.version(), &content));
            }
        }
        self.tree.root()
    }

    /// Asserts that everything remembered agrees with the keyspaces.
    ///
    /// # Panics
    /// Where it does not: a fault of this module.
    pub fn check(&self) {
        assert_eq!(self.versions.len(), self.keyspaces.len());
        let mut entries = 0;
        for (origin, keyspace) in &self.keyspaces {
            assert_eq!(self.versions.get(*origin), Some(keyspace.version()));
            for (key, _) in keyspace.iter() {
                assert!(self.writers.get(key).is_some_and(|writers| writers.contains(origin)));
                entries += 1;
            }
        }
        assert_eq!(entries, self.writers.values().map(BTreeSet::len).sum::<usize>());
        assert!(self.writers.values().all(|writers| !writers.is_empty()));
    }

    fn merged(&self, key: &[u8], writers: &BTreeSet<ShortId>) -> Option<Value> {
        let mut values = writers.iter().filter_map(|origin| self.keyspaces.get(origin)?.get(key));
        let mut merged = values.next()?.clone();
        values.for_each(|value| merged.merge(value));
        Some(merged)
    }

    /// Brings `writers` in line with whether `origin` has an entry under `key`.
    fn note_writer(&mut self, origin: ShortId, key: &Bytes) {
        let is_written = self.keyspaces.get(&origin).is_some_and(|keyspace| keyspace.get(key).is_some());
        if is_written {
            self.writers.entry(key.clone()).or_default().insert(origin);
        } else if let Some(writers) = self.writers.get_mut(key) {
            writers.remove(&origin);
            if writers.is_empty() {
                self.writers.remove(key);
            }
        }
    }
}

#[cfg(test)]
mod tests;
