//! Nodes of one mesh, for the tests beside it: each named by the seed of its key.

use std::sync::Arc;

use crate::id::{MeshId, ShortId};
use crate::identity::{Admission, Roles, SecretKey, Signature, VerifyKey};
use crate::machine::Peer;
use crate::membership::Identity;

/// The seed of the mesh's authority.
const AUTHORITY: u8 = 200;

pub fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed([seed; 32])
}

/// Its admission to region `east`.
pub fn admission(seed: u8, roles: Roles) -> Admission {
    let admission = Admission {
        mesh: MeshId(0),
        key: key(seed).public(),
        roles,
        region: "east".parse().expect("a name"),
        name: format!("node-{seed}").parse().expect("a name"),
        not_before_seconds: 0,
        not_after_seconds: u64::MAX,
        signature: Signature([0; 64]),
    };
    admission.signed_by(&key(AUTHORITY))
}

pub fn id(seed: u8) -> ShortId {
    admission(seed, Roles::EDGE).node().short()
}

/// It in one of its lives; it listens nowhere.
pub fn identity(seed: u8, roles: Roles, incarnation: u64) -> Identity {
    Identity {
        mesh: "test".into(),
        admission: admission(seed, roles),
        incarnation,
        addresses: Vec::new(),
        process: 1,
        version: "0.1.0".to_string(),
        authority: VerifyKey::new(&key(AUTHORITY).public()).expect("a good key"),
        coordinators: None,
        signer: Arc::new(key(seed).signer()),
    }
}

/// It as who is linked with it knows it.
pub fn peer(seed: u8, roles: Roles, incarnation: u64) -> Peer {
    identity(seed, roles, incarnation).peer()
}
