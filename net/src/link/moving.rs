//! Make before break: how a link goes over to another connection (docs/protocol.md#moving-a-link).
//!
//! The dialler opens the new connection and names the old one in its hello; the other side answers
//! with the same name. With that nothing has changed yet, and either side may give up. The dialler
//! commits by opening its lanes in the new connection; the other side commits when the first of them
//! comes. Each lane then ends its old stream behind a whole frame and goes on in the new one, and its
//! reader reads the old one to the end before it begins with the new: nothing is lost, doubled or
//! overtaken, and nothing waits for a round trip.

use std::time::Duration;

use bytes::Bytes;
use quinn::{Connection, ConnectionError, RecvStream, SendStream, StoppedError};
use tokio::sync::oneshot;

use super::lease::{Lease, wait_until};
use super::{Control, Heard, Kind, Line, PATIENCE, greet, read_kind, say, told};
use crate::endpoint::CloseCode;
use crate::hello::hello_frame;
use crate::hub::Hub;
use crate::trust::{PeerName, SERVER_NAME, link_binding, peer_name};
use crate::wallet::Shown;

/// How long the side that was asked waits for the dialler to commit. Far longer than a dialler may
/// take, so that a dialler that commits is waited for.
const COMMITMENT: Duration = Duration::from_secs(10);
/// How long the side that was asked leaves the old connection to the dialler to close.
const FAREWELL: Duration = Duration::from_secs(5);

/// A connection that the peer wants its link to move to.
pub(crate) struct Arrival {
    pub(super) connection: Connection,
    pub(super) lease: Lease,
    pub(super) heard: Heard,
}

/// A connection to which the link moves now.
pub(super) struct Ready {
    pub line: Line,
    /// The stream by which the dialler committed.
    pub first: Option<(Kind, RecvStream)>,
}

/// What a link that moves must know of itself.
#[derive(Clone)]
pub(super) struct Origin {
    pub connection: Connection,
    pub lease: Lease,
    pub peer: PeerName,
    pub incarnation: u64,
}

/// Refuses to move a link.
pub(super) fn refuse(connection: &Connection) {
    connection.close(CloseCode::NoLink.into(), b"no link of the two can move to this connection now");
}

/// The dialler's side, up to its commitment; `None` if it came to nothing.
pub(super) async fn ask(hub: &Hub, origin: Origin) -> Option<Ready> {
    let turn = hub.dials.acquire().await.ok()?;
    let line = tokio::time::timeout(PATIENCE, reach(hub, &origin)).await.ok()??;
    drop(turn);
    Some(Ready { line, first: None })
}

async fn reach(hub: &Hub, origin: &Origin) -> Option<Line> {
    let shown = hub.wallet.shown();
    let address = origin.connection.remote_address();
    let connection = hub.endpoint.connect_with(shown.dial.clone(), address, SERVER_NAME).ok()?.await.ok()?;
    let line = introduce(hub, origin, &connection, &shown).await;
    if line.is_none() && connection.close_reason().is_none() {
        refuse(&connection);
    }
    line
}

async fn introduce(hub: &Hub, origin: &Origin, connection: &Connection, shown: &Shown) -> Option<Line> {
    let name = peer_name(connection).ok()??;
    let lease = Lease::of(connection, shown)?;
    // A certificate that is no newer would have to be replaced as soon.
    if name != origin.peer || !lease.is_newer_than(&origin.lease) {
        return None;
    }
    let binding = Bytes::copy_from_slice(&link_binding(&origin.connection).ok()?);
    let hello = hello_frame(hub.record.clone(), binding.clone());
    let greeted = greet(hub, connection, &name, &hello).await;
    let (send, heard) = told(hub, connection, &name, greeted)?;
    let Heard { peer, replaces, receive, decoder } = heard;
    if replaces != binding || peer.incarnation != origin.incarnation {
        return None;
    }
    Some(Line { connection: connection.clone(), lease, control: Control { send, receive, decoder } })
}

/// The other side: answers the dialler and waits until it commits; `None` if it does not.
pub(super) async fn answer(hub: &Hub, origin: Origin, arrival: Box<Arrival>) -> Option<Ready> {
    let Arrival { connection, lease, heard } = *arrival;
    let Heard { peer, replaces, receive, decoder } = heard;
    let binding = link_binding(&origin.connection).ok()?;
    if replaces != binding[..] || peer.incarnation != origin.incarnation {
        refuse(&connection);
        return None;
    }
    let hello = hello_frame(hub.record.clone(), replaces);
    let committed = async {
        let send = say(&connection, &hello).await.ok()?;
        let mut stream = connection.accept_uni().await.ok()?;
        let kind = read_kind(&mut stream).await.filter(|kind| *kind != Kind::Control)?;
        Some((send, (kind, stream)))
    };
    let committed = tokio::time::timeout(COMMITMENT, committed).await.ok().flatten();
    let Some((send, first)) = committed else {
        refuse(&connection);
        return None;
    };
    let line = Line { connection, lease, control: Control { send, receive, decoder } };
    Some(Ready { line, first: Some(first) })
}

/// What is left to do on a connection that a link has left.
pub(super) struct Farewell {
    pub connection: Connection,
    pub lease: Lease,
    /// Told when a lane's stream was read to its end.
    pub read: Vec<oneshot::Receiver<()>>,
    /// Given each lane's finished stream.
    pub written: Vec<oneshot::Receiver<SendStream>>,
    pub dialled: bool,
}

/// Waits until both sides have everything that the old connection carried, and closes it; fails with a
/// reason if something of it is lost.
pub(super) async fn part(hub: &Hub, farewell: Farewell) -> Result<(), &'static str> {
    let Farewell { connection, lease, read, written, dialled } = farewell;
    let settled = async {
        for lane in read {
            lane.await.map_err(|_| "the connection before was cut while the link left it")?;
        }
        for lane in written {
            let stream = lane.await.map_err(|_| "a lane stopped while the link moved")?;
            has_all(stream).await?;
        }
        if !dialled && tokio::time::timeout(FAREWELL, connection.closed()).await.is_err() {
            // The dialler waits for something that we have sent; by now it is late for it.
        }
        Ok(())
    };
    let settled = tokio::select! {
        settled = settled => settled,
        () = wait_until(&hub.clock, lease.ends()) => Err("a certificate ran out while the link moved"),
    };
    if settled.is_ok() {
        connection.close(CloseCode::Moved.into(), b"the link goes on over another connection");
    }
    settled
}

/// Whether the other side has the whole of a finished stream. Who dialled closes the old connection
/// once it has everything.
async fn has_all(stream: SendStream) -> Result<(), &'static str> {
    match stream.stopped().await {
        Ok(None) => Ok(()),
        Err(StoppedError::ConnectionLost(ConnectionError::ApplicationClosed(close)))
            if close.error_code == CloseCode::Moved.into() =>
        {
            Ok(())
        }
        Ok(Some(_)) | Err(_) => Err("the connection before was cut while the peer read from it"),
    }
}
