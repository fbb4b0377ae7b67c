//! Hash maps with a hasher that is the same on every machine.
//!
//! [`HashMap`] serves look-ups; nothing that decides may depend on its order. Its keys are ids that
//! are themselves hashes; for keys whose bytes a peer chooses freely, hash them under a secret
//! first ([`Keyed`]).

use std::hash::{BuildHasher, BuildHasherDefault, Hasher};

/// A hash map with a fixed hasher.
pub type HashMap<K, V> = std::collections::HashMap<K, V, BuildHasherDefault<Folded>>;
/// A hash set with a fixed hasher.
pub type HashSet<K> = std::collections::HashSet<K, BuildHasherDefault<Folded>>;

const MULTIPLE: u64 = 0x9E37_79B9_7F4A_7C15;

/// Folds 64-bit words by a wide multiplication (the construction of wyhash).
#[derive(Clone, Copy, Debug, Default)]
pub struct Folded(u64);

fn fold(left: u64, right: u64) -> u64 {
    let product = u128::from(left) * u128::from(right);
    (product as u64) ^ ((product >> 64) as u64)
}

impl Hasher for Folded {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
        self.write_u64(bytes.len() as u64);
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = fold(self.0 ^ word ^ 0xA076_1D64_78BD_642F, MULTIPLE | 1);
    }

    fn write_u8(&mut self, word: u8) {
        self.write_u64(u64::from(word));
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(u64::from(word));
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn finish(&self) -> u64 {
        fold(self.0, MULTIPLE)
    }
}

/// Builds hashers that start from a secret, for maps whose keys peers choose.
#[derive(Clone, Copy, Debug)]
pub struct Keyed(pub u64);

impl BuildHasher for Keyed {
    type Hasher = Folded;

    fn build_hasher(&self) -> Folded {
        Folded(self.0)
    }
}

/// The hash of an id, for tables that hold places instead of ids.
pub fn hash_id(id: &[u8]) -> u64 {
    let mut hasher = Folded::default();
    hasher.write(id);
    hasher.finish()
}

/// The weight of `candidate` for `key`: who has the highest is chosen (rendezvous hashing), so that a
/// lost candidate moves only the keys it had.
pub fn rendezvous(key: u64, candidate: u64) -> u64 {
    let mut hasher = Folded::default();
    hasher.write_u64(key);
    hasher.write_u64(candidate);
    hasher.finish()
}

/// Makes room in a vector that is full by an eighth of its length instead of as much again: for those
/// that are long and stay.
pub fn grow_by_little<T>(vector: &mut Vec<T>) {
    if vector.len() == vector.capacity() {
        vector.reserve_exact(vector.len() / 8 + 4);
    }
}
