use super::*;
use crate::id::hex;
use crate::identity::{Context, SecretKey, Signature, VerifyKey};
use crate::wire::frame::FrameDecoder;
use proptest::prelude::*;

fn secret() -> SecretKey {
    SecretKey::from_seed([7; 32])
}

/// Fills in hashes and lengths, and signs.
fn seal(mut bundle: Bundle) -> Bundle {
    for section in &mut bundle.sections {
        let body = section.body.as_ref().expect("bundles are sealed whole");
        section.hash = *blake3::hash(body).as_bytes();
        section.length = u32::try_from(body.len()).expect("bodies of tests are short");
    }
    let mut header = encode_header(&bundle);
    bundle.hash = *blake3::hash(&header).as_bytes();
    header.extend_from_slice(&secret().sign(Context::Bundle, &bundle.hash).0);
    bundle.header = header.freeze();
    bundle
}

fn section(directed: bool, subject: &[u8], count: u16, body: &[u8]) -> Section {
    Section {
        tenant: 1,
        key: 2,
        codec: 3,
        directed,
        count,
        subject: Bytes::copy_from_slice(subject),
        hash: [0; 32],
        length: 0,
        body: Some(Bytes::copy_from_slice(body)),
    }
}

fn bundle_of(sections: Vec<Section>) -> Bundle {
    seal(Bundle {
        class: Class::EventBulk,
        mesh: MeshId(0x11),
        origin: ShortId(0x22),
        incarnation: 0x33,
        sequence: 0x44,
        clock: 0x55,
        previous: None,
        is_checkpoint: false,
        agents: vec![AgentId([0xAA; 16])],
        sections,
        header: Bytes::new(),
        hash: [0; 32],
    })
}

fn small() -> Bundle {
    bundle_of(vec![section(false, b"a.b", 1, b"first"), section(true, &[0xBB; 16], 2, b"second")])
}

fn passage() -> Passage {
    let routes = vec![(1, ShortId(0x88))];
    Passage { hops: 2, is_first: true, detour: 3, region: RegionId(0x66), view: 0x77, routes }
}

fn flat(parcel: &Parcel) -> Bytes {
    let mut whole = BytesMut::from(parcel.front.as_ref());
    parcel.shared.iter().for_each(|piece| whole.extend_from_slice(piece));
    assert_eq!(whole.len(), parcel.len());
    whole.freeze()
}

/// The body of the frame that carries `keep`.
fn body(bundle: &Bundle, passage: &Passage, keep: &SectionSet) -> Bytes {
    let mut decoder = FrameDecoder::new();
    decoder.push(flat(&bundle.to_parcel(passage, keep)));
    let (kind, body) = decoder.next_frame().unwrap().unwrap();
    assert_eq!(kind, FrameType::Bundle);
    body
}

fn is_genuine(bundle: &Bundle) -> bool {
    let key = VerifyKey::new(&secret().public()).unwrap();
    bundle.bodies_match() && key.verify(Context::Bundle, &bundle.hash, &Signature(bundle.signature()))
}

#[test]
fn golden_bundle() {
    let u64s = |number: u8| format!("{number:02x}00000000000000");
    let expected = [
        // Frame: length 301, bundle, no flags.
        "2d0100001000",
        // Passage: 2 hops, first of a run, 1 route, 2 sections, 3 ways passed over, header of 251 bytes.
        "0201010002000300fb000000",
        // Region, view; section 1 is for edge 0x88; both sections are here.
        &u64s(0x66),
        &u64s(0x77),
        "0100",
        &u64s(0x88),
        "03",
        // Header: version 1, bulk, no flags, 1 agent, 2 sections, mesh to clock.
        "0103000001000200",
        &u64s(0x11),
        &u64s(0x22),
        &u64s(0x33),
        &u64s(0x44),
        &u64s(0x55),
        &"aa".repeat(16),
        // Tenant, key, codec, flags, count, subject's length, reserved, length, hash, subject.
        "0100000002000000030001000300000005000000",
        &hex(blake3::hash(b"first").as_bytes()),
        &hex(b"a.b"),
        "0100000002000000030102001000000006000000",
        &hex(blake3::hash(b"second").as_bytes()),
        &"bb".repeat(16),
        // The signature, by the key with the seed 0707...
        "d27c3bf8196a1dfac32c75d53df299a33adcdc33abaa8530409b695ef5868131",
        "9bdd57a6894fd2d6ae605de6156356211264588063c40a8bfc4269d252a5fe0d",
        &hex(b"first"),
        &hex(b"second"),
    ];
    let bundle = small();
    assert_eq!(hex(&flat(&bundle.to_parcel(&passage(), &SectionSet::first(2)))), expected.concat());
    assert_eq!(hex(&bundle.hash), "690b2e3c4f15e90936e8dbf8aa52a39ad1e5a5a02e5238ea71fbc12e8fcb3fcb");
}

#[test]
fn an_omitted_section_leaves_the_signature_valid() {
    let mut keep = SectionSet::default();
    keep.insert(1);
    let body = body(&small(), &passage(), &keep);
    assert!(!body.windows(5).any(|window| window == b"first"));
    let (_, copy) = Bundle::decode(&body).unwrap();
    assert_eq!(copy.present().collect::<Vec<_>>(), [1]);
    assert!(is_genuine(&copy));
}

#[test]
fn every_flipped_byte_is_refused_or_touches_the_passage_alone() {
    let bundle = small();
    let whole = body(&bundle, &passage(), &SectionSet::first(2));
    let (_, good) = Bundle::decode(&whole).unwrap();
    assert!(is_genuine(&good));
    let header_at = PREFIX_FIXED_BYTES + 10 + 1;
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut bytes = whole.to_vec();
            bytes[at] ^= 1 << bit;
            let Ok((_, copy)) = Bundle::decode(&bytes.into()) else { continue };
            if is_genuine(&copy) {
                assert!(at < header_at, "byte {at} is signed");
                assert_eq!((&copy.header, copy.hash), (&good.header, good.hash));
                for (left, right) in copy.sections.iter().zip(&good.sections) {
                    assert!(left.body.is_none() || left == right);
                }
            }
        }
    }
}

#[test]
fn a_longer_bundle_shares_its_pieces() {
    let long = bundle_of(vec![section(false, b"a", 1, &[1; 9000]), section(false, b"b", 1, &[2; 10])]);
    let parcel = long.to_parcel(&passage(), &SectionSet::first(2));
    assert_eq!(parcel.shared.len(), 3);
    assert_eq!(parcel.shared[1].as_ptr(), long.sections[0].body.as_ref().unwrap().as_ptr());
    let (_, copy) = Bundle::decode(&body(&long, &passage(), &SectionSet::first(2))).unwrap();
    assert_eq!(copy, long);
}

/// A frame's body round `header`, which is signed or not, with no section present.
fn raw(routes: &[(u16, u64)], sections: usize, header: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u16_le(0);
    out.put_u16_le(u16::try_from(routes.len()).unwrap());
    out.put_u16_le(u16::try_from(sections).unwrap());
    out.put_u16_le(0);
    out.put_u32_le(u32::try_from(header.len()).unwrap());
    out.put_u64_le(0);
    out.put_u64_le(0);
    for (section, edge) in routes {
        out.put_u16_le(*section);
        out.put_u64_le(*edge);
    }
    out.put_bytes(0, sections.div_ceil(8));
    out.put_slice(header);
    out.freeze()
}

#[test]
fn limits_are_kept() {
    let good = small();
    let header = good.header.as_ref();
    assert!(Bundle::decode(&raw(&[(1, 5)], 2, header)).is_ok());
    let refused = |bytes: Bytes| Bundle::decode(&bytes).unwrap_err();
    assert_eq!(refused(raw(&[(2, 5)], 2, header)), DecodeError::Invalid("route"));
    assert_eq!(refused(raw(&[], 3, header)), DecodeError::Invalid("section count"));
    assert_eq!(refused(raw(&[(0, 1); 257], 2, header)), DecodeError::TooLong("bundle prefix"));
    assert_eq!(refused(raw(&[], 257, header)), DecodeError::TooLong("bundle prefix"));
    let long = vec![1; limits::BUNDLE_BYTES_MAX + 1];
    assert_eq!(refused(raw(&[], 2, &long)), DecodeError::TooLong("header"));
    assert_eq!(refused(raw(&[], 2, &header[..111])), DecodeError::TooLong("header"));

    let with = |at: usize, bytes: &[u8]| {
        let mut header = header.to_vec();
        header[at..at + bytes.len()].copy_from_slice(bytes);
        refused(raw(&[], 2, &header))
    };
    let section_at = HEADER_FIXED_BYTES + 16;
    assert_eq!(with(0, &[2]), DecodeError::Invalid("bundle version"));
    assert_eq!(with(1, &[4]), DecodeError::Invalid("class"));
    assert_eq!(with(4, &[1, 1]), DecodeError::TooLong("bundle table"));
    assert_eq!(with(6, &[1, 1]), DecodeError::TooLong("bundle table"));
    assert_eq!(with(section_at + 12, &[1, 1]), DecodeError::TooLong("subject"));
    assert_eq!(with(section_at + 16, &[0, 3, 16, 0]), DecodeError::TooLong("section"));
    assert_eq!(with(section_at + 9, &[1]), DecodeError::Invalid("directed subject"));
    assert_eq!(with(section_at + SECTION_FIXED_BYTES, &[0xFF]), DecodeError::Invalid("subject"));
    let mut trailing = raw(&[], 2, header).to_vec();
    trailing.push(0);
    assert_eq!(refused(trailing.into()), DecodeError::Trailing);
}

fn any_section() -> impl Strategy<Value = Section> {
    let subject = prop_oneof![
        "[a-z.]{0,40}".prop_map(|subject| (false, subject.into_bytes())),
        any::<[u8; 16]>().prop_map(|agent| (true, agent.to_vec())),
    ];
    let body = prop::collection::vec(any::<u8>(), 0..300);
    (subject, any::<(u32, u32, u8, u16)>(), body).prop_map(|(subject, numbers, body)| Section {
        tenant: numbers.0,
        key: numbers.1,
        codec: numbers.2,
        ..section(subject.0, &subject.1, numbers.3, &body)
    })
}

fn any_bundle() -> impl Strategy<Value = Bundle> {
    let agents = prop::collection::vec(any::<[u8; 16]>().prop_map(AgentId), 0..20);
    let sections = prop::collection::vec(any_section(), 0..40);
    let numbers = (0..4usize, any::<[u64; 5]>(), prop::option::of(any::<[u8; 32]>()));
    (numbers, agents, sections).prop_map(|((class, numbers, previous), agents, sections)| {
        let [mesh, origin, incarnation, sequence, clock] = numbers;
        seal(Bundle {
            class: Class::ALL[class],
            mesh: MeshId(mesh),
            origin: ShortId(origin),
            incarnation,
            sequence,
            clock,
            previous,
            is_checkpoint: clock % 2 == 1,
            agents,
            sections,
            header: Bytes::new(),
            hash: [0; 32],
        })
    })
}

proptest! {
    #[test]
    fn any_copy_round_trips(
        bundle in any_bundle(),
        choice in prop::collection::vec(any::<bool>(), 40),
        numbers in any::<(u8, bool, u16, u64, u64)>(),
        routes in prop::collection::vec((any::<prop::sample::Index>(), any::<u64>()), 0..5),
    ) {
        let mut keep = SectionSet::default();
        let kept = (0..bundle.sections.len()).filter(|index| choice[*index]);
        kept.for_each(|index| keep.insert(index));
        let routes = match bundle.sections.len() {
            0 => Vec::new(),
            count => routes.iter().map(|(at, edge)| (at.index(count) as u16, ShortId(*edge))).collect(),
        };
        let (hops, is_first, detour, region, view) = numbers;
        let passage = Passage { hops, is_first, detour, region: RegionId(region), view, routes };
        let (got_passage, got) = Bundle::decode(&body(&bundle, &passage, &keep)).unwrap();
        prop_assert_eq!(got_passage, passage);
        prop_assert_eq!(SectionSet::present_in(&got), keep);
        prop_assert!(is_genuine(&got));
        let mut expected = bundle.clone();
        for (index, section) in expected.sections.iter_mut().enumerate() {
            section.body = section.body.take().filter(|_| choice[index]);
        }
        prop_assert_eq!(&got, &expected);
        // A hop that leaves out the rest makes the same copy as the origin would have made.
        prop_assert_eq!(body(&got, &Passage::default(), &keep), body(&bundle, &Passage::default(), &keep));
    }

    #[test]
    fn any_bytes_are_harmless(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ignored = Bundle::decode(&bytes.into());
    }

    #[test]
    fn any_damage_is_harmless(
        bundle in any_bundle(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let whole = body(&bundle, &Passage::default(), &SectionSet::present_in(&bundle));
        let mut bytes = whole.to_vec();
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let _ignored = Bundle::decode(&Bytes::copy_from_slice(&bytes[..cut.index(bytes.len())]));
        let _ignored = Bundle::decode(&bytes.into());
    }
}
