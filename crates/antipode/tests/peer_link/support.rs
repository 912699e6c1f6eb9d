//! Regions with a listener on loopback, clients that misbehave on purpose, and listeners that do.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use antipode::peer::client::{ClientLimits, PeerClient};
use antipode::peer::identity::TlsIdentity;
use antipode::peer::listener::{Admitting, Answering, ListenerLimits, PeerService, serve};
use control::peers::messages::{
    HeadRequest, LinkError, OpenRequest, Opened, PairRequest, PeerAddress, PeerReply, PeerRequest, Refusal,
    TransferKey,
};
use model::grant::{Grant, Mode};
use model::ids::{CheckpointId, CheckpointItemId, GrantId, OperationId, ReplicationRecordId};
use model::time::Timestamp;
use rcgen::{CertificateParams, KeyPair, PublicKeyData};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, DigitallySignedStruct, Error, ServerConfig, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use vault::ids::{Address, Incarnation, Kind, ManifestDigest};
use vault::seams::SeededEntropy;
use vault::transfer::{Acknowledged, Asked};

/// A region with its key, its listener and its client.
pub(crate) struct Region {
    pub(crate) identity: TlsIdentity,
    pub(crate) client: PeerClient,
    pub(crate) service: Arc<Service>,
    bound: SocketAddr,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

impl Region {
    pub(crate) async fn start(seed: u64) -> Region {
        Region::start_with(seed, ListenerLimits::default()).await
    }

    pub(crate) async fn start_with(seed: u64, limits: ListenerLimits) -> Region {
        let keys_dir = tempfile::tempdir().unwrap();
        let identity = TlsIdentity::create(keys_dir.path(), &SeededEntropy::new(seed)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let bound = listener.local_addr().unwrap();
        let service = Arc::new(Service::new());
        let (stop, stopped) = oneshot::channel();
        let (serving_identity, serving_service) = (identity.clone(), service.clone());
        let serving = tokio::spawn(async move {
            let stopped = async {
                let _ = stopped.await;
            };
            serve(listener, &serving_identity, serving_service, limits, stopped).await.unwrap();
        });
        let client = PeerClient::new(&identity, ClientLimits::default());
        Region { identity, client, service, bound, stop, serving }
    }

    pub(crate) fn tls_key_hash(&self) -> [u8; 32] {
        self.identity.tls_key_hash()
    }

    pub(crate) fn address(&self) -> PeerAddress {
        address(self.bound, self.tls_key_hash())
    }

    pub(crate) fn trust(&self, peer: &Region) {
        self.service.know(peer.tls_key_hash());
    }

    /// A key that this region takes for a peer's.
    pub(crate) fn known_key(&self) -> TestKey {
        let key = TestKey::new();
        self.service.know(key.tls_key_hash);
        key
    }

    pub(crate) async fn connect_tcp(&self) -> TcpStream {
        TcpStream::connect(self.bound).await.unwrap()
    }

    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        self.serving.await.unwrap();
    }
}

fn address(bound: SocketAddr, tls_key_hash: [u8; 32]) -> PeerAddress {
    PeerAddress { name: "cn-east-2".parse().unwrap(), url: format!("https://{bound}"), tls_key_hash }
}

/// Remembers what it was asked and answers what it was told to.
pub(crate) struct Service {
    known: Mutex<HashSet<[u8; 32]>>,
    asked: Mutex<Vec<([u8; 32], PeerRequest)>>,
    answer: Mutex<Result<PeerReply, (Refusal, String)>>,
    arrival: Notify,
    may_answer: watch::Sender<bool>,
}

impl Service {
    fn new() -> Service {
        Service {
            known: Mutex::default(),
            asked: Mutex::default(),
            answer: Mutex::new(Err((Refusal::Unavailable, "the test told no answer".to_owned()))),
            arrival: Notify::new(),
            may_answer: watch::Sender::new(true),
        }
    }

    pub(crate) fn know(&self, tls_key_hash: [u8; 32]) {
        self.known.lock().unwrap().insert(tls_key_hash);
    }

    pub(crate) fn forget(&self, tls_key_hash: &[u8; 32]) {
        self.known.lock().unwrap().remove(tls_key_hash);
    }

    pub(crate) fn will_answer(&self, answer: Result<PeerReply, (Refusal, String)>) {
        *self.answer.lock().unwrap() = answer;
    }

    /// Holds every answer back until [`Service::may_answer`].
    pub(crate) fn will_wait(&self) {
        self.may_answer.send_replace(false);
    }

    pub(crate) fn may_answer(&self) {
        self.may_answer.send_replace(true);
    }

    pub(crate) async fn was_asked(&self) {
        self.arrival.notified().await;
    }

    pub(crate) fn questions(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    pub(crate) fn last_question(&self) -> ([u8; 32], PeerRequest) {
        self.asked.lock().unwrap().last().unwrap().clone()
    }
}

impl PeerService for Service {
    fn admit(&self, tls_key_hash: [u8; 32]) -> Admitting<'_> {
        let is_known = self.known.lock().unwrap().contains(&tls_key_hash);
        let refusal = (Refusal::NotPaired, "a stranger".to_owned());
        Box::pin(async move { if is_known { Ok(()) } else { Err(refusal) } })
    }

    fn answer(&self, tls_key_hash: [u8; 32], request: PeerRequest) -> Answering<'_> {
        Box::pin(async move {
            self.asked.lock().unwrap().push((tls_key_hash, request));
            self.arrival.notify_one();
            self.may_answer.subscribe().wait_for(|may_answer| *may_answer).await.unwrap();
            self.answer.lock().unwrap().clone()
        })
    }
}

/// A key pair outside any region, to build certificates that are wrong on purpose.
pub(crate) struct TestKey {
    pair: KeyPair,
    pub(crate) tls_key_hash: [u8; 32],
}

impl TestKey {
    pub(crate) fn new() -> TestKey {
        let pair = KeyPair::generate().unwrap();
        let tls_key_hash = vault::ids::tls_key_hash(&pair.subject_public_key_info());
        TestKey { pair, tls_key_hash }
    }

    pub(crate) fn certified(&self) -> Arc<CertifiedKey> {
        self.certified_with(self)
    }

    /// The certificate of this key in the hands of someone who holds only `other`.
    pub(crate) fn certified_with(&self, other: &TestKey) -> Arc<CertifiedKey> {
        let certificate = CertificateParams::new([]).unwrap().self_signed(&self.pair).unwrap();
        let private = PrivatePkcs8KeyDer::from(other.pair.serialize_der());
        let signing = aws_lc_rs::sign::any_supported_type(&private.into()).unwrap();
        Arc::new(CertifiedKey::new(vec![certificate.der().clone()], signing))
    }
}

/// Speaks TLS well and everything above it as it likes.
pub(crate) struct RawClient {
    stream: TlsStream<TcpStream>,
}

impl RawClient {
    pub(crate) async fn connect_with(region: &Region, key: Arc<CertifiedKey>) -> io::Result<RawClient> {
        let resolver = Arc::new(SingleCertAndKey::from(key));
        let config = trusting_config().with_client_cert_resolver(resolver);
        RawClient::connect(region, config).await
    }

    pub(crate) async fn connect_without_key(region: &Region) -> io::Result<RawClient> {
        RawClient::connect(region, trusting_config().with_no_client_auth()).await
    }

    async fn connect(region: &Region, config: ClientConfig) -> io::Result<RawClient> {
        let name = ServerName::from(region.bound.ip());
        let connector = TlsConnector::from(Arc::new(config));
        Ok(RawClient { stream: connector.connect(name, region.connect_tcp().await).await? })
    }

    /// Asks nonsense, to hear any answer at all: with TLS 1.3 a client learns only from its first
    /// read that its certificate was refused.
    pub(crate) async fn knock(mut self) -> io::Result<String> {
        self.say(b"POST /peer/v1/pair HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc").await;
        let mut answer = vec![0; 1 << 10];
        let length = self.stream.read(&mut answer).await?;
        Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
    }

    pub(crate) async fn say(&mut self, bytes: &[u8]) -> &mut RawClient {
        // A refusal that arrives while we still write is what some tests are about.
        let _ = self.stream.write_all(bytes).await;
        let _ = self.stream.flush().await;
        self
    }

    /// Says that nothing more will come, and listens on.
    pub(crate) async fn end(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    pub(crate) async fn read_some(&mut self) -> String {
        let mut answer = vec![0; 64 << 10];
        let length = self.stream.read(&mut answer).await.unwrap_or(0);
        String::from_utf8_lossy(&answer[..length]).into_owned()
    }

    pub(crate) async fn read_to_end(&mut self) -> String {
        let mut answer = Vec::new();
        let _ = self.stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }
}

fn trusting_config() -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Trusting))
}

#[derive(Debug)]
struct Trusting;

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// A whole, lawful answer to the question for grants: there are none.
pub(crate) const EMPTY_LIST: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n\0\0\0\0";

/// Gives every request the same bytes for an answer, and hangs up after a bad one; ends when the test's runtime does.
pub(crate) struct FakeListener {
    bound: SocketAddr,
    pub(crate) connections: Arc<AtomicUsize>,
}

impl FakeListener {
    pub(crate) fn start(key: Arc<CertifiedKey>, answer: &[u8]) -> FakeListener {
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let bound = listener.local_addr().unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        tokio::spawn(answer_all(listener, acceptor, answer.to_vec(), connections.clone()));
        FakeListener { bound, connections }
    }

    pub(crate) fn address(&self, key: &TestKey) -> PeerAddress {
        address(self.bound, key.tls_key_hash)
    }
}

async fn answer_all(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    answer: Vec<u8>,
    connections: Arc<AtomicUsize>,
) {
    while let Ok((stream, _)) = listener.accept().await {
        connections.fetch_add(1, Ordering::SeqCst);
        let Ok(mut stream) = acceptor.accept(stream).await else { continue };
        let is_whole = answer == EMPTY_LIST;
        let mut question = vec![0; 64 << 10];
        while matches!(stream.read(&mut question).await, Ok(length) if length > 0) {
            let _ = stream.write_all(&answer).await;
            let _ = stream.flush().await;
            if !is_whole {
                break;
            }
        }
        let _ = stream.shutdown().await;
    }
}

/// The error with all its causes.
pub(crate) fn link_error_text(error: &LinkError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(deeper) = cause {
        text.push_str(&format!(": {deeper}"));
        cause = deeper.source();
    }
    text
}

pub(crate) fn transfer() -> TransferKey {
    TransferKey { operation_id: OperationId::from_bytes([4; 16]), attempt: 7 }
}

/// One request of each kind with a reply that fits it, in the order of the routes.
pub(crate) fn messages() -> Vec<(PeerRequest, PeerReply)> {
    let asked = || vec![Asked { address: Address([5; 32]), kind: Kind::Node, level: 2 }];
    let transfer = transfer();
    vec![
        (PeerRequest::Pair(pair_request()), PeerReply::Paired { card: vec![6; 200] }),
        (PeerRequest::Grants, PeerReply::Grants(vec![grant()])),
        (
            PeerRequest::Head(HeadRequest { seen_incarnation: Some(Incarnation([3; 16])), seen_counter: 9 }),
            PeerReply::Head { head: vec![1; 100], entries: vec![2; 580] },
        ),
        (
            PeerRequest::Open(Box::new(open_request())),
            PeerReply::Opened(Opened::Resume { operation_id: transfer.operation_id, base: None }),
        ),
        (PeerRequest::Want { transfer, asked: asked() }, PeerReply::Wanted(vec![true])),
        (
            PeerRequest::Send { transfer, batch: vec![8; 5000] },
            PeerReply::Acknowledged(Acknowledged {
                stored_count: 3,
                stored_bytes: 5000,
                ..Acknowledged::default()
            }),
        ),
        (PeerRequest::Verify { transfer }, PeerReply::Verified(asked())),
        (PeerRequest::Publish { transfer }, PeerReply::Published { receipt: vec![2; 150], kept_bytes: 7 }),
    ]
}

fn pair_request() -> PairRequest {
    let name = "cn-north-1".parse().unwrap();
    PairRequest { secret: [1; 32], name, url: "https://127.0.0.1:1".to_owned(), card: vec![9; 300] }
}

fn grant() -> Grant {
    Grant {
        id: GrantId::from_bytes([1; 16]),
        source_region: "cn-north-1".parse().unwrap(),
        source_project_id: "source".parse().unwrap(),
        destination_region: "cn-east-2".parse().unwrap(),
        destination_project_id: "destination".parse().unwrap(),
        mode: Mode::Sealed,
        bytes_max: Some(1 << 40),
        keep_days_min: 30,
        created_at: Timestamp::from_micros(1),
        expires_at: None,
        revoked_at: Some(Timestamp::from_micros(2)),
    }
}

fn open_request() -> OpenRequest {
    OpenRequest {
        record_id: ReplicationRecordId::from_bytes([1; 16]),
        attempt: 2,
        generation: 3,
        grant_id: GrantId::from_bytes([4; 16]),
        source_project_id: "source".parse().unwrap(),
        destination_project_id: "destination".parse().unwrap(),
        source_checkpoint_id: CheckpointId::from_bytes([5; 16]),
        source_item_id: CheckpointItemId::from_bytes([6; 16]),
        manifest: vec![7; 1000],
        bases: vec![ManifestDigest([8; 32])],
        wraps: vec![vec![9; 100], vec![10; 100]],
        card: vec![12; 200],
        replica_name: Some("copy of ä".to_owned()),
        replica_description: None,
        by_scheduler: true,
        keep_days: Some(90),
    }
}
