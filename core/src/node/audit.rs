//! What an audit of a region's figure compares: the aggregator's signed commitment, the edges' signed
//! summaries, and the agents' claims; and what of it convicts whom, for anybody who has the keys.
//!
//! Nothing here is sent yet; it is what the messages of an audit will carry.

use bytes::{BufMut, BytesMut};

use crate::id::{MeshId, NodeId, RegionId, ShortId};
use crate::identity::{AttachClaim, AttachTerms, Context, Signature, Signer, VerifyKey};
use crate::summary::{AttachCommitment, AttachOpening, Commitment, EdgeVersion, Leaf, Opening};
use crate::wire::codec::{DecodeError, Reader, Wire};

/// What an edge says of one version of its summary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignedSummary {
    /// The edge, its version, its agents and the digest of its parts: the leaf of a figure.
    pub leaf: Leaf,
    /// The root over its agents' attaches; their number is the leaf's.
    pub attaches: [u8; 32],
    /// By the edge's identity key.
    pub signature: Signature,
}

/// What an aggregator says of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignedFigure {
    /// Its region.
    pub region: RegionId,
    /// What the figure commits to.
    pub commitment: Commitment,
    /// By the aggregator's identity key.
    pub signature: Signature,
}

fn put_leaf(leaf: &Leaf, out: &mut BytesMut) {
    out.put_u64_le(leaf.edge.0);
    out.put_u64_le(leaf.version.incarnation);
    out.put_u64_le(leaf.version.version);
    out.put_u64_le(leaf.agents);
    out.put_slice(&leaf.digest);
}

fn take_leaf(reader: &mut Reader<'_>) -> Result<Leaf, DecodeError> {
    let edge = ShortId(reader.u64()?);
    let version = EdgeVersion { incarnation: reader.u64()?, version: reader.u64()? };
    Ok(Leaf { edge, version, agents: reader.u64()?, digest: reader.array()? })
}

impl SignedSummary {
    /// Signed by the edge.
    pub fn sign(mesh: MeshId, leaf: Leaf, attaches: [u8; 32], signer: &Signer) -> SignedSummary {
        let signature = signer.sign(Context::Summary, &SignedSummary::said(mesh, &leaf, &attaches));
        SignedSummary { leaf, attaches, signature }
    }

    fn said(mesh: MeshId, leaf: &Leaf, attaches: &[u8; 32]) -> BytesMut {
        let mut said = BytesMut::new();
        said.put_u64_le(mesh.0);
        put_leaf(leaf, &mut said);
        said.put_slice(attaches);
        said
    }

    /// Whether the edge with this key said so.
    pub fn is_by(&self, mesh: MeshId, edge: &VerifyKey) -> bool {
        let is_its = NodeId::of_key(&edge.public().0).short() == self.leaf.edge;
        is_its
            && edge.verify(
                Context::Summary,
                &SignedSummary::said(mesh, &self.leaf, &self.attaches),
                &self.signature,
            )
    }

    /// What its agents are opened against.
    pub fn attaches(&self) -> AttachCommitment {
        AttachCommitment { root: self.attaches, agents: self.leaf.agents }
    }
}

impl SignedFigure {
    /// Signed by the aggregator.
    pub fn sign(mesh: MeshId, region: RegionId, commitment: Commitment, signer: &Signer) -> SignedFigure {
        let signature = signer.sign(Context::Figure, &SignedFigure::said(mesh, region, &commitment));
        SignedFigure { region, commitment, signature }
    }

    fn said(mesh: MeshId, region: RegionId, commitment: &Commitment) -> BytesMut {
        let mut said = BytesMut::new();
        said.put_u64_le(mesh.0);
        said.put_u64_le(region.0);
        said.put_slice(&commitment.root);
        said.put_u64_le(commitment.agents);
        said.put_u32_le(commitment.edges);
        said
    }

    /// Whether the aggregator with this key said so.
    pub fn is_by(&self, mesh: MeshId, aggregator: &VerifyKey) -> bool {
        let said = SignedFigure::said(mesh, self.region, &self.commitment);
        aggregator.verify(Context::Figure, &said, &self.signature)
    }
}

/// An aggregator's figure has a leaf for an edge's version that differs from what the edge signed of that very
/// version: whoever has both keys sees that the aggregator made it up, or that the edge signed two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forgery {
    /// The figure.
    pub figure: SignedFigure,
    /// Its leaf, and the way up.
    pub opening: Opening,
    /// What the edge says.
    pub summary: SignedSummary,
}

/// What becomes of a leaf beside the edge's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compared {
    /// The edge says the same.
    Same,
    /// The opening is not of the figure, or the edge's word is of another version: it shows nothing.
    Nothing,
    /// They differ.
    Forged(Box<Forgery>),
}

/// Compares a leaf of a figure with what its edge says; all signatures were verified.
pub fn compare(figure: &SignedFigure, opening: &Opening, summary: &SignedSummary) -> Compared {
    let (leaf, said) = (&opening.leaf, &summary.leaf);
    if !opening.is_of(&figure.commitment) || leaf.edge != said.edge || leaf.version != said.version {
        return Compared::Nothing;
    }
    match leaf == said {
        true => Compared::Same,
        false => {
            let (figure, opening, summary) = (*figure, opening.clone(), *summary);
            Compared::Forged(Box::new(Forgery { figure, opening, summary }))
        }
    }
}

impl Forgery {
    /// Whether it convicts the holder of `aggregator`, unless the edge signed two different summaries of one
    /// version: then that edge convicts itself, by this one and the other.
    pub fn holds(&self, mesh: MeshId, aggregator: &VerifyKey, edge: &VerifyKey) -> bool {
        self.figure.is_by(mesh, aggregator)
            && self.summary.is_by(mesh, edge)
            && matches!(compare(&self.figure, &self.opening, &self.summary), Compared::Forged(_))
    }
}

impl Wire for Forgery {
    /// Region (8), root (32), agents (8), edges (4), signature (64); the opening; the summary's leaf (64), root
    /// over attaches (32), signature (64).
    fn encode(&self, out: &mut BytesMut) {
        let Commitment { root, agents, edges } = &self.figure.commitment;
        out.put_u64_le(self.figure.region.0);
        out.put_slice(root);
        out.put_u64_le(*agents);
        out.put_u32_le(*edges);
        self.figure.signature.encode(out);
        self.opening.encode(out);
        put_leaf(&self.summary.leaf, out);
        out.put_slice(&self.summary.attaches);
        self.summary.signature.encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Forgery, DecodeError> {
        let region = RegionId(reader.u64()?);
        let commitment = Commitment { root: reader.array()?, agents: reader.u64()?, edges: reader.u32()? };
        let figure = SignedFigure { region, commitment, signature: Signature::decode(reader)? };
        let opening = Opening::decode(reader)?;
        let (leaf, attaches) = (take_leaf(reader)?, reader.array()?);
        let summary = SignedSummary { leaf, attaches, signature: Signature::decode(reader)? };
        Ok(Forgery { figure, opening, summary })
    }
}

/// The hash of a claim and of the connection that it holds on, as a leaf over attaches has it.
pub fn claim_digest(claim: &AttachClaim, terms: &AttachTerms) -> [u8; 32] {
    let mut bytes = BytesMut::new();
    claim.encode(&mut bytes);
    bytes.put_slice(&terms.binding);
    *blake3::hash(&bytes).as_bytes()
}

/// Whether an opened leaf is of an agent that let the edge speak for it: the claim behind its digest is by the
/// agent's key, for this edge in this life. An agent that the edge made up itself passes too: agents are not
/// admitted.
pub fn is_attached(
    summary: &SignedSummary,
    opening: &AttachOpening,
    claim: &AttachClaim,
    terms: &AttachTerms,
) -> bool {
    let leaf = &opening.leaf;
    opening.is_of(&summary.attaches())
        && (leaf.agent, leaf.session) == (claim.agent(), claim.session)
        && leaf.digest == claim_digest(claim, terms)
        && terms.edge.short() == summary.leaf.edge
        && terms.edge_incarnation == summary.leaf.version.incarnation
        && terms.verify_one(claim)
}

#[cfg(test)]
mod tests;
