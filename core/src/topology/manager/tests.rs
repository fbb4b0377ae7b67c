use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::rng::Rng;
use crate::topology::manager::Strategy;

const HOME: RegionId = RegionId(1);

fn settings(preferred: usize) -> Settings {
    Settings { me: ShortId(0), region: HOME, strategy: Strategy::Hybrid, preferred }
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Peers 1, 2, ... at these distances, all of one region, rebalanced once.
fn at_distances(preferred: usize, millis: &[u64]) -> (Manager, Rebalanced) {
    let mut manager = Manager::new(settings(preferred));
    for (id, millis) in (1..).zip(millis) {
        assert!(manager.add(ShortId(id), HOME) && manager.measure(ShortId(id), ms(*millis)));
    }
    let rebalanced = manager.rebalance(&mut Rng::new(1));
    (manager, rebalanced)
}

fn ids(numbers: impl IntoIterator<Item = u64>) -> Vec<ShortId> {
    numbers.into_iter().map(ShortId).collect()
}

#[test]
fn rebalances_every_hundredth_round_and_says_what_changed() {
    let mut manager = Manager::new(settings(3));
    let mut rng = Rng::new(1);
    for (id, millis) in [(1, 5), (2, 6), (3, 7), (4, 80), (5, 90)] {
        manager.add(ShortId(id), HOME);
        manager.measure(ShortId(id), ms(millis));
    }
    manager.add(ShortId(6), HOME);
    let records: Vec<Rebalanced> = (0..200).filter_map(|_| manager.on_round(&mut rng)).collect();
    assert_eq!(records.len(), 2);
    let first = &records[0];
    assert_eq!((first.round, first.peers, first.measured), (100, 6, 5));
    assert_eq!(first.clusters.iter().map(|cluster| cluster.peers).collect::<Vec<_>>(), [3, 2]);
    assert_eq!(first.preferred[..2], ids([1, 2]));
    assert_eq!((first.far, &first.joined), (Some(first.preferred[2]), &first.preferred));
    assert!([4, 5, 6].contains(&first.preferred[2].0) && first.left.is_empty());
    assert_eq!((manager.cluster_of(ShortId(5)), manager.cluster_of(ShortId(6))), (Some(1), None));
    let second = &records[1];
    assert_eq!((second.round, &second.preferred, second.far), (200, &first.preferred, first.far));
    assert!(second.joined.is_empty() && second.left.is_empty());
}

#[test]
fn a_preferred_peer_gives_way_to_a_clearly_nearer_one_alone() {
    let (mut manager, first) = at_distances(2, &[20, 22, 24]);
    assert_eq!((first.preferred, first.far), (ids([1, 2]), None));
    // A fifth nearer than 22 is 17.6: the third comes to 18.25 and 17.5.
    let mut rng = Rng::new(1);
    while manager.rtt(ShortId(3)).is_some_and(|rtt| rtt.average() > ms(18)) {
        assert!(manager.rebalance(&mut rng).joined.is_empty());
        manager.measure(ShortId(3), ms(17));
    }
    while manager.rtt(ShortId(3)).is_some_and(|rtt| rtt.average() * 5 >= ms(88)) {
        assert!(manager.rebalance(&mut rng).joined.is_empty());
        manager.measure(ShortId(3), ms(15));
    }
    let second = manager.rebalance(&mut rng);
    assert_eq!((second.preferred, second.joined, second.left), (ids([3, 1]), ids([3]), ids([2])));
}

#[test]
fn a_new_peer_fills_a_free_place_at_once() {
    let (mut manager, first) = at_distances(3, &[20, 21, 22]);
    assert_eq!(first.preferred.len(), 3);
    assert!(manager.remove(ShortId(2)) && !manager.remove(ShortId(2)));
    manager.add(ShortId(9), HOME);
    let second = manager.rebalance(&mut Rng::new(1));
    assert_eq!(second.preferred.len(), 3);
    assert_eq!((second.joined, second.left), (ids([9]), ids([2])));
}

#[test]
fn near_selections_take_the_nearest_and_one_far_link() {
    let distances: Vec<u64> = (50..70).chain([200, 210, 220]).collect();
    let (mut manager, rebalanced) = at_distances(6, &distances);
    assert!(rebalanced.far.is_some_and(|far| far.0 > 20));
    let mut rng = Rng::new(2);
    let mut far = BTreeSet::new();
    for _ in 0..100 {
        let chosen = manager.select(Strategy::LatencyAware, 5, &mut rng);
        assert_eq!(chosen[..4], ids(1..=4));
        far.insert(chosen[4]);
    }
    assert_eq!(far.into_iter().collect::<Vec<_>>(), ids(21..=23));
    let single: Vec<u64> =
        (0..800).flat_map(|_| manager.select(Strategy::LatencyAware, 1, &mut rng)).map(|id| id.0).collect();
    let far = single.iter().filter(|id| **id > 20).count();
    assert!((60..140).contains(&far) && single.iter().all(|id| *id == 1 || *id > 20), "{far}");
    // With the preferred ones the far link among them is enough.
    assert_eq!(manager.select(Strategy::LatencyAware, 6, &mut rng), rebalanced.preferred);
}

#[test]
fn hybrid_takes_four_fifths_near_and_draws_the_rest() {
    let distances: Vec<u64> = (1..=50).map(|id| id * 3).collect();
    let (mut manager, _) = at_distances(10, &distances);
    let mut rng = Rng::new(3);
    for (k, near) in [(1, 0), (2, 1), (4, 3), (5, 4), (6, 4), (10, 8), (50, 40), (99, 40)] {
        let chosen = manager.select(Strategy::Hybrid, k, &mut rng);
        assert_eq!(chosen.len(), k.min(50));
        assert_eq!(chosen[..near], manager.select(Strategy::LatencyAware, 50, &mut rng)[..near]);
        assert_eq!(chosen.iter().collect::<BTreeSet<_>>().len(), chosen.len());
    }
    let mut drawn = BTreeSet::new();
    for _ in 0..400 {
        drawn.extend(manager.select(Strategy::Hybrid, 10, &mut rng)[8..].iter().copied());
    }
    assert_eq!(drawn.len(), 42);
}

#[test]
fn geographic_takes_the_own_region_then_the_nearest() {
    let mut manager = Manager::new(settings(4));
    let (near, far) = (RegionId(7), RegionId(3));
    for (id, region, millis) in [
        (1, far, 200),
        (2, near, 30),
        (3, HOME, 50),
        (4, near, 20),
        (5, HOME, 2),
        (6, far, 190),
        (7, HOME, 3),
    ] {
        manager.add(ShortId(id), region);
        assert_eq!(manager.select(Strategy::Geographic, 1, &mut Rng::new(1)).len(), 1);
        manager.measure(ShortId(id), ms(millis));
    }
    let mut rng = Rng::new(4);
    manager.rebalance(&mut rng);
    assert_eq!(manager.select(Strategy::Geographic, 7, &mut rng), ids([5, 7, 3, 4, 2, 6, 1]));
    assert_eq!(manager.select(Strategy::Geographic, 4, &mut rng), ids([5, 7, 3, 4]));
    let two = manager.select(Strategy::Geographic, 2, &mut rng);
    assert!(two[0].0 == 5 && [1, 2, 4, 6].contains(&two[1].0), "the last one is of another region");
    manager.set_region_distance(far, ms(1));
    manager.rebalance(&mut rng);
    assert_eq!(manager.select(Strategy::Geographic, 7, &mut rng), ids([5, 7, 3, 6, 1, 4, 2]));
}

#[test]
fn random_is_even_and_so_is_everything_unmeasured() {
    for strategy in [Strategy::Random, Strategy::LatencyAware, Strategy::Hybrid] {
        let mut manager = Manager::new(settings(4));
        for id in 0..10 {
            manager.add(ShortId(id), HOME);
        }
        let mut rng = Rng::new(5);
        let mut counts = [0u32; 10];
        for _ in 0..10_000 {
            for id in manager.select(strategy, 3, &mut rng) {
                counts[id.0 as usize] += 1;
            }
        }
        assert!(counts.iter().all(|count| (2_700..3_300).contains(count)), "{counts:?}");
    }
}

#[test]
fn nodes_in_distant_places_stay_connected_by_what_they_prefer() {
    // Five places of 40 nodes, 1 ms within and 80 ms between; each prefers 8.
    let mut links: Vec<BTreeSet<u64>> = vec![BTreeSet::new(); 200];
    let mut chosen_by = [0; 200];
    for me in 0..200u64 {
        let mut manager = Manager::new(Settings { me: ShortId(me), ..settings(8) });
        for other in (0..200).filter(|other| *other != me) {
            manager.add(ShortId(other), HOME);
            manager.measure(ShortId(other), ms(if me / 40 == other / 40 { 1 } else { 80 }));
        }
        for other in manager.rebalance(&mut Rng::new(me)).preferred {
            links[me as usize].insert(other.0);
            links[other.0 as usize].insert(me);
            chosen_by[other.0 as usize] += 1;
        }
    }
    let mut reached = BTreeSet::from([0]);
    let mut queue = vec![0u64];
    while let Some(at) = queue.pop() {
        queue.extend(links[at as usize].iter().copied().filter(|id| reached.insert(*id)));
    }
    assert_eq!(reached.len(), 200);
    assert!(chosen_by.iter().all(|count| *count < 24), "equally far ones share the load: {chosen_by:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn selections_are_distinct_peers_whatever_happened(
        seed: u64, steps in prop::collection::vec((0u8..6, 0u64..30, 0u64..300), 0..200), preferred in 0usize..12
    ) {
        let mut manager = Manager::new(settings(preferred));
        let mut rng = Rng::new(seed);
        let mut model = BTreeSet::new();
        for (action, number, millis) in steps {
            let id = ShortId(number);
            match action {
                0 | 1 => prop_assert_eq!(manager.add(id, RegionId(number % 4)), model.insert(id)),
                2 => prop_assert_eq!(manager.remove(id), model.remove(&id)),
                3 | 4 => prop_assert_eq!(manager.measure(id, ms(millis)), model.contains(&id)),
                _ => {
                    let record = manager.rebalance(&mut rng);
                    prop_assert_eq!(record.preferred.len(), preferred.min(model.len()));
                    prop_assert!(record.preferred.iter().all(|id| model.contains(id)));
                    prop_assert!(record.far.is_none_or(|far| record.preferred.contains(&far)));
                    let has_far = record.clusters.len() > 1 && preferred > 1;
                    prop_assert!(!has_far || record.far.is_some());
                }
            }
            for strategy in [Strategy::Random, Strategy::LatencyAware, Strategy::Hybrid, Strategy::Geographic] {
                let chosen = manager.select(strategy, millis as usize % 40, &mut rng);
                let distinct: BTreeSet<ShortId> = chosen.iter().copied().collect();
                prop_assert_eq!(chosen.len(), (millis as usize % 40).min(model.len()));
                prop_assert!(distinct.len() == chosen.len() && distinct.is_subset(&model));
            }
        }
    }
}
