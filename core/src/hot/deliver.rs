//! From a section to the queues of those who subscribed; bundles of this node and of others alike.

use bytes::{BufMut, Bytes, BytesMut};

use super::Pressure;
use super::counters::{Counters, Stage};
use super::flows::{Fresh, subject_hash};
use super::plane::{Host, Plane};
use super::view::View;
use crate::id::AgentId;
use crate::machine::ConnectionSlot;
use crate::wire::agent::{Deliver, Receivers};
use crate::wire::bundle::{Bundle, Section};
use crate::wire::codec::{DecodeError, Reader};
use crate::wire::entry::{put_entry, take_entry, walk_entries};
use crate::wire::frame::Parcel;

/// Bodies up to this size are copied behind their frame's front; longer ones are shared.
const COPY_BYTES_MAX: usize = 2048;
/// Sections of so many entries are all timed.
const TIMED_ENTRIES: u16 = 16;
/// Of smaller ones, one of so many: reading the clock four times would be a fifth of their cost.
const TIMED_EVERY: u64 = 16;
/// Receivers named in one frame.
const RECEIVERS_MAX: usize = 4096;

/// Buffers that a shard keeps between bundles.
#[derive(Debug, Default)]
pub struct Scratch {
    runs: Vec<Run>,
    places: Vec<u16>,
    receivers: Vec<u64>,
    /// Small sections since one was timed.
    untimed: u64,
}

impl Scratch {
    /// For how many sections like it a section of so many entries is to be timed; 0 if it is not.
    fn timed_for(&mut self, entries: u16) -> u64 {
        if entries >= TIMED_ENTRIES {
            return 1;
        }
        self.untimed += 1;
        if self.untimed < TIMED_EVERY {
            return 0;
        }
        std::mem::take(&mut self.untimed)
    }
}

/// The entries of one agent in a section.
#[derive(Clone, Copy, Debug)]
struct Run {
    agent: u16,
    first: u64,
    last: u64,
    fresh: Fresh,
}

/// A stopwatch over the stages of one section, or none.
struct Laps<'a> {
    plane: &'a Plane,
    /// Sections that this one stands for; 0 if it is not timed.
    sections: u64,
    entries: u64,
    since: u64,
}

impl Laps<'_> {
    fn start(plane: &Plane, sections: u64, entries: u16) -> Laps<'_> {
        let since = if sections == 0 { 0 } else { plane.outlet().stopwatch() };
        Laps { plane, sections, entries: u64::from(entries), since }
    }

    /// What passed since the last stage was this one's.
    fn lap(&mut self, stage: Stage) {
        if self.sections == 0 {
            return;
        }
        let now = self.plane.outlet().stopwatch();
        let took = now.saturating_sub(self.since);
        self.plane.counters.time(stage, took * self.sections, self.entries * self.sections);
        self.since = now;
    }
}

/// What became of a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Nobody here wants it.
    Unwanted,
    /// A directed section whose agent is not here.
    Missing,
    /// In the queues, the fullest of which is at this pressure, on this connection.
    Queued(Pressure, ConnectionSlot),
}

/// Delivers one present section to subscribers on this node.
///
/// # Errors
/// The body is not what the header says: the bundle is invalid.
pub fn deliver_section(
    plane: &Plane,
    view: &View,
    scratch: &mut Scratch,
    bundle: &Bundle,
    section: &Section,
) -> Result<Delivery, DecodeError> {
    let body = section.body.as_ref().ok_or(DecodeError::Invalid("absent section"))?;
    let sections = scratch.timed_for(section.count);
    let mut watch = Laps::start(plane, sections, section.count);
    let inbox = find_receivers(plane, view, scratch, section);
    watch.lap(Stage::Match);
    if section.directed && inbox.is_none() {
        return Ok(Delivery::Missing);
    }
    if inbox.is_none() && scratch.receivers.is_empty() {
        return Ok(Delivery::Unwanted);
    }
    collect_runs(scratch, bundle.agents.len(), body, section.count)?;
    let flow = subject_hash(plane.secret, bundle.class, &section.subject);
    let (count, body) = match section.directed {
        true => only_fresh(body, section.count, |agent, sequence| {
            plane.flows.accept_directed(bundle.agents[usize::from(agent)], flow, sequence)
        })?,
        false => merge(plane, scratch, bundle, section, (flow, body))?,
    };
    watch.lap(Stage::Merge);
    Counters::add(&plane.counters.duplicate_entries, u64::from(section.count - count));
    let queued = enqueue(plane, scratch, bundle, section, inbox, (count, body));
    watch.lap(Stage::Enqueue);
    Ok(queued)
}

/// Subscriptions into `scratch.receivers`, sorted and once each; for a directed section its host.
fn find_receivers(plane: &Plane, view: &View, scratch: &mut Scratch, section: &Section) -> Option<Host> {
    scratch.receivers.clear();
    if section.directed {
        let agent = AgentId(section.subject.as_ref().try_into().ok()?);
        return plane.host_of(agent);
    }
    let subject = std::str::from_utf8(&section.subject).ok()?;
    view.local.for_each_match(subject, |receiver| scratch.receivers.push(receiver));
    scratch.receivers.sort_unstable();
    scratch.receivers.dedup();
    None
}

fn collect_runs(scratch: &mut Scratch, agents: usize, body: &[u8], count: u16) -> Result<(), DecodeError> {
    scratch.runs.clear();
    scratch.places.clear();
    scratch.places.resize(agents, u16::MAX);
    let (runs, places) = (&mut scratch.runs, &mut scratch.places);
    let mut fault = None;
    walk_entries(body, count, |head| {
        let Some(place) = places.get_mut(usize::from(head.agent)) else {
            fault = Some(DecodeError::Invalid("agent index"));
            return;
        };
        match runs.get_mut(usize::from(*place)) {
            Some(run) => {
                run.first = run.first.min(head.sequence);
                run.last = run.last.max(head.sequence);
            }
            None => {
                *place = u16::try_from(runs.len()).expect("at most one run an entry");
                let (first, last) = (head.sequence, head.sequence);
                runs.push(Run { agent: head.agent, first, last, fresh: Fresh::All });
            }
        }
    })?;
    fault.map_or(Ok(()), Err)
}

/// What of a section on a subject was not delivered before.
fn merge(
    plane: &Plane,
    scratch: &mut Scratch,
    bundle: &Bundle,
    section: &Section,
    (flow, body): (u64, &Bytes),
) -> Result<(u16, Bytes), DecodeError> {
    let mut stale = false;
    for run in &mut scratch.runs {
        run.fresh = plane.flows.accept(bundle.agents[usize::from(run.agent)], flow, run.first, run.last);
        stale |= run.fresh != Fresh::All;
    }
    if !stale {
        return Ok((section.count, body.clone()));
    }
    only_fresh(body, section.count, |agent, sequence| {
        let run = &scratch.runs[usize::from(scratch.places[usize::from(agent)])];
        match run.fresh {
            Fresh::All => true,
            Fresh::Nothing => false,
            Fresh::Above(newest) => sequence > newest,
        }
    })
}

/// The entries of a body for which `is_fresh` (agent's index, sequence) holds; the body itself when it
/// holds for all.
fn only_fresh(
    body: &Bytes,
    count: u16,
    mut is_fresh: impl FnMut(u16, u64) -> bool,
) -> Result<(u16, Bytes), DecodeError> {
    let mut fresh = Vec::with_capacity(usize::from(count));
    walk_entries(body, count, |head| fresh.push(is_fresh(head.agent, head.sequence)))?;
    if !fresh.contains(&false) {
        return Ok((count, body.clone()));
    }
    let mut reader = Reader::new(body);
    let mut kept = BytesMut::with_capacity(body.len());
    let mut kept_count = 0;
    for is_kept in fresh {
        let entry = take_entry(&mut reader)?;
        if is_kept {
            put_entry(&mut kept, entry.agent, entry.sequence, &entry.extras, entry.payload);
            kept_count += 1;
        }
    }
    Ok((kept_count, kept.freeze()))
}

/// One frame for each connection that has a receiver.
fn enqueue(
    plane: &Plane,
    scratch: &mut Scratch,
    bundle: &Bundle,
    section: &Section,
    inbox: Option<Host>,
    (count, body): (u16, Bytes),
) -> Delivery {
    let mut worst = (Pressure::Fine, ConnectionSlot(0));
    if count == 0 {
        return Delivery::Queued(worst.0, worst.1);
    }
    scratch.runs.retain(|run| run.fresh != Fresh::Nothing);
    scratch.runs.sort_unstable_by_key(|run| run.agent);
    let mut deliver = Deliver {
        receivers: Receivers::Subscriptions(Vec::new()),
        class: bundle.class,
        subject: section.subject.clone(),
        origin: bundle.origin,
        clock: bundle.clock,
        agents: scratch.runs.iter().map(|run| (run.agent, bundle.agents[usize::from(run.agent)])).collect(),
        count,
        body,
    };
    let mut send = |connection: ConnectionSlot, receivers: Receivers| {
        let number = match &receivers {
            Receivers::Subscriptions(numbers) => numbers.len() as u64,
            Receivers::Inbox(_) => 1,
        };
        deliver.receivers = receivers;
        let parcel = to_parcel(plane, &deliver);
        let bytes = parcel.len() as u64;
        match plane.outlet().deliver(connection, parcel) {
            Pressure::Gone => Counters::add(&plane.counters.cut_deliveries, number * u64::from(count)),
            pressure => {
                Counters::add(&plane.counters.delivered_entries, number * u64::from(count));
                Counters::add(&plane.counters.delivered_bytes, bytes);
                if pressure > worst.0 {
                    worst = (pressure, connection);
                }
            }
        }
    };
    if let Some(host) = inbox {
        send(host.connection, Receivers::Inbox(host.index));
    }
    for group in scratch.receivers.chunk_by(|left, right| left >> 32 == right >> 32) {
        for part in group.chunks(RECEIVERS_MAX) {
            let numbers = part.iter().map(|receiver| *receiver as u32).collect();
            send(ConnectionSlot((part[0] >> 32) as u32), Receivers::Subscriptions(numbers));
        }
    }
    Delivery::Queued(worst.0, worst.1)
}

fn to_parcel(plane: &Plane, deliver: &Deliver) -> Parcel {
    let copied = deliver.body.len() <= COPY_BYTES_MAX;
    let mut front =
        BytesMut::with_capacity(deliver.frame_bytes() - if copied { 0 } else { deliver.body.len() });
    deliver.put_front(&mut front);
    if copied {
        front.put_slice(&deliver.body);
        Counters::add(&plane.counters.copied_bytes, deliver.body.len() as u64);
        return front.freeze().into();
    }
    Parcel { front: front.freeze(), shared: Box::new([deliver.body.clone()]) }
}
