//! Commands that look at a mesh: status, regions, members, topology, budget, peers, agents, ping.

use std::time::Duration;

use serde::Serialize;
use starling_core::id::AgentId;
use starling_core::wire::request::{Ask, AskPeers, Home, Overview, Say};

use crate::args::{AgentsArgs, ClientSettings, PeersArgs, PingArgs};
use crate::exit::{ExitCode, Failure};
use crate::finding::{block_on, find};
use crate::output::budget::Budget;
use crate::output::overview::{Members, Regions, Status};
use crate::output::peers::Peers;
use crate::output::table::{Side, facts, table};
use crate::output::topology::Topology;
use crate::output::{Output, Render};

/// How long a ping waits between two probes.
const BETWEEN_PROBES: Duration = Duration::from_millis(200);

fn overview(settings: &ClientSettings) -> Result<Overview, Failure> {
    let found = find(settings)?;
    block_on(async move { found.overview().await })
}

/// `starling status`.
///
/// # Errors
/// No node answers.
pub fn status(settings: &ClientSettings, output: &Output) -> Result<(), Failure> {
    output.print(&Status::of(&overview(settings)?))
}

/// `starling regions`.
///
/// # Errors
/// No node answers.
pub fn regions(settings: &ClientSettings, output: &Output) -> Result<(), Failure> {
    output.print(&Regions::of(&overview(settings)?))
}

/// `starling members`.
///
/// # Errors
/// No node answers.
pub fn members(settings: &ClientSettings, output: &Output) -> Result<(), Failure> {
    output.print(&Members::of(&overview(settings)?))
}

/// `starling topology`.
///
/// # Errors
/// No node answers, or it is one that chooses among nobody.
pub fn topology(settings: &ClientSettings, output: &Output) -> Result<(), Failure> {
    let overview = overview(settings)?;
    let topology = Topology::of(&overview).ok_or_else(|| {
        let what = "this node has no topology: coordinators choose among nobody";
        Failure::new(ExitCode::NotFound, what).with_help("name an edge or an aggregator by --node HOST:PORT")
    })?;
    output.print(&topology)
}

/// `starling budget`.
///
/// # Errors
/// No node with a hot path answers.
pub fn budget(settings: &ClientSettings, output: &Output) -> Result<(), Failure> {
    let found = find(settings)?;
    let (nodes, answers) = block_on(async move { found.hot_paths().await })?;
    output.print(&Budget::of(nodes, &answers))
}

/// `starling peers`.
///
/// # Errors
/// No node answers, or it refuses.
pub fn peers(args: &PeersArgs, settings: &ClientSettings, output: &Output) -> Result<(), Failure> {
    let (by, name) = match (&args.service, &args.capability, &args.blob) {
        (Some(service), _, _) => (1, service.clone()),
        (None, Some(capability), _) => (2, capability.clone()),
        (None, None, Some(blob)) => (3, blob.to_ascii_lowercase()),
        (None, None, None) => (0, String::new()),
    };
    let found = find(settings)?;
    let ask = Ask::Peers(AskPeers { by, name, count: args.count });
    let view = block_on(async move { found.peers(ask).await })?;
    output.print(&Peers::of(&view))
}

/// How many agents are where and in which state.
#[derive(Debug, Serialize)]
struct Agents {
    schema: &'static str,
    as_of_ms: u64,
    agents: u64,
    regions: Vec<RegionAgents>,
}

#[derive(Debug, Serialize)]
struct RegionAgents {
    region: String,
    agents: u64,
    states: Vec<(String, u64)>,
    tags: Vec<(String, u64)>,
}

impl Render for Agents {
    fn table(&self) -> String {
        let mut rows = Vec::new();
        for region in &self.regions {
            rows.push(vec![region.region.clone(), "all".into(), region.agents.to_string()]);
            for (state, count) in &region.states {
                rows.push(vec![region.region.clone(), format!("state {state}"), count.to_string()]);
            }
            for (tag, count) in &region.tags {
                rows.push(vec![region.region.clone(), format!("tag {tag}"), count.to_string()]);
            }
        }
        table(&[("region", Side::Left), ("agents", Side::Left), ("count", Side::Right)], rows, "no agents")
    }
}

/// Where one agent is.
#[derive(Debug, Serialize)]
struct Place {
    schema: &'static str,
    agent: String,
    region: String,
    edge: String,
    session: u64,
}

impl Render for Place {
    fn table(&self) -> String {
        facts(&[
            ("agent", self.agent.clone()),
            ("region", self.region.clone()),
            ("edge", self.edge.clone()),
            ("session", self.session.to_string()),
        ])
    }
}

/// `starling agents`.
///
/// # Errors
/// No node answers, or there is no such agent.
pub fn agents(args: &AgentsArgs, settings: &ClientSettings, output: &Output) -> Result<(), Failure> {
    let Some(id) = &args.agent_id else {
        let overview = overview(settings)?;
        let list = |counters: &[starling_core::wire::request::Counter]| {
            counters.iter().map(|counter| (counter.name.clone(), counter.value)).collect()
        };
        let regions = overview.regions.iter().map(|region| RegionAgents {
            region: region.name.clone(),
            agents: region.agents,
            states: list(&region.states),
            tags: list(&region.tags),
        });
        let agents = overview.regions.iter().map(|region| region.agents).sum();
        let as_of_ms = overview.as_of_ms;
        return output.print(&Agents {
            schema: "starling.agents/1",
            as_of_ms,
            agents,
            regions: regions.collect(),
        });
    };
    let agent: AgentId = id
        .parse()
        .map_err(|error| Failure::new(ExitCode::Usage, format!("`{id}` is not an agent's id: {error}")))?;
    let found = find(settings)?;
    let home = block_on(async move { locate(&found, agent).await })?;
    output.print(&Place {
        schema: "starling.agent/1",
        agent: agent.to_string(),
        region: home.region,
        edge: home.edge,
        session: home.session,
    })
}

/// Edges know or find every agent's home; aggregators know those of their region.
async fn locate(found: &crate::finding::Found, agent: AgentId) -> Result<Home, Failure> {
    let overview = found.overview().await?;
    let edges =
        overview.members.iter().filter(|member| member.roles.contains("edge") && member.status != "down");
    let named = found.named.iter().cloned();
    let mut last = Failure::new(ExitCode::Unreachable, "the mesh has no edge that could be asked");
    for address in named.chain(edges.map(|member| member.address.clone())).take(4) {
        let ask = Ask::Locate(bytes::Bytes::copy_from_slice(&agent.0));
        match found.ask(&address, ask).await {
            Ok(Say::Home(home)) => return Ok(home),
            Ok(_) => {}
            Err(failure) if failure.code == ExitCode::NotFound => return Err(failure),
            Err(failure) => last = failure,
        }
    }
    Err(last)
}

/// Round trips to a node.
#[derive(Debug, Serialize)]
struct Pings {
    schema: &'static str,
    address: String,
    node: String,
    sent: u32,
    answered: usize,
    rtt_us: Vec<u64>,
    rtt_us_min: Option<u64>,
    rtt_us_median: Option<u64>,
    rtt_us_max: Option<u64>,
}

impl Render for Pings {
    fn table(&self) -> String {
        let show = |value: Option<u64>| value.map_or("-".to_string(), |value| format!("{value} us"));
        facts(&[
            ("node", format!("{} at {}", self.node, self.address)),
            ("probes", format!("{} of {} answered", self.answered, self.sent)),
            (
                "round trip",
                format!(
                    "min {}, median {}, max {}",
                    show(self.rtt_us_min),
                    show(self.rtt_us_median),
                    show(self.rtt_us_max)
                ),
            ),
        ])
    }
}

/// `starling ping`.
///
/// # Errors
/// The node does not answer.
pub fn ping(args: &PingArgs, settings: &ClientSettings, output: &Output) -> Result<(), Failure> {
    let found = find(settings)?;
    let known = [found.named.clone(), found.coordinators.clone(), found.edges.clone()].concat();
    let address = args.address.clone().or_else(|| known.first().cloned());
    let address = address
        .ok_or_else(|| Failure::new(ExitCode::Usage, "no node to ping").with_help("name its address"))?;
    let pings = block_on(async move {
        let (session, _replies) = found.open(&address).await?;
        let mut rtt_us = Vec::new();
        for probe in 0..args.count {
            if probe > 0 {
                tokio::time::sleep(BETWEEN_PROBES).await;
            }
            if let Ok(time) = session.ping().await {
                rtt_us.push(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
            }
        }
        let mut sorted = rtt_us.clone();
        sorted.sort_unstable();
        let node = session.edge().name.clone();
        session.close();
        Ok(Pings {
            schema: "starling.ping/1",
            address,
            node,
            sent: args.count,
            answered: rtt_us.len(),
            rtt_us,
            rtt_us_min: sorted.first().copied(),
            rtt_us_median: sorted.get(sorted.len() / 2).copied(),
            rtt_us_max: sorted.last().copied(),
        })
    })?;
    output.print(&pings)?;
    if pings.answered == 0 {
        return Err(Failure::new(ExitCode::Unreachable, "no probe was answered"));
    }
    Ok(())
}
