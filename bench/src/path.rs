//! The hot path alone: bundles that were signed before are taken in by one thread, through all stages
//! down to the queues of subscribers, with nothing of a network around it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use bytes::{Bytes, BytesMut};
use starling_core::conduct::Gate;
use starling_core::hot::counters::Snapshot;
use starling_core::hot::own::{Publication, Target};
use starling_core::hot::plane::Touched;
use starling_core::hot::seal::Open;
use starling_core::hot::view::{Me, Origin, View, subscription};
use starling_core::hot::{Outlet, Plane, Pressure, Report};
use starling_core::id::{AgentId, MeshId, NodeId, RegionId, ShortId};
use starling_core::identity::{SecretKey, VerifyKey};
use starling_core::interest::Pattern;
use starling_core::machine::{ConnectionSlot, LinkSlot};
use starling_core::wire::bundle::{Bundle, Class, Passage, SectionSet};
use starling_core::wire::entry::Extras;
use starling_core::wire::frame::{FRAME_HEADER_BYTES, Parcel};
use starling_net::clock::Clock;
use tokio::time::Instant;

use crate::part::{Part, Told};
use crate::receipts::wall_nanos;

/// Nodes whose bundles come.
const ORIGINS: u64 = 64;
/// Subjects, each subscribed to by as many.
const SUBJECTS: u64 = 1_000;
/// Subscriptions.
const SUBSCRIPTIONS: u64 = 10_000;
/// Subscriptions of each connection.
const ON_A_CONNECTION: u64 = 10;
/// Agents of each origin; all speak in a bundle.
const SPEAKERS: u64 = 8;
/// Subjects on which an origin's agents speak.
const SPOKEN_ON: u64 = 16;
/// Entries that are prepared: 20 MB with the usual payload, more than caches hold.
const PREPARED: u64 = 131_072;

const HERE: RegionId = RegionId(1);
const MESH: MeshId = MeshId(0x5EED);
const SECRET: u64 = 99;

/// Counts what leaves.
#[derive(Debug)]
struct Sink {
    clock: Clock,
    invalid: Arc<AtomicU64>,
}

impl Outlet for Sink {
    fn bundle(&self, _: LinkSlot, _: bool, _: Parcel) -> Pressure {
        Pressure::Fine
    }

    fn control(&self, _: LinkSlot, _: Parcel) {}

    fn deliver(&self, _: ConnectionSlot, _: Parcel) -> Pressure {
        Pressure::Fine
    }

    fn tell(&self, _: ConnectionSlot, _: Parcel) {}

    fn has_drained(&self, _: ConnectionSlot) -> bool {
        true
    }

    fn state(&self, _: LinkSlot, _: Box<Bundle>) -> bool {
        true
    }

    fn unresolved(&self, _: Vec<Publication>) {}

    fn report(&self, _: Report) -> bool {
        self.invalid.fetch_add(1, Ordering::Relaxed);
        true
    }

    fn stopwatch(&self) -> u64 {
        self.clock.nanos()
    }
}

/// What comes over one origin's link.
struct Sender {
    me: Me,
    key: SecretKey,
    /// Each speaker's first entry on each subject: the hot path then knows all flows, as it does of traffic
    /// that has been going on.
    first: Bytes,
    frames: Vec<Bytes>,
}

/// Takes prepared bundles in, all again and again with a fresh hot path, until the time is over.
///
/// # Errors
/// A bundle cannot be made.
pub async fn play(part: &Part, entries: u32, subjects: u32) -> Result<Told> {
    let payload = Bytes::from(vec![0x5A; part.payload as usize]);
    let senders: Vec<Sender> = (0..ORIGINS)
        .map(|origin| Sender::prepare(origin, u64::from(entries), u64::from(subjects), &payload))
        .collect::<Result<_>>()?;
    part.wait_for_go().await?;
    let (warm, end) = part.schedule();
    let mut told = Told { receivers: SUBSCRIPTIONS / SUBJECTS, ..Told::default() };
    let mut nanos = 0;
    while Instant::now() < end {
        let passed = pass(&senders)?;
        told.sent += passed.sent;
        told.delivered += passed.delivered;
        told.invalid += passed.invalid;
        if Instant::now() >= warm {
            told.begun = if told.measured == 0 { wall_nanos() - passed.nanos } else { told.begun };
            told.measured += passed.sent;
            nanos += passed.nanos;
            told.add_stages(&passed.stages);
        }
    }
    // Between two passes the next is made ready, which is not what is measured.
    told.ended = told.begun + nanos;
    Ok(told)
}

/// What came of all prepared bundles.
struct Passed {
    sent: u64,
    delivered: u64,
    invalid: u64,
    nanos: u64,
    stages: Vec<Vec<u64>>,
}

fn pass(senders: &[Sender]) -> Result<Passed> {
    let clock = Clock::start();
    let invalid = Arc::new(AtomicU64::new(0));
    let key = SecretKey::from_seed([0xEE; 32]);
    let id = NodeId::of_key(&key.public().0).short();
    let me = Me { mesh: MESH, id, region: HERE, incarnation: 1 };
    let sink = Sink { clock, invalid: Arc::clone(&invalid) };
    let plane = Plane::new(me, key.signer(), false, SECRET, Box::new(sink));
    plane.set_view(view(senders, clock)?);
    let most = senders.iter().map(|sender| sender.frames.len()).max().unwrap_or(0);
    let mut touched = Touched::default();
    for (link, sender) in (0..).zip(senders) {
        plane.receive(clock.now(), LinkSlot(link), &sender.first, &mut touched);
    }
    let before = plane.counters.snapshot();
    let begun = clock.nanos();
    for turn in 0..most {
        let now = clock.now();
        for (link, sender) in (0..).zip(senders) {
            let Some(frame) = sender.frames.get(turn) else { continue };
            // A peer beyond its share would be read later; here all have more than they need.
            plane.receive(now, LinkSlot(link), frame, &mut touched);
        }
        plane.flush(&mut touched);
    }
    let nanos = clock.nanos() - begun;
    let after = plane.counters.snapshot();
    let count = |snapshot: &Snapshot, name| {
        let found = snapshot.counters.iter().find(|(counter, _)| *counter == name);
        found.map_or(0, |(_, count)| *count)
    };
    let of = |name| count(&after, name) - count(&before, name);
    let stages = after.stages.iter().zip(&before.stages).map(|(after, before)| {
        let before = before.iter().copied().chain(std::iter::repeat(0));
        after.iter().zip(before).map(|(after, before)| after - before).collect()
    });
    let (sent, delivered) = (of("received_entries"), of("delivered_entries"));
    let refused = count(&after, "invalid_bundles") + invalid.load(Ordering::Relaxed);
    Ok(Passed { sent, delivered, invalid: refused, nanos, stages: stages.collect() })
}

fn view(senders: &[Sender], clock: Clock) -> Result<View> {
    let mut view = View::empty(SECRET);
    for (link, sender) in (0..).zip(senders) {
        let key = VerifyKey::new(&sender.key.public()).context("a key made from a seed is valid")?;
        let (id, link) = (sender.me.id, LinkSlot(link));
        let gate = Gate::new(clock.now().mono);
        gate.set(starling_core::limits::CHECKS_PER_SECOND / ORIGINS);
        Arc::make_mut(&mut view.gates).insert(link, Arc::new(gate));
        Arc::make_mut(&mut view.origins).insert(id, Arc::new(Origin::new(id, HERE, key, false)));
        Arc::make_mut(&mut view.links).insert(id, link);
        Arc::make_mut(&mut view.peers).insert(link, id);
    }
    for number in 0..SUBSCRIPTIONS {
        let pattern = Pattern::parse(&subject(number))?;
        let connection = u32::try_from(number / ON_A_CONNECTION)?;
        view.local.insert(&pattern, subscription(connection, u32::try_from(number % ON_A_CONNECTION)?));
    }
    Ok(view)
}

fn subject(number: u64) -> String {
    format!("bench.subject.{}", number % SUBJECTS)
}

impl Sender {
    /// Bundles of `entries` entries on `subjects` subjects, in the order of their sequences.
    fn prepare(origin: u64, entries: u64, subjects: u64, payload: &Bytes) -> Result<Sender> {
        let mut seed = [1; 32];
        seed[..8].copy_from_slice(&origin.to_le_bytes());
        let key = SecretKey::from_seed(seed);
        let id: ShortId = NodeId::of_key(&key.public().0).short();
        let me = Me { mesh: MESH, id, region: HERE, incarnation: 1 };
        let mut sender = Sender { me, key, first: Bytes::new(), frames: Vec::new() };
        let publication = |speaker: u64, sequence: u64, on: u64| Publication {
            connection: ConnectionSlot(0),
            number: 0,
            agent: AgentId(u128::from(origin * SPEAKERS + speaker).to_le_bytes()),
            sequence,
            class: Class::EventBulk,
            target: Target::Subject,
            subject: Bytes::from(subject(origin * SPOKEN_ON + on % SPOKEN_ON)),
            extras: Extras::default(),
            payload: payload.clone(),
            attempts: 0,
        };
        let pairs = (0..SPOKEN_ON).flat_map(|on| (0..SPEAKERS).map(move |speaker| (speaker, on)));
        sender.first = sender.seal(1, pairs.map(|(speaker, on)| publication(speaker, 1, on)));
        for bundle in 0..(PREPARED / ORIGINS / entries).max(1) {
            let publications = (0..entries).map(|entry| {
                let on = bundle * subjects + entry * subjects / entries;
                publication(entry % SPEAKERS, 2 + bundle * entries + entry, on)
            });
            sender.frames.push(sender.seal(2 + bundle, publications));
        }
        Ok(sender)
    }

    /// The body of a bundle's frame.
    fn seal(&self, sequence: u64, publications: impl Iterator<Item = Publication>) -> Bytes {
        let mut open = Open::default();
        publications.for_each(|publication| open.add(&publication));
        let clock = (wall_nanos() / 1_000_000) << 16;
        let sealed = open.take().seal(&self.me, &self.key.signer(), Class::EventBulk, sequence, clock).bundle;
        let passage = Passage { region: HERE, ..Passage::default() };
        let Parcel { front, shared } = sealed.to_parcel(&passage, &SectionSet::present_in(&sealed));
        let mut frame = BytesMut::from(front.as_ref());
        shared.iter().for_each(|piece| frame.extend_from_slice(piece));
        frame.freeze().slice(FRAME_HEADER_BYTES..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_comes_to_ten_subscribers() {
        for (entries, subjects) in [(256, 1), (48, 8), (1, 1)] {
            let payload = Bytes::from_static(&[7; 24]);
            let prepare = |origin| Sender::prepare(origin, entries, subjects, &payload).unwrap();
            let mut senders: Vec<Sender> = (0..3).map(prepare).collect();
            senders.iter_mut().for_each(|sender| sender.frames.truncate(4));
            let passed = pass(&senders).unwrap();
            assert_eq!((passed.sent, passed.invalid), (3 * 4 * entries, 0));
            assert_eq!(passed.delivered, 10 * passed.sent);
        }
    }

    /// Allocations of a bundle on its way in, down to the queues of ten subscribers. What is made once and
    /// what each pass makes ready does not depend on how many bundles come.
    fn allocations_of_a_bundle(entries: u64) -> f64 {
        let payload = Bytes::from_static(&[7; 128]);
        let prepare = |origin| Sender::prepare(origin, entries, 1, &payload).unwrap();
        let mut senders: Vec<Sender> = (0..4).map(prepare).collect();
        let mut count = |bundles: usize| {
            senders.iter_mut().for_each(|sender| sender.frames.truncate(bundles));
            allocation_counter::measure(|| assert_eq!(pass(&senders).unwrap().invalid, 0)).count_total
        };
        let (many, few) = (count(8), count(2));
        (many - few) as f64 / (4 * (8 - 2)) as f64
    }

    #[test]
    fn an_entry_on_its_way_in_allocates_nothing() {
        let (small, large) = (allocations_of_a_bundle(16), allocations_of_a_bundle(256));
        assert!(small > 1.0, "a bundle allocates something, or nothing is counted: {small}");
        assert!(large < small + 1.0, "{small} allocations for 16 entries and {large} for 256");
    }
}
