//! Probes: datagrams of nine bytes that every node answers, on links and on agents' connections; and
//! those by which nodes find out who is alive, which are the machine's to answer.

use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use quinn::Connection;
use starling_core::machine::{Input, LinkSlot};
use starling_core::wire::codec::{DecodeError, Reader};

use crate::hub::Hub;

/// Bytes of a probe: kind (1), nonce (8, little-endian).
pub const PROBE_BYTES: usize = 9;
/// Probes that are answered in a second; more are dropped.
const ANSWERS_PER_SECOND: u32 = 1000;

/// A question or its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Asks for a pong with the same nonce.
    Ping(u64),
    /// Answers.
    Pong(u64),
}

impl Probe {
    /// The datagram.
    pub fn to_bytes(self) -> Bytes {
        let (kind, nonce) = match self {
            Probe::Ping(nonce) => (0, nonce),
            Probe::Pong(nonce) => (1, nonce),
        };
        let mut out = BytesMut::with_capacity(PROBE_BYTES);
        out.put_u8(kind);
        out.put_u64_le(nonce);
        out.freeze()
    }

    /// Reads a datagram.
    ///
    /// # Errors
    /// It is not nine bytes or of no known kind; it is to be ignored.
    pub fn from_bytes(datagram: &[u8]) -> Result<Probe, DecodeError> {
        let mut reader = Reader::new(datagram);
        let (kind, nonce) = (reader.u8()?, reader.u64()?);
        reader.finish()?;
        match kind {
            0 => Ok(Probe::Ping(nonce)),
            1 => Ok(Probe::Pong(nonce)),
            _ => Err(DecodeError::Invalid("probe")),
        }
    }
}

/// First byte of a datagram for the machine.
const MEMBERSHIP: u8 = 2;

/// A machine's probe as a datagram.
pub(crate) fn to_datagram(body: &Bytes) -> Bytes {
    let mut out = BytesMut::with_capacity(1 + body.len());
    out.put_u8(MEMBERSHIP);
    out.put_slice(body);
    out.freeze()
}

/// Answers pings until the connection ends.
pub(crate) async fn answer(connection: &Connection) {
    serve(connection, None).await;
}

/// Answers pings until the connection ends, and hands on what is for the machine.
pub(crate) async fn serve(connection: &Connection, machine: Option<(&Hub, LinkSlot)>) {
    let mut second = Instant::now();
    let mut answered = 0;
    while let Ok(datagram) = connection.read_datagram().await {
        if second.elapsed() >= Duration::from_secs(1) {
            (second, answered) = (Instant::now(), 0);
        }
        answered += 1;
        if answered > ANSWERS_PER_SECOND {
            continue;
        }
        if datagram.first() == Some(&MEMBERSHIP) {
            if let Some((hub, link)) = machine {
                hub.input(Input::Probe { link, body: datagram.slice(1..) }).await;
            }
        } else if let Ok(Probe::Ping(nonce)) = Probe::from_bytes(&datagram)
            && connection.send_datagram(Probe::Pong(nonce).to_bytes()).is_err()
        {
            // Who asks has no room for datagrams: a probe may get lost.
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_probe() {
        assert_eq!(Probe::Pong(2).to_bytes().as_ref(), &[1, 2, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(Probe::from_bytes(&[0, 7, 0, 0, 0, 0, 0, 0, 0]), Ok(Probe::Ping(7)));
        assert_eq!(Probe::from_bytes(&[2, 7, 0, 0, 0, 0, 0, 0, 0]), Err(DecodeError::Invalid("probe")));
        assert_eq!(Probe::from_bytes(&[0, 7]), Err(DecodeError::Truncated));
    }
}
