//! What arrives on the client's connection, on its reading task.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use starling_core::wire::agent::{Deliver, Receivers, System, SystemAcknowledge};
use starling_core::wire::request::{Closed, RefusedCode, Say};

use crate::copies::Arrival;
use crate::error::FailureReason;
use crate::feed::Feed;
use crate::inner::Inner;
use crate::session::{Handler, Incoming};
use crate::state::State;

/// The receiver of one connection's frames.
pub(crate) struct Link {
    inner: Arc<Inner>,
    epoch: u64,
    /// Feeds that are too full for more to be read.
    full: Vec<Arc<Feed>>,
}

impl Link {
    pub fn new(inner: Arc<Inner>, epoch: u64) -> Link {
        Link { inner, epoch, full: Vec::new() }
    }

    fn deliver(&mut self, state: &State, deliver: Deliver) {
        let deliver = Arc::new(deliver);
        let arrival = Arrival { connection: self.epoch, at: Instant::now() };
        let mut push = |feed: &Arc<Feed>| {
            if feed.deliver(arrival, Arc::clone(&deliver)) {
                self.full.push(Arc::clone(feed));
            }
        };
        match &deliver.receivers {
            Receivers::Subscriptions(numbers) => {
                // A subscription may have been closed while the delivery was on its way.
                numbers.iter().filter_map(|number| state.interests.get(number)).for_each(|i| push(&i.feed));
            }
            Receivers::Inbox(index) => {
                if let Some(seat) = state.agents.get(index) {
                    push(&seat.inbox);
                }
            }
        }
    }

    fn system(&mut self, state: &mut State, system: System) {
        let Some(seat) = state.agents.get_mut(&system.agent) else { return };
        let is_new = system.index > seat.system_seen;
        seat.system_seen = seat.system_seen.max(system.index);
        let listener = seat.system.as_ref().filter(|feed| feed.has_reader());
        let acknowledge = SystemAcknowledge { agent: system.agent, index: system.index };
        match listener {
            Some(feed) if is_new => {
                if feed.system(system) {
                    self.full.push(Arc::clone(feed));
                }
                return;
            }
            // It waits to be read; who reads it acknowledges it.
            Some(_) if acknowledge.index > seat.system_acknowledged => return,
            Some(_) | None => {}
        }
        seat.system_acknowledged = seat.system_acknowledged.max(acknowledge.index);
        if let Some(session) = &state.session
            && session.system_acknowledge(&acknowledge).is_err()
        {
            // The edge sends the update again on the next connection.
        }
    }

    fn notice(&self, state: &mut State, say: Say) {
        match say {
            Say::Undelivered(undelivered) => {
                let ranges: Vec<(u64, u64)> = undelivered.numbers.iter().map(|n| (*n, *n)).collect();
                self.inner.settle(state, &ranges, Err(FailureReason::NotFound));
            }
            Say::Changed(changed) => {
                while let Some((number, _)) = state.changes.front()
                    && *number <= changed.through
                {
                    let waiting = state.changes.pop_front();
                    if waiting.is_some_and(|(_, waiting)| waiting.send(changed).is_err()) {
                        // Who asked no longer waits.
                    }
                }
            }
            Say::Gap(gap) => {
                state.interests.values().for_each(|interest| interest.feed.gap(&gap.text));
                let inboxes = state.agents.values().map(|seat| &seat.inbox);
                inboxes.filter(|inbox| inbox.has_reader()).for_each(|inbox| inbox.gap(&gap.text));
            }
            Say::Closed(closed) => self.closed(state, &closed),
            Say::Done(_)
            | Say::Refused(_)
            | Say::Attached(_)
            | Say::Overview(_)
            | Say::Home(_)
            | Say::Decided(_)
            | Say::Cut(_)
            | Say::Peers(_)
            | Say::Edges(_)
            | Say::Agents(_)
            | Say::Updates(_)
            | Say::Value(_) => {}
        }
    }

    fn closed(&self, state: &mut State, closed: &Closed) {
        if closed.code == RefusedCode::Unavailable as u32 {
            // The edge stops or is too full: all of us go to another one.
            if let Some(session) = &state.session {
                session.close();
            }
            return;
        }
        self.inner.close_agent(state, closed.index, &closed.text, true);
    }
}

impl Handler for Link {
    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.full.is_empty() {
            return Poll::Ready(());
        }
        self.inner.gate.register(context.waker());
        self.full.retain(|feed| !feed.has_room());
        self.inner.gate.set_shut(!self.full.is_empty());
        if self.full.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    }

    fn on_incoming(&mut self, incoming: Incoming) {
        let inner = Arc::clone(&self.inner);
        let mut state = inner.lock();
        if state.epoch != self.epoch {
            return;
        }
        match incoming {
            Incoming::Deliver(deliver) => self.deliver(&state, deliver),
            Incoming::Published(published) => inner.settle(&mut state, &published.0, Ok(())),
            Incoming::System(system) => self.system(&mut state, system),
            Incoming::Reply(reply) => match reply.say {
                // Newer than this version.
                None => {}
                Some(say) if reply.id == 0 => self.notice(&mut state, say),
                Some(say) => {
                    let waiting = state.requests.remove(&reply.id);
                    if waiting.is_some_and(|waiting| waiting.send(say).is_err()) {
                        // Who asked no longer waits.
                    }
                }
            },
        }
    }

    fn on_closed(&mut self, _reason: &crate::session::CloseReason) {
        self.inner.gate.set_shut(false);
    }
}
