//! What observers and subjects send one another, and how it is written.
//!
//! A kind in one byte; a number in four; of [`Probe::PingFor`] the subject in eight more; of
//! [`Probe::Doubt`] a life in twelve instead of the number. Thirteen bytes at the most.
//! A probe is not signed: who sent it is known from the link, and it says nothing of third ones
//! that its receiver would have to believe.

use bytes::{BufMut, BytesMut};

use super::statement::Life;
use crate::id::ShortId;
use crate::wire::codec::{DecodeError, Reader, Wire};

/// A message between two nodes about whether one of them, or a third, lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Probe {
    /// Answer me.
    Ping {
        /// Names the probe at its sender.
        number: u32,
        /// Whether it is the second attempt, over the reliable stream; so is its answer.
        is_again: bool,
    },
    /// The answer of the subject, or of a helper whom the subject answered.
    Ack {
        /// The ping's, or the request's.
        number: u32,
    },
    /// Ping `subject` for me: to a co-observer.
    PingFor {
        /// Names the probe at its sender.
        number: u32,
        /// Who is to be pinged.
        subject: ShortId,
    },
    /// The helper lives, and had no answer from the subject.
    Nack {
        /// The request's.
        number: u32,
    },
    /// I hold you for suspect or dead in this life: refute it, if you can.
    ///
    /// Lifeguard's buddy system; and how who was cut off learns that it is to come back.
    Doubt {
        /// The receiver's life, as far as the sender knows.
        life: Life,
    },
}

impl Wire for Probe {
    fn encode(&self, out: &mut BytesMut) {
        let (kind, number) = match *self {
            Probe::Ping { number, is_again: false } => (1, number),
            Probe::Ping { number, is_again: true } => (2, number),
            Probe::Ack { number } => (3, number),
            Probe::PingFor { number, subject: _ } => (4, number),
            Probe::Nack { number } => (5, number),
            Probe::Doubt { life } => {
                out.put_u8(6);
                return life.encode(out);
            }
        };
        out.put_u8(kind);
        out.put_u32_le(number);
        if let Probe::PingFor { subject, .. } = self {
            out.put_u64_le(subject.0);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Probe, DecodeError> {
        Ok(match reader.u8()? {
            kind @ 1..=2 => Probe::Ping { number: reader.u32()?, is_again: kind == 2 },
            3 => Probe::Ack { number: reader.u32()? },
            4 => Probe::PingFor { number: reader.u32()?, subject: ShortId(reader.u64()?) },
            5 => Probe::Nack { number: reader.u32()? },
            6 => Probe::Doubt { life: Life::decode(reader)? },
            _ => return Err(DecodeError::Invalid("kind of probe")),
        })
    }
}
