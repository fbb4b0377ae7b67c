//! Does to a mesh of processes what a scenario says.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use starling_loadtest::mesh::LocalMesh;
use starling_net::shaping::Rule;
use starling_net::shaping::links::BadLink;

use crate::faults::{FaultKind, Step};

/// The links that are bad now, and the file that tells the nodes.
#[derive(Debug)]
pub(crate) struct Injector {
    addresses: BTreeMap<String, SocketAddr>,
    bad: BTreeMap<(String, String), Rule>,
    file: PathBuf,
    /// While this exists a hostile node attacks.
    sign: PathBuf,
}

impl Injector {
    /// All links are good; the file exists when this returns.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn new(file: &Path, addresses: BTreeMap<String, SocketAddr>) -> Result<Injector> {
        let injector =
            Injector { addresses, bad: BTreeMap::new(), file: file.to_owned(), sign: sign_beside(file) };
        injector.write()?;
        Ok(injector)
    }

    /// Does one thing.
    ///
    /// # Errors
    /// The system refuses, or the process is not in the state that the step begins from.
    pub fn apply(&mut self, step: &Step, mesh: &mut LocalMesh) -> Result<()> {
        match step.kind {
            FaultKind::Kill => mesh.kill(&step.target),
            FaultKind::Restart => mesh.restart(&step.target),
            FaultKind::Pause => mesh.pause(&step.target),
            FaultKind::Resume => mesh.resume(&step.target),
            FaultKind::Attack => fs::write(&self.sign, "").context("cannot begin the attack"),
            FaultKind::Relent => fs::remove_file(&self.sign).context("cannot end the attack"),
            FaultKind::Cut | FaultKind::OneWay | FaultKind::Slow => {
                self.bad.extend(step.links.iter().map(|link| (link.clone(), step.rule)));
                self.write()
            }
            FaultKind::Mend => {
                self.bad.retain(|link, _| !step.links.contains(link));
                self.write()
            }
        }
    }

    fn write(&self) -> Result<()> {
        let address = |name: &String| {
            self.addresses.get(name).copied().with_context(|| format!("no node is called {name}"))
        };
        let mut text = String::new();
        for ((from, to), rule) in &self.bad {
            let link = BadLink { from: address(from)?, to: address(to)?, rule: *rule };
            text.push_str(&format!("{link}\n"));
        }
        let draft = self.file.with_extension("new");
        fs::write(&draft, text)
            .and_then(|()| fs::rename(&draft, &self.file))
            .with_context(|| format!("cannot write {}", self.file.display()))
    }
}

/// Where the sign is by which a hostile node attacks.
pub(crate) fn sign_beside(file: &Path) -> PathBuf {
    file.with_file_name("sign")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::between;

    #[test]
    fn the_file_has_the_links_that_are_bad_now() {
        let file = std::env::temp_dir().join(format!("starling-injector-{}", std::process::id()));
        let address = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let names = ["a".to_owned(), "b".to_owned(), "c".to_owned()];
        let addresses = names.iter().cloned().zip([address(1), address(2), address(3)]).collect();
        let mut injector = Injector::new(&file, addresses).unwrap();
        let said = || starling_net::shaping::links::parse(&fs::read_to_string(&file).unwrap()).unwrap();
        assert_eq!(said(), []);
        let cut = Rule { cut: true, ..Rule::default() };
        let first = between(&names[..1], &names[1..2]);
        let second = between(&names[..1], &names[2..]);
        injector.bad.extend(first.iter().chain(&second).map(|link| (link.clone(), cut)));
        injector.write().unwrap();
        assert_eq!(said().len(), 4);
        injector.bad.retain(|link, _| !second.contains(link));
        injector.write().unwrap();
        let link = |from, to| BadLink { from: address(from), to: address(to), rule: cut };
        assert_eq!(said(), [link(1, 2), link(2, 1)]);
        fs::remove_file(&file).unwrap();
    }
}
