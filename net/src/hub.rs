//! What all tasks of a node share.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use quinn::Endpoint;
use starling_core::conduct::bucket::Rate;
use starling_core::event::Event;
use starling_core::hot::Plane;
use starling_core::hot::plane::Touched;
use starling_core::id::{NodeId, ShortId};
use starling_core::identity::VerifyKey;
use starling_core::machine::{ConnectionSlot, Input, LinkSlot};
use starling_core::wire::message::PeerRecord;
use tokio::sync::{Semaphore, broadcast, mpsc, watch};

use crate::agreement::Agreeing;
use crate::broadcasts::Broadcasts;
use crate::clock::Clock;
use crate::endpoint::CloseCode;
use crate::handshakes::Handshakes;
use crate::outlet::Outlets;
use crate::pace::Pace;
use crate::registry::Registry;
use crate::sealer::{HELD_TICK, Sealer};
use crate::wallet::Wallet;

/// Dials under way at once; others wait for their turn.
pub(crate) const DIALS_MAX: usize = 64;
/// How often a publisher that must wait for the way out looks again.
const CONGESTED_LOOK: Duration = Duration::from_millis(2);

/// A running node, as its tasks see it.
#[derive(Debug)]
pub(crate) struct Hub {
    pub clock: Clock,
    pub node: NodeId,
    pub authority: VerifyKey,
    /// What the node says of itself.
    pub record: PeerRecord,
    /// The hello with it, for connections that replace none.
    pub hello: Bytes,
    pub plane: Arc<Plane>,
    pub outlets: Arc<Outlets>,
    pub registry: Registry,
    pub endpoint: Endpoint,
    pub wallet: Wallet,
    pub credentials_directory: Option<PathBuf>,
    /// How long certificates are valid that this node issues.
    pub certificate_lifetime: Duration,
    /// Certificates that the machine got for this node, by their attempts.
    pub granted: mpsc::Sender<(u64, Result<String, String>)>,
    pub inputs: mpsc::Sender<Input>,
    pub events: broadcast::Sender<Event>,
    pub sealer: Sealer,
    pub pace: Pace,
    /// What each agent may publish whatever others do.
    pub promise: Rate,
    pub broadcasts: Broadcasts,
    pub agreeing: Agreeing,
    pub dials: Semaphore,
    pub handshakes: Arc<Handshakes>,
    /// Proposals refused because too many waited, or nobody agrees for this node.
    pub refused_proposals: AtomicU64,
    pub failure: OnceLock<String>,
    /// Whether the machine said good-bye.
    pub stopped: watch::Sender<bool>,
    pub stopping: watch::Sender<bool>,
    pub next_link: AtomicU32,
    pub next_connection: AtomicU32,
}

impl Hub {
    pub fn link_slot(&self) -> LinkSlot {
        LinkSlot(self.next_link.fetch_add(1, Ordering::Relaxed))
    }

    pub fn connection_slot(&self) -> ConnectionSlot {
        ConnectionSlot(self.next_connection.fetch_add(1, Ordering::Relaxed))
    }

    /// Hands an input to the machine; waits while it has too many.
    pub async fn input(&self, input: Input) {
        if self.inputs.send(input).await.is_err() {
            // The machine has ended: nobody is left who could want it.
        }
    }

    pub fn event(&self, event: Event) {
        if self.events.send(event).is_err() {
            // Nobody listens.
        }
    }

    pub fn refused(&self, peer: ShortId, reason: &'static str) {
        self.event(Event::Refused { peer, reason });
    }

    /// Resolves when the node stops.
    pub async fn stopping(&self) {
        let mut stopping = self.stopping.subscribe();
        if stopping.wait_for(|stopping| *stopping).await.is_err() {
            // Cannot be: the sender is ours.
        }
    }

    /// Ends all tasks and connections.
    pub fn close(&self, code: CloseCode, reason: &str) {
        self.stopping.send_replace(true);
        self.agreeing.end();
        self.endpoint.close(code.into(), reason.as_bytes());
    }

    /// The node cannot go on.
    pub fn fail(&self, reason: String) {
        self.close(CloseCode::Failed, "the node failed");
        self.failure.get_or_init(|| reason);
        self.stopped.send_replace(true);
    }

    /// Runs a task without which the node cannot go on.
    pub fn spawn_vital(
        self: &Arc<Self>,
        what: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let hub = Arc::clone(self);
        let task = tokio::spawn(task);
        tokio::spawn(async move {
            if task.await.is_err() {
                hub.fail(format!("{what} panicked; this is a defect"));
            }
        });
    }

    /// Sends what a batch of work left behind, without waiting.
    pub fn flush(&self, touched: &mut Touched) {
        self.plane.flush(touched);
        self.sealer.want(self.plane.seal_at.load(Ordering::SeqCst));
        if self.outlets.may_hold.load(Ordering::Acquire) {
            self.sealer.want((self.clock.now().mono + HELD_TICK).0);
        }
    }

    /// Waits until the links that a batch of work filled have room.
    pub async fn room(&self, touched: &mut Touched) {
        if !touched.congested.is_empty() {
            let congested = std::mem::take(&mut touched.congested);
            self.outlets.room(&congested).await;
        }
    }

    /// Waits until the way out takes more.
    pub async fn own_room(&self) {
        while self.plane.own_congested.load(Ordering::Acquire) && !*self.stopping.borrow() {
            tokio::time::sleep(CONGESTED_LOOK).await;
        }
    }
}
