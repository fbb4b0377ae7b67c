//! Whom a node dials and when, and which links it closes.

use std::time::Duration;

use super::Neighbours;
use super::known::{Dialling, Known};
use crate::machine::{Outbox, Output};
use crate::time::Now;

pub(super) const BACKOFF_FIRST: Duration = Duration::from_millis(100);
pub(super) const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// Suggested addresses that are kept besides the given ones; the oldest make room.
pub(super) const SUGGESTED_MAX: usize = 64;
/// Bytes of one suggested address: a host's name, its port, and the full name of a node.
const SUGGESTED_BYTES_MAX: usize = 256 + 8 + 65;

/// An address to dial while this node is alone.
#[derive(Debug)]
pub(super) struct Seed {
    pub address: String,
    /// Whether it was there from the beginning; others were suggested later and may make room.
    pub is_given: bool,
    pub dialling: Dialling,
}

impl Neighbours {
    /// An address could not be dialled.
    pub fn dial_failed(&mut self, now: Now, address: &str) {
        self.due = None;
        let rng = &mut self.rng;
        let mut back_off = |dialling: &mut Dialling| {
            dialling.attempts = (dialling.attempts + 1).min(16);
            let backoff = BACKOFF_FIRST.saturating_mul(1 << dialling.attempts.min(10)).min(BACKOFF_MAX);
            dialling.under_way = false;
            dialling.next = Some(now.mono + rng.jitter(backoff, 0.3));
        };
        for seed in self.seeds.iter_mut().filter(|seed| seed.address == address) {
            back_off(&mut seed.dialling);
            if !self.by_link.is_empty() {
                // Who is linked hears of the others; seeds are for those who are alone.
                seed.dialling.next = None;
            }
        }
        self.watching.watch_again(now.mono);
        let is_tried = |known: &Known| !known.has_own_link() && known.dialling.under_way;
        let mut unreached = Vec::new();
        for (id, known) in self.known.iter_mut().filter(|(_, known)| is_tried(known)) {
            if known.addresses.iter().any(|at| at == address) {
                back_off(&mut known.dialling);
                unreached.push(*id);
            }
        }
        unreached.into_iter().for_each(|id| self.seek_relay(now, id));
    }

    /// Somebody outside of the mesh says where its nodes may listen: they are dialled once, and again as
    /// long as this node is alone. Nothing but who answers there and proves it is believed.
    pub fn suggest(&mut self, now: Now, addresses: Vec<String>) {
        for address in addresses.into_iter().take(SUGGESTED_MAX) {
            let place = address.split_once('#').map_or(address.as_str(), |(place, _)| place);
            let is_known = |known: &Known| known.addresses.iter().any(|at| at == place);
            let is_new = !self.seeds.iter().any(|seed| seed.address == address);
            if !is_new
                || address.len() > SUGGESTED_BYTES_MAX
                || self.me.listens_at(&address)
                || !self.by_link.is_empty() && self.known.values().any(is_known)
            {
                continue;
            }
            if self.seeds.iter().filter(|seed| !seed.is_given).count() >= SUGGESTED_MAX {
                let oldest = self.seeds.iter().position(|seed| !seed.is_given);
                self.seeds.remove(oldest.expect("as many were counted"));
            }
            let dialling = Dialling { next: Some(now.mono), ..Dialling::default() };
            self.seeds.push(Seed { address, is_given: false, dialling });
            self.due = None;
        }
    }

    pub(super) fn dial_due(&mut self, now: Now, out: &mut Outbox) {
        let is_alone = self.by_link.is_empty();
        let mut dial = |dialling: &mut Dialling, address: &str| {
            dialling.under_way = true;
            // A dial that is never answered is tried again; the transport answers within 3 s.
            dialling.next = Some(now.mono + BACKOFF_MAX);
            out.push(Output::Dial { address: address.to_string() });
        };
        for seed in &mut self.seeds {
            if is_alone && seed.dialling.next.is_none() {
                seed.dialling.next = Some(now.mono);
            }
            if seed.dialling.next.is_some_and(|due| due <= now.mono) {
                dial(&mut seed.dialling, &seed.address);
            }
        }
        if self.place.more_until.is_some_and(|until| until > now.mono) {
            return;
        }
        let is_due = |known: &Known| known.dial_at().is_some_and(|due| due <= now.mono);
        for known in self.known.values_mut().filter(|known| is_due(known)) {
            // A peer may listen at several addresses of which only some can be reached from here.
            let turn = known.dialling.attempts as usize % known.addresses.len();
            dial(&mut known.dialling, &known.addresses[turn]);
        }
    }

    /// Closes links that led in and are not wanted, once there are others.
    pub(super) fn close_unwanted(&mut self, now: Now, out: &mut Outbox) {
        if !self.has_wanted_link() {
            return;
        }
        for known in self.known.values_mut().filter(|known| known.close_at.is_some_and(|at| at <= now.mono)) {
            known.close_at = None;
            if let Some(link) = known.link {
                out.push(Output::HangUp { link, reason: "this link led in and is not needed any more" });
            }
        }
    }

    pub(super) fn has_wanted_link(&self) -> bool {
        self.linked().any(|(_, _, known)| self.wants_link(&known.admission))
    }
}
