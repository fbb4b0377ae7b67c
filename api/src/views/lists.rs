//! Edges and agents.

use serde_json::{Value, json};
use starling_core::id::hex;
use starling_core::wire::request::{AgentView, EdgeView};

use super::by_name;

/// An edge of a region.
pub(crate) fn edge(region: &str, view: &EdgeView) -> Value {
    json!({
        "id": format!("{:016x}", view.id),
        "name": view.name,
        "region": region,
        "status": view.status,
        "address": view.address,
        "agents": view.agents,
        "states": by_name(&view.states),
        "tags": by_name(&view.tags),
        "totals": by_name(&view.totals),
        "quantiles": by_name(&view.quantiles),
        "version": view.version,
    })
}

/// An agent of an edge.
pub(crate) fn agent(region: &str, edge: &str, view: &AgentView) -> Value {
    json!({
        "id": hex(&view.id),
        "name": view.name,
        "region": region,
        "edge": edge,
        "state": view.state,
        "tags": view.tags,
        "session": view.session,
        "subscriptions": view.subscriptions,
    })
}
