//! The node under those who agree for it: messages of coordinators go straight between a link and the
//! service, not through the machine.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;
use starling_core::agreement::{Agreement, Ground};
use starling_core::id::ShortId;
use starling_core::limits;
use starling_core::machine::{Input, LinkSlot};
use starling_core::wire::message::ControlBody;

use crate::hub::Hub;
use crate::outlet::LinkLanes;

/// Who agrees for the node, and the links over which it does.
#[derive(Debug)]
pub(crate) struct Agreeing {
    service: Option<Arc<dyn Agreement>>,
    links: Mutex<BTreeMap<ShortId, (LinkSlot, Arc<LinkLanes>)>>,
}

impl Agreeing {
    pub fn new(service: Option<Arc<dyn Agreement>>) -> Agreeing {
        Agreeing { service, links: Mutex::default() }
    }

    fn links(&self) -> MutexGuard<'_, BTreeMap<ShortId, (LinkSlot, Arc<LinkLanes>)>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The node runs.
    pub fn begin(&self, hub: &Arc<Hub>, incarnation: u64) {
        if let Some(service) = &self.service {
            service.begin(hub.node.short(), incarnation, Arc::new(Floor(Arc::downgrade(hub))));
        }
    }

    /// A link to a coordinator is up, or took the place of another.
    pub fn link_up(&self, peer: ShortId, slot: LinkSlot, lanes: &Arc<LinkLanes>) {
        if let Some(service) = &self.service {
            self.links().insert(peer, (slot, Arc::clone(lanes)));
            service.linked(peer, true);
        }
    }

    /// A link is gone; its successor stays.
    pub fn link_down(&self, peer: ShortId, slot: LinkSlot) {
        let Some(service) = &self.service else { return };
        let mut links = self.links();
        if links.get(&peer).is_some_and(|(current, _)| *current == slot) {
            links.remove(&peer);
            service.linked(peer, false);
        }
    }

    /// A coordinator sent a message.
    pub fn heard(&self, peer: ShortId, message: Bytes) {
        if let Some(service) = &self.service {
            service.heard(peer, message);
        }
    }

    /// Takes a proposal; false if nobody agrees for this node, or too many wait.
    pub fn propose(&self, entry: Bytes) -> bool {
        self.service.as_ref().is_some_and(|service| service.propose(entry))
    }

    /// The node stops.
    pub fn end(&self) {
        if let Some(service) = &self.service {
            service.end();
        }
    }

    fn send(&self, peer: ShortId, message: Bytes) -> bool {
        let lanes = self.links().get(&peer).map(|(_, lanes)| Arc::clone(lanes));
        let has_room = |lanes: &Arc<LinkLanes>| {
            !lanes.control.is_closed() && lanes.control.queued_bytes() < limits::LANE_BYTES_MAX
        };
        let Some(lanes) = lanes.filter(has_room) else { return false };
        lanes.send_control(ControlBody::Agreement(message).to_frame().into());
        true
    }
}

/// A node as the service stands on it. It does not keep the node alive.
#[derive(Debug)]
struct Floor(Weak<Hub>);

impl Ground for Floor {
    fn send(&self, peer: ShortId, message: Bytes) -> bool {
        self.0.upgrade().is_some_and(|hub| hub.agreeing.send(peer, message))
    }

    fn tell(&self, input: Input) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            let inputs = self.0.upgrade().map(|hub| hub.inputs.clone());
            if let Some(inputs) = inputs
                && inputs.send(input).await.is_err()
            {
                // The machine has ended: nobody is left who could want it.
            }
        })
    }

    fn fail(&self, reason: String) {
        if let Some(hub) = self.0.upgrade() {
            hub.fail(reason);
        }
    }
}
