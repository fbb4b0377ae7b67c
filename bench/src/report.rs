//! The report of a run: everything measured, and null where nothing was.

use std::collections::BTreeMap;

use serde::Serialize;
use starling_core::hot::counters::{TICK_NANOS, quantile, timed};

use crate::part::{Counted, Joined, Told};
use crate::samples::at;
use crate::settings::Settings;

/// The report's schema.
pub const SCHEMA: &str = "starling.bench/1";

/// What a run measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// The work.
    pub bench: &'static str,
    /// How it was set up.
    pub settings: SetUp,
    /// Deliveries a second; of [`crate::Work::Latency`] answers, of [`crate::Work::Memory`] nothing.
    pub per_second: Option<f64>,
    /// From publishing to receiver, under load; of [`crate::Work::Latency`] from question to answer.
    pub latency_us: Option<Times>,
    /// The same of one message at a time; in a region until all nodes have it.
    pub alone_us: Option<Times>,
    /// Cores that each process used meanwhile.
    pub cpu_cores: BTreeMap<String, f64>,
    /// Ticks of 125 ns an entry by stage of the hot path, and in total, over all nodes.
    pub ticks: BTreeMap<String, Ticks>,
    /// Entries published.
    pub sent: u64,
    /// Deliveries that had to happen.
    pub expected: u64,
    /// Deliveries that did, each once and in order.
    pub delivered: u64,
    /// Those that did not.
    pub lost: u64,
    /// Those that happened again, or out of order.
    pub duplicated: u64,
    /// Bundles that a node refused.
    pub invalid: u64,
    /// Resident memory of each process at the end.
    pub rss_bytes: BTreeMap<String, u64>,
    /// What the nodes sent meanwhile; agents' own datagrams are not in it.
    pub udp: Option<Udp>,
    /// What agents cost, of [`crate::Work::Memory`].
    pub memory: Option<Memory>,
}

/// How a run was set up.
#[derive(Clone, Debug, Serialize)]
pub struct SetUp {
    /// What was asked.
    #[serde(flatten)]
    pub asked: Settings,
    /// Seconds that were measured.
    pub duration_seconds: f64,
    /// Seconds of publishing before.
    pub warm_up_seconds: f64,
    /// Entries in a bundle at the most.
    pub bundle: usize,
    /// Processes, without the one that reports.
    pub processes: usize,
    /// Connections of agents.
    pub agent_connections: u32,
}

/// Microseconds of many samples.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Times {
    /// Median.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
    /// 99.9th percentile.
    pub p999: f64,
    /// How many.
    pub samples: u64,
}

/// Ticks of a stage.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Ticks {
    /// Median.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
}

/// UDP traffic.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Udp {
    /// Datagrams.
    pub datagrams: u64,
    /// Calls of the system that carried them.
    pub syscalls: u64,
}

/// What agents cost an edge.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Memory {
    /// Resident bytes for each connection with one agent.
    pub bytes_per_connection: f64,
    /// Resident bytes for each of many agents on few connections.
    pub bytes_per_agent: f64,
    /// How those with a connection each came.
    pub alone: Joined,
    /// How those on few connections came.
    pub together: Joined,
}

/// Times of values in nanoseconds, given with how many there are of each.
pub fn times(counts: &[(u64, u64)]) -> Option<Times> {
    let mut counts = counts.to_vec();
    counts.sort_unstable();
    let samples: u64 = counts.iter().map(|(_, count)| count).sum();
    let quantile = |q: f64| {
        let rank = ((samples as f64 * q).ceil() as u64).max(1);
        let mut passed = 0;
        let found = counts.iter().find(|(_, count)| {
            passed += count;
            passed >= rank
        });
        found.map(|(value, _)| *value as f64 / 1e3)
    };
    Some(Times { p50: quantile(0.5)?, p99: quantile(0.99)?, p999: quantile(0.999)?, samples })
}

/// Ticks by stage, from what all nodes counted.
pub fn ticks(counted: &[Counted]) -> BTreeMap<String, Ticks> {
    let mut ticks = BTreeMap::new();
    for (stage, name) in timed().enumerate() {
        let mut sums: Vec<u64> = Vec::new();
        for counts in counted.iter().filter_map(|counted| counted.stages.get(stage)) {
            sums.resize(sums.len().max(counts.len()), 0);
            sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
        let at = |q| quantile(&sums, q).map(|nanos| nanos as f64 / TICK_NANOS as f64);
        if let (Some(p50), Some(p99)) = (at(0.5), at(0.99)) {
            ticks.insert(name.to_string(), Ticks { p50, p99 });
        }
    }
    ticks
}

/// What all nodes sent between two times.
pub fn udp(counted: &[Counted], begun: u64, ended: u64) -> Udp {
    let mut sum = Udp::default();
    for counted in counted {
        let between = |value: fn(&(u64, u64, u64)) -> u64| {
            let series: Vec<(u64, f64)> =
                counted.udp.iter().map(|look| (look.0, value(look) as f64)).collect();
            (at(&series, ended).unwrap_or(0.0) - at(&series, begun).unwrap_or(0.0)).max(0.0) as u64
        };
        sum.datagrams += between(|look| look.1);
        sum.syscalls += between(|look| look.2);
    }
    sum
}

/// What all parts tell together.
pub fn join(told: &[Told]) -> Told {
    let measured = |told: &&Told| told.measured > 0;
    let flat = |of: fn(&Told) -> &Vec<(u64, u64)>| told.iter().flat_map(|told| of(told).clone()).collect();
    let sum = |of: fn(&Told) -> u64| told.iter().map(of).sum();
    let mut joined = Told::default();
    told.iter().for_each(|told| joined.add_stages(&told.stages));
    Told {
        sent: sum(|told| told.sent),
        receivers: sum(|told| told.receivers),
        delivered: sum(|told| told.delivered),
        duplicated: sum(|told| told.duplicated),
        measured: sum(|told| told.measured),
        begun: told.iter().filter(measured).map(|told| told.begun).min().unwrap_or(0),
        ended: told.iter().filter(measured).map(|told| told.ended).max().unwrap_or(0),
        latency: flat(|told| &told.latency),
        single: flat(|told| &told.single),
        joined: None,
        invalid: sum(|told| told.invalid),
        stages: joined.stages,
    }
}

#[cfg(test)]
mod tests {
    use starling_core::hot::counters::Stage;

    use super::*;

    #[test]
    fn quantiles_are_of_all_values_together() {
        let times = times(&[(3_000, 1), (1_000, 98), (2_000, 1)]).unwrap();
        assert_eq!((times.p50, times.p99, times.p999, times.samples), (1.0, 2.0, 3.0, 100));
        assert!(super::times(&[]).is_none());
    }

    #[test]
    fn stages_of_all_nodes_are_summed() {
        let mut stages = vec![vec![0; 320]; 7];
        stages[Stage::Verify as usize][24] = 3;
        let counted = Counted { stages, ..Counted::default() };
        let ticks = ticks(&[counted.clone(), counted]);
        assert_eq!(ticks.keys().collect::<Vec<_>>(), ["verify"]);
        assert!(ticks["verify"].p50 > 0.0);
    }

    #[test]
    fn datagrams_are_those_between_two_times() {
        let counted = Counted { udp: vec![(0, 0, 0), (10, 100, 10), (20, 300, 20)], ..Counted::default() };
        let sent = udp(&[counted.clone(), counted], 10, 20);
        assert_eq!((sent.datagrams, sent.syscalls), (400, 20));
    }
}
