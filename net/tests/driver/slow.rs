//! Who begins and does not go on: handshakes without an end, and hellos a byte at a time.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use starling_core::limits::{HANDSHAKES_MAX, HANDSHAKES_OF_A_PLACE_MAX};
use starling_core::machine::Output;
use starling_core::wire::message::Hello;
use starling_net::trust::{Authority, SERVER_NAME};

use super::link_up;
use super::support::{Bench, Client, client_endpoint};

/// The first packets of so many handshakes, as a server that is none gets them.
async fn beginnings(authority: &Authority, count: usize) -> Vec<Vec<u8>> {
    let nowhere = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = nowhere.local_addr().unwrap();
    let endpoint = client_endpoint(authority);
    let mut packets = Vec::new();
    let mut buffer = vec![0; 2048];
    while packets.len() < count {
        // Kept until its packet is there; what ends it goes nowhere.
        let connecting = endpoint.connect(address, SERVER_NAME).unwrap();
        let length = nowhere.recv(&mut buffer).await.unwrap();
        drop(connecting);
        // A long header of type Initial (RFC 9000, section 17.2.2), padded as a first one is.
        if buffer[0] & 0xF0 == 0xC0 && length >= 1200 {
            packets.push(buffer[..length].to_vec());
        }
    }
    packets
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshakes_without_an_end_keep_nobody_else_out() {
    let authority = Authority::create("test").unwrap();
    let (node, peer) = (Bench::start(&authority, "node").await, Bench::start(&authority, "peer").await);
    let packets = beginnings(&authority, HANDSHAKES_MAX + HANDSHAKES_OF_A_PLACE_MAX).await;
    let slow = UdpSocket::bind("127.0.0.2:0").unwrap();
    for some in packets.chunks(32) {
        for packet in some {
            slow.send_to(packet, node.handle.address()).unwrap();
        }
        // The node's socket has room for a few hundred.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    // Agents and nodes from elsewhere come in while all of these are waited for.
    let endpoint = client_endpoint(&authority);
    for _ in 0..8 {
        Client::connect(&endpoint, &node).await;
    }
    peer.act([Output::Dial { address: node.handle.address().to_string() }]).await;
    node.until("the link to peer", link_up).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hello_that_comes_a_byte_at_a_time_is_not_waited_for() {
    let authority = Authority::create("test").unwrap();
    let node = Bench::start(&authority, "node").await;
    let endpoint = client_endpoint(&authority);
    let connection = endpoint.connect(node.handle.address(), SERVER_NAME).unwrap().await.unwrap();
    let (mut send, _receive) = connection.open_bi().await.unwrap();
    let version = "x".repeat(60);
    let node_record = starling_core::wire::message::PeerRecord { version, ..Default::default() };
    let hello =
        Hello { version_low: 1, version_high: 1, node: Some(node_record), ..Hello::default() }.to_frame();
    let started = Instant::now();
    for byte in hello.chunks(1) {
        if send.write_all(byte).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let reason = connection.closed().await.to_string();
    assert!(reason.contains("no hello came in time"), "{reason} after {:?}", started.elapsed());
}
