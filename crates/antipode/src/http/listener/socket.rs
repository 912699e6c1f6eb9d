//! A connection's socket: it says when the client does not read, breaks a connection whose client does
//! not read for too long, and closes so that the last answer arrives.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Interval, interval_at};

use super::places::{Place, WaitsFor};

/// What a client may still send after its last answer, and how long it may take. A socket that is closed with
/// bytes unread takes back the answer that is on its way, and the client of a body that is too large would
/// not hear why it was refused.
const LEFTOVER_BYTES_MAX: usize = 4 << 20;
const LEFTOVER_TIME: Duration = Duration::from_secs(1);

/// A socket that holds a place.
pub(super) struct Socket {
    stream: TcpStream,
    place: Arc<Place>,
    /// How long the client may leave an answer unread.
    reader_timeout: Duration,
    /// Runs while the client does not read.
    stalled: Option<Interval>,
    closing: Option<Closing>,
}

struct Closing {
    deadline: Interval,
    leftover_bytes: usize,
}

impl Socket {
    pub(super) fn new(stream: TcpStream, place: Arc<Place>, reader_timeout: Duration) -> Socket {
        Socket { stream, place, reader_timeout, stalled: None, closing: None }
    }

    /// Counts the time for which the client does not read.
    fn watch_reader<T>(&mut self, cx: &mut Context<'_>, wrote: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if wrote.is_ready() {
            if self.stalled.take().is_some() {
                self.place.note(WaitsFor::Head);
            }
            return wrote;
        }
        let timeout = self.reader_timeout;
        let place = &self.place;
        let stalled = self.stalled.get_or_insert_with(|| {
            place.note(WaitsFor::Reader);
            alarm(timeout)
        });
        ready!(stalled.poll_tick(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read its answer")))
    }

    /// Reads what the client still sends and forgets it.
    fn poll_leftover(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let closing =
            self.closing.get_or_insert_with(|| Closing { deadline: alarm(LEFTOVER_TIME), leftover_bytes: 0 });
        let mut scratch = [0; 8 << 10];
        while closing.leftover_bytes < LEFTOVER_BYTES_MAX {
            let mut read = ReadBuf::new(&mut scratch);
            match Pin::new(&mut self.stream).poll_read(cx, &mut read) {
                Poll::Ready(Ok(())) if !read.filled().is_empty() => {
                    closing.leftover_bytes += read.filled().len();
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return closing.deadline.poll_tick(cx).map(drop),
            }
        }
        Poll::Ready(())
    }
}

/// Rings once, after this time.
fn alarm(after: Duration) -> Interval {
    interval_at(Instant::now() + after, after.max(Duration::from_millis(1)))
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch_reader(cx, wrote)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.watch_reader(cx, wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.closing.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        }
        self.poll_leftover(cx).map(Ok)
    }
}
