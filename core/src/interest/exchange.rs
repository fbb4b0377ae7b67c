//! How nodes tell one another what they want, and know when it is in force.
//!
//! An [`Offer`] is one set of patterns declared to a set of peers, in numbered versions. A peer
//! confirms a version when it routes by it, and everyone behind it does; so a confirmation that
//! comes back to the edge of a subscriber means: from now on every publisher's edge knows.
//! [`Wishes`] is the other side: what one peer declared.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Declared, Pattern};
use crate::id::RegionId;
use crate::limits;
use crate::machine::{LinkSlot, Outbox};
use crate::time::Time;
use crate::wire::message::{ControlBody, Interest};

/// Bytes of patterns in one message.
const MESSAGE_BYTES_MAX: usize = 32 * 1024;
/// How often it is looked for peers that owe a confirmation.
const LOOK_REST: Duration = Duration::from_secs(1);

/// A set of patterns declared to peers.
#[derive(Debug)]
pub struct Offer {
    region: RegionId,
    declared: Declared,
    version: u64,
    confirmed: BTreeMap<LinkSlot, u64>,
    /// How many peers confirmed which version.
    peers_at: BTreeMap<u64, usize>,
    /// Peers that owed a confirmation when it was last looked: what they had confirmed, and since when.
    owing: BTreeMap<LinkSlot, (u64, Time)>,
    look_at: Time,
}

impl Offer {
    /// Nothing declared; `region` is what the messages say (0: the sender itself), and `seed` keys the
    /// tables of what is declared.
    pub fn new(region: RegionId, seed: u64) -> Offer {
        let declared = Declared::new(limits::DECLARED_PATTERNS_MAX, seed);
        Offer {
            region,
            declared,
            version: 0,
            confirmed: BTreeMap::new(),
            peers_at: BTreeMap::new(),
            owing: BTreeMap::new(),
            look_at: Time::ZERO,
        }
    }

    /// Wants one more. Refused when system patterns, which are never widened, are too many.
    pub fn add(&mut self, pattern: &Pattern) -> bool {
        self.declared.add(pattern).is_ok()
    }

    /// Wants one less.
    pub fn remove(&mut self, pattern: &Pattern) {
        self.declared.remove(pattern);
    }

    /// Many are wanted at once: see [`Declared::hold`].
    pub fn hold(&mut self) {
        self.declared.hold();
    }

    /// The many have come: see [`Declared::release`].
    pub fn release(&mut self) {
        self.declared.release();
    }

    /// Whether wider patterns are declared than wanted.
    pub fn is_widened(&self) -> bool {
        self.declared.is_widened()
    }

    /// Declares to one more peer, everything.
    /// A peer that is there already starts anew.
    pub fn add_peer(&mut self, link: LinkSlot, out: &mut Outbox) {
        // The others first hear what changed, or a change that is taken back before the next flush
        // would be one for this peer alone, and never be told.
        self.flush(out);
        self.set_confirmed(link, Some(0));
        let all: Vec<String> = self.declared.declared().map(|pattern| pattern.as_str().to_string()).collect();
        self.send(&[link], true, split(all, Vec::new()), out);
    }

    /// Declares to one peer no more.
    pub fn remove_peer(&mut self, link: LinkSlot) {
        self.set_confirmed(link, None);
    }

    fn set_confirmed(&mut self, link: LinkSlot, version: Option<u64>) {
        let before = match version {
            Some(version) => self.confirmed.insert(link, version),
            None => self.confirmed.remove(&link),
        };
        if let Entry::Occupied(mut peers) = self.peers_at.entry(before.unwrap_or(u64::MAX)) {
            *peers.get_mut() -= 1;
            if *peers.get() == 0 {
                peers.remove();
            }
        }
        if let Some(version) = version {
            *self.peers_at.entry(version).or_default() += 1;
        }
    }

    /// Sends what changed to every peer; returns the version to wait for.
    pub fn flush(&mut self, out: &mut Outbox) -> u64 {
        let changes = self.declared.take_changes();
        if changes.is_empty() {
            return self.version;
        }
        let text = |patterns: Vec<Pattern>| patterns.iter().map(|p| p.as_str().to_string()).collect();
        self.version += 1;
        let links: Vec<LinkSlot> = self.confirmed.keys().copied().collect();
        self.send(&links, false, split(text(changes.added), text(changes.removed)), out);
        self.version
    }

    fn send(&self, links: &[LinkSlot], whole: bool, parts: Vec<Part>, out: &mut Outbox) {
        let last = parts.len() - 1;
        for (at, (added, removed)) in parts.into_iter().enumerate() {
            let interest = Interest {
                region: self.region.0,
                version: self.version,
                whole: whole && at == 0,
                added,
                removed,
                more: at != last,
                gone: false,
            };
            out.send_to_all(links, ControlBody::Interest(interest));
        }
    }

    /// A peer confirmed.
    pub fn confirm(&mut self, link: LinkSlot, version: u64) {
        let newest = self.version;
        if let Some(confirmed) = self.confirmed.get(&link).copied() {
            self.set_confirmed(link, Some(confirmed.max(version.min(newest))));
        }
    }

    /// The newest version that every peer confirmed.
    pub fn in_force(&self) -> u64 {
        self.peers_at.first_key_value().map_or(self.version, |(version, _)| *version)
    }

    /// Peers that owe a confirmation and have confirmed nothing for as long as they may take. Each keeps
    /// all subscriptions waiting, so whoever is named here should be parted with. They are looked for
    /// once a second.
    pub fn overdue(&mut self, now: Time, within: impl Fn(LinkSlot) -> Duration) -> Vec<LinkSlot> {
        if self.in_force() == self.version {
            self.owing.clear();
            return Vec::new();
        }
        if now < self.look_at {
            return Vec::new();
        }
        self.look_at = now + LOOK_REST;
        let before = std::mem::take(&mut self.owing);
        for (link, confirmed) in self.confirmed.iter().filter(|(_, confirmed)| **confirmed < self.version) {
            let since = before.get(link).filter(|(then, _)| then == confirmed).map_or(now, |(_, at)| *at);
            self.owing.insert(*link, (*confirmed, since));
        }
        let is_late = |(link, (_, since)): &(&LinkSlot, &(u64, Time))| now.since(*since) >= within(**link);
        self.owing.iter().filter(is_late).map(|(link, _)| *link).collect()
    }

    /// When it is to be looked for them next; nothing while nobody owes anything.
    pub fn deadline(&self) -> Option<Time> {
        (self.in_force() < self.version).then_some(self.look_at)
    }

    /// The version of everything declared so far.
    pub fn version(&self) -> u64 {
        self.version
    }
}

/// Patterns added and removed by one message.
type Part = (Vec<String>, Vec<String>);

/// Cuts into messages; at least one.
fn split(added: Vec<String>, removed: Vec<String>) -> Vec<Part> {
    let mut parts = vec![Part::default()];
    let mut bytes = 0;
    let mut put = |pattern: String, is_added: bool| {
        bytes += pattern.len() + 4;
        if bytes > MESSAGE_BYTES_MAX {
            bytes = pattern.len() + 4;
            parts.push(Part::default());
        }
        let last = parts.last_mut().expect("starts with one part and only grows");
        if is_added { last.0.push(pattern) } else { last.1.push(pattern) }
    };
    added.into_iter().for_each(|pattern| put(pattern, true));
    removed.into_iter().for_each(|pattern| put(pattern, false));
    parts
}

/// What one peer declared.
#[derive(Debug, Default)]
pub struct Wishes {
    patterns: BTreeSet<Pattern>,
    /// What a declaration anew in several messages has named so far. What it does not name goes
    /// with its last message: until then nothing that is still wanted may be missing.
    anew: Option<BTreeSet<Pattern>>,
    version: u64,
}

/// What a message changed.
#[derive(Debug, Default)]
pub struct Change {
    /// Patterns that are new.
    pub added: Vec<Pattern>,
    /// Patterns that are gone.
    pub removed: Vec<Pattern>,
}

impl Wishes {
    /// Takes a message in. Malformed patterns are ignored; a peer's set is bounded at twice what an
    /// honest peer declares, and what is above is ignored too: the peer harms itself alone.
    pub fn apply(&mut self, interest: &Interest) -> Change {
        let mut change = Change::default();
        self.version = interest.version;
        let parse = |text: &String| Pattern::parse(text).ok();
        let max = limits::DECLARED_PATTERNS_MAX * 2;
        if interest.whole {
            self.anew = Some(BTreeSet::new());
        }
        if let Some(anew) = &mut self.anew {
            let room = max.saturating_sub(anew.len());
            anew.extend(interest.added.iter().filter_map(parse).take(room));
        }
        if interest.more {
            change.removed = interest.removed.iter().filter_map(parse).collect();
        } else if let Some(anew) = self.anew.take() {
            change.removed = self.patterns.difference(&anew).cloned().collect();
        } else {
            change.removed = interest.removed.iter().filter_map(parse).collect();
        }
        change.removed.retain(|pattern| self.patterns.remove(pattern));
        for pattern in interest.added.iter().filter_map(parse) {
            if self.patterns.len() < max && self.patterns.insert(pattern.clone()) {
                change.added.push(pattern);
            }
        }
        change
    }

    /// The version reached.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Whether `pattern` itself is declared.
    pub fn has(&self, pattern: &Pattern) -> bool {
        self.patterns.contains(pattern)
    }

    /// Everything declared.
    pub fn patterns(&self) -> impl Iterator<Item = &Pattern> {
        self.patterns.iter()
    }
}

#[cfg(test)]
mod tests;
