//! Certificates of seconds that are renewed all the time, under traffic in both directions.
//!
//! `STARLING_ROTATIONS` says how many links move, `STARLING_ROTATION_REPORT` where the figures go.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use starling_core::hash::HashMap;
use starling_core::hot::view::{Me, Origin, View, subscription};
use starling_core::id::NodeId;
use starling_core::identity::{PublicKey, Roles, SecretKey, VerifyKey};
use starling_core::machine::{Destination, Input, LinkSlot, Machine, Outbox, Output};
use starling_core::time::{Now, Time};
use starling_core::wire::agent::{Attach, Deliver, Publish, wire_frame};
use starling_core::wire::bundle::Class;
use starling_core::wire::codec::Reader;
use starling_core::wire::entry::take_entry;
use starling_core::wire::frame::FrameType;
use starling_core::wire::message::{ControlBody, UpdateApplied};
use starling_net::trust::{Authority, NodeCredentials, NodeRequest};
use starling_net::{Node, NodeHandle, NodeSettings, Start};

use super::support::{Client, client_endpoint, settings, wall_ms};
use super::{candidate, publish};

const NODES: usize = 4;
/// The life of a certificate; its length on paper is up to a second longer.
const LIFE: Duration = Duration::from_secs(4);
const ADMITTED_FOR: Duration = Duration::from_secs(24 * 3_600);
const ROTATIONS: u64 = 150;
/// How often each node says something over each of its links.
const TALK: Duration = Duration::from_millis(2);
/// Microseconds since the test's start are in this many low bits of what is said, a count above.
const TIME_BITS: u32 = 36;
const BASELINE: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(60);

/// What one node's machine saw.
#[derive(Debug, Default)]
struct Tally {
    up: BTreeMap<LinkSlot, (NodeId, u64)>,
    downs: Vec<bool>,
    heard: u64,
    wrong: Vec<String>,
    /// Microseconds that messages took, of late.
    delays: Vec<u64>,
}

/// Counts upward on each link, and checks that its peers do.
struct Talker {
    tally: Arc<Mutex<Tally>>,
    told: Arc<Mutex<Vec<Output>>>,
    started: Instant,
    sent: BTreeMap<LinkSlot, u64>,
    next: Time,
}

impl Talker {
    fn micros(&self) -> u64 {
        self.started.elapsed().as_micros() as u64
    }
}

impl Machine for Talker {
    fn handle(&mut self, now: Now, input: Input, out: &mut Outbox) {
        let micros = self.micros();
        let mut tally = self.tally.lock().unwrap();
        match input {
            Input::LinkUp { link, peer } => {
                tally.up.insert(link, (peer.admission.node(), 0));
                self.sent.insert(link, 0);
            }
            Input::LinkDown { link, timed_out } => {
                tally.downs.push(timed_out);
                self.sent.remove(&link);
            }
            Input::Control { link, body: ControlBody::UpdateApplied(UpdateApplied { index }) } => {
                let (count, at) = (index >> TIME_BITS, index & ((1 << TIME_BITS) - 1));
                let before = tally.up.get(&link).map_or(0, |(_, heard)| *heard);
                if count != before + 1 {
                    tally.wrong.push(format!("{link:?}: {count} after {before}"));
                }
                tally.up.entry(link).and_modify(|(_, heard)| *heard = count);
                tally.heard += 1;
                tally.delays.push(micros.saturating_sub(at));
            }
            Input::Stop => out.push(Output::Stopped),
            _ => {}
        }
        self.told.lock().unwrap().drain(..).for_each(|output| out.push(output));
        if now.mono < self.next {
            return;
        }
        self.next = now.mono + TALK;
        for (link, count) in &mut self.sent {
            *count += 1;
            let index = *count << TIME_BITS | micros;
            out.push(Output::Control {
                link: *link,
                body: ControlBody::UpdateApplied(UpdateApplied { index }),
            });
        }
    }

    fn deadline(&self) -> Option<Time> {
        Some(self.next)
    }

    fn check(&self) {}
}

struct Member {
    handle: NodeHandle,
    me: Me,
    node: NodeId,
    key: PublicKey,
    identity: SecretKey,
    tally: Arc<Mutex<Tally>>,
    told: Arc<Mutex<Vec<Output>>>,
    _directory: tempfile::TempDir,
}

fn certified(authority: &Authority, identity: &SecretKey, life: Duration) -> NodeCredentials {
    let request = NodeRequest::new(Roles::EDGE, "eu", "member", life).unwrap().admitted_for(ADMITTED_FOR);
    authority.renew(&request, identity.clone(), Time::from_millis(wall_ms())).unwrap()
}

impl Member {
    async fn start(authority: &Authority, number: u8, started: Instant) -> Member {
        let directory = tempfile::tempdir().unwrap();
        let identity = SecretKey::from_seed([number + 1; 32]);
        let credentials = certified(authority, &identity, LIFE);
        let key = identity.public();
        let settings = NodeSettings { credentials, ..settings(authority, "member", directory.path()) };
        let (tally, told) = <(Arc<Mutex<Tally>>, Arc<Mutex<Vec<Output>>>)>::default();
        let talker = Talker {
            tally: Arc::clone(&tally),
            told: Arc::clone(&told),
            started,
            sent: BTreeMap::new(),
            next: Time::ZERO,
        };
        let mut who = None;
        let make = |start: Start| -> Box<dyn Machine> {
            who = Some((start.me, start.node));
            Box::new(talker)
        };
        let handle = Node::start(settings, make).await.unwrap();
        let (me, node) = who.unwrap();
        Member { handle, me, node, key, identity, tally, told, _directory: directory }
    }

    fn renew(&self, authority: &Authority, life: Duration) {
        let credentials = certified(authority, &self.identity, life);
        self.handle.replace_credentials(&credentials, authority.trust()).unwrap();
    }

    /// Links that went down, and what came out of order.
    fn seen_wrong(&self) -> (Vec<bool>, Vec<String>) {
        let tally = self.tally.lock().unwrap();
        (tally.downs.clone(), tally.wrong.clone())
    }

    fn tell(&self, output: Output) {
        self.told.lock().unwrap().push(output);
    }

    fn link_to(&self, other: &Member) -> Option<LinkSlot> {
        let tally = self.tally.lock().unwrap();
        tally.up.iter().find(|(_, (node, _))| *node == other.node).map(|(link, _)| *link)
    }

    /// Has it route what this member's client publishes to the other, and back.
    fn route(&self, other: &Member, mine: &str, theirs: &str, receiver: u64) {
        let mut view = View::empty(self.me.id.0);
        let id = other.me.id;
        let origin = Origin::new(id, other.me.region, VerifyKey::new(&other.key).unwrap(), false);
        let link = self.link_to(other).unwrap();
        view.origins = Arc::new(HashMap::from_iter([(id, Arc::new(origin))]));
        view.links = Arc::new(HashMap::from_iter([(id, link)]));
        view.peers = Arc::new(HashMap::from_iter([(link, id)]));
        view.destinations = Arc::new(vec![Destination::Node(id)]);
        assert!(view.remote.insert(&mine.parse().unwrap(), 0));
        assert!(view.local.insert(&theirs.parse().unwrap(), receiver));
        self.tell(Output::View(Box::new(view)));
    }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Middle, 99th hundredth and worst of what came since the last call.
fn delays(members: &[Member]) -> [u64; 3] {
    let mut all: Vec<u64> = Vec::new();
    members.iter().for_each(|member| all.append(&mut member.tally.lock().unwrap().delays));
    all.sort_unstable();
    [all.len() / 2, all.len() * 99 / 100, all.len() - 1].map(|at| all[at])
}

/// A client of `edge` that is known there by one agent; it keeps what it subscribed to in order.
async fn client(authority: &Authority, edge: &Member) -> Client {
    let address = edge.handle.address();
    let mut client =
        Client::reach(&client_endpoint(authority), address, edge.node, edge.me.incarnation).await;
    let candidates = vec![candidate(&client, &SecretKey::from_seed([99; 32]), 4)];
    client.send(wire_frame(FrameType::Attach, &Attach { request: 1, candidates })).await;
    client
}

/// Publishes by turns in both classes until told to stop; returns how many entries.
async fn publish_all(
    mut client: Client,
    subject: &'static str,
    stop: Arc<std::sync::atomic::AtomicBool>,
) -> u64 {
    let mut sequence = 0;
    let mut turn = tokio::time::interval(TALK);
    loop {
        tokio::select! {
            _ = turn.tick() => {
                if stop.load(std::sync::atomic::Ordering::Relaxed) {
                    return sequence;
                }
                sequence += 1;
                let class = if sequence % 2 == 0 { Class::EventPriority } else { Class::EventBulk };
                let payload = Bytes::from(vec![sequence as u8; 128]);
                let mut frame = BytesMut::new();
                Publish { sequence, class, ..publish(4, subject, payload) }.put_frame(&mut frame);
                client.send(frame.freeze()).await;
            }
            _ = client.frame(FrameType::Published) => {}
        }
    }
}

/// Receives until the last of `count` entries came; each class's come in order, each once.
async fn receive_all(mut client: Client, counted: tokio::sync::watch::Receiver<Option<u64>>) {
    let mut last = [0, 0];
    let mut received = 0;
    loop {
        if counted.borrow().is_some_and(|count| received == count) {
            return;
        }
        let Ok(body) = tokio::time::timeout(Duration::from_secs(1), client.frame(FrameType::Deliver)).await
        else {
            let waits = counted.borrow().is_none();
            assert!(waits || received > 0, "{received} of {:?} entries came", *counted.borrow());
            continue;
        };
        let deliver = Deliver::decode(&body).unwrap();
        let mut reader = Reader::new(&deliver.body);
        for _ in 0..deliver.count {
            let entry = take_entry(&mut reader).unwrap();
            let before = &mut last[entry.sequence as usize % 2];
            let expected = if *before == 0 { 2 - entry.sequence % 2 } else { *before + 2 };
            assert_eq!(entry.sequence, expected, "each once and in order");
            assert!(entry.payload.iter().all(|byte| *byte == entry.sequence as u8));
            *before = entry.sequence;
            received += 1;
        }
    }
}

async fn mesh(authority: &Authority) -> Vec<Member> {
    let started = Instant::now();
    let mut members: Vec<Member> = Vec::new();
    for number in 0..NODES {
        let member = Member::start(authority, number as u8, started).await;
        for other in &members {
            member.tell(Output::Dial { address: other.handle.address().to_string() });
        }
        members.push(member);
    }
    let linked = |member: &Member| member.tally.lock().unwrap().up.len() == NODES - 1;
    until("all links", || members.iter().all(linked)).await;
    members
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_move_under_traffic_and_nobody_notices() {
    let rotations = std::env::var("STARLING_ROTATIONS")
        .map_or(ROTATIONS, |text| text.parse().expect("a number of moves"));
    let authority = Authority::create("test").unwrap();
    let members = mesh(&authority).await;
    let (a, b) = (&members[0], &members[1]);
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (mut publishing, mut receiving) = (Vec::new(), Vec::new());
    for (from, to, mine, theirs) in [(a, b, "from-a.>", "from-b.>"), (b, a, "from-b.>", "from-a.>")] {
        // A node's first connection of agents has slot 1.
        receiving.push(client(&authority, from).await);
        from.route(to, mine, theirs, subscription(1, 11));
    }
    // What is published before both have their views has no subscriber.
    until("views", || [a, b].iter().all(|member| member.handle.plane().view().links.len() == 1)).await;
    for (from, subject) in [(a, "from-a.x"), (b, "from-b.x")] {
        let publisher = client(&authority, from).await;
        publishing.push(tokio::spawn(publish_all(publisher, subject, Arc::clone(&stop))));
    }
    let counts = [tokio::sync::watch::channel(None), tokio::sync::watch::channel(None)];
    let receiving: Vec<_> = receiving
        .into_iter()
        .zip(&counts)
        .map(|(client, (_, count))| tokio::spawn(receive_all(client, count.clone())))
        .collect();

    let renewing = |life| members.iter().for_each(|member| member.renew(&authority, life));
    let moved = || members.iter().map(|member| member.handle.moves().0).sum::<u64>();
    let links = (NODES * (NODES - 1) / 2) as u64;
    // All links move to long certificates, so that nothing moves while it is measured.
    renewing(Duration::from_secs(3_600));
    until("long certificates", || moved() >= links).await;
    delays(&members);
    tokio::time::sleep(BASELINE).await;
    let calm = delays(&members);
    let (began, before) = (Instant::now(), moved());
    while moved() - before < rotations {
        let round = moved();
        renewing(LIFE);
        until("a round of moves", || moved() >= round + links).await;
        for member in &members {
            assert_eq!(
                member.seen_wrong(),
                (Vec::new(), Vec::new()),
                "links down, and messages out of order"
            );
        }
    }
    let (took, moves) = (began.elapsed(), moved() - before);
    let rotating = delays(&members);
    let failed: u64 = members.iter().map(|member| member.handle.moves().1).sum();

    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let mut entries = 0;
    for (publisher, at) in publishing.into_iter().zip([1, 0]) {
        let count = publisher.await.unwrap();
        entries += count;
        counts[at].0.send_replace(Some(count));
    }
    for receiver in receiving {
        tokio::time::timeout(PATIENCE, receiver).await.expect("all entries come").unwrap();
    }
    let heard: u64 = members.iter().map(|member| member.tally.lock().unwrap().heard).sum();
    let report = format!(
        "{{\"schema\":\"starling.rotation/1\",\"rotations\":{moves},\"failed_attempts\":{failed},\
         \"seconds\":{:.1},\"control_messages\":{heard},\"entries\":{entries},\"links_down\":0,\
         \"calm_us\":{{\"p50\":{},\"p99\":{},\"max\":{}}},\"rotating_us\":{{\"p50\":{},\"p99\":{},\"max\":{}}}}}\n",
        took.as_secs_f64(),
        calm[0],
        calm[1],
        calm[2],
        rotating[0],
        rotating[1],
        rotating[2],
    );
    print!("{report}");
    if let Ok(path) = std::env::var("STARLING_ROTATION_REPORT") {
        std::fs::write(path, report).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_ends_with_the_certificate_that_opened_it() {
    let authority = Authority::create("test").unwrap();
    let members = mesh(&authority).await;
    // All but the last have new certificates: its links end, those of the others move and stay.
    let (expiring, others) = members.split_last().unwrap();
    others.iter().for_each(|member| member.renew(&authority, Duration::from_secs(3_600)));
    until("the end of its links", || expiring.tally.lock().unwrap().downs.len() == NODES - 1).await;
    until("their ends", || others.iter().all(|member| member.tally.lock().unwrap().downs.len() == 1)).await;
    assert!(expiring.tally.lock().unwrap().downs.iter().all(|timed_out| !timed_out));
    for member in others {
        assert!(member.link_to(expiring).is_some_and(|link| link.0 > 0), "it was linked once");
        member.tell(Output::Dial { address: expiring.handle.address().to_string() });
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    for member in others {
        let ups = member.tally.lock().unwrap().up.len();
        let (downs, wrong) = member.seen_wrong();
        assert_eq!((ups, downs.len(), wrong), (NODES - 1, 1, Vec::new()), "nobody links with it any more");
    }
    // With a new certificate it is let in again.
    expiring.renew(&authority, Duration::from_secs(3_600));
    others[0].tell(Output::Dial { address: expiring.handle.address().to_string() });
    until("a new link", || others[0].tally.lock().unwrap().up.len() == NODES).await;
}
