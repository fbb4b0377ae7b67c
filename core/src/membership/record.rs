//! What a node says of itself, signed: others pass it on and cannot change it.
//!
//! The admission in a record is the authority's word; incarnation, addresses, process and version are the
//! node's own. Without its signature anybody could say that a node restarted, and keep it from those that
//! have no link with it.

use bytes::{BufMut, Bytes, BytesMut};

use crate::id::MeshId;
use crate::identity::{Admission, Context, Signature, Signer, VerifyKey};
use crate::machine::Peer;
use crate::wire::message::PeerRecord;

/// Addresses of a node.
pub const ADDRESSES_MAX: usize = 8;
/// Bytes of an address: a host name of 253 bytes and a port.
pub const ADDRESS_BYTES_MAX: usize = 260;
/// Bytes of what a node calls its software.
pub const VERSION_BYTES_MAX: usize = 64;

/// The record with the word of the node that it speaks of.
pub fn signed(record: PeerRecord, mesh: MeshId, signer: &Signer) -> PeerRecord {
    let signature = signer.sign(Context::Record, &spoken(&record, mesh));
    PeerRecord { signature: Bytes::copy_from_slice(&signature.0), ..record }
}

/// The peer that gives this record of itself; none if it has no signature. The admission is the record's.
pub fn peer(admission: Admission, record: PeerRecord) -> Option<Peer> {
    let signature = Signature(record.signature[..].try_into().ok()?);
    let PeerRecord { incarnation, addresses, process, version, .. } = record;
    Some(Peer { admission, incarnation, addresses, process, version, signature })
}

/// Whether a record says no more of its node than may be said.
pub fn is_bounded(record: &PeerRecord) -> bool {
    let is_address = |address: &String| (1..=ADDRESS_BYTES_MAX).contains(&address.len());
    record.addresses.len() <= ADDRESSES_MAX
        && record.addresses.iter().all(is_address)
        && record.version.len() <= VERSION_BYTES_MAX
}

/// The signature of a record that is within its bounds and spoken by `key`'s node.
pub(super) fn verified(record: &PeerRecord, mesh: MeshId, key: &VerifyKey) -> Option<Signature> {
    if !is_bounded(record) {
        return None;
    }
    let signature = Signature(<[u8; 64]>::try_from(&record.signature[..]).ok()?);
    key.verify(Context::Record, &spoken(record, mesh), &signature).then_some(signature)
}

/// What is signed: each text with its length in front.
fn spoken(record: &PeerRecord, mesh: MeshId) -> BytesMut {
    let mut out = BytesMut::with_capacity(128);
    out.put_u64_le(mesh.0);
    out.put_u64_le(record.incarnation);
    out.put_u32_le(record.process);
    out.put_u32_le(record.addresses.len() as u32);
    for text in record.addresses.iter().chain([&record.version]) {
        out.put_u32_le(text.len() as u32);
        out.put_slice(text.as_bytes());
    }
    out
}
