//! Proofs of misbehaviour: bytes that convince every honest node by themselves.
//!
//! A proof is made of the culprit's own signatures, so neither who made it nor who passed it on has
//! to be believed, and no number of liars can make one against an honest node. The rule for what may
//! be a kind of proof follows: the signed bytes alone must show the violation, to everybody, at any
//! later time. Accountability by contradicting signed statements is PeerReview's (Haeberlen,
//! Kouznetsov and Druschel, SOSP 2007), without its logs and witnesses.
//!
//! What is *not* provable, and why: a clock 30 s ahead (the signature covers what the clock said and
//! not when the bundle came; a minute later anybody holds such a header of an honest node); an invalid
//! signature (whoever wrote it, the named origin did not); a replay (old bytes are as genuine as they
//! were); silence, lateness and rates. These are soft evidence, for [`super::ledger`], and only where
//! they were seen at first hand.
//!
//! A node that restarts counts again under a new incarnation, so sequences are compared within one
//! incarnation. That an incarnation is never used twice is the duty of who stores it.

use bytes::{BufMut, BytesMut};

use super::opening::{OPENING_BYTES_MAX, Opening};
use crate::id::{MeshId, NodeId, ShortId};
use crate::identity::VerifyKey;
use crate::wire::bundle::{Class, Front};
use crate::wire::codec::{DecodeError, Reader, Wire};

/// A proof's encoding at its longest.
pub const PROOF_BYTES_MAX: usize = 1 + 2 * OPENING_BYTES_MAX;

const EQUIVOCATION: u8 = 1;
const FORK: u8 = 2;
const OVERLONG: u8 = 3;

/// Evidence against the node that signed what is in it.
///
/// Bytes: kind 1, then one opening or two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Two different headers for one sequence of one incarnation and class. The one whose signature
    /// has the lower bytes is first, so that a pair has one encoding.
    Equivocation {
        /// One header.
        first: Opening,
        /// The other.
        second: Opening,
    },
    /// A state header that names as the one before it another than was signed there: its author has
    /// two histories, though only one header of each was seen.
    Fork {
        /// A state header.
        earlier: Opening,
        /// The header with the next sequence.
        later: Opening,
    },
    /// A header that lists more agents or sections than its version allows.
    Overlong {
        /// The header.
        header: Opening,
    },
}

/// What a proof shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Violation {
    /// See [`Proof::Equivocation`].
    Equivocation,
    /// See [`Proof::Fork`].
    Fork,
    /// See [`Proof::Overlong`].
    Overlong,
}

/// Who is guilty of what. Only [`Proof::verify`] makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Culprit {
    pub(super) node: ShortId,
    pub(super) incarnation: u64,
    pub(super) violation: Violation,
    pub(super) proof: [u8; 32],
}

impl Culprit {
    /// The node that signed. All of its incarnations are banned: the key is guilty.
    pub fn node(&self) -> ShortId {
        self.node
    }

    /// The incarnation it did it in.
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// What it did.
    pub fn violation(&self) -> Violation {
        self.violation
    }

    /// The id of the proof.
    pub fn proof(&self) -> [u8; 32] {
        self.proof
    }
}

/// Why a proof proves nothing. Nothing was changed; whoever sent it is at fault, and nobody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The headers are of another mesh, where the same key may have other duties.
    #[error("a header of another mesh")]
    OtherMesh,
    /// The origin that a header names is not the key's owner.
    #[error("the key is not the origin's")]
    OtherKey,
    /// A signature is not the key's over that header.
    #[error("a header was not signed by its origin")]
    BadSignature,
    /// One header twice, however it was signed.
    #[error("the headers are the same")]
    SameHeader,
    /// The headers have different places, which is what honest headers have.
    #[error("the headers do not contradict each other")]
    NoContradiction,
    /// The header lists no more than it may.
    #[error("the header keeps the limits")]
    WithinLimits,
}

impl Proof {
    /// A proof out of two different genuine headers that have the same place or follow each other, in
    /// any order; `None` where they do not contradict each other. Verifies no signature.
    pub fn of_pair(left: Opening, right: Opening) -> Option<Proof> {
        if is_same_place(left.front(), right.front()) {
            let is_ordered = left.signature().0 <= right.signature().0;
            let (first, second) = if is_ordered { (left, right) } else { (right, left) };
            return (first.hash() != second.hash()).then_some(Proof::Equivocation { first, second });
        }
        let is_ordered = left.front().sequence <= right.front().sequence;
        let (earlier, later) = if is_ordered { (left, right) } else { (right, left) };
        check_fork(&earlier, &later).is_ok().then_some(Proof::Fork { earlier, later })
    }

    /// Whom the proof speaks of: for finding the key to verify it with. Not to be believed before.
    pub fn accused(&self) -> ShortId {
        self.openings().0.front().origin
    }

    /// The name of this proof for deduplication: BLAKE3 of its encoding. It covers the signatures too,
    /// so a spoiled copy that comes first does not stand in the way of the proof.
    pub fn id(&self) -> [u8; 32] {
        *blake3::hash(&self.to_bytes()).as_bytes()
    }

    /// Checks everything: `key` is that of [`Proof::accused`], `mesh` the verifier's own. Signatures
    /// come last, so nonsense costs little; a proof costs at most two of them.
    pub fn verify(&self, key: &VerifyKey, mesh: MeshId) -> Result<Culprit, ProofError> {
        let owner = NodeId::of_key(&key.public().0).short();
        let (one, other) = self.openings();
        for opening in [Some(one), other].into_iter().flatten() {
            if opening.front().mesh != mesh {
                return Err(ProofError::OtherMesh);
            }
            if opening.front().origin != owner {
                return Err(ProofError::OtherKey);
            }
        }
        let violation = self.check_contradiction()?;
        let is_signed = one.is_signed_by(key) && other.is_none_or(|other| other.is_signed_by(key));
        if !is_signed {
            return Err(ProofError::BadSignature);
        }
        Ok(Culprit { node: owner, incarnation: one.front().incarnation, violation, proof: self.id() })
    }

    fn check_contradiction(&self) -> Result<Violation, ProofError> {
        match self {
            Proof::Equivocation { first, second } => {
                if !is_same_place(first.front(), second.front()) {
                    return Err(ProofError::NoContradiction);
                }
                if first.hash() == second.hash() {
                    return Err(ProofError::SameHeader);
                }
                Ok(Violation::Equivocation)
            }
            Proof::Fork { earlier, later } => check_fork(earlier, later).map(|()| Violation::Fork),
            Proof::Overlong { header } if header.front().is_overlong() => Ok(Violation::Overlong),
            Proof::Overlong { .. } => Err(ProofError::WithinLimits),
        }
    }

    fn openings(&self) -> (&Opening, Option<&Opening>) {
        match self {
            Proof::Equivocation { first, second } => (first, Some(second)),
            Proof::Fork { earlier, later } => (earlier, Some(later)),
            Proof::Overlong { header } => (header, None),
        }
    }
}

/// Whether both are of one mesh, origin, incarnation and class.
fn is_same_chain(left: &Front, right: &Front) -> bool {
    let chain = |front: &Front| (front.mesh, front.origin, front.incarnation, front.class);
    chain(left) == chain(right)
}

fn is_same_place(left: &Front, right: &Front) -> bool {
    is_same_chain(left, right) && left.sequence == right.sequence
}

fn check_fork(earlier: &Opening, later: &Opening) -> Result<(), ProofError> {
    let (before, after) = (earlier.front(), later.front());
    let follows = is_same_chain(before, after)
        && before.class == Class::State
        && before.sequence.checked_add(1) == Some(after.sequence);
    // A header that names none before it contradicts nothing, whatever else is wrong with it.
    let differs = after.previous.is_some_and(|previous| previous != earlier.hash());
    if follows && differs { Ok(()) } else { Err(ProofError::NoContradiction) }
}

impl Wire for Proof {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u8(match self {
            Proof::Equivocation { .. } => EQUIVOCATION,
            Proof::Fork { .. } => FORK,
            Proof::Overlong { .. } => OVERLONG,
        });
        let (one, other) = self.openings();
        one.encode(out);
        if let Some(other) = other {
            other.encode(out);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Proof, DecodeError> {
        match reader.u8()? {
            EQUIVOCATION => {
                let (first, second) = (Opening::decode(reader)?, Opening::decode(reader)?);
                if first.signature().0 > second.signature().0 {
                    return Err(DecodeError::Invalid("order of headers"));
                }
                Ok(Proof::Equivocation { first, second })
            }
            FORK => Ok(Proof::Fork { earlier: Opening::decode(reader)?, later: Opening::decode(reader)? }),
            OVERLONG => Ok(Proof::Overlong { header: Opening::decode(reader)? }),
            _ => Err(DecodeError::Invalid("kind of proof")),
        }
    }
}

#[cfg(test)]
mod tests;
