//! Attachment: one signature by which an agent enters a session and lets its edge speak for it.
//!
//! What is the same for every agent of a connection ([`AttachTerms`]) is known to both ends and is
//! signed but never sent; what differs ([`AttachClaim`], 112 bytes) travels. Terms hold a value that
//! only the two ends of one TLS session can compute, so a claim is of no use on any other connection.

use std::time::Duration;

use bytes::{BufMut, BytesMut};
use ed25519_dalek::{VerifyingKey, verify_batch};

use super::keys::{CONTEXT_BYTES, Context, PublicKey, SecretKey, Signature, VerifyKey};
use crate::id::{AgentId, NodeId};
use crate::time::Time;
use crate::wire::codec::{DecodeError, Reader, Wire};

/// Signatures that are verified in one go; beyond this a batch gains little and a bad one costs more.
pub const BATCH_MAX: usize = 256;

/// Bytes of an [`AttachClaim`].
pub const CLAIM_BYTES: usize = 112;

/// Bytes under an attach signature: edge 32, incarnation 8, binding 32, key 32, session 8, expiry 8.
const SIGNED_BYTES: usize = 120;

/// What all the claims on one connection have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttachTerms {
    /// The edge that may speak for the agent.
    pub edge: NodeId,
    /// The life of that edge; a restarted edge needs a new signature.
    pub edge_incarnation: u64,
    /// Exported from the TLS session of the connection, the same at both ends.
    pub binding: [u8; 32],
}

/// One agent's claim to a session.
///
/// Bytes, little-endian: key 32, session 8, expiry 8, signature 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttachClaim {
    /// The agent's key.
    pub key: PublicKey,
    /// Only grows; the highest wins in the directory.
    pub session: u64,
    /// When the delegation ends: wall-clock milliseconds since the Unix epoch.
    pub expires_ms: u64,
    /// By the agent's key, under [`Context::Attach`].
    pub signature: Signature,
}

impl AttachClaim {
    /// The name of the claiming agent.
    pub fn agent(&self) -> AgentId {
        AgentId::of_key(&self.key.0)
    }

    /// Whether the delegation has ended by the wall clock, or would last longer than `lifetime_max`.
    pub fn is_out_of_time(&self, wall: Time, lifetime_max: Duration) -> bool {
        self.expires_ms <= wall.as_millis() || self.expires_ms > (wall + lifetime_max).as_millis()
    }
}

impl AttachTerms {
    /// The claim of the agent with `secret` to `session`, until `expires_ms`.
    pub fn sign(&self, secret: &SecretKey, session: u64, expires_ms: u64) -> AttachClaim {
        let key = secret.public();
        let message = self.signed_bytes(&key, session, expires_ms);
        let signature = secret.sign(Context::Attach, &message[CONTEXT_BYTES..]);
        AttachClaim { key, session, expires_ms, signature }
    }

    /// Which claims carry a signature under these terms, in their order.
    ///
    /// Verifies up to [`BATCH_MAX`] at once; a batch that fails is verified again one by one, so one
    /// bad claim harms only itself. Whether a claim is out of time is the caller's to ask.
    pub fn verify(&self, claims: &[AttachClaim]) -> Vec<bool> {
        claims.chunks(BATCH_MAX).flat_map(|batch| self.verify_batch(batch)).collect()
    }

    /// Whether one claim carries a signature under these terms, by the strict rule.
    pub fn verify_one(&self, claim: &AttachClaim) -> bool {
        VerifyKey::new(&claim.key).is_some_and(|key| self.verify_with(&key, claim))
    }

    fn verify_with(&self, key: &VerifyKey, claim: &AttachClaim) -> bool {
        let message = self.signed_bytes(&claim.key, claim.session, claim.expires_ms);
        key.verify(Context::Attach, &message[CONTEXT_BYTES..], &claim.signature)
    }

    fn verify_batch(&self, claims: &[AttachClaim]) -> Vec<bool> {
        let keys: Vec<Option<VerifyKey>> = claims.iter().map(|claim| VerifyKey::new(&claim.key)).collect();
        if self.holds_for_all(claims, &keys) {
            return keys.iter().map(Option::is_some).collect();
        }
        let one_by_one = claims.iter().zip(&keys);
        one_by_one.map(|(claim, key)| key.is_some_and(|key| self.verify_with(&key, claim))).collect()
    }

    /// Whether every claim with a usable key has a good signature.
    fn holds_for_all(&self, claims: &[AttachClaim], keys: &[Option<VerifyKey>]) -> bool {
        let mut points: Vec<VerifyingKey> = Vec::with_capacity(claims.len());
        let mut messages = Vec::with_capacity(claims.len());
        let mut signatures = Vec::with_capacity(claims.len());
        for (claim, key) in claims.iter().zip(keys) {
            let Some(key) = key else { continue };
            points.push(key.point().expect("made by `VerifyKey::new`"));
            messages.push(self.signed_bytes(&claim.key, claim.session, claim.expires_ms));
            signatures.push(ed25519_dalek::Signature::from_bytes(&claim.signature.0));
        }
        let messages: Vec<&[u8]> = messages.iter().map(|message| &message[..]).collect();
        verify_batch(&messages, &signatures, &points).is_ok()
    }

    fn signed_bytes(
        &self,
        key: &PublicKey,
        session: u64,
        expires_ms: u64,
    ) -> [u8; CONTEXT_BYTES + SIGNED_BYTES] {
        let mut message = [0; CONTEXT_BYTES + SIGNED_BYTES];
        let mut rest = &mut message[..];
        rest.put_slice(Context::Attach.bytes());
        rest.put_slice(&self.edge.0);
        rest.put_u64_le(self.edge_incarnation);
        rest.put_slice(&self.binding);
        rest.put_slice(&key.0);
        rest.put_u64_le(session);
        rest.put_u64_le(expires_ms);
        message
    }
}

impl Wire for AttachClaim {
    fn encode(&self, out: &mut BytesMut) {
        self.key.encode(out);
        out.put_u64_le(self.session);
        out.put_u64_le(self.expires_ms);
        self.signature.encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<AttachClaim, DecodeError> {
        Ok(AttachClaim {
            key: PublicKey::decode(reader)?,
            session: reader.u64()?,
            expires_ms: reader.u64()?,
            signature: Signature::decode(reader)?,
        })
    }
}

#[cfg(test)]
mod tests;
