//! The UDP endpoint of a node: one socket that accepts links and agents, and dials links.
//!
//! Windows are set here because QUIC's usual ones permit hundreds of megabytes a connection. A
//! connection starts with those of an agents' connection; `widen` makes a link of it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, Connection, Endpoint, EndpointConfig, IdleTimeout, Runtime, ServerConfig, TokioRuntime,
    TransportConfig, VarInt,
};
use starling_core::limits;

use crate::node::{NodeSettings, StartError};
use crate::{runtime, shaping};

/// What is asked of the kernel for each of the socket's buffers.
const SOCKET_BUFFER_BYTES: usize = 8 * 1024 * 1024;
const STREAM_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
const AGENTS_WINDOW_BYTES: u32 = 2 * 1024 * 1024;
const LINK_WINDOW_BYTES: u32 = 16 * 1024 * 1024;
const DATAGRAM_BUFFER_BYTES: usize = 64 * 1024;
/// The largest UDP payload in an Ethernet frame of 1,500 bytes over IPv6.
const MTU_BYTES: u16 = 1452;
/// How long an accepted connection may be silent; a dialler that wants less says so.
const ACCEPTED_IDLE: Duration = Duration::from_secs(30);

/// Why a connection was closed, as QUIC's application error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum CloseCode {
    /// The node stops by intention.
    Leaving = 0,
    /// There is another link between the two.
    Duplicate = 1,
    /// The hello does not prove what the certificate says.
    Refused = 2,
    /// The other side broke the protocol.
    Protocol = 3,
    /// The other side did not read in time; what was queued is lost.
    TooSlow = 4,
    /// The machine decided to close the link.
    HungUp = 5,
    /// No version of the protocol is spoken by both.
    Version = 6,
    /// The node dialled itself.
    Myself = 7,
    /// The node failed, such as by an error of its disk.
    Failed = 8,
    /// The link goes on over another connection.
    Moved = 9,
    /// The connection was to replace one that is no link of the two.
    NoLink = 10,
    /// A certificate that opened the connection has run out.
    Expired = 11,
}

impl From<CloseCode> for VarInt {
    fn from(code: CloseCode) -> VarInt {
        VarInt::from_u32(code as u32)
    }
}

fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(AGENTS_WINDOW_BYTES))
        .send_window(u64::from(AGENTS_WINDOW_BYTES))
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(4))
        .datagram_receive_buffer_size(Some(DATAGRAM_BUFFER_BYTES))
        .datagram_send_buffer_size(DATAGRAM_BUFFER_BYTES)
        .initial_mtu(MTU_BYTES);
    transport
}

fn idle(after: Duration) -> IdleTimeout {
    IdleTimeout::try_from(after).expect("idle timeouts are seconds, far below QUIC's bound")
}

/// How connections are accepted.
pub(crate) fn accepting(crypto: Arc<QuicServerConfig>) -> ServerConfig {
    let mut server = ServerConfig::with_crypto(crypto);
    let mut accepting = transport();
    accepting.max_idle_timeout(Some(idle(ACCEPTED_IDLE)));
    server.transport_config(Arc::new(accepting)).max_incoming(limits::HANDSHAKES_MAX);
    server
}

/// How links are dialled.
pub(crate) fn dialling(crypto: Arc<QuicClientConfig>) -> ClientConfig {
    let mut client = ClientConfig::new(crypto);
    let mut dialling = transport();
    dialling
        .max_idle_timeout(Some(idle(limits::LINK_TIMEOUT)))
        .keep_alive_interval(Some(limits::LINK_KEEPALIVE));
    client.transport_config(Arc::new(dialling));
    client
}

/// Opens the node's socket.
pub(crate) fn open(settings: &NodeSettings, accept: ServerConfig) -> Result<Endpoint, StartError> {
    let address = settings.listen;
    let bound = shaping::bind(address, SOCKET_BUFFER_BYTES, SOCKET_BUFFER_BYTES)
        .map_err(|source| listen_error(address, source))?;
    let runtime: Arc<dyn Runtime> = match &settings.shaper {
        Some(shaper) => shaper.runtime(),
        None => Arc::new(TokioRuntime),
    };
    Endpoint::new(EndpointConfig::default(), Some(accept), bound.socket, runtime::eager(runtime, false))
        .map_err(|source| listen_error(address, source))
}

fn listen_error(address: SocketAddr, source: io::Error) -> StartError {
    match source.kind() {
        io::ErrorKind::AddrInUse => StartError::AddressTaken { address },
        _ => StartError::Listen { address, source },
    }
}

/// Gives a connection the windows of a link.
pub(crate) fn widen(connection: &Connection) {
    connection.set_receive_window(VarInt::from_u32(LINK_WINDOW_BYTES));
    connection.set_send_window(u64::from(LINK_WINDOW_BYTES));
}
