//! Answering peers: the second listener of `antipode serve`, mutual TLS only.
//!
//! Every connection shows a client certificate; the hash of its key goes with each request to a
//! [`PeerService`], which knows who that is. Strangers may only ask to be paired: any other request
//! of theirs is refused before its body is read. Every connection, header, body and answer has a
//! limit in [`ListenerLimits`], and the bytes of all bodies in memory are counted together, so that
//! peers cannot fill our memory.

mod request;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use control::Control;
use control::peers::messages::{PeerReply, PeerRequest, Refusal};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::identity::TlsIdentity;
use super::tls::{key_hash_of, server_config};

/// An answer on its way: the reply, or the kind of no with its sentence.
pub type Answering<'a> = Pin<Box<dyn Future<Output = Result<PeerReply, (Refusal, String)>> + Send + 'a>>;

/// On its way: nothing for the key of a confirmed peer, else the kind of no with its sentence.
pub type Admitting<'a> = Pin<Box<dyn Future<Output = Result<(), (Refusal, String)>> + Send + 'a>>;

/// Who stands behind the listener.
pub trait PeerService: Send + Sync {
    /// Lets the key of a confirmed peer in. Asked for each connection and each request, before a body
    /// is read: strangers get no further than [`PeerRequest::Pair`].
    fn admit(&self, tls_key_hash: [u8; 32]) -> Admitting<'_>;

    /// Answers one request that came under this TLS key. The key is proved; what it may do is the
    /// service's to decide. The future is dropped when the connection breaks.
    fn answer(&self, tls_key_hash: [u8; 32], request: PeerRequest) -> Answering<'_>;
}

impl PeerService for Control {
    fn admit(&self, tls_key_hash: [u8; 32]) -> Admitting<'_> {
        Box::pin(self.admit_peer(tls_key_hash))
    }

    fn answer(&self, tls_key_hash: [u8; 32], request: PeerRequest) -> Answering<'_> {
        Box::pin(Control::answer(self, tls_key_hash, request))
    }
}

/// What peers may cost.
#[derive(Clone, Copy, Debug)]
pub struct ListenerLimits {
    /// Connections of peers, together.
    pub connections: usize,
    /// Connections of strangers, together.
    pub stranger_connections: usize,
    /// TLS handshakes at one time; more wait in the backlog.
    pub handshakes: usize,
    /// For TLS to stand.
    pub handshake: Duration,
    /// For the head of a request, counted from the end of the answer before: this is the idle limit too.
    pub header: Duration,
    /// For the next piece of a body.
    pub body_piece: Duration,
    /// For a whole body.
    pub body: Duration,
    /// Bytes of request bodies in memory, all connections together. Must hold the longest one.
    pub body_bytes: u32,
    /// For requests under way to end when the listener stops.
    pub stop: Duration,
}

impl Default for ListenerLimits {
    fn default() -> ListenerLimits {
        ListenerLimits {
            connections: 64,
            stranger_connections: 8,
            handshakes: 16,
            handshake: Duration::from_secs(10),
            header: Duration::from_secs(30),
            body_piece: Duration::from_secs(30),
            body: Duration::from_secs(10 * 60),
            body_bytes: 48 << 20,
            stop: Duration::from_secs(10),
        }
    }
}

/// The longest head of a request, in bytes, and the most headers in it.
const HEADER_BYTES_MAX: usize = 8 << 10;
const HEADERS_MAX: usize = 32;
/// How long the listener pauses after the system refused to hand it a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why the listener could not begin.
#[derive(Debug, thiserror::Error)]
#[error("the peer listener cannot use its TLS key")]
pub struct ListenerError(#[from] rustls::Error);

/// What all connections share.
struct Shared {
    acceptor: TlsAcceptor,
    service: Arc<dyn PeerService>,
    limits: ListenerLimits,
    peer_slots: Arc<Semaphore>,
    stranger_slots: Arc<Semaphore>,
    handshake_slots: Arc<Semaphore>,
    body_bytes: Arc<Semaphore>,
}

/// Answers peers on `listener` until `stop` completes; then lets requests under way end, for as long
/// as the limits say, and returns when no connection is left.
///
/// # Errors
/// When TLS cannot be set up with this identity; later trouble concerns single connections only.
pub async fn serve(
    listener: TcpListener,
    identity: &TlsIdentity,
    service: Arc<dyn PeerService>,
    limits: ListenerLimits,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), ListenerError> {
    let shared = Arc::new(Shared {
        acceptor: TlsAcceptor::from(Arc::new(server_config(identity)?)),
        service,
        limits,
        peer_slots: Arc::new(Semaphore::new(limits.connections)),
        stranger_slots: Arc::new(Semaphore::new(limits.stranger_connections)),
        handshake_slots: Arc::new(Semaphore::new(limits.handshakes)),
        body_bytes: Arc::new(Semaphore::new(limits.body_bytes as usize)),
    });
    let (stopping, is_stopping) = watch::channel(false);
    let mut connections = JoinSet::new();
    tokio::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            Some(_ended) = connections.join_next() => {}
            (stream, address, slot) = accept(&listener, &shared) => {
                connections.spawn(connection(shared.clone(), stream, address, slot, is_stopping.clone()));
            }
        }
    }
    drop(listener);
    // Nobody listens when no connection is open; that is no error.
    let _ = stopping.send(true);
    let _ = timeout(limits.stop, async { while connections.join_next().await.is_some() {} }).await;
    connections.shutdown().await;
    Ok(())
}

/// The next connection, together with its turn for a handshake.
async fn accept(listener: &TcpListener, shared: &Shared) -> (TcpStream, SocketAddr, OwnedSemaphorePermit) {
    let slots = shared.handshake_slots.clone();
    let slot = slots.acquire_owned().await.expect("the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, address)) => return (stream, address, slot),
            Err(cause) => {
                // Out of file descriptors, or the connection died in the backlog: later is better than never.
                tracing::warn!(%cause, "the peer listener could not accept a connection");
                let mut pause = tokio::time::interval(ACCEPT_PAUSE);
                pause.tick().await;
                pause.tick().await;
            }
        }
    }
}

/// One connection from handshake to end.
async fn connection(
    shared: Arc<Shared>,
    stream: TcpStream,
    address: SocketAddr,
    handshake_slot: OwnedSemaphorePermit,
    is_stopping: watch::Receiver<bool>,
) {
    let Some((stream, tls_key_hash)) = shake_hands(&shared, stream, address).await else {
        return;
    };
    let slots = match shared.service.admit(tls_key_hash).await {
        Ok(()) => &shared.peer_slots,
        Err(_) => &shared.stranger_slots,
    };
    let Ok(_slot) = slots.clone().try_acquire_owned() else {
        tracing::debug!(%address, "a peer connection was closed: too many are open");
        return;
    };
    drop(handshake_slot);
    if let Err(cause) = talk(&shared, stream, tls_key_hash, is_stopping).await {
        tracing::debug!(%address, %cause, "a peer connection broke");
    }
}

/// TLS, and the hash of the key that the other side proved to hold.
async fn shake_hands(
    shared: &Shared,
    stream: TcpStream,
    address: SocketAddr,
) -> Option<(TlsStream<TcpStream>, [u8; 32])> {
    // Without it, only the last small packet of an answer is late.
    let _ = stream.set_nodelay(true);
    let stream = match timeout(shared.limits.handshake, shared.acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(cause)) => {
            tracing::debug!(%address, %cause, "a TLS handshake of the peer listener failed");
            return None;
        }
        Err(_) => {
            tracing::debug!(%address, "a TLS handshake of the peer listener took too long");
            return None;
        }
    };
    let certificates = stream.get_ref().1.peer_certificates();
    let tls_key_hash = certificates.and_then(|all| all.first()).map(key_hash_of)?.ok()?;
    Some((stream, tls_key_hash))
}

/// Requests and answers until either side has enough.
async fn talk(
    shared: &Arc<Shared>,
    stream: TlsStream<TcpStream>,
    tls_key_hash: [u8; 32],
    mut is_stopping: watch::Receiver<bool>,
) -> Result<(), hyper::Error> {
    let service = service_fn(|request| request::answer(shared, tls_key_hash, request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(shared.limits.header)
        .max_headers(HEADERS_MAX)
        .max_header_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return ended,
        _ = is_stopping.wait_for(|is_stopping| *is_stopping) => {}
    }
    connection.as_mut().graceful_shutdown();
    connection.await
}
