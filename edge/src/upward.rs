//! What an edge tells its aggregators: who is here, and the summary.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};
use starling_core::event::Event;
use starling_core::hot::counters::Snapshot;
use starling_core::id::{AgentId, ShortId};
use starling_core::limits;
use starling_core::machine::{LinkSlot, Outbox};
use starling_core::summary::{Counter, Summary};
use starling_core::time::{Now, Time};
use starling_core::wire::codec::Wire;
use starling_core::wire::message::{ControlBody, Directory};
use std::time::Duration;

use crate::hosting::{Departed, Hosting};

/// Agents in one message: 24 bytes each.
const AGENTS_PER_MESSAGE: usize = 2048;
/// A summary in a control frame, and what goes round it.
const SUMMARY_BYTES_MAX: usize = limits::CONTROL_BYTES_MAX - 64;
/// How long news of agents are collected.
const DIRECTORY_INTERVAL: Duration = Duration::from_millis(20);

/// What came of an agent since the directory was last told: sessions that ended, the newest, and
/// the session it has now. A message's ends are taken before its beginnings.
#[derive(Debug, Default)]
struct News {
    ended: Option<u64>,
    begun: Option<u64>,
}

/// State of what was told.
#[derive(Debug, Default)]
pub struct Upward {
    /// Version of the summary that each aggregator has; `None` before the first.
    told: BTreeMap<LinkSlot, Option<u64>>,
    news: BTreeMap<AgentId, News>,
    directory_due: Option<Time>,
    summary_due: Option<Time>,
    summary_next: Time,
    seen: BTreeMap<&'static str, u64>,
    is_new: bool,
}

impl Upward {
    /// An aggregator is linked: it gets everything.
    pub fn add(&mut self, link: LinkSlot, hosting: &Hosting, out: &mut Outbox) {
        self.told.insert(link, None);
        self.is_new = true;
        let all: Vec<(AgentId, u64)> = hosting.iter().map(|agent| (agent.id, agent.session)).collect();
        let mut whole = true;
        for part in chunks_or_one(&all) {
            let directory = Directory { whole, attached: pack(part), detached: Bytes::new() };
            out.send(link, ControlBody::Directory(directory));
            whole = false;
        }
    }

    /// An aggregator's link is gone.
    pub fn remove(&mut self, link: LinkSlot) {
        self.told.remove(&link);
    }

    /// An agent came.
    pub fn attached(&mut self, now: Now, agent: AgentId, session: u64) {
        self.news.entry(agent).or_default().begun = Some(session);
        self.directory_due.get_or_insert(now.mono + DIRECTORY_INTERVAL);
    }

    /// An agent left.
    pub fn detached(&mut self, now: Now, departed: &Departed) {
        let news = self.news.entry(departed.id).or_default();
        news.ended = news.ended.max(Some(departed.session));
        news.begun = None;
        self.directory_due.get_or_insert(now.mono + DIRECTORY_INTERVAL);
    }

    /// Takes the hot path's numbers into the summary.
    pub fn measured(&mut self, snapshot: &Snapshot, summary: &mut Summary) {
        for (name, value) in &snapshot.counters {
            let counter = match *name {
                "published_entries" => Counter::Published,
                "delivered_entries" => Counter::Delivered,
                "cut_deliveries" => Counter::Dropped,
                "sent_bytes" => Counter::BytesPublished,
                "delivered_bytes" => Counter::BytesDelivered,
                _ => continue,
            };
            let seen = self.seen.insert(name, *value).unwrap_or(0);
            if *value > seen {
                summary.counted(counter, value - seen);
            }
        }
    }

    /// Sends what is due.
    pub fn flush(
        &mut self,
        now: Now,
        me: ShortId,
        summary: &mut Summary,
        hosting: &mut Hosting,
        out: &mut Outbox,
    ) {
        if self.directory_due.is_some_and(|due| due <= now.mono) {
            self.flush_directory(out);
        }
        if summary.is_pending() || self.is_new {
            self.summary_due.get_or_insert(self.summary_next.max(now.mono));
        }
        if self.summary_due.is_none_or(|due| due > now.mono) {
            return;
        }
        self.summary_due = None;
        self.is_new = false;
        self.summary_next = now.mono + limits::SUMMARY_INTERVAL;
        if let Some(distinct) = hosting.recount() {
            summary.replace_distinct(distinct);
        }
        let version = summary.seal();
        for (link, told) in &mut self.told {
            // A newcomer gets even an empty summary: it may hold one of an earlier life of this edge.
            if *told == Some(version) {
                continue;
            }
            let update = summary.changed_since(told.unwrap_or(0)).to_bytes();
            if update.len() > SUMMARY_BYTES_MAX {
                // Worse than figures that stand still is a link that dies of them, again and again.
                out.event(Event::Refused { peer: me, reason: "labels make its summary too large to send" });
                continue;
            }
            out.send(*link, ControlBody::Summary(update));
            *told = Some(version);
        }
    }

    fn flush_directory(&mut self, out: &mut Outbox) {
        self.directory_due = None;
        let news = std::mem::take(&mut self.news);
        let detached: Vec<_> = news.iter().filter_map(|(agent, news)| Some((*agent, news.ended?))).collect();
        let attached: Vec<_> = news.iter().filter_map(|(agent, news)| Some((*agent, news.begun?))).collect();
        for link in self.told.keys() {
            for part in detached.chunks(AGENTS_PER_MESSAGE) {
                let directory = Directory { whole: false, attached: Bytes::new(), detached: pack(part) };
                out.send(*link, ControlBody::Directory(directory));
            }
            for part in attached.chunks(AGENTS_PER_MESSAGE) {
                let directory = Directory { whole: false, attached: pack(part), detached: Bytes::new() };
                out.send(*link, ControlBody::Directory(directory));
            }
        }
    }

    /// When [`Upward::flush`] is wanted.
    pub fn deadline(&self) -> Option<Time> {
        [self.directory_due, self.summary_due].into_iter().flatten().min()
    }
}

fn chunks_or_one(all: &[(AgentId, u64)]) -> impl Iterator<Item = &[(AgentId, u64)]> {
    let none = all.is_empty().then_some(all);
    none.into_iter().chain(all.chunks(AGENTS_PER_MESSAGE))
}

fn pack(agents: &[(AgentId, u64)]) -> Bytes {
    let mut out = BytesMut::with_capacity(agents.len() * 24);
    for (agent, session) in agents {
        out.put_slice(&agent.0);
        out.put_u64_le(*session);
    }
    out.freeze()
}
