//! A region that listens on loopback, and plain sockets to it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use antipode::http::listener::{ConnectionLimits, serve};
use antipode::http::{Limits, Site, router};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use vault::seams::SeededEntropy;

use crate::support::World;

/// The largest body here.
pub(crate) const BODY_BYTES_MAX: u64 = 128 * 1024;
/// Longer than any limit of the listener below: who is not answered or cut off by then hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// A region that listens.
pub(crate) struct Target {
    pub(crate) world: World,
    address: SocketAddr,
    _stop: watch::Sender<bool>,
}

impl Target {
    pub(crate) async fn open() -> Target {
        Target::with_places(1024).await
    }

    /// One with so many places for connections.
    pub(crate) async fn with_places(connections_max: u32) -> Target {
        let world = World::paired().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let site = Site {
            api_url: format!("http://{address}"),
            limits: Limits { body_bytes_max: BODY_BYTES_MAX, body_timeout_seconds: 1 },
            entropy: Arc::new(SeededEntropy::new(9)),
        };
        let limits = ConnectionLimits {
            connections_max,
            header_timeout: Duration::from_secs(1),
            reader_timeout: Duration::from_secs(1),
            shutdown: Duration::from_secs(1),
        };
        let (_stop, stopped) = watch::channel(false);
        tokio::spawn(serve(listener, router(world.a.control.clone(), site), limits, stopped));
        Target { world, address, _stop }
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Everything that comes back for these bytes until the server closes.
    pub(crate) async fn send(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        // Whoever is refused half way may find the door shut.
        let _ = stream.write_all(bytes).await;
        rest_of(stream).await
    }

    /// A head in the admin's name, without the lines that a case is about.
    pub(crate) fn head(&self, method: &str, path: &str, lines: &str) -> String {
        let token = self.world.a.admin.token.as_ref().unwrap();
        format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Auth-Token: {token}\r\n{lines}\r\n"
        )
    }

    /// Posts a JSON body in the admin's name.
    pub(crate) async fn post(&self, path: &str, body: &[u8]) -> String {
        let lines = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
        let mut request = self.head("POST", &self.world.a.admin.v1(path), &lines).into_bytes();
        request.extend_from_slice(body);
        self.send(&request).await
    }

    /// Asserts that somebody who behaves is answered.
    pub(crate) async fn serves_others(&self) {
        let answer = self.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "an honest client heard {answer:?}");
    }
}

/// Everything that still comes until the server closes.
pub(crate) async fn rest_of(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    let reading = stream.read_to_end(&mut bytes);
    // A reset is an end as good as a close.
    let _ = tokio::time::timeout(PATIENCE, reading).await.expect("the server hangs");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The status of an answer; 0 when there was none.
pub(crate) fn status(answer: &str) -> u16 {
    answer
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3))
        .map_or(0, |digits| digits.parse().unwrap())
}
