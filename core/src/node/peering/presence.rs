//! What a node lets others know of itself.

use std::net::SocketAddr;

use crate::id::RegionId;
use crate::registry::{ADDRESSES_MAX, BadInfo, Capabilities, PeerInfo, VERSION_BYTES_MAX};

/// What a node lets others know of itself, from its settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Presence {
    /// Whether nobody is to be told of it: it dials others, and they name it to nobody.
    pub is_silent: bool,
    /// Where it can be dialled; the first eight of them are told, and none of a silent node.
    pub addresses: Vec<SocketAddr>,
    /// What it can do, and the services that it runs.
    pub capabilities: Capabilities,
    /// Hashes of the blobs that it has, in hexadecimal.
    pub blobs: Vec<String>,
}

impl Presence {
    /// The names under which a node is found: its capabilities, and its services as `service:NAME`.
    ///
    /// # Errors
    /// [`BadInfo`] where there are too many of them, or one is not a name.
    pub fn names(capabilities: &[String], services: &[String]) -> Result<Capabilities, BadInfo> {
        let services: Vec<String> = services.iter().map(|name| format!("service:{name}")).collect();
        // An empty name would be hidden behind the prefix.
        if services.iter().any(|name| name == "service:") {
            return Err(BadInfo::Capability);
        }
        Capabilities::new(capabilities.iter().chain(&services).map(String::as_str))
    }

    /// The same as a record holds it.
    pub(super) fn info(&self, public_key: [u8; 32], version: &str, region: RegionId) -> PeerInfo {
        let addresses = self.addresses.iter().take(ADDRESSES_MAX).filter(|_| !self.is_silent);
        PeerInfo {
            public_key,
            addresses: addresses.copied().collect(),
            broadcast: !self.is_silent,
            capabilities: self.capabilities.clone(),
            version: if version.len() > VERSION_BYTES_MAX { "".into() } else { version.into() },
            region,
        }
    }
}
