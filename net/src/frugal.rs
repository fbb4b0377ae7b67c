//! A UDP socket that needs little room to receive into.
//!
//! The kernel joins what came from one sender, up to 64 KiB, and hands it over at once. For that QUIC's
//! endpoint keeps 3 MiB a socket, which a process with many nodes has no use for. Here each thread
//! keeps the room for a few such messages, and they are taken apart into the endpoint's smaller one.

use std::cell::RefCell;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};

/// Datagrams of one sender that go into one of the endpoint's buffers.
const SEGMENTS: usize = 8;
/// Datagrams handed to the kernel at once. QUIC keeps room for as many with each connection.
const SEND_SEGMENTS: usize = 5;
/// The most that the kernel joins.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Messages asked of the kernel at once.
const MESSAGES: usize = 4;

thread_local! {
    static ROOM: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Frugal(pub Arc<dyn AsyncUdpSocket>);

impl AsyncUdpSocket for Frugal {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.0).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit) -> io::Result<()> {
        self.0.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context,
        bufs: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        ROOM.with_borrow_mut(|room| {
            room.resize(MESSAGES * MESSAGE_BYTES_MAX, 0);
            let (mut parts, mut used) = (room.chunks_mut(MESSAGE_BYTES_MAX), 0);
            let mut slices: [IoSliceMut; MESSAGES] =
                std::array::from_fn(|_| IoSliceMut::new(parts.next().expect("room for each message")));
            loop {
                let mut received = [RecvMeta::default(); MESSAGES];
                let count = ((bufs.len() - used) / pieces_max(bufs)).min(MESSAGES);
                if count == 0 {
                    return Poll::Ready(Ok(used));
                }
                match self.0.poll_recv(cx, &mut slices[..count], &mut received[..count]) {
                    Poll::Ready(Ok(messages)) => {
                        for (message, meta) in slices.iter().zip(&received).take(messages) {
                            used += take_apart(message, meta, &mut bufs[used..], &mut metas[used..]);
                        }
                        if messages < count && used > 0 {
                            return Poll::Ready(Ok(used));
                        }
                    }
                    // What was received comes first; an error that lasts comes again.
                    Poll::Ready(Err(_)) | Poll::Pending if used > 0 => return Poll::Ready(Ok(used)),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.0.max_transmit_segments().min(SEND_SEGMENTS)
    }

    fn max_receive_segments(&self) -> usize {
        self.0.max_receive_segments().min(SEGMENTS)
    }

    fn may_fragment(&self) -> bool {
        self.0.may_fragment()
    }
}

/// Buffers that one message may need: each is filled but for less than a datagram, of which it holds
/// several.
fn pieces_max(bufs: &[IoSliceMut<'_>]) -> usize {
    let bytes = bufs.first().map_or(0, |buf| buf.len());
    MESSAGE_BYTES_MAX.div_ceil((bytes - bytes / SEGMENTS).max(1))
}

/// Copies a message into as many buffers as it needs; returns how many. Datagrams stay whole, and
/// what is longer than a buffer is dropped, as QUIC lets a network do.
fn take_apart(message: &[u8], meta: &RecvMeta, bufs: &mut [IoSliceMut<'_>], metas: &mut [RecvMeta]) -> usize {
    let mut used = 0;
    let stride = meta.stride.max(1);
    let bytes = bufs.first().map_or(0, |buf| buf.len()) / stride * stride;
    if bytes == 0 {
        return 0;
    }
    for piece in message[..meta.len.min(message.len())].chunks(bytes) {
        let (Some(buf), Some(of)) = (bufs.get_mut(used), metas.get_mut(used)) else { break };
        buf[..piece.len()].copy_from_slice(piece);
        *of = RecvMeta { len: piece.len(), ..*meta };
        used += 1;
    }
    used
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_joined_message_is_taken_apart_between_datagrams_and_nothing_is_lost() {
        for (stride, len) in [(1200, 1200), (1200, 54_000), (1452, 63_888), (1452, 1453), (37, 64 * 37)] {
            let message: Vec<u8> = (0..len).map(|at| (at / stride) as u8).collect();
            let mut memory = vec![0; 32 * SEGMENTS * 1472];
            let mut bufs: Vec<IoSliceMut> = memory.chunks_mut(SEGMENTS * 1472).map(IoSliceMut::new).collect();
            let mut metas = vec![RecvMeta::default(); 32];
            let meta = RecvMeta { len, stride, ..RecvMeta::default() };
            let used = take_apart(&message, &meta, &mut bufs, &mut metas);
            assert!(used <= pieces_max(&bufs), "{stride} {len}");
            let mut joined = Vec::new();
            for (buf, meta) in bufs.iter().zip(&metas).take(used) {
                assert!(joined.len() % stride == 0 && meta.stride == stride);
                joined.extend_from_slice(&buf[..meta.len]);
            }
            assert_eq!(joined, message);
        }
    }
}
