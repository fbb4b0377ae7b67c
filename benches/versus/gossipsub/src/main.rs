//! gossipsub over QUIC: 50 nodes in one process, one of which says what all others hear. Every message
//! is signed by who said it, and verified by everybody who gets it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use futures_util::StreamExt;
use libp2p::gossipsub::{Behaviour, ConfigBuilder, Event, IdentTopic, MessageAuthenticity, ValidationMode};
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, Swarm, SwarmBuilder};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use versus_common::region::{self, NODES, Reached, WINDOW};
use versus_common::{Receipts, Settings, end_after, wall_nanos};

/// Each node dials those that come so far after it in the circle of all, so that everybody has twelve
/// neighbours: as many as a mesh holds at the most.
const AHEAD: [usize; 6] = [1, 3, 7, 12, 17, 23];
/// How long a node may take to listen, and the region to know who subscribed.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long meshes have to form: some heartbeats after the first, which comes after five seconds.
const SETTLE: Duration = Duration::from_secs(8);
/// How long a message may wait in a queue. As it comes, a second, nodes this busy would throw most away.
const QUEUED_MAX: Duration = Duration::from_secs(300);
/// How long a run may take beyond its seconds.
const PATIENCE_ALL: Duration = Duration::from_secs(900);

#[tokio::main]
async fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (work, rest) = words.split_first().context("write a work: region")?;
    ensure!(work == "region", "{work} is no work of this program");
    let settings = Settings::parse(rest)?;
    end_after(settings.duration + settings.warm_up + PATIENCE_ALL);
    let mut nodes = region_of_nodes().await?;
    let first = nodes.remove(0);
    let reached = Reached::new(NODES - 1);
    let mut receivers = JoinSet::new();
    for (number, node) in nodes.into_iter().enumerate() {
        receivers.spawn(receive(node, Arc::clone(&reached), number));
    }
    let (sender, asked) = mpsc::channel(64);
    let originating = tokio::spawn(originate(first, asked));
    tokio::time::sleep(SETTLE).await;
    let publish = async |payload| sender.send(payload).await.map_err(|_| anyhow!("the origin ended"));
    let played = region::play(settings, WINDOW, reached, receivers, publish).await;
    if originating.is_finished() {
        originating.await??;
    }
    let mut report = played?;
    report["settings"] = json!(
        "QUIC, signed and strictly validated, 50 nodes in one process with 12 neighbours each, window \
         2,048, queues wait for 300 s, the rest as it comes; order not promised"
    );
    println!("{report}");
    Ok(())
}

fn topic() -> IdentTopic {
    IdentTopic::new("versus")
}

/// A node that listens on loopback, with its address.
async fn node() -> Result<(Swarm<Behaviour>, Multiaddr)> {
    let settings = ConfigBuilder::default()
        .validation_mode(ValidationMode::Strict)
        .publish_queue_duration(QUEUED_MAX)
        .forward_queue_duration(QUEUED_MAX)
        .build()?;
    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_quic()
        .with_behaviour(|key| Ok(Behaviour::new(MessageAuthenticity::Signed(key.clone()), settings)?))?
        // Neighbours outside of the mesh stay, too.
        .with_swarm_config(|config| config.with_idle_connection_timeout(PATIENCE_ALL))
        .build();
    swarm.behaviour_mut().subscribe(&topic())?;
    swarm.listen_on("/ip4/127.0.0.1/udp/0/quic-v1".parse()?)?;
    let until = Instant::now() + PATIENCE;
    loop {
        let event = timeout_at(until, swarm.select_next_some()).await.context("a node does not listen")?;
        if let SwarmEvent::NewListenAddr { address, .. } = event {
            return Ok((swarm, address));
        }
    }
}

/// Nodes of which each knows that all its neighbours subscribed.
async fn region_of_nodes() -> Result<Vec<Swarm<Behaviour>>> {
    let mut nodes = Vec::new();
    for _ in 0..NODES {
        nodes.push(node().await?);
    }
    let addresses: Vec<Multiaddr> = nodes.iter().map(|(_, address)| address.clone()).collect();
    let mut joining = JoinSet::new();
    for (number, (mut swarm, _)) in nodes.into_iter().enumerate() {
        for ahead in AHEAD {
            swarm.dial(addresses[(number + ahead) % NODES].clone())?;
        }
        joining.spawn(async move {
            let mut subscribed = BTreeSet::new();
            while subscribed.len() < 2 * AHEAD.len() {
                let event = swarm.select_next_some().await;
                if let SwarmEvent::Behaviour(Event::Subscribed { peer_id, .. }) = event {
                    subscribed.insert(peer_id);
                }
            }
            (number, swarm)
        });
    }
    let mut joined = timeout(PATIENCE, joining.join_all()).await.context("nodes did not find one another")?;
    joined.sort_by_key(|(number, _)| *number);
    Ok(joined.into_iter().map(|(_, swarm)| swarm).collect())
}

/// Publishes what it is asked to.
async fn originate(mut swarm: Swarm<Behaviour>, mut asked: mpsc::Receiver<Vec<u8>>) -> Result<()> {
    loop {
        tokio::select! {
            _ = swarm.select_next_some() => {}
            payload = asked.recv() => match payload {
                Some(payload) => _ = swarm.behaviour_mut().publish(topic(), payload)?,
                None => return Ok(()),
            },
        }
    }
}

/// Receives until everything came, and carries it on to others meanwhile.
async fn receive(mut swarm: Swarm<Behaviour>, reached: Arc<Reached>, number: usize) -> Result<Receipts> {
    let mut receipts = Receipts::default();
    while !receipts.is_complete() {
        if let SwarmEvent::Behaviour(Event::Message { message, .. }) = swarm.select_next_some().await {
            receipts.take(&message.data, wall_nanos());
            reached.set(number, receipts.delivered);
        }
    }
    // Others may still need it.
    tokio::spawn(async move {
        loop {
            swarm.select_next_some().await;
        }
    });
    Ok(receipts)
}
