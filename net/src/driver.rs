//! Drives the machine: one task hands it inputs and the time, and carries out what it wants.

use std::sync::Arc;
use std::time::Duration;

use starling_core::hot::counters::Stage;
use starling_core::machine::{Input, Machine, Outbox};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use crate::execute::Executor;
use crate::hub::Hub;
use crate::memory;

/// Inputs that wait for the machine; who brings more waits.
pub(crate) const INPUTS_MAX: usize = 65_536;
/// Inputs that are handled before the task looks at anything else.
const BATCH: usize = 256;
/// How often the machine is told what the hot path counted.
const MEASURED: Duration = Duration::from_millis(250);

/// Of so many times that it is told of, it is told once how far its peers are: once a second.
const DISTANCES_EVERY: u64 = 4;
/// Of so many times, the process's memory is looked up once: every two seconds.
const MEMORY_EVERY: u64 = 8;

/// A machine with all that it drives.
pub(crate) struct Driver {
    pub hub: Arc<Hub>,
    pub machine: Box<dyn Machine>,
    pub inputs: mpsc::Receiver<Input>,
    pub executor: Executor,
    pub outbox: Outbox,
}

impl Driver {
    /// Runs until the node stops.
    pub async fn run(mut self) {
        let hub = Arc::clone(&self.hub);
        let mut stopping = std::pin::pin!(hub.stopping());
        let mut measured = interval(MEASURED);
        measured.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut batch = Vec::new();
        let (mut ticks, mut resident_bytes) = (0_u64, None);
        loop {
            let deadline = self.machine.deadline();
            let wake = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(hub.clock.instant(deadline)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = self.inputs.recv_many(&mut batch, BATCH) => {}
                () = wake => {}
                () = hub.outlets.came.notified() => {
                    let came = hub.outlets.take_state().into_iter();
                    batch.extend(came.map(|(link, bundle)| Input::State { link, bundle }));
                    batch.extend(hub.outlets.take_reports().map(Input::Reported));
                    let unresolved = hub.outlets.take_unresolved();
                    if !unresolved.is_empty() {
                        batch.push(Input::Unresolved(unresolved));
                    }
                }
                _ = measured.tick() => {
                    let mut snapshot = hub.plane.counters.snapshot();
                    if ticks.is_multiple_of(MEMORY_EVERY) {
                        resident_bytes = memory::resident_bytes();
                    }
                    snapshot.counters.extend(resident_bytes.map(|bytes| ("resident_bytes", bytes)));
                    batch.push(Input::Measured(Box::new(snapshot)));
                    ticks += 1;
                    if ticks.is_multiple_of(DISTANCES_EVERY) {
                        batch.push(Input::Distances(hub.outlets.distances()));
                    }
                    self.outbox.give_back();
                }
                () = &mut stopping => return,
            }
            for input in batch.drain(..) {
                self.handle(input);
            }
            // Asked after every batch: a busy machine must not miss its timers.
            if self.machine.deadline().is_some_and(|deadline| deadline <= hub.clock.now().mono) {
                self.handle(Input::Wake);
            }
            self.executor.flush();
        }
    }

    fn handle(&mut self, input: Input) {
        let now = self.hub.clock.now();
        let compares = matches!(&input, Input::Control { body, .. } if body.is_comparison());
        self.machine.handle(now, input, &mut self.outbox);
        if compares {
            let took = self.hub.clock.nanos().saturating_sub(now.mono.0);
            self.hub.plane.counters.time(Stage::Converge, took, 1);
        }
        for output in self.outbox.drain() {
            self.executor.execute(now, output);
        }
    }
}
