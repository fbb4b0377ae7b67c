//! Which edge of the region hosts which agent. The highest session wins.

use starling_core::hash::HashMap;
use starling_core::id::{AgentId, ShortId};
use starling_core::wire::message;

/// An agent whose older home must close its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// The agent.
    pub agent: AgentId,
    /// The edge with the older session.
    pub edge: ShortId,
    /// The newest session.
    pub newest: u64,
}

/// Homes of the region's agents.
#[derive(Debug, Default)]
pub struct Directory {
    homes: HashMap<AgentId, (u16, u64)>,
    edges: Vec<ShortId>,
}

impl Directory {
    /// Agents known.
    pub fn len(&self) -> usize {
        self.homes.len()
    }

    /// Whether no agent is known.
    pub fn is_empty(&self) -> bool {
        self.homes.is_empty()
    }

    /// The home of an agent and its session there.
    pub fn find(&self, agent: AgentId) -> Option<(ShortId, u64)> {
        let (edge, session) = self.homes.get(&agent)?;
        Some((self.edges[usize::from(*edge)], *session))
    }

    fn slot_of(&mut self, edge: ShortId) -> Option<u16> {
        let slot = self.edges.iter().position(|known| *known == edge).unwrap_or_else(|| {
            self.edges.push(edge);
            self.edges.len() - 1
        });
        u16::try_from(slot).ok()
    }

    /// Takes an edge's message in; malformed tails are ignored.
    pub fn apply(&mut self, edge: ShortId, change: &message::Directory) -> Vec<Moved> {
        let mut moved = Vec::new();
        let Some(slot) = self.slot_of(edge) else { return moved };
        if change.whole {
            self.homes.retain(|_, (of, _)| *of != slot);
        }
        for (agent, session) in unpack(&change.detached) {
            if self.homes.get(&agent).is_some_and(|(of, known)| *of == slot && *known <= session) {
                self.homes.remove(&agent);
            }
        }
        for (agent, session) in unpack(&change.attached) {
            match self.homes.get(&agent).copied() {
                Some((_, newest)) if newest > session => moved.push(Moved { agent, edge, newest }),
                before => {
                    if let Some((of, _)) = before.filter(|(of, _)| *of != slot) {
                        moved.push(Moved { agent, edge: self.edges[usize::from(of)], newest: session });
                    }
                    self.homes.insert(agent, (slot, session));
                }
            }
        }
        moved
    }

    /// Who of those that came to another region has an older home here.
    pub fn compare(&self, change: &message::Directory) -> Vec<Moved> {
        let older = unpack(&change.attached).filter_map(|(agent, newest)| {
            let (edge, session) = self.find(agent)?;
            (session < newest).then_some(Moved { agent, edge, newest })
        });
        older.collect()
    }

    /// An edge is lost with everyone on it.
    pub fn remove_edge(&mut self, edge: ShortId) {
        if let Some(slot) = self.edges.iter().position(|known| *known == edge) {
            self.homes.retain(|_, (of, _)| usize::from(*of) != slot);
        }
    }
}

fn unpack(bytes: &[u8]) -> impl Iterator<Item = (AgentId, u64)> + '_ {
    bytes.chunks_exact(24).map(|record| {
        let (id, session) = record.split_at(16);
        let id = id.try_into().expect("a record's first half has 16 bytes");
        let session = session.try_into().expect("a record's second half has 8 bytes");
        (AgentId(id), u64::from_le_bytes(session))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn attached(list: &[(u8, u64)]) -> message::Directory {
        message::Directory { whole: false, attached: pack(list), detached: Bytes::new() }
    }

    fn pack(list: &[(u8, u64)]) -> Bytes {
        list.iter()
            .flat_map(|(id, session)| [vec![*id; 16], session.to_le_bytes().to_vec()].concat())
            .collect()
    }

    #[test]
    fn the_highest_session_wins_whatever_the_order() {
        let (left, right) = (ShortId(1), ShortId(2));
        let agent = AgentId([7; 16]);
        let mut directory = Directory::default();
        assert_eq!(directory.apply(left, &attached(&[(7, 5)])), vec![]);
        assert_eq!(
            directory.apply(right, &attached(&[(7, 6)])),
            vec![Moved { agent, edge: left, newest: 6 }]
        );
        assert_eq!(directory.apply(left, &attached(&[(7, 5)])), vec![Moved { agent, edge: left, newest: 6 }]);
        assert_eq!(directory.find(agent), Some((right, 6)));
        // The late good-bye of the older home takes nothing away.
        let gone = message::Directory { whole: false, attached: Bytes::new(), detached: pack(&[(7, 5)]) };
        directory.apply(left, &gone);
        assert_eq!(directory.find(agent), Some((right, 6)));
        let elsewhere = |session| directory.compare(&attached(&[(7, session), (8, 9)]));
        assert_eq!(elsewhere(6), vec![]);
        assert_eq!(elsewhere(7), vec![Moved { agent, edge: right, newest: 7 }]);
        directory.remove_edge(right);
        assert!(directory.is_empty());
    }

    #[test]
    fn a_whole_message_replaces_what_an_edge_said_before() {
        let mut directory = Directory::default();
        directory.apply(ShortId(1), &attached(&[(1, 1), (2, 1)]));
        directory.apply(ShortId(1), &message::Directory { whole: true, ..attached(&[(3, 1)]) });
        assert_eq!(directory.len(), 1);
    }
}
