//! Questions to the node in its own process, and what its transport does: for whoever shows the node
//! to people.

use std::sync::Arc;

use starling_core::wire::frame::{FrameDecoder, FrameType};
use starling_core::wire::request::{Ask, Reply, Request, Say};

use crate::guest::Guest;
use crate::hub::Hub;
use crate::memory;
use crate::node::NodeHandle;

/// Asks a node's own machine as a client would, one question at a time.
#[derive(Debug)]
pub struct Asker {
    guest: Guest,
    decoder: FrameDecoder,
    asked: u64,
}

impl Asker {
    /// The answer to a question, a refusal included; `None` once the node has ended. What answers an
    /// earlier question that nobody waits for any more is passed over.
    pub async fn ask(&mut self, ask: Ask) -> Option<Say> {
        self.asked += 1;
        self.guest.request(Request { id: self.asked, ask: Some(ask) }).await;
        loop {
            while let Ok(Some((kind, body))) = self.decoder.next_frame() {
                if kind != FrameType::Reply {
                    continue;
                }
                match Reply::decode_body(body) {
                    Ok(Reply { id, say: Some(say) }) if id == self.asked => return Some(say),
                    Ok(_) | Err(_) => {}
                }
            }
            for piece in self.guest.read().await? {
                self.decoder.push(piece);
            }
        }
    }
}

/// What a node's transport does at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transport {
    /// Links to nodes.
    pub links: u64,
    /// Connections of agents.
    pub connections: u64,
    /// Bytes that wait in the links' control lanes.
    pub control_bytes: u64,
    /// In their priority lanes.
    pub priority_bytes: u64,
    /// In their bulk lanes.
    pub bulk_bytes: u64,
    /// In the queues of agents' connections.
    pub agents_bytes: u64,
    /// Packets that the open links have sent.
    pub sent_packets: u64,
    /// Of these, those that were lost.
    pub lost_packets: u64,
    /// The smoothed round trip of the link that is in the middle of all, in microseconds.
    pub rtt_median_us: u64,
    /// Of the slowest link.
    pub rtt_max_us: u64,
    /// Memory that the process has in RAM, with all that share it; none where the system does not say.
    pub resident_bytes: Option<u64>,
}

impl NodeHandle {
    /// A way to ask the node's own machine.
    pub fn asker(&self) -> Asker {
        Asker { guest: self.guest(), decoder: FrameDecoder::new(), asked: 0 }
    }

    /// Tells what its transport does, whenever it is called.
    pub fn transport_reader(&self) -> impl Fn() -> Transport + Send + Sync + use<> {
        let hub = Arc::clone(&self.hub);
        move || transport(&hub)
    }
}

fn transport(hub: &Hub) -> Transport {
    let (links, connections) = (hub.outlets.all_links(), hub.outlets.all_connections());
    let connections = connections.iter().filter(|lane| lane.connection.is_some());
    let mut transport = Transport {
        links: links.len() as u64,
        resident_bytes: memory::resident_bytes(),
        ..Transport::default()
    };
    for lane in connections {
        transport.connections += 1;
        transport.agents_bytes += lane.lane.queued_bytes() as u64;
    }
    let mut round_trips = Vec::with_capacity(links.len());
    for link in &links {
        let [control, priority, bulk] = link.all().map(|lane| lane.queued_bytes() as u64);
        transport.control_bytes += control;
        transport.priority_bytes += priority;
        transport.bulk_bytes += bulk;
        let path = link.connection().stats().path;
        transport.sent_packets += path.sent_packets;
        transport.lost_packets += path.lost_packets;
        round_trips.push(u64::try_from(path.rtt.as_micros()).unwrap_or(u64::MAX));
    }
    round_trips.sort_unstable();
    transport.rtt_median_us = round_trips.get(round_trips.len() / 2).copied().unwrap_or(0);
    transport.rtt_max_us = round_trips.last().copied().unwrap_or(0);
    transport
}
