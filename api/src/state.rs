//! What every request is answered from.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use starling_core::wire::request::{Ask, Empty, Overview, Say};
use starling_observe::Reading;
use tokio::sync::watch;

use crate::asking::{Asking, Unanswered, Whom};
use crate::counts::Counts;
use crate::events::Events;
use crate::history::History;

/// Streams at once; more are told to come later.
pub(crate) const STREAMS_MAX: u64 = 64;

/// What a node's surroundings count, by the sources of [`starling_observe::signals::SIGNALS`].
pub type Gauges = Box<dyn Fn() -> Vec<(&'static str, u64)> + Send + Sync>;

/// Whom this serves and who may read it.
pub struct Settings {
    /// The node's name.
    pub name: String,
    /// Its role: `edge`, `aggregator` or `coordinator`.
    pub role: String,
    /// Its region.
    pub region: String,
    /// Who reads has to know this; nobody needs anything when there is none.
    pub token: Option<String>,
    /// What the node's transport does, and other numbers that its machine does not know.
    pub gauges: Gauges,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Settings { name, role, region, .. } = self;
        f.debug_struct("Settings").field("name", name).field("role", role).field("region", region).finish()
    }
}

/// What requests share.
#[derive(Debug)]
pub(crate) struct State {
    pub settings: Settings,
    pub address: SocketAddr,
    pub asking: Asking,
    pub events: Events,
    pub history: History,
    pub counts: Arc<Counts>,
    /// Becomes true when the node is about to stop.
    pub stopping: watch::Receiver<bool>,
}

impl State {
    /// The mesh as this node knows it.
    pub async fn overview(&self) -> Result<Overview, String> {
        self.overview_of(&Whom::Own).await
    }

    /// The mesh as another node knows it, with what that one counts.
    pub async fn overview_of(&self, whom: &Whom) -> Result<Overview, String> {
        match self.asking.ask(whom, Ask::Overview(Empty {})).await {
            Ok(say) => match &*say {
                Say::Overview(overview) => Ok(overview.clone()),
                other => Err(format!("an unexpected answer: {other:?}")),
            },
            Err(Unanswered::Refused(refused)) => Err(refused.text),
            Err(Unanswered::Silent(why)) => Err(why),
        }
    }

    /// All numbers of this node.
    pub fn reading(&self, overview: Option<&Overview>) -> Reading {
        let mut reading = overview.map(Reading::of).unwrap_or_default();
        let counts = self.counts.list();
        for (name, value) in (self.settings.gauges)().into_iter().chain(counts) {
            reading.set(name, value);
        }
        reading
    }
}
