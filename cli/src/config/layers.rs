//! Values by precedence: flag, then environment, then file, then default; each knows its origin.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use starling_core::id::{NodeId, unhex};
use starling_core::identity::{Label, PublicKey, Roles, VerifyKey};
use starling_core::node::peering::Presence;
use starling_core::registry::Capabilities;
use starling_core::registry::exchange::NAME_BYTES_MAX;
use starling_discovery::dns::service_name;
use starling_discovery::registration::RegistrarError;
use starling_net::trust::CERTIFICATE_LIFETIME_MIN;

use super::error::{ConfigError, Place};
use super::file;
use super::keys::{self, Absent, KEYS, Key, Kind};
use super::{Config, Discovery, Level, Preset, Strategy, part_name, single_roles};
use crate::duration::parse_duration;
use crate::suggest;

/// Seeds that one file may name.
const SEEDS_MAX: usize = 256;
/// Blobs that one file may name.
const BLOBS_MAX: usize = 256;
/// What a switch may be.
const SWITCH: [(&str, bool); 2] = [("true", true), ("false", false)];

/// A value as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// One string.
    Text(String),
    /// A list of strings.
    List(Vec<String>),
}

impl Value {
    /// A value from a flag or variable; lists are separated by commas.
    fn from_flat(kind: Kind, text: &str) -> Value {
        if !kind.is_list() {
            return Value::Text(text.to_owned());
        }
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        Value::List(items.map(str::to_owned).collect())
    }

    fn items(&self) -> &[String] {
        match self {
            Value::Text(text) => std::slice::from_ref(text),
            Value::List(items) => items,
        }
    }

    fn is_empty(&self) -> bool {
        self.items().iter().all(String::is_empty)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.items().join(","))
    }
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// The file.
    File(Place),
    /// This environment variable.
    Environment(String),
    /// This `--set`.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(place) => place.fmt(f),
            Origin::Environment(variable) => f.write_str(variable),
            Origin::Flag(text) => write!(f, "--set {text}"),
        }
    }
}

/// A value and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The value as it was written.
    pub value: Value,
    /// Where it came from.
    pub origin: Origin,
}

/// The settings of one node, by path; keys that are unset are not in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The file.
    pub file: PathBuf,
    by_path: BTreeMap<String, Setting>,
}

/// The life of a certificate.
fn lifetime(text: &str) -> Result<Duration, String> {
    let lifetime = parse_duration(text).map_err(|error| error.to_string())?;
    if lifetime < CERTIFICATE_LIFETIME_MIN { Err("the least is 10s".to_owned()) } else { Ok(lifetime) }
}

impl Settings {
    /// The defaults, overridden by the file, by `variable`, and by `flags`, each `KEY=VALUE`.
    ///
    /// Empty variables and variables that name no key are ignored: container platforms set such
    /// ones on their own. An empty flag unsets a key that may be unset.
    pub fn gather(
        file: &Path,
        variable: impl Fn(&str) -> Option<OsString>,
        flags: &[String],
    ) -> Result<Settings, ConfigError> {
        let mut settings = Settings { file: file.to_owned(), by_path: BTreeMap::new() };
        for key in &KEYS {
            if let Absent::Default(text) = key.absent {
                settings.set(key, Value::from_flat(key.kind, text), Origin::Default);
            }
        }
        for (key, Setting { value, origin }) in file::read(file)? {
            settings.set(key, value, origin);
        }
        for key in &KEYS {
            let name = key.variable();
            let Some(text) = variable(&name).filter(|text| !text.is_empty()) else { continue };
            settings.set(key, Value::from_flat(key.kind, &text.to_string_lossy()), Origin::Environment(name));
        }
        for flag in flags {
            let (path, text) =
                flag.split_once('=').ok_or_else(|| ConfigError::Flag { text: flag.clone() })?;
            let key = keys::find(path.trim()).ok_or_else(|| unknown_flag(flag, path.trim()))?;
            settings.set(key, Value::from_flat(key.kind, text.trim()), Origin::Flag(flag.clone()));
        }
        Ok(settings)
    }

    fn set(&mut self, key: &'static Key, value: Value, origin: Origin) {
        if value.is_empty() && key.absent == Absent::Unset {
            self.by_path.remove(&key.path());
        } else {
            self.by_path.insert(key.path(), Setting { value, origin });
        }
    }

    /// What a key is set to, unless it is unset.
    pub fn get(&self, key: &Key) -> Option<&Setting> {
        self.by_path.get(&key.path())
    }

    /// Where the value of a key came from; the default of a key that is unset.
    pub fn origin(&self, key: &Key) -> Origin {
        self.get(key).map_or(Origin::Default, |setting| setting.origin.clone())
    }

    /// The directory or file that a key means: relative to the file when the file or the default says so,
    /// to where the command was typed when a variable or a flag does.
    fn directory(&self, path: &str) -> Result<PathBuf, ConfigError> {
        let (key, setting) = self.required(path)?;
        if setting.value.is_empty() {
            return Err(invalid(key, setting, "it is empty"));
        }
        Ok(self.place(setting))
    }

    /// The file that a key means, if it is set.
    fn file_at(&self, path: &str) -> Option<PathBuf> {
        self.get(keys::find(path)?).map(|setting| self.place(setting))
    }

    /// Where something is: relative to the file when the file or the default says so, to where the
    /// command was typed when a variable or a flag does.
    fn place(&self, setting: &Setting) -> PathBuf {
        let base = match setting.origin {
            Origin::Default | Origin::File(_) => self.file.parent().unwrap_or(Path::new("")),
            Origin::Environment(_) | Origin::Flag(_) => Path::new(""),
        };
        base.join(setting.value.to_string())
    }

    /// The configuration that these settings make.
    pub fn to_config(&self) -> Result<Config, ConfigError> {
        let config = Config {
            file: self.file.clone(),
            name: self.parsed("node.name", |text| Label::from_str(text).map_err(|e| e.to_string()))?,
            region: self.parsed("node.region", |text| Label::from_str(text).map_err(|e| e.to_string()))?,
            roles: self.roles()?,
            credentials: self.directory("node.credentials")?,
            data: self.directory("node.data")?,
            certificate_lifetime: self.parsed("node.certificate_lifetime", lifetime)?,
            is_silent: self.parsed("node.silent", |text| one_of(&SWITCH, text))?,
            capabilities: self.capabilities()?,
            blobs: self.blobs()?,
            quic: self.parsed("listen.quic", socket)?,
            advertise: self.optional("listen.advertise", address)?,
            http: self.optional("listen.http", socket)?,
            http_token_file: self.file_at("listen.http_token_file"),
            seeds: self.seeds()?,
            preset: self.parsed("mesh.preset", |text| one_of(&Preset::NAMES, text))?,
            strategy: self.parsed("mesh.strategy", |text| one_of(&Strategy::NAMES, text))?,
            discovery: self.discovery()?,
            log: self.parsed("log.level", |text| one_of(&Level::NAMES, text))?,
        };
        self.check_parts(&config)?;
        Ok(config)
    }

    /// Several roles need several names and ports: they must all exist.
    fn check_parts(&self, config: &Config) -> Result<(), ConfigError> {
        let roles = single_roles(config.roles);
        let more = roles.len().saturating_sub(1);
        let is_past_end = |port: u16| usize::from(port) + more > usize::from(u16::MAX);
        let advertised = config.advertise.as_deref().and_then(port_of);
        let ports = [
            ("listen.quic", Some(config.quic.port())),
            ("listen.advertise", advertised),
            ("listen.http", config.http.map(|http| http.port())),
        ];
        for (path, port) in ports {
            if port.is_some_and(is_past_end) {
                let (key, setting) = self.required(path)?;
                let why = format!("{} roles take as many ports from this one on", roles.len());
                return Err(invalid(key, setting, why));
            }
        }
        if more > 0 && roles.iter().any(|role| part_name(&config.name, *role).is_none()) {
            let (key, setting) = self.required("node.name")?;
            return Err(invalid(key, setting, "with -ROLE after it, it is longer than 64 characters"));
        }
        Ok(())
    }

    fn required(&self, path: &str) -> Result<(&'static Key, &Setting), ConfigError> {
        let key = keys::find(path).expect("paths in this file are constants that name keys");
        match self.get(key) {
            Some(setting) => Ok((key, setting)),
            None => Err(ConfigError::Missing { file: self.file.clone(), key }),
        }
    }

    fn parsed<T>(&self, path: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<T, ConfigError> {
        let (key, setting) = self.required(path)?;
        parse(&setting.value.to_string()).map_err(|why| invalid(key, setting, why))
    }

    fn optional<T>(
        &self,
        path: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, ConfigError> {
        match keys::find(path).and_then(|key| self.get(key)) {
            Some(_) => self.parsed(path, parse).map(Some),
            None => Ok(None),
        }
    }

    fn roles(&self) -> Result<Roles, ConfigError> {
        let (key, setting) = self.required("node.roles")?;
        let mut roles = Roles::default();
        for name in setting.value.items() {
            let role = Roles::from_str(name)
                .ok()
                .filter(|role| role.to_string() == *name && single_roles(*role).len() == 1);
            let role = role.ok_or_else(|| {
                let near = suggest::closest(name, ["edge", "aggregator", "coordinator"]);
                let meant = near.map(|role| format!(", did you mean {role:?}?")).unwrap_or_default();
                invalid(key, setting, format!("{name:?} is no role{meant}"))
            })?;
            if roles.has(role) {
                return Err(invalid(key, setting, format!("{name:?} is there twice")));
            }
            roles = roles | role;
        }
        if roles.is_empty() { Err(invalid(key, setting, "a node has at least one role")) } else { Ok(roles) }
    }

    fn discovery(&self) -> Result<Discovery, ConfigError> {
        let domain = |text: &str| match service_name(text) {
            Ok(_) => Ok(text.to_owned()),
            Err(error) => Err(error.to_string()),
        };
        let key = |text: &str| {
            let key = unhex(text).map(PublicKey).filter(|key| VerifyKey::new(key).is_some());
            key.ok_or_else(|| "it is no ed25519 public key in 64 hexadecimal digits".to_owned())
        };
        Ok(Discovery {
            domain: self.optional("discovery.domain", domain)?,
            resolver: self.optional("discovery.resolver", socket)?,
            registrar: self.optional("discovery.registrar", |text| {
                text.parse().map_err(|error: RegistrarError| error.to_string())
            })?,
            shipped: match self.optional("discovery.shipped", |text| Ok(text.to_owned()))? {
                Some(_) => Some(self.directory("discovery.shipped")?),
                None => None,
            },
            release_key: self.optional("discovery.release_key", key)?,
        })
    }

    /// Capabilities and services share one record; the key at fault is the one with which it is too much.
    fn capabilities(&self) -> Result<Capabilities, ConfigError> {
        let (key, setting) = self.required("node.capabilities")?;
        let capabilities = setting.value.items();
        Presence::names(capabilities, &[]).map_err(|why| invalid(key, setting, why.to_string()))?;
        let (key, setting) = self.required("node.services")?;
        let names = Presence::names(capabilities, setting.value.items());
        names.map_err(|why| invalid(key, setting, why.to_string()))
    }

    fn blobs(&self) -> Result<Vec<String>, ConfigError> {
        let (key, setting) = self.required("node.blobs")?;
        let blobs = setting.value.items();
        if blobs.len() > BLOBS_MAX {
            return Err(invalid(key, setting, format!("there are more than {BLOBS_MAX}")));
        }
        let is_hash = |text: &String| {
            (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        match blobs.iter().find(|text| !is_hash(text)) {
            Some(text) => {
                let why = format!("{text:?} is not 1 to {NAME_BYTES_MAX} hexadecimal digits");
                Err(invalid(key, setting, why))
            }
            None => Ok(blobs.iter().map(|text| text.to_ascii_lowercase()).collect()),
        }
    }

    fn seeds(&self) -> Result<Vec<String>, ConfigError> {
        let (key, setting) = self.required("mesh.seeds")?;
        let seeds = setting.value.items();
        if seeds.len() > SEEDS_MAX {
            return Err(invalid(key, setting, format!("there are more than {SEEDS_MAX}")));
        }
        let checked = seeds
            .iter()
            .map(|seed| seed_address(seed).map_err(|why| invalid(key, setting, format!("{seed:?}: {why}"))));
        checked.collect()
    }
}

fn unknown_flag(flag: &str, path: &str) -> ConfigError {
    let paths: Vec<String> = KEYS.iter().map(Key::path).collect();
    let near = suggest::closest(path, paths.iter().map(String::as_str)).map(str::to_owned);
    let (table, name) = match path.split_once('.') {
        Some((table, name)) if keys::tables().any(|known| known == table) => (Some(table), name),
        Some(_) | None => (None, path),
    };
    ConfigError::Unknown {
        origin: Origin::Flag(flag.to_owned()),
        table: table.map(str::to_owned),
        name: name.to_owned(),
        suggestion: near.or_else(|| file::suggestion(table, name)),
    }
}

fn invalid(key: &'static Key, setting: &Setting, why: impl Into<String>) -> ConfigError {
    let (origin, value) = (setting.origin.clone(), setting.value.to_string());
    ConfigError::Invalid { origin, key, value, why: why.into() }
}

fn socket(text: &str) -> Result<SocketAddr, String> {
    let address = SocketAddr::from_str(text);
    let address = address.map_err(|_| "it is not an IP address and a port".to_owned())?;
    if address.port() == 0 { Err("port 0 is one that nobody could find".to_owned()) } else { Ok(address) }
}

/// Checks `host:port`, behind which there may be `#` and the full name of the node that is there.
fn seed_address(text: &str) -> Result<String, String> {
    let (place, name) = text.split_once('#').unzip();
    address(place.unwrap_or(text))?;
    match name.is_none_or(|name| name.parse::<NodeId>().is_ok()) {
        true => Ok(text.to_owned()),
        false => Err("behind the # there are not 64 hexadecimal digits".to_owned()),
    }
}

/// Checks `host:port`: an IPv6 address in brackets, an IPv4 address or a name of a machine.
fn address(text: &str) -> Result<String, String> {
    let wrong = |why: &str| Err(why.to_owned());
    let Some(port) = port_of(text) else { return wrong("it does not end in a colon and a port up to 65535") };
    if port == 0 {
        return wrong("port 0 is one that nobody could find");
    }
    let host = text.rsplit_once(':').map_or("", |(host, _)| host);
    let in_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    let is_name =
        (1..=253).contains(&host.len()) && host.chars().all(in_name) && !host.starts_with(['-', '.']);
    if is_name || SocketAddr::from_str(text).is_ok() {
        return Ok(text.to_owned());
    }
    wrong("its host is neither a name nor an IP address (IPv6 goes in brackets)")
}

fn port_of(address: &str) -> Option<u16> {
    let (_, port) = address.rsplit_once(':')?;
    if port.bytes().all(|byte| byte.is_ascii_digit()) { port.parse().ok() } else { None }
}

fn one_of<T: Copy>(names: &[(&str, T)], text: &str) -> Result<T, String> {
    if let Some((_, value)) = names.iter().find(|(name, _)| *name == text) {
        return Ok(*value);
    }
    let known: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
    let near = suggest::closest(text, known.iter().copied());
    let meant = near.map(|name| format!(", did you mean {name:?}?")).unwrap_or_default();
    Err(format!("it is none of {}{meant}", known.join(", ")))
}
