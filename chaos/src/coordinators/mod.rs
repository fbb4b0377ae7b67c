//! Coordinators under kill -9: three of them, updates issued steadily at each, and the leader that dies
//! again and again.
//!
//! [`run`] leaves a [`history`](Record), from which alone [`judge`] says whether what was acknowledged is
//! decided, once, and in the same order at all.

mod judge;
mod run;

pub use judge::{CoordinatorsReport, Gaps, judge};
pub use run::{CoordinatorsSettings, run};

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use serde::{Deserialize, Serialize};

/// The schema of a history, in its first line.
pub const SCHEMA: &str = "starling.chaos-coordinators-history/1";

/// What is done to the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LeaderFault {
    /// Signal 9, and a new start.
    Kill,
    /// Stopped for a while as if it had no processor.
    Pause,
}

/// A line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Microseconds since the run began.
    pub at_us: u64,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case", deny_unknown_fields)]
pub enum What {
    /// The first line.
    Begun {
        /// [`SCHEMA`].
        schema: String,
        /// What is done to leaders.
        fault: LeaderFault,
        /// How often.
        faults: u32,
        /// The coordinators.
        nodes: Vec<String>,
    },
    /// An update is about to be issued.
    Issued {
        /// Where.
        node: String,
        /// Its number, which is its payload.
        number: u64,
    },
    /// It was decided, as its issuer was told.
    Acknowledged {
        /// Its number.
        number: u64,
        /// Its place.
        index: u64,
    },
    /// It was refused: nothing was decided, and nothing will be.
    Refused {
        /// Its number.
        number: u64,
        /// Why.
        text: String,
    },
    /// Nobody knows: the node said so, or did not answer.
    Doubtful {
        /// Its number.
        number: u64,
    },
    /// The leader is killed or paused.
    Struck {
        /// Who.
        node: String,
    },
    /// It is started again, or goes on.
    Back {
        /// Who.
        node: String,
    },
    /// A coordinator says what was decided.
    Told {
        /// Who.
        node: String,
        /// Place and number of each, as it said them.
        updates: Vec<(u64, u64)>,
    },
    /// All coordinators applied as much; the last line of a whole history.
    Settled {
        /// The last decided place.
        index: u64,
    },
}

/// Why a history cannot be judged.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The system refused.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// It is no history of coordinators.
    #[error("{path}, line {line}: {source}; is it a history of `starling chaos coordinators`?")]
    Line {
        /// The file.
        path: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        source: serde_json::Error,
    },
}

/// Reads a history.
///
/// # Errors
/// See [`HistoryError`].
pub fn read(path: &Path) -> Result<Vec<Record>, HistoryError> {
    let name = || path.display().to_string();
    let failed = |source| HistoryError::Io { path: name(), source };
    let lines = BufReader::new(fs::File::open(path).map_err(failed)?).lines();
    let parse = |(at, line): (usize, io::Result<String>)| {
        let line = line.map_err(failed)?;
        serde_json::from_str(&line).map_err(|source| HistoryError::Line {
            path: name(),
            line: at + 1,
            source,
        })
    };
    lines.enumerate().map(parse).collect()
}

#[cfg(test)]
mod tests;
