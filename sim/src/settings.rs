//! What is simulated.

use std::num::NonZeroU64;
use std::time::Duration;

use starling_core::identity::Roles;
use starling_core::rng::Rng;

use crate::hostile::Attack;
use crate::link::Conditions;
use crate::matrix::Matrix;
use crate::processor::Processors;

/// A mesh, its work and its faults; by default nothing goes wrong. Everything else follows from the seed.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Where all chance begins.
    pub seed: u64,
    /// Edges over all regions.
    pub edges: usize,
    /// Regions; with one there is neither aggregator nor coordinator unless asked for.
    pub regions: usize,
    /// Aggregators a region.
    pub aggregators: usize,
    /// Coordinators.
    pub coordinators: usize,
    /// Agents over all edges.
    pub agents: u64,
    /// Share of clients that leave for good during the work, 0.0 to 1.0.
    pub leaving: f64,
    /// Agents that share a connection.
    pub agents_per_client: u64,
    /// Entries published a second, all agents together.
    pub rate: u64,
    /// Whether agents write keys.
    pub keys: bool,
    /// How long faults are on.
    pub time: Duration,
    /// How long the mesh has to heal, and is then at rest.
    pub settle: Duration,
    /// What ways within a region are like.
    pub near: Conditions,
    /// Round trips between regions; the near ones hold within.
    pub matrix: Matrix,
    /// How far wall clocks are off at the most, either way.
    pub clock_skew: Duration,
    /// How long nodes take for what they do.
    pub processors: Processors,
    /// Share of edges that tell nobody where they listen, 0.0 to 1.0.
    pub silent: f64,
    /// Which faults happen.
    pub faults: FaultRates,
    /// What hostile nodes do.
    pub attack: Option<Attack>,
    /// How many there are; under a third of the nodes of each region.
    pub attackers: usize,
    /// Whether control messages are read from their encoding again.
    pub wire: bool,
    /// Whether nodes sign with ed25519.
    pub ed25519: bool,
    /// Whether to keep what happened, for people.
    pub story: bool,
}

/// How often each fault happens, as a mean time between two of it over the whole mesh; zero never.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FaultRates {
    /// A node is killed, and started again a while later.
    pub crash: Duration,
    /// A node stops for a while and goes on.
    pub pause: Duration,
    /// Two nodes cannot reach each other for a while.
    pub cut: Duration,
    /// One node cannot reach another, which can reach it.
    pub one_way: Duration,
    /// A link is closed.
    pub close: Duration,
    /// Some nodes of a region are cut off from the rest of it.
    pub partition: Duration,
    /// An edge is killed for good; each region keeps two.
    pub death: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            seed: 1,
            edges: 8,
            regions: 2,
            aggregators: 2,
            coordinators: 1,
            agents: 200,
            leaving: 0.0,
            agents_per_client: 10,
            rate: 200,
            keys: true,
            time: Duration::from_secs(30),
            settle: Duration::from_secs(30),
            near: Conditions::perfect(Duration::from_micros(500)),
            matrix: Matrix::default(),
            clock_skew: Duration::ZERO,
            processors: Processors::default(),
            silent: 0.0,
            faults: FaultRates::default(),
            attack: None,
            attackers: 0,
            wire: false,
            ed25519: false,
            story: false,
        }
    }
}

impl Settings {
    /// Lets `attackers` nodes, or as many as may be, do this; signatures are real then.
    pub fn set_attack(&mut self, attack: Attack, attackers: usize) {
        self.attack = Some(attack);
        self.ed25519 = true;
        if attack.role() == Roles::AGGREGATOR {
            self.set_regions(self.regions.max(2));
        }
        self.edges = self.edges.max(4 * self.regions);
        let nodes = (self.edges / self.regions + self.aggregators).saturating_sub(1);
        let of_role = if attack.role() == Roles::AGGREGATOR { 1 } else { nodes / 3 };
        self.attackers = attackers.clamp(1, of_role.max(1) * self.regions);
    }

    /// So many regions: one alone has neither aggregators nor a coordinator.
    pub fn set_regions(&mut self, regions: usize) {
        self.regions = regions;
        self.aggregators = if regions > 1 { 2 } else { 0 };
        self.coordinators = usize::from(regions > 1);
    }

    /// Topology, network, work and faults as `seed` draws them: each run leaves some features out, so
    /// that rare combinations come up (swarm testing; Groce et al. 2012).
    pub fn drawn(seed: u64) -> Settings {
        let mut rng = Rng::new(seed ^ 0x5EED);
        let regions = 1 + rng.below(3) as usize;
        let edges = regions * (2 + rng.below(4) as usize);
        let is_tall = regions > 1 || rng.below(2) == 0;
        let milliseconds = |rng: &mut Rng, bound: u64| Duration::from_micros(100 + rng.below(bound * 1000));
        let sometimes = |mean: u64, rng: &mut Rng| match rng.below(2) {
            0 => Duration::ZERO,
            _ => Duration::from_secs(mean + rng.below(mean)),
        };
        let mut near = Conditions::perfect(milliseconds(&mut rng, 20));
        if rng.below(2) == 0 {
            near.jitter = milliseconds(&mut rng, 10);
        }
        if rng.below(3) == 0 {
            near.loss = rng.below(20) as f64 / 100.0;
            near.duplication = 0.02;
            near.reordering = 0.05;
        }
        let faults = FaultRates {
            crash: sometimes(8, &mut rng),
            pause: sometimes(10, &mut rng),
            cut: sometimes(6, &mut rng),
            one_way: sometimes(10, &mut rng),
            close: sometimes(4, &mut rng),
            partition: sometimes(20, &mut rng),
            death: Duration::ZERO,
        };
        let drawn = Settings {
            seed,
            edges,
            regions,
            aggregators: if is_tall { 1 + rng.below(2) as usize } else { 0 },
            coordinators: usize::from(is_tall),
            agents: 20 + rng.below(200),
            agents_per_client: 1 + rng.below(20),
            rate: 20 + rng.below(400),
            near,
            faults,
            ..Settings::default()
        };
        drawn.with_odd_nodes()
    }

    /// Now and then wall clocks that are off, narrow links, slow nodes and silent ones, by a chance of their
    /// own: runs that have none of them stay as they are.
    fn with_odd_nodes(mut self) -> Settings {
        let mut rng = Rng::new(self.seed ^ 0x0DD5);
        let mut sometimes = || (rng.below(4) == 0).then(|| rng.below(1000));
        if let Some(draw) = sometimes() {
            self.clock_skew = Duration::from_millis(500 + draw * 10);
        }
        if let Some(draw) = sometimes() {
            self.near.bandwidth = NonZeroU64::new(250_000 + draw * 2000);
        }
        if let Some(draw) = sometimes() {
            let step = Duration::from_micros(20 + draw / 10);
            self.processors = Processors { step, slow_share: 0.2, slow_times: 5 };
        }
        if let Some(draw) = sometimes() {
            self.silent = 0.1 + draw as f64 / 2000.0;
        }
        self
    }
}
