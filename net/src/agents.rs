//! The edge's side of a connection that carries agents.
//!
//! One bidirectional stream, opened by the client. A reader hands publications to the hot path and
//! everything else to the machine; a writer serves the connection's one lane. Fifty thousand of
//! these fit into a process, so what a connection keeps while it is idle is kept small.

mod reader;

use std::sync::Arc;
use std::time::Duration;

use quinn::{Connection, RecvStream, SendStream};
use starling_core::identity::AttachTerms;
use starling_core::machine::{ConnectionSlot, Input};
use starling_core::wire::frame::FrameDecoder;

use crate::endpoint::CloseCode;
use crate::hello::{Refusal, read_hello};
use crate::hub::Hub;
use crate::lane::{Interrupted, Left};
use crate::node::Greeted;
use crate::outlet::AgentLane;
use crate::probe;
use reader::Reader;

/// How long a client may take to introduce itself.
const HELLO_PATIENCE: Duration = Duration::from_secs(10);
/// How long what goes to a client may be collected while the machine is overloaded.
const PAUSE_MAX: Duration = Duration::from_millis(250);
/// A client that takes nothing for so long is cut.
const STALL: Duration = Duration::from_secs(5);

/// Serves an accepted agents' connection until it ends.
pub(crate) async fn serve(hub: Arc<Hub>, greeted: Greeted) {
    let Greeted { connection, turn, .. } = greeted;
    // Boxed, for only the first moments of a connection need its room.
    let greeting = Box::pin(tokio::time::timeout(HELLO_PATIENCE, greet(&hub, &connection)));
    let (send, receive, decoder, terms) = match greeting.await {
        Ok(Ok(greeted)) => greeted,
        Ok(Err(Refusal { code, reason })) => return connection.close(code.into(), reason.as_bytes()),
        Err(_) => return connection.close(CloseCode::Protocol.into(), b"no hello came in time"),
    };
    drop(turn);
    let slot = hub.connection_slot();
    let lane = Arc::new(AgentLane::new(Some(connection.clone())));
    hub.outlets.connections.pin().insert(slot, Arc::clone(&lane));
    let writer = tokio::spawn(write(Arc::clone(&hub), Arc::clone(&lane), send));
    let reader = Reader::new(Arc::clone(&hub), slot, Arc::clone(&lane), terms);
    let refusal = {
        let mut reading = std::pin::pin!(reader.read(receive, decoder));
        tokio::select! {
            ended = &mut reading => ended,
            () = answer(&connection, &hub) => {
                lane.end();
                reading.await
            }
        }
    };
    if let Err(Refusal { code, reason }) = refusal {
        connection.close(code.into(), reason.as_bytes());
    }
    // The client may have said all it had to say, and still listen.
    connection.closed().await;
    end(&hub, slot, &lane).await;
    writer.abort();
}

/// Answers probes; a client without datagrams has none.
async fn answer(connection: &Connection, hub: &Hub) {
    probe::answer(connection, hub).await;
    connection.closed().await;
}

/// Cleans up after a connection that ended.
async fn end(hub: &Hub, slot: ConnectionSlot, lane: &AgentLane) {
    lane.end();
    hub.outlets.connections.pin().remove(&slot);
    hub.input(Input::Disconnected { connection: slot }).await;
}

async fn greet(
    hub: &Hub,
    connection: &Connection,
) -> Result<(SendStream, RecvStream, FrameDecoder, AttachTerms), Refusal> {
    let gone = Refusal::protocol("the connection ended before the hello");
    let (mut send, mut receive) = connection.accept_bi().await.map_err(|_| gone)?;
    send.write_all(&hub.hello).await.map_err(|_| gone)?;
    let mut decoder = FrameDecoder::new();
    read_hello(&mut receive, &mut decoder).await?;
    let binding = crate::trust::channel_binding(connection).map_err(|_| gone)?;
    let edge_incarnation = hub.plane.me.incarnation;
    Ok((send, receive, decoder, AttachTerms { edge: hub.node, edge_incarnation, binding }))
}

async fn write(hub: Arc<Hub>, lane: Arc<AgentLane>, mut stream: SendStream) {
    let pause = |_| hub.pace.pause(PAUSE_MAX);
    match lane.lane.write_to(&mut stream, Some(STALL), pause, || {}).await {
        Ok(Left::Closed | Left::Changes) => {}
        Err(Interrupted::Write) => {
            lane.close(CloseCode::Protocol, b"the client stopped its stream");
        }
        Err(Interrupted::Stalled) => lane.cut(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The size of what an async function returns.
    fn serving_bytes<A, B, F>(_: fn(A, B) -> F) -> usize {
        size_of::<F>()
    }

    fn writing_bytes<A, B, C, F>(_: fn(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn the_tasks_of_a_connection_are_small() {
        let (serving, writing) = (serving_bytes(serve), writing_bytes(write));
        println!("serve {serving}, write {writing}");
        assert!(serving <= 2048 && writing <= 1024, "serve {serving}, write {writing}");
    }
}
