//! How a detector judges statements, accuses, refutes, and concludes deaths.

use std::time::Duration;

use super::case::Case;
use super::statement::{Kind, Life, Standing, Statement};
use super::{Detector, Effect, Key, Verdict};
use crate::id::ShortId;
use crate::time::{Now, Time};

/// How often this node refutes at the most: a quarter of the shortest suspicion by default.
pub(super) const REFUTE_INTERVAL: Duration = Duration::from_millis(250);
/// Whom this node heard itself so lately it does not hold for dead, whoever says so.
const FRESH: Duration = Duration::from_secs(1);
/// How often a node that takes longer than others because it is late looks whether it still is.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// How far an accuser's wall clock may be ahead.
const AHEAD_MAX: Duration = Duration::from_secs(30);
/// Speakers' buckets at which full ones are dropped.
const SPEAKERS_TO_PRUNE: usize = 64;

impl Detector {
    /// A statement came, its signature verified, from the neighbour `from`.
    pub fn hear(&mut self, now: Now, from: ShortId, said: &Statement, out: &mut Vec<Effect>) -> Verdict {
        self.heard(now, from, out);
        let verdict = if !said.is_proper() {
            Verdict::Refused
        } else if said.speaker == self.me {
            Verdict::Known
        } else if said.kind.is_accusation() {
            self.hear_accusation(now, said, out)
        } else {
            self.hear_of_itself(now, said, out)
        };
        self.counters.refused += u64::from(verdict == Verdict::Refused);
        verdict
    }

    /// What a member says of itself.
    fn hear_of_itself(&mut self, now: Now, said: &Statement, out: &mut Vec<Effect>) -> Verdict {
        let Some(member) = self.members.get(said.subject).copied() else { return Verdict::Refused };
        let is_leave = said.kind == Kind::Leave;
        let is_later = said.life > member.life();
        let is_end = is_leave && said.life == member.life() && member.standing != Standing::Left;
        if !is_later && !is_end {
            return Verdict::Known;
        }
        if is_later {
            self.adopt(now, said.subject, said.life, out);
        }
        if is_leave {
            self.end(now, said.subject, Standing::Left, out);
        }
        Verdict::New
    }

    fn hear_accusation(&mut self, now: Now, said: &Statement, out: &mut Vec<Effect>) -> Verdict {
        let is_member = |id| self.members.standing(id).is_some_and(|standing| standing < Standing::Dead);
        if !is_member(said.speaker) || !self.is_timely(now, said.said) {
            return Verdict::Refused;
        }
        if said.subject == self.me {
            return self.hear_accused(now, said, out);
        }
        let Some(member) = self.members.get(said.subject).copied() else { return Verdict::Refused };
        let is_over =
            said.life < member.life() || (said.life == member.life() && member.standing >= Standing::Dead);
        if is_over || self.cases.get(&said.subject).is_some_and(|case| case.has(said)) {
            return Verdict::Known;
        }
        if !self.is_observer(said.speaker, said.subject) || !self.take_word(now.mono, said.speaker) {
            return Verdict::Refused;
        }
        if !self.record(now, said, member.life()) {
            return Verdict::Refused;
        }
        self.counters.accusations_heard += 1;
        self.decide(now, said.subject, out);
        let is_mine = |case: &Case| case.of(said.life).any(|one| one.speaker == self.me);
        let is_open = said.life == member.life() && !self.cases.get(&said.subject).is_some_and(is_mine);
        if self.rules.is_lifeguard && is_open && !self.has_left {
            self.press(now, said.subject, out);
        }
        Verdict::New
    }

    fn hear_accused(&mut self, now: Now, said: &Statement, out: &mut Vec<Effect>) -> Verdict {
        if said.life < self.life {
            return Verdict::Known;
        }
        // Nobody can know of a life that this node has not begun.
        if said.life > self.life || !self.take_word(now.mono, said.speaker) {
            return Verdict::Refused;
        }
        self.counters.accusations_heard += 1;
        self.refute(now, out);
        Verdict::New
    }

    /// Begins the next life, now or when the last refutation is long enough ago.
    pub(super) fn refute(&mut self, now: Now, out: &mut Vec<Effect>) {
        if self.has_left {
            return;
        }
        if now.mono < self.refute_after {
            self.timers.arm(Key::Refute, self.refute_after);
            return;
        }
        self.timers.cancel(Key::Refute);
        self.refute_after = now.mono + REFUTE_INTERVAL;
        self.life.refutation = self.life.refutation.saturating_add(1);
        self.counters.refutations += 1;
        self.health.worsen(1);
        out.push(Effect::Say(self.of_myself(Kind::Alive)));
    }

    /// This node has no answer from a subject: says so, if it may and it matters.
    pub(super) fn accuse(&mut self, now: Now, subject: ShortId, out: &mut Vec<Effect>) {
        let Some(life) = self.members.get(subject).map(|member| member.life()) else { return };
        let (_, enough) = self.needed(subject);
        let is_settled = self.cases.get(&subject).is_some_and(|case| {
            case.of(life).any(|one| one.speaker == self.me) || case.of(life).count() >= enough
        });
        if is_settled || self.has_left || !self.may_accuse(now.mono) {
            return;
        }
        if !self.own_pace.take(now.mono, &mut self.own_bucket) {
            return;
        }
        let said = now.wall.as_millis();
        let statement = Statement { speaker: self.me, kind: Kind::Suspect, subject, life, said };
        if self.record(now, &statement, life) {
            self.counters.accusations_made += 1;
            out.push(Effect::Say(statement));
            self.decide(now, subject, out);
        }
    }

    /// Ends or keeps up a suspicion by what counts now.
    pub(super) fn decide(&mut self, now: Now, id: ShortId, out: &mut Vec<Effect>) {
        let Some(member) = self.members.get(id).copied().filter(|one| one.standing < Standing::Dead) else {
            return;
        };
        let (needed, enough) = self.needed(id);
        let heard = self.watch.get(id).filter(|_| self.rules.is_lifeguard).map(|subject| subject.heard);
        let Some(case) = self.cases.get_mut(&id) else { return };
        case.prune(now.mono, member.life());
        let count = case.of(member.life()).count();
        let Some(lapses) = case.lapses() else {
            self.cases.remove(&id);
            self.timers.cancel(Key::Case(id));
            return self.stand(id, member.life(), Standing::Alive, out);
        };
        let mut due = lapses;
        let mut standing = Standing::Alive;
        if count == 0 {
            case.opened = None;
        } else {
            standing = Standing::Suspect;
            let opened = *case.opened.get_or_insert(now.mono);
            if count >= needed {
                // Whoever is late itself hears refutations late.
                let suspicion = self.rules.suspicion(count, enough);
                let mut end = opened + self.health.scale(suspicion.max(self.late * 8));
                let is_stretched = end > opened + suspicion;
                end = end.max(heard.map_or(Time::ZERO, |heard| heard + FRESH));
                if end <= now.mono && now.mono < self.health.grace_until && !case.is_graced {
                    case.is_graced = true;
                    end = self.health.grace_until;
                }
                if end <= now.mono {
                    return self.conclude(now, id, out);
                }
                due = due.min(end);
                if is_stretched {
                    // It may be well again before.
                    due = due.min(now.mono + LOOK_AGAIN);
                }
            }
        }
        self.timers.arm(Key::Case(id), due.max(Time(now.mono.0.saturating_add(1))));
        self.stand(id, member.life(), standing, out);
    }

    /// How many must accuse a member for a death, and how many end the suspicion soonest.
    ///
    /// Of a subject its observers are known; of others there may be as many as there are members.
    fn needed(&self, id: ShortId) -> (usize, usize) {
        let accusers = self.rules.accusers as usize;
        if !self.rules.is_lifeguard {
            return (1, 1);
        }
        let observers = match self.watch.get(id).filter(|subject| !subject.co_observers.is_empty()) {
            Some(subject) => {
                let living = subject.co_observers.iter().filter(|one| self.members.is_alive(**one));
                1 + living.take(accusers * 2).count()
            }
            None => 1 + self.members.counts().alive - usize::from(self.members.is_alive(id)),
        };
        (accusers.min(observers), (accusers * 2).min(observers))
    }

    fn conclude(&mut self, now: Now, id: ShortId, out: &mut Vec<Effect>) {
        self.counters.deaths += 1;
        self.end(now, id, Standing::Dead, out);
        let Some(life) = self.members.get(id).map(|member| member.life()) else { return };
        let Some(case) = self.cases.get(&id) else { return };
        // One confirmation is enough to tell those who missed the others.
        if case.of(life).map(|one| one.speaker).min() == Some(self.me) && !self.has_left {
            let said = now.wall.as_millis();
            let confirm = Statement { speaker: self.me, kind: Kind::Confirm, subject: id, life, said };
            if self.record(now, &confirm, life) {
                out.push(Effect::Say(confirm));
            }
        }
    }

    fn end(&mut self, now: Now, id: ShortId, standing: Standing, out: &mut Vec<Effect>) {
        let Some(life) = self.members.get(id).map(|member| member.life()) else { return };
        self.timers.cancel(Key::Case(id));
        if standing == Standing::Left {
            self.cases.remove(&id);
        }
        self.timers.arm(Key::Forget(id), now.mono + self.rules.forget_dead_after);
        self.stand(id, life, standing, out);
    }

    fn stand(&mut self, node: ShortId, life: Life, standing: Standing, out: &mut Vec<Effect>) {
        if self.members.standing(node) != Some(standing) {
            self.members.put(node, life, standing);
            out.push(Effect::Standing { node, standing, life });
        }
    }

    /// A member begins a later life than was known: what was said of earlier ones is over.
    pub(super) fn adopt(&mut self, now: Now, node: ShortId, life: Life, out: &mut Vec<Effect>) {
        let before = self.members.standing(node);
        if let Some(case) = self.cases.get(&node) {
            let companions = (case.refuted_by(life).count() as u32).saturating_sub(1);
            for accusation in case.refuted_by(life) {
                self.counters.false_accusations += 1;
                out.push(Effect::FalseAccusation { speaker: accusation.speaker, subject: node, companions });
            }
        }
        self.timers.cancel(Key::Forget(node));
        self.members.put(node, life, Standing::Alive);
        if let Some(case) = self.cases.get_mut(&node) {
            case.prune(now.mono, life);
            if case.is_empty() {
                self.cases.remove(&node);
                self.timers.cancel(Key::Case(node));
            } else {
                case.opened = None;
                (case.doubted, case.is_graced) = (None, false);
                // Some heard of this life before we did.
                self.decide(now, node, out);
            }
        }
        let is_alive = self.members.is_alive(node);
        if is_alive && before != Some(Standing::Alive) {
            out.push(Effect::Standing { node, standing: Standing::Alive, life });
        }
    }

    fn record(&mut self, now: Now, said: &Statement, known: Life) -> bool {
        let until = now.mono + self.rules.accusation_lifetime;
        let case = self.cases.entry(said.subject).or_default();
        case.add(said, until, known)
    }

    fn is_observer(&self, speaker: ShortId, id: ShortId) -> bool {
        let subject = self.watch.get(id).filter(|one| !one.co_observers.is_empty());
        !self.rules.is_lifeguard
            || subject.is_none_or(|subject| subject.co_observers.binary_search(&speaker).is_ok())
    }

    /// Whether an accusation is no older than what is remembered.
    fn is_timely(&self, now: Now, said: u64) -> bool {
        let said = Time::from_millis(said);
        now.wall.since(said) <= self.rules.forget_dead_after && said.since(now.wall) <= AHEAD_MAX
    }

    /// Whether a speaker may be heard once more now.
    fn take_word(&mut self, now: Time, speaker: ShortId) -> bool {
        if self.speakers.len() >= SPEAKERS_TO_PRUNE && !self.speakers.contains_key(&speaker) {
            self.speakers.retain(|_, bucket| !bucket.is_full(now));
        }
        self.speakers_pace.take(now, self.speakers.entry(speaker).or_default())
    }
}
