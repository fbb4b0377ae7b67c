//! The front of a signed header, tied to the signature over the whole.
//!
//! A header may have 64 KiB and a control frame has no more, so two whole headers do not fit one
//! frame: a liar could equivocate in large bundles and no proof would travel. But a header is signed
//! through its BLAKE3 hash, which is a tree over pieces of 1,024 bytes (the BLAKE3 paper, section
//! 2.1), and what convicts lies in the first piece. An opening is that piece and the hashes beside
//! the path to the root: at most 1,283 bytes, whatever the header's size. Two openings of one hash
//! have the same first piece, unless somebody found a collision of BLAKE3: pieces, inner nodes and
//! the root are hashed under different flags.

use blake3::Hasher;
use blake3::hazmat::{ChainingValue, HasherExt, Mode, left_subtree_len};
use blake3::hazmat::{merge_subtrees_non_root, merge_subtrees_root};
use bytes::{BufMut, Bytes, BytesMut};

use crate::identity::{Context, Signature, VerifyKey};
use crate::limits::BUNDLE_BYTES_MAX;
use crate::wire::bundle::{Front, HEADER_FIXED_BYTES, SIGNATURE_BYTES};
use crate::wire::codec::{DecodeError, Reader, Wire, put_short, take_short};

/// Bytes of a piece of BLAKE3's tree.
pub const PIECE_BYTES: usize = blake3::CHUNK_LEN;
/// Hashes beside the path from the first piece of the longest header to the root.
pub const BESIDE_MAX: usize = (BUNDLE_BYTES_MAX / PIECE_BYTES).ilog2() as usize;
/// An opening's encoding at its longest.
pub const OPENING_BYTES_MAX: usize = 2 + PIECE_BYTES + 1 + BESIDE_MAX * 32 + SIGNATURE_BYTES;

/// The front of a signed header. Decoding it proves nothing; [`Opening::is_signed_by`] does.
///
/// Bytes: length of the piece 2, piece, hashes beside the path 1, those hashes 32 each from the
/// lowest, signature 64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    piece: Bytes,
    beside: Vec<[u8; 32]>,
    signature: Signature,
    front: Front,
}

impl Opening {
    /// Opens a header with its signature behind it, as [`crate::wire::bundle::Bundle::header`] has it.
    /// Hashes the header once: 6 microseconds for 64 KiB.
    pub fn of(header: &[u8]) -> Result<Opening, DecodeError> {
        if header.len() > BUNDLE_BYTES_MAX {
            return Err(DecodeError::TooLong("header"));
        }
        let (signed, signature) =
            header.split_last_chunk::<SIGNATURE_BYTES>().ok_or(DecodeError::Truncated)?;
        let front = Front::decode(&mut Reader::new(signed))?;
        let mut beside = Vec::new();
        let mut left = signed;
        while left.len() > PIECE_BYTES {
            let middle = left_subtree_len(left.len() as u64);
            let (lower, upper) = left.split_at(middle as usize);
            beside.push(Hasher::new().set_input_offset(middle).update(upper).finalize_non_root());
            left = lower;
        }
        beside.reverse();
        Ok(Opening { piece: Bytes::copy_from_slice(left), beside, signature: Signature(*signature), front })
    }

    /// What the header says.
    pub fn front(&self) -> &Front {
        &self.front
    }

    /// The signature over [`Opening::hash`].
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// The hash of the whole header: what was signed.
    pub fn hash(&self) -> [u8; 32] {
        let Some((last, inner)) = self.beside.split_last() else {
            return *blake3::hash(&self.piece).as_bytes();
        };
        let first: ChainingValue = Hasher::new().update(&self.piece).finalize_non_root();
        let left = inner.iter().fold(first, |left, right| merge_subtrees_non_root(&left, right, Mode::Hash));
        *merge_subtrees_root(&left, last, Mode::Hash).as_bytes()
    }

    /// Whether `key` signed the header that this is the front of: 20 to 30 microseconds.
    pub fn is_signed_by(&self, key: &VerifyKey) -> bool {
        key.verify(Context::Bundle, &self.hash(), &self.signature)
    }
}

impl Wire for Opening {
    fn encode(&self, out: &mut BytesMut) {
        put_short(out, &self.piece);
        out.put_u8(u8::try_from(self.beside.len()).expect("a path has at most six hashes beside it"));
        self.beside.iter().for_each(|hash| out.put_slice(hash));
        out.put_slice(&self.signature.0);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Opening, DecodeError> {
        let piece = take_short(reader, PIECE_BYTES, "piece")?;
        if piece.len() < HEADER_FIXED_BYTES {
            return Err(DecodeError::Truncated);
        }
        let count = usize::from(reader.u8()?);
        if count > BESIDE_MAX {
            return Err(DecodeError::TooLong("path"));
        }
        // Only the last piece of a header may be short, so a header has one spelling as an opening.
        if count > 0 && piece.len() != PIECE_BYTES {
            return Err(DecodeError::Invalid("piece"));
        }
        let beside = (0..count).map(|_| reader.array()).collect::<Result<Vec<_>, _>>()?;
        let signature = Signature::decode(reader)?;
        let front = Front::decode(&mut Reader::new(piece))?;
        Ok(Opening { piece: Bytes::copy_from_slice(piece), beside, signature, front })
    }
}
