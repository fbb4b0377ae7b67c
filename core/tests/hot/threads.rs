//! Many threads on the same planes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use starling_core::hot::own::Publication;
use starling_core::id::AgentId;
use starling_core::machine::ConnectionSlot;
use starling_core::time::{Now, Time};

use super::network::{LANES, Network, message, publication};

const ENTRIES: u64 = 6000;
const THREADS: u64 = 4;

/// Publishes as one agent: batches of different sizes, on two subjects and to one agent.
fn publish_some(network: &Network, thread: u64, next: &mut u64) {
    let node = (thread % 3) as usize;
    let count = 1 + (*next * 7 + thread) % 9;
    let until = (*next + count).min(ENTRIES + 1);
    let agent = u8::try_from(thread + 1).expect("few threads");
    let connection = ConnectionSlot(100 + u32::from(agent));
    let batch = (*next..until).map(|number| {
        let payload = number.to_le_bytes();
        let of = match number % 3 {
            0 => publication(agent, number, "s.a", &payload),
            1 => publication(agent, number, "s.b", &payload),
            _ => message(agent, number, AgentId([99; 16]), &payload),
        };
        Publication { connection, ..of }
    });
    network.publish(node, batch.collect());
    *next = until;
}

#[test]
fn four_threads_at_once_lose_and_repeat_and_reorder_nothing() {
    let mut network = Network::new();
    let nodes = [(); 3].map(|()| network.add(1, false));
    let links = [(0, 1), (1, 2), (2, 0)].map(|(left, right)| {
        let near = network.connect(nodes[left], nodes[right]);
        (nodes[left], near, nodes[right], network.link(nodes[right], nodes[left]).unwrap())
    });
    nodes.iter().for_each(|node| network.subscribe(*node, 2, 1, "s.>"));
    network.host(nodes[1], AgentId([99; 16]), 3, 0);
    network.refresh();
    let home = network.nodes[nodes[1]].me;
    nodes.iter().for_each(|node| {
        network.nodes[*node].plane.set_home(AgentId([99; 16]), Some((home.region, home.id)))
    });
    // Each end of a link has one reader, as in a driver: that is what keeps a lane in order.
    let readers: Vec<_> = links.iter().flat_map(|(a, near, b, far)| [(*a, *near), (*b, *far)]).collect();
    let (is_done, clock) = (AtomicBool::new(false), AtomicU64::new(network.now.mono.0));
    let shared = &network;
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (readers, is_done, clock) = (&readers, &is_done, &clock);
            scope.spawn(move || {
                let mut next = 1;
                for round in 0..200_000u64 {
                    if next <= ENTRIES {
                        publish_some(shared, thread, &mut next);
                    }
                    let mine = readers.iter().enumerate().filter(|(at, _)| *at as u64 % THREADS == thread);
                    for (_, (node, link)) in mine {
                        LANES.iter().for_each(|lane| shared.carry(*node, *link, *lane));
                    }
                    if round % 16 == thread {
                        let mono = Time(clock.fetch_add(1_000_000, Ordering::Relaxed));
                        shared.tick_all(Now { mono, wall: shared.now.wall });
                    }
                    if thread == 0 && round % 512 == 0 {
                        let told =
                            |of: u64| shared.published((of % 3) as usize, 101 + of as u32).len() as u64;
                        is_done.store((0..THREADS).all(|of| told(of) >= ENTRIES), Ordering::Release);
                    }
                    if is_done.load(Ordering::Acquire) {
                        return;
                    }
                    if next > ENTRIES {
                        std::thread::sleep(Duration::from_micros(20));
                    }
                }
            });
        }
    });
    assert!(is_done.load(Ordering::Acquire), "something was left behind");
    for thread in 0..THREADS {
        let agent = thread as u8 + 1;
        for node in nodes {
            for (rest, subject) in [(0, "s.a"), (1, "s.b")] {
                let expected = (1..=ENTRIES).filter(|number| number % 3 == rest);
                assert!(network.sequences(node, 2, agent, subject).into_iter().eq(expected));
            }
        }
        let got = network.got(nodes[1], 3).into_iter().filter(|got| got.agent == AgentId([agent; 16]));
        let expected = (1..=ENTRIES).filter(|number| number % 3 == 2);
        assert!(got.map(|got| got.sequence).eq(expected));
        let mut told = network.published((thread % 3) as usize, 101 + thread as u32);
        told.sort_unstable();
        assert!(told.into_iter().eq(1..=ENTRIES));
    }
}
