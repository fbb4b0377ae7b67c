//! Versioned state: what each node says of itself, merged by everyone into one picture.
//!
//! A node writes one [`keyspace::Keyspace`], alone; its bundles are contiguous and hash-chained.
//! Everybody keeps the keyspaces of all origins in a [`replica::Replica`], which merges the
//! [`crdt::Value`]s under one key on reading. Two replicas compare by Merkle root
//! ([`merkle::MerkleTree`]) first and by [`version::VersionVector`] second. Signatures are checked
//! before anything arrives here.
//!
//! May depend on names, time stamps and the codec. Start at [`replica`].

pub mod crdt;
pub mod keyspace;
pub mod merkle;
pub mod replica;
pub mod version;
