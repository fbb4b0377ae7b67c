//! One connection to one edge, as lean as it gets: two tasks, no memory of what was sent.
//!
//! An [`Endpoint`] is a socket; [`Session::connect`] opens a connection over it and calls a
//! [`Handler`] for every frame that arrives. Sending never waits: it appends to a bounded queue of
//! bytes. What happens when the edge dies is the caller's to decide; [`crate::Client`] does.

mod connect;
mod endpoint;
mod outbox;
mod tasks;
mod vigil;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use starling_core::id::NodeId;
use starling_core::identity::{AttachTerms, Roles};
use starling_core::wire::agent::{
    Attach, Change, Deliver, Publish, Published, System, SystemAcknowledge, wire_frame,
};
use starling_core::wire::frame::FrameType;
use starling_core::wire::request::{Reply, Request};
use starling_net::trust::TrustError;
use tokio::sync::watch;

pub use endpoint::{Endpoint, EndpointSettings};
pub use vigil::Standing;

pub(crate) use connect::wall_time;
use tasks::Shared;

/// Publications may fill the queue once; everything else, which is small, twice.
const CONTROL_SHARES: usize = 2;

/// Why there is no session. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nothing answered: no node listens there, or the network does not reach it.
    #[error("{address} does not answer; is a node running there, and does UDP reach it?")]
    Unreachable {
        /// Whom we called.
        address: SocketAddr,
    },
    /// What answered is no node of this mesh, or its certificate is out of date.
    #[error("{address} is not a node of this mesh: {text}; does the trust file belong to this mesh?")]
    RefusedCertificate {
        /// Whom we called.
        address: SocketAddr,
        /// What exactly was refused.
        text: String,
    },
    /// The node speaks other versions of the protocol than this library.
    #[error("{address} speaks other versions of the protocol: {text}; update this program or the node")]
    Version {
        /// Whom we called.
        address: SocketAddr,
        /// What it said.
        text: String,
    },
    /// The node ended the connection.
    #[error("{address} closed the connection (code {code}): {text}")]
    Closed {
        /// Whom we called.
        address: SocketAddr,
        /// QUIC's application error code, or 0.
        code: u64,
        /// What it said.
        text: String,
    },
    /// The node does not keep to the protocol.
    #[error("{address} breaks the protocol: {text}")]
    Protocol {
        /// Whom we called.
        address: SocketAddr,
        /// What it did.
        text: String,
    },
    /// An address that is none.
    #[error("{text:?} is not an address such as 127.0.0.1:7423 or edge.example:7423: {source}")]
    Address {
        /// The refused text.
        text: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// The trust in the mesh cannot be used.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The system gave no socket.
    #[error("no UDP socket: {0}")]
    Socket(io::Error),
    /// A setting has a value that makes no sense.
    #[error("{0}")]
    Settings(&'static str),
}

/// Why a frame was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Too many bytes wait already; see [`Session::room`].
    #[error("too many bytes wait to be sent")]
    Full,
    /// The session has ended.
    #[error("the session has ended")]
    Closed,
    /// A probe was not answered in time.
    #[error("the edge did not answer the probe")]
    NoAnswer,
}

/// Why a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// Our side closed it.
    Local,
    /// The edge closed it.
    Edge {
        /// QUIC's application error code; `starling_net::CloseCode` names them.
        code: u64,
        /// What it said.
        text: String,
    },
    /// The edge answered nothing for too long, or lost its memory of this connection.
    Silent,
    /// The edge broke the protocol.
    Protocol(String),
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CloseReason::Local => f.write_str("closed by this side"),
            CloseReason::Edge { code, text } => write!(f, "closed by the edge (code {code}): {text}"),
            CloseReason::Silent => f.write_str("the edge is silent"),
            CloseReason::Protocol(text) => write!(f, "the edge breaks the protocol: {text}"),
        }
    }
}

/// A frame from the edge. Payloads share memory with what was received.
#[derive(Clone, Debug)]
pub enum Incoming {
    /// Entries for subscriptions or an inbox.
    Deliver(Deliver),
    /// Publications that every destination has.
    Published(Published),
    /// A system update.
    System(System),
    /// An answer or a notice.
    Reply(Box<Reply>),
}

/// Whoever receives a session's frames, on the session's reading task; must not block.
pub trait Handler: Send + 'static {
    /// The session is open; nothing was received yet. The sender may be kept.
    fn on_open(&mut self, _sender: &Sender) {}

    /// Whether another frame may come. While this is pending nothing is read, so the edge feels it.
    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    /// The next frame.
    fn on_incoming(&mut self, incoming: Incoming);

    /// The session ended; the last call.
    fn on_closed(&mut self, _reason: &CloseReason) {}
}

/// The node at the other end, by its certificate and its admission.
#[derive(Clone, Debug)]
pub struct EdgeInfo {
    /// Its name.
    pub node: NodeId,
    /// Its life.
    pub incarnation: u64,
    /// What people call it.
    pub name: String,
    /// The region it belongs to.
    pub region: String,
    /// What it is; attaching needs an edge.
    pub roles: Roles,
    /// Where it was reached.
    pub address: SocketAddr,
}

/// Queues frames; does not keep the session open. A clone is one reference count.
#[derive(Clone, Debug)]
pub struct Sender {
    shared: Arc<Shared>,
}

impl Sender {
    /// Asks to host agents; at most 256 claims and 64 KiB.
    pub fn attach(&self, attach: &Attach) -> Result<(), SendError> {
        self.push(CONTROL_SHARES, &wire_frame(FrameType::Attach, attach))
    }

    /// Publishes. Publications are numbered from 1 in the order of these calls.
    pub fn publish(&self, publish: &Publish) -> Result<(), SendError> {
        self.shared.outbox.push(1, |out| publish.put_frame(out))
    }

    /// As [`Sender::publish`], for publications that a window bounds already.
    pub(crate) fn publish_reserved(&self, publish: &Publish) -> Result<(), SendError> {
        self.shared.outbox.push(CONTROL_SHARES, |out| publish.put_frame(out))
    }

    /// Changes an agent's state or tags. Changes are numbered from 1 in the order of these calls.
    pub fn change(&self, change: &Change) -> Result<(), SendError> {
        self.push(CONTROL_SHARES, &wire_frame(FrameType::Change, change))
    }

    /// Says that an agent has every system update up to an index.
    pub fn system_acknowledge(&self, acknowledge: &SystemAcknowledge) -> Result<(), SendError> {
        self.shared.outbox.push(CONTROL_SHARES, |out| acknowledge.put_frame(out))
    }

    /// Asks something; the answer has the same id.
    pub fn request(&self, request: &Request) -> Result<(), SendError> {
        self.push(CONTROL_SHARES, &request.to_frame())
    }

    /// Bytes that wait to be sent.
    pub fn queued_bytes(&self) -> usize {
        self.shared.outbox.queued_bytes()
    }

    /// Waits until a publication would be queued.
    pub async fn room(&self) -> Result<(), SendError> {
        self.shared.outbox.room().await
    }

    fn push(&self, shares: usize, frame: &[u8]) -> Result<(), SendError> {
        self.shared.outbox.push(shares, |out| out.extend_from_slice(frame))
    }
}

/// An open connection; closed when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Session(Arc<Live>);

#[derive(Debug)]
struct Live {
    connection: quinn::Connection,
    sender: Sender,
    edge: EdgeInfo,
    terms: AttachTerms,
}

impl Drop for Live {
    fn drop(&mut self) {
        self.connection.close(tasks::CLOSE_LEAVING, b"");
    }
}

impl Session {
    /// Opens a session with the node at `address`.
    pub async fn connect<H: Handler>(
        endpoint: &Endpoint,
        address: SocketAddr,
        handler: H,
    ) -> Result<Session, ConnectError> {
        let opening = connect::open(endpoint, address, handler);
        match tokio::time::timeout(endpoint.connect_timeout, opening).await {
            Ok(opened) => opened,
            Err(_) => Err(ConnectError::Unreachable { address }),
        }
    }

    /// The node at the other end.
    pub fn edge(&self) -> &EdgeInfo {
        &self.0.edge
    }

    /// What agents sign to attach here, bound to this connection.
    pub fn terms(&self) -> AttachTerms {
        self.0.terms
    }

    /// What queues frames, without keeping the session open.
    pub fn sender(&self) -> &Sender {
        &self.0.sender
    }

    /// As [`Sender::attach`].
    pub fn attach(&self, attach: &Attach) -> Result<(), SendError> {
        self.0.sender.attach(attach)
    }

    /// As [`Sender::publish`].
    pub fn publish(&self, publish: &Publish) -> Result<(), SendError> {
        self.0.sender.publish(publish)
    }

    /// As [`Sender::change`].
    pub fn change(&self, change: &Change) -> Result<(), SendError> {
        self.0.sender.change(change)
    }

    /// As [`Sender::system_acknowledge`].
    pub fn system_acknowledge(&self, acknowledge: &SystemAcknowledge) -> Result<(), SendError> {
        self.0.sender.system_acknowledge(acknowledge)
    }

    /// As [`Sender::request`].
    pub fn request(&self, request: &Request) -> Result<(), SendError> {
        self.0.sender.request(request)
    }

    /// As [`Sender::queued_bytes`].
    pub fn queued_bytes(&self) -> usize {
        self.0.sender.queued_bytes()
    }

    /// As [`Sender::room`].
    pub async fn room(&self) -> Result<(), SendError> {
        self.0.sender.room().await
    }

    /// The round trip as QUIC measures it on its own traffic.
    pub fn rtt(&self) -> Duration {
        self.0.connection.rtt()
    }

    /// The time that one probe takes to the edge's process and back. One at a time: a second call
    /// ends the first with [`SendError::NoAnswer`].
    pub async fn ping(&self) -> Result<Duration, SendError> {
        self.0.sender.shared.ping(&self.0.connection).await
    }

    /// Closes the session at once; what waits to be sent is dropped.
    pub fn close(&self) {
        self.0.connection.close(tasks::CLOSE_LEAVING, b"");
    }

    /// What is to be thought of the edge by its answers, now and later.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.0.sender.shared.watch.standing()
    }

    /// Waits until the edge is silent, or the session ended.
    pub async fn silent(&self) {
        let mut standing = self.standing();
        tokio::select! {
            is_silent = standing.wait_for(|standing| *standing >= Standing::Silent) => {
                is_silent.expect("the session is ours and tells");
            }
            _ = self.0.connection.closed() => {}
        }
    }

    /// Waits until the session ended.
    pub async fn closed(&self) -> CloseReason {
        let error = self.0.connection.closed().await;
        self.0.sender.shared.reason_of(&error)
    }
}
