//! A connection to one node for questions, and to the coordinator for its cut.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use starling_client::session::{Endpoint, Handler, Incoming, Session};
use starling_core::wire::request::{Ask, DecidedView, Empty, Overview, Refused, Reply, Request, Say};
use tokio::sync::{Mutex, mpsc};

use crate::shared::Shared;

/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// One question at a time.
#[derive(Debug)]
pub struct Observer {
    session: Session,
    answers: Mutex<(u64, mpsc::Receiver<Reply>)>,
}

struct Ears {
    shared: Option<Arc<Shared>>,
    answers: mpsc::Sender<Reply>,
}

impl Handler for Ears {
    fn on_incoming(&mut self, incoming: Incoming) {
        let Incoming::Reply(reply) = incoming else { return };
        match (&self.shared, reply.say) {
            (Some(shared), Some(Say::Cut(cut))) => shared.visible.covered(shared.now(), &cut.edges),
            (_, say) => {
                // A question that nobody waits for any more needs no answer.
                self.answers.try_send(Reply { id: reply.id, say }).ok();
            }
        }
    }
}

impl Observer {
    /// Connects; cuts that the node tells of go to `shared`.
    ///
    /// # Errors
    /// The node does not answer.
    pub async fn connect(
        endpoint: &Endpoint,
        address: SocketAddr,
        shared: Option<Arc<Shared>>,
    ) -> Result<Observer> {
        let (answers, answered) = mpsc::channel(16);
        let session = Session::connect(endpoint, address, Ears { shared, answers }).await?;
        Ok(Observer { session, answers: Mutex::new((0, answered)) })
    }

    async fn ask(&self, ask: Ask) -> Result<Say> {
        let mut answers = self.answers.lock().await;
        answers.0 += 1;
        let id = answers.0;
        self.session.request(&Request { id, ask: Some(ask) })?;
        loop {
            let reply = tokio::time::timeout(ANSWER_WITHIN, answers.1.recv()).await;
            let reply =
                reply.context("a node did not answer in time")?.context("a node closed the connection")?;
            if reply.id == id {
                return reply.say.context("a node answered with something newer than this version");
            }
        }
    }

    /// The mesh as the node knows it.
    ///
    /// # Errors
    /// The node does not answer or refuses.
    pub async fn overview(&self) -> Result<Overview> {
        match self.ask(Ask::Overview(Empty {})).await? {
            Say::Overview(overview) => Ok(overview),
            other => bail!("an unexpected answer to overview: {other:?}"),
        }
    }

    /// Asks for the cut whenever it grows.
    ///
    /// # Errors
    /// The node does not answer or refuses.
    pub async fn watch_cut(&self) -> Result<()> {
        match self.ask(Ask::WatchCut(Empty {})).await? {
            Say::Done(_) => Ok(()),
            other => bail!("an unexpected answer to watch: {other:?}"),
        }
    }

    /// Issues a system update.
    ///
    /// # Errors
    /// The node does not answer or refuses.
    pub async fn update(&self, payload: Bytes) -> Result<u64> {
        match self.try_update(payload).await? {
            Ok(index) => Ok(index),
            Err(refused) => bail!("the coordinator refused the update: {}", refused.text),
        }
    }

    /// The same; a refusal is no error here.
    ///
    /// # Errors
    /// The node does not answer: whether the update is decided is not known.
    pub async fn try_update(&self, payload: Bytes) -> Result<std::result::Result<u64, Refused>> {
        match self.ask(Ask::Update(payload)).await? {
            Say::Decided(index) => Ok(Ok(index)),
            Say::Refused(refused) => Ok(Err(refused)),
            other => bail!("an unexpected answer to update: {other:?}"),
        }
    }
}

impl Observer {
    /// The decided updates after `index`, as many as fit into an answer.
    ///
    /// # Errors
    /// The node does not answer or refuses.
    pub async fn updates_after(&self, index: u64) -> Result<Vec<DecidedView>> {
        match self.ask(Ask::Updates(index)).await? {
            Say::Updates(view) => Ok(view.updates),
            other => bail!("an unexpected answer to updates: {other:?}"),
        }
    }
}

/// Agents over all regions.
pub fn count_agents(overview: &Overview) -> u64 {
    overview.regions.iter().map(|region| region.agents).sum()
}
