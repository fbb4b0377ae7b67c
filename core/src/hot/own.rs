//! The way out: admit, number, seal, retain, send, send again, acknowledge.
//!
//! A bundle is sealed when it is full, at once while the sealing budget has tokens, and otherwise
//! when the next token comes; as several where its receivers have little in common (`owed`). It is
//! retained until every destination has it; destinations are fixed when it is sealed, from the
//! interest in force.
//!
//! Bundles go to a destination in **runs**. A run stays on one way, in order, and begins with the
//! oldest bundle that the destination has not acknowledged; when the way changes a new run begins.
//! Ways are first in, first out, so whatever comes late over an old way is a duplicate: nothing is
//! lost and nothing overtakes.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;

use super::Pressure;
use super::acknowledge::add_missing;
use super::counters::{Counters, Stage};
use super::deliver::{Delivery, Scratch, deliver_section};
use super::lane::{Lane, Retained};
use super::owed::{Owed, Parts, find_owed};
use super::plane::{Plane, Touched};
use super::seal::{Drafts, Sealed, unpack};
use super::stalls::Stalls;
use super::view::View;
use crate::id::{AgentId, RegionId, ShortId};
use crate::limits;
use crate::machine::{ConnectionSlot, Destination};
use crate::time::{Now, Time};
use crate::wire::agent::{Published, publish_bytes};
use crate::wire::bundle::{Bundle, Class, SectionSet};
use crate::wire::entry::Extras;

/// Where a publication goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// To whom it may interest.
    Subject,
    /// To one agent, whose home is known or not.
    Agent(Option<(RegionId, ShortId)>),
}

/// An entry on its way into a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// Connection that it came on.
    pub connection: ConnectionSlot,
    /// Its number on that connection.
    pub number: u64,
    /// Who publishes.
    pub agent: AgentId,
    /// The agent's sequence.
    pub sequence: u64,
    /// An event class.
    pub class: Class,
    /// Where it goes.
    pub target: Target,
    /// Subject, or the receiving agent's id.
    pub subject: Bytes,
    /// Optional parts.
    pub extras: Extras,
    /// What is said.
    pub payload: Bytes,
    /// How often its receiver was not where it was thought to be.
    pub attempts: u8,
}

impl Publication {
    /// What it takes of its client's window, in bytes.
    pub fn window_bytes(&self) -> usize {
        publish_bytes(&self.subject, &self.extras, &self.payload)
    }
}

/// Work for the owner of the way out.
#[derive(Debug)]
pub enum Task {
    /// New entries of one connection, in order.
    Admit(Vec<Publication>),
    /// A destination has bundles.
    Acknowledged {
        /// Who.
        by: Destination,
        /// Their class.
        class: Class,
        /// Their sequences.
        sequences: Vec<u64>,
        /// Directed sections that found nobody.
        missing: Vec<(u64, u16)>,
    },
    /// A destination's way changed.
    Resend(Destination),
    /// A destination is gone.
    Forget(Destination),
    /// The sealing budget may have tokens again.
    Tick,
}

/// What is about to be sealed, and whom it is for.
struct Addressed {
    drafts: Drafts,
    owed: Vec<Owed>,
    missing: Vec<u16>,
    finding_nanos: u64,
}

/// State of the way out; one owner at a time.
#[derive(Debug)]
pub struct OwnState {
    lanes: [Lane; 2],
    retained_bytes: usize,
    tokens: u64,
    refilled: Time,
    stalls: Stalls,
    scratch: Scratch,
    /// What sealing took so far, to be told from admitting.
    sealing_nanos: u64,
    /// Whom to tell: connection, number, and what that takes of the connection's window.
    done: Vec<(ConnectionSlot, u64, u32)>,
}

impl Default for OwnState {
    fn default() -> OwnState {
        OwnState {
            lanes: [Lane::new(Class::EventPriority), Lane::new(Class::EventBulk)],
            retained_bytes: 0,
            tokens: limits::SEALS_BURST,
            refilled: Time::ZERO,
            stalls: Stalls::default(),
            scratch: Scratch::default(),
            sealing_nanos: 0,
            done: Vec::new(),
        }
    }
}

/// What a step needs besides the state.
pub struct Step<'a> {
    /// The node's hot path.
    pub plane: &'a Plane,
    /// The view in force.
    pub view: &'a View,
    /// The time.
    pub now: Now,
    /// What the caller must look after.
    pub touched: &'a mut Touched,
}

fn lane_of(class: Class) -> usize {
    usize::from(class == Class::EventBulk)
}

impl OwnState {
    /// Works off one task.
    pub fn work(&mut self, step: &mut Step<'_>, task: Task) {
        match task {
            Task::Admit(publications) => self.admit_all(step, publications),
            Task::Acknowledged { by, class, sequences, missing } => {
                self.acknowledged(step, by, class, &sequences, &missing);
            }
            Task::Resend(to) => self.resend(step, to),
            Task::Forget(to) => self.forget(step, to),
            Task::Tick => {
                let retained = self.lanes.iter().flat_map(|lane| lane.retained.iter().flatten());
                let owed = retained.flat_map(|Retained { bundle, owed, .. }| {
                    owed.iter().map(|owed| (owed.to, bundle.class, bundle.sequence))
                });
                self.stalls.tick(step, owed);
            }
        }
    }

    /// Seals what may be sealed and tells publishers; called once after a batch of tasks.
    pub fn settle(&mut self, step: &mut Step<'_>) {
        let interval = step.plane.seal_interval.load(Ordering::Relaxed).max(1);
        self.refill(step.now.mono, interval);
        for lane in 0..self.lanes.len() {
            self.drain_backlog(step, lane);
            if !self.lanes[lane].open.is_empty() && self.tokens > 0 && self.has_room(lane) {
                self.seal(step, lane);
            }
        }
        self.tell_publishers(step);
        let waiting = self.lanes.iter().any(|lane| !lane.open.is_empty() || !lane.backlog.is_empty());
        let wake =
            if waiting { (self.refilled.0 + interval).max(step.now.mono.0 + 100_000) } else { u64::MAX };
        step.plane.seal_at.store(wake, Ordering::Release);
        let open: usize = self.lanes.iter().map(|lane| lane.backlog_bytes).sum();
        step.plane.own_congested.store(open > limits::OPEN_BYTES_MAX / 2, Ordering::Release);
    }

    fn refill(&mut self, now: Time, interval: u64) {
        // Slowed sealing saves no tokens for later: a burst would undo it.
        let burst = (limits::SEALS_BURST * limits::SEAL_INTERVAL.as_nanos() as u64 / interval).max(1);
        let earned = now.since(self.refilled).as_nanos() as u64 / interval;
        if earned > 0 {
            self.tokens = self.tokens.saturating_add(earned);
            self.refilled = if self.tokens >= burst {
                now
            } else {
                self.refilled + Duration::from_nanos(earned * interval)
            };
        }
        self.tokens = self.tokens.min(burst);
    }

    fn has_room(&self, lane: usize) -> bool {
        (self.lanes[lane].retained.len() as u64) < limits::WINDOW_BUNDLES
            && self.retained_bytes < limits::RETAINED_BYTES_MAX
    }

    fn admit_all(&mut self, step: &mut Step<'_>, publications: Vec<Publication>) {
        let entries = publications.len() as u64;
        let (started, sealing) = (step.plane.outlet().stopwatch(), self.sealing_nanos);
        publications.into_iter().for_each(|publication| self.admit(step, publication));
        let took = step.plane.outlet().stopwatch().saturating_sub(started);
        let sealing = self.sealing_nanos - sealing;
        step.plane.counters.time(Stage::Admit, took.saturating_sub(sealing), entries);
        Counters::add(&step.plane.counters.published_entries, entries);
    }

    fn admit(&mut self, step: &mut Step<'_>, publication: Publication) {
        let at = lane_of(publication.class);
        let full = self.lanes[at].open.is_full_for(&publication);
        if !self.lanes[at].backlog.is_empty() || full && !self.has_room(at) {
            let lane = &mut self.lanes[at];
            lane.backlog_bytes += publication.window_bytes();
            lane.backlog.push_back(publication);
            return;
        }
        if full {
            self.seal(step, at);
        }
        self.lanes[at].open.add(&publication);
    }

    fn drain_backlog(&mut self, step: &mut Step<'_>, at: usize) {
        while let Some(first) = self.lanes[at].backlog.front() {
            if self.lanes[at].open.is_full_for(first) {
                if !self.has_room(at) {
                    return;
                }
                self.seal(step, at);
            }
            let lane = &mut self.lanes[at];
            if let Some(publication) = lane.backlog.pop_front() {
                lane.backlog_bytes -= publication.window_bytes();
                lane.open.add(&publication);
            }
        }
    }

    fn seal(&mut self, step: &mut Step<'_>, at: usize) {
        let started = step.plane.outlet().stopwatch();
        self.tokens = self.tokens.saturating_sub(1);
        let drafts = self.lanes[at].open.take();
        let (owed, missing) = find_owed(step, &drafts);
        let room = limits::WINDOW_BUNDLES.saturating_sub(self.lanes[at].retained.len() as u64);
        let parts = Parts::of(&drafts, &owed).filter(|parts| parts.count as u64 <= room);
        let found = step.plane.outlet().stopwatch().saturating_sub(started);
        match parts {
            None => self.seal_one(step, at, Addressed { drafts, owed, missing, finding_nanos: found }),
            Some(parts) => {
                let owed = parts.split_owed(owed);
                let missing = parts.split_missing(&missing);
                let drafts = drafts.split(&parts.part_of, parts.count);
                let finding_nanos = found / parts.count as u64;
                for ((drafts, owed), missing) in drafts.into_iter().zip(owed).zip(missing) {
                    self.seal_one(step, at, Addressed { drafts, owed, missing, finding_nanos });
                }
            }
        }
        self.sealing_nanos += step.plane.outlet().stopwatch().saturating_sub(started);
    }

    fn seal_one(&mut self, step: &mut Step<'_>, at: usize, addressed: Addressed) {
        let Addressed { drafts, mut owed, mut missing, finding_nanos } = addressed;
        let (counters, entries) = (&step.plane.counters, drafts.entries());
        let lane = &mut self.lanes[at];
        let clock = step.now.wall.as_millis() << 16;
        let started = step.plane.outlet().stopwatch();
        let Sealed { bundle, authors, homes } =
            drafts.seal(&step.plane.me, &step.plane.key, lane.class, lane.next, clock);
        counters.time(Stage::Seal, step.plane.outlet().stopwatch().saturating_sub(started), entries);
        lane.next += 1;
        Counters::add(&counters.sealed_bundles, 1);
        if let Some(connection) = self.deliver_here(step, &bundle, &homes, &mut missing) {
            owed.push(Owed { to: Destination::Local, keep: SectionSet::default(), routes: Vec::new() });
            step.plane.hold_own(connection, bundle.class, bundle.sequence);
        }
        self.retained_bytes += bundle.len();
        self.lanes[at].retained.push_back(Some(Retained { bundle, authors, owed, missing }));
        let started = step.plane.outlet().stopwatch();
        self.lanes[at].send_newest(step);
        let sending = step.plane.outlet().stopwatch().saturating_sub(started);
        step.plane.counters.time(Stage::Select, finding_nanos + sending, entries);
        let sequence = self.lanes[at].next - 1;
        self.complete_if_done(step, at, sequence);
    }

    /// Delivers to subscribers of this node; returns a connection whose queue is slow.
    fn deliver_here(
        &mut self,
        step: &mut Step<'_>,
        bundle: &Bundle,
        homes: &[Option<(RegionId, ShortId)>],
        missing: &mut Vec<u16>,
    ) -> Option<ConnectionSlot> {
        let mut slow = None;
        let me = step.plane.me;
        for (index, section) in bundle.sections.iter().enumerate() {
            let here = (me.region, me.id);
            if section.directed && homes.get(index).copied().flatten().is_none_or(|home| home != here) {
                continue;
            }
            let delivery = deliver_section(step.plane, step.view, &mut self.scratch, bundle, section)
                .expect("a bundle that was sealed here is well-formed");
            match delivery {
                Delivery::Queued(Pressure::Slow, connection) => slow = Some(connection),
                Delivery::Missing => missing.push(u16::try_from(index).expect("at most 256 sections")),
                Delivery::Queued(..) | Delivery::Unwanted => {}
            }
        }
        slow
    }

    fn acknowledged(
        &mut self,
        step: &mut Step<'_>,
        by: Destination,
        class: Class,
        sequences: &[u64],
        missing: &[(u64, u16)],
    ) {
        let at = lane_of(class);
        for sequence in sequences {
            let Some(Some(retained)) = self.lanes[at].at(*sequence) else { continue };
            let Some(place) = retained.owed.iter().position(|owed| owed.to == by) else { continue };
            let owed = retained.owed.swap_remove(place);
            add_missing(&mut retained.missing, &retained.bundle, &owed.keep, missing);
            self.complete_if_done(step, at, *sequence);
        }
    }

    fn complete_if_done(&mut self, step: &mut Step<'_>, at: usize, sequence: u64) {
        let lane = &mut self.lanes[at];
        let Some(place) = lane.at(sequence) else { return };
        if place.as_ref().is_none_or(|retained| !retained.owed.is_empty()) {
            return;
        }
        if let Some(retained) = place.take() {
            Counters::add(&step.plane.counters.completed_bundles, 1);
            self.retained_bytes -= retained.bundle.len();
            self.release(step, retained);
        }
        let lane = &mut self.lanes[at];
        while lane.retained.front().is_some_and(Option::is_none) {
            lane.retained.pop_front();
        }
    }

    /// Acknowledges to the publishers, but for sections that found nobody: those are looked for again.
    fn release(&mut self, step: &mut Step<'_>, retained: Retained) {
        let Retained { bundle, authors, missing, .. } = retained;
        let found = authors.iter().filter(|author| !missing.contains(&author.section));
        self.done
            .extend(found.map(|author| (ConnectionSlot(author.connection), author.number, author.bytes)));
        if missing.is_empty() {
            return;
        }
        Counters::add(&step.plane.counters.missing_agents, missing.len() as u64);
        let mut again = Vec::new();
        for section in missing {
            let authors = authors.iter().filter(|author| author.section == section);
            again.extend(unpack(&bundle, section, authors));
        }
        step.plane.outlet().unresolved(again);
    }

    fn tell_publishers(&mut self, step: &mut Step<'_>) {
        self.done.sort_unstable();
        for of_connection in self.done.chunk_by(|left, right| left.0 == right.0) {
            let mut ranges: Vec<(u64, u64)> = Vec::new();
            for (_, number, _) in of_connection {
                match ranges.last_mut() {
                    Some((_, to)) if *to + 1 == *number => *to = *number,
                    _ => ranges.push((*number, *number)),
                }
            }
            let bytes = of_connection.iter().map(|(.., bytes)| *bytes as usize).sum();
            step.plane.outlet().settled(of_connection[0].0, bytes);
            for part in ranges.chunks(limits::CONTROL_BYTES_MAX / 16) {
                let published = Published(part.to_vec()).to_frame();
                step.plane.outlet().tell(of_connection[0].0, published.into());
            }
        }
        self.done.clear();
    }

    fn resend(&mut self, step: &mut Step<'_>, to: Destination) {
        self.lanes.iter_mut().for_each(|lane| lane.begin_run(step, to));
    }

    fn forget(&mut self, step: &mut Step<'_>, to: Destination) {
        for at in 0..self.lanes.len() {
            self.lanes[at].runs.remove(&to);
            let (from, until) = (self.lanes[at].oldest(), self.lanes[at].next);
            for sequence in from..until {
                if let Some(Some(retained)) = self.lanes[at].at(sequence) {
                    let directed = retained.bundle.sections.iter().enumerate().filter(|(_, s)| s.directed);
                    let lost = retained.owed.iter().filter(|owed| owed.to == to);
                    let lost: Vec<u16> = lost
                        .flat_map(|owed| directed.clone().filter(|(index, _)| owed.keep.has(*index)))
                        .map(|(index, _)| u16::try_from(index).expect("at most 256 sections"))
                        .collect();
                    retained.missing.extend(lost);
                    retained.owed.retain(|owed| owed.to != to);
                    self.complete_if_done(step, at, sequence);
                }
            }
        }
    }
}
