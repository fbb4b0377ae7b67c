//! Raw QUIC: what the transport alone can carry, with the windows and buffers of a Starling link.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::{Bytes, BytesMut};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, Connection, Endpoint, EndpointConfig, ServerConfig, TokioRuntime, TransportConfig, VarInt,
};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use versus_common::{
    LAST, MEASURED, Receipts, Role, Settings, WARM_UP, end_with_parent, new_histogram, rss_bytes, times,
    wall_nanos, write_head,
};

/// As the links of Starling.
const WINDOW_BYTES: u32 = 16 * 1024 * 1024;
const SOCKET_BUFFER_BYTES: usize = 8 * 1024 * 1024;
const MTU_BYTES: u16 = 1452;
/// What a sender collects before it writes.
const BUFFER_BYTES: usize = 32 * 1024;
/// Handshakes under way at once, and connections that are opened.
const AT_ONCE: usize = 64;
const CONNECTIONS: usize = 1_000;
const SETTLE: Duration = Duration::from_secs(2);

#[tokio::main]
async fn main() -> Result<()> {
    // The other rivals' packages bring a second provider into a build of all.
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    provider
        .install_default()
        .map_err(|_| anyhow::anyhow!("a provider of cryptography was installed before"))?;
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (work, rest) = words.split_first().context("write a work: throughput, latency or memory")?;
    let report = match (work.as_str(), rest) {
        ("serve", [directory]) => {
            end_with_parent();
            return serve(Path::new(directory)).await;
        }
        ("throughput", rest) => throughput(Settings::parse(rest)?).await?,
        ("latency", rest) => latency(Settings::parse(rest)?).await?,
        ("memory", _) => memory().await?,
        _ => bail!("{work} is no work of this program"),
    };
    println!("{report}");
    Ok(())
}

fn transport() -> Arc<TransportConfig> {
    let mut transport = TransportConfig::default();
    transport
        .stream_receive_window(VarInt::from_u32(WINDOW_BYTES / 4))
        .receive_window(VarInt::from_u32(WINDOW_BYTES))
        .send_window(u64::from(WINDOW_BYTES))
        .initial_mtu(MTU_BYTES);
    Arc::new(transport)
}

fn socket() -> Result<std::net::UdpSocket> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None)?;
    socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.set_send_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    Ok(socket.into())
}

/// One certificate for both sides, each of which trusts it alone.
fn credentials(
    directory: &Path,
) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>, Arc<RootCertStore>)> {
    let certificate = CertificateDer::from(std::fs::read(directory.join("certificate"))?);
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(std::fs::read(directory.join("key"))?));
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone())?;
    Ok((certificate, key, Arc::new(roots)))
}

async fn serve(directory: &Path) -> Result<()> {
    let (certificate, key, roots) = credentials(directory)?;
    let verifier = WebPkiClientVerifier::builder(roots).build()?;
    let tls = rustls::ServerConfig::builder_with_protocol_versions(&[&rustls::version::TLS13])
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![certificate], key)?;
    let mut server = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    server.transport_config(transport());
    let endpoint = Endpoint::new(EndpointConfig::default(), Some(server), socket()?, Arc::new(TokioRuntime))?;
    println!("{}", endpoint.local_addr()?);
    while let Some(incoming) = endpoint.accept().await {
        tokio::spawn(async move {
            let Ok(connection) = incoming.await else { return };
            if let Err(error) = attend(connection).await {
                eprintln!("{error}");
            }
        });
    }
    Ok(())
}

/// Counts what comes over a stream of its own, sends back what comes over one that goes both ways.
async fn attend(connection: Connection) -> Result<()> {
    loop {
        tokio::select! {
            stream = connection.accept_uni() => match stream {
                Ok(mut stream) => {
                    let receipts = receive(&mut stream).await?;
                    let mut back = connection.open_uni().await?;
                    back.write_all(receipts.report().to_string().as_bytes()).await?;
                    back.finish()?;
                }
                Err(_) => return Ok(()),
            },
            stream = connection.accept_bi() => match stream {
                Ok((mut send, mut receive)) => {
                    while let Ok(Some(chunk)) = receive.read_chunk(usize::MAX, true).await {
                        send.write_chunk(chunk.bytes).await?;
                    }
                }
                Err(_) => return Ok(()),
            },
        }
    }
}

/// The first two bytes of the stream are the size of each message.
async fn receive(stream: &mut quinn::RecvStream) -> Result<Receipts> {
    let mut size = [0; 2];
    stream.read_exact(&mut size).await?;
    let size = usize::from(u16::from_le_bytes(size));
    let (mut receipts, mut rest) = (Receipts::default(), BytesMut::new());
    while !receipts.is_over {
        let chunk = stream.read_chunk(usize::MAX, true).await?.context("the stream ended early")?;
        let (now, mut bytes) = (wall_nanos(), &chunk.bytes[..]);
        if !rest.is_empty() {
            let more = (size - rest.len()).min(bytes.len());
            rest.extend_from_slice(&bytes[..more]);
            bytes = &bytes[more..];
            if rest.len() < size {
                continue;
            }
            receipts.take(&rest, now);
            rest.clear();
        }
        let messages = bytes.chunks_exact(size);
        rest.extend_from_slice(messages.remainder());
        messages.for_each(|message| receipts.take(message, now));
    }
    Ok(receipts)
}

/// A server in a process of its own, and an endpoint that reaches it.
struct Set {
    server: Role,
    address: SocketAddr,
    endpoint: Endpoint,
    directory: std::path::PathBuf,
}

impl Drop for Set {
    fn drop(&mut self) {
        // Left behind it would be a file too many, and nothing worse.
        std::fs::remove_dir_all(&self.directory).ok();
    }
}

fn set() -> Result<Set> {
    let directory = std::env::temp_dir().join(format!("versus-quinn-{}", std::process::id()));
    std::fs::create_dir(&directory)?;
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_string()])?;
    std::fs::write(directory.join("certificate"), made.cert.der())?;
    std::fs::write(directory.join("key"), made.signing_key.serialize_der())?;
    let server = Role::start(&["serve".to_string(), directory.display().to_string()])?;
    let address = server.line()?.parse()?;
    let (certificate, key, roots) = credentials(&directory)?;
    let tls = rustls::ClientConfig::builder_with_protocol_versions(&[&rustls::version::TLS13])
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![certificate], key)?;
    let mut client = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    client.transport_config(transport());
    let mut endpoint = Endpoint::new(EndpointConfig::default(), None, socket()?, Arc::new(TokioRuntime))?;
    endpoint.set_default_client_config(client);
    Ok(Set { server, address, endpoint, directory })
}

async fn throughput(settings: Settings) -> Result<Value> {
    let set = set()?;
    let connection = set.endpoint.connect(set.address, "localhost")?.await?;
    let mut stream = connection.open_uni().await?;
    stream.write_all(&u16::try_from(settings.payload)?.to_le_bytes()).await?;
    let (warm, over) = settings.schedule();
    let (each, mut number) = ((BUFFER_BYTES / settings.payload).max(1), 0);
    loop {
        let now = Instant::now();
        let phase = if now < warm { WARM_UP } else { MEASURED };
        let count = if now < over { each } else { 1 };
        let (mut buffer, sent) = (BytesMut::zeroed(count * settings.payload), wall_nanos());
        for message in buffer.chunks_exact_mut(settings.payload) {
            write_head(message, number, sent, if now < over { phase } else { LAST });
            number += 1;
        }
        stream.write_chunk(buffer.freeze()).await?;
        if now >= over {
            break;
        }
    }
    stream.finish()?;
    let mut back = connection.accept_uni().await?;
    let report: Value = serde_json::from_slice(&back.read_to_end(BUFFER_BYTES).await?)?;
    Ok(described(report, number))
}

fn described(mut report: Value, sent: u64) -> Value {
    report["sent"] = json!(sent);
    report["settings"] =
        json!("mutual TLS, one stream, written 32 KiB at a time, windows 16 MiB, socket buffers 8 MiB");
    report
}

/// One message after the other there and back.
async fn latency(settings: Settings) -> Result<Value> {
    let set = set()?;
    let connection = set.endpoint.connect(set.address, "localhost")?.await?;
    let (mut send, mut receive) = connection.open_bi().await?;
    let (warm, over) = settings.schedule();
    let message = Bytes::from(vec![0; settings.payload]);
    let mut back = vec![0; settings.payload];
    let mut histogram = new_histogram();
    loop {
        let begun = Instant::now();
        if begun >= over {
            break;
        }
        send.write_chunk(message.clone()).await?;
        receive.read_exact(&mut back).await?;
        if begun >= warm {
            histogram.saturating_record(u64::try_from(begun.elapsed().as_nanos())?);
        }
    }
    let per_second = histogram.len() as f64 / settings.duration.as_secs_f64();
    let latency = times(&histogram);
    Ok(
        json!({"per_second": per_second, "latency_us": latency, "settings": "mutual TLS, one stream both ways"}),
    )
}

/// Connections that are opened and stay.
async fn memory() -> Result<Value> {
    let set = set()?;
    tokio::time::sleep(SETTLE).await;
    let before = rss_bytes(set.server.id())?;
    let begun = Instant::now();
    let places = Arc::new(tokio::sync::Semaphore::new(AT_ONCE));
    let mut tasks = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let place = Arc::clone(&places).acquire_owned().await?;
        let connecting = set.endpoint.connect(set.address, "localhost")?;
        tasks.spawn(async move {
            let connection = connecting.await;
            drop(place);
            connection
        });
    }
    let connections: Result<Vec<Connection>, _> = tasks.join_all().await.into_iter().collect();
    let seconds = begun.elapsed().as_secs_f64();
    tokio::time::sleep(SETTLE).await;
    let bytes = rss_bytes(set.server.id())?.saturating_sub(before);
    let connections = connections?;
    Ok(json!({
        "handshakes_per_second": connections.len() as f64 / seconds,
        "bytes_per_connection": bytes as f64 / connections.len() as f64,
        "settings": "mutual TLS, 1,000 connections, 64 handshakes at once",
    }))
}
