//! Heads of requests: framing, lengths, targets, sizes.

use crate::support::NOBODY;
use crate::target::{Target, status};

const CLOSE: &str = "Host: x\r\nConnection: close\r\n\r\n";

/// Sends each case alone and compares the status; 0 stands for a connection closed without an answer.
async fn check(cases: &[(&str, String, u16)]) {
    let target = Target::open().await;
    for (name, request, expected) in cases {
        let answer = target.send(request.as_bytes()).await;
        assert_eq!(status(&answer), *expected, "{name}: {answer:?}");
        target.serves_others().await;
    }
}

#[tokio::test]
async fn a_head_that_is_no_http_is_refused() {
    let get = |line: &str| format!("GET /healthz HTTP/1.1\r\n{line}\r\n{CLOSE}");
    check(&[
        ("not HTTP", "hello\r\n\r\n".to_owned(), 400),
        ("TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n".to_owned(), 400),
        ("HTTP/0.9", "GET /\r\n\r\n".to_owned(), 400),
        ("HTTP/3.0", format!("GET / HTTP/3.0\r\n{CLOSE}"), 400),
        ("two blanks", format!("GET  /healthz HTTP/1.1\r\n{CLOSE}"), 400),
        ("no colon", get("nonsense"), 400),
        ("a blank before the colon", get("X-A : b"), 400),
        ("a folded line", get("X-A: b\r\n c"), 400),
        ("NUL in a value", get("X-A: a\0b"), 400),
        ("a bare CR in a value", get("X-A: a\rb"), 400),
        ("a name that is none", get("X(A): b"), 400),
        ("a blank in the target", format!("GET /health z HTTP/1.1\r\n{CLOSE}"), 400),
        ("NUL in the target", format!("GET /healthz\0 HTTP/1.1\r\n{CLOSE}"), 400),
    ])
    .await;
}

#[tokio::test]
async fn a_line_that_ends_in_a_bare_line_feed_counts_as_ended() {
    // RFC 9112 lets a recipient read it so. What must not be is a second meaning: one request, one answer.
    let target = Target::open().await;
    let answer = target.send(b"GET /healthz HTTP/1.1\nHost: x\nConnection: close\n\n").await;
    assert_eq!((status(&answer), answer.matches("HTTP/1.1 ").count()), (200, 1), "{answer:?}");
    // In the lengths of chunks, where readers differ, it is refused.
    let chunks = "Transfer-Encoding: chunked\r\n";
    let head = target.head("POST", &target.world.a.admin.v1("/policies"), chunks);
    let answer = target.send(format!("{head}2\n{{}}\n0\n\n").as_bytes()).await;
    assert_eq!(status(&answer), 400, "{answer:?}");
    target.serves_others().await;
}

#[tokio::test]
async fn a_body_has_one_length() {
    let post = |lines: &str, body: &str| {
        format!(
            "POST /identity/v3/auth/tokens HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{lines}\r\n\r\n{body}"
        )
    };
    check(&[
        ("two lengths", post("Content-Length: 2\r\nContent-Length: 3", "{}"), 400),
        ("a list of lengths", post("Content-Length: 2, 3", "{}"), 400),
        ("a signed length", post("Content-Length: +2", "{}"), 400),
        ("a negative length", post("Content-Length: -2", "{}"), 400),
        ("a length that is no number", post("Content-Length: 0x2", "{}"), 400),
        ("a length beyond 64 bits", post("Content-Length: 99999999999999999999", "{}"), 400),
        ("an unknown coding", post("Transfer-Encoding: gzip", "{}"), 400),
        ("chunked is not the last coding", post("Transfer-Encoding: chunked, gzip", "{}"), 400),
        ("a chunk length that is none", post("Transfer-Encoding: chunked", "x\r\n{}\r\n0\r\n\r\n"), 400),
        (
            "a chunk length beyond 64 bits",
            post("Transfer-Encoding: chunked", "fffffffffffffffff\r\n{}\r\n"),
            400,
        ),
        (
            "HTTP/1.0 with chunks",
            post("Transfer-Encoding: chunked", "0\r\n\r\n").replacen("HTTP/1.1", "HTTP/1.0", 1),
            400,
        ),
    ])
    .await;
}

#[tokio::test]
async fn with_both_lengths_the_chunks_count_and_the_connection_ends() {
    // What a proxy in front took for the next request is never read as one.
    let target = Target::open().await;
    for lines in
        ["Content-Length: 5\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 5"]
    {
        let smuggled = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
        let request = format!("POST /healthz HTTP/1.1\r\nHost: x\r\n{lines}\r\n\r\n0\r\n\r\n{smuggled}");
        let answer = target.send(request.as_bytes()).await;
        assert_eq!((status(&answer), answer.matches("HTTP/1.1 ").count()), (405, 1), "{answer:?}");
    }
    target.serves_others().await;
}

#[tokio::test]
async fn heads_have_a_largest_size() {
    check(&[
        (
            "a line of 160 KiB",
            format!("GET /healthz HTTP/1.1\r\nX-A: {}\r\n{CLOSE}", "x".repeat(160 << 10)),
            431,
        ),
        ("200 lines", format!("GET /healthz HTTP/1.1\r\n{}{CLOSE}", "X-A: b\r\n".repeat(200)), 431),
        ("a target of 70,000 characters", format!("GET /{} HTTP/1.1\r\n{CLOSE}", "x".repeat(70_000)), 414),
        ("a method of 10,000 characters", format!("{} / HTTP/1.1\r\n{CLOSE}", "X".repeat(10_000)), 405),
        (
            "a query of 60,000 characters",
            format!("GET /healthz?{} HTTP/1.1\r\n{CLOSE}", "a=b&".repeat(15_000)),
            200,
        ),
    ])
    .await;
}

#[tokio::test]
async fn targets_are_taken_as_they_stand() {
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\n{CLOSE}");
    check(&[
        ("an absolute target", get("http://elsewhere.example/healthz"), 200),
        ("an asterisk", format!("OPTIONS * HTTP/1.1\r\n{CLOSE}"), 404),
        ("an authority", format!("CONNECT example:80 HTTP/1.1\r\n{CLOSE}"), 404),
        ("no slash", get("healthz"), 404),
        ("dots are no way up", get("/v1/../healthz"), 404),
        ("encoded dots neither", get("/v1/%2e%2e/policies"), 401),
        ("an encoded letter is another path", get("/%68ealthz"), 404),
        ("an encoded slash is none", get("/identity%2fv3"), 404),
        ("two slashes", get("//healthz"), 404),
        ("a slash at the end", get("/healthz/"), 404),
        ("an encoded NUL", get("/healthz%00"), 404),
        ("a fragment is cut off", get("/healthz#x"), 200),
        ("a backslash", get("/v1\\..\\healthz"), 404),
    ])
    .await;
}

#[tokio::test]
async fn ids_in_a_path_are_refused_by_name_whatever_stands_in_them() {
    let target = Target::open().await;
    for bad in ["%00", "%ff", "..%2f..%2fetc", "%2e%2e", "%25%32%65", "a%20b", "%C3%A4", &"x".repeat(5000)] {
        let path = target.world.a.admin.v1(&format!("/policies/{bad}"));
        let answer = target.send(target.head("GET", &path, "").as_bytes()).await;
        assert_eq!(status(&answer), 400, "{bad}: {answer:?}");
        assert!(answer.contains("CSBS.9001"), "{bad}: {answer:?}");
    }
    let path = target.world.a.admin.v1(&format!("/policies/{NOBODY}"));
    assert_eq!(status(&target.send(target.head("GET", &path, "").as_bytes()).await), 404);
    target.serves_others().await;
}

#[tokio::test]
async fn head_is_get_without_a_body_and_options_is_not_known() {
    let target = Target::open().await;
    let path = target.world.a.admin.v1("/policies");
    let got = target.send(target.head("GET", &path, "").as_bytes()).await;
    let head = target.send(target.head("HEAD", &path, "").as_bytes()).await;
    let length = |answer: &str| {
        let lines: Vec<_> = answer.lines().map(str::to_ascii_lowercase).collect();
        lines.into_iter().find(|line| line.starts_with("content-length:"))
    };
    assert_eq!((status(&head), length(&head)), (200, length(&got)));
    assert!(head.ends_with("\r\n\r\n"), "{head:?}");
    let options = target.send(target.head("OPTIONS", &path, "").as_bytes()).await;
    assert_eq!(status(&options), 405, "{options:?}");
    assert!(
        options.contains("Antipode.0405") && options.to_ascii_lowercase().contains("allow: get"),
        "{options:?}"
    );
}
