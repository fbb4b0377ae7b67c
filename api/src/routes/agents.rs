//! Agents, a page at a time, and the search.

use std::sync::Arc;

use axum::extract::{Path, State as Extract};
use axum::http::Uri;
use axum::response::Response;
use bytes::Bytes;
use serde_json::{Value, json};
use starling_core::id::AgentId;
use starling_core::wire::request::{
    AgentsView, Ask, AskAgents, AskPeers, Counter, EdgeView, Home, Member, Overview, RegionView, Say,
};

use super::mesh::{edge_called, edges_all, known, region_of, whom};
use super::{Problem, Query, document};
use crate::asking::{Unanswered, Whom};
use crate::state::State;
use crate::views;

/// Agents on a page.
const PAGE_MAX: usize = 200;
/// Questions to edges for one page: a rare tag may need more than one answer has.
const QUESTIONS_MAX: usize = 32;
/// Results of a kind in a search.
const FOUND_MAX: usize = 20;

/// `GET /api/v1/agents?region=&edge=&tag=&state=&name=&cursor=&limit=`: the agents of an edge or region,
/// edge by edge. A cursor is an edge's short id and a place there.
pub(crate) async fn agents(Extract(state): Extract<Arc<State>>, uri: Uri) -> Result<Response, Problem> {
    let known_keys = ["region", "edge", "tag", "state", "name", "cursor", "limit"];
    let query = Query::read(&uri, &known_keys)?;
    let limit = query.limit(PAGE_MAX)?;
    let overview = known(&state).await?;
    let region = match query.get("edge") {
        Some(edge) => edge_called(&overview, edge)?.region.clone(),
        None => region_of(&state, &overview, query.get("region"))?,
    };
    let mut edges = edges_all(&state, &overview, &region).await?;
    edges.retain(|edge| query.get("edge").is_none_or(|name| edge.name == name));
    let (from, cursor) = query.get("cursor").map_or(Ok((0, 0)), read_cursor)?;
    let wanted = Wanted::of(&query);
    let of = wanted.count(&edges);
    let mut walk = Walk { agents: Vec::new(), silent: Vec::new(), as_of_ms: u64::MAX };
    let here = edges.iter().filter(|edge| edge.id >= from);
    let next = walk.go(&state, &region, here, (from, cursor), (&wanted, limit)).await;
    let Walk { agents, silent, as_of_ms } = walk;
    Ok(document(&json!({
        "schema": "starling.agents/1", "mesh": overview.mesh, "region": region,
        "as_of_ms": if as_of_ms == u64::MAX { overview.as_of_ms } else { as_of_ms },
        "shown": agents.len(), "of": of, "cursor": next, "silent": silent, "agents": agents,
    })))
}

fn read_cursor(text: &str) -> Result<(u64, u64), Problem> {
    let parts = text
        .split_once('-')
        .and_then(|(edge, place)| Some((u64::from_str_radix(edge, 16).ok()?, place.parse().ok()?)));
    parts.ok_or_else(|| Problem::wrong("`cursor` is what an earlier answer gave"))
}

/// Which agents are wanted.
struct Wanted {
    tag: String,
    state: String,
    name: String,
}

impl Wanted {
    fn of(query: &Query) -> Wanted {
        let get = |key| query.get(key).unwrap_or_default().to_owned();
        Wanted { tag: get("tag"), state: get("state"), name: get("name") }
    }

    /// How many there are by the edges' summaries; none where they do not say.
    fn count(&self, edges: &[EdgeView]) -> Option<u64> {
        match (self.tag.is_empty(), self.state.is_empty(), self.name.is_empty()) {
            (true, true, true) => Some(edges.iter().map(|edge| edge.agents).sum()),
            (false, true, true) => edges.iter().map(|edge| counted(edge, &edge.tags, &self.tag)).sum(),
            (true, false, true) => edges.iter().map(|edge| counted(edge, &edge.states, &self.state)).sum(),
            _ => None,
        }
    }
}

/// How many of an edge's agents have a label; an edge tells only the most frequent ones.
fn counted(edge: &EdgeView, labels: &[Counter], label: &str) -> Option<u64> {
    let is_all = edge.agents == 0 || labels.len() < starling_core::wire::request::LABELS_LISTED_MAX;
    crate::history::named(labels, label).or(is_all.then_some(0))
}

/// A walk over edges for a page of agents.
struct Walk {
    agents: Vec<Value>,
    /// Edges that did not answer, in words.
    silent: Vec<String>,
    as_of_ms: u64,
}

impl Walk {
    /// Fills the page; gives the cursor at which the next one begins.
    async fn go(
        &mut self,
        state: &State,
        region: &str,
        edges: impl Iterator<Item = &EdgeView>,
        (from, cursor): (u64, u64),
        (wanted, limit): (&Wanted, usize),
    ) -> Option<String> {
        let mut questions = 0;
        for edge in edges {
            let mut place = if edge.id == from { cursor } else { 0 };
            loop {
                if self.agents.len() >= limit || questions == QUESTIONS_MAX {
                    return Some(format!("{:016x}-{place}", edge.id));
                }
                questions += 1;
                let ask = AskAgents {
                    cursor: place,
                    count: (limit - self.agents.len()) as u32,
                    tag: wanted.tag.clone(),
                    state: wanted.state.clone(),
                    name: wanted.name.clone(),
                    id: Bytes::new(),
                };
                match ask_edge(state, &edge.name, &edge.address, ask).await {
                    Ok(view) => {
                        let rows =
                            view.agents.iter().map(|agent| views::lists::agent(region, &edge.name, agent));
                        self.agents.extend(rows);
                        self.as_of_ms = self.as_of_ms.min(view.as_of_ms);
                        place = view.next;
                    }
                    Err(Problem(_, text)) => {
                        self.silent.push(text);
                        place = 0;
                    }
                }
                if place == 0 {
                    break;
                }
            }
        }
        None
    }
}

async fn ask_edge(state: &State, name: &str, address: &str, ask: AskAgents) -> Result<AgentsView, Problem> {
    let whom = if name == state.settings.name { Whom::Own } else { Whom::Node(address.to_owned()) };
    match state.asking.ask(&whom, Ask::Agents(ask)).await {
        Ok(say) => match &*say {
            Say::Agents(view) => Ok(view.clone()),
            _ => Err(Problem::silent(format!("{name} gave an unexpected answer"))),
        },
        Err(unanswered) => Err(Problem::of(name, unanswered)),
    }
}

/// `GET /api/v1/agents/{agent}`: where an agent is, and what it says of itself.
pub(crate) async fn agent(
    Extract(state): Extract<Arc<State>>,
    Path(text): Path<String>,
) -> Result<Response, Problem> {
    let id: AgentId =
        text.parse().map_err(|error| Problem::wrong(format!("`{text}` is not an agent's id: {error}")))?;
    let overview = known(&state).await?;
    let home = locate(&state, &overview, id).await?;
    let ask = AskAgents { id: Bytes::copy_from_slice(&id.0), ..AskAgents::default() };
    let address =
        overview.members.iter().find(|member| member.name == home.edge).map(|member| &member.address);
    let view = match address {
        Some(address) => ask_edge(&state, &home.edge, address, ask).await,
        None => Err(Problem::not_found(format!("edge {} is not known here", home.edge))),
    };
    let (agent, silent) = match view {
        Ok(view) => {
            (view.agents.first().map(|agent| views::lists::agent(&home.region, &home.edge, agent)), None)
        }
        Err(Problem(_, text)) => (None, Some(text)),
    };
    Ok(document(&json!({
        "schema": "starling.agent/1", "mesh": overview.mesh, "as_of_ms": overview.as_of_ms,
        "id": id.to_string(), "region": home.region, "edge": home.edge, "session": home.session,
        "agent": agent, "silent": silent,
    })))
}

/// Aggregators know the agents of their region, edges find every agent.
async fn locate(state: &State, overview: &Overview, id: AgentId) -> Result<Home, Problem> {
    let lives = |member: &&Member| {
        !matches!(&*member.status, "down" | "left" | "banned") && !member.address.is_empty()
    };
    let edges = overview.members.iter().filter(lives).filter(|member| member.roles.contains("edge"));
    let own = (state.settings.role != "coordinator").then_some(Whom::Own);
    let asked = own.into_iter().chain(edges.map(|edge| whom(state, edge)).take(2));
    let mut last = Problem::silent("no edge could be asked where agents are");
    let mut is_refused = false;
    for whom in asked {
        match state.asking.ask(&whom, Ask::Locate(Bytes::copy_from_slice(&id.0))).await {
            Ok(say) => {
                if let Say::Home(home) = &*say {
                    return Ok(home.clone());
                }
            }
            Err(Unanswered::Refused(_)) => {
                // An edge has asked all the others; an aggregator knows its own region alone.
                if matches!(whom, Whom::Node(_)) || state.settings.role == "edge" {
                    return Err(Problem::not_found(format!("no agent {id} was found")));
                }
                is_refused = true;
            }
            Err(unanswered @ Unanswered::Silent(_)) => last = Problem::of("an edge", unanswered),
        }
    }
    if is_refused {
        last = Problem::not_found(format!(
            "no agent {id} is in this region, and no edge answered that was asked"
        ));
    }
    Err(last)
}

/// `GET /api/v1/search?q=`: nodes and regions by a part of their name, tags and states by a part, services
/// by their name, agents by their id.
pub(crate) async fn search(Extract(state): Extract<Arc<State>>, uri: Uri) -> Result<Response, Problem> {
    let query = Query::read(&uri, &["q"])?;
    let wanted = query.get("q").ok_or_else(|| Problem::wrong("what is searched? add `q=`"))?.trim();
    let overview = known(&state).await?;
    let nodes = overview.members.iter().filter(|member| member.name.contains(wanted)).take(FOUND_MAX);
    let nodes = nodes.map(|member| {
        let Member { name, region, roles, status, .. } = member;
        json!({"name": name, "region": region, "roles": roles, "status": status})
    });
    let regions = overview.regions.iter().filter(|region| region.name.contains(wanted)).take(FOUND_MAX);
    let labels = |of: fn(&RegionView) -> &[Counter]| {
        let mut found = Vec::new();
        for region in &overview.regions {
            let labels = of(region).iter().filter(|label| label.name.contains(wanted));
            found.extend(
                labels.map(|label| json!({"name": label.name, "region": region.name, "agents": label.value})),
            );
        }
        found.truncate(FOUND_MAX);
        found
    };
    let agent = match wanted.parse::<AgentId>() {
        Ok(id) => locate(&state, &overview, id)
            .await
            .ok()
            .map(|home| json!({"id": id.to_string(), "region": home.region, "edge": home.edge})),
        Err(_) => None,
    };
    let ask = AskPeers { by: 1, name: wanted.to_owned(), count: FOUND_MAX as u32 };
    let services = match state.asking.ask(&Whom::Own, Ask::Peers(ask)).await.as_deref() {
        Ok(Say::Peers(view)) => {
            let peers = view.peers.iter().take(FOUND_MAX);
            peers
                .map(|peer| json!({"node": peer.name, "region": peer.region, "status": peer.status}))
                .collect()
        }
        Ok(_) | Err(_) => Vec::new(),
    };
    Ok(document(&json!({
        "schema": "starling.search/1", "as_of_ms": overview.as_of_ms, "q": wanted,
        "regions": regions.map(|region| json!({"name": region.name, "agents": region.agents})).collect::<Vec<_>>(),
        "nodes": nodes.collect::<Vec<_>>(), "tags": labels(|region| &region.tags), "states": labels(|region| &region.states),
        "services": services, "agent": agent,
    })))
}
