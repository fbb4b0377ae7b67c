//! Telling connections which version of the summary has what they changed.
//!
//! A first report goes out at once, so that it shares a packet with the acknowledgement of the
//! change itself; who changes something all the time is told a few times a second.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use starling_core::id::ShortId;
use starling_core::machine::{ConnectionSlot, Outbox};
use starling_core::summary::Summary;
use starling_core::time::{Now, Time};
use starling_core::wire::request::{Changed, Say};

/// The least time between two reports to one connection.
const REPORT_INTERVAL: Duration = Duration::from_millis(250);

/// Reports that are due or were made lately.
#[derive(Debug, Default)]
pub struct Reporting {
    /// Connections that were told within the last interval, with the changes since.
    told: BTreeMap<ConnectionSlot, Option<u64>>,
    /// When each of these may be told again, in order; connections that are gone may be among them.
    turns: VecDeque<(Time, ConnectionSlot)>,
}

impl Reporting {
    /// All changes of a connection up to number `through` were made.
    pub fn changed(
        &mut self,
        now: Now,
        me: ShortId,
        connection: ConnectionSlot,
        through: u64,
        summary: &Summary,
        out: &mut Outbox,
    ) {
        if let Some(waiting) = self.told.get_mut(&connection) {
            *waiting = Some(through);
            return;
        }
        self.report(now, me, connection, through, summary, out);
    }

    fn report(
        &mut self,
        now: Now,
        me: ShortId,
        connection: ConnectionSlot,
        through: u64,
        summary: &Summary,
        out: &mut Outbox,
    ) {
        let at = summary.version();
        let version = at.version + u64::from(summary.is_pending());
        let changed = Changed { through, edge: me.0, incarnation: at.incarnation, version };
        out.reply(connection, 0, Say::Changed(changed));
        self.told.insert(connection, None);
        self.turns.push_back((now.mono + REPORT_INTERVAL, connection));
    }

    /// A connection is gone.
    pub fn disconnected(&mut self, connection: ConnectionSlot) {
        self.told.remove(&connection);
    }

    /// Makes the reports that are due.
    pub fn wake(&mut self, now: Now, me: ShortId, summary: &Summary, out: &mut Outbox) {
        while let Some((_, connection)) = self.turns.pop_front_if(|(due, _)| *due <= now.mono) {
            if let Some(Some(through)) = self.told.remove(&connection) {
                self.report(now, me, connection, through, summary, out);
            }
        }
    }

    /// When [`Reporting::wake`] is wanted.
    pub fn deadline(&self) -> Option<Time> {
        self.turns.front().map(|(due, _)| *due)
    }
}
