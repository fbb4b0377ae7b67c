use super::*;
use crate::wire::message::Names;

/// What a node sends: names offered, names wanted, records.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    offered: usize,
    wanted: usize,
    records: usize,
}

fn told(out: &mut Outbox) -> Told {
    let mut told = Told::default();
    for output in out.drain() {
        let (links, body) = match output {
            Output::Control { body, .. } => (1, body),
            Output::ControlToAll { links, body } => (links.len(), body),
            _ => continue,
        };
        match body {
            ControlBody::Names(names) => {
                assert_eq!(names.offered.len(), names.incarnations.len());
                told.offered += links * names.offered.len();
                told.wanted += links * names.wanted.len();
            }
            ControlBody::Peers(peers) => told.records += links * peers.records.len(),
            _ => {}
        }
    }
    told
}

fn records(seeds: std::ops::Range<u8>) -> Vec<PeerRecord> {
    seeds.map(|seed| record(seed, Roles::EDGE, "west")).collect()
}

/// A node with links to two peers, which has told them of itself.
fn linked() -> (Neighbours, Outbox) {
    let (mut node, mut out) = (me(Roles::AGGREGATOR, &[]), Outbox::new());
    for (link, seed) in [(1, 2), (2, 3)] {
        node.link_up(at(0), LinkSlot(link), peer(seed, Roles::EDGE, "east"), &mut out);
    }
    node.wake(at(100), &mut out);
    out.drain();
    (node, out)
}

fn say(node: &mut Neighbours, now: u64, link: u32, names: &Names, out: &mut Outbox) -> Told {
    let said = node.on_control(at(now), LinkSlot(link), ControlBody::Names(names.clone()), out);
    assert_eq!(said, Ok(Vec::new()));
    told(out)
}

fn offer(seeds: std::ops::Range<u8>) -> Names {
    let offered: Vec<u64> = seeds.map(|seed| id(seed).0).collect();
    Names { incarnations: vec![1; offered.len()], offered, wanted: Vec::new() }
}

#[test]
fn many_nodes_are_named_and_few_are_told() {
    let (mut node, mut out) = linked();
    hear(&mut node, at(200), records(10..110), &mut out);
    node.wake(at(300), &mut out);
    assert_eq!(told(&mut out), Told { offered: 2 * 100, ..Told::default() });
    hear(&mut node, at(400), records(110..120), &mut out);
    node.wake(at(500), &mut out);
    assert_eq!(told(&mut out), Told { records: 2 * 10, ..Told::default() });
    // That somebody left is told in any case: who knows him would not ask.
    for seed in 10..110 {
        node.note_left(at(600), id(seed));
    }
    node.wake(at(700), &mut out);
    assert_eq!(told(&mut out), Told { records: 2 * 100, ..Told::default() });
}

#[test]
fn a_record_is_asked_for_at_one_peer_until_it_does_not_answer() {
    let (mut node, mut out) = linked();
    let wants = |wanted| Told { wanted, ..Told::default() };
    assert_eq!(say(&mut node, 200, 1, &offer(10..110), &mut out), wants(100));
    assert_eq!(say(&mut node, 300, 2, &offer(10..120), &mut out), wants(10), "the others are on their way");
    hear(&mut node, at(400), records(10..60), &mut out);
    assert_eq!(say(&mut node, 1_300, 2, &offer(10..120), &mut out), wants(60), "they are late");
    hear(&mut node, at(1_400), records(60..120), &mut out);
    assert_eq!(say(&mut node, 9_000, 1, &offer(10..120), &mut out), wants(0));
    let younger = Names { incarnations: vec![2; 110], ..offer(10..120) };
    assert_eq!(say(&mut node, 9_000, 1, &younger, &mut out), wants(110), "they restarted");
    // Names without incarnations, of this node, and from nobody.
    let bare = Names { incarnations: Vec::new(), ..offer(120..130) };
    assert_eq!(say(&mut node, 9_000, 1, &bare, &mut out), wants(0));
    assert_eq!(say(&mut node, 9_000, 1, &offer(1..2), &mut out), wants(0));
    assert_eq!(say(&mut node, 9_000, 7, &offer(120..130), &mut out), wants(0));
    node.check();
}

#[test]
fn who_asks_gets_as_many_records_in_a_second_as_there_may_be_nodes() {
    let (mut node, mut out) = linked();
    hear(&mut node, at(200), records(10..20), &mut out);
    node.wake(at(300), &mut out);
    out.drain();
    let ask = Names { wanted: offer(10..20).offered, ..Names::default() };
    assert_eq!(say(&mut node, 400, 1, &ask, &mut out).records, 10);
    let greedy = Names { wanted: vec![id(10).0; 100_000], ..Names::default() };
    let came: usize = (0..9).map(|_| say(&mut node, 500, 1, &greedy, &mut out).records).sum();
    assert_eq!(came, PEERS_MAX - 10);
    assert_eq!(say(&mut node, 500, 2, &ask, &mut out).records, 10, "another peer is served");
    assert_eq!(say(&mut node, 1_600, 1, &ask, &mut out).records, 10, "a second later it is again");
    let unknown = Names { wanted: vec![7], ..Names::default() };
    assert_eq!(say(&mut node, 1_600, 1, &unknown, &mut out), Told::default());
}

#[test]
fn no_names_are_remembered_beyond_the_nodes_that_there_may_be() {
    let (mut node, mut out) = linked();
    let made_up = |from: u64| Names {
        offered: (from..from + 2_000).collect(),
        incarnations: vec![1; 2_000],
        wanted: Vec::new(),
    };
    let wanted: usize = (0..9).map(|at| say(&mut node, 200, 1, &made_up(at * 2_000), &mut out).wanted).sum();
    assert_eq!(wanted, PEERS_MAX - node.iter().count());
    // Those who answered nothing are forgotten.
    node.wake(at(120_000), &mut out);
    out.drain();
    assert_eq!(say(&mut node, 120_000, 2, &offer(10..110), &mut out).wanted, 100);
}
