//! The two tasks of a session: one reads, one writes and tends the probes.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quinn::{Connection, ConnectionError, RecvStream, SendStream, VarInt};
use starling_core::wire::agent::{Deliver, Published, System};
use starling_core::wire::codec::DecodeError;
use starling_core::wire::frame::{FrameDecoder, FrameType};
use starling_core::wire::request::Reply;
use starling_net::pace::Pace;
use starling_net::probe::Probe;
use tokio::sync::oneshot;

use super::outbox::Outbox;
use super::vigil::{self, Watch};
use super::{CloseReason, Handler, Incoming, SendError};

/// The code by which a side says that it leaves by intention.
pub(super) const CLOSE_LEAVING: VarInt = VarInt::from_u32(0);
/// The code by which a side says that the other broke the protocol.
const CLOSE_PROTOCOL: VarInt = VarInt::from_u32(3);
/// How long a probe may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);

/// What the tasks and the senders of a session have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub outbox: Outbox,
    pub watch: Watch,
    pinging: Mutex<Pinging>,
}

#[derive(Debug, Default)]
struct Pinging {
    nonce: u64,
    waiting: Option<oneshot::Sender<Instant>>,
}

impl Shared {
    pub fn new(queue_bytes_max: usize, pace: Arc<Pace>, watch: Watch) -> Shared {
        Shared { outbox: Outbox::new(queue_bytes_max, pace), watch, pinging: Mutex::default() }
    }

    /// Why the session ended, by the connection's word.
    pub fn reason_of(&self, error: &ConnectionError) -> CloseReason {
        if self.watch.has_ended() { CloseReason::Silent } else { reason_of(error) }
    }

    pub async fn ping(&self, connection: &Connection) -> Result<Duration, SendError> {
        let (answer, answered) = oneshot::channel();
        let nonce = {
            let mut pinging = self.pinging.lock().unwrap_or_else(PoisonError::into_inner);
            pinging.nonce += 1;
            pinging.waiting = Some(answer);
            pinging.nonce
        };
        let sent = Instant::now();
        connection.send_datagram(Probe::Ping(nonce).to_bytes()).map_err(|_| SendError::Closed)?;
        match tokio::time::timeout(PROBE_TIMEOUT, answered).await {
            Ok(Ok(at)) => Ok(at.saturating_duration_since(sent)),
            Ok(Err(_)) | Err(_) => Err(SendError::NoAnswer),
        }
    }

    /// Answers the edge's probes and takes the answers to ours, until the connection ends.
    async fn tend_probes(&self, connection: &Connection) {
        while let Ok(bytes) = connection.read_datagram().await {
            match Probe::from_bytes(&bytes) {
                Ok(Probe::Ping(nonce)) => {
                    if connection.send_datagram(Probe::Pong(nonce).to_bytes()).is_err() {
                        // A probe may get lost; who asks counts on that.
                    }
                }
                Ok(Probe::Pong(nonce)) => self.ponged(nonce),
                Ok(Probe::Alive(asked, rest_ms)) => self.watch.answered(asked, rest_ms),
                // An edge does not ask us so.
                Ok(Probe::Ask(_)) | Err(_) => {}
            }
        }
    }

    fn ponged(&self, nonce: u64) {
        let mut pinging = self.pinging.lock().unwrap_or_else(PoisonError::into_inner);
        if nonce != pinging.nonce {
            return;
        }
        let waiting = pinging.waiting.take();
        if waiting.is_some_and(|waiting| waiting.send(Instant::now()).is_err()) {
            // Who asked no longer waits.
        }
    }
}

/// Writes what is queued, tends the probes and watches the edge, until the session ends.
pub(super) async fn write(stream: SendStream, connection: Connection, shared: Arc<Shared>) {
    // One task serves all: none may wait for another, and a session must stay small.
    tokio::select! {
        () = write_queue(stream, &shared.outbox) => {}
        () = shared.tend_probes(&connection) => {}
        () = vigil::keep(&connection, &shared) => {}
    }
    shared.outbox.close();
}

async fn write_queue(mut stream: SendStream, outbox: &Outbox) {
    while let Some(bytes) = outbox.take().await {
        let mut pieces = [bytes];
        while !pieces[0].is_empty() {
            match stream.write_chunks(&mut pieces).await {
                Ok(written) => outbox.written(written.bytes),
                Err(_) => return,
            }
        }
    }
}

/// The reading side of a session.
pub(super) struct Reading<H> {
    pub stream: RecvStream,
    pub decoder: FrameDecoder,
    pub handler: H,
    pub connection: Connection,
}

impl<H: Handler> Reading<H> {
    pub async fn run(mut self, shared: Arc<Shared>) {
        let reason = self.read(&shared).await;
        if let CloseReason::Protocol(text) = &reason {
            self.connection.close(CLOSE_PROTOCOL, text.as_bytes());
        }
        shared.outbox.close();
        self.handler.on_closed(&reason);
    }

    async fn read(&mut self, shared: &Shared) -> CloseReason {
        loop {
            loop {
                let frame = match self.decoder.next_frame() {
                    Ok(Some(frame)) => frame,
                    Ok(None) => break,
                    Err(error) => return CloseReason::Protocol(error.to_string()),
                };
                let incoming = match decode(frame.0, frame.1) {
                    Ok(incoming) => incoming,
                    Err(error) => return CloseReason::Protocol(format!("{:?}: {error}", frame.0)),
                };
                if let Some(reason) = self.until_ready(shared).await {
                    return reason;
                }
                self.handler.on_incoming(incoming);
            }
            match self.stream.read_chunk(usize::MAX, true).await {
                Ok(Some(chunk)) => self.decoder.push(chunk.bytes),
                Ok(None) => return CloseReason::Protocol("it ended the stream".to_owned()),
                Err(_) => {
                    return match self.connection.close_reason() {
                        Some(error) => shared.reason_of(&error),
                        None => CloseReason::Protocol("it reset the stream".to_owned()),
                    };
                }
            }
        }
    }

    /// Waits for the handler, but not beyond the end of the connection.
    async fn until_ready(&mut self, shared: &Shared) -> Option<CloseReason> {
        let handler = &mut self.handler;
        let is_ready = poll_fn(|context| Poll::Ready(handler.poll_ready(context).is_ready())).await;
        if is_ready {
            return None;
        }
        tokio::select! {
            () = poll_fn(|context| handler.poll_ready(context)) => None,
            error = self.connection.closed() => Some(shared.reason_of(&error)),
        }
    }
}

fn decode(kind: FrameType, body: Bytes) -> Result<Incoming, DecodeError> {
    match kind {
        FrameType::Deliver => Deliver::decode(&body).map(Incoming::Deliver),
        FrameType::Published => Published::decode(&body).map(Incoming::Published),
        FrameType::System => System::decode(&body).map(Incoming::System),
        FrameType::Reply => Reply::decode_body(body).map(Box::new).map(Incoming::Reply),
        FrameType::Hello
        | FrameType::Bundle
        | FrameType::Acknowledge
        | FrameType::Relayed
        | FrameType::Copies
        | FrameType::Control
        | FrameType::Attach
        | FrameType::Request
        | FrameType::Publish
        | FrameType::SystemAcknowledge
        | FrameType::Change => Err(DecodeError::Invalid("frame from an edge")),
    }
}

fn reason_of(error: &ConnectionError) -> CloseReason {
    match error {
        ConnectionError::LocallyClosed => CloseReason::Local,
        ConnectionError::TimedOut | ConnectionError::Reset => CloseReason::Silent,
        ConnectionError::ApplicationClosed(close) => CloseReason::Edge {
            code: close.error_code.into_inner(),
            text: String::from_utf8_lossy(&close.reason).into_owned(),
        },
        ConnectionError::ConnectionClosed(_)
        | ConnectionError::TransportError(_)
        | ConnectionError::VersionMismatch
        | ConnectionError::CidsExhausted => CloseReason::Protocol(error.to_string()),
    }
}
