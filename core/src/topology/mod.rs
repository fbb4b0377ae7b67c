//! Who is linked with whom, along which links messages go, and what a part of the mesh may do.
//!
//! - [`rings`]: the overlay, a union of rings that every node computes alike from the same members.
//! - [`tree`]: the two broadcast trees of an origin over that overlay.
//! - [`broadcast`]: one node's part in the trees of a view, and its next hops; start here to send.
//! - [`pool`]: overlays and trees that the nodes of one process have in common.
//! - [`manager`]: the choice of peers by measured distances.
//! - [`partition`]: whether too many are out of reach, the mesh's status, and what that forbids.
//!
//! May depend on names, time, the generator and the hasher; knows nothing of links, sockets or the wire.

pub mod broadcast;
pub mod manager;
pub mod partition;
pub mod pool;
pub mod rings;
pub mod tree;

pub use broadcast::{Broadcast, Part};
pub use manager::{Manager, Rebalanced, Strategy};
pub use partition::{Detector, Operation, Status};
pub use pool::Pool;
pub use rings::Overlay;
pub use tree::{Broken, Tree, Trees, Which};
