use proptest::prelude::*;

use super::*;
use crate::id::hex;
use crate::identity::SecretKey;

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed([seed; 32])
}

fn root() -> (Signer, VerifyKey) {
    let secret = key(1);
    (secret.signer(), VerifyKey::new(&secret.public()).unwrap())
}

fn public(seeds: &[u8]) -> Vec<PublicKey> {
    seeds.iter().map(|seed| key(*seed).public()).collect()
}

fn first(seeds: &[u8]) -> CoordinatorSet {
    CoordinatorSet::first(&root().0, public(seeds)).unwrap()
}

fn by(believed: &Coordinators, seeds: &[u8], context: Context, message: &[u8]) -> Vec<Endorsed> {
    let mut list: Vec<Endorsed> = seeds
        .iter()
        .map(|seed| Endorsed {
            place: believed.place_of(&key(*seed).public()).unwrap_or(0),
            signature: key(*seed).sign(context, message),
        })
        .collect();
    list.sort_by_key(|endorsed| endorsed.place);
    list
}

fn next(believed: &Coordinators, members: &[u8], signers: &[u8]) -> CoordinatorSet {
    let epoch = believed.epoch() + 1;
    let mut set = CoordinatorSet::unsigned(believed.set().mesh, epoch, public(members)).unwrap();
    set.signatures = by(believed, signers, Context::Coordinators, &set.signed_bytes());
    set
}

#[test]
fn a_chain_of_sets_leads_from_the_root_to_the_last() {
    let one = first(&[2, 3, 4]).verify_first(&root().1).unwrap();
    assert_eq!((one.epoch(), one.majority()), (1, 2));
    let two = next(&one, &[3, 4, 5], &[3, 4]).verify_next(&one).unwrap();
    let three = next(&two, &[5], &[4, 5]).verify_next(&two).unwrap();
    assert_eq!((three.epoch(), three.majority()), (3, 1));
    assert!(three.has(NodeId::of_key(&key(5).public().0)) && !three.has(NodeId::of_key(&key(3).public().0)));
    // Who is no member any more signs no further one.
    let stolen = next(&three, &[3], &[3]);
    assert_eq!(stolen.verify_next(&three), Err(SetError::Unsigned(Doubt::Forged { place: 0 })));
    // A set that was passed over, or that is old.
    let skipped = SetError::WrongEpoch { epoch: 3, expected: 2 };
    assert_eq!(three.set().verify_next(&one), Err(skipped));
    assert_eq!(two.set().verify_first(&root().1), Err(SetError::WrongEpoch { epoch: 2, expected: 1 }));
}

#[test]
fn only_the_root_of_the_mesh_signs_the_first_set() {
    let other = VerifyKey::new(&key(9).public()).unwrap();
    let set = first(&[2]);
    assert_eq!(set.verify_first(&other), Err(SetError::WrongMesh { named: set.mesh }));
    let mut unsigned = set.clone();
    unsigned.signatures.clear();
    let mut forged = set.clone();
    forged.signatures[0].signature = key(9).sign(Context::Coordinators, &forged.signed_bytes());
    for bad in [unsigned, forged] {
        assert!(matches!(bad.verify_first(&root().1), Err(SetError::Unsigned(_))));
    }
    let weak = CoordinatorSet::first(&root().0, vec![PublicKey([0; 32])]).unwrap();
    assert_eq!(weak.verify_first(&root().1), Err(SetError::WeakKey));
}

#[test]
fn less_than_a_majority_forges_nothing() {
    for (members, majority) in [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (6, 4), (7, 4_u8)] {
        let seeds: Vec<u8> = (10..10 + members).collect();
        let believed = first(&seeds).verify_first(&root().1).unwrap();
        assert_eq!(believed.majority(), usize::from(majority));
        let signed = |count: u8| by(&believed, &seeds[..usize::from(count)], Context::Decision, b"said");
        let verify = |list: &[Endorsed]| believed.verify(Context::Decision, b"said", list);
        for count in 0..=members {
            assert_eq!(verify(&signed(count)).is_ok(), count >= majority, "{count} of {members}");
        }
        // One member as often as a majority has signatures.
        let one = signed(1)[0];
        let twice = vec![one; usize::from(majority)];
        assert_eq!(verify(&twice).is_ok(), majority == 1);
        // One that does not hold spoils all, also above a majority.
        let mut spoilt = signed(members);
        spoilt.last_mut().unwrap().signature.0[5] ^= 1;
        assert!(matches!(verify(&spoilt), Err(Doubt::Forged { .. })));
        assert!(believed.verify(Context::Decision, b"sait", &signed(members)).is_err());
        assert!(believed.verify(Context::Coordinators, b"said", &signed(members)).is_err());
    }
}

#[test]
fn members_are_one_to_seven_different_ones() {
    let unsigned = |seeds: &[u8]| CoordinatorSet::unsigned(MeshId(1), 1, public(seeds));
    assert!(unsigned(&[]).is_none() && unsigned(&[2, 3, 2]).is_none());
    assert!(unsigned(&[1, 2, 3, 4, 5, 6, 7]).is_some() && unsigned(&[1, 2, 3, 4, 5, 6, 7, 8]).is_none());
    assert!(CoordinatorSet::unsigned(MeshId(1), 0, public(&[2])).is_none());
    assert_eq!(unsigned(&[4, 2]), unsigned(&[2, 4]), "the order they are named in says nothing");
}

#[test]
fn golden_bytes() {
    assert_eq!(hex(&first(&[2]).to_bytes()), GOLDEN);
}

const GOLDEN: &str = "0183561adb398fd87f0100000000000000018139770ea87d175f56a35466c34c7ecccb8d8a91b4ee\
                      37a25df60f5b8fc9b3940100d31c5b5e75a38fcbd933a286d7072f275a294be63084e769132f67d2\
                      b4f0064cf29b9112fb3a47ef5ef9d5d91f42ea224b52822ac8d26f01ddfd49a8e987a807";

#[test]
fn any_changed_byte_is_refused() {
    let set = first(&[2, 3, 4]);
    let bytes = set.to_bytes();
    assert_eq!(CoordinatorSet::from_bytes(&bytes), Ok(set));
    for index in 0..bytes.len() {
        let mut changed = bytes.to_vec();
        changed[index] ^= 1;
        let believed =
            CoordinatorSet::from_bytes(&changed).is_ok_and(|set| set.verify_first(&root().1).is_ok());
        assert!(!believed, "byte {index}");
    }
    for length in 0..bytes.len() {
        assert!(CoordinatorSet::from_bytes(&bytes[..length]).is_err());
    }
}

proptest! {
    #[test]
    fn decoding_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        if let Ok(set) = CoordinatorSet::from_bytes(&bytes) {
            prop_assert_eq!(&set.to_bytes()[..], &bytes[..]);
        }
        if let Ok(list) = Endorsed::list_from_bytes(&bytes) {
            prop_assert_eq!(&Endorsed::list_to_bytes(&list)[..], &bytes[..]);
        }
    }

    #[test]
    fn decoding_a_damaged_set_never_panics(index in 0_usize..400, byte in any::<u8>()) {
        let mut bytes = first(&[2, 3, 4]).to_bytes().to_vec();
        let index = index % bytes.len();
        bytes[index] = byte;
        if let Ok(set) = CoordinatorSet::from_bytes(&bytes) {
            prop_assert_eq!(&set.to_bytes()[..], &bytes[..]);
        }
    }
}
