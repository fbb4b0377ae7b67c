//! What a hostile node sees of its links, and how it gets onto them past its machine.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use starling_core::hot::{Outlet, Pressure};
use starling_core::id::ShortId;
use starling_core::machine::LinkSlot;
use starling_core::wire::frame::{FRAME_HEADER_BYTES, FrameType, Parcel, frame};
use starling_hostile::{Attack, Fate, fate};
use starling_net::trial::Trial;

/// Bundles that a replaying node remembers.
const REMEMBERED_MAX: usize = 256;

/// The door to a hostile node's links.
pub struct Tap {
    attack: Attack,
    is_on: AtomicBool,
    me: OnceLock<ShortId>,
    outlet: OnceLock<Box<dyn Outlet>>,
    heard: Mutex<VecDeque<Bytes>>,
}

impl std::fmt::Debug for Tap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tap").field("attack", &self.attack).finish_non_exhaustive()
    }
}

impl Tap {
    /// Nothing was heard yet.
    pub fn new(attack: Attack) -> Tap {
        let (is_on, heard) = (AtomicBool::new(false), Mutex::default());
        Tap { attack, is_on, me: OnceLock::new(), outlet: OnceLock::new(), heard }
    }

    /// Whose tap it is; the first call counts.
    pub fn set_name(&self, me: ShortId) {
        self.me.get_or_init(|| me);
    }

    /// From now on the attack is on, or no more.
    pub fn set_on(&self, is_on: bool) {
        self.is_on.store(is_on, Ordering::Relaxed);
    }

    /// Whether the attack is on.
    pub fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    fn list(&self) -> MutexGuard<'_, VecDeque<Bytes>> {
        // Single insertions leave nothing half done.
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last bundles that came, each as the body of its frame.
    pub fn heard(&self) -> Vec<Bytes> {
        self.list().iter().cloned().collect()
    }

    /// Puts a whole frame onto a link's bulk lane.
    pub fn send(&self, link: LinkSlot, parcel: Parcel) -> Pressure {
        self.outlet.get().map_or(Pressure::Gone, |outlet| outlet.bundle(link, false, parcel))
    }
}

impl Trial for Tap {
    fn begun(&self, outlet: Box<dyn Outlet>) {
        self.outlet.get_or_init(|| outlet);
    }

    fn came(&self, _link: LinkSlot, bundle: &Bytes) {
        if self.attack == Attack::Replay && self.is_on() {
            let mut heard = self.list();
            heard.push_back(bundle.clone());
            if heard.len() > REMEMBERED_MAX {
                heard.pop_front();
            }
        }
    }

    fn twist(&self, _link: LinkSlot, parcel: Parcel) -> Option<Parcel> {
        let (Some(me), Some(kind)) = (self.me.get().filter(|_| self.is_on()), kind_of(&parcel)) else {
            return Some(parcel);
        };
        match fate(self.attack, *me, kind, &flat(&parcel).slice(FRAME_HEADER_BYTES..)) {
            Fate::Sent => Some(parcel),
            Fate::Changed(body) => Some(frame(kind, &body).into()),
            Fate::Lost => None,
        }
    }
}

/// The type of a frame.
fn kind_of(parcel: &Parcel) -> Option<FrameType> {
    FrameType::from_number(*parcel.front.get(4)?)
}

/// The frame in one piece.
fn flat(parcel: &Parcel) -> Bytes {
    let mut whole = parcel.front.to_vec();
    parcel.shared.iter().for_each(|piece| whole.extend_from_slice(piece));
    whole.into()
}
