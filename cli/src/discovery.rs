//! Lets a running node find the mesh, as its configuration says.

use std::net::SocketAddr;

use starling_core::identity::VerifyKey;
use starling_discovery::dns::Lookup;
use starling_discovery::finder::{Finder, FinderSettings, Note, Registered, ShippedList};
use starling_net::NodeHandle;
use starling_net::trust::NodeCredentials;

use crate::config::{Config, Level};
use crate::exit::{ExitCode, Failure};
use crate::output::Output;

/// Begins to look for peers of a node, and to remember and register it.
///
/// # Errors
/// The configuration cannot be followed.
pub(crate) fn start(config: &Config, handle: &NodeHandle, output: &Output) -> Result<Finder, Failure> {
    let refuse = |why: String| Failure::new(ExitCode::Configuration, format!("{}: {why}", config.name));
    let credentials = NodeCredentials::load(&config.credentials)?;
    let discovery = &config.discovery;
    let dns = match &discovery.domain {
        Some(domain) => {
            Some(Lookup::new(domain, discovery.resolver).map_err(|error| refuse(error.to_string()))?)
        }
        None => None,
    };
    let mut keys = vec![credentials.trust.verify_key()?];
    keys.extend(discovery.release_key.as_ref().and_then(VerifyKey::new));
    let mesh = credentials.trust.mesh;
    let shipped = discovery.shipped.clone().map(|path| ShippedList { path, keys, mesh });
    let registered = match &discovery.registrar {
        Some(_) if !config.is_silent => {
            let address = listening(config, handle).ok_or_else(|| {
                refuse("a registrar lists IP addresses, and none is known of this node".to_owned())
                    .with_help("set listen.advertise to the IP address and port at which others reach it")
            })?;
            Some(Registered { address, key: credentials.identity.clone() })
        }
        Some(_) | None => None,
    };
    let settings = FinderSettings {
        dns,
        registrar: discovery.registrar.clone(),
        shipped,
        data: config.data.clone(),
        registered,
        me: handle.node(),
    };
    let (name, level, output) = (config.name.to_string(), config.log, output.clone());
    Ok(Finder::start(settings, handle.inputs(), handle.events(), move |note| {
        if level_of(&note) <= level {
            output.note(&format!("{name}: {note}"));
        }
    }))
}

/// Where others reach it, if that is an IP address.
fn listening(config: &Config, handle: &NodeHandle) -> Option<SocketAddr> {
    match &config.advertise {
        Some(advertised) => advertised.parse().ok(),
        None => Some(handle.address()).filter(|address| !address.ip().is_unspecified()),
    }
}

fn level_of(note: &Note) -> Level {
    match note {
        Note::Found { .. } | Note::Registered { .. } => Level::Info,
        Note::Failed { .. } | Note::Alone { .. } | Note::BadLines { .. } | Note::NotRemembered { .. } => {
            Level::Warn
        }
    }
}
