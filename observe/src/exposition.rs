//! Metrics as text for Prometheus (OpenMetrics 1.0).

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use starling_core::hot::counters::{ceiling_nanos, timed};
use starling_core::node::overview::histogram;

use crate::Reading;
use crate::signals::{Kind, SIGNALS, STAGES, Signal};

/// The media type of the text.
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper ends of the histogram's buckets: 8 ns doubled so many times.
const DOUBLINGS: u32 = 22;
/// The first of them.
const FIRST_NANOS: u64 = 8;

/// What a node was read to do, as text.
///
/// # Errors
/// None: text can always grow.
pub fn text(reading: &Reading) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Collected(reading.clone())));
    let mut out = String::new();
    text::encode(&mut out, &registry)?;
    Ok(out)
}

#[derive(Debug)]
struct Collected(Reading);

impl Collector for Collected {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for family in SIGNALS.chunk_by(|one, other| one.name == other.name) {
            let known = family.iter().filter_map(|signal| Some((signal, self.0.get(signal.source)?)));
            let known: Vec<(&Signal, u64)> = known.collect();
            let Some((first, _)) = known.first() else { continue };
            let kind = match first.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
            };
            let mut metric = encoder.encode_descriptor(first.name, first.help, None, kind)?;
            for (signal, value) in known {
                match signal.label {
                    Some(label) => one(&mut metric.encode_family(&[label])?, signal.kind, value)?,
                    None => one(&mut metric, signal.kind, value)?,
                }
            }
        }
        stages(&self.0, &mut encoder)
    }
}

fn one(metric: &mut MetricEncoder<'_>, kind: Kind, value: u64) -> fmt::Result {
    match kind {
        Kind::Counter => metric.encode_counter::<NoLabelSet, _, u64>(&value, None),
        Kind::Gauge => metric.encode_gauge(&value),
    }
}

fn stages(reading: &Reading, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let counts: Vec<(&str, Vec<u64>)> = timed()
        .map(|stage| (stage, histogram(reading.iter(), stage)))
        .filter(|(_, counts)| !counts.is_empty())
        .collect();
    if counts.is_empty() {
        return Ok(());
    }
    let (name, help) = STAGES;
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
    for (stage, counts) in &counts {
        let total: u64 = counts.iter().sum();
        let sum: f64 =
            (0..).zip(counts).map(|(bucket, count)| seconds(ceiling_nanos(bucket)) * *count as f64).sum();
        let mut buckets = Vec::new();
        let mut from = 0;
        for doubling in 0..DOUBLINGS {
            let end = FIRST_NANOS << doubling;
            let upto = (from..counts.len()).take_while(|bucket| ceiling_nanos(*bucket) <= end).count();
            buckets.push((seconds(end), counts[from..from + upto].iter().sum()));
            from += upto;
        }
        buckets.push((f64::INFINITY, counts[from..].iter().sum()));
        metric
            .encode_family(&[("stage", *stage)])?
            .encode_histogram::<NoLabelSet>(sum, total, &buckets, None)?;
    }
    Ok(())
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_out_under_their_names_with_help_and_type() {
        let mut reading = Reading::default();
        reading.set("published_entries", 7);
        reading.set("members.up", 3);
        reading.set("members.down", 1);
        reading.set("nobody.knows", 9);
        let text = text(&reading).unwrap();
        for line in [
            "# HELP starling_core_published_entries Entries admitted from own agents.",
            "# TYPE starling_core_published_entries counter",
            "starling_core_published_entries_total 7",
            "# TYPE starling_membership_nodes gauge",
            "starling_membership_nodes{status=\"up\"} 3",
            "starling_membership_nodes{status=\"down\"} 1",
            "# EOF",
        ] {
            assert!(text.lines().any(|of| of == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("nobody") && !text.contains("sealed"), "{text}");
        assert_eq!(text.matches("# TYPE starling_membership_nodes").count(), 1);
    }

    #[test]
    fn buckets_of_a_stage_add_up() {
        let mut reading = Reading::default();
        // Bucket 8 holds 8 ns, bucket 32 64 to 71 ns.
        reading.set("stage.verify.8", 2);
        reading.set("stage.verify.32", 5);
        let text = text(&reading).unwrap();
        for (le, count) in [("8e-9", 0), ("1.6e-8", 2), ("1.28e-7", 7), ("+Inf", 7)] {
            let lines = text.lines().filter(|line| line.starts_with("starling_core_stage_seconds_bucket"));
            let lines: Vec<&str> = lines.collect();
            let is_it = |line: &&&str| line.contains(&format!("le=\"{le}\"")) && line.contains("verify");
            let line = lines.iter().find(is_it).unwrap_or_else(|| panic!("no {le} in {text}"));
            assert!(line.ends_with(&format!(" {count}")), "{line}");
        }
        assert!(text.contains("starling_core_stage_seconds_count{stage=\"verify\"} 7"), "{text}");
    }
}
