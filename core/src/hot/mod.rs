//! The hot path: everything that happens to every message, shared by a node's connections.
//!
//! It has no socket, clock or thread of its own: calls come from the connections' tasks, effects
//! leave through an [`Outlet`], and the protocol's decisions arrive as immutable [`view::View`]s.
//! State is sharded by origin. A shard has one owner at a time ([`turn::Turn`]), who also does the
//! work that others left while it owned it, so nobody ever waits for a lock.
//!
//! Start at [`Plane`]; [`own`] is the way out (admit, number, seal, retain, acknowledge), [`shard`]
//! the way in (deduplicate, verify, merge, match, enqueue).

pub mod acknowledge;
pub mod copies;
pub mod counters;
pub mod deliver;
pub mod flows;
pub mod headers;
mod lane;
mod owed;
pub mod own;
mod passing;
pub mod plane;
pub mod relayed;
pub mod seal;
pub mod shard;
mod spread;
mod stalls;
pub mod turn;
mod unwanted;
pub mod view;
pub mod window;

pub use plane::Plane;
pub use relayed::Lane;

use crate::conduct::{Offence, Proof};
use crate::id::{RegionId, ShortId};
use crate::machine::{ConnectionSlot, LinkSlot};
use crate::wire::bundle::Bundle;
use crate::wire::frame::Parcel;

/// How full the queue is that a parcel went into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    /// Under half full.
    Fine,
    /// Half full or more: who feeds it should wait.
    Slow,
    /// There is no such queue, or it was full and is cut: the parcel is gone.
    Gone,
}

/// What the hot path saw a node do that the machine is to judge.
#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    /// The peer at the other end of a link did this, over this link.
    Offence {
        /// The link.
        from: LinkSlot,
        /// What it did.
        offence: Offence,
    },
    /// An origin contradicted itself; nobody but the origin is at fault.
    Contradiction(Box<Proof>),
    /// What this node owes a region is not acknowledged in time over the way in force, which passes over so
    /// many better ones. Nobody is at fault: a subscriber there may be slow.
    Stalled {
        /// The region.
        region: RegionId,
        /// Ways passed over, as [`view::View::detours`] has it.
        detour: u16,
    },
    /// A node of this region acknowledges nothing, for longer than an honest one may.
    Withheld {
        /// Which.
        node: ShortId,
    },
}

/// Where the hot path's effects go. Calls never block.
pub trait Outlet: Send + Sync {
    /// Queues a bundle for a link's bulk or priority lane.
    fn bundle(&self, link: LinkSlot, priority: bool, parcel: Parcel) -> Pressure;
    /// Queues a frame for a link's control lane.
    fn control(&self, link: LinkSlot, parcel: Parcel);
    /// Queues an acknowledgement for a link's control lane; on a busy machine it may wait for company.
    fn acknowledge(&self, link: LinkSlot, parcel: Parcel) {
        self.control(link, parcel);
    }
    /// Queues a delivery for an agents' connection.
    fn deliver(&self, connection: ConnectionSlot, parcel: Parcel) -> Pressure;
    /// Queues a frame that is owed to an agents' connection whatever its queue's state.
    fn tell(&self, connection: ConnectionSlot, parcel: Parcel);
    /// Publications of a connection that took so many bytes of its window have an outcome.
    fn settled(&self, _connection: ConnectionSlot, _bytes: usize) {}
    /// Whether a connection's queue is under a quarter full, or gone.
    fn has_drained(&self, connection: ConnectionSlot) -> bool;
    /// A bundle of class state, for the machine; false where there is no room for it.
    fn state(&self, from: LinkSlot, bundle: Box<Bundle>) -> bool;
    /// Publications whose receiver's home is unknown or changed, for the machine.
    fn unresolved(&self, publications: Vec<own::Publication>);
    /// What a node did wrong, for the machine; false where there is no room for it.
    fn report(&self, report: Report) -> bool;
    /// A stopwatch in nanoseconds for measurements alone; may always be zero.
    fn stopwatch(&self) -> u64;
}
