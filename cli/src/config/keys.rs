//! Every key of a configuration file: its table, kind, default, and what it is for.

/// What a value must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 1 to 64 characters out of a-z, 0-9 and -.
    Name,
    /// Some of edge, aggregator, coordinator.
    Roles,
    /// A directory.
    Directory,
    /// A file.
    File,
    /// An IP address and a port.
    Socket,
    /// A host and a port.
    Address,
    /// Some hosts and ports.
    Addresses,
    /// One of machine, lan, wan.
    Preset,
    /// One of random, latency, hybrid, geographic.
    Strategy,
    /// One of error, warn, info, debug, trace.
    Level,
    /// true or false.
    Switch,
    /// A span of time.
    Span,
    /// Some names of 1 to 64 bytes without space.
    Words,
    /// A domain.
    Domain,
    /// http://HOST:PORT.
    Url,
    /// An ed25519 public key in 64 hexadecimal digits.
    PublicKey,
}

impl Kind {
    /// Whether the value is a list of strings rather than one string.
    pub fn is_list(self) -> bool {
        match self {
            Kind::Roles | Kind::Addresses | Kind::Words => true,
            Kind::Name
            | Kind::Directory
            | Kind::File
            | Kind::Socket
            | Kind::Address
            | Kind::Preset
            | Kind::Strategy
            | Kind::Switch
            | Kind::Domain
            | Kind::Url
            | Kind::PublicKey
            | Kind::Span
            | Kind::Level => false,
        }
    }
}

/// What becomes of a key that nobody sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// It is an error.
    Required,
    /// It stays without a value.
    Unset,
    /// It has this value; an empty text is an empty list for lists.
    Default(&'static str),
}

/// One key.
#[derive(Debug, PartialEq, Eq)]
pub struct Key {
    /// The table it is in.
    pub table: &'static str,
    /// Its name in the table.
    pub name: &'static str,
    /// What its value must look like.
    pub kind: Kind,
    /// What holds when nobody sets it.
    pub absent: Absent,
    /// A value as TOML.
    pub example: &'static str,
    /// What it is for, in a few words.
    pub about: &'static str,
}

/// All keys, in the order in which they are shown.
pub static KEYS: [Key; 23] = [
    Key {
        table: "node",
        name: "name",
        kind: Kind::Name,
        absent: Absent::Required,
        example: "\"edge-1\"",
        about: "what people call this node, 1 to 64 of a-z, 0-9 and -",
    },
    Key {
        table: "node",
        name: "region",
        kind: Kind::Name,
        absent: Absent::Required,
        example: "\"eu\"",
        about: "the region it belongs to, 1 to 64 of a-z, 0-9 and -",
    },
    Key {
        table: "node",
        name: "roles",
        kind: Kind::Roles,
        absent: Absent::Required,
        example: "[\"edge\"]",
        about: "edge, aggregator or coordinator; several run as one node per role on consecutive ports",
    },
    Key {
        table: "node",
        name: "credentials",
        kind: Kind::Directory,
        absent: Absent::Default("credentials"),
        example: "\"credentials\"",
        about: "the directory of its keys and certificates, relative to this file",
    },
    Key {
        table: "node",
        name: "data",
        kind: Kind::Directory,
        absent: Absent::Default("data"),
        example: "\"data\"",
        about: "the directory for what it must remember, relative to this file",
    },
    Key {
        table: "node",
        name: "certificate_lifetime",
        kind: Kind::Span,
        absent: Absent::Default("24h"),
        example: "\"24h\"",
        about: "how long certificates are valid that a coordinator issues, 10s to 8760h",
    },
    Key {
        table: "node",
        name: "silent",
        kind: Kind::Switch,
        absent: Absent::Default("false"),
        example: "true",
        about: "true: nobody is told where it listens, it dials others and is listed nowhere",
    },
    Key {
        table: "node",
        name: "capabilities",
        kind: Kind::Words,
        absent: Absent::Default(""),
        example: "[\"relay\"]",
        about: "what it can do, by which others find it; with its services at most 16 in 320 bytes",
    },
    Key {
        table: "node",
        name: "services",
        kind: Kind::Words,
        absent: Absent::Default(""),
        example: "[\"films\"]",
        about: "services that it runs, by which others find it",
    },
    Key {
        table: "node",
        name: "blobs",
        kind: Kind::Words,
        absent: Absent::Default(""),
        example: "[\"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\"]",
        about: "hashes of blobs that it has, 64 hexadecimal digits at the most, 256 of them",
    },
    Key {
        table: "listen",
        name: "quic",
        kind: Kind::Socket,
        absent: Absent::Default("0.0.0.0:7420"),
        example: "\"0.0.0.0:7420\"",
        about: "the IP address and UDP port for links and agents",
    },
    Key {
        table: "listen",
        name: "advertise",
        kind: Kind::Address,
        absent: Absent::Unset,
        example: "\"edge-1.example.org:7420\"",
        about: "the address, host:port, at which others reach listen.quic",
    },
    Key {
        table: "listen",
        name: "http",
        kind: Kind::Socket,
        absent: Absent::Unset,
        example: "\"127.0.0.1:7400\"",
        about: "the IP address and TCP port for health, metrics and dashboard",
    },
    Key {
        table: "listen",
        name: "http_token_file",
        kind: Kind::File,
        absent: Absent::Unset,
        example: "\"http.token\"",
        about: "a file, relative to this one, with the token without which listen.http shows nothing",
    },
    Key {
        table: "mesh",
        name: "seeds",
        kind: Kind::Addresses,
        absent: Absent::Default(""),
        example: "[\"coordinator.example.org:7420\"]",
        about: "addresses, host:port, of nodes to begin with; #NODE behind it refuses any other node there",
    },
    Key {
        table: "mesh",
        name: "preset",
        kind: Kind::Preset,
        absent: Absent::Default("lan"),
        example: "\"lan\"",
        about: "machine, lan or wan: how soon a silent link is given up",
    },
    Key {
        table: "mesh",
        name: "strategy",
        kind: Kind::Strategy,
        absent: Absent::Default("hybrid"),
        example: "\"hybrid\"",
        about: "random, latency, hybrid or geographic: whom it compares its state with",
    },
    Key {
        table: "discovery",
        name: "domain",
        kind: Kind::Domain,
        absent: Absent::Unset,
        example: "\"mesh.example.org\"",
        about: "the domain whose DNS names peers, by SRV and TXT records of _starling._udp",
    },
    Key {
        table: "discovery",
        name: "resolver",
        kind: Kind::Socket,
        absent: Absent::Unset,
        example: "\"127.0.0.1:53\"",
        about: "the DNS server that is asked, IP address and port, instead of those of the system",
    },
    Key {
        table: "discovery",
        name: "registrar",
        kind: Kind::Url,
        absent: Absent::Unset,
        example: "\"http://registrar.example.org:7480\"",
        about: "the registrar, which is asked for peers, and lists this node unless it is silent",
    },
    Key {
        table: "discovery",
        name: "shipped",
        kind: Kind::File,
        absent: Absent::Unset,
        example: "\"peers.list\"",
        about: "a signed list of peers that came with the release, relative to this file",
    },
    Key {
        table: "discovery",
        name: "release_key",
        kind: Kind::PublicKey,
        absent: Absent::Unset,
        example: "\"d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a\"",
        about: "a key that may have signed discovery.shipped besides the mesh's authority",
    },
    Key {
        table: "log",
        name: "level",
        kind: Kind::Level,
        absent: Absent::Default("info"),
        example: "\"info\"",
        about: "error, warn, info, debug or trace",
    },
];

impl Key {
    /// Table and name, as in `listen.quic`.
    pub fn path(&self) -> String {
        format!("{}.{}", self.table, self.name)
    }

    /// The environment variable that overrides it, as in `STARLING_LISTEN_QUIC`.
    pub fn variable(&self) -> String {
        format!("STARLING_{}_{}", self.table, self.name).to_uppercase()
    }
}

/// The key with this path.
pub fn find(path: &str) -> Option<&'static Key> {
    path.split_once('.').and_then(|(table, name)| in_table(table).find(|key| key.name == name))
}

/// The keys of a table.
pub fn in_table(table: &str) -> impl Iterator<Item = &'static Key> {
    KEYS.iter().filter(move |key| key.table == table)
}

/// The tables, each once.
pub fn tables() -> impl Iterator<Item = &'static str> {
    let begins_table = |index: usize| index == 0 || KEYS[index - 1].table != KEYS[index].table;
    (0..KEYS.len()).filter(move |index| begins_table(*index)).map(|index| KEYS[index].table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_a_table_stand_together_and_are_found() {
        assert_eq!(tables().collect::<Vec<_>>(), ["node", "listen", "mesh", "discovery", "log"]);
        for key in &KEYS {
            assert_eq!(find(&key.path()), Some(key));
            assert_eq!(key.example.starts_with('['), key.kind.is_list(), "{}", key.path());
        }
        assert_eq!(find("listen.quic").map(Key::variable).as_deref(), Some("STARLING_LISTEN_QUIC"));
        assert_eq!(find("listen"), None);
    }
}
