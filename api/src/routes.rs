//! Answers by address.

mod agents;
mod health;
mod mesh;

use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};

use crate::asking::Unanswered;
use crate::guard::guard;
use crate::state::State;
use crate::{pages, stream};

/// Everything that is answered.
pub(crate) fn router(state: Arc<State>) -> Router {
    Router::new()
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .route("/mesh/members", get(mesh::members))
        .route("/mesh/topology", get(mesh::topology))
        .route("/api/v1/overview", get(mesh::overview))
        .route("/api/v1/history", get(mesh::history))
        .route("/api/v1/budget", get(mesh::budget))
        .route("/api/v1/regions", get(mesh::regions))
        .route("/api/v1/regions/{region}", get(mesh::region))
        .route("/api/v1/edges", get(mesh::edges))
        .route("/api/v1/edges/{edge}", get(mesh::edge))
        .route("/api/v1/agents", get(agents::agents))
        .route("/api/v1/agents/{agent}", get(agents::agent))
        .route("/api/v1/search", get(agents::search))
        .route("/api/v1/events", get(mesh::events))
        .route("/api/v1/stream", get(stream::stream))
        .fallback(pages::page)
        .layer(middleware::from_fn_with_state(Arc::clone(&state), guard))
        .with_state(state)
}

/// Why something is not answered.
#[derive(Debug)]
pub(crate) struct Problem(StatusCode, String);

impl Problem {
    pub fn not_found(text: impl Into<String>) -> Problem {
        Problem(StatusCode::NOT_FOUND, text.into())
    }

    pub fn wrong(text: impl Into<String>) -> Problem {
        Problem(StatusCode::BAD_REQUEST, text.into())
    }

    pub fn silent(text: impl Into<String>) -> Problem {
        Problem(StatusCode::BAD_GATEWAY, text.into())
    }

    /// What another node, called `name`, did in place of answering.
    pub fn of(name: &str, unanswered: Unanswered) -> Problem {
        match unanswered {
            Unanswered::Refused(refused) => Problem::not_found(format!("{name} says: {}", refused.text)),
            Unanswered::Silent(why) => Problem::silent(format!("{name} does not answer: {why}")),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Problem(status, text) = self;
        (status, document(&json!({"schema": "starling.problem/1", "problem": text}))).into_response()
    }
}

/// A query string's parts, each at most once.
#[derive(Debug, Default)]
pub(crate) struct Query(std::collections::BTreeMap<String, String>);

impl Query {
    /// Reads the query; keys that are not `known` are refused, as they would be mistaken for filters.
    pub fn read(uri: &axum::http::Uri, known: &[&str]) -> Result<Query, Problem> {
        let text = uri.query().unwrap_or_default();
        let pairs = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri);
        let axum::extract::Query(pairs) =
            pairs.map_err(|_| Problem::wrong(format!("cannot read the query `{text}`")))?;
        let mut query = Query::default();
        for (key, value) in pairs {
            if !known.contains(&key.as_str()) {
                return Err(Problem::wrong(format!(
                    "there is no `{key}` here; there are {}",
                    known.join(", ")
                )));
            }
            if query.0.insert(key.clone(), value).is_some() {
                return Err(Problem::wrong(format!("`{key}` stands twice in the query")));
            }
        }
        Ok(query)
    }

    /// The value of a key, unless it is missing or empty.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// A number from 1 to `max`, which it is if it is missing.
    pub fn limit(&self, max: usize) -> Result<usize, Problem> {
        let Some(text) = self.get("limit") else { return Ok(max) };
        let limit = text.parse().ok().filter(|limit| (1..=max).contains(limit));
        limit.ok_or_else(|| Problem::wrong(format!("`limit` is a number from 1 to {max}, not `{text}`")))
    }
}

/// A document.
pub(crate) fn document(value: &Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], format!("{value}\n")).into_response()
}
