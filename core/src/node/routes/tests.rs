use super::*;
use crate::identity::{Admission, Roles, SecretKey, Signature, VerifyKey};
use crate::membership::Identity;
use std::collections::BTreeSet;

const WEST: RegionId = RegionId(9);
const LEFT: ShortId = ShortId(1);
const RIGHT: ShortId = ShortId(2);

struct Bench {
    routes: Routes,
    neighbours: Neighbours,
    now: Now,
    view: Option<Box<View>>,
    after: Vec<Output>,
}

impl Bench {
    fn new() -> Bench {
        let key = SecretKey::from_seed([1; 32]);
        let admission = Admission {
            mesh: crate::id::MeshId(0),
            key: key.public(),
            roles: Roles::EDGE,
            region: "east".parse().expect("a name"),
            name: "me".parse().expect("a name"),
            not_before_seconds: 0,
            not_after_seconds: u64::MAX,
            signature: Signature([0; 64]),
        };
        let authority = VerifyKey::new(&key.public()).expect("a good key");
        let (addresses, version) = (Vec::new(), String::new());
        let mesh = "test".into();
        let signer = std::sync::Arc::new(key.signer());
        let me = Identity {
            mesh,
            admission,
            incarnation: 1,
            addresses,
            process: 0,
            version,
            authority,
            coordinators: None,
            signer,
        };
        let neighbours = Neighbours::new(me, Vec::new(), 1);
        let mut bench =
            Bench { routes: Routes::new(1), neighbours, now: Now::default(), view: None, after: Vec::new() };
        bench.flush();
        bench
    }

    /// Lets the time pass until the next view, and takes it and what comes after it.
    fn flush(&mut self) -> bool {
        self.now.mono = self.now.mono + limits::VIEW_INTERVAL;
        let mut out = Outbox::new();
        let is_new = self.routes.flush(self.now, &mut self.neighbours, &mut out);
        let mut outputs: Vec<Output> = out.drain().collect();
        if is_new {
            let Output::View(view) = outputs.remove(0) else { panic!("a view comes first") };
            self.view = Some(view);
        }
        self.after = outputs;
        is_new
    }

    fn declare(
        &mut self,
        peer: ShortId,
        region: RegionId,
        added: &[&str],
        removed: &[&str],
    ) -> (usize, usize) {
        let text = |list: &[&str]| list.iter().map(|text| text.to_string()).collect();
        let (added, removed) = (text(added), text(removed));
        let interest = Interest { region: region.0, added, removed, ..Interest::default() };
        let change = self.routes.declare(self.now, peer, &interest);
        (change.added.len(), change.removed.len())
    }

    fn wanting(&self, subject: &str) -> BTreeSet<Destination> {
        let view = self.view.as_ref().expect("a view was published");
        let mut wanting = BTreeSet::new();
        view.remote.for_each_match(subject, |slot| {
            wanting.insert(view.destinations[slot as usize]);
        });
        wanting
    }

    fn forgets(&self, to: Destination) -> bool {
        self.after.iter().any(|output| matches!(output, Output::Forget(of) if *of == to))
    }

    fn resends(&self, to: Destination) -> bool {
        self.after.iter().any(|output| matches!(output, Output::Resend(of) if *of == to))
    }
}

#[test]
fn views_are_published_once_an_interval_and_only_when_something_changed() {
    let mut bench = Bench::new();
    assert!(!bench.flush());
    assert_eq!(bench.routes.deadline(), None);
    bench.declare(LEFT, RegionId(0), &["a"], &[]);
    assert!(bench.routes.deadline().is_some_and(|due| due <= bench.now.mono), "the last view is old enough");
    assert!(bench.flush());
    bench.declare(LEFT, RegionId(0), &["b"], &[]);
    let due = bench.routes.deadline().expect("a view is wanted");
    assert_eq!(due, bench.now.mono + limits::VIEW_INTERVAL);
    let mut out = Outbox::new();
    let early = Now { mono: Time(due.0 - 1), ..bench.now };
    assert!(!bench.routes.flush(early, &mut bench.neighbours, &mut out));
    assert!(out.outputs().is_empty());
    assert!(bench.flush());
    assert_eq!(bench.wanting("b"), BTreeSet::from([Destination::Node(LEFT)]));
}

#[test]
fn a_region_wants_what_any_of_its_aggregators_says() {
    let mut bench = Bench::new();
    let west = Destination::Region(WEST);
    assert_eq!(bench.declare(LEFT, WEST, &["a", "b"], &[]), (2, 0));
    assert_eq!(bench.declare(RIGHT, WEST, &["a"], &[]), (1, 0), "each is counted");
    bench.flush();
    assert!(bench.resends(west));
    assert_eq!(bench.declare(LEFT, WEST, &[], &["a", "b"]), (0, 2));
    bench.flush();
    assert_eq!((bench.wanting("a"), bench.wanting("b")), (BTreeSet::from([west]), BTreeSet::new()));
    // One of two is lost: what is owed goes the other way. The last one: nothing is owed.
    bench.routes.peer_lost(bench.now, LEFT);
    bench.flush();
    assert!(bench.resends(west) && !bench.forgets(west) && bench.forgets(Destination::Node(LEFT)));
    assert!(bench.routes.has_way(WEST));
    let changes = bench.routes.peer_lost(bench.now, RIGHT);
    assert_eq!(
        changes.iter().map(|(region, change)| (*region, change.removed.len())).collect::<Vec<_>>(),
        [(WEST, 1)]
    );
    bench.flush();
    assert!(bench.forgets(west) && !bench.resends(west));
    assert_eq!(bench.wanting("a"), BTreeSet::new());
    assert!(!bench.routes.has_way(WEST));
}

#[test]
fn who_leads_nowhere_withdraws_nothing() {
    let mut bench = Bench::new();
    bench.declare(LEFT, WEST, &["a"], &[]);
    bench.flush();
    for region in [WEST, RegionId(0), RegionId(33)] {
        let gone = Interest { region: region.0, gone: true, ..Interest::default() };
        let change = bench.routes.declare(bench.now, RIGHT, &gone);
        assert!(change.removed.is_empty());
        bench.flush();
        assert!(bench.after.is_empty(), "{region}: {:?}", bench.after);
    }
    assert_eq!(bench.wanting("a").len(), 1);
}

#[test]
fn a_peer_that_returns_in_time_is_not_forgotten() {
    let mut bench = Bench::new();
    bench.declare(LEFT, RegionId(0), &["a"], &[]);
    bench.flush();
    bench.routes.peer_down(bench.now, LEFT);
    bench.routes.peer_up(bench.now, LEFT);
    bench.flush();
    assert!(bench.resends(Destination::Node(LEFT)) && !bench.forgets(Destination::Node(LEFT)));
    assert_eq!(bench.wanting("a").len(), 1);
}

#[test]
fn regions_are_bounded() {
    let mut bench = Bench::new();
    for region in 1..=5000 {
        bench.declare(LEFT, RegionId(region), &["a"], &[]);
    }
    bench.flush();
    assert_eq!(bench.wanting("a").len(), REGIONS_MAX);
}

#[test]
fn a_stalled_way_is_passed_over_once_for_each_time_it_was_in_force() {
    let mut bench = Bench::new();
    bench.declare(LEFT, WEST, &["a"], &[]);
    bench.flush();
    let detour = |bench: &Bench| bench.view.as_ref().and_then(|view| view.detours.get(&WEST).copied());
    assert_eq!(detour(&bench), None);
    // Two classes that wait for the same way tell of it twice.
    bench.routes.stalled(bench.now, WEST, 0);
    bench.routes.stalled(bench.now, WEST, 0);
    assert!(bench.flush());
    assert_eq!(detour(&bench), Some(1));
    assert!(matches!(bench.after[..], [Output::Resend(Destination::Region(WEST))]), "{:?}", bench.after);
    bench.routes.stalled(bench.now, RegionId(77), 0);
    bench.routes.stalled(bench.now, WEST, 1);
    bench.flush();
    assert_eq!(detour(&bench), Some(2));
    assert_eq!(bench.view.as_ref().map(|view| view.detours.len()), Some(1));
    // Whoever cannot be reached at all is reached by the best way when it is back.
    bench.routes.peer_lost(bench.now, LEFT);
    bench.flush();
    assert_eq!(detour(&bench), None);
}
