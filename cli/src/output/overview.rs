//! Answers about the mesh, made of what one node knows: status, regions, members.

use std::collections::BTreeMap;

use serde::Serialize;
use starling_core::id::{ShortId, hex};
use starling_core::wire::request::{CoordinatorView, Counter, Member, Overview, QuorumView, RegionView};

use super::Render;
use super::table::{Side, facts, grouped, table};

/// The mesh in a few lines.
#[derive(Debug, Serialize)]
pub struct Status {
    schema: &'static str,
    mesh: String,
    as_of_ms: u64,
    node: Option<MemberRow>,
    agents: u64,
    regions: u64,
    edges: u64,
    members: MemberCounts,
    update_index: u64,
    quorum: Option<QuorumRow>,
    coordinators: Vec<CoordinatorRow>,
    counters: BTreeMap<String, u64>,
}

/// One of the coordinators, which agree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct CoordinatorRow {
    id: String,
    name: String,
    role: String,
    term: u64,
    applied: u64,
    is_heard: bool,
}

impl From<&CoordinatorView> for CoordinatorRow {
    fn from(view: &CoordinatorView) -> CoordinatorRow {
        CoordinatorRow {
            id: ShortId(view.id).to_string(),
            name: view.name.clone(),
            role: view.role.clone(),
            term: view.term,
            applied: view.applied,
            is_heard: view.is_heard,
        }
    }
}

impl CoordinatorRow {
    /// In a line.
    fn line(&self) -> String {
        let CoordinatorRow { name, role, term, applied, is_heard, .. } = self;
        match is_heard {
            true => format!("{name}: {role} in term {term}, {applied} applied"),
            false => format!("{name}: {role}, not heard; {applied} applied"),
        }
    }
}

/// Nodes by status.
#[derive(Debug, Default, Serialize)]
struct MemberCounts {
    up: u64,
    down: u64,
    known: u64,
}

/// The regions and their figures.
#[derive(Debug, Serialize)]
pub struct Regions {
    schema: &'static str,
    mesh: String,
    as_of_ms: u64,
    regions: Vec<RegionRow>,
}

/// The nodes.
#[derive(Debug, Serialize)]
pub struct Members {
    schema: &'static str,
    mesh: String,
    as_of_ms: u64,
    quorum: Option<QuorumRow>,
    members: Vec<MemberRow>,
}

/// How many nodes the answering one reaches, and what follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct QuorumRow {
    scope: String,
    status: String,
    is_cut_off: bool,
    reachable: u32,
    roster: u32,
    since_ms: u64,
    forbidden: Vec<String>,
}

/// One item of a list on a line of its own, with what it needs to be understood alone.
#[derive(Serialize)]
struct Line<'a, T: Serialize> {
    schema: &'static str,
    mesh: &'a str,
    as_of_ms: u64,
    #[serde(flatten)]
    item: &'a T,
}

/// One region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct RegionRow {
    name: String,
    agents: u64,
    edges: u32,
    aggregators: u32,
    distinct: u64,
    age_ms: u64,
    states: BTreeMap<String, u64>,
    tags: BTreeMap<String, u64>,
    totals: BTreeMap<String, u64>,
    quantiles: BTreeMap<String, u64>,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct MemberRow {
    id: String,
    name: String,
    roles: Vec<String>,
    region: String,
    address: String,
    status: String,
    pid: u32,
    incarnation: u64,
    version: String,
    agents: u64,
}

impl From<&Member> for MemberRow {
    fn from(member: &Member) -> MemberRow {
        let roles = member.roles.split('+').filter(|role| !role.is_empty());
        MemberRow {
            id: hex(&member.id),
            name: member.name.clone(),
            roles: roles.map(str::to_owned).collect(),
            region: member.region.clone(),
            address: member.address.clone(),
            status: member.status.clone(),
            pid: member.process,
            incarnation: member.incarnation,
            version: member.version.clone(),
            agents: member.agents,
        }
    }
}

impl From<&QuorumView> for QuorumRow {
    fn from(view: &QuorumView) -> QuorumRow {
        QuorumRow {
            scope: view.scope.clone(),
            status: view.status.clone(),
            is_cut_off: view.is_cut_off,
            reachable: view.reachable,
            roster: view.roster,
            since_ms: view.since_ms,
            forbidden: view.forbidden.clone(),
        }
    }
}

impl QuorumRow {
    /// In a line; `as_of_ms` is when it was so.
    fn line(&self, as_of_ms: u64) -> String {
        let QuorumRow { scope, status, reachable, roster, .. } = self;
        let mut line = format!("{status}, {reachable} of {roster} nodes of the {scope} in reach");
        if self.since_ms > 0 {
            line.push_str(&format!(" for {} s", as_of_ms.saturating_sub(self.since_ms) / 1000));
        }
        if self.is_cut_off {
            line.push_str("; cut off");
        }
        if !self.forbidden.is_empty() {
            line.push_str(&format!("; forbidden: {}", self.forbidden.join(", ")));
        }
        line
    }
}

impl From<&RegionView> for RegionRow {
    fn from(region: &RegionView) -> RegionRow {
        RegionRow {
            name: region.name.clone(),
            agents: region.agents,
            edges: region.edges,
            aggregators: region.aggregators,
            distinct: region.distinct,
            age_ms: region.age_ms,
            states: by_name(&region.states),
            tags: by_name(&region.tags),
            totals: by_name(&region.totals),
            quantiles: by_name(&region.quantiles),
        }
    }
}

impl Status {
    /// What the overview comes to.
    pub fn of(overview: &Overview) -> Status {
        let with_status = |status| {
            let members = overview.members.iter().filter(|member| member.status == status);
            members.count() as u64
        };
        Status {
            schema: "starling.status/1",
            mesh: overview.mesh.clone(),
            as_of_ms: overview.as_of_ms,
            node: overview.node.as_ref().map(MemberRow::from),
            agents: overview.regions.iter().fold(0, |sum, region| region.agents.saturating_add(sum)),
            regions: overview.regions.len() as u64,
            edges: overview.regions.iter().map(|region| u64::from(region.edges)).sum(),
            members: MemberCounts {
                up: with_status("up"),
                down: with_status("down"),
                known: with_status("known"),
            },
            update_index: overview.update_index,
            quorum: overview.quorum.as_deref().map(QuorumRow::from),
            coordinators: overview.coordinators.iter().map(CoordinatorRow::from).collect(),
            counters: by_name(&overview.counters),
        }
    }
}

impl Render for Status {
    fn table(&self) -> String {
        let answered = self.node.as_ref().map_or("unknown".to_owned(), |node| {
            format!("{} ({}) in {}, {}", node.name, node.roles.join("+"), node.region, node.address)
        });
        let MemberCounts { up, down, known } = self.members;
        let mut lines = vec![
            ("mesh", self.mesh.clone()),
            ("answered by", answered),
            ("agents", grouped(self.agents)),
            ("regions", format!("{} with {} edges", self.regions, grouped(self.edges))),
            ("nodes", format!("{up} up, {down} down, {known} known")),
            ("update", self.update_index.to_string()),
        ];
        lines.extend(self.quorum.iter().map(|quorum| ("status", quorum.line(self.as_of_ms))));
        lines.extend(self.coordinators.iter().map(|coordinator| ("coordinator", coordinator.line())));
        lines.extend(self.counters.iter().map(|(name, value)| (name.as_str(), grouped(*value))));
        facts(&lines)
    }
}

impl Regions {
    /// The regions of the overview, by name.
    pub fn of(overview: &Overview) -> Regions {
        let mut regions: Vec<RegionRow> = overview.regions.iter().map(RegionRow::from).collect();
        regions.sort_by(|a, b| a.name.cmp(&b.name));
        let (mesh, as_of_ms) = (overview.mesh.clone(), overview.as_of_ms);
        Regions { schema: "starling.regions/1", mesh, as_of_ms, regions }
    }
}

impl Render for Regions {
    fn table(&self) -> String {
        let columns = [
            ("REGION", Side::Left),
            ("AGENTS", Side::Right),
            ("DISTINCT", Side::Right),
            ("EDGES", Side::Right),
            ("AGGREGATORS", Side::Right),
            ("AGE MS", Side::Right),
            ("STATES", Side::Left),
        ];
        let rows = self.regions.iter().map(|region| {
            let states = region.states.iter().map(|(name, count)| format!("{name} {}", grouped(*count)));
            vec![
                region.name.clone(),
                grouped(region.agents),
                grouped(region.distinct),
                region.edges.to_string(),
                region.aggregators.to_string(),
                grouped(region.age_ms),
                states.collect::<Vec<_>>().join(", "),
            ]
        });
        table(&columns, rows.collect(), "no region has a figure yet")
    }

    fn json_lines(&self) -> serde_json::Result<Vec<String>> {
        let Regions { mesh, as_of_ms, .. } = self;
        lines("starling.region/1", mesh, *as_of_ms, &self.regions)
    }
}

impl Members {
    /// The nodes of the overview, by region and name.
    pub fn of(overview: &Overview) -> Members {
        let mut members: Vec<MemberRow> = overview.members.iter().map(MemberRow::from).collect();
        members.sort_by(|a, b| (&a.region, &a.name, &a.id).cmp(&(&b.region, &b.name, &b.id)));
        let (mesh, as_of_ms) = (overview.mesh.clone(), overview.as_of_ms);
        let quorum = overview.quorum.as_deref().map(QuorumRow::from);
        Members { schema: "starling.members/1", mesh, as_of_ms, quorum, members }
    }
}

impl Render for Members {
    fn table(&self) -> String {
        let columns = [
            ("NAME", Side::Left),
            ("ROLES", Side::Left),
            ("REGION", Side::Left),
            ("STATUS", Side::Left),
            ("ADDRESS", Side::Left),
            ("AGENTS", Side::Right),
            ("PID", Side::Right),
            ("VERSION", Side::Left),
            ("ID", Side::Left),
        ];
        let rows = self.members.iter().map(|member| {
            vec![
                member.name.clone(),
                member.roles.join("+"),
                member.region.clone(),
                member.status.clone(),
                member.address.clone(),
                grouped(member.agents),
                member.pid.to_string(),
                member.version.clone(),
                member.id.chars().take(16).collect(),
            ]
        });
        let table = table(&columns, rows.collect(), "no nodes known");
        let line = self.quorum.as_ref().map(|quorum| quorum.line(self.as_of_ms) + "\n");
        table + &line.unwrap_or_default()
    }

    fn json_lines(&self) -> serde_json::Result<Vec<String>> {
        let Members { mesh, as_of_ms, .. } = self;
        lines("starling.member/1", mesh, *as_of_ms, &self.members)
    }
}

fn lines<T: Serialize>(
    schema: &'static str,
    mesh: &str,
    as_of_ms: u64,
    items: &[T],
) -> serde_json::Result<Vec<String>> {
    items.iter().map(|item| serde_json::to_string(&Line { schema, mesh, as_of_ms, item })).collect()
}

fn by_name(counters: &[Counter]) -> BTreeMap<String, u64> {
    counters.iter().map(|counter| (counter.name.clone(), counter.value)).collect()
}

#[cfg(test)]
mod tests;
