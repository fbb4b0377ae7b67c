//! Which edge to be at: the first that answers, and another in time when it does not any more.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::backoff::Backoff;
use crate::inner::Inner;
use crate::link::Link;
use crate::session::{ConnectError, Session, Standing};

/// How long an edge is tried alone before the next one is tried too.
const HEAD_START: Duration = Duration::from_millis(250);
/// The first wait between two rounds of attempts.
const BACKOFF_FIRST: Duration = Duration::from_millis(50);

/// The first address of `text`.
pub(crate) async fn resolve(text: &str) -> Result<SocketAddr, ConnectError> {
    let bad = |source| ConnectError::Address { text: text.to_owned(), source };
    let mut addresses = tokio::net::lookup_host(text).await.map_err(bad)?;
    addresses.next().ok_or_else(|| bad(std::io::ErrorKind::NotFound.into()))
}

/// Connects to one edge.
pub(crate) async fn attempt(inner: &Arc<Inner>, edge: &str) -> Result<(Session, u64), ConnectError> {
    let address = resolve(edge).await?;
    let epoch = inner.next_connection();
    let link = Link::new(Arc::clone(inner), epoch);
    Ok((Session::connect(&inner.endpoint, address, link).await?, epoch))
}

/// A connection to an edge that was told nothing yet.
pub(crate) struct Found {
    pub session: Session,
    pub epoch: u64,
    pub edge: String,
}

/// Connects to the first of these edges that answers; each has a head start of the next.
pub(crate) async fn connect_any(inner: &Arc<Inner>, edges: impl Iterator<Item = String>) -> Option<Found> {
    let mut edges = edges.peekable();
    let mut attempts = JoinSet::new();
    loop {
        if let Some(edge) = edges.next() {
            let inner = Arc::clone(inner);
            attempts.spawn(async move {
                let (session, epoch) = attempt(&inner, &edge).await.ok()?;
                Some(Found { session, epoch, edge })
            });
        }
        tokio::select! {
            done = attempts.join_next() => match done {
                Some(Ok(Some(found))) => return Some(found),
                // It refused us or could not be reached: the next one's turn.
                Some(Ok(None) | Err(_)) => {}
                None => return None,
            },
            () = sleep(HEAD_START), if edges.peek().is_some() => {}
        }
    }
}

/// Has another edge ready while that of `session`, the first of `edges`, is doubtful, and gives it up
/// again when that one answers. Returns the other one once that one is silent: it was told nothing
/// yet, so nothing has to be taken back before that.
pub(crate) async fn another(inner: &Arc<Inner>, edges: &VecDeque<String>, session: &Session) -> Found {
    let mut others = edges.clone();
    // Last comes the same edge: it may have been started again, or be reached on a new way.
    others.rotate_left(1);
    let mut standing = session.standing();
    loop {
        reaches(&mut standing, |standing| standing >= Standing::Doubtful).await;
        let mut relief = session.standing();
        tokio::select! {
            () = reaches(&mut relief, |standing| standing == Standing::Answering) => {}
            found = ready(inner, &others, session) => if let Some(found) = found {
                return found;
            },
        }
    }
}

/// The first that answers, once `session` is silent; `None` if it falls silent before.
async fn ready(inner: &Arc<Inner>, others: &VecDeque<String>, session: &Session) -> Option<Found> {
    let mut backoff = Backoff::new(BACKOFF_FIRST, inner.settings.backoff_max);
    let found = loop {
        if let Some(found) = connect_any(inner, others.iter().cloned()).await {
            break found;
        }
        sleep(backoff.next()).await;
    };
    let mut standing = session.standing();
    tokio::select! {
        () = reaches(&mut standing, |standing| standing >= Standing::Silent) => Some(found),
        () = found.session.silent() => None,
    }
}

/// Waits until what is thought of an edge is so; for ever once its session is gone.
async fn reaches(standing: &mut watch::Receiver<Standing>, is_so: impl Fn(Standing) -> bool) {
    if standing.wait_for(|standing| is_so(*standing)).await.is_err() {
        std::future::pending::<()>().await;
    }
}
