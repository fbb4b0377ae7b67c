//! Whether a QUIC endpoint answers at an address, without credentials: a packet of a version that nobody
//! speaks must be answered by Version Negotiation (RFC 9000, section 6), which repeats both connection ids.
//! Those are drawn by chance, so the answer also proves that the address reads what is sent to it.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::timeout;

/// The packet is as long as a first packet has to be, or it would not be answered (section 14.1).
const PACKET_BYTES: usize = 1200;
/// A version of the pattern 0x?a?a?a?a, kept to exercise version negotiation (section 15).
const VERSION: u32 = 0x1a2a_3a4a;
const ID_BYTES: usize = 8;
const TRIES: usize = 3;
const ANSWER_MAX: Duration = Duration::from_millis(700);

/// Whether QUIC answers there; at most three packets are sent.
pub(super) async fn answers(address: SocketAddr) -> bool {
    ask(address).await.unwrap_or(false)
}

async fn ask(address: SocketAddr) -> std::io::Result<bool> {
    let own: SocketAddr = if address.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = UdpSocket::bind(own).await?;
    socket.connect(address).await?;
    for _ in 0..TRIES {
        let mut ids = [0; 2 * ID_BYTES];
        if aws_lc_rs::rand::fill(&mut ids).is_err() {
            return Ok(false);
        }
        let packet = packet(&ids);
        // A port where nothing listens is told by the system as an error of either call.
        if socket.send(&packet).await.is_ok() {
            let mut answer = [0; PACKET_BYTES];
            if let Ok(Ok(length)) = timeout(ANSWER_MAX, socket.recv(&mut answer)).await
                && is_answer(&answer[..length], &ids)
            {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// A long header with two connection ids, and padding.
fn packet(ids: &[u8; 2 * ID_BYTES]) -> Vec<u8> {
    let (to, from) = ids.split_at(ID_BYTES);
    let mut packet = vec![0xc0];
    packet.extend(VERSION.to_be_bytes());
    for id in [to, from] {
        packet.push(ID_BYTES as u8);
        packet.extend(id);
    }
    packet.resize(PACKET_BYTES, 0);
    packet
}

/// A Version Negotiation packet has version 0 and the ids the other way round, and names a version.
fn is_answer(answer: &[u8], ids: &[u8; 2 * ID_BYTES]) -> bool {
    let (to, from) = ids.split_at(ID_BYTES);
    let mut wanted = vec![0, 0, 0, 0];
    for id in [from, to] {
        wanted.push(ID_BYTES as u8);
        wanted.extend(id);
    }
    let is_long = answer.first().is_some_and(|first| first & 0x80 != 0);
    is_long && answer.get(1..1 + wanted.len()) == Some(&wanted[..]) && answer.len() >= 1 + wanted.len() + 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_mirrored_ids_are_an_answer() {
        let ids: [u8; 16] = std::array::from_fn(|n| n as u8);
        let mut answer = vec![0x80, 0, 0, 0, 0, 8];
        answer.extend(&ids[8..]);
        answer.push(8);
        answer.extend(&ids[..8]);
        assert!(!is_answer(&answer, &ids), "it names no version");
        answer.extend([0, 0, 0, 1]);
        assert!(is_answer(&answer, &ids));
        for at in 0..answer.len() - 4 {
            let mut changed = answer.clone();
            changed[at] ^= 0x80;
            assert!(!is_answer(&changed, &ids), "byte {at}");
        }
        assert!(!is_answer(&packet(&ids), &ids), "an echo is none");
        assert_eq!(packet(&ids).len(), PACKET_BYTES);
    }

    #[tokio::test]
    async fn nobody_and_an_echo_do_not_answer() {
        let echo = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let at = echo.local_addr().unwrap();
        let echoing = tokio::spawn(async move {
            let mut bytes = [0; 2048];
            while let Ok((length, from)) = echo.recv_from(&mut bytes).await {
                echo.send_to(&bytes[..length], from).await.unwrap();
            }
        });
        assert!(!answers(at).await);
        echoing.abort();
        assert!(echoing.await.is_err());
        assert!(!answers(at).await);
    }
}
