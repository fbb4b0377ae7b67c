//! How a detector finds out whether its subjects live, and helps others to.

use std::time::Duration;

use super::case::Case;
use super::statement::{Kind, Life, Standing};
use super::watch::{Attempt, Stage};
use super::{Detector, Effect, Key, Probe};
use crate::id::ShortId;
use crate::time::{Now, Time};

/// Pings for others that may be under way.
pub const RELAYS_MAX: usize = 64;
/// Those for one peer.
pub const RELAYS_PER_PEER_MAX: usize = 8;
/// An accused that is heard all the same is told no oftener.
const DOUBT_INTERVAL: Duration = Duration::from_millis(500);
/// Subjects below which silence of most proves nothing about oneself.
const SUBJECTS_TO_COMPARE: usize = 4;
/// Subjects that fall silent one after the other, nobody being heard between, show that it is us.
const SILENCED_MAX: usize = 3;

/// A ping for another observer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Relay {
    asker: ShortId,
    /// Its name at the asker.
    number: u32,
    subject: ShortId,
}

impl Detector {
    /// A probe came from a node. It is answered over the same kind of lane.
    pub fn hear_probe(&mut self, now: Now, from: ShortId, probe: Probe, out: &mut Vec<Effect>) {
        self.heard(now, from, out);
        match probe {
            Probe::Ping { number, is_again } => {
                out.push(Effect::Probe { to: from, probe: Probe::Ack { number }, is_reliable: is_again });
            }
            Probe::Ack { number } => self.hear_ack(now, from, number, out),
            Probe::PingFor { number, subject } => self.hear_ping_for(now, from, (number, subject), out),
            Probe::Nack { number } => self.hear_nack(from, number),
            Probe::Doubt { life } => self.hear_doubt(now, life, out),
        }
    }

    /// Anything came from this node itself over its own link: it lives.
    pub fn heard(&mut self, now: Now, from: ShortId, out: &mut Vec<Effect>) {
        self.notice(now);
        self.watch.heard(now.mono, from);
        if self.cases.contains_key(&from) {
            self.doubt(now.mono, from, out);
        }
    }

    /// The link to a subject is gone: it is looked for through helpers at once. That is no death.
    pub fn link_down(&mut self, now: Now, peer: ShortId, out: &mut Vec<Effect>) {
        self.notice(now);
        self.press(now, peer, out);
    }

    /// Whether this node hears from so few of its subjects that it must be cut off itself.
    pub fn is_isolated(&self) -> bool {
        let ended = |id| self.members.standing(id).is_some_and(|standing| standing >= Standing::Dead);
        let living = self.watch.iter().filter(|subject| !ended(subject.id));
        let (count, silent) = living
            .fold((0, 0), |(count, silent), subject| (count + 1, silent + usize::from(subject.is_silent)));
        count >= SUBJECTS_TO_COMPARE && (silent * 4 > count * 3 || self.watch.silenced >= SILENCED_MAX)
    }

    /// Whether this node knows enough to speak against others.
    pub(super) fn may_accuse(&mut self, now: Time) -> bool {
        if !self.rules.is_lifeguard {
            return true;
        }
        if let Some(since) = self.health.recovers_since(now) {
            let heard = self.watch.iter().filter(|subject| subject.heard > since).count();
            if heard * 2 <= self.watch.iter().count() {
                return false;
            }
            self.health.recovered();
        }
        !self.health.is_sick() && !self.is_isolated()
    }

    pub(super) fn tick(&mut self, now: Now, out: &mut Vec<Effect>) {
        let wait = self.rng.jitter(self.health.scale(self.rules.probe_interval.max(self.late * 2)), 0.1);
        self.timers.arm(Key::Tick, now.mono + wait);
        // Whom others accuse is looked at until it is clear.
        if let Some(accused) = self.unclear() {
            return self.press(now, accused, out);
        }
        if let Some(subject) = self.watch.next(&mut self.rng) {
            self.begin(now, subject, out);
        }
    }

    /// A suspected subject of which this node has not made up its mind. Those are taken in turn by
    /// chance, as a liar could otherwise keep this node busy with one.
    fn unclear(&mut self) -> Option<ShortId> {
        if self.cases.is_empty() || !self.rules.is_lifeguard || self.rng.below(2) == 0 {
            return None;
        }
        let is_unclear = |(id, case): &(&ShortId, &Case)| {
            let is_idle = self.watch.get(**id).is_some_and(|subject| subject.attempt.is_none());
            let member = self.members.get(**id).filter(|member| member.standing == Standing::Suspect);
            is_idle && member.is_some_and(|member| case.of(member.life()).all(|one| one.speaker != self.me))
        };
        let unclear: Vec<ShortId> = self.cases.iter().filter(is_unclear).map(|(id, _)| *id).collect();
        let chosen = self.rng.below(unclear.len() as u64) as usize;
        unclear.get(chosen).copied()
    }

    fn begin(&mut self, now: Now, id: ShortId, out: &mut Vec<Effect>) {
        let number = self.number;
        if self.members.standing(id) == Some(Standing::Left) {
            return;
        }
        let Some(subject) = self.watch.get_mut(id).filter(|subject| subject.attempt.is_none()) else {
            return;
        };
        let timeout = self.health.scale(self.rules.timeout(subject.rtt, self.late));
        subject.attempt = Some(Attempt {
            number,
            stage: Stage::Direct,
            began: now.mono,
            helpers: Default::default(),
            asked: 0,
            nacks: 0,
            is_graced: false,
        });
        self.number = self.number.wrapping_add(1);
        self.timers.arm(Key::Attempt(id), now.mono + timeout);
        self.counters.probes += 1;
        let probe = Probe::Ping { number, is_again: false };
        out.push(Effect::Probe { to: id, probe, is_reliable: false });
        if self.rules.is_lifeguard && self.cases.contains_key(&id) {
            self.doubt(now.mono, id, out);
        }
    }

    /// Looks for a subject by all means: a datagram if none is under way, helpers, and the stream.
    pub(super) fn press(&mut self, now: Now, id: ShortId, out: &mut Vec<Effect>) {
        self.begin(now, id, out);
        let Some(subject) = self.watch.get(id) else { return };
        let Some(mut attempt) = subject.attempt.filter(|attempt| attempt.stage == Stage::Direct) else {
            return;
        };
        let timeout = self.health.scale(self.rules.timeout(subject.rtt, self.late));
        let count = self.rules.helpers as usize;
        let drawn = self.rng.choose_multiple(subject.co_observers.len(), count * 2);
        let drawn = drawn.into_iter().map(|at| subject.co_observers[at]);
        for helper in drawn.filter(|id| self.members.is_alive(*id)).take(count) {
            attempt.helpers[attempt.asked] = helper;
            attempt.asked += 1;
            let probe = Probe::PingFor { number: attempt.number, subject: id };
            out.push(Effect::Probe { to: helper, probe, is_reliable: false });
        }
        let probe = Probe::Ping { number: attempt.number, is_again: true };
        out.push(Effect::Probe { to: id, probe, is_reliable: true });
        attempt.stage = Stage::Indirect;
        // Twice: the way over the helper, and his patience.
        self.timers.arm(Key::Attempt(id), now.mono + timeout * 2);
        if let Some(subject) = self.watch.get_mut(id) {
            subject.attempt = Some(attempt);
        }
    }

    pub(super) fn attempt_due(&mut self, now: Now, id: ShortId, out: &mut Vec<Effect>) {
        let grace_until = self.health.grace_until;
        let Some(subject) = self.watch.get_mut(id) else { return };
        let Some(attempt) = subject.attempt.as_mut() else { return };
        if now.mono < grace_until && !attempt.is_graced {
            attempt.is_graced = true;
            self.timers.arm(Key::Attempt(id), grace_until);
            return;
        }
        let attempt = *attempt;
        if self.rules.is_lifeguard && subject.heard > attempt.began {
            // No answer, but other words: it lives.
            subject.attempt = None;
            return;
        }
        match attempt.stage {
            Stage::Direct => self.press(now, id, out),
            Stage::Indirect => {
                subject.attempt = None;
                self.missed(now, id, attempt.nacks != 0, out);
            }
        }
    }

    /// A probe ended without answer. That no helper said a word either speaks against this node.
    ///
    /// Lifeguard charges every missing nack; where many die at once, helpers among them, that made
    /// the survivors hold themselves for sick.
    fn missed(&mut self, now: Now, id: ShortId, is_helped: bool, out: &mut Vec<Effect>) {
        self.counters.timeouts += 1;
        self.watch.missed(id);
        // Who is dead already gives no answer to a node that is well.
        if self.members.standing(id).is_some_and(|standing| standing < Standing::Dead) {
            self.health.worsen(u32::from(!is_helped));
            self.accuse(now, id, out);
        }
    }

    fn hear_ack(&mut self, now: Now, from: ShortId, number: u32, out: &mut Vec<Effect>) {
        if let Some(relay) = self.relays.get(&number).copied().filter(|relay| relay.subject == from) {
            self.relays.remove(&number);
            self.timers.cancel(Key::Relay(number));
            let probe = Probe::Ack { number: relay.number };
            out.push(Effect::Probe { to: relay.asker, probe, is_reliable: false });
            return;
        }
        let Some(id) = self.probed(from, number) else { return };
        if let Some(subject) = self.watch.get_mut(id)
            && let Some(attempt) = subject.attempt.take()
        {
            let late = now.mono.since(attempt.began).saturating_sub(self.rules.way(subject.rtt));
            // As in TCP, but quicker: machines that share processors slow down together.
            self.late = (self.late * 3 + late) / 4;
        }
        self.timers.cancel(Key::Attempt(id));
        self.counters.acks += 1;
        self.health.improve();
    }

    fn hear_nack(&mut self, from: ShortId, number: u32) {
        let Some(id) = self.probed(from, number) else { return };
        let Some(attempt) = self.watch.get_mut(id).and_then(|subject| subject.attempt.as_mut()) else {
            return;
        };
        if let Some(place) = attempt.helper(from) {
            attempt.nacks |= 1 << place;
            self.counters.nacks += 1;
        }
    }

    /// Whose probe it is that `from`, the subject or a helper, answers with `number`.
    fn probed(&self, from: ShortId, number: u32) -> Option<ShortId> {
        let is_meant = |attempt: &Option<Attempt>| attempt.is_some_and(|attempt| attempt.number == number);
        if self.watch.get(from).is_some_and(|subject| is_meant(&subject.attempt)) {
            return Some(from);
        }
        let subject = self.watch.iter().find(|subject| is_meant(&subject.attempt))?;
        subject.attempt?.helper(from).map(|_| subject.id)
    }

    /// Pings a subject of ours for a member that observes it too; none but subjects, as it would
    /// otherwise be a way to have others flooded.
    fn hear_ping_for(&mut self, now: Now, from: ShortId, wanted: (u32, ShortId), out: &mut Vec<Effect>) {
        let (number, id) = wanted;
        let is_member = self.members.get(from).is_some();
        let of_asker = self.relays.values().filter(|relay| relay.asker == from).count();
        if !is_member || self.relays.len() >= RELAYS_MAX || of_asker >= RELAYS_PER_PEER_MAX {
            return;
        }
        let Some(subject) = self.watch.get(id).filter(|subject| subject.id != from) else { return };
        // Three quarters, so that the word that there was no answer is there in time.
        let timeout = self.rules.timeout(subject.rtt, self.late) * 3 / 4;
        let own = self.number;
        self.number = self.number.wrapping_add(1);
        self.relays.insert(own, Relay { asker: from, number, subject: id });
        self.timers.arm(Key::Relay(own), now.mono + timeout);
        let probe = Probe::Ping { number: own, is_again: false };
        out.push(Effect::Probe { to: id, probe, is_reliable: false });
    }

    pub(super) fn relay_due(&mut self, number: u32, out: &mut Vec<Effect>) {
        let Some(relay) = self.relays.remove(&number).filter(|_| self.rules.is_lifeguard) else { return };
        let probe = Probe::Nack { number: relay.number };
        out.push(Effect::Probe { to: relay.asker, probe, is_reliable: false });
    }

    /// Somebody holds this node for suspect or dead. To believe it costs a refutation at most.
    fn hear_doubt(&mut self, now: Now, life: Life, out: &mut Vec<Effect>) {
        if life == self.life {
            self.refute(now, out);
        } else if life < self.life && !self.has_left && now.mono >= self.refute_after {
            // Who doubts an earlier life has missed what was said since.
            self.refute_after = now.mono + super::accusing::REFUTE_INTERVAL;
            out.push(Effect::Say(self.of_myself(Kind::Alive)));
        }
    }

    /// Tells an accused that it is one.
    fn doubt(&mut self, now: Time, id: ShortId, out: &mut Vec<Effect>) {
        let Some(member) = self.members.get(id) else { return };
        let is_doubted = matches!(member.standing, Standing::Suspect | Standing::Dead);
        let Some(case) = self.cases.get_mut(&id).filter(|_| is_doubted) else { return };
        if case.doubted.is_none_or(|last| now >= last + DOUBT_INTERVAL) {
            case.doubted = Some(now);
            let probe = Probe::Doubt { life: member.life() };
            out.push(Effect::Probe { to: id, probe, is_reliable: true });
        }
    }
}
