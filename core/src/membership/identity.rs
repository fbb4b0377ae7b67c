//! Who a node is.

use std::sync::Arc;

use crate::hot::view::Me;
use crate::id::{RegionId, ShortId};
use crate::identity::{Admission, Signer, VerifyKey};

/// Who this node is, as it tells others.
#[derive(Clone, Debug)]
pub struct Identity {
    /// What people call the mesh.
    pub mesh: String,
    /// Its admission.
    pub admission: Admission,
    /// Its incarnation.
    pub incarnation: u64,
    /// Where it listens.
    pub addresses: Vec<String>,
    /// Its process id.
    pub process: u32,
    /// Its software.
    pub version: String,
    /// The mesh's authority.
    pub authority: VerifyKey,
    /// Its identity key.
    pub signer: Arc<Signer>,
}

impl Identity {
    /// The node's short id.
    pub fn short(&self) -> ShortId {
        self.admission.node().short()
    }

    /// The node as its hot path and its bundles name it.
    pub fn me(&self) -> Me {
        let (id, region) = (self.short(), self.region());
        Me { mesh: self.admission.mesh, id, region, incarnation: self.incarnation }
    }

    /// The node's region.
    pub fn region(&self) -> RegionId {
        self.admission.region_id()
    }
}
