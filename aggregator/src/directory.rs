//! Which edge of the region hosts which agent. The highest session wins.

use hashbrown::HashTable;
use starling_core::hash::{grow_by_little, hash_id};
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
    homes: Homes,
    edges: Vec<ShortId>,
}

impl Directory {
    /// Agents known.
    pub fn len(&self) -> usize {
        self.homes.list.len()
    }

    /// Whether no agent is known.
    pub fn is_empty(&self) -> bool {
        self.homes.list.is_empty()
    }

    /// The home of an agent and its session there.
    pub fn find(&self, agent: AgentId) -> Option<(ShortId, u64)> {
        let (edge, session) = self.homes.get(agent)?;
        Some((self.edges[usize::from(edge)], session))
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
            self.homes.remove_all_of(slot);
        }
        for (agent, session) in unpack(&change.detached) {
            if self.homes.get(agent).is_some_and(|(of, known)| of == slot && known <= session) {
                self.homes.remove(agent);
            }
        }
        for (agent, session) in unpack(&change.attached) {
            match self.homes.get(agent) {
                Some((_, newest)) if newest > session => moved.push(Moved { agent, edge, newest }),
                before => {
                    if let Some((of, _)) = before.filter(|(of, _)| *of != slot) {
                        moved.push(Moved { agent, edge: self.edges[usize::from(of)], newest: session });
                    }
                    self.homes.set(agent, slot, session);
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
        let slot = self.edges.iter().position(|known| *known == edge);
        if let Some(slot) = slot.and_then(|slot| u16::try_from(slot).ok()) {
            self.homes.remove_all_of(slot);
        }
    }
}

/// Homes by agent: every agent of the region has one in each of its aggregators, so they are kept
/// small, in one list with an index beside it.
#[derive(Debug, Default)]
struct Homes {
    list: Vec<Home>,
    places: HashTable<u32>,
}

/// An agent's slot of an edge and its session there; bytes, so that nothing is padded.
#[derive(Clone, Copy, Debug)]
struct Home {
    agent: AgentId,
    session: [u8; 8],
    edge: [u8; 2],
}

impl Homes {
    fn get(&self, agent: AgentId) -> Option<(u16, u64)> {
        let place = self.places.find(hash_id(&agent.0), |place| self.list[*place as usize].agent == agent)?;
        let Home { session, edge, .. } = self.list[*place as usize];
        Some((u16::from_le_bytes(edge), u64::from_le_bytes(session)))
    }

    fn set(&mut self, agent: AgentId, edge: u16, session: u64) {
        let home = Home { agent, session: session.to_le_bytes(), edge: edge.to_le_bytes() };
        let list = &mut self.list;
        if let Some(place) = self.places.find(hash_id(&agent.0), |place| list[*place as usize].agent == agent)
        {
            list[*place as usize] = home;
            return;
        }
        grow_by_little(list);
        list.push(home);
        let place = u32::try_from(list.len() - 1).expect("a region has fewer agents than 2^32");
        self.places.insert_unique(hash_id(&agent.0), place, |place| hash_id(&list[*place as usize].agent.0));
    }

    fn remove(&mut self, agent: AgentId) {
        let list = &mut self.list;
        let is_it = |place: &u32| list[*place as usize].agent == agent;
        let Ok(found) = self.places.find_entry(hash_id(&agent.0), is_it) else { return };
        let (place, _) = found.remove();
        // The last one takes the place that is free.
        let last = u32::try_from(list.len() - 1).expect("a region has fewer agents than 2^32");
        list.swap_remove(place as usize);
        if let Some(moved) = list.get(place as usize)
            && let Some(entry) = self.places.find_mut(hash_id(&moved.agent.0), |entry| *entry == last)
        {
            *entry = place;
        }
    }

    fn remove_all_of(&mut self, edge: u16) {
        let gone = self.list.iter().filter(|home| home.edge == edge.to_le_bytes());
        let gone: Vec<AgentId> = gone.map(|home| home.agent).collect();
        gone.into_iter().for_each(|agent| self.remove(agent));
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
    fn many_come_and_go_and_nobody_is_mistaken() {
        let mut directory = Directory::default();
        for round in 0..50_u8 {
            let list: Vec<(u8, u64)> = (0..200).map(|id| (id, u64::from(round) + 1)).collect();
            let edge = ShortId(u64::from(round % 3));
            directory.apply(edge, &attached(&list));
            let gone: Vec<(u8, u64)> = list.iter().filter(|(id, _)| id % 7 == round % 7).copied().collect();
            let gone = message::Directory { whole: false, attached: Bytes::new(), detached: pack(&gone) };
            directory.apply(edge, &gone);
            for id in 0..200 {
                let home = (id % 7 != round % 7).then_some((edge, u64::from(round) + 1));
                assert_eq!(directory.find(AgentId([id; 16])), home, "agent {id} in round {round}");
            }
        }
        directory.remove_edge(ShortId(49 % 3));
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
