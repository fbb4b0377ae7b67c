//! The reputation of nodes and agents, and who is banned.
//!
//! A party has an entry only while it differs from a stranger (reputation below 1.0, a ban, or one not
//! long past), so a mesh where all behave costs nothing. Everything is worked out from the time of the
//! question: reputation comes back at [`RECOVERY_INTERVAL`] a millionth (0.5 to 1.0 in 42 minutes), and
//! up to twice as fast for who meanwhile does good.
//!
//! A ban by soft evidence lasts [`BAN_FIRST`], twice as long each time within [`STRIKES_KEPT`] of the
//! last one's end, [`BAN_MAX`] at the most; it ends at a reputation of 0.5. A ban by proof has no end
//! within the mesh's epoch: only [`Ledger::lift`] takes it back, for whoever carries out what the
//! coordinators agreed on.
//!
//! **Why no liar can have an honest node banned:** there is no call that takes a claim.
//! [`Ledger::on_offence`] is for what came over the offender's own link, where TLS says who it is; and
//! of that, what a third party could have arranged ends at a floor (see [`super::offence`]).
//! [`Ledger::on_proof`] takes a [`Culprit`], which only a verified proof yields.
//!
//! **Who is forgotten first** when a table is full: whose entry would lose its meaning soonest, that is
//! the one nearest to full reputation, and among the banned the one whose ban ended or ends first. Nodes
//! and agents have tables of their own, so a crowd of agents pushes no node out. Bans by proof are never
//! forgotten; should [`PROVEN_MAX`] of them be held, the next is a soft ban of the longest duration.

use std::collections::BTreeMap;
use std::time::Duration;

use super::offence::{Offence, Reputation, Verdict};
use super::proof::Culprit;
use crate::id::{AgentId, ShortId};
use crate::time::Time;

mod table;

use table::Table;

/// Nodes with an entry; no more than a mesh's registry holds near a node.
pub const NODES_MAX: usize = 4096;
/// Agents with an entry.
pub const AGENTS_MAX: usize = 16_384;
/// Bans by proof.
pub const PROVEN_MAX: usize = 16_384;
/// How long a millionth of reputation takes to come back.
pub const RECOVERY_INTERVAL: Duration = Duration::from_millis(5);
/// What one unit of good conduct (a bundle that was verified and wanted) gives, in millionths.
pub const GOOD_UNIT: u64 = 10;
/// Mild offences of a party count once in this time.
pub const MILD_INTERVAL: Duration = Duration::from_secs(1);
/// The first ban.
pub const BAN_FIRST: Duration = Duration::from_secs(10 * 60);
/// The longest ban without a proof.
pub const BAN_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// How long after the end of a ban the next is longer for it.
pub const STRIKES_KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// Who is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Party {
    /// A node, at the other end of a link.
    Node(ShortId),
    /// An agent, at its edge.
    Agent(AgentId),
}

/// What happened, in plain counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Offences, those that did not count any more included.
    pub offences: u64,
    /// Bans by soft evidence.
    pub bans: u64,
    /// Bans by proof.
    pub proven: u64,
    /// Entries that went before their time because a table was full.
    pub forgotten: u64,
}

/// Who did what, as far as this node knows.
#[derive(Debug, Default)]
pub struct Ledger {
    nodes: Table<ShortId, NODES_MAX>,
    agents: Table<AgentId, AGENTS_MAX>,
    /// Each with the id of its proof.
    proven: BTreeMap<ShortId, [u8; 32]>,
    counters: Counters,
}

impl Ledger {
    /// Nobody has done anything.
    pub fn new() -> Ledger {
        Ledger::default()
    }

    /// This node saw `party` do this on the party's own link or connection. Who is banned already is
    /// not judged again for what was still on its way.
    pub fn on_offence(&mut self, now: Time, party: Party, offence: Offence) -> Verdict {
        self.counters.offences += 1;
        if self.is_proven(party) {
            return Verdict::Ban { until: Verdict::FOREVER };
        }
        let floor = match party {
            Party::Node(_) if !offence.is_grave() => Reputation::IGNORED_BELOW,
            Party::Node(_) | Party::Agent(_) => Reputation::NONE,
        };
        let Counters { bans, forgotten, .. } = &mut self.counters;
        let mut change = |record: &mut Record| {
            let was_banned = record.is_banned;
            record.offend(now, offence, floor);
            *bans += u64::from(record.is_banned && !was_banned);
            record.verdict(now)
        };
        match party {
            Party::Node(node) => self.nodes.change(now, node, forgotten, &mut change),
            Party::Agent(agent) => self.agents.change(now, agent, forgotten, &mut change),
        }
    }

    /// `party` did as much good (bundles of its own that were verified and wanted, probes answered).
    /// Costs a look-up where it has nothing to make up for.
    pub fn on_good(&mut self, now: Time, party: Party, units: u32) {
        let mut change = |record: &mut Record| record.improve(now, units);
        match party {
            Party::Node(node) => self.nodes.change_known(node, &mut change),
            Party::Agent(agent) => self.agents.change_known(agent, &mut change),
        }
    }

    /// A proof was verified: bans the culprit for good. `true` where it was not banned so before, which
    /// is when its proof is passed on.
    pub fn on_proof(&mut self, now: Time, culprit: &Culprit) -> bool {
        let node = culprit.node();
        if self.proven.contains_key(&node) {
            return false;
        }
        self.counters.proven += 1;
        if self.proven.len() < PROVEN_MAX {
            self.proven.insert(node, culprit.proof());
            self.nodes.remove(node);
            return true;
        }
        let forgotten = &mut self.counters.forgotten;
        self.nodes.change(now, node, forgotten, &mut |record| {
            let is_news = !record.is_banned;
            record.settle(now);
            record.ban(now, BAN_MAX);
            is_news
        })
    }

    /// What follows for `party` now.
    pub fn verdict(&self, now: Time, party: Party) -> Verdict {
        if self.is_proven(party) {
            return Verdict::Ban { until: Verdict::FOREVER };
        }
        self.record(party).map_or(Verdict::Fine, |record| record.verdict(now))
    }

    /// Whether a node is banned by proof.
    pub fn is_convicted(&self, node: ShortId) -> bool {
        self.proven.contains_key(&node)
    }

    /// The reputation of `party` now; none under a ban by proof.
    pub fn reputation(&self, now: Time, party: Party) -> Reputation {
        if self.is_proven(party) {
            return Reputation::NONE;
        }
        self.record(party).map_or(Reputation::FULL, |record| record.reputation(now))
    }

    /// Nodes banned by proof, by id, each with its proof's id.
    pub fn proven(&self) -> impl Iterator<Item = (ShortId, [u8; 32])> + '_ {
        self.proven.iter().map(|(node, proof)| (*node, *proof))
    }

    /// Parties that are banned by soft evidence and until when, nodes first, each kind by id.
    pub fn banned(&self, now: Time) -> impl Iterator<Item = (Party, Time)> + '_ {
        let until = move |record: &Record| match record.verdict(now) {
            Verdict::Ban { until } => Some(until),
            Verdict::Fine | Verdict::Ignore => None,
        };
        let nodes = self.nodes.iter().filter_map(move |(id, r)| Some((Party::Node(id), until(r)?)));
        let agents = self.agents.iter().filter_map(move |(id, r)| Some((Party::Agent(id), until(r)?)));
        nodes.chain(agents)
    }

    /// Forgets everything about `party`, a ban by proof included: the mesh agreed on it (an eviction
    /// carried out, a new epoch, an operator's word). `true` where there was something.
    pub fn lift(&mut self, party: Party) -> bool {
        match party {
            Party::Node(node) => self.proven.remove(&node).is_some() | self.nodes.remove(node),
            Party::Agent(agent) => self.agents.remove(agent),
        }
    }

    /// What happened so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Asserts what always holds.
    pub fn check(&self) {
        self.nodes.check();
        self.agents.check();
        assert!(self.proven.len() <= PROVEN_MAX, "bans by proof are bounded");
    }

    fn is_proven(&self, party: Party) -> bool {
        match party {
            Party::Node(node) => self.proven.contains_key(&node),
            Party::Agent(_) => false,
        }
    }

    fn record(&self, party: Party) -> Option<&Record> {
        match party {
            Party::Node(node) => self.nodes.get(node),
            Party::Agent(agent) => self.agents.get(agent),
        }
    }
}

/// One party that is no stranger; 40 bytes.
#[derive(Clone, Copy, Debug)]
struct Record {
    /// As it was at `settled`.
    reputation: Reputation,
    strikes: u8,
    /// Whether the ban until `banned_until` has not been settled yet.
    is_banned: bool,
    settled: Time,
    /// Up to when good conduct has been given its due.
    credited: Time,
    /// The next mild offence that counts.
    mild_from: Time,
    banned_until: Time,
}

impl Record {
    fn new(now: Time) -> Record {
        Record {
            reputation: Reputation::FULL,
            strikes: 0,
            is_banned: false,
            settled: now,
            credited: now,
            mild_from: Time::ZERO,
            banned_until: Time::ZERO,
        }
    }

    fn offend(&mut self, now: Time, offence: Offence, floor: Reputation) {
        self.settle(now);
        if self.is_banned {
            return;
        }
        if !offence.is_grave() {
            if now < self.mild_from {
                return;
            }
            self.mild_from = now + MILD_INTERVAL;
        }
        self.reputation = self.reputation.lowered(offence.weight(), floor);
        if self.reputation <= Reputation::BANNED_AT {
            // Ten minutes doubled eight times is over a day, so the shift never gets far.
            self.ban(now, BAN_FIRST.saturating_mul(1 << self.strikes.min(8)).min(BAN_MAX));
        }
    }

    fn ban(&mut self, now: Time, duration: Duration) {
        self.is_banned = true;
        self.strikes = self.strikes.saturating_add(1);
        self.banned_until = now + duration;
    }

    fn improve(&mut self, now: Time, units: u32) {
        self.settle(now);
        // Good conduct at most doubles the pace of recovery, so nobody earns in a second what it then
        // spends on misbehaviour; what was not earned in time is not saved up.
        let most = whole_intervals(now, self.credited);
        self.credited = now.max(self.credited);
        if !self.is_banned {
            self.reputation = self.reputation.raised(most.min(u64::from(units) * GOOD_UNIT));
        }
    }

    /// Brings everything up to `now`.
    fn settle(&mut self, now: Time) {
        self.reputation = self.reputation(now);
        if self.is_banned && now >= self.banned_until {
            self.is_banned = false;
        }
        if now >= self.banned_until + STRIKES_KEPT {
            self.strikes = 0;
        }
        // The rest of an interval is not lost, or who offends often would never recover.
        let gained = whole_intervals(now, self.settled);
        self.settled = self.settled + nanos(gained.saturating_mul(interval()));
    }

    fn reputation(&self, now: Time) -> Reputation {
        let recovered = self.reputation.raised(whole_intervals(now, self.settled));
        let is_over = self.is_banned && now >= self.banned_until;
        if is_over { recovered.max(Reputation::IGNORED_BELOW) } else { recovered }
    }

    fn verdict(&self, now: Time) -> Verdict {
        if self.is_banned && now < self.banned_until {
            Verdict::Ban { until: self.banned_until }
        } else if self.reputation(now) < Reputation::IGNORED_BELOW {
            Verdict::Ignore
        } else {
            Verdict::Fine
        }
    }

    /// From when on this entry says nothing that a stranger's would not.
    fn meaningless_from(&self) -> Time {
        let missing = Reputation::FULL.millionths() - self.reputation.millionths();
        let full = self.settled + nanos(u64::from(missing) * interval());
        if self.strikes == 0 { full } else { full.max(self.banned_until + STRIKES_KEPT) }
    }
}

fn interval() -> u64 {
    RECOVERY_INTERVAL.as_nanos() as u64
}

fn nanos(count: u64) -> Duration {
    Duration::from_nanos(count)
}

fn whole_intervals(now: Time, since: Time) -> u64 {
    now.0.saturating_sub(since.0) / interval()
}

#[cfg(test)]
mod tests;
