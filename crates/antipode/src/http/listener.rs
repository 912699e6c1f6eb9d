//! The listener of the API: plain HTTP/1.1 with a limit on connections, on the time a client may take
//! for the head of a request or for reading an answer, and on the time running requests may take once we
//! are asked to stop. Whoever needs TLS here puts a proxy in front.
//!
//! Connections that wait for their client cannot keep others out: when all places are taken, one of them
//! gives way ([`places`] says which).

mod places;
mod socket;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::response::Response;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tower::ServiceExt;

use self::places::{Place, Places, WaitsFor};
use self::socket::Socket;

/// The largest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// How long to leave off accepting after the system refused to, for instance for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What connections may cost.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// The most connections at once. Beyond them one that waits for its client gives way to a new one; when
    /// none does, the new one waits.
    pub connections_max: u32,
    /// How long a client may take for the head of a request, or leave a connection idle.
    pub header_timeout: Duration,
    /// How long a client may leave an answer unread.
    pub reader_timeout: Duration,
    /// How long running requests may take to end once we are asked to stop.
    pub shutdown: Duration,
}

/// Serves `router` on `listener` until `stop` says true, then lets running requests end.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: ConnectionLimits,
    mut stop: watch::Receiver<bool>,
) {
    let places = Places::new(usize::try_from(limits.connections_max).unwrap_or(usize::MAX));
    let mut connections = JoinSet::new();
    loop {
        let (stream, place) = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            () = asked_to_stop(&mut stop) => break,
        };
        connections.spawn(serve_connection(stream, place, router.clone(), limits, stop.clone()));
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    let all_ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(limits.shutdown, all_ended).await.is_err() {
        tracing::warn!("requests were cut off: they did not end within {:?}", limits.shutdown);
    }
}

/// The next connection, once there is a place for it.
async fn accept(listener: &TcpListener, places: &Arc<Places>) -> (TcpStream, Place) {
    loop {
        match listener.accept().await {
            Ok((stream, address)) => return (stream, places.take(address.ip()).await),
            Err(error) => {
                tracing::warn!("cannot accept a connection: {error}");
                let mut pause = tokio::time::interval(ACCEPT_PAUSE);
                pause.tick().await;
                pause.tick().await;
            }
        }
    }
}

async fn serve_connection(
    stream: TcpStream,
    place: Place,
    router: Router,
    limits: ConnectionLimits,
    mut stop: watch::Receiver<bool>,
) {
    // Answers are small: waiting to fill packets would only delay them. A failure costs nothing else.
    let _ = stream.set_nodelay(true);
    let place = Arc::new(place);
    let socket = Socket::new(stream, place.clone(), limits.reader_timeout);
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limits.header_timeout).max_buf_size(HEAD_BYTES_MAX);
    let service = service_fn(|request| answer(router.clone(), place.clone(), request));
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(socket), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = place.asked_to_leave() => return,
        () = asked_to_stop(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!("a connection ended early: {error}");
    }
}

/// One request, with the place told what it waits for.
async fn answer(
    router: Router,
    place: Arc<Place>,
    request: hyper::Request<Incoming>,
) -> Result<Response, Infallible> {
    place.note(WaitsFor::Us);
    let (parts, body) = request.into_parts();
    let body = Body::new(WatchedBody { body, place: place.clone() });
    let answered = router.oneshot(axum::extract::Request::from_parts(parts, body)).await;
    // What remains is to write it; the socket notes when the client does not read.
    place.note(WaitsFor::Head);
    answered
}

/// A body whose connection may give way while its client sends nothing.
struct WatchedBody {
    body: Incoming,
    place: Arc<Place>,
}

impl hyper::body::Body for WatchedBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        self.place.note(if polled.is_pending() { WaitsFor::Body } else { WaitsFor::Us });
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Ends when we are asked to stop, or when nobody is left who could ask.
async fn asked_to_stop(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|is_stopping| *is_stopping).await;
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::task::JoinHandle;

    use super::*;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

    struct Served {
        address: std::net::SocketAddr,
        stop: watch::Sender<bool>,
        serving: JoinHandle<()>,
    }

    async fn served(connections_max: u32, header_timeout: Duration) -> Served {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let large = "x".repeat(4 << 20);
        let router =
            Router::new().route("/", get(async || "hello")).route("/large", get(async move || large));
        let limits = ConnectionLimits {
            connections_max,
            header_timeout,
            reader_timeout: Duration::from_millis(50),
            shutdown: Duration::from_millis(50),
        };
        Served { address, stop, serving: tokio::spawn(serve(listener, router, limits, stopped)) }
    }

    async fn answer(mut stream: TcpStream) -> String {
        let mut text = String::new();
        // A reset is an end as good as a close.
        let _ = stream.read_to_string(&mut text).await;
        text
    }

    #[tokio::test]
    async fn a_client_that_does_not_finish_its_head_is_cut_off() {
        let served = served(10, Duration::from_millis(30)).await;
        let mut slow = TcpStream::connect(served.address).await.unwrap();
        slow.write_all(b"GET / HTTP/1.1\r\nHost:").await.unwrap();
        assert!(!answer(slow).await.contains("200 OK"));
        let mut quick = TcpStream::connect(served.address).await.unwrap();
        quick.write_all(REQUEST).await.unwrap();
        assert!(answer(quick).await.ends_with("hello"));
    }

    #[tokio::test]
    async fn connections_that_wait_for_their_client_give_way_to_new_ones() {
        let served = served(2, Duration::from_secs(60)).await;
        let idle = TcpStream::connect(served.address).await.unwrap();
        let mut slow = TcpStream::connect(served.address).await.unwrap();
        slow.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        for _ in 0..3 {
            let mut quick = TcpStream::connect(served.address).await.unwrap();
            quick.write_all(REQUEST).await.unwrap();
            assert!(answer(quick).await.ends_with("hello"));
        }
        assert_eq!(answer(idle).await, "", "the oldest went first");
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_is_cut_off() {
        let served = served(10, Duration::from_secs(60)).await;
        let mut deaf = TcpStream::connect(served.address).await.unwrap();
        let requests = b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n".repeat(20);
        deaf.write_all(&requests).await.unwrap();
        // The socket takes what its buffers hold; after that nobody reads, and the connection is broken off.
        let mut looks = tokio::time::interval(Duration::from_millis(5));
        while deaf.try_write(b"G").is_ok() {
            looks.tick().await;
        }
        let mut quick = TcpStream::connect(served.address).await.unwrap();
        quick.write_all(REQUEST).await.unwrap();
        assert!(answer(quick).await.ends_with("hello"));
    }

    #[tokio::test]
    async fn the_answer_to_a_body_that_nobody_reads_arrives() {
        let served = served(10, Duration::from_secs(60)).await;
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        let head = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", 2 << 20);
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&vec![b'x'; 2 << 20]).await.unwrap();
        assert!(answer(stream).await.contains("405"), "not a reset");
    }

    #[tokio::test]
    async fn a_head_without_end_is_refused() {
        let served = served(10, Duration::from_secs(60)).await;
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        let line = format!("X-Filler: {}\r\n", "x".repeat(1000));
        let head = format!("GET / HTTP/1.1\r\nHost: x\r\n{}", line.repeat(200));
        let _ = stream.write_all(head.as_bytes()).await;
        assert!(!answer(stream).await.contains("200 OK"));
    }

    #[tokio::test]
    async fn stopping_ends_idle_connections_and_the_listener() {
        let served = served(10, Duration::from_secs(60)).await;
        let idle = TcpStream::connect(served.address).await.unwrap();
        served.stop.send_replace(true);
        served.serving.await.unwrap();
        assert_eq!(answer(idle).await, "");
        assert!(TcpStream::connect(served.address).await.is_err());
    }
}
