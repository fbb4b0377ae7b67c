use std::sync::Arc;

use super::*;
use crate::machine::LinkSlot;
use crate::node::cast;
use crate::summary::Fold;
use crate::topology::partition::{ENTER_AFTER, LEAVE_AFTER, Status};
use crate::wire::message::{ControlBody, Leaving, PeerRecord, Peers};

/// A node and what it counts; time passes in steps as its deadlines ask for.
struct Bench {
    neighbours: Neighbours,
    quorum: Quorum,
    figures: Option<Global>,
    now: Now,
    out: Outbox,
}

impl Bench {
    fn new(roles: Roles, seeds: &[&str]) -> Bench {
        let is_coordinator = roles == Roles::COORDINATOR;
        let identity = cast::identity(1, roles, 5);
        let seeds = seeds.iter().map(|seed| (*seed).to_owned()).collect();
        Bench {
            neighbours: Neighbours::new(identity, seeds, 1),
            quorum: if is_coordinator { Quorum::of_mesh() } else { Quorum::of_region() },
            figures: is_coordinator.then(Global::new),
            now: Now { mono: Time::ZERO, wall: Time::from_millis(1_000_000) },
            out: Outbox::new(),
        }
    }

    fn wake(&mut self) {
        self.neighbours.take_changed();
        self.quorum.wake(self.now, &self.neighbours, self.figures.as_ref(), &mut self.out);
    }

    /// Lets time pass, looking whenever the quorum asks for it.
    fn pass(&mut self, time: Duration) {
        let until = self.now.mono + time;
        self.wake();
        while let Some(due) = self.quorum.deadline().filter(|due| *due <= until) {
            assert!(due > self.now.mono, "what is due was done");
            self.advance(due);
            self.wake();
        }
        self.advance(until);
        self.wake();
    }

    fn advance(&mut self, to: Time) {
        let step = to.since(self.now.mono);
        self.now = Now { mono: to, wall: self.now.wall + step };
    }

    fn link(&mut self, seed: u8, roles: Roles) {
        let peer = cast::peer(seed, roles, 5);
        self.neighbours.link_up(self.now, LinkSlot(u32::from(seed)), peer, &mut self.out);
    }

    fn cut(&mut self, seed: u8) {
        self.neighbours.link_down(self.now, LinkSlot(u32::from(seed)), true, &mut self.out);
    }

    fn hear(&mut self, seed: u8, roles: Roles, has_left: bool) {
        let record = PeerRecord { is_gone: has_left, has_left, ..cast::identity(seed, roles, 5).record() };
        self.neighbours.hear(self.now, Peers { records: vec![record], more: false }, &mut self.out);
    }

    fn says(&self) -> (String, bool, u32, u32) {
        let view = self.quorum.view(&self.neighbours);
        (view.status, view.is_cut_off, view.reachable, view.roster)
    }

    fn told(&mut self) -> Vec<(Status, bool)> {
        let said = self.out.drain().filter_map(|output| match output {
            crate::machine::Output::Event(Event::StatusChanged { status, is_cut_off, .. }) => {
                Some((status, is_cut_off))
            }
            _ => None,
        });
        said.collect()
    }
}

fn edge() -> Bench {
    let mut bench = Bench::new(Roles::EDGE, &[]);
    (2..=5).for_each(|seed| bench.link(seed, Roles::EDGE));
    bench.pass(Duration::from_secs(5));
    assert_eq!((bench.says(), bench.told()), (("HEALTHY".to_owned(), false, 5, 5), Vec::new()));
    bench
}

#[test]
fn what_is_lost_is_told_once_and_what_is_back_too() {
    let mut bench = edge();
    [2, 3].into_iter().for_each(|seed| bench.cut(seed));
    bench.pass(ENTER_AFTER + SPACING);
    assert_eq!(bench.says(), ("DEGRADED".to_owned(), true, 3, 5));
    assert_eq!(bench.told(), [(Status::Degraded, true)]);
    bench.cut(4);
    bench.pass(ENTER_AFTER + SPACING);
    assert_eq!((bench.says(), bench.told().len()), (("CRITICAL".to_owned(), true, 2, 5), 1));
    let refusal = bench.quorum.refusal(bench.now, Operation::ChangeConfiguration);
    let text = match refusal {
        Some(Say::Refused(refused)) => refused.text,
        other => panic!("refused, not {other:?}"),
    };
    assert!(text.contains("CRITICAL") && text.contains("2 of 5 nodes and needs 4"), "{text}");
    [2, 3, 4].into_iter().for_each(|seed| bench.link(seed, Roles::EDGE));
    bench.pass(LEAVE_AFTER + SPACING);
    assert_eq!(
        (bench.says(), bench.told()),
        (("HEALTHY".to_owned(), false, 5, 5), vec![(Status::Healthy, false)])
    );
    assert_eq!(bench.quorum.refusal(bench.now, Operation::ChangeConfiguration), None);
}

#[test]
fn who_is_away_counts_until_it_is_forgotten() {
    let mut bench = edge();
    [2, 3].into_iter().for_each(|seed| bench.cut(seed));
    bench.pass(Duration::from_secs(10));
    bench.advance(Time::ZERO + FORGET_AFTER);
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.says(), ("DEGRADED".to_owned(), true, 3, 5));
    bench.pass(Duration::from_secs(20));
    bench.pass(LEAVE_AFTER);
    assert_eq!(bench.says(), ("HEALTHY".to_owned(), false, 3, 3));
}

#[test]
fn who_says_good_bye_does_not_count() {
    let mut bench = edge();
    let leaving = ControlBody::Leaving(Leaving {});
    let taken = bench.neighbours.on_control(bench.now, LinkSlot(2), leaving, &mut bench.out);
    assert!(taken.is_ok());
    bench.cut(2);
    // Others' word that a node of this region left counts for who never met it alone.
    bench.cut(3);
    bench.hear(3, Roles::EDGE, true);
    bench.hear(6, Roles::EDGE, true);
    bench.hear(7, Roles::EDGE, false);
    bench.pass(Duration::from_secs(3));
    assert_eq!(bench.says(), ("DEGRADED".to_owned(), true, 3, 5));
    bench.link(2, Roles::EDGE);
    bench.pass(Duration::from_secs(3));
    assert_eq!(bench.says(), ("DEGRADED".to_owned(), true, 4, 6));
}

#[test]
fn who_was_told_of_others_and_meets_nobody_is_cut_off() {
    let mut bench = Bench::new(Roles::EDGE, &["there:1"]);
    bench.pass(Duration::from_secs(2));
    assert_eq!(bench.says(), ("CRITICAL".to_owned(), true, 1, 2));
    bench.link(2, Roles::EDGE);
    bench.pass(Duration::from_secs(2));
    assert_eq!(bench.says(), ("HEALTHY".to_owned(), false, 2, 2));
    let mut alone = Bench::new(Roles::EDGE, &[]);
    alone.pass(Duration::from_secs(60));
    assert_eq!((alone.says(), alone.told()), (("HEALTHY".to_owned(), false, 1, 1), Vec::new()));
}

#[test]
fn an_edge_needs_an_aggregator_where_there_is_one() {
    let mut bench = edge();
    bench.link(6, Roles::AGGREGATOR);
    bench.pass(Duration::from_secs(2));
    bench.cut(6);
    bench.pass(Duration::from_secs(2));
    assert_eq!(bench.says(), ("READ-ONLY".to_owned(), false, 5, 6));
}

#[test]
fn a_coordinator_counts_edges_by_the_figures_of_their_regions() {
    let mut bench = Bench::new(Roles::COORDINATOR, &[]);
    bench.hear(4, Roles::EDGE, false);
    bench.hear(5, Roles::EDGE, false);
    bench.pass(Duration::from_secs(2));
    assert_eq!(bench.says(), ("HEALTHY".to_owned(), false, 1, 1), "a region without an aggregator");
    bench.link(3, Roles::AGGREGATOR);
    bench.pass(Duration::from_secs(2));
    assert_eq!(bench.says(), ("CRITICAL".to_owned(), true, 2, 4));
    let mut figure = Fold::new().figure();
    let edges = [4, 5].map(cast::id);
    for edge in edges {
        figure.cut.edges.insert(edge, Default::default());
    }
    let (region, aggregator) = (cast::admission(3, Roles::EDGE).region_id(), ShortId(3));
    let figures = bench.figures.as_mut().expect("a coordinator has figures");
    figures.offer(region, aggregator, Arc::new(figure), Time::ZERO).expect("one region");
    bench.quorum.count_again();
    bench.pass(Duration::from_secs(2));
    assert_eq!(bench.says(), ("HEALTHY".to_owned(), false, 4, 4));
}
