//! Asking peers over mutual TLS: the production implementation of `PeerLinks`.
//!
//! One HTTP/1.1 connection a peer is kept and used again; simultaneous requests open further ones.
//! The peer's address is operator configuration and its key is pinned: redirects and proxies are
//! off, and an answer longer than its route allows is cut off and is an error. Nothing is retried
//! here: every request may be asked again, and who waits for it decides when.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use control::peers::messages::{Asking, LinkError, PeerAddress, PeerLinks, PeerReply, PeerRequest, Refusal};
use reqwest::{Client, Response, StatusCode, redirect};

use super::identity::TlsIdentity;
use super::tls::client_config;
use super::wire::{REFUSAL_BYTES_MAX, Route, decode_refusal, decode_reply, encode_request};

/// How long the client waits, and for how many peers it keeps connections.
#[derive(Clone, Copy, Debug)]
pub struct ClientLimits {
    /// For TCP and TLS to stand.
    pub connect: Duration,
    /// For the whole answer to a short question.
    pub answer: Duration,
    /// For a batch to be sent and acknowledged, and for a manifest to be offered: a slow link needs this.
    pub carry: Duration,
    /// For a tree to be walked and a replica to be published. A dead peer is noticed long before, by
    /// keep-alive probes.
    pub work: Duration,
    /// For the next piece of an answer that has begun.
    pub read: Duration,
    /// Idle connections are closed after this; shorter than the listener's own limit, so that a
    /// request rarely meets a connection that is just being closed.
    pub idle: Duration,
    /// Peers with a kept connection; beyond it all are forgotten and made again on demand.
    pub peers_max: usize,
}

impl Default for ClientLimits {
    fn default() -> ClientLimits {
        ClientLimits {
            connect: Duration::from_secs(10),
            answer: Duration::from_secs(60),
            carry: Duration::from_secs(10 * 60),
            work: Duration::from_secs(30 * 60),
            read: Duration::from_secs(60),
            idle: Duration::from_secs(20),
            peers_max: 256,
        }
    }
}

impl ClientLimits {
    fn of(&self, route: Route) -> Duration {
        match route {
            Route::Pair | Route::Grants | Route::Head | Route::Want => self.answer,
            Route::Open | Route::Send => self.carry,
            Route::Verify | Route::Publish => self.work,
        }
    }
}

/// Keep-alive probes find a peer that vanished without a word after about a minute.
const PROBE_INTERVAL: Duration = Duration::from_secs(15);
const PROBES_MAX: u32 = 3;

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// The way to peers of a region whose TLS key cannot be used: there is none.
#[derive(Debug)]
pub(crate) struct NoLinks;

impl PeerLinks for NoLinks {
    fn ask<'a>(&'a self, peer: &'a PeerAddress, _request: PeerRequest) -> Asking<'a> {
        let cause = "this region's TLS key cannot be used".into();
        let error = LinkError::Unreachable { peer: peer.name.clone(), cause };
        Box::pin(std::future::ready(Err(error)))
    }
}

/// Asks peers over the network.
#[derive(Debug)]
pub struct PeerClient {
    identity: TlsIdentity,
    limits: ClientLimits,
    /// By the key a peer must show, because a connection is bound to it.
    clients: Mutex<HashMap<[u8; 32], Client>>,
}

impl PeerClient {
    /// A client that shows `identity` to every peer.
    pub fn new(identity: &TlsIdentity, limits: ClientLimits) -> PeerClient {
        PeerClient { identity: identity.clone(), limits, clients: Mutex::default() }
    }

    /// What `peer` says, or why nothing could be heard of it.
    async fn exchange(&self, peer: &PeerAddress, request: PeerRequest) -> Result<Answer, Cause> {
        let client = self.client_for(peer)?;
        let route = Route::of_request(&request);
        let url = format!("{}{}", peer.url.trim_end_matches('/'), route.path());
        let body = encode_request(&request);
        drop(request);
        let response = client.post(url).timeout(self.limits.of(route)).body(body).send().await?;
        let status = response.status();
        if status == StatusCode::OK {
            let bytes = self.read_body(response, route.reply_bytes_max()).await?;
            return Ok(Answer::Reply(decode_reply(route, &bytes)?));
        }
        let bytes = self.read_body(response, REFUSAL_BYTES_MAX).await?;
        match decode_refusal(&bytes) {
            Ok((refusal, why)) => Ok(Answer::Refused { refusal, why }),
            Err(_) => Err(format!("it answered with HTTP status {status}").into()),
        }
    }

    fn client_for(&self, peer: &PeerAddress) -> Result<Client, Cause> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&peer.tls_key_hash) {
            return Ok(client.clone());
        }
        if clients.len() >= self.limits.peers_max {
            clients.clear();
        }
        let client = self.make_client(peer.tls_key_hash)?;
        clients.insert(peer.tls_key_hash, client.clone());
        Ok(client)
    }

    fn make_client(&self, tls_key_hash: [u8; 32]) -> Result<Client, Cause> {
        let client = Client::builder()
            .tls_backend_preconfigured(client_config(&self.identity, tls_key_hash)?)
            .https_only(true)
            .http1_only()
            .redirect(redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .connect_timeout(self.limits.connect)
            .pool_idle_timeout(self.limits.idle)
            .pool_max_idle_per_host(1)
            .tcp_nodelay(true)
            .tcp_keepalive(PROBE_INTERVAL)
            .tcp_keepalive_interval(PROBE_INTERVAL)
            .tcp_keepalive_retries(PROBES_MAX)
            .build()?;
        Ok(client)
    }

    /// Reads a body of at most `bytes_max`; one that ends before its announced length is an error.
    async fn read_body(&self, mut response: Response, bytes_max: u64) -> Result<Vec<u8>, Cause> {
        let announced = response.content_length().unwrap_or(0);
        if announced > bytes_max {
            return Err(format!("its answer of {announced} bytes is longer than {bytes_max}").into());
        }
        let mut body = Vec::with_capacity(usize::try_from(announced)?);
        while let Some(piece) = tokio::time::timeout(self.limits.read, response.chunk()).await?? {
            if (body.len() + piece.len()) as u64 > bytes_max {
                return Err(format!("its answer is longer than {bytes_max} bytes").into());
            }
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }
}

enum Answer {
    Reply(PeerReply),
    Refused { refusal: Refusal, why: String },
}

impl PeerLinks for PeerClient {
    fn ask<'a>(&'a self, peer: &'a PeerAddress, request: PeerRequest) -> Asking<'a> {
        Box::pin(async move {
            match self.exchange(peer, request).await {
                Ok(Answer::Reply(reply)) => Ok(reply),
                Ok(Answer::Refused { refusal, why }) => Err(LinkError::Refused { refusal, why }),
                Err(cause) => Err(LinkError::Unreachable { peer: peer.name.clone(), cause }),
            }
        })
    }
}
