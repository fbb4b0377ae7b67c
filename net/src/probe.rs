//! Probes: small datagrams that every node answers, on links and on agents' connections; and those by
//! which nodes find out who is alive, which are the machine's to answer.

use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use quinn::Connection;
use starling_core::limits;
use starling_core::machine::{Input, LinkSlot};
use starling_core::wire::codec::{DecodeError, Reader};

use crate::hub::Hub;

/// Bytes of the longest probe: kind (1), nonce (8, little-endian), a rest (4).
pub const PROBE_BYTES_MAX: usize = 13;
/// Probes that are answered in a second; more are dropped.
const ANSWERS_PER_SECOND: u32 = 1000;

/// A question or its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Asks for a pong with the same nonce.
    Ping(u64),
    /// Answers.
    Pong(u64),
    /// A client asks whether its node lives.
    Ask(u64),
    /// It does: the same nonce, and how long a client that hears from it rests before it asks again,
    /// in milliseconds.
    Alive(u64, u32),
}

impl Probe {
    /// The datagram.
    pub fn to_bytes(self) -> Bytes {
        let (kind, nonce, rest_ms) = match self {
            Probe::Ping(nonce) => (0, nonce, None),
            Probe::Pong(nonce) => (1, nonce, None),
            Probe::Ask(nonce) => (3, nonce, None),
            Probe::Alive(nonce, rest_ms) => (4, nonce, Some(rest_ms)),
        };
        let mut out = BytesMut::with_capacity(PROBE_BYTES_MAX);
        out.put_u8(kind);
        out.put_u64_le(nonce);
        if let Some(rest_ms) = rest_ms {
            out.put_u32_le(rest_ms);
        }
        out.freeze()
    }

    /// Reads a datagram.
    ///
    /// # Errors
    /// It is of no known kind, or longer or shorter than its kind; it is to be ignored.
    pub fn from_bytes(datagram: &[u8]) -> Result<Probe, DecodeError> {
        let mut reader = Reader::new(datagram);
        let (kind, nonce) = (reader.u8()?, reader.u64()?);
        let probe = match kind {
            0 => Probe::Ping(nonce),
            1 => Probe::Pong(nonce),
            3 => Probe::Ask(nonce),
            4 => Probe::Alive(nonce, reader.u32()?),
            _ => return Err(DecodeError::Invalid("probe")),
        };
        reader.finish()?;
        Ok(probe)
    }
}

/// How long each of so many clients rests between two questions, in milliseconds: together they ask
/// at most [`limits::ASKS_PER_SECOND`] times a second, up to the number at which each rests for the longest.
pub(crate) fn rest_ms(clients: usize) -> u32 {
    let rest = Duration::from_secs(1) * u32::try_from(clients).unwrap_or(u32::MAX) / limits::ASKS_PER_SECOND;
    let rest = rest.clamp(limits::ASK_REST, limits::ASK_REST_MAX);
    u32::try_from(rest.as_millis()).expect("the longest rest is a few seconds")
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

/// Answers a client until its connection ends.
pub(crate) async fn answer(connection: &Connection, hub: &Hub) {
    serve(connection, hub, None).await;
}

/// Answers until the connection ends, and hands on what is for the machine of a node at a link.
pub(crate) async fn serve(connection: &Connection, hub: &Hub, link: Option<LinkSlot>) {
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
            if let Some(link) = link {
                hub.input(Input::Probe { link, body: datagram.slice(1..) }).await;
            }
            continue;
        }
        let answer = match Probe::from_bytes(&datagram) {
            Ok(Probe::Ping(nonce)) => Probe::Pong(nonce),
            Ok(Probe::Ask(nonce)) => Probe::Alive(nonce, rest_ms(hub.outlets.connections.len())),
            Ok(Probe::Pong(_) | Probe::Alive(..)) | Err(_) => continue,
        };
        if connection.send_datagram(answer.to_bytes()).is_err() {
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

    #[test]
    fn golden_question_and_answer() {
        let (ask, alive) = (Probe::Ask(2), Probe::Alive(2, 259));
        assert_eq!(ask.to_bytes().as_ref(), &[3, 2, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(alive.to_bytes().as_ref(), &[4, 2, 0, 0, 0, 0, 0, 0, 0, 3, 1, 0, 0]);
        assert_eq!(
            (Probe::from_bytes(&ask.to_bytes()), Probe::from_bytes(&alive.to_bytes())),
            (Ok(ask), Ok(alive))
        );
        assert!(Probe::from_bytes(&alive.to_bytes()[..9]).is_err());
    }

    #[test]
    fn many_clients_rest_for_longer_within_bounds() {
        let of = |rest: Duration| u32::try_from(rest.as_millis()).unwrap();
        assert_eq!((rest_ms(0), rest_ms(usize::MAX)), (of(limits::ASK_REST), of(limits::ASK_REST_MAX)));
        let clients = 4 * limits::ASKS_PER_SECOND;
        assert_eq!(rest_ms(clients as usize), 4000);
    }
}
