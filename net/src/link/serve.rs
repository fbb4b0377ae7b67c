//! The life of a link, from the connection that it began with over all that it moves to.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use quinn::{Connection, ConnectionError, RecvStream};
use starling_core::event::Event;
use starling_core::machine::{Input, LinkSlot};
use starling_core::time::Time;
use starling_core::wire::frame::FrameDecoder;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::lease::{Lease, wait_until};
use super::moving::{self, Arrival, Farewell, Origin, Ready};
use super::reader::{From, Inflow};
use super::writer::{self, Outflow, write};
use super::{Control, Kind, Line, Link, PATIENCE, open_lane, read_kind};
use crate::endpoint::{CloseCode, widen};
use crate::hub::Hub;
use crate::lane::Lane;
use crate::outlet::LinkLanes;
use crate::probe;
use crate::trust::PeerName;

/// How long what had arrived before the end of a link is waited for.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Something that goes on beside the link.
type Task<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A link while it lives.
struct Serving {
    hub: Arc<Hub>,
    slot: LinkSlot,
    peer: PeerName,
    lanes: Arc<LinkLanes>,
    dialled: bool,
    incarnation: u64,
    is_coordinator: bool,
    /// The connection that the link uses now.
    connection: Connection,
    lease: Lease,
    /// When a dialler tries to move the link next.
    due: Time,
    /// Which lanes' streams came over this connection.
    seen: Vec<Kind>,
    /// Told when these were read to the end.
    reading: Vec<oneshot::Receiver<()>>,
    /// Where the readers and the writers wait for their next streams.
    inflows: [Option<oneshot::Sender<Box<Inflow>>>; 3],
    outflows: [Option<oneshot::Sender<Box<Outflow>>>; 3],
    readers: JoinSet<()>,
    writers: JoinSet<()>,
    /// A connection on its way to being the link's.
    moving: Option<Task<Option<Ready>>>,
    /// The connection that the link has left and has not closed yet.
    leaving: Option<(Connection, Task<Result<(), &'static str>>)>,
}

/// Reads and writes until the link ends, then tells the machine.
pub(super) async fn serve(hub: Arc<Hub>, link: Link) {
    let Link { slot, peer, lanes, line, dialled, incarnation, mut arrivals, is_coordinator } = link;
    hub.sealer.tell_pace(&lanes);
    let Line { connection, lease, control: Control { send, receive, decoder } } = line;
    let changes = hub.wallet.changes();
    let due = lease.due(hub.wallet.certificate(), hub.clock.now().wall);
    let mut serving = Serving {
        hub,
        slot,
        peer,
        lanes,
        dialled,
        incarnation,
        is_coordinator,
        connection,
        lease,
        due,
        seen: Vec::new(),
        reading: Vec::new(),
        inflows: Default::default(),
        outflows: Default::default(),
        readers: JoinSet::new(),
        writers: JoinSet::new(),
        moving: None,
        leaving: None,
    };
    let mut first = Some(send);
    for kind in Kind::ALL {
        serving.spawn_reader(kind);
        serving.spawn_writer(kind, first.take());
    }
    serving.read_from(Kind::Control, receive, decoder);
    serving.serve_probes();
    serving.run(changes, &mut arrivals).await;
    serving.end().await;
}

impl Serving {
    fn spawn_reader(&mut self, kind: Kind) {
        let (inflow, next) = oneshot::channel();
        self.inflows[kind as usize] = Some(inflow);
        let from = From {
            hub: Arc::clone(&self.hub),
            lanes: Arc::clone(&self.lanes),
            slot: self.slot,
            peer: self.peer.node.short(),
            kind,
            is_coordinator: self.is_coordinator,
        };
        self.readers.spawn(from.read_all(next));
    }

    fn spawn_writer(&mut self, kind: Kind, first: Option<quinn::SendStream>) {
        let (outflow, next) = oneshot::channel();
        self.outflows[kind as usize] = Some(outflow);
        let (hub, lanes) = (Arc::clone(&self.hub), Arc::clone(&self.lanes));
        self.writers.spawn(write(hub, lanes, kind, first, next));
    }

    /// Answers datagrams of the connection that the link uses now.
    fn serve_probes(&mut self) {
        let (connection, hub, slot) = (self.connection.clone(), Arc::clone(&self.hub), self.slot);
        self.readers.spawn(async move { probe::serve(&connection, &hub, Some(slot)).await });
    }

    /// Has a lane's reader go on with this stream when it is done with the one before.
    fn read_from(&mut self, kind: Kind, stream: RecvStream, decoder: FrameDecoder) {
        let (ended, read) = oneshot::channel();
        let (inflow, next) = oneshot::channel();
        self.seen.push(kind);
        self.reading.push(read);
        let reader = self.inflows[kind as usize].replace(inflow);
        let flow = Box::new(Inflow { stream, decoder, ended, next });
        if reader.is_none_or(|reader| reader.send(flow).is_err()) {
            // The reader has ended, and with it the link does.
        }
    }

    /// Serves until the connection ends that the link uses by then.
    async fn run(&mut self, mut changes: watch::Receiver<u64>, arrivals: &mut mpsc::Receiver<Box<Arrival>>) {
        loop {
            let (hub, connection) = (Arc::clone(&self.hub), self.connection.clone());
            let (due, ends) = (self.due, self.lease.ends());
            let asks = self.may_move() && self.dialled;
            tokio::select! {
                stream = connection.accept_uni() => match stream {
                    Ok(stream) => self.take_stream(stream).await,
                    Err(_) => return,
                },
                ready = or_never(&mut self.moving) => self.moved_or_not(ready).await,
                left = or_never_left(&mut self.leaving) => self.has_left(left),
                Some(arrival) = arrivals.recv() => self.arrived(arrival),
                Ok(()) = changes.changed(), if self.dialled => {
                    let renewed = self.lease.due(hub.wallet.certificate(), hub.clock.now().wall);
                    self.due = due.min(renewed);
                }
                () = wait_until(&hub.clock, due), if asks => {
                    let origin = self.origin();
                    self.moving = Some(Box::pin(async move { moving::ask(&hub, origin).await }));
                }
                () = wait_until(&hub.clock, ends) => {
                    self.lanes.close_connection(CloseCode::Expired, "a certificate of the link has run out");
                }
            }
        }
    }

    /// Whether the link is whole, and no move is under way.
    fn may_move(&self) -> bool {
        self.seen.len() == Kind::ALL.len() && self.moving.is_none() && self.leaving.is_none()
    }

    fn origin(&self) -> Origin {
        Origin {
            connection: self.connection.clone(),
            lease: self.lease,
            peer: self.peer.clone(),
            incarnation: self.incarnation,
        }
    }

    async fn take_stream(&mut self, mut stream: RecvStream) {
        match tokio::time::timeout(PATIENCE, read_kind(&mut stream)).await {
            Ok(Some(kind)) if !self.seen.contains(&kind) => self.read_from(kind, stream, FrameDecoder::new()),
            Ok(_) | Err(_) => self.lanes.close_connection(CloseCode::Protocol, "a lane is opened once"),
        }
    }

    /// The peer wants the link to move.
    fn arrived(&mut self, arrival: Box<Arrival>) {
        if self.dialled || !self.may_move() {
            return moving::refuse(&arrival.connection);
        }
        let (hub, origin) = (Arc::clone(&self.hub), self.origin());
        self.moving = Some(Box::pin(async move { moving::answer(&hub, origin, arrival).await }));
    }

    async fn moved_or_not(&mut self, ready: Option<Ready>) {
        self.moving = None;
        match ready {
            Some(ready) => {
                if self.commit(ready).await.is_err() {
                    self.lanes.close_connection(CloseCode::Protocol, "the link moved to what ended at once");
                }
            }
            None => {
                self.hub.wallet.count_not_moved();
                self.due = self.lease.again(self.hub.clock.now().wall);
            }
        }
    }

    /// Goes over to another connection, at once and for good.
    async fn commit(&mut self, ready: Ready) -> Result<(), ()> {
        let Ready { line: Line { connection, lease, control }, first } = ready;
        widen(&connection);
        let old = std::mem::replace(&mut self.connection, connection);
        let old_lease = std::mem::replace(&mut self.lease, lease);
        self.lanes.move_to(self.connection.clone());
        let read = std::mem::take(&mut self.reading);
        self.seen.clear();
        let Control { send, receive, decoder } = control;
        self.read_from(Kind::Control, receive, decoder);
        if let Some((kind, stream)) = first {
            self.read_from(kind, stream, FrameDecoder::new());
        }
        // Who answered probes on connections before has ended with them.
        while self.readers.try_join_next().is_some() {}
        self.serve_probes();
        let mut written = Vec::new();
        let mut send = Some(send);
        for kind in Kind::ALL {
            let stream = match send.take() {
                Some(control) => control,
                None => open_lane(&self.connection, kind).await?,
            };
            let (before, finished) = oneshot::channel();
            let (outflow, next) = oneshot::channel();
            written.push(finished);
            let writer = self.outflows[kind as usize].replace(outflow).ok_or(())?;
            writer.send(Box::new(Outflow { stream, before, next })).map_err(|_| ())?;
            writer::lane(&self.lanes, kind).change_stream();
        }
        let (hub, dialled) = (Arc::clone(&self.hub), self.dialled);
        let farewell = Farewell { connection: old.clone(), lease: old_lease, read, written, dialled };
        self.leaving = Some((old, Box::pin(async move { moving::part(&hub, farewell).await })));
        Ok(())
    }

    fn has_left(&mut self, left: Result<(), &'static str>) {
        if let Err(reason) = left {
            // Nobody knows what of the old connection came: the link has to begin anew. The old connection
            // is closed at the end.
            return self.lanes.close_connection(CloseCode::Protocol, reason);
        }
        self.leaving = None;
        self.hub.wallet.count_moved();
        self.hub.event(Event::LinkMoved { peer: self.peer.node.short() });
        self.due = self.lease.due(self.hub.wallet.certificate(), self.hub.clock.now().wall);
    }

    /// The link is over.
    async fn end(mut self) {
        let timed_out = self.connection.closed().await == ConnectionError::TimedOut;
        if let Some((old, _)) = self.leaving.take() {
            old.close(CloseCode::HungUp.into(), b"the link ended while it moved");
        }
        // A connection that the link was about to move to closes itself.
        self.moving = None;
        self.lanes.all().into_iter().for_each(Lane::close);
        self.inflows = Default::default();
        // What had arrived is read still, and comes to the machine before the end of the link.
        let reading = async { while self.readers.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST_WORDS, reading).await.is_err() {
            self.readers.shutdown().await;
        }
        self.writers.shutdown().await;
        let _telling = self.hub.registry.telling.lock().await;
        self.hub.outlets.links.pin().remove(&self.slot);
        self.hub.agreeing.link_down(self.peer.node.short(), self.slot);
        if self.hub.registry.remove(self.peer.node, self.slot) {
            self.hub.input(Input::LinkDown { link: self.slot, timed_out }).await;
        }
    }
}

/// The result of a task, if there is one.
async fn or_never<T>(task: &mut Option<Task<T>>) -> T {
    match task {
        Some(task) => task.await,
        None => std::future::pending().await,
    }
}

async fn or_never_left<T>(task: &mut Option<(Connection, Task<T>)>) -> T {
    match task {
        Some((_, task)) => task.await,
        None => std::future::pending().await,
    }
}
