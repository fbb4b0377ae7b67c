//! Accepts connections, within bounds.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use starling_core::event::Event;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};

use crate::asking::{Asking, Question};
use crate::counts::Counts;
use crate::events::Events;
use crate::history::{self, History};
use crate::patience::Patient;
use crate::routes;
use crate::state::{Settings, State};
use crate::stream;

/// Connections at once; more are closed at once.
pub(crate) const CONNECTIONS_MAX: usize = 256;
/// How long a request's head may take to come, and how long an idle connection is kept.
const HEAD: Duration = Duration::from_secs(10);
/// The longest head, in bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Header lines in it.
const HEADERS_MAX: usize = 64;
/// How long to wait when the system gives no connection, as when it is out of files.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// The HTTP of a running node; it ends when this is dropped.
#[derive(Debug)]
pub struct Served {
    state: Arc<State>,
    stop: watch::Sender<bool>,
}

impl Served {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.state.address
    }

    /// Something happened at the node.
    pub fn record(&self, event: &Event) {
        self.state.events.record(event);
    }

    /// The node is about to stop: it is not ready any more, and streams end.
    pub fn stopping(&self) {
        self.stop.send_replace(true);
    }
}

/// Serves a node's HTTP at a listener until the result is dropped. Needs a tokio runtime with time and
/// network. Questions that are not received any more make the node count as ended.
///
/// # Errors
/// The listener has no address.
pub fn serve(
    listener: TcpListener,
    settings: Settings,
    questions: mpsc::Sender<Question>,
) -> std::io::Result<Served> {
    let counts = Arc::<Counts>::default();
    let (stop, stopping) = watch::channel(false);
    let state = Arc::new(State {
        settings,
        address: listener.local_addr()?,
        asking: Asking::new(questions, Arc::clone(&counts)),
        events: Events::default(),
        history: History::default(),
        counts,
        stopping,
    });
    let ended = stop.subscribe();
    tokio::spawn(until_dropped(ended.clone(), accept(listener, Arc::clone(&state))));
    tokio::spawn(until_dropped(ended.clone(), history::sample(Arc::clone(&state))));
    tokio::spawn(until_dropped(ended, stream::show(Arc::clone(&state))));
    Ok(Served { state, stop })
}

/// Runs a task until nobody holds the other end of `ended`.
async fn until_dropped(mut ended: watch::Receiver<bool>, task: impl Future<Output = ()>) {
    tokio::select! {
        () = task => {}
        () = async { while ended.changed().await.is_ok() {} } => {}
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    let router = routes::router(Arc::clone(&state));
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_AGAIN).await;
            continue;
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            Counts::add(&state.counts.refused_connections);
            continue;
        };
        let (state, router) = (Arc::clone(&state), router.clone());
        tokio::spawn(async move {
            state.counts.connections.fetch_add(1, Ordering::Relaxed);
            talk(stream, router, state.stopping.clone()).await;
            state.counts.connections.fetch_sub(1, Ordering::Relaxed);
            drop(place);
        });
    }
}

async fn talk(stream: TcpStream, router: axum::Router, ended: watch::Receiver<bool>) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .half_close(false);
    let connection =
        http.serve_connection(TokioIo::new(Patient::new(stream)), TowerToHyperService::new(router));
    // What a connection ended of is its peer's business: it hung up, spoke nonsense or was too slow.
    until_dropped(ended, async {
        connection.await.ok();
    })
    .await;
}
