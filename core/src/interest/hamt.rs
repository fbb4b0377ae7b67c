//! A persistent hash array mapped trie from tokens to values (P. Bagwell, "Ideal Hash Trees", 2001).
//!
//! Each branch holds a bitmap of the 32 slots it may have and only those that it has. Branches are
//! shared with snapshots by reference count: a change copies the branches on its way that somebody
//! else holds and writes the others in place, so that a batch of changes between two snapshots
//! copies each branch once. Where we leave the paper: leaves sit behind a reference count, so that
//! copying a branch copies no token, and a table of one token is that leaf alone, unhashed.

use std::sync::Arc;

/// How many bits of the hash choose a slot.
const LEVEL_BITS: u32 = 5;

/// How many bits a hash has; below them only a list is left.
const HASH_BITS: u32 = 64;

/// The hash of tokens, keyed, because peers choose the tokens.
///
/// Words of eight bytes are folded by a 64-by-64-bit multiplication, the two halves of the product
/// combined by exclusive or. The key enters before the first word and as the multiplier, so
/// collisions cannot be prepared without it; those that happen cost a list, not correctness.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeyHasher {
    start: u64,
    multiplier: u64,
    /// All ones, but for tests that force collisions.
    mask: u64,
}

impl KeyHasher {
    /// A hasher whose key is derived from `seed`.
    pub(super) fn new(seed: u64) -> KeyHasher {
        KeyHasher { start: scramble(seed), multiplier: scramble(!seed) | 1, mask: u64::MAX }
    }

    /// A hasher that yields only the bits in `mask`.
    #[cfg(test)]
    fn with_mask(seed: u64, mask: u64) -> KeyHasher {
        KeyHasher { mask, ..KeyHasher::new(seed) }
    }

    fn hash(&self, key: &[u8]) -> u64 {
        let mut state = self.start ^ key.len() as u64;
        let mut words = key.chunks_exact(8);
        for chunk in &mut words {
            let mut word = [0; 8];
            word.copy_from_slice(chunk);
            state = fold(state ^ u64::from_le_bytes(word), self.multiplier);
        }
        let tail = words.remainder().iter().rev().fold(0, |tail, byte| tail << 8 | u64::from(*byte));
        fold(fold(state ^ tail, self.multiplier), self.start | 1) & self.mask
    }
}

/// The finaliser of splitmix64 (Steele, Lea, Flood, 2014): nearby seeds yield unrelated keys.
fn scramble(seed: u64) -> u64 {
    let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn fold(left: u64, right: u64) -> u64 {
    let product = u128::from(left) * u128::from(right);
    (product >> 64) as u64 ^ product as u64
}

/// How many bytes a token may have to need no memory of its own: what three words leave room for.
const SHORT_BYTES: usize = 22;

/// The bytes of a token, in place when short.
#[derive(Clone, Debug)]
enum Token {
    Short { length: u8, bytes: [u8; SHORT_BYTES] },
    Long(Box<[u8]>),
}

impl Token {
    fn new(key: &[u8]) -> Token {
        match u8::try_from(key.len()) {
            Ok(length) if key.len() <= SHORT_BYTES => {
                let mut bytes = [0; SHORT_BYTES];
                bytes[..key.len()].copy_from_slice(key);
                Token::Short { length, bytes }
            }
            Ok(_) | Err(_) => Token::Long(Box::from(key)),
        }
    }

    fn as_bytes(&self) -> &[u8] {
        match self {
            Token::Short { length, bytes } => &bytes[..usize::from(*length)],
            Token::Long(bytes) => bytes,
        }
    }
}

/// A persistent map from tokens to `T`; a clone is one reference count.
///
/// All calls on one map and its clones must pass the same hasher.
#[derive(Clone, Debug)]
pub(super) struct Hamt<T> {
    root: Option<Slot<T>>,
}

#[derive(Clone, Debug)]
enum Slot<T> {
    Branch(Arc<Branch<T>>),
    Leaf(Arc<Leaf<T>>),
    /// Two leaves or more whose hashes are equal in every bit; only below the last branch.
    Collision(Arc<Vec<Arc<Leaf<T>>>>),
}

#[derive(Clone, Debug)]
struct Branch<T> {
    bitmap: u32,
    slots: Box<[Slot<T>]>,
}

#[derive(Clone, Debug)]
struct Leaf<T> {
    key: Token,
    value: T,
}

impl<T> Default for Hamt<T> {
    fn default() -> Hamt<T> {
        Hamt { root: None }
    }
}

impl<T> Hamt<T> {
    /// Whether no key is stored.
    pub(super) fn is_empty(&self) -> bool {
        self.root.is_none()
    }

    /// The value of `key`.
    pub(super) fn get(&self, hasher: &KeyHasher, key: &[u8]) -> Option<&T> {
        let mut slot = self.root.as_ref()?;
        if let Slot::Branch(_) = slot {
            let mut hash = hasher.hash(key);
            while let Slot::Branch(branch) = slot {
                slot = branch.slot(hash)?;
                hash >>= LEVEL_BITS;
            }
        }
        match slot {
            Slot::Leaf(leaf) if leaf.key.as_bytes() == key => Some(&leaf.value),
            Slot::Collision(leaves) => {
                leaves.iter().find(|leaf| leaf.key.as_bytes() == key).map(|leaf| &leaf.value)
            }
            Slot::Leaf(_) | Slot::Branch(_) => None,
        }
    }

    /// Calls `f` with every key and value, in no useful order.
    pub(super) fn for_each<'a>(&'a self, f: &mut impl FnMut(&'a [u8], &'a T)) {
        if let Some(root) = &self.root {
            root.for_each(f);
        }
    }
}

impl<T: Clone> Hamt<T> {
    /// The value of `key`, to be changed; copies what snapshots share on the way to it.
    pub(super) fn get_mut(&mut self, hasher: &KeyHasher, key: &[u8]) -> Option<&mut T> {
        // Looking first keeps a miss from copying anything.
        self.get(hasher, key)?;
        let mut slot = self.root.as_mut()?;
        let mut hash = hasher.hash(key);
        while let Slot::Branch(branch) = slot {
            slot = Arc::make_mut(branch).slot_mut(hash)?;
            hash >>= LEVEL_BITS;
        }
        slot.leaf_mut(key).map(|leaf| &mut leaf.value)
    }

    /// The value of `key`, which is `make()` if it had none.
    pub(super) fn get_or_insert(
        &mut self,
        hasher: &KeyHasher,
        key: &[u8],
        make: impl FnOnce() -> T,
    ) -> &mut T {
        let new_leaf = || Slot::Leaf(Arc::new(Leaf { key: Token::new(key), value: make() }));
        let slot = match &mut self.root {
            Some(root) => root.get_or_insert(hasher, key, new_leaf),
            empty => empty.insert(new_leaf()),
        };
        let leaf = slot.leaf_mut(key).expect("the leaf was found or made just now");
        &mut leaf.value
    }

    /// Forgets `key`; false if it was not there.
    pub(super) fn remove(&mut self, hasher: &KeyHasher, key: &[u8]) -> bool {
        if self.get(hasher, key).is_none() {
            return false;
        }
        if let Some(root) = &mut self.root
            && root.remove(hasher.hash(key), key)
        {
            self.root = None;
        }
        true
    }
}

impl<T> Slot<T> {
    fn for_each<'a>(&'a self, f: &mut impl FnMut(&'a [u8], &'a T)) {
        match self {
            Slot::Branch(branch) => branch.slots.iter().for_each(|slot| slot.for_each(f)),
            Slot::Leaf(leaf) => f(leaf.key.as_bytes(), &leaf.value),
            Slot::Collision(leaves) => leaves.iter().for_each(|leaf| f(leaf.key.as_bytes(), &leaf.value)),
        }
    }
}

impl<T: Clone> Slot<T> {
    /// The leaf of `key` in a slot that is no branch.
    fn leaf_mut(&mut self, key: &[u8]) -> Option<&mut Leaf<T>> {
        match self {
            Slot::Leaf(leaf) => Some(Arc::make_mut(leaf)),
            Slot::Collision(leaves) => {
                let found = leaves.iter().position(|leaf| leaf.key.as_bytes() == key)?;
                Some(Arc::make_mut(&mut Arc::make_mut(leaves)[found]))
            }
            Slot::Branch(_) => None,
        }
    }

    /// The slot that holds the leaf of `key`, made by `new_leaf` if there was none.
    fn get_or_insert(
        &mut self,
        hasher: &KeyHasher,
        key: &[u8],
        new_leaf: impl FnOnce() -> Slot<T>,
    ) -> &mut Slot<T> {
        let hash = hasher.hash(key);
        let mut slot = self;
        let mut shift = 0;
        loop {
            if let Slot::Leaf(leaf) = slot {
                if leaf.key.as_bytes() == key {
                    return slot;
                }
                *slot = Slot::push_down(leaf, hasher, shift);
            }
            match slot {
                Slot::Branch(branch) => {
                    let branch = Arc::make_mut(branch);
                    let level_hash = hash >> shift;
                    if branch.slot(level_hash).is_none() {
                        return branch.insert(level_hash, new_leaf());
                    }
                    slot = branch.slot_mut(level_hash).expect("the slot was looked at just now");
                    shift += LEVEL_BITS;
                }
                Slot::Collision(leaves) => {
                    if leaves.iter().all(|leaf| leaf.key.as_bytes() != key)
                        && let Slot::Leaf(leaf) = new_leaf()
                    {
                        Arc::make_mut(leaves).push(leaf);
                    }
                    return slot;
                }
                Slot::Leaf(_) => return slot,
            }
        }
    }

    /// What replaces a leaf where a second one arrives: a branch, or a list once no bits are left.
    fn push_down(leaf: &Arc<Leaf<T>>, hasher: &KeyHasher, shift: u32) -> Slot<T> {
        let leaf = Arc::clone(leaf);
        if shift >= HASH_BITS {
            return Slot::Collision(Arc::new(vec![leaf]));
        }
        let bitmap = bit(hasher.hash(leaf.key.as_bytes()) >> shift);
        Slot::Branch(Arc::new(Branch { bitmap, slots: Box::new([Slot::Leaf(leaf)]) }))
    }

    /// Removes `key`, which is there; true if the slot is empty now and to be removed itself.
    fn remove(&mut self, hash: u64, key: &[u8]) -> bool {
        let replacement = match self {
            Slot::Leaf(_) => return true,
            Slot::Collision(leaves) => {
                let leaves = Arc::make_mut(leaves);
                leaves.retain(|leaf| leaf.key.as_bytes() != key);
                match leaves.as_slice() {
                    [last] => Some(Slot::Leaf(Arc::clone(last))),
                    _ => None,
                }
            }
            Slot::Branch(branch) => {
                let branch = Arc::make_mut(branch);
                if branch.slot_mut(hash).is_some_and(|slot| slot.remove(hash >> LEVEL_BITS, key)) {
                    branch.remove(hash);
                }
                match &*branch.slots {
                    [] => return true,
                    // A lone leaf needs no branch; a list must stay below the last bit.
                    [Slot::Leaf(last)] => Some(Slot::Leaf(Arc::clone(last))),
                    _ => None,
                }
            }
        };
        if let Some(replacement) = replacement {
            *self = replacement;
        }
        false
    }
}

impl<T> Branch<T> {
    /// Where the slot for `hash` is, or would be.
    fn index(&self, hash: u64) -> usize {
        (self.bitmap & (bit(hash) - 1)).count_ones() as usize
    }

    fn slot(&self, hash: u64) -> Option<&Slot<T>> {
        if self.bitmap & bit(hash) == 0 { None } else { self.slots.get(self.index(hash)) }
    }

    fn slot_mut(&mut self, hash: u64) -> Option<&mut Slot<T>> {
        let index = self.index(hash);
        if self.bitmap & bit(hash) == 0 { None } else { self.slots.get_mut(index) }
    }

    /// Adds the slot for `hash`, which was not there.
    fn insert(&mut self, hash: u64, slot: Slot<T>) -> &mut Slot<T> {
        let index = self.index(hash);
        self.bitmap |= bit(hash);
        let mut slots = std::mem::take(&mut self.slots).into_vec();
        slots.reserve_exact(1);
        slots.insert(index, slot);
        self.slots = slots.into_boxed_slice();
        &mut self.slots[index]
    }

    /// Removes the slot for `hash`, which was there.
    fn remove(&mut self, hash: u64) {
        let index = self.index(hash);
        self.bitmap &= !bit(hash);
        let mut slots = std::mem::take(&mut self.slots).into_vec();
        slots.remove(index);
        self.slots = slots.into_boxed_slice();
    }
}

/// The bit of the slot that the lowest bits of `hash` choose.
fn bit(hash: u64) -> u32 {
    1 << (hash & ((1 << LEVEL_BITS) - 1))
}

#[cfg(test)]
mod tests;
