use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::id::RegionId;
use crate::rng::Rng;

fn info(key: u8, broadcast: bool) -> PeerInfo {
    PeerInfo {
        public_key: [key; 32],
        addresses: [([192, 0, 2, key], 7_420).into()].into(),
        broadcast,
        capabilities: Capabilities::new(["relay"]).unwrap(),
        version: "0.1.0".into(),
        region: RegionId::of_name("eu"),
    }
}

fn id(key: u8) -> NodeId {
    NodeId::of_key(&[key; 32])
}

/// The keys of the peers at `slots`.
fn keys(registry: &Registry, slots: &[Slot]) -> Vec<u8> {
    slots.iter().map(|slot| registry.record(*slot).unwrap().info.public_key[0]).collect()
}

fn with_peers(keys: std::ops::Range<u8>) -> Registry {
    let mut registry = Registry::new(1_000, 1);
    for key in keys {
        registry.register(info(key, true), Time::ZERO).unwrap();
    }
    registry
}

#[test]
fn a_repeated_announcement_keeps_what_we_saw_ourselves() {
    let mut registry = with_peers(0..3);
    registry.observe_rtt(&id(1), Duration::from_millis(8));
    registry.set_reputation(&id(1), Reputation::from_f64(0.6));
    registry.set_status(&id(1), PeerStatus::Suspect);
    let slot = registry.slot_of(&id(1)).unwrap();
    let moved = PeerInfo { region: RegionId::of_name("us"), ..info(1, true) };
    assert_eq!(registry.register(moved, Time(5)), Ok(Registered { slot, is_new: false }));
    let record = registry.get(&id(1)).unwrap();
    assert_eq!(record.info.region, RegionId::of_name("us"));
    assert_eq!((record.reputation.as_f64(), record.last_seen), (0.6, Time(5)));
    assert_eq!(record.status, PeerStatus::Suspect);
    assert_eq!(record.rtt.unwrap().average(), Duration::from_millis(8));
    registry.check();
}

#[test]
fn refuses_beyond_its_bounds_and_changes_nothing() {
    let mut registry = Registry::new(1, 1);
    registry.register(info(1, true), Time(1)).unwrap();
    let before = registry.get(&id(1)).cloned();
    assert_eq!(registry.register(info(2, true), Time(2)), Err(Refused::Full));
    let addresses = vec![([127, 0, 0, 1], 1).into(); ADDRESSES_MAX + 1].into();
    let many = PeerInfo { addresses, ..info(1, true) };
    assert_eq!(registry.register(many, Time(2)), Err(BadInfo::Addresses.into()));
    let wordy = PeerInfo { version: "v".repeat(VERSION_BYTES_MAX + 1).into(), ..info(1, true) };
    assert_eq!(registry.register(wordy, Time(2)), Err(BadInfo::Version.into()));
    assert_eq!((registry.get(&id(1)).cloned(), registry.len()), (before, 1));
    assert!(registry.remove(&id(1)).is_some() && registry.remove(&id(1)).is_none());
    assert_eq!(registry.register(info(2, true), Time(2)).map(|done| done.slot), Ok(Slot(0)));
    registry.check();
}

#[test]
fn a_colliding_short_id_is_neither_found_nor_registered() {
    let mut registry = with_peers(0..2);
    let mut twin = id(1);
    twin.0[31] ^= 1;
    assert_eq!(twin.short(), id(1).short());
    assert_eq!(registry.slot_of(&twin), None);
    assert!(!registry.set_status(&twin, PeerStatus::Dead) && registry.remove(&twin).is_none());
    // Nobody can make a key for the twin here, so let the known one be another.
    let slot = registry.slot_of(&id(1)).unwrap();
    registry.slots[slot.0 as usize].as_mut().unwrap().id = twin;
    assert_eq!(registry.register(info(1, true), Time::ZERO), Err(Refused::ShortIdTaken));
}

#[test]
fn a_silent_peer_is_for_ourselves_alone() {
    let mut registry = with_peers(0..2);
    registry.register(info(9, false), Time::ZERO).unwrap();
    for (key, millis) in [(0, 30), (1, 20), (9, 10)] {
        registry.observe_rtt(&id(key), Duration::from_millis(millis));
    }
    let mut rng = Rng::new(1);
    assert_eq!(keys(&registry, &registry.nearest(9, Audience::Ourselves)), [9, 1, 0]);
    assert_eq!(keys(&registry, &registry.nearest(9, Audience::Others)), [1, 0]);
    assert_eq!(registry.random(9, Audience::Ourselves, &mut rng).len(), 3);
    assert!(!keys(&registry, &registry.random(9, Audience::Others, &mut rng)).contains(&9));
    assert!(registry.listable().all(|record| record.info.broadcast));
    assert_eq!(registry.listable().count(), 2);
    // It may change its mind, both ways.
    registry.register(info(9, true), Time::ZERO).unwrap();
    assert_eq!(keys(&registry, &registry.nearest(1, Audience::Others)), [9]);
    registry.register(info(9, false), Time::ZERO).unwrap();
    assert_eq!(registry.listable().count(), 2);
    registry.check();
}

#[test]
fn nobody_is_given_who_is_gone_or_not_trusted() {
    let mut registry = with_peers(0..3);
    (0..3).for_each(|key| assert!(registry.observe_rtt(&id(key), Duration::from_millis(1))));
    registry.set_status(&id(0), PeerStatus::Left);
    registry.set_reputation(&id(1), Reputation::from_f64(0.49));
    let mut rng = Rng::new(1);
    for audience in [Audience::Ourselves, Audience::Others] {
        assert_eq!(keys(&registry, &registry.nearest(9, audience)), [2]);
        assert_eq!(keys(&registry, &registry.random(9, audience, &mut rng)), [2]);
    }
    assert!(registry.get(&id(0)).is_some());
    registry.set_status(&id(0), PeerStatus::Alive);
    assert_eq!(registry.nearest(9, Audience::Others).len(), 2);
    registry.check();
}

#[test]
fn the_best_come_first_and_nobody_is_listed_who_is_silent() {
    let mut registry = with_peers(0..4);
    registry.register(info(9, false), Time::ZERO).unwrap();
    for (key, millis) in [(0, 50), (1, 5), (2, 5), (3, 5), (9, 1)] {
        registry.observe_rtt(&id(key), Duration::from_millis(millis));
    }
    assert!((0..5).all(|_| registry.observe_contact(&id(2), true)));
    assert!((0..40).all(|_| registry.observe_contact(&id(3), false)));
    registry.set_reputation(&id(1), Reputation::from_f64(0.5));
    let best = |k, audience| keys(&registry, &registry.best(k, audience, |_| true));
    assert_eq!(best(9, Audience::Others), [2, 0, 3, 1]);
    assert_eq!(best(2, Audience::Ourselves), [2, 9]);
    assert_eq!(keys(&registry, &registry.best(9, Audience::Others, |record| record.id == id(0))), [0]);
    let availability = |key| registry.get(&id(key)).map(|record| record.availability.as_f64());
    assert!(availability(3) < Some(0.01) && availability(2) > Some(0.7));
}

#[test]
fn random_peers_are_even() {
    let registry = with_peers(0..10);
    let mut rng = Rng::new(5);
    let mut counts = [0u32; 10];
    for _ in 0..20_000 {
        for key in keys(&registry, &registry.random(5, Audience::Others, &mut rng)) {
            counts[usize::from(key)] += 1;
        }
    }
    assert!(counts.iter().all(|count| (9_500..10_500).contains(count)), "{counts:?}");
}

#[test]
fn prunes_two_hours_after_the_last_heartbeat() {
    let mut registry = with_peers(0..3);
    registry.heartbeat(&id(1), Time::ZERO + Duration::from_secs(60));
    let stale_at = Time::ZERO + STALE_AFTER;
    assert_eq!(registry.next_stale(), Some(stale_at));
    assert_eq!(registry.prune_stale(stale_at - Duration::from_nanos(1), 9), []);
    let first = registry.prune_stale(stale_at, 1);
    let second = registry.prune_stale(stale_at, 9);
    assert_eq!((first[0].1.id, second[0].1.id, second.len()), (id(0), id(2), 1));
    assert_eq!(registry.next_stale(), Some(stale_at + Duration::from_secs(60)));
    // A late copy of an old heartbeat does not make a peer older.
    registry.heartbeat(&id(1), Time::ZERO);
    assert_eq!(registry.get(&id(1)).unwrap().last_seen, Time::ZERO + Duration::from_secs(60));
    registry.check();
}

#[test]
fn the_largest_record_is_within_its_kilobyte() {
    let mut registry = Registry::new(1, 1);
    let names: Vec<String> = (0..5u8).map(|key| char::from(b'a' + key).to_string().repeat(63)).collect();
    let largest = PeerInfo {
        addresses: vec!["[::1]:1".parse().unwrap(); ADDRESSES_MAX].into(),
        capabilities: Capabilities::new(names.iter().map(String::as_str)).unwrap(),
        version: "v".repeat(VERSION_BYTES_MAX).into(),
        ..info(1, true)
    };
    registry.register(largest, Time::ZERO).unwrap();
    let bytes = registry.get(&id(1)).unwrap().memory_bytes();
    assert!(bytes + record::BOOKKEEPING_BYTES_MAX <= RECORD_BYTES_MAX, "{bytes}");
}

#[derive(Clone, Debug)]
enum Step {
    Register(u8, bool, u64),
    Heartbeat(u8, u64),
    Status(u8, PeerStatus),
    Rtt(u8, u64),
    Reputation(u8, f64),
    Remove(u8),
    Prune(u64, usize),
}

fn any_step() -> impl Strategy<Value = Step> {
    use PeerStatus::{Alive, Dead, Left, Suspect};
    let key = 0u8..20;
    let hour = 0u64..8;
    prop_oneof![
        4 => (key.clone(), any::<bool>(), hour.clone()).prop_map(|(k, b, h)| Step::Register(k, b, h)),
        2 => (key.clone(), hour.clone()).prop_map(|(k, h)| Step::Heartbeat(k, h)),
        2 => (key.clone(), prop::sample::select(vec![Alive, Suspect, Dead, Left]))
            .prop_map(|(k, status)| Step::Status(k, status)),
        3 => (key.clone(), 1u64..6).prop_map(|(k, millis)| Step::Rtt(k, millis)),
        2 => (key.clone(), 0.0..1.0).prop_map(|(k, value)| Step::Reputation(k, value)),
        1 => key.prop_map(Step::Remove),
        1 => (hour, 0usize..4).prop_map(|(h, at_most)| Step::Prune(h, at_most)),
    ]
}

/// The registry as it would be written without a thought for speed.
type Model = BTreeMap<u8, PeerRecord>;

const CAPACITY: usize = 12;

fn hours(hours: u64) -> Time {
    Time::ZERO + Duration::from_secs(hours * 3_600)
}

fn step_both(registry: &mut Registry, model: &mut Model, step: Step) -> Result<(), TestCaseError> {
    match step {
        Step::Register(key, broadcast, hour) => {
            let is_new = !model.contains_key(&key);
            let done = registry.register(info(key, broadcast), hours(hour));
            if is_new && model.len() == CAPACITY {
                prop_assert_eq!(done, Err(Refused::Full));
                return Ok(());
            }
            prop_assert_eq!(done.map(|done| done.is_new), Ok(is_new));
            let record = model.entry(key).or_insert_with(|| PeerRecord {
                id: id(key),
                info: info(key, broadcast),
                status: PeerStatus::Alive,
                last_seen: hours(hour),
                reputation: Reputation::FULL,
                availability: Availability::default(),
                rtt: None,
            });
            record.info.broadcast = broadcast;
            record.last_seen = record.last_seen.max(hours(hour));
        }
        Step::Heartbeat(key, hour) => {
            let known =
                model.get_mut(&key).map(|record| record.last_seen = record.last_seen.max(hours(hour)));
            prop_assert_eq!(registry.heartbeat(&id(key), hours(hour)), known.is_some());
        }
        Step::Status(key, status) => {
            let known = model.get_mut(&key).map(|record| record.status = status);
            prop_assert_eq!(registry.set_status(&id(key), status), known.is_some());
        }
        Step::Rtt(key, millis) => {
            let sample = Duration::from_millis(millis);
            let known = model.get_mut(&key).map(|record| {
                record.rtt =
                    Some(record.rtt.map_or_else(|| SmoothedRtt::first(sample), |rtt| rtt.next(sample)));
            });
            prop_assert_eq!(registry.observe_rtt(&id(key), sample), known.is_some());
        }
        Step::Reputation(key, value) => {
            let reputation = Reputation::from_f64(value);
            let known = model.get_mut(&key).map(|record| record.reputation = reputation);
            prop_assert_eq!(registry.set_reputation(&id(key), reputation), known.is_some());
        }
        Step::Remove(key) => {
            let removed = registry.remove(&id(key)).map(|(_, record)| record);
            prop_assert_eq!(removed, model.remove(&key));
        }
        Step::Prune(hour, at_most) => {
            let is_stale = |record: &PeerRecord| hours(hour) >= record.last_seen + STALE_AFTER;
            let stale = model.values().filter(|record| is_stale(record)).count();
            let pruned = registry.prune_stale(hours(hour), at_most);
            prop_assert_eq!(pruned.len(), stale.min(at_most));
            for (_, record) in pruned {
                prop_assert!(is_stale(&record));
                prop_assert_eq!(model.remove(&record.info.public_key[0]), Some(record));
            }
        }
    }
    Ok(())
}

fn compare(registry: &Registry, model: &Model, rng: &mut Rng) -> Result<(), TestCaseError> {
    registry.check();
    prop_assert_eq!(registry.len(), model.len());
    for key in 0..20 {
        prop_assert_eq!(registry.get(&id(key)), model.get(&key));
        let by_short = registry.slot_of_short(id(key).short()).and_then(|slot| registry.record(slot));
        prop_assert_eq!(by_short, model.get(&key));
    }
    for audience in [Audience::Ourselves, Audience::Others] {
        let is_visible = |record: &&PeerRecord| match audience {
            Audience::Ourselves => record.is_usable(),
            Audience::Others => record.is_listable(),
        };
        let expected: Vec<u8> =
            model.values().filter(is_visible).map(|record| record.info.public_key[0]).collect();
        let mut everyone = keys(registry, &registry.random(99, audience, rng));
        everyone.sort_unstable();
        prop_assert_eq!(&everyone, &expected);
        let some = keys(registry, &registry.random(3, audience, rng));
        prop_assert_eq!(some.len(), expected.len().min(3));
        let measured = |record: &PeerRecord| record.rtt.map(SmoothedRtt::average);
        let mut near: Vec<Duration> = model.values().filter(is_visible).filter_map(measured).collect();
        near.sort_unstable();
        for k in [0, 1, 3, 99] {
            let nearest = registry.nearest(k, audience);
            let distances: Vec<Duration> =
                nearest.iter().filter_map(|slot| measured(registry.record(*slot)?)).collect();
            prop_assert_eq!(&distances, &near[..near.len().min(k)]);
            prop_assert!(keys(registry, &nearest).iter().all(|key| expected.contains(key)));
        }
    }
    let mut listed: Vec<u8> = registry.listable().map(|record| record.info.public_key[0]).collect();
    listed.sort_unstable();
    let listable = model.values().filter(|record| record.is_listable());
    prop_assert_eq!(listed, listable.map(|record| record.info.public_key[0]).collect::<Vec<_>>());
    Ok(())
}

proptest! {
    #[test]
    fn behaves_as_a_plain_map(seed: u64, steps in prop::collection::vec(any_step(), 0..120)) {
        let mut registry = Registry::new(CAPACITY, seed);
        let mut model = Model::new();
        let mut rng = Rng::new(seed);
        for step in steps {
            step_both(&mut registry, &mut model, step)?;
            compare(&registry, &model, &mut rng)?;
        }
    }

    #[test]
    fn no_answer_depends_on_the_seed_of_the_index(steps in prop::collection::vec(any_step(), 0..80)) {
        let [mut one, mut two] = [1, u64::MAX].map(|seed| Registry::new(CAPACITY, seed));
        let [mut of_one, mut of_two] = [Model::new(), Model::new()];
        for step in steps {
            step_both(&mut one, &mut of_one, step.clone())?;
            step_both(&mut two, &mut of_two, step)?;
        }
        let slots = |registry: &Registry| registry.random(5, Audience::Ourselves, &mut Rng::new(3));
        prop_assert_eq!(slots(&one), slots(&two));
        prop_assert!(one.iter().eq(two.iter()));
        prop_assert!(one.listable().eq(two.listable()));
        prop_assert_eq!(one.nearest(5, Audience::Others), two.nearest(5, Audience::Others));
    }
}
