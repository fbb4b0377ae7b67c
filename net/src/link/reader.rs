//! The readers of a link: one a lane, from one stream of it to the next.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use quinn::RecvStream;
use starling_core::conduct::Offence;
use starling_core::hot::Report;
use starling_core::hot::plane::Touched;
use starling_core::id::ShortId;
use starling_core::machine::{Input, LinkSlot};
use starling_core::time::Time;
use starling_core::wire::frame::{FrameDecoder, FrameType};
use starling_core::wire::message::ControlBody;
use tokio::sync::oneshot;

use super::Kind;
use crate::hello::Refusal;
use crate::hub::Hub;
use crate::outlet::LinkLanes;

/// Pieces of a stream that are worked off before acknowledgements leave.
const CHUNKS: usize = 32;

/// A stream that a lane comes in, until it goes on in the next.
pub(super) struct Inflow {
    pub stream: RecvStream,
    pub decoder: FrameDecoder,
    /// Told when the stream was read to its end; dropped when it was cut.
    pub ended: oneshot::Sender<()>,
    pub next: oneshot::Receiver<Box<Inflow>>,
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Its sender finished it.
    Finished,
    /// Its connection is gone.
    Cut,
}

/// Where a reader's frames come from.
pub(super) struct From {
    pub hub: Arc<Hub>,
    pub lanes: Arc<LinkLanes>,
    pub slot: LinkSlot,
    pub peer: ShortId,
    pub kind: Kind,
    pub is_coordinator: bool,
}

impl From {
    /// Reads one stream of the lane after the other, until one is cut or there is no next.
    pub async fn read_all(self, mut next: oneshot::Receiver<Box<Inflow>>) {
        while let Ok(inflow) = next.await {
            let Inflow { stream, decoder, ended, next: following } = *inflow;
            match self.read(stream, decoder).await {
                Ok(End::Finished) => {
                    if ended.send(()).is_err() {
                        // The link ends: nobody waits for it.
                    }
                }
                Ok(End::Cut) => return,
                Err(Refusal { code, reason }) => {
                    self.hub.refused(self.peer, reason);
                    // TLS keeps what was said as it was said: nobody but the peer made it.
                    let offence = Report::Offence { from: self.slot, offence: Offence::MalformedFrame };
                    self.hub.input(Input::Reported(offence)).await;
                    return self.lanes.close_connection(code, reason);
                }
            }
            next = following;
        }
    }

    async fn read(&self, mut stream: RecvStream, mut decoder: FrameDecoder) -> Result<End, Refusal> {
        let mut touched = Touched::default();
        let mut inputs = Vec::new();
        let mut chunks = vec![Bytes::new(); CHUNKS];
        // What came behind the hello is worked off first.
        let mut count = 1;
        loop {
            for chunk in &mut chunks[..count] {
                let chunk = std::mem::take(chunk);
                if !chunk.is_empty() {
                    decoder.push(chunk);
                }
                while let Some(until) = self.take(&mut decoder, &mut touched, &mut inputs)? {
                    self.pass_on(&mut touched, &mut inputs).await;
                    let since = self.hub.clock.now().mono;
                    tokio::time::sleep_until(self.hub.clock.instant(until)).await;
                    self.hub.plane.counters.held_link(self.hub.clock.now().mono.since(since));
                }
            }
            self.pass_on(&mut touched, &mut inputs).await;
            tokio::task::coop::consume_budget().await;
            count = match stream.read_chunks(&mut chunks).await {
                Ok(Some(count)) => count,
                // A lane ends when its sender stops, or goes on in another stream.
                Ok(None) if decoder.is_between_frames() => return Ok(End::Finished),
                Ok(None) => return Err(Refusal::protocol("a lane ended within a frame")),
                // How the link ends is the connection's to say.
                Err(_) => return Ok(End::Cut),
            };
        }
    }

    /// Sends on what a batch of frames left, and waits for who must have room for it.
    async fn pass_on(&self, touched: &mut Touched, inputs: &mut Vec<Input>) {
        self.hub.flush(touched);
        for input in inputs.drain(..) {
            self.hub.input(input).await;
        }
        self.hub.room(touched).await;
    }

    /// Works off the whole frames in `decoder`, or as many as the peer's share of this node allows: then
    /// returns when to go on.
    fn take(
        &self,
        decoder: &mut FrameDecoder,
        touched: &mut Touched,
        inputs: &mut Vec<Input>,
    ) -> Result<Option<Time>, Refusal> {
        let now = self.hub.clock.now();
        let plane = &self.hub.plane;
        let malformed = |_| Refusal::protocol("malformed frame");
        while let Some((kind, body)) = decoder.next_frame().map_err(malformed)? {
            match (kind, self.kind) {
                (FrameType::Bundle, Kind::Priority | Kind::Bulk) => {
                    if let Some(trial) = &self.hub.outlets.trial {
                        trial.came(self.slot, &body);
                    }
                    if let Some(until) = plane.receive(now, self.slot, &body, touched) {
                        return Ok(Some(until));
                    }
                }
                (FrameType::Copies, Kind::Priority | Kind::Bulk) => {
                    let is_first = self.kind == Kind::Priority;
                    if let Some(until) = plane.copies(now, self.slot, is_first, &body, touched) {
                        return Ok(Some(until));
                    }
                }
                (FrameType::Acknowledge, Kind::Control) => {
                    plane.acknowledge(now, self.slot, &body, touched);
                }
                (FrameType::Relayed, lane) => {
                    // What is malformed in it is the fault of its far end, not of this link.
                    let relayed = plane.relayed(now, self.slot, lane.lane(), &body, touched);
                    let message =
                        relayed.and_then(|(link, body)| Some((link, ControlBody::decode(body).ok()??)));
                    inputs.extend(message.map(|(link, body)| Input::Control { link, body }));
                }
                (FrameType::Control, Kind::Control) => {
                    let body = ControlBody::decode(body)
                        .map_err(|_| Refusal::protocol("malformed control message"))?;
                    match body {
                        Some(ControlBody::Pace(pace)) => {
                            self.lanes.peer_pace.store(pace.milliseconds, Ordering::Relaxed);
                        }
                        Some(ControlBody::Agreement(message)) if self.is_coordinator => {
                            self.hub.agreeing.heard(self.peer, message);
                        }
                        Some(ControlBody::Agreement(_)) => {
                            return Err(Refusal::protocol("only coordinators agree"));
                        }
                        Some(body) => inputs.push(Input::Control { link: self.slot, body }),
                        None => {}
                    }
                }
                (
                    FrameType::Hello
                    | FrameType::Bundle
                    | FrameType::Copies
                    | FrameType::Acknowledge
                    | FrameType::Control
                    | FrameType::Attach
                    | FrameType::Request
                    | FrameType::Reply
                    | FrameType::Publish
                    | FrameType::Published
                    | FrameType::Deliver
                    | FrameType::System
                    | FrameType::SystemAcknowledge
                    | FrameType::Change,
                    _,
                ) => return Err(Refusal::protocol("a frame on a lane where it does not belong")),
            }
        }
        Ok(None)
    }
}
