//! What each stage of the hot path takes, against its budget.

use serde::Serialize;
use starling_core::hot::counters::{BUDGET_TICKS, DENSE_ENTRIES, TICK_NANOS, quantile, timed};
use starling_core::node::overview::histogram;
use starling_core::wire::request::Overview;

use super::Render;
use super::table::{Side, facts, grouped, table};

/// The answer to `starling budget`: sums over the nodes that answered, since each one's start.
#[derive(Debug, Serialize)]
pub struct Budget {
    schema: &'static str,
    mesh: String,
    as_of_ms: u64,
    /// Nodes with a hot path that are known, and of which there are figures here.
    nodes_known: usize,
    nodes_answered: usize,
    tick_nanos: u64,
    /// Ticks an entry in bundles of so many entries and more.
    budget_ticks: u64,
    dense_entries_min: u64,
    stages: Vec<StageRow>,
    nodes: Vec<NodeRow>,
}

/// A stage, or a total; ticks an entry, but of `converge` a comparison.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct StageRow {
    stage: &'static str,
    entries: u64,
    p50_ticks: f64,
    p99_ticks: f64,
    p999_ticks: f64,
}

/// A node: the whole of dense bundles, what of them was over the budget, and whom it let wait.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct NodeRow {
    name: String,
    region: String,
    received_entries: u64,
    dense_entries: u64,
    overrun_entries: u64,
    p50_ticks: Option<f64>,
    p99_ticks: Option<f64>,
    invalid_bundles: u64,
    held_links: u64,
    held_link_ms: u64,
    held_publishers: u64,
    held_publisher_ms: u64,
}

fn counts<'a>(overviews: impl IntoIterator<Item = &'a Overview>, name: &str) -> Vec<u64> {
    let counters = overviews.into_iter().flat_map(|overview| &overview.counters);
    histogram(counters.map(|counter| (counter.name.as_str(), counter.value)), name)
}

fn ticks(counts: &[u64], q: f64) -> Option<f64> {
    quantile(counts, q).map(|nanos| nanos as f64 / TICK_NANOS as f64)
}

impl NodeRow {
    fn of(overview: &Overview) -> NodeRow {
        let named = |name: &str| {
            let counter = overview.counters.iter().find(|counter| counter.name == name);
            counter.map_or(0, |counter| counter.value)
        };
        let dense = counts([overview], "dense");
        let node = overview.node.clone().unwrap_or_default();
        NodeRow {
            name: node.name,
            region: node.region,
            received_entries: named("received_entries"),
            dense_entries: named("dense_entries"),
            overrun_entries: named("overrun_entries"),
            p50_ticks: ticks(&dense, 0.5),
            p99_ticks: ticks(&dense, 0.99),
            invalid_bundles: named("invalid_bundles"),
            held_links: named("held_links"),
            held_link_ms: named("held_link_micros") / 1000,
            held_publishers: named("held_publishers"),
            held_publisher_ms: named("held_publisher_micros") / 1000,
        }
    }

    fn overrun(&self) -> f64 {
        self.overrun_entries as f64 / self.dense_entries.max(1) as f64
    }
}

impl Budget {
    /// What nodes said of themselves, of `known` that there are; whoever overruns most comes first.
    pub fn of(known: usize, answers: &[Overview]) -> Budget {
        let stages = timed().filter_map(|stage| {
            let counts = counts(answers, stage);
            let at = |q| ticks(&counts, q);
            Some(StageRow {
                stage,
                entries: counts.iter().sum(),
                p50_ticks: at(0.5)?,
                p99_ticks: at(0.99)?,
                p999_ticks: at(0.999)?,
            })
        });
        let mut nodes: Vec<NodeRow> = answers.iter().map(NodeRow::of).collect();
        nodes.sort_by(|one, other| {
            other.overrun().total_cmp(&one.overrun()).then_with(|| one.name.cmp(&other.name))
        });
        Budget {
            schema: "starling.budget/1",
            mesh: answers.first().map_or_else(String::new, |overview| overview.mesh.clone()),
            as_of_ms: answers.iter().map(|overview| overview.as_of_ms).min().unwrap_or(0),
            nodes_known: known,
            nodes_answered: answers.len(),
            tick_nanos: TICK_NANOS,
            budget_ticks: BUDGET_TICKS,
            dense_entries_min: DENSE_ENTRIES,
            stages: stages.collect(),
            nodes,
        }
    }

    /// The state of things in a sentence.
    fn verdict(&self) -> String {
        let sum = |of: fn(&NodeRow) -> u64| self.nodes.iter().map(of).sum::<u64>();
        let (dense, over) = (sum(|node| node.dense_entries), sum(|node| node.overrun_entries));
        if dense == 0 {
            return format!("no bundle of {DENSE_ENTRIES} entries or more has come yet");
        }
        let share = 100.0 * over as f64 / dense as f64;
        format!("{share:.2} % of {} entries took more than {BUDGET_TICKS} ticks", grouped(dense))
    }
}

impl Render for Budget {
    fn table(&self) -> String {
        let head = facts(&[
            (
                "budget",
                format!(
                    "{BUDGET_TICKS} ticks of {TICK_NANOS} ns an entry in bundles of {DENSE_ENTRIES} and more"
                ),
            ),
            ("nodes", format!("{} of {} answered", self.nodes_answered, self.nodes_known)),
            ("overruns", self.verdict()),
        ]);
        let number = |ticks: f64| format!("{ticks:.2}");
        let stages = self.stages.iter().map(|row| {
            vec![
                row.stage.to_owned(),
                grouped(row.entries),
                number(row.p50_ticks),
                number(row.p99_ticks),
                number(row.p999_ticks),
            ]
        });
        let columns = [
            ("STAGE", Side::Left),
            ("ENTRIES", Side::Right),
            ("P50", Side::Right),
            ("P99", Side::Right),
            ("P99.9", Side::Right),
        ];
        let stages = table(&columns, stages.collect(), "nothing was timed yet");
        let maybe = |ticks: Option<f64>| ticks.map_or_else(|| "-".to_owned(), number);
        let nodes = self.nodes.iter().map(|row| {
            vec![
                row.name.clone(),
                row.region.clone(),
                grouped(row.received_entries),
                maybe(row.p50_ticks),
                maybe(row.p99_ticks),
                format!("{:.2} %", 100.0 * row.overrun()),
                format!("{} for {} ms", row.held_links, row.held_link_ms),
                format!("{} for {} ms", row.held_publishers, row.held_publisher_ms),
            ]
        });
        let columns = [
            ("NODE", Side::Left),
            ("REGION", Side::Left),
            ("ENTRIES", Side::Right),
            ("P50", Side::Right),
            ("P99", Side::Right),
            ("OVER", Side::Right),
            ("LINKS HELD", Side::Right),
            ("PUBLISHERS HELD", Side::Right),
        ];
        format!("{head}{stages}{}", table(&columns, nodes.collect(), "no node"))
    }
}

#[cfg(test)]
mod tests {
    use starling_core::wire::request::{Counter, Member};

    use super::*;

    fn overview(name: &str, counters: &[(&str, u64)]) -> Overview {
        let counter = |(name, value): &(&str, u64)| Counter { name: (*name).to_owned(), value: *value };
        Overview {
            mesh: "m".to_owned(),
            node: Some(Member { name: name.to_owned(), ..Member::default() }),
            counters: counters.iter().map(counter).collect(),
            ..Overview::default()
        }
    }

    #[test]
    fn stages_are_summed_and_the_worst_node_comes_first() {
        let good = [("dense_entries", 900), ("stage.dense.40", 900), ("stage.verify.30", 900)];
        let bad = [("dense_entries", 100), ("overrun_entries", 50), ("stage.verify.30", 100)];
        let budget = Budget::of(3, &[overview("good", &good), overview("bad", &bad)]);
        let verify = budget.stages.iter().find(|row| row.stage == "verify").unwrap();
        assert_eq!(verify.entries, 1000);
        let names: Vec<&str> = budget.nodes.iter().map(|node| node.name.as_str()).collect();
        assert_eq!(names, ["bad", "good"]);
        assert_eq!(budget.verdict(), "5.00 % of 1,000 entries took more than 8 ticks");
        assert!(budget.table().contains("2 of 3 answered"), "{}", budget.table());
    }

    #[test]
    fn a_mesh_without_traffic_has_no_overruns() {
        let budget = Budget::of(1, &[overview("idle", &[])]);
        assert!(budget.stages.is_empty());
        assert!(budget.table().contains("nothing was timed yet"));
    }
}
