//! An edge that does as little as a test needs, and does what the test tells it.

#![allow(missing_docs, unreachable_pub, dead_code, reason = "serves tests, each of which uses a part")]
#![allow(clippy::unwrap_used, reason = "a test that fails says so by panicking")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use quinn::{Connection, Endpoint, ServerConfig, TransportConfig, VarInt};
use starling_client::AgentId;
use starling_core::id::ShortId;
use starling_core::identity::{AttachTerms, Roles};
use starling_core::membership::record;
use starling_core::time::Time;
use starling_core::wire::agent::{
    Attach, Change, Deliver, Publish, Published, Receivers, System, SystemAcknowledge,
};
use starling_core::wire::bundle::Class;
use starling_core::wire::codec::Wire;
use starling_core::wire::entry::{Extras, put_entry};
use starling_core::wire::frame::{FrameDecoder, FrameType};
use starling_core::wire::message::{Hello, PeerRecord};
use starling_core::wire::request::{
    Ask, Attached, Changed, Empty, RefusedCode, Reply, Request, Say, Undelivered,
};
use starling_net::probe::Probe;
use starling_net::trust::{self, Authority, NodeCredentials, NodeRequest};
use tokio::sync::mpsc;

/// What a fake edge has seen and how it behaves.
#[derive(Default)]
pub struct Seen {
    pub attached: Vec<(AgentId, u64)>,
    pub bad_claims: usize,
    pub published: Vec<Publish>,
    pub patterns: Vec<String>,
    pub changes: Vec<Change>,
    pub acknowledged: Vec<SystemAcknowledge>,
    /// Whether publications are acknowledged at once.
    pub acknowledges: bool,
    /// Requests other than subscribe that are still refused as unavailable.
    pub refusals: usize,
    pub versions: (u32, u32),
}

pub struct FakeEdge {
    pub address: SocketAddr,
    pub seen: Arc<Mutex<Seen>>,
    endpoint: Endpoint,
    outgoing: Arc<Mutex<Vec<mpsc::Sender<Bytes>>>>,
}

pub fn authority(name: &str) -> Authority {
    trust::install_crypto();
    Authority::create(name).unwrap()
}

fn credentials(authority: &Authority, name: &str) -> NodeCredentials {
    let wall = Time::ZERO + SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let request = NodeRequest::new(Roles::EDGE, "eu", name, Duration::from_secs(3600)).unwrap();
    authority.issue(&request, wall).unwrap()
}

impl FakeEdge {
    pub fn start(authority: &Authority, name: &str, acknowledges: bool) -> FakeEdge {
        let credentials = Arc::new(credentials(authority, name));
        let config = trust::server_config(&credentials, authority.trust()).unwrap();
        let mut server = ServerConfig::with_crypto(config);
        let mut transport = TransportConfig::default();
        transport.max_idle_timeout(Some(VarInt::from_u32(5_000).into()));
        server.transport_config(Arc::new(transport));
        let endpoint = Endpoint::server(server, "127.0.0.1:0".parse().unwrap()).unwrap();
        let seen = Arc::new(Mutex::new(Seen { acknowledges, versions: (1, 1), ..Seen::default() }));
        let outgoing = Arc::new(Mutex::new(Vec::new()));
        let edge =
            FakeEdge { address: endpoint.local_addr().unwrap(), seen, endpoint: endpoint.clone(), outgoing };
        let (seen, outgoing) = (Arc::clone(&edge.seen), Arc::clone(&edge.outgoing));
        tokio::spawn(async move {
            while let Some(incoming) = endpoint.accept().await {
                let (seen, credentials, outgoing) =
                    (Arc::clone(&seen), Arc::clone(&credentials), Arc::clone(&outgoing));
                tokio::spawn(async move {
                    if let Ok(connection) = incoming.await {
                        serve(connection, &credentials, &seen, &outgoing).await;
                    }
                });
            }
        });
        edge
    }

    /// Stops as if the process were killed: nobody is told.
    pub fn kill(&self) {
        self.endpoint.rebind(std::net::UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
        self.endpoint.close(VarInt::from_u32(0), b"");
    }

    /// Sends a frame to every client.
    pub async fn send(&self, frame: Bytes) {
        let outgoing = self.outgoing.lock().unwrap().clone();
        for sender in outgoing {
            // Who is gone needs nothing.
            drop(sender.send(frame.clone()).await);
        }
    }

    /// Connections that are open.
    pub fn connections(&self) -> usize {
        self.endpoint.open_connections()
    }

    pub fn look<T>(&self, at: impl FnOnce(&mut Seen) -> T) -> T {
        at(&mut self.seen.lock().unwrap())
    }
}

/// A delivery of entries with these sequences.
pub fn delivery(receivers: Receivers, publisher: AgentId, sequences: &[u64], payload: &[u8]) -> Bytes {
    let mut body = BytesMut::new();
    for sequence in sequences {
        put_entry(&mut body, 0, *sequence, &Extras::default(), payload);
    }
    let deliver = Deliver {
        receivers,
        class: Class::EventBulk,
        subject: Bytes::from_static(b"news.local"),
        origin: ShortId(1),
        clock: 9,
        agents: vec![(0, publisher)],
        count: u16::try_from(sequences.len()).unwrap(),
        body: body.freeze(),
    };
    let mut out = BytesMut::new();
    deliver.put_front(&mut out);
    out.extend_from_slice(&deliver.body);
    out.freeze()
}

pub fn system(agent: u32, index: u64, payload: &'static [u8]) -> Bytes {
    let mut out = BytesMut::new();
    System { agent, index, payload: Bytes::from_static(payload) }.put_frame(&mut out);
    out.freeze()
}

pub fn published(from: u64, to: u64) -> Bytes {
    Published(vec![(from, to)]).to_frame()
}

pub fn undelivered(number: u64) -> Bytes {
    reply(0, Say::Undelivered(Undelivered { numbers: vec![number] }))
}

pub fn reply(id: u64, say: Say) -> Bytes {
    Reply { id, say: Some(say) }.to_frame()
}

async fn serve(
    connection: Connection,
    credentials: &NodeCredentials,
    seen: &Mutex<Seen>,
    outgoing: &Mutex<Vec<mpsc::Sender<Bytes>>>,
) {
    let Ok((mut send, mut receive)) = connection.accept_bi().await else { return };
    let (version_low, version_high) = seen.lock().unwrap().versions;
    let admission = credentials.admission.to_bytes();
    let record = PeerRecord { admission, incarnation: 77, ..PeerRecord::default() };
    let record = record::signed(record, credentials.admission.mesh, &credentials.identity.signer());
    let hello = Hello { version_low, version_high, node: Some(record), ..Hello::default() };
    if send.write_chunk(hello.to_frame()).await.is_err() {
        return;
    }
    let (sender, mut frames) = mpsc::channel::<Bytes>(64);
    outgoing.lock().unwrap().push(sender.clone());
    tokio::spawn(async move {
        while let Some(frame) = frames.recv().await {
            if send.write_chunk(frame).await.is_err() {
                return;
            }
        }
    });
    let probes = connection.clone();
    tokio::spawn(async move {
        while let Ok(datagram) = probes.read_datagram().await {
            let answer = match Probe::from_bytes(&datagram) {
                Ok(Probe::Ping(nonce)) => Probe::Pong(nonce),
                Ok(Probe::Ask(nonce)) => Probe::Alive(nonce, 0),
                _ => continue,
            };
            drop(probes.send_datagram(answer.to_bytes()));
        }
    });
    let terms = AttachTerms {
        edge: credentials.node(),
        edge_incarnation: 77,
        binding: trust::channel_binding(&connection).unwrap(),
    };
    let mut counts = (0, 0);
    let mut decoder = FrameDecoder::new();
    loop {
        while let Some((kind, body)) = decoder.next_frame().unwrap() {
            if let Some(frame) = answer(seen, &terms, &mut counts, (kind, body)) {
                drop(sender.send(frame).await);
            }
        }
        match receive.read_chunk(usize::MAX, true).await {
            Ok(Some(chunk)) => decoder.push(chunk.bytes),
            Ok(None) | Err(_) => return,
        }
    }
}

fn answer(
    seen: &Mutex<Seen>,
    terms: &AttachTerms,
    (publications, changes): &mut (u64, u64),
    (kind, body): (FrameType, Bytes),
) -> Option<Bytes> {
    let mut seen = seen.lock().unwrap();
    match kind {
        FrameType::Attach => {
            let attach = Attach::from_bytes(&body).unwrap();
            let mut accepted = 0;
            for candidate in &attach.candidates {
                if terms.verify_one(&candidate.claim) {
                    accepted += 1;
                    seen.attached.push((candidate.claim.agent(), candidate.claim.session));
                } else {
                    seen.bad_claims += 1;
                }
            }
            Some(reply(attach.request, Say::Attached(Attached { accepted, refused: Vec::new() })))
        }
        FrameType::Publish => {
            seen.published.push(Publish::decode(&body).unwrap());
            *publications += 1;
            seen.acknowledges.then(|| published(*publications, *publications))
        }
        FrameType::Change => {
            seen.changes.push(Change::from_bytes(&body).unwrap());
            *changes += 1;
            let changed = Changed { through: *changes, edge: 5, incarnation: 77, version: 100 + *changes };
            Some(reply(0, Say::Changed(changed)))
        }
        FrameType::SystemAcknowledge => {
            seen.acknowledged.push(SystemAcknowledge::decode(&body).unwrap());
            None
        }
        FrameType::Request => {
            let Request { id, ask } = Request::decode_body(body).unwrap();
            let say = match ask.unwrap() {
                Ask::Subscribe(subscribe) => {
                    seen.patterns.extend(subscribe.subscriptions.into_iter().map(|s| s.pattern));
                    Say::Done(Empty {})
                }
                _ if seen.refusals > 0 => {
                    seen.refusals -= 1;
                    RefusedCode::Unavailable.because("not yet")
                }
                Ask::GetKey(_) => Say::Value(Bytes::new()),
                Ask::Locate(_) => RefusedCode::NotFound.because("no such agent"),
                Ask::Overview(_)
                | Ask::Peers(_)
                | Ask::Update(_)
                | Ask::Updates(_)
                | Ask::WatchCut(_)
                | Ask::Edges(_)
                | Ask::Agents(_) => RefusedCode::NotHere.because("this is an edge"),
                Ask::Unsubscribe(_) | Ask::Detach(_) | Ask::SetKey(_) => Say::Done(Empty {}),
            };
            Some(reply(id, say))
        }
        _ => None,
    }
}
