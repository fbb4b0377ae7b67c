//! The last hour in few numbers, taken every five seconds.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use starling_core::wire::request::{Counter, Overview};
use tokio::time::MissedTickBehavior;

use crate::events::wall_ms;
use crate::state::State;

/// How often a sample is taken.
const EVERY: Duration = Duration::from_secs(5);
/// Samples that are kept: an hour of them.
const KEPT_MAX: usize = 720;
/// Samples between the two that a rate is taken from.
const RATE_OVER: usize = 2;

/// One moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Sample {
    pub at_ms: u64,
    pub agents: u64,
    pub nodes_up: u64,
    pub nodes_wrong: u64,
    /// Per second since the sample before; none after a node's start or loss, when totals begin anew.
    pub published: Option<f64>,
    pub delivered: Option<f64>,
    pub dropped: Option<f64>,
    /// The worst region's, in microseconds.
    pub p50_us: Option<u64>,
    pub p99_us: Option<u64>,
    pub resident_bytes: Option<u64>,
}

/// Totals of the regions at one time.
#[derive(Clone, Debug)]
struct Totals {
    at: Instant,
    regions: BTreeMap<String, BTreeMap<String, u64>>,
}

#[derive(Debug, Default)]
struct Kept {
    samples: VecDeque<Sample>,
    totals: VecDeque<Totals>,
}

/// What was sampled.
#[derive(Debug, Default)]
pub(crate) struct History(Mutex<Kept>);

/// The number called `name`.
pub(crate) fn named(counters: &[Counter], name: &str) -> Option<u64> {
    counters.iter().find(|counter| counter.name == name).map(|counter| counter.value)
}

impl History {
    /// Takes a sample of what a node knows.
    pub fn add(&self, overview: &Overview, resident_bytes: Option<u64>, at: Instant) {
        let totals = |region: &starling_core::wire::request::RegionView| {
            region.totals.iter().map(|total| (total.name.clone(), total.value)).collect()
        };
        let regions = overview.regions.iter().map(|region| (region.name.clone(), totals(region)));
        let totals = Totals { at, regions: regions.collect() };
        let worst =
            |name: &str| overview.regions.iter().filter_map(|region| named(&region.quantiles, name)).max();
        let up = overview.members.iter().filter(|member| matches!(&*member.status, "up" | "relayed")).count();
        let wrong =
            overview.members.iter().filter(|member| matches!(&*member.status, "down" | "suspect" | "banned"));
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = kept.totals.back();
        let rate = |name: &str| before.and_then(|before| mesh_rate(before, &totals, name));
        let sample = Sample {
            at_ms: wall_ms(),
            agents: overview.regions.iter().fold(0, |sum, region| region.agents.saturating_add(sum)),
            nodes_up: up as u64,
            nodes_wrong: wrong.count() as u64,
            published: rate("Published"),
            delivered: rate("Delivered"),
            dropped: rate("Dropped"),
            p50_us: worst("delivery_us.p50"),
            p99_us: worst("delivery_us.p99"),
            resident_bytes,
        };
        if kept.samples.len() == KEPT_MAX {
            kept.samples.pop_front();
        }
        kept.samples.push_back(sample);
        if kept.totals.len() > RATE_OVER {
            kept.totals.pop_front();
        }
        kept.totals.push_back(totals);
    }

    /// All samples, oldest first.
    pub fn samples(&self) -> Vec<Sample> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).samples.iter().cloned().collect()
    }

    /// What a region counted per second over the last ten seconds, by the totals' names; empty while that
    /// is not known.
    pub fn rates(&self, region: &str) -> BTreeMap<String, f64> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some(first), Some(last)) = (kept.totals.front(), kept.totals.back()) else {
            return BTreeMap::new();
        };
        let names = last.regions.get(region).into_iter().flat_map(BTreeMap::keys);
        names.filter_map(|name| Some((name.clone(), region_rate(first, last, region, name)?))).collect()
    }
}

fn region_rate(first: &Totals, last: &Totals, region: &str, name: &str) -> Option<f64> {
    let seconds = last.at.saturating_duration_since(first.at).as_secs_f64();
    let (then, now) = (first.regions.get(region)?.get(name)?, last.regions.get(region)?.get(name)?);
    let counted = now.checked_sub(*then)?;
    (seconds > 0.0).then(|| counted as f64 / seconds)
}

fn mesh_rate(first: &Totals, last: &Totals, name: &str) -> Option<f64> {
    if first.regions.len() != last.regions.len() {
        return None;
    }
    last.regions.keys().map(|region| region_rate(first, last, region, name)).sum()
}

/// Takes samples for as long as it is polled.
pub(crate) async fn sample(state: Arc<State>) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Ok(overview) = state.overview().await {
            let resident = named(&overview.counters, "resident_bytes")
                .or_else(|| state.reading(None).get("resident_bytes"));
            state.history.add(&overview, resident, Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use starling_core::wire::request::RegionView;

    use super::*;

    fn overview(published: u64) -> Overview {
        let total = Counter { name: "Published".into(), value: published };
        let region =
            RegionView { name: "r0".into(), agents: 5, totals: vec![total], ..RegionView::default() };
        Overview { regions: vec![region], ..Overview::default() }
    }

    #[test]
    fn rates_come_from_totals_and_a_restart_has_none() {
        let (history, begun) = (History::default(), Instant::now());
        for (second, published) in [(0, 100), (5, 200), (10, 400), (15, 300)] {
            history.add(&overview(published), Some(1), begun + Duration::from_secs(second));
            if second == 10 {
                assert_eq!(history.rates("r0"), BTreeMap::from([("Published".to_owned(), 30.0)]));
            }
        }
        let published: Vec<Option<f64>> = history.samples().iter().map(|sample| sample.published).collect();
        assert_eq!(published, [None, Some(20.0), Some(40.0), None]);
        assert_eq!(history.rates("r9"), BTreeMap::new());
        for second in 20..20 + KEPT_MAX as u64 {
            history.add(&overview(second), None, begun + Duration::from_secs(second));
        }
        assert_eq!(history.samples().len(), KEPT_MAX);
    }
}
