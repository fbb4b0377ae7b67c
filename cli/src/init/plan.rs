//! Which nodes `starling init` makes, and on which ports their samples listen.

use std::collections::BTreeSet;
use std::str::FromStr;

use starling_core::identity::{Label, Roles};

use crate::config::{part_name, single_roles};
use crate::exit::{ExitCode, Failure};

/// What is made when no `--node` says otherwise.
const NODES_DEFAULT: [&str; 5] = [
    "coordinator:local:coordinator-1",
    "aggregator:local:aggregator-1",
    "aggregator:local:aggregator-2",
    "edge:local:edge-1",
    "edge:local:edge-2",
];

/// Nodes that one call makes at the most.
const NODES_MAX: usize = 1_024;

/// One node to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodePlan {
    /// What it is.
    pub roles: Roles,
    /// Where it belongs.
    pub region: Label,
    /// What it is called.
    pub name: Label,
    /// Its first QUIC port; a role each takes one.
    pub quic_port: u16,
    /// Its first HTTP port; a role each takes one.
    pub http_port: u16,
}

/// Reads `--node` arguments, `ROLE:REGION:NAME` each, and hands out ports from these on.
pub fn plan(specs: &[String], quic_port: u16, http_port: u16) -> Result<Vec<NodePlan>, Failure> {
    let defaults = || NODES_DEFAULT.iter().map(|spec| (*spec).to_owned()).collect();
    let specs = if specs.is_empty() { defaults() } else { specs.to_vec() };
    if specs.len() > NODES_MAX {
        return Err(Failure::new(ExitCode::Usage, format!("there are more than {NODES_MAX} nodes")));
    }
    let mut taken = BTreeSet::new();
    let mut ports_taken = 0;
    let mut nodes = Vec::new();
    for spec in &specs {
        let refused = |why: String| {
            Failure::new(ExitCode::Usage, format!("--node {spec:?}: {why}"))
                .with_help("write ROLE:REGION:NAME, for example --node edge:eu:edge-1")
        };
        let (roles, region, name) = read(spec).map_err(refused)?;
        let parts = single_roles(roles);
        let mut names: BTreeSet<Label> = BTreeSet::from([name.clone()]);
        if parts.len() > 1 {
            let part_names: Option<Vec<Label>> = parts.iter().map(|role| part_name(&name, *role)).collect();
            names.extend(part_names.ok_or_else(|| refused("NAME-ROLE has more than 64 characters".into()))?);
        }
        if let Some(twice) = names.iter().find(|name| taken.contains(*name)) {
            return Err(refused(format!("another node is called {twice:?} already")));
        }
        taken.extend(names);
        let port = |first: u16, what: &str| {
            let last = usize::from(first) + ports_taken + parts.len() - 1;
            match u16::try_from(last) {
                Ok(_) => Ok(first + u16::try_from(ports_taken).unwrap_or(u16::MAX)),
                Err(_) => Err(refused(format!("no {what} port is left for it, counting from {first}"))),
            }
        };
        let (quic_port, http_port) = (port(quic_port, "QUIC")?, port(http_port, "HTTP")?);
        ports_taken += parts.len();
        nodes.push(NodePlan { roles, region, name, quic_port, http_port });
    }
    Ok(nodes)
}

fn read(spec: &str) -> Result<(Roles, Label, Label), String> {
    let parts: Vec<&str> = spec.split(':').collect();
    let [roles, region, name] = parts[..] else {
        return Err("it has not three parts".to_owned());
    };
    let label =
        |what: &str, text: &str| Label::from_str(text).map_err(|error| format!("{what} {text:?}: {error}"));
    let roles = Roles::from_str(roles).map_err(|error| format!("{roles:?}: {error}"))?;
    Ok((roles, label("region", region)?, label("name", name)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(specs: &[&str]) -> Result<Vec<NodePlan>, Failure> {
        let specs: Vec<String> = specs.iter().map(|spec| (*spec).to_owned()).collect();
        plan(&specs, 7_420, 7_400)
    }

    #[test]
    fn every_role_takes_a_port() {
        let nodes = planned(&["edge:eu:a", "edge+coordinator:eu:b", "aggregator:us:c"]).unwrap();
        let ports: Vec<(u16, u16)> = nodes.iter().map(|node| (node.quic_port, node.http_port)).collect();
        assert_eq!(ports, [(7_420, 7_400), (7_421, 7_401), (7_423, 7_403)]);
        assert_eq!(planned(&[]).unwrap().len(), 5);
    }

    #[test]
    fn wrong_nodes_are_refused() {
        let long = format!("edge+coordinator:eu:{}", "a".repeat(60));
        let wrong = ["", "edge", "edge:eu", "edge:eu:a:b", "egde:eu:a", "edge:EU:a", "edge:eu:../a", &long];
        for spec in wrong {
            assert_eq!(planned(&[spec]).unwrap_err().code, ExitCode::Usage, "{spec}");
        }
        assert!(planned(&["edge:eu:a", "edge:us:a"]).is_err());
        assert!(planned(&["edge:eu:a-edge", "edge+aggregator:us:a"]).is_err());
        let two = ["edge:eu:a".to_owned(), "edge:eu:b".to_owned()];
        assert!(plan(&two, u16::MAX - 1, 7_400).is_ok());
        assert!(plan(&two, u16::MAX, 7_400).is_err());
    }
}
