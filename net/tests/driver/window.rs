//! Clients that publish more than their window.

use bytes::{Bytes, BytesMut};
use starling_core::hot::own::Publication;
use starling_core::identity::SecretKey;
use starling_core::limits::{CLIENT_UNACKNOWLEDGED_BYTES_MAX, FRAME_BYTES_MAX};
use starling_core::machine::{Input, Output};
use starling_core::wire::agent::{Attach, Publish, wire_frame};
use starling_core::wire::frame::FrameType;
use starling_core::wire::request::{Attached, Say};
use starling_net::trust::Authority;

use super::support::{Bench, Client, client_endpoint};
use super::{candidate, publish};

const ENTRIES: u64 = 256;
const PAYLOAD_BYTES: usize = 64 * 1024;

/// Messages to nobody that the machine was given so far.
fn waiting(edge: &Bench) -> Vec<Publication> {
    let unresolved = edge.collect(|input| match input {
        Input::Unresolved(publications) => Some(publications.clone()),
        _ => None,
    });
    unresolved.into_iter().flatten().collect()
}

/// The same, once no more come.
async fn all_waiting(edge: &Bench) -> Vec<Publication> {
    let mut before = 0;
    loop {
        tokio::time::sleep(std::time::Duration::from_millis(400)).await;
        let now = waiting(edge);
        if now.len() == before && before > 0 {
            return now;
        }
        before = now.len();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_ignores_its_window_is_read_no_further() {
    let authority = Authority::create("test").unwrap();
    let edge = Bench::start(&authority, "edge").await;
    let mut client = Client::connect(&client_endpoint(&authority), &edge).await;
    let candidates = vec![candidate(&client, &SecretKey::from_seed([9; 32]), 0)];
    client.send(wire_frame(FrameType::Attach, &Attach { request: 1, candidates })).await;
    let connection = edge
        .until("an attach", |input| match input {
            Input::Attach { connection, .. } => Some(*connection),
            _ => None,
        })
        .await;
    edge.act([Output::Reply { connection, id: 1, say: Say::Attached(Attached::default()) }]).await;
    let mut frames = BytesMut::new();
    for sequence in 1..=ENTRIES {
        let payload = Bytes::from(vec![7; PAYLOAD_BYTES]);
        let receiver = "nobody is called";
        Publish { directed: true, sequence, ..publish(0, receiver, payload) }.put_frame(&mut frames);
    }
    let sending = tokio::spawn(async move {
        client.send(frames.freeze()).await;
        client
    });

    let first = all_waiting(&edge).await;
    let bytes: usize = first.iter().map(|publication| publication.payload.len()).sum();
    // Nobody waits in vain below the window, and beyond it nothing is taken but what was read at once.
    assert!(bytes + PAYLOAD_BYTES >= CLIENT_UNACKNOWLEDGED_BYTES_MAX, "{bytes} bytes");
    assert!(bytes <= FRAME_BYTES_MAX + 2 * PAYLOAD_BYTES, "{bytes} bytes");

    // What has an outcome makes room, until everything was read, in order and once.
    let mut answered = 0;
    while answered < ENTRIES as usize {
        let publications = waiting(&edge).split_off(answered);
        answered += publications.len();
        if !publications.is_empty() {
            edge.act([Output::Undeliverable(publications)]).await;
        }
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    let numbers: Vec<u64> = waiting(&edge).iter().map(|publication| publication.number).collect();
    assert_eq!(numbers, (1..=ENTRIES).collect::<Vec<u64>>());
    sending.await.unwrap();
}
