//! What clients ask of an aggregator.

use starling_core::id::{AgentId, NodeId};
use starling_core::machine::{ConnectionSlot, Outbox};
use starling_core::node::overview::{counters, overview};
use starling_core::node::replication;
use starling_core::time::Now;
use starling_core::wire::request::{Ask, Home, RefusedCode, Say};

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
            Ask::Update(_) | Ask::WatchCut(_) => {
                RefusedCode::NotHere.because("this is an aggregator; ask a coordinator")
            }
        };
        out.reply(connection, id, say);
    }
}
