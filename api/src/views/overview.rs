//! The mesh, a region, the members and how far they are.

use serde_json::{Value, json};
use starling_core::id::hex;
use starling_core::wire::request::{Member, Overview, QuorumView, RegionView, TopologyView};

use super::by_name;
use crate::state::State;
use crate::verdict::{Severity, findings, sentence};

/// The mesh as this node knows it; also when its machine does not answer.
pub(crate) async fn overview(state: &State) -> Value {
    match state.overview().await {
        Ok(overview) => of(state, &overview),
        Err(why) => silent(state, &why),
    }
}

fn node(state: &State) -> Value {
    let settings = &state.settings;
    json!({
        "name": settings.name, "role": settings.role, "region": settings.region,
        "version": env!("CARGO_PKG_VERSION"), "started_ms": state.events.start_ms,
    })
}

fn silent(state: &State, why: &str) -> Value {
    let text = format!("This node does not answer: {why}.");
    json!({
        "schema": "starling.overview/1",
        "as_of_ms": crate::events::wall_ms(),
        "node": node(state),
        "sentence": text,
        "findings": [{"severity": Severity::Error, "kind": "node-silent", "text": text, "region": null, "node": null}],
    })
}

fn of(state: &State, overview: &Overview) -> Value {
    let dropped = |region: &str| state.history.rates(region).get("Dropped").copied();
    let found = findings(overview, dropped);
    let sentence = sentence(overview, &found);
    let with_status = |status: &str| overview.members.iter().filter(|member| member.status == status).count();
    let mut regions: Vec<Value> = overview.regions.iter().map(|view| region(state, view)).collect();
    regions.sort_by(|one, other| one["name"].as_str().cmp(&other["name"].as_str()));
    let sum = |of: fn(&RegionView) -> u64| {
        overview.regions.iter().fold(0_u64, |sum, view| sum.saturating_add(of(view)))
    };
    let reading = state.reading(None);
    let gauges: std::collections::BTreeMap<&str, u64> = reading
        .iter()
        .filter(|(name, _)| name.starts_with("transport.") || *name == "resident_bytes")
        .collect();
    json!({
        "schema": "starling.overview/1",
        "as_of_ms": overview.as_of_ms,
        "mesh": overview.mesh,
        "node": node(state),
        "sentence": sentence,
        "findings": found,
        "agents": sum(|view| view.agents),
        "distinct": sum(|view| view.distinct),
        "edges": sum(|view| u64::from(view.edges)),
        "update_index": overview.update_index,
        "nodes": {
            "expected": overview.members.iter().filter(|member| member.status != "left").count(),
            "up": with_status("up") + with_status("relayed"),
            "suspect": with_status("suspect"),
            "down": with_status("down"),
            "left": with_status("left"),
            "banned": with_status("banned"),
            "known": with_status("known"),
        },
        "regions": regions,
        "quorum": overview.quorum.as_deref().map(quorum),
        "convergence": convergence(overview),
        "gauges": gauges,
        "members": members_of(overview),
    })
}

/// How far peers' replicas are behind this one's; none at coordinators, which have no keys.
fn convergence(overview: &Overview) -> Value {
    let named = |name: &str| crate::history::named(&overview.counters, name);
    match named("convergence.peers") {
        Some(peers) => json!({
            "peers": peers,
            "behind": named("convergence.behind"),
            "versions_max": named("convergence.versions_max"),
            "age_max_ms": named("convergence.age_max_ms"),
        }),
        None => Value::Null,
    }
}

/// One region's figure.
pub(crate) fn region(state: &State, view: &RegionView) -> Value {
    json!({
        "name": view.name,
        "agents": view.agents,
        "edges": view.edges,
        "aggregators": view.aggregators,
        "distinct": view.distinct,
        "age_ms": view.age_ms,
        "states": by_name(&view.states),
        "tags": by_name(&view.tags),
        "totals": by_name(&view.totals),
        "quantiles": by_name(&view.quantiles),
        "rates": state.history.rates(&view.name),
    })
}

fn quorum(view: &QuorumView) -> Value {
    json!({
        "scope": view.scope, "status": view.status, "is_cut_off": view.is_cut_off,
        "reachable": view.reachable, "roster": view.roster, "since_ms": view.since_ms,
        "forbidden": view.forbidden,
    })
}

/// The nodes, by region and name, each with the way to it and its agents.
pub(crate) fn members_of(overview: &Overview) -> Vec<Value> {
    let distances = overview.topology.iter().flat_map(|topology| &topology.distances);
    let distances: std::collections::BTreeMap<&str, u64> =
        distances.map(|distance| (distance.name.as_str(), distance.rtt_us)).collect();
    let mut members: Vec<&Member> = overview.members.iter().collect();
    members.sort_by(|a, b| (&a.region, &a.name, &a.id).cmp(&(&b.region, &b.name, &b.id)));
    let row = |member: &Member| {
        let rtt = distances.get(member.name.as_str()).filter(|rtt| **rtt > 0);
        let route = match &*member.status {
            "up" => "linked",
            "relayed" => "relayed",
            _ => "none",
        };
        json!({
            "id": hex(&member.id),
            "name": member.name,
            "roles": member.roles.split('+').filter(|role| !role.is_empty()).collect::<Vec<_>>(),
            "region": member.region,
            "address": member.address,
            "status": member.status,
            "pid": member.process,
            "version": member.version,
            "agents": member.agents,
            "route": route,
            "rtt_us": rtt,
        })
    };
    members.into_iter().map(row).collect()
}

/// `/mesh/members`.
pub(crate) fn members(overview: &Overview) -> Value {
    let states = overview.regions.iter().map(|region| (region.name.as_str(), by_name(&region.states)));
    json!({
        "schema": "starling.members/1",
        "mesh": overview.mesh,
        "as_of_ms": overview.as_of_ms,
        "quorum": overview.quorum.as_deref().map(quorum),
        "agents_by_state": states.collect::<std::collections::BTreeMap<_, _>>(),
        "members": members_of(overview),
    })
}

/// `/mesh/topology`: the nodes, and the links of the answering one with their round trips.
pub(crate) fn topology(overview: &Overview) -> Value {
    let view = overview.topology.as_deref();
    let distances = view.into_iter().flat_map(|view| &view.distances).map(|distance| {
        json!({
            "name": distance.name, "region": distance.region, "rtt_us": distance.rtt_us,
            "cluster": distance.cluster, "is_preferred": distance.is_preferred, "is_far": distance.is_far,
            "versions_behind": distance.lag.map(|lag| lag.versions),
            "behind_ms": distance.lag.map(|lag| lag.behind_ms),
        })
    });
    let clusters = |view: &TopologyView| {
        let row = |cluster: &starling_core::wire::request::ClusterView| json!({"nearest_us": cluster.nearest_us, "farthest_us": cluster.farthest_us, "peers": cluster.peers});
        view.clusters.iter().map(row).collect::<Vec<_>>()
    };
    json!({
        "schema": "starling.topology/1",
        "mesh": overview.mesh,
        "as_of_ms": overview.as_of_ms,
        "node": overview.node.as_ref().map(|node| &node.name),
        "strategy": view.map(|view| &view.strategy),
        "round": view.map(|view| view.round),
        "rebalanced_round": view.map(|view| view.rebalanced_round),
        "rebalanced_ms": view.map(|view| view.rebalanced_ms),
        "measured": view.map(|view| view.measured),
        "clusters": view.map(clusters),
        "distances": distances.collect::<Vec<_>>(),
        "nodes": members_of(overview),
    })
}
