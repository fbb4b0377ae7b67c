//! Entries: what the body of a section is made of (docs/protocol.md#entry).

use bytes::{BufMut, Bytes, BytesMut};

use super::codec::{DecodeError, Reader, put_short, take_short};
use crate::limits;

/// Bytes of an entry without optional parts and payload.
pub const ENTRY_FIXED_BYTES: usize = 15;
const FLAG_REPLY: u8 = 1;
const FLAG_TRACE: u8 = 2;
const FLAG_DEADLINE: u8 = 4;
const FLAG_SIGNATURE: u8 = 8;
const FLAGS_KNOWN: u8 = 15;

/// The parts of an entry that most entries lack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extras {
    /// Subject that an answer is asked on.
    pub reply: Option<Bytes>,
    /// W3C trace context: trace id (16), span id (8), flags (1).
    pub trace: Option<[u8; 25]>,
    /// Wall-clock milliseconds after which the entry is of no use.
    pub deadline: Option<u64>,
    /// The agent's own signature, where its author asks for it.
    pub signature: Option<[u8; 64]>,
}

impl Extras {
    fn flags(&self) -> u8 {
        let set = |present: bool, flag: u8| if present { flag } else { 0 };
        set(self.reply.is_some(), FLAG_REPLY)
            | set(self.trace.is_some(), FLAG_TRACE)
            | set(self.deadline.is_some(), FLAG_DEADLINE)
            | set(self.signature.is_some(), FLAG_SIGNATURE)
    }
}

/// One entry, borrowed from the body that carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Index into the bundle's table of agents.
    pub agent: u16,
    /// The agent's sequence: grows with each entry of the agent, over all subjects.
    pub sequence: u64,
    /// Optional parts.
    pub extras: Extras,
    /// What the agent sent.
    pub payload: &'a [u8],
}

/// Bytes that [`put_entry`] will write.
pub fn entry_bytes(extras: &Extras, payload: usize) -> usize {
    ENTRY_FIXED_BYTES
        + extras.reply.as_ref().map_or(0, |reply| 2 + reply.len())
        + extras.trace.map_or(0, |_| 25)
        + extras.deadline.map_or(0, |_| 8)
        + extras.signature.map_or(0, |_| 64)
        + payload
}

/// Appends one entry.
pub fn put_entry(out: &mut BytesMut, agent: u16, sequence: u64, extras: &Extras, payload: &[u8]) {
    out.put_u8(extras.flags());
    out.put_u16_le(agent);
    out.put_u64_le(sequence);
    out.put_u32_le(u32::try_from(payload.len()).expect("payloads have at most 1 MiB"));
    if let Some(reply) = &extras.reply {
        put_short(out, reply);
    }
    if let Some(trace) = &extras.trace {
        out.put_slice(trace);
    }
    if let Some(deadline) = extras.deadline {
        out.put_u64_le(deadline);
    }
    if let Some(signature) = &extras.signature {
        out.put_slice(signature);
    }
    out.put_slice(payload);
}

/// Reads the next entry of a body.
pub fn take_entry<'a>(reader: &mut Reader<'a>) -> Result<Entry<'a>, DecodeError> {
    let flags = reader.u8()?;
    if flags & !FLAGS_KNOWN != 0 {
        return Err(DecodeError::Invalid("entry flags"));
    }
    let agent = reader.u16()?;
    let sequence = reader.u64()?;
    let length = reader.u32()? as usize;
    let mut extras = Extras::default();
    if flags & FLAG_REPLY != 0 {
        let reply = take_short(reader, limits::SUBJECT_BYTES_MAX, "reply subject")?;
        extras.reply = Some(Bytes::copy_from_slice(reply));
    }
    if flags & FLAG_TRACE != 0 {
        extras.trace = Some(reader.array()?);
    }
    if flags & FLAG_DEADLINE != 0 {
        extras.deadline = Some(reader.u64()?);
    }
    if flags & FLAG_SIGNATURE != 0 {
        extras.signature = Some(reader.array()?);
    }
    if length > limits::PAYLOAD_BYTES_MAX {
        return Err(DecodeError::TooLong("payload"));
    }
    Ok(Entry { agent, sequence, extras, payload: reader.take(length)? })
}

/// Where an entry begins, without its optional parts: what the hot path looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryHead {
    /// Index into the bundle's table of agents.
    pub agent: u16,
    /// The agent's sequence.
    pub sequence: u64,
}

/// Walks the entries of `body`, checking its structure: `count` entries, no byte left over.
///
/// # Errors
/// The body is malformed; `visit` may have seen entries before the fault.
pub fn walk_entries(body: &[u8], count: u16, mut visit: impl FnMut(EntryHead)) -> Result<(), DecodeError> {
    let mut reader = Reader::new(body);
    for _ in 0..count {
        let flags = reader.u8()?;
        let agent = reader.u16()?;
        let sequence = reader.u64()?;
        let length = reader.u32()? as usize;
        if flags != 0 {
            skip_extras(&mut reader, flags)?;
        }
        reader.take(length)?;
        visit(EntryHead { agent, sequence });
    }
    reader.finish()
}

fn skip_extras(reader: &mut Reader<'_>, flags: u8) -> Result<(), DecodeError> {
    if flags & !FLAGS_KNOWN != 0 {
        return Err(DecodeError::Invalid("entry flags"));
    }
    if flags & FLAG_REPLY != 0 {
        take_short(reader, limits::SUBJECT_BYTES_MAX, "reply subject")?;
    }
    let fixed = [(FLAG_TRACE, 25), (FLAG_DEADLINE, 8), (FLAG_SIGNATURE, 64)];
    let length: usize = fixed.iter().filter(|(flag, _)| flags & flag != 0).map(|(_, length)| length).sum();
    reader.take(length).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn extras() -> impl Strategy<Value = Extras> {
        (
            prop::option::of(prop::collection::vec(any::<u8>(), 0..40)),
            prop::option::of(any::<[u8; 25]>()),
            prop::option::of(any::<u64>()),
            prop::option::of(prop::array::uniform32(any::<u8>())),
        )
            .prop_map(|(reply, trace, deadline, half)| Extras {
                reply: reply.map(Bytes::from),
                trace,
                deadline,
                signature: half.map(|half| {
                    let mut whole = [0; 64];
                    whole[..32].copy_from_slice(&half);
                    whole
                }),
            })
    }

    #[test]
    fn golden_entry() {
        let mut out = BytesMut::new();
        put_entry(&mut out, 3, 7, &Extras::default(), b"hi");
        assert_eq!(out.as_ref(), &[0, 3, 0, 7, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, b'h', b'i']);
    }

    proptest! {
        #[test]
        fn entries_round_trip(list in prop::collection::vec(
            (any::<u16>(), any::<u64>(), extras(), prop::collection::vec(any::<u8>(), 0..50)), 0..10)) {
            let mut out = BytesMut::new();
            for (agent, sequence, extras, payload) in &list {
                let before = out.len();
                put_entry(&mut out, *agent, *sequence, extras, payload);
                prop_assert_eq!(out.len() - before, entry_bytes(extras, payload.len()));
            }
            let mut reader = Reader::new(&out);
            let mut heads = Vec::new();
            walk_entries(&out, list.len() as u16, |head| heads.push((head.agent, head.sequence))).unwrap();
            for ((agent, sequence, extras, payload), head) in list.iter().zip(heads) {
                let entry = take_entry(&mut reader).unwrap();
                prop_assert_eq!((entry.agent, entry.sequence), head);
                prop_assert_eq!((*agent, *sequence), head);
                prop_assert_eq!(&entry.extras, extras);
                prop_assert_eq!(entry.payload, payload.as_slice());
            }
        }

        #[test]
        fn any_bytes_are_harmless(bytes in prop::collection::vec(any::<u8>(), 0..400), count in any::<u16>()) {
            let _ignored = walk_entries(&bytes, count, |_| {});
            let mut reader = Reader::new(&bytes);
            while take_entry(&mut reader).is_ok() {}
        }
    }
}
