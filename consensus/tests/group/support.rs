//! Coordinators of one process over links of memory, which can be cut.

#![allow(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use starling_consensus::Consensus;
use starling_core::agreement::{Agreed, Agreement, Ground, Part, Standing};
use starling_core::id::ShortId;
use starling_core::machine::Input;
use starling_core::wire::codec::DecodeError;
use tempfile::TempDir;

/// Far longer than anything takes on a machine that is not broken.
const PATIENCE: Duration = Duration::from_secs(120);

/// All entries, as state: tests are small.
#[derive(Default)]
pub struct All(Vec<Bytes>);

fn entries_of(snapshot: &[u8]) -> Vec<Bytes> {
    snapshot.chunks(16).map(Bytes::copy_from_slice).collect()
}

impl Agreed for All {
    fn apply(&mut self, index: u64, entry: &[u8]) {
        assert_eq!(index, self.0.len() as u64 + 1, "indices have no gaps");
        self.0.push(Bytes::copy_from_slice(entry));
    }

    fn snapshot(&self) -> Bytes {
        self.0.concat().into()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), DecodeError> {
        self.0 = entries_of(snapshot);
        Ok(())
    }
}

/// An entry of 16 bytes.
pub fn entry(number: u64) -> Bytes {
    format!("{number:016}").into_bytes().into()
}

/// What one coordinator's machine was told.
#[derive(Default)]
pub struct Told {
    pub entries: Vec<Bytes>,
    pub undecided: Vec<(Bytes, bool)>,
    pub standings: Vec<Standing>,
    pub restored: usize,
    pub failed: Option<String>,
}

#[derive(Default)]
struct Wires {
    running: BTreeMap<u64, Arc<Consensus>>,
    cut: BTreeSet<(u64, u64)>,
}

/// The links.
#[derive(Clone, Default)]
pub struct Net(Arc<Mutex<Wires>>);

impl std::fmt::Debug for Net {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("links of memory")
    }
}

struct Floor {
    me: u64,
    net: Net,
    told: Arc<Mutex<Told>>,
}

impl std::fmt::Debug for Floor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "node {}", self.me)
    }
}

impl Ground for Floor {
    fn send(&self, peer: ShortId, message: Bytes) -> bool {
        assert!(message.len() <= 60 * 1024 + 4096, "{} bytes do not fit a control frame", message.len());
        let wires = self.net.0.lock().unwrap();
        if wires.cut.contains(&(self.me, peer.0)) {
            return false;
        }
        let Some(peer) = wires.running.get(&peer.0).cloned() else { return false };
        drop(wires);
        peer.heard(ShortId(self.me), message);
        true
    }

    fn tell(&self, input: Input) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let mut told = self.told.lock().unwrap();
        match input {
            Input::Committed { index, entry } => {
                assert_eq!(index, told.entries.len() as u64 + 1, "indices have no gaps");
                told.entries.push(entry);
            }
            Input::Restored { index, state } => {
                told.entries = entries_of(&state);
                told.restored += 1;
                assert_eq!(index, told.entries.len() as u64);
            }
            Input::Undecided { entry, is_doubtful } => told.undecided.push((entry, is_doubtful)),
            Input::Standings(standings) => told.standings = standings,
            other => panic!("{other:?} is no news of agreement"),
        }
        Box::pin(async {})
    }

    fn fail(&self, reason: String) {
        self.told.lock().unwrap().failed.get_or_insert(reason);
    }
}

/// A coordinator.
pub struct Node {
    pub me: u64,
    pub directory: TempDir,
    pub told: Arc<Mutex<Told>>,
    pub incarnation: u64,
    pub running: Option<Arc<Consensus>>,
}

/// Several.
pub struct Group {
    pub net: Net,
    pub nodes: Vec<Node>,
    voters: BTreeSet<ShortId>,
}

impl Group {
    /// A group of `count`, running.
    pub fn new(count: u64) -> Group {
        let voters = (1..=count).map(ShortId).collect();
        let mut group = Group { net: Net::default(), nodes: Vec::new(), voters };
        for me in 1..=count {
            let directory = tempfile::tempdir().unwrap();
            group.nodes.push(Node { me, directory, told: Arc::default(), incarnation: 0, running: None });
        }
        (0..group.nodes.len()).for_each(|at| group.start(at));
        group
    }

    /// Starts one that begins no group.
    pub fn add(&mut self, me: u64) {
        let directory = tempfile::tempdir().unwrap();
        self.nodes.push(Node { me, directory, told: Arc::default(), incarnation: 0, running: None });
        self.start(self.nodes.len() - 1);
    }

    /// Starts a node; its machine begins anew.
    pub fn start(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let me = ShortId(node.me);
        let agreed = Box::new(All::default());
        let voters = if self.voters.contains(&me) { self.voters.clone() } else { BTreeSet::new() };
        let consensus = Consensus::open(node.directory.path(), me, &voters, agreed).unwrap();
        node.incarnation += 1;
        node.told = Arc::default();
        let ground = Floor { me: node.me, net: self.net.clone(), told: Arc::clone(&node.told) };
        consensus.begin(me, node.incarnation, Arc::new(ground));
        node.running = Some(Arc::clone(&consensus));
        self.net.0.lock().unwrap().running.insert(node.me, consensus);
        self.relink();
    }

    /// Tells everybody who is linked.
    fn relink(&self) {
        let (running, cut) = {
            let wires = self.net.0.lock().unwrap();
            (wires.running.clone(), wires.cut.clone())
        };
        for (me, consensus) in &running {
            for peer in self.nodes.iter().map(|node| node.me).filter(|peer| peer != me) {
                let is_up = running.contains_key(&peer) && !cut.contains(&(*me, peer));
                consensus.linked(ShortId(peer), is_up);
            }
        }
    }

    /// Stops a node and waits until its store is closed.
    pub async fn stop(&mut self, at: usize) {
        let consensus = self.nodes[at].running.take().expect("it runs");
        self.net.0.lock().unwrap().running.remove(&self.nodes[at].me);
        self.relink();
        consensus.end();
        consensus.ended().await;
    }

    /// Cuts a node off in both directions, or joins it again.
    pub fn cut(&self, at: usize, is_cut: bool) {
        let me = self.nodes[at].me;
        for peer in self.nodes.iter().map(|node| node.me).filter(|peer| *peer != me) {
            let mut wires = self.net.0.lock().unwrap();
            for pair in [(me, peer), (peer, me)] {
                if is_cut {
                    wires.cut.insert(pair);
                } else {
                    wires.cut.remove(&pair);
                }
            }
        }
        self.relink();
    }

    pub fn propose(&self, at: usize, entry: Bytes) {
        assert!(self.nodes[at].running.as_ref().expect("it runs").propose(entry), "there is room");
    }

    /// What a running node says of the group: (leader, its term).
    pub fn leader_by(&self, at: usize) -> Option<(u64, u64)> {
        let told = self.nodes[at].told.lock().unwrap();
        let leader = told.standings.iter().find(|standing| standing.part == Part::Leader)?;
        Some((leader.id.0, leader.term))
    }

    pub fn entries(&self, at: usize) -> Vec<Bytes> {
        self.nodes[at].told.lock().unwrap().entries.clone()
    }

    /// Waits for a leader that all of these agree on; its place and term.
    pub async fn leader(&self, of: &[usize]) -> (usize, u64) {
        let agreed = || {
            let first = self.leader_by(of[0])?;
            let all = of.iter().all(|at| self.leader_by(*at) == Some(first));
            let at = self.nodes.iter().position(|node| node.me == first.0 && node.running.is_some())?;
            (all && of.contains(&at)).then_some((at, first.1))
        };
        until("a leader", agreed).await
    }
}

/// Waits until there is something.
pub async fn until<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begin.elapsed() < PATIENCE, "{what} did not come in {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
