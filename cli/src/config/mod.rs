//! What a node is told: one TOML file, overridden by the environment, overridden by flags.
//!
//! [`Config`] is the plain result. [`keys`] lists every key there is; [`layers`] gathers their
//! values and remembers where each came from; [`mod@file`] reads TOML with lines and columns;
//! [`check`] asks whether a node could start; [`show`] prints what takes effect; [`ConfigError`]
//! says what is wrong, where, and what to do.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use starling_core::identity::{Label, PublicKey, Roles};
use starling_core::registry::Capabilities;
use starling_core::topology::Strategy;
use starling_discovery::registration::RegistrarUrl;

pub mod check;
mod error;
pub mod file;
pub mod keys;
pub mod layers;
pub mod show;

pub use starling_observe::Level;

pub use error::{ConfigError, Place};
pub use keys::KEYS;
pub use layers::{Origin, Settings, Value};

/// One node, or one node a role when it has several: see [`Config::nodes`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The file that this came from.
    pub file: PathBuf,
    /// `node.name`: what people call it.
    pub name: Label,
    /// `node.region`: where it belongs.
    pub region: Label,
    /// `node.roles`: what it is, never empty.
    pub roles: Roles,
    /// `node.credentials`: the directory of keys and certificates.
    pub credentials: PathBuf,
    /// `node.data`: the directory for what it must remember.
    pub data: PathBuf,
    /// `node.certificate_lifetime`: how long certificates are valid that it issues.
    pub certificate_lifetime: Duration,
    /// `node.silent`: whether nobody is told where it listens.
    pub is_silent: bool,
    /// `node.capabilities` and `node.services`, these as `service:NAME`.
    pub capabilities: Capabilities,
    /// `node.blobs`: hashes of blobs that it has.
    pub blobs: Vec<String>,
    /// `listen.quic`: the UDP address it listens on; the port is not 0.
    pub quic: SocketAddr,
    /// `listen.advertise`: the address that others are told, `host:port`.
    pub advertise: Option<String>,
    /// `listen.http`: the TCP address of dashboard and metrics; the port is not 0.
    pub http: Option<SocketAddr>,
    /// `listen.http_token_file`: the file with what readers of `http` have to show.
    pub http_token_file: Option<PathBuf>,
    /// `mesh.seeds`: nodes to begin with, `host:port`.
    pub seeds: Vec<String>,
    /// `mesh.preset`: what the network is like.
    pub preset: Preset,
    /// `mesh.strategy`: how peers are chosen.
    pub strategy: Strategy,
    /// `[discovery]`: where peers are looked for.
    pub discovery: Discovery,
    /// `log.level`.
    pub log: Level,
}

/// Where peers are looked for besides the seeds and the peers that the node knew.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Discovery {
    /// `discovery.domain`.
    pub domain: Option<String>,
    /// `discovery.resolver`: the DNS server, if not the system's.
    pub resolver: Option<SocketAddr>,
    /// `discovery.registrar`.
    pub registrar: Option<RegistrarUrl>,
    /// `discovery.shipped`: a signed list of peers.
    pub shipped: Option<PathBuf>,
    /// `discovery.release_key`: who may have signed it besides the authority.
    pub release_key: Option<PublicKey>,
}

/// What the network between the nodes is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// All on one machine.
    Machine,
    /// One site, round trips of a few milliseconds.
    Lan,
    /// Between sites, round trips of hundreds of milliseconds and loss.
    Wan,
}

/// How fast silence is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How often a silent link says that it lives.
    pub keepalive: Duration,
    /// How long a link may be silent before it is down.
    pub link_timeout: Duration,
    /// How long opening a link may take.
    pub connect_timeout: Duration,
}

impl Preset {
    /// The presets by name, mildest last.
    pub const NAMES: [(&'static str, Preset); 3] =
        [("machine", Preset::Machine), ("lan", Preset::Lan), ("wan", Preset::Wan)];

    /// What the preset means.
    pub fn timing(self) -> Timing {
        let timing = |keepalive_ms, link_timeout_s, connect_timeout_s| Timing {
            keepalive: Duration::from_millis(keepalive_ms),
            link_timeout: Duration::from_secs(link_timeout_s),
            connect_timeout: Duration::from_secs(connect_timeout_s),
        };
        match self {
            Preset::Machine => timing(500, 3, 2),
            Preset::Lan => timing(1_000, 5, 5),
            Preset::Wan => timing(2_000, 12, 10),
        }
    }
}

impl Config {
    /// Reads `file`, overridden by this process's environment, overridden by `flags` such as
    /// `listen.quic=127.0.0.1:9000`. Also gives the settings it was made of.
    pub fn load(file: &Path, flags: &[String]) -> Result<(Config, Settings), ConfigError> {
        let settings = Settings::gather(file, |name| std::env::var_os(name), flags)?;
        let config = settings.to_config()?;
        Ok((config, settings))
    }

    /// One node a role, in the order edge, aggregator, coordinator.
    ///
    /// A node of one role is itself. Of several, each is called NAME-ROLE, has the subdirectory
    /// ROLE of credentials and data, and takes the next port of `quic`, `advertise` and `http`:
    /// a node on the wire has one role and one identity, whatever shares its process. Each has the
    /// others among its seeds.
    pub fn nodes(&self) -> Vec<Config> {
        let roles = single_roles(self.roles);
        if roles.len() == 1 {
            return vec![self.clone()];
        }
        let parts: Vec<Config> = (0_u16..).zip(roles).map(|(offset, role)| self.part(offset, role)).collect();
        let addresses: Vec<String> = parts.iter().map(Config::local_address).collect();
        let with_seeds = |(index, part): (usize, Config)| {
            let others = addresses.iter().enumerate().filter(|(other, _)| *other != index);
            let seeds = others.map(|(_, address)| address).chain(&self.seeds).cloned();
            Config { seeds: seeds.collect(), ..part }
        };
        parts.into_iter().enumerate().map(with_seeds).collect()
    }

    /// Where this node is found from its own machine.
    fn local_address(&self) -> String {
        let ip = match self.quic.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        SocketAddr::new(ip, self.quic.port()).to_string()
    }

    fn part(&self, offset: u16, role: Roles) -> Config {
        let shifted = |mut address: SocketAddr| {
            address.set_port(address.port().saturating_add(offset));
            address
        };
        let advertised = |address: &String| match address.rsplit_once(':') {
            Some((host, port)) => {
                format!("{host}:{}", port.parse::<u16>().unwrap_or_default().saturating_add(offset))
            }
            None => address.clone(),
        };
        Config {
            name: part_name(&self.name, role).unwrap_or_else(|| self.name.clone()),
            roles: role,
            credentials: self.credentials.join(role.to_string()),
            data: self.data.join(role.to_string()),
            quic: shifted(self.quic),
            advertise: self.advertise.as_ref().map(advertised),
            http: self.http.map(shifted),
            ..self.clone()
        }
    }
}

/// The name of the node that a role of the node `name` is run as, unless it would be too long.
pub fn part_name(name: &Label, role: Roles) -> Option<Label> {
    format!("{name}-{role}").parse().ok()
}

/// The roles of a set, one by one, in the order edge, aggregator, coordinator.
pub fn single_roles(roles: Roles) -> Vec<Roles> {
    let every = [Roles::EDGE, Roles::AGGREGATOR, Roles::COORDINATOR];
    every.into_iter().filter(|role| roles.has(*role)).collect()
}

#[cfg(test)]
mod tests;
