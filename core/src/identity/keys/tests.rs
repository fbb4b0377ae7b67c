use super::*;
use crate::id::unhex;

const ALL: [Context; 5] =
    [Context::Bundle, Context::Attach, Context::Admission, Context::Update, Context::Entry];

/// The order of the base point, little-endian.
const ORDER: &str = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";

fn key(byte: u8) -> (SecretKey, VerifyKey) {
    let secret = SecretKey::from_seed([byte; 32]);
    let verify = VerifyKey::new(&secret.public()).unwrap();
    (secret, verify)
}

#[test]
fn contexts_differ() {
    for (index, context) in ALL.iter().enumerate() {
        assert!(context.bytes().is_ascii());
        assert!(ALL[..index].iter().all(|other| other.bytes() != context.bytes()));
    }
}

#[test]
fn signature_is_the_standard_one_over_context_and_message() {
    use ed25519_dalek::Signer as _;
    let (secret, _) = key(7);
    let reference = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    let expected = reference.sign(b"starling/bundle1hello").to_bytes();
    assert_eq!(secret.sign(Context::Bundle, b"hello").0, expected);
    assert_eq!(secret.signer().sign(Context::Bundle, b"hello").0, expected);
    assert_eq!(secret.public().0, reference.verifying_key().to_bytes());
}

#[test]
fn golden_signature() {
    let secret = SecretKey::from_seed([1; 32]);
    assert_eq!(
        secret.public().to_string(),
        "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c"
    );
    assert_eq!(format!("{:?}", secret.sign(Context::Entry, b"")), GOLDEN);
}

const GOLDEN: &str = "905b149da70ca9d9dc8512a16a69218972e85515e1d7a60cf9d5538930dd2960\
                      d0ab3d1f87ff91d298b72800a7210fe14f69a977356b6ac981aa1fa036149607";

#[test]
fn long_messages_sign_like_short_ones() {
    let (secret, verify) = key(3);
    for length in [0, 1, STACK_BYTES - 17, STACK_BYTES - 16, STACK_BYTES - 15, 70_000] {
        let message = vec![9; length];
        let signature = secret.sign(Context::Update, &message);
        assert!(verify.verify(Context::Update, &message, &signature), "{length}");
        assert!(!verify.verify(Context::Update, &vec![9; length + 1], &signature), "{length}");
    }
}

#[test]
fn any_changed_byte_is_refused() {
    let (secret, verify) = key(5);
    let message: Vec<u8> = (0..40).collect();
    let signature = secret.sign(Context::Bundle, &message);
    assert!(verify.verify(Context::Bundle, &message, &signature));
    for index in 0..message.len() {
        let mut changed = message.clone();
        changed[index] ^= 1;
        assert!(!verify.verify(Context::Bundle, &changed, &signature));
    }
    for index in 0..64 {
        let mut changed = signature;
        changed.0[index] ^= 1;
        assert!(!verify.verify(Context::Bundle, &message, &changed));
    }
    for other in ALL.iter().filter(|context| **context != Context::Bundle) {
        assert!(!verify.verify(*other, &message, &signature));
    }
    assert!(!key(6).1.verify(Context::Bundle, &message, &signature));
}

#[test]
fn second_form_of_a_signature_is_refused() {
    let (secret, verify) = key(5);
    let mut signature = secret.sign(Context::Bundle, b"once");
    let order: [u8; 32] = unhex(ORDER).unwrap();
    let mut carry = 0;
    for (byte, add) in signature.0[32..].iter_mut().zip(order) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        *byte = sum.to_le_bytes()[0];
        carry = sum >> 8;
    }
    assert_eq!(carry, 0);
    assert!(!verify.verify(Context::Bundle, b"once", &signature));
}

#[test]
fn weak_and_doubly_spelled_keys_are_refused() {
    let mut one = [0; 32];
    one[0] = 1;
    let mut minus_zero_sign = one;
    minus_zero_sign[31] = 0x80;
    let order_eight: [u8; 32] =
        unhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a").unwrap();
    for weak in [[0; 32], one, minus_zero_sign, order_eight] {
        assert_eq!(VerifyKey::new(&PublicKey(weak)), None);
    }
    for low in 0xed..=0xff {
        for high in [0x7f, 0xff] {
            let mut spelled = [0xff; 32];
            spelled[0] = low;
            spelled[31] = high;
            assert_eq!(VerifyKey::new(&PublicKey(spelled)), None);
        }
    }
    assert!(is_canonical(&[0xec; 32]));
}

#[test]
fn debug_shows_no_secret() {
    let (secret, _) = key(0xab);
    assert!(!format!("{secret:?} {:?}", secret.signer()).contains(&"ab".repeat(8)));
    assert_eq!(size_of::<SecretKey>(), 64);
}

#[test]
fn the_listed_points_are_all_of_small_order() {
    let weak: Vec<[u8; 32]> = SMALL_ORDER
        .iter()
        .flat_map(|y| {
            let mut other = *y;
            other[31] |= 0x80;
            [*y, other]
        })
        .filter(|point| ed25519_dalek::VerifyingKey::from_bytes(point).is_ok_and(|key| key.is_weak()))
        .collect();
    for y in &SMALL_ORDER {
        assert!(weak.iter().any(|point| same_y(point, y)), "{y:?}");
    }
    assert!(weak.len() >= 8, "the curve has eight such points");
}

proptest::proptest! {
    #[test]
    fn agrees_with_dalek_on_what_is_strictly_valid(
        seed: u8, message: [u8; 8], byte in 0usize..64, flip: u8, small in 0usize..6, torsion: bool,
    ) {
        let (secret, verify) = key(seed);
        let mut signature = secret.sign(Context::Entry, &message);
        if let (true, Some(point)) = (torsion, SMALL_ORDER.get(small)) {
            signature.0[..32].copy_from_slice(point);
        }
        signature.0[byte] ^= flip;
        let dalek = ed25519_dalek::VerifyingKey::from_bytes(&verify.public().0).unwrap();
        let theirs = ed25519_dalek::Signature::from_bytes(&signature.0);
        let expected = Context::Entry.prefixed(&message, |whole| dalek.verify_strict(whole, &theirs).is_ok());
        proptest::prop_assert_eq!(verify.verify(Context::Entry, &message, &signature), expected);
    }
}
