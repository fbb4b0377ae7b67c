//! What a client's frames become.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use quinn::RecvStream;
use starling_core::conduct::bucket::Bucket;
use starling_core::hot::counters::Counters;
use starling_core::hot::own::{Publication, Target};
use starling_core::hot::plane::Touched;
use starling_core::identity::{AttachClaim, AttachTerms};
use starling_core::interest::subject::check_subject;
use starling_core::limits;
use starling_core::machine::{ConnectionSlot, Input};
use starling_core::time::Time;
use starling_core::wire::agent::{Attach, Change, Publish, SystemAcknowledge};
use starling_core::wire::codec::{DecodeError, Wire};
use starling_core::wire::frame::{FrameDecoder, FrameType};
use starling_core::wire::request::{RefusedCode, Reply, Request, Say, Undelivered};

use crate::hello::Refusal;
use crate::hub::Hub;
use crate::outlet::{AgentLane, Seat};
use crate::pace::Pace;

/// The longest delegation that an edge accepts.
const DELEGATION_MAX: Duration = Duration::from_secs(7 * 24 * 3_600);
/// How long the connection of an agent beyond what it is promised waits for its next turn at the most.
const BEYOND_PAUSE_MAX: Duration = Duration::from_millis(100);
/// Pieces of the stream that are worked off at once.
const CHUNKS: usize = 16;

/// Reads one connection's stream.
pub(super) struct Reader {
    hub: Arc<Hub>,
    slot: ConnectionSlot,
    lane: Arc<AgentLane>,
    terms: AttachTerms,
    /// When the batch that is worked off was begun.
    now: Time,
    /// Numbers of the last publication and the last change.
    published: u64,
    changed: u64,
}

/// What the frames of one batch add up to.
#[derive(Default)]
struct Batch {
    inputs: Vec<Input>,
    publications: Vec<Publication>,
    refused: Vec<u64>,
    /// Publications beyond what their agents are promised.
    beyond: u64,
    acknowledged: Vec<(u64, u32)>,
}

/// Whether a reader has worked off everything it has.
#[derive(PartialEq, Eq)]
enum Step {
    /// Something took long; others should have their turn.
    Pause,
    /// There is no whole frame left.
    Done,
}

impl Reader {
    pub fn new(hub: Arc<Hub>, slot: ConnectionSlot, lane: Arc<AgentLane>, terms: AttachTerms) -> Reader {
        let now = hub.clock.now().mono;
        Reader { hub, slot, lane, terms, now, published: 0, changed: 0 }
    }

    /// Reads until the client has no more to say or breaks the protocol.
    pub async fn read(mut self, mut stream: RecvStream, mut decoder: FrameDecoder) -> Result<(), Refusal> {
        // What came behind the hello is worked off first.
        let mut chunks = vec![Bytes::new()];
        loop {
            let mut batch = Batch::default();
            self.now = self.hub.clock.now().mono;
            for chunk in chunks {
                if !chunk.is_empty() {
                    decoder.push(chunk);
                }
                while self.step(&mut decoder, &mut batch).map_err(|_| MALFORMED)? == Step::Pause {
                    tokio::task::yield_now().await;
                }
            }
            if !batch.is_empty() {
                // Boxed: what a batch needs while it waits is given back before the next is awaited.
                Box::pin(self.finish(batch)).await;
            }
            tokio::task::coop::consume_budget().await;
            chunks = match next_chunks(&mut stream).await {
                Some(chunks) => chunks,
                None => return Ok(()),
            };
        }
    }

    /// Works off frames up to one that took long.
    fn step(&mut self, decoder: &mut FrameDecoder, batch: &mut Batch) -> Result<Step, DecodeError> {
        while let Some((kind, body)) = decoder.next_frame()? {
            match kind {
                FrameType::Publish => self.publish(Publish::decode(&body)?, batch),
                FrameType::Change => self.change(Change::from_bytes(&body)?, batch),
                FrameType::SystemAcknowledge => batch.acknowledge(SystemAcknowledge::decode(&body)?),
                FrameType::Attach => {
                    self.attach(Attach::from_bytes(&body)?, batch);
                    return Ok(Step::Pause);
                }
                FrameType::Request => self.request(Request::decode_body(body)?, batch),
                FrameType::Hello
                | FrameType::Bundle
                | FrameType::Acknowledge
                | FrameType::Relayed
                | FrameType::Copies
                | FrameType::Control
                | FrameType::Reply
                | FrameType::Published
                | FrameType::Deliver
                | FrameType::System => return Err(DecodeError::Invalid("frame from a client")),
            }
        }
        Ok(Step::Done)
    }

    fn publish(&mut self, publish: Publish, batch: &mut Batch) {
        self.published += 1;
        let seat = {
            let mut seats = self.lane.table.lock();
            let seat = seats.get_mut(publish.agent);
            seat.map(|seat| {
                batch.beyond += u64::from(!seat.promised.take(&self.hub.promise, self.now, 1));
                *seat
            })
        };
        let is_subject =
            || std::str::from_utf8(&publish.subject).is_ok_and(|subject| check_subject(subject).is_ok());
        let Some(seat) = seat.filter(|_| publish.directed || is_subject()) else {
            return batch.refused.push(self.published);
        };
        batch.publications.push(Publication {
            connection: self.slot,
            number: self.published,
            agent: seat.agent,
            sequence: publish.sequence,
            class: publish.class,
            target: if publish.directed { Target::Agent(None) } else { Target::Subject },
            subject: publish.subject,
            extras: publish.extras,
            payload: publish.payload,
            attempts: 0,
        });
    }

    fn change(&mut self, change: Change, batch: &mut Batch) {
        self.changed += 1;
        if let Some(Input::Changes { changes, .. }) = batch.inputs.last_mut() {
            return changes.push(change);
        }
        let (connection, first) = (self.slot, self.changed);
        batch.inputs.push(Input::Changes { connection, first, changes: vec![change] });
    }

    fn request(&mut self, request: Request, batch: &mut Batch) {
        match request.ask {
            Some(ask) => {
                batch.inputs.push(Input::Request { connection: self.slot, id: request.id, ask });
            }
            None => {
                let say = RefusedCode::Invalid.because("this node does not know such a request");
                self.say(request.id, say);
            }
        }
    }

    /// Verifies the claims of a frame; some 15 microseconds each.
    fn attach(&mut self, attach: Attach, batch: &mut Batch) {
        let Attach { request, candidates } = attach;
        let wall = self.hub.clock.now().wall;
        let claims: Vec<AttachClaim> = candidates.iter().map(|candidate| candidate.claim).collect();
        let verified = self.terms.verify(&claims);
        let mut valid = Vec::with_capacity(candidates.len());
        let mut forged = Vec::new();
        let mut seats = self.lane.table.lock();
        for (candidate, verified) in candidates.into_iter().zip(verified) {
            let agent = candidate.claim.agent();
            let in_time = !candidate.claim.is_out_of_time(wall, DELEGATION_MAX);
            // An index stays with whom it was given to; a claim to it by another is none.
            let is_free = seats.get(candidate.index).is_none_or(|seat| seat.agent == agent);
            if verified && in_time && is_free {
                // The machine refuses what is beyond the limit, and says so.
                let is_near = (candidate.index as usize) < limits::AGENTS_PER_CONNECTION_MAX;
                if is_near && seats.get(candidate.index).is_none() {
                    seats.insert(candidate.index, Seat { agent, request, promised: Bucket::full(self.now) });
                }
                valid.push(candidate);
            } else {
                forged.push(candidate.index);
            }
        }
        drop(seats);
        let connection = self.slot;
        batch.inputs.push(Input::Attach { connection, request, candidates: valid, forged });
    }

    fn say(&self, id: u64, say: Say) {
        self.hub.outlets.tell(self.slot, Reply { id, say: Some(say) }.to_frame().into());
    }

    /// Hands a batch over, and waits while what it fed is full.
    async fn finish(&self, batch: Batch) {
        let Batch { mut inputs, publications, refused, beyond, acknowledged } = batch;
        let mut touched = Touched::default();
        if !publications.is_empty() {
            self.lane.unsettled.add(publications.iter().map(Publication::window_bytes).sum());
            self.hub.plane.admit(self.hub.clock.now(), publications, &mut touched);
            self.hub.flush(&mut touched);
        }
        if !refused.is_empty() {
            Counters::add(&self.hub.plane.counters.refused_frames, refused.len() as u64);
            let text = "a publication has no valid subject, or its agent is not attached here";
            self.say(0, RefusedCode::Invalid.because(text));
            self.say(0, Say::Undelivered(Undelivered { numbers: refused }));
        }
        if !acknowledged.is_empty() {
            self.hub.broadcasts.answered(&self.lane);
            inputs.push(Input::SystemAcknowledged { connection: self.slot, counts: acknowledged });
        }
        for input in inputs {
            self.hub.input(input).await;
        }
        self.wait(&mut touched).await;
        if let Some(pause) = rest(beyond, &self.hub.pace) {
            tokio::time::sleep(pause).await;
            self.hub.plane.counters.held_publisher(pause);
        }
    }

    /// Waits until what was fed has room, and the client is within its window.
    async fn wait(&self, touched: &mut Touched) {
        let is_free = touched.congested.is_empty()
            && !self.hub.plane.own_congested.load(Ordering::Acquire)
            && self.lane.unsettled.has_room();
        if is_free {
            return;
        }
        let since = self.hub.clock.now().mono;
        self.hub.room(touched).await;
        self.hub.own_room().await;
        self.lane.unsettled.room().await;
        self.hub.plane.counters.held_publisher(self.hub.clock.now().mono.since(since));
    }
}

/// The next pieces of a stream, at most [`CHUNKS`]; `None` at its end. While it waits there is room for one.
async fn next_chunks(stream: &mut RecvStream) -> Option<Vec<Bytes>> {
    let mut first = [Bytes::new()];
    stream.read_chunks(&mut first).await.ok()??;
    let mut others = [const { Bytes::new() }; CHUNKS - 1];
    let came = std::pin::pin!(stream.read_chunks(&mut others)).poll(&mut Context::from_waker(Waker::noop()));
    // An end of the stream or an error comes again with the next call.
    let count = match came {
        Poll::Ready(Ok(Some(count))) => count,
        Poll::Ready(Ok(None) | Err(_)) | Poll::Pending => 0,
    };
    Some(first.into_iter().chain(others.into_iter().take(count)).collect())
}

/// How long a connection waits for its next turn. What its agents are promised is always read at once; what
/// goes beyond takes its time where the machine cannot keep up, and else what others leave.
fn rest(beyond: u64, pace: &Pace) -> Option<Duration> {
    if beyond == 0 { None } else { pace.pause(BEYOND_PAUSE_MAX) }
}

const MALFORMED: Refusal = Refusal {
    code: crate::endpoint::CloseCode::Protocol,
    reason: "a malformed frame, or one no client sends",
};

impl Batch {
    fn is_empty(&self) -> bool {
        self.inputs.is_empty()
            && self.publications.is_empty()
            && self.refused.is_empty()
            && self.acknowledged.is_empty()
    }

    fn acknowledge(&mut self, acknowledge: SystemAcknowledge) {
        match self.acknowledged.iter_mut().find(|(index, _)| *index == acknowledge.index) {
            Some((_, agents)) => *agents += 1,
            None => self.acknowledged.push((acknowledge.index, 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_beyond_the_promise_waits_where_the_machine_cannot_keep_up() {
        let pace = Pace::new(Duration::from_micros(1), Duration::from_secs(1));
        assert_eq!((rest(0, &pace), rest(9, &pace)), (None, None), "there is time for all");
        for _ in 0..60 {
            std::thread::sleep(pace.interval().min(Duration::from_millis(20)));
            pace.note(Duration::from_secs(2));
        }
        let rested = rest(1, &pace).unwrap();
        assert!(rested > Duration::from_millis(5) && rested <= BEYOND_PAUSE_MAX, "{rested:?}");
        assert_eq!(rest(0, &pace), None, "the promise is kept");
    }
}
