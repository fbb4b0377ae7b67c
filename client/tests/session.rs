//! Sessions alone: many over one socket, and nothing kept for who does not ask.

#![allow(clippy::unwrap_used, reason = "a test that fails says so by panicking")]

mod fake;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use fake::{FakeEdge, authority};
use starling_client::new_key;
use starling_client::session::{
    CloseReason, Endpoint, EndpointSettings, Handler, Incoming, SendError, Session,
};
use starling_core::wire::agent::{Attach, Candidate, Profile, Publish};
use starling_core::wire::bundle::Class;
use starling_core::wire::entry::Extras;
use starling_core::wire::request::Say;

#[derive(Default)]
struct Heard {
    attached: u32,
    published: u64,
    closed: Vec<CloseReason>,
}

struct Listener(Arc<Mutex<Heard>>);

impl Handler for Listener {
    fn on_incoming(&mut self, incoming: Incoming) {
        let mut heard = self.0.lock().unwrap();
        match incoming {
            Incoming::Reply(reply) => {
                if let Some(Say::Attached(attached)) = reply.say {
                    heard.attached += attached.accepted;
                }
            }
            Incoming::Published(published) => {
                heard.published += published.0.iter().map(|(from, to)| to - from + 1).sum::<u64>();
            }
            Incoming::Deliver(_) | Incoming::System(_) => {}
        }
    }

    fn on_closed(&mut self, reason: &CloseReason) {
        self.0.lock().unwrap().closed.push(reason.clone());
    }
}

fn publish(sequence: u64, payload: Bytes) -> Publish {
    Publish {
        agent: 0,
        class: Class::EventBulk,
        directed: false,
        subject: Bytes::from_static(b"a.b"),
        sequence,
        extras: Extras::default(),
        payload,
    }
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never: {what}");
}

#[tokio::test]
async fn many_sessions_share_a_socket() {
    let mesh = authority("one");
    let edge = FakeEdge::start(&mesh, "edge-1", true);
    let endpoint = Endpoint::new(mesh.trust(), &EndpointSettings::default()).unwrap();
    let heard = Arc::new(Mutex::new(Heard::default()));
    let mut sessions = Vec::new();
    for number in 0..50 {
        let session = Session::connect(&endpoint, edge.address, Listener(Arc::clone(&heard))).await.unwrap();
        let claim = session.terms().sign(&new_key().unwrap(), number, u64::MAX);
        let candidates = vec![Candidate { index: 0, claim, profile: Profile::default() }];
        session.attach(&Attach { request: 1, candidates }).unwrap();
        for sequence in 0..100 {
            session.publish(&publish(sequence, Bytes::from_static(b"x"))).unwrap();
        }
        sessions.push(session);
    }
    until("all is answered", || {
        let heard = heard.lock().unwrap();
        (heard.attached, heard.published) == (50, 5000)
    })
    .await;
    assert_eq!(endpoint.open_connections(), 50);
    assert!(sessions[0].ping().await.unwrap() < Duration::from_secs(1));
    edge.look(|seen| assert_eq!(seen.bad_claims, 0));
    drop(sessions);
    until("all are closed", || heard.lock().unwrap().closed.len() == 50).await;
    assert!(heard.lock().unwrap().closed.iter().all(|reason| *reason == CloseReason::Local));
}

#[tokio::test]
async fn a_full_queue_says_so_and_has_room_again() {
    let mesh = authority("one");
    let edge = FakeEdge::start(&mesh, "edge-1", true);
    let settings = EndpointSettings { queue_bytes_max: 64 * 1024, ..EndpointSettings::default() };
    let endpoint = Endpoint::new(mesh.trust(), &settings).unwrap();
    let heard = Arc::new(Mutex::new(Heard::default()));
    let session = Session::connect(&endpoint, edge.address, Listener(Arc::clone(&heard))).await.unwrap();
    let payload = Bytes::from(vec![0; 30 * 1024]);
    // Nothing else runs until the first wait, so the queue fills.
    let results: Vec<_> = (0..4).map(|number| session.publish(&publish(number, payload.clone()))).collect();
    assert_eq!(results, [Ok(()), Ok(()), Ok(()), Err(SendError::Full)]);
    assert!(session.queued_bytes() > 90 * 1024);
    session.room().await.unwrap();
    session.publish(&publish(3, payload)).unwrap();
    until("all is acknowledged", || heard.lock().unwrap().published == 4).await;
    session.close();
    until("the end is told", || heard.lock().unwrap().closed == [CloseReason::Local]).await;
    assert_eq!(session.publish(&publish(4, Bytes::new())), Err(SendError::Closed));
}
