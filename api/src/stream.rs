//! Who listens to a node's events over one long answer (server-sent events, WHATWG HTML section 9.2).
//!
//! A listener that does not read loses nothing of others' and costs a bounded queue: what it is behind
//! by more than that is replaced by one `resync`, upon which it loads anew.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State as Extract;
use axum::http::StatusCode;
use axum::http::header::{self, HeaderMap};
use axum::response::{IntoResponse, Response};
use tokio::sync::broadcast::{Receiver, error::RecvError};

use crate::counts::Counts;
use crate::events::{Missed, News};
use crate::state::{STREAMS_MAX, State};
use crate::views;

/// How often listeners are shown the overview.
const SHOWN: Duration = Duration::from_secs(1);
/// How often a listener hears at least something, so that both sides see a dead connection.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// Shows the overview to listeners for as long as there are any.
pub(crate) async fn show(state: Arc<State>) {
    let mut ticks = tokio::time::interval(SHOWN);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if state.counts.streams.load(Ordering::Relaxed) == 0 {
            continue;
        }
        let shown = views::overview::overview(&state).await;
        if let Ok(text) = serde_json::to_string(&shown) {
            state.events.show(Arc::from(text));
        }
    }
}

/// A place among the listeners, given back when it is dropped.
struct Seat(Arc<State>);

impl Seat {
    fn take(state: &Arc<State>) -> Option<Seat> {
        let streams = &state.counts.streams;
        let taken = streams.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| {
            (open < STREAMS_MAX).then_some(open + 1)
        });
        taken.ok().map(|_| Seat(Arc::clone(state)))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.counts.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What one listener hears.
struct Listener {
    seat: Seat,
    news: Receiver<News>,
    /// What is to be said before anything new.
    first: Option<String>,
}

/// `GET /api/v1/stream`.
pub(crate) async fn stream(Extract(state): Extract<Arc<State>>, headers: HeaderMap) -> Response {
    let Some(seat) = Seat::take(&state) else {
        let text = format!("{STREAMS_MAX} clients listen already; ask again later\n");
        return (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "10")], text).into_response();
    };
    let last = headers.get("last-event-id").and_then(|last| last.to_str().ok());
    let (missed, news) = state.events.listen(last);
    let mut first = format!("retry: 1000\nid: {}\nevent: hello\ndata: {{}}\n\n", state.events.newest());
    match missed {
        Missed::These(told) => first.extend(told.into_iter().map(|told| said(&state, &News::Event(told)))),
        Missed::TooMuch => first.push_str(&resync(&state)),
    }
    let listener = Listener { seat, news, first: Some(first) };
    let pieces = futures_util::stream::unfold(listener, |mut listener| async move {
        let text = listener.next().await?;
        Some((Ok::<Bytes, Infallible>(Bytes::from(text)), listener))
    });
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    (headers, Body::from_stream(pieces)).into_response()
}

impl Listener {
    async fn next(&mut self) -> Option<String> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        let state = &self.seat.0;
        let mut stopping = state.stopping.clone();
        tokio::select! {
            news = self.news.recv() => match news {
                Ok(news) => Some(said(state, &news)),
                Err(RecvError::Lagged(_)) => Some(resync(state)),
                Err(RecvError::Closed) => None,
            },
            () = tokio::time::sleep(HEARTBEAT) => Some(": still here\n\n".to_owned()),
            _ = stopping.wait_for(|stopping| *stopping) => None,
        }
    }
}

/// JSON has no line breaks, so each piece of data is one line.
fn said(state: &State, news: &News) -> String {
    match news {
        News::Event(told) => match serde_json::to_string(&**told) {
            Ok(data) => format!("id: {}\nevent: event\ndata: {data}\n\n", state.events.id_of(told)),
            Err(_) => resync(state),
        },
        News::Overview(data) => format!("event: overview\ndata: {data}\n\n"),
    }
}

fn resync(state: &State) -> String {
    Counts::add(&state.counts.resyncs);
    format!("id: {}\nevent: resync\ndata: {{}}\n\n", state.events.newest())
}
