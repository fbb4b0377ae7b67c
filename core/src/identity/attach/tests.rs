use proptest::prelude::*;

use super::*;
use crate::id::hex;

fn terms() -> AttachTerms {
    AttachTerms { edge: NodeId([3; 32]), edge_incarnation: 5, binding: [4; 32] }
}

fn claims(count: u32) -> Vec<AttachClaim> {
    (0..count)
        .map(|index| {
            let mut seed = [8; 32];
            seed[..4].copy_from_slice(&index.to_le_bytes());
            terms().sign(&SecretKey::from_seed(seed), u64::from(index), 60_000)
        })
        .collect()
}

#[test]
fn good_claims_pass_in_every_count() {
    let all = claims(600);
    for count in [0, 1, 2, 255, 256, 257, 600] {
        assert_eq!(terms().verify(&all[..count]), vec![true; count]);
    }
}

#[test]
fn one_bad_claim_harms_only_itself() {
    let mut all = claims(300);
    all[7].signature.0[40] ^= 1;
    all[260].session += 1;
    all[299].key = PublicKey([0; 32]);
    let verdicts = terms().verify(&all);
    let refused: Vec<usize> = (0..300).filter(|index| !verdicts[*index]).collect();
    assert_eq!(refused, [7, 260, 299]);
    for (claim, verdict) in all.iter().zip(verdicts) {
        assert_eq!(terms().verify_one(claim), verdict);
    }
}

#[test]
fn a_claim_holds_under_its_own_terms_alone() {
    let all = claims(3);
    let mut others = [terms(); 3];
    others[0].edge = NodeId([9; 32]);
    others[1].edge_incarnation = 6;
    others[2].binding[31] ^= 1;
    for other in others {
        assert_eq!(other.verify(&all), [false; 3]);
        assert!(!other.verify_one(&all[0]));
    }
}

#[test]
fn any_changed_byte_is_refused() {
    let claim = claims(1)[0];
    let bytes = claim.to_bytes();
    assert_eq!(bytes.len(), CLAIM_BYTES);
    for index in 0..bytes.len() {
        let mut changed = bytes.to_vec();
        changed[index] ^= 1;
        let changed = AttachClaim::from_bytes(&changed).unwrap();
        assert_eq!(terms().verify(&[claim, changed]), [true, false], "byte {index}");
    }
}

#[test]
fn time_is_bounded_on_both_sides() {
    let claim = claims(1)[0];
    let hour = Duration::from_secs(3_600);
    assert!(!claim.is_out_of_time(Time::from_millis(59_999), hour));
    assert!(claim.is_out_of_time(Time::from_millis(60_000), hour));
    assert!(claim.is_out_of_time(Time::ZERO, Duration::from_secs(59)));
    assert!(!claim.is_out_of_time(Time::ZERO, Duration::from_secs(60)));
}

#[test]
fn golden_bytes() {
    assert_eq!(hex(&claims(1)[0].to_bytes()), GOLDEN);
}

const GOLDEN: &str = "d7ee4cf21c515f623cabaf80d8bfc2fae7ea5302366e15b206284357f94a7920\
                      000000000000000060ea000000000000\
                      fbecec84395f5c196e4718166a0016ccc28ae1081e3faa92bac2ccf69b924916\
                      9d88ae361cb983d78f716fd4b5335c7cdd5e9580d4b95e80269e87e9985f3605";

proptest! {
    #[test]
    fn arbitrary_claims_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(claim) = AttachClaim::from_bytes(&bytes) {
            prop_assert_eq!(&claim.to_bytes()[..], &bytes[..]);
        }
        let claims: Vec<AttachClaim> =
            bytes.chunks_exact(CLAIM_BYTES).filter_map(|part| AttachClaim::from_bytes(part).ok()).collect();
        prop_assert_eq!(terms().verify(&claims), vec![false; claims.len()]);
    }
}
