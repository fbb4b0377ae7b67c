use std::collections::BTreeMap;

use super::*;
use crate::identity::Roles;
use crate::machine::Output;
use crate::node::cast;
use crate::topology::manager::REBALANCE_ROUNDS;

/// A node that is linked with as many others as there are distances, and hears of these once a second.
struct Bench {
    nearness: Nearness,
    neighbours: Neighbours,
    distances: Vec<(LinkSlot, Duration)>,
    now: Now,
    out: Outbox,
}

impl Bench {
    fn new(strategy: Strategy, millis: &[u64]) -> Bench {
        let me = cast::identity(1, Roles::EDGE, 1);
        let (id, region) = (me.short(), me.region());
        let mut bench = Bench {
            nearness: Nearness::new(id, region, strategy, 1),
            neighbours: Neighbours::new(me, Vec::new(), 1),
            distances: Vec::new(),
            now: Now::default(),
            out: Outbox::new(),
        };
        for (seed, millis) in (2..).zip(millis) {
            let (node, link) = (cast::id(seed), LinkSlot(u32::from(seed)));
            let peer = cast::peer(seed, Roles::EDGE, 1);
            bench.neighbours.link_up(bench.now, link, peer, &mut bench.out);
            bench.nearness.add(node, region);
            bench.distances.push((link, Duration::from_millis(*millis)));
        }
        bench
    }

    /// Lets so many seconds pass; what was told of rebalances in them.
    fn rounds(&mut self, count: u64) -> Vec<u64> {
        for _ in 0..count {
            let Bench { nearness, neighbours, distances, now, out } = self;
            now.mono = now.mono + Duration::from_secs(1);
            nearness.on_distances(*now, distances, neighbours, out);
            // Sooner than a round takes, it is none.
            nearness.on_distances(*now, distances, neighbours, out);
        }
        let told = self.out.drain().filter_map(|output| match output {
            Output::Event(Event::Rebalanced { round, .. }) => Some(round),
            _ => None,
        });
        told.collect()
    }

    /// How often each peer had the turn, by its number.
    fn turns(&mut self, count: usize) -> BTreeMap<u8, usize> {
        let seed_of: BTreeMap<ShortId, u8> = (2..=100).map(|seed| (cast::id(seed), seed)).collect();
        let mut turns = BTreeMap::new();
        for _ in 0..count {
            let id = self.nearness.turn().expect("there are peers");
            *turns.entry(seed_of[&id]).or_default() += 1;
        }
        turns
    }
}

#[test]
fn rebalances_after_ten_rounds_and_every_hundredth() {
    let mut bench = Bench::new(Strategy::Hybrid, &[1, 2, 90]);
    assert_eq!(bench.nearness.view(&bench.neighbours, |_| None).rebalanced_round, 0);
    assert_eq!(bench.rounds(2 * REBALANCE_ROUNDS), [FIRST_ROUNDS, REBALANCE_ROUNDS, 2 * REBALANCE_ROUNDS]);
    let view = bench.nearness.view(&bench.neighbours, |_| None);
    assert_eq!((view.round, view.rebalanced_round, view.measured), (200, 200, 3));
    assert_eq!(view.clusters.iter().map(|cluster| cluster.peers).collect::<Vec<_>>(), [2, 1]);
    assert!(view.distances.iter().all(|peer| peer.is_preferred && peer.rtt_us >= 1000 && peer.cluster > 0));
    assert_eq!(view.strategy, "hybrid");
}

#[test]
fn of_ten_turns_eight_are_of_near_ones() {
    let millis: Vec<u64> = (0..30).map(|peer| if peer < 12 { 1 } else { 80 }).collect();
    let mut bench = Bench::new(Strategy::Hybrid, &millis);
    bench.rounds(FIRST_ROUNDS);
    let turns = bench.turns(1000);
    let near: usize = turns.range(..14).map(|(_, count)| count).sum();
    // Eight of ten, and of the other two, drawn among 22, some.
    assert!((800..860).contains(&near), "{near}: {turns:?}");
    assert_eq!(turns.len(), 30, "everybody has a turn at last");
    let mut even = Bench::new(Strategy::Random, &millis);
    even.rounds(FIRST_ROUNDS);
    let near: usize = even.turns(1000).range(..14).map(|(_, count)| count).sum();
    assert!((340..460).contains(&near), "{near} of 1,000 where 12 of 30 are near");
}

#[test]
fn few_peers_have_a_turn_each_and_who_is_gone_has_none() {
    let mut bench = Bench::new(Strategy::Hybrid, &[1, 2, 90, 95]);
    bench.rounds(FIRST_ROUNDS);
    assert!(bench.turns(40).values().all(|count| *count == 10));
    bench.turns(1);
    let gone = cast::id(3);
    bench.nearness.remove(gone);
    assert!(!bench.turns(50).contains_key(&3));
    (2..6).for_each(|seed| bench.nearness.remove(cast::id(seed)));
    assert_eq!(bench.nearness.turn(), None);
}
