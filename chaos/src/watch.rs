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
use crate::roster::LIAR;

/// How long a node may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// The logs of a mesh, read as far as they went.
#[derive(Debug)]
pub(crate) struct Logs {
    logs: Vec<Log>,
    /// All nodes of which something is said.
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

    /// Notes what was said since last time about nodes that are dead, banned or silent.
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

/// A line of a node about another that is dead, banned or silent, as `starling run` prints it.
fn understand(line: &str, names: &[String]) -> Option<What> {
    let (node, said) = line.split_once(": ")?;
    let is_name = |name: &str| names.iter().any(|known| known == name);
    let (node, own) = (node.to_owned(), str::to_owned);
    let (of, what) = if let Some(of) = said.strip_prefix("lost: ") {
        (of, What::Said { node, of: own(of), word: own("lost") })
    } else if let Some(of) = said.strip_suffix(" left") {
        (of, What::Said { node, of: own(of), word: own("left") })
    } else if let Some((of, reason)) = said.strip_prefix("banned ").and_then(|said| said.split_once(": ")) {
        (of, What::Banned { node, of: own(of), reason: own(reason) })
    } else {
        let of = said.strip_prefix("link down: ")?.strip_suffix(" fell silent")?;
        (of, What::LinkLost { node, of: own(of) })
    };
    let speaker = line.split_once(": ")?.0;
    (is_name(speaker) && is_name(of)).then_some(what)
}

/// What a node knows; nothing if it does not answer in time.
pub(crate) async fn ask(endpoint: &Endpoint, address: SocketAddr) -> Option<Overview> {
    let asking = async { Observer::connect(endpoint, address, None).await?.overview().await };
    tokio::time::timeout(ANSWER_WITHIN, asking).await.ok()?.ok()
}

/// The nodes that another does not take for alive, each with its state. One that it never needed to
/// meet is no fault, and nothing is promised to a liar.
pub(crate) fn not_up(overview: &Overview) -> Vec<(String, String)> {
    let honest = overview.members.iter().filter(|member| member.name != LIAR);
    let wrong = honest.filter(|member| !matches!(member.status.as_str(), "up" | "known"));
    wrong.map(|member| (member.name.clone(), member.status.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_about_deaths_bans_and_silence_are_understood_and_no_others() {
        let names = ["coordinator", "r0-edge-0", "r0-edge-1"].map(str::to_owned);
        let understand = |line| understand(line, &names);
        let said = |node: &str, of: &str, word: &str| {
            Some(What::Said { node: node.into(), of: of.into(), word: word.into() })
        };
        assert_eq!(understand("r0-edge-1: lost: r0-edge-0"), said("r0-edge-1", "r0-edge-0", "lost"));
        assert_eq!(understand("coordinator: r0-edge-0 left"), said("coordinator", "r0-edge-0", "left"));
        let banned = What::Banned {
            node: "r0-edge-1".into(),
            of: "r0-edge-0".into(),
            reason: "forged bundles: six".into(),
        };
        assert_eq!(understand("r0-edge-1: banned r0-edge-0: forged bundles: six"), Some(banned));
        let silent = What::LinkLost { node: "r0-edge-1".into(), of: "r0-edge-0".into() };
        assert_eq!(understand("r0-edge-1: link down: r0-edge-0 fell silent"), Some(silent));
        for other in [
            "r0-edge-1: link down: r0-edge-0 closed it",
            "r0-edge-1: banned somebody: so",
            "r0-edge-1: r0-edge-0 does not answer",
            "r0-edge-1 listens on 127.0.0.1:1",
            "error: nobody left",
            "",
        ] {
            assert_eq!(understand(other), None, "{other}");
        }
    }
}
