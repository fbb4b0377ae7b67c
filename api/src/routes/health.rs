//! Health, readiness and metrics.

use std::sync::Arc;

use axum::extract::{Extension, State as Extract};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use starling_core::wire::request::Overview;
use starling_observe::exposition;

use crate::guard::MayRead;
use crate::state::State;

/// `GET /healthz`: whether the process answers at all.
pub(crate) async fn healthz() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: whether the node does its work, each part in a line.
pub(crate) async fn readyz(
    Extract(state): Extract<Arc<State>>,
    Extension(MayRead(may_read)): Extension<MayRead>,
) -> Response {
    let parts = parts(&state).await;
    let is_ready = parts.iter().all(|(_, wrong)| wrong.is_none());
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let head = if is_ready { "ready\n" } else { "not ready\n" };
    let line = |(part, wrong): &(&str, Option<String>)| match wrong {
        None => format!("{part}: ok\n"),
        Some(wrong) => format!("{part}: {wrong}\n"),
    };
    let lines: String = parts.iter().filter(|_| may_read).map(line).collect();
    (status, format!("{head}{lines}")).into_response()
}

async fn parts(state: &State) -> Vec<(&'static str, Option<String>)> {
    let stopping = state.stopping.borrow().then(|| "the node is about to stop".to_owned());
    let mut parts = vec![("life", stopping)];
    match state.overview().await {
        Ok(overview) => {
            parts.push(("machine", None));
            parts.extend(of(&state.settings.role, &overview));
        }
        Err(why) => parts.push(("machine", Some(why))),
    }
    parts
}

fn of(role: &str, overview: &Overview) -> Vec<(&'static str, Option<String>)> {
    // A node that is alone by its configuration does its work alone.
    let linked = overview.members.iter().skip(1).filter(|member| matches!(&*member.status, "up" | "relayed"));
    let is_alone = overview.members.len() > 1 && linked.count() == 0;
    let alone =
        is_alone.then(|| format!("linked with none of {} nodes that are known", overview.members.len() - 1));
    let cut_off = overview.quorum.as_deref().filter(|quorum| quorum.is_cut_off).map(|quorum| {
        let (reachable, roster) = (quorum.reachable, quorum.roster);
        format!(
            "{reachable} of {roster} nodes of the {} are in reach, which is too few to agree",
            quorum.scope
        )
    });
    let mut parts = vec![("links", alone), ("quorum", cut_off)];
    if role == "coordinator" {
        let none = overview.regions.is_empty().then(|| "no region has told its figure yet".to_owned());
        parts.push(("regions", none));
    }
    parts
}

/// `GET /metrics`.
pub(crate) async fn metrics(Extract(state): Extract<Arc<State>>) -> Response {
    let overview = state.overview().await.ok();
    match exposition::text(&state.reading(overview.as_ref())) {
        Ok(text) => ([(header::CONTENT_TYPE, exposition::MEDIA_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use starling_core::wire::request::{Member, QuorumView};

    use super::*;

    #[test]
    fn what_is_not_ready_is_said() {
        let member = |status: &str| Member { status: status.into(), ..Member::default() };
        let wrong = |role: &str, overview: &Overview| -> Vec<&str> {
            of(role, overview).into_iter().filter_map(|(part, wrong)| wrong.map(|_| part)).collect()
        };
        let alone = Overview { members: vec![member("up")], ..Overview::default() };
        assert_eq!(wrong("edge", &alone), [""; 0]);
        assert_eq!(wrong("coordinator", &alone), ["regions"]);
        let quorum = QuorumView { is_cut_off: true, ..QuorumView::default() };
        let cut = Overview {
            members: vec![member("up"), member("down")],
            quorum: Some(Box::new(quorum)),
            ..Overview::default()
        };
        assert_eq!(wrong("edge", &cut), ["links", "quorum"]);
    }
}
