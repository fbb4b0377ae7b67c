//! Integers in as few bytes as they need, in exactly one way.

use bytes::{BufMut, BytesMut};

use crate::wire::codec::{DecodeError, Reader};

/// Bytes of the longest variable-length integer.
pub(super) const VARINT_BYTES_MAX: usize = 10;

/// Appends `value`, seven bits a byte, least significant first (LEB128): 1 to 10 bytes.
pub(super) fn put_varint(out: &mut BytesMut, value: u64) {
    let mut left = value;
    while left >= 0x80 {
        out.put_u8((left & 0x7f) as u8 | 0x80);
        left >>= 7;
    }
    out.put_u8(left as u8);
}

/// Reads what [`put_varint`] wrote and refuses every longer spelling of the same number, so that
/// equal values have equal bytes.
pub(super) fn take_varint(reader: &mut Reader<'_>) -> Result<u64, DecodeError> {
    let mut value = 0;
    for position in 0..VARINT_BYTES_MAX as u32 {
        let byte = reader.u8()?;
        let bits = u64::from(byte & 0x7f);
        let is_last = byte & 0x80 == 0;
        if position == 9 && bits > 1 || is_last && bits == 0 && position > 0 {
            return Err(DecodeError::Invalid("integer"));
        }
        value |= bits << (7 * position);
        if is_last {
            return Ok(value);
        }
    }
    Err(DecodeError::Invalid("integer"))
}

/// Appends a number of items; the caller keeps it within its limit, which is below 2^16.
pub(super) fn put_count(out: &mut BytesMut, count: usize) {
    out.put_u16_le(u16::try_from(count).expect("every limit here is below 2^16"));
}

/// Reads a number of items and refuses more than `max` before anything is allocated.
pub(super) fn take_count(
    reader: &mut Reader<'_>,
    max: usize,
    what: &'static str,
) -> Result<usize, DecodeError> {
    let count = usize::from(reader.u16()?);
    if count > max { Err(DecodeError::TooLong(what)) } else { Ok(count) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_have_one_spelling() {
        for value in [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            let mut out = BytesMut::new();
            put_varint(&mut out, value);
            assert_eq!(take_varint(&mut Reader::new(&out)), Ok(value));
        }
        for bad in [&[0x80, 0x00][..], &[0xff; 10], &[0x80; 11], &[0xff, 0xff, 0x80, 0x00]] {
            assert!(take_varint(&mut Reader::new(bad)).is_err(), "{bad:?}");
        }
        assert_eq!(take_varint(&mut Reader::new(&[0x80])), Err(DecodeError::Truncated));
    }
}
