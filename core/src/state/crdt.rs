//! Typed values that merge: whatever order and how often copies meet, all end at the same value.
//!
//! State-based CRDTs after Shapiro, Preguica, Baquero and Zawirski, "A Comprehensive Study of
//! Convergent and Commutative Replicated Data Types" (INRIA 7506, 2011). Each value is an element
//! of a join semilattice and [`Value::merge`] is its join: commutative, associative, idempotent.
//!
//! Values of different types under one key form one lattice too: the type with the higher tag
//! stands above all values of those with lower tags and wins. No part of the loser is kept, so
//! authors who share a key must agree on its type.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use bytes::{BufMut, Bytes, BytesMut};

use crate::hlc::HlcTime;
use crate::id::ShortId;
use crate::state::version::ORIGINS_MAX;
use crate::wire::codec::{DecodeError, Reader, Wire, put_short, take_short};

/// Most bytes that a register holds.
pub const REGISTER_BYTES_MAX: usize = 4_096;

const REGISTER_TAG: u8 = 1;
const GROW_COUNTER_TAG: u8 = 2;
const COUNTER_TAG: u8 = 3;
const MAX_TAG: u8 = 4;
const MIN_TAG: u8 = 5;

/// A value that merges.
///
/// On the wire: a tag in one byte, then the content of the type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Tag 1: bytes, the last writer wins.
    Register(Register),
    /// Tag 2: a count that only grows.
    GrowCounter(GrowCounter),
    /// Tag 3: a count that grows and shrinks.
    Counter(Counter),
    /// Tag 4: the highest number that anyone wrote.
    Max(i64),
    /// Tag 5: the lowest number that anyone wrote.
    Min(i64),
}

impl Value {
    /// Takes in another copy or another origin's part of the same value. Of two types the one with
    /// the higher tag wins whole.
    pub fn merge(&mut self, other: &Value) {
        match (&mut *self, other) {
            (Value::Register(ours), Value::Register(theirs)) => ours.merge(theirs),
            (Value::GrowCounter(ours), Value::GrowCounter(theirs)) => ours.merge(theirs),
            (Value::Counter(ours), Value::Counter(theirs)) => ours.merge(theirs),
            (Value::Max(ours), Value::Max(theirs)) => *ours = (*ours).max(*theirs),
            (Value::Min(ours), Value::Min(theirs)) => *ours = (*ours).min(*theirs),
            (ours, theirs) => {
                if theirs.tag() > ours.tag() {
                    *ours = theirs.clone();
                }
            }
        }
    }

    /// The bytes of a register that is not deleted.
    pub fn as_bytes(&self) -> Option<&Bytes> {
        match self {
            Value::Register(register) => register.content(),
            Value::GrowCounter(_) | Value::Counter(_) | Value::Max(_) | Value::Min(_) => None,
        }
    }

    /// The number of a counter or of a maximum or minimum.
    pub fn as_number(&self) -> Option<i128> {
        match self {
            Value::Register(_) => None,
            Value::GrowCounter(counter) => i128::try_from(counter.total()).ok(),
            Value::Counter(counter) => Some(counter.total()),
            Value::Max(number) | Value::Min(number) => Some(i128::from(*number)),
        }
    }

    /// Whether this is a register that was deleted.
    pub fn is_deleted(&self) -> bool {
        matches!(self, Value::Register(register) if register.content().is_none())
    }

    /// Whether `origin` alone could have written this: a register names it, counters hold no part
    /// but its own.
    pub fn is_written_by(&self, origin: ShortId) -> bool {
        match self {
            Value::Register(register) => register.origin == origin,
            Value::GrowCounter(counter) => counter.parts.keys().all(|part| *part == origin),
            Value::Counter(counter) => counter.parts.keys().all(|part| *part == origin),
            Value::Max(_) | Value::Min(_) => true,
        }
    }

    /// How many bytes [`Wire::encode`] writes.
    pub fn encoded_bytes(&self) -> usize {
        1 + match self {
            Value::Register(register) => 17 + register.content().map_or(0, |bytes| 2 + bytes.len()),
            Value::GrowCounter(counter) => 4 + 16 * counter.parts.len(),
            Value::Counter(counter) => 4 + 24 * counter.parts.len(),
            Value::Max(_) | Value::Min(_) => 8,
        }
    }

    fn tag(&self) -> u8 {
        match self {
            Value::Register(_) => REGISTER_TAG,
            Value::GrowCounter(_) => GROW_COUNTER_TAG,
            Value::Counter(_) => COUNTER_TAG,
            Value::Max(_) => MAX_TAG,
            Value::Min(_) => MIN_TAG,
        }
    }
}

impl Wire for Value {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u8(self.tag());
        match self {
            Value::Register(register) => register.encode(out),
            Value::GrowCounter(counter) => counter.encode(out),
            Value::Counter(counter) => counter.encode(out),
            Value::Max(number) | Value::Min(number) => out.put_i64_le(*number),
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Value, DecodeError> {
        match reader.u8()? {
            REGISTER_TAG => Ok(Value::Register(Register::decode(reader)?)),
            GROW_COUNTER_TAG => Ok(Value::GrowCounter(GrowCounter::decode(reader)?)),
            COUNTER_TAG => Ok(Value::Counter(Counter::decode(reader)?)),
            MAX_TAG => Ok(Value::Max(i64::from_le_bytes(reader.array()?))),
            MIN_TAG => Ok(Value::Min(i64::from_le_bytes(reader.array()?))),
            _ => Err(DecodeError::Invalid("type of a value")),
        }
    }
}

/// A register was given more than [`REGISTER_BYTES_MAX`] bytes. Nothing was changed; the caller
/// is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a register holds at most {REGISTER_BYTES_MAX} bytes, not {bytes}")]
pub struct RegisterTooLong {
    /// How many bytes it was given.
    pub bytes: usize,
}

/// Bytes of which the last write wins: the highest time stamp, at equal stamps the highest origin.
///
/// An honest origin never uses a stamp twice; of two writes with one stamp and one origin the
/// greater content wins, and any content wins over a deletion, so that a liar divides nobody.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Register {
    // The derived order is the order of precedence: the fields' order matters.
    time: HlcTime,
    origin: ShortId,
    content: Option<Bytes>,
}

impl Register {
    /// `origin` writes `content` at `time`.
    ///
    /// # Errors
    /// [`RegisterTooLong`] for more than [`REGISTER_BYTES_MAX`] bytes.
    pub fn new(time: HlcTime, origin: ShortId, content: Bytes) -> Result<Register, RegisterTooLong> {
        if content.len() > REGISTER_BYTES_MAX {
            return Err(RegisterTooLong { bytes: content.len() });
        }
        Ok(Register { time, origin, content: Some(content) })
    }

    /// `origin` deletes the register at `time`.
    pub fn tombstone(time: HlcTime, origin: ShortId) -> Register {
        Register { time, origin, content: None }
    }

    /// When it was written.
    pub fn time(&self) -> HlcTime {
        self.time
    }

    /// Who wrote it.
    pub fn origin(&self) -> ShortId {
        self.origin
    }

    /// What was written; `None` once deleted.
    pub fn content(&self) -> Option<&Bytes> {
        self.content.as_ref()
    }

    fn merge(&mut self, other: &Register) {
        if other > self {
            *self = other.clone();
        }
    }

    fn encode(&self, out: &mut BytesMut) {
        self.time.encode(out);
        out.put_u64_le(self.origin.0);
        out.put_u8(u8::from(self.content.is_some()));
        if let Some(content) = &self.content {
            put_short(out, content);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Register, DecodeError> {
        let time = HlcTime::decode(reader)?;
        let origin = ShortId(reader.u64()?);
        let content = match reader.u8()? {
            0 => None,
            1 => Some(take_short(reader, REGISTER_BYTES_MAX, "bytes of a register")?),
            _ => return Err(DecodeError::Invalid("presence of a register's bytes")),
        };
        Ok(Register { time, origin, content: content.map(Bytes::copy_from_slice) })
    }
}

/// A count that only grows: the sum of what each origin counted (the G-Counter of the paper).
///
/// A keyspace holds its own node's part; reading over all origins merges the parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GrowCounter {
    parts: BTreeMap<ShortId, u64>,
}

impl GrowCounter {
    /// The part of `origin`, which has counted to `count` so far.
    pub fn part(origin: ShortId, count: u64) -> GrowCounter {
        GrowCounter { parts: BTreeMap::from([(origin, count)]) }
    }

    /// The sum over all origins.
    pub fn total(&self) -> u128 {
        self.parts.values().map(|count| u128::from(*count)).sum()
    }

    fn merge(&mut self, other: &GrowCounter) {
        for (origin, theirs) in &other.parts {
            let ours = self.parts.entry(*origin).or_default();
            *ours = (*ours).max(*theirs);
        }
    }

    fn encode(&self, out: &mut BytesMut) {
        put_count(out, self.parts.len());
        for (origin, count) in &self.parts {
            out.put_u64_le(origin.0);
            out.put_u64_le(*count);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<GrowCounter, DecodeError> {
        Ok(GrowCounter { parts: take_parts(reader, 16, |reader| reader.u64())? })
    }
}

/// An origin has counted as far as a counter goes. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a node counts to 2^64 in each direction at the most")]
pub struct CounterFull;

/// A count that grows and shrinks: two growing counts, their difference (the PN-Counter).
///
/// A keyspace holds its own node's part; reading over all origins merges the parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    parts: BTreeMap<ShortId, Steps>,
}

/// What one origin added and what it took away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Steps {
    up: u64,
    down: u64,
}

impl Counter {
    /// The part of `origin`, which has counted `increments` up and `decrements` down so far.
    pub fn part(origin: ShortId, increments: u64, decrements: u64) -> Counter {
        Counter { parts: BTreeMap::from([(origin, Steps { up: increments, down: decrements })]) }
    }

    /// `origin` counts `amount` further, up or down.
    ///
    /// # Errors
    /// [`CounterFull`] where `origin` has counted 2^64 up or down, and then nothing was changed.
    pub fn add(&mut self, origin: ShortId, amount: i64) -> Result<(), CounterFull> {
        let steps = self.parts.get(&origin).copied().unwrap_or_default();
        let (up, down) = if amount < 0 { (0, amount.unsigned_abs()) } else { (amount.unsigned_abs(), 0) };
        let up = steps.up.checked_add(up).ok_or(CounterFull)?;
        let down = steps.down.checked_add(down).ok_or(CounterFull)?;
        self.parts.insert(origin, Steps { up, down });
        Ok(())
    }

    /// The sum over all origins.
    pub fn total(&self) -> i128 {
        self.parts.values().map(|steps| i128::from(steps.up) - i128::from(steps.down)).sum()
    }

    fn merge(&mut self, other: &Counter) {
        for (origin, theirs) in &other.parts {
            match self.parts.entry(*origin) {
                Entry::Vacant(place) => {
                    place.insert(*theirs);
                }
                Entry::Occupied(mut place) => {
                    let ours = place.get_mut();
                    *ours = Steps { up: ours.up.max(theirs.up), down: ours.down.max(theirs.down) };
                }
            }
        }
    }

    fn encode(&self, out: &mut BytesMut) {
        put_count(out, self.parts.len());
        for (origin, steps) in &self.parts {
            out.put_u64_le(origin.0);
            out.put_u64_le(steps.up);
            out.put_u64_le(steps.down);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Counter, DecodeError> {
        let parts = take_parts(reader, 24, |reader| Ok(Steps { up: reader.u64()?, down: reader.u64()? }))?;
        Ok(Counter { parts })
    }
}

/// Writes how many parts follow. Four bytes, so that no merge makes a counter that cannot be
/// written; a reader refuses more than [`ORIGINS_MAX`], which no replica exceeds.
fn put_count(out: &mut BytesMut, count: usize) {
    out.put_u32_le(u32::try_from(count).expect("parts are in memory, far fewer than 2^32"));
}

/// Reads parts of `part_bytes` each, in strictly rising order of origin, so that one counter has
/// one encoding.
fn take_parts<P>(
    reader: &mut Reader<'_>,
    part_bytes: usize,
    take: impl Fn(&mut Reader<'_>) -> Result<P, DecodeError>,
) -> Result<BTreeMap<ShortId, P>, DecodeError> {
    let count = reader.u32()? as usize;
    if count > ORIGINS_MAX {
        return Err(DecodeError::TooLong("parts of a counter"));
    }
    if reader.remaining() < count * part_bytes {
        return Err(DecodeError::Truncated);
    }
    let mut parts = BTreeMap::new();
    for _ in 0..count {
        let origin = ShortId(reader.u64()?);
        if parts.last_key_value().is_some_and(|(last, _)| *last >= origin) {
            return Err(DecodeError::Invalid("order of a counter's parts"));
        }
        parts.insert(origin, take(reader)?);
    }
    Ok(parts)
}

#[cfg(test)]
pub(crate) mod tests;
