use proptest::prelude::*;

use super::*;

fn place(owner: u64, address: &str) -> Place {
    Place { owner: Some(Owner(owner)), group: Some(Group::of(address.parse().unwrap())) }
}

fn candidate(node: u64, since: u64, place: Place) -> Candidate {
    Candidate { node: ShortId(node), since: Time(since), reputation: Reputation::FULL, place }
}

/// Fills a table with whoever is admitted.
fn fill(table: &mut Diversity, peers: impl IntoIterator<Item = Place>) -> usize {
    let before = table.len();
    for peer in peers {
        if table.admit(&peer).is_ok() {
            table.insert(&peer);
        }
    }
    table.len() - before
}

#[test]
fn addresses_have_groups() {
    let group = |address: &str| Group::of(address.parse().unwrap());
    assert_eq!(group("203.0.113.7"), Group::V4([203, 0, 113]));
    assert_eq!(group("203.0.113.7"), group("::ffff:203.0.113.200"));
    assert_ne!(group("203.0.113.7"), group("203.0.114.7"));
    assert_eq!(group("2001:db8:1:2::3"), group("2001:db8:1:ffff::4"));
    assert_ne!(group("2001:db8:1::3"), group("2001:db8:2::3"));
    for local in [
        "127.0.0.1",
        "10.1.2.3",
        "192.168.1.1",
        "172.16.0.1",
        "169.254.1.1",
        "100.64.0.1",
        "::1",
        "fd00::1",
        "fe80::1",
    ] {
        assert!(group(local).is_local(), "{local}");
    }
    for public in ["8.8.8.8", "172.32.0.1", "100.128.0.1", "2001:db8::1"] {
        assert!(!group(public).is_local(), "{public}");
    }
}

#[test]
fn no_owner_and_no_group_fills_more_than_its_share() {
    let mut table = Diversity::new(Shares::of_table(100));
    let sybils = |owner: u64| (0..250).map(move |n| place(owner, &format!("198.51.{n}.1")));
    assert_eq!(fill(&mut table, sybils(1)), 12);
    assert_eq!(table.admit(&place(1, "8.8.8.8")), Err(Reason::Owner(12)));
    let neighbours = (0..250).map(|n| place(1000 + n, &format!("203.0.113.{n}")));
    assert_eq!(fill(&mut table, neighbours), 12);
    assert_eq!(table.admit(&place(5, "203.0.113.255")), Err(Reason::Group(12)));
    let honest = (0..100).map(|n| place(2000 + n, &format!("192.0.{n}.1")));
    assert_eq!(fill(&mut table, honest), 76);
    assert_eq!(table.admit(&place(9, "9.9.9.9")), Err(Reason::Full));
    table.remove(&place(1, "198.51.0.1"));
    assert_eq!(table.admit(&place(1, "9.9.9.9")), Ok(()));
}

#[test]
fn a_mesh_on_one_machine_is_no_crowd_unless_told_so() {
    let here = |n: u64| place(n, "127.0.0.1");
    assert_eq!(fill(&mut Diversity::new(Shares::of_table(64)), (0..100).map(here)), 64);
    let strict = Shares { local_percent: 25, ..Shares::of_table(64) };
    assert_eq!(fill(&mut Diversity::new(strict), (0..100).map(here)), 16);
    let tiny = Shares { owner_percent: 0, group_percent: 0, ..Shares::of_table(4) };
    assert_eq!(fill(&mut Diversity::new(tiny), (0..9).map(|n| place(n, "8.8.8.8"))), 1);
}

#[test]
fn four_sybils_to_one_leave_most_of_the_table_to_the_honest() {
    // 800 identities of 5 owners in 20 networks come first; 200 honest nodes come after.
    let mut table = Diversity::new(Shares { owner_percent: 5, ..Shares::of_table(200) });
    let sybils = fill(&mut table, (0..800).map(|n| place(n % 5, &format!("198.51.{}.1", n % 20))));
    let honest = fill(&mut table, (0..200).map(|n| place(100 + n, &format!("192.0.{n}.1"))));
    assert_eq!((sybils, honest), (50, 150));
}

#[test]
fn anchors_are_the_longest_known_of_different_owners_and_networks() {
    let mut peers: Vec<Candidate> =
        (0..100).map(|n| candidate(n, 1_000 + n, place(n % 3, &format!("198.51.{n}.1")))).collect();
    peers.push(candidate(200, 5, place(50, "203.0.113.1")));
    peers.push(candidate(201, 6, place(51, "203.0.113.2")));
    peers.push(Candidate {
        reputation: Reputation::from_millionths(899_999),
        ..candidate(202, 1, place(52, "9.9.9.9"))
    });
    let expected = [200, 0, 1, 2].map(ShortId);
    assert_eq!(anchors(peers.clone()), expected);
    peers.reverse();
    assert_eq!(anchors(peers), expected);
    let many = (0..100).map(|n| candidate(n, n, place(n, "127.0.0.1")));
    assert_eq!(anchors(many), (0..8).map(ShortId).collect::<Vec<_>>());
}

#[test]
fn only_who_misbehaved_gives_way() {
    let mut peers: Vec<Candidate> =
        (0..8).map(|n| candidate(n, n, place(n, &format!("198.51.{n}.1")))).collect();
    let mut table = Diversity::new(Shares::of_table(8));
    peers.iter().for_each(|peer| table.insert(&peer.place));
    let newcomer = place(90, "9.9.9.9");
    assert_eq!(gives_way(&table, &peers, &newcomer), None);
    for (at, trust) in [(3, 300_000), (5, 300_000), (6, 400_000)] {
        peers[at].reputation = Reputation::from_millionths(trust);
    }
    assert_eq!(gives_way(&table, &peers, &newcomer), Some(ShortId(5)));
    // Of an owner that has all it may, only one of its own may go.
    assert_eq!(gives_way(&table, &peers, &place(3, "9.9.9.9")), Some(ShortId(3)));
}

proptest! {
    #[test]
    fn shares_hold_after_any_coming_and_going(
        steps in prop::collection::vec((any::<bool>(), 0..6u64, 0..6u8, any::<prop::sample::Index>()), 0..400),
        peers_max in 1..60usize,
        percents in any::<(u8, u8, u8)>(),
    ) {
        let (owner_percent, group_percent, local_percent) = percents;
        let shares = Shares { peers_max, owner_percent, group_percent, local_percent };
        let (mut table, mut inside) = (Diversity::new(shares), Vec::new());
        for (comes, owner, network, at) in steps {
            let address = if network < 2 { format!("10.0.{network}.1") } else { format!("8.8.{network}.1") };
            let peer = place(owner, &address);
            if comes && table.admit(&peer).is_ok() {
                table.insert(&peer);
                inside.push(peer);
            } else if !comes && !inside.is_empty() {
                table.remove(&inside.swap_remove(at.index(inside.len())));
            }
            prop_assert_eq!(table.len(), inside.len());
            prop_assert!(inside.len() <= peers_max);
            for peer in &inside {
                let same = |test: &dyn Fn(&Place) -> bool| inside.iter().filter(|other| test(other)).count();
                prop_assert!(same(&|other| other.owner == peer.owner) <= shares.most(owner_percent));
                let is_local = peer.group.is_some_and(Group::is_local);
                let percent = if is_local { local_percent } else { group_percent };
                prop_assert!(same(&|other| other.group == peer.group) <= shares.most(percent));
            }
        }
        inside.iter().for_each(|peer| table.remove(peer));
        prop_assert!(table.is_empty() && table.owners.is_empty() && table.groups.is_empty());
    }
}
