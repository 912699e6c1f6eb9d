//! Keystones that are none: whatever they answer, nobody gets in.

use std::sync::Arc;

use rcgen::generate_simple_self_signed;
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::support::Client;
use crate::{Asking, refused_for_now};

const LOGGED_IN: &str =
    "HTTP/1.1 201 Created\r\nX-Subject-Token: ours\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";
const UNKNOWN: &str = "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";

/// Reads the head of one request and answers it.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, to_login: &str, to_question: &str) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte).await {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
    let text = if head.starts_with(b"POST") { to_login } else { to_question };
    if text.is_empty() {
        std::future::pending::<()>().await;
    }
    let _ = stream.write_all(text.as_bytes()).await;
    let _ = stream.shutdown().await;
}

/// A server with two answers, of which an empty one never comes.
async fn serve(to_login: String, to_question: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (to_login, to_question) = (to_login.clone(), to_question.clone());
            tokio::spawn(async move { answer(stream, &to_login, &to_question).await });
        }
    });
    url
}

async fn asked(to_login: &str, to_question: &str) -> crate::Answer {
    let url = serve(to_login.to_owned(), to_question.to_owned()).await;
    let asking = Asking::new(&url, |identity, _| identity.timeout_seconds = 1).await;
    caller(&asking).get_v1("/policies").await
}

fn caller(asking: &Asking) -> Client {
    asking.client("some-token", "p")
}

#[tokio::test]
async fn whatever_is_no_answer_of_a_keystone_opens_nothing_and_says_so() {
    let ok = |body: &str| {
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
    };
    let elsewhere = serve(LOGGED_IN.to_owned(), ok("{}")).await;
    let redirect = format!("HTTP/1.1 302 Found\r\nLocation: {elsewhere}\r\nContent-Length: 0\r\n\r\n");
    let token = |change: &str| {
        let token = r#"{"token":{"user":{"id":"u","name":"u"},"project":{"id":"p","name":"p"},"roles":[{"name":"admin"}],"issued_at":"2026-11-23T00:00:00.000000Z","expires_at":"2030-01-01T00:00:00.000000Z"}}"#;
        let (from, to) = change.split_once('>').unwrap();
        ok(&token.replace(from, to))
    };
    let cases = [
        (redirect.clone(), String::new()),
        (LOGGED_IN.to_owned(), redirect),
        (LOGGED_IN.to_owned(), ok("not json")),
        (LOGGED_IN.to_owned(), ok("{}")),
        (LOGGED_IN.to_owned(), ok("[1]")),
        (LOGGED_IN.to_owned(), ok(&" ".repeat(2 << 20))),
        (LOGGED_IN.to_owned(), token(r#""id":"p">"id":"a/b""#)),
        (LOGGED_IN.to_owned(), token(r#""id":"u">"id":7"#)),
        (LOGGED_IN.to_owned(), token("2030-01-01>yesterday")),
        (LOGGED_IN.to_owned(), "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n".to_owned()),
        (LOGGED_IN.to_owned(), "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n".to_owned()),
        (LOGGED_IN.to_owned(), "nonsense".to_owned()),
        ("HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n".to_owned(), UNKNOWN.to_owned()),
        ("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n".to_owned(), UNKNOWN.to_owned()),
        (LOGGED_IN.to_owned(), String::new()),
    ];
    for (to_login, to_question) in &cases {
        let answer = asked(to_login, to_question).await;
        assert_eq!(answer.status, 503, "{to_login:?} {to_question:.80?}: {}", answer.body);
        refused_for_now(&answer);
    }
    assert_eq!(asked(LOGGED_IN, UNKNOWN).await.status, 401, "a token that is not known there");
    let over = asked(LOGGED_IN, &token("2030-01-01>2026-01-01")).await;
    assert_eq!(over.status, 401, "a token that has ended");
    assert_eq!(asked(LOGGED_IN, &token("x>x")).await.status, 200, "and a sound answer opens");
    let roleless = asked(LOGGED_IN, &token("admin>cook")).await;
    assert_eq!(roleless.status, 403);
}

#[tokio::test]
async fn a_keystone_over_tls_must_show_a_certificate_of_the_configured_ones() {
    let made = generate_simple_self_signed(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let pem = made.cert.pem();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    antipode::peer::install_crypto_provider();
    let config = ServerConfig::builder().with_no_client_auth();
    let config = config.with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    answer(stream, LOGGED_IN, UNKNOWN).await;
                }
            });
        }
    });
    let trusting = Asking::new(&url, |identity, folder| {
        std::fs::write(folder.join("ca.pem"), &pem).unwrap();
        identity.ca_file = Some(folder.join("ca.pem"));
    });
    assert_eq!(caller(&trusting.await).get_v1("/policies").await.status, 401, "it was asked");
    let other = generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap().cert.pem();
    let distrusting = Asking::new(&url, |identity, folder| {
        std::fs::write(folder.join("ca.pem"), &other).unwrap();
        identity.ca_file = Some(folder.join("ca.pem"));
    });
    refused_for_now(&caller(&distrusting.await).get_v1("/policies").await);
    refused_for_now(&caller(&Asking::new(&url, |_, _| {}).await).get_v1("/policies").await);
}

#[tokio::test]
async fn many_callers_at_once_put_a_bounded_number_of_questions() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static OPEN: AtomicUsize = AtomicUsize::new(0);
    static MOST: AtomicUsize = AtomicUsize::new(0);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                MOST.fetch_max(OPEN.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                for _ in 0..200 {
                    tokio::task::yield_now().await;
                }
                answer(stream, LOGGED_IN, UNKNOWN).await;
                OPEN.fetch_sub(1, Ordering::SeqCst);
            });
        }
    });
    let asking = Asking::new(&url, |_, _| {}).await;
    let mut calling = Vec::new();
    for number in 0..100 {
        let client = asking.client(&format!("token-{number}"), "p");
        calling.push(tokio::spawn(async move { client.get_v1("/policies").await.status }));
    }
    for call in calling {
        assert_eq!(call.await.unwrap(), 401);
    }
    assert!(MOST.load(Ordering::SeqCst) <= 20, "{MOST:?} questions at once");
}
