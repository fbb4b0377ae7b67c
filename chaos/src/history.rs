//! What happened in a run, one JSON document a line, in the order in which it was seen.
//!
//! All is seen by one process, so the order of lines is one that all its observers agree on: what was
//! confirmed on an earlier line was confirmed before what was published on a later one.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::faults::FaultKind;

/// The schema of a history, in its first line.
pub const SCHEMA: &str = "starling.chaos-history/1";

/// A line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Microseconds since the run began.
    pub at_us: u64,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

/// A node of the mesh.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeLine {
    /// Its name.
    pub name: String,
    /// Its region.
    pub region: String,
}

/// What was asked of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// Agents, each a publisher and a subscriber.
    pub agents: u32,
    /// Entries published a second, all agents together.
    pub rate: u32,
    /// Seconds during which faults begin and end.
    pub duration_seconds: u64,
    /// What a hostile node does, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attack: Option<String>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case", deny_unknown_fields)]
pub enum What {
    /// The first line.
    Begun {
        /// [`SCHEMA`].
        schema: String,
        /// The scenario's name.
        scenario: String,
        /// Where its chance began.
        seed: u64,
        /// What was asked.
        settings: Asked,
        /// The mesh.
        nodes: Vec<NodeLine>,
    },
    /// An agent is about to publish.
    Published {
        /// Who.
        agent: u32,
        /// Where.
        subject: String,
        /// Grows with each entry of the agent, over all subjects.
        number: u64,
    },
    /// An agent was told that every destination has its entry.
    Acknowledged {
        /// Whose entry.
        agent: u32,
        /// Which.
        number: u64,
    },
    /// An agent was told that its entry may not have arrived.
    Failed {
        /// Whose entry.
        agent: u32,
        /// Which.
        number: u64,
        /// Why.
        why: String,
    },
    /// A subscription is in force: what is published from now on is owed to it.
    Confirmed {
        /// Whose; an agent has one.
        agent: u32,
        /// The subject.
        subject: String,
    },
    /// An agent received an entry that says it is this.
    Delivered {
        /// Who received.
        agent: u32,
        /// Who published.
        publisher: u32,
        /// Which.
        number: u64,
        /// Where.
        subject: String,
    },
    /// An agent received an entry that nobody published like that.
    Strange {
        /// Who received.
        agent: u32,
        /// What is wrong.
        why: String,
    },
    /// An agent was told that something published before may be missing.
    Gap {
        /// Who.
        agent: u32,
        /// What it was told.
        reason: String,
    },
    /// An edge serves an agent: it took a change of its state.
    Homed {
        /// Who.
        agent: u32,
        /// The edge's name.
        edge: String,
    },
    /// A fault begins or ends.
    Fault {
        /// Which.
        kind: FaultKind,
        /// For people: a node, or what is parted from what.
        target: String,
        /// Pairs of nodes, sender and receiver, where links are meant.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        links: Vec<(String, String)>,
    },
    /// A node says that another is dead, or left by intention.
    Said {
        /// Who says it.
        node: String,
        /// Of whom.
        of: String,
        /// `lost` or `left`.
        word: String,
    },
    /// A node says that it banned another.
    Banned {
        /// Who says it.
        node: String,
        /// Whom.
        of: String,
        /// Why.
        reason: String,
    },
    /// A node says that another fell silent on their link.
    LinkLost {
        /// Who says it.
        node: String,
        /// Of whom.
        of: String,
    },
    /// Faults are over and everything should become whole.
    Ceased,
    /// Every node took every other for alive and all agents were counted.
    Healed,
    /// What a node thinks of the others, in the end.
    Members {
        /// Who.
        node: String,
        /// Nodes that it does not take for alive, each with its state; nothing if it does not answer.
        not_up: Option<Vec<(String, String)>>,
    },
    /// What the coordinator counts, in the end.
    Counted {
        /// Nothing if it does not answer.
        agents: Option<u64>,
    },
    /// Where an agent is in the end.
    Settled {
        /// Who.
        agent: u32,
        /// The edge that serves it, if one does.
        edge: Option<String>,
        /// Whether its subscription is open.
        is_subscribed: bool,
    },
    /// The last line.
    Ended,
}

/// Why a history cannot be judged. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The file cannot be read; the caller is at fault.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A line is none of a history; who wrote the file is at fault.
    #[error("{} line {line}: {what}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Its number, from 1.
        line: usize,
        /// What is wrong.
        what: String,
    },
}

/// A history that is being written.
#[derive(Debug)]
pub struct Writer {
    begun: Instant,
    file: Mutex<(BufWriter<File>, Option<io::Error>)>,
    is_ended: AtomicBool,
}

impl Writer {
    /// An empty history at `path`, whose clock starts now.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn create(path: &Path) -> io::Result<Writer> {
        let file = BufWriter::new(File::create(path)?);
        Ok(Writer { begun: Instant::now(), file: Mutex::new((file, None)), is_ended: AtomicBool::new(false) })
    }

    fn lock(&self) -> MutexGuard<'_, (BufWriter<File>, Option<io::Error>)> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Microseconds since the history was begun.
    pub fn now_us(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Writes a line; one that fails is told by [`Writer::finish`]. What comes after [`What::Ended`], such as
    /// the ends of agents that leave, is no part of the history.
    pub fn note(&self, what: What) {
        let mut file = self.lock();
        if self.is_ended.fetch_or(what == What::Ended, Ordering::Relaxed) {
            return;
        }
        // Under the lock, so that times grow with lines.
        let record = Record { at_us: self.now_us(), what };
        let written = serde_json::to_writer(&mut file.0, &record).map_err(io::Error::from);
        if let Err(error) = written.and_then(|()| file.0.write_all(b"\n")) {
            file.1.get_or_insert(error);
        }
    }

    /// Brings everything to the file.
    ///
    /// # Errors
    /// The first that went wrong; the history is incomplete then.
    pub fn finish(&self) -> io::Result<()> {
        let mut file = self.lock();
        let flushed = file.0.flush();
        file.1.take().map_or(flushed, Err)
    }
}

/// Reads a whole history.
///
/// # Errors
/// The file cannot be read, a line is none, or the first or last line of a history is missing.
pub fn read(path: &Path) -> Result<Vec<Record>, HistoryError> {
    let failed = |source| HistoryError::Read { path: path.to_owned(), source };
    let wrong = |line: usize, what: String| HistoryError::Line { path: path.to_owned(), line, what };
    let mut records: Vec<Record> = Vec::new();
    for (at, line) in BufReader::new(File::open(path).map_err(failed)?).lines().enumerate() {
        let line = line.map_err(failed)?;
        let record: Record = serde_json::from_str(&line).map_err(|error| wrong(at + 1, explain(&error)))?;
        match (&record.what, at) {
            (What::Begun { schema, .. }, 0) if schema == SCHEMA => {}
            (What::Begun { schema, .. }, 0) => {
                return Err(wrong(1, format!("the schema is {schema:?}, this version reads {SCHEMA:?}")));
            }
            (_, 0) => return Err(wrong(1, "a history begins with `begun`".into())),
            (What::Begun { .. }, _) => return Err(wrong(at + 1, "a history begins once".into())),
            _ => {}
        }
        if records.last().is_some_and(|last| last.what == What::Ended) {
            return Err(wrong(at + 1, "something follows after `ended`".into()));
        }
        if records.last().is_some_and(|last| last.at_us > record.at_us) {
            return Err(wrong(at + 1, "its time is before that of the line above".into()));
        }
        records.push(record);
    }
    match records.last() {
        Some(Record { what: What::Ended, .. }) => Ok(records),
        _ => Err(wrong(records.len() + 1, "the history stops before `ended`: its run was cut short".into())),
    }
}

/// What is wrong with a line, without the number that it has for who saw it alone.
fn explain(error: &serde_json::Error) -> String {
    error.to_string().replacen(" at line 1 column", " at column", 1)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub fn begun() -> What {
        let node = |name: &str, region: &str| NodeLine { name: name.into(), region: region.into() };
        What::Begun {
            schema: SCHEMA.into(),
            scenario: "kill-edge".into(),
            seed: 1,
            settings: Asked { agents: 2, rate: 10, duration_seconds: 1, attack: None },
            nodes: vec![
                node("coordinator", "global"),
                node("edge-0", "r0"),
                node("edge-1", "r0"),
                node("edge-2", "r0"),
                node("aggregator", "r1"),
            ],
        }
    }

    fn refusal(lines: &[&str]) -> String {
        let path = std::env::temp_dir().join(format!(
            "starling-history-{}-{:x}",
            std::process::id(),
            lines.concat().len()
        ));
        std::fs::write(&path, lines.join("\n")).unwrap();
        let refused = read(&path).unwrap_err().to_string();
        std::fs::remove_file(&path).unwrap();
        refused
    }

    #[test]
    fn what_is_written_is_read() {
        let path = std::env::temp_dir().join(format!("starling-history-{}", std::process::id()));
        let writer = Writer::create(&path).unwrap();
        let said = [
            begun(),
            What::Published { agent: 1, subject: "a.b".into(), number: 7 },
            What::Fault { kind: FaultKind::Kill, target: "edge-0".into(), links: Vec::new() },
            What::Ceased,
            What::Ended,
        ];
        said.iter().for_each(|what| writer.note(what.clone()));
        writer.note(What::Failed { agent: 1, number: 7, why: "it leaves".into() });
        writer.finish().unwrap();
        let read: Vec<What> = read(&path).unwrap().into_iter().map(|record| record.what).collect();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(read, said);
    }

    #[test]
    fn a_broken_history_names_its_line() {
        let first = serde_json::to_string(&Record { at_us: 0, what: begun() }).unwrap();
        let line = r#"{"at_us":5,"what":"ceased"}"#;
        let end = r#"{"at_us":9,"what":"ended"}"#;
        assert!(refusal(&[&first, line, "{", end]).contains("line 3: EOF"));
        assert!(refusal(&[&first, r#"{"at_us":1,"what":"gap","agent":1}"#, end]).contains("line 2: missing"));
        assert!(refusal(&[&first, line]).contains("line 3: the history stops"));
        assert!(refusal(&[line, end]).contains("line 1: a history begins"));
        assert!(refusal(&[&first, line, r#"{"at_us":4,"what":"ceased"}"#, end]).contains("line 3: its time"));
        assert!(refusal(&[&first.replace("history/1", "history/2"), end]).contains("line 1: the schema"));
        assert!(refusal(&[]).contains("line 1: the history stops"));
    }
}
