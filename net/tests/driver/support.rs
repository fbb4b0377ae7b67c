//! A machine that does as it is told, a node round it, and a client of few words.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use starling_core::hot::view::Me;
use starling_core::identity::{AttachTerms, PublicKey, Roles};
use starling_core::machine::{Input, Machine, Outbox, Output};
use starling_core::time::{Now, Time};
use starling_core::wire::frame::{FrameDecoder, FrameType};
use starling_core::wire::message::Hello;
use starling_core::wire::request::{Reply, Say};
use starling_net::shaping::Shaper;
use starling_net::trust::{Authority, NodeRequest, SERVER_NAME, agent_client_config, channel_binding};
use starling_net::{Node, NodeHandle, NodeSettings, StartError};
use tempfile::TempDir;

pub const PATIENCE: Duration = Duration::from_secs(8);

type Shared<T> = Arc<Mutex<Vec<T>>>;

struct Script {
    seen: Shared<Input>,
    told: Shared<Output>,
}

impl Machine for Script {
    fn handle(&mut self, _now: Now, input: Input, out: &mut Outbox) {
        assert!(!matches!(input, Input::Committed { index: 0, .. }), "what breaks this machine");
        if matches!(input, Input::Stop) {
            out.push(Output::Stopped);
        }
        self.told.lock().unwrap().drain(..).for_each(|output| out.push(output));
        self.seen.lock().unwrap().push(input);
    }

    fn deadline(&self) -> Option<Time> {
        None
    }

    fn check(&self) {}
}

pub fn wall_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

pub fn settings(authority: &Authority, name: &str, directory: &Path) -> NodeSettings {
    settings_of(authority, name, Roles::EDGE, directory)
}

pub fn settings_of(authority: &Authority, name: &str, roles: Roles, directory: &Path) -> NodeSettings {
    starling_net::trust::install_crypto();
    let request = NodeRequest::new(roles, "eu", name, Duration::from_secs(3600)).unwrap();
    NodeSettings {
        credentials: authority.issue(&request, Time::from_millis(wall_ms())).unwrap(),
        credentials_directory: None,
        certificate_lifetime: Duration::from_secs(3600),
        trust: authority.trust().clone(),
        listen: "127.0.0.1:0".parse().unwrap(),
        advertise: None,
        is_silent: false,
        directory: directory.to_owned(),
        spreads: false,
        shaper: None,
        trial: None,
        version: "test".to_owned(),
        agreement: None,
    }
}

pub async fn try_start(settings: NodeSettings) -> Result<NodeHandle, StartError> {
    Node::start(settings, |_| Box::new(Script { seen: Shared::default(), told: Shared::default() })).await
}

/// A node with the test's machine.
pub struct Bench {
    pub handle: NodeHandle,
    pub me: Me,
    pub key: PublicKey,
    pub node: starling_core::id::NodeId,
    seen: Shared<Input>,
    told: Shared<Output>,
    directory: TempDir,
}

impl Bench {
    pub async fn start(authority: &Authority, name: &str) -> Bench {
        Bench::start_with(authority, name, None, tempfile::tempdir().unwrap()).await
    }

    pub async fn start_with(
        authority: &Authority,
        name: &str,
        shaper: Option<Shaper>,
        directory: TempDir,
    ) -> Bench {
        let settings = NodeSettings { shaper, ..settings(authority, name, directory.path()) };
        Bench::run(settings, directory).await
    }

    pub async fn run(settings: NodeSettings, directory: TempDir) -> Bench {
        let key = settings.credentials.identity.public();
        let (seen, told) = (Shared::default(), Shared::default());
        let script = Script { seen: Arc::clone(&seen), told: Arc::clone(&told) };
        let mut who = None;
        let make = |start: starling_net::Start| -> Box<dyn Machine> {
            who = Some((start.me, start.node));
            Box::new(script)
        };
        let handle = Node::start(settings, make).await.unwrap();
        let (me, node) = who.unwrap();
        Bench { handle, me, key, node, seen, told, directory }
    }

    pub async fn stop(self) -> TempDir {
        self.handle.stop().await;
        self.directory
    }

    /// Makes the machine panic.
    pub async fn break_machine(&self) {
        let input = Input::Committed { index: 0, entry: Bytes::new() };
        self.handle.inputs().send(input).await.unwrap();
    }

    /// Makes the machine output these.
    pub async fn act(&self, outputs: impl IntoIterator<Item = Output>) {
        self.told.lock().unwrap().extend(outputs);
        self.handle.inputs().send(Input::Wake).await.unwrap();
    }

    /// What `find` finds in all inputs so far.
    pub fn collect<T>(&self, find: impl FnMut(&Input) -> Option<T>) -> Vec<T> {
        self.seen.lock().unwrap().iter().filter_map(find).collect()
    }

    /// Waits for an input in which `find` finds something.
    pub async fn until<T>(&self, what: &str, find: impl Fn(&Input) -> Option<T>) -> T {
        let started = std::time::Instant::now();
        loop {
            if let Some(found) = self.seen.lock().unwrap().iter().find_map(&find) {
                return found;
            }
            assert!(started.elapsed() < PATIENCE, "waited in vain for {what}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

pub fn client_endpoint(authority: &Authority) -> quinn::Endpoint {
    let mut endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    endpoint
        .set_default_client_config(quinn::ClientConfig::new(agent_client_config(authority.trust()).unwrap()));
    endpoint
}

/// An agents' connection.
pub struct Client {
    pub connection: quinn::Connection,
    pub terms: AttachTerms,
    send: quinn::SendStream,
    receive: quinn::RecvStream,
    decoder: FrameDecoder,
    passed: Vec<(FrameType, Bytes)>,
}

impl Client {
    pub async fn connect(endpoint: &quinn::Endpoint, edge: &Bench) -> Client {
        Client::reach(endpoint, edge.handle.address(), edge.node, edge.me.incarnation).await
    }

    /// Connects to the edge that is called this.
    pub async fn reach(
        endpoint: &quinn::Endpoint,
        address: std::net::SocketAddr,
        edge: starling_core::id::NodeId,
        edge_incarnation: u64,
    ) -> Client {
        let connection = endpoint.connect(address, SERVER_NAME).unwrap().await.unwrap();
        let (send, receive) = connection.open_bi().await.unwrap();
        let binding = channel_binding(&connection).unwrap();
        let terms = AttachTerms { edge, edge_incarnation, binding };
        let decoder = FrameDecoder::new();
        let mut client = Client { connection, terms, send, receive, decoder, passed: Vec::new() };
        client.send(Hello { version_low: 1, version_high: 3, ..Hello::default() }.to_frame()).await;
        let hello = Hello::decode_body(client.frame(FrameType::Hello).await).unwrap();
        assert_eq!(hello.node.unwrap().incarnation, edge_incarnation);
        client
    }

    pub async fn send(&mut self, frames: Bytes) {
        self.send.write_chunk(frames).await.unwrap();
    }

    async fn next(&mut self) -> (FrameType, Bytes) {
        loop {
            if let Some(frame) = self.decoder.next_frame().unwrap() {
                return frame;
            }
            let reading = self.receive.read_chunk(64 * 1024, true);
            let chunk = tokio::time::timeout(PATIENCE, reading).await.expect("waited in vain for a frame");
            self.decoder.push(chunk.unwrap().unwrap().bytes);
        }
    }

    /// The next frame of this type; others are kept for later.
    pub async fn frame(&mut self, kind: FrameType) -> Bytes {
        if let Some(at) = self.passed.iter().position(|(passed, _)| *passed == kind) {
            return self.passed.remove(at).1;
        }
        loop {
            match self.next().await {
                (found, body) if found == kind => return body,
                other => self.passed.push(other),
            }
        }
    }

    pub async fn reply(&mut self, id: u64) -> Reply {
        loop {
            let reply = Reply::decode_body(self.frame(FrameType::Reply).await).unwrap();
            if reply.id == id {
                return reply;
            }
        }
    }

    /// The first notice in which `find` finds something.
    pub async fn notices<T>(&mut self, find: impl Fn(Say) -> Option<T>) -> T {
        loop {
            if let Some(found) = self.reply(0).await.say.and_then(&find) {
                return found;
            }
        }
    }
}
