//! Connections: many, idle, slow, short-lived, deaf.

use tokio::io::AsyncWriteExt;

use crate::target::{Target, rest_of, status};

/// Places of the listener in these tests; everything else is many more.
const PLACES: u32 = 32;

#[tokio::test]
async fn idle_sockets_keep_nobody_out() {
    let target = Target::with_places(PLACES).await;
    let mut idle = Vec::new();
    for _ in 0..300 {
        idle.push(target.connect().await);
    }
    for _ in 0..50 {
        target.serves_others().await;
    }
    for stream in idle {
        assert_eq!(rest_of(stream).await, "", "closed in bounded time, without an answer");
    }
}

#[tokio::test]
async fn slow_heads_and_slow_bodies_keep_nobody_out() {
    let target = Target::with_places(PLACES).await;
    let mut slow = Vec::new();
    for number in 0..300 {
        let mut stream = target.connect().await;
        let begun: &[u8] = match number % 3 {
            0 => b"GET /healthz HTTP/1.1\r\nX-Slow: ",
            1 => b"POST /identity/v3/auth/tokens HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
            _ => b"POST /identity/v3/auth/tokens HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
        };
        // Those before it may have given way already.
        let _ = stream.write_all(begun).await;
        slow.push(stream);
    }
    for _ in 0..50 {
        target.serves_others().await;
    }
    for stream in slow {
        let answer = rest_of(stream).await;
        assert!([0, 408].contains(&status(&answer)), "{answer:?}");
    }
}

#[tokio::test]
async fn sockets_that_asked_once_and_stay_keep_nobody_out() {
    let target = Target::with_places(PLACES).await;
    let mut kept = Vec::new();
    for _ in 0..200 {
        let mut stream = target.connect().await;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        stream.readable().await.unwrap();
        kept.push(stream);
    }
    for _ in 0..50 {
        target.serves_others().await;
    }
}

#[tokio::test]
async fn clients_that_do_not_read_keep_nobody_out() {
    let target = Target::with_places(PLACES).await;
    let request = b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n".repeat(2000);
    let mut deaf = Vec::new();
    for _ in 0..100 {
        let stream = target.connect().await;
        // As much as the socket takes: who does not read the answers cannot send for ever.
        let _ = stream.try_write(&request);
        deaf.push(stream);
    }
    for _ in 0..20 {
        target.serves_others().await;
    }
}

#[tokio::test]
async fn a_new_connection_for_every_request_costs_nothing_that_stays() {
    let target = Target::with_places(PLACES).await;
    for _ in 0..500 {
        target.serves_others().await;
    }
}

#[tokio::test]
async fn requests_sent_at_once_are_answered_in_their_order() {
    let target = Target::open().await;
    let mut request = String::new();
    for number in 0..200 {
        let path = if number % 2 == 0 { "/healthz" } else { "/nowhere" };
        let end = if number == 199 { "Connection: close\r\n" } else { "" };
        request.push_str(&format!("GET {path} HTTP/1.1\r\nHost: x\r\n{end}\r\n"));
    }
    let answer = target.send(request.as_bytes()).await;
    let statuses: Vec<&str> = answer.split("HTTP/1.1 ").skip(1).map(|one| &one[..3]).collect();
    assert_eq!(statuses.len(), 200);
    assert!(statuses.chunks(2).all(|pair| pair == ["200", "404"]), "{statuses:?}");
}
