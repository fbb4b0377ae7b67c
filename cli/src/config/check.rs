//! Whether a node could start: its credentials load, fit together and are for this node.

use std::fs;
use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use starling_net::trust::{NodeCredentials, server_config};

use super::keys::{self, Key};
use super::{Config, ConfigError, Settings};
use crate::output::Render;

/// Credentials that run out sooner are worth a word.
const EXPIRY_WARNING: Duration = Duration::from_secs(14 * 24 * 3_600);

/// What a check found that does not keep a node from starting.
#[derive(Debug, Default, Serialize)]
pub struct Checked {
    schema: &'static str,
    file: String,
    ok: bool,
    /// Each a sentence for people.
    pub warnings: Vec<String>,
}

impl Render for Checked {
    fn table(&self) -> String {
        "ok\n".to_owned()
    }
}

/// Loads the credentials of every role and compares them with the configuration.
pub fn check(config: &Config, settings: &Settings) -> Result<Checked, ConfigError> {
    let mut warnings = Vec::new();
    for node in config.nodes() {
        let credentials = NodeCredentials::load(&node.credentials)?;
        server_config(&credentials, &credentials.trust)?;
        check_identity(&node, &credentials, settings)?;
        check_data(&node, settings)?;
        warnings.extend(expiry(&node, &credentials));
    }
    if config.quic.ip().is_unspecified() && config.advertise.is_none() {
        warnings.push(format!(
            "listen.quic is {} and listen.advertise is not set: nodes behind another address than \
             the one seen by others cannot be reached",
            config.quic
        ));
    }
    if config.quic.ip().is_loopback() && config.advertise.is_none() && config.preset != super::Preset::Machine
    {
        warnings.push(format!("listen.quic is {}: only this machine can reach it", config.quic));
    }
    let file = settings.file.display().to_string();
    Ok(Checked { schema: "starling.config-check/1", file, ok: true, warnings })
}

fn key(path: &str) -> &'static Key {
    keys::find(path).expect("paths in this file are constants that name keys")
}

fn check_identity(
    node: &Config,
    credentials: &NodeCredentials,
    settings: &Settings,
) -> Result<(), ConfigError> {
    let admission = &credentials.admission;
    let pairs = [
        ("node.name", node.name.to_string(), admission.name.to_string()),
        ("node.region", node.region.to_string(), admission.region.to_string()),
        ("node.roles", node.roles.to_string(), admission.roles.to_string()),
    ];
    for (path, configured, issued) in pairs {
        if configured != issued {
            let key = key(path);
            let (origin, credentials) = (settings.origin(key), node.credentials.clone());
            return Err(ConfigError::Mismatch { origin, key, configured, issued, credentials });
        }
    }
    Ok(())
}

/// A missing directory is made when the node starts; a file in its place is not.
fn check_data(node: &Config, settings: &Settings) -> Result<(), ConfigError> {
    let why = match fs::metadata(&node.data) {
        Ok(found) if found.is_dir() => return Ok(()),
        Ok(_) => "it is a file, not a directory".to_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => error.to_string(),
    };
    let key = key("node.data");
    let value = node.data.display().to_string();
    Err(ConfigError::Invalid { origin: settings.origin(key), key, value, why })
}

fn expiry(node: &Config, credentials: &NodeCredentials) -> Option<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let not_after = Duration::from_secs(credentials.admission.not_after_seconds);
    let not_before = Duration::from_secs(credentials.admission.not_before_seconds);
    let name = &node.name;
    let day_seconds = 24 * 3_600;
    match not_after.checked_sub(now) {
        None => Some(format!("the credentials of {name} have run out: other nodes will refuse it")),
        Some(_) if now < not_before => {
            Some(format!("the credentials of {name} are not valid yet: is this machine's clock right?"))
        }
        Some(left) if left < EXPIRY_WARNING => {
            Some(format!("the credentials of {name} run out in {} days", left.as_secs() / day_seconds))
        }
        Some(_) => None,
    }
}
