//! Which processes each work has.

use crate::part::Task;
use crate::settings::{Settings, Work};

/// Connections of the second half of [`Work::Memory`], where many agents share each.
pub const SHARED_CONNECTIONS_MAX: u32 = 10;

/// A process that is to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// What it is called.
    pub name: &'static str,
    /// What it does.
    pub task: Task,
    /// Nodes that it runs; agents run none.
    pub nodes: u32,
    /// Whether they are aggregators and not edges.
    pub aggregates: bool,
    /// Number of the node that its agents attach to.
    pub edge: Option<usize>,
}

fn nodes(name: &'static str, task: Task, nodes: u32) -> Role {
    Role { name, task, nodes, aggregates: false, edge: None }
}

fn agents(name: &'static str, task: Task, edge: usize) -> Role {
    Role { name, task, nodes: 0, aggregates: false, edge: Some(edge) }
}

/// An edge takes agents only when it has a link, so where there is one edge, an idle aggregator is the
/// rest of the mesh.
fn aggregator() -> Role {
    Role { aggregates: true, ..nodes("aggregator", Task::Serve, 1) }
}

/// The processes of a work in the order of their start; who publishes comes last.
pub fn roles(settings: &Settings) -> Vec<Role> {
    let connections = settings.connections;
    match settings.work {
        Work::Throughput => {
            vec![
                nodes("subscriber", Task::GuestSubscribes, 1),
                nodes("publisher", Task::GuestPublishes { window: settings.window }, 1),
            ]
        }
        Work::Routed if settings.hops == 1 => vec![
            aggregator(),
            nodes("edge", Task::Serve, 1),
            agents("subscriber", Task::Subscribes, 1),
            agents("publisher", Task::Publishes, 1),
        ],
        Work::Routed => vec![
            nodes("edge-1", Task::Serve, 1),
            nodes("edge-2", Task::Serve, 1),
            agents("subscriber", Task::Subscribes, 1),
            agents("publisher", Task::Publishes, 0),
        ],
        Work::Latency => vec![
            aggregator(),
            nodes("edge", Task::Serve, 1),
            agents("answerer", Task::Answers, 1),
            agents("asker", Task::Asks, 1),
        ],
        Work::Fanout => vec![
            aggregator(),
            nodes("edge", Task::Serve, 1),
            agents("subscribers", Task::Crowd { connections }, 1),
            agents("publisher", Task::Publishes, 1),
        ],
        Work::Region => {
            vec![nodes("region", Task::Region { window: settings.window }, settings.nodes)]
        }
        Work::Path => {
            let task = Task::Path { entries: settings.entries, subjects: settings.subjects };
            vec![Role { name: "path", task, nodes: 0, aggregates: false, edge: None }]
        }
        Work::Memory => {
            let shared = connections.min(SHARED_CONNECTIONS_MAX);
            let each = settings.agents_per_connection;
            vec![
                nodes("edge-1", Task::Serve, 1),
                nodes("edge-2", Task::Serve, 1),
                agents("alone", Task::Idles { connections, agents: 1 }, 0),
                agents("together", Task::Idles { connections: shared, agents: each }, 1),
            ]
        }
    }
}

/// Connections of agents that a work has.
pub fn connections(roles: &[Role]) -> u32 {
    let of = |role: &Role| match role.task {
        Task::Crowd { connections } | Task::Idles { connections, .. } => connections,
        Task::Publishes | Task::Subscribes | Task::Asks | Task::Answers => 1,
        Task::Serve
        | Task::GuestPublishes { .. }
        | Task::GuestSubscribes
        | Task::Region { .. }
        | Task::Path { .. } => 0,
    };
    roles.iter().map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tests::settings;

    #[test]
    fn agents_attach_to_nodes_that_are_started_before_them() {
        let all = [
            Work::Throughput,
            Work::Routed,
            Work::Latency,
            Work::Fanout,
            Work::Region,
            Work::Memory,
            Work::Path,
        ];
        for (work, hops) in all.into_iter().map(|work| (work, 1)).chain([(Work::Routed, 2)]) {
            let roles = roles(&Settings { hops, ..settings(work) });
            let mut started = 0;
            for role in roles {
                assert!(role.edge.is_none_or(|edge| edge < started), "{work:?}: {role:?}");
                let is_alone = work == Work::Path;
                assert_eq!(role.edge.is_none(), role.nodes > 0 || is_alone, "{work:?}: {role:?}");
                started += role.nodes as usize;
            }
        }
    }

    #[test]
    fn connections_are_counted() {
        let count = |work| connections(&roles(&settings(work)));
        assert_eq!((count(Work::Throughput), count(Work::Routed), count(Work::Fanout)), (0, 2, 11));
    }
}
