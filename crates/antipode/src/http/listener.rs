//! The listener of the API: plain HTTP/1.1 with a limit on connections, on the time a client may take
//! for the head of a request, and on the time running requests may take once we are asked to stop.
//! Whoever needs TLS here puts a proxy in front.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

/// The largest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// How long to leave off accepting after the system refused to, for instance for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What connections may cost.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// The most connections at once; further ones wait to be accepted.
    pub connections_max: u32,
    /// How long a client may take for the head of a request, or leave a connection idle.
    pub header_timeout: Duration,
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
    let permits = usize::try_from(limits.connections_max).unwrap_or(Semaphore::MAX_PERMITS);
    let places = Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            () = asked_to_stop(&mut stop) => break,
            Some(_) = connections.join_next() => continue,
        };
        if let Some((stream, place)) = accepted {
            connections.spawn(serve_connection(stream, place, router.clone(), limits, stop.clone()));
        }
    }
    drop(listener);
    let all_ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(limits.shutdown, all_ended).await.is_err() {
        tracing::warn!("requests were cut off: they did not end within {:?}", limits.shutdown);
    }
}

/// The next connection, once there is a place for it; nothing if the system refuses for now.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, place)),
        Err(error) => {
            tracing::warn!("cannot accept a connection: {error}");
            let mut pause = tokio::time::interval(ACCEPT_PAUSE);
            pause.tick().await;
            pause.tick().await;
            None
        }
    }
}

async fn serve_connection(
    stream: TcpStream,
    place: OwnedSemaphorePermit,
    router: Router,
    limits: ConnectionLimits,
    mut stop: watch::Receiver<bool>,
) {
    // Answers are small: waiting to fill packets would only delay them. A failure costs nothing else.
    let _ = stream.set_nodelay(true);
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limits.header_timeout).max_buf_size(HEAD_BYTES_MAX);
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = asked_to_stop(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!("a connection ended early: {error}");
    }
    drop(place);
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
        let router = Router::new().route("/", get(async || "hello"));
        let limits =
            ConnectionLimits { connections_max, header_timeout, shutdown: Duration::from_millis(50) };
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
    async fn connections_above_the_limit_wait_for_a_place() {
        let served = served(1, Duration::from_secs(60)).await;
        let mut first = TcpStream::connect(served.address).await.unwrap();
        first.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        let mut second = TcpStream::connect(served.address).await.unwrap();
        second.write_all(REQUEST).await.unwrap();
        let mut byte = [0];
        let early = tokio::time::timeout(Duration::from_millis(50), second.read(&mut byte)).await;
        assert!(early.is_err(), "answered beyond the limit");
        drop(first);
        assert!(answer(second).await.ends_with("hello"));
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
