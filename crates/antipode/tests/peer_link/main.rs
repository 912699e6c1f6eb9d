//! The link between regions over real sockets and real TLS: who gets through, what survives the
//! trip, and what bad peers, on either side, cannot do.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod support;

use std::sync::atomic::Ordering;
use std::time::Duration;

use antipode::peer::client::{ClientLimits, PeerClient};
use antipode::peer::listener::ListenerLimits;
use control::peers::messages::{BATCH_BYTES_MAX, LinkError, PeerLinks, PeerReply, PeerRequest, Refusal};

use support::{EMPTY_LIST, FakeListener, RawClient, Region, TestKey, link_error_text, messages, transfer};

const SHORT: Duration = Duration::from_millis(150);

#[tokio::test]
async fn every_request_and_every_reply_survives_the_trip() {
    let (source, destination) = (Region::start(1).await, Region::start(2).await);
    destination.trust(&source);
    for (request, reply) in messages() {
        destination.service.will_answer(Ok(reply.clone()));
        let got = source.client.ask(&destination.address(), request.clone()).await.unwrap();
        assert_eq!(format!("{got:?}"), format!("{reply:?}"));
        let (tls_key_hash, arrived) = destination.service.last_question();
        assert_eq!(tls_key_hash, source.tls_key_hash());
        assert_eq!(format!("{arrived:?}"), format!("{request:?}"));
    }
}

#[tokio::test]
async fn the_longest_batch_and_a_long_head_get_through() {
    let (source, destination) = (Region::start(1).await, Region::start(2).await);
    destination.trust(&source);
    let (request, reply) = messages().remove(5);
    let PeerRequest::Send { transfer, .. } = request else { panic!("the sixth message is a batch") };
    destination.service.will_answer(Ok(reply));
    let batch: Vec<u8> = (0..BATCH_BYTES_MAX).map(|position| (position % 251) as u8).collect();
    let request = PeerRequest::Send { transfer, batch: batch.clone() };
    source.client.ask(&destination.address(), request).await.unwrap();
    let (_, PeerRequest::Send { batch: arrived, .. }) = destination.service.last_question() else {
        panic!("another request arrived")
    };
    assert!(arrived == batch, "the batch changed on its way");

    let (request, PeerReply::Head { head, .. }) = messages().remove(2) else { panic!("the third is a head") };
    destination.service.will_answer(Ok(PeerReply::Head { head, entries: batch.clone() }));
    let reply = source.client.ask(&destination.address(), request).await.unwrap();
    let PeerReply::Head { entries, .. } = reply else { panic!("another reply") };
    assert!(entries == batch, "the entries changed on their way");
}

#[tokio::test]
async fn every_refusal_keeps_its_kind_and_its_sentence() {
    let (source, destination) = (Region::start(1).await, Region::start(2).await);
    destination.trust(&source);
    use Refusal::*;
    for refusal in [
        NotPaired,
        NoGrant,
        WrongDomain,
        WrongWrap,
        Fork,
        Full,
        Overtaken,
        NotOpen,
        Unavailable,
        InvitationRefused,
        Malformed,
        Gone,
    ] {
        destination.service.will_answer(Err((refusal, "because".to_owned())));
        match source.client.ask(&destination.address(), PeerRequest::Grants).await {
            Err(LinkError::Refused { refusal: got, why }) => {
                assert_eq!((got, &why[..]), (refusal, "because"))
            }
            other => panic!("{refusal:?} became {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_peer_that_shows_another_key_is_not_asked() {
    let (source, destination) = (Region::start(1).await, Region::start(2).await);
    destination.trust(&source);
    let mut address = destination.address();
    address.tls_key_hash[0] ^= 1;
    let error = source.client.ask(&address, PeerRequest::Grants).await.unwrap_err();
    assert!(link_error_text(&error).contains("another TLS key"), "{}", link_error_text(&error));
    assert_eq!(destination.service.questions(), 0);
}

#[tokio::test]
async fn a_stranger_may_ask_to_be_paired_and_nothing_else() {
    let (stranger, destination) = (Region::start(1).await, Region::start(2).await);
    for (request, reply) in messages() {
        destination.service.will_answer(Ok(reply));
        let is_pairing = matches!(request, PeerRequest::Pair(_));
        match stranger.client.ask(&destination.address(), request).await {
            Ok(PeerReply::Paired { .. }) => assert!(is_pairing),
            Err(LinkError::Refused { refusal: Refusal::NotPaired, .. }) => assert!(!is_pairing),
            other => panic!("a stranger got {other:?}"),
        }
    }
    assert_eq!(destination.service.questions(), 1);
}

#[tokio::test]
async fn a_connection_without_a_key_is_refused() {
    let destination = Region::start(2).await;
    let raw = RawClient::connect_without_key(&destination).await.unwrap();
    let error = raw.knock().await.unwrap_err();
    assert!(error.to_string().contains("CertificateRequired"), "{error}");
    assert_eq!(destination.service.questions(), 0);
}

#[tokio::test]
async fn a_certificate_without_its_private_key_is_refused_by_the_listener() {
    let (source, destination) = (TestKey::new(), Region::start(2).await);
    destination.service.know(source.tls_key_hash);
    let thief = TestKey::new();
    let stolen = source.certified_with(&thief);
    let error = RawClient::connect_with(&destination, stolen).await.unwrap().knock().await.unwrap_err();
    assert!(error.to_string().contains("DecryptError"), "{error}");
    let answer =
        RawClient::connect_with(&destination, source.certified()).await.unwrap().knock().await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}

#[tokio::test]
async fn a_certificate_without_its_private_key_is_refused_by_the_client() {
    let source = Region::start(1).await;
    let (peer, thief) = (TestKey::new(), TestKey::new());
    let honest = FakeListener::start(peer.certified(), EMPTY_LIST);
    source.client.ask(&honest.address(&peer), PeerRequest::Grants).await.unwrap();
    let fake = FakeListener::start(peer.certified_with(&thief), EMPTY_LIST);
    let error = source.client.ask(&fake.address(&peer), PeerRequest::Grants).await.unwrap_err();
    assert!(link_error_text(&error).contains("BadSignature"), "{}", link_error_text(&error));
}

#[tokio::test]
async fn bad_requests_are_refused_before_their_body_is_read() {
    let destination = Region::start(2).await;
    let key = destination.known_key();
    for (head, status) in [
        ("POST /peer/v1/nothing HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n", "404"),
        ("GET /peer/v1/grants HTTP/1.1\r\nhost: x\r\n\r\n", "405"),
        ("POST /peer/v1/grants HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n", "411"),
        ("POST /peer/v1/send HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999\r\n\r\n", "413"),
        ("POST /peer/v1/want HTTP/1.1\r\nhost: x\r\ncontent-length: 4000000\r\n\r\n", "413"),
        ("POST /peer/v1/send HTTP/1.1\r\nhost: x\r\ncontent-length: 1e3\r\n\r\n", "400"),
    ] {
        let mut raw = RawClient::connect_with(&destination, key.certified()).await.unwrap();
        let answer = raw.say(head.as_bytes()).await.read_to_end().await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{head}: {answer}");
    }
    let long = format!("POST /peer/v1/grants HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "y".repeat(20_000));
    let mut raw = RawClient::connect_with(&destination, key.certified()).await.unwrap();
    let answer = raw.say(long.as_bytes()).await.read_to_end().await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    assert_eq!(destination.service.questions(), 0);
}

#[tokio::test]
async fn a_body_that_means_nothing_is_malformed_and_the_connection_goes_on() {
    let destination = Region::start(2).await;
    let mut raw = RawClient::connect_with(&destination, destination.known_key().certified()).await.unwrap();
    for _ in 0..2 {
        raw.say(b"POST /peer/v1/head HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc").await;
        let answer = raw.read_some().await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
    assert_eq!(destination.service.questions(), 0);
}

#[tokio::test]
async fn a_slow_header_an_idle_connection_and_a_slow_body_are_closed() {
    let limits = ListenerLimits { header: SHORT, body_piece: SHORT, ..ListenerLimits::default() };
    let destination = Region::start_with(2, limits).await;
    let key = destination.known_key();
    for beginning in [&b"POST /peer/v1/gra"[..], b""] {
        let mut raw = RawClient::connect_with(&destination, key.certified()).await.unwrap();
        let answer = raw.say(beginning).await.read_to_end().await;
        assert!(!answer.starts_with("HTTP/1.1 2"), "{answer}");
    }
    let mut raw = RawClient::connect_with(&destination, key.certified()).await.unwrap();
    raw.say(b"POST /peer/v1/send HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\nabc").await;
    let answer = raw.read_to_end().await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert_eq!(destination.service.questions(), 0);
}

#[tokio::test]
async fn a_handshake_that_never_comes_does_not_hold_its_place() {
    let limits = ListenerLimits { handshakes: 1, handshake: SHORT, ..ListenerLimits::default() };
    let destination = Region::start_with(2, limits).await;
    let silent = destination.connect_tcp().await;
    let key = destination.known_key();
    let raw = RawClient::connect_with(&destination, key.certified()).await.unwrap();
    assert!(raw.knock().await.unwrap().starts_with("HTTP/1.1 400"));
    drop(silent);
}

#[tokio::test]
async fn a_body_that_breaks_off_never_reaches_the_service() {
    let destination = Region::start(2).await;
    let mut raw = RawClient::connect_with(&destination, destination.known_key().certified()).await.unwrap();
    raw.say(b"POST /peer/v1/send HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\nabc").await;
    raw.end().await;
    let answer = raw.read_to_end().await;
    assert!(!answer.starts_with("HTTP/1.1 2"), "{answer}");
    assert_eq!(destination.service.questions(), 0);
}

#[tokio::test]
async fn bad_answers_are_errors_never_replies() {
    let source = Region::start(1).await;
    let overlong = [&b"HTTP/1.1 200 OK\r\ncontent-length: 5000000\r\n\r\n"[..], &vec![0; 5_000_000]].concat();
    for (answer, why) in [
        (&b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n\0\0\0\0"[..], "truncated"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n\0\0\0", "too short"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n\0\0\0\0\0", "left over"),
        (
            b"HTTP/1.1 307 Elsewhere\r\nlocation: https://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
            "redirect",
        ),
        (b"HTTP/1.1 500 Oops\r\ncontent-length: 4\r\n\r\noops", "no refusal"),
        (b"nonsense\r\n\r\n", "no HTTP"),
        (b"", "nothing"),
        (&overlong, "too long"),
    ] {
        let key = TestKey::new();
        let fake = FakeListener::start(key.certified(), answer);
        match source.client.ask(&fake.address(&key), PeerRequest::Grants).await {
            Err(LinkError::Unreachable { .. }) => {}
            other => panic!("{why}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_peer_that_is_down_or_silent_is_unreachable_and_plain_http_is_not_spoken() {
    let limits = ClientLimits { answer: SHORT, connect: SHORT, ..ClientLimits::default() };
    let source = Region::start(1).await;
    let client = PeerClient::new(&source.identity, limits);
    let destination = Region::start(2).await;
    destination.trust(&source);
    destination.service.will_wait();
    let silent = client.ask(&destination.address(), PeerRequest::Grants).await;
    assert!(matches!(silent, Err(LinkError::Unreachable { .. })), "{silent:?}");
    let mut address = destination.address();
    address.url = address.url.replace("https", "http");
    assert!(matches!(client.ask(&address, PeerRequest::Grants).await, Err(LinkError::Unreachable { .. })));
    let address = destination.address();
    destination.service.may_answer();
    destination.stop().await;
    let down = client.ask(&address, PeerRequest::Grants).await;
    assert!(matches!(down, Err(LinkError::Unreachable { .. })), "{down:?}");
}

#[tokio::test]
async fn one_connection_serves_many_questions_to_a_peer() {
    let source = Region::start(1).await;
    let key = TestKey::new();
    let fake = FakeListener::start(key.certified(), EMPTY_LIST);
    for _ in 0..5 {
        source.client.ask(&fake.address(&key), PeerRequest::Grants).await.unwrap();
    }
    assert_eq!(fake.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_and_strangers_take_no_place_of_peers() {
    let limits = ListenerLimits { connections: 1, stranger_connections: 1, ..ListenerLimits::default() };
    let destination = Region::start_with(2, limits).await;
    let (peer, stranger) = (destination.known_key(), TestKey::new());
    let mut strangers = Vec::new();
    for is_served in [true, false] {
        let mut raw = RawClient::connect_with(&destination, stranger.certified()).await.unwrap();
        raw.say(b"POST /peer/v1/pair HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc").await;
        let answer = raw.read_some().await;
        assert_eq!(answer.starts_with("HTTP/1.1 400"), is_served, "{answer}");
        strangers.push(raw);
    }
    for is_served in [true, false] {
        let mut raw = RawClient::connect_with(&destination, peer.certified()).await.unwrap();
        raw.say(b"POST /peer/v1/head HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc").await;
        let answer = raw.read_some().await;
        assert_eq!(answer.starts_with("HTTP/1.1 400"), is_served, "{answer}");
        strangers.push(raw);
    }
}

#[tokio::test]
async fn a_peer_that_was_known_and_is_not_any_more_is_refused_on_its_open_connection() {
    let (source, destination) = (Region::start(1).await, Region::start(2).await);
    destination.trust(&source);
    destination.service.will_answer(Ok(PeerReply::Grants(vec![])));
    source.client.ask(&destination.address(), PeerRequest::Grants).await.unwrap();
    destination.service.forget(&source.tls_key_hash());
    match source.client.ask(&destination.address(), PeerRequest::Verify { transfer: transfer() }).await {
        Err(LinkError::Refused { refusal: Refusal::NotPaired, .. }) => {}
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_listener_that_stops_finishes_what_it_was_asked() {
    let (source, destination) = (Region::start(1).await, Region::start(2).await);
    destination.trust(&source);
    destination.service.will_answer(Ok(PeerReply::Grants(vec![])));
    destination.service.will_wait();
    let address = destination.address();
    let service = destination.service.clone();
    let asking = source.client.ask(&address, PeerRequest::Grants);
    let stopping = async {
        service.was_asked().await;
        let stopping = tokio::spawn(destination.stop());
        service.may_answer();
        stopping.await.unwrap();
    };
    let (answer, ()) = tokio::join!(asking, stopping);
    assert!(matches!(answer, Ok(PeerReply::Grants(_))), "{answer:?}");
}
