use proptest::prelude::*;

use super::*;
use crate::id::hex;

fn authority() -> (SecretKey, VerifyKey) {
    let secret = SecretKey::from_seed([1; 32]);
    let verify = VerifyKey::new(&secret.public()).unwrap();
    (secret, verify)
}

fn sample() -> Admission {
    let unsigned = Admission {
        mesh: MeshId(0),
        key: SecretKey::from_seed([2; 32]).public(),
        roles: Roles::EDGE | Roles::AGGREGATOR,
        region: "eu".parse().unwrap(),
        name: "node-1".parse().unwrap(),
        not_before_seconds: 1_000,
        not_after_seconds: 2_000,
        signature: Signature([0; 64]),
    };
    unsigned.signed_by(&authority().0)
}

fn at(seconds: u64) -> Time {
    Time::from_millis(seconds * 1_000)
}

#[test]
fn admits_within_its_seconds_and_not_outside() {
    let (_, authority) = authority();
    let admission = sample();
    for (seconds, verdict) in [
        (999, Err(AdmissionError::NotYet { not_before_seconds: 1_000 })),
        (1_000, Ok(())),
        (2_000, Ok(())),
        (2_001, Err(AdmissionError::Expired { not_after_seconds: 2_000 })),
    ] {
        assert_eq!(admission.verify(&authority, at(seconds)), verdict);
    }
    assert_eq!(admission.node(), NodeId::of_key(&admission.key.0));
}

#[test]
fn another_mesh_is_refused() {
    let admission = sample();
    let other = VerifyKey::new(&SecretKey::from_seed([9; 32]).public()).unwrap();
    let verdict = admission.verify(&other, at(1_500));
    assert_eq!(verdict, Err(AdmissionError::WrongMesh { named: admission.mesh }));
    let mut renamed = admission;
    renamed.mesh = MeshId::of_authority(&other.public().0);
    assert_eq!(renamed.verify(&other, at(1_500)), Err(AdmissionError::BadSignature));
}

#[test]
fn weak_key_is_refused_even_when_signed() {
    let mut admission = sample();
    admission.key = PublicKey([0; 32]);
    let signed = admission.signed_by(&authority().0);
    assert_eq!(signed.verify(&authority().1, at(1_500)), Err(AdmissionError::WeakKey));
}

#[test]
fn any_changed_byte_is_refused() {
    let (_, authority) = authority();
    let bytes = sample().to_bytes();
    assert_eq!(Admission::from_bytes(&bytes), Ok(sample()));
    for index in 0..bytes.len() {
        let mut changed = bytes.to_vec();
        changed[index] ^= 1;
        let accepted = Admission::from_bytes(&changed)
            .is_ok_and(|admission| admission.verify(&authority, at(1_500)).is_ok());
        assert!(!accepted, "byte {index}");
    }
    for length in 0..bytes.len() {
        assert!(Admission::from_bytes(&bytes[..length]).is_err());
    }
}

#[test]
fn golden_bytes() {
    assert_eq!(hex(&sample().to_bytes()), GOLDEN);
}

const GOLDEN: &str = "83561adb398fd87f8139770ea87d175f56a35466c34c7ecccb8d8a91b4ee37a25df60f5b8fc9b394\
                      030200657506006e6f64652d31e803000000000000d007000000000000\
                      17a0903c1198876e354a1824b9143e40714304252e4ed382bfa3183768710ec6\
                      dc85b810e28448fb327f8a494585e929294949caa8861efbb8002c10ad6bf404";

#[test]
fn roles_read_what_they_write() {
    for bits in 1..8 {
        let roles = Roles::from_bits(bits).unwrap();
        assert_eq!(roles.to_string().parse(), Ok(roles));
        assert_eq!(Roles::split(&roles.join("."), '.'), Ok(roles));
    }
    assert_eq!((Roles::EDGE | Roles::AGGREGATOR).to_string(), "edge+aggregator");
    for bad in ["", "edge+", "edge+edge", "Edge", "edge aggregator"] {
        assert_eq!(bad.parse::<Roles>(), Err(BadRoles));
    }
    assert_eq!(Roles::from_bits(8), None);
}

#[test]
fn labels_are_bounded() {
    assert!("a-0".parse::<Label>().is_ok());
    assert!("a".repeat(64).parse::<Label>().is_ok());
    for bad in ["", "A", "a b", "a/b", "\u{e9}", &"a".repeat(65)] {
        assert_eq!(bad.parse::<Label>(), Err(BadLabel));
    }
}

proptest! {
    #[test]
    fn decoding_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(admission) = Admission::from_bytes(&bytes) {
            prop_assert_eq!(&admission.to_bytes()[..], &bytes[..]);
        }
    }

    #[test]
    fn decoding_a_damaged_admission_never_panics(index in 0_usize..139, byte in any::<u8>()) {
        let mut bytes = sample().to_bytes().to_vec();
        let index = index % bytes.len();
        bytes[index] = byte;
        if let Ok(admission) = Admission::from_bytes(&bytes) {
            prop_assert_eq!(&admission.to_bytes()[..], &bytes[..]);
        }
    }
}
