//! What a run says of itself; stable, for scripts.

use std::time::Duration;

use serde::Serialize;

use crate::check::Check;
use crate::settings::Settings;

/// The report of one run, schema `starling.sim/1`.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// `starling.sim/1`.
    pub schema: &'static str,
    /// What was simulated.
    pub settings: Summary,
    /// BLAKE3 over everything that happened.
    pub trace_hash: String,
    /// Inputs that nodes handled.
    pub steps: u64,
    /// Virtual time.
    pub simulated_seconds: f64,
    /// Real time.
    pub wall_seconds: f64,
    /// What was checked.
    pub invariants: Vec<Invariant>,
    /// From a crash until one linked node knows of it.
    pub detection_ms: Shares,
    /// Crashes that lasted for long enough to be noticed.
    pub crashes: u64,
    /// Live nodes that were declared dead by a node in no trouble.
    pub false_deaths: u64,
    /// From when a node could reach too few of its region until it said so.
    pub cut_off_ms: Shares,
    /// From when it was linked with enough again until it took that back.
    pub rejoined_ms: Shares,
    /// From the loss of an edge until its agents were served by another.
    pub rehomed_ms: Shares,
    /// From an entry's publication until a subscriber had it.
    pub delivery_ms: Shares,
    /// Nodes that were banned.
    pub banned: Banned,
    /// Faults that began or ended.
    pub faults: u64,
    /// What agents published.
    pub events: Events,
    /// Bytes that a node sent, with those of packets.
    pub bytes_per_node_per_second: f64,
    /// The same in the part of the run in which nobody did any work; zero where there was none.
    pub idle_bytes_per_node_per_second: f64,
    /// From the write of a key until it was at every edge and aggregator that ran.
    pub convergence_ms: Shares,
    /// Payload bytes of events that came over links, for each byte of a first copy at a node.
    pub payload_copies: f64,
    /// The same for each byte that was new and wanted where it came.
    pub payload_carried: f64,
    /// Hops of event bundles from their origin until the last node that they came to.
    pub rounds: Rounds,
    /// Whether the mesh served as it should in the end.
    pub healed: bool,
    /// What happened, line by line, where it was asked for.
    #[serde(skip)]
    pub story: Vec<String>,
}

/// The settings that a run can be repeated by.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Where chance began.
    pub seed: u64,
    /// Nodes of all roles.
    pub nodes: usize,
    /// Regions.
    pub regions: usize,
    /// Agents.
    pub agents: u64,
    /// Seconds with faults.
    pub time_seconds: f64,
}

/// What became of one property.
#[derive(Clone, Debug, Serialize)]
pub struct Invariant {
    /// Its name.
    pub name: &'static str,
    /// Times that it was looked at.
    pub checks: u64,
    /// Times that it did not hold.
    pub violations: u64,
    /// What was seen the first times.
    pub examples: Vec<String>,
}

/// Quantiles of durations, in milliseconds; zero without any.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Shares {
    /// The median.
    pub p50: f64,
    /// Of a hundred, the ninety-ninth.
    pub p99: f64,
    /// The longest.
    pub max: f64,
    /// How many there were.
    pub count: usize,
}

impl Shares {
    /// Of these.
    pub fn of(times: &[Duration]) -> Shares {
        let mut sorted = times.to_vec();
        sorted.sort_unstable();
        let at = |share: f64| {
            let rank = (sorted.len() as f64 * share).ceil() as usize;
            let time = sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default();
            time.as_secs_f64() * 1000.0
        };
        Shares { p50: at(0.5), p99: at(0.99), max: at(1.0), count: sorted.len() }
    }
}

/// Who was banned by honest nodes, and how soon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Banned {
    /// Hostile nodes that an honest one banned.
    pub guilty: usize,
    /// Honest nodes that an honest one banned.
    pub innocent: usize,
    /// From a hostile node's first act until an honest node banned it; of a hundred, the ninety-ninth.
    pub p99_ms: f64,
}

/// Hops of bundles; zero without any.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Rounds {
    /// Of the median bundle.
    pub p50: usize,
    /// Of the one that took most.
    pub max: usize,
}

/// Entries of agents.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Events {
    /// Published.
    pub published: u64,
    /// Delivered, over all subscriptions.
    pub delivered: u64,
    /// Gaps that subscribers were told of.
    pub gaps: u64,
}

impl Report {
    pub(crate) fn new(settings: &Settings, checks: &mut [&mut dyn Check]) -> Report {
        let invariant = |check: &&mut dyn Check| {
            let findings = check.findings().clone();
            Invariant {
                name: check.name(),
                checks: findings.checks,
                violations: findings.violations,
                examples: findings.examples,
            }
        };
        let invariants: Vec<Invariant> = checks.iter().map(invariant).collect();
        Report {
            schema: "starling.sim/1",
            settings: Summary {
                seed: settings.seed,
                nodes: settings.edges + settings.regions * settings.aggregators + settings.coordinators,
                regions: settings.regions,
                agents: settings.agents,
                time_seconds: settings.time.as_secs_f64(),
            },
            trace_hash: String::new(),
            steps: 0,
            simulated_seconds: 0.0,
            wall_seconds: 0.0,
            healed: invariants.iter().all(|invariant| invariant.violations == 0),
            invariants,
            detection_ms: Shares::default(),
            crashes: 0,
            false_deaths: 0,
            cut_off_ms: Shares::default(),
            rejoined_ms: Shares::default(),
            rehomed_ms: Shares::default(),
            delivery_ms: Shares::default(),
            banned: Banned::default(),
            faults: 0,
            events: Events::default(),
            bytes_per_node_per_second: 0.0,
            idle_bytes_per_node_per_second: 0.0,
            convergence_ms: Shares::default(),
            payload_copies: 0.0,
            payload_carried: 0.0,
            rounds: Rounds::default(),
            story: Vec::new(),
        }
    }

    /// Properties that did not hold.
    pub fn violations(&self) -> u64 {
        self.invariants.iter().map(|invariant| invariant.violations).sum()
    }
}
