//! Where a simulated node's hot path puts its effects: a list that the world empties after every call.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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

/// The hot path's end and the world's end of the list. All queues are empty: modelled clients read at
/// once, and links hold what they carry.
#[derive(Clone, Debug, Default)]
pub(crate) struct Effects(Arc<Mutex<Vec<Effect>>>);

impl Effects {
    /// One thread runs the simulation, so that the lock is never waited for.
    fn list(&self) -> MutexGuard<'_, Vec<Effect>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves everything that happened into `into`.
    pub fn take(&self, into: &mut Vec<Effect>) {
        std::mem::swap(&mut *self.list(), into);
    }

    fn push(&self, effect: Effect) {
        self.list().push(effect);
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
        self.push(Effect::Deliver { connection, parcel });
        Pressure::Fine
    }

    fn tell(&self, connection: ConnectionSlot, parcel: Parcel) {
        self.push(Effect::Tell { connection, parcel });
    }

    fn has_drained(&self, _connection: ConnectionSlot) -> bool {
        true
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
