//! The sample configuration of a node: it holds only what somebody may have to change.

use starling_core::identity::Roles;

use super::{NodePlan, loopback};
use crate::config::single_roles;

/// Seeds in one sample; more would only be noise.
const SEEDS_MAX: usize = 8;

/// The configuration of `node`, which runs on loopback as it is.
pub fn sample(node: &NodePlan, nodes: &[NodePlan]) -> String {
    let quoted =
        |items: &[String]| items.iter().map(|item| format!("\"{item}\"")).collect::<Vec<_>>().join(", ");
    let roles: Vec<String> = single_roles(node.roles).iter().map(Roles::to_string).collect();
    let ports = match roles.len() {
        1 => String::new(),
        count => format!(
            "\n# {count} roles run as {count} nodes in one process, on this port and those that follow.",
        ),
    };
    format!(
        "\
# The node {name}. It runs on loopback as it is: starling run --config {name}.toml
# On machines of their own, give every node an address that the others reach, in listen and seeds.

[node]
name = \"{name}\"
region = \"{region}\"
roles = [{roles}]
credentials = \"credentials\"
data = \"data\"

[listen]{ports}
quic = \"{quic}\"
http = \"{http}\"

[mesh]
seeds = [{seeds}]
# machine, lan or wan: how soon a silent link is given up.
preset = \"machine\"

[log]
level = \"info\"
",
        name = node.name,
        region = node.region,
        roles = quoted(&roles),
        quic = loopback(node.quic_port),
        http = loopback(node.http_port),
        seeds = quoted(&seeds(node, nodes)),
    )
}

/// The coordinators and the aggregators of the node's region, which know everybody else; other
/// nodes only where there is none of these.
fn seeds(node: &NodePlan, nodes: &[NodePlan]) -> Vec<String> {
    let knows_everybody = |(role, other): &(Roles, &NodePlan)| {
        *role == Roles::COORDINATOR || *role == Roles::AGGREGATOR && other.region == node.region
    };
    let others = || nodes.iter().filter(|other| other.name != node.name);
    let addresses = |filter: &dyn Fn(&(Roles, &NodePlan)) -> bool| -> Vec<String> {
        let parts = others().flat_map(|other| {
            let ports = other.quic_port..;
            single_roles(other.roles).into_iter().zip(ports).map(move |(role, port)| ((role, other), port))
        });
        let chosen = parts.filter(|(part, _)| filter(part)).map(|(_, port)| loopback(port).to_string());
        chosen.take(SEEDS_MAX).collect()
    };
    let best = addresses(&knows_everybody);
    if best.is_empty() { addresses(&|_| true) } else { best }
}
