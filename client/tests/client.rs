//! The client against an edge of its own making, over real QUIC.

#![allow(clippy::unwrap_used, reason = "a test that fails says so by panicking")]

mod fake;

use std::time::{Duration, Instant};

use fake::{FakeEdge, authority, delivery, published, system, undelivered};
use starling_client::{
    Client, ClientError, ClientSettings, ConnectError, FailureReason, Notice, Profile, Trust, new_key,
};
use starling_core::wire::agent::Receivers;
use starling_core::wire::bundle::Class;
use starling_net::shaping::{Rule, Shaper};

fn settings(trust: &Trust, edges: &[&FakeEdge]) -> ClientSettings {
    let mut settings = ClientSettings::new(trust.clone(), edges.iter().map(|edge| edge.address.to_string()));
    settings.endpoint.keepalive = Duration::from_millis(100);
    settings.endpoint.idle_timeout = Duration::from_millis(600);
    settings
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(10), "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn event(feed: &mut starling_client::Subscription) -> starling_client::Event {
    match tokio::time::timeout(Duration::from_secs(10), feed.next()).await.unwrap() {
        Some(Notice::Event(event)) => event,
        other => panic!("an event was expected, not {other:?}"),
    }
}

#[tokio::test]
async fn claims_hold_on_the_edge_and_publications_are_acknowledged() {
    let mesh = authority("one");
    let edge = FakeEdge::start(&mesh, "edge-1", true);
    let client = Client::connect(settings(mesh.trust(), &[&edge])).await.unwrap();
    let list = (0..600).map(|_| (new_key().unwrap(), Profile::default())).collect();
    let agents = client.agents(list).await.unwrap();
    edge.look(|seen| assert_eq!((seen.attached.len(), seen.bad_claims), (600, 0)));
    let edge_info = client.edge().unwrap();
    assert_eq!(
        (edge_info.name.as_str(), edge_info.region.as_str(), edge_info.incarnation),
        ("edge-1", "eu", 77)
    );
    let first = agents[0].publish_acknowledged("a.b", "x").await.unwrap();
    let second = agents[0].send(agents[1].id(), "y").await.unwrap();
    assert_eq!(second.sequence, first.sequence + 1);
    client.flush().await.unwrap();
    edge.look(|seen| {
        let session = seen.attached.iter().find(|(id, _)| *id == agents[0].id()).unwrap().1;
        assert!(first.sequence >> 22 <= session && first.sequence & 0x3f_ffff == 0);
        assert!(seen.published[1].directed && seen.published[1].class == Class::EventBulk);
    });
    assert!(client.ping().await.unwrap() < Duration::from_secs(1));
    client.close().await.unwrap();
    assert!(matches!(agents[0].publish("a", "x").await, Err(ClientError::Closed)));
}

#[tokio::test]
async fn a_full_window_waits_until_the_edge_acknowledges() {
    let mesh = authority("one");
    let edge = FakeEdge::start(&mesh, "edge-1", false);
    let client = Client::connect(settings(mesh.trust(), &[&edge])).await.unwrap();
    let agent = client.agent(new_key().unwrap(), Profile::default()).await.unwrap();
    let block = vec![7; 100 * 1024];
    let mut accepted = 0;
    let wait = Duration::from_millis(200);
    while tokio::time::timeout(wait, agent.publish("a", block.clone())).await.is_ok() {
        accepted += 1;
    }
    assert_eq!(accepted, 10);
    until("all arrived", || edge.look(|seen| seen.published.len() == 10)).await;
    edge.send(published(3, 4)).await;
    agent.publish("a", block.clone()).await.unwrap();
    agent.publish("a", block.clone()).await.unwrap();
    assert!(tokio::time::timeout(wait, agent.publish("a", block)).await.is_err());
    edge.send(undelivered(1)).await;
    edge.send(published(2, 12)).await;
    let Err(ClientError::Undelivered(failures)) = client.flush().await else { panic!("one was not found") };
    assert_eq!((failures.len(), failures[0].reason), (1, FailureReason::NotFound));
    client.flush().await.unwrap();
}

#[tokio::test]
async fn what_is_unacknowledged_goes_to_the_next_edge_in_order_and_subscriptions_get_one_gap() {
    let mesh = authority("one");
    let (first, second) = (FakeEdge::start(&mesh, "edge-1", false), FakeEdge::start(&mesh, "edge-2", true));
    let client = Client::connect(settings(mesh.trust(), &[&first, &second])).await.unwrap();
    let agent = client.agent(new_key().unwrap(), Profile::default()).await.unwrap();
    let mut subscription = agent.subscribe("news.>").await.unwrap();
    let mut sequences = Vec::new();
    for payload in 0..20_u8 {
        sequences.push(agent.publish("a.b", vec![payload]).await.unwrap().sequence);
    }
    until("all arrived", || first.look(|seen| seen.published.len() == 20)).await;
    first.send(published(1, 5)).await;
    first.send(published(7, 7)).await;
    first.send(delivery(Receivers::Subscriptions(vec![1]), agent.id(), &[1], b"before")).await;
    assert_eq!(event(&mut subscription).await.payload, "before");
    first.kill();
    for payload in 20..30_u8 {
        sequences.push(agent.publish("a.b", vec![payload]).await.unwrap().sequence);
    }
    client.flush().await.unwrap();
    assert_eq!(client.edge().unwrap().name, "edge-2");
    second.look(|seen| {
        let resent: Vec<u64> = seen.published.iter().map(|publish| publish.sequence).collect();
        let mut expected = sequences.split_off(5);
        expected.remove(1);
        assert_eq!(resent, expected);
        assert_eq!((seen.patterns.as_slice(), seen.bad_claims), (&["news.>".to_owned()][..], 0));
        let earlier = first.look(|seen| seen.attached[0].1);
        assert!(seen.attached[0].1 > earlier);
    });
    let gap = subscription.next().await;
    assert!(matches!(gap, Some(Notice::Gap { .. })), "{gap:?}");
    second.send(delivery(Receivers::Subscriptions(vec![1]), agent.id(), &[2], b"after")).await;
    assert_eq!(event(&mut subscription).await.payload, "after");
}

/// What a subscription or inbox has until it is quiet, gaps left out.
macro_rules! sequences_of {
    ($feed:expr) => {{
        let mut sequences = Vec::new();
        while let Ok(notice) = tokio::time::timeout(Duration::from_millis(300), $feed.next()).await {
            match notice.unwrap() {
                Notice::Event(event) => sequences.push(event.sequence),
                Notice::Gap { .. } => {}
            }
        }
        sequences
    }};
}

#[tokio::test]
async fn what_the_lost_edge_delivered_is_not_handed_on_again() {
    let mesh = authority("one");
    let (first, second) = (FakeEdge::start(&mesh, "edge-1", true), FakeEdge::start(&mesh, "edge-2", true));
    let client = Client::connect(settings(mesh.trust(), &[&first, &second])).await.unwrap();
    let agent = client.agent(new_key().unwrap(), Profile::default()).await.unwrap();
    let mut read = agent.subscribe("news.>").await.unwrap();
    let mut unread = agent.subscribe("news.*").await.unwrap();
    let both = || Receivers::Subscriptions(vec![1, 2]);
    first.send(delivery(both(), agent.id(), &[5, 7], b"x")).await;
    first.send(delivery(Receivers::Inbox(1), agent.id(), &[6, 9], b"x")).await;
    assert_eq!(sequences_of!(read), [5, 7]);
    let mut inbox = agent.inbox().unwrap();
    assert_eq!(sequences_of!(inbox), [6, 9]);
    drop(inbox);
    first.kill();
    until("it moved", || second.look(|seen| seen.patterns.len() == 2)).await;
    // The publisher moved, too, and its entries were not acknowledged. Messages to one agent may come in
    // another order than they were sent in.
    second.send(delivery(both(), agent.id(), &[5, 7, 8], b"x")).await;
    second.send(delivery(Receivers::Inbox(1), agent.id(), &[6, 8, 9, 10], b"x")).await;
    assert_eq!(sequences_of!(read), [8]);
    assert_eq!(sequences_of!(unread), [5, 7, 8]);
    let mut inbox = agent.inbox().unwrap();
    assert_eq!(sequences_of!(inbox), [8, 10]);
}

#[tokio::test]
async fn an_application_that_does_not_read_stops_the_edge_and_loses_nothing() {
    let mesh = authority("one");
    let edge = FakeEdge::start(&mesh, "edge-1", true);
    let client = Client::connect(settings(mesh.trust(), &[&edge])).await.unwrap();
    let agent = client.agent(new_key().unwrap(), Profile::default()).await.unwrap();
    let mut subscription = agent.subscribe("news.>").await.unwrap();
    let sent = std::sync::atomic::AtomicU64::new(0);
    let payload = vec![1; 16 * 1024];
    let sending = async {
        for number in 0..200_u64 {
            let sequences = [number * 2, number * 2 + 1];
            edge.send(delivery(Receivers::Subscriptions(vec![1]), agent.id(), &sequences, &payload)).await;
            sent.store(number + 1, std::sync::atomic::Ordering::Relaxed);
        }
    };
    tokio::pin!(sending);
    assert!(tokio::time::timeout(Duration::from_millis(800), &mut sending).await.is_err());
    let held = sent.load(std::sync::atomic::Ordering::Relaxed);
    // The feed's 1 MiB, the connection's 1 MiB, and what waits in the fake edge: 64 frames.
    assert!(held < 32 + 32 + 64 + 15, "{held} frames of 32 KiB went out");
    let reading = async {
        for sequence in 0..400_u64 {
            assert_eq!(event(&mut subscription).await.sequence, sequence);
        }
    };
    tokio::join!(&mut sending, reading);
}

#[tokio::test]
async fn what_blocks_an_acknowledgement_is_cut_with_a_gap() {
    let mesh = authority("one");
    let edge = FakeEdge::start(&mesh, "edge-1", false);
    let mut settings = settings(mesh.trust(), &[&edge]);
    settings.buffer_bytes_max = 64 * 1024;
    settings.stall_timeout = Duration::from_millis(500);
    let client = Client::connect(settings).await.unwrap();
    let agent = client.agent(new_key().unwrap(), Profile::default()).await.unwrap();
    let mut subscription = agent.subscribe("news.>").await.unwrap();
    agent.publish("a", "x").await.unwrap();
    until("it arrived", || edge.look(|seen| seen.published.len() == 1)).await;
    for sequence in 0..6 {
        edge.send(delivery(Receivers::Subscriptions(vec![1]), agent.id(), &[sequence], &[0; 32 * 1024]))
            .await;
    }
    edge.send(published(1, 1)).await;
    tokio::time::timeout(Duration::from_secs(5), client.flush()).await.unwrap().unwrap();
    let mut gaps = 0;
    while let Ok(notice) = tokio::time::timeout(Duration::from_millis(300), subscription.next()).await {
        gaps += usize::from(matches!(notice, Some(Notice::Gap { .. })));
    }
    assert!(gaps >= 1);
}

#[tokio::test]
async fn another_mesh_is_refused_and_silence_is_unreachable_in_time() {
    let (mesh, other) = (authority("one"), authority("other"));
    let edge = FakeEdge::start(&mesh, "edge-1", true);
    let refused = Client::connect(settings(other.trust(), &[&edge])).await.unwrap_err();
    assert!(matches!(refused, ClientError::Connect(ConnectError::RefusedCertificate { .. })), "{refused:?}");
    edge.look(|seen| seen.versions = (2, 3));
    let version = Client::connect(settings(mesh.trust(), &[&edge])).await.unwrap_err();
    assert!(matches!(version, ClientError::Connect(ConnectError::Version { .. })), "{version:?}");
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let start = Instant::now();
    let error = Client::connect(ClientSettings::new(mesh.trust().clone(), [address])).await.unwrap_err();
    assert!(matches!(error, ClientError::Connect(ConnectError::Unreachable { .. })), "{error:?}");
    assert!(start.elapsed() < Duration::from_millis(5_500));
}

#[tokio::test]
async fn without_any_edge_for_long_everything_fails_with_its_reason() {
    let mesh = authority("one");
    let edge = FakeEdge::start(&mesh, "edge-1", false);
    let mut settings = settings(mesh.trust(), &[&edge]);
    settings.unreachable_after = Duration::from_secs(1);
    let client = Client::connect(settings).await.unwrap();
    let agent = client.agent(new_key().unwrap(), Profile::default()).await.unwrap();
    let lost = agent.publish("a", "x").await.unwrap();
    edge.kill();
    let Err(ClientError::Undelivered(failures)) = client.flush().await else { panic!("it is lost") };
    assert_eq!((failures[0].id, failures[0].reason), (lost, FailureReason::Lost));
    assert!(matches!(agent.publish("a", "x").await, Err(ClientError::Unreachable { .. })));
    assert!(matches!(client.get("k").await, Err(ClientError::Unreachable { .. })));
}

#[tokio::test]
async fn changes_and_system_updates_reach_their_ends() {
    let mesh = authority("one");
    let edge = FakeEdge::start(&mesh, "edge-1", true);
    let client = Client::connect(settings(mesh.trust(), &[&edge])).await.unwrap();
    let agent = client.agent(new_key().unwrap(), Profile::default()).await.unwrap();
    assert_eq!(agent.set_state("busy").await.unwrap().version, 101);
    assert_eq!(agent.set_tags(vec!["gpu".to_owned()]).await.unwrap().version, 102);
    let index = edge.look(|seen| {
        assert_eq!(seen.changes[0].state.as_deref(), Some("busy"));
        seen.changes[0].index
    });
    let acknowledged = || edge.look(|seen| seen.acknowledged.iter().map(|a| a.index).collect::<Vec<_>>());
    edge.send(system(index, 1, b"one")).await;
    until("acknowledged unread", || acknowledged() == [1]).await;
    let mut updates = agent.system_updates().unwrap();
    edge.send(system(index, 2, b"two")).await;
    edge.send(system(index, 2, b"two")).await;
    edge.send(system(index, 3, b"three")).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(acknowledged(), [1]);
    assert_eq!(updates.next().await.unwrap().index, 2);
    until("acknowledged as read", || acknowledged() == [1, 2]).await;
    drop(updates);
    until("acknowledged as dropped", || acknowledged() == [1, 2, 3]).await;
}

#[tokio::test]
async fn requests_are_repeated_while_unavailable_and_coordinators_are_named() {
    let mesh = authority("one");
    let edge = FakeEdge::start(&mesh, "edge-1", true);
    let client = Client::connect(settings(mesh.trust(), &[&edge])).await.unwrap();
    edge.look(|seen| seen.refusals = 3);
    assert_eq!(client.get("k").await.unwrap(), None);
    edge.look(|seen| assert_eq!(seen.refusals, 0));
    client.put("k", "v").await.unwrap();
    let agent = client.agent(new_key().unwrap(), Profile::default()).await.unwrap();
    assert!(agent.locate(agent.id()).await.unwrap().is_none());
    let error = agent.update("x").await.unwrap_err().to_string();
    assert!(error.contains("ClientSettings::coordinators"), "{error}");
    let mut inbox = agent.inbox().unwrap();
    assert!(agent.inbox().is_err());
    let index = Receivers::Inbox(1);
    edge.send(delivery(index, agent.id(), &[4, 5], b"direct")).await;
    for sequence in [4, 5] {
        let Some(Notice::Event(event)) = inbox.next().await else { panic!("a message was sent") };
        assert_eq!(
            (event.sequence, event.payload.as_ref(), event.subject.as_str()),
            (sequence, &b"direct"[..], "")
        );
    }
    agent.detach().await.unwrap();
    assert!(inbox.next().await.is_none());
    assert!(matches!(agent.publish("a", "x").await, Err(ClientError::AgentClosed { .. })));
}

#[tokio::test]
async fn the_connection_closes_with_the_last_handle() {
    let mesh = authority("one");
    let edge = FakeEdge::start(&mesh, "edge-1", true);
    let client = Client::connect(settings(mesh.trust(), &[&edge])).await.unwrap();
    let agent = client.agent(new_key().unwrap(), Profile::default()).await.unwrap();
    let subscription = agent.subscribe("a").await.unwrap();
    drop((client, agent));
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(edge.connections(), 1);
    drop(subscription);
    until("the connection is closed", || edge.connections() == 0).await;
}

#[tokio::test]
async fn messages_before_the_inbox_is_open_are_kept_within_bounds() {
    let mesh = authority("one");
    let edge = FakeEdge::start(&mesh, "edge-1", true);
    let client = Client::connect(settings(mesh.trust(), &[&edge])).await.unwrap();
    let agent = client.agent(new_key().unwrap(), Profile::default()).await.unwrap();
    for sequence in 1..=20 {
        edge.send(delivery(Receivers::Inbox(1), agent.id(), &[sequence], &[0; 32 * 1024])).await;
    }
    // The change is answered behind the deliveries.
    agent.set_state("ready").await.unwrap();
    let mut inbox = agent.inbox().unwrap();
    assert!(matches!(inbox.next().await, Some(Notice::Gap { .. })));
    let mut last = 0;
    while let Ok(Some(Notice::Event(event))) =
        tokio::time::timeout(Duration::from_millis(200), inbox.next()).await
    {
        assert!(last == 0 || event.sequence == last + 1);
        last = event.sequence;
    }
    assert_eq!(last, 20);
}

#[tokio::test]
async fn delegations_are_renewed_on_the_same_connection() {
    let mesh = authority("one");
    let edge = FakeEdge::start(&mesh, "edge-1", true);
    let mut settings = settings(mesh.trust(), &[&edge]);
    settings.delegation = Duration::from_millis(600);
    let client = Client::connect(settings).await.unwrap();
    let agent = client.agent(new_key().unwrap(), Profile::default()).await.unwrap();
    until("it attached again", || edge.look(|seen| seen.attached.len() > 2)).await;
    edge.look(|seen| {
        assert!(seen.attached.iter().all(|(id, _)| *id == agent.id()));
        assert!(seen.attached.windows(2).all(|pair| pair[0].1 < pair[1].1));
        assert_eq!(seen.bad_claims, 0);
    });
    assert_eq!(edge.connections(), 1);
}

/// Settings by which nothing but the vigil leaves an edge.
fn patient(trust: &Trust, edges: &[&FakeEdge]) -> (ClientSettings, Shaper) {
    let shaper = Shaper::new(1);
    let mut settings = ClientSettings::new(trust.clone(), edges.iter().map(|edge| edge.address.to_string()));
    settings.endpoint.idle_timeout = Duration::from_secs(60);
    settings.endpoint.shaper = Some(shaper.clone());
    (settings, shaper)
}

#[tokio::test]
async fn agents_of_an_edge_that_is_gone_are_at_another_before_it_is_given_up() {
    let mesh = authority("one");
    let edges = ["edge-1", "edge-2", "edge-3"].map(|name| FakeEdge::start(&mesh, name, true));
    let (settings, _) = patient(mesh.trust(), &edges.each_ref());
    let client = Client::connect(settings).await.unwrap();
    let agent = client.agent(new_key().unwrap(), Profile::default()).await.unwrap();
    let mut subscription = agent.subscribe("news.>").await.unwrap();
    // The next one in the list is gone too.
    edges[0].kill();
    edges[1].kill();
    until("it is at the third", || edges[2].look(|seen| seen.attached.len() == 1)).await;
    agent.publish("a", "x").await.unwrap();
    client.flush().await.unwrap();
    assert_eq!(client.edge().unwrap().name, "edge-3");
    edges[2].look(|seen| {
        assert_eq!(seen.patterns, ["news.>"]);
        assert!(seen.attached[0].1 > edges[0].look(|seen| seen.attached[0].1));
    });
    let gap = subscription.next().await;
    assert!(matches!(gap, Some(Notice::Gap { .. })), "{gap:?}");
}

#[tokio::test]
async fn an_edge_that_answers_again_is_kept_and_the_other_is_let_go() {
    let mesh = authority("one");
    let (first, second) = (FakeEdge::start(&mesh, "edge-1", true), FakeEdge::start(&mesh, "edge-2", true));
    let (settings, shaper) = patient(mesh.trust(), &[&first, &second]);
    // Far away, so that between doubt and silence there is time for a busy machine.
    let far = Rule { delay: Duration::from_millis(800), ..Rule::default() };
    shaper.set(first.address, far);
    let client = Client::connect(settings).await.unwrap();
    let agent = client.agent(new_key().unwrap(), Profile::default()).await.unwrap();
    shaper.set(first.address, Rule { cut: true, ..far });
    until("another is ready", || second.connections() == 1).await;
    shaper.set(first.address, Rule { delay: Duration::from_millis(10), ..far });
    until("the other is let go", || second.connections() == 0).await;
    agent.publish("a", "x").await.unwrap();
    client.flush().await.unwrap();
    assert_eq!(client.edge().unwrap().name, "edge-1");
    second.look(|seen| assert!(seen.attached.is_empty() && seen.published.is_empty()));
}

#[tokio::test]
async fn a_far_edge_is_never_doubted() {
    let mesh = authority("one");
    let (first, second) = (FakeEdge::start(&mesh, "edge-1", true), FakeEdge::start(&mesh, "edge-2", true));
    let (settings, shaper) = patient(mesh.trust(), &[&first, &second]);
    let (delay, jitter) = (Duration::from_millis(350), Duration::from_millis(100));
    shaper.set_default(Rule { delay, jitter, ..Rule::default() });
    let client = Client::connect(settings).await.unwrap();
    let agent = client.agent(new_key().unwrap(), Profile::default()).await.unwrap();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(6) {
        agent.publish("a", "x").await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!((client.edge().unwrap().name.as_str(), second.connections()), ("edge-1", 0));
    }
    client.flush().await.unwrap();
    first.look(|seen| assert_eq!(seen.attached.len(), 1));
}
