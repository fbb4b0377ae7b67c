//! Ticks the way out when it asks for it, and looks after what is held for slow subscribers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use starling_core::hot::plane::Touched;
use starling_core::limits;
use starling_core::time::Time;
use starling_core::wire::message::{ControlBody, Pace};
use tokio::sync::Notify;

use crate::hub::Hub;
use crate::outlet::LinkLanes;

/// An idle node ticks this often.
const IDLE_TICK: Duration = Duration::from_millis(100);
/// A node that may hold acknowledgements for slow subscribers ticks this often.
pub(crate) const HELD_TICK: Duration = Duration::from_millis(10);

/// Wakes the sealing task early.
#[derive(Debug)]
pub(crate) struct Sealer {
    poke: Notify,
    sleeps_until: AtomicU64,
    /// Milliseconds of pace that peers were told.
    told: AtomicU32,
}

impl Sealer {
    pub fn new() -> Sealer {
        Sealer { poke: Notify::new(), sleeps_until: AtomicU64::new(0), told: AtomicU32::new(0) }
    }

    /// Tells the sealing task that a tick is wanted at `at`; costs one load if it knows.
    pub fn want(&self, at: u64) {
        if at < self.sleeps_until.load(Ordering::Acquire) {
            self.poke.notify_one();
        }
    }

    /// Tells a peer how often this node works off what comes.
    pub fn tell_pace(&self, lanes: &LinkLanes) {
        let milliseconds = self.told.load(Ordering::Relaxed);
        let frame = ControlBody::Pace(Pace { milliseconds }).to_frame();
        // A link whose lane is full is given up by who fills it.
        let _ = lanes.control.push_lazily(frame.into(), limits::LANE_BYTES_MAX);
    }
}

/// Slows sealing while timers fire late: fewer, larger bundles spare everyone signatures.
fn pace(hub: &Hub, late: Duration) {
    hub.pace.note(late);
    let interval = u64::try_from(hub.pace.interval().as_nanos()).unwrap_or(u64::MAX);
    hub.plane.seal_interval.store(interval, Ordering::Relaxed);
    let milliseconds = u32::try_from(hub.pace.interval().as_millis()).unwrap_or(u32::MAX);
    let told = hub.sealer.told.load(Ordering::Relaxed);
    if milliseconds > told * 2 + 1 || milliseconds < told / 2 {
        hub.sealer.told.store(milliseconds, Ordering::Relaxed);
        hub.outlets.all_links().iter().for_each(|lanes| hub.sealer.tell_pace(lanes));
    }
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
