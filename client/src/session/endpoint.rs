//! One UDP socket that many sessions share.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use quinn::{ClientConfig, EndpointConfig, IdleTimeout, Runtime, TokioRuntime, TransportConfig, VarInt};
use starling_core::identity::VerifyKey;
use starling_core::limits;
use starling_net::pace::Pace;
use starling_net::shaping::{self, Shaper};
use starling_net::trust::{self, Trust};

use super::ConnectError;

/// Bytes of datagrams that wait to be read or sent; they carry probes of 13 bytes at most.
const DATAGRAM_BYTES_MAX: usize = 4096;
/// After how long without a word QUIC itself forgets a connection, at least: edges may want to be
/// asked seldom, so silence alone says little, and the session watches for answers instead.
const QUIC_IDLE_MIN: Duration = Duration::from_secs(30);

/// How an [`Endpoint`] and its sessions behave.
#[derive(Clone, Debug)]
pub struct EndpointSettings {
    /// Where the socket is bound; by default any port, IPv6 and IPv4 where the system has both.
    pub bind: Option<SocketAddr>,
    /// Makes what is sent slow, lossy or dead, in trials.
    pub shaper: Option<Shaper>,
    /// How often a session that hears nothing asks whether its edge lives; an edge with many clients
    /// has them ask less often, down to every 10 s.
    pub keepalive: Duration,
    /// How long an edge may leave what it is asked without any answer before it is given up.
    pub idle_timeout: Duration,
    /// How long a connection may take to be made, from the first packet to the edge's hello.
    pub connect_timeout: Duration,
    /// Bytes that an edge may send ahead of who reads them, for each session.
    pub receive_window_bytes: u32,
    /// Bytes sent and not yet received by the edge, for each session.
    pub send_window_bytes: u32,
    /// Bytes that wait to be sent, for each session; see [`super::SendError::Full`].
    pub queue_bytes_max: usize,
    /// What is asked of the kernel for each of the socket's two buffers.
    pub socket_buffer_bytes: usize,
    /// Whether the socket is read by a thread of its own: for thousands of connections in a process.
    pub reads_apart: bool,
    /// The UDP payload that is tried first, at least 1,200; larger ones are discovered.
    pub mtu_bytes: u16,
}

impl Default for EndpointSettings {
    fn default() -> EndpointSettings {
        EndpointSettings {
            bind: None,
            shaper: None,
            keepalive: limits::ASK_REST,
            idle_timeout: limits::LINK_TIMEOUT,
            connect_timeout: Duration::from_secs(5),
            receive_window_bytes: 1024 * 1024,
            send_window_bytes: 1024 * 1024,
            queue_bytes_max: 2 * 1024 * 1024,
            socket_buffer_bytes: 8 * 1024 * 1024,
            reads_apart: false,
            mtu_bytes: 1200,
        }
    }
}

/// A UDP socket and what all sessions over it believe. A clone shares the socket.
#[derive(Clone, Debug)]
pub struct Endpoint {
    pub(super) quinn: quinn::Endpoint,
    pub(super) authority: VerifyKey,
    pub(super) connect_timeout: Duration,
    pub(super) keepalive: Duration,
    pub(super) idle_timeout: Duration,
    pub(super) queue_bytes_max: usize,
    pub(super) pace: Arc<Pace>,
}

impl Endpoint {
    /// Opens the socket. Needs a tokio runtime, in which the sessions will live.
    ///
    /// # Errors
    /// The trust cannot be used, or the system gives no such socket.
    pub fn new(trust: &Trust, settings: &EndpointSettings) -> Result<Endpoint, ConnectError> {
        let mut config = ClientConfig::new(trust::agent_client_config(trust)?);
        config.transport_config(Arc::new(transport(settings)?));
        let socket = bind(settings).map_err(ConnectError::Socket)?;
        let runtime: Arc<dyn Runtime> = match &settings.shaper {
            Some(shaper) => shaper.runtime(),
            None => Arc::new(TokioRuntime),
        };
        let runtime = starling_net::runtime::eager(runtime, settings.reads_apart);
        let mut quinn = quinn::Endpoint::new(EndpointConfig::default(), None, socket, runtime)
            .map_err(ConnectError::Socket)?;
        quinn.set_default_client_config(config);
        Ok(Endpoint {
            quinn,
            authority: trust.verify_key()?,
            connect_timeout: settings.connect_timeout,
            keepalive: settings.keepalive,
            idle_timeout: settings.idle_timeout,
            queue_bytes_max: settings.queue_bytes_max,
            pace: Arc::new(Pace::new(limits::SEAL_INTERVAL, limits::SEAL_INTERVAL_MAX)),
        })
    }

    /// Where the socket is bound.
    pub fn local_address(&self) -> Option<SocketAddr> {
        self.quinn.local_addr().ok()
    }

    /// Sessions that are open or closing.
    pub fn open_connections(&self) -> usize {
        self.quinn.open_connections()
    }

    /// Waits until the edges were told of every session that was closed.
    pub async fn wait_idle(&self) {
        self.quinn.wait_idle().await;
    }
}

fn transport(settings: &EndpointSettings) -> Result<TransportConfig, ConnectError> {
    let idle = IdleTimeout::try_from(settings.idle_timeout.max(QUIC_IDLE_MIN))
        .map_err(|_| ConnectError::Settings("idle_timeout is longer than QUIC can say"))?;
    if !(1200..=65_527).contains(&settings.mtu_bytes) {
        return Err(ConnectError::Settings("mtu_bytes is not between 1200 and 65527"));
    }
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(Some(idle))
        .stream_receive_window(VarInt::from_u32(settings.receive_window_bytes))
        .receive_window(VarInt::from_u32(settings.receive_window_bytes))
        .send_window(u64::from(settings.send_window_bytes))
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(Some(DATAGRAM_BYTES_MAX))
        .datagram_send_buffer_size(DATAGRAM_BYTES_MAX)
        .initial_mtu(settings.mtu_bytes);
    Ok(transport)
}

fn bind(settings: &EndpointSettings) -> io::Result<std::net::UdpSocket> {
    let open = |address: SocketAddr| {
        let buffer = settings.socket_buffer_bytes;
        shaping::bind(address, buffer, buffer).map(|bound| bound.socket)
    };
    match settings.bind {
        Some(address) => open(address),
        None => open((Ipv6Addr::UNSPECIFIED, 0).into()).or_else(|_| open((Ipv4Addr::UNSPECIFIED, 0).into())),
    }
}
