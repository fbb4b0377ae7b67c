//! The mesh, its regions, edges and nodes, events and the last hour.

use std::sync::Arc;

use axum::extract::{Path, State as Extract};
use axum::http::Uri;
use axum::response::Response;
use serde_json::{Value, json};
use starling_core::wire::request::{
    Ask, AskEdges, EDGES_LISTED_MAX, EdgeView, EdgesView, Member, Overview, Say,
};

use super::{Problem, Query, document};
use crate::asking::Whom;
use crate::events;
use crate::state::State;
use crate::views;

/// Nodes that are asked for their hot path's times.
const HOT_PATHS_MAX: usize = 64;
/// Of these, so many at once.
const ASKED_AT_ONCE: usize = 8;
/// Events in one answer.
const EVENTS_MAX: usize = 200;
/// Edges of a region that are looked through for one by name.
const EDGES_SEARCHED_MAX: usize = 1_024;

pub(crate) async fn known(state: &State) -> Result<Overview, Problem> {
    state.overview().await.map_err(|why| Problem::silent(format!("this node does not answer: {why}")))
}

/// `GET /api/v1/overview`.
pub(crate) async fn overview(Extract(state): Extract<Arc<State>>) -> Response {
    document(&views::overview::overview(&state).await)
}

/// `GET /mesh/members`.
pub(crate) async fn members(Extract(state): Extract<Arc<State>>) -> Result<Response, Problem> {
    Ok(document(&views::overview::members(&known(&state).await?)))
}

/// `GET /mesh/topology`.
pub(crate) async fn topology(Extract(state): Extract<Arc<State>>) -> Result<Response, Problem> {
    Ok(document(&views::overview::topology(&known(&state).await?)))
}

/// `GET /api/v1/regions`.
pub(crate) async fn regions(Extract(state): Extract<Arc<State>>) -> Result<Response, Problem> {
    let overview = known(&state).await?;
    let regions: Vec<Value> =
        overview.regions.iter().map(|region| views::overview::region(&state, region)).collect();
    Ok(document(&json!({
        "schema": "starling.regions/1", "mesh": overview.mesh, "as_of_ms": overview.as_of_ms, "regions": regions,
    })))
}

/// `GET /api/v1/regions/{region}`.
pub(crate) async fn region(
    Extract(state): Extract<Arc<State>>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let overview = known(&state).await?;
    let region = overview.regions.iter().find(|region| region.name == name);
    let region =
        region.ok_or_else(|| Problem::not_found(format!("no region called {name} has a figure here")))?;
    let nodes = views::overview::members_of(&overview).into_iter();
    let nodes: Vec<Value> = nodes.filter(|node| node["region"] == *name).collect();
    Ok(document(&json!({
        "schema": "starling.region/1", "mesh": overview.mesh, "as_of_ms": overview.as_of_ms,
        "region": views::overview::region(&state, region), "nodes": nodes,
    })))
}

/// `GET /api/v1/edges?region=&cursor=&limit=`.
pub(crate) async fn edges(Extract(state): Extract<Arc<State>>, uri: Uri) -> Result<Response, Problem> {
    let query = Query::read(&uri, &["region", "cursor", "limit"])?;
    let overview = known(&state).await?;
    let region = region_of(&state, &overview, query.get("region"))?;
    let limit = query.limit(EDGES_LISTED_MAX as usize)?;
    let after = query.get("cursor").map_or(Ok(0), |cursor| u64::from_str_radix(cursor, 16));
    let after = after.map_err(|_| Problem::wrong("`cursor` is what an earlier answer gave"))?;
    let view = edges_of(&state, &overview, &region, AskEdges { after, count: limit as u32 }).await?;
    let cursor = view.edges.last().filter(|_| view.is_more).map(|edge| format!("{:016x}", edge.id));
    let edges: Vec<Value> = view.edges.iter().map(|edge| views::lists::edge(&region, edge)).collect();
    Ok(document(&json!({
        "schema": "starling.edges/1", "mesh": overview.mesh, "as_of_ms": view.as_of_ms, "region": region,
        "shown": edges.len(), "of": view.of, "cursor": cursor, "edges": edges,
    })))
}

/// `GET /api/v1/edges/{edge}`: one edge, with what it says of itself where it answers.
pub(crate) async fn edge(
    Extract(state): Extract<Arc<State>>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let overview = known(&state).await?;
    let member = edge_called(&overview, &name)?;
    let region = member.region.clone();
    let view = edges_all(&state, &overview, &region).await?.into_iter().find(|edge| edge.name == name);
    let own = match member.address.is_empty() {
        true => Err("nobody is told where it listens".to_owned()),
        false => state.overview_of(&whom(&state, member)).await,
    };
    let (said, silent) = match own {
        Ok(own) => (
            json!({
                "as_of_ms": own.as_of_ms,
                "counters": views::by_name(&own.counters).into_iter()
                    .filter(|(name, _)| !name.starts_with("stage.")).collect::<std::collections::BTreeMap<_, _>>(),
                "budget": views::budget::budget(1, std::slice::from_ref(&own), own.regions.first().map_or(0, |region| region.agents)),
                "topology": views::overview::topology(&own),
            }),
            None,
        ),
        Err(why) => (Value::Null, Some(format!("{name} does not answer: {why}"))),
    };
    Ok(document(&json!({
        "schema": "starling.edge/1", "mesh": overview.mesh, "as_of_ms": overview.as_of_ms, "region": region,
        "edge": view.as_ref().map(|view| views::lists::edge(&region, view)),
        "status": member.status, "said": said, "silent": silent,
    })))
}

/// `GET /api/v1/budget?region=`: what the nodes with a hot path say of their times, as far as they answer.
pub(crate) async fn budget(Extract(state): Extract<Arc<State>>, uri: Uri) -> Result<Response, Problem> {
    let query = Query::read(&uri, &["region"])?;
    let overview = known(&state).await?;
    let region = query.get("region");
    let has_hot_path = |member: &&Member| {
        (member.roles.contains("edge") || member.roles.contains("aggregator"))
            && !matches!(&*member.status, "down" | "left" | "banned")
            && !member.address.is_empty()
            && region.is_none_or(|region| member.region == region)
    };
    let nodes: Vec<Whom> =
        overview.members.iter().filter(has_hot_path).map(|member| whom(&state, member)).collect();
    let mut answers = Vec::new();
    for some in nodes[..nodes.len().min(HOT_PATHS_MAX)].chunks(ASKED_AT_ONCE) {
        let asked = some.iter().map(|whom| state.overview_of(whom));
        answers.extend(futures_util::future::join_all(asked).await.into_iter().filter_map(Result::ok));
    }
    let regions = overview.regions.iter().filter(|view| region.is_none_or(|region| view.name == region));
    let agents = regions.fold(0_u64, |sum, view| sum.saturating_add(view.agents));
    Ok(document(&views::budget::budget(nodes.len(), &answers, agents)))
}

/// `GET /api/v1/history`: the last hour.
pub(crate) async fn history(Extract(state): Extract<Arc<State>>) -> Response {
    document(&json!({
        "schema": "starling.history/1", "as_of_ms": events::wall_ms(), "samples": state.history.samples(),
    }))
}

/// `GET /api/v1/events?level=&limit=&q=`: the newest first.
pub(crate) async fn events(Extract(state): Extract<Arc<State>>, uri: Uri) -> Result<Response, Problem> {
    let query = Query::read(&uri, &["level", "limit", "q"])?;
    let limit = query.limit(EVENTS_MAX)?;
    let names = starling_observe::Level::NAMES;
    let loudest = query.get("level").unwrap_or("debug");
    let upto = names.iter().position(|(name, _)| *name == loudest);
    let upto = upto.ok_or_else(|| Problem::wrong(format!("there is no level called `{loudest}`")))?;
    let wanted = query.get("q").unwrap_or_default();
    let told = state.events.recent(limit, |told| {
        names[..=upto].iter().any(|(name, _)| *name == told.level) && told.text.contains(wanted)
    });
    let told: Vec<&events::Told> = told.iter().map(|told| &**told).collect();
    Ok(document(&json!({
        "schema": "starling.events/1", "as_of_ms": events::wall_ms(), "last": state.events.newest(),
        "kept_max": events::KEPT_MAX, "events": told,
    })))
}

/// The region that is meant: the named one, or the node's own where it has a figure.
pub(crate) fn region_of(state: &State, overview: &Overview, named: Option<&str>) -> Result<String, Problem> {
    let name = named.unwrap_or(&state.settings.region);
    let is_known =
        overview.members.iter().any(|member| member.region == name && member.roles.contains("edge"));
    match (is_known, named) {
        (true, _) => Ok(name.to_owned()),
        (false, Some(name)) => Err(Problem::not_found(format!("no edge of a region called {name} is known"))),
        (false, None) => Err(Problem::wrong("which region? add `region=NAME`")),
    }
}

/// How a member is asked.
pub(crate) fn whom(state: &State, member: &Member) -> Whom {
    if member.name == state.settings.name { Whom::Own } else { Whom::Node(member.address.clone()) }
}

/// The edge with this name.
pub(crate) fn edge_called<'a>(overview: &'a Overview, name: &str) -> Result<&'a Member, Problem> {
    let edge = overview.members.iter().find(|member| member.name == name && member.roles.contains("edge"));
    edge.ok_or_else(|| Problem::not_found(format!("no edge called {name} is known")))
}

/// A page of a region's edges, as the first of its aggregators that answers knows them.
pub(crate) async fn edges_of(
    state: &State,
    overview: &Overview,
    region: &str,
    ask: AskEdges,
) -> Result<EdgesView, Problem> {
    let aggregators = overview.members.iter().filter(|member| {
        member.region == region
            && member.roles.contains("aggregator")
            && !matches!(&*member.status, "down" | "left" | "banned")
    });
    let mut aggregators: Vec<&Member> = aggregators.collect();
    aggregators.sort_by_key(|member| member.name != state.settings.name);
    let mut last = Problem::silent(format!("region {region} has no aggregator that could be asked"));
    for aggregator in aggregators {
        match state.asking.ask(&whom(state, aggregator), Ask::Edges(ask)).await {
            Ok(say) => match &*say {
                Say::Edges(view) => return Ok(view.clone()),
                _ => last = Problem::silent(format!("{} gave an unexpected answer", aggregator.name)),
            },
            Err(unanswered) => last = Problem::of(&aggregator.name, unanswered),
        }
    }
    Err(last)
}

/// All edges of a region, up to a bound.
pub(crate) async fn edges_all(
    state: &State,
    overview: &Overview,
    region: &str,
) -> Result<Vec<EdgeView>, Problem> {
    let (mut edges, mut after) = (Vec::new(), 0);
    loop {
        let view = edges_of(state, overview, region, AskEdges { after, count: EDGES_LISTED_MAX }).await?;
        let is_more = view.is_more && edges.len() < EDGES_SEARCHED_MAX;
        after = view.edges.last().map_or(u64::MAX, |edge| edge.id);
        edges.extend(view.edges);
        if !is_more {
            return Ok(edges);
        }
    }
}
