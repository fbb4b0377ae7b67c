//! A link: three lanes a direction, each in a stream that its sender opened.
//!
//! The first byte of a stream names its lane. The control lane begins with the hello; the others are
//! opened when the peer's hello was verified. `serve` keeps a link while it lives, `reader` and
//! `writer` do its work, and `moving` takes it to another connection before a certificate runs out.

mod lease;
mod moving;
mod reader;
mod serve;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quinn::{Connection, RecvStream, SendStream};
use starling_core::hot;
use starling_core::id::{NodeId, unhex};
use starling_core::identity::Roles;
use starling_core::limits;
use starling_core::machine::{Input, LinkSlot, Peer};
use starling_core::wire::frame::FrameDecoder;
use tokio::sync::mpsc;

use crate::endpoint::{CloseCode, widen};
use crate::hello::{Refusal, read_hello, verify_peer};
use crate::hub::Hub;
use crate::node::Greeted;
use crate::outlet::LinkLanes;
use crate::registry::{DialRight, Known, Verdict};
use crate::trust::PeerName;
use lease::Lease;
pub(crate) use moving::Arrival;

/// How long a dial may take, its handshake and hello included; the hello of an accepted link too.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3);
/// Shorter than QUIC's own wait before it acknowledges, so that both share a datagram.
const CONTROL_PAUSE_MAX: Duration = Duration::from_millis(20);
const BULK_PAUSE_MAX: Duration = Duration::from_millis(50);
/// Connections to move to that wait for a link; more are refused, and tried again by their diallers.
const ARRIVALS_MAX: usize = 1;

/// A lane by its number on the wire, which is the first byte of its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    Control = 0,
    Priority = 1,
    Bulk = 2,
}

impl Kind {
    const ALL: [Kind; 3] = [Kind::Control, Kind::Priority, Kind::Bulk];

    fn from_number(number: u8) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| *kind as u8 == number)
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
struct Link {
    slot: LinkSlot,
    peer: PeerName,
    lanes: Arc<LinkLanes>,
    line: Line,
    /// Whether this side dialled, and so is the one that takes the link to other connections.
    dialled: bool,
    incarnation: u64,
    /// Connections that the peer wants the link to move to.
    arrivals: mpsc::Receiver<Box<Arrival>>,
    is_coordinator: bool,
}

/// A connection between two nodes and the control lane's streams in it.
struct Line {
    connection: Connection,
    lease: Lease,
    control: Control,
}

/// The control lane's streams, the peer's behind its hello.
struct Control {
    send: SendStream,
    receive: RecvStream,
    decoder: FrameDecoder,
}

/// A connection over which the peer proved who it is.
struct Verified<'a> {
    line: Line,
    name: PeerName,
    peer: Peer,
    /// Held by a dialler until its link is registered.
    right: Option<DialRight<'a>>,
}

/// What came first over a connection of a node.
struct Heard {
    peer: Peer,
    /// The connection that is to be replaced; empty for none.
    replaces: Bytes,
    receive: RecvStream,
    decoder: FrameDecoder,
}

/// Dials an address; serves the link until it ends.
pub(crate) async fn dial(hub: Arc<Hub>, address: String) {
    match try_dial(&hub, &address).await {
        Some(link) => serve::serve(hub, link).await,
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
    let shown = hub.wallet.shown();
    let server_name = crate::trust::SERVER_NAME;
    let connecting = hub.endpoint.connect_with(shown.dial.clone(), usable.next()?, server_name).ok()?;
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
    let lease = Lease::of(&connection, &shown)?;
    let (send, heard) = told(hub, &connection, &name, greet(hub, &connection, &name, &hub.hello).await)?;
    let Heard { peer, receive, decoder, .. } = heard;
    let line = Line { connection, lease, control: Control { send, receive, decoder } };
    Some(Verified { line, name, peer, right: Some(right) })
}

/// Serves an accepted link until it ends.
pub(crate) async fn accept(hub: Arc<Hub>, greeted: Greeted, name: PeerName) {
    let Greeted { connection, shown, turn } = greeted;
    if name.node == hub.node {
        return connection.close(CloseCode::Myself.into(), b"a node does not link to itself");
    }
    let Some(lease) = Lease::of(&connection, &shown) else { return };
    let answering = answer(&hub, &connection, lease, &name);
    let link = match tokio::time::timeout(PATIENCE, answering).await {
        Ok(Some(verified)) => register(&hub, verified).await,
        Ok(None) => None,
        Err(_) => return connection.close(CloseCode::Protocol.into(), b"no hello came in time"),
    };
    drop(turn);
    if let Some(link) = link {
        serve::serve(hub, link).await;
    }
}

/// Hears the hello of an accepted connection and answers it, or hands the connection to the link that
/// it is for; `None` if there is nothing to register.
async fn answer<'a>(
    hub: &'a Hub,
    connection: &Connection,
    lease: Lease,
    name: &PeerName,
) -> Option<Verified<'a>> {
    let heard = told(hub, connection, name, hear(hub, connection, name).await)?;
    if !heard.replaces.is_empty() {
        let arrivals = hub.registry.arrivals(name.node);
        let arrival = Box::new(Arrival { connection: connection.clone(), lease, heard });
        if arrivals.is_none_or(|arrivals| arrivals.try_send(arrival).is_err()) {
            moving::refuse(connection);
        }
        return None;
    }
    let send = told(hub, connection, name, say(connection, &hub.hello).await)?;
    let Heard { peer, receive, decoder, .. } = heard;
    let line = Line { connection: connection.clone(), lease, control: Control { send, receive, decoder } };
    Some(Verified { line, name: name.clone(), peer, right: None })
}

/// Closes a connection whose other side is not talked to, and says so.
fn told<T>(hub: &Hub, connection: &Connection, name: &PeerName, result: Result<T, Refusal>) -> Option<T> {
    let refusal = match result {
        Ok(value) => return Some(value),
        Err(refusal) => refusal,
    };
    // A connection that the other side closed was not refused by us.
    if connection.close_reason().is_none() {
        connection.close(refusal.code.into(), refusal.reason.as_bytes());
        hub.refused(name.node.short(), refusal.reason);
    }
    None
}

/// Makes a verified connection the link to its peer, and tells the machine; `None` if another is.
async fn register(hub: &Hub, verified: Verified<'_>) -> Option<Link> {
    let Verified { line, name, peer, right } = verified;
    widen(&line.connection);
    let _telling = hub.registry.telling.lock().await;
    let slot = hub.link_slot();
    let (dialled, incarnation) = (right.is_some(), peer.incarnation);
    let lanes = Arc::new(LinkLanes::new(line.connection.clone()));
    let (moves, arrivals) = mpsc::channel(ARRIVALS_MAX);
    let known = Known { slot, lanes: Arc::clone(&lanes), dialled, incarnation, moves };
    match hub.registry.register(name.node, known) {
        Verdict::First => {}
        Verdict::Replaces(old) => {
            hub.outlets.links.pin().remove(&old);
            hub.input(Input::LinkDown { link: old, timed_out: false }).await;
        }
        Verdict::Duplicate => {
            line.connection.close(CloseCode::Duplicate.into(), b"another link between the two is kept");
            return None;
        }
    }
    hub.outlets.links.pin().insert(slot, Arc::clone(&lanes));
    let is_coordinator = peer.admission.roles.has(Roles::COORDINATOR);
    if is_coordinator {
        hub.agreeing.link_up(name.node.short(), slot, &lanes);
    }
    hub.input(Input::LinkUp { link: slot, peer: Box::new(peer) }).await;
    Some(Link { slot, peer: name, lanes, line, dialled, incarnation, arrivals, is_coordinator })
}

const ENDED: Refusal = Refusal::protocol("the connection ended before the hello");

/// Opens the control lane with a hello.
async fn say(connection: &Connection, hello: &Bytes) -> Result<SendStream, Refusal> {
    let mut send = open_lane(connection, Kind::Control).await.map_err(|()| ENDED)?;
    send.write_all(hello).await.map_err(|_| ENDED)?;
    Ok(send)
}

/// The dialler's side of a beginning: says its hello and hears the other.
async fn greet(
    hub: &Hub,
    connection: &Connection,
    name: &PeerName,
    hello: &Bytes,
) -> Result<(SendStream, Heard), Refusal> {
    let send = say(connection, hello).await?;
    Ok((send, hear(hub, connection, name).await?))
}

/// Hears a hello and checks who says it.
async fn hear(hub: &Hub, connection: &Connection, name: &PeerName) -> Result<Heard, Refusal> {
    let mut receive = connection.accept_uni().await.map_err(|_| ENDED)?;
    if read_kind(&mut receive).await != Some(Kind::Control) {
        return Err(Refusal::protocol("the first stream is not the control lane"));
    }
    let mut decoder = FrameDecoder::new();
    let mut hello = read_hello(&mut receive, &mut decoder).await?;
    let replaces = std::mem::take(&mut hello.replaces);
    let peer = verify_peer(hello, name, &hub.authority, hub.clock.now().wall)?;
    if hub.plane.view().banned.contains(&name.node.short()) {
        return Err(Refusal::refused("this node is banned"));
    }
    Ok(Heard { peer, replaces, receive, decoder })
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
