//! What the nodes say: their logs as they grow, and their answers.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use starling_client::Overview;
use starling_client::session::Endpoint;
use starling_loadtest::observer::Observer;

use crate::history::{What, Writer};

/// How long a node may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// The logs of a mesh, read as far as they went.
#[derive(Debug)]
pub(crate) struct Logs {
    logs: Vec<Log>,
    /// All nodes of the mesh.
    names: Vec<String>,
}

#[derive(Debug)]
struct Log {
    path: PathBuf,
    read: u64,
    /// A line whose end is not written yet.
    rest: String,
}

impl Logs {
    /// Nothing was read yet of these logs of a mesh with nodes of these names.
    pub fn new(paths: impl IntoIterator<Item = PathBuf>, names: Vec<String>) -> Logs {
        let logs = paths.into_iter().map(|path| Log { path, read: 0, rest: String::new() });
        Logs { logs: logs.collect(), names }
    }

    /// Notes what was said since last time about the death of nodes.
    ///
    /// # Errors
    /// A log cannot be read.
    pub fn look(&mut self, writer: &Writer) -> Result<()> {
        for log in &mut self.logs {
            let mut file = File::open(&log.path)?;
            file.seek(SeekFrom::Start(log.read))?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            log.read += bytes.len() as u64;
            log.rest.push_str(&String::from_utf8_lossy(&bytes));
            while let Some((line, rest)) = log.rest.split_once('\n') {
                if let Some(said) = understand(line, &self.names) {
                    writer.note(said);
                }
                log.rest = rest.to_owned();
            }
        }
        Ok(())
    }
}

/// A line of a node about another that is no more, as `starling run` prints it.
fn understand(line: &str, names: &[String]) -> Option<What> {
    let (node, said) = line.split_once(": ")?;
    let (of, word) = match said.strip_prefix("lost: ") {
        Some(of) => (of, "lost"),
        None => (said.strip_suffix(" left")?, "left"),
    };
    let is_name = |name: &str| names.iter().any(|known| known == name);
    let said = What::Said { node: node.to_owned(), of: of.to_owned(), word: word.to_owned() };
    (is_name(node) && is_name(of)).then_some(said)
}

/// What a node knows; nothing if it does not answer in time.
pub(crate) async fn ask(endpoint: &Endpoint, address: SocketAddr) -> Option<Overview> {
    let asking = async { Observer::connect(endpoint, address, None).await?.overview().await };
    tokio::time::timeout(ANSWER_WITHIN, asking).await.ok()?.ok()
}

/// The nodes that another does not take for alive, each with its state. One that it never needed to
/// meet is no fault.
pub(crate) fn not_up(overview: &Overview) -> Vec<(String, String)> {
    let wrong = overview.members.iter().filter(|member| !matches!(member.status.as_str(), "up" | "known"));
    wrong.map(|member| (member.name.clone(), member.status.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_about_deaths_are_understood_and_no_others() {
        let names = ["coordinator", "r0-edge-0", "r0-edge-1"].map(str::to_owned);
        let understand = |line| understand(line, &names);
        let said = |node: &str, of: &str, word: &str| {
            Some(What::Said { node: node.into(), of: of.into(), word: word.into() })
        };
        assert_eq!(understand("r0-edge-1: lost: r0-edge-0"), said("r0-edge-1", "r0-edge-0", "lost"));
        assert_eq!(understand("coordinator: r0-edge-0 left"), said("coordinator", "r0-edge-0", "left"));
        for other in [
            "r0-edge-1: link down: r0-edge-0 fell silent",
            "r0-edge-1: r0-edge-0 does not answer",
            "r0-edge-1 listens on 127.0.0.1:1",
            "error: nobody left",
            "",
        ] {
            assert_eq!(understand(other), None, "{other}");
        }
    }
}
