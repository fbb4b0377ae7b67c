//! Who of a region is alive: a failure detector.
//!
//! The protocol is SWIM (Das, Gupta and Motivala 2002) with Lifeguard (Dadgar, Phillips and Currey
//! 2017): a node probes its subjects in turn, then through helpers and over the reliable stream;
//! who gives no answer is accused, everybody is told, and the accused may refute. We leave them thus:
//!
//! - A node probes the peers it has links with, not any member: a probe to a stranger would cost a
//!   handshake. So each member has a set of observers, as in Rapid (Suresh and others 2018).
//! - An accusation is one signed statement of one observer, and every node counts for itself. A death
//!   takes several accusers of one life, as in Rapid, the end of the suspicion, and that this node
//!   has not heard the accused itself just now. Liars can suspect anyone; the accused refutes, and
//!   who accused it is named to whoever keeps reputations.
//! - Observers that hear of an accusation probe at once, so agreement takes a probe and not a round.
//! - A node that is sick, was paused or hears nobody accuses nobody.
//!
//! Start at [`Detector`]; `probing` is what it does to find out, `accusing` how it decides, and
//! [`digest`] how nodes that were apart come to agree. It depends on `id`, `time`, `rng`, `hash`,
//! `timers` and `wire::codec` alone. Signatures, links and floods are for who drives it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::id::ShortId;
use crate::rng::Rng;
use crate::time::{Now, Time};
use crate::timers::Timers;

mod accusing;
mod case;
pub mod digest;
mod health;
mod members;
mod pace;
mod probe;
mod probing;
mod rules;
mod statement;
mod watch;

pub use case::ACCUSATIONS_MAX;
use case::Case;
use health::{Health, Woken};
pub use members::Counts;
use members::Members;
use pace::{Bucket, Pace};
pub use probe::Probe;
use probing::Relay;
pub use probing::{RELAYS_MAX, RELAYS_PER_PEER_MAX};
pub use rules::{ACCUSERS_NEEDED_MAX, HEALTH_MAX, HELPERS_MAX, Rules};
pub use statement::{Kind, Life, STATEMENT_BYTES, Standing, Statement};
use watch::Watch;
pub use watch::{OBSERVERS_MAX, SUBJECTS_MAX, Watched};

/// Members of a region that are kept; further ones are not taken up.
pub const MEMBERS_MAX: usize = 4096;

/// What is to be done, or is to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send a probe.
    Probe {
        /// To whom.
        to: ShortId,
        /// What.
        probe: Probe,
        /// Whether over the reliable stream (or a relay) instead of in a datagram.
        is_reliable: bool,
    },
    /// Sign this statement of ours and flood it to all neighbours.
    Say(Statement),
    /// A member is now held for something else.
    Standing {
        /// Who.
        node: ShortId,
        /// For what.
        standing: Standing,
        /// In which life.
        life: Life,
    },
    /// Who was dead or gone is not remembered any more.
    Forgotten {
        /// Who.
        node: ShortId,
    },
    /// An accusation was refuted.
    FalseAccusation {
        /// Who accused.
        speaker: ShortId,
        /// Whom.
        subject: ShortId,
        /// How many others accused the same life: of a paused node honest observers are many, a liar
        /// is alone or one of a few.
        companions: u32,
    },
}

/// What a statement was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// News: keep it signed as it is while [`Detector::is_in_force`] says so, and pass it on.
    New,
    /// Nothing new: do not pass it on.
    Known,
    /// Not believed: do not pass it on.
    Refused,
}

/// What the detector did and saw since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Direct probes sent.
    pub probes: u64,
    /// Answers that belong to a probe.
    pub acks: u64,
    /// Helpers' words that they had no answer.
    pub nacks: u64,
    /// Probes that ended without any answer.
    pub timeouts: u64,
    /// Accusations made.
    pub accusations_made: u64,
    /// Accusations of others that were news.
    pub accusations_heard: u64,
    /// Statements refused.
    pub refused: u64,
    /// Accusations of this node that it refuted.
    pub refutations: u64,
    /// Deaths concluded.
    pub deaths: u64,
    /// Accusations by others and by this node that were refuted.
    pub false_accusations: u64,
    /// Wakes so late that the machine must have been starved or stopped.
    pub late_wakes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Tick,
    Refute,
    Attempt(ShortId),
    Relay(u32),
    Case(ShortId),
    Forget(ShortId),
}

/// The failure detector of one node in its region.
#[derive(Debug)]
pub struct Detector {
    me: ShortId,
    life: Life,
    has_left: bool,
    rules: Rules,
    rng: Rng,
    timers: Timers<Key>,
    members: Members,
    watch: Watch,
    relays: BTreeMap<u32, Relay>,
    /// The next probe's name.
    number: u32,
    cases: BTreeMap<ShortId, Case>,
    health: Health,
    own_pace: Pace,
    own_bucket: Bucket,
    speakers_pace: Pace,
    /// Of members that accused lately.
    speakers: BTreeMap<ShortId, Bucket>,
    refute_after: Time,
    /// How much longer than their round trips answers to probes take of late: where all machines are
    /// busy, all are slow.
    late: Duration,
    counters: Counters,
}

impl Detector {
    /// A detector of the node `me`, which began `life`, alone as yet; `seed` is its chance.
    pub fn new(me: ShortId, life: Life, rules: Rules, seed: u64) -> Result<Detector, &'static str> {
        rules.check()?;
        let health_max = if rules.is_lifeguard { rules.health_max } else { 1 };
        let (rate, burst) = (rules.accusations_per_second, rules.accusations_burst);
        let mut rng = Rng::new(seed ^ me.0);
        Ok(Detector {
            me,
            life,
            has_left: false,
            number: rng.next_u64() as u32,
            rng,
            timers: Timers::new(),
            members: Members::default(),
            watch: Watch::default(),
            relays: BTreeMap::new(),
            cases: BTreeMap::new(),
            health: Health::new(health_max),
            own_pace: Pace::new(rate, burst),
            own_bucket: Bucket::default(),
            speakers_pace: Pace::new(rate * 2, burst * 2),
            speakers: BTreeMap::new(),
            refute_after: Time::ZERO,
            late: Duration::ZERO,
            rules,
            counters: Counters::default(),
        })
    }

    /// When [`Detector::wake`] is wanted; read again after every call.
    pub fn deadline(&self) -> Option<Time> {
        self.timers.next()
    }

    /// Does what is due.
    pub fn wake(&mut self, now: Now, out: &mut Vec<Effect>) {
        self.notice(now);
        while let Some(key) = self.timers.expire(now.mono) {
            match key {
                Key::Tick => self.tick(now, out),
                Key::Refute => self.refute(now, out),
                Key::Attempt(subject) => self.attempt_due(now, subject, out),
                Key::Relay(number) => self.relay_due(number, out),
                Key::Case(subject) => self.decide(now, subject, out),
                Key::Forget(node) => {
                    self.forget(node);
                    out.push(Effect::Forgotten { node });
                }
            }
        }
    }

    /// Takes the peers to observe from now on; what is known of those that stay is kept.
    pub fn set_watch(&mut self, now: Now, list: Vec<Watched>) {
        for gone in self.watch.set(now.mono, self.me, list, &mut self.rng) {
            self.timers.cancel(Key::Attempt(gone));
        }
        if self.watch.is_empty() || self.has_left {
            self.timers.cancel(Key::Tick);
        } else if self.timers.armed_at(Key::Tick).is_none() {
            // Nodes that started together do not probe together.
            let wait = self.rng.jitter(self.rules.probe_interval / 2, 1.0);
            self.timers.arm(Key::Tick, now.mono + wait);
        }
    }

    /// The transport measured the round trip of the link to a peer.
    pub fn measured(&mut self, peer: ShortId, rtt: Duration) {
        if let Some(subject) = self.watch.get_mut(peer) {
            subject.rtt = rtt;
        }
    }

    /// A node is admitted or has come, with this life; a later life than known brings back who was
    /// dead or gone. False where there is no room.
    pub fn member(&mut self, now: Now, node: ShortId, life: Life, out: &mut Vec<Effect>) -> bool {
        match self.members.get(node).map(|member| member.life()) {
            _ if node == self.me => true,
            Some(known) if life <= known => true,
            None if self.members.len() >= MEMBERS_MAX => false,
            Some(_) | None => {
                self.adopt(now, node, life, out);
                true
            }
        }
    }

    /// A node is no member any more: nothing is kept of it.
    pub fn forget(&mut self, node: ShortId) {
        self.members.remove(node);
        self.cases.remove(&node);
        self.watch.remove(node);
        self.speakers.remove(&node);
        for key in [Key::Attempt(node), Key::Case(node), Key::Forget(node)] {
            self.timers.cancel(key);
        }
        if self.watch.is_empty() {
            self.timers.cancel(Key::Tick);
        }
    }

    /// This node leaves: says so, and looks for nobody from now on. It still answers.
    pub fn leave(&mut self, now: Now, out: &mut Vec<Effect>) {
        if std::mem::replace(&mut self.has_left, true) {
            return;
        }
        self.notice(now);
        self.clear_attempts();
        self.timers.cancel(Key::Tick);
        self.timers.cancel(Key::Refute);
        out.push(Effect::Say(self.of_myself(Kind::Leave)));
    }

    /// What this node says of itself when it comes into the region.
    pub fn join(&self, out: &mut Vec<Effect>) {
        out.push(Effect::Say(self.of_myself(Kind::Join)));
    }

    /// This node's life, raised by refutations.
    pub fn life(&self) -> Life {
        self.life
    }

    /// What a member is held for.
    pub fn standing(&self, node: ShortId) -> Option<Standing> {
        self.members.standing(node)
    }

    /// A member's life as far as known.
    pub fn life_of(&self, node: ShortId) -> Option<Life> {
        self.members.get(node).map(|member| member.life())
    }

    /// How many members are held for what, this node not counted.
    pub fn counts(&self) -> Counts {
        self.members.counts()
    }

    /// What it did and saw.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Local health: zero is well, one below [`Rules::health_max`] is the worst.
    pub fn health(&self) -> u32 {
        self.health.score()
    }

    /// Asserts what must always hold.
    pub fn check(&self) {
        self.members.check();
        self.watch.check();
        self.health.check();
        assert!(self.members.len() <= MEMBERS_MAX, "too many members");
        assert!(self.relays.len() <= RELAYS_MAX, "too many relays");
        assert!(self.speakers.len() <= MEMBERS_MAX, "too many speakers");
        assert!(self.members.get(self.me).is_none(), "a member of its own");
        for member in self.members.iter() {
            let case = self.cases.get(&member.id);
            let is_accused = case.is_some_and(|case| case.of(member.life()).next().is_some());
            let is_ended = member.standing >= Standing::Dead;
            assert_eq!(is_ended, self.timers.armed_at(Key::Forget(member.id)).is_some(), "an end for ever");
            if !is_ended {
                assert_eq!(is_accused, member.standing == Standing::Suspect, "a suspect without accuser");
                assert_eq!(
                    case.is_some(),
                    self.timers.armed_at(Key::Case(member.id)).is_some(),
                    "an open case"
                );
            }
        }
        for (id, case) in &self.cases {
            assert!(self.members.get(*id).is_some(), "a case of nobody");
            assert!((1..=ACCUSATIONS_MAX).contains(&case.len()), "a case of no size");
        }
        for subject in self.watch.iter() {
            let is_armed = self.timers.armed_at(Key::Attempt(subject.id)).is_some();
            assert_eq!(is_armed, subject.attempt.is_some(), "a probe without its end");
        }
    }

    fn of_myself(&self, kind: Kind) -> Statement {
        Statement { speaker: self.me, kind, subject: self.me, life: self.life, said: 0 }
    }

    /// Notices that this call comes late: then the fault is here, and others get time.
    fn notice(&mut self, now: Now) {
        let Some(due) = self.timers.next().filter(|_| self.rules.is_lifeguard) else { return };
        let woken = self.health.called(now.mono, due, self.rules.late(), self.rules.pause);
        match woken {
            Woken::InTime => return,
            Woken::Late => self.health.grace_until = now.mono + self.rules.probe_timeout_min,
            Woken::Paused => {
                self.health.grace_until = now.mono + self.rules.suspicion_min;
                self.clear_attempts();
            }
        }
        self.counters.late_wakes += 1;
    }

    fn clear_attempts(&mut self) {
        for subject in self.watch.iter_mut() {
            if subject.attempt.take().is_some() {
                self.timers.cancel(Key::Attempt(subject.id));
            }
        }
    }
}

#[cfg(test)]
mod network;
#[cfg(test)]
mod tests;
