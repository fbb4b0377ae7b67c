//! Who a node is.

use std::sync::Arc;

use crate::hot::view::Me;
use crate::id::{RegionId, ShortId};
use crate::identity::{Admission, Coordinators, Signer, VerifyKey};
use crate::machine::Peer;
use crate::wire::codec::Wire;
use crate::wire::message::PeerRecord;

use super::record;

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
    /// The mesh's coordinators, as its credentials say; without them no decision is believed.
    pub coordinators: Option<Coordinators>,
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

    /// Whether this is where it tells others to dial it; what may stand behind a `#` does not matter.
    pub fn listens_at(&self, address: &str) -> bool {
        let place = address.split_once('#').map_or(address, |(place, _)| place);
        self.addresses.iter().any(|own| own == place)
    }

    /// What it says of itself.
    pub fn record(&self) -> PeerRecord {
        let record = PeerRecord {
            admission: self.admission.to_bytes(),
            addresses: self.addresses.clone(),
            incarnation: self.incarnation,
            process: self.process,
            version: self.version.clone(),
            ..PeerRecord::default()
        };
        record::signed(record, self.admission.mesh, &self.signer)
    }

    /// The same as who is linked with it learns it.
    pub fn peer(&self) -> Peer {
        record::peer(self.admission.clone(), self.record()).expect("it was signed")
    }

    /// The node's region.
    pub fn region(&self) -> RegionId {
        self.admission.region_id()
    }
}
