//! How nodes that were apart come to agree: what is not plainly alive, and what is missing.
//!
//! A node sends a [`Digest`] to a neighbour, which answers with the statements that the digest lacks
//! ([`Detector::missing`]), in the signed form in which it heard them. Nobody is believed for more
//! than he signed: a digest only chooses what is sent.

use bytes::{BufMut, BytesMut};

use super::Detector;
use super::statement::{Kind, Life, Standing, Statement};
use crate::hash::hash_id;
use crate::id::ShortId;
use crate::wire::codec::{DecodeError, Reader, Wire};

/// Entries of one digest: 21 KiB.
pub const ENTRIES_MAX: usize = 1024;
/// Statements of one answer: with signatures 26 KiB.
pub const STATEMENTS_MAX: usize = 256;

/// What a node is held for by the digest's sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Who.
    pub node: ShortId,
    /// In which life.
    pub life: Life,
    /// For what.
    pub standing: Standing,
}

/// What a node knows beyond who is plainly alive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Digest {
    /// Equal where the same is known of the same members.
    pub fingerprint: u64,
    /// Ends first, then suspicions, then refutations; cut at [`ENTRIES_MAX`].
    pub entries: Vec<Entry>,
}

impl Detector {
    /// What this node knows. Of more entries than fit, `turn` (a number that the caller raises each
    /// time) chooses the refutations, so that all come by in the end.
    pub fn digest(&self, turn: u32) -> Digest {
        let mut entries = self.entries();
        let essential = entries.partition_point(|entry| entry.standing != Standing::Alive);
        if entries.len() > ENTRIES_MAX {
            let rest = &mut entries[essential..];
            let steps = (turn as usize).wrapping_mul(ENTRIES_MAX / 2) % rest.len().max(1);
            rest.rotate_left(steps);
            entries.truncate(ENTRIES_MAX);
        }
        Digest { fingerprint: self.fingerprint(), entries }
    }

    /// Sixty-four bits that are equal where the same is known of the same members: cheaper to compare
    /// than a digest is to send.
    pub fn fingerprint(&self) -> u64 {
        let mine = Entry { node: self.me, life: self.life, standing: Standing::Alive };
        // A sum, so that the order in which nodes keep themselves and others does not matter.
        self.members.sum().wrapping_add(mine.hash())
    }

    /// The statements that the sender of `digest` lacks, essentials first, at most
    /// [`STATEMENTS_MAX`]. Send those of which the signed form is at hand; this node's own may be
    /// signed again.
    pub fn missing(&self, digest: &Digest) -> Vec<Statement> {
        let mut missing = Vec::new();
        if digest.fingerprint == self.fingerprint() {
            return missing;
        }
        let mut theirs: Vec<_> = digest.entries.iter().map(|entry| (entry.node, entry)).collect();
        theirs.sort_unstable_by_key(|(node, _)| *node);
        for entry in self.entries() {
            let found = theirs.binary_search_by_key(&entry.node, |(node, _)| *node);
            let known = found.ok().map(|at| (theirs[at].1.life, theirs[at].1.standing));
            if known.is_some_and(|known| known >= (entry.life, entry.standing)) {
                continue;
            }
            self.statements(&entry, &mut missing);
            if missing.len() >= STATEMENTS_MAX {
                break;
            }
        }
        missing.truncate(STATEMENTS_MAX);
        missing
    }

    /// Whether a statement of another still counts for what its subject is held for; the signed form
    /// of others need not be kept.
    pub fn is_in_force(&self, said: &Statement) -> bool {
        let Some(member) = self.members.get(said.subject) else { return false };
        match said.kind {
            // A life without refutation is known from the node's admission to a link.
            Kind::Join | Kind::Alive => {
                let is_latest = said.life == member.life() && said.life.refutation > 0;
                is_latest && member.standing != Standing::Left
            }
            Kind::Leave => said.life == member.life() && member.standing == Standing::Left,
            Kind::Suspect | Kind::Confirm => self.cases.get(&said.subject).is_some_and(|case| {
                case.of(said.life).any(|one| (one.speaker, one.kind) == (said.speaker, said.kind))
            }),
        }
    }

    /// All that is not plain: the essential first.
    fn entries(&self) -> Vec<Entry> {
        let of_member = |member: &super::members::Member| {
            let (node, life, standing) = (member.id, member.life(), member.standing);
            (standing != Standing::Alive || life.refutation > 0).then_some(Entry { node, life, standing })
        };
        let mut entries: Vec<Entry> = self.members.iter().filter_map(of_member).collect();
        if self.life.refutation > 0 {
            entries.push(Entry { node: self.me, life: self.life, standing: Standing::Alive });
        }
        entries.sort_unstable_by_key(|entry| (std::cmp::Reverse(entry.standing), entry.node));
        entries
    }

    fn statements(&self, entry: &Entry, into: &mut Vec<Statement>) {
        let Entry { node, life, standing } = *entry;
        let of_itself = |kind| Statement { speaker: node, kind, subject: node, life, said: 0 };
        match standing {
            Standing::Left => return into.push(of_itself(Kind::Leave)),
            Standing::Alive | Standing::Suspect | Standing::Dead if life.refutation > 0 => {
                into.push(of_itself(Kind::Alive));
            }
            Standing::Alive | Standing::Suspect | Standing::Dead => {}
        }
        let accusations = self.cases.get(&node).into_iter().flat_map(|case| case.of(life));
        into.extend(accusations.map(|one| Statement {
            speaker: one.speaker,
            kind: one.kind,
            subject: node,
            life,
            said: one.said,
        }));
    }
}

impl Entry {
    pub(super) fn hash(&self) -> u64 {
        hash_id(&self.bytes())
    }

    fn bytes(&self) -> [u8; 21] {
        let mut bytes = [0; 21];
        bytes[..8].copy_from_slice(&self.node.0.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.life.incarnation.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.life.refutation.to_le_bytes());
        bytes[20] = match self.standing {
            Standing::Alive => 0,
            Standing::Suspect => 1,
            Standing::Dead => 2,
            Standing::Left => 3,
        };
        bytes
    }
}

impl Wire for Digest {
    fn encode(&self, out: &mut BytesMut) {
        let count = self.entries.len().min(ENTRIES_MAX);
        out.put_u64_le(self.fingerprint);
        out.put_u16_le(count as u16);
        for entry in &self.entries[..count] {
            out.put_slice(&entry.bytes());
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Digest, DecodeError> {
        let (fingerprint, count) = (reader.u64()?, usize::from(reader.u16()?));
        if count > ENTRIES_MAX {
            return Err(DecodeError::TooLong("entries of a digest"));
        }
        if reader.remaining() < count * 21 {
            return Err(DecodeError::Truncated);
        }
        let mut entries = Vec::with_capacity(count);
        for _ in 0..count {
            let (node, life) = (ShortId(reader.u64()?), Life::decode(reader)?);
            let standing = match reader.u8()? {
                0 => Standing::Alive,
                1 => Standing::Suspect,
                2 => Standing::Dead,
                3 => Standing::Left,
                _ => return Err(DecodeError::Invalid("standing")),
            };
            entries.push(Entry { node, life, standing });
        }
        Ok(Digest { fingerprint, entries })
    }
}
