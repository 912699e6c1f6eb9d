//! One request of a peer: admitted, read within limits, decoded, answered.

use std::convert::Infallible;
use std::sync::Arc;

use control::peers::messages::Refusal;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use tokio::time::timeout;

use super::Shared;
use crate::peer::wire::{Route, decode_request, encode_refusal, encode_reply};

/// A request that is not answered as asked.
struct No {
    status: StatusCode,
    refusal: Refusal,
    why: String,
    /// The body was not read to its end, so the connection cannot go on.
    is_last: bool,
}

impl No {
    fn unread(status: StatusCode, refusal: Refusal, why: impl Into<String>) -> No {
        No { status, refusal, why: why.into(), is_last: true }
    }

    fn read(refusal: Refusal, why: impl Into<String>) -> No {
        No { status: status_of(refusal), refusal, why: why.into(), is_last: false }
    }
}

/// The status that goes with a refusal. The kind in the body decides; this is for those who watch.
fn status_of(refusal: Refusal) -> StatusCode {
    match refusal {
        Refusal::NotPaired | Refusal::NoGrant | Refusal::InvitationRefused => StatusCode::FORBIDDEN,
        Refusal::WrongDomain | Refusal::WrongWrap | Refusal::Fork | Refusal::Overtaken => {
            StatusCode::CONFLICT
        }
        Refusal::NotOpen | Refusal::Gone => StatusCode::GONE,
        Refusal::Full => StatusCode::PAYLOAD_TOO_LARGE,
        Refusal::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Refusal::Malformed => StatusCode::BAD_REQUEST,
    }
}

/// The response to one request, whatever it is.
pub(super) async fn answer(
    shared: &Arc<Shared>,
    tls_key_hash: [u8; 32],
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, body, is_last) = match respond(shared, tls_key_hash, request).await {
        Ok(body) => (StatusCode::OK, body, false),
        Err(no) => (no.status, encode_refusal(no.refusal, &no.why), no.is_last),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    if is_last {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

async fn respond(shared: &Shared, tls_key_hash: [u8; 32], request: Request<Incoming>) -> Result<Vec<u8>, No> {
    let (route, length) = admit(shared, tls_key_hash, &request).await?;
    // Held until the answer: the decoded request is as large as its body.
    let room = shared.body_bytes.acquire_many(length);
    let Ok(_room) = timeout(shared.limits.body, room).await else {
        let why = "too many large requests are under way";
        return Err(No::unread(StatusCode::SERVICE_UNAVAILABLE, Refusal::Unavailable, why));
    };
    let reading = read_body(shared, length, request.into_body());
    let body = timeout(shared.limits.body, reading).await.map_err(|_| too_slow())??;
    let request =
        decode_request(route, &body).map_err(|bad| No::read(Refusal::Malformed, bad.to_string()))?;
    drop(body);
    let answer = shared.service.answer(tls_key_hash, request).await;
    let reply = answer.map_err(|(refusal, why)| No::read(refusal, why))?;
    let bytes = encode_reply(&reply);
    if Route::of_reply(&reply) != route || bytes.len() as u64 > route.reply_bytes_max() {
        tracing::error!(?route, bytes = bytes.len(), "an answer to a peer does not fit its question");
        return Err(No::read(Refusal::Unavailable, "the answer could not be sent"));
    }
    Ok(bytes)
}

/// Everything that can be decided before the body is read.
async fn admit(
    shared: &Shared,
    tls_key_hash: [u8; 32],
    request: &Request<Incoming>,
) -> Result<(Route, u32), No> {
    let Some(route) = Route::from_path(request.uri().path()) else {
        return Err(No::unread(StatusCode::NOT_FOUND, Refusal::Malformed, "there is no such route"));
    };
    if request.method() != Method::POST {
        return Err(No::unread(StatusCode::METHOD_NOT_ALLOWED, Refusal::Malformed, "requests are posted"));
    }
    if route != Route::Pair {
        let admitted = shared.service.admit(tls_key_hash).await;
        admitted.map_err(|(refusal, why)| No::unread(status_of(refusal), refusal, why))?;
    }
    let Some(length) = request.body().size_hint().exact() else {
        let why = "the length of the body must be announced";
        return Err(No::unread(StatusCode::LENGTH_REQUIRED, Refusal::Malformed, why));
    };
    let bytes_max = route.request_bytes_max().min(u64::from(shared.limits.body_bytes));
    if length > bytes_max {
        let why = format!("a body of {length} bytes, {bytes_max} are allowed");
        return Err(No::unread(StatusCode::PAYLOAD_TOO_LARGE, Refusal::Malformed, why));
    }
    Ok((route, u32::try_from(length).expect("below a limit of 32 bits")))
}

fn too_slow() -> No {
    No::unread(StatusCode::REQUEST_TIMEOUT, Refusal::Malformed, "the body took too long")
}

/// A whole body of `length` bytes; one that ends earlier is an error.
async fn read_body(shared: &Shared, length: u32, mut body: Incoming) -> Result<Vec<u8>, No> {
    let mut bytes = Vec::with_capacity(length as usize);
    loop {
        let piece = timeout(shared.limits.body_piece, body.frame()).await.map_err(|_| too_slow())?;
        let Some(piece) = piece else {
            return Ok(bytes);
        };
        let broken = |_| No::unread(StatusCode::BAD_REQUEST, Refusal::Malformed, "the body broke off");
        if let Ok(data) = piece.map_err(broken)?.into_data() {
            bytes.extend_from_slice(&data);
        }
    }
}
