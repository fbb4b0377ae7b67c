//! What clients ask of an aggregator.

use starling_core::id::{AgentId, NodeId, ShortId};
use starling_core::identity::Roles;
use starling_core::machine::{ConnectionSlot, Outbox};
use starling_core::node::overview::{counters, overview, quantiles, totals};
use starling_core::node::replication;
use starling_core::summary::{HeldSummary, Tally};
use starling_core::time::Now;
use starling_core::wire::request::{
    Ask, AskEdges, Counter, EDGES_LISTED_MAX, EdgeView, EdgesView, Home, LABELS_LISTED_MAX, Member,
    RefusedCode, Say,
};

use crate::Aggregator;

impl Aggregator {
    pub(crate) fn on_request(
        &mut self,
        now: Now,
        connection: ConnectionSlot,
        id: u64,
        ask: Ask,
        out: &mut Outbox,
    ) {
        let say = match ask {
            Ask::Overview(_) => {
                let index = self.updates.newest();
                let mut overview = overview(now, &self.global, &self.neighbours, index);
                overview.counters = counters(&self.measured);
                overview.counters.extend(self.peering.counters());
                overview.counters.extend(self.replication.counters(now));
                let lag_of = |peer| self.replication.lag_of(now, peer);
                overview.topology = Some(Box::new(self.nearness.view(&self.neighbours, lag_of)));
                overview.quorum = Some(Box::new(self.quorum.view(&self.neighbours)));
                for member in &mut overview.members {
                    let node = <[u8; 32]>::try_from(member.id.as_ref()).map(NodeId);
                    let edge = node.ok().and_then(|node| self.fold.edge(node.short()));
                    member.agents = edge.map_or(0, |held| held.parts().counts.agents());
                }
                Say::Overview(overview)
            }
            Ask::Locate(agent) => match <[u8; 16]>::try_from(agent.as_ref()).map(AgentId) {
                Ok(agent) => match self.directory.find(agent) {
                    Some((edge, session)) => {
                        let known = self.neighbours.get(edge);
                        let region = self.neighbours.me().admission.region.to_string();
                        let name = known.map_or(edge.to_string(), |known| known.admission.name.to_string());
                        Say::Home(Home { region, edge: name, edge_id: edge.0, session })
                    }
                    None => RefusedCode::NotFound.because("the agent is not in this region"),
                },
                Err(_) => RefusedCode::Invalid.because("an agent's id has 16 bytes"),
            },
            Ask::Peers(ask) => {
                return self.peering.ask(now, (connection, id), ask, &self.neighbours, out);
            }
            Ask::GetKey(key) => Say::Value(replication::encoded(self.replication.read(&key))),
            Ask::Subscribe(_) | Ask::Unsubscribe(_) | Ask::Detach(_) | Ask::SetKey(_) => {
                RefusedCode::NotHere.because("this is an aggregator; agents attach to an edge")
            }
            Ask::Agents(_) => {
                RefusedCode::NotHere.because("this is an aggregator; ask the edge that hosts them")
            }
            Ask::Edges(ask) => Say::Edges(self.edges(now, ask)),
            Ask::Update(_) | Ask::Updates(_) | Ask::WatchCut(_) => {
                RefusedCode::NotHere.because("this is an aggregator; ask a coordinator")
            }
        };
        out.reply(connection, id, say);
    }

    /// A page of the region's edges; one whose summary is not here has no figures.
    fn edges(&self, now: Now, ask: AskEdges) -> EdgesView {
        let region = self.region();
        let members = self.neighbours.members();
        // The first is this node itself.
        let edges = members.into_iter().skip(1).zip(self.neighbours.iter());
        let edges =
            edges.filter(|(_, (_, known))| known.region() == region && known.roles().has(Roles::EDGE));
        let mut edges: Vec<(ShortId, Member)> = edges.map(|(member, (id, _))| (id, member)).collect();
        edges.sort_by_key(|(id, _)| *id);
        let of = u32::try_from(edges.len()).unwrap_or(u32::MAX);
        let count = if ask.count == 0 { EDGES_LISTED_MAX } else { ask.count.min(EDGES_LISTED_MAX) };
        edges.retain(|(id, _)| id.0 > ask.after);
        let is_more = edges.len() > count as usize;
        edges.truncate(count as usize);
        let views = edges.into_iter().map(|(id, member)| edge_view(id, member, self.fold.edge(id)));
        EdgesView { edges: views.collect(), of, is_more, as_of_ms: now.wall.as_millis() }
    }
}

fn edge_view(id: ShortId, member: Member, held: Option<&HeldSummary>) -> EdgeView {
    let Member { name, status, address, .. } = member;
    let view = EdgeView { id: id.0, name, status, address, ..EdgeView::default() };
    let Some(held) = held else { return view };
    let parts = held.parts();
    let top = |tally: &Tally| {
        let top = tally.top(LABELS_LISTED_MAX).into_iter();
        top.map(|(name, value)| Counter { name: name.to_string(), value }).collect()
    };
    let version = held.version();
    EdgeView {
        agents: parts.counts.agents(),
        states: top(&parts.counts.states),
        tags: top(&parts.counts.tags),
        totals: totals(parts),
        quantiles: quantiles(parts),
        version: version.version,
        incarnation: version.incarnation,
        ..view
    }
}
