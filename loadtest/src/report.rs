//! The report: everything measured, and null where nothing was.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;
use serde::Serialize;
use serde_json::Value;
use starling_core::hot::counters::timed;

use crate::settings::Settings;

/// The report's schema.
pub const SCHEMA: &str = "starling.loadtest/1";

/// What a run measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// What was asked.
    pub settings: Settings,
    /// Processes of the mesh by what they run.
    pub processes: BTreeMap<String, u32>,
    /// Agents.
    pub agents: Agents,
    /// The arrival.
    pub attach: Attach,
    /// The coordinator's count once everybody was there and nothing changed.
    pub count_at_rest: Option<u64>,
    /// Changes until they were visible at the coordinator.
    pub visible_ms: Option<Times>,
    /// System updates until every agent had them.
    pub broadcast_ms: Option<Broadcast>,
    /// Events from due time to receiver.
    pub delivery_us: Delivery,
    /// Events.
    pub events: Events,
    /// Memory.
    pub memory: Memory,
    /// Processor time of the whole run.
    pub cpu_seconds: Cpu,
    /// The mesh's hot paths.
    pub hot_path: HotPath,
    /// What nodes told one another.
    pub gossip: Gossip,
    /// Regions as the coordinator shows them.
    pub regions: Vec<Region>,
    /// Edges killed at the end.
    pub kill: Option<Kill>,
    /// How late the generator's own schedule was at worst, in milliseconds: above a few hundred the
    /// machine, not the mesh, was the limit.
    pub schedule_late_ms: f64,
    /// Refusals and closings, the first twenty.
    pub complaints: Vec<String>,
    /// What had to hold.
    pub thresholds: Vec<Threshold>,
}

/// Agents.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Agents {
    /// Asked for.
    pub requested: u32,
    /// Attached at the end of the arrival.
    pub attached: u64,
    /// Whose attach signature an edge verified.
    pub verified: u64,
    /// Refused.
    pub failed: u64,
}

/// The arrival.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Attach {
    /// From the first connection to the last agent attached.
    pub seconds: f64,
    /// Agents a second.
    pub per_second: f64,
    /// Until the last subscription was in force everywhere.
    pub subscribed_seconds: f64,
}

/// Times of many samples.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Times {
    /// Median.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
    /// 99.9th percentile.
    pub p999: f64,
    /// Greatest.
    pub max: f64,
    /// How many.
    pub samples: u64,
}

/// System updates.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Broadcast {
    /// Median.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Greatest.
    pub max: f64,
    /// Agents that acknowledged the update that reached fewest.
    pub reached: u64,
    /// Updates issued.
    pub updates: usize,
}

/// Delivery times.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Delivery {
    /// Publisher and receiver in one region.
    pub region: Option<Times>,
    /// In two.
    pub global: Option<Times>,
}

/// Events.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Events {
    /// Handed to connections on schedule.
    pub published: u64,
    /// Not handed over: the connection's queue was full or it was down.
    pub unsent: u64,
    /// Acknowledged to their publishers.
    pub acknowledged: u64,
    /// Deliveries that should happen.
    pub expected: u64,
    /// Deliveries that did, a receiver once.
    pub delivered: u64,
    /// Deliveries beyond the first to the same receiver.
    pub duplicated: u64,
    /// Expected deliveries that did not happen.
    pub lost: u64,
    /// Published a second.
    pub per_second: f64,
}

/// Memory.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Memory {
    /// The greatest sum of the mesh processes' proportional set sizes, sampled each second.
    pub mesh_pss_bytes: Option<u64>,
    /// The same before the first agent came.
    pub mesh_idle_pss_bytes: Option<u64>,
    /// By agent.
    pub bytes_per_agent: Option<f64>,
    /// By connection of agents.
    pub bytes_per_connection: Option<f64>,
    /// The generator's, at the end.
    pub generator_pss_bytes: Option<u64>,
}

/// Processor time.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Cpu {
    /// Of the mesh.
    pub mesh: Option<f64>,
    /// Of the generator.
    pub generator: Option<f64>,
}

/// The hot paths of all nodes together.
#[derive(Clone, Debug, Default, Serialize)]
pub struct HotPath {
    /// Entries received and accepted.
    pub entries: Option<u64>,
    /// Bundles received and accepted.
    pub bundles: Option<u64>,
    /// Bundles refused.
    pub invalid: Option<u64>,
    /// Ticks of 125 ns an entry, by stage.
    pub ticks: BTreeMap<String, Ticks>,
}

/// Ticks of a stage.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Ticks {
    /// Median.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
}

/// Traffic between nodes.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Gossip {
    /// Copies of a bundle that a node received, on average.
    pub payload_copies: Option<f64>,
    /// Bytes of bundles sent, by node and second of traffic.
    pub bytes_per_node_per_second: Option<f64>,
    /// Bytes of sections that came to a node without a subscriber for them.
    pub payload_unwanted_bytes: Option<u64>,
}

/// A region.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Region {
    /// Name.
    pub name: String,
    /// Edges in its figure.
    pub edges: u32,
    /// Aggregators that report.
    pub aggregators: u32,
    /// Agents.
    pub agents: u64,
}

/// Edges killed at the end of the run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Kill {
    /// How many.
    pub edges: u32,
    /// Agents that should be counted afterwards.
    pub agents_expected: u64,
    /// Agents counted at last.
    pub agents_counted: u64,
    /// Seconds from the kill until the count was as expected for good; null if it never was.
    pub seconds: Option<f64>,
    /// From the kill until each agent was attached at another edge; one that never was counts as a
    /// minute.
    pub rehomed_ms: Option<Times>,
}

/// An expression that had to hold.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Threshold {
    /// As given.
    pub expression: String,
    /// What was measured; null if nothing was, which fails.
    pub value: Option<f64>,
    /// Whether it held.
    pub ok: bool,
}

/// Times of a histogram in units of `unit` nanoseconds; `None` when it is empty.
pub fn times(histogram: &Histogram<u64>, unit: f64) -> Option<Times> {
    let at = |q: f64| histogram.value_at_quantile(q) as f64 / unit;
    (!histogram.is_empty()).then(|| Times {
        p50: at(0.5),
        p99: at(0.99),
        p999: at(0.999),
        max: histogram.max() as f64 / unit,
        samples: histogram.len(),
    })
}

impl Report {
    /// Evaluates the thresholds over the report as it is written.
    ///
    /// # Errors
    /// An expression that is none.
    pub fn judge(&mut self) -> Result<()> {
        let report = serde_json::to_value(&*self)?;
        let judged: Result<Vec<Threshold>> =
            self.settings.thresholds.iter().map(|expression| judge(&report, expression)).collect();
        self.thresholds = judged?;
        Ok(())
    }

    /// Whether every threshold held.
    pub fn is_ok(&self) -> bool {
        self.thresholds.iter().all(|threshold| threshold.ok)
    }
}

/// An expression such as `visible_ms.p99<=1000`: a path into the report, a comparison, a number.
///
/// # Errors
/// What is wrong with it.
pub fn parse(expression: &str) -> Result<(&str, &str, f64)> {
    let operators = ["<=", ">=", "==", "!=", "<", ">"];
    let found = operators.iter().filter_map(|operator| Some((expression.find(operator)?, *operator)));
    let (at, operator) = found.min_by_key(|(at, operator)| (*at, usize::MAX - operator.len())).with_context(|| {
        format!("`{expression}` is no threshold; write a path, a comparison and a number: visible_ms.p99<=1000")
    })?;
    let (path, number) = (expression[..at].trim(), expression[at + operator.len()..].trim());
    let number: f64 =
        number.parse().with_context(|| format!("`{number}` in `{expression}` is not a number"))?;
    if path.is_empty() || !number.is_finite() {
        bail!(
            "`{expression}` is no threshold; write a path, a comparison and a number: visible_ms.p99<=1000"
        );
    }
    Ok((path, operator, number))
}

/// Refuses a threshold over what no report of `settings` can have, before anything runs.
///
/// # Errors
/// What is wrong with it.
pub fn check(expression: &str, settings: &Settings) -> Result<()> {
    let (path, ..) = parse(expression)?;
    match serde_json::to_value(whole(settings))?.pointer(&pointer(path)) {
        Some(Value::Number(_) | Value::Null) => Ok(()),
        Some(_) => bail!("`{path}` in `{expression}` is not a number in the report"),
        None => bail!("the report has no `{path}`"),
    }
}

/// A report with every part that a run of `settings` may have.
fn whole(settings: &Settings) -> Report {
    let ticks = timed().map(|name| (name.to_string(), Ticks::default())).collect();
    Report {
        schema: SCHEMA,
        settings: settings.clone(),
        processes: BTreeMap::new(),
        agents: Agents::default(),
        attach: Attach::default(),
        count_at_rest: None,
        visible_ms: Some(Times::default()),
        broadcast_ms: Some(Broadcast::default()),
        delivery_us: Delivery { region: Some(Times::default()), global: Some(Times::default()) },
        events: Events::default(),
        memory: Memory::default(),
        cpu_seconds: Cpu::default(),
        hot_path: HotPath { ticks, ..HotPath::default() },
        gossip: Gossip::default(),
        regions: vec![Region::default(); settings.regions as usize],
        kill: (settings.kill_edge > 0)
            .then(|| Kill { rehomed_ms: settings.rehome.then(Times::default), ..Kill::default() }),
        schedule_late_ms: 0.0,
        complaints: Vec::new(),
        thresholds: Vec::new(),
    }
}

fn pointer(path: &str) -> String {
    format!("/{}", path.replace('.', "/"))
}

fn judge(report: &Value, expression: &str) -> Result<Threshold> {
    let (path, operator, limit) = parse(expression)?;
    let value = report.pointer(&pointer(path)).and_then(Value::as_f64);
    let ok = value.is_some_and(|value| match operator {
        "<=" => value <= limit,
        ">=" => value >= limit,
        "<" => value < limit,
        ">" => value > limit,
        "==" => value == limit,
        _ => value != limit,
    });
    Ok(Threshold { expression: expression.to_string(), value, ok })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_read_and_judged() {
        let report = serde_json::json!({"a": {"b": 5}, "n": null});
        for (expression, ok) in
            [("a.b<=5", true), ("a.b < 5", false), ("a.b==5", true), ("a.b!=5", false), ("n.m<1", false)]
        {
            assert_eq!(judge(&report, expression).unwrap().ok, ok, "{expression}");
        }
        assert!(parse("a.b").is_err());
        assert!(parse("a<x").is_err());
    }

    #[test]
    fn thresholds_over_what_no_report_has_are_refused_before_a_run() {
        let settings = crate::tests::settings();
        for good in [
            "visible_ms.p99<=1",
            "hot_path.ticks.total.p50<4",
            "regions.1.agents==1",
            "memory.bytes_per_agent<1",
        ] {
            check(good, &settings).unwrap();
        }
        // Nothing is killed in this run, so nothing will be counted after it.
        for bad in
            ["visible.p99<=1", "schema==1", "regions.2.agents==1", "kill.agents_counted==1", "events<1"]
        {
            assert!(check(bad, &settings).is_err(), "{bad}");
        }
        let kills = Settings { kill_edge: 1, ..settings };
        check("kill.agents_counted==1", &kills).unwrap();
        check("kill.rehomed_ms.p99<=1000", &kills).unwrap();
        // Who stays away comes home at no time.
        check("kill.rehomed_ms.p99<=1000", &Settings { rehome: false, ..kills }).unwrap_err();
    }
}
