//! Where a simulated node's hot path puts its effects: a list that the world empties after every call.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use starling_core::hash::HashMap;
use starling_core::hot::own::Publication;
use starling_core::hot::{Outlet, Pressure, Report};
use starling_core::machine::{ConnectionSlot, LinkSlot};
use starling_core::wire::bundle::Bundle;
use starling_core::wire::frame::Parcel;

/// One thing that the hot path did.
#[derive(Debug)]
pub(crate) enum Effect {
    /// A bundle for a link's priority or bulk lane.
    Bundle { link: LinkSlot, priority: bool, parcel: Parcel },
    /// A frame for a link's control lane.
    Control { link: LinkSlot, parcel: Parcel },
    /// Entries for a client.
    Deliver { connection: ConnectionSlot, parcel: Parcel },
    /// A frame for a client.
    Tell { connection: ConnectionSlot, parcel: Parcel },
    /// A state bundle for the machine.
    State { from: LinkSlot, bundle: Box<Bundle> },
    /// Publications whose receiver's home the machine must find.
    Unresolved(Vec<Publication>),
    /// What a node did wrong, for the machine.
    Report(Report),
}

/// What a node's connections are like, as its hot path may ask.
#[derive(Debug, Default)]
pub(crate) struct Door {
    effects: Vec<Effect>,
    /// Clients that do not read, or are gone; all others are fine.
    pressures: HashMap<ConnectionSlot, Pressure>,
}

/// The hot path's end and the world's end of a [`Door`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Effects(Arc<Mutex<Door>>);

impl Effects {
    /// One thread runs the simulation, so that the lock is never waited for.
    fn door(&self) -> MutexGuard<'_, Door> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves everything that happened into `into`.
    pub fn take(&self, into: &mut Vec<Effect>) {
        std::mem::swap(&mut self.door().effects, into);
    }

    fn push(&self, effect: Effect) {
        self.door().effects.push(effect);
    }
}

impl Outlet for Effects {
    fn bundle(&self, link: LinkSlot, priority: bool, parcel: Parcel) -> Pressure {
        self.push(Effect::Bundle { link, priority, parcel });
        Pressure::Fine
    }

    fn control(&self, link: LinkSlot, parcel: Parcel) {
        self.push(Effect::Control { link, parcel });
    }

    fn deliver(&self, connection: ConnectionSlot, parcel: Parcel) -> Pressure {
        let mut door = self.door();
        let pressure = door.pressures.get(&connection).copied().unwrap_or(Pressure::Fine);
        if pressure != Pressure::Gone {
            door.effects.push(Effect::Deliver { connection, parcel });
        }
        pressure
    }

    fn tell(&self, connection: ConnectionSlot, parcel: Parcel) {
        self.push(Effect::Tell { connection, parcel });
    }

    fn has_drained(&self, connection: ConnectionSlot) -> bool {
        self.door().pressures.get(&connection) != Some(&Pressure::Slow)
    }

    fn state(&self, from: LinkSlot, bundle: Box<Bundle>) -> bool {
        self.push(Effect::State { from, bundle });
        true
    }

    fn unresolved(&self, publications: Vec<Publication>) {
        self.push(Effect::Unresolved(publications));
    }

    fn report(&self, report: Report) -> bool {
        self.push(Effect::Report(report));
        true
    }

    /// Virtual time stands still while a node works.
    fn stopwatch(&self) -> u64 {
        0
    }
}
