//! What two nodes know together and nobody else, from their identity keys alone.
//!
//! X25519 (RFC 7748) on the identity keys, taken to the Montgomery form: the secret half is the scalar
//! that ed25519 itself signs with (RFC 8032, section 5.1.5). Nothing is sent for it, so two nodes that
//! have never met can check each other's words over a path of others; it is no key exchange for secrets
//! that are to outlive the identity keys. What is derived from it is bound to a purpose and to fresh
//! values by its user.

use aws_lc_rs::encoding::AsBigEndian;
use ed25519_dalek::SigningKey;

use super::keys::{Signer, VerifyKey};

/// What two nodes have in common; the same whichever of them asks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Shared([u8; 32]);

impl Shared {
    /// A key for one purpose, from fresh values.
    pub fn key(&self, purpose: &str, fresh: &[u8]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key(purpose);
        hasher.update(&self.0);
        hasher.update(fresh);
        *hasher.finalize().as_bytes()
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shared(..)")
    }
}

impl Signer {
    /// What this key's owner shares with that of `other`; about 60 microseconds. `None` between a key
    /// of a simulated mesh and one of a real one.
    pub fn agree(&self, other: &VerifyKey) -> Option<Shared> {
        match (self.pair(), other.point()) {
            (Some(pair), Some(point)) => {
                let seed = pair.seed().ok()?.as_be_bytes().ok()?;
                let scalar = SigningKey::from_bytes(seed.as_ref().try_into().ok()?).to_scalar_bytes();
                Some(Shared(point.to_montgomery().mul_clamped(scalar).to_bytes()))
            }
            (None, None) => {
                let (mine, theirs) = (self.public().0, other.public().0);
                let (low, high) = (mine.min(theirs), mine.max(theirs));
                Some(Shared(blake3::derive_key("starling simulated agreement 1", &[low, high].concat())))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{PublicKey, SecretKey};

    fn both(seeds: [u8; 2]) -> [Option<Shared>; 2] {
        let [one, other] = seeds.map(|seed| SecretKey::from_seed([seed; 32]));
        let agree = |mine: &SecretKey, theirs: PublicKey| {
            mine.signer().agree(&VerifyKey::new(&theirs).expect("a good key"))
        };
        [agree(&one, other.public()), agree(&other, one.public())]
    }

    #[test]
    fn both_sides_have_the_same_and_a_third_has_another() {
        let [one, other] = both([1, 2]);
        assert!(one.is_some() && one == other);
        assert_ne!(both([1, 3])[0], one);
        let keys = |shared: Option<Shared>| shared.expect("both are real").key("purpose", b"fresh");
        assert_eq!(keys(one), keys(other));
        assert_ne!(keys(one), one.expect("both are real").key("purpose", b"stale"));
        assert_ne!(keys(one), one.expect("both are real").key("other", b"fresh"));
    }

    #[test]
    fn a_simulated_node_agrees_with_its_like_alone() {
        let [one, other] = [[1; 32], [2; 32]].map(|seed| Signer::simulated(&seed));
        let key_of = |signer: &Signer| VerifyKey::simulated(&signer.public());
        assert!(one.agree(&key_of(&other)).is_some());
        assert_eq!(one.agree(&key_of(&other)), other.agree(&key_of(&one)));
        let real = SecretKey::from_seed([1; 32]).signer();
        assert_eq!(real.agree(&key_of(&one)), None);
    }
}
