//! How client commands find the mesh.

use std::env;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::duration::parse_duration;

/// The environment variable with addresses of nodes, separated by commas.
pub const NODE_VARIABLE: &str = "STARLING_NODE";
/// The environment variable with the path of a `mesh.trust`.
pub const TRUST_VARIABLE: &str = "STARLING_TRUST";

const TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);

/// Flags of client commands, before or after the command's name.
///
/// Clap does not read the environment here: a flag before the command would otherwise lose
/// against a variable, which clap would see as given after it.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientOptions {
    /// A node to ask, tried in turn when several are given [env: STARLING_NODE].
    #[arg(long = "node", id = "client_node", value_name = "ADDRESS", value_delimiter = ',')]
    #[arg(help_heading = "Client options")]
    pub nodes: Vec<String>,
    /// The mesh's public trust file, mesh.trust [env: STARLING_TRUST].
    #[arg(long, value_name = "FILE", help_heading = "Client options")]
    pub trust: Option<PathBuf>,
    /// How long to wait for an answer, such as 500ms or 5s [default: 5s].
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, help_heading = "Client options")]
    pub timeout: Option<Duration>,
}

/// What the flags, the environment and the defaults come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientSettings {
    /// Addresses of nodes, `host:port`; empty when nobody named one: then a running
    /// `starling dev` is looked for.
    pub nodes: Vec<String>,
    /// The trust file, unless nobody named one.
    pub trust: Option<PathBuf>,
    /// How long to wait for an answer.
    pub timeout: Duration,
}

impl ClientOptions {
    /// These flags, given after the command, before those given `ahead` of it, before the
    /// environment, before the defaults.
    pub fn resolve(&self, ahead: &ClientOptions) -> ClientSettings {
        self.resolve_with(ahead, |name| env::var_os(name).filter(|value| !value.is_empty()))
    }

    fn resolve_with(
        &self,
        ahead: &ClientOptions,
        variable: impl Fn(&str) -> Option<std::ffi::OsString>,
    ) -> ClientSettings {
        let flagged = if self.nodes.is_empty() { &ahead.nodes } else { &self.nodes };
        let named = match flagged.is_empty() {
            false => flagged.clone(),
            true => variable(NODE_VARIABLE)
                .map(|value| value.to_string_lossy().split(',').map(str::to_owned).collect())
                .unwrap_or_default(),
        };
        let nodes = named.iter().map(|node| node.trim()).filter(|node| !node.is_empty());
        let trust = self.trust.clone().or_else(|| ahead.trust.clone());
        ClientSettings {
            nodes: nodes.map(str::to_owned).collect(),
            trust: trust.or_else(|| variable(TRUST_VARIABLE).map(PathBuf::from)),
            timeout: self.timeout.or(ahead.timeout).unwrap_or(TIMEOUT_DEFAULT),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearer_flags_win_then_the_environment_then_defaults() {
        let options = |nodes: &[&str], trust: Option<&str>, seconds: Option<u64>| ClientOptions {
            nodes: nodes.iter().map(|node| (*node).to_owned()).collect(),
            trust: trust.map(PathBuf::from),
            timeout: seconds.map(Duration::from_secs),
        };
        let variable = |name: &str| match name {
            NODE_VARIABLE => Some("c:1, d:2,".into()),
            TRUST_VARIABLE => Some("/env".into()),
            _ => None,
        };
        let none = ClientOptions::default();
        let settings =
            options(&["a:1"], None, Some(1)).resolve_with(&options(&["b:1"], Some("/flag"), None), variable);
        assert_eq!(settings.nodes, ["a:1"]);
        assert_eq!(settings.trust, Some("/flag".into()));
        assert_eq!(settings.timeout, Duration::from_secs(1));
        let settings = none.resolve_with(&none, variable);
        assert_eq!(settings.nodes, ["c:1", "d:2"]);
        assert_eq!(settings.trust, Some("/env".into()));
        let settings = none.resolve_with(&none, |_| None);
        assert_eq!(settings, ClientSettings { nodes: vec![], trust: None, timeout: TIMEOUT_DEFAULT });
    }
}
