//! The registrar's door: HTTP/1.1, one request a connection, everything about it bounded.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Extension, State};
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tower::ServiceExt;

use super::{RegistrarNote, Shared, ping};
use crate::registration::{Peers, REQUEST_BYTES_MAX, Refusal, Registration, WINDOW_SECONDS, Wish, Work};
use crate::unix_seconds;

/// Connections at once; further ones wait at the system's door.
const CONNECTIONS_MAX: usize = 256;
/// How long one may last, its ping included.
const CONNECTION_MAX: Duration = Duration::from_secs(8);
/// How long its headers may take.
const HEADERS_MAX: Duration = Duration::from_secs(3);
/// Bytes that are read ahead: the headers, of which there are few.
const HEADER_BYTES_MAX: usize = 8 * 1024;

#[derive(Clone, Copy, Debug)]
struct From(SocketAddr);

/// The answer to `GET /v1/status`.
#[derive(Debug, Serialize)]
struct Status {
    zone: String,
    registered: usize,
    listed: usize,
}

/// A refusal: its status, and what to do.
struct Refused(StatusCode, String);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.0, Json(Refusal { error: self.1 })).into_response()
    }
}

/// Serves connections until the registrar ends.
pub(super) async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    let router = Router::new()
        .route("/v1/work", get(work))
        .route("/v1/discover", get(discover))
        .route("/v1/register", post(register))
        .route("/v1/unregister", post(unregister))
        .route("/v1/status", get(status))
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
        .with_state(shared);
    let turns = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(turn) = Arc::clone(&turns).acquire_owned().await else { return };
        let Ok((stream, from)) = listener.accept().await else {
            // Too many files are open, or somebody hung up before its turn.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let router = router.clone();
        tokio::spawn(async move {
            let _turn = turn;
            let serve = hyper::service::service_fn(move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(From(from));
                router.clone().oneshot(request.map(Body::new))
            });
            let mut http = hyper::server::conn::http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(HEADERS_MAX).max_buf_size(HEADER_BYTES_MAX);
            let connection = http.keep_alive(false).serve_connection(TokioIo::new(stream), serve);
            if timeout(CONNECTION_MAX, connection).await.is_err() {
                // It had its time.
            }
        });
    }
}

fn admit(shared: &Shared, from: IpAddr) -> Result<(), Refused> {
    if shared.buckets().take(from, Instant::now()) {
        return Ok(());
    }
    Err(Refused(StatusCode::TOO_MANY_REQUESTS, format!("too many requests of {from}; wait a minute")))
}

async fn work(
    State(shared): State<Arc<Shared>>,
    Extension(From(from)): Extension<From>,
) -> Result<Json<Work>, Refused> {
    admit(&shared, from.ip())?;
    Ok(Json(Work { difficulty: shared.settings.difficulty, window: unix_seconds() / WINDOW_SECONDS }))
}

async fn discover(
    State(shared): State<Arc<Shared>>,
    Extension(From(from)): Extension<From>,
) -> Result<Json<Peers>, Refused> {
    admit(&shared, from.ip())?;
    Ok(Json(peers(&shared, Duration::ZERO)))
}

async fn status(
    State(shared): State<Arc<Shared>>,
    Extension(From(from)): Extension<From>,
) -> Result<Json<Status>, Refused> {
    admit(&shared, from.ip())?;
    let (registered, listed) = {
        let rotation = shared.rotation();
        (rotation.count(), rotation.listed().len())
    };
    Ok(Json(Status { zone: shared.zone.to_string(), registered, listed }))
}

async fn register(
    State(shared): State<Arc<Shared>>,
    Extension(From(from)): Extension<From>,
    body: Result<Json<Registration>, JsonRejection>,
) -> Result<Json<Peers>, Refused> {
    let registration = checked(&shared, from, body)?;
    let candidate = verified(&shared, Wish::Register, &registration)?;
    let address = registration.address;
    let is_own = address.ip().to_canonical() == from.ip().to_canonical();
    if !is_own && !shared.settings.any_address {
        let why = format!("{address} is not of {}, from where it is asked; register from there", from.ip());
        return Err(Refused(StatusCode::FORBIDDEN, why));
    }
    let Ok(_turn) = shared.pings.try_acquire() else {
        return Err(Refused(StatusCode::SERVICE_UNAVAILABLE, "too busy; try again in a minute".to_owned()));
    };
    if !ping::answers(address).await {
        let why = format!("no QUIC endpoint answers at udp {address}; open it for packets from here");
        return Err(Refused(StatusCode::CONFLICT, why));
    }
    let added = shared.rotation().add(candidate.clone(), unix_seconds());
    let is_listed = added.map_err(|full| Refused(StatusCode::SERVICE_UNAVAILABLE, full.to_string()))?;
    if is_listed {
        (shared.say)(RegistrarNote::Listed { candidate: candidate.to_string() });
        shared.changed.notify_one();
    }
    Ok(Json(peers(&shared, shared.settings.ttl)))
}

async fn unregister(
    State(shared): State<Arc<Shared>>,
    Extension(From(from)): Extension<From>,
    body: Result<Json<Registration>, JsonRejection>,
) -> Result<Json<Peers>, Refused> {
    let registration = checked(&shared, from, body)?;
    let candidate = verified(&shared, Wish::Unregister, &registration)?;
    if candidate.node().is_some_and(|node| shared.rotation().remove(node, unix_seconds())) {
        let why = "it said so";
        (shared.say)(RegistrarNote::Removed { candidate: candidate.to_string(), why });
        shared.changed.notify_one();
    }
    Ok(Json(Peers { peers: Vec::new(), ttl_seconds: 0 }))
}

fn checked(
    shared: &Shared,
    from: SocketAddr,
    body: Result<Json<Registration>, JsonRejection>,
) -> Result<Registration, Refused> {
    admit(shared, from.ip())?;
    let Json(registration) = body.map_err(|error| Refused(error.status(), error.body_text()))?;
    Ok(registration)
}

fn verified(shared: &Shared, wish: Wish, said: &Registration) -> Result<crate::Candidate, Refused> {
    let verified = said.verify(wish, shared.settings.difficulty, unix_seconds());
    verified.map_err(|error| Refused(StatusCode::FORBIDDEN, error.to_string()))
}

fn peers(shared: &Shared, ttl: Duration) -> Peers {
    let listed = shared.rotation().listed();
    let peers = listed.iter().map(|listed| listed.candidate.to_string()).collect();
    Peers { peers, ttl_seconds: ttl.as_secs() }
}
