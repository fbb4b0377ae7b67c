use super::*;
use crate::hot::own::{Publication, Target};
use crate::hot::seal::{Open, Sealed};
use crate::hot::view::Me;
use crate::id::{AgentId, MeshId, RegionId};
use crate::identity::SecretKey;
use crate::machine::ConnectionSlot;
use crate::wire::bundle::Class;
use crate::wire::codec::Reader;
use crate::wire::entry::{Extras, take_entry};
use bytes::Bytes;
use proptest::prelude::*;

/// An entry as its receiver sees it: subject, agent, sequence, payload.
type Seen = (Bytes, AgentId, u64, Vec<u8>);

/// One entry for each (subject, agent), numbered in order.
fn drafts(entries: &[(u16, u8)]) -> Drafts {
    let mut open = Open::default();
    for ((subject, agent), number) in entries.iter().zip(1..) {
        open.add(&Publication {
            connection: ConnectionSlot(u32::from(*agent)),
            number,
            agent: AgentId([*agent; 16]),
            sequence: number,
            class: Class::EventBulk,
            target: Target::Subject,
            subject: Bytes::from(format!("rooms.of.the.region.{subject}")),
            extras: Extras::default(),
            payload: Bytes::from(number.to_string()),
            attempts: 0,
        });
    }
    open.take()
}

fn owed(to: u64, sections: &[usize]) -> Owed {
    let mut keep = SectionSet::default();
    sections.iter().for_each(|section| keep.insert(*section));
    Owed { to: Destination::Node(ShortId(to)), keep, routes: Vec::new() }
}

fn seal(drafts: Drafts) -> Sealed {
    let key = SecretKey::from_seed([1; 32]).signer();
    let me = Me { mesh: MeshId(1), region: RegionId(2), id: ShortId(3), incarnation: 4 };
    drafts.seal(&me, &key, Class::EventBulk, 1, 0)
}

fn seen(sealed: &Sealed, keep: &SectionSet) -> Vec<Seen> {
    let mut seen = Vec::new();
    for (_, section) in sealed.bundle.sections.iter().enumerate().filter(|(index, _)| keep.has(*index)) {
        let mut reader = Reader::new(section.body.as_ref().unwrap());
        for _ in 0..section.count {
            let entry = take_entry(&mut reader).unwrap();
            let agent = sealed.bundle.agents[usize::from(entry.agent)];
            seen.push((section.subject.clone(), agent, entry.sequence, entry.payload.to_vec()));
        }
    }
    seen
}

#[test]
fn many_receivers_of_one_section_each_get_bundles_of_their_own_and_few_do_not() {
    let few: Vec<(u16, u8)> = (0..4).map(|n| (n, 1)).collect();
    let to_each = |count: usize| (0..count).map(|n| owed(n as u64, &[n])).collect::<Vec<_>>();
    assert_eq!(Parts::of(&drafts(&few), &to_each(4)), None);
    let many: Vec<(u16, u8)> = (0..40).map(|n| (n, 1)).collect();
    let parts = Parts::of(&drafts(&many), &to_each(40)).unwrap();
    assert_eq!((parts.count, parts.part_of), (40, (0..40).collect()));
    // One who wants all of it holds it together.
    let mut all = to_each(40);
    all.push(owed(99, &(0..40).collect::<Vec<_>>()));
    assert_eq!(Parts::of(&drafts(&many), &all), None);
}

#[test]
fn what_one_destination_wants_stays_together_and_what_nobody_wants_too() {
    let parts = Parts::apart(8, &[owed(1, &[0, 5]), owed(2, &[2]), owed(3, &[5, 6]), owed(4, &[3])]);
    assert_eq!(parts.part_of, [0, 1, 2, 3, 1, 0, 0, 1]);
    assert_eq!(parts.split_missing(&[1, 6, 7]), [vec![2], vec![0, 2], vec![], vec![]]);
    let mut routed = owed(3, &[5, 6]);
    routed.routes = vec![(5, ShortId(7)), (6, ShortId(8))];
    let split = parts.split_owed(vec![routed]);
    assert_eq!(split[0][0].routes, [(1, ShortId(7)), (2, ShortId(8))]);
}

proptest! {
    #[test]
    fn every_destination_gets_from_one_part_what_the_whole_had_for_it(
        entries in prop::collection::vec((0..30_u16, 0..5_u8), 1..120),
        wanted in prop::collection::vec(prop::collection::btree_set(0..30_usize, 1..4), 0..20),
    ) {
        let sections = drafts(&entries).sections.len();
        let list = || -> Vec<Owed> {
            let real = wanted.iter().map(|set| set.iter().copied().filter(|s| *s < sections).collect::<Vec<_>>());
            real.zip(1..).filter(|(set, _)| !set.is_empty()).map(|(set, to)| owed(to, &set)).collect()
        };
        let whole = seal(drafts(&entries));
        let parts = Parts::apart(sections, &list());
        let split: Vec<Sealed> =
            drafts(&entries).split(&parts.part_of, parts.count).into_iter().map(seal).collect();
        let authors: usize = split.iter().map(|sealed| sealed.authors.len()).sum();
        prop_assert_eq!(authors, entries.len());
        for sealed in &split {
            for section in 0..sealed.bundle.sections.len() {
                let of_section = sealed.authors.iter().filter(|a| usize::from(a.section) == section);
                let mut keep = SectionSet::default();
                keep.insert(section);
                let sequences: Vec<u64> = seen(sealed, &keep).into_iter().map(|seen| seen.2).collect();
                prop_assert_eq!(of_section.map(|author| author.number).collect::<Vec<_>>(), sequences);
            }
        }
        let mut places = parts.split_owed(list());
        for owed in list() {
            let of: Vec<usize> =
                (0..parts.count).filter(|part| places[*part].iter().any(|o| o.to == owed.to)).collect();
            prop_assert_eq!(of.len(), 1);
            let at = places[of[0]].iter().position(|o| o.to == owed.to).unwrap();
            let part = places[of[0]].swap_remove(at);
            prop_assert_eq!(seen(&split[of[0]], &part.keep), seen(&whole, &owed.keep));
        }
    }
}
