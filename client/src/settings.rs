//! Where the mesh is and how patient the client is.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use starling_core::identity::SecretKey;
use starling_net::trust::Trust;

use crate::error::ClientError;
use crate::session::EndpointSettings;

/// How a [`crate::Client`] finds and treats its mesh.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// The mesh that is trusted.
    pub trust: Trust,
    /// Addresses of edges such as `127.0.0.1:7423`, the preferred first; at least one.
    pub edges: Vec<String>,
    /// Addresses of coordinators, for what they alone serve; may be empty.
    pub coordinators: Vec<String>,
    /// The socket, its windows, and how a dead edge is noticed.
    pub endpoint: EndpointSettings,
    /// How long requests are tried before they fail.
    pub request_timeout: Duration,
    /// How long attaching and subscribing are tried, and how long the client may be without any edge
    /// before what waits fails and what is unacknowledged is reported lost.
    pub unreachable_after: Duration,
    /// The longest wait between two rounds of attempts to connect.
    pub backoff_max: Duration,
    /// Bytes that wait for one reader of a subscription or inbox; beyond it nothing is read from the
    /// edge until the application caught up.
    pub buffer_bytes_max: usize,
    /// How long a full buffer may hold up operations that wait for the edge before its content is
    /// dropped with a gap notice.
    pub stall_timeout: Duration,
    /// How long an edge may speak for an agent on one signature; renewed at half of it.
    pub delegation: Duration,
}

impl ClientSettings {
    /// Usual settings for a mesh and its edges.
    pub fn new(trust: Trust, edges: impl IntoIterator<Item = impl Into<String>>) -> ClientSettings {
        ClientSettings {
            trust,
            edges: edges.into_iter().map(Into::into).collect(),
            coordinators: Vec::new(),
            endpoint: EndpointSettings::default(),
            request_timeout: Duration::from_secs(5),
            unreachable_after: Duration::from_secs(30),
            backoff_max: Duration::from_secs(2),
            buffer_bytes_max: 1024 * 1024,
            stall_timeout: Duration::from_secs(5),
            delegation: Duration::from_secs(12 * 3600),
        }
    }

    /// Usual settings with the trust that `mesh.trust` at `path` holds.
    pub fn load(
        path: impl AsRef<Path>,
        edges: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<ClientSettings, ClientError> {
        Ok(ClientSettings::new(Trust::load(path.as_ref())?, edges))
    }

    /// Settings for the mesh that `starling dev` runs on this machine for this user.
    pub fn from_dev() -> Result<ClientSettings, ClientError> {
        let path = dev_context_path();
        let bad = |text: String| ClientError::NoDevMesh { path: path.clone(), text };
        let text = fs::read_to_string(&path).map_err(|error| bad(error.to_string()))?;
        let (trust, edges, coordinator) = parse_context(&text).map_err(|what| bad(what.to_owned()))?;
        let mut settings = ClientSettings::load(trust, edges)?;
        settings.coordinators.extend(coordinator);
        Ok(settings)
    }
}

/// Where `starling dev` says what it runs.
pub fn dev_context_path() -> PathBuf {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map_or_else(|| PathBuf::from("/tmp"), PathBuf::from);
    runtime.join(format!("starling-dev-{}", user_number())).join("context.json")
}

/// Who we are, by what we own: asking the system itself takes unsafe code.
fn user_number() -> u32 {
    use std::os::unix::fs::MetadataExt;
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    fs::metadata("/proc/self").or_else(|_| fs::metadata(home)).map_or(0, |metadata| metadata.uid())
}

type DevContext = (PathBuf, Vec<String>, Option<String>);

fn parse_context(text: &str) -> Result<DevContext, &'static str> {
    let context: serde_json::Value = serde_json::from_str(text).map_err(|_| "it is not JSON")?;
    let trust = context["trust"].as_str().ok_or("it has no text \"trust\"")?;
    let edges = context["edges"].as_array().ok_or("it has no list \"edges\"")?;
    let edges: Vec<String> = edges.iter().filter_map(|edge| edge.as_str().map(str::to_owned)).collect();
    if edges.is_empty() {
        return Err("its list \"edges\" names none");
    }
    Ok((PathBuf::from(trust), edges, context["coordinator"].as_str().map(str::to_owned)))
}

/// A new key for a new agent. Keep its seed where the agent must be the same after a restart.
pub fn new_key() -> Result<SecretKey, ClientError> {
    let mut seed = [0; 32];
    aws_lc_rs::rand::fill(&mut seed).map_err(|_| ClientError::NoEntropy)?;
    Ok(SecretKey::from_seed(seed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_is_read() {
        let text = r#"{"trust":"/m/mesh.trust","edges":["127.0.0.1:7423","127.0.0.1:7424"],
                       "coordinator":"127.0.0.1:7420","more":1}"#;
        let (trust, edges, coordinator) = parse_context(text).unwrap();
        assert_eq!(trust, PathBuf::from("/m/mesh.trust"));
        assert_eq!(edges, ["127.0.0.1:7423", "127.0.0.1:7424"]);
        assert_eq!(coordinator.as_deref(), Some("127.0.0.1:7420"));
    }

    #[test]
    fn a_bad_context_is_refused_by_what_it_lacks() {
        assert_eq!(parse_context("{"), Err("it is not JSON"));
        assert_eq!(parse_context("{}"), Err("it has no text \"trust\""));
        assert!(parse_context(r#"{"trust":"x","edges":[]}"#).unwrap_err().contains("none"));
    }

    #[test]
    fn keys_differ() {
        assert_ne!(new_key().unwrap().public(), new_key().unwrap().public());
    }
}
