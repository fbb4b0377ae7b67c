//! What can be wrong with a configuration, where, and what to do about it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use starling_net::trust::TrustError;

use super::keys::{self, Key};
use super::layers::Origin;

/// A place in a file, for people and their editors: `file:line:column`, both from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// The character in the line, from 1.
    pub column: usize,
}

impl Place {
    /// Where the byte `offset` of `text` is.
    pub fn of_offset(file: &Path, text: &str, offset: usize) -> Place {
        let before = text.get(..offset).unwrap_or(text);
        let line_begin = before.rfind('\n').map_or(0, |newline| newline + 1);
        Place {
            file: file.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_begin..].chars().count() + 1,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file.display(), self.line, self.column)
    }
}

/// Why a node cannot start with a configuration. The operator is at fault; nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read {}: {source}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is no TOML.
    #[error("{place}: {what}")]
    Syntax {
        /// Where.
        place: Place,
        /// What the parser said.
        what: String,
    },
    /// No such table, or no such key in it.
    #[error("{origin}: unknown {} {name:?}{}", if table.is_none() { "table or key" } else { "key" }, in_table(table.as_deref()))]
    Unknown {
        /// Where.
        origin: Origin,
        /// The table it is in; none at the top.
        table: Option<String>,
        /// What was written.
        name: String,
        /// What was probably meant.
        suggestion: Option<String>,
    },
    /// The value has another type.
    #[error("{origin}: {key} must be {expected}, but this is {found}")]
    WrongType {
        /// Where.
        origin: Origin,
        /// The key.
        key: String,
        /// What it must be.
        expected: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// The value has the right type and does not fit.
    #[error("{origin}: {} is {value:?}: {why}", key.path())]
    Invalid {
        /// Where.
        origin: Origin,
        /// The key.
        key: &'static Key,
        /// The value.
        value: String,
        /// What does not fit.
        why: String,
    },
    /// A key without a default is not there.
    #[error("{} does not set {}", file.display(), key.path())]
    Missing {
        /// The file.
        file: PathBuf,
        /// The key.
        key: &'static Key,
    },
    /// A flag is not `KEY=VALUE`.
    #[error("--set {text:?} is not KEY=VALUE")]
    Flag {
        /// What was written.
        text: String,
    },
    /// The credentials are for somebody else.
    #[error("{origin}: {} is {configured:?}, but the credentials in {} are for {issued:?}", key.path(), credentials.display())]
    Mismatch {
        /// Where the configuration says so.
        origin: Origin,
        /// The key.
        key: &'static Key,
        /// What the configuration says.
        configured: String,
        /// What the credentials say.
        issued: String,
        /// The directory of the credentials.
        credentials: PathBuf,
    },
    /// The credentials cannot be used.
    #[error(transparent)]
    Credentials(#[from] TrustError),
}

fn in_table(table: Option<&str>) -> String {
    table.map(|table| format!(" in [{table}]")).unwrap_or_default()
}

impl ConfigError {
    /// What to do next.
    pub fn help(&self) -> String {
        match self {
            ConfigError::Read { .. } => {
                "give the path of a node's configuration file; starling init makes samples".to_owned()
            }
            ConfigError::Syntax { .. } => {
                "strings go in double quotes, lists in brackets: seeds = [\"127.0.0.1:7420\"]".to_owned()
            }
            ConfigError::Unknown { table, suggestion, .. } => {
                let known = known_names(table.as_deref());
                match suggestion {
                    Some(meant) => format!("did you mean {meant}? known: {known}"),
                    None => format!("known: {known}"),
                }
            }
            ConfigError::WrongType { key, .. } => match keys::find(key) {
                Some(key) => format!("for example: {} = {}", key.name, key.example),
                None => format!("for example: [{key}] on a line of its own"),
            },
            ConfigError::Invalid { key, .. } => {
                format!("{}; for example: {} = {}", key.about, key.name, key.example)
            }
            ConfigError::Missing { key, .. } => {
                format!("add to the table [{}]: {} = {}", key.table, key.name, key.example)
            }
            ConfigError::Flag { .. } => "for example: --set listen.quic=127.0.0.1:9000".to_owned(),
            ConfigError::Mismatch { .. } => {
                "node.credentials must be the directory that was made for this very node".to_owned()
            }
            ConfigError::Credentials(_) => "issue new credentials for this node".to_owned(),
        }
    }
}

fn known_names(table: Option<&str>) -> String {
    match table {
        Some(table) => keys::in_table(table).map(|key| key.name).collect::<Vec<_>>().join(", "),
        None => keys::tables().map(|table| format!("[{table}]")).collect::<Vec<_>>().join(", "),
    }
}
