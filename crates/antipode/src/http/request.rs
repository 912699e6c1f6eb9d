//! What handlers take out of a request: who calls, the ids in the path, the query, the body. Each
//! extractor refuses in the documented form and names the offending part.

use std::str::FromStr;
use std::time::Duration;

use axum::body::{Bytes, HttpBody};
use axum::extract::{FromRef, FromRequest, FromRequestParts, Query as AxumQuery, RawPathParams, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Uri};
use control::error::{Error, Kind, Reason};
use control::{Caller, Control};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use model::ids::{BadId, ProjectId};
use model::policy::{PROVIDER_ID, RESOURCE_TYPE};
use serde_json::Value;

use super::Limits;
use super::error::ApiError;
use super::reader::Field;
use super::request_id::AskedPath;
use super::signature::Verified;

/// The header that carries a caller's token.
pub(crate) const AUTH_TOKEN: &str = "x-auth-token";

/// Stands in a request once its caller has proved who they are.
#[derive(Clone, Copy)]
struct IsKnown;

/// The largest body of somebody who has not proved who they are: a log-in and no more. Else the memory for
/// bodies would be open to anybody who can connect.
const STRANGER_BODY_BYTES_MAX: u64 = 64 * 1024;

/// Somebody with a valid token, whatever its scope, or with a valid signature.
pub(crate) struct LoggedIn(pub(crate) Caller);

impl<S: Send + Sync> FromRequestParts<S> for LoggedIn
where
    Control: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<LoggedIn, ApiError> {
        if let Some(Verified(outcome)) = parts.extensions.get() {
            let caller = outcome.clone()?;
            parts.extensions.insert(IsKnown);
            return Ok(LoggedIn(caller));
        }
        let token = header(&parts.headers, AUTH_TOKEN).ok_or_else(Error::unauthenticated)?;
        let caller = Control::from_ref(state).authenticate(token).await?;
        parts.extensions.insert(IsKnown);
        Ok(LoggedIn(caller))
    }
}

/// Somebody whose token is for the project that the path names.
pub(crate) struct InProject(pub(crate) Caller);

impl<S: Send + Sync> FromRequestParts<S> for InProject
where
    Control: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<InProject, ApiError> {
        let LoggedIn(caller) = LoggedIn::from_request_parts(parts, state).await?;
        let path = PathParams::from_request_parts(parts, state).await?;
        caller.require_project(&path.id::<ProjectId>("project_id")?)?;
        Ok(InProject(caller))
    }
}

/// The one header of that name, if it is text.
pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The ids in the path, percent-decoded.
pub(crate) struct PathParams(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for PathParams {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<PathParams, ApiError> {
        let params = RawPathParams::from_request_parts(parts, state).await;
        let params = params.map_err(|_| ApiError::malformed("path", "is not valid percent-encoded text"))?;
        if let Some((name, _)) = params.iter().find(|(_, value)| value.contains('\0')) {
            return Err(ApiError::malformed(name, "may not hold a NUL character"));
        }
        Ok(PathParams(params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()))
    }
}

impl PathParams {
    /// The text of one part of the path.
    pub(crate) fn text(&self, name: &str) -> Result<&str, ApiError> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str()).ok_or_else(|| ApiError::malformed(name, "is missing"))
    }

    /// The id in one part of the path.
    pub(crate) fn id<T: FromStr<Err = BadId>>(&self, name: &str) -> Result<T, ApiError> {
        self.text(name)?.parse().map_err(|bad| ApiError::malformed(name, bad))
    }
}

/// Passes only paths that name the one provider there is.
pub(crate) struct Provider;

impl<S: Send + Sync> FromRequestParts<S> for Provider {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Provider, ApiError> {
        let path = PathParams::from_request_parts(parts, state).await?;
        if path.text("provider_id")? == PROVIDER_ID {
            Ok(Provider)
        } else {
            Err(ApiError::provider_invalid())
        }
    }
}

/// Refuses a body whose provider is not ours.
pub(crate) fn check_provider(field: &Field<'_>) -> Result<(), ApiError> {
    if field.text()? == PROVIDER_ID { Ok(()) } else { Err(field.refused("provider invalid")) }
}

/// Refuses to back up a resource that is not a server.
pub(crate) fn check_resource_type(field: &Field<'_>, resource: &str) -> Result<(), ApiError> {
    check_type(field, resource, |resource, resource_type| Reason::ResourceTypeUnsupported {
        resource,
        resource_type,
    })
}

/// Refuses to restore onto a resource that is not a server.
pub(crate) fn check_target_type(field: &Field<'_>, resource: &str) -> Result<(), ApiError> {
    check_type(field, resource, |resource, resource_type| Reason::TargetTypeUnsupported {
        resource,
        resource_type,
    })
}

fn check_type(
    field: &Field<'_>,
    resource: &str,
    reason: fn(String, String) -> Reason,
) -> Result<(), ApiError> {
    let resource_type = field.text()?;
    if resource_type == RESOURCE_TYPE {
        return Ok(());
    }
    let short = |text: &str| text.chars().take(80).collect::<String>();
    Err(ApiError::from(Error::new(Kind::Invalid, reason(short(resource), short(resource_type)), "")))
}

/// The query, in its order, repeated keys included. Keys that nobody asks for are ignored.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query {
    pairs: Vec<(String, String)>,
    path: String,
}

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Query, ApiError> {
        let mut query = Query::of(&parts.uri)?;
        if let Some(AskedPath(path)) = parts.extensions.get() {
            query.path.clone_from(path);
        }
        Ok(query)
    }
}

impl Query {
    /// The query of an address.
    pub(crate) fn of(uri: &Uri) -> Result<Query, ApiError> {
        if !is_text(uri.query().unwrap_or_default()) {
            return Err(ApiError::malformed("query", "is not valid percent-encoded text"));
        }
        let pairs = AxumQuery::<Vec<(String, String)>>::try_from_uri(uri);
        let AxumQuery(pairs) =
            pairs.map_err(|_| ApiError::malformed("query", "is not a valid query string"))?;
        if let Some((name, _)) = pairs.iter().find(|(_, value)| value.contains('\0')) {
            return Err(ApiError::malformed(name, "may not hold a NUL character"));
        }
        Ok(Query { pairs, path: uri.path().to_owned() })
    }

    /// The whole path that was asked, without the query.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// All pairs, as they came.
    pub(crate) fn pairs(&self) -> &[(String, String)] {
        &self.pairs
    }

    /// Every value of a key that is not empty: an empty filter filters nothing.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let wanted = self.pairs.iter().filter(move |(known, value)| known == name && !value.is_empty());
        wanted.map(|(_, value)| value.as_str())
    }

    /// The last value of a key.
    pub(crate) fn last(&self, name: &str) -> Option<&str> {
        let found = self.pairs.iter().rev().find(|(known, value)| known == name && !value.is_empty());
        found.map(|(_, value)| value.as_str())
    }

    /// The last value of a key as something that can be parsed from text.
    pub(crate) fn parsed<T: FromStr>(&self, name: &str, wanted: &str) -> Result<Option<T>, ApiError> {
        let parse =
            |text: &str| text.parse().map_err(|_| ApiError::malformed(name, format!("must be {wanted}")));
        self.last(name).map(parse).transpose()
    }

    /// The last value of a key as a boolean, in any of the words that clients use.
    pub(crate) fn boolean(&self, name: &str) -> Result<Option<bool>, ApiError> {
        let Some(text) = self.last(name) else { return Ok(None) };
        match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Ok(Some(true)),
            "false" | "0" | "no" | "off" => Ok(Some(false)),
            _ => Err(ApiError::malformed(name, "must be true or false")),
        }
    }

    /// The ids of a key, given by repeating it, by commas, or both; nothing if the key is absent.
    pub(crate) fn ids<T: FromStr<Err = BadId>>(&self, name: &str) -> Result<Option<Vec<T>>, ApiError> {
        if !self.pairs.iter().any(|(known, _)| known == name) {
            return Ok(None);
        }
        let parts = self.all(name).flat_map(|value| value.split(',')).map(str::trim);
        let ids = parts.map(|part| part.parse().map_err(|bad| ApiError::malformed(name, bad)));
        let ids = ids.collect::<Result<Vec<T>, ApiError>>()?;
        if ids.is_empty() { Err(ApiError::malformed(name, "names no id")) } else { Ok(Some(ids)) }
    }
}

/// Whether a query is text once it is decoded. Decoding itself would put a question mark for what is none, and
/// search for that.
fn is_text(query: &str) -> bool {
    let mut bytes = Vec::with_capacity(query.len());
    let mut rest = query.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = if *first == b'%' { tail.get(..2) } else { None };
        let escaped = escaped.and_then(|digits| std::str::from_utf8(digits).ok());
        match escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    std::str::from_utf8(&bytes).is_ok()
}

/// A JSON body. Who reads it decides what must be in it.
pub(crate) struct Body(pub(crate) Value);

impl<S: Send + Sync> FromRequest<S> for Body
where
    Limits: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Body, ApiError> {
        check_content_type(request.headers())?;
        let limits = Limits::from_ref(state);
        let limit = match request.extensions().get::<IsKnown>() {
            Some(IsKnown) => limits.body_bytes_max,
            None => limits.body_bytes_max.min(STRANGER_BODY_BYTES_MAX),
        };
        let bytes = read_bytes(request.into_body(), Limits { body_bytes_max: limit, ..limits }).await?;
        if bytes.is_empty() {
            return Err(ApiError::malformed("body", "is empty"));
        }
        let parsed = super::json::parse(&bytes);
        parsed.map(Body).map_err(|error| ApiError::malformed("body", format!("is not valid JSON: {error}")))
    }
}

/// A whole body. One that announces too much is refused before a byte of it is read; one that was read before,
/// for its signature, is given again and not copied.
pub(super) async fn read_bytes(body: axum::body::Body, limits: Limits) -> Result<Bytes, ApiError> {
    let limit = limits.body_bytes_max;
    let too_large = || ApiError::malformed("body", format!("is larger than {limit} bytes"));
    if body.size_hint().lower() > limit {
        return Err(too_large());
    }
    let body = Limited::new(body, usize::try_from(limit).unwrap_or(usize::MAX)).collect();
    let collected = tokio::time::timeout(Duration::from_secs(limits.body_timeout_seconds), body).await;
    let collected = collected.map_err(|_| ApiError::too_slow())?.map_err(|error| {
        if error.is::<LengthLimitError>() { too_large() } else { ApiError::malformed("body", "broke off") }
    })?;
    Ok(collected.to_bytes())
}

/// Only a stated type that is not JSON is wrong.
fn check_content_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(stated) = headers.get(CONTENT_TYPE) else { return Ok(()) };
    let essence = stated.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(ApiError::malformed("Content-Type", "must be application/json"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::ids::CheckpointItemId;

    fn query(text: &str) -> Query {
        Query::of(&text.parse().unwrap()).unwrap()
    }

    #[test]
    fn repeated_keys_stay_and_empty_values_filter_nothing() {
        let query = query("/x?status=a&status=b&name=&other=%C3%A4+c");
        assert_eq!(query.all("status").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(query.last("name"), None);
        assert_eq!(query.last("other"), Some("ä c"));
    }

    #[test]
    fn ids_come_repeated_or_in_lists_and_bad_ones_are_named() {
        let (a, b) = (CheckpointItemId::from_entropy([1; 16]), CheckpointItemId::from_entropy([2; 16]));
        for text in [format!("/x?i={a}&i={b}"), format!("/x?i={a},{b}")] {
            assert_eq!(query(&text).ids::<CheckpointItemId>("i").unwrap(), Some(vec![a, b]));
        }
        assert_eq!(query("/x").ids::<CheckpointItemId>("i").unwrap(), None);
        for bad in ["/x?i=", "/x?i=,", "/x?i=nonsense"] {
            assert!(query(bad).ids::<CheckpointItemId>("i").is_err(), "{bad}");
        }
    }

    #[test]
    fn a_query_that_is_no_text_is_refused() {
        for bad in ["/x?name=%ff", "/x?%c3=a", "/x?name=%ed%a0%80", "/x?name=%c0%80"] {
            assert!(Query::of(&bad.parse().unwrap()).is_err(), "{bad}");
        }
        for good in ["/x?name=100%", "/x?name=%zz", "/x?name=%C3%A4", "/x?name=%2541", "/x?name=%+1"] {
            assert!(Query::of(&good.parse().unwrap()).is_ok(), "{good}");
        }
        assert_eq!(query("/x?name=%2541").last("name"), Some("%41"), "decoded once");
    }

    #[test]
    fn nul_is_refused_in_a_query() {
        assert!(Query::of(&"/x?name=%00".parse().unwrap()).is_err());
    }

    /// A body of which nothing ever comes.
    struct Never;

    impl axum::body::HttpBody for Never {
        type Data = axum::body::Bytes;
        type Error = std::io::Error;

        fn poll_frame(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<hyper::body::Frame<Self::Data>, Self::Error>>> {
            std::task::Poll::Pending
        }
    }

    #[tokio::test]
    async fn a_body_that_does_not_arrive_is_given_up() {
        let limits = Limits { body_bytes_max: 10, body_timeout_seconds: 0 };
        let request = Request::new(axum::body::Body::new(Never));
        let refused = Body::from_request(request, &limits).await.err().unwrap();
        assert_eq!(refused.into_told(), ("Antipode.0408", "body: did not arrive in time".to_owned()));
    }

    #[test]
    fn only_json_is_a_body() {
        let stated = |text: &str| HeaderMap::from_iter([(CONTENT_TYPE, text.parse().unwrap())]);
        assert!(check_content_type(&HeaderMap::new()).is_ok());
        assert!(check_content_type(&stated("application/json; charset=utf-8")).is_ok());
        assert!(check_content_type(&stated("application/x-www-form-urlencoded")).is_err());
        assert!(check_content_type(&stated("text/plain")).is_err());
    }
}
