//! How statements spread among the nodes of a region: as `core::membership::watching` does it over links.
//!
//! A node's own words go to all its neighbours, news of others to all but who brought them, or to four of
//! them where all are linked with all; every five seconds it compares what it knows with one neighbour;
//! whom it watches follows the rings of those that it does not hold for dead. Signatures are left out.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use starling_core::id::ShortId;
use starling_core::membership::detector::{Detector, Kind, Standing, Statement, Watched};
use starling_core::rng::Rng;
use starling_core::time::Time;
use starling_core::topology::rings::{FULL_MESH_MAX, Overlay, name_of};

/// How often whom to watch is looked at, after a change.
const WATCH_INTERVAL: Duration = Duration::from_millis(200);
/// How often what is known is compared with a neighbour.
const COMPARE_INTERVAL: Duration = Duration::from_secs(5);
/// Neighbours to which news of others is passed on where all are linked with all.
const FORWARD: usize = 4;
/// Overlays that are kept: nodes that know the same members share one.
const OVERLAYS_MAX: usize = 64;

/// What one node keeps to spread statements.
#[derive(Debug)]
pub(super) struct Spread {
    /// Statements that are in force, by speaker, subject and kind.
    pub kept: BTreeMap<(ShortId, ShortId, Kind), Statement>,
    pub watch_due: Option<Time>,
    pub compare_due: Time,
    pub turn: u32,
    /// Whom this node speaks with: those beside it on the rings, or all.
    pub neighbours: Vec<ShortId>,
    /// Whether there are rings.
    is_ringed: bool,
    rng: Rng,
}

impl Spread {
    pub fn new(seed: u64) -> Spread {
        let mut rng = Rng::new(seed);
        Spread {
            kept: BTreeMap::new(),
            watch_due: None,
            compare_due: Time::ZERO + rng.jitter(COMPARE_INTERVAL, 1.0),
            turn: 0,
            neighbours: Vec::new(),
            is_ringed: false,
            rng,
        }
    }

    /// When something is to be done.
    pub fn deadline(&self) -> Time {
        self.watch_due.map_or(self.compare_due, |due| due.min(self.compare_due))
    }

    /// Whom to watch changed.
    pub fn watch_again(&mut self, now: Time) {
        self.watch_due.get_or_insert(now + WATCH_INTERVAL);
    }

    pub fn keep(&mut self, said: Statement) {
        self.kept.insert((said.speaker, said.subject, said.kind), said);
    }

    /// Whether a statement is known word for word.
    pub fn has(&self, said: &Statement) -> bool {
        self.kept.get(&(said.speaker, said.subject, said.kind)) == Some(said)
    }

    /// To whom news goes that came from `from`.
    pub fn forward_to(&mut self, from: ShortId) -> Vec<ShortId> {
        let others: Vec<ShortId> = self.neighbours.iter().copied().filter(|id| *id != from).collect();
        if self.is_ringed || others.len() <= FORWARD {
            return others;
        }
        self.rng.choose_multiple(others.len(), FORWARD).into_iter().map(|at| others[at]).collect()
    }

    /// With whom to compare now; forgets what is not in force any more.
    pub fn compare_with(&mut self, now: Time, detector: &Detector) -> Option<ShortId> {
        self.kept.retain(|_, said| detector.is_in_force(said));
        self.compare_due = now + self.rng.jitter(COMPARE_INTERVAL, 0.3);
        let turn = self.rng.below(self.neighbours.len() as u64) as usize;
        self.turn = self.turn.wrapping_add(1);
        self.neighbours.get(turn).copied()
    }

    /// The statements of an answer that are at hand.
    pub fn at_hand(&self, me: ShortId, missing: Vec<Statement>) -> Rc<[Statement]> {
        let kept = |said: &Statement| self.kept.get(&(said.speaker, said.subject, said.kind)).copied();
        let found = missing.into_iter().filter_map(|said| match said.speaker == me {
            true => Some(said),
            false => kept(&said).filter(|kept| kept.life == said.life),
        });
        found.collect()
    }

    /// Takes the neighbours among `members`, and says whom to watch.
    pub fn lay(&mut self, me: ShortId, members: &[ShortId], overlays: &mut Overlays) -> Vec<Watched> {
        self.is_ringed = members.len() > FULL_MESH_MAX;
        let watched = |subject: ShortId, co_observers: Vec<ShortId>| Watched {
            subject,
            rtt: Duration::ZERO,
            co_observers: co_observers.into_iter().filter(|id| *id != me && *id != subject).collect(),
        };
        if !self.is_ringed {
            self.neighbours = members.iter().copied().filter(|id| *id != me).collect();
            return self.neighbours.iter().map(|id| watched(*id, members.to_vec())).collect();
        }
        let overlay = overlays.of(members);
        self.neighbours = overlay.neighbours(me);
        self.neighbours.iter().map(|id| watched(*id, overlay.neighbours(*id))).collect()
    }
}

/// The members that a node does not hold for dead or gone, itself among them, in order.
pub(super) fn living(detector: &Detector, me: ShortId, count: usize) -> Vec<ShortId> {
    let all = (1..=count as u64).map(ShortId);
    let is_living = |id: ShortId| detector.standing(id).is_some_and(|standing| standing < Standing::Dead);
    all.filter(|id| *id == me || is_living(*id)).collect()
}

/// Overlays by the name of their members.
#[derive(Debug)]
pub(super) struct Overlays {
    seed: u64,
    by_name: BTreeMap<u64, Rc<Overlay>>,
}

impl Overlays {
    pub fn new(seed: u64) -> Overlays {
        Overlays { seed, by_name: BTreeMap::new() }
    }

    fn of(&mut self, members: &[ShortId]) -> Rc<Overlay> {
        let name = name_of(members);
        if self.by_name.len() >= OVERLAYS_MAX && !self.by_name.contains_key(&name) {
            self.by_name.clear();
        }
        let lay = || Rc::new(Overlay::new(self.seed, members));
        Rc::clone(self.by_name.entry(name).or_insert_with(lay))
    }
}
