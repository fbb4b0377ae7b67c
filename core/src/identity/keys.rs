//! Ed25519 (RFC 8032) under a context: what was signed for one purpose proves nothing for another.
//!
//! The message that is signed is 16 fixed bytes of context followed by the caller's bytes. Signing
//! is AWS-LC's, which is twice as fast as dalek's; both make the same bytes, since Ed25519 is
//! deterministic. Verifying is dalek's strict rule, because a signature is evidence: every node must
//! reach the same verdict, so keys of small order, keys with a second spelling and signatures that a
//! third party could alter are refused.

use std::fmt;
use std::hint::black_box;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use bytes::{BufMut, BytesMut};
use ed25519_dalek::{Verifier, VerifyingKey};

use super::simulated;
use crate::id::hex;
use crate::wire::codec::{DecodeError, Reader, Wire};

/// Bytes of context in front of every signed message.
pub const CONTEXT_BYTES: usize = 16;

/// Messages up to this size, with their context, are put together without allocation.
const STACK_BYTES: usize = 512;

/// What a signature is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// The header of a bundle, by the origin's identity key.
    Bundle,
    /// An agent's delegation to its edge, by the agent's key.
    Attach,
    /// The admission of a node, by the mesh's authority.
    Admission,
    /// A set of coordinators, by the mesh's root or by members of the set before.
    Coordinators,
    /// What the coordinators decided, by a member of their set.
    Decision,
    /// A system update, by the key that policy names.
    Update,
    /// A single entry end to end, by the agent's key.
    Entry,
    /// What a node says of itself or another, by its identity key.
    Membership,
    /// Where a node is to be found and in which incarnation, by its identity key.
    Record,
    /// What a node says in the peer protocol, by its identity key.
    Peer,
    /// What a node says to a registrar, by its identity key.
    Registration,
    /// What an edge's summary commits to, by the edge's identity key.
    Summary,
    /// What a region's figure commits to, by the identity key of the aggregator that folded it.
    Figure,
    /// A list of peers that is shipped with a release, by the mesh's authority or a release key.
    Shipped,
    /// A request for a certificate, by the identity key of the node that it is for.
    Renewal,
}

impl Context {
    /// The bytes in front of the message; the digit is the version of what follows.
    pub const fn bytes(self) -> &'static [u8; CONTEXT_BYTES] {
        match self {
            Context::Bundle => b"starling/bundle1",
            Context::Attach => b"starling/attach1",
            Context::Admission => b"starling/admit-1",
            Context::Coordinators => b"starling/coord-1",
            Context::Decision => b"starling/decide1",
            Context::Update => b"starling/update1",
            Context::Entry => b"starling/entry-1",
            Context::Membership => b"starling/member1",
            Context::Record => b"starling/record1",
            Context::Peer => b"starling/peers-1",
            Context::Registration => b"starling/regist1",
            Context::Summary => b"starling/summary",
            Context::Figure => b"starling/figure1",
            Context::Shipped => b"starling/shipped",
            Context::Renewal => b"starling/renew-1",
        }
    }

    /// Hands `use_bytes` the context and the message in one piece.
    pub(super) fn prefixed<T>(self, message: &[u8], use_bytes: impl FnOnce(&[u8]) -> T) -> T {
        let whole_bytes = CONTEXT_BYTES + message.len();
        let mut stack = [0; STACK_BYTES];
        let mut heap = Vec::new();
        let whole = match stack.get_mut(..whole_bytes) {
            Some(room) => room,
            None => {
                heap.resize(whole_bytes, 0);
                &mut heap[..]
            }
        };
        whole[..CONTEXT_BYTES].copy_from_slice(self.bytes());
        whole[CONTEXT_BYTES..].copy_from_slice(message);
        use_bytes(whole)
    }
}

/// An ed25519 public key as it travels; not known to be a valid point.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(pub [u8; 32]);

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Wire for PublicKey {
    fn encode(&self, out: &mut BytesMut) {
        out.put_slice(&self.0);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<PublicKey, DecodeError> {
        reader.array().map(PublicKey)
    }
}

/// An ed25519 signature as it travels: R, then s.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signature(pub [u8; 64]);

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl Wire for Signature {
    fn encode(&self, out: &mut BytesMut) {
        out.put_slice(&self.0);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Signature, DecodeError> {
        reader.array().map(Signature)
    }
}

/// A public key made ready to verify: 200 bytes, about 3 microseconds to make; made once and kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifyKey(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "every key of a real mesh is the large one")]
enum Kind {
    Point(VerifyingKey),
    Simulated(PublicKey),
}

impl VerifyKey {
    /// The key, unless it is no point of the curve, is weak (of small order, for which a signature
    /// can be valid for almost every message), or is the second spelling of another key (which would
    /// give one key two names).
    pub fn new(key: &PublicKey) -> Option<VerifyKey> {
        if !is_canonical(&key.0) {
            return None;
        }
        let point = VerifyingKey::from_bytes(&key.0).ok()?;
        (!point.is_weak()).then_some(VerifyKey(Kind::Point(point)))
    }

    /// A key of a simulated mesh, for which `new` is too slow.
    pub fn simulated(key: &PublicKey) -> VerifyKey {
        VerifyKey(Kind::Simulated(*key))
    }

    /// `key` made ready as a key of the kind that this one is of: the authority's says for all nodes
    /// of a mesh.
    pub fn same_kind(&self, key: &PublicKey) -> Option<VerifyKey> {
        match self.0 {
            Kind::Point(_) => VerifyKey::new(key),
            Kind::Simulated(_) => Some(VerifyKey::simulated(key)),
        }
    }

    /// The key as it travels.
    pub fn public(&self) -> PublicKey {
        match self.0 {
            Kind::Point(point) => PublicKey(point.to_bytes()),
            Kind::Simulated(key) => key,
        }
    }

    /// Whether this key signed `message` for the purpose `context`, by the strict rule.
    pub fn verify(&self, context: Context, message: &[u8], signature: &Signature) -> bool {
        // dalek checks s < L and compares R byte by byte, without cofactor; with R and the key (in
        // `new`) not of small order this is the strict rule, without taking R apart as
        // `verify_strict` does to see its order.
        let key = match &self.0 {
            Kind::Point(key) => key,
            Kind::Simulated(key) => return simulated::sign(key, context, message) == *signature,
        };
        let point: [u8; 32] = signature.0[..32].try_into().expect("half of 64 bytes");
        if SMALL_ORDER.iter().any(|small| same_y(small, &point)) {
            return false;
        }
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        context.prefixed(message, |whole| key.verify(whole, &signature).is_ok())
    }

    /// The point of the curve; `None` for a simulated key.
    pub(super) fn point(&self) -> Option<VerifyingKey> {
        match self.0 {
            Kind::Point(point) => Some(point),
            Kind::Simulated(_) => None,
        }
    }
}

/// The y coordinates of the points of small order, canonically encoded (Cremers, Fluhrer et al.,
/// "Taming the many EdDSAs", 2020, table 6); each stands for both signs of x.
const SMALL_ORDER: [[u8; 32]; 5] = [
    [0; 32],
    {
        let mut one = [0; 32];
        one[0] = 1;
        one
    },
    {
        let mut minus_one = [0xff; 32];
        minus_one[0] = 0xec;
        minus_one[31] = 0x7f;
        minus_one
    },
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5,
        0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a,
        0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ],
];

/// Whether two encoded points have the same y, whatever the sign of x.
fn same_y(left: &[u8; 32], right: &[u8; 32]) -> bool {
    left[..31] == right[..31] && left[31] & 0x7f == right[31] & 0x7f
}

/// Whether the encoded y is below the field's prime, 2^255 - 19 (RFC 8032, section 5.1.3).
fn is_canonical(key: &[u8; 32]) -> bool {
    let high_bits_all_set = key[31] & 0x7f == 0x7f && key[1..31].iter().all(|byte| *byte == 0xff);
    !(high_bits_all_set && key[0] >= 0xed)
}

/// A private key at rest: 64 bytes, so that a million of them fit in one process.
///
/// Signs at about 10 microseconds; who signs often makes a [`Signer`] once.
pub struct SecretKey {
    seed: [u8; 32],
    public: PublicKey,
}

impl SecretKey {
    /// The key that belongs to 32 bytes of entropy; about 5 microseconds.
    pub fn from_seed(seed: [u8; 32]) -> SecretKey {
        let public = Signer::from_seed(&seed).public;
        SecretKey { seed, public }
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// The private half, for whoever stores it.
    pub fn seed(&self) -> &[u8; 32] {
        &self.seed
    }

    /// The same key made ready to sign often.
    pub fn signer(&self) -> Signer {
        Signer::from_seed(&self.seed)
    }

    /// Signs `message` for the purpose `context`.
    pub fn sign(&self, context: Context, message: &[u8]) -> Signature {
        self.signer().sign(context, message)
    }
}

impl Clone for SecretKey {
    fn clone(&self) -> SecretKey {
        SecretKey { seed: self.seed, public: self.public }
    }
}

impl Drop for SecretKey {
    fn drop(&mut self) {
        self.seed = [0; 32];
        // The optimiser must take the zeros for read, or it would leave the seed in memory.
        black_box(&self.seed);
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {})", self.public)
    }
}

/// A private key ready to sign: about 5 microseconds a signature, 200 bytes with its heap.
///
/// The seed lives in AWS-LC's memory, which wipes what it frees.
pub struct Signer {
    /// `None` for the key of a simulated node.
    pair: Option<Ed25519KeyPair>,
    public: PublicKey,
}

impl Signer {
    fn from_seed(seed: &[u8; 32]) -> Signer {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).expect("every 32 bytes are an ed25519 seed");
        let mut public = [0; 32];
        public.copy_from_slice(pair.public_key().as_ref());
        Signer { pair: Some(pair), public: PublicKey(public) }
    }

    /// The key of a simulated node.
    pub fn simulated(seed: &[u8; 32]) -> Signer {
        Signer { pair: None, public: simulated::public_of(seed) }
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// Both halves; `None` for the key of a simulated node.
    pub(super) fn pair(&self) -> Option<&Ed25519KeyPair> {
        self.pair.as_ref()
    }

    /// Signs `message` for the purpose `context`.
    pub fn sign(&self, context: Context, message: &[u8]) -> Signature {
        let Some(pair) = &self.pair else { return simulated::sign(&self.public, context, message) };
        let mut signature = [0; 64];
        signature.copy_from_slice(context.prefixed(message, |whole| pair.sign(whole)).as_ref());
        Signature(signature)
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer(of {})", self.public)
    }
}

#[cfg(test)]
mod tests;
