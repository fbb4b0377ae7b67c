//! Signatures for a simulator: a keyed hash of an ed25519 signature's size.
//!
//! They cost a hundredth of real ones and prove nothing: who knows the public key can make them. A
//! node of a real mesh never accepts one, since the kind of key that it makes for a peer follows its
//! mesh's authority ([`super::VerifyKey::same_kind`]), and what is read from files and certificates
//! is always ed25519.

use super::keys::{Context, PublicKey, Signature};

/// The public half of the simulated key of `seed`.
pub(super) fn public_of(seed: &[u8; 32]) -> PublicKey {
    PublicKey(blake3::derive_key("starling simulated public key 1", seed))
}

/// Signs for whoever holds the secret half of `key`.
pub(super) fn sign(key: &PublicKey, context: Context, message: &[u8]) -> Signature {
    let mut hasher = blake3::Hasher::new_keyed(&key.0);
    hasher.update(context.bytes());
    hasher.update(message);
    let mut signature = [0; 64];
    hasher.finalize_xof().fill(&mut signature);
    Signature(signature)
}

#[cfg(test)]
mod tests {
    use crate::identity::{Context, Signer, VerifyKey};

    #[test]
    fn holds_for_its_key_message_and_context_alone() {
        let (one, other) = (Signer::simulated(&[1; 32]), Signer::simulated(&[2; 32]));
        let key = VerifyKey::simulated(&one.public());
        let mut signature = one.sign(Context::Bundle, b"said");
        assert!(key.verify(Context::Bundle, b"said", &signature));
        assert!(!key.verify(Context::Update, b"said", &signature));
        assert!(!key.verify(Context::Bundle, b"sait", &signature));
        assert!(!VerifyKey::simulated(&other.public()).verify(Context::Bundle, b"said", &signature));
        signature.0[63] ^= 1;
        assert!(!key.verify(Context::Bundle, b"said", &signature));
    }

    #[test]
    fn a_real_mesh_takes_no_simulated_key() {
        let real = crate::identity::SecretKey::from_seed([7; 32]);
        let authority = VerifyKey::new(&real.public()).expect("a good key");
        let signer = Signer::simulated(&[1; 32]);
        let signature = signer.sign(Context::Bundle, b"said");
        let taken = authority.same_kind(&signer.public());
        assert!(taken.is_none_or(|key| !key.verify(Context::Bundle, b"said", &signature)));
    }
}
