//! iroh-gossip: 50 nodes in one process, one of which says what all others hear. Nothing is signed.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use futures_util::StreamExt;
use iroh::address_lookup::memory::MemoryLookup;
use iroh::endpoint::{Endpoint, presets};
use iroh::protocol::Router;
use iroh::{EndpointAddr, RelayMode};
use iroh_gossip::api::{Event, GossipReceiver, GossipSender, JoinOptions};
use iroh_gossip::{ALPN, Gossip, TopicId};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::timeout;
use versus_common::region::{self, NODES, Reached};
use versus_common::{Receipts, Settings, end_after, wall_nanos};

/// Entries that not all have. A node's own queue holds 256 events, which is a constant of the library:
/// what comes while it is full is lost, so more than this cannot be on their way.
const WINDOW: u64 = 192;
/// How long a node may take to join.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the overlay has to settle after that.
const SETTLE: Duration = Duration::from_secs(3);
/// How long a run may take beyond its seconds.
const PATIENCE_ALL: Duration = Duration::from_secs(600);

#[tokio::main]
async fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (work, rest) = words.split_first().context("write a work: region")?;
    ensure!(work == "region", "{work} is no work of this program");
    let settings = Settings::parse(rest)?;
    end_after(settings.duration + settings.warm_up + PATIENCE_ALL);
    let lookup = MemoryLookup::new();
    let mut nodes = Vec::new();
    for _ in 0..NODES {
        nodes.push(Node::start(&lookup, nodes.first()).await?);
    }
    tokio::time::sleep(SETTLE).await;
    let reached = Reached::new(NODES - 1);
    let (mut receivers, mut kept) = (JoinSet::new(), Vec::new());
    let mut sender = None;
    for (number, node) in nodes.into_iter().enumerate() {
        kept.push((node.router, node.sender.clone()));
        match number.checked_sub(1) {
            None => sender = Some((node.sender, node.receiver)),
            Some(number) => {
                receivers.spawn(receive(node.receiver, Arc::clone(&reached), number));
            }
        }
    }
    let (sender, mut unheard) = sender.context("a region has nodes")?;
    // Who speaks hears nothing, but has to listen.
    tokio::spawn(async move { while unheard.next().await.is_some() {} });
    let publish = async |payload: Vec<u8>| Ok(sender.broadcast(Bytes::from(payload)).await?);
    let mut report = region::play(settings, WINDOW, reached, receivers, publish).await?;
    report["settings"] = json!(
        "QUIC, 50 nodes in one process, window 192, all as it comes; nothing signed, order not promised"
    );
    println!("{report}");
    Ok(())
}

/// A member of the region.
struct Node {
    router: Router,
    address: EndpointAddr,
    sender: GossipSender,
    receiver: GossipReceiver,
}

impl Node {
    /// Starts a node on loopback, which knows no relay and no name server, and joins it by the first.
    async fn start(lookup: &MemoryLookup, first: Option<&Node>) -> Result<Node> {
        let endpoint = Endpoint::builder(presets::Minimal)
            .relay_mode(RelayMode::Disabled)
            .address_lookup(lookup.clone())
            .clear_ip_transports()
            .bind_addr("127.0.0.1:0")?
            .bind()
            .await?;
        let sockets = endpoint.bound_sockets();
        let address = sockets.into_iter().fold(EndpointAddr::new(endpoint.id()), EndpointAddr::with_ip_addr);
        lookup.add_endpoint_info(address.clone());
        let gossip = Gossip::builder().spawn(endpoint.clone());
        let router = Router::builder(endpoint).accept(ALPN, gossip.clone()).spawn();
        let options = JoinOptions::with_bootstrap(first.map(|first| first.address.id));
        let topic = gossip.subscribe_with_opts(TopicId::from_bytes([7; 32]), options).await?;
        let (sender, mut receiver) = topic.split();
        if first.is_some() {
            timeout(PATIENCE, receiver.joined()).await.context("a node did not join in time")??;
        }
        Ok(Node { router, address, sender, receiver })
    }
}

/// Receives until everything came.
async fn receive(mut receiver: GossipReceiver, reached: Arc<Reached>, number: usize) -> Result<Receipts> {
    let mut receipts = Receipts::default();
    while !receipts.is_complete() {
        match receiver.next().await.context("a subscription ended")?? {
            Event::Received(message) => {
                receipts.take(&message.content, wall_nanos());
                reached.set(number, receipts.delivered);
            }
            Event::Lagged => bail!("a node's own queue of events was full, and entries were lost"),
            Event::NeighborUp(_) | Event::NeighborDown(_) => {}
        }
    }
    Ok(receipts)
}
