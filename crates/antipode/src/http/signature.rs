//! Requests that are signed with an access key instead of carrying a token: `SDK-HMAC-SHA256`, as the SDKs of
//! the origin cloud do it (`csbs-v1-api.md` §13).
//!
//! A request carries a token or a signature, never both. The signature covers the method, the path, the
//! query, the headers that it names and the body; `host` and `x-sdk-date` must be among the headers. The
//! digest of the body is computed here, over the bytes that came.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::Response;
use chrono::NaiveDateTime;
use control::error::{Error, Kind, Reason};
use control::identity::SignedText;
use control::{Caller, Control};
use model::time::Timestamp;
use vault::ids::from_hex;

use super::Api;
use super::error::ApiError;
use super::request::{AUTH_TOKEN, header, read_bytes};
use crate::signing::{ALGORITHM, DATE, HOST, canonical_head, text_to_sign};

const PROJECT: &str = "x-project-id";
/// Temporary keys have a token of their own, and there are none here.
const TEMPORARY_TOKEN: &str = "x-security-token";
/// The most headers that a signature names.
const SIGNED_HEADERS_MAX: usize = 64;

/// What came of a request's signature; not there for requests without one.
#[derive(Clone)]
pub(super) struct Verified(pub(super) Result<Caller, ApiError>);

/// What the `Authorization` header says.
#[derive(Debug, PartialEq, Eq)]
struct Claim {
    access_key: String,
    /// In the order of the header, lower case.
    headers: Vec<String>,
    signature: [u8; 32],
}

/// Checks a signature if there is one, before the handler is reached. The outcome travels with the request,
/// and whoever wants to know the caller is refused with it, in the form of its own surface.
pub(super) async fn verify(State(api): State<Api>, request: Request, next: Next) -> Response {
    if !is_signed(request.headers()) {
        return next.run(request).await;
    }
    let (mut parts, body) = request.into_parts();
    let mut body = Some(body);
    let outcome = caller_of(&api, &parts, &mut body).await;
    parts.extensions.insert(Verified(outcome));
    next.run(Request::from_parts(parts, body.unwrap_or_default())).await
}

fn is_signed(headers: &HeaderMap) -> bool {
    let mut stated = headers.get_all(AUTHORIZATION).iter();
    stated.any(|value| value.as_bytes().starts_with(ALGORITHM.as_bytes()))
}

/// Reads the body only for a key that exists and a date that holds.
async fn caller_of(api: &Api, parts: &Parts, body: &mut Option<Body>) -> Result<Caller, ApiError> {
    let headers = &parts.headers;
    if headers.contains_key(AUTH_TOKEN) || headers.contains_key(TEMPORARY_TOKEN) {
        return Err(refused("a request carries a token or a signature, not both, and no temporary key"));
    }
    let claim = Claim::of(headers)?;
    let (stated_date, date) = date_of(headers)?;
    let head = head_of(parts, &claim)?;
    let control: &Control = &api.control;
    let key = control.signing_key(&claim.access_key, date).await?;
    let bytes = match body.take() {
        Some(body) => read_bytes(body, api.site.limits).await?,
        None => axum::body::Bytes::new(),
    };
    let text = text_to_sign(stated_date, &head, &bytes);
    *body = Some(Body::from(bytes));
    let signed = SignedText {
        text: text.as_bytes(),
        signature: claim.signature,
        date,
        is_change: parts.method != Method::GET && parts.method != Method::HEAD,
        project: header(headers, PROJECT),
    };
    Ok(control.accept_signature(key, &signed).await?)
}

impl Claim {
    /// `SDK-HMAC-SHA256 Access=…, SignedHeaders=…;…, Signature=…`
    fn of(headers: &HeaderMap) -> Result<Claim, ApiError> {
        let malformed = || {
            refused(
                "Authorization must be SDK-HMAC-SHA256 Access=…, SignedHeaders=…, Signature=… and stand once",
            )
        };
        let stated = single(headers, AUTHORIZATION.as_str()).ok_or_else(malformed)?;
        let stated = std::str::from_utf8(stated).map_err(|_| malformed())?;
        let fields = stated.strip_prefix(ALGORITHM).and_then(|rest| rest.strip_prefix(' '));
        let fields: Vec<_> = fields.ok_or_else(malformed)?.split(',').map(str::trim).collect();
        let [access_key, signed_headers, signature] = fields.as_slice() else { return Err(malformed()) };
        let field = |text: &str, name: &str| text.strip_prefix(name).map(str::to_owned);
        let headers = field(signed_headers, "SignedHeaders=").ok_or_else(malformed)?;
        let headers: Vec<String> = headers.split(';').map(str::to_ascii_lowercase).collect();
        if headers.len() > SIGNED_HEADERS_MAX {
            return Err(malformed());
        }
        for must in [HOST, DATE] {
            if !headers.iter().any(|name| name == must) {
                return Err(refused("host and x-sdk-date must be among the signed headers"));
            }
        }
        Ok(Claim {
            access_key: field(access_key, "Access=").ok_or_else(malformed)?,
            headers,
            signature: field(signature, "Signature=")
                .and_then(|hex| from_hex::<32>(&hex).ok())
                .ok_or_else(malformed)?,
        })
    }
}

/// The date as it stands in the header, and the moment it means.
fn date_of(headers: &HeaderMap) -> Result<(&str, Timestamp), ApiError> {
    let malformed = || refused("x-sdk-date must stand once and be such as 20261123T010203Z");
    let stated = single(headers, DATE).and_then(|value| std::str::from_utf8(value).ok());
    let stated = stated.filter(|stated| stated.len() == 16).ok_or_else(malformed)?;
    let moment = NaiveDateTime::parse_from_str(stated, "%Y%m%dT%H%M%SZ").map_err(|_| malformed())?;
    Ok((stated, Timestamp::from_micros(moment.and_utc().timestamp_micros())))
}

/// Everything of the canonical request before the digest of the body.
fn head_of(parts: &Parts, claim: &Claim) -> Result<Vec<u8>, ApiError> {
    let mut headers = Vec::with_capacity(claim.headers.len());
    for name in &claim.headers {
        let value = single(&parts.headers, name);
        let value = value.ok_or_else(|| refused("each signed header must stand in the request, once"))?;
        headers.push((name.as_str(), value));
    }
    let query = parts.uri.query().unwrap_or_default();
    canonical_head(parts.method.as_str(), parts.uri.path(), query, &headers)
        .map_err(|bad| ApiError::malformed("path and query", bad))
}

/// The one value of a header.
fn single<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Some(value.as_bytes()),
        _ => None,
    }
}

fn refused(message: &str) -> ApiError {
    Error::new(Kind::Unauthenticated, Reason::NotLoggedIn, message).into()
}

#[cfg(test)]
mod tests;
