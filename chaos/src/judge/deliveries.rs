//! What was published, and what came of it at every subscription.

use std::collections::BTreeMap;

use crate::history::{Record, What};
use crate::report::Invariant;

/// A gap is told at the latest this long after an entry that shows it.
const GAP_WITHIN_US: u64 = 5_000_000;

struct Entry {
    line: usize,
    at_us: u64,
    subject: String,
    is_acknowledged: bool,
    is_failed: bool,
}

#[derive(Default)]
struct Subscription {
    subject: String,
    /// The line on which it was confirmed first.
    confirmed: Option<usize>,
    /// Lines and times of the gaps that were told.
    gaps: Vec<(usize, u64)>,
    /// When each entry came first, by publisher, subject and number.
    came: BTreeMap<(u32, u64), u64>,
    /// The latest that came of each publisher.
    last: BTreeMap<u32, u64>,
}

/// Promises of entries.
pub(super) struct Deliveries {
    /// `delivered`, `complete`, `once`, `ordered`, `unchanged`, `answered`.
    pub invariants: [Invariant; 6],
    pub published: u64,
    pub failed: u64,
    pub lost: u64,
    pub missing_in_gaps: u64,
    pub gaps: u64,
    pub acknowledged_us: Vec<u64>,
    pub delivered_us: Vec<u64>,
    entries: BTreeMap<(u32, u64), Entry>,
    subscriptions: BTreeMap<u32, Subscription>,
}

impl Deliveries {
    /// Judges all entries; `is_complete` forbids that one is missing with a gap, too.
    pub fn of(records: &[Record], is_complete: bool) -> Deliveries {
        let names = ["delivered", "complete", "once", "ordered", "unchanged", "answered"];
        let mut judged = Deliveries {
            invariants: names.map(Invariant::new),
            published: 0,
            failed: 0,
            lost: 0,
            missing_in_gaps: 0,
            gaps: 0,
            acknowledged_us: Vec::new(),
            delivered_us: Vec::new(),
            entries: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
        };
        for (line, record) in records.iter().enumerate() {
            judged.take(line, record);
        }
        judged.find_missing(is_complete);
        judged.find_unanswered();
        judged
    }

    fn take(&mut self, line: usize, record: &Record) {
        let at_us = record.at_us;
        match &record.what {
            What::Published { agent, subject, number } => {
                self.published += 1;
                let entry =
                    Entry { line, at_us, subject: subject.clone(), is_acknowledged: false, is_failed: false };
                let before = self.entries.insert((*agent, *number), entry);
                let wrong = before.map(|_| format!("agent {agent} published {number} twice"));
                self.check("answered", wrong);
            }
            What::Acknowledged { agent, number } => self.answer(at_us, (*agent, *number), true),
            What::Failed { agent, number, .. } => self.answer(at_us, (*agent, *number), false),
            What::Confirmed { agent, subject } => {
                let subscription = self.subscriptions.entry(*agent).or_default();
                subscription.confirmed.get_or_insert(line);
                subscription.subject.clone_from(subject);
            }
            What::Gap { agent, .. } => {
                self.gaps += 1;
                self.subscriptions.entry(*agent).or_default().gaps.push((line, at_us));
            }
            What::Strange { agent, why } => self.check("unchanged", Some(format!("agent {agent}: {why}"))),
            What::Delivered { agent, publisher, number, subject } => {
                self.deliver(at_us, *agent, (*publisher, *number), subject);
            }
            _ => {}
        }
    }

    fn check(&mut self, name: &str, wrong: Option<String>) {
        let invariant = self.invariants.iter_mut().find(|invariant| invariant.name == name);
        invariant.expect("only names of this file are given").check(wrong);
    }

    fn answer(&mut self, at_us: u64, id: (u32, u64), is_acknowledged: bool) {
        let word = if is_acknowledged { "acknowledged" } else { "failed" };
        let wrong = match self.entries.get_mut(&id) {
            None => Some(format!("{} of agent {} is {word} and was not published", id.1, id.0)),
            Some(entry) if entry.is_acknowledged || entry.is_failed => {
                Some(format!("{} of agent {} has a second outcome: {word}", id.1, id.0))
            }
            Some(entry) => {
                if is_acknowledged {
                    self.acknowledged_us.push(at_us - entry.at_us);
                } else {
                    self.failed += 1;
                }
                (entry.is_acknowledged, entry.is_failed) = (is_acknowledged, !is_acknowledged);
                None
            }
        };
        self.check("answered", wrong);
    }

    fn deliver(&mut self, at_us: u64, agent: u32, id: (u32, u64), subject: &str) {
        let subscription = self.subscriptions.entry(agent).or_default();
        let what = format!("agent {agent}: {} of agent {} on {subject}", id.1, id.0);
        let entry = self.entries.get(&id).filter(|entry| entry.subject == subject);
        let Some(entry) =
            entry.filter(|_| subscription.confirmed.is_none() || subscription.subject == subject)
        else {
            return self.check("unchanged", Some(format!("{what} was not published, or not for it")));
        };
        self.delivered_us.push(at_us - entry.at_us);
        let is_again = subscription.came.contains_key(&id);
        let last = subscription.last.entry(id.0).or_default();
        let is_late = !is_again && id.1 < *last;
        let overtaken = format!("{what} came after {last}");
        *last = (*last).max(id.1);
        subscription.came.entry(id).or_insert(at_us);
        self.check("unchanged", None);
        self.check("once", is_again.then(|| format!("{what} came again at {:.3} s", at_us as f64 / 1e6)));
        self.check("ordered", is_late.then_some(overtaken));
    }

    fn find_missing(&mut self, is_complete: bool) {
        let mut found = Vec::new();
        for (agent, subscription) in &self.subscriptions {
            let Some(confirmed) = subscription.confirmed else { continue };
            for (id, entry) in &self.entries {
                let is_owed =
                    entry.line > confirmed && entry.is_acknowledged && entry.subject == subscription.subject;
                if is_owed {
                    let is_here = subscription.came.contains_key(id);
                    let has_gap = !is_here && subscription.has_gap_for(*id, entry);
                    found.push((*agent, *id, entry.at_us, is_here, has_gap));
                }
            }
        }
        for (agent, id, at_us, is_here, has_gap) in found {
            let at = at_us as f64 / 1e6;
            let what = || format!("agent {agent} lacks {} of agent {}, published at {at:.3} s", id.1, id.0);
            self.lost += u64::from(!is_here && !has_gap);
            self.missing_in_gaps += u64::from(!is_here && has_gap);
            self.check("delivered", (!is_here && !has_gap).then(|| what() + ", and knows of no gap"));
            if is_complete {
                self.check("complete", (!is_here && has_gap).then(|| what() + ", in a gap"));
            }
        }
    }

    fn find_unanswered(&mut self) {
        let open: Vec<(u32, u64)> = self
            .entries
            .iter()
            .filter(|(_, entry)| !entry.is_acknowledged && !entry.is_failed)
            .map(|(id, _)| *id)
            .collect();
        for (agent, number) in open {
            self.check("answered", Some(format!("{number} of agent {agent} has no outcome in the end")));
        }
    }
}

impl Subscription {
    /// Whether it was told that an entry which did not come may be missing: after it was published and,
    /// should a later one have come, not long after that.
    fn has_gap_for(&self, (publisher, number): (u32, u64), entry: &Entry) -> bool {
        let later = self.came.range((publisher, number + 1)..=(publisher, u64::MAX));
        let shown = later.map(|(_, at_us)| *at_us).min();
        let told = self.gaps.iter().find(|(line, _)| *line > entry.line);
        told.is_some_and(|(_, told)| shown.is_none_or(|shown| *told <= shown + GAP_WITHIN_US))
    }
}
