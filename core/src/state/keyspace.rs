//! The state that one node alone writes.
//!
//! It changes by bundles that are contiguous and hash-chained: each names the hash of the one
//! before, so an origin cannot tell two stories without leaving a proof, and a receiver knows what
//! it is missing. A checkpoint bundle carries the whole content and needs no predecessor, which
//! lets the origin and everyone else forget what came before it.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};

use crate::id::ShortId;
use crate::state::crdt::Value;
use crate::state::merkle::Hash;
use crate::state::version::{MissingRange, Version};
use crate::wire::codec::{DecodeError, Reader, Wire, put_short, take_short};

/// Most bytes of a key; the least is 1.
pub const KEY_BYTES_MAX: usize = 256;

/// Most bytes of a keyspace: the sum of its entries' encodings as [`Change`]s.
pub const KEYSPACE_BYTES_MAX: usize = 64 * 1_024;

/// The previous hash of the first bundle of an incarnation.
pub const NO_HASH: Hash = [0; 32];

const CONTENT_KEY: &[u8; 32] = b"starling/1 keyspace content     ";

/// One change: `key` now has `value`, or is no longer in this keyspace.
///
/// Removing a key withdraws what this origin said; what others say under the key shows again. To
/// hide theirs too, write a tombstone.
///
/// On the wire: the key behind its length in two bytes, a byte that is 1 where a value follows,
/// the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// 1 to [`KEY_BYTES_MAX`] bytes.
    pub key: Bytes,
    /// The new value, whole; `None` removes the key.
    pub value: Option<Value>,
}

impl Wire for Change {
    fn encode(&self, out: &mut BytesMut) {
        put_short(out, &self.key);
        out.put_u8(u8::from(self.value.is_some()));
        if let Some(value) = &self.value {
            value.encode(out);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Change, DecodeError> {
        let key = take_short(reader, KEY_BYTES_MAX, "bytes of a key")?;
        if key.is_empty() {
            return Err(DecodeError::Invalid("empty key"));
        }
        let value = match reader.u8()? {
            0 => None,
            1 => Some(Value::decode(reader)?),
            _ => return Err(DecodeError::Invalid("presence of a value")),
        };
        Ok(Change { key: Bytes::copy_from_slice(key), value })
    }
}

/// How many bytes an entry takes, encoded as a [`Change`].
fn entry_bytes(key: &[u8], value: &Value) -> usize {
    2 + key.len() + 1 + value.encoded_bytes()
}

/// A verified state bundle, as far as a keyspace needs to know it.
#[derive(Clone, Copy, Debug)]
pub struct StateBundle<'a> {
    /// Its place in the origin's chain.
    pub version: Version,
    /// The hash of the bundle before it, [`NO_HASH`] for the first of an incarnation.
    pub previous_hash: Hash,
    /// Its own hash.
    pub hash: Hash,
    /// Whether `changes` are the whole content rather than what changed.
    pub is_checkpoint: bool,
    /// The changes, to be made in this order.
    pub changes: &'a [Change],
}

/// What a bundle did to a keyspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It came next, and its changes were made.
    Changed,
    /// It was a checkpoint or began a new incarnation: all older content is gone.
    Replaced,
    /// It was known already; nothing was changed.
    Duplicate,
}

/// Why a bundle was not applied. Nothing was changed, whatever the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Bundles before it are missing. Nobody's fault: pull them.
    #[error("state bundles {} to {} of incarnation {} of {} are missing", .0.first, .0.last, .0.incarnation, .0.origin)]
    Gap(MissingRange),
    /// It is of an incarnation that a higher one has replaced. Nobody's fault: a late copy.
    #[error("the incarnation was replaced by {current}")]
    OldIncarnation {
        /// The incarnation that is known.
        current: u64,
    },
    /// It has the sequence of the last bundle and another hash. The origin's fault: the two headers
    /// prove it.
    #[error("two different bundles have sequence {}", .version.sequence)]
    Forked {
        /// The version that both claim.
        version: Version,
    },
    /// It comes next but does not name the last bundle's hash. The origin's fault, and proven once
    /// the bundle that it does name is seen.
    #[error("the previous hash is not that of the last bundle")]
    BrokenChain {
        /// The version whose hash it should name.
        last: Version,
    },
    /// Sequences begin at 1. The origin's fault.
    #[error("sequence 0 is not a bundle")]
    SequenceZero,
    /// The keyspace would be over [`KEYSPACE_BYTES_MAX`]. The origin's fault.
    #[error("the keyspace would have {bytes} bytes, over the limit of {KEYSPACE_BYTES_MAX}")]
    TooLarge {
        /// How many bytes it would have.
        bytes: usize,
    },
    /// A key is empty or over [`KEY_BYTES_MAX`]. The origin's fault.
    #[error("a key has {bytes} bytes, not 1 to {KEY_BYTES_MAX}")]
    KeyLength {
        /// How many bytes the key has.
        bytes: usize,
    },
    /// A value claims to be written by another origin. The origin's fault.
    #[error("a value names another origin than the keyspace's")]
    ForeignPart,
    /// A replica knows as many origins as it may. The fault of whoever admits nodes.
    #[error("the replica knows as many origins as it may")]
    TooManyOrigins,
}

/// How a bundle that is welcome relates to what is there.
enum Place {
    Duplicate,
    Next,
    Afresh,
}

/// The state of one origin.
#[derive(Clone, Debug)]
pub struct Keyspace {
    origin: ShortId,
    version: Version,
    hash: Hash,
    entries: BTreeMap<Bytes, Value>,
    encoded_bytes: usize,
    /// Remembered until the next change.
    content_hash: Option<Hash>,
}

impl Keyspace {
    /// The empty keyspace of `origin`, before its first bundle.
    pub fn new(origin: ShortId) -> Keyspace {
        Keyspace {
            origin,
            version: Version::default(),
            hash: NO_HASH,
            entries: BTreeMap::new(),
            encoded_bytes: 0,
            content_hash: None,
        }
    }

    /// Whose state this is.
    pub fn origin(&self) -> ShortId {
        self.origin
    }

    /// The version of the last bundle applied.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The hash of the last bundle applied, which the next one must name; [`NO_HASH`] before the
    /// first.
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// How many bytes the entries have, encoded; at most [`KEYSPACE_BYTES_MAX`].
    pub fn encoded_bytes(&self) -> usize {
        self.encoded_bytes
    }

    /// The value that this origin gave `key`, tombstones included.
    pub fn get(&self, key: &[u8]) -> Option<&Value> {
        self.entries.get(key)
    }

    /// All entries in order of key, tombstones included.
    pub fn iter(&self) -> impl Iterator<Item = (&Bytes, &Value)> {
        self.entries.iter()
    }

    /// Makes the changes of a bundle.
    ///
    /// # Errors
    /// [`Refused`], and then nothing was changed.
    pub fn apply(&mut self, bundle: &StateBundle<'_>) -> Result<Applied, Refused> {
        let is_afresh = match self.place(bundle)? {
            Place::Duplicate => return Ok(Applied::Duplicate),
            Place::Next => false,
            Place::Afresh => true,
        };
        self.encoded_bytes = self.bytes_after(bundle.changes, is_afresh)?;
        // From here on nothing can fail.
        if is_afresh {
            self.entries.clear();
        }
        for change in bundle.changes {
            match &change.value {
                Some(value) => self.entries.insert(change.key.clone(), value.clone()),
                None => self.entries.remove(&change.key),
            };
        }
        self.version = bundle.version;
        self.hash = bundle.hash;
        self.content_hash = None;
        Ok(if is_afresh { Applied::Replaced } else { Applied::Changed })
    }

    /// Whether `changes` could be made now: what the origin itself asks before it seals a bundle.
    ///
    /// # Errors
    /// The [`Refused`] that a bundle with these changes would meet everywhere.
    pub fn check_changes(&self, changes: &[Change]) -> Result<(), Refused> {
        self.bytes_after(changes, false).map(|_| ())
    }

    /// The whole content as changes, in order of key; their encodings have
    /// [`Keyspace::encoded_bytes`] bytes together.
    pub fn checkpoint(&self) -> Vec<Change> {
        let change = |(key, value): (&Bytes, &Value)| Change { key: key.clone(), value: Some(value.clone()) };
        self.entries.iter().map(change).collect()
    }

    /// BLAKE3 of the encoded checkpoint, the same however the content came about. Hashed again
    /// only after a change.
    pub fn content_hash(&mut self) -> Hash {
        if let Some(hash) = self.content_hash {
            return hash;
        }
        let mut encoded = BytesMut::with_capacity(self.encoded_bytes);
        for (key, value) in &self.entries {
            put_short(&mut encoded, key);
            encoded.put_u8(1);
            value.encode(&mut encoded);
        }
        let hash = *blake3::keyed_hash(CONTENT_KEY, &encoded).as_bytes();
        self.content_hash = Some(hash);
        hash
    }

    /// Whether a bundle comes next, begins afresh, is known already, or is refused.
    fn place(&self, bundle: &StateBundle<'_>) -> Result<Place, Refused> {
        let Version { incarnation, sequence } = bundle.version;
        let last = self.version;
        if sequence == 0 {
            return Err(Refused::SequenceZero);
        }
        if incarnation < last.incarnation {
            return Err(Refused::OldIncarnation { current: last.incarnation });
        }
        let is_new_incarnation = incarnation > last.incarnation;
        let (reached, reached_hash) =
            if is_new_incarnation { (0, NO_HASH) } else { (last.sequence, self.hash) };
        if sequence < reached {
            return Ok(Place::Duplicate);
        }
        if sequence == reached {
            let is_same = bundle.hash == reached_hash;
            return if is_same { Ok(Place::Duplicate) } else { Err(Refused::Forked { version: last }) };
        }
        let first_missing = reached + 1;
        if sequence == first_missing {
            if bundle.previous_hash != reached_hash {
                return Err(Refused::BrokenChain { last: Version { incarnation, sequence: reached } });
            }
            let is_afresh = is_new_incarnation || bundle.is_checkpoint;
            return Ok(if is_afresh { Place::Afresh } else { Place::Next });
        }
        if bundle.is_checkpoint {
            return Ok(Place::Afresh);
        }
        let (first, last) = (first_missing, sequence - 1);
        Err(Refused::Gap(MissingRange { origin: self.origin, incarnation, first, last }))
    }

    /// How many bytes the entries would have after `changes`, made to the present content or to
    /// none.
    fn bytes_after(&self, changes: &[Change], is_afresh: bool) -> Result<usize, Refused> {
        // A key may be changed more than once; the last change counts.
        let mut bytes_of: BTreeMap<&[u8], usize> = BTreeMap::new();
        for change in changes {
            let key = &change.key[..];
            if key.is_empty() || key.len() > KEY_BYTES_MAX {
                return Err(Refused::KeyLength { bytes: key.len() });
            }
            if change.value.as_ref().is_some_and(|value| !value.is_written_by(self.origin)) {
                return Err(Refused::ForeignPart);
            }
            bytes_of.insert(key, change.value.as_ref().map_or(0, |value| entry_bytes(key, value)));
        }
        let mut bytes = if is_afresh { 0 } else { self.encoded_bytes };
        for (key, after) in bytes_of {
            let before = if is_afresh { None } else { self.entries.get(key) };
            bytes = bytes - before.map_or(0, |value| entry_bytes(key, value)) + after;
        }
        if bytes > KEYSPACE_BYTES_MAX {
            return Err(Refused::TooLarge { bytes });
        }
        Ok(bytes)
    }
}

#[cfg(test)]
pub(crate) mod tests;
