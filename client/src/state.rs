//! The agents, subscriptions, requests and publications of a client, behind one lock.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use starling_core::id::AgentId;
use starling_core::identity::SecretKey;
use starling_core::wire::agent::Profile;
use starling_core::wire::request::{Ask, Changed, Numbers, Request, Say};
use tokio::sync::oneshot;

use crate::agent::PublishId;
use crate::error::{FAILURES_LISTED_MAX, Failure};
use crate::feed::Feed;
use crate::session::Session;
use crate::window::{Outcome, Slot, Window};

/// An agent of this client.
#[derive(Debug)]
pub(crate) struct Seat {
    pub id: AgentId,
    pub secret: SecretKey,
    pub profile: Profile,
    /// The newest session number that was signed.
    pub session: u64,
    pub next_sequence: u64,
    /// Whether an edge accepted it once, so that it is attached again after a loss.
    pub is_registered: bool,
    /// Why the mesh closed it.
    pub closed: Option<String>,
    pub unacknowledged: usize,
    /// Whether it detaches as soon as nothing of it is unacknowledged.
    pub is_leaving: bool,
    pub inbox: Arc<Feed>,
    pub system: Option<Arc<Feed>>,
    pub system_seen: u64,
    pub system_acknowledged: u64,
}

/// An open subscription.
#[derive(Debug)]
pub(crate) struct Interest {
    pub agent: u32,
    pub pattern: String,
    pub feed: Arc<Feed>,
    /// Whether it was in force once, so that it is opened again after a loss.
    pub is_confirmed: bool,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    /// The number of the connection whose frames count.
    pub epoch: u64,
    pub session: Option<Session>,
    /// Whether publications go out at once; while not, they wait in the window.
    pub is_live: bool,
    pub agents: BTreeMap<u32, Seat>,
    pub interests: BTreeMap<u32, Interest>,
    pub requests: BTreeMap<u64, oneshot::Sender<Say>>,
    pub changes: VecDeque<(u64, oneshot::Sender<Changed>)>,
    pub changes_sent: u64,
    pub window: Window,
    pub failures: Vec<Failure>,
    /// Agents whose last handle is gone and whose publications are not acknowledged yet.
    pub leaving: usize,
    pub last_request: u64,
    pub last_agent: u32,
    pub last_interest: u32,
}

/// Tells who waits, or lists a failure; the bytes that are free again.
pub(crate) fn finish(
    slot: Slot,
    outcome: Outcome,
    agents: &mut BTreeMap<u32, Seat>,
    failures: &mut Vec<Failure>,
) -> usize {
    let mut agent = AgentId::default();
    if let Some(seat) = agents.get_mut(&slot.publish.agent) {
        seat.unacknowledged = seat.unacknowledged.saturating_sub(1);
        agent = seat.id;
    }
    let is_told = slot.done.is_some_and(|done| done.send(outcome).is_ok());
    if let (false, Err(reason)) = (is_told, outcome)
        && failures.len() < FAILURES_LISTED_MAX
    {
        failures.push(Failure { id: PublishId { agent, sequence: slot.publish.sequence }, reason });
    }
    slot.bytes
}

/// Agents that nobody holds any more leave their edge.
pub(crate) fn leave(state: &mut State, agents: Vec<u32>) {
    let mut attached = Vec::with_capacity(agents.len());
    for index in agents {
        if state.agents.remove(&index).is_some_and(|seat| seat.closed.is_none()) {
            attached.push(index);
        }
    }
    if !attached.is_empty() {
        tell(state, Ask::Detach(Numbers { numbers: attached }));
    }
}

/// Says something whose answer nobody needs. Where there is no session there is nothing to end.
pub(crate) fn tell(state: &mut State, ask: Ask) {
    state.last_request += 1;
    let id = state.last_request;
    if let Some(session) = &state.session
        && session.request(&Request { id, ask: Some(ask) }).is_err()
    {
        // The session has ended, and with it what was to be ended.
    }
}
