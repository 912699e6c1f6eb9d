//! Every answer carries `X-Openstack-Request-Id`, and every log line of a request carries the same id.
//! The whole path is noted as well, because nested routes see only their part of it.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument;

use super::Site;

/// The path that was asked for, from the root.
#[derive(Clone, Debug)]
pub(super) struct AskedPath(pub(super) String);

const REQUEST_ID: HeaderName = HeaderName::from_static("x-openstack-request-id");

/// Names a request, whatever becomes of it. The name is ours: a caller's own is not trusted.
pub(super) async fn name_request(
    State(site): State<Arc<Site>>,
    mut request: Request,
    next: Next,
) -> Response {
    let mut bytes = [0; 16];
    site.entropy.fill(&mut bytes);
    let id = format!("req-{}", uuid::Builder::from_random_bytes(bytes).into_uuid().hyphenated());
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    request.extensions_mut().insert(AskedPath(path.clone()));
    let span = tracing::info_span!("request", id = %id);
    let mut response = next.run(request).instrument(span).await;
    tracing::debug!(request.id = %id, status = response.status().as_u16(), "{method} {path}");
    let value = HeaderValue::try_from(id).expect("a request id is plain ASCII");
    response.headers_mut().insert(REQUEST_ID, value);
    response
}
