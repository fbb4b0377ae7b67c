//! What the mesh's processes use while the test runs.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::process::{cpu_seconds, pss_bytes};

/// Samples memory each second.
#[derive(Debug)]
pub struct Watch {
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Seen {
    processes: Vec<u32>,
    most: Option<u64>,
}

/// The sum of the processes' proportional set sizes, as far as they still run.
pub fn pss_of(processes: &[u32]) -> Option<u64> {
    processes.iter().filter_map(|process| pss_bytes(*process)).reduce(|left, right| left + right)
}

/// The sum of the processes' processor times.
pub fn cpu_of(processes: &[u32]) -> Option<f64> {
    processes.iter().filter_map(|process| cpu_seconds(*process)).reduce(|left, right| left + right)
}

impl Watch {
    /// Watches these processes from now on.
    pub fn start(processes: Vec<u32>) -> Watch {
        let seen = Arc::new(Mutex::new(Seen { processes, most: None }));
        let shared = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            let mut each_second = tokio::time::interval(Duration::from_secs(1));
            loop {
                each_second.tick().await;
                let processes = shared.lock().expect("sampling does not panic").processes.clone();
                // Walking the page tables of gigabytes takes a while; other tasks go on meanwhile.
                let sum = tokio::task::spawn_blocking(move || pss_of(&processes)).await.ok().flatten();
                let mut seen = shared.lock().expect("sampling does not panic");
                seen.most = seen.most.max(sum);
            }
        });
        Watch { seen, task }
    }

    /// The greatest sum so far.
    pub fn most(&self) -> Option<u64> {
        self.seen.lock().expect("sampling does not panic").most
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}
