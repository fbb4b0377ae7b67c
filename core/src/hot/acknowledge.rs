//! Acknowledgements between nodes (docs/protocol.md#acknowledge).

use bytes::{BufMut, Bytes, BytesMut};

use crate::id::{RegionId, ShortId};
use crate::machine::LinkSlot;
use crate::wire::bundle::{Bundle, Class, SectionSet};
use crate::wire::codec::{DecodeError, Reader, Wire};
use crate::wire::frame::{FrameType, frame};

/// Sequences in one frame at the most, and missing sections too: both together stay within
/// [`crate::limits::CONTROL_BYTES_MAX`].
const SEQUENCES_MAX: usize = 2048;

/// Whose bundles are acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stream {
    /// Who sealed them.
    pub origin: ShortId,
    /// Its incarnation.
    pub incarnation: u64,
    /// Their class.
    pub class: Class,
    /// The region whose nodes have them.
    pub region: RegionId,
}

impl Stream {
    /// Of a bundle, as nodes of `region` have it.
    pub fn of(bundle: &Bundle, region: RegionId) -> Stream {
        let Bundle { origin, incarnation, class, .. } = *bundle;
        Stream { origin, incarnation, class, region }
    }
}

/// Bundles that everyone behind the sender has who should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledge {
    /// Whose.
    pub stream: Stream,
    /// Their sequences.
    pub sequences: Vec<u64>,
    /// Directed sections (sequence, section) whose agent was not found.
    pub missing: Vec<(u64, u16)>,
}

impl Wire for Acknowledge {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u64_le(self.stream.origin.0);
        out.put_u64_le(self.stream.incarnation);
        out.put_u8(self.stream.class as u8);
        out.put_u64_le(self.stream.region.0);
        out.put_u16_le(u16::try_from(self.sequences.len()).expect("frames are split at 2,048"));
        self.sequences.iter().for_each(|sequence| out.put_u64_le(*sequence));
        out.put_u16_le(u16::try_from(self.missing.len()).expect("frames are split at 2,048"));
        for (sequence, section) in &self.missing {
            out.put_u64_le(*sequence);
            out.put_u16_le(*section);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Acknowledge, DecodeError> {
        let origin = ShortId(reader.u64()?);
        let incarnation = reader.u64()?;
        let class = Class::from_number(reader.u8()?).ok_or(DecodeError::Invalid("class"))?;
        let region = RegionId(reader.u64()?);
        let sequences = (0..counted(reader)?).map(|_| reader.u64()).collect::<Result<_, _>>()?;
        let missing =
            (0..counted(reader)?).map(|_| Ok((reader.u64()?, reader.u16()?))).collect::<Result<_, _>>()?;
        Ok(Acknowledge { stream: Stream { origin, incarnation, class, region }, sequences, missing })
    }
}

/// Adds to `known` what `missing`, sorted, says of the directed sections of `bundle` that were sent to
/// the acknowledging node; whatever else it says is not for it to say.
pub(super) fn add_missing(known: &mut Vec<u16>, bundle: &Bundle, sent: &SectionSet, missing: &[(u64, u16)]) {
    let from = missing.partition_point(|(sequence, _)| *sequence < bundle.sequence);
    for (_, section) in missing[from..].iter().take_while(|(sequence, _)| *sequence == bundle.sequence) {
        let index = usize::from(*section);
        let is_directed = bundle.sections.get(index).is_some_and(|of| of.directed);
        if is_directed && sent.has(index) && !known.contains(section) {
            known.push(*section);
        }
    }
}

fn counted(reader: &mut Reader<'_>) -> Result<usize, DecodeError> {
    let count = usize::from(reader.u16()?);
    if count > SEQUENCES_MAX { Err(DecodeError::TooLong("sequences")) } else { Ok(count) }
}

/// Collects acknowledgements while a batch of bundles is worked off, to send them in few frames.
#[derive(Debug, Default)]
pub struct Acknowledgements {
    pending: Vec<(LinkSlot, Acknowledge)>,
}

impl Acknowledgements {
    /// One bundle toward one link.
    pub fn add(&mut self, link: LinkSlot, stream: Stream, sequence: u64, missing: &[u16]) {
        let open = self.pending.iter_mut().rev().find(|(to, ack)| *to == link && ack.stream == stream);
        let acknowledge = match open {
            Some((_, ack)) if ack.sequences.len().max(ack.missing.len() + missing.len()) < SEQUENCES_MAX => {
                ack
            }
            _ => {
                self.pending.push((link, Acknowledge { stream, sequences: Vec::new(), missing: Vec::new() }));
                &mut self.pending.last_mut().expect("pushed just now").1
            }
        };
        acknowledge.sequences.push(sequence);
        acknowledge.missing.extend(missing.iter().map(|section| (sequence, *section)));
    }

    /// Whole frames with their links; leaves nothing behind.
    pub fn take_frames(&mut self) -> impl Iterator<Item = (LinkSlot, Bytes)> + '_ {
        self.pending.drain(..).map(|(link, ack)| (link, frame(FrameType::Acknowledge, &ack.to_bytes())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn golden_acknowledge() {
        let stream =
            Stream { origin: ShortId(1), incarnation: 2, class: Class::EventBulk, region: RegionId(4) };
        let bytes = Acknowledge { stream, sequences: vec![5], missing: vec![(5, 6)] }.to_bytes();
        let mut expected = vec![1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 4, 0, 0, 0, 0, 0, 0, 0];
        expected.extend_from_slice(&[1, 0, 5, 0, 0, 0, 0, 0, 0, 0, 1, 0, 5, 0, 0, 0, 0, 0, 0, 0, 6, 0]);
        assert_eq!(bytes.as_ref(), expected);
    }

    #[test]
    fn the_largest_frame_is_within_the_limit_of_its_lane() {
        let stream =
            Stream { origin: ShortId(1), incarnation: 2, class: Class::EventBulk, region: RegionId(4) };
        let mut pending = Acknowledgements::default();
        for sequence in 0..9000 {
            pending.add(LinkSlot(1), stream, sequence, &[0]);
        }
        let mut sequences = 0;
        for (_, frame) in pending.take_frames() {
            assert!(frame.len() <= crate::limits::CONTROL_BYTES_MAX, "{}", frame.len());
            let body = &frame[crate::wire::frame::FRAME_HEADER_BYTES..];
            sequences += Acknowledge::from_bytes(body).unwrap().sequences.len();
        }
        assert_eq!(sequences, 9000);
    }

    proptest! {
        #[test]
        fn any_bytes_are_harmless(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(ack) = Acknowledge::from_bytes(&bytes) {
                let again = ack.to_bytes();
                prop_assert_eq!(again.as_ref(), bytes.as_slice());
            }
        }
    }
}
