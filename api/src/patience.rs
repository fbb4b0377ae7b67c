//! A connection whose peer has to take what it asked for: one that does not is given up, so that it
//! holds no memory.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

/// How long a peer may take nothing while something waits for it.
pub(crate) const STALL: Duration = Duration::from_secs(10);

/// A connection with patience.
#[derive(Debug)]
pub(crate) struct Patient<S = TcpStream> {
    stream: S,
    stall: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    pub fn new(stream: S) -> Patient<S> {
        Patient { stream, stall: None }
    }

    /// Passes on what the stream did, unless it has done nothing for too long.
    fn judge<T>(&mut self, context: &mut Context<'_>, done: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if done.is_ready() {
            self.stall = None;
            return done;
        }
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(STALL)));
        ready!(stall.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer takes nothing")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, data);
        self.judge(context, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.judge(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.judge(context, shut)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_given_up_and_who_takes_little_is_not() {
        let (near, mut far) = tokio::io::duplex(8);
        let mut patient = Patient::new(near);
        let reader = tokio::spawn(async move {
            let mut taken = [0; 4];
            for _ in 0..20 {
                tokio::time::sleep(STALL / 2).await;
                tokio::io::AsyncReadExt::read_exact(&mut far, &mut taken).await.unwrap();
            }
            far
        });
        patient.write_all(&[1; 80]).await.unwrap();
        let _far = reader.await.unwrap();
        patient.write_all(&[1; 8]).await.unwrap();
        let begun = Instant::now();
        let error = patient.write_all(&[1; 8]).await.unwrap_err();
        assert_eq!((error.kind(), begun.elapsed() >= STALL), (io::ErrorKind::TimedOut, true));
    }
}
