//! An outlet that keeps every effect in memory.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use starling_core::hot::own::Publication;
use starling_core::hot::{Outlet, Pressure, Report};
use starling_core::machine::{ConnectionSlot, LinkSlot};
use starling_core::wire::bundle::Bundle;
use starling_core::wire::frame::Parcel;

/// A stream of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    Control,
    Priority,
    Bulk,
}

pub const LANES: [Lane; 3] = [Lane::Control, Lane::Priority, Lane::Bulk];

#[derive(Debug, Default)]
pub struct Effects {
    pub lanes: BTreeMap<(LinkSlot, Lane), VecDeque<Bytes>>,
    pub delivered: BTreeMap<ConnectionSlot, Vec<Bytes>>,
    pub told: BTreeMap<ConnectionSlot, Vec<Bytes>>,
    pub pressures: BTreeMap<ConnectionSlot, Pressure>,
    pub unresolved: Vec<Publication>,
    pub state: Vec<(LinkSlot, Box<Bundle>)>,
    pub reports: Vec<Report>,
    pub bundle_bytes: BTreeMap<LinkSlot, usize>,
    pub dead: BTreeSet<LinkSlot>,
}

/// Keeps every effect in memory.
#[derive(Clone, Debug, Default)]
pub struct Recorder(Arc<Mutex<Effects>>);

fn flat(parcel: Parcel) -> Bytes {
    let mut whole = BytesMut::from(parcel.front.as_ref());
    parcel.shared.iter().for_each(|piece| whole.extend_from_slice(piece));
    whole.freeze()
}

impl Recorder {
    pub fn with<T>(&self, use_effects: impl FnOnce(&mut Effects) -> T) -> T {
        use_effects(&mut self.0.lock().expect("no test panics with it"))
    }
}

impl Outlet for Recorder {
    fn bundle(&self, link: LinkSlot, priority: bool, parcel: Parcel) -> Pressure {
        let lane = if priority { Lane::Priority } else { Lane::Bulk };
        self.with(|effects| {
            if effects.dead.contains(&link) {
                return Pressure::Gone;
            }
            *effects.bundle_bytes.entry(link).or_default() += parcel.len();
            effects.lanes.entry((link, lane)).or_default().push_back(flat(parcel));
            Pressure::Fine
        })
    }

    fn control(&self, link: LinkSlot, parcel: Parcel) {
        self.with(|effects| {
            if !effects.dead.contains(&link) {
                effects.lanes.entry((link, Lane::Control)).or_default().push_back(flat(parcel));
            }
        });
    }

    fn deliver(&self, connection: ConnectionSlot, parcel: Parcel) -> Pressure {
        self.with(|effects| {
            let pressure = effects.pressures.get(&connection).copied().unwrap_or(Pressure::Fine);
            if pressure != Pressure::Gone {
                effects.delivered.entry(connection).or_default().push(flat(parcel));
            }
            pressure
        })
    }

    fn tell(&self, connection: ConnectionSlot, parcel: Parcel) {
        self.with(|effects| effects.told.entry(connection).or_default().push(flat(parcel)));
    }

    fn has_drained(&self, connection: ConnectionSlot) -> bool {
        self.with(|effects| effects.pressures.get(&connection) != Some(&Pressure::Slow))
    }

    fn state(&self, from: LinkSlot, bundle: Box<Bundle>) -> bool {
        self.with(|effects| effects.state.push((from, bundle)));
        true
    }

    fn unresolved(&self, publications: Vec<Publication>) {
        self.with(|effects| effects.unresolved.extend(publications));
    }

    fn report(&self, report: Report) -> bool {
        self.with(|effects| effects.reports.push(report));
        true
    }

    fn stopwatch(&self) -> u64 {
        0
    }
}
