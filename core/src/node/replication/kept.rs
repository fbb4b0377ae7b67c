//! The bundles that make up one origin's state: from its last checkpoint to the newest.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::time::Time;
use crate::wire::bundle::Bundle;

/// Bundles since a checkpoint after which their origin seals another one.
pub const CHECKPOINT_AFTER_BUNDLES: usize = 256;
/// The same in bytes.
pub const CHECKPOINT_AFTER_BYTES: usize = 256 * 1024;
/// What an origin may have made everyone keep: as far as an honest one goes, and one bundle more.
const BUNDLES_MAX: usize = CHECKPOINT_AFTER_BUNDLES + 1;
const BYTES_MAX: usize = 2 * CHECKPOINT_AFTER_BYTES;

/// Bundles of one origin and incarnation with consecutive sequences.
#[derive(Debug, Default)]
pub struct Kept {
    bundles: VecDeque<(Time, Arc<Bundle>)>,
    bytes: usize,
}

impl Kept {
    /// Whether its origin is to seal a checkpoint next.
    pub fn wants_checkpoint(&self) -> bool {
        self.bundles.len() >= CHECKPOINT_AFTER_BUNDLES || self.bytes >= CHECKPOINT_AFTER_BYTES
    }

    /// Whether `bundle`, which comes next, may be kept too.
    pub fn has_room_for(&self, bundle: &Bundle) -> bool {
        self.bundles.len() < BUNDLES_MAX && self.bytes + bundle.len() <= BYTES_MAX
    }

    /// Keeps the next bundle, which came at `now`; alone if it `begins` the state anew.
    pub fn push(&mut self, now: Time, bundle: Arc<Bundle>, begins: bool) {
        if begins {
            *self = Kept::default();
        }
        self.bytes += bundle.len();
        self.bundles.push_back((now, bundle));
    }

    /// Bundles from sequence `first` on that came by `until`; from the checkpoint on where `first` is
    /// older than that.
    pub fn since(&self, first: u64, until: Time) -> impl Iterator<Item = &Arc<Bundle>> {
        let wanted = self.bundles.iter().skip_while(move |(_, bundle)| bundle.sequence < first);
        wanted.take_while(move |(came, _)| *came <= until).map(|(_, bundle)| bundle)
    }
}
