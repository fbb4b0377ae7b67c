//! Peers that broadcast, the best first.

use serde::Serialize;
use starling_core::id::hex;
use starling_core::wire::request::{PeerView, PeersView};

use super::Render;
use super::table::{Side, table};

/// The answer to `starling peers`.
#[derive(Debug, Serialize)]
pub struct Peers {
    schema: &'static str,
    mesh: String,
    as_of_ms: u64,
    node: String,
    has_asked_others: bool,
    peers: Vec<PeerRow>,
}

/// One peer; a round trip of 0 is none yet, reputation and score are 0.0 to 1.0.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct PeerRow {
    id: String,
    name: String,
    region: String,
    capabilities: Vec<String>,
    version: String,
    status: String,
    reputation: f64,
    rtt_us: u64,
    addresses: Vec<String>,
    score: f64,
}

impl From<&PeerView> for PeerRow {
    fn from(view: &PeerView) -> PeerRow {
        let share = |steps: u32| f64::from(steps) / 10_000.0;
        PeerRow {
            id: hex(&view.id),
            name: view.name.clone(),
            region: view.region.clone(),
            capabilities: view.capabilities.clone(),
            version: view.version.clone(),
            status: view.status.clone(),
            reputation: share(view.reputation),
            rtt_us: view.rtt_us,
            addresses: view.addresses.clone(),
            score: share(view.score),
        }
    }
}

impl Peers {
    /// What a node answered, in its order.
    pub fn of(view: &PeersView) -> Peers {
        Peers {
            schema: "starling.peers/1",
            mesh: view.mesh.clone(),
            as_of_ms: view.as_of_ms,
            node: view.node.clone(),
            has_asked_others: view.has_asked_others,
            peers: view.peers.iter().map(PeerRow::from).collect(),
        }
    }
}

impl Render for Peers {
    fn table(&self) -> String {
        let columns = [
            ("PEER", Side::Left),
            ("ID", Side::Left),
            ("REGION", Side::Left),
            ("STATUS", Side::Left),
            ("SCORE", Side::Right),
            ("REPUTATION", Side::Right),
            ("RTT MS", Side::Right),
            ("VERSION", Side::Left),
            ("ADDRESSES", Side::Left),
            ("CAPABILITIES", Side::Left),
        ];
        let rows = self.peers.iter().map(|row| {
            let rtt = match row.rtt_us {
                0 => "-".to_owned(),
                micros => format!("{}.{:02}", micros / 1000, micros % 1000 / 10),
            };
            vec![
                row.name.clone(),
                row.id.chars().take(16).collect(),
                row.region.clone(),
                row.status.clone(),
                format!("{:.2}", row.score),
                format!("{:.2}", row.reputation),
                rtt,
                row.version.clone(),
                row.addresses.join(" "),
                row.capabilities.join(" "),
            ]
        });
        table(&columns, rows.collect(), "no peers found")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_shown_as_the_node_ordered_them() {
        let peer = |name: &str, rtt_us: u64| PeerView {
            id: vec![0xAB; 32].into(),
            name: name.into(),
            region: "eu".into(),
            capabilities: vec!["relay".into(), "service:films".into()],
            version: "0.1.0".into(),
            status: "alive".into(),
            reputation: 10_000,
            rtt_us,
            addresses: vec!["192.0.2.1:7420".into()],
            score: 4_250,
        };
        let view = PeersView { peers: vec![peer("b", 1_234), peer("a", 0)], ..PeersView::default() };
        let text = Peers::of(&view).table();
        let rows: Vec<&str> = text.lines().filter(|line| line.contains("abababababababab")).collect();
        let named = |row: &str, name: &str| row.split_whitespace().any(|word| word == name);
        assert_eq!(rows.len(), 2, "{text}");
        assert!(named(rows[0], "b") && named(rows[1], "a"), "{text}");
        for part in ["0.42", "1.00", "1.23", "192.0.2.1:7420", "relay service:films"] {
            assert!(rows[0].contains(part), "{part}: {text}");
        }
        assert!(rows[1].contains(" - "), "{text}");
        assert!(Peers::of(&PeersView::default()).table().contains("no peers found"));
    }
}
