//! The coordinators of a mesh, as everybody believes them: sets that follow one another.
//!
//! Set 1 is signed by the mesh's root, each further one by a majority of the one before, so a node that
//! believes one set can come to believe every later one by whoever tells it. What coordinators decide is
//! believed with signatures of a majority of the set in force: a minority of stolen keys forges nothing.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use super::keys::{Context, PublicKey, Signature, Signer, VerifyKey};
use crate::id::{MeshId, NodeId};
use crate::wire::codec::{DecodeError, Reader, Wire};

/// Coordinators of a mesh.
pub const MEMBERS_MAX: usize = 7;
/// Sets before the one in force whose admissions still hold.
const BEFORE_MAX: usize = 8;
/// Bytes of one signature with the place of its signer.
const ENDORSED_BYTES: usize = 1 + 64;

/// A signature, and which member of a set made it: its place among the members, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endorsed {
    /// The member's place; 0 for the mesh's root.
    pub place: u8,
    /// Its signature.
    pub signature: Signature,
}

impl Endorsed {
    /// Signatures as they travel: 65 bytes each, the place first.
    pub fn list_to_bytes(list: &[Endorsed]) -> Bytes {
        let mut out = BytesMut::with_capacity(list.len() * ENDORSED_BYTES);
        list.iter().for_each(|endorsed| endorsed.encode(&mut out));
        out.freeze()
    }

    /// Reads what [`Endorsed::list_to_bytes`] wrote: at most as many as a set has members, no place twice.
    pub fn list_from_bytes(bytes: &[u8]) -> Result<Vec<Endorsed>, DecodeError> {
        if bytes.len() > MEMBERS_MAX * ENDORSED_BYTES {
            return Err(DecodeError::TooLong("signatures"));
        }
        let mut reader = Reader::new(bytes);
        let mut list: Vec<Endorsed> = Vec::new();
        while reader.remaining() > 0 {
            let endorsed = Endorsed::decode(&mut reader)?;
            if list.last().is_some_and(|last| last.place >= endorsed.place) {
                return Err(DecodeError::Invalid("order of signatures"));
            }
            list.push(endorsed);
        }
        Ok(list)
    }
}

impl Wire for Endorsed {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u8(self.place);
        self.signature.encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Endorsed, DecodeError> {
        Ok(Endorsed { place: reader.u8()?, signature: Signature::decode(reader)? })
    }
}

/// The coordinators of a mesh from one decision to the next.
///
/// Bytes, little-endian: version 1 (1), mesh 8, epoch 8, number of members 1, their identity keys
/// ascending 32 each, number of signatures 1, signatures ascending by place 65 each. The signatures cover
/// all that precedes their number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoordinatorSet {
    /// The mesh.
    pub mesh: MeshId,
    /// 1, 2, …
    pub epoch: u64,
    /// Their identity keys, ascending: 1 to [`MEMBERS_MAX`].
    members: Vec<PublicKey>,
    /// By the mesh's root (place 0) for the first set, by members of the one before for others.
    pub signatures: Vec<Endorsed>,
}

impl CoordinatorSet {
    /// A set that nobody signed yet; `None` unless the members are 1 to [`MEMBERS_MAX`] different keys.
    pub fn unsigned(mesh: MeshId, epoch: u64, mut members: Vec<PublicKey>) -> Option<CoordinatorSet> {
        members.sort_unstable();
        let set = CoordinatorSet { mesh, epoch, members, signatures: Vec::new() };
        (set.epoch > 0 && are_members(&set.members)).then_some(set)
    }

    /// The first set of the mesh of `root`, signed by it; `None` as with [`CoordinatorSet::unsigned`].
    pub fn first(root: &Signer, members: Vec<PublicKey>) -> Option<CoordinatorSet> {
        let mesh = MeshId::of_authority(&root.public().0);
        let mut set = CoordinatorSet::unsigned(mesh, 1, members)?;
        let signature = root.sign(Context::Coordinators, &set.signed_bytes());
        set.signatures.push(Endorsed { place: 0, signature });
        Some(set)
    }

    /// The members' identity keys, ascending.
    pub fn members(&self) -> &[PublicKey] {
        &self.members
    }

    /// What signatures of it cover.
    pub fn signed_bytes(&self) -> BytesMut {
        let mut out = BytesMut::with_capacity(18 + 32 * self.members.len());
        out.put_u8(1);
        out.put_u64_le(self.mesh.0);
        out.put_u64_le(self.epoch);
        out.put_u8(self.members.len() as u8);
        self.members.iter().for_each(|member| member.encode(&mut out));
        out
    }

    /// The coordinators, if this is the first set of the mesh of `root`.
    pub fn verify_first(&self, root: &VerifyKey) -> Result<Coordinators, SetError> {
        if self.mesh != MeshId::of_authority(&root.public().0) {
            return Err(SetError::WrongMesh { named: self.mesh });
        }
        if self.epoch != 1 {
            return Err(SetError::WrongEpoch { epoch: self.epoch, expected: 1 });
        }
        let [Endorsed { place: 0, signature }] = &self.signatures[..] else {
            return Err(SetError::Unsigned(Doubt::TooFew { valid: 0, needed: 1 }));
        };
        if !root.verify(Context::Coordinators, &self.signed_bytes(), signature) {
            return Err(SetError::Unsigned(Doubt::Forged { place: 0 }));
        }
        self.believed(root, None)
    }

    /// The coordinators, if this is the set that follows `previous`.
    pub fn verify_next(&self, previous: &Coordinators) -> Result<Coordinators, SetError> {
        if self.mesh != previous.set.mesh {
            return Err(SetError::WrongMesh { named: self.mesh });
        }
        let expected = previous.epoch().saturating_add(1);
        if self.epoch != expected {
            return Err(SetError::WrongEpoch { epoch: self.epoch, expected });
        }
        previous
            .verify(Context::Coordinators, &self.signed_bytes(), &self.signatures)
            .map_err(SetError::Unsigned)?;
        self.believed(&previous.keys[0], Some(previous))
    }

    fn believed(&self, kind: &VerifyKey, before: Option<&Coordinators>) -> Result<Coordinators, SetError> {
        let keys: Option<Arc<[VerifyKey]>> = self.members.iter().map(|key| kind.same_kind(key)).collect();
        let keys = keys.ok_or(SetError::WeakKey)?;
        let before = before.map(|before| Arc::new(before.remembering(BEFORE_MAX - 1)));
        Ok(Coordinators { set: Arc::new(self.clone()), keys, before })
    }
}

/// Ascending, so each is there once.
fn are_members(members: &[PublicKey]) -> bool {
    (1..=MEMBERS_MAX).contains(&members.len()) && members.is_sorted_by(|left, right| left < right)
}

impl Wire for CoordinatorSet {
    fn encode(&self, out: &mut BytesMut) {
        out.put_slice(&self.signed_bytes());
        out.put_u8(self.signatures.len() as u8);
        out.put_slice(&Endorsed::list_to_bytes(&self.signatures));
    }

    fn decode(reader: &mut Reader<'_>) -> Result<CoordinatorSet, DecodeError> {
        if reader.u8()? != 1 {
            return Err(DecodeError::Invalid("version of a set of coordinators"));
        }
        let (mesh, epoch, count) = (MeshId(reader.u64()?), reader.u64()?, usize::from(reader.u8()?));
        if count > MEMBERS_MAX {
            return Err(DecodeError::TooLong("coordinators"));
        }
        let members: Result<Vec<PublicKey>, DecodeError> =
            (0..count).map(|_| PublicKey::decode(reader)).collect();
        let members = members?;
        if epoch == 0 || !are_members(&members) {
            return Err(DecodeError::Invalid("set of coordinators"));
        }
        let signed = usize::from(reader.u8()?);
        if signed > MEMBERS_MAX {
            return Err(DecodeError::TooLong("signatures"));
        }
        let signatures = Endorsed::list_from_bytes(reader.take(signed * ENDORSED_BYTES)?)?;
        Ok(CoordinatorSet { mesh, epoch, members, signatures })
    }
}

/// A set of coordinators that was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coordinators {
    set: Arc<CoordinatorSet>,
    keys: Arc<[VerifyKey]>,
    /// The set before it, whose admissions still hold.
    before: Option<Arc<Coordinators>>,
}

impl Coordinators {
    /// The same with at most so many sets before it.
    fn remembering(&self, count: usize) -> Coordinators {
        let before = self.before.as_deref().filter(|_| count > 0);
        let before = before.map(|before| Arc::new(before.remembering(count - 1)));
        Coordinators { before, ..self.clone() }
    }

    /// The last of a chain of sets, oldest first, that begins with the first of the mesh of `root`; `None`
    /// for an empty chain.
    pub fn of_chain(chain: &[CoordinatorSet], root: &VerifyKey) -> Result<Option<Coordinators>, SetError> {
        let Some((first, later)) = chain.split_first() else { return Ok(None) };
        let mut believed = first.verify_first(root)?;
        for set in later {
            believed = set.verify_next(&believed)?;
        }
        Ok(Some(believed))
    }

    /// The set, as it is passed on.
    pub fn set(&self) -> &CoordinatorSet {
        &self.set
    }

    /// The set of this number: this one, or one of the few before it.
    pub fn of_epoch(&self, epoch: u64) -> Option<&Coordinators> {
        let mut known = self;
        while known.epoch() != epoch {
            known = known.before.as_deref()?;
        }
        Some(known)
    }

    /// The number of the set.
    pub fn epoch(&self) -> u64 {
        self.set.epoch
    }

    /// Signatures without which nothing is believed.
    pub fn majority(&self) -> usize {
        self.keys.len() / 2 + 1
    }

    /// The place of the member with this key.
    pub fn place_of(&self, key: &PublicKey) -> Option<u8> {
        self.set.members.binary_search(key).ok().map(|place| place as u8)
    }

    /// Whether the node of this name is a member.
    pub fn has(&self, node: NodeId) -> bool {
        self.set.members.iter().any(|key| NodeId::of_key(&key.0) == node)
    }

    /// Whether the member at `place` signed.
    pub fn verify_one(&self, context: Context, message: &[u8], endorsed: &Endorsed) -> bool {
        self.keys
            .get(usize::from(endorsed.place))
            .is_some_and(|key| key.verify(context, message, &endorsed.signature))
    }

    /// Whether a majority signed: different members, and not one signature that does not hold.
    pub fn verify(&self, context: Context, message: &[u8], signatures: &[Endorsed]) -> Result<(), Doubt> {
        // Counted before verified: what has too few costs nothing.
        if signatures.len() < self.majority() {
            return Err(Doubt::TooFew { valid: signatures.len(), needed: self.majority() });
        }
        let mut before = None;
        for endorsed in signatures {
            if before.is_some_and(|before| before >= endorsed.place) {
                return Err(Doubt::Twice { place: endorsed.place });
            }
            before = Some(endorsed.place);
            if !self.verify_one(context, message, endorsed) {
                return Err(Doubt::Forged { place: endorsed.place });
            }
        }
        Ok(())
    }
}

/// Why signatures of coordinators are not believed. Nothing was changed; who presents them is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    /// Fewer than a majority signed.
    #[error("{valid} of {needed} signatures of coordinators")]
    TooFew {
        /// How many signed.
        valid: usize,
        /// How many must.
        needed: usize,
    },
    /// A member is there twice, or out of order.
    #[error("the coordinator at place {place} signed twice")]
    Twice {
        /// Its place.
        place: u8,
    },
    /// A signature does not hold, or its place is nobody's.
    #[error("the signature of the coordinator at place {place} does not hold")]
    Forged {
        /// Its place.
        place: u8,
    },
}

/// Why a set of coordinators is not believed. Nothing was changed; who presents it is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    /// It is of another mesh.
    #[error("the coordinators are those of mesh {named}, not of this one")]
    WrongMesh {
        /// The mesh it is of.
        named: MeshId,
    },
    /// It does not follow what is known.
    #[error("set {epoch} of coordinators where set {expected} is expected")]
    WrongEpoch {
        /// Its number.
        epoch: u64,
        /// The number that follows.
        expected: u64,
    },
    /// Who must sign it did not.
    #[error("the set of coordinators is not signed as it must be: {0}")]
    Unsigned(Doubt),
    /// A member's key is not one that this protocol verifies with.
    #[error("a coordinator's key is weak or malformed")]
    WeakKey,
}

#[cfg(test)]
mod tests;
