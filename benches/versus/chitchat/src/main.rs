//! chitchat: 50 nodes in one process, one of which sets a key that all others are to see.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use chitchat::transport::UdpTransport;
use chitchat::{
    ChitchatConfig, ChitchatHandle, ChitchatId, FailureDetectorConfig, ProtocolVersion, spawn_chitchat,
};
use serde_json::json;
use tokio::task::JoinSet;
use versus_common::region::{APART, NODES, Reached};
use versus_common::{Settings, end_after, free_address, new_histogram, times};

/// The key that changes.
const KEY: &str = "versus";
/// Between two rounds of a node's gossip.
const ROUND: Duration = Duration::from_millis(100);
/// How long the nodes may take to know one another.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a deleted key is remembered. None is deleted.
const DELETED: Duration = Duration::from_secs(3600);

#[tokio::main]
async fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (work, rest) = words.split_first().context("write a work: region")?;
    ensure!(work == "region", "{work} is no work of this program");
    let settings = Settings::parse(rest)?;
    end_after(settings.duration + settings.warm_up + 4 * PATIENCE);
    let mut nodes = Vec::new();
    let mut seed = None;
    for number in 0..NODES {
        let address = free_address()?;
        nodes.push(node(number, address, *seed.get_or_insert(address)).await?);
    }
    wait_until_known(&nodes).await?;
    let (first, others) = nodes.split_first().context("a region has nodes")?;
    let reached = Reached::new(others.len());
    let wrong = Arc::new(AtomicU64::new(0));
    let mut listening = JoinSet::new();
    for (number, other) in others.iter().enumerate() {
        let (reached, wrong, other) = (Arc::clone(&reached), Arc::clone(&wrong), other.chitchat());
        listening.spawn(async move {
            let seen = AtomicU64::new(0);
            let listener = other.lock().await.subscribe_event(KEY, move |change| {
                let count = change.value.trim_start().parse().unwrap_or(0);
                // One at a time: nothing may be left out, or come again.
                if seen.swap(count, Ordering::Relaxed) + 1 != count {
                    wrong.fetch_add(1, Ordering::Relaxed);
                }
                reached.set(number, count);
            });
            listener.forever();
        });
    }
    listening.join_all().await;
    let (warm, over) = settings.schedule();
    let (mut alone, mut count) = (new_histogram(), 0);
    while Instant::now() < over {
        count += 1;
        let (begun, value) = (Instant::now(), format!("{count:>width$}", width = settings.payload));
        first.with_chitchat(|chitchat| chitchat.self_node_state().set(KEY, &value)).await;
        reached.wait_for(count).await?;
        if begun >= warm {
            alone.saturating_record(u64::try_from(begun.elapsed().as_nanos())?);
        }
        tokio::time::sleep(APART).await;
    }
    let wrong = wrong.load(Ordering::Relaxed);
    println!(
        "{}",
        json!({
            "alone_us": times(&alone), "sent": count, "duplicated": wrong,
            "settings": "UDP in clear, 50 nodes in one process, a round each 100 ms, one key; nothing signed",
        })
    );
    Ok(())
}

async fn node(number: usize, address: SocketAddr, seed: SocketAddr) -> Result<ChitchatHandle> {
    let config = ChitchatConfig {
        chitchat_id: ChitchatId::new(format!("node-{number}"), 0, address),
        cluster_id: "versus".into(),
        gossip_interval: ROUND,
        listen_addr: address,
        seed_nodes: if seed == address { Vec::new() } else { vec![seed.to_string()] },
        failure_detector_config: FailureDetectorConfig::default(),
        marked_for_deletion_grace_period: DELETED,
        catchup_callback: None,
        extra_liveness_predicate: None,
        protocol_version: ProtocolVersion::V1,
    };
    spawn_chitchat(config, Vec::new(), &UdpTransport).await
}

/// Waits until every node holds all others for alive.
async fn wait_until_known(nodes: &[ChitchatHandle]) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    for node in nodes {
        while node.with_chitchat(|chitchat| chitchat.live_nodes().count()).await < NODES {
            ensure!(Instant::now() < until, "nodes did not find one another");
            tokio::time::sleep(ROUND).await;
        }
    }
    Ok(())
}
