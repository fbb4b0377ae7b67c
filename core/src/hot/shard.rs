//! The way in: deduplicate, verify, then deliver here or pass on. One shard an origin.
//!
//! An edge delivers to its subscribers and acknowledges to the link that the bundle came from. An
//! aggregator passes what its own region sealed on to another region, keeping nothing; what comes
//! from another region it spreads to the edges that want it, keeps it until they all have it, and
//! then acknowledges for its region. What came from another region is never exported again.

use std::collections::BTreeMap;
use std::time::Duration;

use super::acknowledge::{Stream, add_missing};
use super::copies::Copies;
use super::counters::{Counters, Stage};
use super::deliver::{Delivery, Scratch, deliver_section};
use super::headers::Headers;
use super::own::Step;
use super::passing::Runs;
use super::plane::Held;
use super::spread::{find_owed, forward, spreading};
use super::stalls::Stalls;
use super::turn::Turn;
use super::unwanted;
use super::view::Origin;
use super::window::{Seen, Window};
use super::{Pressure, Report};
use crate::conduct::{Offence, Opening, Proof};
use crate::hash::HashMap;
use crate::id::ShortId;
use crate::limits;
use crate::machine::{ConnectionSlot, Destination, LinkSlot};
use crate::wire::bundle::{Bundle, Class, Passage, SIGNATURE_BYTES, SectionSet};

/// How far a valid bundle's clock may be ahead of ours.
const CLOCK_AHEAD_MAX: Duration = Duration::from_secs(30);

/// A bundle as it came.
#[derive(Debug)]
pub struct Came {
    /// Over this link.
    pub from: LinkSlot,
    /// Where it goes.
    pub passage: Passage,
    /// What it is.
    pub bundle: Box<Bundle>,
    /// Nanoseconds that decoding it took.
    pub decoding: u64,
}

/// Work for a shard's owner.
#[derive(Debug)]
pub enum Task {
    /// A bundle came.
    Bundle(Came),
    /// A node of this region has bundles that were passed on to it.
    Acknowledged {
        /// Who.
        by: ShortId,
        /// Their origin's incarnation.
        incarnation: u64,
        /// Their class.
        class: Class,
        /// Their sequences.
        sequences: Vec<u64>,
        /// Directed sections that found nobody.
        missing: Vec<(u64, u16)>,
    },
    /// The link to a node of this region is new.
    Resend(ShortId),
    /// A node of this region is gone.
    Forget(ShortId),
    /// Time passes: who does not acknowledge is told of.
    Look,
}

/// A bundle that others of this region do not have yet.
#[derive(Debug)]
struct Transit {
    from: LinkSlot,
    bundle: Box<Bundle>,
    owed: Vec<(ShortId, SectionSet)>,
    missing: Vec<u16>,
}

/// What is known of one origin.
#[derive(Debug, Default)]
pub struct State {
    incarnation: u64,
    windows: [Window; 4],
    /// Bundles that others of this region lack, by sequence.
    transit: [BTreeMap<u64, Transit>; 4],
    transit_bytes: usize,
    stalls: Stalls,
    /// What was answered about directed sections that found nobody, for copies that come while the
    /// origin may still wait for the answer.
    unfound: [BTreeMap<u64, Vec<u16>>; 4],
    /// The origin's runs to other regions that pass here.
    runs: Runs,
    /// The link over which a node of this region got the last bundle of this origin.
    reached: HashMap<(ShortId, Class), LinkSlot>,
    /// The header and signature found good last: copies of one bundle for several regions come one
    /// after the other, and their sections are checked each.
    good: Option<([u8; 32], [u8; SIGNATURE_BYTES])>,
    /// The last headers that were found good.
    headers: Headers,
    /// The link of a relay over which something came that the origin had not signed so: a bundle is missing
    /// there, and until a run begins anew, or over another link, nothing is to overtake it.
    spoiled: Option<LinkSlot>,
    /// Whether the machine knows that this origin contradicted itself.
    is_convicted: bool,
    scratch: Scratch,
}

/// One origin's state and the work before it. The state, a kilobyte, is there from the first bundle on:
/// in a large region most origins are known and silent.
#[derive(Debug)]
pub struct Shard(Turn<Task, Option<Box<State>>>);

impl Default for Shard {
    fn default() -> Shard {
        Shard(Turn::new(None))
    }
}

impl Shard {
    /// Does `task`, or leaves it to the shard's present owner.
    pub(super) fn submit(&self, task: Task, mut work: impl FnMut(&mut State, Task)) {
        self.0.submit(task, |state, task| work(state.get_or_insert_default(), task));
    }
}

impl State {
    /// Works off one task.
    pub(super) fn work(&mut self, step: &mut Step<'_>, origin: &Origin, task: Task) {
        match task {
            Task::Bundle(came) => self.receive(step, origin, came),
            Task::Acknowledged { by, incarnation, class, sequences, missing } => {
                if incarnation == self.incarnation {
                    self.acknowledged(step, by, class, &sequences, &missing);
                }
            }
            Task::Resend(node) => self.resend(step, node),
            Task::Forget(node) => self.forget(step, node),
            Task::Look => {
                let transit = self.transit.iter().flat_map(BTreeMap::values);
                let owed = transit.flat_map(|Transit { bundle, owed, .. }| {
                    owed.iter().map(|(node, _)| (Destination::Node(*node), bundle.class, bundle.sequence))
                });
                self.stalls.tick(step, owed);
            }
        }
    }

    fn receive(&mut self, step: &mut Step<'_>, origin: &Origin, came: Came) {
        let Came { from, passage, bundle, decoding } = came;
        let plane = step.plane;
        let started = plane.outlet().stopwatch();
        let entries = bundle.present().map(|index| u64::from(bundle.sections[index].count)).sum::<u64>();
        let seen = self.look(&bundle);
        let looked = plane.outlet().stopwatch();
        plane.counters.time(Stage::Deduplicate, looked.saturating_sub(started), entries);
        match seen {
            Some(Seen::New) => {}
            Some(Seen::Same | Seen::Older) => return self.receive_copy(step, from, &passage, &bundle),
            Some(Seen::Other) => return self.receive_other(step, origin, from, &bundle),
            None => return Counters::add(&plane.counters.stale_bundles, 1),
        }
        let signed = (bundle.hash, bundle.signature());
        let was_good = self.good == Some(signed) && bundle.bodies_match();
        if !was_good {
            if unwanted::is_put_aside(step, origin, from, &passage, &bundle) {
                return unwanted::put_aside(step, from, &bundle);
            }
            plane.pay_check(step.view, step.now, from);
            if !bundle.is_genuine(&origin.key) {
                if step.view.peers.get(&from) != Some(&origin.id) {
                    self.spoiled = Some(from);
                }
                return plane.refuse(step.view, step.now, from, Offence::InvalidSignature);
            }
        }
        if self.spoiled == Some(from) {
            if !passage.is_first {
                return Counters::add(&plane.counters.unroutable_bundles, 1);
            }
            self.spoiled = None;
        }
        self.good = Some(signed);
        let verified = plane.outlet().stopwatch();
        plane.counters.time(Stage::Verify, verified.saturating_sub(looked), entries);
        if bundle.clock >> 16 > (step.now.wall + CLOCK_AHEAD_MAX).as_millis() {
            return Counters::add(&plane.counters.early_bundles, 1);
        }
        if bundle.incarnation > self.incarnation {
            *self = State { incarnation: bundle.incarnation, ..State::default() };
        }
        if !was_good {
            self.headers.keep(&bundle);
        }
        let is_placed = self.place(step, origin, from, &passage, bundle, entries);
        if is_placed {
            let took = plane.outlet().stopwatch().saturating_sub(started);
            plane.counters.time_total(decoding + took, entries);
        }
    }

    /// Passes a verified bundle on, or spreads it, or delivers it.
    fn place(
        &mut self,
        step: &mut Step<'_>,
        origin: &Origin,
        from: LinkSlot,
        passage: &Passage,
        bundle: Box<Bundle>,
        entries: u64,
    ) -> bool {
        let counters = &step.plane.counters;
        let me = step.plane.me;
        let (class, sequence) = (bundle.class, bundle.sequence);
        let header = first_word(&bundle.hash);
        if passage.region != me.region {
            // Not marked as seen: the copy may have to go again, by another way.
            if origin.region != me.region || passage.hops >= limits::HOPS_MAX {
                Counters::add(&counters.looped_bundles, 1);
                return false;
            }
            return self.runs.pass_on(step, from, passage, &bundle);
        }
        if origin.region != me.region && step.plane.spreads {
            if self.transit_bytes > limits::RETAINED_BYTES_MAX {
                // An honest origin does not have so much unacknowledged.
                Counters::add(&counters.invalid_bundles, 1);
                return false;
            }
            self.windows[class as usize].accept(sequence, header);
            self.spread(step, from, passage, bundle);
        } else {
            let Some(missing) = self.deliver(step, &bundle, from) else {
                Counters::add(&counters.invalid_bundles, 1);
                return false;
            };
            self.windows[class as usize].accept(sequence, header);
            if let Some(missing) = missing {
                step.touched.acknowledgements.add(
                    from,
                    Stream::of(&bundle, step.plane.me.region),
                    sequence,
                    &missing,
                );
            }
        }
        Counters::add(&counters.received_bundles, 1);
        Counters::add(&counters.received_entries, entries);
        true
    }

    /// Another header than was accepted under this number. If the origin signed it, both convict it; if it
    /// did not, who sent the bundle is at fault.
    fn receive_other(&mut self, step: &mut Step<'_>, origin: &Origin, from: LinkSlot, bundle: &Bundle) {
        let plane = step.plane;
        plane.pay_check(step.view, step.now, from);
        if !bundle.is_genuine(&origin.key) {
            return plane.refuse(step.view, step.now, from, Offence::InvalidSignature);
        }
        Counters::add(&plane.counters.equivocations, 1);
        if self.is_convicted {
            return;
        }
        let first = self.headers.find(bundle.class, bundle.sequence);
        let second = Opening::of(&bundle.header).ok();
        let proof = first.zip(second).and_then(|(first, second)| Proof::of_pair(first, second));
        if let Some(proof) = proof {
            self.is_convicted = plane.outlet().report(Report::Contradiction(Box::new(proof)));
        }
    }

    /// `None` for a bundle of an earlier incarnation.
    fn look(&self, bundle: &Bundle) -> Option<Seen> {
        match bundle.incarnation.cmp(&self.incarnation) {
            std::cmp::Ordering::Less => None,
            std::cmp::Ordering::Greater => Some(Seen::New),
            std::cmp::Ordering::Equal => {
                let window = &self.windows[bundle.class as usize];
                Some(window.look(bundle.sequence, first_word(&bundle.hash)))
            }
        }
    }

    /// A copy of what was accepted: acknowledged again, since the first answer may be lost.
    fn receive_copy(&mut self, step: &mut Step<'_>, from: LinkSlot, passage: &Passage, bundle: &Bundle) {
        Counters::add(&step.plane.counters.duplicate_bundles, 1);
        if passage.region != step.plane.me.region {
            return;
        }
        let (class, sequence) = (bundle.class as usize, bundle.sequence);
        let stream = Stream::of(bundle, step.plane.me.region);
        match self.transit[class].get_mut(&sequence) {
            Some(transit) => transit.from = from,
            None if step.plane.is_held_for(stream, sequence, from) => {}
            None => {
                let missing = self.unfound[class].get(&sequence).map_or(&[][..], Vec::as_slice);
                step.touched.acknowledgements.add(from, stream, sequence, missing);
            }
        }
    }

    /// To this node's subscribers. `None`: malformed. `Some(None)`: the acknowledgement is held.
    #[allow(clippy::option_option, reason = "malformed, held and done are three outcomes of one step")]
    fn deliver(&mut self, step: &mut Step<'_>, bundle: &Bundle, from: LinkSlot) -> Option<Option<Vec<u16>>> {
        let counters = &step.plane.counters;
        let mut missing = Vec::new();
        let mut slow: Option<ConnectionSlot> = None;
        let mut is_wanted = false;
        for index in bundle.present() {
            let section = &bundle.sections[index];
            let bytes = u64::from(section.length);
            Counters::add(&counters.received_bytes, bytes);
            let delivery = deliver_section(step.plane, step.view, &mut self.scratch, bundle, section).ok()?;
            is_wanted |= matches!(delivery, Delivery::Queued(..));
            match delivery {
                Delivery::Queued(Pressure::Slow, connection) => slow = Some(connection),
                Delivery::Queued(Pressure::Fine | Pressure::Gone, _) => {}
                Delivery::Unwanted => Counters::add(&counters.unwanted_bytes, bytes),
                Delivery::Missing => missing.push(u16::try_from(index).expect("at most 256 sections")),
            }
        }
        self.remember_unfound(bundle, &missing);
        if !is_wanted {
            unwanted::note(step, from);
        }
        let Some(connection) = slow else { return Some(Some(missing)) };
        let (stream, sequence) = (Stream::of(bundle, step.plane.me.region), bundle.sequence);
        step.plane.hold(step.now.mono, from, Held::Other { connection, stream, sequence, missing });
        Some(None)
    }

    /// To the nodes of this region that want it.
    fn spread(&mut self, step: &mut Step<'_>, from: LinkSlot, passage: &Passage, bundle: Box<Bundle>) {
        let mut transit =
            Transit { from, owed: find_owed(step, passage, &bundle), bundle, missing: Vec::new() };
        let homeless = transit.bundle.present().filter(|index| transit.bundle.sections[*index].directed);
        transit.missing = homeless
            .filter(|index| !transit.owed.iter().any(|(_, keep)| keep.has(*index)))
            .map(|index| u16::try_from(index).expect("at most 256 sections"))
            .collect();
        if transit.owed.is_empty() {
            unwanted::note(step, from);
            return self.finish(step, &transit);
        }
        let (class, sequence) = (transit.bundle.class, transit.bundle.sequence);
        let queue = &mut self.transit[class as usize];
        if queue.len() as u64 >= limits::WINDOW_BUNDLES
            && let Some((_, oldest)) = queue.pop_first()
        {
            // The origin's window is as long: whatever is older is no longer waited for.
            self.transit_bytes -= oldest.bundle.len();
        }
        let nodes = transit.owed.clone();
        self.transit_bytes += transit.bundle.len();
        queue.insert(sequence, transit);
        let (mut copies, mut again) = (Copies::default(), Vec::new());
        for (node, keep) in nodes {
            let Some(link) = step.view.links.get(&node).copied() else { continue };
            match self.reached.insert((node, class), link) == Some(link)
                || self.lacks_newest_alone(node, class)
            {
                true => copies.add(link, spreading(step), &keep),
                false => again.push(node),
            }
        }
        if let Some(newest) = self.transit[class as usize].get(&sequence) {
            Counters::add(&step.plane.counters.relayed_bundles, copies.links() as u64);
            step.plane.send_copies(step.view, &newest.bundle, copies, step.touched);
        }
        again.into_iter().for_each(|node| self.resend(step, node));
    }

    /// Whether a node is owed one bundle of this class, and none of another.
    fn lacks_newest_alone(&self, node: ShortId, class: Class) -> bool {
        let lacks = |transit: &&Transit| transit.owed.iter().any(|(owed, _)| *owed == node);
        let others = Class::ALL.into_iter().filter(|other| *other != class);
        let elsewhere = others.flat_map(|other| self.transit[other as usize].values());
        let older = self.transit[class as usize].values().rev().skip(1);
        elsewhere.chain(older).find(lacks).is_none()
    }

    fn remember_unfound(&mut self, bundle: &Bundle, missing: &[u16]) {
        if missing.is_empty() {
            return;
        }
        let unfound = &mut self.unfound[bundle.class as usize];
        let past = bundle.sequence.saturating_sub(limits::WINDOW_BUNDLES - 1);
        *unfound = unfound.split_off(&past);
        unfound.insert(bundle.sequence, missing.to_vec());
    }

    fn finish(&mut self, step: &mut Step<'_>, transit: &Transit) {
        self.remember_unfound(&transit.bundle, &transit.missing);
        let stream = Stream::of(&transit.bundle, step.plane.me.region);
        step.touched.acknowledgements.add(transit.from, stream, transit.bundle.sequence, &transit.missing);
    }

    fn acknowledged(
        &mut self,
        step: &mut Step<'_>,
        by: ShortId,
        class: Class,
        sequences: &[u64],
        missing: &[(u64, u16)],
    ) {
        for sequence in sequences {
            let Some(transit) = self.transit[class as usize].get_mut(sequence) else { continue };
            let Some(place) = transit.owed.iter().position(|(node, _)| *node == by) else { continue };
            let (_, sent) = transit.owed.swap_remove(place);
            add_missing(&mut transit.missing, &transit.bundle, &sent, missing);
            self.finish_if_done(step, class, *sequence);
        }
    }

    fn finish_if_done(&mut self, step: &mut Step<'_>, class: Class, sequence: u64) {
        let queue = &mut self.transit[class as usize];
        if queue.get(&sequence).is_some_and(|transit| transit.owed.is_empty())
            && let Some(transit) = queue.remove(&sequence)
        {
            self.transit_bytes -= transit.bundle.len();
            self.finish(step, &transit);
        }
    }

    fn resend(&mut self, step: &mut Step<'_>, node: ShortId) {
        let Some(link) = step.view.links.get(&node).copied() else { return };
        for transit in self.transit.iter().flat_map(BTreeMap::values) {
            for (_, keep) in transit.owed.iter().filter(|(owed, _)| *owed == node) {
                self.reached.insert((node, transit.bundle.class), link);
                forward(step, link, &transit.bundle, keep);
            }
        }
    }

    fn forget(&mut self, step: &mut Step<'_>, node: ShortId) {
        for class in Class::ALL {
            let mut touched = Vec::new();
            for (sequence, transit) in &mut self.transit[class as usize] {
                touched.push(*sequence);
                let lost = transit.owed.iter().filter(|(owed, _)| *owed == node);
                let sections =
                    transit.bundle.sections.iter().enumerate().filter(|(_, section)| section.directed);
                let missing: Vec<u16> = lost
                    .flat_map(|(_, keep)| sections.clone().filter(|(index, _)| keep.has(*index)))
                    .map(|(index, _)| u16::try_from(index).expect("at most 256 sections"))
                    .collect();
                transit.missing.extend(missing);
                transit.owed.retain(|(owed, _)| *owed != node);
            }
            touched.into_iter().for_each(|sequence| self.finish_if_done(step, class, sequence));
        }
        self.reached.retain(|(reached, _), _| *reached != node);
    }
}

fn first_word(hash: &[u8; 32]) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&hash[..8]);
    u64::from_le_bytes(word)
}
