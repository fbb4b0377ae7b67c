use super::*;
use crate::topology::rings::DEGREE_MAX;

fn ids(count: u64) -> Vec<ShortId> {
    (1..=count).map(|id| ShortId(id.wrapping_mul(0x9E37_79B9_7F4A_7C15))).collect()
}

fn alone() -> Place {
    Place::new(ids(1)[0], 1)
}

fn others(count: u64, me: ShortId) -> Vec<ShortId> {
    let mut others = ids(count);
    others.retain(|id| *id != me);
    others.sort_unstable();
    others
}

#[test]
fn a_small_region_has_no_rings() {
    let me = ids(1)[0];
    let mut place = alone();
    assert!(!place.set(7, me, others(FULL_MESH_MAX as u64, me)));
    assert!(!place.has_rings() && place.is_beside(ids(9)[8]) && place.beside().is_empty());
    assert_eq!(place.next_hop(ids(9)[8]), None);
}

#[test]
fn in_a_large_one_few_are_beside_and_the_others_behind_them() {
    let me = ids(1)[0];
    let mut place = alone();
    let all = others(300, me);
    assert!(place.set(7, me, all.clone()));
    assert!(!place.set(7, me, all.clone()), "the same rings again");
    assert!((12..=DEGREE_MAX).contains(&place.beside().len()));
    for id in &all {
        let hop = place.next_hop(*id).expect("all are linked");
        assert!(place.is_beside(hop));
        assert_eq!(place.is_beside(*id), hop == *id);
    }
    assert!(place.set(7, me, others(10, me)), "the region shrank");
    assert!(!place.has_rings());
}

#[test]
fn rings_follow_changes_as_if_they_were_laid_anew() {
    let me = ids(1)[0];
    let (mut place, mut anew) = (alone(), alone());
    place.set(7, me, others(200, me));
    // One comes, one goes; then many do.
    let mut members = others(201, me);
    members.remove(17);
    for members in [members, others(260, me)] {
        place.set(7, me, members.clone());
        anew = alone();
        anew.set(7, me, members);
        assert_eq!(place.overlay(), anew.overlay());
        assert_eq!(place.beside(), anew.beside());
    }
    assert!(anew.has_rings());
}
