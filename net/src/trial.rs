//! For trials: what a hostile node sees of its links and does to them. A node has none of this unless
//! [`crate::NodeSettings::trial`] says so, which no role does.

use std::fmt::Debug;

use bytes::Bytes;
use starling_core::hot::Outlet;
use starling_core::machine::LinkSlot;
use starling_core::wire::frame::Parcel;

/// Who looks on at a node's links and meddles with them. Calls come from the tasks that serve links and
/// must not block.
pub trait Trial: Debug + Send + Sync {
    /// The node is about to run; what is written to `outlet` goes onto its links as it is.
    fn begun(&self, outlet: Box<dyn Outlet>);
    /// The body of a bundle's frame came over a link.
    fn came(&self, link: LinkSlot, bundle: &Bytes);
    /// A frame with a bundle or an acknowledgement is to go onto a link; what is returned goes instead, if
    /// anything does.
    fn twist(&self, link: LinkSlot, parcel: Parcel) -> Option<Parcel>;
}
