//! Whether too many nodes are out of reach, the mesh's status, and what that forbids.
//!
//! [`status_of`] and [`is_cut_off`] are pure functions of what is seen at one moment. [`Detector`] lets
//! them take effect only after they have held for a while, so that a node that flaps does not make
//! the mode flap: [`ENTER_AFTER`] for what is worse, [`LEAVE_AFTER`] for what is better. Each threshold
//! has a timer of its own; a change between two bad states does not start the wait for either again.
//!
//! The threshold of a partition is that of Byzantine quorums (Malkhi and Reiter, 1998): with `f` the
//! greatest number below a third of `n`, a side that reaches fewer than `n - f` may face another one
//! that does as much. So meshes of one, two and three have `f` = 0 and need everybody; four can miss
//! one. Gossip and local work go on whatever the status.

use std::fmt;
use std::time::Duration;

use crate::time::Time;

/// How long something worse holds before it takes effect: with three seconds of failure detection, a
/// cut-off side is read-only within five.
pub const ENTER_AFTER: Duration = Duration::from_secs(1);
/// How long something better holds before it takes effect; it must within two seconds.
pub const LEAVE_AFTER: Duration = Duration::from_millis(1500);

/// How well the mesh is, from best to worst.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// Everyone is reachable and agreement works.
    #[default]
    Healthy,
    /// Some are out of reach, fewer than half.
    Degraded,
    /// Links are up and agreement is lost.
    ReadOnly,
    /// Half or more are out of reach.
    Critical,
}

/// What a status may forbid. Gossip, publishing events and reading are never forbidden; nor is an
/// eviction under the mesh's root key, which needs no quorum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// Admitting a node, or letting one leave by agreement.
    ChangeMembers,
    /// Changing policy, configuration, keys, tenants or stream groups, or issuing a system update.
    ChangeConfiguration,
    /// Opening or removing a stream.
    ChangeStreams,
    /// Writing to a stream.
    WriteStream,
    /// Evicting a node by agreement.
    Evict,
}

/// What a node sees at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sight {
    /// Nodes on the roster, this one included.
    pub roster: usize,
    /// Those of them that can be reached, this one included.
    pub reachable: usize,
    /// Whether agreement works: a leader of the coordinators is known and commits.
    pub agrees: bool,
}

/// A change that took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// When, on the monotonic clock.
    pub at: Time,
    /// The status before.
    pub from: Status,
    /// The status now.
    pub to: Status,
    /// Whether this side was cut off before.
    pub was_cut_off: bool,
    /// Whether it is now.
    pub is_cut_off: bool,
    /// What led to it.
    pub sight: Sight,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Status::Healthy => "HEALTHY",
            Status::Degraded => "DEGRADED",
            Status::ReadOnly => "READ-ONLY",
            Status::Critical => "CRITICAL",
        })
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Operation::ChangeMembers => "change-members",
            Operation::ChangeConfiguration => "change-configuration",
            Operation::ChangeStreams => "change-streams",
            Operation::WriteStream => "write-stream",
            Operation::Evict => "evict",
        })
    }
}

impl Status {
    /// What may not be done.
    pub fn forbids(self) -> &'static [Operation] {
        use Operation::{ChangeConfiguration, ChangeMembers, ChangeStreams, Evict, WriteStream};
        match self {
            Status::Healthy | Status::Degraded => &[],
            Status::ReadOnly => &[ChangeMembers, ChangeConfiguration, ChangeStreams, WriteStream, Evict],
            Status::Critical => &[ChangeMembers, ChangeConfiguration, ChangeStreams, WriteStream],
        }
    }
}

/// The greatest number of faulty nodes that `nodes` bear: the greatest integer below a third of them.
pub fn faulty_max(nodes: usize) -> usize {
    nodes.saturating_sub(1) / 3
}

/// The status at one moment.
pub fn status_of(sight: Sight) -> Status {
    let unreachable = sight.roster.saturating_sub(sight.reachable);
    // Not `unreachable * 2`, which may overflow: half or more is no less than what is left.
    if unreachable > 0 && unreachable >= sight.roster - unreachable {
        Status::Critical
    } else if !sight.agrees {
        Status::ReadOnly
    } else if unreachable > 0 {
        Status::Degraded
    } else {
        Status::Healthy
    }
}

/// Whether, at one moment, this side reaches too few to agree.
pub fn is_cut_off(sight: Sight) -> bool {
    sight.reachable < sight.roster - faulty_max(sight.roster)
}

/// The status in effect, and whether this side is cut off, over time.
#[derive(Clone, Debug, Default)]
pub struct Detector {
    sight: Sight,
    /// Whether the status is at least degraded, read-only, critical.
    at_least: [Held; 3],
    cut_off: Held,
}

const LEVELS: [Status; 3] = [Status::Degraded, Status::ReadOnly, Status::Critical];

/// A condition that takes effect late.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    is_on: bool,
    /// When it turns, unless it changes back before.
    turns_at: Option<Time>,
}

impl Detector {
    /// Healthy and whole.
    pub fn new() -> Detector {
        Detector::default()
    }

    /// Takes what is seen now; to be called when it changes, and may be called more often.
    pub fn see(&mut self, now: Time, sight: Sight) -> Option<Transition> {
        // What held until now took effect under the sight that led to it.
        let earlier = self.wake(now);
        self.sight = sight;
        let status = status_of(sight);
        for (held, level) in self.at_least.iter_mut().zip(LEVELS) {
            held.want(now, status >= level);
        }
        self.cut_off.want(now, is_cut_off(sight));
        earlier
    }

    /// Lets take effect what has held long enough.
    pub fn wake(&mut self, now: Time) -> Option<Transition> {
        let (from, was_cut_off) = (self.status(), self.is_cut_off());
        for held in self.at_least.iter_mut().chain([&mut self.cut_off]) {
            held.expire(now);
        }
        let (to, is_cut_off) = (self.status(), self.is_cut_off());
        let sight = self.sight;
        let has_changed = from != to || was_cut_off != is_cut_off;
        has_changed.then_some(Transition { at: now, from, to, was_cut_off, is_cut_off, sight })
    }

    /// When [`Detector::wake`] is wanted.
    pub fn deadline(&self) -> Option<Time> {
        self.at_least.iter().chain([&self.cut_off]).filter_map(|held| held.turns_at).min()
    }

    /// The status in effect.
    pub fn status(&self) -> Status {
        let is_on = |(held, _): &(&Held, Status)| held.is_on;
        let worst = self.at_least.iter().zip(LEVELS).rev().find(is_on);
        worst.map_or(Status::Healthy, |(_, level)| level)
    }

    /// Whether this side is a partition that may not agree: read-only until more are reached.
    pub fn is_cut_off(&self) -> bool {
        self.cut_off.is_on
    }

    /// What may not be done: what the status forbids, and on a side that is cut off also what needs
    /// agreement.
    pub fn forbids(&self) -> &'static [Operation] {
        match (self.status(), self.is_cut_off()) {
            (Status::Healthy | Status::Degraded, true) => Status::ReadOnly.forbids(),
            (status, _) => status.forbids(),
        }
    }

    /// Whether an operation may be done.
    pub fn allows(&self, operation: Operation) -> bool {
        !self.forbids().contains(&operation)
    }
}

impl Held {
    fn want(&mut self, now: Time, is_on: bool) {
        if is_on == self.is_on {
            self.turns_at = None;
        } else if self.turns_at.is_none() {
            self.turns_at = Some(now + if is_on { ENTER_AFTER } else { LEAVE_AFTER });
        }
    }

    fn expire(&mut self, now: Time) {
        if self.turns_at.is_some_and(|at| at <= now) {
            self.is_on = !self.is_on;
            self.turns_at = None;
        }
    }
}

#[cfg(test)]
mod tests;
