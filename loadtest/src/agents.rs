//! The agents of a load test: who they are, where they live, what they want.

use std::ops::Range;
use std::thread;

use starling_core::identity::SecretKey;
use starling_core::wire::agent::Profile;

use crate::settings::Settings;

/// States that agents are in.
pub const STATES: [&str; 4] = ["idle", "working", "waiting", "done"];
const TEAMS: u32 = 16;
const KINDS: [&str; 5] = ["scout", "worker", "planner", "critic", "guard"];
const MODELS: [&str; 4] = ["small", "medium", "large", "hybrid"];

/// A connection's place in the mesh and the agents on it.
#[derive(Clone, Debug)]
pub struct Placement {
    /// The edge that its agents begin at.
    pub edge: u32,
    /// Agents by number in the run.
    pub agents: Range<u32>,
    /// Number of the first agent among those of its edge.
    pub first_on_edge: u32,
}

/// Every agent's key, made on all cores before any clock runs.
pub fn make_keys(settings: &Settings) -> Vec<SecretKey> {
    let threads = thread::available_parallelism().map_or(1, |count| count.get()) as u32;
    let part = settings.agents.div_ceil(threads);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|worker| {
                let numbers =
                    (worker * part).min(settings.agents)..((worker + 1) * part).min(settings.agents);
                scope.spawn(move || numbers.map(|number| key_of(settings.seed, number)).collect::<Vec<_>>())
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("making a key does not panic")).collect()
    })
}

fn key_of(seed: u64, number: u32) -> SecretKey {
    let mut input = [0; 12];
    input[..8].copy_from_slice(&seed.to_le_bytes());
    input[8..].copy_from_slice(&number.to_le_bytes());
    SecretKey::from_seed(*blake3::keyed_hash(b"starling load test agent's key 1", &input).as_bytes())
}

/// Connections in the order of their edges.
pub fn place(settings: &Settings) -> Vec<Placement> {
    let mut placements = Vec::new();
    let mut next = 0;
    for edge in 0..settings.edges {
        let count = settings.agents_on(edge);
        let mut first_on_edge = 0;
        while first_on_edge < count {
            let size = settings.agents_per_connection.min(count - first_on_edge);
            placements.push(Placement { edge, agents: next..next + size, first_on_edge });
            next += size;
            first_on_edge += size;
        }
    }
    placements
}

/// Number of the first agent on an edge.
pub fn first_of_edge(settings: &Settings, edge: u32) -> u32 {
    let (share, more) = (settings.agents / settings.edges, settings.agents % settings.edges);
    edge * share + edge.min(more)
}

/// What agent `number` says of itself at the beginning.
pub fn profile(number: u32) -> Profile {
    let pick = |list: &[&str], salt: u32| {
        list[(number.wrapping_mul(2_654_435_761).rotate_left(salt) as usize) % list.len()].to_string()
    };
    Profile {
        name: format!("agent-{number}"),
        state: STATES[number as usize % STATES.len()].to_string(),
        tags: vec![format!("team-{}", number % TEAMS), pick(&KINDS, 7), pick(&MODELS, 19)],
    }
}

/// The subject of a room of an edge.
pub fn room_subject(settings: &Settings, edge: u32, room: u32) -> String {
    format!("rooms.{}.{edge}.{room}", region_name(settings.region_of(edge)))
}

/// The room of the agent with this number on its edge, and its place among the room's receivers.
pub fn room_of(settings: &Settings, on_edge: u32) -> (u32, u32) {
    (on_edge % settings.rooms_per_edge, on_edge / settings.rooms_per_edge)
}

/// Receivers of a room.
pub fn receivers_of(settings: &Settings, edge: u32, room: u32) -> u32 {
    let agents = settings.agents_on(edge);
    agents / settings.rooms_per_edge + u32::from(room < agents % settings.rooms_per_edge)
}

/// The name of region number `region`.
pub fn region_name(region: u32) -> String {
    format!("r{region}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::settings;

    #[test]
    fn every_agent_has_one_place_and_one_room() {
        let mut settings = settings();
        (settings.agents, settings.edges, settings.agents_per_connection, settings.rooms_per_edge) =
            (103, 4, 10, 7);
        let placements = place(&settings);
        assert_eq!(placements.iter().map(|p| p.agents.len()).sum::<usize>(), 103);
        for placement in &placements {
            let first = first_of_edge(&settings, placement.edge);
            assert_eq!(placement.agents.start, first + placement.first_on_edge);
        }
        for edge in 0..4 {
            let mut rooms = vec![0; 7];
            (0..settings.agents_on(edge)).for_each(|agent| rooms[room_of(&settings, agent).0 as usize] += 1);
            let expected: Vec<u32> = (0..7).map(|room| receivers_of(&settings, edge, room)).collect();
            assert_eq!(rooms, expected);
        }
    }
}
