//! What runs of detectors alone say of themselves; stable, for scripts.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use starling_core::membership::detector::{Counters, Rules};

use crate::report::Shares;
use crate::settings::Settings;

/// The report of one run, schema `starling.detector/1`.
#[derive(Clone, Debug, Serialize)]
pub struct DetectorReport {
    /// `starling.detector/1`.
    pub schema: &'static str,
    /// `product` or `plain`.
    pub rules: &'static str,
    /// Where chance began.
    pub seed: u64,
    /// Nodes of the region.
    pub nodes: usize,
    /// Those of them whose processor is slow.
    pub slow: usize,
    /// Share of packets that are lost.
    pub loss: f64,
    /// Virtual time.
    pub simulated_seconds: f64,
    /// Real time.
    pub wall_seconds: f64,
    /// Inputs that nodes handled.
    pub steps: u64,
    /// BLAKE3 over everything that happened.
    pub trace_hash: String,
    /// From a crash until one live node knew, one sample for each live node and crash.
    pub detection_ms: Shares,
    /// From a crash until the last live node knew, one sample for each crash.
    pub known_to_all_ms: Shares,
    /// Nodes that died.
    pub crashes: usize,
    /// Of those, how many some live node does not know of.
    pub unnoticed: usize,
    /// Verdicts of nodes that a live node is dead.
    pub false_deaths: u64,
    /// How many live nodes they were about.
    pub falsely_dead: usize,
    /// What the detectors of all nodes did.
    pub accusations: u64,
    /// Accusations that the accused refuted, counted by each who heard both.
    pub refuted: u64,
    /// Direct probes.
    pub probes: u64,
    /// Probes without any answer.
    pub timeouts: u64,
}

/// Both rules on one seed.
#[derive(Clone, Debug, Serialize)]
pub struct Compared {
    /// The seed.
    pub seed: u64,
    /// By the product's rules.
    pub product: DetectorReport,
    /// By plain SWIM's.
    pub plain: DetectorReport,
}

/// Many seeds by both rules, schema `starling.detectors/1`.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// `starling.detectors/1`.
    pub schema: &'static str,
    /// False deaths by the product's rules, over all seeds.
    pub product_false_deaths: u64,
    /// By plain SWIM's.
    pub plain_false_deaths: u64,
    /// How many times fewer the product has; where it has none, than one.
    pub times_fewer: f64,
    /// The seeds one by one.
    pub seeds: Vec<Compared>,
}

impl Default for Comparison {
    fn default() -> Comparison {
        Comparison {
            schema: "starling.detectors/1",
            product_false_deaths: 0,
            plain_false_deaths: 0,
            times_fewer: 0.0,
            seeds: Vec::new(),
        }
    }
}

impl Comparison {
    pub(super) fn add(&mut self, compared: Compared) {
        self.product_false_deaths += compared.product.false_deaths;
        self.plain_false_deaths += compared.plain.false_deaths;
        self.times_fewer = self.plain_false_deaths as f64 / self.product_false_deaths.max(1) as f64;
        self.seeds.push(compared);
    }
}

/// What is counted while a region runs.
#[derive(Debug, Default)]
pub(super) struct Tally {
    detection: Vec<Duration>,
    /// Of each that died: how many lived then, and know by now, and how long that took.
    dead: BTreeMap<usize, (usize, Vec<Duration>)>,
    false_deaths: u64,
    falsely_dead: BTreeMap<usize, u64>,
    counters: Counters,
}

impl Tally {
    pub fn died(&mut self, node: usize, alive: usize) {
        self.dead.insert(node, (alive, Vec::new()));
    }

    /// A node holds another for dead, which died so long ago, or lives.
    pub fn buried(&mut self, node: usize, since: Option<Duration>) {
        match (since, self.dead.get_mut(&node)) {
            (Some(since), Some((_, known))) => {
                known.push(since);
                self.detection.push(since);
            }
            (Some(_), None) | (None, _) => {
                self.false_deaths += 1;
                *self.falsely_dead.entry(node).or_default() += 1;
            }
        }
    }

    pub fn add(&mut self, counters: &Counters) {
        self.counters.accusations_made += counters.accusations_made;
        self.counters.false_accusations += counters.false_accusations;
        self.counters.probes += counters.probes;
        self.counters.timeouts += counters.timeouts;
    }

    pub fn report(
        &self,
        settings: &Settings,
        rules: &Rules,
        (nodes, slow): (usize, usize),
        (steps, trace): (u64, [u8; 32]),
    ) -> DetectorReport {
        // Whoever died meanwhile need not know.
        let gone = self.dead.len();
        let lasts = self.dead.values().filter_map(|(_, known)| known.iter().max().copied());
        let lacks = |(alive, known): &&(usize, Vec<Duration>)| known.len() + gone < *alive + 1;
        DetectorReport {
            schema: "starling.detector/1",
            rules: if rules.is_lifeguard { "product" } else { "plain" },
            seed: settings.seed,
            nodes,
            slow,
            loss: settings.near.loss,
            simulated_seconds: settings.time.as_secs_f64(),
            wall_seconds: 0.0,
            steps,
            trace_hash: blake3::Hash::from_bytes(trace).to_hex().to_string(),
            detection_ms: Shares::of(&self.detection),
            known_to_all_ms: Shares::of(&lasts.collect::<Vec<_>>()),
            crashes: gone,
            unnoticed: self.dead.values().filter(lacks).count(),
            false_deaths: self.false_deaths,
            falsely_dead: self.falsely_dead.len(),
            accusations: self.counters.accusations_made,
            refuted: self.counters.false_accusations,
            probes: self.counters.probes,
            timeouts: self.counters.timeouts,
        }
    }
}
