//! Connections that come home to another edge when theirs is lost.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use starling_client::session::Endpoint;
use starling_core::identity::SecretKey;

use crate::connection::Connection;
use crate::run::Generator;
use crate::shared::Shared;

/// How long one of several edges is tried.
const OPEN_WITHIN: Duration = Duration::from_secs(2);
/// How long to wait after all were tried.
const BREATH: Duration = Duration::from_millis(200);
/// How often all are tried before a loss is told.
const ROUNDS: usize = 10;

/// A connection and the edges it may go to.
pub(crate) struct Homing {
    connection: Arc<Connection>,
    shared: Arc<Shared>,
    endpoint: Endpoint,
    keys: Arc<Vec<SecretKey>>,
    edges: Vec<SocketAddr>,
    /// Which edge was tried last.
    tried: usize,
}

impl Generator {
    /// `connection` may go to these edges; different ones begin with different edges.
    pub(crate) fn homing(&self, connection: &Arc<Connection>, edges: &[u32]) -> Homing {
        Homing {
            connection: Arc::clone(connection),
            shared: Arc::clone(&self.shared),
            endpoint: self.endpoints[connection.number % self.endpoints.len()].clone(),
            keys: Arc::clone(&self.keys),
            edges: edges.iter().map(|edge| self.edges[*edge as usize]).collect(),
            tried: connection.number,
        }
    }
}

impl Homing {
    /// Waits until the edge is lost, and brings the agents to another one.
    ///
    /// # Errors
    /// Why the last one did not take them.
    pub async fn come_home(mut self) -> Result<()> {
        self.next_home().await
    }

    /// Brings the agents to another edge whenever theirs is lost, for as long as this runs.
    pub async fn stay_home(mut self) {
        loop {
            if let Err(error) = self.next_home().await {
                self.shared.complain(format!("connection {}: {error:#}", self.connection.number));
            }
        }
    }

    async fn next_home(&mut self) -> Result<()> {
        self.connection.until_lost().await;
        let mut tried = Ok(());
        for _ in 0..ROUNDS {
            for _ in 0..self.edges.len() {
                self.tried += 1;
                tried = self.try_at(self.edges[self.tried % self.edges.len()]).await;
                if tried.is_ok() {
                    return tried;
                }
            }
            tokio::time::sleep(BREATH).await;
        }
        tried
    }

    async fn try_at(&self, address: SocketAddr) -> Result<()> {
        let opening = self.connection.open(&self.shared, &self.endpoint, address);
        let opened = tokio::time::timeout(OPEN_WITHIN, opening).await;
        let opened = opened.with_context(|| format!("{address} does not answer"))??;
        self.connection.settle(&self.shared, opened, &self.keys).await
    }
}
