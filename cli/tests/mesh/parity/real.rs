//! The mesh of the scenario as processes of the binary, and agents of the client library.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use starling_client::session::{Endpoint, EndpointSettings};
use starling_client::{
    Agent, AgentId, Client, ClientSettings, Notice, Profile, Publication, Subscription, Value,
};
use starling_core::wire::request::{KeyChange, Overview};
use starling_loadtest::mesh::{LocalMesh, Plan, PlannedNode, free_addresses};
use starling_loadtest::observer::Observer;
use starling_net::trust::install_crypto;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use super::{Entry, Ground, Heard, NODES, To, key_of};
use crate::process::private_directory;

/// In which anything must be done.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a node that runs may take to answer.
const ANSWER: Duration = Duration::from_secs(3);
/// Nothing comes any more when nothing came for so long.
const SILENCE: Duration = Duration::from_millis(500);

/// One agent and all that listens for it.
struct Seat {
    edge: &'static str,
    agent: Agent,
    listening: JoinSet<()>,
}

/// The mesh.
pub struct Real {
    runtime: Runtime,
    mesh: LocalMesh,
    addresses: BTreeMap<String, SocketAddr>,
    endpoint: Endpoint,
    seats: Vec<Option<Seat>>,
    readers: BTreeMap<String, Client>,
    dead: Option<&'static str>,
    heard: Arc<Mutex<Vec<Heard>>>,
    _directory: TempDir,
}

impl Real {
    /// Starts all nodes, each a process of its own.
    pub fn start() -> Real {
        install_crypto();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let directory = private_directory();
        let addresses = free_addresses(NODES.len()).unwrap();
        let planned = NODES.iter().zip(&addresses).enumerate();
        let nodes = planned.map(|(process, ((name, roles, region), address))| PlannedNode {
            name: name.to_string(),
            roles: *roles,
            region: region.to_string(),
            address: *address,
            http: None,
            process,
        });
        let plan = Plan {
            mesh: "parity".into(),
            directory: directory.path().to_owned(),
            program: env!("CARGO_BIN_EXE_starling").into(),
            arguments: Vec::new(),
            nodes: nodes.collect(),
        };
        let mesh = LocalMesh::launch(plan).unwrap();
        let names = NODES.iter().map(|(name, ..)| name.to_string());
        let addresses = names.zip(addresses).collect();
        let endpoint = {
            let _entered = runtime.enter();
            Endpoint::new(mesh.trust(), &EndpointSettings::default()).unwrap()
        };
        Real {
            runtime,
            mesh,
            addresses,
            endpoint,
            seats: (0..6).map(|_| None).collect(),
            readers: BTreeMap::new(),
            dead: None,
            heard: Arc::default(),
            _directory: directory,
        }
    }

    fn settings(&self, edge: &str) -> ClientSettings {
        ClientSettings::new(self.mesh.trust().clone(), [self.addresses[edge].to_string()])
    }

    fn within<T>(&self, what: &str, future: impl Future<Output = T>) -> T {
        let done = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, future).await });
        done.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
    }

    fn sleep(&self, time: Duration) {
        self.runtime.block_on(async { tokio::time::sleep(time).await });
    }

    fn agent(&self, agent: usize) -> Agent {
        self.seats[agent].as_ref().expect("the scenario's agent is attached").agent.clone()
    }

    /// Waits until nobody hears anything any more.
    fn wait_for_silence(&self) {
        let count = || self.heard.lock().unwrap().len();
        let mut before = usize::MAX;
        while count() != before {
            before = count();
            self.sleep(SILENCE);
        }
    }
}

/// A value as the scenario compares it.
pub fn text(value: &Value) -> Option<String> {
    let bytes = value.as_bytes().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    bytes.or_else(|| value.as_number().map(|number| number.to_string()))
}

fn number_of(agent: AgentId) -> usize {
    let of = |number: &usize| AgentId::of_key(&key_of(*number).public().0) == agent;
    (0..6).find(of).expect("no stranger publishes")
}

fn understand(by: usize, pattern: Option<&str>, notice: Notice) -> Heard {
    match notice {
        Notice::Gap { .. } => Heard::Gap { by },
        Notice::Event(event) => Heard::Entry {
            by,
            publisher: number_of(event.publisher),
            pattern: pattern.map(str::to_owned),
            subject: event.subject,
            payload: String::from_utf8(event.payload.to_vec()).unwrap(),
        },
    }
}

async fn listen(
    by: usize,
    pattern: &'static str,
    mut subscription: Subscription,
    heard: Arc<Mutex<Vec<Heard>>>,
) {
    while let Some(notice) = subscription.next().await {
        heard.lock().unwrap().push(understand(by, Some(pattern), notice));
    }
}

/// An agent publishes in order, and waits until all is acknowledged.
async fn publish(agent: Agent, entries: Vec<Entry>) {
    for entry in entries {
        let publication = match entry.to {
            To::Subject(subject) => Publication::on(subject, entry.payload),
            To::Agent(to) => Publication::to(AgentId::of_key(&key_of(to).public().0), entry.payload),
        };
        let publication = if entry.is_priority { publication.priority() } else { publication };
        agent.publish_with(publication).await.unwrap();
    }
    agent.client().flush().await.unwrap();
}

impl Ground for Real {
    fn pass(&mut self) {
        self.sleep(Duration::from_millis(50));
        if let Some(ended) = self.mesh.find_ended() {
            panic!("a process ended by itself: {ended}");
        }
    }

    fn rest(&mut self) {
        self.sleep(Duration::from_secs(2));
    }

    fn attach(&mut self, agent: usize, edge: &'static str) {
        let settings = self.settings(edge);
        let heard = Arc::clone(&self.heard);
        let seat = self.within("attach", async {
            let client = Client::connect(settings).await.unwrap();
            let profile = Profile { name: String::new(), state: "idle".into(), tags: Vec::new() };
            let attached = client.agent(key_of(agent), profile).await.unwrap();
            let mut inbox = attached.inbox().unwrap();
            let mut listening = JoinSet::new();
            listening.spawn(async move {
                while let Some(notice) = inbox.next().await {
                    heard.lock().unwrap().push(understand(agent, None, notice));
                }
            });
            Seat { edge, agent: attached, listening }
        });
        self.seats[agent] = Some(seat);
    }

    fn leave(&mut self, agent: usize) {
        self.wait_for_silence();
        let mut seat = self.seats[agent].take().expect("the scenario's agent is attached");
        self.within("leave", async {
            seat.listening.shutdown().await;
            seat.agent.client().close().await.unwrap();
        });
    }

    fn subscribe(&mut self, agent: usize, pattern: &'static str) {
        let subscription = self.within("subscribe", self.agent(agent).subscribe(pattern)).unwrap();
        let heard = Arc::clone(&self.heard);
        let _entered = self.runtime.enter();
        let seat = self.seats[agent].as_mut().expect("it was there a moment ago");
        seat.listening.spawn(listen(agent, pattern, subscription, heard));
    }

    fn publish(&mut self, entries: Vec<Entry>) {
        let mut of_agents: BTreeMap<usize, Vec<Entry>> = BTreeMap::new();
        entries.into_iter().for_each(|entry| of_agents.entry(entry.agent).or_default().push(entry));
        let agents: Vec<(Agent, Vec<Entry>)> =
            of_agents.into_iter().map(|(agent, entries)| (self.agent(agent), entries)).collect();
        self.within("publish", async {
            let mut publishing = JoinSet::new();
            for (agent, entries) in agents {
                publishing.spawn(publish(agent, entries));
            }
            publishing.join_all().await;
        });
    }

    fn write(&mut self, agent: usize, key: &str, change: KeyChange) {
        let agent = self.agent(agent);
        let written = async {
            match change {
                KeyChange::Put(value) => agent.put(key, value).await,
                KeyChange::Add(amount) => agent.add(key, amount).await,
                KeyChange::Max(number) => agent.max(key, number).await,
                KeyChange::Min(number) => agent.min(key, number).await,
                KeyChange::Delete(_) => agent.delete(key).await,
            }
        };
        self.within("write", written).unwrap();
    }

    fn read(&mut self, edge: &str, key: &str) -> Option<String> {
        if !self.readers.contains_key(edge) {
            let client = self.within("connect", Client::connect(self.settings(edge))).unwrap();
            self.readers.insert(edge.to_owned(), client);
        }
        let value = self.within("read", self.readers[edge].get(key)).unwrap();
        value.as_ref().and_then(text)
    }

    fn kill(&mut self, edge: &'static str) {
        self.wait_for_silence();
        self.mesh.kill(edge).unwrap();
        self.dead = Some(edge);
        self.readers.remove(edge);
        let is_there = |seat: &&mut Option<Seat>| seat.as_ref().is_some_and(|seat| seat.edge == edge);
        for seat in self.seats.iter_mut().filter(is_there) {
            let Some(mut gone) = seat.take() else { continue };
            self.runtime.block_on(gone.listening.shutdown());
        }
    }

    fn start(&mut self, edge: &'static str) {
        self.mesh.restart(edge).unwrap();
        self.dead = None;
    }

    fn overview(&mut self, node: &str) -> Option<Overview> {
        if self.dead == Some(node) {
            return None;
        }
        let asking = async {
            let observer = Observer::connect(&self.endpoint, self.addresses[node], None).await.ok()?;
            observer.overview().await.ok()
        };
        self.runtime.block_on(async { tokio::time::timeout(ANSWER, asking).await }).ok()?
    }

    fn heard(&mut self) -> Vec<Heard> {
        self.wait_for_silence();
        self.heard.lock().unwrap().clone()
    }
}
