//! Nodes over loopback with a machine that records its inputs and does what the test says.

#![allow(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

mod agreement;
mod renewal;
mod rotation;
mod slow;
mod support;
mod window;

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use starling_core::event::Event;
use starling_core::hash::HashMap;
use starling_core::hot::view::{Origin, View, subscription};
use starling_core::id::AgentId;
use starling_core::identity::{SecretKey, VerifyKey};
use starling_core::machine::{Destination, Input, LinkSlot, Output};
use starling_core::wire::agent::{
    Attach, Candidate, Change, Deliver, Profile, Publish, Published, Receivers, SystemAcknowledge, wire_frame,
};
use starling_core::wire::bundle::Class;
use starling_core::wire::codec::Reader;
use starling_core::wire::entry::{Extras, take_entry};
use starling_core::wire::frame::{FrameDecoder, FrameType};
use starling_core::wire::message::{ControlBody, UpdateApplied};
use starling_core::wire::request::{Attached, Reply, Say};
use starling_net::probe::Probe;
use starling_net::trust::Authority;
use support::{Bench, Client, client_endpoint};

fn link_up(input: &Input) -> Option<(LinkSlot, String)> {
    match input {
        Input::LinkUp { link, peer } => Some((*link, peer.admission.name.to_string())),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_link_up_talk_and_part() {
    let authority = Authority::create("test").unwrap();
    let (a, b) = (Bench::start(&authority, "a").await, Bench::start(&authority, "b").await);
    a.act([Output::Dial { address: b.handle.address().to_string() }]).await;
    let (a_link, name) = a.until("link to b", link_up).await;
    assert_eq!(name, "b");
    let (b_link, name) = b.until("link to a", link_up).await;
    assert_eq!(name, "a");
    let say =
        |link, index| Output::Control { link, body: ControlBody::UpdateApplied(UpdateApplied { index }) };
    a.act((1..=1000).map(|index| say(a_link, index))).await;
    b.until("the last message", |input| match input {
        Input::Control { link, body: ControlBody::UpdateApplied(UpdateApplied { index: 1000 }) } => {
            Some(*link)
        }
        _ => None,
    })
    .await;
    let heard = b.collect(|input| match input {
        Input::Control { body: ControlBody::UpdateApplied(applied), .. } => Some(applied.index),
        _ => None,
    });
    assert!(heard.iter().copied().eq(1..=1000), "in order and each once");
    b.act([say(b_link, 7)]).await;
    a.until("the answer", |input| matches!(input, Input::Control { .. }).then_some(())).await;

    let started = std::time::Instant::now();
    b.handle.stop().await;
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    let timed_out = a
        .until("the end", |input| match input {
            Input::LinkDown { link, timed_out } if *link == a_link => Some(*timed_out),
            _ => None,
        })
        .await;
    assert!(!timed_out);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_and_oneself_are_refused() {
    let (ours, theirs) = (Authority::create("test").unwrap(), Authority::create("test").unwrap());
    let (a, stranger) = (Bench::start(&ours, "a").await, Bench::start(&theirs, "stranger").await);
    let own = a.handle.address().to_string();
    stranger.act([Output::Dial { address: own.clone() }]).await;
    let failed = |input: &Input| match input {
        Input::DialFailed { address } => Some(address.clone()),
        _ => None,
    };
    assert_eq!(stranger.until("the refusal", failed).await, own);
    a.act([Output::Dial { address: own.clone() }]).await;
    assert_eq!(a.until("the refusal", failed).await, own);
    a.act([Output::Dial { address: "no such host:1".to_owned() }]).await;
    a.until("the failure", |input| failed(input).filter(|address| *address != own)).await;
    assert!(a.collect(link_up).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_dials_leave_one_link() {
    let authority = Authority::create("test").unwrap();
    let (a, b) = (Bench::start(&authority, "a").await, Bench::start(&authority, "b").await);
    let dial = |to: &Bench| Output::Dial { address: to.handle.address().to_string() };
    a.act((0..5).map(|_| dial(&b))).await;
    b.act((0..5).map(|_| dial(&a))).await;
    for node in [&a, &b] {
        node.until("a link", link_up).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    for node in [&a, &b] {
        // Told in order: a link goes down before the one that replaces it comes up.
        let mut up = None;
        for change in node.collect(|input| match input {
            Input::LinkUp { link, .. } => Some((*link, true)),
            Input::LinkDown { link, .. } => Some((*link, false)),
            _ => None,
        }) {
            match change {
                (link, true) => assert_eq!(up.replace(link), None),
                (link, false) => assert_eq!(up.take(), Some(link)),
            }
        }
        assert!(up.is_some());
    }
    let link = |node: &Bench| node.collect(link_up).last().unwrap().0;
    let body = || ControlBody::UpdateApplied(UpdateApplied { index: 1 });
    a.act([Output::Control { link: link(&a), body: body() }]).await;
    b.act([Output::Control { link: link(&b), body: body() }]).await;
    for node in [&a, &b] {
        let last = link(node);
        let heard =
            |input: &Input| matches!(input, Input::Control { link, .. } if *link == last).then_some(());
        node.until("a message on the link that was kept", heard).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_link_times_out() {
    let authority = Authority::create("test").unwrap();
    let shaper = starling_net::shaping::Shaper::new(1);
    let a = Bench::start_with(&authority, "a", Some(shaper.clone()), tempfile::tempdir().unwrap()).await;
    let b = Bench::start(&authority, "b").await;
    a.act([Output::Dial { address: b.handle.address().to_string() }]).await;
    b.until("a link", link_up).await;
    shaper.set_default(starling_net::shaping::Rule { cut: true, ..Default::default() });
    let started = std::time::Instant::now();
    let timed_out = b
        .until("the end", |input| match input {
            Input::LinkDown { timed_out, .. } => Some(*timed_out),
            _ => None,
        })
        .await;
    assert!(timed_out && started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

fn candidate(client: &Client, secret: &SecretKey, index: u32) -> Candidate {
    let expires_ms = support::wall_ms() + 60_000;
    Candidate { index, claim: client.terms.sign(secret, 1, expires_ms), profile: Profile::default() }
}

fn publish(agent: u32, subject: &'static str, payload: Bytes) -> Publish {
    Publish {
        agent,
        class: Class::EventBulk,
        directed: false,
        subject: Bytes::from_static(subject.as_bytes()),
        sequence: 1,
        extras: Extras::default(),
        payload,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_attach_with_true_claims_alone() {
    let authority = Authority::create("test").unwrap();
    let edge = Bench::start(&authority, "edge").await;
    let endpoint = client_endpoint(&authority);
    let mut client = Client::connect(&endpoint, &edge).await;
    let secrets: Vec<SecretKey> = (0..3).map(|seed| SecretKey::from_seed([seed; 32])).collect();
    let mut candidates: Vec<Candidate> =
        (0..3).map(|index| candidate(&client, &secrets[index as usize], index)).collect();
    candidates[1].claim.session += 1;
    client.send(wire_frame(FrameType::Attach, &Attach { request: 5, candidates })).await;
    let (connection, valid, forged) = edge
        .until("the attach", |input| match input {
            Input::Attach { connection, request: 5, candidates, forged } => {
                Some((*connection, candidates.iter().map(|c| c.index).collect::<Vec<_>>(), forged.clone()))
            }
            _ => None,
        })
        .await;
    assert_eq!((valid, forged), (vec![0, 2], vec![1]));

    // The machine refuses agent 2; what agents 1 and 2 publish is answered and goes nowhere.
    let closed = |index| starling_core::wire::request::Closed { index, code: 2, text: String::new() };
    let attached = Attached { accepted: 1, refused: vec![closed(1), closed(2)] };
    edge.act([Output::Reply { connection, id: 5, say: Say::Attached(attached) }]).await;
    let Some(Say::Attached(_)) = client.reply(5).await.say else { panic!("no answer") };
    let mut frames = BytesMut::new();
    for agent in [1, 0, 2] {
        publish(agent, "news.today", Bytes::from_static(b"x")).put_frame(&mut frames);
    }
    publish(0, "news.*", Bytes::from_static(b"x")).put_frame(&mut frames);
    for agent in [0, 0] {
        let change = Change { index: agent, state: Some("busy".to_owned()), tags: None };
        frames.extend_from_slice(&wire_frame(FrameType::Change, &change));
        SystemAcknowledge { agent, index: 3 }.put_frame(&mut frames);
    }
    client.send(frames.freeze()).await;
    let published = client.frame(FrameType::Published).await;
    assert_eq!(Published::decode(&published).unwrap().0, [(2, 2)], "nobody wants it, so all have it");
    edge.until("changes", |input| match input {
        Input::Changes { first: 1, changes, .. } => Some(changes.len()),
        _ => None,
    })
    .await;
    let counts = edge
        .until("acknowledgements", |input| match input {
            Input::SystemAcknowledged { counts, .. } => Some(counts.clone()),
            _ => None,
        })
        .await;
    assert_eq!(counts, [(3, 2)]);
    let undelivered = client.notices(|say| match say {
        Say::Undelivered(undelivered) => Some(undelivered.numbers),
        _ => None,
    });
    assert_eq!(undelivered.await, [1, 3, 4]);

    // Every agent gets a frame of its own, and probes are answered.
    let agents = (0..1000).collect();
    let payload = Bytes::from_static(b"decided");
    edge.act([Output::Broadcast { connection, agents, index: 9, payload: payload.clone() }]).await;
    for agent in 0..1000 {
        let system =
            starling_core::wire::agent::System::decode(&client.frame(FrameType::System).await).unwrap();
        assert_eq!((system.agent, system.index, &system.payload), (agent, 9, &payload));
    }
    client.connection.send_datagram(Probe::Ping(77).to_bytes()).unwrap();
    let answer = client.connection.read_datagram().await.unwrap();
    assert_eq!(Probe::from_bytes(&answer), Ok(Probe::Pong(77)));

    client.connection.close(0u32.into(), b"");
    edge.until("the end", |input| match input {
        Input::Disconnected { connection: gone } => (*gone == connection).then_some(()),
        _ => None,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_breaks_the_protocol_is_hung_up_on() {
    let authority = Authority::create("test").unwrap();
    let edge = Bench::start(&authority, "edge").await;
    let endpoint = client_endpoint(&authority);
    let client = &mut Client::connect(&endpoint, &edge).await;
    client.send(Published(vec![(1, 1)]).to_frame()).await;
    let reason = client.connection.closed().await;
    let quinn::ConnectionError::ApplicationClosed(close) = reason else { panic!("{reason}") };
    assert_eq!(close.error_code, starling_net::CloseCode::Protocol.into());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_is_cut() {
    let authority = Authority::create("test").unwrap();
    let edge = Bench::start(&authority, "edge").await;
    let endpoint = client_endpoint(&authority);
    let mut client = Client::connect(&endpoint, &edge).await;
    let attach = Attach { request: 1, candidates: Vec::new() };
    client.send(wire_frame(FrameType::Attach, &attach)).await;
    let connection = edge
        .until("the connection", |input| match input {
            Input::Attach { connection, .. } => Some(*connection),
            _ => None,
        })
        .await;
    let payload = Bytes::from(vec![1; 60_000]);
    edge.act([Output::Broadcast { connection, agents: (0..400).collect(), index: 1, payload }]).await;
    let quinn::ConnectionError::ApplicationClosed(close) = client.connection.closed().await else { panic!() };
    assert_eq!(close.error_code, starling_net::CloseCode::TooSlow.into());
    edge.until("the end", |input| matches!(input, Input::Disconnected { .. }).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_panics_ends_its_node_and_says_so() {
    let authority = Authority::create("test").unwrap();
    let a = Bench::start(&authority, "a").await;
    a.break_machine().await;
    assert!(a.handle.ended().await.unwrap().contains("the machine panicked"));
}

/// Views by which an edge's publications go to a subscriber at another.
async fn wire(from: &Bench, to: &Bench, pattern: &str, receiver: u64) {
    from.act([Output::Dial { address: to.handle.address().to_string() }]).await;
    let (there, _) = from.until("a link", link_up).await;
    let (back, _) = to.until("a link", link_up).await;
    let pattern = pattern.parse().unwrap();
    let view = |mine: &Bench, other: &Bench, link| {
        let mut view = View::empty(mine.me.id.0);
        let key = VerifyKey::new(&other.key).unwrap();
        let id = other.me.id;
        let origin = Arc::new(Origin::new(id, other.me.region, key, false));
        view.origins = Arc::new(HashMap::from_iter([(id, origin)]));
        view.links = Arc::new(HashMap::from_iter([(id, link)]));
        view.peers = Arc::new(HashMap::from_iter([(link, id)]));
        view
    };
    let mut of_from = view(from, to, there);
    of_from.destinations = Arc::new(vec![Destination::Node(to.me.id)]);
    assert!(of_from.remote.insert(&pattern, 0));
    let mut of_to = view(to, from, back);
    assert!(of_to.local.insert(&pattern, receiver));
    to.act([Output::View(Box::new(of_to))]).await;
    from.act([Output::View(Box::new(of_from))]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publications_reach_a_subscriber_at_another_node_unchanged() {
    let authority = Authority::create("test").unwrap();
    let (a, b) = (Bench::start(&authority, "a").await, Bench::start(&authority, "b").await);
    let endpoint = client_endpoint(&authority);
    let (mut publisher, mut subscriber) =
        (Client::connect(&endpoint, &a).await, Client::connect(&endpoint, &b).await);
    let secret = SecretKey::from_seed([9; 32]);
    let attach = |client: &Client| {
        let candidates = vec![candidate(client, &secret, 4)];
        wire_frame(FrameType::Attach, &Attach { request: 1, candidates })
    };
    let frame = attach(&subscriber);
    subscriber.send(frame).await;
    let attached = |input: &Input| match input {
        Input::Attach { connection, .. } => Some(*connection),
        _ => None,
    };
    let connection = b.until("the subscriber", attached).await;
    let frame = attach(&publisher);
    publisher.send(frame).await;
    a.until("the publisher", attached).await;
    wire(&a, &b, "news.>", subscription(connection.0, 11)).await;
    tokio::time::sleep(Duration::from_millis(50)).await;

    let payloads: Vec<Bytes> = (0..3000usize)
        .map(|number| {
            let length = if number % 500 == 0 { 200_000 } else { number % 300 };
            (0..length).map(|at| (at * 31 + number) as u8).collect()
        })
        .collect();
    let mut frames = BytesMut::new();
    for (sequence, payload) in (1..).zip(&payloads) {
        let publish = Publish { sequence, ..publish(4, "news.today", payload.clone()) };
        publish.put_frame(&mut frames);
    }
    let sending = tokio::spawn(async move {
        publisher.send(frames.freeze()).await;
        let mut numbers = Vec::new();
        while numbers.len() < 3000 {
            let ranges = Published::decode(&publisher.frame(FrameType::Published).await).unwrap().0;
            numbers.extend(ranges.into_iter().flat_map(|(from, to)| from..=to));
        }
        numbers.sort_unstable();
        numbers
    });
    let mut received = Vec::new();
    while received.len() < payloads.len() {
        let deliver = Deliver::decode(&subscriber.frame(FrameType::Deliver).await).unwrap();
        assert_eq!(deliver.receivers, Receivers::Subscriptions(vec![11]));
        assert_eq!(deliver.subject, "news.today");
        let mut reader = Reader::new(&deliver.body);
        for _ in 0..deliver.count {
            let entry = take_entry(&mut reader).unwrap();
            assert_eq!(deliver.agent(entry.agent), Some(AgentId::of_key(&secret.public().0)));
            received.push((entry.sequence, Bytes::copy_from_slice(entry.payload)));
        }
    }
    assert!(received.into_iter().eq((1..).zip(payloads)), "each once, in order, byte for byte");
    assert!(sending.await.unwrap().into_iter().eq(1..=3000), "each acknowledged once");
    let counters = a.handle.plane().counters.list();
    let counter = |name| counters.iter().find(|(known, _)| *known == name).unwrap().1;
    assert_eq!(counter("sealed_bundles"), counter("completed_bundles"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_starts_again_has_a_later_incarnation() {
    let authority = Authority::create("test").unwrap();
    let a = Bench::start(&authority, "a").await;
    let first_life = a.me.incarnation;
    let directory = a.stop().await;
    let again = Bench::start_with(&authority, "a", None, directory).await;
    assert!(again.me.incarnation > first_life);
}

#[tokio::test]
async fn a_start_that_fails_says_what_to_do() {
    let authority = Authority::create("test").unwrap();
    let a = Bench::start(&authority, "a").await;
    let mut settings = support::settings(&authority, "b", std::path::Path::new("/proc/none"));
    let error = support::try_start(settings).await.unwrap_err().to_string();
    assert!(error.contains("/proc/none") && error.contains("owner"), "{error}");
    let directory = tempfile::tempdir().unwrap();
    settings = support::settings(&authority, "b", directory.path());
    settings.listen = a.handle.address();
    let error = support::try_start(settings).await.unwrap_err().to_string();
    assert!(error.contains(&a.handle.address().to_string()) && error.contains("another port"), "{error}");
    settings = support::settings(&authority, "b", directory.path());
    settings.trust = Authority::create("other").unwrap().trust().clone();
    let error = support::try_start(settings).await.unwrap_err().to_string();
    assert!(error.contains("another mesh"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_heard_from_the_start() {
    let authority = Authority::create("test").unwrap();
    let a = Bench::start(&authority, "a").await;
    a.act([Output::Event(Event::InterestWidened)]).await;
    assert_eq!(a.handle.events().recv().await.unwrap(), Event::InterestWidened);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_is_served_without_a_connection_and_leaves_when_it_is_dropped() {
    let authority = Authority::create("guests").unwrap();
    let edge = Bench::start(&authority, "edge").await;
    let guest = edge.handle.guest();
    let key = SecretKey::from_seed([7; 32]);
    let claim = guest.terms().sign(&key, 1, support::wall_ms() + 60_000);
    let candidates = vec![Candidate { index: 0, claim, profile: Profile::default() }];
    guest.attach(Attach { request: 5, candidates }).await;
    let connection = edge
        .until("an attach", |input| match input {
            Input::Attach { connection, request: 5, candidates, .. } if candidates.len() == 1 => {
                Some(*connection)
            }
            _ => None,
        })
        .await;
    edge.act([Output::Reply { connection, id: 5, say: Say::Attached(Attached::default()) }]).await;
    let mut decoder = FrameDecoder::new();
    for piece in guest.read().await.unwrap() {
        decoder.push(piece);
    }
    let (kind, body) = decoder.next_frame().unwrap().unwrap();
    assert_eq!(kind, FrameType::Reply);
    assert_eq!(Reply::decode_body(body).unwrap().say, Some(Say::Attached(Attached::default())));
    drop(guest);
    let left = |input: &Input| matches!(input, Input::Disconnected { connection: of } if *of == connection);
    edge.until("its leaving", |input| left(input).then_some(())).await;

    let guest = edge.handle.guest();
    edge.stop().await;
    assert_eq!(guest.read().await, None, "a guest hears of the node's end");
}
