//! A UDP socket whose links can be made slow, lossy or dead on purpose, by peer and at any time.
//!
//! For trials of a mesh on one machine and for tests; only what a socket sends is shaped, so a link
//! that is cut both ways needs a rule at each end. Without rules a datagram costs one atomic load
//! more, and the kernel's segmentation and coalescing stay in use.
//!
//! Delayed datagrams wait in one bounded queue a socket, in the order in which they are due. With a
//! constant delay a peer receives in order; jitter may reorder, as a network does. The timer that
//! serves the queue counts in milliseconds, so a delay is never shorter than asked and up to about a
//! millisecond longer. A datagram for which a rule was lifted may overtake those still waiting.

use std::collections::{BTreeMap, BinaryHeap};
use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use quinn::udp::{EcnCodepoint, RecvMeta, Transmit};
use quinn::{AsyncTimer, AsyncUdpSocket, Runtime, TokioRuntime, UdpPoller};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

mod dice;
pub mod links;

use dice::{Dice, mix};

/// Datagrams that wait in one socket's queue; more are dropped and counted.
pub const QUEUE_DATAGRAMS_MAX: usize = 65_536;

/// Longer delays and jitters count as this.
pub const DELAY_MAX: Duration = Duration::from_secs(3_600);

/// How long a datagram may wait for those before it where bandwidth is limited, as in a small router;
/// what would wait for longer is dropped and counted.
pub const BACKLOG_MAX: Duration = Duration::from_millis(250);

/// What happens to datagrams on their way to a peer. The default lets them pass.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rule {
    /// Every datagram waits this long.
    pub delay: Duration,
    /// And up to this much longer, evenly spread.
    pub jitter: Duration,
    /// The share of datagrams that is lost, 0 to 1.
    pub loss: f32,
    /// Nothing passes.
    pub cut: bool,
    /// What passes in a second, in bits of UDP payload; 0 is no limit.
    pub bits_per_second: u64,
}

impl Rule {
    /// Whether the rule changes nothing.
    pub fn is_neutral(&self) -> bool {
        *self == Rule::default()
    }
}

/// What shaping did so far, over all sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShapingCounts {
    /// Datagrams that were put into a queue.
    pub delayed: u64,
    /// Datagrams dropped by a rule, by loss or by a cut.
    pub lost: u64,
    /// Datagrams dropped because a queue was full, or a narrow way had too many before them.
    pub overflowed: u64,
    /// Datagrams that the system refused when their time came.
    pub failed: u64,
}

/// The rules, shared by every socket that was opened through [`Shaper::runtime`].
#[derive(Clone, Debug)]
pub struct Shaper(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Whether any rule changes anything; all that is read while none does.
    active: AtomicBool,
    rules: ArcSwap<Rules>,
    /// Held by whoever replaces the rules.
    writing: Mutex<()>,
    seed: u64,
    sockets: AtomicU64,
    delayed: AtomicU64,
    lost: AtomicU64,
    overflowed: AtomicU64,
    failed: AtomicU64,
}

#[derive(Clone, Debug, Default)]
struct Rules {
    default: Rule,
    peers: BTreeMap<SocketAddr, Rule>,
}

impl Shaper {
    /// A shaper without rules. The same seed loses the same datagrams of a socket, counted from the
    /// first that a rule met, if sockets are opened in the same order.
    pub fn new(seed: u64) -> Shaper {
        Shaper(Arc::new(Shared {
            active: AtomicBool::new(false),
            rules: ArcSwap::default(),
            writing: Mutex::new(()),
            seed,
            sockets: AtomicU64::new(0),
            delayed: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            overflowed: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }))
    }

    /// From now on `rule` holds for datagrams to `peer`, in place of the default.
    pub fn set(&self, peer: SocketAddr, rule: Rule) {
        self.change(|rules| {
            rules.peers.insert(canonical(peer), rule);
        });
    }

    /// From now on the default holds for datagrams to `peer`.
    pub fn clear(&self, peer: SocketAddr) {
        self.change(|rules| {
            rules.peers.remove(&canonical(peer));
        });
    }

    /// From now on `rule` holds for datagrams to peers without a rule of their own.
    pub fn set_default(&self, rule: Rule) {
        self.change(|rules| rules.default = rule);
    }

    /// What was done so far.
    pub fn counts(&self) -> ShapingCounts {
        let shared = &self.0;
        ShapingCounts {
            delayed: shared.delayed.load(Ordering::Relaxed),
            lost: shared.lost.load(Ordering::Relaxed),
            overflowed: shared.overflowed.load(Ordering::Relaxed),
            failed: shared.failed.load(Ordering::Relaxed),
        }
    }

    /// For `quinn::Endpoint::new`: tokio, with sockets under these rules.
    pub fn runtime(&self) -> Arc<dyn Runtime> {
        Arc::new(ShapedRuntime(self.clone()))
    }

    fn change(&self, edit: impl FnOnce(&mut Rules)) {
        let _writing = lock(&self.0.writing);
        let mut rules = Rules::clone(&self.0.rules.load());
        edit(&mut rules);
        let active = !rules.default.is_neutral() || rules.peers.values().any(|rule| !rule.is_neutral());
        self.0.rules.store(Arc::new(rules));
        self.0.active.store(active, Ordering::Release);
    }

    fn rule_for(&self, peer: SocketAddr) -> Rule {
        let rules = self.0.rules.load();
        *rules.peers.get(&canonical(peer)).unwrap_or(&rules.default)
    }
}

/// The same peer has one address, whether an IPv4 or an IPv6 socket speaks to it.
fn canonical(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}

/// Nothing that is guarded here can be left half done, so a panic elsewhere spoils nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
struct ShapedRuntime(Shaper);

impl Runtime for ShapedRuntime {
    fn new_timer(&self, at: std::time::Instant) -> Pin<Box<dyn AsyncTimer>> {
        TokioRuntime.new_timer(at)
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        TokioRuntime.spawn(future);
    }

    fn wrap_udp_socket(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let inner = TokioRuntime.wrap_udp_socket(socket)?;
        let number = self.0.0.sockets.fetch_add(1, Ordering::Relaxed);
        let queue = Arc::new(Queue {
            waiting: Mutex::new(Waiting {
                dice: Dice(mix(self.0.0.seed ^ mix(number))),
                ..Waiting::default()
            }),
            changed: Notify::new(),
            closed: AtomicBool::new(false),
        });
        tokio::spawn(serve(Arc::clone(&inner), Arc::clone(&queue), self.0.clone()));
        Ok(Arc::new(ShapedSocket { inner, queue, shaper: self.0.clone() }))
    }

    fn now(&self) -> std::time::Instant {
        TokioRuntime.now()
    }
}

struct ShapedSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    queue: Arc<Queue>,
    shaper: Shaper,
}

impl fmt::Debug for ShapedSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShapedSocket").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl Drop for ShapedSocket {
    fn drop(&mut self) {
        self.queue.closed.store(true, Ordering::Release);
        self.queue.changed.notify_one();
    }
}

impl AsyncUdpSocket for ShapedSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.inner).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit) -> io::Result<()> {
        if !self.shaper.0.active.load(Ordering::Acquire) {
            return self.inner.try_send(transmit);
        }
        let rule = self.shaper.rule_for(transmit.destination);
        if rule.is_neutral() {
            return self.inner.try_send(transmit);
        }
        self.shape(transmit, rule);
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.inner.poll_recv(cx, bufs, meta)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}

impl ShapedSocket {
    /// Drops or queues each datagram of `transmit`. What is only lossy goes through the queue too,
    /// due at once, so that it stays in order with what waits.
    fn shape(&self, transmit: &Transmit, rule: Rule) {
        let shared = &self.shaper.0;
        let segment_bytes = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
        let datagrams = transmit.contents.len().div_ceil(segment_bytes) as u64;
        if rule.cut {
            shared.lost.fetch_add(datagrams, Ordering::Relaxed);
            return;
        }
        let now = Instant::now();
        let (mut delayed, mut lost, mut overflowed) = (0, 0, 0);
        let mut waiting = lock(&self.queue.waiting);
        let first_due = waiting.datagrams.peek().map(|first| first.due);
        for segment in transmit.contents.chunks(segment_bytes) {
            if waiting.dice.is_under(rule.loss) {
                lost += 1;
            } else if waiting.datagrams.len() >= QUEUE_DATAGRAMS_MAX {
                overflowed += 1;
            } else if let Some(sent) = waiting.pass(transmit.destination, segment.len(), rule, now) {
                let late = waiting.dice.up_to(rule.jitter.min(DELAY_MAX));
                let due = sent + rule.delay.min(DELAY_MAX) + late;
                waiting.push(due, segment, transmit);
                delayed += 1;
            } else {
                overflowed += 1;
            }
        }
        let is_earlier = waiting.datagrams.peek().map(|first| first.due) != first_due;
        drop(waiting);
        if is_earlier {
            self.queue.changed.notify_one();
        }
        shared.delayed.fetch_add(delayed, Ordering::Relaxed);
        shared.lost.fetch_add(lost, Ordering::Relaxed);
        shared.overflowed.fetch_add(overflowed, Ordering::Relaxed);
    }
}

struct Queue {
    waiting: Mutex<Waiting>,
    /// Signalled when the earliest due time changed or the socket closed.
    changed: Notify,
    closed: AtomicBool,
}

#[derive(Default)]
struct Waiting {
    datagrams: BinaryHeap<Delayed>,
    pushed: u64,
    dice: Dice,
    /// When the narrow way to a peer has passed what was sent before.
    free_at: BTreeMap<SocketAddr, Instant>,
}

impl Waiting {
    /// When a datagram has passed the narrow way to `peer`; `None` if too much waits there.
    fn pass(&mut self, peer: SocketAddr, bytes: usize, rule: Rule, now: Instant) -> Option<Instant> {
        if rule.bits_per_second == 0 {
            return Some(now);
        }
        let begins = self.free_at.get(&peer).copied().unwrap_or(now).max(now);
        if begins - now > BACKLOG_MAX {
            return None;
        }
        let nanos = bytes as u64 * 8 * 1_000_000_000 / rule.bits_per_second;
        let passed = begins + Duration::from_nanos(nanos).min(DELAY_MAX);
        self.free_at.insert(peer, passed);
        Some(passed)
    }

    fn push(&mut self, due: Instant, segment: &[u8], transmit: &Transmit) {
        self.pushed += 1;
        self.datagrams.push(Delayed {
            due,
            order: self.pushed,
            destination: transmit.destination,
            ecn: transmit.ecn,
            source: transmit.src_ip,
            contents: Bytes::copy_from_slice(segment),
        });
    }
}

struct Delayed {
    due: Instant,
    /// Which of those due at the same time was sent first.
    order: u64,
    destination: SocketAddr,
    ecn: Option<EcnCodepoint>,
    source: Option<std::net::IpAddr>,
    contents: Bytes,
}

impl Delayed {
    fn transmit(&self) -> Transmit<'_> {
        Transmit {
            destination: self.destination,
            ecn: self.ecn,
            contents: &self.contents,
            segment_size: None,
            src_ip: self.source,
        }
    }
}

impl PartialEq for Delayed {
    fn eq(&self, other: &Delayed) -> bool {
        (self.due, self.order) == (other.due, other.order)
    }
}

impl Eq for Delayed {}

impl PartialOrd for Delayed {
    fn partial_cmp(&self, other: &Delayed) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Delayed {
    /// The heap gives its greatest first, so the earliest is the greatest.
    fn cmp(&self, other: &Delayed) -> std::cmp::Ordering {
        (other.due, other.order).cmp(&(self.due, self.order))
    }
}

/// Sends what is due until the socket is closed; what still waits then is dropped.
async fn serve(socket: Arc<dyn AsyncUdpSocket>, queue: Arc<Queue>, shaper: Shaper) {
    let mut poller = Arc::clone(&socket).create_io_poller();
    while !queue.closed.load(Ordering::Acquire) {
        let next_due = lock(&queue.waiting).datagrams.peek().map(|first| first.due);
        match next_due {
            None => queue.changed.notified().await,
            Some(due) if due > Instant::now() => {
                tokio::select! {
                    () = sleep_until(due) => {}
                    () = queue.changed.notified() => {}
                }
            }
            Some(_) => {
                let Some(first) = lock(&queue.waiting).datagrams.pop() else { continue };
                if send(&*socket, &mut poller, &first).await.is_err() {
                    shaper.0.failed.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
}

async fn send(
    socket: &dyn AsyncUdpSocket,
    poller: &mut Pin<Box<dyn UdpPoller>>,
    datagram: &Delayed,
) -> io::Result<()> {
    loop {
        match socket.try_send(&datagram.transmit()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                poll_fn(|cx| poller.as_mut().poll_writable(cx)).await?;
            }
            done => return done,
        }
    }
}

/// A bound socket, and the buffers that the kernel gave it.
#[derive(Debug)]
pub struct Bound {
    /// Does not block.
    pub socket: UdpSocket,
    /// What the receive buffer holds; under what was asked, raise `net.core.rmem_max`.
    pub receive_buffer_bytes: usize,
    /// What the send buffer holds; under what was asked, raise `net.core.wmem_max`.
    pub send_buffer_bytes: usize,
}

/// Opens a UDP socket on `address` and asks for large buffers, which hold what arrives while its
/// task is busy. An IPv6 socket serves IPv4 too. Fails, naming the address, where it is taken.
pub fn bind(address: SocketAddr, receive_buffer_bytes: usize, send_buffer_bytes: usize) -> io::Result<Bound> {
    let opened = open(address, receive_buffer_bytes, send_buffer_bytes);
    opened.map_err(|error| io::Error::new(error.kind(), format!("cannot listen on udp {address}: {error}")))
}

fn open(address: SocketAddr, receive_buffer_bytes: usize, send_buffer_bytes: usize) -> io::Result<Bound> {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_recv_buffer_size(receive_buffer_bytes)?;
    socket.set_send_buffer_size(send_buffer_bytes)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    // Linux says twice what was set, to account for its own bookkeeping (socket(7)).
    let share = if cfg!(target_os = "linux") { 2 } else { 1 };
    Ok(Bound {
        receive_buffer_bytes: socket.recv_buffer_size()? / share,
        send_buffer_bytes: socket.send_buffer_size()? / share,
        socket: socket.into(),
    })
}

#[cfg(test)]
mod tests;
