//! Ticks the way out when it asks for it, and looks after what is held for slow subscribers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use starling_core::hot::plane::Touched;
use starling_core::limits;
use starling_core::time::Time;
use tokio::sync::Notify;

use crate::hub::Hub;

/// An idle node ticks this often.
const IDLE_TICK: Duration = Duration::from_millis(100);
/// A node that may hold acknowledgements for slow subscribers ticks this often.
pub(crate) const HELD_TICK: Duration = Duration::from_millis(10);

/// A timer that fires later than this says that the machine cannot keep up.
const LATE: Duration = Duration::from_millis(6);
/// A timer that fires within this says that it can; tokio's own granularity is a millisecond.
const IN_TIME: Duration = Duration::from_millis(3);

/// Wakes the sealing task early.
#[derive(Debug)]
pub(crate) struct Sealer {
    poke: Notify,
    sleeps_until: AtomicU64,
}

impl Sealer {
    pub fn new() -> Sealer {
        Sealer { poke: Notify::new(), sleeps_until: AtomicU64::new(0) }
    }

    /// Tells the sealing task that a tick is wanted at `at`; costs one load if it knows.
    pub fn want(&self, at: u64) {
        if at < self.sleeps_until.load(Ordering::Acquire) {
            self.poke.notify_one();
        }
    }
}

/// Slows sealing while timers of this process fire late, which they do when it has more to do than
/// processors to do it on; then fewer, larger bundles spare everyone signatures. Quick to slow down,
/// slow to speed up.
fn pace(hub: &Hub, late: Duration) {
    let interval = hub.plane.seal_interval.load(Ordering::Relaxed);
    let (least, most) =
        (limits::SEAL_INTERVAL.as_nanos() as u64, limits::SEAL_INTERVAL_MAX.as_nanos() as u64);
    let next = match late {
        late if late > LATE => interval * 3 / 2,
        late if late < IN_TIME => interval * 9 / 10,
        _ => interval,
    };
    hub.plane.seal_interval.store(next.clamp(least, most), Ordering::Relaxed);
}

/// Runs until the node stops.
pub(crate) async fn run(hub: Arc<Hub>) {
    let mut touched = Touched::default();
    loop {
        let now = hub.clock.now().mono;
        let may_hold = hub.outlets.may_hold.load(Ordering::Acquire);
        let latest = now + if may_hold { HELD_TICK } else { IDLE_TICK };
        // Published before `seal_at` is read: who sets it afterwards sees that it must poke.
        hub.sealer.sleeps_until.store(latest.0, Ordering::SeqCst);
        let until = latest.0.min(hub.plane.seal_at.load(Ordering::SeqCst));
        hub.sealer.sleeps_until.store(until, Ordering::SeqCst);
        tokio::select! {
            () = tokio::time::sleep_until(hub.clock.instant(Time(until))) => {
                pace(&hub, hub.clock.now().mono.since(Time(until)));
            }
            () = hub.sealer.poke.notified() => continue,
            () = hub.stopping() => return,
        }
        hub.outlets.may_hold.store(false, Ordering::Release);
        hub.plane.tick(hub.clock.now(), &mut touched);
        hub.plane.flush(&mut touched);
        touched.congested.clear();
    }
}
