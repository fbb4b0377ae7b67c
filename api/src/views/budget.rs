//! The hot path's budget: what each stage takes an entry, and which nodes are over it.

use serde_json::{Value, json};
use starling_core::hot::counters::{BUDGET_TICKS, DENSE_ENTRIES, TICK_NANOS, quantile, timed};
use starling_core::node::overview::histogram;
use starling_core::wire::request::Overview;

use crate::history::named;

fn counts(answers: &[Overview], stage: &str) -> Vec<u64> {
    let counters = answers.iter().flat_map(|answer| &answer.counters);
    histogram(counters.map(|counter| (counter.name.as_str(), counter.value)), stage)
}

/// In hundredths of a tick, as people read it.
fn ticks(counts: &[u64], q: f64) -> Option<f64> {
    quantile(counts, q).map(|nanos| (nanos as f64 * 100.0 / TICK_NANOS as f64).round() / 100.0)
}

/// What nodes said of themselves, of `known` that were asked; and the memory of their processes.
pub(crate) fn budget(known: usize, answers: &[Overview], agents: u64) -> Value {
    let stages = timed().filter_map(|stage| {
        let counts = counts(answers, stage);
        let at = |q| ticks(&counts, q);
        let entries: u64 = counts.iter().sum();
        let (p50, p99) = (at(0.5)?, at(0.99)?);
        Some(json!({"stage": stage, "entries": entries, "p50_ticks": p50, "p99_ticks": p99}))
    });
    let rows = answers.iter().map(|answer| {
        let number = |name: &str| named(&answer.counters, name).unwrap_or(0);
        let dense = counts(std::slice::from_ref(answer), "dense");
        let node = answer.node.as_ref();
        json!({
            "name": node.map(|node| &node.name),
            "region": node.map(|node| &node.region),
            "received_entries": number("received_entries"),
            "dense_entries": number("dense_entries"),
            "overrun_entries": number("overrun_entries"),
            "p99_ticks": ticks(&dense, 0.99),
            "held_links": number("held_links"),
            "held_publishers": number("held_publishers"),
            "resident_bytes": named(&answer.counters, "resident_bytes"),
        })
    });
    let resident = resident_bytes(answers);
    json!({
        "schema": "starling.budget/1",
        "as_of_ms": answers.iter().map(|answer| answer.as_of_ms).min(),
        "nodes_known": known,
        "nodes_answered": answers.len(),
        "tick_nanos": TICK_NANOS,
        "budget_ticks": BUDGET_TICKS,
        "dense_entries_min": DENSE_ENTRIES,
        "stages": stages.collect::<Vec<_>>(),
        "nodes": rows.collect::<Vec<_>>(),
        "resident_bytes": resident,
        "resident_bytes_per_agent": resident.and_then(|bytes| bytes.checked_div(agents)),
    })
}

/// Memory of the nodes' processes, each counted once however many nodes share it; none unless all say.
fn resident_bytes(answers: &[Overview]) -> Option<u64> {
    let mut processes = std::collections::BTreeMap::new();
    for answer in answers {
        let node = answer.node.as_ref()?;
        let host = node.address.rsplit_once(':').map_or("", |(host, _)| host);
        processes.insert((host, node.process), named(&answer.counters, "resident_bytes")?);
    }
    (!processes.is_empty()).then(|| processes.values().sum())
}

#[cfg(test)]
mod tests {
    use starling_core::wire::request::{Counter, Member};

    use super::*;

    #[test]
    fn stages_are_summed_and_a_shared_process_is_counted_once() {
        let answer = |name: &str, process: u32, bytes: u64| {
            let counters = [("stage.verify.40", 5), ("resident_bytes", bytes)];
            let counter = |(name, value): (&str, u64)| Counter { name: name.to_owned(), value };
            let node =
                Member { name: name.into(), process, address: "127.0.0.1:1".into(), ..Member::default() };
            Overview { node: Some(node), counters: counters.map(counter).into(), ..Overview::default() }
        };
        let shown = budget(3, &[answer("a", 1, 100), answer("b", 1, 100), answer("c", 2, 50)], 10);
        assert_eq!(shown["stages"][0]["entries"], 15, "{shown}");
        assert_eq!((&shown["resident_bytes"], &shown["resident_bytes_per_agent"]), (&150.into(), &15.into()));
    }
}
