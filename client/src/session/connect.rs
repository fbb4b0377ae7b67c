//! From an address to a session: handshake, both hellos, the check of who is there.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use quinn::{Connection, ConnectionError, RecvStream};
use starling_core::identity::{Admission, AttachTerms};
use starling_core::limits;
use starling_core::time::Time;
use starling_core::wire::codec::Wire;
use starling_core::wire::frame::{FrameDecoder, FrameType};
use starling_core::wire::message::Hello;
use starling_net::trust::{self, SERVER_NAME};

use super::tasks::{self, Shared};
use super::vigil::Watch;
use super::{ConnectError, EdgeInfo, Endpoint, Handler, Live, Sender, Session};

/// The one version of the protocol that is spoken.
const VERSION: u32 = 1;
/// By this code a node says that it speaks no version that we speak.
const CODE_VERSION: u64 = 6;
/// TLS alerts travel in QUIC's transport error codes from here on (RFC 9001, section 4.8).
const CRYPTO_ERRORS: std::ops::Range<u64> = 0x100..0x200;
/// TLS: no application protocol in common, that is, no version of ours.
const ALERT_NO_APPLICATION_PROTOCOL: u64 = 120;

pub(super) async fn open<H: Handler>(
    endpoint: &Endpoint,
    address: SocketAddr,
    mut handler: H,
) -> Result<Session, ConnectError> {
    let lost = |error: ConnectionError| refusal(address, &error);
    let protocol = |text: &str| ConnectError::Protocol { address, text: text.to_owned() };
    let connecting = endpoint
        .quinn
        .connect(address, SERVER_NAME)
        .map_err(|error| ConnectError::Protocol { address, text: error.to_string() })?;
    let connection = connecting.await.map_err(lost)?;
    let (mut outgoing, mut incoming) = connection.open_bi().await.map_err(lost)?;
    let hello = Hello { version_low: VERSION, version_high: VERSION, ..Hello::default() };
    if outgoing.write_chunk(hello.to_frame()).await.is_err() {
        return Err(connection.close_reason().map_or_else(|| protocol("it stopped our stream"), lost));
    }
    let mut decoder = FrameDecoder::new();
    let hello = read_hello(address, &connection, &mut incoming, &mut decoder).await?;
    let edge = identify(endpoint, address, &connection, hello)?;
    let terms = AttachTerms {
        edge: edge.node,
        edge_incarnation: edge.incarnation,
        binding: trust::channel_binding(&connection)?,
    };
    let watch = Watch::new(&connection, endpoint.keepalive, endpoint.idle_timeout);
    let shared = Shared::new(endpoint.queue_bytes_max, Arc::clone(&endpoint.pace), watch);
    let sender = Sender { shared: Arc::new(shared) };
    handler.on_open(&sender);
    let reading = tasks::Reading { stream: incoming, decoder, handler, connection: connection.clone() };
    tokio::spawn(reading.run(Arc::clone(&sender.shared)));
    tokio::spawn(tasks::write(outgoing, connection.clone(), Arc::clone(&sender.shared)));
    Ok(Session(Arc::new(Live { connection, sender, edge, terms })))
}

async fn read_hello(
    address: SocketAddr,
    connection: &Connection,
    stream: &mut RecvStream,
    decoder: &mut FrameDecoder,
) -> Result<Hello, ConnectError> {
    let protocol = |text: &str| ConnectError::Protocol { address, text: text.to_owned() };
    loop {
        match decoder.next_frame() {
            Ok(Some((FrameType::Hello, body))) => {
                let hello = Hello::decode_body(body).map_err(|_| protocol("malformed hello"))?;
                if hello.version_low > VERSION || hello.version_high < VERSION {
                    let text = format!("{} to {}, not {VERSION}", hello.version_low, hello.version_high);
                    return Err(ConnectError::Version { address, text });
                }
                return Ok(hello);
            }
            Ok(Some(_)) => return Err(protocol("its first frame is no hello")),
            Err(error) => return Err(protocol(&error.to_string())),
            Ok(None) => {}
        }
        match stream.read_chunk(limits::CONTROL_BYTES_MAX, true).await {
            Ok(Some(chunk)) => decoder.push(chunk.bytes),
            Ok(None) => return Err(protocol("it ended the stream before its hello")),
            Err(_) => match connection.close_reason() {
                Some(error) => return Err(refusal(address, &error)),
                None => return Err(protocol("it reset the stream before its hello")),
            },
        }
    }
}

/// Who is there, if the hello proves what the certificate says.
fn identify(
    endpoint: &Endpoint,
    address: SocketAddr,
    connection: &Connection,
    hello: Hello,
) -> Result<EdgeInfo, ConnectError> {
    let refused = |text: String| ConnectError::RefusedCertificate { address, text };
    let Some(named) = trust::peer_name(connection)? else {
        return Err(refused("it presented no certificate".to_owned()));
    };
    let Some(record) = hello.node else {
        return Err(refused("its hello names no node".to_owned()));
    };
    let admission = Admission::from_bytes(&record.admission)
        .map_err(|error| refused(format!("its admission is malformed: {error}")))?;
    admission
        .verify(&endpoint.authority, wall_time())
        .map_err(|error| refused(format!("its admission does not hold: {error}")))?;
    if admission.node() != named.node {
        return Err(refused("its admission is not that of its certificate".to_owned()));
    }
    Ok(EdgeInfo {
        node: named.node,
        incarnation: record.incarnation,
        name: admission.name.as_str().to_owned(),
        region: admission.region.as_str().to_owned(),
        roles: admission.roles,
        address,
    })
}

/// The wall clock.
pub(crate) fn wall_time() -> Time {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time::ZERO + since_epoch
}

/// What a connection that failed says of who is there.
fn refusal(address: SocketAddr, error: &ConnectionError) -> ConnectError {
    let of_code = |code: u64, text: String| {
        if code == CRYPTO_ERRORS.start + ALERT_NO_APPLICATION_PROTOCOL {
            ConnectError::Version { address, text }
        } else if CRYPTO_ERRORS.contains(&code) {
            ConnectError::RefusedCertificate { address, text }
        } else {
            ConnectError::Closed { address, code, text }
        }
    };
    match error {
        ConnectionError::TimedOut | ConnectionError::Reset => ConnectError::Unreachable { address },
        ConnectionError::VersionMismatch => ConnectError::Version { address, text: error.to_string() },
        ConnectionError::TransportError(error) => of_code(error.code.into(), error.to_string()),
        ConnectionError::ConnectionClosed(close) => of_code(close.error_code.into(), close.to_string()),
        ConnectionError::ApplicationClosed(close) => {
            let text = String::from_utf8_lossy(&close.reason).into_owned();
            match close.error_code.into_inner() {
                CODE_VERSION => ConnectError::Version { address, text },
                code => ConnectError::Closed { address, code, text },
            }
        }
        ConnectionError::LocallyClosed | ConnectionError::CidsExhausted => {
            ConnectError::Closed { address, code: 0, text: error.to_string() }
        }
    }
}
