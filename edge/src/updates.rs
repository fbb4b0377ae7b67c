//! System updates: taken in order, and told to every agent.

use std::time::Duration;

use starling_core::event::Event;
use starling_core::id::ShortId;
use starling_core::identity::{Context, Roles, Signature};
use starling_core::machine::{Outbox, Output};
use starling_core::membership::Known;
use starling_core::time::Now;
use starling_core::wire::message::{ControlBody, Update, UpdateApplied, update_message};

use crate::Edge;

/// When an edge that could not take a system update asks for it again.
const ASK_UPDATES_AFTER: Duration = Duration::from_secs(1);

impl Edge {
    /// Takes the next system update if a coordinator of this mesh signed it.
    pub(crate) fn on_update(&mut self, now: Now, update: Update, out: &mut Outbox) {
        // A newcomer begins with the oldest update that its aggregator still has.
        if self.applied != 0 && self.applied.checked_add(1) != Some(update.index) {
            if update.index > self.applied {
                self.ask_updates_at.get_or_insert(now.mono + ASK_UPDATES_AFTER);
            }
            return;
        }
        let signer = ShortId(update.signer);
        let known = self.neighbours.get(signer).filter(|known| known.roles().has(Roles::COORDINATOR));
        let key = known.map(Known::key);
        let signature = <[u8; 64]>::try_from(update.signature.as_ref()).ok().map(Signature);
        let message = update_message(&update);
        let is_valid = match (key, signature) {
            (Some(key), Some(signature)) => key.verify(Context::Update, &message, &signature),
            _ => false,
        };
        if !is_valid {
            out.event(Event::Refused {
                peer: signer,
                reason: "a system update without a coordinator's signature",
            });
            // The coordinator may be one of whom this edge has yet to hear.
            self.ask_updates_at.get_or_insert(now.mono + ASK_UPDATES_AFTER);
            return;
        }
        self.applied = update.index;
        self.ask_updates_at = None;
        out.event(Event::UpdateApplied { index: update.index });
        for (connection, agents) in self.hosting.by_connection() {
            let (index, payload) = (update.index, update.payload.clone());
            out.push(Output::Broadcast { connection, agents, index, payload });
        }
        self.tell_applied(out);
    }

    /// Tells the region's aggregators how far this edge is; who hears the same again sends again
    /// what is missing.
    pub(crate) fn tell_applied(&self, out: &mut Outbox) {
        let mine = self.neighbours.me().region();
        for (_, link, known) in self.neighbours.linked() {
            if known.roles().has(Roles::AGGREGATOR) && known.region() == mine {
                out.send(link, ControlBody::UpdateApplied(UpdateApplied { index: self.applied }));
            }
        }
    }
}
