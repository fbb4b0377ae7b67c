//! Carries out what the machine decided. Nothing here waits.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use starling_core::hot::plane::{Host, Touched};
use starling_core::id::AgentId;
use starling_core::machine::{ConnectionSlot, Granted, Input, LinkSlot, Output};
use starling_core::time::Now;
use starling_core::wire::request::{Reply, Say};

use crate::broadcasts::Broadcast;
use crate::endpoint::CloseCode;
use crate::hub::Hub;
use crate::{link, probe, renewal};

/// How long what was said before hanging up may take to arrive.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// Executes the outputs of one node's machine.
pub(crate) struct Executor {
    hub: Arc<Hub>,
    touched: Touched,
}

impl Executor {
    pub fn new(hub: Arc<Hub>) -> Executor {
        Executor { hub, touched: Touched::default() }
    }

    /// Carries out one output.
    pub fn execute(&mut self, now: Now, output: Output) {
        let plane = &self.hub.plane;
        match output {
            Output::Dial { address } => {
                tokio::spawn(link::dial(Arc::clone(&self.hub), address));
            }
            Output::HangUp { link, reason } => self.hang_up(link, reason),
            Output::Control { link, body } => self.hub.outlets.control(link, body.to_frame().into()),
            Output::ControlToAll { links, body } => {
                let frame = body.to_frame();
                links.into_iter().for_each(|link| self.hub.outlets.control(link, frame.clone().into()));
            }
            Output::Probe { link, body } => self.probe(link, &body),
            Output::State { links, bundle } => plane.send_state(&bundle, links, &mut self.touched),
            Output::Reply { connection, id, say } => self.reply(connection, id, say),
            Output::Broadcast { connection, agents, index, payload } => {
                self.hub.broadcasts.add(&self.hub.outlets, Broadcast { connection, agents, index, payload });
            }
            Output::View(view) => plane.set_view(*view),
            Output::Host { agent, connection, index } => plane.host(agent, Host { connection, index }),
            Output::Unhost { agent, connection, index } => self.unhost(agent, connection, index),
            Output::Admit(publications) => plane.admit(now, publications, &mut self.touched),
            Output::Undeliverable(publications) => self.hub.outlets.tell_undelivered(publications),
            Output::Home { agent, home } => plane.set_home(agent, home),
            Output::Resend(to) => plane.resend(now, to, &mut self.touched),
            Output::Forget(to) => plane.forget(now, to, &mut self.touched),
            Output::Propose(entry) => self.propose(entry),
            Output::Granted(granted) => self.granted(granted),
            Output::Event(event) => self.hub.event(event),
            Output::Stopped => {
                self.hub.stopped.send_replace(true);
            }
        }
    }

    /// Sends what a step left behind.
    pub fn flush(&mut self) {
        self.hub.flush(&mut self.touched);
        // The machine feeds lanes rarely and is never made to wait for one.
        self.touched.congested.clear();
    }

    fn probe(&self, link: LinkSlot, body: &Bytes) {
        let Some(lanes) = self.hub.outlets.link(link) else { return };
        if lanes.connection().send_datagram(probe::to_datagram(body)).is_err() {
            // No room, or the link ends: a probe may get lost.
        }
    }

    fn hang_up(&self, link: LinkSlot, reason: &'static str) {
        let Some(lanes) = self.hub.outlets.link(link) else { return };
        tokio::spawn(async move {
            lanes.control.finish(LAST_WORDS).await;
            lanes.close_connection(CloseCode::HungUp, reason);
        });
    }

    fn reply(&self, connection: ConnectionSlot, id: u64, say: Say) {
        if let Some(lane) = self.hub.outlets.connection(connection) {
            match &say {
                Say::Attached(attached) => {
                    for refused in &attached.refused {
                        lane.table.remove_if(refused.index, |seat| seat.request == id);
                    }
                }
                Say::Closed(closed) => lane.table.remove_if(closed.index, |_| true),
                Say::Done(_)
                | Say::Refused(_)
                | Say::Overview(_)
                | Say::Home(_)
                | Say::Decided(_)
                | Say::Cut(_)
                | Say::Value(_)
                | Say::Changed(_)
                | Say::Gap(_)
                | Say::Peers(_)
                | Say::Edges(_)
                | Say::Agents(_)
                | Say::Updates(_)
                | Say::Undelivered(_) => {}
            }
        }
        self.hub.outlets.tell(connection, Reply { id, say: Some(say) }.to_frame().into());
    }

    fn unhost(&self, agent: AgentId, connection: ConnectionSlot, index: u32) {
        self.hub.plane.unhost(agent, Host { connection, index });
        if let Some(lane) = self.hub.outlets.connection(connection) {
            lane.table.remove_if(index, |seat| seat.agent == agent);
        }
    }

    fn granted(&self, granted: Granted) {
        match granted {
            Granted::Issue { admission, number, request } => {
                tokio::spawn(renewal::issue(Arc::clone(&self.hub), admission, number, request));
            }
            Granted::Certificate { number, result } => {
                if self.hub.granted.try_send((number, result)).is_err() {
                    // Who asks again and again is answered again.
                }
            }
        }
    }

    fn propose(&self, entry: Bytes) {
        if self.hub.agreeing.propose(entry.clone()) {
            return;
        }
        self.hub.refused_proposals.fetch_add(1, Ordering::Relaxed);
        // Who has more inputs than room has other troubles; its client's patience ends.
        self.hub.inputs.try_send(Input::Undecided { entry, is_doubtful: false }).ok();
    }
}
