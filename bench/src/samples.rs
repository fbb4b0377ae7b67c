//! What processes use, looked at again and again from outside, so that any stretch of time can be
//! read afterwards.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use starling_loadtest::process::{cpu_seconds, rss_bytes};
use tokio::task::JoinHandle;

use crate::receipts::wall_nanos;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// Looks that are kept: an hour's.
const LOOKS_MAX: usize = 36_000;

/// Processor seconds at some nanoseconds since 1970.
type Series = Vec<(u64, f64)>;

/// Looks at processes until it is dropped.
#[derive(Debug)]
pub struct Samples {
    seen: Arc<Mutex<BTreeMap<String, Series>>>,
    task: JoinHandle<()>,
}

impl Samples {
    /// Looks at these processes from now on.
    pub fn start(processes: Vec<(String, u32)>) -> Samples {
        let seen: Arc<Mutex<BTreeMap<String, Series>>> = Arc::default();
        let shared = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            let mut looks = tokio::time::interval(LOOK);
            loop {
                looks.tick().await;
                let mut seen = shared.lock().expect("looking does not panic");
                for (name, process) in &processes {
                    let Some(seconds) = cpu_seconds(*process) else { continue };
                    let series = seen.entry(name.clone()).or_default();
                    if series.len() < LOOKS_MAX {
                        series.push((wall_nanos(), seconds));
                    }
                }
            }
        });
        Samples { seen, task }
    }

    /// Cores that each process used between two times.
    pub fn cores(&self, begun: u64, ended: u64) -> BTreeMap<String, f64> {
        let seen = self.seen.lock().expect("looking does not panic");
        let cores = |series: &Series| {
            let used = at(series, ended)? - at(series, begun)?;
            (ended > begun).then(|| used / ((ended - begun) as f64 / 1e9))
        };
        seen.iter().filter_map(|(name, series)| Some((name.clone(), cores(series)?))).collect()
    }
}

impl Drop for Samples {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a growing series was at a time: on a straight line between the looks around it.
pub fn at(series: &[(u64, f64)], time: u64) -> Option<f64> {
    let after = series.partition_point(|(at, _)| *at < time);
    match (after.checked_sub(1).and_then(|before| series.get(before)), series.get(after)) {
        (Some((earlier, low)), Some((later, high))) => {
            let share = (time - earlier) as f64 / (later - earlier) as f64;
            Some(low + (high - low) * share)
        }
        (Some((_, value)), None) | (None, Some((_, value))) => Some(*value),
        (None, None) => None,
    }
}

/// Resident memory of each of these processes.
pub fn resident(processes: &[(String, u32)]) -> BTreeMap<String, u64> {
    let each = processes.iter();
    each.filter_map(|(name, process)| Some((name.clone(), rss_bytes(*process)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn between_two_looks_a_series_is_a_line() {
        let series = [(10, 1.0), (20, 2.0), (40, 2.0)];
        assert_eq!(at(&series, 15), Some(1.5));
        assert_eq!(at(&series, 30), Some(2.0));
        assert_eq!((at(&series, 5), at(&series, 50)), (Some(1.0), Some(2.0)));
        assert_eq!(at(&[], 5), None);
    }
}
