//! A link: three lanes a direction, each a stream that its sender opened.
//!
//! The first byte of a stream names its lane. The control lane begins with the hello; the others are
//! opened when the peer's hello was verified.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use quinn::{Connection, ConnectionError, RecvStream, SendStream};
use starling_core::conduct::Offence;
use starling_core::hot::plane::Touched;
use starling_core::hot::{self, Report};
use starling_core::id::{NodeId, ShortId, unhex};
use starling_core::limits;
use starling_core::machine::{Input, LinkSlot, Peer};
use starling_core::time::Time;
use starling_core::wire::frame::{FrameDecoder, FrameType};
use starling_core::wire::message::ControlBody;
use tokio::task::JoinSet;

use crate::endpoint::{CloseCode, widen};
use crate::hello::{Refusal, read_hello, verify_peer};
use crate::hub::Hub;
use crate::lane::Lane;
use crate::node::Greeted;
use crate::outlet::LinkLanes;
use crate::registry::{DialRight, Known, Verdict};
use crate::trust::PeerName;
use crate::{pace, probe};

/// How long a dial may take, its handshake and hello included; the hello of an accepted link too.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3);
/// How long what had arrived before the end of a link is waited for.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// Shorter than QUIC's own wait before it acknowledges, so that both share a datagram.
const CONTROL_PAUSE_MAX: Duration = Duration::from_millis(20);
const BULK_PAUSE_MAX: Duration = Duration::from_millis(50);
/// Pieces of a stream that are worked off before acknowledgements leave.
const CHUNKS: usize = 32;

/// A lane by its number on the wire, which is the first byte of its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    Control = 0,
    Priority = 1,
    Bulk = 2,
}

impl Kind {
    fn from_number(number: u8) -> Option<Kind> {
        [Kind::Control, Kind::Priority, Kind::Bulk].into_iter().find(|kind| *kind as u8 == number)
    }

    /// The lane as the hot path names it.
    fn lane(self) -> hot::Lane {
        match self {
            Kind::Control => hot::Lane::Control,
            Kind::Priority => hot::Lane::Priority,
            Kind::Bulk => hot::Lane::Bulk,
        }
    }

    /// How long what goes into it may be collected while the machine is overloaded.
    fn pause_max(self, is_hurried: bool) -> Duration {
        match self {
            Kind::Control if is_hurried => CONTROL_PAUSE_MAX,
            Kind::Control => limits::SEAL_INTERVAL_MAX,
            Kind::Priority => Duration::ZERO,
            Kind::Bulk => BULK_PAUSE_MAX,
        }
    }

    /// The stream's priority at its sender.
    fn priority(self) -> i32 {
        match self {
            Kind::Control => 2,
            Kind::Priority => 1,
            Kind::Bulk => 0,
        }
    }
}

/// A link whose peer is verified and of which the machine was told.
pub(crate) struct Link {
    slot: LinkSlot,
    peer: PeerName,
    lanes: Arc<LinkLanes>,
    control: (SendStream, RecvStream, FrameDecoder),
}

/// A connection over which the peer proved who it is.
struct Verified<'a> {
    connection: Connection,
    name: PeerName,
    peer: Peer,
    control: (SendStream, RecvStream, FrameDecoder),
    /// Held by a dialler until its link is registered.
    right: Option<DialRight<'a>>,
}

/// Dials an address; serves the link until it ends.
pub(crate) async fn dial(hub: Arc<Hub>, address: String) {
    match try_dial(&hub, &address).await {
        Some(link) => serve(hub, link).await,
        None => hub.input(Input::DialFailed { address }).await,
    }
}

async fn try_dial(hub: &Hub, address: &str) -> Option<Link> {
    let turn = hub.dials.acquire().await.ok()?;
    let verified = tokio::time::timeout(PATIENCE, connect(hub, address)).await.ok()??;
    drop(turn);
    register(hub, verified).await
}

async fn connect<'a>(hub: &'a Hub, address: &str) -> Option<Verified<'a>> {
    let (place, wanted) = match address.split_once('#') {
        Some((place, name)) => (place, Some(NodeId(unhex(name)?))),
        None => (address, None),
    };
    let addresses = tokio::net::lookup_host(place).await.ok()?;
    let is_v6 = hub.endpoint.local_addr().ok()?.is_ipv6();
    let mut usable = addresses.filter(|address| is_v6 || address.is_ipv4());
    let server_name = crate::trust::SERVER_NAME;
    let connecting = hub.endpoint.connect_with(hub.link_config.clone(), usable.next()?, server_name).ok()?;
    let connection = connecting.await.ok()?;
    let name = crate::trust::peer_name(&connection).ok()??;
    if name.node == hub.node {
        connection.close(CloseCode::Myself.into(), b"a node does not link to itself");
        return None;
    }
    if wanted.is_some_and(|wanted| wanted != name.node) {
        connection.close(CloseCode::Refused.into(), b"this is not the node that was dialled");
        hub.refused(name.node.short(), "another node was expected at its address, by the fingerprint there");
        return None;
    }
    let Some(right) = hub.registry.begin_dial(name.node) else {
        connection.close(CloseCode::Duplicate.into(), b"there is a link between the two");
        return None;
    };
    verify(hub, connection, name, Some(right)).await
}

/// Serves an accepted link until it ends.
pub(crate) async fn accept(hub: Arc<Hub>, greeted: Greeted, name: PeerName) {
    let Greeted { connection, turn } = greeted;
    if name.node == hub.node {
        return connection.close(CloseCode::Myself.into(), b"a node does not link to itself");
    }
    let verifying = verify(&hub, connection.clone(), name, None);
    let link = match tokio::time::timeout(PATIENCE, verifying).await {
        Ok(Some(verified)) => register(&hub, verified).await,
        Ok(None) => None,
        Err(_) => return connection.close(CloseCode::Protocol.into(), b"no hello came in time"),
    };
    drop(turn);
    if let Some(link) = link {
        serve(hub, link).await;
    }
}

/// Exchanges hellos; `None` if the connection was closed instead.
async fn verify<'a>(
    hub: &'a Hub,
    connection: Connection,
    name: PeerName,
    right: Option<DialRight<'a>>,
) -> Option<Verified<'a>> {
    match exchange(hub, &connection, &name).await {
        Ok((control, peer)) => Some(Verified { connection, name, peer, control, right }),
        Err(Refusal { code, reason }) => {
            // A connection that the other side closed was not refused by us.
            if connection.close_reason().is_none() {
                connection.close(code.into(), reason.as_bytes());
                hub.refused(name.node.short(), reason);
            }
            None
        }
    }
}

/// Makes a verified connection the link to its peer, and tells the machine; `None` if another is.
async fn register(hub: &Hub, verified: Verified<'_>) -> Option<Link> {
    let Verified { connection, name, peer, control, right } = verified;
    widen(&connection);
    let _telling = hub.registry.telling.lock().await;
    let slot = hub.link_slot();
    let (dialled, incarnation) = (right.is_some(), peer.incarnation);
    let known = Known { slot, connection: connection.clone(), dialled, incarnation };
    match hub.registry.register(name.node, known) {
        Verdict::First => {}
        Verdict::Replaces(old) => {
            hub.outlets.links.pin().remove(&old);
            hub.input(Input::LinkDown { link: old, timed_out: false }).await;
        }
        Verdict::Duplicate => {
            connection.close(CloseCode::Duplicate.into(), b"another link between the two is kept");
            return None;
        }
    }
    let lanes = Arc::new(LinkLanes::new(connection));
    hub.outlets.links.pin().insert(slot, Arc::clone(&lanes));
    hub.input(Input::LinkUp { link: slot, peer: Box::new(peer) }).await;
    Some(Link { slot, peer: name, lanes, control })
}

async fn exchange(
    hub: &Hub,
    connection: &Connection,
    name: &PeerName,
) -> Result<((SendStream, RecvStream, FrameDecoder), Peer), Refusal> {
    let gone = Refusal::protocol("the connection ended before the hello");
    let mut send = open_lane(connection, Kind::Control).await.map_err(|()| gone)?;
    send.write_all(&hub.hello).await.map_err(|_| gone)?;
    let mut receive = connection.accept_uni().await.map_err(|_| gone)?;
    if read_kind(&mut receive).await != Some(Kind::Control) {
        return Err(Refusal::protocol("the first stream is not the control lane"));
    }
    let mut decoder = FrameDecoder::new();
    let hello = read_hello(&mut receive, &mut decoder).await?;
    let peer = verify_peer(hello, name, &hub.authority, hub.clock.now().wall)?;
    if hub.plane.view().banned.contains(&name.node.short()) {
        return Err(Refusal::refused("this node is banned"));
    }
    Ok(((send, receive, decoder), peer))
}

async fn open_lane(connection: &Connection, kind: Kind) -> Result<SendStream, ()> {
    let mut stream = connection.open_uni().await.map_err(|_| ())?;
    stream.set_priority(kind.priority()).map_err(|_| ())?;
    stream.write_all(&[kind as u8]).await.map_err(|_| ())?;
    Ok(stream)
}

async fn read_kind(stream: &mut RecvStream) -> Option<Kind> {
    let mut number = [0];
    stream.read_exact(&mut number).await.ok()?;
    Kind::from_number(number[0])
}

/// Reads and writes until the connection ends, then tells the machine.
async fn serve(hub: Arc<Hub>, link: Link) {
    let Link { slot, peer, lanes, control: (send, receive, decoder) } = link;
    let connection = lanes.connection.clone();
    hub.sealer.tell_pace(&lanes);
    let mut readers = JoinSet::new();
    let mut writers = JoinSet::new();
    let short = peer.node.short();
    let reader = |kind, stream, decoder| {
        let link = From { hub: Arc::clone(&hub), lanes: Arc::clone(&lanes), slot, peer: short, kind };
        link.read_to_end(stream, decoder, connection.clone())
    };
    readers.spawn(reader(Kind::Control, receive, decoder));
    for (kind, stream) in [(Kind::Control, Some(send)), (Kind::Priority, None), (Kind::Bulk, None)] {
        writers.spawn(write(Arc::clone(&hub), Arc::clone(&lanes), kind, stream));
    }
    let answering = connection.clone();
    let machine = Arc::clone(&hub);
    readers.spawn(async move { probe::serve(&answering, &machine, Some(slot)).await });
    let mut seen = vec![Kind::Control];
    while let Ok(mut stream) = connection.accept_uni().await {
        match read_kind(&mut stream).await {
            Some(kind) if !seen.contains(&kind) => {
                seen.push(kind);
                readers.spawn(reader(kind, stream, FrameDecoder::new()));
            }
            Some(_) | None => {
                connection.close(CloseCode::Protocol.into(), b"a lane is opened once");
                break;
            }
        }
    }
    let timed_out = connection.closed().await == ConnectionError::TimedOut;
    lanes.all().into_iter().for_each(Lane::close);
    // What had arrived is read still, and comes to the machine before the end of the link.
    let reading = async { while readers.join_next().await.is_some() {} };
    if tokio::time::timeout(LAST_WORDS, reading).await.is_err() {
        readers.shutdown().await;
    }
    writers.shutdown().await;
    let _telling = hub.registry.telling.lock().await;
    hub.outlets.links.pin().remove(&slot);
    if hub.registry.remove(peer.node, slot) {
        hub.input(Input::LinkDown { link: slot, timed_out }).await;
    }
}

async fn write(hub: Arc<Hub>, lanes: Arc<LinkLanes>, kind: Kind, stream: Option<SendStream>) {
    let lane = match kind {
        Kind::Control => &lanes.control,
        Kind::Priority => &lanes.priority,
        Kind::Bulk => &lanes.bulk,
    };
    let mut stream = match stream {
        Some(stream) => stream,
        None => match open_lane(&lanes.connection, kind).await {
            Ok(stream) => stream,
            Err(()) => return lane.close(),
        },
    };
    // A peer may wait long for its own peers; that it lives is the keep-alive's to say.
    // An overloaded peer gains nothing by being written to more often than it reads.
    let pause = |is_hurried| {
        let most = kind.pause_max(is_hurried);
        let peer = Duration::from_millis(lanes.peer_pace.load(Ordering::Relaxed).into());
        hub.pace.pause(most).max(pace::worth(peer, most))
    };
    let before = || match kind {
        Kind::Control => {}
        // Acknowledgements that waited share the packet.
        Kind::Priority | Kind::Bulk => lanes.control.accompany(),
    };
    if lane.write_to(&mut stream, None, pause, before).await.is_err() {
        lanes.connection.close(CloseCode::Protocol.into(), b"the peer stopped a lane");
    }
}

/// Where a reader's frames come from.
struct From {
    hub: Arc<Hub>,
    lanes: Arc<LinkLanes>,
    slot: LinkSlot,
    peer: ShortId,
    kind: Kind,
}

impl From {
    async fn read_to_end(self, stream: RecvStream, decoder: FrameDecoder, connection: Connection) {
        if let Err(Refusal { code, reason }) = self.read(stream, decoder).await {
            self.hub.refused(self.peer, reason);
            // TLS keeps what was said as it was said: nobody but the peer made it.
            let offence = Report::Offence { from: self.slot, offence: Offence::MalformedFrame };
            self.hub.input(Input::Reported(offence)).await;
            connection.close(code.into(), reason.as_bytes());
        }
    }

    async fn read(&self, mut stream: RecvStream, mut decoder: FrameDecoder) -> Result<(), Refusal> {
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
                // The peer closes a lane when it stops; how the link ends is the connection's to say.
                Ok(None) | Err(_) => return Ok(()),
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
