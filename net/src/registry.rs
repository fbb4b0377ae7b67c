//! One link a pair: which of several connections to the same peer is kept.
//!
//! When both dial at once, both keep the one that the node with the smaller id dialled. A node never
//! goes on with a dial to a peer that it has a link or another dial to, so of several connections
//! dialled by the same side the newest is the only one that its dialler still wants.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use starling_core::id::NodeId;
use starling_core::machine::LinkSlot;
use tokio::sync::mpsc;

use crate::endpoint::CloseCode;
use crate::link::Arrival;
use crate::outlet::LinkLanes;

/// A verified connection to a peer.
#[derive(Debug)]
pub(crate) struct Known {
    pub slot: LinkSlot,
    pub lanes: Arc<LinkLanes>,
    pub dialled: bool,
    pub incarnation: u64,
    /// Takes connections that the peer wants the link to move to.
    pub moves: mpsc::Sender<Box<Arrival>>,
}

/// What becomes of a newly verified connection.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It is the link.
    First,
    /// It is the link in place of this one, which was closed.
    Replaces(LinkSlot),
    /// Another is the link.
    Duplicate,
}

/// The links of a node by peer.
#[derive(Debug)]
pub(crate) struct Registry {
    me: NodeId,
    state: Mutex<State>,
    /// Held while a change is made and told to the machine, so that the machine hears of changes in
    /// their order.
    pub telling: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    links: BTreeMap<NodeId, Known>,
    dialling: BTreeSet<NodeId>,
}

/// The right to go on with a dial; given back when dropped.
#[derive(Debug)]
pub(crate) struct DialRight<'a> {
    registry: &'a Registry,
    peer: NodeId,
}

impl Drop for DialRight<'_> {
    fn drop(&mut self) {
        self.registry.lock().dialling.remove(&self.peer);
    }
}

impl Registry {
    pub fn new(me: NodeId) -> Registry {
        Registry { me, state: Mutex::default(), telling: tokio::sync::Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Single insertions and removals leave nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a dial that turned out to lead to `peer` is wanted.
    pub fn begin_dial(&self, peer: NodeId) -> Option<DialRight<'_>> {
        let mut state = self.lock();
        if state.links.contains_key(&peer) || !state.dialling.insert(peer) {
            return None;
        }
        Some(DialRight { registry: self, peer })
    }

    /// Decides about a verified connection.
    pub fn register(&self, peer: NodeId, new: Known) -> Verdict {
        let is_preferred = |known: &Known| known.dialled == (self.me < peer);
        let mut state = self.lock();
        let Some(old) = state.links.get(&peer) else {
            state.links.insert(peer, new);
            return Verdict::First;
        };
        // A peer that restarted does not know the old connection any more.
        let restarted = new.incarnation > old.incarnation;
        if old.dialled != new.dialled && is_preferred(old) && !restarted {
            return Verdict::Duplicate;
        }
        let slot = old.slot;
        old.lanes.close_connection(CloseCode::Duplicate, "another link between the two is kept");
        state.links.insert(peer, new);
        Verdict::Replaces(slot)
    }

    /// Where the link to `peer` takes connections to move to.
    pub fn arrivals(&self, peer: NodeId) -> Option<mpsc::Sender<Box<Arrival>>> {
        self.lock().links.get(&peer).map(|known| known.moves.clone())
    }

    /// Takes a link out; says whether it was the link to this peer.
    pub fn remove(&self, peer: NodeId, slot: LinkSlot) -> bool {
        let mut state = self.lock();
        let is_link = state.links.get(&peer).is_some_and(|known| known.slot == slot);
        if is_link {
            state.links.remove(&peer);
        }
        is_link
    }
}
