//! The writers of a link: one a lane, from one stream of it to the next.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use quinn::SendStream;
use tokio::sync::oneshot;

use super::{Kind, open_lane};
use crate::endpoint::CloseCode;
use crate::hub::Hub;
use crate::lane::{Lane, Left};
use crate::outlet::LinkLanes;
use crate::pace;

/// A stream that a lane goes on in.
pub(super) struct Outflow {
    pub stream: SendStream,
    /// Given the stream before, finished.
    pub before: oneshot::Sender<SendStream>,
    pub next: oneshot::Receiver<Box<Outflow>>,
}

/// The lane of this kind.
pub(super) fn lane(lanes: &LinkLanes, kind: Kind) -> &Lane {
    match kind {
        Kind::Control => &lanes.control,
        Kind::Priority => &lanes.priority,
        Kind::Bulk => &lanes.bulk,
    }
}

/// Writes a lane into its first stream, and into each that follows, until the lane is closed.
pub(super) async fn write(
    hub: Arc<Hub>,
    lanes: Arc<LinkLanes>,
    kind: Kind,
    first: Option<SendStream>,
    mut next: oneshot::Receiver<Box<Outflow>>,
) {
    let lane = lane(&lanes, kind);
    let mut stream = match first {
        Some(stream) => stream,
        None => match open_lane(&lanes.connection(), kind).await {
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
    loop {
        match lane.write_to(&mut stream, None, pause, before).await {
            Ok(Left::Closed) => return,
            Ok(Left::Changes) => {}
            Err(_) => return lanes.close_connection(CloseCode::Protocol, "the peer stopped a lane"),
        }
        // The next stream was there before the lane was asked to change.
        let Ok(outflow) = next.await else { return lane.close() };
        let mut old = std::mem::replace(&mut stream, outflow.stream);
        if old.finish().is_ok() && outflow.before.send(old).is_err() {
            // The link ends: nobody waits for what the old stream held.
        }
        next = outflow.next;
    }
}
