//! Agents in the node's own process: what their connection would be, without one.
//!
//! A guest has a lane as every connection has, and waits where a connection's reader would; nothing
//! of what it says is encoded or encrypted on its way to the node. For programs that are a node and
//! its agents at once, and for measuring the mesh alone.

use std::sync::Arc;

use bytes::Bytes;
use starling_core::hot::own::Publication;
use starling_core::hot::plane::Touched;
use starling_core::identity::AttachTerms;
use starling_core::machine::{ConnectionSlot, Input};
use starling_core::wire::agent::{Attach, Candidate};
use starling_core::wire::request::Request;

use crate::hub::Hub;
use crate::outlet::AgentLane;

/// The place of agents in the node's own process; they leave when it is dropped.
#[derive(Debug)]
pub struct Guest {
    hub: Arc<Hub>,
    slot: ConnectionSlot,
    lane: Arc<AgentLane>,
}

impl Guest {
    pub(crate) fn enter(hub: Arc<Hub>) -> Guest {
        let slot = hub.connection_slot();
        let lane = Arc::new(AgentLane::new(None));
        hub.outlets.connections.pin().insert(slot, Arc::clone(&lane));
        Guest { hub, slot, lane }
    }

    /// What agents sign to attach here. There is no connection to bind it to.
    pub fn terms(&self) -> AttachTerms {
        let edge_incarnation = self.hub.plane.me.incarnation;
        AttachTerms { edge: self.hub.node, edge_incarnation, binding: [0; 32] }
    }

    /// Asks to host agents, whose signatures are not verified: they have the node's memory in any case.
    /// The answer is a reply frame.
    pub async fn attach(&self, attach: Attach) {
        let Attach { request, candidates } = attach;
        let candidates: Vec<Candidate> = candidates;
        let input = Input::Attach { connection: self.slot, request, candidates, forged: Vec::new() };
        self.hub.input(input).await;
    }

    /// Asks something; the answer is a reply frame with the same id.
    pub async fn request(&self, request: Request) {
        let Some(ask) = request.ask else { return };
        self.hub.input(Input::Request { connection: self.slot, id: request.id, ask }).await;
    }

    /// Publishes in order, and waits while what it fed is full. As of a client, at most a window of
    /// entries should be unacknowledged: that bounds what waits for whoever seals.
    pub async fn admit(&self, mut publications: Vec<Publication>) {
        publications.iter_mut().for_each(|publication| publication.connection = self.slot);
        let mut touched = Touched::default();
        self.hub.plane.admit(self.hub.clock.now(), publications, &mut touched);
        self.hub.flush(&mut touched);
        self.hub.room(&mut touched).await;
        self.hub.own_room().await;
    }

    /// The next frames as a connection would carry them, cut anywhere; `None` once the node has ended
    /// or did not wait any longer for them to be read.
    pub async fn read(&self) -> Option<Vec<Bytes>> {
        self.lane.lane.read().await
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.lane.lane.close();
        self.hub.outlets.connections.pin().remove(&self.slot);
        let (inputs, connection) = (self.hub.inputs.clone(), self.slot);
        if inputs.try_send(Input::Disconnected { connection }).is_err()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            // The machine is busy: it hears of it as soon as it has room.
            runtime.spawn(async move { inputs.send(Input::Disconnected { connection }).await.ok() });
        }
    }
}
