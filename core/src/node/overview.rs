//! Figures for people: what aggregators and coordinators answer to an overview.

use crate::hot::counters::{BUCKETS, Snapshot, timed};
use crate::identity::Roles;
use crate::membership::Neighbours;
use crate::summary::{Counter, DistributionId, Figure, Global, Parts, Tally};
use crate::time::Now;
use crate::wire::request::{self, Member, Overview, RegionView};

/// The mesh as `global` and `neighbours` show it.
pub fn overview(now: Now, global: &Global, neighbours: &Neighbours, update_index: u64) -> Overview {
    let members = members(global, neighbours);
    let name_of = |region| {
        let known = neighbours.iter().find(|(_, known)| known.region() == region);
        known.map(|(_, known)| known.admission.region.to_string())
    };
    let me = &neighbours.me().admission;
    let regions = global.figure().regions.into_iter().map(|(region, chosen)| {
        let own = (me.region_id() == region).then(|| me.region.to_string());
        let name = own.or_else(|| name_of(region)).unwrap_or_else(|| region.to_string());
        let aggregators = neighbours
            .linked()
            .filter(|(_, _, known)| known.region() == region && known.roles().has(Roles::AGGREGATOR));
        let mut view = region_view(name, &chosen.figure);
        view.aggregators = u32::try_from(aggregators.count()).unwrap_or(u32::MAX);
        view.age_ms = now.wall.since(chosen.as_of).as_millis().try_into().unwrap_or(u64::MAX);
        view
    });
    Overview {
        mesh: neighbours.me().mesh.clone(),
        node: members.first().cloned(),
        regions: regions.collect(),
        members,
        as_of_ms: now.wall.as_millis(),
        update_index,
        ..Overview::default()
    }
}

/// Everyone known. Edges of which this node hears by their regions' figures alone are up as long as they
/// are in them.
fn members(global: &Global, neighbours: &Neighbours) -> Vec<Member> {
    let mut members = neighbours.members();
    // The first is this node itself.
    for (member, (id, known)) in members.iter_mut().skip(1).zip(neighbours.iter()) {
        let Some(shown) = global.region(known.region()) else { continue };
        if member.status == "known" && known.roles().has(Roles::EDGE) {
            let is_counted = shown.figure.cut.edges.contains_key(&id);
            member.status = if is_counted { "up" } else { "down" }.to_string();
        }
    }
    members
}

/// The hot path's numbers: counters by name, and histogram counts as `stage.NAME.BUCKET`.
pub fn counters(snapshot: &Snapshot) -> Vec<request::Counter> {
    let plain = snapshot.counters.iter().map(|(name, value)| ((*name).to_string(), *value));
    let buckets = timed().zip(&snapshot.stages).flat_map(|(name, counts)| {
        let filled = counts.iter().enumerate().filter(|(_, count)| **count > 0);
        filled.map(move |(bucket, count)| (format!("stage.{name}.{bucket}"), *count))
    });
    plain.chain(buckets).map(|(name, value)| request::Counter { name, value }).collect()
}

/// The counts of one of the histograms in [`counters`], whose name is one of [`timed`].
pub fn histogram<'a>(counters: impl IntoIterator<Item = (&'a str, u64)>, name: &str) -> Vec<u64> {
    let bucket_of = |counter: &str| -> Option<usize> {
        counter.strip_prefix("stage.")?.strip_prefix(name)?.strip_prefix('.')?.parse().ok()
    };
    let mut counts = Vec::new();
    for (counter, count) in counters {
        let Some(bucket) = bucket_of(counter).filter(|bucket| *bucket < BUCKETS) else { continue };
        if counts.len() <= bucket {
            counts.resize(bucket + 1, 0);
        }
        counts[bucket] += count;
    }
    counts
}

/// The totals of a summary or figure, named as [`Counter`] does.
pub fn totals(parts: &Parts) -> Vec<request::Counter> {
    let total = |counter: &Counter| request::Counter {
        name: format!("{counter:?}"),
        value: parts.totals.get(*counter),
    };
    Counter::ALL.iter().map(total).collect()
}

/// Quantiles of the delivery times of a summary or figure, in microseconds; none without any.
pub fn quantiles(parts: &Parts) -> Vec<request::Counter> {
    let delivery = parts.distributions.get(&DistributionId::DELIVERY_MICROS);
    let quantiles = [("delivery_us.p50", 0.5), ("delivery_us.p99", 0.99)];
    let named = quantiles.iter().filter_map(|(name, q)| {
        Some(request::Counter { name: (*name).to_string(), value: delivery?.quantile(*q)? as u64 })
    });
    named.collect()
}

fn region_view(name: String, figure: &Figure) -> RegionView {
    let named = |name: &str, value: u64| request::Counter { name: name.to_string(), value };
    let list = |tally: &Tally| tally.iter().map(|(name, value)| named(name, value)).collect();
    RegionView {
        name,
        edges: u32::try_from(figure.cut.edges.len()).unwrap_or(u32::MAX),
        agents: figure.agents(),
        states: list(&figure.parts.counts.states),
        tags: list(&figure.parts.counts.tags),
        distinct: figure.parts.distinct.estimate(),
        totals: totals(&figure.parts),
        quantiles: quantiles(&figure.parts),
        ..RegionView::default()
    }
}
