//! How a refusal looks on the wire: the `{error_code, error_msg}` body, and which broken rule has which
//! code. The codes themselves, with status and text, stand in [`table`]; no other file knows either.
//!
//! What the origin leaves to a gateway (401, 403, unknown routes) carries codes `Antipode.0nnn`
//! whose last three digits are the status.

pub mod table;

use axum::Json;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use control::error::{Error, Kind, Reason};
use serde_json::json;

use self::table::PARAMETER;

/// How long a client is asked to wait before it asks again for what is not there now.
const RETRY_AFTER_SECONDS: &str = "5";

/// A refusal, ready for the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
}

/// How a broken rule looks on the wire.
struct Told {
    code: &'static str,
    /// The values of the documented text; nothing where that text says less than we know.
    values: Option<Vec<String>>,
}

impl ApiError {
    /// A code of the table, and what is said about it.
    fn of(code: &'static str, message: impl Into<String>) -> ApiError {
        let status = table::line_of(code).status;
        let status = StatusCode::from_u16(status).expect("every status in the table is a status");
        ApiError { status, code, message: message.into() }
    }

    /// A parameter that must be mended; `field` is its path as the wire names it.
    pub(crate) fn malformed(field: &str, why: impl std::fmt::Display) -> ApiError {
        ApiError::of(PARAMETER, format!("{field}: {why}"))
    }

    /// A provider id that is not ours.
    pub(crate) fn provider_invalid() -> ApiError {
        ApiError::malformed("provider_id", "provider invalid")
    }

    /// A body that names more tags than one thing may carry.
    pub(crate) fn too_many_tags() -> ApiError {
        ApiError::from(Error::new(Kind::Invalid, Reason::TooManyTags, ""))
    }

    /// A path that leads nowhere.
    pub(crate) fn no_route() -> ApiError {
        ApiError::of("Antipode.0404", "there is nothing at this path")
    }

    /// A path that knows other methods only.
    pub(crate) fn no_method() -> ApiError {
        ApiError::of("Antipode.0405", "this path does not know the method")
    }

    /// A body that did not arrive in time.
    pub(crate) fn too_slow() -> ApiError {
        ApiError::of("Antipode.0408", "body: did not arrive in time")
    }

    /// Code and text, for a call that answers 200 and refuses inside.
    pub(crate) fn into_told(self) -> (&'static str, String) {
        (self.code, self.message)
    }

    /// The same refusal under the status that its kind has, for our own surface: there a thing that
    /// is missing is 404 even where CSBS answers 400.
    fn by_kind(error: Error) -> ApiError {
        let status = status_of(error.kind);
        ApiError { status, ..ApiError::from(error) }
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> ApiError {
        report(&error);
        let told = told_of(&error);
        let line = table::line_of(told.code);
        let text = told.values.map(|values| line.filled(&values)).unwrap_or_default();
        ApiError::of(told.code, message(&text, &error.message, error.field.as_deref()))
    }
}

/// The documented text first, because people look for it; then what we know more, then the field.
fn message(documented: &str, detail: &str, field: Option<&str>) -> String {
    let bare = |text: &str| text.trim_end_matches('.').to_owned();
    let is_told = detail.is_empty() || bare(detail) == bare(documented);
    match (documented.is_empty(), is_told, field) {
        (true, _, None) => detail.to_owned(),
        (true, _, Some(field)) => format!("{field}: {detail}"),
        (false, true, None) => documented.to_owned(),
        (false, true, Some(field)) => format!("{} ({field})", bare(documented)),
        (false, false, None) => format!("{}: {detail}", bare(documented)),
        (false, false, Some(field)) => format!("{}: {detail} ({field})", bare(documented)),
    }
}

/// Puts the fields that `control` names under the part of the body that they stand in.
pub(crate) fn under(part: &'static str) -> impl Fn(Error) -> ApiError {
    move |mut error| {
        error.field = error.field.map(|field| format!("{part}.{field}"));
        ApiError::from(error)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = json!({ "error_code": self.code, "error_msg": self.message });
        (self.status, retry_after(self.status), Json(body)).into_response()
    }
}

/// A refusal on our own surface, `/antipode/v1`: the same body, the status of the kind.
#[derive(Debug)]
pub(crate) struct OwnError(ApiError);

impl From<Error> for OwnError {
    fn from(error: Error) -> OwnError {
        OwnError(ApiError::by_kind(error))
    }
}

impl From<ApiError> for OwnError {
    fn from(error: ApiError) -> OwnError {
        OwnError(error)
    }
}

impl IntoResponse for OwnError {
    fn into_response(self) -> Response {
        self.0.into_response()
    }
}

/// A refusal on the identity surface: Keystone's form, which its clients print.
#[derive(Debug)]
pub(crate) struct IdentityError(ApiError);

impl From<Error> for IdentityError {
    fn from(error: Error) -> IdentityError {
        IdentityError(ApiError::by_kind(error))
    }
}

impl From<ApiError> for IdentityError {
    fn from(error: ApiError) -> IdentityError {
        IdentityError(error)
    }
}

impl IntoResponse for IdentityError {
    fn into_response(self) -> Response {
        let ApiError { status, code, message } = self.0;
        let title = status.canonical_reason().unwrap_or("Error");
        let error = json!({ "code": status.as_u16(), "title": title, "message": message });
        let body = json!({ "error": error, "error_code": code, "error_msg": message });
        (status, retry_after(status), Json(body)).into_response()
    }
}

/// What is not there now is worth asking for again, in a while.
fn retry_after(status: StatusCode) -> HeaderMap {
    let wait = (status == StatusCode::SERVICE_UNAVAILABLE).then_some(RETRY_AFTER_SECONDS);
    wait.map(|seconds| (RETRY_AFTER, HeaderValue::from_static(seconds))).into_iter().collect()
}

/// Logs an error once, here where it stops being passed on: as an error when it is our own fault, as a warning
/// when something we need does not answer. What a caller did wrong is the caller's to read.
fn report(error: &Error) {
    let mut causes = String::new();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        causes.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    match error.kind {
        Kind::Internal => tracing::error!("request failed: {}{causes}", error.message),
        Kind::Unavailable => tracing::warn!("request refused: {}{causes}", error.message),
        kind => tracing::debug!(?kind, "request refused: {}{causes}", error.message),
    }
}

fn status_of(kind: Kind) -> StatusCode {
    match kind {
        Kind::Invalid | Kind::OverQuota => StatusCode::BAD_REQUEST,
        Kind::Unauthenticated => StatusCode::UNAUTHORIZED,
        Kind::Forbidden => StatusCode::FORBIDDEN,
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::Conflict => StatusCode::CONFLICT,
        Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// A code whose documented text says it all, with the values of that text.
fn told<const N: usize>(code: &'static str, values: [&dyn std::fmt::Display; N]) -> Told {
    Told { code, values: Some(values.iter().map(|value| value.to_string()).collect()) }
}

/// A code whose documented text is of no use.
fn only(code: &'static str) -> Told {
    Told { code, values: None }
}

/// Which code a broken rule has, part one: requests, policies, servers and items.
fn told_of(error: &Error) -> Told {
    match &error.reason {
        Reason::Malformed => only(PARAMETER),
        Reason::ProviderInvalid => told(PARAMETER, []),
        Reason::NotLoggedIn => only("Antipode.0401"),
        Reason::NoRole | Reason::WrongProject => only("Antipode.0403"),
        Reason::PolicyNotFound => told("CSBS.3000", []),
        Reason::PolicyNameTaken => told("CSBS.9007", []),
        Reason::PolicyRunning { auto_trigger: false } => told("CSBS.1001", []),
        Reason::PolicyRunning { auto_trigger: true } => told("CSBS.6030", []),
        Reason::PolicyHasNothingToBackUp => told("CSBS.6032", []),
        Reason::TooManyPolicies => told("CSBS.0001", []),
        Reason::ServerInPolicy { server } => told("CSBS.6004", [server]),
        Reason::ServerNotFound => told("CSBS.6000", []),
        Reason::ResourceTypeUnsupported { resource, resource_type } => {
            told("CSBS.6003", [resource, resource_type])
        }
        Reason::NoVolumes { server } => told("CSBS.6007", [server]),
        Reason::ItemNotFound { item } => told("CSBS.3001", [item]),
        Reason::ItemBusy => told("CSBS.2003", []),
        Reason::ItemNotAvailable => told("CSBS.4000", []),
        Reason::QuotaExceeded { what } => told("CSBS.9006", [what]),
        Reason::WritesBlocked | Reason::Busy => told("CSBS.9998", []),
        Reason::Internal => only("CSBS.9999"),
        _ => told_of_restores_and_replication(error),
    }
}

/// Part two.
fn told_of_restores_and_replication(error: &Error) -> Told {
    match &error.reason {
        Reason::TargetTypeUnsupported { resource, resource_type } => {
            told("CSBS.6013", [resource, resource_type])
        }
        Reason::TargetRestoring => told("CSBS.6015", []),
        Reason::TargetVolumeNotFound { volumes } => told("CSBS.6014", [volumes]),
        Reason::BackupNotInItem { backups, item } => told("CSBS.6017", [backups, item]),
        Reason::PartialRestore { backups } => told("CSBS.6018", [backups]),
        Reason::DataOntoSystemVolume { server } => told("CSBS.6023", [server]),
        Reason::TargetTooSmall { volume, volume_bytes, backup, backup_bytes } => {
            told("CSBS.6024", [volume, volume_bytes, backup, backup_bytes])
        }
        Reason::TooManyTags => told("CSBS.7000", [&model::text::TAGS_MAX]),
        Reason::TagNotFound => told("CSBS.7001", []),
        Reason::DestinationRegionUnknown => told("BackupService.1005", []),
        Reason::DestinationProjectRefuses => told("BackupService.1011", []),
        Reason::ReplicaOfReplica => told("BackupService.1002", []),
        Reason::AlreadyReplicated => told("BackupService.1009", []),
        Reason::RecordNotFound | Reason::RestoreNotFound | Reason::OperationLogNotFound => {
            told("CSBS.6040", [])
        }
        Reason::IdTaken => only("Antipode.0409"),
        Reason::InvitationRefused => only("Antipode.0400"),
        _ => only(code_of(error.kind)),
    }
}

/// The code of a rule without one of its own.
fn code_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Invalid => PARAMETER,
        Kind::Unauthenticated => "Antipode.0401",
        Kind::Forbidden => "Antipode.0403",
        Kind::NotFound => "Antipode.0404",
        Kind::Conflict => "Antipode.0409",
        Kind::OverQuota => "CSBS.9006",
        Kind::Unavailable => "CSBS.9998",
        Kind::Internal => "CSBS.9999",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(error: Error, status: u16, code: &str, message: &str) {
        let error = ApiError::from(error);
        assert_eq!((error.status.as_u16(), error.code, error.message.as_str()), (status, code, message));
    }

    #[test]
    fn a_broken_rule_has_its_documented_code_text_and_field() {
        check(Error::invalid("policy.name", "is missing"), 400, "CSBS.9001", "policy.name: is missing");
        let missing = Error::not_found(Reason::PolicyNotFound, "no policy x in this project");
        check(missing, 404, "CSBS.3000", "plan not found: no policy x in this project");
        let missing =
            Error::not_found(Reason::ItemNotFound { item: "x".into() }, "Checkpoint_item (x) is not found");
        check(missing, 404, "CSBS.3001", "Checkpoint_item (x) is not found.");
        let unknown = Error::refused(Reason::DestinationRegionUnknown, "no peer eu-z")
            .at("replication.destination_region");
        let text = "The destination region does not support replication: no peer eu-z \
                    (replication.destination_region)";
        check(unknown, 400, "BackupService.1005", text);
    }

    #[test]
    fn every_code_that_this_file_names_is_in_the_table() {
        let (ours, _) = include_str!("error.rs").split_once("#[cfg(test)]").unwrap();
        let mut count = 0;
        for word in ours.split('"').filter(|word| {
            ["CSBS.", "BackupService.", "Antipode.0"].iter().any(|begin| word.starts_with(begin))
        }) {
            assert_eq!(table::line_of(word).code, word);
            count += 1;
        }
        assert!(count > 30, "{count}");
    }

    #[test]
    fn the_cause_of_a_fault_stays_inside() {
        let error = ApiError::from(Error::internal("reading the catalog", "secret detail"));
        assert_eq!((error.status, error.code), (StatusCode::INTERNAL_SERVER_ERROR, "CSBS.9999"));
        assert!(!error.message.contains("secret"), "{}", error.message);
    }

    #[test]
    fn our_own_surface_answers_by_kind() {
        let error = ApiError::by_kind(Error::not_found(Reason::ServerNotFound, "no server s"));
        assert_eq!((error.status, error.code), (StatusCode::NOT_FOUND, "CSBS.6000"));
    }
}
