//! What a hostile node does at the doors of others, beside its links: crowds of agents, and handshakes
//! that do not end. Both come from one place, the liar's machine.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use starling_client::session::{Endpoint, EndpointSettings, Handler, Incoming, Session};
use starling_client::{Client, ClientSettings, Profile, SecretKey, new_key};
use starling_net::trust::Trust;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

/// Agents that come over one connection.
const AGENTS: usize = 64;
/// Connections to each edge, one after another.
const CONNECTIONS: usize = 64;
/// How long after one crowd the next comes.
const CROWDS: Duration = Duration::from_millis(100);
/// Handshakes that are begun in a strike, with every peer.
const HANDSHAKES: usize = 20;
/// Handshakes come from another address of this machine than honest nodes, as they would.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// Bytes of the largest first packet.
const PACKET_BYTES_MAX: usize = 2048;

/// What stands at others' doors.
#[derive(Debug)]
pub(super) struct Doors {
    trust: Option<Trust>,
    tasks: JoinSet<()>,
}

impl Doors {
    /// Nobody stands anywhere.
    pub fn new(trust: Option<Trust>) -> Doors {
        Doors { trust, tasks: JoinSet::new() }
    }

    /// Whoever came goes home.
    pub fn leave(&mut self) {
        self.tasks.abort_all();
        while self.tasks.try_join_next().is_some() {}
    }

    /// Sends crowds of agents to these edges, once.
    pub fn crowd(&mut self, edges: Vec<String>) {
        let Some(trust) = self.trust.clone().filter(|_| self.tasks.is_empty()) else { return };
        for edge in edges {
            self.tasks.spawn(crowd(trust.clone(), edge));
        }
    }

    /// Begins handshakes with these nodes, again and again until [`Doors::leave`].
    pub fn begin_handshakes(&mut self, nodes: Vec<String>) {
        let Some(trust) = self.trust.clone().filter(|_| self.tasks.is_empty()) else { return };
        let nodes: Vec<SocketAddr> = nodes.iter().filter_map(|node| node.parse().ok()).collect();
        self.tasks.spawn(async move {
            // A door that cannot be reached is not attacked.
            begin_handshakes(trust, nodes).await.ok();
        });
    }
}

/// Comes to an edge with ever more agents, and stays.
async fn crowd(trust: Trust, edge: String) {
    let mut inside = Vec::new();
    for _ in 0..CONNECTIONS {
        if let Ok(client) = Client::connect(ClientSettings::new(trust.clone(), [edge.clone()])).await {
            let keys = (0..AGENTS).filter_map(|_| new_key().ok());
            let list: Vec<(SecretKey, Profile)> = keys.map(|key| (key, Profile::default())).collect();
            let agents = client.agents(list).await;
            inside.push((client, agents));
        }
        tokio::time::sleep(CROWDS).await;
    }
    std::future::pending().await
}

/// Hears nothing: no handshake ends.
struct Deaf;

impl Handler for Deaf {
    fn on_incoming(&mut self, _incoming: Incoming) {}
}

/// Lets its own endpoint begin handshakes with a socket of ours, which passes their first packets on to
/// everybody and answers nothing.
async fn begin_handshakes(trust: Trust, nodes: Vec<SocketAddr>) -> anyhow::Result<()> {
    let door = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?);
    let elsewhere = UdpSocket::bind((ELSEWHERE, 0)).await?;
    let endpoint = Endpoint::new(&trust, &EndpointSettings::default())?;
    let address = door.local_addr()?;
    let mut begun = JoinSet::new();
    let mut packet = vec![0; PACKET_BYTES_MAX];
    loop {
        for _ in 0..HANDSHAKES {
            let endpoint = endpoint.clone();
            begun.spawn(async move {
                // It is never answered, and over when it has waited for too long.
                Session::connect(&endpoint, address, Deaf).await.ok();
            });
            let (length, _) = door.recv_from(&mut packet).await?;
            // A long header of type Initial (RFC 9000, section 17.2.2).
            if packet[0] & 0xF0 == 0xC0 {
                for node in &nodes {
                    elsewhere.send_to(&packet[..length], node).await?;
                }
            }
        }
        while begun.try_join_next().is_some() {}
        tokio::time::sleep(CROWDS).await;
    }
}
