use super::*;
use crate::identity::Roles;
use crate::machine::{ConnectionSlot, Output};
use crate::node::cast::{self, id};
use crate::registry::Capabilities;
use crate::registry::exchange::{PeerBody, PeerMessage};
use crate::wire::request::{AskPeers, PeersView, Say};

fn at(millis: u64) -> Now {
    Now { mono: Time::from_millis(millis), wall: Time::from_millis(1_000_000_000 + millis) }
}

fn presence(seed: u8, is_silent: bool, services: &[&str]) -> Presence {
    let services: Vec<String> = services.iter().map(ToString::to_string).collect();
    Presence {
        is_silent,
        addresses: vec![([192, 0, 2, seed], 7_420).into()],
        capabilities: Presence::names(&[], &services).expect("good names"),
        blobs: vec![format!("b{seed}")],
    }
}

/// One node with its membership.
struct Bench {
    seed: u8,
    neighbours: Neighbours,
    peering: Peering,
    out: Outbox,
}

impl Bench {
    fn new(seed: u8, presence: Presence) -> Bench {
        let me = cast::identity(seed, Roles::EDGE, 1);
        let mut peering = Peering::new(&me, u64::from(seed));
        peering.set_presence(presence);
        Bench { seed, neighbours: Neighbours::new(me, Vec::new(), 1), peering, out: Outbox::new() }
    }

    /// What it sends in the peer protocol, by link.
    fn sent(&mut self) -> Vec<(LinkSlot, Bytes)> {
        let mut sent = Vec::new();
        for output in self.out.drain() {
            match output {
                Output::Control { link, body: ControlBody::PeerMessage(bytes) } => sent.push((link, bytes)),
                Output::ControlToAll { links, body: ControlBody::PeerMessage(bytes) } => {
                    sent.extend(links.into_iter().map(|link| (link, bytes.clone())));
                }
                _ => {}
            }
        }
        sent
    }

    fn link_up(&mut self, now: Now, to: u8, link: LinkSlot) {
        let peer = cast::peer(to, Roles::EDGE, 1);
        for fact in self.neighbours.link_up(now, link, peer, &mut self.out) {
            self.peering.on_fact(now, &fact, &self.neighbours, &mut self.out);
        }
    }

    fn reputation_of(&self, seed: u8) -> u32 {
        self.neighbours.reputation(at(0), id(seed)).millionths()
    }

    fn ask(&mut self, now: Now, by: u32, name: &str, count: u32) {
        let ask = AskPeers { by, name: name.into(), count };
        self.peering.ask(now, (ConnectionSlot(1), 9), ask, &self.neighbours, &mut self.out);
    }

    fn answer(&mut self) -> Option<PeersView> {
        self.out.outputs().iter().find_map(|output| match output {
            Output::Reply { say: Say::Peers(view), .. } => Some(view.clone()),
            _ => None,
        })
    }
}

/// Nodes linked one with the next; of each its link to the node of seed S has the slot S.
fn chain(nodes: Vec<Presence>) -> Vec<Bench> {
    let mut benches: Vec<Bench> =
        (1..).zip(nodes).map(|(seed, presence)| Bench::new(seed, presence)).collect();
    let count = benches.len() as u8;
    for bench in &mut benches {
        for other in [bench.seed - 1, bench.seed + 1] {
            if (1..=count).contains(&other) {
                bench.link_up(at(0), other, LinkSlot(u32::from(other)));
            }
        }
        // Everybody has heard of everybody.
        let me = bench.seed;
        for seed in (1..=count).filter(|seed| *seed != me) {
            if bench.neighbours.get(id(seed)).is_none() {
                bench.link_up(at(0), seed, LinkSlot(100 + u32::from(seed)));
                let down =
                    bench.neighbours.link_down(at(0), LinkSlot(100 + u32::from(seed)), false, &mut bench.out);
                for fact in down {
                    bench.peering.on_fact(at(0), &fact, &bench.neighbours, &mut bench.out);
                }
            }
        }
    }
    benches
}

/// Carries messages until there are none.
fn carry(benches: &mut [Bench], now: Now) {
    loop {
        let mut moving = Vec::new();
        for bench in benches.iter_mut() {
            let from = bench.seed;
            moving.extend(bench.sent().into_iter().map(|(link, bytes)| (from, link, bytes)));
        }
        if moving.is_empty() {
            return;
        }
        for (from, link, bytes) in moving {
            let Some(to) = benches.iter_mut().find(|bench| LinkSlot(u32::from(bench.seed)) == link) else {
                continue;
            };
            let Bench { neighbours, peering, out, .. } = to;
            let facts = peering.hear(now, LinkSlot(u32::from(from)), bytes, neighbours, out);
            assert_eq!(facts, [], "nobody honest is at fault");
        }
    }
}

fn wake(benches: &mut [Bench], now: Now) {
    for Bench { peering, neighbours, out, .. } in benches.iter_mut() {
        peering.wake(now, neighbours, out);
        assert!(peering.deadline().is_none_or(|due| due > now.mono), "it wants to be woken again at once");
        peering.check();
    }
    carry(benches, now);
}

fn names(view: &PeersView) -> Vec<&str> {
    view.peers.iter().map(|peer| peer.name.as_str()).collect()
}

#[test]
fn a_node_announces_itself_a_while_after_its_first_link() {
    let mut mesh =
        chain(vec![presence(1, false, &[]), presence(2, false, &["films"]), presence(3, false, &[])]);
    carry(&mut mesh, at(0));
    wake(&mut mesh, at(1_999));
    mesh[0].ask(at(1_999), 0, "", 10);
    assert_eq!(mesh[0].answer().map(|view| view.peers.len()), Some(0));
    wake(&mut mesh, at(2_000));
    mesh[0].out.drain();
    mesh[0].ask(at(2_001), 0, "", 10);
    let view = mesh[0].answer().expect("its table answers");
    assert!(!view.has_asked_others);
    assert_eq!(names(&view)[0], "node-1");
    assert_eq!(view.peers.len(), 3);
    let node_2 = view.peers.iter().find(|peer| peer.name == "node-2").expect("it was announced");
    assert_eq!(
        (&node_2.capabilities[..], &node_2.addresses[..]),
        (&["service:films".to_string()][..], &["192.0.2.2:7420".to_string()][..])
    );
    assert_eq!(
        (node_2.status.as_str(), node_2.region.as_str(), node_2.reputation),
        ("alive", "east", 10_000)
    );
}

#[test]
fn a_silent_node_is_in_no_answer_and_finds_others() {
    let mut mesh =
        chain(vec![presence(1, false, &[]), presence(2, true, &["films"]), presence(3, false, &["films"])]);
    wake(&mut mesh, at(2_000));
    carry(&mut mesh, at(2_000));
    for asker in &mut mesh {
        asker.out.drain();
        asker.ask(at(3_000), 0, "", 10);
        let view = asker.answer().expect("its table answers");
        assert!(!names(&view).contains(&"node-2"), "{view:?}");
    }
    // It passes on what others say, as everybody does.
    mesh[0].out.drain();
    mesh[0].ask(at(3_000), 1, "films", 10);
    assert_eq!(names(&mesh[0].answer().expect("all are known")), ["node-3"]);
    mesh[1].out.drain();
    mesh[1].ask(at(3_000), 1, "films", 10);
    assert_eq!(names(&mesh[1].answer().expect("all are known")), ["node-3"]);
    let slot = mesh[0].peering.exchange.registry().slot_of_short(id(2)).expect("its neighbour knows it");
    let record = mesh[0].peering.exchange.registry().record(slot).expect("it is there");
    assert!(record.info.addresses.is_empty() && !record.is_listable());
}

#[test]
fn who_has_a_blob_is_asked_of_others_and_waited_for_a_while() {
    let mut mesh = chain(vec![presence(1, false, &[]), presence(2, false, &[]), presence(3, false, &[])]);
    wake(&mut mesh, at(2_000));
    mesh[0].out.drain();
    mesh[0].ask(at(3_000), 3, "b3", 2);
    assert_eq!(mesh[0].answer(), None);
    carry(&mut mesh, at(3_000));
    // The answer was carried away with everything else, unless fewer came than were wanted.
    let due = mesh[0].peering.deadline().expect("it waits for more");
    assert_eq!(due, at(3_000).mono + limits::PEERS_WAIT);
    let Bench { peering, neighbours, out, .. } = &mut mesh[0];
    peering.wake(at(5_000), neighbours, out);
    let view = mesh[0].answer().expect("its time is up");
    assert!(view.has_asked_others);
    assert_eq!(names(&view), ["node-3"]);
}

#[test]
fn questions_are_bounded_and_forgotten_with_who_asked() {
    let mut mesh = chain(vec![presence(1, false, &[]), presence(2, false, &[])]);
    wake(&mut mesh, at(2_000));
    mesh[0].out.drain();
    mesh[0].ask(at(3_000), 3, &"x".repeat(65), 2);
    mesh[0].ask(at(3_000), 7, "x", 2);
    for _ in 0..=limits::PEERS_ASKED_MAX {
        mesh[0].ask(at(3_000), 3, "nobody-has-it", 2);
    }
    let refused = mesh[0]
        .out
        .outputs()
        .iter()
        .filter(|output| matches!(output, Output::Reply { say: Say::Refused(_), .. }));
    assert_eq!(refused.count(), 3);
    assert_eq!(mesh[0].peering.asked.len(), limits::PEERS_ASKED_MAX);
    mesh[0].peering.disconnected(ConnectionSlot(1));
    assert!(mesh[0].peering.asked.is_empty());
}

#[test]
fn nonsense_lowers_a_neighbours_reputation_and_strangers_do_not() {
    let mut mesh = chain(vec![presence(1, false, &[]), presence(2, false, &[])]);
    // A node that nobody here knows announces itself.
    let mut stranger = chain(vec![presence(1, false, &[]), presence(9, false, &[])]).remove(0);
    let me = cast::identity(77, Roles::EDGE, 1);
    stranger.neighbours = Neighbours::new(me.clone(), Vec::new(), 1);
    stranger.peering = Peering::new(&me, 5);
    stranger.link_up(at(0), 1, LinkSlot(1));
    stranger.sent();
    let Bench { peering, neighbours, out, .. } = &mut stranger;
    peering.wake(at(2_000), neighbours, out);
    let said = stranger.sent();
    assert!(!said.is_empty());
    let Bench { peering, neighbours, out, .. } = &mut mesh[0];
    for (_, bytes) in said {
        assert_eq!(peering.hear(at(2_000), LinkSlot(2), bytes, neighbours, out), []);
    }
    assert!(peering.counters().any(|counter| counter.name == "peers.strangers" && counter.value > 0));
    assert_eq!(mesh[0].reputation_of(2), 1_000_000);
    let nonsense = Bytes::from_static(&[0xff; 9]);
    let Bench { peering, neighbours, out, .. } = &mut mesh[0];
    peering.hear(at(2_000), LinkSlot(2), nonsense.clone(), neighbours, out);
    assert_eq!(mesh[0].reputation_of(2), 900_000);
    // Over a relayed link it is not taken at all.
    let Bench { peering, neighbours, out, .. } = &mut mesh[0];
    peering.hear(at(2_000), LinkSlot(LinkSlot::RELAYED.0 + 2), nonsense, neighbours, out);
    assert_eq!(mesh[0].reputation_of(2), 900_000);
}

#[test]
fn who_is_banned_or_gone_is_named_to_nobody() {
    let mut mesh = chain(vec![presence(1, false, &[]), presence(2, false, &[]), presence(3, false, &[])]);
    wake(&mut mesh, at(2_000));
    let Bench { peering, neighbours, out, .. } = &mut mesh[0];
    for second in 3..20 {
        let nonsense = Bytes::from_static(&[0xff; 9]);
        let now = at(second * 1_000);
        for fact in peering.hear(now, LinkSlot(2), nonsense, neighbours, out) {
            peering.on_fact(now, &fact, neighbours, out);
        }
    }
    assert!(neighbours.get(id(2)).is_some_and(Known::is_banned));
    let now = at(60_000);
    peering.wake(now, neighbours, out);
    out.drain();
    mesh[0].ask(now, 0, "", 10);
    let view = mesh[0].answer().expect("its table answers");
    assert!(!names(&view).contains(&"node-2"), "{view:?}");
}

#[test]
fn near_peers_come_first() {
    let mut mesh = chain(vec![presence(1, false, &[]), presence(2, false, &[]), presence(3, false, &[])]);
    wake(&mut mesh, at(2_000));
    let Bench { peering, neighbours, out, .. } = &mut mesh[1];
    let distances = |first: u64, third: u64| {
        vec![(LinkSlot(1), Duration::from_millis(first)), (LinkSlot(3), Duration::from_millis(third))]
    };
    peering.on_distances(at(3_000), &distances(80, 2), neighbours);
    // Sooner than the spacing, it is not taken.
    peering.on_distances(at(4_000), &distances(1, 900), neighbours);
    out.drain();
    mesh[1].ask(at(4_000), 0, "", 10);
    let view = mesh[1].answer().expect("its table answers");
    assert_eq!(names(&view), ["node-2", "node-3", "node-1"]);
    assert_eq!(view.peers.iter().map(|peer| peer.rtt_us).collect::<Vec<_>>(), [0, 2_000, 80_000]);
    assert!(view.peers[1].score > view.peers[2].score);
}

#[test]
fn a_presence_names_services_and_keeps_to_the_bounds() {
    let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
    let names = Presence::names(&words(&["relay"]), &words(&["films"])).expect("good names");
    assert_eq!(names.iter().collect::<Vec<_>>(), ["relay", "service:films"]);
    assert!(Presence::names(&[], &words(&[""])).is_err());
    assert!(Presence::names(&words(&["two words"]), &[]).is_err());
    let many = Presence { addresses: vec![([192, 0, 2, 1], 1).into(); 9], ..Presence::default() };
    assert_eq!(many.info([1; 32], &"v".repeat(33), RegionId(1)).check(), Ok(()));
    let silent = Presence { is_silent: true, ..many };
    let info = silent.info([1; 32], "1", RegionId(1));
    assert!(info.addresses.is_empty() && !info.broadcast);
    assert_eq!(info.capabilities, Capabilities::default());
}

#[test]
fn what_is_sent_can_be_read() {
    let mut mesh = chain(vec![presence(1, false, &[]), presence(2, false, &[])]);
    let sent = mesh[0].sent();
    let is_hello = |bytes: &Bytes| {
        PeerMessage::read(bytes.clone())
            .is_some_and(|message| matches!(message.body, Some(PeerBody::Hello(_))))
    };
    assert!(is_hello(&sent[0].1));
    assert!(sent.iter().all(|(link, _)| *link == LinkSlot(2)));
}
