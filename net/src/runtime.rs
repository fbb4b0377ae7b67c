//! tokio for QUIC's endpoints, with two things changed: a socket needs less memory (`frugal`),
//! and one that has much is read for longer.
//!
//! An endpoint's task reads its socket for 50 µs and then steps back behind all other tasks. Where
//! hundreds of connections share a few threads, a busy machine takes a tenth of a second for that
//! round: the kernel's buffer fills although there is time, and each connection is woken for every
//! packet alone. Read for longer, the same packets reach their connections in batches.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::{io, net::UdpSocket};

use quinn::{AsyncTimer, AsyncUdpSocket};
use tokio::runtime::{Builder, Handle, Runtime};

use crate::frugal::Frugal;

/// How often an endpoint that is not done goes on before others have their turn.
const TURNS: usize = 40;

/// The thread that reads sockets apart; `None` if the system gives none.
fn sockets() -> Option<&'static Handle> {
    static SOCKETS: OnceLock<Option<Runtime>> = OnceLock::new();
    let make =
        || Builder::new_multi_thread().worker_threads(1).thread_name("sockets").enable_all().build().ok();
    SOCKETS.get_or_init(make).as_ref().map(Runtime::handle)
}

/// A runtime for one endpoint.
#[derive(Debug)]
pub(crate) struct Eager {
    inner: Arc<dyn quinn::Runtime>,
    /// An endpoint's own task is the first that it spawns.
    has_spawned: AtomicBool,
    /// Where the socket is read, if not with everything else.
    sockets: Option<&'static Handle>,
}

/// What `inner` does, for one endpoint. With `reads_apart` its socket is read by a thread that all such
/// endpoints of the process share: slower, but acknowledgements are then known in time although
/// thousands of connections have timers that expired.
pub fn eager(inner: Arc<dyn quinn::Runtime>, reads_apart: bool) -> Arc<dyn quinn::Runtime> {
    let sockets = if reads_apart { sockets() } else { None };
    Arc::new(Eager { inner, has_spawned: AtomicBool::new(false), sockets })
}

impl quinn::Runtime for Eager {
    fn new_timer(&self, at: std::time::Instant) -> Pin<Box<dyn AsyncTimer>> {
        self.inner.new_timer(at)
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        if self.has_spawned.swap(true, Ordering::AcqRel) {
            self.inner.spawn(future);
        } else {
            let persistent = Persistent { future, woken: Arc::default() };
            match self.sockets {
                Some(sockets) => drop(sockets.spawn(persistent)),
                None => self.inner.spawn(Box::pin(persistent)),
            }
        }
    }

    fn wrap_udp_socket(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let _entered = self.sockets.map(Handle::enter);
        Ok(Arc::new(Frugal(self.inner.wrap_udp_socket(socket)?)))
    }

    fn now(&self) -> std::time::Instant {
        self.inner.now()
    }
}

/// A task that goes on at once, a bounded number of times, when it woke itself.
struct Persistent {
    future: Pin<Box<dyn Future<Output = ()> + Send>>,
    woken: Arc<Woken>,
}

#[derive(Debug, Default)]
struct Woken {
    is_woken: AtomicBool,
    outer: Mutex<Option<Waker>>,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.is_woken.store(true, Ordering::Release);
        let outer = self.outer.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(outer) = outer {
            outer.wake();
        }
    }
}

impl Future for Persistent {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let woken = Arc::clone(&self.woken);
        let mut outer = woken.outer.lock().unwrap_or_else(PoisonError::into_inner);
        if outer.as_ref().is_none_or(|outer| !outer.will_wake(context.waker())) {
            *outer = Some(context.waker().clone());
        }
        drop(outer);
        let waker = Waker::from(Arc::clone(&woken));
        for _ in 0..TURNS {
            woken.is_woken.store(false, Ordering::Release);
            if self.future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                return Poll::Ready(());
            }
            if !woken.is_woken.load(Ordering::Acquire) {
                break;
            }
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_wakes_itself_goes_on_but_not_for_ever() {
        let mut polls = 0;
        let future = std::future::poll_fn(move |context| {
            polls += 1;
            context.waker().wake_by_ref();
            if polls == TURNS + 5 { Poll::Ready(()) } else { Poll::Pending }
        });
        let mut persistent = Persistent { future: Box::pin(future), woken: Arc::default() };
        let mut outer = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut persistent).poll(&mut outer).is_pending());
        assert!(Pin::new(&mut persistent).poll(&mut outer).is_ready());
    }

    #[tokio::test]
    async fn a_task_that_waits_is_polled_once() {
        let polls = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let count = Arc::clone(&polls);
        let future = std::future::poll_fn(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
            Poll::<()>::Pending
        });
        let mut persistent = Persistent { future: Box::pin(future), woken: Arc::default() };
        assert!(Pin::new(&mut persistent).poll(&mut Context::from_waker(Waker::noop())).is_pending());
        assert_eq!(polls.load(Ordering::Relaxed), 1);
    }
}
